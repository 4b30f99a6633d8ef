"""Targets: regressions against scipy, links against mpmath, expectations against quadrature, user callables."""

import pickle

import mpmath
import numpy as np
import pytest
import scipy.sparse
import scipy.special
import scipy.stats

import sbpfast as sb
from sbpfast._reference import ridge as reference

# -- the links, defined once more -------------------------------------------------------------------------------------


def mp_link(name, t, y, df=3.0, scale=0.7):
    """phi, phi' and phi'' with mpmath, by differentiating by hand where cancellation would ask for too many digits."""
    t, y = mpmath.mpf(t), mpmath.mpf(y)
    logistic = 1 / (1 + mpmath.exp(-t))
    if name in ("softplus", "logistic"):
        softplus = (mpmath.log1p(mpmath.exp(-abs(t))) + max(t, 0), logistic, logistic / (1 + mpmath.exp(t)))
        return softplus if name == "softplus" else (y * t - softplus[0], y - logistic, -softplus[2])
    if name == "probit":
        sign = 2 * y - 1
        z = sign * t
        cdf, pdf = mpmath.erfc(-z / mpmath.sqrt(2)) / 2, mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi)
        value = mpmath.log(cdf) if z < 0 else mpmath.log1p(-mpmath.erfc(z / mpmath.sqrt(2)) / 2)
        return value, sign * pdf / cdf, -(pdf / cdf) * (z + pdf / cdf)
    if name == "exp":
        return (mpmath.exp(t),) * 3
    if name == "poisson":
        return y * t - mpmath.exp(t), y - mpmath.exp(t), -mpmath.exp(t)
    if name == "square":
        return (t - y) ** 2, 2 * (t - y), mpmath.mpf(2)
    if name == "negative_binomial":
        r = mpmath.mpf(NEGATIVE_BINOMIAL["dispersion"])
        p, q = 1 / (1 + mpmath.exp(-t) * r), 1 / (1 + mpmath.exp(t) / r)
        value = -y * mpmath.log1p(mpmath.exp(-t) * r) - r * mpmath.log1p(mpmath.exp(t) / r)
        return value, y - (y + r) * p, -(y + r) * p * q
    if name == "gamma":
        return -t - y * mpmath.exp(-t), y * mpmath.exp(-t) - 1, -y * mpmath.exp(-t)
    if name == "cloglog":
        w = mpmath.exp(t)
        if t > 10:  # exp(-w) is below 1e-9565
            return (mpmath.mpf(0),) * 3 if y == 1 else (-(1 - y) * w,) * 3
        none = -mpmath.expm1(-w)
        slope = w * mpmath.exp(-w) / none
        bend = 1 - w - slope if w > 1e-6 else -w / 2 - w**2 / 12 + w**4 / 720
        value = mpmath.log(none) if w < 1 else mpmath.log1p(-mpmath.exp(-w))
        return y * value - (1 - y) * w, y * slope - (1 - y) * w, y * slope * bend - (1 - y) * w
    if name == "student_t":
        u2 = ((t - y) / scale) ** 2
        return (
            -(df + 1) / 2 * mpmath.log1p(u2 / df),
            -(df + 1) * (t - y) / (df * scale**2 + (t - y) ** 2),
            -(df + 1) * (df - u2) / ((df + u2) ** 2 * scale**2),
        )
    return abs(t) + mpmath.log1p(mpmath.exp(-2 * abs(t))) - mpmath.log(2), mpmath.tanh(t), mpmath.sech(t) ** 2


DATA = {
    "logistic": (0.0, 1.0, 0.3),
    "probit": (0.0, 1.0),
    "poisson": (0.0, 4.0),
    "square": (0.0, -1.5),
    "student_t": (0.0, 2.5),
    "negative_binomial": (0.0, 4.0),
    "gamma": (0.2, 3.0),
    "cloglog": (0.0, 1.0, 0.3),
}
LINKS = [
    (name, y)
    for name in (
        "softplus",
        "logistic",
        "probit",
        "exp",
        "poisson",
        "square",
        "student_t",
        "log_cosh",
        "negative_binomial",
        "gamma",
        "cloglog",
    )
    for y in DATA.get(name, (0.0,))
]
STUDENT, NEGATIVE_BINOMIAL = {"df": 3.0, "scale": 0.7}, {"dispersion": 2.5}
PARAMETERS = {"student_t": STUDENT, "negative_binomial": NEGATIVE_BINOMIAL}


