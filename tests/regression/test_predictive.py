"""Predictions with the posterior integrated out: outliers, intervals and draws, against independent integrals."""

import numpy as np
import pytest
import scipy
from statistics_helpers import assert_unbiased

import sbpfast as sb

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")
r = np.random.default_rng(0)
X = r.standard_normal((80, 2))
ETA = X @ [0.7, -0.4] + 0.3
REAL = ETA + 0.5 * r.standard_t(4.0, 80)
MODELS = {
    sb.BayesianLogisticRegression: (r.random(80) < scipy.special.expit(ETA)).astype(int),
    sb.BayesianProbitRegression: (r.random(80) < scipy.special.ndtr(ETA)).astype(int),
    sb.BayesianPoissonRegression: r.poisson(np.exp(ETA)),
    sb.BayesianStudentTRegression: REAL,
    sb.BayesianLinearRegression: REAL,
}


@pytest.mark.parametrize("width", [0.01, 1.0, 11.9, 12.1, 100.0, 1e8])
def test_logistic_means_against_quadrature(width):
    from sbpfast.regression._predictive import mean_logistic

    m = np.array([-30.0, -2.0, 0.0, 0.5, 40.0]) * max(1.0, width / 10.0)

    def integrand(u, m):  # over the logistic variable: a second form of the same expectation
        return scipy.special.ndtr((m - u) / width) * scipy.special.expit(u) * scipy.special.expit(-u)

    for centre, got in zip(m, mean_logistic(m, np.full(5, width))):
        want = sum(
            scipy.integrate.quad(integrand, a, b, args=(centre,), epsabs=0.0, epsrel=1e-11, limit=400)[0]
            for a, b in ((-60.0, -5.0), (-5.0, 0.0), (0.0, 5.0), (5.0, 60.0))
        )
        assert got == pytest.approx(want, rel=1e-6)


@pytest.mark.filterwarnings("ignore:The data say little:sbpfast.FitWarning")
def test_outliers_are_predicted_at_once():
    m = sb.BayesianLogisticRegression(random_state=0).fit([[1.0], [2.0], [3.0]], [0, 1, 1])
    p = m.predict_proba([[1e7], [1e12], [-1e140]])
    assert ((p > 0) & (p < 1)).all()
    sign = scipy.stats.norm.cdf(m.coef_[0, 0] / np.sqrt(m.coef_cov_[0, 0]))  # far out the sign of the slope decides
    np.testing.assert_allclose(p[:, 1], [sign, sign, 1 - sign], rtol=1e-5)
    for model, y in MODELS.items():
        with np.errstate(over="ignore"):
            fitted = model(random_state=0).fit(X, y)
            assert fitted.predict([[1e6, 1e6]]).shape == (1,) and fitted.predict_interval([[1e3, 1e3]]).shape == (1, 2)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_intervals_hold_what_they_say(model, level):
    """Draws of parameters and noise by NumPy alone fall outside of either end as often as they should."""
    m = model(random_state=0).fit(X, MODELS[model])
    new, n = X[:6], 200_000
    low, high = m.predict_interval(new, level).T
    g = np.random.default_rng(1)
    params = g.multivariate_normal(m.fit_.q.mean, m.fit_.q.cov, n)
    eta = params[:, :3] @ np.column_stack([new, np.ones(6)]).T
    if model is sb.BayesianPoissonRegression:
        y = g.poisson(np.exp(eta))
        assert ((y <= low).mean(0) >= 0.5 - level / 2 - 0.005).all() and ((y < low).mean(0) <= 0.505 - level / 2).all()
        assert ((y <= high).mean(0) >= 0.495 + level / 2).all() and ((y < high).mean(0) <= 0.505 + level / 2).all()
        return
    y = {
        sb.BayesianLogisticRegression: lambda: scipy.special.expit(eta),
        sb.BayesianProbitRegression: lambda: scipy.special.ndtr(eta),
        sb.BayesianStudentTRegression: lambda: eta + m.scale_ * g.standard_t(4.0, eta.shape),
        sb.BayesianLinearRegression: lambda: eta + np.exp(params[:, -1:]) * g.standard_normal(eta.shape),
    }[model]() if model is not sb.BayesianPoissonRegression else None  # fmt: skip
    error = 5.0 * np.sqrt((0.5 - level / 2) / n)
    np.testing.assert_allclose((y < low).mean(0), 0.5 - level / 2, atol=error)
    np.testing.assert_allclose((y > high).mean(0), 0.5 - level / 2, atol=error)
    with pytest.raises(ValueError, match="level"):
        m.predict_interval(new, 95)


@pytest.mark.parametrize("model", MODELS)
def test_predictive_draws_have_the_predicted_means(model):
    m = model(random_state=0).fit(X, MODELS[model])
    offset = np.linspace(-0.5, 0.5, 80)
    y = m.sample_predictive(X, 20_000, offset=offset, rng=3)
    want = m.predict_proba(X, offset)[:, 1] if model._estimator_type == "classifier" else m.predict(X, offset)
    assert y.shape == (20_000, 80)
    assert_unbiased(y.mean(0), want, y.std(0) / np.sqrt(20_000), freedom=np.inf)
    np.testing.assert_array_equal(m.sample_predictive(X[:3], 5, rng=3), m.sample_predictive(X[:3], 5, rng=3))
    if model is not sb.BayesianLogisticRegression:
        with pytest.raises(ValueError, match="binomial model"):
            m.sample_predictive(X, 2, trials=np.ones(80))


@pytest.mark.parametrize("model", MODELS)
def test_arviz_gets_everything(model):
    arviz = pytest.importorskip("arviz")
    y, weights = MODELS[model], np.linspace(0.5, 1.5, 80)
    m = model(random_state=0).fit(X, y, sample_weight=weights)
    few = m.to_arviz(n_samples=40, rng=0)
    assert set(few.groups()) == {"posterior", "sample_stats"}
    data = m.to_arviz(X, y, sample_weight=weights, rng=0)
    assert data.posterior["coef"].shape == (4, 1000, 2) and list(data.posterior["coef"].coords["feature"]) == [
        "x0",
        "x1",
    ]
    assert {"lp", "log_q", "log_weight"} <= set(data.sample_stats)
    np.testing.assert_array_equal(data.observed_data["y"], y)
    params = np.column_stack(
        [
            data.posterior["coef"].values.reshape(-1, 2),
            *(data.posterior[k].values.reshape(-1) for k in ("intercept", "log sigma") if k in data.posterior),
        ]
    )
    likelihood = data.log_likelihood["y"].values.reshape(4000, 80)
    prior = scipy.stats.norm.logpdf(params[:, :3], 0.0, [*m.prior_scale_, m.intercept_prior_scale_]).sum(1)
    if model is sb.BayesianLinearRegression:
        prior = prior + scipy.stats.norm.logpdf(params[:, 3], np.log(weighted_sd(y, weights)), 5.0)
    # the log joint density is the weighted likelihood and the prior: two codes that share nothing
    np.testing.assert_allclose(data.sample_stats["lp"].values.ravel(), likelihood @ weights + prior, rtol=1e-9)
    assert np.isfinite(arviz.loo(data).elpd_loo) and data.posterior_predictive["y"].shape == (4, 1000, 80)
    with pytest.raises(ValueError, match="belong together"):
        m.to_arviz(X)


def weighted_sd(y, weights):
    return np.sqrt(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights))
