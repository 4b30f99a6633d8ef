"""Estimates go to other processes and files whole: gradients, errors, chain rule and natural gradient."""

import copy
import pickle

import numpy as np
import pytest

import sbpfast as sb


def regression():
    X = np.random.default_rng(0).standard_normal((9, 2))
    return sb.targets.logistic_regression(X, [0, 1, 1] * 3, prior_scale=1.0)


CASES = {
    "full": lambda: sb.Gaussian(np.zeros(2), np.eye(2)),
    "diagonal": lambda: sb.DiagonalGaussian(np.zeros(2), np.ones(2)),
    "gamma": lambda: sb.expfam.Gamma([2.0, 3.0], 1.5),
}


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("estimator", ["price", "stein", "pathwise", "score", "combined", "exact", "auto"])
@pytest.mark.parametrize("case", CASES)
def test_estimates_pickle(case, estimator, copied):
    q = CASES[case]()
    if case == "gamma" and estimator in ("price", "stein", "exact"):
        pytest.skip("not defined")
    est = sb.expectation_grad(regression(), q, estimator=estimator, n_samples=256, rng=0)
    again = copied(est)  # before the errors were asked for
    assert repr(again) == repr(est) and again.estimator == est.estimator and again.n_samples == est.n_samples
    for name, grad in est.grad.items():
        np.testing.assert_array_equal(again.grad[name], grad)
        np.testing.assert_array_equal(again.stderr[name], est.stderr[name])
        np.testing.assert_array_equal(again.natural_grad()[name], est.natural_grad()[name])
    if case == "full":
        jacobian = np.ones((2, 2, 3))
        np.testing.assert_array_equal(again.pullback(cov=jacobian), est.pullback(cov=jacobian))


def test_pickles_do_not_hold_the_target():
    X = np.random.default_rng(0).standard_normal((20_000, 2))
    f = sb.targets.logistic_regression(X, (X[:, 0] > 0).astype(int), prior_scale=1.0)
    est = sb.expectation_grad(f, sb.Gaussian(np.zeros(2), np.eye(2)), estimator="price", n_samples=64, rng=0)
    assert len(pickle.dumps(est)) < 5000
