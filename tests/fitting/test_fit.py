"""fit: optimality against independent quadrature, structures, stopping, diagnostics, files, errors."""

import tracemalloc

import mpmath
import numpy as np
import pytest
import scipy.stats
from statistics_helpers import assert_unbiased

import sbpfast as sb
from sbpfast import _core
from sbpfast.fitting import _newton, _psis
from sbpfast.fitting._low_rank import LowRankCovariance
from sbpfast.fitting._moments import ExactMoments, whitened_moments
from sbpfast.fitting._newton import newton_direction
from sbpfast.targets._expectations import RULES, curvature_moments

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")
LINKS = {
    "negative_binomial": {"dispersion": 2.0},
    "gamma": {},
    "cloglog": {},
    "logistic": {},
    "softplus": {},
    "probit": {},
    "poisson": {},
    "exp": {},
    "square": {},
    "student_t": {"df": 3.0, "scale": 0.7},
    "log_cosh": {},
}


def data(n=40, d=3, seed=0, scale=1.0):
    r = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), scale * r.standard_normal((n, d - 1))])
    y = (r.random(n) < 1.0 / (1.0 + np.exp(-X @ r.standard_normal(d)))).astype(float)
    return X, y


def optimality(target, q, nodes=2000):
    """|E g| and |I - L^T E[-H] L| by Gauss-Legendre in every linear form, sharing no code with the fit."""
    m, cov = np.asarray(q.mean), np.asarray(q.cov)
    a = target.design.dense()
    z, w = np.polynomial.legendre.leggauss(nodes)
    z, w = 10.0 * z, 10.0 * w * scipy.stats.norm.pdf(10.0 * z)
    t = np.sqrt(np.einsum("ij,jk,ik->i", a, cov, a))
    at = (a @ m + target.offset)[:, None] + t[:, None] * z
    s, c = np.empty_like(at), np.empty_like(at)
    for j in range(len(a)):
        x = np.ascontiguousarray(at[j : j + 1].T)
        v1, s1, c1 = np.empty_like(x), np.empty_like(x), np.empty_like(x)
        _core.ridge.link_derivatives(x, target.y[j : j + 1].copy(), target.link.code, target.parameters, v1, s1, c1, 1)
        s[j], c[j] = s1[:, 0], c1[:, 0]
    precision = np.broadcast_to(target.quadratic.precision, len(m))
    gradient = a.T @ (target.weights * (s @ w)) - precision * (m - target.quadratic.mean)
    hessian = np.diag(precision) - a.T @ ((target.weights * (c @ w))[:, None] * a)
    chol = np.linalg.cholesky(cov)
    return np.linalg.norm(chol.T @ gradient), np.linalg.norm(np.eye(len(m)) - chol.T @ hessian @ chol)


# -- the kernel -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_kernel_is_its_twin_on_every_isa_and_thread_count(isa, link, spread):
    r = np.random.default_rng(1)
    for rows, d, scale in ((1, 1, 0.1), (70, 3, 0.01), (700, 11, 0.3), (130, 9, 4.0)):
        a = r.standard_normal((rows, d)) / np.sqrt(d)
        y = (r.random(rows) < 0.5) + float(link == "gamma")
        offset, weights = 0.3 * r.standard_normal(rows), r.random(rows)
        target = sb.targets.ridge(a, offset, link, weights, y, **LINKS[link])
        chol = scale * np.tril(r.standard_normal((d, d)) + 2.0 * np.eye(d))
        mean = 0.3 * r.standard_normal(d)
        arguments = (target.design.matrix, target.terms, target.link_record, RULES, mean, chol, spread)
        results = []
        for run, threads in ((whitened_moments, 1), *((_core.load("fit", isa).whitened_moments, k) for k in (1, 2, 3))):
            out = np.full((1 + d, d), np.nan)
            results.append((run(*arguments, out, threads), out[0], out[1:]))
        twin, first = results[0], results[1]
        for got, want in zip(first, twin):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())
        for other in results[2:]:
            assert other[0] == first[0]
            np.testing.assert_array_equal(other[1], first[1])
            np.testing.assert_array_equal(other[2], first[2])


@pytest.mark.parametrize("link", LINKS)
def test_moments_against_expectation_grad_and_for_sparse_rows(link):
    r = np.random.default_rng(2)
    a, y = r.standard_normal((50, 4)), (r.random(50) < 0.5) + float(link == "gamma")
    chol = 0.4 * np.tril(r.standard_normal((4, 4)) + 2.0 * np.eye(4))
    mean = 0.3 * r.standard_normal(4)
    quad = sb.targets.quadratic(np.diag([1.0, 2.0, 0.5, 3.0]), r.standard_normal(4), 0.7)
    f = sb.targets.ridge(a, 0.1, link, 0.5, y, quadratic=quad, **LINKS[link])
    q = sb.CholeskyGaussian(mean, chol)
    est = sb.expectation_grad(f, sb.Gaussian(mean, q.cov), estimator="exact")
    sparse = sb.targets.ridge(scipy.sparse.csr_array(a), 0.1, link, 0.5, y, quadratic=quad, **LINKS[link])
    for target in (f, sparse):
        here = ExactMoments(target, 1).at(mean, chol)
        assert here.elbo == pytest.approx(est.value + q.entropy(), rel=1e-11)
        np.testing.assert_allclose(here.gradient, chol.T @ est.grad["mean"], atol=1e-10)
        np.testing.assert_allclose(here.precision, -2.0 * chol.T @ est.grad["cov"] @ chol, atol=1e-10)


