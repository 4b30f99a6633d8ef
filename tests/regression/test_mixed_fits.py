"""Fits at given scales, their free gradients, and the search over scales, against independent oracles."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy
from mixed_cases import KINDS, Case, log_density

import sbpfast as sb
from sbpfast.fitting._mixed import by_group
from sbpfast.fitting._mixed_evidence import judged
from sbpfast.fitting._mixed_integrate import RADIUS, WALSH, corners, integrated, is_resolution_five
from sbpfast.fitting._mixed_posterior import Component, MixedPosterior
from sbpfast.fitting._mixed_scales import TOL, maximise, standard_deviations

SHAPES = {
    "one group": {},
    "slopes": {"slopes": (1,)},
    "crossed": {"sizes": (7, 4), "slopes": (0, 0)},
    "crossed slopes": {"sizes": (4, 6, 3), "slopes": (1, 2, 0), "n": 90},
}


def conditional(case, theta=None):
    profile = case.profile()
    theta = case.theta() if theta is None else theta
    profile.begin(theta, np.zeros(2))
    profile(theta, 1e-13)
    return profile


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", KINDS)
def test_the_arrow_is_the_dense_fit(family, shape):
    case = Case(family, **SHAPES[shape])
    here, dense = conditional(case).here, case.dense_fit(case.factors())
    cov, mean = dense.q.cov, dense.q.mean
    assert here.elbo == pytest.approx(dense.elbo, abs=1e-7)
    np.testing.assert_allclose(here.mean.fixed, mean[:2], atol=2e-5)
    np.testing.assert_allclose(here.arrow.fixed_cov, cov[:2, :2], rtol=2e-4, atol=1e-5)
    start = 2
    for group, v, covs in zip(case.groups, by_group(here.model.rows.shape, here.mean), here.arrow.covariances()):
        at = start + np.arange(v.size).reshape(v.shape)
        np.testing.assert_allclose(v, mean[at], atol=3e-5)
        np.testing.assert_allclose(covs, cov[at[:, :, None], at[:, None, :]], rtol=2e-4, atol=1e-5)
        start += v.size
        assert v.shape == (group.n_levels, group.width)
    a = case.dense(case.factors())
    np.testing.assert_allclose(here.m, a @ mean + case.offset, atol=1e-4)
    np.testing.assert_allclose(here.t, np.sqrt(np.einsum("ij,jk,ik->i", a, cov, a)), rtol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_models_have_their_exact_marginal_likelihood(shape):
    case = Case("linear", **SHAPES[shape])
    case.weights = np.ones(len(case.y))
    here, a = conditional(case).here, case.dense(case.factors())
    prior = np.ones(a.shape[1])
    prior[:2] = 4.0
    cov = (a * prior) @ a.T + case.values[0] ** 2 * np.eye(len(a))
    assert here.elbo == pytest.approx(scipy.stats.multivariate_normal.logpdf(case.y, case.offset, cov), rel=1e-10)


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize(
    "family, shape", [*((f, "one group") for f in KINDS), ("poisson", "crossed slopes"), ("linear", "slopes")]
)
def test_gradients_by_the_scales_are_those_of_differences(family, shape, density):
    case = Case(family, **SHAPES[shape])
    profile, theta = case.profile(density), case.theta()
    profile.begin(theta, np.zeros(2))
    _, gradient = profile(theta, 1e-14)
    numeric = []
    for i in range(len(theta)):
        step = 1e-3 * (np.arange(len(theta)) == i)
        numeric.append((profile(theta + step, 1e-14)[0] - profile(theta - step, 1e-14)[0]) / 2e-3)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=2e-4)


def brute_force(case, theta, nodes=41, wide=5.0, n=13):
    """log p(y | theta) of one group of intercepts by trapezoids over the fixed effects and every level."""
    z = np.linspace(-6.5, 6.5, nodes)
    logs = np.log(z[1] - z[0]) + scipy.stats.norm.logpdf(z)
    scale = np.exp(theta[0])
    here = conditional(case, theta).here
    factor = np.linalg.cholesky(here.arrow.fixed_cov)
    grid = np.array(list(itertools.product(np.linspace(-wide, wide, n), repeat=2)))
    fixed = here.mean.fixed + grid @ factor.T
    total = np.full(len(fixed), 0.0)
    for level in range(case.groups[0].n_levels):
        rows = case.groups[0].index == level
        eta = fixed @ case.X[rows].T + case.offset[rows]
        terms = log_density(case.family, case.y[rows], eta[:, None] + scale * z[:, None], np.exp(theta[1:]))
        total += scipy.special.logsumexp((case.weights[rows] * terms).sum(axis=2) + logs, axis=1)
    total += scipy.stats.norm.logpdf(fixed, 0.0, 2.0).sum(axis=1)
    return (
        scipy.special.logsumexp(total) + 2.0 * np.log(2.0 * wide / (n - 1)) + np.log(np.abs(np.diagonal(factor))).sum()
    )


def at_given_scales(profile):
    here, theta = profile.here, profile.theta_
    component = Component(1.0, theta, here.elbo, here.mean, here.arrow.kept())
    return MixedPosterior(profile.layout, [component], here.elbo)


@pytest.mark.parametrize("family", KINDS)
def test_the_evidence_is_that_of_quadrature(family):
    case = Case(family, n=40)
    theta = case.theta()
    profile = conditional(case, theta)
    profile.theta_ = theta
    judgement = judged(profile.model, at_given_scales(profile))
    exact = brute_force(case, theta, nodes=101)
    assert judgement.log_evidence == pytest.approx(exact, abs=5.0 * judgement.log_evidence_stderr + 1e-6)
    assert judgement.log_evidence_stderr < 0.05
    assert profile.here.elbo < exact + 1e-6


def test_the_evidence_of_crossed_groups_is_that_of_quadrature_over_the_other():
    """Two levels of the other group and none but them and a slope in the border: three dimensions."""
    case = Case("logistic", sizes=(6, 2), slopes=(0, 0), n=40)
    theta, profile = case.theta(), conditional(case)
    profile.theta_ = theta
    judgement = judged(profile.model, at_given_scales(profile))
    z = np.linspace(-4.0, 4.0, 13)
    one, total = Case("logistic", n=40), []
    one.X, one.y, one.weights, one.groups = case.X, case.y, case.weights, [case.groups[0]]
    for pair in itertools.product(z, repeat=2):
        one.offset = case.offset + np.exp(theta[1]) * np.array(pair)[case.groups[1].index]
        total.append(brute_force(one, theta[:1], nodes=27) + scipy.stats.norm.logpdf(pair).sum())
    exact = scipy.special.logsumexp(total) + 2.0 * np.log(z[1] - z[0])
    assert judgement.log_evidence == pytest.approx(exact, abs=5.0 * judgement.log_evidence_stderr + 1e-4)


@pytest.mark.parametrize("family", ["logistic", "poisson"])
def test_the_best_scale_is_near_that_of_the_exact_likelihood(family):
    case = Case(family, sizes=(12,), n=96)
    profile = case.profile(scale_prior=np.inf)
    profile.begin(profile.layout.start(), np.zeros(2))
    found = maximise(profile, profile.layout.start())
    grid = found.theta[0] + np.linspace(-0.3, 0.3, 7)
    exact = [brute_force(case, np.array([at]), nodes=31) for at in grid]
    fine = np.linspace(grid[0], grid[-1], 2001)
    best = fine[np.argmax(scipy.interpolate.CubicSpline(grid, exact)(fine))]
    assert found.converged
    assert found.theta[0] == pytest.approx(best, abs=0.06)


def mixture(case):
    """The profile of a case, and the posterior of its scale: points with what is kept of their fits, and the total."""
    profile = case.profile(density=True)
    profile.begin(profile.layout.start(), np.zeros(2))
    points, total = integrated(
        profile, maximise(profile, profile.layout.start()), lambda fit: (fit.mean, fit.arrow.kept())
    )
    return profile, points, total


def test_the_mixture_is_the_posterior_of_the_scale():
    case = Case("logistic", sizes=(8,), n=64)
    profile, points, total = mixture(case)
    weights = np.exp([p.log_weight for p in points])
    sd = np.exp([p.theta[0] for p in points])
    grid = np.linspace(-7.0, 1.8, 45)
    exact = np.array([brute_force(case, np.array([at]), nodes=31) for at in grid])
    exact += scipy.stats.halfnorm.logpdf(np.exp(grid)) + grid
    log_evidence = scipy.special.logsumexp(exact) + np.log(grid[1] - grid[0])
    p = np.exp(exact - scipy.special.logsumexp(exact))
    mean = p @ np.exp(grid)
    spread = np.sqrt(p @ (np.exp(grid) - mean) ** 2)
    assert total == pytest.approx(log_evidence, abs=0.15)
    assert weights @ sd == pytest.approx(mean, abs=0.1 * spread)
    assert np.sqrt(weights @ (sd - weights @ sd) ** 2) == pytest.approx(spread, rel=0.1)
    posterior = MixedPosterior(
        profile.layout, [Component(np.exp(p.log_weight), p.theta, p.elbo, *p.fit) for p in points], total
    )
    ends = np.interp([0.025, 0.975], np.cumsum(p) - 0.5 * p, np.exp(grid))
    np.testing.assert_allclose(posterior.interval(sd, 0.95), ends, atol=0.2 * spread)


def test_exact_integrals_over_the_scales_of_a_linear_model():
    """Two outer parameters on a grid against a fine grid of the exact marginal likelihood."""
    case = Case("linear", sizes=(8,), n=48)
    case.weights[:] = 1.0
    profile = case.profile(density=True)
    profile.begin(profile.layout.start(), np.zeros(2))
    _, total = integrated(profile, maximise(profile, profile.layout.start()), lambda fit: fit.mean.fixed)
    axes = np.linspace(-4.0, 1.5, 56), np.linspace(-0.8, 0.4, 31)
    values = []
    for theta in itertools.product(*axes):
        a = case.dense([np.exp([[theta[0]]])])
        prior = np.ones(a.shape[1])
        prior[:2] = 4.0
        cov = (a * prior) @ a.T + np.exp(2.0 * theta[1]) * np.eye(len(a))
        log_p = scipy.stats.multivariate_normal.logpdf(case.y, case.offset, cov)
        values.append(log_p + profile.layout.log_prior(np.array(theta), True)[0])
    exact = scipy.special.logsumexp(values) + np.log((axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0]))
    assert total == pytest.approx(exact, abs=0.02)


def test_priors_of_scales_and_correlations_integrate_to_one():
    layout = Case("poisson", slopes=(1,)).layout(scale_prior=0.7)
    log_scale, log_off = np.linspace(-12.0, 2.5, 88), np.linspace(-12.0, 2.0, 85)
    density = lambda *theta: np.exp(layout.log_prior(np.array(theta), True)[0])
    first = sum(density(s, 0.0, 0.0) for s in log_scale) / density(0.0, 0.0, 0.0)
    rest = sum(2.0 * np.exp(a) * density(0.0, np.exp(a), c) for a in log_off for c in log_scale)
    cell = (log_off[1] - log_off[0]) * (log_scale[1] - log_scale[0]) ** 2
    assert first * rest * cell == pytest.approx(1.0, abs=0.01)


def test_a_scale_of_no_effect_is_zero():
    case = Case("logistic", sizes=(10,), n=400)
    r = np.random.default_rng(4)
    case.groups[0] = replace(case.groups[0], index=np.arange(400) % 10)
    case.weights[:] = 1.0
    case.y = np.tile(np.repeat([0.0, 1.0], 10), 20)  # the levels do not differ at all
    case.X[:, 0] = r.standard_normal(400)
    profile = case.profile(scale_prior=np.inf)
    profile.begin(profile.layout.start(), np.zeros(2))
    found = maximise(profile, profile.layout.start())
    assert found.converged and found.zero == (0,)


def test_designs():
    assert all(is_resolution_five(WALSH[:n]) for n in range(4, len(WALSH) + 1))
    for dim in (4, 5, 7):
        signs = corners(dim)
        np.testing.assert_allclose(signs.T @ signs / len(signs), np.eye(dim), atol=1e-12)
    assert RADIUS > 1.0


def test_standard_deviations_and_correlations():
    factor = np.array([[2.0, 0.0], [1.5, 2.0]])
    sd, corr = standard_deviations(factor)
    np.testing.assert_allclose(sd, [2.0, 2.5])
    np.testing.assert_allclose(corr, [[1.0, 0.6], [0.6, 1.0]])


def test_tolerances_are_met():
    """A fit that goes on from the answer changes it by less than its tolerance says."""
    case = Case("poisson")
    profile = conditional(case)
    again = profile.model.fitted(profile.here, TOL)
    assert again is profile.here


def test_quantiles_of_fixed_effects_are_those_of_the_mixture():
    case = Case("logistic", sizes=(8,), n=64)
    profile, points, total = mixture(case)
    found = [Component(np.exp(p.log_weight), p.theta, p.elbo, *p.fit) for p in points]
    posterior = MixedPosterior(profile.layout, found, total)
    for p in (0.025, 0.5, 0.9):
        x, below = posterior.fixed_quantiles(p), 0.0
        for c in found:
            below += c.weight * scipy.stats.norm.cdf(x, c.mean.fixed, np.sqrt(np.diagonal(c.arrow.fixed_cov)))
        np.testing.assert_allclose(below, p, rtol=1e-9)
    drawn = posterior.draw(40_000, np.random.default_rng(0))[1].fixed
    share, error = (drawn > 0.3).mean(axis=0), 0.5 / np.sqrt(40_000)
    np.testing.assert_allclose(share, posterior.fixed_above(0.3), atol=4.0 * error)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The mixture of Gaussians is a poor approximation:sbpfast.FitWarning")
def test_intervals_of_small_groups_cover_at_their_rate():
    """Parameters and data drawn from the model, so that 95 % of the intervals hold the truth: a binomial test."""
    covered, repeats = [], 100
    for seed in range(repeats):
        r = np.random.default_rng([seed, 7])
        index = np.repeat(np.arange(50), r.integers(3, 6, 50))
        x, sd, truth = r.standard_normal((len(index), 1)), abs(r.standard_normal()), r.standard_normal(2)
        eta = x[:, 0] * truth[0] + truth[1] + sd * r.standard_normal(50)[index]
        y = r.random(len(index)) < scipy.special.expit(eta)
        m = sb.BayesianMixedRegression(prior_scale=1.0, intercept_prior_scale=1.0, autoscale=False)
        fixed, scale = m.fit(x, y, {"g": index}).summary().fixed, m.scales_["g"]
        inside = (fixed["low"] <= truth[::-1]) & (truth[::-1] <= fixed["high"])
        covered.append([scale.low <= sd <= scale.high, *inside])
    for hits in np.sum(covered, axis=0):
        assert scipy.stats.binomtest(int(hits), repeats, 0.95).pvalue > 1e-3, hits / repeats
