"""The regressions: predictions against quadrature, scikit-learn's protocol, weights, offsets, sparse X."""

import numpy as np
import pytest
import scipy

import sbpfast as sb
from sbpfast.regression import linear_regression_unknown_noise

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")
MODELS = (
    sb.BayesianLogisticRegression,
    sb.BayesianProbitRegression,
    sb.BayesianPoissonRegression,
    sb.BayesianStudentTRegression,
    sb.BayesianLinearRegression,
)


def data(model, n=120, d=3, seed=0):
    r = np.random.default_rng(seed)
    X = r.standard_normal((n, d))
    t = X @ np.array([1.0, -0.5, 0.3])[:d] + 0.2
    if model._estimator_type == "classifier":
        return X, (r.random(n) < scipy.special.expit(t)).astype(int)
    return X, r.poisson(np.exp(t)) if model is sb.BayesianPoissonRegression else t + 0.3 * r.standard_normal(n)


@pytest.mark.parametrize("model", MODELS)
def test_protocol(model):
    X, y = data(model)
    m = model(random_state=0)
    assert m.get_params()["random_state"] == 0 and type(m)(**m.get_params()).get_params() == m.get_params()
    assert m.set_params(prior_scale=3.0) is m and m.prior_scale == 3.0
    with pytest.raises(ValueError, match="no parameter"):
        m.set_params(alpha=1)
    with pytest.raises(AttributeError, match="not fitted"):
        m.predict(X)
    assert m.fit(X, y) is m
    assert m.coef_.shape == (3,) and m.coef_cov_.shape == (3, 3) and m.n_features_in_ == 3
    assert np.linalg.eigvalsh(m.coef_cov_).min() > 0
    draws = m.sample_coef(4000, rng=1)
    np.testing.assert_allclose(draws.mean(0), m.coef_, atol=5 * np.sqrt(np.diag(m.coef_cov_)).max() / 60)
    assert m.predict(X).shape == (120,) and m.score(X, y) > 0.3
    assert "x1" in str(m.summary()) and "intercept" in str(m.summary())
    with pytest.raises(ValueError, match="columns"):
        m.predict(X[:, :2])


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_repetitions_and_sparse_is_dense(model):
    X, y = data(model)
    w = np.random.default_rng(1).integers(0, 3, len(y))
    weighted = model(random_state=0).fit(X, y, sample_weight=w)
    repeated = model(random_state=0).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    sparse = model(random_state=0).fit(scipy.sparse.csr_array(X), y, sample_weight=w)
    sd = np.sqrt(np.diag(repeated.coef_cov_))
    tolerance = 0.05 if model is sb.BayesianLinearRegression else 1e-6
    for other in (weighted, sparse):
        np.testing.assert_allclose(other.coef_ / sd, repeated.coef_ / sd, atol=tolerance)
        np.testing.assert_allclose(other.predict(X), repeated.predict(X), atol=tolerance)


@pytest.mark.parametrize("model", MODELS)
def test_an_offset_moves_the_intercept(model):
    X, y = data(model)
    plain = model(random_state=0, intercept_prior_scale=np.inf).fit(X, y)
    moved = model(random_state=0, intercept_prior_scale=np.inf).fit(X, y, offset=np.full(len(y), 0.7))
    assert moved.intercept_ == pytest.approx(plain.intercept_ - 0.7, abs=1e-2)
    np.testing.assert_allclose(moved.predict(X, offset=np.full(len(y), 0.7)), plain.predict(X), rtol=2e-2, atol=1e-2)


