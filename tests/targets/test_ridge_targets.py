"""Ridge targets: derivatives, layouts, sparse rows, pickles."""

import pickle

import numpy as np
import pytest
import scipy.sparse
import scipy.special
import scipy.stats
from target_cases import (
    BINARY,
    COUNTS,
    OFFSET,
    POINTS,
    RNG,
    TARGETS,
    WEIGHTS,
    D,
    X,
    quadratic_part,
)

import sbpfast as sb


def differences(function, x, h=1e-5):
    """Central differences in every coordinate, extrapolated once: (n, ..., d)."""

    def central(h):
        return np.stack([(function(x + h * e) - function(x - h * e)) / (2 * h) for e in np.eye(x.shape[1])], axis=-1)

    return (4 * central(h / 2) - central(h)) / 3


@pytest.mark.parametrize("name", TARGETS)
def test_derivatives_are_differences(name):
    f, x = TARGETS[name], POINTS / 2
    grad, hess = f.grad(x), f.hess(x)
    scale = max(1.0, np.abs(f.value(x)).max())
    np.testing.assert_allclose(grad, differences(f.value, x, 1e-4), rtol=1e-7, atol=1e-9 * scale)
    np.testing.assert_allclose(hess, differences(f.grad, x, 1e-4), rtol=1e-7, atol=1e-9 * scale)
    np.testing.assert_allclose(hess, hess.swapaxes(1, 2), rtol=1e-13, atol=1e-13)
    v = RNG.standard_normal(x.shape)
    np.testing.assert_allclose(f.hvp(x, v), np.einsum("nij,nj->ni", hess, v), rtol=1e-11, atol=1e-12 * scale)
    np.testing.assert_allclose(f.hvp(x, v[0]), np.einsum("nij,j->ni", hess, v[0]), rtol=1e-11, atol=1e-12 * scale)
    np.testing.assert_allclose(f.hess_mean(x), hess.mean(axis=0), rtol=1e-11, atol=1e-12 * scale)
    assert f.value(x).shape == (9,) and grad.shape == (9, D) and hess.shape == (9, D, D)
    assert f.value(x[:0]).shape == (0,) and f.grad(x[:0]).shape == (0, D) and f.hess(x[:0]).shape == (0, D, D)


def test_ridge_by_its_formula():
    """q(x) + sum_j w_j phi(a_j . x + c_j; y_j), with signed weights."""
    q, weights = quadratic_part(D), WEIGHTS - 1.0
    f = sb.targets.ridge(X, OFFSET, "log_cosh", weights, quadratic=q)
    t = POINTS @ X.T + OFFSET
    np.testing.assert_allclose(f.value(POINTS), q.value(POINTS) + np.log(np.cosh(t)) @ weights, rtol=1e-12)
    np.testing.assert_allclose(f.grad(POINTS), q.grad(POINTS) + (weights * np.tanh(t)) @ X, rtol=1e-11)
    r = np.random.default_rng(D)
    m = r.standard_normal((D, D))
    centre = r.standard_normal(D)
    np.testing.assert_allclose(
        q.value(POINTS), 0.3 - 0.5 * np.einsum("ni,ij,nj->n", POINTS - centre, m + m.T, POINTS - centre), rtol=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 300, 2500])
def test_values_for_every_size(n, rows):
    """The kernels work on 64 points by 32 rows and cut the rows in pieces: no remainder may be lost."""
    r = np.random.default_rng(n + rows)
    a, x, w = r.standard_normal((rows, 3)), r.standard_normal((n, 3)), r.standard_normal(rows)
    f = sb.targets.ridge(a, 0.1, "softplus", w)
    t = x @ a.T + 0.1
    np.testing.assert_allclose(f.value(x), np.logaddexp(0, t) @ w, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(f.grad(x), (w * scipy.special.expit(t)) @ a, rtol=1e-11, atol=1e-11)
    curvature = (w * scipy.special.expit(t) * scipy.special.expit(-t)).mean(axis=0)
    np.testing.assert_allclose(f.hess_mean(x), (a.T * curvature) @ a, rtol=1e-11, atol=1e-11)


def same(f, g, x=POINTS, rtol=1e-12):
    q = sb.Gaussian(x[0], 0.3 * np.eye(D) + 0.1)
    for left, right in zip(results(f, x, q), results(g, x, q)):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=rtol)


def results(f, x, q):
    yield from (f.value(x), f.grad(x), f.hess(x), f.hvp(x, x), f.hess_mean(x))
    low_rank = sb.LowRankGaussian(x[0], np.full(D, 0.3), x[:1].T)
    for distribution in (
        q,
        low_rank,
        sb.DiagonalGaussian(x[0], np.full(D, 0.5)),
        sb.LowRankPrecisionGaussian(x[0], np.ones(D), x[:1].T),
    ):
        for estimator in ("exact", "price", "pathwise"):
            est = sb.expectation_grad(f, distribution, estimator=estimator, n_samples=70, rng=1)
            yield from (est.value, *est.grad.values(), *est.stderr.values())


