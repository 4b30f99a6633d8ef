"""cdf, ppf, mean, variance and mode, as scipy.stats names them."""

import mpmath as mp
import numpy as np
import pytest
import scipy.stats as st
from expfam_cases import SCIPY, reference
from statistics_helpers import assert_law

from sbpfast import expfam
from sbpfast.expfam import FAMILIES

ONE_DIMENSIONAL = [name for name in FAMILIES if name in SCIPY and name not in ("Dirichlet", "Wishart", "Categorical")]
one = pytest.mark.parametrize("name", ONE_DIMENSIONAL)
PROBABILITIES = np.array([1e-3, 0.04, 0.2, 0.5, 0.7, 0.95, 0.999])


def example(name):
    return FAMILIES[name](**FAMILIES[name].example)


def test_every_family_of_one_dimension_is_here():
    assert set(FAMILIES) - set(ONE_DIMENSIONAL) == {"Dirichlet", "Wishart", "Categorical"}


@one
def test_distribution_functions_agree_with_scipy(name):
    p, ref = example(name), reference(name, FAMILIES[name].example)
    if name == "VonMises":
        low = ref.cdf(-np.pi)
        x = np.linspace(-3.0, 3.0, 9)
        np.testing.assert_allclose(p.cdf(x), ref.cdf(x) - low, atol=1e-13)
        np.testing.assert_allclose(p.cdf(p.ppf(PROBABILITIES)), PROBABILITIES, rtol=1e-12)
        return
    x = ref.ppf(PROBABILITIES)
    np.testing.assert_allclose(p.cdf(x), ref.cdf(x), rtol=2e-12)
    np.testing.assert_allclose(p.ppf(PROBABILITIES), x, rtol=1e-10, atol=1e-12)


@one
def test_moments_agree_with_scipy(name):
    p, ref = example(name), reference(name, FAMILIES[name].example)
    mean, variance = p.moments()
    if name == "VonMises":
        assert mean == p.mean and variance == pytest.approx(
            1.0 - st.vonmises(p.concentration).expect(np.cos, lb=-np.pi, ub=np.pi)
        )
        return
    assert mean == pytest.approx(ref.mean(), rel=1e-12)
    assert variance == pytest.approx(ref.var(), rel=1e-11) and p.variance() == variance
    if "mean" in (q.name for q in p.parameters):
        assert p.mean == FAMILIES[name].example["mean"]
    else:
        assert p.mean() == mean


@one
def test_nothing_is_likelier_than_the_mode(name):
    p = example(name)
    mode = p.mode()
    step = 1.0 if isinstance(p, expfam._discrete.Discrete) else 1e-4
    nearby = mode + step * np.arange(-3, 4)
    low, high = (float(np.max(v)) for v in p._support(p._p))
    nearby = np.append(np.clip(nearby, low, high), p.sample(200, rng=0))
    assert p.log_prob([mode])[0] >= p.log_prob(nearby).max() - 1e-12


@pytest.mark.parametrize(
    "p, mode",
    [
        (expfam.Beta(0.5, 0.5), 0.0), (expfam.Beta(1.0, 0.5), 1.0), (expfam.Beta(2.0, 1.0), 1.0),
        (expfam.Beta(1.0, 1.0), 0.0), (expfam.Beta(1.0, 3.0), 0.0), (expfam.Bernoulli(0.0), 0.0),
        (expfam.Poisson(3.0), 2.0), (expfam.Binomial(0.0, n=9), 4.0), (expfam.Gamma(0.5, 1.0), 0.0),
        (expfam.ContinuousBernoulli(-1.0), 0.0), (expfam.NegativeBinomial(0.4, r=0.5), 0.0),
        (expfam.TruncatedNormal(5.0, 1.0, 0.0, 2.0), 2.0), (expfam.Weibull(2.0, shape=0.5), 0.0),
        (expfam.ChiSquare(1.0), 0.0), (expfam.Categorical([0.1, 2.0, -1.0]), 1.0),
    ],
)  # fmt: skip
def test_modes_at_ends_and_ties(p, mode):
    assert p.mode() == mode


@one
def test_shapes_follow_scipys_broadcasting(name):
    p = example(name)
    x = p.ppf(0.3)
    assert np.ndim(x) == 0 and np.ndim(p.cdf(x)) == 0
    assert p.cdf(np.full((2, 3, 4), x)).shape == (2, 3, 4)
    assert isinstance(p.moments().mean, float) and isinstance(p.mode(), float)


def test_vectors_broadcast():
    p = expfam.Gamma([2.0, 3.0, 4.0], 1.5)
    np.testing.assert_allclose(p.cdf(1.0), st.gamma([2.0, 3.0, 4.0], scale=1 / 1.5).cdf(1.0), rtol=1e-13)
    assert p.cdf(np.ones((5, 1))).shape == p.ppf(np.full((5, 3), 0.5)).shape == (5, 3)
    np.testing.assert_allclose(p.mean(), [2 / 1.5, 2.0, 4 / 1.5])
    assert p.variance().shape == p.mode().shape == (3,)
    with pytest.raises(ValueError, match="broadcast against 3 components"):
        p.cdf(np.ones(4))


@one
def test_ends_of_the_support(name):
    p = example(name)
    low, high = (float(np.max(v)) for v in p._support(p._p))
    assert p.ppf(0.0) == low and p.ppf(1.0) == high
    assert p.cdf(np.inf) == 1.0 and p.cdf(-np.inf) == 0.0
    if np.isfinite(low):
        assert p.cdf(np.nextafter(low, -np.inf)) == 0.0
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"q must lie in \[0, 1\]"):
            p.ppf(bad)
    for call in (p.cdf, p.ppf):
        with pytest.raises(ValueError, match="NaN"):
            call(np.nan)


