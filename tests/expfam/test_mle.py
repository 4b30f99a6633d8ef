"""Maximum likelihood: moment equations, weights, chunks, priors, and data for which no maximum exists."""

import numpy as np
import pytest
import scipy.stats as st
from expfam_cases import cases, identifier

import sbpfast as sb
from sbpfast import expfam
from sbpfast._likelihood import CHUNK
from sbpfast.expfam._exponential import ExponentialFamily
from sbpfast.expfam._families._multivariate import MultivariateFamily


def make(name, params):
    return expfam.FAMILIES[name](**params)


def with_fit(name_params):
    return name_params[0] != "TruncatedNormal" or np.isfinite(name_params[1]["low"] + name_params[1]["high"])


FITTED = [c for c in cases(lambda f: issubclass(f, ExponentialFamily | MultivariateFamily)) if with_fit(c)]
fitted = pytest.mark.parametrize("name, params", FITTED, ids=identifier)


def data(name, params, n=4000, seed=0):
    return make(name, params).sample(n, rng=seed)


def known(name, params):
    family = expfam.FAMILIES[name]
    if issubclass(family, ExponentialFamily):
        return {q.name: params[q.name] for q in family._fixed()}
    return {"n_categories": len(params["logits"])} if name == "Categorical" else {}


def fit(name, params, x, **options):
    return expfam.FAMILIES[name].fit(x, **options, **known(name, params))


def values(result):
    q = result.distribution
    return np.concatenate([np.reshape(getattr(q, k), -1) for k in q._names])


def mean_statistics(q, x, weights=None):
    u = q.sufficient(x)
    return np.average(u.reshape(len(x), -1), axis=0, weights=weights)


@fitted
def test_moments_match_at_the_maximum(name, params):
    x = data(name, params)
    result = fit(name, params, x)
    q = result.distribution
    m = mean_statistics(q, x)
    np.testing.assert_allclose(np.reshape(q.mean_params(), -1), m, rtol=1e-10, atol=1e-10)
    assert result.converged
    assert 0.0 <= result.duality_gap < 1e-12
    assert result.log_likelihood == pytest.approx(q.log_prob(x).sum(), rel=1e-10, abs=1e-8)
    # the truth is within sampling error: twice the log-likelihood ratio is about chi-square
    excess = 2 * (result.log_likelihood - make(name, params).log_prob(x).sum())
    assert 0 <= excess < st.chi2.isf(1e-6, q.fisher().shape[-1])


@fitted
def test_no_neighbour_is_likelier(name, params):
    x = data(name, params, 500)
    result = fit(name, params, x)
    q = result.distribution
    eta, constants = q.natural(), known(name, params) if name != "Categorical" else {}
    rng = np.random.default_rng(1)
    for _ in range(6):
        step = 1e-3 * rng.standard_normal(eta.shape) * np.minimum(1.0, np.abs(eta) + 0.1)
        assert type(q).from_natural(eta + step, **constants).log_prob(x).sum() < result.log_likelihood


@fitted
def test_weights(name, params):
    """Unit weights change no bit, whole numbers repeat, zeros drop."""
    x = data(name, params, 600)
    plain = values(fit(name, params, x))
    np.testing.assert_array_equal(values(fit(name, params, x, weights=np.ones(len(x)))), plain)
    w = np.random.default_rng(0).integers(0, 4, len(x))
    weighted = fit(name, params, x, weights=w)
    repeated = fit(name, params, np.repeat(x, w, axis=0))
    np.testing.assert_allclose(values(weighted), values(repeated), rtol=1e-9, atol=1e-11)
    assert weighted.log_likelihood == pytest.approx(repeated.log_likelihood, rel=1e-10, abs=1e-8)
    dropped = fit(name, params, x[w > 0], weights=w[w > 0])
    np.testing.assert_array_equal(values(weighted), values(dropped))


@fitted
def test_chunks_add_up(name, params):
    family, x = expfam.FAMILIES[name], data(name, params, 900)
    parts = [family.statistics(c, **known(name, params)) for c in np.split(x, [1, 130, 700])]
    whole = fit(name, params, x)
    merged = family.fit(parts[0] + parts[1] + (parts[2] + parts[3]))
    np.testing.assert_allclose(values(merged), values(whole), rtol=1e-9, atol=1e-12)
    assert merged.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-10, abs=1e-8)


@fitted
def test_prior_is_pseudo_data(name, params):
    """The maximum a posteriori has the mean statistics (n mean u + nu m0) / (n + nu)."""
    x, m0 = data(name, params, 300), make(name, params).mean_params()
    m0 = m0[0] if m0.ndim == 2 else m0
    result = fit(name, params, x, prior=(40.0, m0))
    q = result.distribution
    want = (300 * mean_statistics(q, x) + 40 * m0) / 340
    np.testing.assert_allclose(np.reshape(q.mean_params(), -1), want, rtol=1e-10, atol=1e-10)
    assert result.log_likelihood == pytest.approx(q.log_prob(x).sum(), rel=1e-10, abs=1e-8)


