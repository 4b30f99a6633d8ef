"""Scales that overflow, settings of the wrong kind and files that were damaged: an answer or an error in words."""

import io
import warnings

import numpy as np
import pytest

import sbpfast as sb

X = np.array([[1.0, -1.0], [1.0, 0.5], [1.0, 2.0], [1.0, -0.3]])
Y = np.array([0.0, 1.0, 1.0, 0.0])


def logistic(scale=1.0):
    return sb.targets.logistic_regression(scale * X, Y, prior_scale=1.0)


def gaussian():
    """A fit that is exact, of which nothing is to be warned."""
    return sb.fit(sb.targets.linear_regression(X, Y, noise_scale=0.7, prior_scale=1.0), rng=0)


def answer(call):
    """What a call returns, or None where a ValueError of the package refuses; no warning but a FitWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", sb.FitWarning)
        try:
            return call()
        except np.linalg.LinAlgError:
            raise
        except ValueError:
            return None


@pytest.mark.parametrize("structure", ["full", "diagonal", "low_rank"])
@pytest.mark.parametrize("scale", [1e-200, 1e100, 1e170])
def test_fits_of_columns_of_every_size_are_quiet(structure, scale):
    """RuntimeWarnings are errors in this run: the fit answers, or an error does."""
    fit = answer(lambda: sb.fit(logistic(scale), structure=structure, max_iter=30, rng=0))
    assert fit is None or (np.isfinite(fit.q.mean).all() and np.isfinite(fit.elbo))


@pytest.mark.parametrize("options", [{"progress": np.ones(3)}, {"progress": "yes"}], ids=repr)
def test_flags_are_flags(options):
    with pytest.raises(TypeError, match="progress must be True or False"):
        sb.fit(logistic(), **options)


@pytest.mark.parametrize("names", [True, 2.5, "ab"])
def test_names_are_a_sequence(names):
    with pytest.raises(TypeError, match="names must be a sequence of strings"):
        gaussian().summary(names)


def test_a_level_of_any_real_kind():
    fit = gaussian()
    assert str(fit.summary(level=np.longdouble(0.5))) == str(fit.summary(level=0.5))
    with pytest.raises(ValueError, match=r"level must be .* above 0 and below 1"):
        fit.summary(level=1.0)


def test_a_weight_beyond_all_others_does_not_hang():
    model = sb.BayesianLinearRegression(max_iter=5, random_state=0)
    fitted = answer(lambda: model.fit(X[:, 1:], [0.5, 0.1, -1.0, 0.3], sample_weight=[0.1, 0.5, 1e25, 0.2]))
    assert fitted is None or np.isfinite(fitted.coef_).all()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("fits") / "fit.npz"
    gaussian().save(path)
    return dict(np.load(path))


DAMAGE = {
    "elbo": None,
    "state_counters": None,
    "q_cov": None,
    "importance_mean": None,
    "structure": None,
    "key": None,
    "state_elbo_trace": np.zeros((2, 2)),
    "importance_sd": np.zeros(0),
    "importance_khat": np.zeros(2),
    "importance_mean_stderr": np.zeros(5),
    "importance_elbo": np.array("much"),
    "names": np.array(["a"]),
    "other_modes": np.zeros((1, 7)),
    "family": np.array("Wishart"),
    "converged": np.ones(2),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_files_whose_arrays_were_exchanged_are_refused(name, saved, tmp_path):
    arrays = dict(saved)
    if DAMAGE[name] is None:
        del arrays[name]
    else:
        arrays[name] = DAMAGE[name]
    out = io.BytesIO()
    np.savez(out, **arrays)
    (tmp_path / "fit.npz").write_bytes(out.getvalue())
    with pytest.raises(ValueError, match="holds a damaged fit"):
        sb.Fit.load(tmp_path / "fit.npz")


@pytest.mark.parametrize("structure", [np.ones(3), np.array([1, "a"]), ["full"]], ids=repr)
def test_a_structure_that_is_no_name(structure):
    with pytest.raises(ValueError, match="structure must be one of 'full'"):
        sb.fit(logistic(), structure=structure)