def test_very_wide_softplus_against_the_closed_limit():
    # E softplus(t z) = t pdf(0) + pi^2/12 pdf(0)/t + O(t^-3): the logistic density has second moment pi^2/3
    for t in (50.0, 1e3, 1e6):
        f = sb.targets.ridge(np.ones((1, 1)), 0.0, "softplus")
        value, _, precision = ExactMoments(f, 1)._moments(np.zeros(1), np.array([[t]]), 1.0)
        pdf = scipy.stats.norm.pdf(0.0)
        assert value == pytest.approx(t * pdf + np.pi**2 / 6.0 * pdf / t, abs=10.0 / t**3 + 1e-13 * t)
        assert -precision[0, 0] == pytest.approx(pdf * t, rel=2.0 / t**2 + 1e-13)
    # the series of L(m, t) at points given with 15 digits
    for m, t, want in ((0.0, 10.0, 4.05431303117115), (0.0, 30.0, 11.9901149808086), (3.0, 100.0, 41.4187377271743)):
        f = sb.targets.ridge(np.ones((1, 1)), m, "softplus")
        assert ExactMoments(f, 1)._moments(np.zeros(1), np.array([[t]]), 1.0)[0] == pytest.approx(want, rel=1e-13)


# -- exact fits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["flat", "wide prior", "probit", "poisson", "student", "bad scales"])
def test_exact_fits_are_stationary(case):
    X, y = data(60, 4, seed=3)
    r = np.random.default_rng(3)
    if case == "bad scales":
        X = X * np.array([1.0, 1e6, 1e-6, 1e3])
        X[:, 3] += 2e4
    target = {
        "flat": lambda: sb.targets.logistic_regression(X, y, prior_scale=np.inf),
        "wide prior": lambda: sb.targets.logistic_regression(X[:12], y[:12], prior_scale=10.0),
        "probit": lambda: sb.targets.probit_regression(X, y, prior_scale=2.0),
        "poisson": lambda: sb.targets.poisson_regression(X, r.poisson(np.exp(0.5 * X[:, 1])), prior_scale=np.inf),
        "student": lambda: sb.targets.student_t_regression(
            X, X[:, 1] + r.standard_t(2, 60), df=2.0, scale=1.0, prior_scale=5.0
        ),
        "bad scales": lambda: sb.targets.logistic_regression(X, y, prior_scale=np.inf),
    }[case]()
    fit = sb.fit(target, rng=0)
    assert fit.converged and fit.n_iter <= 15
    g, h = optimality(target, fit.q)
    assert g < 1e-6 and h < 1e-6
    assert np.all(np.diff(fit.elbo_trace) > -1e-8)
    assert fit.elbo <= fit.log_evidence + 5 * fit.log_evidence_stderr


def test_fits_are_affine_invariant():
    X, y = data(80, 4, seed=4)
    r = np.random.default_rng(4)
    T = r.standard_normal((4, 4)) @ np.diag([1e-4, 1.0, 1e3, 1e5])
    one = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=np.inf), rng=0).q
    other = sb.fit(sb.targets.logistic_regression(X @ T, y, prior_scale=np.inf), rng=0).q
    np.testing.assert_allclose(T @ other.mean, one.mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(T @ other.cov @ T.T, one.cov, rtol=1e-5, atol=1e-8)


def test_newton_direction_is_the_derivative_of_the_elbo(monkeypatch):
    monkeypatch.setattr(_newton, "FORCING", 1e-8)
    X, y = data(30, 3, seed=5)
    f = sb.targets.logistic_regression(X, y, prior_scale=2.0)
    moments = ExactMoments(f, 1)
    r = np.random.default_rng(5)
    mean, chol = 0.3 * r.standard_normal(3), np.tril(0.3 * r.standard_normal((3, 3)) + np.eye(3))
    here = moments.at(mean, chol)
    delta, a = newton_direction(f, mean, chol, here.gradient, here.precision, 1)

    def slope(e):
        """Gradient of the ELBO in (delta, A) at e times the direction."""
        root = np.eye(3) + e * a
        ahead = moments.at(mean + e * chol @ delta, chol @ root)
        # from the coordinates of L root back to those of L
        back = np.linalg.inv(root).T
        return back @ ahead.gradient, np.tril(back @ (np.eye(3) - ahead.precision))

    (g1, a1), (g0, a0) = slope(1e-4), slope(-1e-4)
    # second derivative times the direction = -gradient
    np.testing.assert_allclose((g1 - g0) / 2e-4, -here.gradient, atol=1e-4)
    np.testing.assert_allclose((a1 - a0) / 2e-4, -np.tril(np.eye(3) - here.precision), atol=1e-4)


def test_curvature_moments_against_quadrature():
    f = sb.targets.logistic_regression(np.ones((4, 1)), np.array([0.0, 1.0, 0.0, 1.0]), prior_scale=1.0)
    m, t = np.array([0.3, -1.0, 2.0, 5.0]), np.array([0.01, 1.0, 6.0, 40.0])
    z, h = np.linspace(-10, 10, 400001, retstep=True)
    for j in range(4):
        x = m[j] + t[j] * z
        c = -np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2 * scipy.stats.norm.pdf(z) * h
        got = [c_k[j] for c_k in curvature_moments(f, m, t, 1)]
        np.testing.assert_allclose(got, [c.sum(), c @ z, c @ z**2], rtol=1e-5, atol=1e-8)


def test_large_data_start_from_a_part_of_the_rows():
    r = np.random.default_rng(6)
    X = r.standard_normal((50000, 3))
    y = (r.random(50000) < 1 / (1 + np.exp(-X @ [1.0, -1.0, 0.5]))).astype(float)
    fit = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)
    assert fit.converged and fit.n_iter <= 6 and fit.counts["passes"] <= 8
    assert max(optimality(sb.targets.logistic_regression(X, y, prior_scale=1.0), fit.q, 60)) < 1e-7


