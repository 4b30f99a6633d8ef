"""More than two classes: density, derivatives, kernels, the fit's integrals, and scikit-learn's shapes."""

import pickle

import numpy as np
import pytest
import scipy
from scipy.special import log_softmax, softmax
from statistics_helpers import assert_unbiased

import sbpfast as sb
from sbpfast import _core
from sbpfast._reference import softmax as twin
from sbpfast.fitting import _softmax as rules

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning"),
    pytest.mark.filterwarnings("ignore:The data say little:sbpfast.FitWarning"),
]
ISAS = _core.AVAILABLE_ISAS
N, D, K = 90, 3, 4
r = np.random.default_rng(0)
X = np.column_stack([r.standard_normal((N, D - 1)), np.ones(N)])
Y = (X @ r.standard_normal((D, K)) + r.gumbel(size=(N, K))).argmax(axis=1)
WEIGHTS = r.random(N) * 2
POINTS = r.standard_normal((70, (K - 1) * D))


def log_joint(x, weights=1.0, scale=1.5):
    eta = np.column_stack([np.zeros(N), X @ x.reshape(K - 1, D).T])
    likelihood = (weights * log_softmax(eta, axis=1)[np.arange(N), Y]).sum()
    return likelihood + scipy.stats.norm.logpdf(x, 0.0, scale).sum()


def differences(function, x, h=1e-5):
    return np.stack([(function(x + h * e) - function(x - h * e)) / (2 * h) for e in np.eye(x.shape[1])], axis=-1)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_density_and_derivatives(kind):
    f = sb.targets.multinomial_regression(kind(X), Y, prior_scale=1.5, weights=WEIGHTS)
    assert f.dim == (K - 1) * D
    np.testing.assert_allclose(f.value(POINTS), [log_joint(x, WEIGHTS) for x in POINTS], rtol=1e-12)
    some = POINTS[:6]
    np.testing.assert_allclose(f.grad(some), differences(f.value, some), atol=1e-6)
    np.testing.assert_allclose(f.hess(some), differences(f.grad, some), atol=1e-6)
    np.testing.assert_allclose(f.hess_mean(POINTS), f.hess(POINTS).mean(axis=0), atol=1e-10)
    v = r.standard_normal(some.shape)
    np.testing.assert_allclose(f.hvp(some, v), np.einsum("nij,nj->ni", f.hess(some), v), atol=1e-10)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(f)).value(some), f.value(some))


def test_far_points_are_finite_and_right():
    f = sb.targets.multinomial_regression(X, Y, prior_scale=np.inf)
    for size in (1e3, 1e8):
        x = size * POINTS[:5]
        eta = np.concatenate([np.zeros((5, N, 1)), np.einsum("jd,nkd->njk", X, x.reshape(5, K - 1, D))], axis=2)
        want = log_softmax(eta, axis=2)[:, np.arange(N), Y].sum(axis=1)
        np.testing.assert_allclose(f.value(x), want, rtol=1e-12)
        assert np.isfinite(f.grad(x)).all()


def test_two_classes_are_the_logistic_regression():
    y = (Y > 1).astype(float)
    two, one = (
        make(X, y, prior_scale=[0.5, 1.0, np.inf], prior_mean=0.2, weights=WEIGHTS)
        for make in (sb.targets.multinomial_regression, sb.targets.logistic_regression)
    )
    np.testing.assert_allclose(two.value(POINTS[:, :D]), one.value(POINTS[:, :D]), rtol=1e-12)
    a, b = sb.fit(two, rng=0), sb.fit(one, rng=0)
    assert a.converged and a.elbo == pytest.approx(b.elbo, abs=1e-7)
    np.testing.assert_allclose(a.q.mean, b.q.mean, atol=1e-7)
    np.testing.assert_allclose(a.q.cov, b.q.cov, atol=1e-7)