def test_counts_between_whole_numbers():
    p = expfam.Poisson(3.3)
    assert p.cdf(2.7) == p.cdf(2.0) == pytest.approx(st.poisson(3.3).cdf(2), rel=1e-14)


@pytest.mark.parametrize("mean, concentration", [(1.0, 1e-6), (1.0, 2.5), (2.0, 1e6), (1e-3, 1e3)])
@pytest.mark.parametrize("z", [-5.0, -0.5, 0.0, 2.0])
def test_inverse_gaussian_against_many_digits(mean, concentration, z):
    x = float(mean * np.exp(z * np.sqrt(mean / concentration) / (1.0 + 5.0 * mean / concentration)))
    with mp.workdps(60):
        m, c, v = mp.mpf(mean), mp.mpf(concentration), mp.mpf(x)
        root = mp.sqrt(c / v)
        want = mp.ncdf(root * (v / m - 1)) + mp.exp(2 * c / m) * mp.ncdf(-root * (v / m + 1))
    p = expfam.InverseGaussian(mean, concentration)
    assert p.cdf(x) == pytest.approx(float(want), rel=1e-11)
    assert p.cdf(p.ppf(float(want))) == pytest.approx(float(want), rel=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 0.3, 20.0, 1e4, 1e10])
@pytest.mark.parametrize("z", [-6.0, -1.0, 0.0, 0.3, 4.0])
def test_von_mises_against_many_digits(kappa, z):
    x = z / np.sqrt(kappa + 4.0)
    with mp.workdps(30):
        k, reach = mp.mpf(kappa), min(mp.pi, 12 / mp.sqrt(mp.mpf(kappa) + 0.01))

        def density(t):
            return mp.exp(-2 * k * mp.sin(t / 2) ** 2)

        whole = mp.quad(density, mp.linspace(-reach, reach, 13))
        want = mp.quad(density, mp.linspace(-reach, x, 13)) / whole
    assert expfam.VonMises(0.0, kappa).cdf(x) == pytest.approx(float(want), rel=1e-11)


def test_the_circle_is_cut_at_pi_whatever_the_mean_is():
    p = expfam.VonMises(2.9, 3.0)
    x = p.sample(20_000, rng=0)[:, 0]
    assert_law(x, p.cdf)
    assert p.cdf(-np.pi) == 0.0 and p.cdf(np.pi) == 1.0


@pytest.mark.parametrize(
    "loc, low, high", [(0.3, -0.5, 2.5), (5.0, -0.5, 2.0), (-50.0, 0.0, 1.0), (0.0, -40.0, -30.0), (0.3, 1.0, np.inf)]
)
@pytest.mark.parametrize("share", [1e-6, 0.1, 0.5, 0.95])
def test_truncated_normal_against_many_digits(loc, low, high, share):
    p = expfam.TruncatedNormal(loc, 1.2, low, high)
    x = p.ppf(share)
    with mp.workdps(400):

        def phi(v):
            return mp.ncdf((mp.mpf(float(v)) - mp.mpf(loc)) / mp.mpf(1.2)) if np.isfinite(v) else mp.mpf(v > 0)

        want = (phi(x) - phi(low)) / (phi(high) - phi(low))
    assert p.cdf(x) == pytest.approx(float(want), rel=1e-10, abs=1e-15)
    assert share == pytest.approx(float(want), rel=1e-9)


@pytest.mark.parametrize("shape", [1e-2, 0.7, 15.0, 1e3, 1e9])
def test_weibull_variance_against_many_digits(shape):
    with mp.workdps(60):
        k = mp.mpf(shape)
        want = mp.gamma(1 + 2 / k) - mp.gamma(1 + 1 / k) ** 2
    assert expfam.Weibull(1.0, shape=shape).variance() == pytest.approx(float(want), rel=1e-11)


def test_moments_that_are_infinite_or_do_not_exist():
    assert expfam.Pareto(0.7, minimum=1.0).moments() == (np.inf, np.inf)
    assert expfam.Pareto(1.5, minimum=1.0).moments() == (pytest.approx(3.0), np.inf)
    assert expfam.InverseGamma(1.5, 1.0).moments() == (2.0, np.inf)
    assert expfam.StudentT(1.5, 2.0, 1.0).moments() == (2.0, np.inf)
    with pytest.raises(ValueError, match="df above 1"):
        expfam.StudentT(1.0, 0.0, 1.0).mean()


def test_moments_of_vectors_and_matrices():
    p = expfam.Dirichlet([1.5, 2.1, 3.3])
    ref = st.dirichlet(p.concentration)
    np.testing.assert_allclose(p.mean(), ref.mean(), rtol=1e-13)
    np.testing.assert_allclose(p.variance(), ref.var(), rtol=1e-13)
    assert p.log_prob([p.mode()])[0] >= p.log_prob(p.sample(500, rng=0)).max()
    w = expfam.Wishart(4.5, [[0.6, 0.2], [0.2, 0.4]])
    ref = st.wishart(4.5, w.scale)
    np.testing.assert_allclose(w.mean(), ref.mean(), rtol=1e-13)
    np.testing.assert_allclose(w.variance(), ref.var(), rtol=1e-13)
    np.testing.assert_allclose(w.mode(), ref.mode(), rtol=1e-12)
    with pytest.raises(ValueError, match="no order"):
        expfam.Categorical([0.0, 1.0]).mean()
    for p in (expfam.Dirichlet([0.5, 2.0]), expfam.Wishart(2.5, np.eye(2))):
        with pytest.raises(ValueError, match="mode"):
            p.mode()
