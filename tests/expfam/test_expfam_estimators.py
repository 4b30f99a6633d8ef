"""Draws follow their laws, and every valid estimator is unbiased: z-tests with fixed seeds."""

import numpy as np
import pytest
import scipy.stats as st
from expfam_cases import assert_agrees, cases, identifier, quantiles, reference, wave
from statistics_helpers import FALSE_ALARM, assert_counts, assert_law, assert_unbiased, assert_unbiased_over_runs

import sbpfast as sb
from sbpfast import _core, expfam
from sbpfast._streams import stream_key
from sbpfast.expfam._continuous import Continuous
from sbpfast.expfam._discrete import Discrete
from sbpfast.expfam._independent import PASS, Independent

ISAS = _core.AVAILABLE_ISAS


def make(name, params):
    return expfam.FAMILIES[name](**params)


one_dimensional = pytest.mark.parametrize("name, params", cases(lambda f: issubclass(f, Independent)), ids=identifier)
continuous = pytest.mark.parametrize("name, params", cases(lambda f: issubclass(f, Continuous)), ids=identifier)
every = pytest.mark.parametrize("name, params", cases(), ids=identifier)


def smooth(name):
    """The wave, or for heavy tails, where quadrature cannot follow it to the end, a sigmoid."""
    if name != "StudentT":
        return wave()
    return sb.Target(
        value=lambda x: np.tanh(x[:, 0] + 0.3), grad=lambda x: np.cosh(np.clip(x + 0.3, -300, 300)) ** -2.0, dim=1
    )


# -- draws ------------------------------------------------------------------------------------------------------------


def law(name, params, x):
    """p-value of a test of the points against SciPy's distribution function."""
    ref = reference(name, params)
    if issubclass(expfam.FAMILIES[name], Discrete):
        values, counts = np.unique(x, return_counts=True)
        expected = ref.pmf(values) * len(x)
        large = expected > 20
        observed = np.append(counts[large], len(x) - counts[large].sum())
        expected = np.append(expected[large], len(x) - expected[large].sum())
        keep = expected > 5
        statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
        return st.chi2.sf(statistic, keep.sum() - 1)
    if name == "VonMises":  # cut the circle opposite to the mean, as SciPy does
        x = params["mean"] + (x - params["mean"] + np.pi) % (2 * np.pi) - np.pi
    return st.kstest(x, ref.cdf).pvalue


@one_dimensional
def test_draws_follow_the_law(name, params):
    assert law(name, params, make(name, params).sample(50_000, rng=8)[:, 0]) > FALSE_ALARM


@one_dimensional
def test_antithetic_draws_are_pairs_of_the_law(name, params):
    p = make(name, params)
    if name in ("VonMises", "InverseGaussian"):
        with pytest.raises(ValueError, match="inverse distribution function"):
            p._draw(stream_key(1), 0, 64, antithetic=True)
        return
    x = p._draw(stream_key(1), 0, 20_000, antithetic=True).x[:, 0]
    assert law(name, params, x[0::2]) > FALSE_ALARM
    assert law(name, params, x[1::2]) > FALSE_ALARM
    if len(np.unique(x)) > 8:
        assert st.spearmanr(x[0::2], x[1::2]).statistic < -0.5
    assert np.cov(x[0::2], x[1::2])[0, 1] < 0