def test_a_symmetric_prior_is_that_of_the_differences():
    f = sb.targets.multinomial_regression(X, Y, prior_scale=[0.5, 1.0, 2.0], symmetric=True)
    flat = sb.targets.multinomial_regression(X, Y, prior_scale=np.inf)
    one = 0.5 * (np.eye(K - 1) + 1.0)  # the covariance of b_k - b_0, each of variance 1/2 before
    cov = np.kron(one, np.diag([0.25, 1.0, 4.0]))
    want = scipy.stats.multivariate_normal(np.zeros(f.dim), cov).logpdf(POINTS)
    np.testing.assert_allclose(f.value(POINTS) - flat.value(POINTS), want, rtol=1e-10)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows, p, n, m", [(1, 1, 1, 1), (7, 3, 64, 16), (5, 2, 130, 64), (3, 6, 200, 200)])
def test_kernel_at_draws(rows, p, n, m, isa):
    q = np.random.default_rng(n)
    eta, y = 3.0 * q.standard_normal((rows, p, n)), q.integers(0, p + 1, rows)
    want = twin.softmax_derivatives(eta, y, m)
    results = []
    for n_threads in (1, 2, 3):
        prob, value, curvature = eta.copy(), np.empty((rows, n)), np.empty((-(-n // m), rows, p, p))
        _core.load("softmax", isa).softmax_derivatives(prob, y.astype(np.intp), m, value, curvature, n_threads)
        results.append((value, prob, curvature))
        for got, expected in zip(results[-1], want):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows, p", [(1, 1), (9, 2), (4, 6)])
def test_kernel_of_expectations(rows, p, isa):
    q = np.random.default_rng(p)
    root = q.standard_normal((rows, p, p))
    m, cov, y = q.standard_normal((rows, p)), root @ root.transpose(0, 2, 1), q.integers(0, p + 1, rows)
    nodes, weights = rules.normal_rule(p)
    want = twin.softmax_expectations(m, cov, y, nodes, weights)
    out = np.empty(rows), np.empty((rows, p)), np.empty((rows, p, p))
    _core.load("softmax", isa).softmax_expectations(m, cov.copy(), y.astype(np.intp), nodes, weights, *out, 2)
    for got, expected in zip(out, want):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 6, 9])
def test_rules_have_the_moments_of_a_normal(p):
    nodes, weights = rules.normal_rule(p)
    assert weights.sum() == pytest.approx(1.0) and (weights > 0).all()
    np.testing.assert_allclose(nodes @ weights, 0.0, atol=1e-13)
    np.testing.assert_allclose((weights * nodes) @ nodes.T, np.eye(p), atol=1e-12)
    third = np.einsum("n,in,jn,kn->ijk", weights, nodes, nodes, nodes)
    np.testing.assert_allclose(third, 0.0, atol=1e-11)


@pytest.mark.parametrize("k, bound", [(3, 1e-5), (4, 1e-4), (7, 2e-3)])
def test_the_integrals_of_a_fit(k, bound):
    """E of log sum exp under normals of sd 0.7 against many draws of the same normals, antithetic."""
    q = np.random.default_rng(k)
    m, cov = q.standard_normal((5, k - 1)), np.broadcast_to(0.5 * np.eye(k - 1), (5, k - 1, k - 1)).copy()
    nodes, weights = rules.normal_rule(k - 1)
    got = twin.softmax_expectations(m, cov, np.zeros(5, dtype=int), nodes, weights)
    z = scipy.special.ndtri(scipy.stats.qmc.Sobol(k - 1, rng=q).random(2**15)).T
    z = np.concatenate([z, -z], axis=1)
    want = twin.softmax_expectations(m, cov, np.zeros(5, dtype=int), z, np.full(z.shape[1], 1.0 / z.shape[1]))
    for a, b in zip(got[:2], want[:2]):
        np.testing.assert_allclose(a, b, atol=bound + 2e-5)


def test_the_fit_is_where_price_and_bonnet_say():
    f = sb.targets.multinomial_regression(X, Y, prior_scale=1.5, weights=WEIGHTS)
    fit = sb.fit(f, rng=0)
    assert fit.converged and fit.n_iter < 40
    est = sb.expectation_grad(f, fit.q, estimator="price", n_samples=20000, rng=1)
    assert_unbiased(est.grad["mean"], 0.0, est.stderr["mean"])
    assert_unbiased(2.0 * est.grad["cov"], -np.linalg.inv(fit.q.cov), 2.0 * est.stderr["cov"])
    assert_unbiased(est.value + fit.q.entropy(), fit.elbo, est.stderr["value"])
    sampled = sb.fit(f, estimator="price", rng=0)
    np.testing.assert_allclose(sampled.q.mean, fit.q.mean, atol=0.2 * np.sqrt(np.diag(fit.q.cov)).max())
    assert sb.fit(f, structure="diagonal", rng=0).elbo < fit.elbo


def test_flat_priors_and_separated_classes():
    x = np.column_stack([np.repeat([-3.0, 0.0, 3.0], 10) + 0.1 * r.standard_normal(30), np.ones(30)])
    with pytest.raises(sb.ImproperDensity):
        sb.fit(sb.targets.multinomial_regression(x, np.repeat([0, 1, 2], 10), prior_scale=np.inf), rng=0)
    with pytest.raises(sb.ImproperDensity):
        sb.fit(sb.targets.multinomial_regression(np.column_stack([X, X[:, 0]]), Y, prior_scale=np.inf), rng=0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"y": Y - 1}, "y must be classes, whole numbers from 0, got -1"),
        ({"y": Y + 0.5}, "y must be classes"),
        ({"y": Y[:-1]}, "one entry for each of the 90 rows"),
        ({"y": 0 * Y}, "n_classes must be at least 2"),
        ({"n_classes": 3}, "n_classes must be at least 2 and more than every y, got 3 and a y of 3"),
        ({"prior_scale": [1.0, 2.0]}, "prior_scale must be a scalar or have shape \\(3,\\), \\(3, 3\\)"),
        ({"prior_scale": 0.0}, "prior_scale must be positive"),
        ({"weights": -np.ones(N)}, "weights must not be negative"),
        ({"symmetric": True, "prior_mean": 1.0}, "prior_mean must be 0"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sb.targets.multinomial_regression(**({"X": X, "y": Y, "prior_scale": 1.0} | change))


# -- the estimator -----------------------------------------------------------------------------------------------------

LABELS = np.array(["ash", "birch", "cedar", "dogwood"])[Y]


def fitted(**settings):
    return sb.BayesianLogisticRegression(random_state=0, **settings).fit(X[:, :2], LABELS)


def test_shapes_are_those_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    m = fitted(autoscale=False, intercept_prior_scale=100.0)
    theirs = linear_model.LogisticRegression(C=0.5 * 2.5**2, tol=1e-8).fit(X[:, :2], LABELS)
    assert m.coef_.shape == theirs.coef_.shape and m.intercept_.shape == theirs.intercept_.shape
    sd = np.sqrt(np.diag(m.coef_cov_)).reshape(m.coef_.shape)
    assert (np.abs(m.coef_ - theirs.coef_) < 0.5 * sd).all()
    np.testing.assert_array_equal(m.classes_, theirs.classes_)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert getattr(m, method)(X[:, :2]).shape == getattr(theirs, method)(X[:, :2]).shape
    np.testing.assert_allclose(m.coef_.sum(axis=0), 0.0, atol=1e-12)
    assert m.score(X[:, :2], LABELS) == pytest.approx(theirs.score(X[:, :2], LABELS), abs=0.05)


def test_probabilities_integrate_the_posterior():
    m = fitted()
    p, params = m.predict_proba(X[:, :2]), m.sample_params(20000, rng=1)
    eta = np.einsum("jd,nkd->njk", X, params.reshape(-1, K - 1, D))
    draws = softmax(np.concatenate([np.zeros((*eta.shape[:2], 1)), eta], axis=2), axis=2)
    assert_unbiased(draws.mean(axis=0), p, draws.std(axis=0) / np.sqrt(20000), freedom=np.inf)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_array_equal(m.predict(X[:, :2]), m.classes_[p.argmax(axis=1)])
    shares = (m.sample_predictive(X[:3, :2], 4000, rng=0)[..., None] == m.classes_).mean(axis=0)
    np.testing.assert_allclose(shares, p[:3], atol=0.04)


def test_the_order_of_the_classes_does_not_matter():
    m, names = fitted(), {"ash": "zelkova", "birch": "alder", "cedar": "cedar", "dogwood": "beech"}
    other = sb.BayesianLogisticRegression(random_state=0).fit(X[:, :2], [names[label] for label in LABELS])
    order = [other.classes_.tolist().index(names[label]) for label in m.classes_]
    assert other.elbo_ == pytest.approx(m.elbo_, abs=1e-4)
    np.testing.assert_allclose(other.coef_[order], m.coef_, atol=1e-4)
    np.testing.assert_allclose(other.predict_proba(X[:, :2])[:, order], m.predict_proba(X[:, :2]), atol=1e-4)


def test_posterior_names_and_pickles():
    m = fitted()
    assert m.fit_.names[:3] == ["x0[birch]", "x1[birch]", "intercept[birch]"] and "x1[dogwood]" in str(m.summary())
    draws = m.sample_coef(20000, rng=0)
    assert draws.shape == (20000, K, 2)
    flat = draws.reshape(20000, -1)
    np.testing.assert_allclose(np.cov(flat.T), m.coef_cov_, atol=0.05 * np.diag(m.coef_cov_).max())
    np.testing.assert_allclose(flat.mean(axis=0), m.coef_.ravel(), atol=0.02)
    again = pickle.loads(pickle.dumps(m))
    np.testing.assert_array_equal(again.predict_proba(X[:, :2]), m.predict_proba(X[:, :2]))
    assert again.coef_.shape == (K, 2)
    weights = sb.BayesianLogisticRegression(class_weight="balanced", random_state=0).fit(X[:, :2], LABELS)
    balanced = N / (K * np.bincount(Y)[Y])
    again.fit(X[:, :2], LABELS, sample_weight=balanced)
    np.testing.assert_allclose(weights.coef_, again.coef_, rtol=1e-9)
    frame = pytest.importorskip("pandas").DataFrame({"x": X[:, 0], "z": X[:, 1], "tree": LABELS})
    pytest.importorskip("formulae")
    by_name = sb.BayesianLogisticRegression.from_formula("tree ~ x + z", frame, random_state=0)
    np.testing.assert_array_equal(by_name.coef_, m.coef_)
    np.testing.assert_array_equal(by_name.predict(frame), m.predict(X[:, :2]))


def test_what_the_estimator_refuses():
    m = fitted()
    with pytest.raises(ValueError, match="an offset belongs to the linear predictor of two classes, y has 4"):
        m.fit(X[:, :2], LABELS, offset=np.ones(N))
    with pytest.raises(ValueError, match="an offset belongs to two classes, there are 4"):
        m.predict_proba(X[:, :2], offset=np.ones(N))
    with pytest.raises(ValueError, match="the linear predictor of row 1 of X overflows"):
        m.predict_proba([[0.0, 0.0], [1e300, 0.0]])
    with pytest.raises(ValueError, match="predict_interval is for two classes"):
        m.predict_interval(X[:, :2])
    with pytest.raises(ValueError, match="to_arviz takes no data"):
        m.to_arviz(X[:, :2], LABELS)
    with pytest.raises(ValueError, match="exactly two classes, got 4 classes"):
        sb.BayesianProbitRegression().fit(X[:, :2], LABELS)
    with pytest.raises(ValueError, match="at least two classes, got 1 class"):
        m.fit(X[:, :2], ["ash"] * N)


def test_hessians_that_overflow_are_refused():
    f = sb.targets.multinomial_regression([[1.7e308, 1.7e308], [1.0, 2.0], [0.0, 1.0]], [0, 1, 2], prior_scale=0.3)
    with pytest.raises(sb.NonFiniteTarget):
        f.hess(np.ones((1, 4)))