def one_link(name, y, offset=0.0):
    return sb.targets.ridge([[1.0]], offset, name, y=[y], **PARAMETERS.get(name, {}))


def test_every_link_is_covered():
    assert {name for name, _ in LINKS} == set(sb.targets.LINKS)


@pytest.mark.parametrize("name, y", LINKS)
def test_links_at_every_scale(name, y):
    t = np.concatenate([[0.0], *(s * np.logspace(-12, 4, 33) for s in (1, -1)), np.linspace(-40, 40, 33)])
    if name in ("exp", "poisson", "gamma", "cloglog"):
        t = t[np.abs(t) < 700]
    f, x = one_link(name, y), t[:, None]
    with mpmath.workdps(40):
        want = np.array([[float(v) for v in mp_link(name, ti, y)] for ti in t])
    value, slope = f.value(x), f.grad(x)[:, 0]
    curvature, product = f.hess(x)[:, 0, 0], f.hvp(x, np.ones(1))[:, 0]
    # y t - e^t and y - s(t) cancel at their zeros: relative to the larger of the terms
    signed = name in ("logistic", "poisson", "negative_binomial")
    size = np.abs(y) * np.abs(t) if signed else 0.0
    # the square in exp(-t^2/2) rounds to half an ulp of t^2/2
    ulps = 1e-14 + (2e-16 * np.minimum(t, 40.0) ** 2 if name == "probit" else 0.0)
    # and t - log r to half an ulp of t
    ulps = ulps + (3e-16 * np.abs(t) if name == "negative_binomial" else 0.0)
    assert (np.abs(value - want[:, 0]) <= ulps * (np.abs(want[:, 0]) + size) + 1e-307).all()
    slope_size = (abs(y) + (np.exp(t) if name == "poisson" else 0.0)) if signed else 0.0
    if name == "gamma":  # 1 and y e^-t
        size, slope_size = np.abs(t), 1.0
    if name == "cloglog":  # the parts of either y have different signs; e^-w loses the digits of w = e^t
        w = np.exp(np.minimum(t, 7.0))
        size, slope_size, ulps = 2.0 * np.abs(t), 2.0, ulps + 3e-16 * w
    assert (np.abs(slope - want[:, 1]) <= ulps * (np.abs(want[:, 1]) + slope_size) + 1e-307).all()
    for got in (curvature, product):
        zero = 1e-14 if name == "student_t" else 0.0  # (df - u^2) vanishes
        assert (np.abs(got - want[:, 2]) <= 3 * ulps * np.abs(want[:, 2]) + zero + 1e-307).all()


def test_probit_tails_by_name():
    f = one_link("probit", 1.0)
    for t in (-1e4, -300.0, -38.0, -5.0, 5.0, 37.0):
        with mpmath.workdps(60):
            tail = mpmath.erfc(abs(mpmath.mpf(t)) / mpmath.sqrt(2)) / 2
            want = mpmath.log(tail) if t < 0 else mpmath.log1p(-tail)
        assert f.value([[t]])[0] == pytest.approx(float(want), rel=1e-14 + 2e-16 * max(t, 0.0) ** 2, abs=0)


# -- regressions are log joint densities ------------------------------------------------------------------------------

N, D = 23, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
OFFSET, WEIGHTS, PRIOR_MEAN = RNG.standard_normal(N), RNG.random(N) * 2, RNG.standard_normal(D)
BINARY, COUNTS, REAL = RNG.integers(0, 2, N), RNG.integers(0, 9, N), RNG.standard_normal(N) * 2
POSITIVE = np.exp(REAL)
TRIALS = COUNTS + RNG.integers(1, 5, N)
POINTS = RNG.standard_normal((9, D))