@one_dimensional
def test_many_points_are_as_many_few(name, params):
    """Long arrays are worked on in parts: where they are cut changes no bit."""
    p = make(name, params)
    n = 2 * PASS // p.dim + 5
    x = np.resize(p.sample(500, rng=3), (n, p.dim))
    ends = slice(0, 70), slice(n - 70, n), slice(PASS // p.dim - 9, PASS // p.dim + 9)
    for method in ("transport", "score"):
        whole = getattr(p, method)(x)
        for part in ends:
            few = getattr(p, method)(x[part])
            assert list(few) == list(whole)
            for key in few:
                np.testing.assert_array_equal(whole[key][part], few[key])
    log_prob = p.log_prob(x)
    for part in ends:
        np.testing.assert_array_equal(log_prob[part], p.log_prob(x[part]))


@every
def test_draws_do_not_depend_on_threads_or_on_what_follows(name, params):
    p = make(name, params)
    whole = p.sample(1000, rng=3, n_threads=1)
    np.testing.assert_array_equal(p.sample(1000, rng=3, n_threads=3), whole)
    np.testing.assert_array_equal(p.sample(70, rng=3), whole[:70])
    single, out = p.sample(70, rng=3, dtype=np.float32), np.empty((70, 2 * p.dim))[:, ::2]
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, whole[:70].astype(np.float32))
    assert p.sample(70, rng=3, out=out) is out
    np.testing.assert_array_equal(out, whole[:70])
    np.testing.assert_array_equal(p._draw(stream_key(3), 128, 300).x, whole[128:300])
    assert p.sample(0, rng=3).shape == (0, p.dim)


def test_tiny_shapes_keep_their_logarithms():
    """Half of the draws of a gamma with shape 1e-3 underflow; their logarithms do not."""
    p = expfam.Gamma(1e-3, 1.0)
    draws = p._draw(stream_key(0), 0, 50_000)
    assert (draws.x == 0).mean() > 0.3
    assert np.isfinite(draws.log_x).all()
    # log x of a shape-a gamma has mean psi(a) and variance psi'(a)
    mean, variance = p.mean_params()[0, 0], p.fisher()[0, 0, 0]
    assert_unbiased(draws.log_x.mean(), mean, np.sqrt(variance / 50_000), freedom=np.inf)
    for terms in (p._score_terms(draws), p._pathwise_terms(draws, np.ones_like(draws.x))):
        assert all(np.isfinite(t).all() for t in terms.values())
    beta = expfam.Beta(1e-3, 1e-3)._draw(stream_key(0), 0, 10_000)
    for log in (beta.log_x, beta.log_y):
        assert np.isfinite(log).all()
    np.testing.assert_allclose(np.logaddexp(beta.log_x, beta.log_y), 0.0, atol=1e-15)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [0.02, 0.7, 1.0, 3.3, 1e5])
def test_gamma_kernel_on_every_instruction_set(shape, isa):
    key = stream_key(4)
    x, log_x = np.empty((300, 2, 64)), np.empty((300, 2, 64))
    shapes = np.array([shape, 2.0])
    _core.load("draws", isa).fill_gamma(key, 0, 5, shapes, x, log_x, 1)
    if shape != 0.02:  # of which many draws underflow
        assert_law(x[:, 0].ravel(), st.gamma(shape).cdf)
    assert_law(x[:, 1].ravel(), st.gamma(2.0).cdf)
    again, log_again = np.empty((1, 2, 64)), np.empty((1, 2, 64))
    _core.load("draws", isa).fill_gamma(key, 0, 7, shapes, again, log_again, 2)
    np.testing.assert_array_equal(again[0], x[2])


# -- estimators -------------------------------------------------------------------------------------------------------


@one_dimensional
def test_estimators_are_unbiased(name, params):
    p, f = make(name, params), smooth(name)
    exact = sb.expectation_grad(f, p, estimator="exact")
    for estimator in p._estimators:
        if estimator in ("exact", "auto", *p._refused):
            continue
        assert_agrees(sb.expectation_grad(f, p, estimator=estimator, n_samples=40_000, rng=11), exact)


@one_dimensional
def test_exact_gradients_are_derivatives_of_the_exact_value(name, params):
    p, f = make(name, params), smooth(name)
    exact = sb.expectation_grad(f, p, estimator="exact")
    for key in p._names:
        if not np.isfinite(params[key]):
            assert exact.grad[key] == 0.0
            continue
        h = 1e-4 * max(abs(params[key]), 0.1)
        values = []
        for step in (-2 * h, -h, h, 2 * h):
            values.append(
                sb.expectation_grad(f, make(name, params | {key: params[key] + step}), estimator="exact").value
            )
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        assert float(exact.grad[key]) == pytest.approx(slope, rel=1e-7, abs=1e-9)


