"""The edges of the families: corner parameters, ends of the support, wide and narrow laws, wrong arguments."""

import mpmath as mp
import numpy as np
import pytest
import scipy.stats as st
from statistics_helpers import assert_law, assert_unbiased

import sbpfast as sb
from sbpfast import _core, expfam
from sbpfast._streams import stream_key

identity = sb.Target(value=lambda x: x[:, 0], grad=lambda x: np.ones_like(x), dim=1)
cosine = sb.Target(value=lambda x: np.cos(x[:, 0]), grad=lambda x: -np.sin(x), dim=1)
sigmoid = sb.Target(value=lambda x: np.tanh(x[:, 0] - 0.4), grad=lambda x: 1 - np.tanh(x - 0.4) ** 2, dim=1)
OWN = expfam.Univariate(np.zeros_like, [1.0, -1.0], lambda x: np.stack([np.log(x), x], axis=1), (0.0, np.inf))


def exact(target, p, **more):
    return sb.expectation_grad(target, p, estimator="exact", **more)


# -- quadrature reaches the corners -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [1e-3, 3e-3, 1e-2, 0.03, 1.0, 1e3, 1e6])
def test_exact_mean_of_the_gamma(shape):
    got = exact(identity, expfam.Gamma(shape, 2.0))
    assert got.value == pytest.approx(shape / 2, rel=1e-10)
    assert got.grad["shape"] == pytest.approx(0.5, rel=1e-10)
    assert got.grad["rate"] == pytest.approx(-shape / 4, rel=1e-10)
    assert exact(identity, expfam.ChiSquare(shape)).grad["df"] == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("a, b", [(1e-3, 1.0), (1e-2, 1e-2), (1e4, 1e-2), (1e4, 1e4), (1.0, 1e-3)])
def test_exact_mean_of_the_beta(a, b):
    got = exact(identity, expfam.Beta(a, b))
    assert got.value == pytest.approx(a / (a + b), rel=1e-10)
    assert got.grad["a"] == pytest.approx(b / (a + b) ** 2, rel=1e-10)
    assert got.grad["b"] == pytest.approx(-a / (a + b) ** 2, rel=1e-10)


def test_auto_is_right_where_half_of_the_draws_underflow():
    """E cos x = 2^(-a/2) cos(a pi / 4) for the gamma of rate 1."""
    a = 1e-3
    got = sb.expectation_grad(cosine, expfam.Gamma(a, 1.0))
    slope = -0.5 * np.log(2) * np.cos(a * np.pi / 4) - np.pi / 4 * np.sin(a * np.pi / 4)
    assert got.grad["shape"] == pytest.approx(2 ** (-a / 2) * slope, rel=1e-10)


def test_exact_under_heavy_tails():
    """E of 1/(1 + x), by mpmath in the logarithm of x."""
    f = sb.Target(value=lambda x: 1.0 / (1.0 + x[:, 0]), dim=1)
    with mp.workdps(30):
        a = mp.mpf("0.01")

        def by_log(density, low, high):
            return mp.quad(lambda t: density(t) / (1 + mp.exp(t)), mp.linspace(low, high, 60))

        inverse_gamma = by_log(lambda t: mp.exp(-a * t - mp.exp(-t)) / mp.gamma(a), -6, 9000)
        weibull = by_log(lambda t: a * mp.exp(a * t - mp.exp(a * t)), -9000, 600)
        pareto = by_log(lambda t: a * mp.exp(-a * t), 0, 9000)
    assert exact(f, expfam.InverseGamma(0.01, 1.0)).value == pytest.approx(float(inverse_gamma), rel=1e-10)
    assert exact(f, expfam.Weibull(1.0, shape=0.01)).value == pytest.approx(float(weibull), rel=1e-10)
    assert exact(f, expfam.Pareto(0.01, minimum=1.0)).value == pytest.approx(float(pareto), rel=1e-10)
    assert exact(f, expfam.LogNormal(0.0, 300.0)).value == pytest.approx(0.5, rel=1e-10)
    with mp.workdps(30):  # the largest x^2 is 1e304: a tail of e^-28 is beyond
        nu = mp.mpf("0.08")
        constant = 2 * mp.gamma((nu + 1) / 2) / mp.gamma(nu / 2) / mp.sqrt(nu * mp.pi)

        def folded(t):
            return constant * mp.exp(t) * (1 + mp.exp(2 * t) / nu) ** (-(nu + 1) / 2) / (1 + mp.exp(t))

        student = mp.quad(folded, mp.linspace(-60, 900, 40))
    g = sb.Target(value=lambda x: 1.0 / (1.0 + np.abs(x[:, 0])), dim=1)
    assert exact(g, expfam.StudentT(0.08, 0.0, 1.0)).value == pytest.approx(float(student), rel=1e-10)