REGRESSIONS = {
    "logistic": (
        lambda **k: sb.targets.logistic_regression(X, BINARY, **k),
        lambda t: scipy.stats.bernoulli.logpmf(BINARY, scipy.special.expit(t)),
    ),
    "binomial": (
        lambda **k: sb.targets.logistic_regression(X, COUNTS, trials=TRIALS, **k),
        lambda t: scipy.stats.binom.logpmf(COUNTS, TRIALS, scipy.special.expit(t)),
    ),
    "probit": (
        lambda **k: sb.targets.probit_regression(X, BINARY, **k),
        lambda t: scipy.special.log_ndtr((2 * BINARY - 1) * t),
    ),
    "poisson": (
        lambda **k: sb.targets.poisson_regression(X, COUNTS, **k),
        lambda t: scipy.stats.poisson.logpmf(COUNTS, np.exp(t)),
    ),
    "negative_binomial": (
        lambda **k: sb.targets.negative_binomial_regression(X, COUNTS, dispersion=1.3, **k),
        lambda t: scipy.stats.nbinom.logpmf(COUNTS, 1.3, 1.3 / (1.3 + np.exp(t))),
    ),
    "cloglog": (
        lambda **k: sb.targets.cloglog_regression(X, BINARY, **k),
        lambda t: reference.link_derivatives(t, BINARY.astype(float), "cloglog")[0],
    ),
    "binomial cloglog": (
        lambda **k: sb.targets.cloglog_regression(X, COUNTS, trials=TRIALS, **k),
        lambda t: (
            COUNTS * reference.link_derivatives(t, 1.0, "cloglog")[0]
            - (TRIALS - COUNTS) * np.exp(t)
            + np.log(scipy.special.comb(TRIALS, COUNTS))
        ),
    ),
    "gamma": (
        lambda **k: sb.targets.gamma_regression(X, POSITIVE, shape=1.7, **k),
        lambda t: scipy.stats.gamma.logpdf(POSITIVE, 1.7, scale=np.exp(t) / 1.7),
    ),
    "linear": (
        lambda **k: sb.targets.linear_regression(X, REAL, noise_scale=0.6, **k),
        lambda t: scipy.stats.norm.logpdf(REAL, t, 0.6),
    ),
    "student_t": (
        lambda **k: sb.targets.student_t_regression(X, REAL, df=2.5, scale=0.6, **k),
        lambda t: scipy.stats.t.logpdf(REAL, 2.5, loc=t, scale=0.6),
    ),
}
PRIORS = {
    "scalar": 1.7,
    "vector": np.array([0.5, 1.0, 2.0, 9.0]),
    "partly flat": np.array([0.5, np.inf, 2.0, np.inf]),
    "flat": np.inf,
}


def log_prior(x, scale, mean):
    scale = np.broadcast_to(scale, D)
    proper = np.isfinite(scale)
    return scipy.stats.norm.logpdf(x[:, proper], np.broadcast_to(mean, D)[proper], scale[proper]).sum(axis=1)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", REGRESSIONS)
def test_regressions_are_log_joint_densities(name, prior):
    make, log_likelihood = REGRESSIONS[name]
    for options in (
        {},
        {"offset": OFFSET, "weights": WEIGHTS, "prior_mean": PRIOR_MEAN},
        {"offset": 0.4, "prior_mean": -0.3},
    ):
        f = make(prior_scale=PRIORS[prior], **options)
        t = POINTS @ X.T + options.get("offset", 0.0)
        want = (np.array([log_likelihood(row) for row in t]) * options.get("weights", 1.0)).sum(axis=1)
        want += log_prior(POINTS, PRIORS[prior], options.get("prior_mean", 0.0))
        assert f.dim == D
        np.testing.assert_allclose(f.value(POINTS), want, rtol=1e-12)


