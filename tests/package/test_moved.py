"""Pickles and files of version 0.1 load."""

import base64
import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest

import sbpfast as sb
from sbpfast._moved import MOVED

SAVED = json.loads((Path(__file__).parents[1] / "tables" / "version_0_1.json").read_text())


def saved(name):
    return zlib.decompress(base64.b64decode(SAVED[name]))


@pytest.mark.parametrize("name", [name for name in SAVED if name != "fit file"])
def test_a_pickle_of_version_0_1_loads(name):
    thing = pickle.loads(saved(name))
    assert pickle.dumps(thing)
    for part in thing if isinstance(thing, list) else [thing]:
        assert type(part).__module__.startswith("sbpfast.") and repr(part)


def test_old_targets_and_distributions_still_work():
    f, *_ = pickle.loads(saved("targets"))
    q, *_ = pickle.loads(saved("gaussians"))
    X, y = np.array([[1.0, -1.0], [1.0, 0.5], [1.0, 2.0], [1.0, 0.1]]), np.array([0.0, 1.0, 1.0, 0.0])
    new = sb.expectation_grad(
        sb.targets.logistic_regression(X, y, prior_scale=1.0), sb.Gaussian(np.zeros(2), np.eye(2))
    )
    old = sb.expectation_grad(f, q)
    assert old.value == new.value and np.array_equal(old.grad["cov"], new.grad["cov"])
    assert pickle.loads(saved("estimate")).value == pytest.approx(old.value, rel=1e-12)


def test_old_statistics_still_work():
    gaussian, fit, gamma = pickle.loads(saved("statistics"))
    assert np.array_equal(sb.expfam.fit_gaussian(gaussian).cov, fit.cov)
    assert sb.expfam.fit_gaussian(gaussian + gaussian).log_likelihood == pytest.approx(2 * fit.log_likelihood)
    assert sb.expfam.Gamma.fit(gamma).distribution.mean_params() == pytest.approx(
        np.array([[0.6931471805599453, 7 / 3]])
    )


def test_an_old_regression_predicts():
    assert pickle.loads(saved("regression")).predict_proba(np.ones((3, 2))).shape == (3, 2)


def test_an_old_fit_file_loads_and_continues(tmp_path):
    path = tmp_path / "fit.npz"
    path.write_bytes(saved("fit file"))
    fit = sb.Fit.load(path)
    assert np.array_equal(fit.q.mean, np.zeros(2))
    assert sb.fit(sb.targets.quadratic(np.eye(2), np.zeros(2)), q0=fit).converged


def test_what_has_moved_is_found_only_where_it_was():
    for name in MOVED:
        with pytest.raises(AttributeError, match=name):
            _ = __import__("sys").modules[name].nothing


OLD = {
    "univariate": ["Normal", "LogNormal", "Exponential", "InverseGaussian", "Weibull", "Pareto", "Laplace", "Rayleigh"],
    "bounded": ["VonMises", "TruncatedNormal", "ContinuousBernoulli"],
    "discrete": ["Bernoulli", "Binomial", "Poisson", "Geometric", "NegativeBinomial"],
    "gamma_beta": ["Gamma", "InverseGamma", "ChiSquare", "Beta"],
    "location_scale": ["StudentT", "Logistic", "Gumbel"],
    "multivariate": ["Dirichlet", "Wishart", "Categorical"],
    "numeric": ["Univariate"],
    "mle": ["MLE", "MLEDoesNotExist", "GaussianStatistics"],
}


@pytest.mark.parametrize("module, name", [(m, n) for m, names in OLD.items() for n in names])
def test_families_are_found_under_their_old_modules(module, name):
    assert pickle.loads(f"csbpfast.expfam.{module}\n{name}\n.".encode()) is getattr(sb.expfam, name)


def test_what_families_hold_is_found_under_its_old_modules():
    from sbpfast.expfam import _points, _statistics, _truncation

    for module, new, name in [
        ("truncation", _truncation, "Moments"),
        ("points", _points, "Points"),
        ("mle", _statistics, "Statistics"),
    ]:
        assert pickle.loads(f"csbpfast.expfam.{module}\n{name}\n.".encode()) is getattr(new, name)