@one_dimensional
def test_auto_is_exact_in_one_dimension(name, params):
    assert sb.expectation_grad(smooth(name), make(name, params)).estimator == "exact"


VALID = [
    ("Exponential", {"rate": 1.7}, ("rate",)),
    ("Normal", {"mean": 0.4, "std": 1.2}, ("mean",)),
    ("LogNormal", {"mean": 0.2, "std": 1.0}, ("std",)),
    ("Gamma", {"shape": 0.6, "rate": 1.3}, ("shape", "rate")),
    ("Gamma", {"shape": 1.0, "rate": 1.3}, ("rate",)),
    ("ChiSquare", {"df": 1.3}, ("df",)),
    ("Beta", {"a": 0.6, "b": 2.2}, ("a", "b")),
    ("Beta", {"a": 2.5, "b": 1.0}, ("a",)),
    ("Beta", {"a": 1.0, "b": 2.5}, ("b",)),
    ("Weibull", {"scale": 1.3, "shape": 0.8}, ("scale",)),
    ("Weibull", {"scale": 1.3, "shape": 1.0}, ("scale",)),
    ("Pareto", {"tail": 2.5, "minimum": 1.2}, ("tail",)),
    ("Laplace", {"scale": 1.3, "loc": 0.2}, ("scale",)),
    ("VonMises", {"mean": 0.6, "concentration": 2.1}, ("mean",)),
    ("ContinuousBernoulli", {"logit": 0.8}, ("logit",)),
    ("TruncatedNormal", {"loc": -0.5, "scale": 1.1, "low": 0.2, "high": 2.0}, ("loc", "scale")),
    ("TruncatedNormal", {"loc": 1.5, "scale": 1.1, "low": -np.inf, "high": 0.7}, ("loc", "scale")),
    ("StudentT", {"df": 4.0, "loc": 0.3, "scale": 1.1}, ("loc",)),
    ("Logistic", {"loc": 0.3, "scale": 1.1}, ("loc",)),
    ("Gumbel", {"loc": 0.3, "scale": 1.1}, ("loc",)),
]


@pytest.mark.parametrize("name, params, wrt", VALID, ids=identifier)
def test_product_rule_where_it_is_valid(name, params, wrt):
    p, f = make(name, params), wave()
    exact = sb.expectation_grad(f, p, wrt=wrt, estimator="exact")
    assert_agrees(sb.expectation_grad(f, p, wrt=wrt, estimator="product", n_samples=60_000, rng=2), exact, wrt)


REFUSED = [
    ("Normal", {"mean": 0.4, "std": 1.2}, "std", "pole at the mode"),
    ("LogNormal", {"mean": 0.2, "std": 0.9}, "std", "pole"),
    ("LogNormal", {"mean": 0.2, "std": 1.0}, "mean", "pole"),
    ("Gamma", {"shape": 1.0, "rate": 1.3}, "shape", "diverges"),
    ("Gamma", {"shape": 2.5, "rate": 1.3}, "rate", "mode, x = .*1.15"),
    ("InverseGamma", {"shape": 2.0, "scale": 1.0}, "scale", "pole"),
    ("ChiSquare", {"df": 2.0}, "df", "diverges"),
    ("Beta", {"a": 1.0, "b": 1.0}, "a", "boundary"),
    ("Beta", {"a": 2.0, "b": 3.0}, "a", "pole"),
    ("Beta", {"a": 2.5, "b": 1.0}, "b", "diverges"),
    ("InverseGaussian", {"mean": 1.0, "concentration": 2.0}, "mean", "pole"),
    ("Weibull", {"scale": 1.0, "shape": 1.5}, "scale", "pole"),
    ("Rayleigh", {"scale": 1.0}, "scale", "pole"),
    ("HalfNormal", {"scale": 1.0}, "scale", "pole"),
    ("VonMises", {"mean": 0.0, "concentration": 1.0}, "concentration", "poles"),
    ("TruncatedNormal", {"loc": 0.5, "scale": 1.0, "low": 0.0, "high": 1.0}, "loc", "pole"),
    ("TruncatedNormal", {"loc": -0.5, "scale": 1.0, "low": 0.0, "high": 1.0}, "low", "boundary"),
    ("ContinuousBernoulli", {"logit": 0.0}, "logit", "pole"),
    ("StudentT", {"df": 4.0, "loc": 0.0, "scale": 1.0}, "df", "pole"),
    ("Logistic", {"loc": 0.0, "scale": 1.0}, "scale", "pole"),
    ("Gumbel", {"loc": 0.0, "scale": 1.0}, "scale", "pole"),
]