def test_a_prior_makes_the_maximum_exist():
    p = expfam.Gamma(2.0, 1.0)
    q = expfam.Gamma.fit(np.full((9, 1), 2.0), prior=(3.0, p.mean_params())).distribution
    assert np.isfinite(float(np.squeeze(q.shape)))
    assert expfam.Poisson.fit(np.zeros((5, 1)), prior=(5.0, [[2.0]])).distribution.rate == pytest.approx(1.0)
    with pytest.raises(TypeError, match="pair"):
        expfam.Gamma.fit(np.ones((3, 1)), prior=3.0)
    with pytest.raises(ValueError, match="nu"):
        expfam.Gamma.fit(np.ones((3, 1)), prior=(-1.0, [0.0, 1.0]))


def test_many_chunks_give_what_one_pass_gives():
    x = np.random.default_rng(0).gamma(3.0, 1.0, (3 * CHUNK + 17, 2))
    q = expfam.Gamma.fit(x).distribution
    np.testing.assert_allclose(q.mean_params()[:, 1], x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(q.mean_params()[:, 0], np.log(x).mean(axis=0), rtol=1e-11)
    assert np.shape(expfam.Gamma.fit(x[:, 0]).distribution.shape) == ()


EMPTY = [
    ("Normal", np.full((5, 1), 3.0), {}),
    ("LogNormal", np.full((5, 1), 0.1), {}),
    ("Exponential", np.zeros((4, 1)), {}),
    ("Gamma", np.full((9, 1), 2.0), {}),
    ("Gamma", np.array([[0.0], [1.0]]), {}),
    ("Gamma", np.array([[7.0]]), {}),
    ("InverseGamma", np.full((9, 1), 0.3), {}),
    ("ChiSquare", np.array([[0.0], [1.0]]), {}),
    ("Beta", np.full((9, 1), 0.3), {}),
    ("Beta", np.array([[0.0], [0.5]]), {}),
    ("InverseGaussian", np.full((9, 1), 0.3), {}),
    ("Weibull", np.zeros((3, 1)), {"shape": 1.0}),
    ("Pareto", np.full((3, 1), 2.0), {"minimum": 2.0}),
    ("Laplace", np.full((3, 1), 2.0), {"loc": 2.0}),
    ("HalfNormal", np.zeros((3, 1)), {}),
    ("VonMises", np.full((9, 1), 0.3), {}),
    ("TruncatedNormal", np.full((9, 1), 0.3), {"low": 0.0, "high": 1.0}),
    ("TruncatedNormal", np.array([[0.0], [1.0], [1.0]]), {"low": 0.0, "high": 1.0}),
    ("TruncatedNormal", np.array([[0.01], [0.02], [9.0]]), {"low": 0.0, "high": np.inf}),
    ("ContinuousBernoulli", np.zeros((3, 1)), {}),
    ("Bernoulli", np.ones((3, 1)), {}),
    ("Binomial", np.full((3, 1), 5.0), {"n": 5}),
    ("Poisson", np.zeros((5, 1)), {}),
    ("Geometric", np.zeros((5, 1)), {}),
    ("NegativeBinomial", np.zeros((5, 1)), {"r": 2.0}),
    ("Categorical", np.array([0, 0, 2]), {}),
    ("Dirichlet", np.tile([0.2, 0.3, 0.5], (7, 1)), {}),
    ("Dirichlet", np.array([[0.0, 0.5, 0.5], [0.2, 0.2, 0.6]]), {}),
    ("Wishart", np.tile(np.eye(2), (6, 1, 1)), {}),
]


@pytest.mark.parametrize("name, x, constants", EMPTY, ids=lambda v: v if isinstance(v, str) else "")
def test_the_maximum_does_not_exist(name, x, constants):
    with pytest.raises(sb.MLEDoesNotExist):
        expfam.FAMILIES[name].fit(x, **constants)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("value", [0.1, 2.0, 1e-5, 3e7])
def test_constant_data_in_every_number(n, value):
    """Rounding of the mean must not make a spread out of nothing."""
    for family in (expfam.Normal, expfam.Gamma, expfam.InverseGamma, expfam.LogNormal, expfam.InverseGaussian):
        with pytest.raises(sb.MLEDoesNotExist):
            family.fit(np.full((n, 1), value), weights=np.linspace(0.3, 1.7, n))
    with pytest.raises(sb.MLEDoesNotExist):
        expfam.Dirichlet.fit(np.tile([0.2, 0.3, 0.5], (n, 1)))


def test_bounded_data_that_lean_outwards_have_no_location_and_scale():
    x = np.concatenate([np.linspace(0.0, 0.1, 50), np.linspace(0.9, 1.0, 50)])[:, None]
    with pytest.raises(sb.MLEDoesNotExist, match="eta2"):
        expfam.TruncatedNormal.fit(x, low=0.0, high=1.0)


def test_nearly_constant_data_keep_their_digits():
    """Spread 1e-6 of the mean: the gamma's shape is 1e12, from a gap of 5e-13 that a difference of logarithms loses."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, 1))
    x = 5.0 * (1.0 + 1e-6 * z)
    q = expfam.Gamma.fit(x).distribution
    assert float(q.shape[0]) == pytest.approx(1e12 / z.var(), rel=1e-5)
    q = expfam.InverseGaussian.fit(x).distribution
    assert float(q.mean[0] / q.concentration[0]) == pytest.approx(1e-12 * z.var(), rel=1e-5)
    shift = 1e8 + z
    assert float(expfam.Normal.fit(shift).distribution.std[0]) == pytest.approx(shift.std(), rel=1e-12)


@pytest.mark.parametrize("shape", [1e-3, 0.05, 1.0, 30.0, 1e6])
def test_gamma_and_dirichlet_over_many_orders(shape):
    draws = expfam.Gamma(shape, 2.0).sample(400, rng=1)
    draws = draws[draws[:, 0] > 0]
    result = expfam.Gamma.fit(draws)
    assert result.converged
    assert result.iterations < 30
    target = expfam.Dirichlet(np.array([1.0, 2.0, 0.5]) * min(shape, 1e4))
    again = expfam.Dirichlet.from_mean_params(target.mean_params())
    np.testing.assert_allclose(again.concentration, target.concentration, rtol=1e-7)


def test_bad_data():
    with pytest.raises(ValueError, match="positive"):
        expfam.Gamma.fit([[-1.0], [2.0]])
    with pytest.raises(ValueError, match="weights"):
        expfam.Gamma.fit([[1.0], [2.0]], weights=[1.0, -1.0])
    with pytest.raises(ValueError, match="weights"):
        expfam.Gamma.fit([[1.0], [2.0]], weights=[1.0])
    with pytest.raises(ValueError, match="finite"):
        expfam.Gamma.fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match="observation"):
        expfam.Gamma.fit(np.empty((0, 1)))
    with pytest.raises(ValueError, match="whole"):
        expfam.Poisson.fit([[0.5]])
    with pytest.raises(TypeError, match="minimum"):
        expfam.Pareto.fit([[1.0], [2.0]])
    with pytest.raises(ValueError, match="one family"):
        expfam.Poisson.statistics([[1.0]]) + expfam.Geometric.statistics([[1.0]])


# -- the multivariate Gaussian ----------------------------------------------------------------------------------------


def test_gaussian_fit():
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([1.0, -2.0, 1e6], [[2.0, 0.3, 0.0], [0.3, 1.0, 0.1], [0.0, 0.1, 0.5]], 2000)
    result = expfam.fit_gaussian(x)
    np.testing.assert_allclose(result.mean, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(result.cov, np.cov(x.T, bias=True), rtol=1e-10, atol=1e-12)
    assert result.log_likelihood == pytest.approx(
        st.multivariate_normal(result.mean, result.cov).logpdf(x).sum(), rel=1e-10
    )
    w = rng.integers(0, 3, len(x))
    weighted, repeated = expfam.fit_gaussian(x, weights=w), expfam.fit_gaussian(np.repeat(x, w, axis=0))
    np.testing.assert_allclose(weighted.cov, repeated.cov, rtol=1e-10, atol=1e-10)
    assert weighted.log_likelihood == pytest.approx(repeated.log_likelihood, rel=1e-11)
    np.testing.assert_array_equal(expfam.fit_gaussian(x, weights=np.ones(len(x))).cov, result.cov)
    parts = [expfam.GaussianStatistics.of(c) for c in np.split(x, [500, 501])]
    np.testing.assert_allclose(
        expfam.fit_gaussian(parts[0] + parts[1] + parts[2]).cov, result.cov, rtol=1e-10, atol=1e-10
    )


def test_gaussian_fit_with_a_prior():
    x = np.random.default_rng(0).standard_normal((2, 3))
    m1, m2 = np.zeros(3), np.eye(3)
    result = expfam.fit_gaussian(x, prior=(4.0, (m1, m2)))
    mean = x.sum(axis=0) / 6
    np.testing.assert_allclose(result.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(result.cov, (x.T @ x + 4 * m2) / 6 - np.outer(mean, mean), rtol=1e-12)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((5, 2)),
        np.ones((1, 1)),
        np.full((9, 2), 0.1),
        np.random.default_rng(0).standard_normal((3, 3)),
        np.random.default_rng(0).standard_normal((50, 1)) * np.array([[1.0, 2.0]]),
        np.column_stack([np.random.default_rng(0).standard_normal(50), np.full(50, 0.1)]),
    ],
)
def test_gaussian_on_a_hyperplane_has_no_maximum(x):
    with pytest.raises(sb.MLEDoesNotExist, match="singular"):
        expfam.fit_gaussian(x)