def test_what_lies_beyond_double_precision_is_refused_and_not_chosen():
    for p in (expfam.StudentT(0.05, 0.0, 1.0), expfam.VonMises(0.3, 1e33), expfam.Gamma(1e-6, 1.0)):
        with pytest.raises(ValueError, match="double precision"):
            exact(sigmoid, p)
        assert sb.expectation_grad(sigmoid, p, rng=0, n_samples=200).estimator != "exact"


# -- inverse distribution functions that underflow --------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["antithetic", "sobol"])
@pytest.mark.parametrize(
    "p",
    [
        expfam.Beta(0.5, 0.2),
        expfam.Beta(0.1, 0.05),
        expfam.Beta(0.01, 0.01),
        expfam.Gamma(0.01, 2.0),
        expfam.ChiSquare(0.01),
    ],
    ids=repr,
)
def test_mirrored_and_sobol_draws_of_small_shapes(p, sampling):
    truth = exact(cosine, p)
    for estimator in ("pathwise", "score"):
        got = sb.expectation_grad(cosine, p, estimator=estimator, sampling=sampling, n_samples=20_000, rng=1)
        for name in p._names:
            assert_unbiased(got.grad[name], truth.grad[name], got.stderr[name])


def test_quantiles_keep_their_logarithms():
    u = np.array([[1e-9], [0.2], [0.5], [0.9], [1 - 1e-9]])
    with mp.workdps(40):
        for a in (1e-3, 0.05, 3.0):
            points = expfam.Gamma(a, 1.0)._draw_uniform(u)
            back = [mp.gammainc(a, 0, mp.exp(mp.mpf(float(v))), regularized=True) for v in points.log_x[:, 0]]
            np.testing.assert_allclose(np.array(back, float), u[:, 0], rtol=1e-11)
        for a, b in ((1e-3, 0.01), (0.05, 2.0), (0.01, 0.02), (3.0, 1e-3)):
            points = expfam.Beta(a, b)._draw_uniform(u)
            for v, w, level in zip(points.log_x[:, 0], points.log_y[:, 0], u[:, 0]):
                near = v < w  # from the nearer end
                part = mp.betainc(*((a, b) if near else (b, a)), 0, mp.exp(mp.mpf(float(min(v, w)))), regularized=True)
                assert float(part) == pytest.approx(level if near else 1 - level, rel=1e-9)


# -- ends of the support ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p, ends",
    [
        (expfam.Gamma(1.0, 1.0), [0.0]),
        (expfam.Gamma(0.2, 1.0), [0.0]),
        (expfam.ChiSquare(2.0), [0.0]),
        (expfam.InverseGamma(1.5, 1.0), [0.0]),
        (expfam.Beta(2.0, 0.5), [0.0, 1.0]),
        (expfam.InverseGaussian(1.0, 2.0), [0.0]),
        (expfam.LogNormal(0.3, 1.2), [0.0]),
        (expfam.Weibull(1.0, shape=0.7), [0.0]),
    ],
    ids=repr,
)
def test_transport_weights_vanish_at_fixed_ends(p, ends):
    """B = -dF/dparameter / p is 0 at the end, and tends to it."""
    for b in p.transport(ends).values():
        np.testing.assert_array_equal(b, 0.0)
    close = p.transport(np.abs(np.array(ends) - 1e-12))
    assert all((np.abs(b) < 1e-8).all() for b in close.values())
    p.product_weight(ends)  # without a warning


