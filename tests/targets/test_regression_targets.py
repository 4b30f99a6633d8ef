"""Regressions are log joint densities, with every constant."""

import numpy as np
import pytest
import scipy.sparse
import scipy.special
import scipy.stats
from target_cases import (
    OFFSET,
    POINTS,
    PRIOR_MEAN,
    REGRESSIONS,
    WEIGHTS,
    D,
    X,
)

import sbpfast as sb

PRIORS = {
    "scalar": 1.7,
    "vector": np.array([0.5, 1.0, 2.0, 9.0]),
    "partly flat": np.array([0.5, np.inf, 2.0, np.inf]),
    "flat": np.inf,
}


def log_prior(x, scale, mean):
    scale = np.broadcast_to(scale, D)
    proper = np.isfinite(scale)
    return scipy.stats.norm.logpdf(x[:, proper], np.broadcast_to(mean, D)[proper], scale[proper]).sum(axis=1)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", REGRESSIONS)
def test_regressions_are_log_joint_densities(name, prior):
    make, log_likelihood = REGRESSIONS[name]
    for options in (
        {},
        {"offset": OFFSET, "weights": WEIGHTS, "prior_mean": PRIOR_MEAN},
        {"offset": 0.4, "prior_mean": -0.3},
    ):
        f = make(prior_scale=PRIORS[prior], **options)
        t = POINTS @ X.T + options.get("offset", 0.0)
        want = (np.array([log_likelihood(row) for row in t]) * options.get("weights", 1.0)).sum(axis=1)
        want += log_prior(POINTS, PRIORS[prior], options.get("prior_mean", 0.0))
        assert f.dim == D
        np.testing.assert_allclose(f.value(POINTS), want, rtol=1e-12)


def test_the_normalising_constant_by_integration():
    """exp(f) over all data sums to the prior: nothing is missing from a likelihood."""
    x, scale = np.array([[0.7]]), 1.3
    prior = scipy.stats.norm.pdf(0.7, 0, scale)
    design = np.array([[1.2]])
    poisson = sum(np.exp(sb.targets.poisson_regression(design, [y], prior_scale=scale).value(x)[0]) for y in range(80))
    binomial = sum(
        np.exp(sb.targets.logistic_regression(design, [y], trials=[7], prior_scale=scale).value(x)[0]) for y in range(8)
    )
    bernoulli = sum(np.exp(sb.targets.probit_regression(design, [y], prior_scale=scale).value(x)[0]) for y in (0, 1))
    np.testing.assert_allclose([poisson, binomial, bernoulli], prior, rtol=1e-12)
    grid = np.linspace(-4000, 4000, 800_001)
    student = np.exp(
        sb.targets.student_t_regression(
            np.full((1, 1), 1.2), [0.0], df=3.0, scale=0.5, prior_scale=scale, offset=0.0
        ).value(x)
    )
    assert student[0] == pytest.approx(prior * scipy.stats.t.pdf(0.0, 3.0, loc=0.84, scale=0.5), rel=1e-12)
    assert np.trapezoid(scipy.stats.t.pdf(grid, 3.0, loc=0.84, scale=0.5), grid) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("size", [5e-324, 1e-170, 1e200, 1e308])
def test_scales_whose_squares_are_no_doubles_are_refused(size):
    one, y = np.ones((3, 1)), np.ones(3)
    for name, call in {
        "noise_scale": lambda: sb.targets.linear_regression(one, y, noise_scale=size, prior_scale=1.0),
        "prior_scale": lambda: sb.targets.logistic_regression(one, y, prior_scale=size),
        "scale": lambda: sb.targets.student_t_regression(one, y, df=3.0, scale=size, prior_scale=1.0),
        "df": lambda: sb.targets.student_t_regression(one, y, df=size, scale=1.0, prior_scale=1.0),
        "dispersion": lambda: sb.targets.negative_binomial_regression(one, y, dispersion=size, prior_scale=1.0),
    }.items():
        with pytest.raises(ValueError, match=f"{name} must lie between 1e-150 and 1e150"):
            call()


def test_constants_keep_their_digits_for_large_parameters():
    one, y = np.ones((2, 1)), np.array([0.0, 3.0])
    t = 0.4
    far = sb.targets.negative_binomial_regression(one, y, dispersion=1e12, prior_scale=np.inf).value([[t]])[0]
    assert far == pytest.approx(scipy.stats.poisson.logpmf(y, np.exp(t)).sum(), rel=1e-9)
    far = sb.targets.student_t_regression(one, y, df=1e12, scale=1.0, prior_scale=np.inf).value([[t]])[0]
    assert far == pytest.approx(scipy.stats.norm.logpdf(y, t).sum(), rel=1e-9)