# -- structures -------------------------------------------------------------------------------------------------------


def test_diagonal_optimum():
    X, y = data(40, 5, seed=7)
    target = sb.targets.logistic_regression(X, y, prior_scale=3.0)
    fit = sb.fit(target, structure="diagonal", rng=0)
    assert fit.converged and isinstance(fit.q, sb.DiagonalGaussian)
    grad = sb.expectation_grad(target, fit.q, estimator="exact").grad
    np.testing.assert_allclose(grad["mean"] * fit.q.std, 0.0, atol=1e-7)
    np.testing.assert_allclose(grad["std"] * fit.q.std, -1.0, atol=1e-7)  # the entropy's gradient is 1/std


def test_low_rank_optimum_lies_between_diagonal_and_full():
    r = np.random.default_rng(8)
    X = r.standard_normal((80, 8)) @ (np.eye(8) + 0.5)
    y = (r.random(80) < 0.5).astype(float)
    target = sb.targets.logistic_regression(X, y, prior_scale=3.0)
    elbos = [sb.fit(target, structure="diagonal", rng=0).elbo]
    for rank in (1, 3, 8):
        fit = sb.fit(target, structure="low_rank", rank=rank, rng=0)
        assert fit.converged and fit.q.factor.shape == (8, rank)
        elbos.append(fit.elbo)
        grad = sb.expectation_grad(target, fit.q, estimator="exact").grad
        inverse = np.linalg.inv(fit.q.cov)
        uphill = grad["diag"] + 0.5 * np.diag(inverse)
        np.testing.assert_allclose(fit.q.diag * uphill, 0.0, atol=1e-7)  # elements of the diagonal may end at 0
        np.testing.assert_allclose(grad["factor"] + inverse @ fit.q.factor, 0.0, atol=1e-7 * np.abs(inverse).max())
    elbos.append(sb.fit(target, rng=0).elbo)
    assert np.all(np.diff(elbos) > -1e-6)
    assert elbos[-2] == pytest.approx(elbos[-1], abs=1e-5)  # rank d is the full covariance


def test_a_gaussian_target_of_low_rank_is_recovered():
    r = np.random.default_rng(9)
    diag, factor = 0.5 + r.random(7), r.standard_normal((7, 2))
    cov, mean = np.diag(diag) + factor @ factor.T, r.standard_normal(7)
    fit = sb.fit(sb.targets.quadratic(np.linalg.inv(cov), mean), structure="low_rank", rank=2)
    assert fit.converged
    np.testing.assert_allclose(fit.q.cov, cov, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fit.q.mean, mean, atol=1e-7)


def elbo_by_quadrature(X, y, prior_scale, mean, std, factor):
    """Of a logistic regression, by Gauss-Legendre in every linear form; and its gradients by Bonnet and Price."""
    z, w = np.polynomial.legendre.leggauss(100)
    z, w = 9.0 * z, 9.0 * w * scipy.stats.norm.pdf(9.0 * z)
    cov = np.diag(std**2) + factor @ factor.T
    t = np.sqrt(np.einsum("ij,jk,ik->i", X, cov, X))
    at = (X @ mean)[:, None] + t[:, None] * z
    p = scipy.special.expit(at)
    value = (y[:, None] * at - np.logaddexp(0.0, at)) @ w
    prior = -0.5 * (mean @ mean + np.trace(cov)) / prior_scale**2 - 0.5 * len(mean) * np.log(2 * np.pi * prior_scale**2)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * cov)[1]
    g = X.T @ ((y[:, None] - p) @ w) - mean / prior_scale**2
    uphill = np.linalg.inv(cov) - X.T @ (((p * (1 - p)) @ w)[:, None] * X) - np.eye(len(mean)) / prior_scale**2
    return value.sum() + prior + entropy, g, std * np.diag(uphill), uphill @ factor


