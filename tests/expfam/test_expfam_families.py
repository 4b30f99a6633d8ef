"""Every family of the registry against independent formulas: SciPy's distributions, quadrature, finite differences."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.integrate
import scipy.stats as st
from expfam_cases import MORE, SCIPY, cases, identifier, quantiles, reference
from mpmath import mp
from statistics_helpers import assert_unbiased_over_runs

from sbpfast import expfam
from sbpfast.expfam._continuous import Continuous
from sbpfast.expfam._discrete import Discrete
from sbpfast.expfam._exponential import ExponentialFamily
from sbpfast.expfam._families._multivariate import MultivariateFamily
from sbpfast.expfam._independent import Independent


def make(name, params):
    return expfam.FAMILIES[name](**params)


def is_exponential(f):
    return issubclass(f, ExponentialFamily)


def is_continuous(f):
    return issubclass(f, Continuous)


def family_cases(condition=lambda f: True):
    return pytest.mark.parametrize("name, params", cases(condition), ids=identifier)


one_dimensional = family_cases(lambda f: issubclass(f, Independent))
exponential = family_cases(is_exponential)
continuous = family_cases(is_continuous)
any_exponential = family_cases(lambda f: issubclass(f, ExponentialFamily | MultivariateFamily))
multivariate = family_cases(lambda f: issubclass(f, MultivariateFamily))


def test_every_family_is_tested():
    assert len(expfam.FAMILIES) == 27
    assert set(MORE) == set(expfam.FAMILIES)
    assert set(SCIPY) == {n for n, f in expfam.FAMILIES.items() if issubclass(f, Independent)}


@one_dimensional
def test_log_density(name, params):
    x, ref = quantiles(name, params), reference(name, params)
    want = ref.logpmf(x[:, 0]) if issubclass(expfam.FAMILIES[name], Discrete) else ref.logpdf(x[:, 0])
    np.testing.assert_allclose(make(name, params).log_prob(x), want, rtol=1e-10, atol=1e-11)


@exponential
def test_density_has_the_exponential_form(name, params):
    p, x = make(name, params), quantiles(name, params)
    inner = np.einsum("ndk,dk->n", p.sufficient(x), p.natural())
    np.testing.assert_allclose(p.log_base(x) + inner - p.log_partition(), p.log_prob(x), rtol=1e-10, atol=1e-10)


def expectations(name, params, function):
    """E[function(x)] from SciPy's density by scipy.integrate, or by summation."""
    ref = reference(name, params)
    if issubclass(expfam.FAMILIES[name], Discrete):
        k = np.arange(0, ref.ppf(1 - 1e-15) * 2 + 60)
        if name in ("Bernoulli", "Binomial"):
            k = np.arange(0, ref.support()[1] + 1)
        return function(k) @ ref.pmf(k)
    low, high = ref.support()
    if name == "VonMises":
        low, high = -np.pi, np.pi
    inner = np.unique(ref.ppf([1e-6, 1e-3, 0.03, 0.2, 0.5, 0.8, 0.97, 1 - 1e-3, 1 - 1e-6]))
    inner = inner[(inner > low) & (inner < high)]
    edges = np.concatenate([[low], inner, [high]])
    total = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.integrate.IntegrationWarning)
        for a, b in itertools.pairwise(edges):

            def integrand(x):
                return function(np.array([x]))[0] * ref.pdf(x)

            if low == 0.0 and b < np.inf:  # densities may be infinite at 0: x = e^t
                start = np.log(a) if a > 0 else -230.0
                total += scipy.integrate.quad(
                    lambda t: np.exp(t) * integrand(np.exp(t)), start, np.log(b), limit=200, epsabs=1e-13
                )[0]
            else:
                total += scipy.integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-12)[0]
    return total


