"""The regressions: predictions against quadrature, scikit-learn's protocol, weights, offsets, sparse X."""

import re

import numpy as np
import pytest
import scipy
from statistics_helpers import assert_unbiased

import sbpfast as sb

linear_regression_unknown_noise = sb.regression.linear_regression_unknown_noise

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning"),
    pytest.mark.filterwarnings("ignore:The data say little:sbpfast.FitWarning"),
]
MODELS = (
    sb.BayesianLogisticRegression,
    sb.BayesianProbitRegression,
    sb.BayesianPoissonRegression,
    sb.BayesianStudentTRegression,
    sb.BayesianLinearRegression,
    sb.BayesianNegativeBinomialRegression,
    sb.BayesianGammaRegression,
)


def data(model, n=120, d=3, seed=0):
    r = np.random.default_rng(seed)
    X = r.standard_normal((n, d))
    t = X @ np.array([1.0, -0.5, 0.3])[:d] + 0.2
    if model._estimator_type == "classifier":
        return X, (r.random(n) < scipy.special.expit(t)).astype(int)
    if model is sb.BayesianGammaRegression:
        return X, r.gamma(4.0, np.exp(t) / 4.0)
    counts = model in (sb.BayesianPoissonRegression, sb.BayesianNegativeBinomialRegression)
    return X, r.poisson(np.exp(t)) if counts else t + 0.3 * r.standard_normal(n)


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
    classifier = model._estimator_type == "classifier"
    assert m.coef_.shape == ((1, 3) if classifier else (3,)) and np.shape(m.intercept_) == ((1,) if classifier else ())
    assert m.coef_cov_.shape == (3, 3) and m.n_features_in_ == 3
    assert np.linalg.eigvalsh(m.coef_cov_).min() > 0
    draws = m.sample_coef(4000, rng=1)
    assert_unbiased(draws.mean(0), m.coef_.ravel(), np.sqrt(np.diag(m.coef_cov_) / len(draws)), freedom=np.inf)
    assert m.predict(X).shape == (120,) and m.score(X, y) > 0.3
    assert "x1" in str(m.summary()) and "intercept" in str(m.summary())
    with pytest.raises(ValueError, match=f"X has 2 features, but {model.__name__} is expecting 3 features as input"):
        m.predict(X[:, :2])


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_repetitions_and_sparse_is_dense(model):
    X, y = data(model)
    w = np.random.default_rng(1).integers(0, 3, len(y))
    weighted = model(random_state=0).fit(X, y, sample_weight=w)
    repeated = model(random_state=0).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    sparse = model(random_state=0).fit(scipy.sparse.csr_array(X), y, sample_weight=w)
    sd = np.sqrt(np.diag(repeated.coef_cov_))
    for other in (weighted, sparse):
        np.testing.assert_allclose(other.coef_ / sd, repeated.coef_ / sd, atol=1e-6)
        np.testing.assert_allclose(other.predict(X), repeated.predict(X), atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_an_offset_moves_the_intercept(model):
    X, y = data(model)
    plain = model(random_state=0, intercept_prior_scale=np.inf).fit(X, y)
    moved = model(random_state=0, intercept_prior_scale=np.inf).fit(X, y, offset=np.full(len(y), 0.7))
    assert moved.intercept_ == pytest.approx(plain.intercept_ - 0.7, abs=1e-7)
    offset = np.full(len(y), 0.7)
    np.testing.assert_allclose(moved.predict(X, offset=offset), plain.predict(X), rtol=1e-7, atol=1e-7)
    assert moved.score(X, y, offset=offset) == pytest.approx(plain.score(X, y), abs=1e-7)


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
        np.testing.assert_allclose(m.predict_log_proba(X), np.log(p))
        np.testing.assert_allclose(m.decision_function(X), np.log(p[:, 1] / p[:, 0]))
        if model is sb.BayesianLogisticRegression:
            for shift, column in ((-40.0, 1), (40.0, 0)):  # a small probability is no difference from 1
                want = link(-np.sign(shift) * (mean[:, None] + shift + t[:, None] * z)) @ w / w.sum()
                p = m.predict_proba(X, offset=np.full(25, shift))
                np.testing.assert_allclose(p[:, column], want, rtol=1e-6)


def test_poisson_means_integrate_the_posterior():
    X, y = data(sb.BayesianPoissonRegression, n=30)
    m = sb.BayesianPoissonRegression(random_state=0).fit(X, y)
    draws = m.sample_params(200000, rng=0)
    rates = np.exp(np.column_stack([X, np.ones(30)]) @ draws.T)
    assert_unbiased(rates.mean(1), m.predict(X), rates.std(1) / np.sqrt(200000), freedom=np.inf)


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


@pytest.mark.parametrize("units", [(1e-7, 1.0, 1e7), (1e-20, 1.0, 1e20), "timestamp"])
def test_unknown_noise_in_any_units(units):
    r = np.random.default_rng(3)
    X, b = r.standard_normal((300, 3)), np.array([1.0, 2.0, 3.0])
    y = X @ b + 0.5 * r.standard_normal(300)
    plain = sb.fit(linear_regression_unknown_noise(X, y, prior_scale=np.inf)).q
    if units == "timestamp":
        X = np.column_stack([X, 1.7e9 + r.integers(0, 86400, 300), np.ones(300)])
        b = np.append(b, [1e-6, -1.7e3])
    else:
        X, b = X * units, b / units
    f = linear_regression_unknown_noise(X, y, prior_scale=np.inf)
    norm = scipy.stats.norm
    want = norm.logpdf(y, X @ b, np.exp(-0.7)).sum() + norm.logpdf(-0.7, 0.0, 5.0)
    assert f.value(np.append(b, -0.7)[None])[0] == pytest.approx(want, rel=1e-9)
    fit = sb.fit(f)
    assert fit.converged and fit.residual_trace[-1] < 1e-8
    if units != "timestamp":
        np.testing.assert_allclose(fit.q.mean[:3] * units, plain.mean[:3], rtol=1e-10)
        np.testing.assert_allclose(np.sqrt(np.diag(fit.q.cov))[:3] * units, np.sqrt(np.diag(plain.cov))[:3], rtol=1e-8)


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_unknown_noise_moments_are_exact(rows):
    """Against Gauss-Hermite quadrature of the density and its derivatives, for the optimum and away from it."""
    r = np.random.default_rng(4)
    X, y = r.standard_normal((rows, 1)), r.standard_normal(rows)
    f = linear_regression_unknown_noise(X, y, prior_scale=2.0, log_noise_mean=0.2, log_noise_scale=0.8)
    fit = sb.fit(f, estimator="exact")
    assert fit.converged and fit.elbo_stderr == 0.0 and fit.n_samples == 0
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    w = np.multiply.outer(weights, weights).ravel() / (2.0 * np.pi)
    chol = np.linalg.cholesky(fit.q.cov)
    x = fit.q.mean + z @ chol.T
    entropy = np.log(np.diag(chol)).sum() + 1.0 + np.log(2.0 * np.pi)
    assert fit.elbo == pytest.approx(w @ f.value(x) + entropy, abs=1e-9)
    assert np.abs(chol.T @ (w @ f.grad(x))).max() < 1e-7
    np.testing.assert_allclose(-chol.T @ np.einsum("n,nij->ij", w, f.hess(x)) @ chol, np.eye(2), atol=1e-7)
    start = sb.Gaussian(fit.q.mean + 0.5, 2.0 * fit.q.cov)
    elsewhere = sb.fit(f, start, max_iter=100)
    np.testing.assert_allclose(elsewhere.q.mean, fit.q.mean, atol=1e-3)
    assert elsewhere.elbo <= fit.elbo + 1e-12


@pytest.mark.parametrize(
    "rows, d, exact", [(1, 1, False), (2, 5, False), (5, 5, False), (20, 50, False), (50, 3, True), (10, 4, True)]
)
def test_unknown_noise_takes_every_proper_problem(rows, d, exact):
    r = np.random.default_rng(5)
    X = r.standard_normal((rows, d))
    y = X[:, 0] if exact else X[:, 0] + r.standard_normal(rows)
    m = sb.BayesianLinearRegression(random_state=0).fit(X, y)
    assert m.fit_.converged and np.isfinite(m.coef_cov_).all()
    if exact:  # the noise is what rounding leaves
        np.testing.assert_allclose(m.predict(X), y, atol=1e-10)
        assert 0 < m.noise_scale_ < 1e-11
    constant = sb.BayesianLinearRegression(random_state=0).fit(X, np.full(rows, 3.0))
    np.testing.assert_allclose(constant.predict(X), 3.0, atol=0.3 if rows <= d else 1e-10)
    flat = linear_regression_unknown_noise(np.column_stack([X, X[:, 0]]), y, prior_scale=np.inf)
    with pytest.raises(sb.ImproperDensity, match="combination of others"):
        sb.fit(flat)


def test_unknown_noise_is_found():
    X, y = data(sb.BayesianLinearRegression, n=400)
    m = sb.BayesianLinearRegression(random_state=0).fit(X, y)
    assert m.noise_scale_ == pytest.approx(0.3, abs=0.04)
    mean, sd = m.predict(X, return_std=True)
    assert np.mean(np.abs(y - mean) < 1.96 * sd) == pytest.approx(0.95, abs=0.04)


def test_bad_input():
    X, y = data(sb.BayesianLogisticRegression)
    fit, numbers = sb.BayesianLogisticRegression().fit, sb.BayesianPoissonRegression().fit
    hole = X.copy()
    hole[3, 1] = np.nan
    text = np.where(y == 1, "a", "b").astype(object)
    for call, error, message in (
        (
            lambda: sb.BayesianProbitRegression().fit(X, np.arange(120)),
            ValueError,
            "Only binary classification.*two classes, got 120 classes",
        ),
        (lambda: fit(X, X[:, 0]), ValueError, "Unknown label type: continuous"),
        (lambda: fit(X, np.zeros(120)), ValueError, "got 1 class:"),
        (lambda: fit(X, np.where(y == 1, 1.0, np.nan)), ValueError, "missing labels"),
        (lambda: fit(X, np.where(np.arange(120) == 4, None, text)), ValueError, "missing labels .* index 4"),
        (lambda: fit(X, np.where(np.arange(120) == 4, 3, text)), TypeError, "labels of one kind"),
        (lambda: fit(X, None), ValueError, "requires y"),
        (lambda: fit(hole, y), ValueError, r"X must hold no NaN and no inf, got nan at index \(3, 1\)"),
        (lambda: fit(scipy.sparse.csr_array(hole), y), ValueError, "NaN"),
        (lambda: fit(X + 1j, y), ValueError, "Complex data not supported"),
        (lambda: fit(np.full((120, 2), "a", dtype=object), y), ValueError, "X must hold real numbers"),
        (lambda: fit(X[0], y), ValueError, "Reshape your data"),
        (lambda: fit(X[:0], y[:0]), ValueError, "0 sample"),
        (lambda: fit(X[:, :0], y), ValueError, r"0 feature\(s\)"),
        (lambda: fit(X, y, np.zeros(120)), ValueError, "sample_weight must not be zero"),
        (lambda: fit(X, y, np.full(120, np.nan)), ValueError, "sample_weight must hold no NaN"),
        (lambda: sb.BayesianLogisticRegression(prior_scale=[1.0]).fit(X, y), ValueError, "prior_scale"),
        (lambda: numbers(X, y[:-1]), ValueError, "one entry for each"),
        (lambda: numbers(X, [*y[:-1], None]), ValueError, "y must hold no NaN"),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("model", MODELS)
def test_predicting_checks_what_comes_in(model):
    X, y = data(model)
    m = model(random_state=0).fit(X, y)
    hole = X.copy()
    hole[0, 0] = np.nan
    for bad in (hole, scipy.sparse.csr_array(hole)):
        with pytest.raises(ValueError, match="NaN"):
            m.predict(bad)


class Frame:
    """What the estimators ask of a data frame."""

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


def test_frames():
    X, y = data(sb.BayesianLogisticRegression)
    m = sb.BayesianLogisticRegression(random_state=0).fit(Frame(X, ["age", "dose", "sex"]), y)
    assert m.feature_names_in_.tolist() == ["age", "dose", "sex"] and "dose" in str(m.summary())
    assert m.fit_.names == ["age", "dose", "sex", "intercept"]
    np.testing.assert_array_equal(m.predict(Frame(X, ["age", "dose", "sex"])), m.predict(X))
    for names, message in (
        (["dose", "age", "sex"], "must be in the same order"),
        (
            ["age", "dose", "weight"],
            "unseen at fit time:\n- weight\nFeature names seen at fit time, yet now missing:\n- sex",
        ),
        (["age", "dose"], "missing:\n- sex"),
    ):
        with pytest.raises(ValueError, match=re.escape("The feature names should match") + f"(.|\n)*{message}"):
            m.predict_proba(Frame(X[:, : len(names)], names))
    mixed = X.astype(object)
    mixed[:, 1] = X[:, 1] > 0  # a frame of numbers and booleans is an array of objects
    as_numbers = np.column_stack([X[:, 0], X[:, 1] > 0, X[:, 2]])
    other = sb.BayesianLogisticRegression(random_state=0).fit(mixed, y)
    np.testing.assert_array_equal(other.coef_, sb.BayesianLogisticRegression(random_state=0).fit(as_numbers, y).coef_)
    m.fit(X, y)
    assert not hasattr(m, "feature_names_in_")


def test_a_failed_refit_changes_nothing():
    X, y = data(sb.BayesianLogisticRegression)
    m = sb.BayesianLogisticRegression(random_state=0).fit(Frame(X, ["age", "dose", "sex"]), np.where(y == 1, "b", "a"))
    before = dict(vars(m))
    with pytest.raises(ValueError, match="two classes"):
        m.fit(X[:, :2], np.zeros(120))
    with pytest.raises(sb.ImproperDensity):
        m.set_params(prior_scale=np.inf).fit(np.column_stack([X, X]), np.where(y == 1, "z", "q"))
    m.set_params(prior_scale=2.5)
    assert vars(m).keys() == before.keys() and all(
        vars(m)[name] is before[name] for name in before if name != "prior_scale"
    )


def test_random_states():
    X, y = data(sb.BayesianPoissonRegression, n=25)
    khat = [
        sb.BayesianPoissonRegression(random_state=state).fit(X, y).fit_.khat
        for state in (np.random.RandomState(1), np.random.RandomState(1), np.random.RandomState(2))
    ]
    assert khat[0] == khat[1] != khat[2]
    assert sb.BayesianPoissonRegression(random_state=np.random.default_rng(0)).fit(X, y).fit_.converged


def test_a_column_is_flattened_and_a_constant_scored():
    X, y = data(sb.BayesianLinearRegression)
    m = sb.BayesianLinearRegression(random_state=0)
    with pytest.warns(UserWarning, match="column-vector y"):
        m.fit(X, y[:, None])
    with pytest.warns(UserWarning, match="column-vector y"):
        assert m.score(X, y[:, None]) == m.score(X, y) > 0.8
    assert m.score(X[:1], y[:1]) == 0.0


def test_names_are_saved(tmp_path):
    X, y = data(sb.BayesianLinearRegression)
    m = sb.BayesianLinearRegression(random_state=0).fit(X, y)
    m.fit_.save(tmp_path / "fit.npz")
    assert sb.Fit.load(tmp_path / "fit.npz").summary().names == ["x0", "x1", "x2", "intercept", "log sigma"]


def test_scikit_learn_itself():
    sklearn = pytest.importorskip("sklearn")
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = data(sb.BayesianLogisticRegression)
    model = sb.BayesianLogisticRegression(random_state=0)
    assert sklearn.base.is_classifier(model)
    pipeline = make_pipeline(StandardScaler(), model)
    for scoring in ("accuracy", "neg_log_loss", "roc_auc"):
        assert cross_val_score(pipeline, X, y, cv=3, scoring=scoring).mean() > -0.7


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", MODELS)
def test_scikit_learns_checks(model):
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    checks.check_estimator(model())
