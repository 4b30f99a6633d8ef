"""What a fit of a model hands back: draws, the table, ArviZ's groups, and a sampler's start."""

import re
import warnings

import numpy as np
import pytest
import scipy
from statistics_helpers import assert_law, assert_unbiased

import sbpfast as sb
from sbpfast._streams import stream_key
from sbpfast.targets._parameters import Parameters, Variable

SKEW = 0.4


def log_normal_target(shift=0.0):
    """log x ~ N(0, SKEW^2) beside two normals, with an axis that has labels; `shift` moves what the fit sees."""
    scales = np.array([SKEW, 1.0, 2.0])
    target = sb.Target(
        value=lambda x: scipy.stats.norm.logpdf(x - shift, 0, scales).sum(axis=1),
        grad=lambda x: -(x - shift) / scales**2,
        hess=lambda x: np.broadcast_to(np.diag(-(scales**-2.0)), (len(x), 3, 3)),
        dim=3,
    )  # fmt: skip
    target.model_parameters = Parameters(
        variables=(Variable("size"), Variable("beta", (2,), ("arm",)), Variable("both", (2, 2))),
        pieces=(Variable("log_size"), Variable("beta", (2,), ("arm",))),
        constrain=lambda x: {
            "size": np.exp(x[:, 0]), "beta": x[:, 1:], "both": np.einsum("ni,nj->nij", x[:, 1:], x[:, 1:])
        },
        coords={"arm": np.array(["control", "treated"])},
        free=("size", "beta"),
        observed_data={"y": np.arange(3.0)},
        constant_data={"X": np.zeros((3, 2))},
        log_likelihood=lambda x: {"y": np.broadcast_to(x[:, :1], (len(x), 3))},
    )  # fmt: skip
    return target


@pytest.fixture(scope="module")
def fit():
    return sb.fit(log_normal_target(), rng=0)