@pytest.mark.parametrize(
    "container", [scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.coo_matrix, scipy.sparse.csr_matrix]
)
def test_sparse_is_dense(container):
    a = X * (np.random.default_rng(1).random(X.shape) < 0.4)
    a[3] = 0.0
    for dtype in (np.float64, np.float32):
        rounded = a.astype(dtype)
        same(
            sb.targets.logistic_regression(container(rounded), BINARY, prior_scale=2.0, offset=OFFSET, weights=WEIGHTS),
            sb.targets.logistic_regression(rounded, BINARY, prior_scale=2.0, offset=OFFSET, weights=WEIGHTS),
        )
    same(
        sb.targets.ridge(container(a), OFFSET, "softplus", -WEIGHTS, quadratic=quadratic_part(D)),
        sb.targets.ridge(a, OFFSET, "softplus", -WEIGHTS, quadratic=quadratic_part(D)),
    )


def layouts(a):
    """The same numbers in memory in other ways, each read-only."""
    strided = np.repeat(np.repeat(a, 2, axis=0), 3, axis=-1)[::2, ..., ::3]
    for b in (np.asfortranarray(a), strided, a[::-1].copy()[::-1], a.astype(np.float64, copy=True)):
        b.setflags(write=False)
        yield b
    yield a.tolist()


def test_layouts_and_dtypes_of_the_input():
    want = sb.targets.poisson_regression(X, COUNTS, prior_scale=2.0, offset=OFFSET, weights=WEIGHTS)
    for a, offset, weights, y in zip(
        layouts(X), layouts(OFFSET[:, None]), layouts(WEIGHTS[:, None]), layouts(COUNTS[:, None] * 1.0)
    ):
        flat = [np.asarray(v)[:, 0] for v in (offset, weights, y)]
        same(sb.targets.poisson_regression(a, flat[2], prior_scale=2.0, offset=flat[0], weights=flat[1]), want)
    for x in layouts(POINTS):
        np.testing.assert_array_equal(want.value(x), want.value(POINTS))
        np.testing.assert_array_equal(want.grad(x), want.grad(POINTS))
    single = X.astype(np.float32)
    same(
        sb.targets.poisson_regression(single, COUNTS.astype(np.int8), prior_scale=np.float32(2.0)),
        sb.targets.poisson_regression(single.astype(float), COUNTS, prior_scale=2.0),
    )
    points = POINTS.astype(np.float32)
    np.testing.assert_allclose(want.value(points), want.value(points.astype(float)), rtol=1e-12)
    same(
        sb.targets.logistic_regression(X, BINARY.astype(bool), prior_scale=1),
        sb.targets.logistic_regression(X, BINARY, prior_scale=1.0),
    )


def test_ridge_targets_and_distributions_can_be_pickled():
    """Worker processes get them that way."""
    for name, target in TARGETS.items():
        copy = pickle.loads(pickle.dumps(target))
        np.testing.assert_array_equal(copy.grad(POINTS), target.grad(POINTS), err_msg=name)
    for q in (
        sb.Gaussian(np.zeros(2), np.eye(2)),
        sb.LowRankPrecisionGaussian(np.zeros(2), np.ones(2), np.ones((2, 1))),
    ):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(q)).sample(3, rng=0), q.sample(3, rng=0))


@pytest.mark.parametrize("rows,d", [(5, 2), (700, 20)])
def test_hessians_of_sparse_rows_of_any_size(rows, d):
    """Few rows are multiplied dense, since many points then take no time; many stay sparse."""
    r = np.random.default_rng(0)
    a = r.standard_normal((rows, d)) * (r.random((rows, d)) < 0.3)
    x = r.standard_normal((3, d))
    dense, thin = (sb.targets.ridge(m, 0.2, "logistic", y=1.0) for m in (a, scipy.sparse.csr_array(a)))
    probability = 1 / (1 + np.exp(-(x @ a.T + 0.2)))
    want = -np.einsum("sj,ji,jk->sik", probability * (1 - probability), a, a)
    np.testing.assert_allclose(thin.hess(x), want, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dense.hess(x), want, rtol=1e-12, atol=1e-12)


def test_ragged_weights_are_refused_in_words():
    with pytest.raises(ValueError, match="weights is not a rectangular array"):
        sb.targets.ridge(np.eye(2), 0.0, "softplus", weights=[1, [2]])
