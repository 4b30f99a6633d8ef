"""Standard errors are what they say: calibrated over runs, upper bounds for Sobol points, those of the textbook."""

import numpy as np
import pytest
import scipy.stats
from estimate_cases import ESTIMATORS, SAMPLINGS, freedom, separable, smooth
from gaussian_cases import STRUCTURES, case
from statistics_helpers import MC_FREEDOM, assert_calibrated, assert_unbiased_over_runs

import sbpfast as sb


def calibration(estimator, sampling, n, runs, slack, q=None):
    q, _, mean, cov = case("full", 2, 0) if q is None else q
    f, expectation = smooth(2)
    value, g, big_g = expectation(mean, cov)
    ests = [
        sb.expectation_grad(f, q, estimator=estimator, sampling=sampling, n_samples=n, rng=1000 + i)
        for i in range(runs)
    ]
    free = freedom(sampling)
    assert_calibrated([e.value for e in ests], [e.stderr["value"] for e in ests], value, free, slack)
    flat = [np.concatenate([e.grad["mean"], e.grad["cov"][[0, 0, 1], [0, 1, 1]]]) for e in ests]
    errors = [np.concatenate([e.stderr["mean"], e.stderr["cov"][[0, 0, 1], [0, 1, 1]]]) for e in ests]
    assert_calibrated(flat, errors, np.concatenate([g, big_g[[0, 0, 1], [0, 1, 1]]]), free, slack)


@pytest.mark.parametrize("sampling", ["mc", "antithetic"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_standard_errors_are_calibrated(estimator, sampling):
    calibration(estimator, sampling, 1024, 300, 0.1)


@pytest.mark.parametrize("estimator", ["price", "pathwise", "score", "combined"])
def test_standard_errors_of_sobol_points_are_upper_bounds(estimator):
    """The ends of the replicates are stratified, which their spread does not show."""
    q, _, mean, cov = case("full", 2, 0)
    f, expectation = smooth(2)
    exact = expectation(mean, cov)[2][[0, 0, 1], [0, 1, 1]]
    ests = [
        sb.expectation_grad(f, q, estimator=estimator, sampling="sobol", n_samples=512, rng=1000 + i)
        for i in range(120)
    ]
    z = np.array([((e.grad["cov"] - expectation(mean, cov)[2]) / e.stderr["cov"])[[0, 0, 1], [0, 1, 1]] for e in ests])
    assert_unbiased_over_runs([e.grad["cov"][[0, 0, 1], [0, 1, 1]] for e in ests], exact)
    spread = (z**2).mean(axis=0)
    assert (spread < scipy.stats.chi2.isf(1e-6, 120) / 120 * 15 / 13).all() and (spread > 0.1).all(), spread
    assert np.mean(np.abs(z) > 3) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["mc", "antithetic"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_standard_errors_over_twenty_thousand_runs(estimator, sampling):
    """Two thousand of each pair."""
    calibration(estimator, sampling, 4096, 2000, 0.05)


def test_ridge_errors_are_those_of_the_general_target():
    """The fused kernel replays its draws for the errors; they must be what the plain estimator reports."""
    r = np.random.default_rng(3)
    ridge = sb.targets.logistic_regression(r.standard_normal((30, 4)), r.integers(0, 2, 30), prior_scale=1.5)
    plain = sb.Target(value=ridge.value, grad=ridge.grad, hess=ridge.hess, dim=4)
    for structure in STRUCTURES:
        q = case(structure, 4, 2)[0]
        for sampling in SAMPLINGS:
            for n in (5, 64, 333, 3000):
                options = {"estimator": "price", "n_samples": n, "sampling": sampling, "rng": 6}
                one, two = sb.expectation_grad(ridge, q, **options), sb.expectation_grad(plain, q, **options)
                assert one.stderr["value"] == pytest.approx(two.stderr["value"], rel=1e-8)
                for name in one.grad:
                    scale = np.abs(two.stderr[name]).max()
                    np.testing.assert_allclose(one.stderr[name], two.stderr[name], rtol=1e-6, atol=1e-9 * scale)
                    np.testing.assert_allclose(one.grad[name], two.grad[name], rtol=1e-9, atol=1e-11)


def test_the_error_of_a_mean_is_the_textbook_one():
    """Many draws of one group each: sd / sqrt(n), here to the accuracy of 64 groups or more."""
    q, n = sb.DiagonalGaussian([0.4], [1.3]), 60_000
    f = separable(1, True)
    x = 0.4 + 1.3 * np.random.default_rng(0).standard_normal(1_000_000)
    est = sb.expectation_grad(f, q, estimator="price", n_samples=n, rng=0)
    within = scipy.stats.chi2.ppf([1e-6, 1 - 1e-6], MC_FREEDOM) / MC_FREEDOM
    for error, sample in (
        (est.stderr["value"], np.sin(x)),
        (est.stderr["mean"][0], np.cos(x)),
        (est.stderr["std"][0], -1.3 * np.sin(x)),
    ):
        assert within[0] <= error**2 * n / sample.var() <= within[1]