def best_by_bfgs(X, y, prior_scale, rank, starts):
    """The best of some local maxima that SciPy finds without anything of the package."""
    d, scale = X.shape[1], 2.0 / np.sqrt((X**2).sum(axis=0))

    def loss(theta):
        mean, log_std, factor = theta[:d], theta[d : 2 * d], theta[2 * d :].reshape(d, rank)
        std = scale * np.exp(log_std)
        found = elbo_by_quadrature(X, y, prior_scale, scale * mean, std, scale[:, None] * factor)
        value, g, of_std, of_factor = found
        return -value, -np.concatenate([scale * g, std * of_std, (scale[:, None] * of_factor).ravel()])

    r = np.random.default_rng(0)
    results = []
    for _ in range(starts):
        start = np.concatenate([np.zeros(2 * d), r.standard_normal(d * rank)])
        options = {"maxiter": 2000, "maxfun": 4000, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-7}
        results.append(scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options))
    return -min(result.fun for result in results)


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("n", [15, 60, 300])
def test_structures_against_brute_force(rank, n):
    r = np.random.default_rng(30 + n)
    X = r.standard_normal((n, 5)) @ (np.eye(5) + 0.7 * r.standard_normal((5, 5))) * np.array([1.0, 3.0, 0.2, 1.0, 10.0])
    y = (r.random(n) < scipy.special.expit(X @ [0.5, 0.1, -1.0, 0.3, 0.02])).astype(float)
    kind = {"structure": "low_rank", "rank": rank} if rank else {"structure": "diagonal"}
    fit = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=3.0), **kind)
    assert fit.converged and fit.residual_trace[-1] <= 1e-7
    q = fit.q
    std, factor = (np.sqrt(q.diag), q.factor) if rank else (q.std, np.zeros((5, 0)))
    value, g, of_std, of_factor = elbo_by_quadrature(X, y, 3.0, q.mean, std, factor)
    assert fit.elbo == pytest.approx(value, abs=1e-9)
    chol = np.linalg.cholesky(q.cov)
    assert np.linalg.norm(chol.T @ g) < 1e-7
    np.testing.assert_allclose(std * of_std, 0.0, atol=1e-7)
    np.testing.assert_allclose(chol.T @ of_factor, 0.0, atol=1e-7)
    assert fit.elbo == pytest.approx(best_by_bfgs(X, y, 3.0, rank, 1 if rank == 0 else 3), abs=1e-6)


@pytest.mark.parametrize("link", ["logistic", "poisson", "student_t"])
def test_low_rank_second_derivative_against_differences(link):
    r = np.random.default_rng(31)
    d, k = 5, 2
    X, y = 0.5 * r.standard_normal((20, d)), (r.random(20) < 0.5).astype(float)
    quad = sb.targets.quadratic(np.diag(1.0 + r.random(d)), r.standard_normal(d))
    source = ExactMoments(sb.targets.ridge(X, 0.1, link, 1.0, y, quadratic=quad, **LINKS[link]), 1)
    mean, shape = 0.3 * r.standard_normal(d), LowRankCovariance(0.3 + r.random(d), 0.4 * r.standard_normal((d, k)))
    delta, step = r.standard_normal(d), r.standard_normal((d, 1 + k))

    def elbo(h, e):
        """Along the direction, and a little along another one."""
        a, b = h * delta + e * other[0], h * step + e * other[1]
        moved = LowRankCovariance(shape.std * (1.0 + b[:, 0]), shape.factor + shape.spread[:, None] * b[:, 1:])
        return moved.moments(source, mean + shape.spread * a).elbo

    here = shape.moments(source, mean)
    slopes, product = shape.slopes(here), shape._product(source, mean, here)(delta, step)
    e = 1e-3
    for _ in range(5):
        other = r.standard_normal(d), r.standard_normal((d, 1 + k))
        slope = (elbo(0, 1e-5) - elbo(0, -1e-5)) / 2e-5
        assert slope == pytest.approx(slopes[0] @ other[0] + (slopes[1] * other[1]).sum(), abs=1e-6)
        mixed = (elbo(e, e) - elbo(e, -e) - elbo(-e, e) + elbo(-e, -e)) / (4 * e * e)
        assert -mixed == pytest.approx(product[0] @ other[0] + (product[1] * other[1]).sum(), rel=1e-3, abs=1e-3)


def test_a_covariance_with_a_vanishing_diagonal_keeps_its_inverse():
    r = np.random.default_rng(32)
    std, factor = np.array([1e-6, 0.5, 1e-5, 2.0]), r.standard_normal((4, 2))
    shape = LowRankCovariance(std, factor)
    with mpmath.workdps(60):
        cov = mpmath.diag([mpmath.mpf(s) ** 2 for s in std]) + mpmath.matrix(factor) * mpmath.matrix(factor).T
        inverse = cov**-1
        image = np.array((inverse * mpmath.matrix(factor)).tolist(), dtype=float)
        log_det = float(mpmath.log(mpmath.det(cov)))
        inverse = np.array(inverse.tolist(), dtype=float)
    np.testing.assert_allclose(shape.scaled_image, std[:, None] * image, atol=1e-10)
    np.testing.assert_allclose(shape.shares, std**2 * np.diag(inverse), atol=1e-10)
    assert shape.log_det == pytest.approx(log_det, abs=1e-9)