@exponential
def test_mean_params_and_fisher_are_moments(name, params):
    p = make(name, params)
    k = p.natural().shape[1]
    m, fisher = p.mean_params()[0], p.fisher()[0]
    for i in range(k):
        mean = expectations(name, params, lambda x, i=i: p.sufficient(x[:, None])[:, 0, i])
        assert m[i] == pytest.approx(mean, rel=1e-8, abs=1e-9)
        for j in range(i + 1):
            covariance = expectations(
                name, params,
                lambda x, i=i, j=j: np.prod(p.sufficient(x[:, None])[:, 0, [i, j]] - m[[i, j]], axis=1),
            )  # fmt: skip
            assert fisher[i, j] == pytest.approx(covariance, rel=1e-7, abs=1e-9 * np.abs(fisher).max())
            assert fisher[i, j] == fisher[j, i]


def rebuild(p, eta):
    constants = {q.name: getattr(p, q.name) for q in p._fixed()} if isinstance(p, ExponentialFamily) else {}
    return type(p).from_natural(eta, **constants)


@any_exponential
def test_derivatives_of_the_log_partition(name, params):
    """grad A = mean parameters and Hess A = Fisher by finite differences of A and of grad A, and convexity."""
    p = make(name, params)
    eta, m = p.natural(), p.mean_params()
    fisher = p.fisher()[0] if fisher_is_stacked(p) else p.fisher()
    scale = 1.0 / np.sqrt(np.diagonal(fisher))
    flat, h = eta.reshape(-1), 1e-4

    def at(shift):
        return rebuild(p, (flat + shift).reshape(eta.shape))

    for i in range(flat.size):
        step = np.zeros(flat.size)
        step[i] = h * scale[i]
        up, down = at(step), at(-step)
        slope = (up.log_partition() - down.log_partition()) / (2 * step[i])
        assert slope == pytest.approx(m.reshape(-1)[i], rel=1e-6, abs=2e-7 / scale[i])
        column = (up.mean_params() - down.mean_params()).reshape(-1) / (2 * step[i])
        np.testing.assert_allclose(
            column, fisher[i], rtol=2e-6, atol=1e-6 / (scale * scale[i]).max() ** 0 * np.abs(fisher[i]).max()
        )
        assert up.log_partition() + down.log_partition() > 2 * p.log_partition()
    correlation = fisher * np.outer(scale, scale)
    assert np.linalg.eigvalsh(correlation)[0] > 0


def fisher_is_stacked(p):
    return isinstance(p, Independent)


