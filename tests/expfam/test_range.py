"""Families at the edges of double precision: limits where there are some, errors that say so elsewhere."""

import time

import mpmath as mp
import numpy as np
import pytest
import scipy.special
import scipy.stats as st
from statistics_helpers import assert_law

import sbpfast as sb
from sbpfast import _checks, expfam
from sbpfast.expfam import _functions
from sbpfast.expfam._families import _gamma_beta

MASKED = np.ma.array([1.0, 2.0, 3.0, 999.0], mask=[0, 0, 0, 1])


# -- arguments


@pytest.mark.parametrize(
    "call",
    [
        lambda: expfam.Normal.fit(MASKED),
        lambda: expfam.Normal(MASKED, 1.0),
        lambda: expfam.Normal(0.0, 1.0).log_prob(MASKED),
        lambda: expfam.Normal(0.0, 1.0).log_prob([MASKED]),
        lambda: expfam.Gamma.fit([1.0, 2.0, 3.0, 4.0], weights=MASKED),
        lambda: sb.targets.logistic_regression(MASKED[:, None], [0, 1, 0, 1], prior_scale=1.0),
        lambda: sb.targets.linear_regression(np.ones((4, 1)), MASKED, noise_scale=1.0, prior_scale=1.0),
    ],
)
def test_masked_elements_are_refused(call):
    with pytest.raises(ValueError, match="masked elements"):
        call()


def test_a_mask_that_hides_nothing_is_no_obstacle():
    assert expfam.Normal.fit(np.ma.array([1.0, 2.0, 3.0])).distribution.mean == 2.0