@pytest.mark.parametrize("structure", ["diagonal", "low_rank"])
def test_structures_do_not_depend_on_the_scales_of_the_parameters(structure):
    X, y = data(60, 6, seed=33)
    scale = np.array([1.0, 1e6, 1e-6, 1e3, 1e-3, 30.0])
    rank = 2 if structure == "low_rank" else None
    one = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=np.inf), structure=structure, rank=rank)
    other = sb.fit(sb.targets.logistic_regression(X * scale, y, prior_scale=np.inf), structure=structure, rank=rank)
    assert one.converged and other.converged
    np.testing.assert_allclose(other.q.mean * scale, one.q.mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(other.q.cov * np.outer(scale, scale), one.q.cov, rtol=1e-5, atol=1e-8)


def test_a_diagonal_fit_of_correlated_columns():
    # the mean of a diagonal q must solve a system as ill conditioned as the correlation of the columns
    X, y = data(80, 3, seed=34)
    X[:, 2] = X[:, 1] + 1e-4 * X[:, 2]
    target = sb.targets.logistic_regression(X, y, prior_scale=[1.0, 1.0, 1e3])
    fit = sb.fit(target, structure="diagonal")
    assert fit.converged
    grad = sb.expectation_grad(target, fit.q, estimator="exact").grad
    np.testing.assert_allclose(grad["mean"] * fit.q.std, 0.0, atol=1e-7)


@pytest.mark.parametrize("structure", ["diagonal", "low_rank"])
@pytest.mark.parametrize("sparse", [False, True])
def test_structures_of_many_parameters_take_no_square_matrix(structure, sparse):
    r = np.random.default_rng(35)
    n, d = 400, 4000
    X = scipy.sparse.random_array((n, d), density=0.02, rng=r, data_sampler=r.standard_normal).tocsr()
    y = (r.random(n) < 0.5).astype(float)
    target = sb.targets.logistic_regression(X if sparse else X.toarray(), y, prior_scale=1.0)
    tracemalloc.start()
    fit = sb.fit(target, structure=structure, rank=3 if structure == "low_rank" else None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fit.converged and fit.residual_trace[-1] <= 1e-8
    assert peak < 8 * d * d / 4


@pytest.mark.parametrize("seed", [2, 20, 30, 39, 45, 80, 126])
def test_low_rank_fits_of_correlated_designs_converge(seed):
    # with rotations of U and valleys towards an empty diagonal, where undamped steps get lost
    r = np.random.default_rng(seed)
    d = int(r.integers(3, 25))
    X = r.standard_normal((8 * d, d)) @ (np.eye(d) + r.standard_normal((d, d))) * 10.0 ** r.uniform(-3, 3, d)
    size = np.linalg.norm(X, axis=0) / np.sqrt(len(X))
    y = r.poisson(np.exp(np.clip(X @ (r.standard_normal(d) / size / d), -8, 4)))
    target = sb.targets.poisson_regression(X, y, prior_scale=3.0 / size)
    for rank in (1, 3, min(d, 8)):
        fit = sb.fit(target, structure="low_rank", rank=rank)
        assert fit.converged and fit.residual_trace[-1] <= 1e-6 and fit.n_iter <= 100


def test_a_start_of_the_same_rank_is_taken_as_it_is():
    X, y = data(50, 5, seed=36)
    target = sb.targets.logistic_regression(X, y, prior_scale=2.0)
    best = sb.fit(target, structure="low_rank", rank=2)
    assert sb.fit(target, best.q, structure="low_rank", rank=2).n_iter <= 1
    for q0 in (best.q, sb.DiagonalGaussian(np.full(5, 1.0), np.full(5, 0.01)), sb.fit(target).q):
        other = sb.fit(target, q0, structure="diagonal")
        assert other.converged and other.elbo <= best.elbo


# -- Monte Carlo ------------------------------------------------------------------------------------------------------


def callables(X, y, hessian, calls=None):
    def value(x):
        if calls is not None:
            calls.append(len(x))
        t = x @ X.T
        return (t * y - np.logaddexp(0, t)).sum(1) - 0.5 * (x**2).sum(1) - 0.5 * X.shape[1] * np.log(2 * np.pi)

    def grad(x):
        return (y - 1 / (1 + np.exp(-x @ X.T))) @ X - x

    def hess(x):
        p = 1 / (1 + np.exp(-x @ X.T))
        return -np.einsum("nk,ki,kj->nij", p * (1 - p), X, X) - np.eye(X.shape[1])

    return sb.Target(value=value, grad=grad, hess=hess if hessian else None, dim=X.shape[1])


@pytest.mark.parametrize("hessian", [True, False])
@pytest.mark.parametrize("structure", ["full", "diagonal", "low_rank"])
def test_callables_reach_the_exact_optimum(hessian, structure):
    X, y = data(150, 6, seed=10)
    rank = 2 if structure == "low_rank" else None
    best = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), structure=structure, rank=rank, rng=0)
    fit = sb.fit(callables(X, y, hessian), structure=structure, rank=rank, rng=1)
    assert fit.converged and fit.n_samples > 0
    assert ("KL divergence" if structure == "full" else "Monte Carlo error") in fit.message
    assert fit.q.kl(best.q) < 1e-3
    assert_unbiased(fit.elbo, best.elbo, fit.elbo_stderr, rounding=1e-3 / max(1.0, abs(best.elbo)))  # KL above