@pytest.mark.parametrize("name, params, wrt, words", REFUSED, ids=identifier)
def test_product_rule_refuses_elsewhere(name, params, wrt, words):
    with pytest.raises(ValueError, match=words):
        sb.expectation_grad(wave(), make(name, params), wrt=wrt, estimator="product", n_samples=100, rng=0)


def test_score_refuses_a_moving_support():
    p = expfam.TruncatedNormal(0.3, 1.2, -0.5, 2.5)
    with pytest.raises(ValueError, match="support"):
        sb.expectation_grad(wave(), p, estimator="score", n_samples=100, rng=0)
    check_names = ("loc", "scale")
    estimate = sb.expectation_grad(wave(), p, wrt=check_names, estimator="score", n_samples=40_000, rng=0)
    assert_agrees(estimate, sb.expectation_grad(wave(), p, estimator="exact"), check_names)


@pytest.mark.parametrize("name", [n for n, f in expfam.FAMILIES.items() if issubclass(f, Continuous)])
def test_any_smooth_weight_is_unbiased(name):
    """V = 0.7 B + something that vanishes at the ends of the support."""
    params = dict(expfam.FAMILIES[name].example)
    p, f = make(name, params), wave()
    names = [k for k in p._names if k not in p._moving_ends(p._p)]
    draws = p._draw(stream_key(6), 0, 60_000)
    x = draws.x
    bump, slope = _bump(name, p, x)
    weights = p.transport(draws)
    score, (d_log, _) = p.score(draws), p._slopes(draws, p._p)
    V = {k: 0.7 * weights[k] + bump for k in names}
    dV = {k: -0.7 * (score[k] + weights[k] * d_log) + slope for k in names}
    terms = p._weighted_terms(draws, f.value(x), f.grad(x), V, dV)
    exact = sb.expectation_grad(f, p, estimator="exact")
    for k in names:
        assert_unbiased_over_runs(np.ravel(terms[k]), exact.grad[k])


def _bump(name, p, x):
    low, high = (float(np.reshape(v, -1)[0]) for v in p._support(p._p))
    if name == "VonMises":
        return np.sin(x), np.cos(x)
    if np.isfinite(low) and np.isfinite(high):
        return (x - low) * (high - x), high + low - 2 * x
    if np.isfinite(low):
        return (x - low) * np.exp(-x), (1 - (x - low)) * np.exp(-x)
    return np.cos(x), -np.sin(x)


def test_vector_parameters_and_shared_scalars():
    """A vector's gradient is componentwise, a shared scalar's is the sum."""
    f = wave(3)
    p = expfam.Gamma([0.5, 2.0, 7.0], 1.5)
    path = sb.expectation_grad(f, p, estimator="pathwise", n_samples=60_000, rng=1)
    score = sb.expectation_grad(f, p, estimator="score", n_samples=60_000, rng=2)
    assert (path.grad["shape"].shape, np.shape(path.grad["rate"])) == ((3,), ())
    for key in ("shape", "rate"):
        both = np.hypot(path.stderr[key], score.stderr[key])
        assert_unbiased(path.grad[key], score.grad[key], both)
    with pytest.raises(ValueError, match="one component"):
        sb.expectation_grad(f, p, estimator="exact")
    counts = expfam.Poisson([0.5, 2.0, 7.0])
    difference = sb.expectation_grad(f, counts, estimator="difference", n_samples=60_000, rng=1)
    score = sb.expectation_grad(f, counts, estimator="score", n_samples=60_000, rng=2)
    both = np.hypot(difference.stderr["rate"], score.stderr["rate"])
    assert_unbiased(difference.grad["rate"], score.grad["rate"], both)