def test_arrays_off_their_alignment_are_copied():
    raw = np.frombuffer(bytearray(8 * 10 + 1), dtype="f8", offset=1, count=10)
    assert not raw.flags.aligned
    assert _checks.real_array("x", raw).flags.aligned
    aligned = np.ones((3, 2))
    assert np.shares_memory(_checks.real_array("x", aligned), aligned)
    np.testing.assert_array_equal(expfam.Normal(0.0, 1.0).log_prob(raw), expfam.Normal(0.0, 1.0).log_prob(np.zeros(10)))


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: expfam.Normal(0.0, 10**400), TypeError, "std must hold real numbers"),
        (lambda: expfam.Normal(0.0, 1.0).log_prob([1, [2]]), ValueError, "x is not a rectangular array"),
        (lambda: expfam.Normal(0.0, 1.0).sample(10**30), ValueError, "n must be at most"),
        (lambda: expfam.Normal(0.0, 1.0).sample(3, n_threads=np.ones(2)), TypeError, "n_threads must be"),
        (lambda: expfam.svec(3.0), ValueError, "matrix must have shape"),
        (lambda: expfam.svec("a"), TypeError, "matrix must hold real numbers"),
        (lambda: expfam.smat(3.0), ValueError, "vector must have shape"),
        (lambda: expfam.Wishart(3.0, np.eye(2)).log_prob([[1, 2], [3]]), ValueError, "rectangular"),
        (lambda: expfam.Binomial.fit(np.ones((3, 2)), n=[2, 3, 4]), ValueError, "n must be a number or have shape"),
        (lambda: sb.expectation_grad(None, expfam.Normal(0.0, 1.0)), TypeError, "target"),
        (lambda: _checks.scalar("a", 10**400), ValueError, "a must be finite"),
        (lambda: _checks.choice("a", [], ("x",)), ValueError, "a must be one of"),
        (lambda: _checks.choice("a", {}, {"x": 1}), ValueError, "a must be one of"),
        (lambda: sb.standard_normal(-1), ValueError, "size must be at least 0"),
        (lambda: sb.standard_normal(None), TypeError, "size must be an integer"),
    ],
)
def test_errors_name_the_argument(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert type(caught.value) in (TypeError, ValueError)


# -- densities


@pytest.mark.parametrize(
    "p, x, want",
    [
        (expfam.Gumbel(2.28, 0.51), -1e308, -np.inf),
        (expfam.Gumbel(0.0, 1.0), 1e308, -1e308),
        (expfam.Normal(0.0, 1.0), 1e200, -np.inf),
        (expfam.Normal(1e308, 1e308), -1e308, -2.0 - np.log(1e308) - 0.5 * np.log(2 * np.pi)),
        (expfam.Logistic(1e308, 1e308), -1e308, float(st.logistic.logpdf(2.0)) - np.log(1e308)),
        (expfam.Beta(3.0, 2.0), 0.0, -np.inf),
        (expfam.StudentT(3.0, 1e308, 1e308), -1e308, float(st.t.logpdf(2.0, 3.0)) - np.log(1e308)),
    ],
)
def test_log_densities_far_out(p, x, want):
    assert p.log_prob([[x]])[0] == pytest.approx(want, rel=1e-14)


def test_a_density_of_0_in_one_component_is_one_of_0():
    assert expfam.Beta([6.5, 0.8], 3.0).log_prob([[0.0, 0.0]])[0] == -np.inf
    assert expfam.Dirichlet([0.5, 2.0, 2.0]).log_prob([[0.0, 0.0, 1.0]])[0] == -np.inf


def test_results_that_are_no_numbers_are_errors():
    with pytest.raises(ValueError, match=r"score of .* at x\[0\] = \[0.0\] cannot be computed in double precision"):
        expfam.StudentT(1e-320, 0.0, 1.0).score([[0.0], [1e200]])
    with pytest.raises(ValueError, match="cannot be represented in double precision"):
        expfam.TruncatedNormal(-1e308, 1e-300, 1e100, 1e101)
    with pytest.raises(ValueError, match="finite"):
        expfam.Wishart(3.0, np.eye(2)).log_prob([1.7e308 * np.eye(2), 1.7e308 * np.ones((2, 2))])


def test_large_wisharts():
    s = 1.7e308 * np.eye(2)
    assert np.isfinite(expfam.Wishart(3.0, 1e308 * np.eye(2)).log_prob([s])).all()
    assert expfam.Wishart(3.0, s).entropy() == pytest.approx(
        expfam.Wishart(3.0, np.eye(2)).entropy() + 3.0 * np.log(1.7e308), rel=1e-14
    )


# -- derivatives of weights at the ends


@pytest.mark.parametrize("x", [0.0, 1.0])
def test_derivatives_of_beta_weights_at_the_ends_are_limits(x):
    p = expfam.Beta(1.4, 3.1)
    at, near = (p.transport_derivatives([[v]]) for v in (x, abs(x - 1e-14)))
    moving = "b" if x else "a"  # the power of the distance from the end
    assert at[moving]["x"] == np.inf and near[moving]["x"] > 9.0
    still = "a" if x else "b"
    assert at[still]["x"] == pytest.approx(near[still]["x"], rel=1e-6)
    for name in "ab":
        for k in "ab":
            assert at[name][k] == 0.0 and abs(near[name][k]) < 1e-9


def test_derivatives_of_gamma_weights_at_0_are_limits():
    p = expfam.Gamma(2.3, 1.7)
    at, near = p.transport_derivatives([[0.0]]), p.transport_derivatives([[1e-12]])
    assert at["shape"]["x"] == np.inf and near["shape"]["x"] > 10.0
    for k in ("shape", "rate"):
        assert at["shape"][k] == 0.0 and abs(near["shape"][k]) < 1e-9


# -- entropies and divergences


@pytest.mark.parametrize(
    "p, want",
    [
        (expfam.HalfNormal(1e-320), float(st.halfnorm.entropy()) + np.log(1e-320)),
        (expfam.Exponential(1e-320), 1.0 - np.log(1e-320)),
        (expfam.Laplace(1e-320, loc=0.0), 1.0 + np.log(2.0) + np.log(1e-320)),
        (expfam.Pareto(1e-200, minimum=1e300), 1e200),
        (expfam.ContinuousBernoulli(1e300), 1.0 - np.log(1e300)),
        (expfam.ContinuousBernoulli(-1e300), 1.0 - np.log(1e300)),
        (expfam.InverseGaussian(1e-200, 1e-200), expfam.InverseGaussian(1.0, 1.0).entropy() + np.log(1e-200)),
    ],
)
def test_entropies_of_extreme_scales(p, want):
    assert p.entropy() == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("name", ["Exponential", "Laplace", "Pareto", "HalfNormal", "InverseGaussian"])
def test_entropies_are_mean_log_densities(name):
    p = expfam.FAMILIES[name](**expfam.FAMILIES[name].example)
    assert p.entropy() == pytest.approx(-p._expectation(lambda t: p._log_prob(t, p._p))[0], rel=1e-11)


def test_entropy_of_counts_without_a_mean_ends():
    for p in (expfam.NegativeBinomial(-800.0, r=1e300), expfam.NegativeBinomial(0.3, r=1e300), expfam.Poisson(1e17)):
        with pytest.raises(ValueError, match=r"out of the range|wide"):
            p.entropy()
    with pytest.raises(ValueError, match="not all whole numbers"):
        expfam.Binomial(1e100, n=1e17).entropy()
    assert 0.0 < expfam.NegativeBinomial(-30.0, r=1e-174).entropy() < 1e-160


# -- draws of counts


@pytest.mark.parametrize(
    "p",
    [
        expfam.Poisson(6e15),
        expfam.Poisson(8.9e15),
        expfam.Poisson(1e100),
        expfam.Binomial(0.0, n=2.0**53),
        expfam.Binomial(-1.3, n=1e15),
        expfam.NegativeBinomial(1.5, r=2.0**53),
        expfam.NegativeBinomial(0.3, r=1e20),
    ],
)
def test_draws_beyond_whole_numbers_end_and_follow_the_law(p):
    start = time.process_time()
    x = p.sample(256, rng=0)
    assert time.process_time() - start < 5.0
    assert (x == np.floor(x)).all()
    z = (x - p.mean()) / np.sqrt(p.variance())
    if np.sqrt(p.variance()) > 100.0 * np.spacing(p.mean()):
        assert_law(z[:, 0], "norm")
    assert (np.abs(x - p.mean()) <= 8.0 * np.sqrt(p.variance()) + 2.0 * np.spacing(p.mean())).all()


def test_draws_of_counts_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"double precision|out of the range"):
        expfam.NegativeBinomial(-900.0, r=1e300).sample(3, rng=0)


