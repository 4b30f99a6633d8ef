"""A family of one's own, from its pieces, beside the closed forms of those that have one."""

import time

import mpmath as mp
import numpy as np
import pytest
from expfam_cases import SCIPY, assert_agrees, quantiles, wave
from statistics_helpers import assert_law

import sbpfast as sb
from sbpfast import expfam
from sbpfast.expfam import Univariate


def flat(x):
    return np.zeros_like(x)


def beta_statistics(x):
    return np.stack([np.log(x), np.log1p(-x)], axis=1)


def gamma_statistics(x):
    return np.stack([np.log(x), x], axis=1)


def powers(x):
    return np.stack([x, x * x], axis=1)


def gamma_family(shape, rate):
    return Univariate(flat, [shape - 1.0, -rate], gamma_statistics, (0.0, np.inf))


def normal_family(mean, std):
    return Univariate(flat, [mean / std**2, -0.5 / std**2], powers)


@pytest.mark.parametrize(
    "eta, u, support, want",
    [
        (0.0, lambda x: x, (0, 1), 0.0),
        (0.0, lambda x: x, (5, 7), np.log(2.0)),
        (1.0, lambda x: x, (0, 1), np.log(np.expm1(1.0))),
        (1.0, lambda x: x, (0, 1e-3), np.log(np.expm1(1e-3))),
        (1.0, lambda x: x, (-np.inf, 3.0), 3.0),
        (-1.0, lambda x: x, (1e3, np.inf), -1e3),
        ([1.0, 0.05], beta_statistics, (0, 1), float(mp.log(mp.beta(2, 1.05)))),
        ([-0.95, 2.0], beta_statistics, (0, 1), float(mp.log(mp.beta(0.05, 3)))),
        ([-0.96, -1.0], gamma_statistics, (0, np.inf), float(mp.loggamma(0.04))),
        ([1e4 - 1, -1.0], gamma_statistics, (0, np.inf), float(mp.loggamma(1e4))),
    ],
)
def test_univariate_log_partitions(eta, u, support, want):
    assert Univariate(flat, eta, u, support).log_partition() == pytest.approx(want, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("mean, std", [(5.0, 0.01), (100.0, 0.1), (1000.0, 1.0), (0.0, 1e-9), (1e6, 1e3)])
def test_univariate_finds_narrow_peaks(mean, std):
    p = normal_family(mean, std)
    want = 0.5 * (mean / std) ** 2 + np.log(std) + 0.5 * np.log(2 * np.pi)
    assert p.log_partition() == pytest.approx(want, rel=1e-13)
    np.testing.assert_allclose(p.mean_params(), [[mean, mean**2 + std**2]], rtol=1e-10, atol=1e-12 * std)


def test_univariate_refuses_what_doubles_cannot_hold():
    """x^-1/2 has 1e-8 of its probability within rounding of an end at 1; e^x on a half-line does not integrate."""
    for eta, u, support in (
        ([-0.5, -0.5], beta_statistics, (0, 1)),
        ([-0.97, -1.0], gamma_statistics, (0, np.inf)),
        (1.0, lambda x: x, (0, np.inf)),
    ):
        with pytest.raises(ValueError, match=r"does not integrate .* in double precision"):
            Univariate(flat, eta, u, support)


def test_univariate_weights_at_and_near_the_ends():
    x = [0.0, 1.0, 1e-9, 0.5, 0.9999]
    want = expfam.ContinuousBernoulli(1.3).transport(x)["logit"]
    got = Univariate(flat, 1.3, lambda x: x, (0, 1)).transport(x)["eta"]
    np.testing.assert_allclose(got, want, rtol=4e-12, atol=1e-20)


def test_univariate_inverts_its_means():
    np.testing.assert_allclose(normal_family(5.0, 1.0).from_mean_params([7.0, 53.0])._eta, [7 / 4, -1 / 8], rtol=1e-10)
    with pytest.raises(ValueError, match="interior"):
        Univariate(flat, -1.0, lambda x: x, (0, np.inf)).from_mean_params(-0.5)


def test_univariate_fits_as_the_gamma_does():
    x, w = np.random.default_rng(0).gamma(2.4, 0.8, 300), np.arange(300.0) % 4
    for more in ({}, {"weights": w}, {"weights": w, "prior": (20.0, [0.2, 2.0])}):
        want, got = expfam.Gamma.fit(x, **more), gamma_family(1.0, 1.0).fit(x, **more)
        np.testing.assert_allclose(got.distribution.natural(), want.distribution.natural(), rtol=1e-8)
        assert got.log_likelihood == pytest.approx(want.log_likelihood, rel=1e-11)
        assert got.converged
    with pytest.raises(sb.MLEDoesNotExist):
        gamma_family(1.0, 1.0).fit([2.0, 2.0])


def test_univariate_names_what_is_wrong():
    p = gamma_family(2.0, 1.0)
    with pytest.raises(ValueError, match="u must return an array of shape"):
        Univariate(flat, [1.0, -1.0], lambda x: x, (0, np.inf))
    with pytest.raises(ValueError, match="log_h must return an array"):
        Univariate(lambda x: 0.0, -1.0, lambda x: x, (0, np.inf))
    with pytest.raises(ValueError, match="support must have shape"):
        Univariate(flat, -1.0, lambda x: x, 3)
    with pytest.raises(ValueError, match="support"):
        p.kl(Univariate(flat, [1.0, -1.0], gamma_statistics, (0, 10.0)))
    with pytest.raises(ValueError, match="derivatives"):
        p.product_weight([1.0])
    with pytest.raises(ValueError, match="m must have shape"):
        p.from_mean_params([1.0, 2.0, 3.0])


TWINS = [
    (
        expfam.Gamma(2.3, 1.7),
        lambda: Univariate(lambda x: 0.0 * x, [1.3, -1.7], lambda x: np.stack([np.log(x), x], axis=1), (0.0, np.inf)),
    ),
    (
        expfam.Normal(0.4, 1.3),
        lambda: Univariate(
            lambda x: 0.0 * x - 0.5 * np.log(2 * np.pi),
            expfam.Normal(0.4, 1.3).natural()[0],
            lambda x: np.stack([x, x * x], axis=1),
        ),
    ),
    (
        expfam.Beta(1.4, 3.1),
        lambda: Univariate(
            lambda x: 0.0 * x, [0.4, 2.1], lambda x: np.stack([np.log(x), np.log1p(-x)], axis=1), (0.0, 1.0)
        ),
    ),
    (expfam.Exponential(1.9), lambda: Univariate(lambda x: 0.0 * x, -1.9, lambda x: x, (0.0, np.inf))),
]


@pytest.mark.parametrize("p, build", TWINS, ids=lambda v: type(v).__name__)
def test_numerical_family_matches_its_closed_form(p, build):
    q = build()
    params = {k: getattr(p, k) for k in p._names}
    x = quantiles(type(p).__name__, params)
    np.testing.assert_allclose(q.log_prob(x), p.log_prob(x), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(q.mean_params(), p.mean_params(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(q.fisher(), p.fisher(), rtol=1e-10)
    assert q.log_partition() == pytest.approx(p.log_partition(), rel=1e-12, abs=1e-12)
    assert q.entropy() == pytest.approx(p.entropy(), rel=1e-10)
    assert q.kl(q.from_natural(1.1 * q.natural()[0])) == pytest.approx(
        p.kl(type(p).from_natural(1.1 * p.natural()[0])), rel=1e-9
    )
    assert_law(q.sample(20_000, rng=0)[:, 0], SCIPY[type(p).__name__](params).cdf)
    weights = np.reshape(q.transport(x)["eta"], (len(x), -1))
    density = np.exp(q.log_prob(x))
    for i in range(weights.shape[1]):
        step = 1e-5 * np.eye(weights.shape[1])[i]
        up, down = (type(p).from_natural(p.natural()[0] + s) for s in (step, -step))
        moved = [SCIPY[type(p).__name__]({k: getattr(d, k) for k in p._names}).cdf(x[:, 0]) for d in (up, down)]
        want = -(moved[0] - moved[1]) / 2e-5
        np.testing.assert_allclose(weights[:, i] * density, want, rtol=1e-6, atol=1e-8 * np.abs(want).max())


def test_a_family_nobody_named():
    """The quartic density exp(-x^4/2 + x): no closed form anywhere."""
    p = Univariate(lambda x: 0.0 * x, [1.0, -0.5], lambda x: np.stack([x, x**4], axis=1))
    exact = sb.expectation_grad(wave(), p, estimator="exact")
    for estimator in ("pathwise", "score", "combined"):
        assert_agrees(sb.expectation_grad(wave(), p, estimator=estimator, n_samples=20_000, rng=1), exact)
    x = np.linspace(-1.5, 1.8, 12)[:, None]
    h = 1e-5
    weights = p.transport(x)["eta"][:, 0]
    slope = (p.transport(x + h)["eta"][:, 0] - p.transport(x - h)["eta"][:, 0]) / (2 * h)
    residual = p.score(x)["eta"][:, 0] + weights * (1.0 - 2.0 * x**3) + slope
    assert np.abs(residual).max() < 1e-6
    with pytest.raises(ValueError, match="natural domain"):
        Univariate(lambda x: 0.0 * x, [1.0, 0.5], lambda x: np.stack([x, x**4], axis=1))


@pytest.mark.parametrize("support", [(-np.inf, np.inf), (0.0, np.inf), (-np.inf, 1.5), (-1.0, 2.0)])
def test_families_of_ones_own(support):
    p = Univariate(np.zeros_like, [0.6, -0.5], lambda x: np.stack([x, x * x], axis=1), support)
    q = expfam.TruncatedNormal(0.6, 1.0, *support)
    x = np.array([-0.9, 0.1, 0.7, 1.2])
    np.testing.assert_allclose(p.cdf(x), q.cdf(x), atol=1e-12)
    np.testing.assert_allclose(p.ppf([0.2, 0.9]), q.ppf([0.2, 0.9]), rtol=1e-10)
    np.testing.assert_allclose(p.moments(), q.moments(), rtol=1e-10)
    assert p.mode() == pytest.approx(q.mode(), abs=1e-4)
    assert p.ppf(0.0) == support[0] and p.ppf(1.0) == support[1] and p.cdf(-100.0) == 0.0


def test_half_lines_from_the_least_double_end():
    start = time.process_time()
    with pytest.raises(ValueError, match=r"double precision|does not integrate"):
        Univariate(np.zeros_like, [-0.5], lambda x: x * x, (-1.7976931348623157e308, np.inf))
    assert time.process_time() - start < 20.0


# -- large terms that cancel


@pytest.mark.parametrize("mean", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("low", [-10.0, -np.inf])
def test_means_far_from_zero(mean, low):
    """The terms of the log density are 5e-17 mean^2 unknown: so far may the mean be off, in standard deviations."""
    start = time.process_time()
    p = Univariate(flat, [mean, -0.5], powers, (low, np.inf))
    assert time.process_time() - start < 1.0
    rounding = 1e-15 * mean**2
    assert p.mean_params()[0, 0] == pytest.approx(mean, abs=rounding)
    assert p.fisher()[0, 0, 0] == pytest.approx(1.0, abs=rounding)
    assert p.cdf([mean])[0] == pytest.approx(0.5, abs=rounding)


@pytest.mark.parametrize("eta, support", [([1e17, -0.01], (-10.0, 1e25)), ([1e9, -0.5], (-np.inf, np.inf))])
def test_log_densities_that_are_all_rounding_are_refused_at_once(eta, support):
    start = time.process_time()
    with pytest.raises(ValueError, match="rounding hides its shape"):
        Univariate(flat, eta, powers, support)
    assert time.process_time() - start < 1.0