def test_a_gaussian_target_is_exact_without_hessians():
    r = np.random.default_rng(12)
    A = r.standard_normal((5, 5))
    P, m = A @ A.T + np.eye(5), r.standard_normal(5)
    f = sb.Target(value=lambda x: -0.5 * np.einsum("ni,ij,nj->n", x - m, P, x - m), grad=lambda x: -(x - m) @ P, dim=5)
    fit = sb.fit(f, rng=0)
    np.testing.assert_allclose(fit.q.mean, m, atol=1e-7)
    np.testing.assert_allclose(fit.q.cov, np.linalg.inv(P), atol=1e-7)
    assert fit.khat < 0.7 and fit.log_evidence == pytest.approx(fit.elbo, abs=1e-6)


def test_monte_carlo_fits_repeat_bit_for_bit():
    X, y = data(60, 3, seed=13)
    fits = [sb.fit(callables(X, y, False), rng=5, n_threads=k) for k in (1, 2)]
    np.testing.assert_array_equal(fits[0].q.cov, fits[1].q.cov)
    assert fits[0].elbo == fits[1].elbo


# -- stopping, resuming, files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "stein", "low_rank"])
def test_resuming_is_bitwise(kind, tmp_path):
    X, y = data(40, 4, seed=14)
    target = callables(X, y, False) if kind == "stein" else sb.targets.logistic_regression(X, y, prior_scale=5.0)
    kw = {"structure": "low_rank", "rank": 2} if kind == "low_rank" else {}
    whole = sb.fit(target, rng=3, **kw)
    with pytest.warns(sb.FitWarning, match="[Nn]ot converged"):
        part = sb.fit(target, rng=3, max_iter=2, **kw)
    assert not part.converged and part.n_iter == 2
    part.save(tmp_path / "part.npz")
    for start in (part, sb.Fit.load(tmp_path / "part.npz")):
        resumed = sb.fit(target, start, rng=99, **kw)
        assert resumed.converged and resumed.n_iter == whole.n_iter
        np.testing.assert_array_equal(resumed.elbo_trace, whole.elbo_trace)
        np.testing.assert_array_equal(resumed.q.mean, whole.q.mean)
        np.testing.assert_array_equal(resumed.q.cov, whole.q.cov)


def test_save_and_load_keep_everything(tmp_path):
    X, y = data(seed=15)
    fit = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)
    fit.save(tmp_path / "fit.npz")
    again = sb.Fit.load(tmp_path / "fit.npz")
    for name in ("elbo", "khat", "ess", "log_evidence", "converged", "message", "n_iter", "counts", "structure"):
        assert getattr(again, name) == getattr(fit, name), name
    np.testing.assert_array_equal(again.q.cov, fit.q.cov)
    np.testing.assert_array_equal(again.psis_mean, fit.psis_mean)
    np.testing.assert_array_equal(again.sample(5, rng=1), fit.sample(5, rng=1))
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="does not hold a saved fit"):
        sb.Fit.load(tmp_path / "other.npz")


def test_callback_stops_and_progress_prints(capsys):
    X, y = data(seed=16)
    target = sb.targets.logistic_regression(X, y, prior_scale=1.0)
    steps = []
    fit = sb.fit(target, callback=lambda step: steps.append(step) or len(steps) == 2, rng=0)
    assert len(steps) == 2 and not fit.converged and "callback" in fit.message
    assert steps[1].elbo >= steps[0].elbo and steps[0].mean.shape == (3,)
    sb.fit(target, progress=True, rng=0)
    assert "ELBO" in capsys.readouterr().err


def test_a_start_is_taken_and_a_converged_one_kept():
    X, y = data(seed=17)
    target = sb.targets.logistic_regression(X, y, prior_scale=1.0)
    best = sb.fit(target, rng=0)
    again = sb.fit(target, best.q, rng=0)
    assert again.n_iter <= 1
    far = sb.fit(target, sb.DiagonalGaussian(np.full(3, 3.0), np.full(3, 1e-3)), rng=0)
    assert far.converged and far.q.kl(best.q) < 1e-12
    wide = sb.fit(target, sb.DiagonalGaussian(np.full(3, -5.0), np.full(3, 1e3)), rng=0)
    assert wide.converged and wide.q.kl(best.q) < 1e-12


# -- diagnostics ------------------------------------------------------------------------------------------------------


def test_khat_of_known_tails():
    r = np.random.default_rng(18)
    for k in (0.3, 0.6, 1.0):
        got = np.mean([_psis.smooth(-k * np.log(r.random(20000))).khat for _ in range(10)])
        assert got == pytest.approx(k, abs=0.08)
    assert _psis.smooth(np.zeros(1000)).khat == -np.inf
    smoothed = _psis.smooth(0.3 * r.standard_normal(4000))
    assert np.exp(smoothed.log_weights).sum() == pytest.approx(1.0)
    assert_unbiased(smoothed.log_mean, 0.045, smoothed.log_mean_error)


def test_a_generalised_pareto_fit_recovers_its_parameters():
    r = np.random.default_rng(19)
    x = np.sort(scipy.stats.genpareto.rvs(0.4, scale=2.0, size=20000, random_state=r))
    k, scale = _psis.generalised_pareto(x)
    assert k == pytest.approx(0.4, abs=0.03) and scale == pytest.approx(2.0, rel=0.04)
    assert _psis.misfit(x, k, scale) < _psis.MISFIT