def test_the_dirichlet_field_vanishes_at_a_vertex():
    p = expfam.Dirichlet([0.4, 1.0, 2.0])
    field = p.transport([[0.0, 1.0, 0.0], [0.0, 0.3, 0.7]])["concentration"]
    np.testing.assert_array_equal(field[0], 0.0)
    np.testing.assert_array_equal(field[1, :, 0], 0.0)
    b = expfam.Beta(1.0, 2.0).transport([0.3])["a"][0, 0]  # on the edge the others are a beta pair, with 0.4 to spare
    assert np.isfinite(field[1]).all() and field[1, 1, 1] > 0.5 * b


# -- targets and estimators -------------------------------------------------------------------------------------------


def test_auto_serves_ridge_targets_under_families_of_several_components():
    p = expfam.Normal([0.0, 1.0], [1.0, 2.0])
    target = sb.targets.quadratic(np.eye(2), np.zeros(2))  # -x.x/2
    got = sb.expectation_grad(target, p, rng=0, n_samples=20_000)
    assert_unbiased(got.grad["mean"], [0.0, -1.0], got.stderr["mean"])
    assert_unbiased(got.grad["std"], [-1.0, -2.0], got.stderr["std"])
    one = sb.targets.quadratic(np.eye(1), np.zeros(1))
    assert sb.expectation_grad(one, expfam.Normal(0.5, 2.0)).estimator == "exact"


@pytest.mark.parametrize("name", ["Dirichlet", "Wishart"])
def test_combined_mixes_the_multivariate_estimators(name):
    p = expfam.FAMILIES[name](**expfam.FAMILIES[name].example)
    a = np.linspace(0.3, 1.0, p.dim)
    f = sb.Target(value=lambda x: np.sin(x @ a), grad=lambda x: np.cos(x @ a)[:, None] * a, dim=p.dim)
    mix = sb.expectation_grad(f, p, estimator="combined", n_samples=40_000, rng=1)
    path = sb.expectation_grad(f, p, estimator="pathwise", n_samples=40_000, rng=2)
    for key in p._names:
        assert_unbiased(mix.grad[key], path.grad[key], np.hypot(mix.stderr[key], path.stderr[key]))
        assert (mix.stderr[key] < 1.4 * path.stderr[key]).all()


def test_combined_is_exact_for_the_categorical():
    f = sb.Target(value=lambda x: 1 / (1 + x[:, 0]), dim=1)
    p = expfam.Categorical([0.3, -0.5, 0.8])
    mix = sb.expectation_grad(f, p, estimator="combined", n_samples=4096, rng=0)
    np.testing.assert_allclose(mix.grad["logits"], exact(f, p).grad["logits"], rtol=1e-12)


# -- narrow and wide laws ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
def test_von_mises_draws_at_every_concentration(isa):
    kappa = np.array([0.5, 1.5, 1e10, 1e25, 1e33, 1e200, 1e300, 1.7e308])
    out, again = np.empty((40, len(kappa), 64)), np.empty((40, len(kappa), 64))
    kernel = _core.load("draws", isa).fill_von_mises
    kernel(stream_key(3), 64, 7, kappa, out, 1)
    kernel(stream_key(3), 64, 7, kappa, again, 3)
    np.testing.assert_array_equal(again, out)
    angles = 2 * np.arctan(out)
    for j, k in enumerate(kappa[:-1]):
        law = st.vonmises(k).cdf(angles[:, j]) if k < 2 else st.norm.cdf(angles[:, j] * np.sqrt(k))
        assert_law(law.ravel(), "uniform")
    sides = np.empty((2, 40, 1, 64))
    for side, k in zip(sides, (1 - 1e-12, 1.0)):  # two formulas meet at 1
        kernel(stream_key(3), 64, 7, np.array([k]), side, 1)
    np.testing.assert_allclose(sides[0], sides[1], rtol=1e-10)