def test_the_normalising_constant_by_integration():
    """exp(f) over all data sums to the prior: nothing is missing from a likelihood."""
    x, scale = np.array([[0.7]]), 1.3
    prior = scipy.stats.norm.pdf(0.7, 0, scale)
    design = np.array([[1.2]])
    poisson = sum(np.exp(sb.targets.poisson_regression(design, [y], prior_scale=scale).value(x)[0]) for y in range(80))
    binomial = sum(
        np.exp(sb.targets.logistic_regression(design, [y], trials=[7], prior_scale=scale).value(x)[0]) for y in range(8)
    )
    bernoulli = sum(np.exp(sb.targets.probit_regression(design, [y], prior_scale=scale).value(x)[0]) for y in (0, 1))
    np.testing.assert_allclose([poisson, binomial, bernoulli], prior, rtol=1e-12)
    grid = np.linspace(-4000, 4000, 800_001)
    student = np.exp(
        sb.targets.student_t_regression(
            np.full((1, 1), 1.2), [0.0], df=3.0, scale=0.5, prior_scale=scale, offset=0.0
        ).value(x)
    )
    assert student[0] == pytest.approx(prior * scipy.stats.t.pdf(0.0, 3.0, loc=0.84, scale=0.5), rel=1e-12)
    assert np.trapezoid(scipy.stats.t.pdf(grid, 3.0, loc=0.84, scale=0.5), grid) == pytest.approx(1.0, rel=1e-6)


def differences(function, x, h=1e-5):
    """Central differences in every coordinate, extrapolated once: (n, ..., d)."""

    def central(h):
        return np.stack([(function(x + h * e) - function(x - h * e)) / (2 * h) for e in np.eye(x.shape[1])], axis=-1)

    return (4 * central(h / 2) - central(h)) / 3


def quadratic_part(d):
    r = np.random.default_rng(d)
    m = r.standard_normal((d, d))
    return sb.targets.quadratic(m + m.T, r.standard_normal(d), 0.3)


def every_target():
    """One target of each kind."""
    targets = {name: make(prior_scale=1.1, offset=OFFSET, weights=WEIGHTS) for name, (make, _) in REGRESSIONS.items()}
    for name, y in LINKS:
        options = PARAMETERS.get(name, {})
        targets[f"ridge {name}"] = sb.targets.ridge(
            X / 2, OFFSET, name, WEIGHTS - 1.0, np.full(N, y), quadratic_part(D), **options
        )
    targets["quadratic"] = quadratic_part(D)
    targets["quadratic diagonal"] = sb.targets.quadratic(np.array([1.0, -2.0, 0.0, 3.0]), PRIOR_MEAN, -1.0)
    targets["quadratic scalar"] = sb.targets.quadratic(2.5, PRIOR_MEAN)
    return targets


TARGETS = every_target()


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


# -- layouts ----------------------------------------------------------------------------------------------------------


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


# -- exact expectations -----------------------------------------------------------------------------------------------


def quadrature(name, y, m, t):
    """E phi, E phi', E phi'' under N(m, t^2): Gauss-Legendre on panels narrower than the link is sharp."""
    with np.errstate(over="ignore"):
        width = min(0.5, 1.0 / t)
        cuts = np.linspace(-13, 13, 2 * round(13 / width) + 1)
        nodes, w = np.polynomial.legendre.leggauss(24)
        z = (0.5 * (cuts[1:] + cuts[:-1])[:, None] + 0.5 * np.diff(cuts)[:, None] * nodes).ravel()
        w = (0.5 * np.diff(cuts)[:, None] * w).ravel() * scipy.stats.norm.pdf(z)
        a = m + t * z
        if name in ("softplus", "logistic"):
            s, c = scipy.special.expit(a), scipy.special.expit(a) * scipy.special.expit(-a)
            phi = (np.logaddexp(0, a), s, c) if name == "softplus" else (y * a - np.logaddexp(0, a), y - s, -c)
        elif name == "probit":
            sign = 2 * y - 1
            u = sign * a
            ratio = np.sqrt(2 / np.pi) / scipy.special.erfcx(-u / np.sqrt(2))  # pdf/cdf
            # u + ratio cancels far to the left: where the Gaussian reaches there, by Stein's identity instead
            phi = (scipy.special.log_ndtr(u), sign * ratio, -ratio * (u + ratio) if t < 3 else sign * ratio * z / t)
        elif name == "student_t":
            df, scale = STUDENT["df"], STUDENT["scale"]
            u = (a - y) / scale
            phi = (
                -(df + 1) / 2 * np.log1p(u * u / df),
                -(df + 1) * u / (df + u * u) / scale,
                -(df + 1) * (df - u * u) / (df + u * u) ** 2 / scale**2,
            )
        elif name == "negative_binomial":
            r = NEGATIVE_BINOMIAL["dispersion"]
            p, q = scipy.special.expit(a - np.log(r)), scipy.special.expit(np.log(r) - a)
            value = -y * np.logaddexp(0, np.log(r) - a) - r * np.logaddexp(0, a - np.log(r))
            phi = (value, y - (y + r) * p, -(y + r) * p * q)
        elif name == "gamma":
            phi = (-a - y * np.exp(-a), y * np.exp(-a) - 1, -y * np.exp(-a))
        elif name == "cloglog":
            phi = reference.link_derivatives(a, y, "cloglog")
        elif name == "log_cosh":
            phi = (
                np.abs(a) + np.log1p(np.exp(-2 * np.abs(a))) - np.log(2),
                np.tanh(a),
                4 * scipy.special.expit(2 * a) * scipy.special.expit(-2 * a),
            )
        elif name == "square":
            phi = ((a - y) ** 2, 2 * (a - y), np.full_like(a, 2.0))
        else:
            phi = (np.exp(a),) * 3 if name == "exp" else (y * a - np.exp(a), y - np.exp(a), -np.exp(a))
    return [(w * p).sum() for p in phi]