@pytest.mark.parametrize("a, b", [(1e10, 1e10), (1e10, 3e10), (5e12, 1e10), (1e10, 1e15)])
@pytest.mark.parametrize("k", [-8.0, -1.0, -1e-3, 0.0, 0.1, 3.0])
def test_incomplete_beta_function_of_large_shapes(a, b, k):
    """Against the integral of the density, with 40 digits."""
    x = a / (a + b) + k * np.sqrt(a / (a + b) * (b / (a + b)) / (a + b))
    with mp.workdps(40):
        big_a, big_b = mp.mpf(a), mp.mpf(b)
        mean = big_a / (big_a + big_b)
        sd = mp.sqrt(mean * (1 - mean) / (big_a + big_b))
        log_beta = mp.loggamma(big_a) + mp.loggamma(big_b) - mp.loggamma(big_a + big_b)

        def density(z):
            t = mean + z * sd
            return sd * mp.exp((big_a - 1) * mp.log(t) + (big_b - 1) * mp.log1p(-t) - log_beta)

        want = float(mp.quad(density, mp.linspace(-14, (mp.mpf(x) - mean) / sd, 9)))
    got = _functions.beta_distribution(*(np.array([v]) for v in (a, b, x, 1.0 - x)))[0]
    slope = 2e-16 * np.sqrt(a + b)  # what rounding of 1 - x alone changes
    assert got == pytest.approx(want, rel=1e-11 + 20.0 * slope)