@pytest.mark.parametrize(
    "p, mean, std",
    [
        (expfam.Poisson(1e17), 1e17, np.sqrt(1e17)),
        (expfam.Poisson(1e13), 1e13, np.sqrt(1e13)),
        (expfam.NegativeBinomial(-40.0, r=4.0), 4 * np.exp(40.0), 2 * np.exp(40.0)),
    ],
    ids=repr,
)
def test_counts_beyond_whole_doubles_are_drawn(p, mean, std):
    x = p.sample(4000, rng=0)[:, 0]
    assert_unbiased(x.mean(), mean, std / np.sqrt(len(x)), freedom=np.inf)
    assert x.std() == pytest.approx(std, rel=0.1)


def test_entropies_in_closed_form():
    with mp.workdps(40):
        for value in (1e-9, 0.3, 1 - 1e-9):
            q = mp.mpf(value)
            want = -(q * mp.log(q) + (1 - q) * mp.log(1 - q))
            assert expfam.Geometric(value).entropy() == pytest.approx(float(want / q), rel=1e-13)
        for logit in (-40.0, 0.7, 30.0):
            q = 1 / (1 + mp.exp(-logit))
            want = -(q * mp.log(q) + (1 - q) * mp.log(1 - q))
            assert expfam.Bernoulli(logit).entropy() == pytest.approx(float(want), rel=1e-13)


def test_sums_too_wide_are_refused_and_not_chosen():
    f = sb.Target(value=lambda x: 1 / (1 + x[:, 0]), dim=1)
    for p in (expfam.Geometric(1e-9), expfam.NegativeBinomial(-25.0, r=1.0), expfam.Poisson(1e14)):
        with pytest.raises(ValueError, match="too wide to be summed"):
            exact(f, p)
        assert sb.expectation_grad(f, p, rng=0, n_samples=100).estimator != "exact"


def test_tiny_rates_are_quiet():
    rate = 1e-300
    assert expfam.Poisson(rate).entropy() == pytest.approx(rate * (1 - np.log(rate)), rel=1e-12)
    got = exact(sb.Target(value=lambda x: x[:, 0], dim=1), expfam.Poisson(1e-20))
    assert got.value == pytest.approx(1e-20, rel=1e-12) and got.grad["rate"] == pytest.approx(1.0, rel=1e-12)


# -- Wishart matrices next to the singular ones -----------------------------------------------------------------------


def test_wishart_near_its_least_degrees_of_freedom():
    """E log|W| has the derivative 1/2 sum psi'((nu - i)/2); E tr W has d/dnu = tr V."""
    p = expfam.Wishart(1.02, np.eye(2))
    trace = expfam.svec(np.eye(2))
    f = sb.Target(value=lambda x: x @ trace, grad=lambda x: np.broadcast_to(trace, x.shape), dim=3)
    for estimator in ("pathwise", "score"):
        got = sb.expectation_grad(f, p, estimator=estimator, n_samples=100_000, rng=0)
        assert_unbiased(got.grad["df"], 2.0, got.stderr["df"])
    draws = p._draw(stream_key(0), 0, 50_000)
    error = np.sqrt(p.fisher()[-1, -1] / draws.n)
    assert_unbiased(draws.log_det.mean(), p.mean_params()[-1], error, freedom=np.inf)
    with pytest.raises(ValueError, match=r"row .* double precision"):
        p.log_prob(p.sample(5000, rng=0))


# -- truncated normal draws -------------------------------------------------------------------------------------------

TRUNCATIONS = [
    (0.0, 1e15, 5.0, 6.0),
    (0.0, 1.0, 1e3, 1e3 + 1e-8),
    (0.0, 1.0, 1e5, np.inf),
    (0.0, 1.0, -np.inf, -30.0),
    (0.0, 1.0, -3.0, 0.5),
    (0.0, 1.0, -9.0, np.inf),
    (0.3, 2.0, 4.0, 9.0),
    (0.0, 1.0, 0.0, np.inf),
    (0.0, 1.0, -5.0, 5.0),
    (0.0, 1.0, 1001.0, np.inf),
]