@pytest.mark.parametrize("name, y", LINKS)
def test_exact_expectations_for_narrow_and_wide_gaussians(name, y):
    wide = (
        (1e-3, 0.1, 0.5, 0.8, 2.0)
        if name in ("exp", "poisson", "gamma") or (name == "cloglog" and y < 1)
        else (1e-3, 0.03, 0.3, 0.64, 0.7, 1.0, 3.0, 10.0, 100.0, 1000.0)
    )
    f = one_link(name, y)
    for m in (-8.0, -1.0, 0.0, 0.4, 6.0, 20.0):
        for t in wide:
            value, slope, curvature = quadrature(name, y, m, t)
            est = sb.expectation_grad(f, sb.Gaussian([m], [[t * t]]), estimator="exact")
            # y t cancels in E[y t - ...], and 2 t z in the oracle of the square
            size = abs(y) * abs(m) + (abs(y) if name == "poisson" else 0.0) + (200 * t if name == "square" else 0.0)
            size += abs(m) + t if name == "gamma" else 0.0
            assert est.value == pytest.approx(value, rel=2e-13, abs=2e-14 * size + 1e-15), (m, t)
            assert est.grad["mean"][0] == pytest.approx(slope, rel=1e-12, abs=2e-15 + 2e-15 * size), (m, t)
            assert 2 * est.grad["cov"][0, 0] == pytest.approx(curvature, rel=2e-12, abs=2e-15), (m, t)
            assert est.stderr["value"] == 0 and not est.stderr["mean"].any() and est.n_samples == 0


@pytest.mark.parametrize(
    "name, y",
    [
        row
        for row in LINKS
        if row[0] not in ("exp", "poisson", "square", "gamma") and row[0:2] not in (("cloglog", 0.0), ("cloglog", 0.3))
    ],
)
def test_exact_expectations_of_very_wide_gaussians(name, y):
    """Against mpmath's quadrature in x, cut where the link bends and at powers of ten from there."""
    f, centre = one_link(name, y), {"student_t": y, "negative_binomial": np.log(2.5)}.get(name, 0.0)
    for m, t in ((-2e7, 1e7), (3e12, 1e12)):
        est = sb.expectation_grad(f, sb.Gaussian([m], [[t * t]]), estimator="exact")
        reach = [mpmath.mpf(10) ** k for k in range(-1, int(np.log10(t)) + 2)]
        cuts = sorted(
            {centre + s * r for r in reach for s in (-1, 1)} | {mpmath.mpf(m + k * t) for k in range(-10, 11)}
        )
        cuts = [c for c in cuts if abs(c - m) <= 10 * t]

        def weighted(x, i, m=m, t=t):
            z = (x - m) / t
            return mp_link(name, x, y)[i] * mpmath.exp(-z * z / 2) / (t * mpmath.sqrt(2 * mpmath.pi))

        with mpmath.workdps(55 if name == "probit" else 25):  # exp(-x^2/2) takes the digits of x^2
            value, slope = (float(mpmath.quad(lambda x, i=i: weighted(x, i), cuts, maxdegree=8)) for i in (0, 1))
        assert est.value == pytest.approx(value, rel=1e-12)
        assert est.grad["mean"][0] == pytest.approx(slope, rel=1e-10, abs=1e-13 * (1 + abs(y)))


