"""Price is held against the first order: Hessians that do not see kinks are left out, and the user is told."""

import warnings

import numpy as np
import pytest
from statistics_helpers import assert_unbiased

import sbpfast as sb

TRUTH = 1.0 / np.sqrt(8.0 * np.pi)  # d/dvar E[relu(x)], x ~ N(0, var), at 1: half the density of x at the kink


def relu(d, hess=True):
    return sb.Target(
        value=lambda x: np.maximum(x, 0.0).sum(axis=1),
        grad=lambda x: (x > 0.0).astype(float),
        hess=(lambda x: np.zeros((len(x), d, d))) if hess else None,
        dim=d,
    )


def smooth(d):
    return sb.Target(
        value=lambda x: np.sin(x).sum(axis=1),
        grad=np.cos,
        hess=lambda x: -np.sin(x)[:, :, None] * np.eye(d),
        dim=d,
    )


@pytest.mark.parametrize("sampling", ["mc", "antithetic", "sobol"])
@pytest.mark.parametrize("estimator", ["auto", "combined"])
def test_kinks_are_found_out(estimator, sampling):
    q = sb.Gaussian(np.zeros(2), np.eye(2))
    with pytest.warns(sb.EstimateWarning, match="Hessian contradicts its gradient") as caught:
        est = sb.expectation_grad(relu(2), q, estimator=estimator, sampling=sampling, n_samples=20_000, rng=0)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert est.estimator != "price"
    assert_unbiased(np.diag(est.grad["cov"]), TRUTH, np.diag(est.stderr["cov"]), 15)
    assert (np.diag(est.stderr["cov"]) > 0).all() and abs(est.grad["cov"][0, 0] - TRUTH) < 0.02


def test_kinks_are_found_out_in_runs_too_short_for_a_pilot():
    with pytest.warns(sb.EstimateWarning):
        est = sb.expectation_grad(relu(2), sb.DiagonalGaussian(np.zeros(2), np.ones(2)), n_samples=512, rng=1)
    assert est.estimator == "stein"
    assert_unbiased(est.grad["std"], 2.0 * TRUTH, est.stderr["std"])


@pytest.mark.parametrize("structure", ["full", "diagonal", "low rank"])
def test_smooth_functions_are_not_suspected(structure):
    d = 3
    q = {
        "full": lambda: sb.Gaussian(np.zeros(d), np.eye(d)),
        "diagonal": lambda: sb.DiagonalGaussian(np.zeros(d), np.ones(d)),
        "low rank": lambda: sb.LowRankGaussian(np.zeros(d), np.ones(d), np.ones((d, 1))),
    }[structure]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(40):
            for sampling in ("mc", "antithetic", "sobol"):
                for estimator in ("auto", "combined"):
                    sb.expectation_grad(smooth(d), q, estimator=estimator, sampling=sampling, n_samples=600, rng=seed)


def test_hessians_in_single_precision_are_not_suspected():
    f = smooth(2)
    single = sb.Target(value=f.value, grad=f.grad, hess=lambda x: f.hess(x).astype(np.float32), dim=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = sb.expectation_grad(single, sb.Gaussian(np.zeros(2), np.eye(2)), n_samples=2**16, sampling="sobol", rng=0)
    assert est.estimator == "price"


def test_price_by_name_is_the_users_own_choice():
    est = sb.expectation_grad(relu(2), sb.Gaussian(np.zeros(2), np.eye(2)), estimator="price", n_samples=100, rng=0)
    assert not est.grad["cov"].any()