@pytest.mark.parametrize("args", TRUNCATIONS, ids=repr)
def test_truncated_normal_quantiles(args):
    """F(x) = u to the last digits of x, in the tails of u as well."""
    loc, scale, low, high = args
    u = np.array([1e-16, 1e-7, 1e-3, 0.1, 0.45, 0.9, 0.999, 1 - 1e-7])
    x = expfam.TruncatedNormal(*args)._draw_uniform(u[:, None]).x[:, 0]
    with mp.workdps(60):
        a, b = ((mp.mpf(v) - loc) / mp.mpf(scale) for v in (low, high))
        sign = 1 if a + b > 0 else -1  # the side on which the tails are small numbers
        at_low, at_high = mp.ncdf(-sign * a), mp.ncdf(-sign * b)
        for level, point in zip(u, x):
            z = (mp.mpf(float(point)) - loc) / mp.mpf(scale)
            excess = (at_low - mp.ncdf(-sign * z)) / (at_low - at_high) - level
            error = abs(excess * (at_low - at_high)) / mp.npdf(z) * scale
            inside = 4e-16 * scale if low < loc < high else 0.0  # x may be next to 0 without being next to a bound
            assert error < 8 * np.spacing(abs(point)) + inside, (level, point)


def test_truncated_normal_draws_keep_their_distance_from_the_bound():
    """Distances from 1e5 are exponential with rate 1e5, down to the spacing of doubles there."""
    x = expfam.TruncatedNormal(0.0, 1.0, 1e5, np.inf)._draw_uniform(np.array([[1e-16], [0.5]])).x
    np.testing.assert_allclose(x[:, 0] - 1e5, [0.0, np.log(2) * 1e-5], atol=np.spacing(1e5))
    x = expfam.TruncatedNormal(0.0, 1e15, 5.0, 6.0).sample(20_000, rng=0)[:, 0]
    assert len(np.unique(x)) == len(x)
    assert_law(x - 5.0, "uniform")
    everything = expfam.TruncatedNormal(0.3, 2.0, -np.inf, np.inf).sample(5000, rng=0)[:, 0]
    assert_law(everything, st.norm(0.3, 2.0).cdf)


# -- the bare contractions --------------------------------------------------------------------------------------------


def test_contractions_of_matrix_parameters():
    p = expfam.Wishart(4.5, [[0.6, 0.2], [0.2, 0.4]])
    x = p.sample(50, rng=0)
    g, b = np.cos(x), p.transport(x)["scale"]
    each = np.einsum("ni,nijk->njk", g, b)
    np.testing.assert_allclose(sb.contract.expfam(g, b, per_sample=True), each, rtol=1e-13)
    np.testing.assert_allclose(sb.contract.expfam(g, b), each.mean(axis=0), rtol=1e-13)
    with pytest.raises(ValueError, match=r"B must have shape \(50, 3\) or \(50, 3, ...\), got"):
        sb.contract.expfam(g, b[:, 0])


def test_the_product_contraction_takes_its_arguments_in_the_documented_order():
    p = expfam.Exponential(1.3)
    x = p.sample(20, rng=0)
    (b, db), f, g = p.product_weight(x)["rate"], np.sin(x[:, 0]), np.cos(x)
    each = sb.contract.product(f, g, b, db, 0.0, True)
    np.testing.assert_allclose(each, -(b * g + db * f[:, None]), rtol=1e-14)


# -- what is not there is named ---------------------------------------------------------------------------------------


def test_weights_that_do_not_exist_are_refused():
    examples = {name: family(**family.example) for name, family in expfam.FAMILIES.items()}
    for name in ("Bernoulli", "Binomial", "Poisson", "Geometric", "NegativeBinomial", "Dirichlet", "Wishart"):
        with pytest.raises(ValueError, match=f"{name} has no product-rule weight"):
            examples[name].product_weight([[0.0]])
    for method in ("product_weight", "transport"):
        with pytest.raises(ValueError, match="Categorical has no"):
            getattr(examples["Categorical"], method)([0.0])