@pytest.mark.parametrize("name", ["Exponential", "Pareto", "Laplace"])
def test_boundary_terms_in_several_dimensions(name):
    params = {
        k: ([v, 1.2 * v] if k in ("rate", "tail", "scale") else v) for k, v in expfam.FAMILIES[name].example.items()
    }
    p, f = make(name, params), wave(2)
    product = sb.expectation_grad(f, p, estimator="product", n_samples=60_000, rng=1)
    path = sb.expectation_grad(f, p, estimator="pathwise", n_samples=60_000, rng=2)
    for key in p._names:
        both = np.hypot(product.stderr[key], path.stderr[key])
        assert_unbiased(product.grad[key], path.grad[key], both)


@pytest.mark.parametrize("name", ["Dirichlet", "Wishart"])
def test_multivariate_estimators_agree(name):
    p = make(name, dict(expfam.FAMILIES[name].example))
    a = np.linspace(0.3, 1.0, p.dim)
    f = sb.Target(value=lambda x: np.sin(x @ a), grad=lambda x: np.cos(x @ a)[:, None] * a, dim=p.dim)
    path = sb.expectation_grad(f, p, estimator="pathwise", n_samples=60_000, rng=1)
    score = sb.expectation_grad(f, p, estimator="score", n_samples=60_000, rng=2)
    for key in p._names:
        both = np.hypot(path.stderr[key], score.stderr[key])
        assert_unbiased(path.grad[key], score.grad[key], both)
    with pytest.raises(ValueError):
        sb.expectation_grad(f, p, estimator="product")


def test_wishart_closed_form():
    """E log|W| and E tr(A W): gradients in closed form."""
    p = expfam.Wishart(4.5, [[0.6, 0.2], [0.2, 0.4]])
    a = np.array([[1.0, 0.3], [0.3, -0.5]])
    vec = expfam.svec(a)
    f = sb.Target(value=lambda x: x @ vec, grad=lambda x: np.broadcast_to(vec, x.shape), dim=3)
    path = sb.expectation_grad(f, p, estimator="pathwise", n_samples=40_000, rng=1)
    assert_unbiased(path.grad["df"], np.trace(a @ p.scale), path.stderr["df"])
    assert_unbiased(path.grad["scale"], 4.5 * a, path.stderr["scale"])


def test_categorical():
    p = expfam.Categorical([0.3, -0.5, 0.8])
    f = sb.Target(value=lambda x: np.array([1.0, -2.0, 4.0])[x[:, 0].astype(int)], dim=1)
    values = np.array([1.0, -2.0, 4.0])
    want = p.probs * (values - p.probs @ values)
    for estimator in ("exact", "difference"):
        np.testing.assert_allclose(
            sb.expectation_grad(f, p, estimator=estimator, rng=0).grad["logits"], want, rtol=1e-13
        )
    score = sb.expectation_grad(f, p, estimator="score", n_samples=20_000, rng=0)
    assert_unbiased(score.grad["logits"], want, score.stderr["logits"])
    counts = np.bincount(p.sample(50_000, rng=1)[:, 0].astype(int))
    assert_counts(counts, p.probs * 50_000)


@pytest.mark.parametrize(
    "name, params", [("Gamma", {"shape": 2.0, "rate": 3.0}), ("Poisson", {"rate": 4.0})], ids=identifier
)
def test_quasi_random_and_antithetic_draws(name, params):
    p, f = make(name, params), wave()
    exact = sb.expectation_grad(f, p, estimator="exact")
    kind = "pathwise" if name == "Gamma" else "difference"
    plain = sb.expectation_grad(f, p, estimator=kind, n_samples=4096, rng=0)
    for sampling in ("antithetic", "sobol"):
        estimate = sb.expectation_grad(f, p, estimator=kind, n_samples=4096, sampling=sampling, rng=0)
        assert_agrees(estimate, exact)
    assert float(np.ravel(estimate.stderr["value"])[0]) < 0.5 * float(np.ravel(plain.stderr["value"])[0])