def test_integrals_cost_no_more_for_the_widest_gaussians():
    f = sb.targets.ridge(np.ones((4, 1)), 0.0, "student_t", df=4.0, scale=1e-7)
    for t in (1e7, 1e100):
        assert np.isfinite(sb.expectation_grad(f, sb.Gaussian([0.0], [[t * t]]), estimator="exact").value)


PUBLISHED = [
    (0, 1, 0.80605918334744),
    (1, 1, 1.40685628308753),
    (-2, 3, 0.617524065800372),
    (0, 10, 4.05431303117115),
    (5, 10, 7.03538839735489),
    (0, 30, 11.9901149808086),
    (3, 100, 41.4187377271743),
    (0, 0.1, 0.694395623240810),
]


def test_softplus_expectations_by_a_series():
    """The erfcx series with alternating terms summed by mpmath, and the published values."""
    f = one_link("softplus", 0.0)
    for m, t, published in PUBLISHED:
        with mpmath.workdps(30):
            m_, t_ = mpmath.mpf(m), mpmath.mpf(str(t))
            z = m_ / t_

            def half(x, z=z):
                return mpmath.exp((x * x - z * z) / 2) * mpmath.erfc(x / mpmath.sqrt(2))

            def term(k, t=t_, z=z, half=half):
                return (-1) ** (int(k) - 1) / k * (half(k * t + z) + half(k * t - z))

            series = mpmath.nsum(term, [1, mpmath.inf], method="a")
            want = float(t_ * mpmath.npdf(z) + m_ * mpmath.ncdf(z) + series / 2)
        assert want == pytest.approx(published, rel=1e-13)
        assert sb.expectation_grad(f, sb.Gaussian([m], [[t * t]]), estimator="exact").value == pytest.approx(
            want, rel=1e-13
        )


def test_exact_expectation_of_many_rows_of_mixed_widths():
    """64 rows share a step: the widest must not spoil the narrowest, nor the reverse."""
    r = np.random.default_rng(0)
    scales = np.logspace(-3, 2, 130)
    r.shuffle(scales)
    f = sb.targets.ridge(scales[:, None], r.standard_normal(130), "softplus", r.standard_normal(130))
    est = sb.expectation_grad(f, sb.DiagonalGaussian([0.5], [1.0]), estimator="exact")
    parts = np.array([quadrature("softplus", 0.0, 0.5 * s + c, s) for s, c in zip(scales, f.offset)])
    w = f.weights
    assert est.value == pytest.approx(w @ parts[:, 0], rel=1e-12)
    assert est.grad["mean"][0] == pytest.approx((w * scales) @ parts[:, 1], rel=1e-12)
    assert est.grad["std"][0] == pytest.approx((w * scales**2) @ parts[:, 2], rel=1e-11)


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


def test_exact_of_a_degenerate_direction():
    """A row of zeros has no spread: phi at its offset."""
    f = sb.targets.ridge(np.zeros((2, 3)), [0.3, -2.0], "log_cosh")
    est = sb.expectation_grad(f, sb.Gaussian(np.ones(3), np.eye(3)), estimator="exact")
    assert est.value == pytest.approx(np.log(np.cosh([0.3, -2.0])).sum(), rel=1e-13)
    assert not est.grad["mean"].any() and not est.grad["cov"].any()


def test_an_expectation_that_overflows_is_refused():
    f = one_link("exp", 0.0)
    with pytest.raises(sb.NonFiniteTarget, match="overflow"):
        sb.expectation_grad(f, sb.Gaussian([0.0], [[1e6]]), estimator="exact")