def test_probabilities_integrate_the_posterior():
    for model, link in (
        (sb.BayesianLogisticRegression, scipy.special.expit),
        (sb.BayesianProbitRegression, scipy.special.ndtr),
    ):
        X, y = data(model, n=25)
        m = model(random_state=0).fit(X, np.where(y == 1, "yes", "no"))
        assert m.classes_.tolist() == ["no", "yes"]
        design = np.column_stack([X, np.ones(25)])
        mean, t = design @ m.fit_.q.mean, np.sqrt(np.einsum("ij,jk,ik->i", design, m.fit_.q.cov, design))
        z, w = np.polynomial.hermite_e.hermegauss(80)
        want = link(mean[:, None] + t[:, None] * z) @ w / w.sum()
        p = m.predict_proba(X)
        np.testing.assert_allclose(p[:, 1], want, atol=1e-8)
        np.testing.assert_allclose(p.sum(1), 1.0)
        np.testing.assert_array_equal(m.predict(X), np.where(p[:, 1] > 0.5, "yes", "no"))


def test_poisson_means_integrate_the_posterior():
    X, y = data(sb.BayesianPoissonRegression, n=30)
    m = sb.BayesianPoissonRegression(random_state=0).fit(X, y)
    draws = m.sample_params(200000, rng=0)
    rates = np.exp(np.column_stack([X, np.ones(30)]) @ draws.T)
    np.testing.assert_allclose(m.predict(X), rates.mean(1), atol=6 * (rates.std(1) / np.sqrt(200000)).max())


def test_unknown_noise_density_and_derivatives():
    r = np.random.default_rng(2)
    X, y, w = r.standard_normal((30, 2)), r.standard_normal(30), r.random(30)
    f = linear_regression_unknown_noise(
        X, y, prior_scale=[2.0, np.inf], log_noise_mean=0.3, log_noise_scale=1.5, offset=0.1, weights=w
    )
    x = 0.5 * r.standard_normal((6, 3))
    norm = scipy.stats.norm
    for point, value in zip(x, f.value(x)):
        want = (
            w @ norm.logpdf(y, X @ point[:2] + 0.1, np.exp(point[2]))
            + norm.logpdf(point[0], 0, 2.0)
            + norm.logpdf(point[2], 0.3, 1.5)
        )
        assert value == pytest.approx(want, rel=1e-12)
    h = 1e-5
    numeric = np.stack([(f.value(x + h * e) - f.value(x - h * e)) / (2 * h) for e in np.eye(3)], axis=1)
    np.testing.assert_allclose(f.grad(x), numeric, rtol=1e-6, atol=1e-6)
    numeric = np.stack([(f.grad(x + h * e) - f.grad(x - h * e)) / (2 * h) for e in np.eye(3)], axis=2)
    np.testing.assert_allclose(f.hess(x), numeric, rtol=1e-6, atol=1e-5)
    with pytest.raises(ValueError, match="exact linear"):
        linear_regression_unknown_noise(X, X @ [1.0, 2.0], prior_scale=1.0)


def test_unknown_noise_is_found():
    X, y = data(sb.BayesianLinearRegression, n=400)
    m = sb.BayesianLinearRegression(random_state=0).fit(X, y)
    assert m.noise_scale_ == pytest.approx(0.3, abs=0.04)
    mean, sd = m.predict(X, return_std=True)
    assert np.mean(np.abs(y - mean) < 1.96 * sd) == pytest.approx(0.95, abs=0.04)


def test_bad_input():
    X, y = data(sb.BayesianLogisticRegression)
    with pytest.raises(ValueError, match="two classes"):
        sb.BayesianLogisticRegression().fit(X, np.arange(120))
    with pytest.raises(ValueError, match="prior_scale"):
        sb.BayesianLogisticRegression(prior_scale=[1.0]).fit(X, y)
    with pytest.raises(ValueError, match="one entry for each"):
        sb.BayesianPoissonRegression().fit(X, y[:-1])


def test_scikit_learn_itself():
    sklearn = pytest.importorskip("sklearn")
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = data(sb.BayesianLogisticRegression)
    model = sb.BayesianLogisticRegression(random_state=0)
    assert sklearn.base.is_classifier(model)
    assert cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=3).mean() > 0.5