def test_poles_of_scalar_parameters_are_numbers():
    for p, pole in ((expfam.Normal(0.4, 1.0), "x = mean = 0.4;"), (expfam.Gamma(2.5, 2.0), "x = 0.75;")):
        with pytest.raises(ValueError, match=pole):
            sb.expectation_grad(cosine, p, estimator="product", n_samples=64, rng=0)
    two = sb.Target(value=lambda x: x[:, 0], grad=lambda x: 0 * x, dim=2)
    with pytest.raises(ValueError, match=r"\(component 1\): .* x = 0.5,"):
        sb.expectation_grad(two, expfam.Beta([0.5, 2.0], [2.0, 2.0]), estimator="product", n_samples=64, rng=0)


def test_parameters_cannot_be_set():
    examples = [family(**family.example) for family in expfam.FAMILIES.values()]
    for p in (*examples, OWN):
        for name in (*p._names, *(c.name for c in p.constants)):
            with pytest.raises(AttributeError, match="cannot be set"):
                setattr(p, name, 5.0)
    with pytest.raises(AttributeError, match="no attribute 'rate'"):
        expfam.Normal(0.0, 1.0).rate  # noqa: B018


def test_natural_gradients_that_do_not_exist():
    f = sb.Target(value=lambda x: np.sin(x[:, 0]), grad=lambda x: np.cos(x), dim=1)
    with pytest.raises(ValueError, match="Fisher information does not exist for low, high") as error:
        exact(f, expfam.TruncatedNormal(0.0, 1.0, -1.0, 1.0)).natural_grad()
    assert "wrt" not in str(error.value)
    with pytest.raises(ValueError, match="singular"):
        exact(f, expfam.VonMises(0.3, 0.0)).natural_grad()


def test_angles_count_modulo_whole_turns():
    p = expfam.VonMises(0.6, 2.1)
    for turned in ([4.0], [4.0 + 6 * np.pi]):
        np.testing.assert_allclose(p.log_prob(turned), p.log_prob([4.0 - 2 * np.pi]), rtol=1e-13)
        for weight in (p.transport, p.score):
            got, want = weight(turned), weight([4.0 - 2 * np.pi])
            for name in p._names:
                np.testing.assert_allclose(got[name], want[name], rtol=1e-12)
    assert p.log_prob([4.0])[0] == pytest.approx(st.vonmises(2.1, loc=0.6).logpdf(4.0), rel=1e-12)


def test_generalised_reparameterisation_checks_what_it_gets():
    p, call = expfam.Gamma(2.0, 1.0), expfam.generalised_reparameterisation
    zero = lambda x: {"shape": (np.zeros_like(x), np.zeros_like(x))}
    with pytest.raises(ValueError, match=r"V of shape must have shape \(64, 1\), got \(64,\)"):
        call(cosine, p, lambda x: {"shape": (x[:, 0], 1 + 0 * x)}, n_samples=64, rng=0)
    with pytest.raises(ValueError, match="V of shape must be finite"):
        call(cosine, p, lambda x: {"shape": (np.nan * x, x)}, n_samples=64, rng=0)
    with pytest.raises(ValueError, match="target has dimension 2"):
        call(sb.targets.quadratic(np.eye(2), np.zeros(2)), p, zero, rng=0)
    with pytest.raises(TypeError, match="pair"):
        call(cosine, p, lambda x: {"shape": x}, n_samples=64, rng=0)
    with pytest.raises(TypeError, match="dict"):
        call(cosine, p, lambda x: x, n_samples=64, rng=0)
    with pytest.raises(TypeError, match=r"sbpfast\.Target"):
        call(np.cos, p, zero, rng=0)
    for q in (expfam.Dirichlet([1.0, 2.0]), expfam.Poisson(2.0), OWN, sb.Gaussian([0.0], [[1.0]])):
        f = sb.Target(value=lambda x: x[:, 0], grad=lambda x: np.ones_like(x), dim=q.dim)
        with pytest.raises(TypeError, match="continuous family"):
            call(f, q, zero, rng=0)
