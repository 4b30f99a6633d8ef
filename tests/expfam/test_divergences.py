"""Digits of the divergences of near pairs, and of far ones, against mpmath with 50 digits."""

import mpmath as mp
import numpy as np
import pytest
from fifty_digits import M, big, error, log_beta

from sbpfast import expfam


def kl_gamma(a, b, c, d):
    return (a - c) * mp.psi(0, a) - mp.loggamma(a) + mp.loggamma(c) + c * mp.log(b / d) + a * (d - b) / b


def kl_dirichlet(a, b):
    total = mp.psi(0, sum(a))
    return log_beta(*b) - log_beta(*a) + mp.fsum((v - w) * (mp.psi(0, v) - total) for v, w in zip(a, b))


def kl_bernoulli(a, b):
    p, q = (1 / (1 + mp.exp(-v)) for v in (a, b))
    return p * mp.log(p / q) + (1 - p) * mp.log((1 - p) / (1 - q))


def kl_multigamma(h, to, d):
    return mp.fsum(
        mp.loggamma(to - i / 2) - mp.loggamma(h - i / 2) - (to - h) * mp.psi(0, h - i / 2) for i in map(M, range(d))
    )


def kl_von_mises(mean, k, other, j):
    with mp.workdps(80):
        ratio = mp.besseli(1, k) / mp.besseli(0, k)
        return mp.log(mp.besseli(0, j) / mp.besseli(0, k)) + ratio * (k - j * mp.cos(mean - other))


def kl_continuous_bernoulli(a, b):
    mean = 1 / (1 - mp.exp(-a)) - 1 / a
    return mp.log((mp.expm1(b) / b) / (mp.expm1(a) / a)) - (b - a) * mean


def scale(r):
    return r - 1 - mp.log(r)


KL = {
    "Normal": lambda m, s, n, t: (scale((s / t) ** 2) + ((m - n) / t) ** 2) / 2,
    "LogNormal": lambda m, s, n, t: (scale((s / t) ** 2) + ((m - n) / t) ** 2) / 2,
    "Exponential": lambda a, b: scale(b / a),
    "Gamma": kl_gamma,
    "InverseGamma": kl_gamma,
    "ChiSquare": lambda a, b: kl_gamma(a / 2, M(0.5), b / 2, M(0.5)),
    "Beta": lambda a, b, c, d: kl_dirichlet([a, b], [c, d]),
    "InverseGaussian": lambda m, c, n, e: (scale(e / c) + e * (m - n) ** 2 / (m * n**2)) / 2,
    "Weibull": lambda s, t: scale((s / t) ** 2.5),
    "Pareto": lambda a, b: scale(b / a),
    "Laplace": lambda s, t: scale(s / t),
    "Rayleigh": lambda s, t: scale((s / t) ** 2),
    "HalfNormal": lambda s, t: scale((s / t) ** 2) / 2,
    "VonMises": kl_von_mises,
    "ContinuousBernoulli": kl_continuous_bernoulli,
    "Bernoulli": kl_bernoulli,
    "Binomial": lambda a, b: 7 * kl_bernoulli(a, b),
    "Poisson": lambda a, b: a * mp.log(a / b) + b - a,
    "Geometric": lambda a, b: mp.log(a / b) + (1 - a) / a * mp.log((1 - a) / (1 - b)),
    "NegativeBinomial": lambda a, b: (1 + mp.exp(-a)) * 3 * kl_bernoulli(a, b),
}
CONSTANTS = {"Weibull": {"shape": 2.5}, "Pareto": {"minimum": 1.5}, "Laplace": {"loc": 0.5}, "Binomial": {"n": 7}}
CONSTANTS["NegativeBinomial"] = {"r": 3.0}
LARGE = [("Gamma", (1e6, 1.0)), ("Gamma", (1e10, 1e9)), ("InverseGamma", (1e6, 1.0)), ("ChiSquare", (1e7,))]
LARGE += [("Beta", (2.5, 2.5)), ("Beta", (1e6, 1.0)), ("Beta", (1e8, 3e8)), ("Poisson", (1e6,)), ("Bernoulli", (40.0,))]
LARGE += [("VonMises", (0.3, 300.0)), ("Geometric", (1e-6,)), ("ContinuousBernoulli", (-50.0,)), ("Gamma", (1e-3, 1.0))]
POINTS = [
    *(
        (name, tuple(v for k, v in expfam.FAMILIES[name].example.items() if k not in CONSTANTS.get(name, {})))
        for name in KL
    )
]


