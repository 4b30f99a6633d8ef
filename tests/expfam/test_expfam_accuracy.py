"""Digits of the families: likelihoods and fits of narrow data, large parameters.

The oracles are mpmath with 50 digits, on the very doubles that the package gets.
"""

import mpmath as mp
import numpy as np
import pytest
from fifty_digits import M, big, error, log_beta

import sbpfast as sb
from sbpfast import expfam
from sbpfast.expfam import _functions


def near_one(spread, n=200, seed=0):
    return 1.0 + spread * np.random.default_rng(seed).standard_normal(n)


def wishart_data(spread, n=100, d=2):
    z = np.random.default_rng(0).standard_normal((n, d, d))
    return np.eye(d) + 0.3 + spread * (z + z.swapaxes(1, 2))


# -- functions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [1e-100, -1e-17, 3e-9, -0.2, 0.26, -0.7, 12.0])
def test_gaps(x):
    with mp.workdps(300):
        assert error(_functions.log_gap(x), M(x) - mp.log1p(M(x))) < 1e-15
        assert error(_functions.exp_gap(x), mp.expm1(M(x)) - M(x)) < 2e-15
    ratio = _functions.log_ratio(3.0 + x, 3.0)
    assert error(ratio, mp.log(M(3.0 + x) / 3), 1e-300) < 1e-15


@pytest.mark.parametrize("a", [1e-3, 0.7, 11.9, 12.1, 1e4, 1e12])
def test_parts_of_the_gamma_function(a):
    m = M(a)
    assert error(_functions.gamma_entropy(a), m + mp.loggamma(m) + (1 - m) * mp.psi(0, m), 1) < 1e-13
    assert error(_functions.log_gamma_rise(a, 0.5), mp.loggamma(m + 0.5) - mp.loggamma(m), 1) < 1e-13
    fall = mp.log(m / (m + 0.5)) + mp.psi(0, m + 0.5) - mp.psi(0, m)
    assert error(_functions.log_minus_digamma_fall(a, 0.5), fall) < 1e-12


# -- log-likelihoods and fits of narrow data ---------------------------------------------------------------------------

LOG_DENSITIES = {
    "Gamma": lambda x, q: big_gamma(x, M(float(q.shape)), M(float(q.rate))),
    "InverseGamma": lambda x, q: big_gamma(1 / x, M(float(q.shape)), M(float(q.scale))) - 2 * mp.log(x),
    "InverseGaussian": lambda x, q: big_inverse_gaussian(x, M(float(q.mean)), M(float(q.concentration))),
    "ChiSquare": lambda x, q: big_gamma(x, M(float(q.df)) / 2, M(0.5)),
    "Beta": lambda x, q: big_beta(x, M(float(q.a)), M(float(q.b))),
    "VonMises": lambda x, q: big_von_mises(x, M(float(q.mean)), M(float(q.concentration))),
    "Pareto": lambda x, q: mp.log(M(float(q.tail)) / q.minimum) - (M(float(q.tail)) + 1) * mp.log(x / q.minimum),
}


def big_gamma(x, a, b):
    return a * mp.log(b) - mp.loggamma(a) + (a - 1) * mp.log(x) - b * x


def big_inverse_gaussian(x, m, c):
    return mp.log(c / (2 * mp.pi * x**3)) / 2 - c * (x - m) ** 2 / (2 * m**2 * x)


def big_beta(x, a, b):
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) - log_beta(a, b)


def big_von_mises(x, mean, kappa):
    asymptotic = mp.fsum(mp.rf(M(0.5), k) ** 2 / (mp.factorial(k) * (2 * kappa) ** k) for k in range(30))
    log_scaled = mp.log(asymptotic) - mp.log(2 * mp.pi * kappa) / 2
    return -2 * kappa * mp.sin((x - mean) / 2) ** 2 - log_scaled - mp.log(2 * mp.pi)