@one_dimensional
def test_natural_gradient_solves_with_the_fisher_information(name, params):
    p, f = make(name, params), smooth(name)
    if p._moving_ends(p._p):
        return
    if name == "TruncatedNormal":
        return
    estimate = sb.expectation_grad(f, p, estimator="exact")
    natural = estimate.natural_grad()
    x = quantiles(name, params, 3)
    covariance = p._score_covariance()[0]
    if hasattr(p, "fisher"):  # J^T Hess(A) J, J by finite differences of eta
        jacobian = []
        for key in p._names:
            h = 1e-6 * max(abs(params[key]), 0.1)
            up, down = (make(name, params | {key: params[key] + s}).natural()[0] for s in (h, -h))
            jacobian.append((up - down) / (2 * h))
        want = np.array(jacobian) @ p.fisher()[0] @ np.array(jacobian).T
        np.testing.assert_allclose(covariance, want, rtol=1e-6, atol=1e-8 * np.abs(want).max())
    grads = np.array([float(estimate.grad[k]) for k in p._names])
    np.testing.assert_allclose(covariance @ [float(natural[k]) for k in p._names], grads, rtol=1e-10, atol=1e-13)
    assert np.isfinite(p.log_prob(x)).all()


# -- second derivatives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p", [expfam.Gamma(2.3, 1.7), expfam.Gamma(0.4, 0.8), expfam.Beta(1.4, 3.1), expfam.Beta(20.0, 0.6)], ids=repr
)
def test_second_derivatives_of_expectations(p):
    """E[B_i B_j f'' + (dB_i/dtheta_j + B_j dB_i/dx) f'] against differences of exact gradients, f = sin(x + 0.3)."""

    def hessian(t):
        b, slopes = p.transport(t), p.transport_derivatives(t)
        first, second = np.cos(t.x + 0.3), -np.sin(t.x + 0.3)
        return np.concatenate(
            [b[i] * b[j] * second + (slopes[i][j] + b[j] * slopes[i]["x"]) * first for i in p._names for j in p._names],
            axis=1,
        )

    got = p._expectation(hessian).reshape(2, 2)
    for row, i in enumerate(p._names):
        for column, j in enumerate(p._names):
            h = 1e-4 * getattr(p, j)
            up, down = (type(p)(**{k: getattr(p, k) + s * (k == j) for k in p._names}) for s in (h, -h))
            grads = [sb.expectation_grad(wave(), q, estimator="exact").grad[i] for q in (up, down)]
            assert got[row, column] == pytest.approx(float((grads[0] - grads[1]) / (2 * h)), rel=1e-6, abs=1e-8)
    np.testing.assert_allclose(got, got.T, rtol=1e-9, atol=1e-11)


def test_generalised_reparameterisation_by_the_front_door():
    """V = -Btilde with the pole cut out smoothly: the slides' form made usable for the gamma above shape 1."""
    p, f = expfam.Gamma(2.3, 1.7), wave()
    mode = 1.3 / 1.7

    def weight(x):
        taper = np.expm1(-((x - mode) ** 2) / 0.02)  # -1 away from the pole, (x - mode)^2 near it
        slope = -2.0 * (x - mode) / 0.02 * (taper + 1.0)
        return {k: (taper * b, slope * b + taper * db) for k, (b, db) in p.product_weight(x).items()}

    exact = sb.expectation_grad(f, p, estimator="exact")
    estimate = expfam.generalised_reparameterisation(f, p, weight, n_samples=40_000, rng=1)
    assert_agrees(estimate, exact)
    assert (estimate.n_samples, estimate.estimator) == (40_000, "generalised reparameterisation")
    zero = expfam.generalised_reparameterisation(f, p, lambda x: {"rate": (0.0 * x, 0.0 * x)}, n_samples=20_000, rng=1)
    assert_agrees(zero, exact, ("rate",))
    with pytest.raises(ValueError, match="parameters"):
        expfam.generalised_reparameterisation(f, p, lambda x: {"scale": (x, x)}, n_samples=100)
    with pytest.raises(TypeError, match="weight"):
        expfam.generalised_reparameterisation(f, p, 3.0)