@pytest.mark.parametrize("a, b", [(1e10, 3e10), (1e12, 4e12), (1e9, 1e30)])
def test_narrow_beta_quantiles_are_scipys_where_it_still_has_them(a, b):
    """In units of the standard deviation: what is left out falls as 1/a, and is below rounding where it is used."""
    u = np.array([1e-9, 1e-3, 0.3, 0.5, 0.9, 1 - 1e-7])
    want, shapes = scipy.special.betaincinv(a, b, u), (np.full(6, a), np.full(6, b))
    got = _gamma_beta._narrow_beta_quantile(*shapes, u, 1.0 - u)
    np.testing.assert_allclose((got / want - 1.0) * np.sqrt(a), 0.0, atol=5e-6)  # of SciPy's


def test_enormous_beta_shapes_are_drawn_at_once():
    start = time.process_time()
    for a, b in ((6e15, 5.6e150), (1.4e169, 2.9e151), (1e15, 1e15)):
        x = expfam.Beta(a, b)._draw_uniform(np.random.default_rng(0).random((3000, 1))).x
        assert x.mean() == pytest.approx(a / (a + b), rel=1e-7)
    assert time.process_time() - start < 2.0


# -- targets that no panel can follow


def test_oscillations_beyond_all_panels_end_soon():
    wave = sb.Target(value=lambda x: np.cos(x[:, 0]), dim=1)
    start = time.process_time()
    with pytest.warns(RuntimeWarning, match="oscillates"), pytest.raises(ValueError, match="cannot be integrated"):
        sb.expectation_grad(wave, expfam.StudentT(1e-300, 0.0, 1e200), estimator="exact", wrt=["loc"])
    assert time.process_time() - start < 5.0


# -- rare ends


SINE = sb.Target(value=lambda x: np.sin(x[:, 0]), grad=np.cos, dim=1)


def test_bounds_that_draws_do_not_reach_are_reported():
    p = expfam.TruncatedNormal(5.0, 1.0, -0.5, 2.0)
    with pytest.warns(sb.EstimateWarning, match="next to none of 4096 draws come near low of TruncatedNormal"):
        sb.expectation_grad(SINE, p, estimator="pathwise", n_samples=4096, rng=0)
    # nothing is said where the bound is not asked for, where there are draws enough, or where nothing is estimated
    sb.expectation_grad(SINE, p, estimator="pathwise", n_samples=4096, rng=0, wrt=("loc", "high"))
    sb.expectation_grad(SINE, p, estimator="pathwise", n_samples=200_000, rng=0)
    sb.expectation_grad(SINE, p, estimator="exact")


@pytest.mark.parametrize("bounds", [(-3.0, 3.0), (-12.0, 12.0), (-np.inf, np.inf), (-0.5, 2.5), (0.0, np.inf)])
def test_bounds_that_draws_reach_or_that_do_not_matter_are_not(bounds):
    sb.expectation_grad(SINE, expfam.TruncatedNormal(0.3, 1.0, *bounds), estimator="pathwise", n_samples=4096, rng=0)


def test_standard_errors_of_bounds_hold_where_nothing_is_reported():
    p = expfam.TruncatedNormal(0.0, 1.0, -3.0, 3.0)
    want = sb.expectation_grad(SINE, p, estimator="exact").grad
    z = [
        [(e.grad[k] - want[k]) / e.stderr[k] for k in ("low", "high")]
        for e in (sb.expectation_grad(SINE, p, estimator="pathwise", n_samples=4096, rng=s) for s in range(100))
    ]
    assert np.abs(z).max() < 6.0 and np.std(z) < 1.4