def test_psis_moments_and_evidence_against_quadrature():
    x = np.linspace(-8, 12, 20001)
    f = sb.targets.logistic_regression(np.ones((6, 1)), np.array([1.0, 1, 1, 1, 1, 1]), prior_scale=3.0)
    p = np.exp(f.value(x[:, None]))
    evidence = np.trapezoid(p, x)
    mean = np.trapezoid(p * x, x) / evidence
    sd = np.sqrt(np.trapezoid(p * (x - mean) ** 2, x) / evidence)
    fit = sb.fit(f, rng=0).diagnose(20000, rng=1)
    assert_unbiased(fit.log_evidence, np.log(evidence), fit.log_evidence_stderr)
    assert fit.psis_mean[0] == pytest.approx(mean, abs=0.05) and fit.psis_sd[0] == pytest.approx(sd, abs=0.05)
    assert abs(fit.psis_mean[0] - mean) < abs(fit.q.mean[0] - mean)
    assert fit.kl_gap > 0


def test_poor_approximations_warn():
    # twenty independent Student-t variables: the tails of the importance ratios add up
    f = sb.targets.student_t_regression(np.eye(20), np.zeros(20), df=2.0, scale=1.0, prior_scale=np.inf)
    with pytest.warns(sb.FitWarning, match="k-hat"):
        fit = sb.fit(f, rng=0)
    assert fit.khat > 0.7 and "not to be trusted" in repr(fit)


def test_summary_and_page(tmp_path):
    X, y = data(seed=20)
    fit = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)
    table = fit.summary(["one", "two", "three"], level=0.9)
    assert "two" in str(table) and "k-hat" in str(table) and "5%" in str(table) and "95%" in str(table)
    np.testing.assert_allclose(table["high"] - table["mean"], 1.6448536 * table["sd"], rtol=1e-6)
    np.testing.assert_allclose(table["P(>0)"], scipy.stats.norm.cdf(table["mean"] / table["sd"]))
    with pytest.raises(ValueError, match="names must have 3"):
        fit.summary(["a"])
    pytest.importorskip("matplotlib")
    fit.plot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10000


def test_arviz():
    pytest.importorskip("arviz")
    X, y = data(seed=21)
    fit = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)
    assert fit.to_arviz(["a", "b", "c"], n_samples=100, rng=0).posterior["b"].shape == (4, 25)


# -- errors -----------------------------------------------------------------------------------------------------------


def test_improper_densities_are_errors():
    x = np.linspace(-1, 1, 20)
    X = np.column_stack([np.ones(20), x])
    with pytest.raises(sb.ImproperDensity):
        sb.fit(sb.targets.logistic_regression(X, (x > 0.05).astype(float), prior_scale=np.inf))
    with pytest.raises(sb.ImproperDensity, match="line"):
        sb.fit(sb.targets.linear_regression(np.column_stack([X, x]), x, noise_scale=1.0, prior_scale=np.inf))
    with pytest.raises(sb.ImproperDensity, match="parameter 1"):
        sb.fit(sb.targets.linear_regression(X * [1, 0], x, noise_scale=1.0, prior_scale=np.inf))
    for gradient in (np.ones_like, np.zeros_like):
        with pytest.raises(ValueError):
            sb.fit(sb.Target(value=lambda x, g=gradient: g(x).sum(1) * x[:, 0], grad=gradient, dim=2), rng=0)


INF = np.inf
HALVES = (np.arange(40) % 2).astype(float)
FEW = (np.arange(40) < 5).astype(float)
DESIGN = np.column_stack([np.ones(40), np.random.default_rng(40).standard_normal((40, 2))])


@pytest.mark.parametrize("structure", ["full", "diagonal", "low_rank"])
@pytest.mark.parametrize(
    "target, text",
    [
        (sb.targets.poisson_regression(np.ones((30, 1)), np.zeros(30), prior_scale=INF), "every count"),
        (sb.targets.poisson_regression(DESIGN, np.zeros(40), prior_scale=[INF, 1, 1]), "parameters 0, .*every count"),
        (sb.targets.poisson_regression(np.column_stack([np.ones(40), FEW]), 3 * (1 - FEW), prior_scale=INF), "rs 1, "),
        (sb.targets.logistic_regression(DESIGN, (DESIGN[:, 1] > 0).astype(float), prior_scale=INF), "separates"),
        (sb.targets.logistic_regression(np.column_stack([np.ones(40), FEW]), HALVES * (1 - FEW), prior_scale=INF), "1"),
        (sb.targets.probit_regression(DESIGN, np.ones(40), prior_scale=INF), "separates"),
        (sb.targets.logistic_regression(DESIGN[:2], np.array([0.0, 1.0]), prior_scale=INF), "normalised"),
        (sb.targets.linear_regression(DESIGN[:, [0, 1, 1]], HALVES, noise_scale=1.0, prior_scale=INF), "1, 2"),
        (sb.targets.quadratic([1.0, -1.0], [0.0, 0.0]), "parameters 1"),
    ],
)
def test_improper_ridge_densities(structure, target, text):
    rank = 1 if structure == "low_rank" else None
    with pytest.raises(sb.ImproperDensity, match=text):
        sb.fit(target, structure=structure, rank=rank)