def wrong_fit():
    """A fit whose q is off by half a standard deviation of every coordinate: importance weights must mend it."""
    q = sb.Gaussian(0.5 * np.array([SKEW, 1.0, 2.0]), np.diag([1.2 * SKEW, 1.2, 2.4]) ** 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sb.fit(log_normal_target(), q, max_iter=0, rng=0)


def test_draws_are_the_models(fit):
    draws = fit.posterior(20_000, rng=1)
    assert draws["size"].shape == (20_000,) and draws["both"].shape == (20_000, 2, 2)
    assert_law(np.log(draws["size"]) / SKEW, "norm")
    np.testing.assert_array_equal(draws["beta"], fit.sample(20_000, rng=1)[:, 1:])


def test_resampled_draws_are_the_densitys():
    fit = wrong_fit()
    draws = fit.posterior(10_000, rng=1, resample=True)
    plain = fit.posterior(10_000, rng=1)
    error = 1.0 / np.sqrt(0.3 * 40_000)
    assert_unbiased(np.log(draws["size"]).mean(), 0.0, SKEW * error, freedom=np.inf)
    assert_unbiased(draws["beta"].mean(axis=0), 0.0, np.array([1, 2]) * error, freedom=np.inf)
    with pytest.raises(AssertionError):  # so many draws tell q from the density
        assert_unbiased(np.log(plain["size"]).mean(), 0.0, SKEW * error, freedom=np.inf)
    np.testing.assert_allclose(draws["beta"].std(axis=0), [1.0, 2.0], rtol=0.06)
    again = fit.posterior(10_000, rng=1, resample=True)
    np.testing.assert_array_equal(draws["size"], again["size"])


def test_resampling_by_weights_of_no_use_warns():
    fit = wrong_fit()
    fit._target = log_normal_target(shift=np.array([4.0, 0.0, 0.0]))
    with pytest.warns(sb.FitWarning, match="importance weights cannot repair these draws"):
        fit.posterior(100, rng=0, resample=True)


def test_the_table_is_on_the_models_scale(fit):
    table = fit.summary(level=0.9)
    assert table.names == [
        "size",
        "beta[control]",
        "beta[treated]",
        *(f"both[{i}, {j}]" for i in (0, 1) for j in (0, 1)),
    ]
    log_normal = scipy.stats.lognorm(SKEW)
    np.testing.assert_allclose(table["mean"][:3], [log_normal.mean(), 0.0, 0.0], atol=0.03)
    np.testing.assert_allclose(table["sd"][:3], [log_normal.std(), 1.0, 2.0], rtol=0.06)
    np.testing.assert_allclose([table["low"][0], table["high"][0]], log_normal.interval(0.9), rtol=0.06)
    np.testing.assert_allclose(table["P(>0)"][:3], [1.0, 0.5, 0.5], atol=0.04)
    np.testing.assert_allclose(table["mean"][[3, 6]], [1.0, 4.0], rtol=0.1)
    assert "beta[treated]" in str(table) and "weighted by importance" in str(table)
    assert fit.summary(["a", "b", "c"]).names == ["a", "b", "c"]


def test_the_table_mends_a_wrong_gaussian_and_says_what_it_was():
    table = wrong_fit().summary()
    np.testing.assert_allclose(table["mean"][1:3] / [1.0, 2.0], 0.0, atol=0.15)
    np.testing.assert_allclose(table["q mean"][1:3], [0.5, 1.0], atol=0.05)


def narrow_fit(scale):
    """A fit whose q is too narrow along the first coordinate, by a factor: its weights have k-hat near 1 - scale^2."""
    q = sb.Gaussian(np.zeros(3), np.diag([scale * SKEW, 1.0, 2.0]) ** 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sb.fit(log_normal_target(), q, max_iter=0, rng=0)


def test_the_error_of_a_mean_is_that_of_many_tables():
    target = log_normal_target()
    means, errors = [], []
    for seed in range(60):
        fit = wrong_fit()
        fit._target, fit._key = target, stream_key(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = fit.summary()
        means.append(table["mean"])
        errors.append(table["mean error"])
    spread, said = np.std(means, axis=0), np.sqrt(np.mean(np.square(errors), axis=0))
    np.testing.assert_allclose(said, spread, rtol=5 / np.sqrt(2 * 60))
    assert np.abs(np.mean(means, axis=0)[1] / (spread[1] / np.sqrt(60))) < 5


def test_a_table_takes_more_draws_where_few_weights_count(monkeypatch):
    fit = narrow_fit(0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ", 4096 draws" in fit.summary().headline  # no step, no evaluations
        monkeypatch.setattr(sb.Fit, "_spent", 20_000)
        headline = fit.summary().headline
    assert ", 32768 draws" in headline and "effective sample size" in headline and " +- " in headline


def test_a_table_says_which_spread_its_weights_leave_open():
    fit = narrow_fit(0.55)
    fit._importance = fit._importance._replace(khat=0.6)
    with pytest.warns(sb.FitWarning, match="leave the spread of size open") as caught:
        table = fit.summary()
    assert str(caught[-1].message) in str(table)


def test_more_draws_may_contradict_the_fit():
    fit = narrow_fit(0.3)
    assert fit.khat > 0.7 and "from q alone" in str(fit.summary())
    fit._importance = fit._importance._replace(khat=0.6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit.summary()
    assert re.search(r"k-hat is [01]\.\d\d \+- 0\.\d\d by the 4096 draws .* above 0\.7", str(caught[0].message))


def test_khat_is_given_with_its_error_where_that_may_decide(fit):
    assert re.search(r"k-hat -?[\d.]+ \(good\)|k-hat -inf \(good\)", str(fit))
    judged = fit._importance
    fit._importance = judged._replace(khat=0.6, n=1024)
    assert "k-hat 0.60 +- 0.15 (fair)" in str(fit)
    fit._importance = judged


def test_names_survive_a_file(fit, tmp_path):
    assert fit.names == ["log_size", "beta[control]", "beta[treated]"]
    fit.save(tmp_path / "fit.npz")
    loaded = sb.Fit.load(tmp_path / "fit.npz")
    assert loaded.model_parameters is None and loaded.summary().names == fit.names
    loaded.diagnose(target=log_normal_target(), rng=0)
    assert loaded.summary().names == fit.summary().names


def test_a_fit_without_names_has_draws_too():
    fit = sb.fit(sb.targets.quadratic(np.eye(2), np.zeros(2)))
    assert fit.posterior(5, rng=0)["x"].shape == (5, 2)
    fit.names = ["a", "b"]
    assert set(fit.posterior(5, rng=0)) == {"a", "b"}
    assert fit.nuts_init(3, rng=0).initvals[2]["b"].shape == ()


def test_wrong_arguments_are_named(fit):
    with pytest.raises(TypeError, match="n must be an integer"):
        fit.posterior(1.5)
    with pytest.raises(TypeError, match="resample must be True or False"):
        fit.posterior(10, resample="yes")
    with pytest.raises(ValueError, match="chains must be at least 1"):
        fit.nuts_init(0)


# -- ArviZ ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
def test_arviz_has_labelled_groups(fit):
    arviz = pytest.importorskip("arviz")
    data = fit.to_arviz(rng=0)
    assert data.posterior["beta"].shape == (4, 500, 2) and data.posterior["beta"].dims == ("chain", "draw", "arm")
    assert data.posterior["arm"].values.tolist() == ["control", "treated"]
    assert data.unconstrained_posterior["log_size"].shape == (4, 500)
    np.testing.assert_allclose(data.posterior["size"], np.exp(data.unconstrained_posterior["log_size"]), rtol=1e-14)
    stats = data.sample_stats
    np.testing.assert_allclose(stats["lp"] - stats["log_q"], 0.0, atol=0.3)
    assert float(np.exp(stats["log_weight"]).sum()) == pytest.approx(1.0)
    moments = data["fit"]
    np.testing.assert_array_equal(moments["mean_vector"].values, fit.q.mean)
    assert moments["covariance_matrix"].dims == ("rows", "columns")
    assert moments["rows"].values.tolist() == fit.names
    assert data.observed_data["y"].shape == (3,) and data.constant_data["X"].shape == (3, 2)
    assert data.log_likelihood["y"].shape == (4, 500, 3)
    assert fit.to_arviz(n=7, rng=0).posterior["size"].shape == (1, 7)
    assert "beta[treated]" in arviz.summary(data).index


# -- samplers ---------------------------------------------------------------------------------------------------------


def test_a_samplers_start(fit):
    start = fit.nuts_init(3, rng=0)
    np.testing.assert_array_equal(start.points, fit.sample(3, rng=0))
    np.testing.assert_array_equal(start.inverse_mass_matrix, fit.q.cov)
    assert [set(chain) for chain in start.initvals] == 3 * [{"size", "beta"}]
    np.testing.assert_allclose([chain["size"] for chain in start.initvals], np.exp(start.points[:, 0]), rtol=1e-15)
    np.testing.assert_array_equal(start.init_params["beta"], start.points[:, 1:])
    assert fit.nuts_init(1, rng=0).init_params["beta"].shape == (2,)
    diagonal = sb.fit(log_normal_target(), structure="diagonal", rng=0).nuts_init(2, rng=0)
    assert diagonal.inverse_mass_matrix.shape == (3,)


@pytest.mark.filterwarnings("default")
def test_pymc_samples_from_there():
    pm = pytest.importorskip("pymc")
    models = pytest.importorskip("pymc_models")
    model, y = models.conjugate_normal()
    start = sb.fit(model, rng=0).nuts_init(2, rng=0)
    with model:
        step = pm.NUTS(potential=start.potential())
        trace = pm.sample(
            300, tune=100, chains=2, cores=1, initvals=start.initvals, step=step, random_seed=0, progressbar=False,
            compute_convergence_checks=False,
        )  # fmt: skip
    assert int(trace.sample_stats["diverging"].sum()) == 0
    mean, sd = y.sum() / (len(y) + 0.25), (len(y) + 0.25) ** -0.5
    assert_unbiased(float(trace.posterior["x"].mean()), mean, sd / np.sqrt(100), freedom=np.inf)


@pytest.mark.filterwarnings("default")
def test_nutpie_samples_from_there():
    nutpie = pytest.importorskip("nutpie")
    models = pytest.importorskip("pymc_models")
    model, y = models.conjugate_normal()
    start = sb.fit(model, rng=0).nuts_init(1, rng=0)
    compiled = nutpie.compile_pymc_model(model)
    trace = nutpie.sample(
        compiled, draws=300, tune=200, chains=1, init_mean=start.mean, seed=0, progress_bar=False
    )  # fmt: skip
    mean, sd = y.sum() / (len(y) + 0.25), (len(y) + 0.25) ** -0.5
    assert_unbiased(float(trace.posterior["x"].mean()), mean, sd / np.sqrt(60), freedom=np.inf)


@pytest.mark.filterwarnings("default")
def test_numpyro_samples_from_there():
    jax, numpyro = pytest.importorskip("jax"), pytest.importorskip("numpyro")
    y = np.array([1.0, 2.0, 0.5, 1.5])

    def model():
        x = numpyro.sample("x", numpyro.distributions.Normal(0.0, 2.0))
        numpyro.sample("scale", numpyro.distributions.LogNormal(0.0, 0.1))
        numpyro.sample("y", numpyro.distributions.Normal(x, 1.0), obs=y)

    with jax.enable_x64(True):
        start = sb.fit(sb.Target.from_numpyro(model), rng=0).nuts_init(1, rng=0)
        kernel = numpyro.infer.NUTS(
            model, inverse_mass_matrix=start.inverse_mass_matrix, dense_mass=True, adapt_mass_matrix=False
        )
        chain = numpyro.infer.MCMC(kernel, num_warmup=100, num_samples=300, progress_bar=False)
        chain.run(jax.random.PRNGKey(0), init_params=start.init_params)
        draws = chain.get_samples()
    mean, sd = y.sum() / (len(y) + 0.25), (len(y) + 0.25) ** -0.5
    assert_unbiased(float(draws["x"].mean()), mean, sd / np.sqrt(60), freedom=np.inf)