@pytest.mark.parametrize(
    "name, x, constants",
    [
        ("Gamma", near_one(1e-6), {}),
        ("InverseGamma", near_one(1e-6), {}),
        ("InverseGaussian", near_one(1e-6), {}),
        ("InverseGaussian", 1e-200 * np.array([1.0, 2.0, 3.0, 5.0]), {}),
        ("ChiSquare", 1e8 * near_one(1e-4), {}),
        ("ChiSquare", np.array([1e300]), {}),
        ("Beta", 0.3 * near_one(1e-5), {}),
        ("Beta", 1e-9 * near_one(0.1), {}),
        ("Beta", 1.0 - 1e-9 * near_one(0.1), {}),
        ("VonMises", near_one(1e-5), {}),
        ("Pareto", 3.0 + 1e-9 * np.random.default_rng(0).exponential(size=100), {"minimum": 3.0}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_log_likelihood_is_that_of_the_distribution(name, x, constants):
    result = expfam.FAMILIES[name].fit(x, **constants)
    with mp.workdps(400 if x.max() > 1e200 else 60):
        want = mp.fsum(LOG_DENSITIES[name](v, result.distribution) for v in big(x))
    assert error(result.log_likelihood, want, len(x)) < 1e-11


@pytest.mark.parametrize("size", [0.3, 30.0, 1e4, 1e8, 1e12])
def test_log_likelihood_of_counts(size):
    """Mean log h is of the size of x log x, the log-likelihood is not."""
    k = np.random.default_rng(0).poisson(size, 50).astype(np.float64)
    q = expfam.Poisson.fit(k)
    rate = M(q.distribution.rate)
    want = mp.fsum(v * mp.log(rate) - rate - mp.loggamma(v + 1) for v in big(k))
    assert error(q.log_likelihood, want) < 1e-13
    n, r = 3.0 * np.ceil(size), 2.0 * size
    q = expfam.Binomial.fit(np.minimum(k, n), n=n)
    p = 1 / (1 + mp.exp(-M(q.distribution.logit)))
    base = [mp.loggamma(M(n) + 1) - mp.loggamma(v + 1) - mp.loggamma(M(n) - v + 1) for v in big(np.minimum(k, n))]
    want = mp.fsum(base) + mp.fsum(v * mp.log(p) + (n - v) * mp.log(1 - p) for v in big(np.minimum(k, n)))
    assert error(q.log_likelihood, want) < 1e-12
    q = expfam.NegativeBinomial.fit(k, r=r)
    p = 1 / (1 + mp.exp(-M(q.distribution.logit)))
    base = [mp.loggamma(v + M(r)) - mp.loggamma(M(r)) - mp.loggamma(v + 1) for v in big(k)]
    want = mp.fsum(base) + mp.fsum(v * mp.log(1 - p) + M(r) * mp.log(p) for v in big(k))
    assert error(q.log_likelihood, want) < 1e-12
    chunks = sum(expfam.NegativeBinomial.statistics(part, r=r) for part in (k[:7], k[7:]))
    assert expfam.NegativeBinomial.fit(chunks).log_likelihood == pytest.approx(q.log_likelihood, rel=1e-12)


def exact_beta(x, start):
    """The root of the likelihood equations."""
    logs = [mp.fsum(mp.log(v) for v in big(x)) / len(x), mp.fsum(mp.log(1 - v) for v in big(x)) / len(x)]

    def equations(a, b):
        total = mp.psi(0, a + b)
        return [mp.psi(0, a) - total - logs[0], mp.psi(0, b) - total - logs[1]]

    return mp.findroot(equations, start, tol=1e-40, maxsteps=50)


@pytest.mark.parametrize("spread, tolerance", [(1e-1, 1e-12), (1e-5, 1e-11), (1e-7, 1e-8), (1e-9, 1e-6)])
def test_narrow_beta_and_dirichlet(spread, tolerance):
    x = 0.3 + spread * np.clip(np.random.default_rng(0).standard_normal(300), -2.5, 2.5)
    result = expfam.Beta.fit(x)
    assert result.converged
    assert result.iterations < 20
    a = result.distribution.a
    with mp.workdps(60):
        want = exact_beta(x, (M(a), M(result.distribution.b)))
    assert error(a, want[0]) < tolerance
    assert error(result.distribution.b, want[1]) < tolerance
    same = expfam.Dirichlet.fit(np.column_stack([x, 1.0 - x]))
    assert same.distribution.concentration[0] == pytest.approx(a, rel=1e-9)
    assert same.log_likelihood == pytest.approx(result.log_likelihood, rel=1e-9)


@pytest.mark.parametrize("spread, tolerance", [(1e-5, 1e-10), (1e-7, 1e-8), (1e-9, 1e-6)])
def test_narrow_angles(spread, tolerance):
    x = near_one(spread)
    kappa = expfam.VonMises.fit(x).distribution.concentration
    with mp.workdps(60):
        c, s = (mp.fsum(f(v) for v in big(x)) / len(x) for f in (mp.cos, mp.sin))
        complement = 1 - mp.sqrt(c * c + s * s)
        want = mp.findroot(lambda k: complement - 1 / (2 * k) - 1 / (8 * k**2) - 1 / (8 * k**3), M(kappa))
    assert error(kappa, want) < tolerance


@pytest.mark.parametrize("spread, tolerance", [(1e-2, 1e-12), (1e-5, 1e-10), (1e-7, 1e-8)])
def test_narrow_wisharts(spread, tolerance):
    w = wishart_data(spread)
    result = expfam.Wishart.fit(w)
    assert result.converged

    def det(m):
        return m[0] * m[3] - m[1] * m[2]

    mean = [mp.fsum(big(w[:, i, j])) / len(w) for i in (0, 1) for j in (0, 1)]
    gap = mp.log(det(mean)) - mp.fsum(mp.log(det(big(v))) for v in w) / len(w)
    df = M(result.distribution.df)
    want = 2 * mp.findroot(lambda h: 2 * mp.log(h) - mp.psi(0, h) - mp.psi(0, h - 0.5) - gap, df / 2, tol=1e-60)
    assert error(df, want) < tolerance
    assert result.log_likelihood == pytest.approx(result.distribution.log_prob(w).sum(), rel=1e-7)


@pytest.mark.parametrize("name", ["Beta", "VonMises", "Dirichlet", "Wishart", "ChiSquare", "Pareto"])
def test_centred_statistics_merge(name):
    """Chunks add up, and whole weights repeat, for data whose spread is 1e-6 of them."""
    x = 0.3 * near_one(1e-6, 60)
    x = {"Dirichlet": np.column_stack([x, 1 - x]), "Wishart": wishart_data(1e-6, 60), "Pareto": x + 1.0}.get(name, x)
    family, constants = expfam.FAMILIES[name], {"minimum": 1.0} if name == "Pareto" else {}
    w = np.random.default_rng(1).integers(0, 3, 60)
    repeated = family.fit(np.repeat(x, w, axis=0), **constants)
    parts = [family.statistics(x[i], w[i], **constants) for i in np.split(np.arange(60), [7, 31])]
    for again in (family.fit(x, weights=w, **constants), family.fit(sum(parts))):
        for key in again.distribution._names:
            np.testing.assert_allclose(getattr(again.distribution, key), getattr(repeated.distribution, key), rtol=1e-8)
        assert again.log_likelihood == pytest.approx(repeated.log_likelihood, rel=1e-8)


@pytest.mark.parametrize("shape", [0.05, 5.0, 500.0])
def test_newton_stops_at_rounding(shape):
    assert expfam.Gamma.fit(expfam.Gamma(shape, 1.0).sample(500, rng=0)).iterations < 8
    assert expfam.VonMises.fit(expfam.VonMises(0.3, 2 * shape).sample(500, rng=0)).iterations < 12
    assert expfam.Wishart.fit(expfam.Wishart(shape + 2, np.eye(2)).sample(500, rng=0)).iterations < 12
    vector = expfam.Gamma(np.linspace(0.1, 50.0, 400), 1.0)
    assert expfam.Gamma.fit(vector.sample(50, rng=0)).iterations < 10


# -- densities and entropies at large parameters -----------------------------------------------------------------------


def big_student(z, nu):
    constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2
    return constant - (nu + 1) / 2 * mp.log1p(z * z / nu)


@pytest.mark.parametrize("df", [1e-3, 0.5, 5.0, 23.9, 100.0, 1e4, 1e6, 1e10, 1e14])
def test_student_t(df):
    p, nu = expfam.StudentT(df, 0.0, 1.0), M(df)
    for z in (0.0, 1e-3, 1.5, 30.0, 1e160, 1e308):
        assert error(p.log_prob([z])[0], big_student(M(z), nu), 1) < 1e-14 * max(1.0, min(df, 1e3))
        score = p.score([z])
        m = M(z)
        by_df = (mp.psi(0, (nu + 1) / 2) - mp.psi(0, nu / 2) - 1 / nu - mp.log1p(m * m / nu)) / 2
        by_df += m * m * (nu + 1) / (nu * (nu + m * m)) / 2
        assert error(score["df"][0, 0], by_df) < 1e-12
        assert error(score["loc"][0, 0], m * (nu + 1) / (nu + m * m), 1e-300) < 1e-14
        assert error(score["scale"][0, 0], m * m * (nu + 1) / (nu + m * m) - 1, 1) < 1e-14
    h = (nu + 1) / 2
    want = h * (mp.psi(0, h) - mp.psi(0, nu / 2)) + mp.log(nu) / 2 + log_beta(nu / 2, M(0.5))
    assert error(p.entropy(), want) < 1e-14


@pytest.mark.parametrize("n", [5.0, 100.0, 1e9, 1e12])
def test_counts(n):
    logit, tolerance = 0.3, 1e-13 if n < 1e9 else 1e-9  # p's own rounding counts (k - n p) times
    for k in {0.0, 1.0, np.floor(0.4 * n), np.round(n / (1 + np.exp(-logit))), n}:
        p = 1 / (1 + mp.exp(-M(logit)))
        base = mp.loggamma(M(n) + 1) - mp.loggamma(M(k) + 1) - mp.loggamma(M(n) - M(k) + 1)
        want = base + M(k) * mp.log(p) + (M(n) - M(k)) * mp.log(1 - p)
        assert error(expfam.Binomial(logit, n=n).log_prob([k])[0], want, 1) < tolerance
        want = mp.loggamma(M(k) + M(n)) - mp.loggamma(M(n)) - mp.loggamma(M(k) + 1)
        want += M(n) * mp.log(p) + M(k) * mp.log(1 - p)
        assert error(expfam.NegativeBinomial(logit, r=n).log_prob([k])[0], want, 1) < tolerance


@pytest.mark.parametrize("logit", [-800.0, 800.0])
def test_counts_of_certain_trials(logit):
    """Their probabilities underflow, the logarithms do not."""
    k = np.array([0.0, 3.0, 50.0])
    log_p, log_q = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
    want = [float(mp.log(mp.binomial(50, int(v)))) + v * log_p + (50 - v) * log_q for v in k]
    np.testing.assert_allclose(expfam.Binomial(logit, n=50).log_prob(k), want, rtol=1e-13)
    want = [float(mp.log(mp.binomial(int(v) + 3, int(v)))) + 4 * log_p + v * log_q for v in k]
    np.testing.assert_allclose(expfam.NegativeBinomial(logit, r=4).log_prob(k), want, rtol=1e-13)


@pytest.mark.parametrize("a, b", [(2.0, 3.0), (15.0, 1e-2), (1e4, 2e4), (1e8, 1e8), (1e8, 1.0), (1e12, 3e12)])
def test_beta_and_dirichlet(a, b):
    p = expfam.Beta(a, b)
    mean, spread = a / (a + b), np.sqrt(a * b / (a + b) ** 3)
    for x in np.clip(mean + spread * np.array([-2.0, 0.0, 0.7]), 1e-3, 1 - 1e-9):
        want = big_beta(M(x), M(a), M(b))
        tolerance = 1e-14 * np.sqrt(a + b) + 1e-13  # what the rounding of x makes of it
        assert error(p.log_prob([x])[0], want, 1) < tolerance
        parts = x, 0.25 * (1.0 - x), 1.0 - x - 0.25 * (1.0 - x)
        if sum(big(parts)) == 1:
            q = expfam.Dirichlet([a, 0.25 * b, 0.75 * b])
            want = mp.fsum((M(c) - 1) * mp.log(M(v)) for c, v in zip(q.concentration, parts))
            want -= log_beta(*big(q.concentration))
            assert error(q.log_prob([parts])[0], want, 1) < tolerance
    n = M(a) + M(b)
    want = log_beta(M(a), M(b)) + (n - 2) * mp.psi(0, n)
    want -= (M(a) - 1) * mp.psi(0, M(a)) + (M(b) - 1) * mp.psi(0, M(b))
    assert error(p.entropy(), want, 1) < 3e-14
    assert expfam.Dirichlet([a, b]).entropy() == pytest.approx(p.entropy(), rel=1e-14)


@pytest.mark.parametrize("a", [1e-3, 3.0, 1e6, 1e10, 1e15])
def test_entropies_of_gammas(a):
    m = M(a)
    gamma = m + mp.loggamma(m) + (1 - m) * mp.psi(0, m)
    assert error(expfam.Gamma(a, 2.0).entropy(), gamma - mp.log(2), 1) < 2e-14
    assert error(expfam.InverseGamma(a, 2.0).entropy(), gamma + mp.log(2) - 2 * mp.psi(0, m), 1) < 2e-14
    assert error(expfam.ChiSquare(2 * a).entropy(), gamma + mp.log(2), 1) < 2e-14
    assert error(expfam.Wishart(2 * a, [[0.25]]).entropy(), gamma - mp.log(2), 1) < 2e-14
    if a > 1:
        h, i = M(a), [M(0), M(0.5)]
        log_gamma = mp.log(mp.pi) / 2 + mp.fsum(mp.loggamma(h - v) for v in i)
        want = log_gamma + 2 * h - (h - 1.5) * mp.fsum(mp.psi(0, h - v) for v in i) + 1.5 * 2 * mp.log(2)
        assert error(expfam.Wishart(2 * a, np.eye(2)).entropy(), want, 1) < 4e-14
        w = mp.matrix([[2 * a * 1.0001, 1.0], [1.0, 2 * a]])
        want = (h - 1.5) * mp.log(mp.det(w)) - (w[0, 0] + w[1, 1]) / 2 - log_gamma - 2 * h * mp.log(2)
        got = expfam.Wishart(2 * a, np.eye(2)).log_prob([[[float(w[0, 0]), 1.0], [1.0, 2 * a]]])[0]
        assert error(got, want, 1) < 1e-11 * max(1.0, a * 1e-10)


def test_log_partition_does_not_overflow_before_its_value():
    assert (
        error(expfam.Gamma(1e306, 1e306).log_partition(), mp.loggamma(M(1e306)) - M(1e306) * mp.log(M(1e306))) < 1e-14
    )
    assert error(expfam.InverseGamma(30.0, 2.0).log_partition(), mp.loggamma(M(30)) - 30 * mp.log(2)) < 1e-14


@pytest.mark.parametrize("a", [0.5, 1e6, 1e10])
def test_natural_gradients(a):
    """The information is nearly singular: its determinant is 1/(2 a) of the product of its diagonal."""
    m, g = M(a), mp.matrix([1, 2])
    information = mp.matrix([[mp.psi(1, m), -1 / M(3)], [-1 / M(3), m / 9]])
    want = mp.lu_solve(information, g)
    for family, name in ((expfam.Gamma, "rate"), (expfam.InverseGamma, "scale")):
        got = family(a, 3.0)._natural_grad({"shape": np.float64(1.0), name: np.float64(2.0)})
        assert np.shape(got["shape"]) == ()
        assert max(error(got["shape"], want[0]), error(got[name], want[1])) < 1e-12
    total = mp.psi(1, 4 * m)
    information = mp.matrix([[mp.psi(1, m) - total, -total], [-total, mp.psi(1, 3 * m) - total]])
    want = mp.lu_solve(information, g)
    got = expfam.Beta([a], [3 * a])._natural_grad({"a": np.ones(1), "b": np.full(1, 2.0)})
    assert max(error(got["a"][0], want[0]), error(got["b"][0], want[1])) < 1e-12
    got = expfam.Dirichlet([a, 3 * a])._natural_grad({"concentration": np.array([1.0, 2.0])})["concentration"]
    assert max(error(got[0], want[0]), error(got[1], want[1])) < 1e-12


def test_inverse_gaussian_weights_do_not_overflow():
    for (mean, c, x), want in [((1.0, 1.0, 1e300), (2e300, -1e300)), ((1e-200, 1.0, 1.0), (2e200, -1.0))]:
        weights = expfam.InverseGaussian(mean, c).transport([x])
        assert weights["mean"][0, 0] == pytest.approx(want[0], rel=1e-12)
        assert weights["concentration"][0, 0] == pytest.approx(want[1], rel=1e-12)


# -- ranges and misuse -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Normal", "HalfNormal", "Rayleigh"])
@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_squares_beyond_the_range_are_named(name, size):
    with pytest.raises(ValueError, match="spreads from 1e-146 to 1e154"):
        expfam.FAMILIES[name].fit(size * np.array([1.0, 2.0, 3.0, 5.0]))


def test_sums_beyond_the_range_are_named():
    with pytest.raises(ValueError, match="rescale"):
        expfam.Exponential.fit([1e308, 1e308, 1e308, 1.7e308])
    with pytest.raises(ValueError, match="rescale"):
        expfam.Gamma.fit([1e308, 1e308, 1e308, 1.7e308])
    for size in (1e-300, 1e-160, 1e200):
        with pytest.raises(ValueError, match="rescale"):
            sb.Gaussian.fit(size * np.random.default_rng(0).standard_normal((50, 2)))
    with pytest.raises(ValueError, match="weights"):
        expfam.Poisson.fit([1.0, 2.0], weights=[1e308, 1.7e308])


def test_statistics_are_checked():
    normal = expfam.Normal.statistics([1.0, 2.0, 4.0])
    assert "Normal" in repr(normal)
    assert expfam.Normal.fit(sum([normal, normal])).distribution.std == pytest.approx(np.std([1.0, 2.0, 4.0]))
    with pytest.raises(TypeError, match="Gamma"):
        expfam.Gamma.fit(normal)
    with pytest.raises(TypeError, match="Gaussian"):
        sb.Gaussian.fit(normal)
    rows = np.array([[0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    for family, data in [(expfam.Dirichlet, rows), (expfam.Categorical, [0, 1, 1]), (expfam.Normal, rows)]:
        with pytest.raises(TypeError, match="weights"):
            family.fit(family.statistics(data), weights=[1.0, 1.0, 2.0])
    z = np.random.default_rng(0).standard_normal((9, 2))
    parts = [expfam.GaussianStatistics.of(part) for part in (z[:4], z[4:])]
    np.testing.assert_allclose(sb.Gaussian.fit(sum(parts)).distribution.cov, np.cov(z.T, bias=True), rtol=1e-12)
    assert "dimension=2" in repr(parts[0])
    with pytest.raises(TypeError, match="weights"):
        sb.Gaussian.fit(parts[0], weights=np.ones(4))
    with pytest.raises(ValueError, match="dimensions 2 and 1"):
        parts[0] + expfam.GaussianStatistics.of(z[:, :1])


def test_means_and_priors_are_checked():
    with pytest.raises(ValueError, match="m must lie inside"):
        expfam.Gamma.from_mean_params([1.0, 1.0])
    with pytest.raises(ValueError, match="m must lie inside"):
        expfam.Dirichlet.from_mean_params([-0.1, -0.2])
    with pytest.raises(ValueError, match="m0 of prior must fit"):
        expfam.Normal.fit(np.ones((4, 3)), prior=(1.0, np.zeros((2, 2))))
    with pytest.raises(ValueError, match="m0 of prior must fit"):
        expfam.Dirichlet.fit([[0.2, 0.8]], prior=(1.0, [-1.0, -1.0, -2.0]))