def unchecked(value, grad, d):
    return sb.Target(value=value, grad=grad, dim=d)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the densities, which overflow
@pytest.mark.parametrize("structure", ["full", "diagonal"])
@pytest.mark.parametrize(
    "target",
    [
        unchecked(lambda x: x[:, 0] - 0.5 * x[:, 1] ** 2, lambda x: np.column_stack([np.ones(len(x)), -x[:, 1]]), 2),
        unchecked(lambda x: 0.5 * (x[:, 0] ** 2 - x[:, 1] ** 2), lambda x: x * [1.0, -1.0], 2),
        unchecked(lambda x: (x**4).sum(axis=1), lambda x: 4.0 * x**3, 2),
        unchecked(lambda x: -np.exp(x[:, 0]), lambda x: -np.exp(x), 1),
        unchecked(lambda x: -np.logaddexp(0.0, x[:, 0]), lambda x: -scipy.special.expit(x), 1),
        unchecked(lambda x: -0.4 * np.log1p(x[:, 0] ** 2), lambda x: -0.8 * x / (1.0 + x**2), 1),
    ],
    ids=["linear", "saddle", "quartic", "exp", "softplus", "log"],
)
def test_improper_densities_of_users(structure, target):
    with pytest.raises(sb.ImproperDensity, match="proper prior"):
        sb.fit(target, structure=structure, rng=0)


@pytest.mark.parametrize("structure", ["full", "diagonal"])
def test_heavy_tails_are_not_improper(structure):
    cauchy = unchecked(lambda x: -np.log1p(x**2).sum(axis=1), lambda x: -2.0 * x / (1.0 + x**2), 3)
    assert sb.fit(cauchy, structure=structure, rng=0).converged
    with pytest.warns(sb.FitWarning, match="ot converged"):  # too few steps, but nothing is wrong with the density
        sb.fit(cauchy, structure=structure, rng=0, max_iter=1)


def funnel(d):
    """Neal's: x_0 ~ N(0, 9), x_i ~ N(0, e^x_0)."""

    def value(x):
        return -(x[:, 0] ** 2) / 18 - 0.5 * (x[:, 1:] ** 2).sum(1) * np.exp(-x[:, 0]) - 0.5 * (d - 1) * x[:, 0]

    def grad(x):
        e = np.exp(-x[:, :1])
        first = -x[:, :1] / 9 + 0.5 * (x[:, 1:] ** 2).sum(1, keepdims=True) * e - 0.5 * (d - 1)
        return np.column_stack([first, -x[:, 1:] * e])

    return unchecked(value, grad, d)


@pytest.mark.filterwarnings("ignore::sbpfast.FitWarning")
@pytest.mark.parametrize("d", [2, 5, 10])
def test_the_best_gaussian_of_a_funnel_is_found_and_not_trusted(d):
    # its mode is a spike, (d - 1) 9 / 2 below the bulk; the best Gaussian is known:
    # the ELBO is -(m^2 + s^2)/18 - (d - 1) s^2/4 + log s at the best sd exp(m/2 - s^2/4) of the others
    variance = 1.0 / (1.0 / 9.0 + 0.5 * (d - 1))
    best = sb.DiagonalGaussian(np.zeros(d), np.sqrt([variance, *[np.exp(-0.5 * variance)] * (d - 1)]))
    for seed in range(3):
        fit = sb.fit(funnel(d), rng=seed)
        assert fit.q.kl(best) < 0.03 or not fit.converged
        assert fit.diagnose(16384, rng=1).khat > 0.6


def test_bad_arguments():
    X, y = data(seed=22)
    f = sb.targets.logistic_regression(X, y, prior_scale=1.0)
    g = callables(X, y, False)
    for call, error, text in (
        (lambda: sb.fit(lambda x: x), TypeError, "Target"),
        (lambda: sb.fit(f, structure="banded"), ValueError, "structure"),
        (lambda: sb.fit(f, rank=2), ValueError, "low_rank"),
        (lambda: sb.fit(f, structure="low_rank", rank=4), ValueError, "at most"),
        (lambda: sb.fit(g, estimator="exact"), ValueError, "ridge"),
        (lambda: sb.fit(g, estimator="price"), ValueError, "hess"),
        (lambda: sb.fit(sb.Target(value=lambda x: x[:, 0], dim=1)), ValueError, "grad"),
        (lambda: sb.fit(f, sb.DiagonalGaussian([0.0], [1.0])), ValueError, "dimension"),
        (lambda: sb.fit(f, 3.0), TypeError, "q0"),
        (lambda: sb.fit(f, tol=0.0), ValueError, "tol"),
        (lambda: sb.fit(f, callback=3), TypeError, "callable"),
    ):
        with pytest.raises(error, match=text):
            call()
    bad = sb.Target(value=lambda x: np.full(len(x), np.nan), grad=lambda x: x, dim=2)
    with pytest.raises(sb.NonFiniteTarget, match="q0"):
        sb.fit(bad)