# -- user callables ---------------------------------------------------------------------------------------------------

Q = sb.DiagonalGaussian(np.zeros(2), np.ones(2))


def good_value(x):
    return np.sin(x).sum(axis=1)


def good_grad(x):
    return np.cos(x)


def good_hess(x):
    return -np.sin(x)[:, :, None] * np.eye(2)


def run(estimator="price", q=Q, **callables):
    callables = {"value": good_value, "grad": good_grad, "hess": good_hess} | callables
    return sb.expectation_grad(sb.Target(**callables, dim=2), q, estimator=estimator, n_samples=200, rng=0)


@pytest.mark.parametrize(
    "name, bad",
    [
        ("value", lambda x: np.zeros((len(x), 1))),
        ("value", lambda x: 0.0),
        ("value", lambda x: np.zeros(len(x) + 1)),
        ("grad", lambda x: np.zeros(len(x))),
        ("grad", lambda x: np.zeros((2, len(x)))),
        ("hess", lambda x: np.zeros((len(x), 2))),
        ("hess", lambda x: np.eye(2)),
    ],
)
def test_a_wrong_shape_is_told(name, bad):
    with pytest.raises(ValueError, match=rf"{name} must return shape .*got"):
        run(**{name: bad})


@pytest.mark.parametrize("name, shape", [("value", ()), ("grad", (2,)), ("hess", (2, 2))])
def test_a_wrong_dtype_is_told(name, shape):
    for dtype in (complex, object, "U3"):
        with pytest.raises(TypeError, match=f"{name} must return real numbers"):
            run(**{name: lambda x, dtype=dtype: np.zeros((len(x), *shape), dtype=dtype)})
    for dtype in (np.float32, np.int64, bool):  # these are real
        run(**{name: lambda x, dtype=dtype: np.zeros((len(x), *shape), dtype=dtype)})
    run(**{name: lambda x: np.zeros((len(x), *shape)).tolist()})


@pytest.mark.parametrize("name", ["value", "grad", "hess"])
def test_what_a_callable_raises_reaches_the_caller(name):
    error = ZeroDivisionError("mine")

    def bad(x):
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        run(**{name: bad})
    assert caught.value is error