@any_exponential
def test_round_trips(name, params):
    """Through natural and mean parameters; both maps are held against independent formulas above."""
    p = make(name, params)
    constants = {q.name: getattr(p, q.name) for q in p._fixed()} if isinstance(p, ExponentialFamily) else {}
    back = type(p).from_natural(p.natural(), **constants)
    again = type(p).from_mean_params(p.mean_params(), **constants)
    for q in p._names:
        if q == "logits":
            np.testing.assert_allclose(back.probs, p.probs, rtol=1e-13)
            np.testing.assert_allclose(again.probs, p.probs, rtol=1e-13)
            continue
        np.testing.assert_allclose(np.squeeze(getattr(back, q)), getattr(p, q), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(np.squeeze(getattr(again, q)), getattr(p, q), rtol=1e-8, atol=1e-8)


def shifted(name, params, key, step):
    moved = dict(params)
    moved[key] = moved[key] + step
    return moved


def finite_parameters(name, params):
    return [q.name for q in expfam.FAMILIES[name].parameters if np.isfinite(params[q.name])]


@one_dimensional
def test_score_is_the_derivative_of_the_log_density(name, params):
    p, x = make(name, params), quantiles(name, params)
    score = p.score(x)
    for key in finite_parameters(name, params):
        h = 1e-5 * max(abs(params[key]), 0.1)
        up, down = (make(name, shifted(name, params, key, s)) for s in (h, -h))
        np.testing.assert_allclose(
            score[key][:, 0],
            (up.log_prob(x) - down.log_prob(x)) / (2 * h),
            rtol=2e-6,
            atol=2e-7 / params.get("scale", 1.0),
        )


@continuous
def test_slopes_and_product_weights(name, params):
    """Btilde times the slope of log p is the score, and its derivative in x is right."""
    p, x = make(name, params), quantiles(name, params, 24)
    h = 1e-6 * np.maximum(np.abs(x), 1e-3)
    slope = (p.log_prob(x + h) - p.log_prob(x - h)) / (2 * h[:, 0])
    score = p.score(x)
    for key, (b, db) in p.product_weight(x).items():
        if key in ("low", "high"):
            continue
        scale = np.abs(score[key]).max()
        np.testing.assert_allclose(b[:, 0] * slope, score[key][:, 0], rtol=1e-5, atol=2e-6 * scale)
        near = (p.product_weight(x + h)[key][0] - p.product_weight(x - h)[key][0]) / (2 * h)
        smooth = np.abs(db[:, 0]) < 1e3 * np.median(np.abs(db) + 1e-12)  # away from poles
        np.testing.assert_allclose(near[smooth], db[smooth], rtol=1e-4, atol=1e-4 * np.median(np.abs(db)) + 1e-6)


@continuous
def test_transport_moves_quantiles(name, params):
    """The continuity equation integrated once, dF/dtheta = -p B, with SciPy's distribution function."""
    p, x = make(name, params), quantiles(name, params)
    density = np.exp(p.log_prob(x))
    weights = p.transport(x)
    assert list(weights) == list(p._names)
    for key in p._names:
        assert weights[key].shape == x.shape
        if not np.isfinite(params[key]):
            np.testing.assert_array_equal(weights[key], 0.0)
            continue
        h = 2e-5 * max(abs(params[key]), 0.1)
        up, down = (reference(name, shifted(name, params, key, s)).cdf(x[:, 0]) for s in (h, -h))
        want = -(up - down) / (2 * h)
        np.testing.assert_allclose(weights[key][:, 0] * density, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("name", [n for n, f in expfam.FAMILIES.items() if is_continuous(f)])
def test_continuity_equation(name):
    """d p/dtheta + d(p B)/dx = 0 as s + B d log p/dx + dB/dx, by central differences of B."""
    params = dict(expfam.FAMILIES[name].example)
    p, x = make(name, params), quantiles(name, params)
    h = 3e-4 * np.maximum(np.abs(x), 1e-2)
    log_slope, here, score = p._slopes(p._points(x), p._p)[0], p.transport(x), p.score(x)
    for key in p._names:
        residual = score[key] + here[key] * log_slope + slope(lambda y, key=key: p.transport(y)[key], x, h) / h
        assert np.abs(residual).max() < 1e-9 * (1 + np.abs(score[key]).max())


@one_dimensional
def test_entropy(name, params):
    if name in ("ContinuousBernoulli", "TruncatedNormal"):  # SciPy's are numerical, or 0 times inf
        want = -expectations(name, params, lambda x: make(name, params).log_prob(x[:, None]))
    else:
        want = reference(name, params).entropy()
    assert make(name, params).entropy() == pytest.approx(float(want), rel=1e-7, abs=1e-8)


@exponential
def test_kl(name, params):
    p = make(name, params)
    moved = {
        k: v if k in [c.name for c in p._fixed()] else (v * 1.15 if k not in ("logit", "mean") else v + 0.1)
        for k, v in params.items()
    }
    q = make(name, moved)
    want = expectations(name, params, lambda x: p.log_prob(x[:, None]) - q.log_prob(x[:, None]))
    assert p.kl(q) == pytest.approx(want, rel=1e-7, abs=1e-9)
    assert p.kl(p) == pytest.approx(0.0, abs=1e-12)


def test_kl_asks_for_one_family():
    with pytest.raises(TypeError, match="other"):
        expfam.Gamma(2.0, 1.0).kl(expfam.Exponential(1.0))
    with pytest.raises(ValueError, match="shape"):
        expfam.Weibull(1.0, shape=2.0).kl(expfam.Weibull(1.0, shape=3.0))
    with pytest.raises(ValueError, match="dimension"):
        expfam.Poisson(2.0).kl(expfam.Poisson([2.0, 3.0]))


@family_cases(lambda f: f.__name__ in ("Dirichlet", "Wishart", "Categorical"))
def test_multivariate_against_scipy(name, params):
    p = make(name, params)
    x = p.sample(200, rng=3)
    if name == "Dirichlet":
        want = np.array([st.dirichlet(params["concentration"]).logpdf(row / row.sum()) for row in x])
        entropy = st.dirichlet(params["concentration"]).entropy()
    elif name == "Wishart":
        matrices = expfam.smat(x)
        np.testing.assert_allclose(expfam.svec(matrices), x, rtol=1e-15)
        ref = st.wishart(params["df"], params["scale"])
        want, entropy = np.array([ref.logpdf(w) for w in matrices]), ref.entropy()
        np.testing.assert_allclose(p.log_prob(matrices), p.log_prob(x), rtol=1e-12)
    else:
        probs = np.exp(params["logits"]) / np.exp(params["logits"]).sum()
        want, entropy = np.log(probs[x[:, 0].astype(int)]), st.entropy(probs)
    np.testing.assert_allclose(p.log_prob(x), want, rtol=1e-9, atol=1e-9)
    assert p.entropy() == pytest.approx(float(entropy), rel=1e-9, abs=1e-10)
    inner = p.sufficient(x) @ p.natural() - p.log_partition() + p.log_base(x)
    np.testing.assert_allclose(inner, want, rtol=1e-9, atol=1e-9)


@multivariate
def test_multivariate_moments(name, params):
    """E u and Cov u by z-test on draws."""
    p = make(name, params)
    u = p.sufficient(p.sample(40_000, rng=5))
    m, fisher = p.mean_params(), p.fisher()
    assert_unbiased_over_runs(u, m)
    centred = u - m
    assert_unbiased_over_runs(centred[:, :, None] * centred[:, None, :], fisher)


def slope(function, x, step):
    """d function / d step at x by the central difference of order eight: the error is that of rounding, 1e-12 or so."""
    weights = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
    return sum(w * (function(x + k * step) - function(x - k * step)) for k, w in enumerate(weights, 1))


def divergence_residual(log_prob, field, x, h):
    """div V + V . grad log p, which the score must cancel."""
    total = 0.0
    for i in range(x.shape[1]):
        step = np.zeros(x.shape[1])
        step[i] = h
        total = total + slope(lambda y, i=i: field(y)[:, i], x, step) / h
        total = total + field(x)[:, i] * slope(log_prob, x, step) / h
    return total


def test_dirichlet_field_solves_the_continuity_equation():
    p = expfam.Dirichlet([0.8, 2.1, 3.3])
    x = p.sample(50, rng=0)
    x = x[(x > 0.02).all(axis=1)][:, :2]

    def full(y):
        return np.column_stack([y, 1 - y.sum(axis=1)])

    for j in range(3):
        residual = p.score(full(x))["concentration"][:, j] + divergence_residual(
            lambda y: p.log_prob(full(y)), lambda y, j=j: p.transport(full(y))["concentration"][:, :2, j], x, 3e-4
        )
        assert np.abs(residual).max() < 1e-9
    np.testing.assert_allclose(p.transport(full(x))["concentration"].sum(axis=1), 0.0, atol=1e-14)


def test_wishart_fields_solve_the_continuity_equation():
    p = expfam.Wishart(4.5, [[0.6, 0.2], [0.2, 0.4]])
    x = p.sample(40, rng=1)
    score = p.score(x)
    residual = score["df"] + divergence_residual(p.log_prob, lambda y: p.transport(y)["df"], x, 1e-4)
    assert np.abs(residual).max() < 1e-9 * (1 + np.abs(score["df"]).max())
    for i, j in ((0, 0), (0, 1), (1, 1)):  # along the symmetric direction E_ij + E_ji
        residual = score["scale"][:, i, j] + divergence_residual(
            p.log_prob, lambda y, i=i, j=j: p.transport(y)["scale"][:, :, i, j], x, 1e-4
        )
        assert np.abs(residual).max() < 1e-9 * (1 + np.abs(score["scale"]).max())


def test_terms_of_the_multivariate_families_contract_the_fields():
    rng = np.random.default_rng(0)
    for p in (expfam.Dirichlet([0.3, 2.0, 1.1]), expfam.Wishart(3.3, [[0.6, 0.2], [0.2, 0.4]])):
        draws = p._draw(np.arange(4, dtype=np.uint64), 0, 100)
        grad = rng.standard_normal(draws.x.shape)
        terms = p._pathwise_terms(draws, grad)
        for key, field in p.transport(draws).items():
            np.testing.assert_allclose(terms[key], np.einsum("ni,ni...->n...", grad, field), rtol=1e-11, atol=1e-12)
        by_rows = p.transport(draws.x)
        for key, field in p.transport(draws).items():
            np.testing.assert_allclose(by_rows[key], field, rtol=1e-7, atol=1e-9)


def test_dirichlet_variance_changes_sign_where_it_should():
    """d Var(x_3)/d alpha of Dirichlet(a, a, 1) vanishes at 1 - 2a - 4a^2 = 0, a = (sqrt 5 - 1)/4."""
    a = (np.sqrt(5.0) - 1.0) / 4.0
    for shape in (0.8 * a, a, 1.25 * a):
        p = expfam.Dirichlet([shape, shape, 1.0])
        draws = p._draw(np.array([9, 9, 9, 9], dtype=np.uint64), 0, 400_000)
        mean = 1.0 / (2 * shape + 1)
        grad = np.zeros_like(draws.x)
        grad[:, 2] = 2 * (draws.x[:, 2] - mean)
        slope = p._pathwise_terms(draws, grad)["concentration"][:, :2].sum(axis=1)
        want = (1 - 2 * shape - 4 * shape**2) / ((1 + shape) ** 2 * (1 + 2 * shape) ** 3)
        assert_unbiased_over_runs(slope, want)


@mp.workdps(40)
def test_large_parameters_keep_their_digits():
    """Differences that lose everything when formed naively, against 40 digits."""
    for a, x in ((1e6, 1.0003e6), (3e4, 2.9e4), (250.0, 240.0)):
        want = mp.mpf(a) * mp.log(mp.mpf(x)) - mp.mpf(x) - mp.loggamma(mp.mpf(a)) - mp.log(mp.mpf(x))
        assert expfam.Gamma(a, 1.0).log_prob([[x]])[0] == pytest.approx(float(want), rel=1e-12)
    assert expfam.Normal(1e8, 1.0).kl(expfam.Normal(1e8 + 1, 1.0)) == pytest.approx(0.5, rel=1e-12)
    kappa = mp.mpf(10) ** 4
    ratio = mp.besseli(1, kappa) / mp.besseli(0, kappa)
    p = expfam.VonMises(0.0, 1e4)
    assert p.fisher()[0, 0, 0] == pytest.approx(float(1 - ratio / kappa - ratio**2), rel=1e-12)
    p = expfam.TruncatedNormal(0.0, 1.0, 700.0, np.inf)
    z = mp.mpf(700)
    mills = mp.sqrt(mp.pi / 2) * mp.erfc(z / mp.sqrt(2)) * mp.exp(z * z / 2)
    assert p.mean_params()[0, 0] - 700 == pytest.approx(float(1 / mills - z), rel=1e-9)
    assert p.score([[700.001]])["loc"][0, 0] == pytest.approx(float(mp.mpf("700.001") - 1 / mills), rel=1e-8)


@pytest.mark.parametrize(
    "bad, error",
    [
        (lambda: expfam.Gamma(-1.0, 1.0), ValueError),
        (lambda: expfam.Gamma(np.nan, 1.0), ValueError),
        (lambda: expfam.Gamma("a", 1.0), TypeError),
        (lambda: expfam.Gamma(1.0), TypeError),
        (lambda: expfam.Gamma([1.0, 2.0], [1.0, 2.0, 3.0]), ValueError),
        (lambda: expfam.Gamma([], 1.0), ValueError),
        (lambda: expfam.Weibull(1.0, 2.0), TypeError),
        (lambda: expfam.Binomial(0.0, n=2.5), ValueError),
        (lambda: expfam.Geometric(1.0), ValueError),
        (lambda: expfam.VonMises(0.0, -1.0), ValueError),
        (lambda: expfam.TruncatedNormal(0.0, 1.0, 2.0, 1.0), ValueError),
        (lambda: expfam.Dirichlet([1.0]), ValueError),
        (lambda: expfam.Wishart(0.9, np.eye(2)), ValueError),
        (lambda: expfam.Wishart(3.0, -np.eye(2)), ValueError),
        (lambda: expfam.Gamma(2.0, 1.0).score([[-1.0]]), ValueError),
        (lambda: expfam.Gamma(2.0, 1.0).score([[1.0, 2.0]]), ValueError),
        (lambda: expfam.Poisson(2.0).score([[0.5]]), ValueError),
        (lambda: expfam.Gamma.from_natural([[-2.0, -1.0]]), ValueError),
        (lambda: expfam.Gamma.from_natural([1.0, 2.0, 3.0]), ValueError),
        (lambda: expfam.Weibull.from_natural([-1.0]), TypeError),
        (lambda: expfam.Dirichlet([1.0, 1.0]).log_prob([[0.5, 0.6]]), ValueError),
    ],
)
def test_errors(bad, error):
    with pytest.raises(error):
        bad()


def test_density_outside_the_support_is_zero():
    assert expfam.Gamma(2.0, 1.0).log_prob([[-1.0]])[0] == -np.inf
    assert expfam.Poisson(2.0).log_prob([[0.5]])[0] == -np.inf
    assert expfam.Beta(2.0, 1.0).log_prob([[1.2]])[0] == -np.inf
    assert expfam.Gamma(1.0, 2.0).log_prob([[0.0]])[0] == pytest.approx(np.log(2.0))
    assert expfam.Beta(1.0, 1.0).log_prob([[0.0]])[0] == 0.0


def test_vectors_are_independent_components():
    p = expfam.Gamma([0.5, 2.0, 7.0], 1.5)
    assert (p.dim, p.natural().shape, p.fisher().shape) == (3, (3, 2), (3, 2, 2))
    x = p.sample(10, rng=0)
    assert x.shape == (10, 3)
    assert p.sufficient(x).shape == (10, 3, 2)
    single = [expfam.Gamma(a, 1.5) for a in (0.5, 2.0, 7.0)]
    np.testing.assert_allclose(p.log_prob(x), sum(q.log_prob(x[:, [j]]) for j, q in enumerate(single)), rtol=1e-13)
    for j, q in enumerate(single):
        np.testing.assert_allclose(p.transport(x)["shape"][:, j], q.transport(x[:, [j]])["shape"][:, 0], rtol=1e-13)
    assert p.entropy() == pytest.approx(sum(q.entropy() for q in single))


def test_documentation_comes_from_the_row():
    text = expfam.Gamma.__doc__
    assert "shape : array_like, positive" in text
    assert "log Gamma(a) - a log b" in text
    assert "pole at the mode" in text
    assert str(expfam.Weibull.__signature__) == "(scale, *, shape)"