@pytest.mark.parametrize("step", [1e-12, 1e-8, 1e-3, 0.3])
@pytest.mark.parametrize("name, start", POINTS + LARGE, ids=str)
def test_divergence_keeps_its_digits(name, start, step):
    constants = CONSTANTS.get(name, {})
    family = expfam.FAMILIES[name]
    signs = np.resize([1.0, -0.4], len(start))
    for other in (np.array(start) * (1.0 + step), np.array(start) * (1.0 + step * signs)):
        p, q = family(*start, **constants), family(*other, **constants)
        with mp.workdps(90):
            want = KL[name](*big(start), *big(other))
        assert p.kl(q) >= 0.0
        if step > 1e-12:  # there the divergence is of the size of 1e-24, but still positive
            assert error(p.kl(q), want) < 3e-11


def test_divergence_of_far_pairs():
    for name, start, other in [
        ("Bernoulli", (40.0,), (41.0,)),
        ("Bernoulli", (-30.0,), (30.0,)),
        ("Bernoulli", (40.0,), (90.0,)),
        ("Gamma", (1e-3, 5.0), (1e6, 1e-3)),
        ("Gamma", (1e6, 2.0), (0.1, 1.0)),
        ("Beta", (1e-2, 30.0), (1e4, 2.0)),
        ("ChiSquare", (1e5,), (0.01,)),
        ("ContinuousBernoulli", (-50.0,), (60.0,)),
        ("Poisson", (1e-9,), (1e5,)),
    ]:
        family = expfam.FAMILIES[name]
        assert error(family(*start).kl(family(*other)), KL[name](*big(start), *big(other))) < 1e-11


def test_divergence_of_random_near_pairs_is_positive():
    rng = np.random.default_rng(0)
    a, b = 10.0 ** rng.uniform(-3, 6, (2, 2000))
    near_a, near_b = (v * (1.0 + 10.0 ** rng.uniform(-16, -6, 2000) * rng.choice([-1.0, 1.0], 2000)) for v in (a, b))
    p, q = expfam.Gamma(a, b), expfam.Gamma(near_a, near_b)
    assert (p._kl(p._p, q._p) >= 0).all()


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_divergence_of_dirichlets_and_wisharts(size):
    a = size * np.array([0.5, 1.0, 3.0])
    b = a * (1.0 + 1e-7 * np.array([1.0, 0.2, -0.5]))
    assert error(expfam.Dirichlet(a).kl(expfam.Dirichlet(b)), kl_dirichlet(big(a), big(b))) < 1e-8
    df, to = 4.0 * size, 4.0 * size * (1 + 1e-7)
    s, t = 2.0 * np.eye(2), np.array([[2.0, 1e-6], [1e-6, 2.0 + 1e-6]])
    ratio = mp.matrix(t.tolist()) ** -1 * mp.matrix(s.tolist())
    h, o = M(df) / 2, M(to) / 2
    want = kl_multigamma(h, o, 2) + h * (ratio[0, 0] + ratio[1, 1] - 2) - o * mp.log(mp.det(ratio))
    assert error(expfam.Wishart(df, s).kl(expfam.Wishart(to, t)), want) < 1e-7
    assert expfam.Wishart(1e6, np.eye(2)).kl(expfam.Wishart(1e6, (1 + 1e-6) * np.eye(2))) == pytest.approx(
        1e6 * float(scale(1 / M(1 + 1e-6))), rel=1e-9
    )
    logits = np.array([3.0, -40.0, 1.0])
    other = logits + 1e-6 * np.array([1.0, 2.0, -1.0])
    shares = [[mp.exp(v) for v in big(w)] for w in (logits, other)]
    want = mp.fsum(v / sum(shares[0]) * mp.log(v / sum(shares[0]) / (w / sum(shares[1]))) for v, w in zip(*shares))
    assert error(expfam.Categorical(logits).kl(expfam.Categorical(other)), want) < 1e-8


@pytest.mark.parametrize("other", [(1e6 + 0.1, 1.0), (1e6, 1.0 + 1e-7), (1e6 - 4.0, 2.0)])
def test_divergence_of_truncated_normals(other):
    bounds = 1e6 - 2.0, 1e6 + 1.0
    got = expfam.TruncatedNormal(1e6, 1.0, *bounds).kl(expfam.TruncatedNormal(*other, *bounds))

    def log_density(loc, s):
        def f(x):
            return -((x - M(loc)) ** 2) / (2 * M(s) ** 2)

        log_mass = mp.log(mp.quad(lambda x: mp.exp(f(x)), bounds))
        return lambda x: f(x) - log_mass

    p, q = log_density(1e6, 1.0), log_density(*other)
    assert error(got, mp.quad(lambda x: mp.exp(p(x)) * (p(x) - q(x)), bounds)) < 1e-9