@pytest.mark.parametrize("trouble", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name, what", [("value", "f is not finite"), ("grad", "gradient"), ("hess", "Hessian")])
@pytest.mark.parametrize("q", [Q, sb.Gaussian(np.zeros(2), np.eye(2))])
def test_a_point_that_is_not_finite_is_named(name, what, trouble, q):
    good, where = {"value": good_value, "grad": good_grad, "hess": good_hess}[name], []

    def bad(x):
        out = good(x)
        hit = np.flatnonzero(x[:, 0] > 1.5)
        out.reshape(len(x), -1)[hit, -1] = trouble
        if len(hit) and not where:
            where.append(x[hit[0]].copy())
        return out

    with pytest.raises(sb.NonFiniteTarget, match=what) as caught:
        run(q=q, **{name: bad})
    assert issubclass(sb.NonFiniteTarget, ValueError)
    for coordinate in where[0]:
        assert f"{coordinate:.6g}" in str(caught.value)


@pytest.mark.parametrize("estimator", ["price", "pathwise", "score", "combined", "auto"])
@pytest.mark.parametrize("q", [sb.Gaussian([0.0], [[1e6]]), sb.DiagonalGaussian([800.0], [1.0])])
def test_a_ridge_target_that_overflows_names_the_point(estimator, q):
    f = sb.targets.ridge([[1.0]], 0.0, "exp")
    with pytest.raises(sb.NonFiniteTarget):
        sb.expectation_grad(f, q, estimator=estimator, n_samples=100, rng=0)


def test_missing_derivatives_are_named():
    value_only, grad_only = sb.Target(value=good_value, dim=2), sb.Target(grad=good_grad, dim=2)
    hess_only = sb.Target(hess=good_hess, dim=2)
    for f, estimator, missing in [
        (value_only, "price", "grad and hess"),
        (value_only, "pathwise", "grad"),
        (value_only, "stein", "grad"),
        (grad_only, "score", "value"),
        (grad_only, "price", "hess"),
        (hess_only, "price", "grad"),
        (hess_only, "score", "value"),
    ]:
        with pytest.raises(ValueError, match=f"{estimator}.*{missing}"):
            sb.expectation_grad(f, Q, estimator=estimator, n_samples=4)
    for estimator in ("auto", "combined"):
        with pytest.raises(ValueError, match=r"derivatives|needs|no grad"):
            sb.expectation_grad(hess_only, Q, estimator=estimator, n_samples=10)
    with pytest.raises(ValueError, match="ridge"):
        sb.expectation_grad(value_only, Q, estimator="exact")
    x = np.zeros((3, 2))
    for method in ("value", "grad"):
        with pytest.raises(ValueError, match=f"no {method}"):
            getattr(hess_only, method)(x)
    for method in (lambda f: f.hess(x), lambda f: f.hvp(x, x), lambda f: f.hess_mean(x)):
        with pytest.raises(ValueError, match=r"no hess|no hvp"):
            method(value_only)


def test_callables_get_rows_they_may_keep():
    """C-contiguous float64 rows, at most a block at a time; keeping a reference is safe."""
    seen = []

    def value(x):
        assert x.dtype == np.float64 and x.flags.c_contiguous and x.ndim == 2 and x.shape[1] == 2
        seen.append((x, x.copy()))
        return good_value(x)

    run(estimator="score", value=value)
    sb.Target(value=value, dim=2).value(np.asfortranarray(np.ones((5, 2), np.float32)))
    for x, copy in seen:
        np.testing.assert_array_equal(x, copy)


def test_hessians_from_products():
    both = sb.Target(value=good_value, grad=good_grad, hess=good_hess, dim=2)
    hvp = sb.Target(value=good_value, grad=good_grad, hvp=lambda x, v: -np.sin(x) * v, dim=2)
    x = np.random.default_rng(0).standard_normal((7, 2))
    np.testing.assert_array_equal(hvp.hess(x), both.hess(x))
    np.testing.assert_allclose(both.hvp(x, x), hvp.hvp(x, x), rtol=1e-14)
    np.testing.assert_array_equal(hvp.hess_mean(x), both.hess_mean(x))
    with pytest.raises(ValueError, match="hvp must return shape"):
        sb.Target(hvp=lambda x, v: v[0], dim=2).hess(x)
    with pytest.raises(sb.NonFiniteTarget, match="Hessian"):
        sb.Target(hvp=lambda x, v: v * np.nan, dim=2).hess(x)


# -- parameters at the ends of what doubles hold ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [5e-324, 1e-170, 1e200, 1e308])
def test_scales_whose_squares_are_no_doubles_are_refused(size):
    one, y = np.ones((3, 1)), np.ones(3)
    for name, call in {
        "noise_scale": lambda: sb.targets.linear_regression(one, y, noise_scale=size, prior_scale=1.0),
        "prior_scale": lambda: sb.targets.logistic_regression(one, y, prior_scale=size),
        "scale": lambda: sb.targets.student_t_regression(one, y, df=3.0, scale=size, prior_scale=1.0),
        "df": lambda: sb.targets.student_t_regression(one, y, df=size, scale=1.0, prior_scale=1.0),
        "dispersion": lambda: sb.targets.negative_binomial_regression(one, y, dispersion=size, prior_scale=1.0),
    }.items():
        with pytest.raises(ValueError, match=f"{name} must lie between 1e-150 and 1e150"):
            call()


def test_constants_keep_their_digits_for_large_parameters():
    one, y = np.ones((2, 1)), np.array([0.0, 3.0])
    t = 0.4
    far = sb.targets.negative_binomial_regression(one, y, dispersion=1e12, prior_scale=np.inf).value([[t]])[0]
    assert far == pytest.approx(scipy.stats.poisson.logpmf(y, np.exp(t)).sum(), rel=1e-9)
    far = sb.targets.student_t_regression(one, y, df=1e12, scale=1.0, prior_scale=np.inf).value([[t]])[0]
    assert far == pytest.approx(scipy.stats.norm.logpdf(y, t).sum(), rel=1e-9)


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
