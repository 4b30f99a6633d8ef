"""What "auto" takes depends on the draws alone, not on how long anything took."""

import time

import numpy as np
import pytest

import sbpfast as sb


def tanh(d, wait=0.0):
    def grad(x):
        time.sleep(wait)
        return 1.0 / np.cosh(x) ** 2

    return sb.Target(value=lambda x: np.tanh(x).sum(axis=1), grad=grad, dim=d)


@pytest.mark.parametrize("sampling", ["mc", "antithetic", "sobol"])
def test_a_seed_fixes_the_choice(sampling):
    q = sb.DiagonalGaussian(np.zeros(3), np.ones(3))
    ests = [sb.expectation_grad(tanh(3, wait), q, sampling=sampling, rng=0) for wait in (0.0, 0.002) for _ in range(4)]
    assert len({(e.estimator, e.grad["mean"].tobytes(), e.stderr["std"].tobytes()) for e in ests}) == 1


def test_the_choice_weighs_variance_against_counted_work():
    """Of a linear f the control variate leaves nothing; of a rough one the value is worth more than its slope."""
    q = sb.DiagonalGaussian(np.zeros(2), np.ones(2))
    linear = sb.Target(value=lambda x: x.sum(axis=1), grad=np.ones_like, dim=2)
    assert sb.expectation_grad(linear, q, rng=0).estimator == "stein"
    rough = sb.Target(value=lambda x: np.sin(40.0 * x).sum(axis=1), grad=lambda x: 40.0 * np.cos(40.0 * x), dim=2)
    assert sb.expectation_grad(rough, q, rng=0).estimator == "score"


def test_families_choose_too():
    q = sb.expfam.Gamma([2.0, 3.0], [1.0, 1.0])
    rough = sb.Target(value=lambda x: np.sin(40.0 * x).sum(axis=1), grad=lambda x: 40.0 * np.cos(40.0 * x), dim=2)
    smooth = sb.Target(value=lambda x: (x**2).sum(axis=1), grad=lambda x: 2.0 * x, dim=2)
    assert sb.expectation_grad(rough, q, rng=0).estimator == "score"
    assert sb.expectation_grad(smooth, q, rng=0).estimator == "pathwise"


def test_pilots_are_not_the_draws_of_the_run():
    seen = []

    def value(x):
        seen.append(x)
        return np.sin(x).sum(axis=1)

    q = sb.DiagonalGaussian(np.zeros(2), np.ones(2))
    sb.expectation_grad(sb.Target(value=value, dim=2), q, estimator="score", n_samples=4096, rng=0)
    run = {x.tobytes() for x in np.concatenate(seen)}
    seen.clear()
    f = sb.Target(value=value, grad=np.cos, dim=2)
    sb.expectation_grad(f, q, n_samples=4096, rng=0)
    shared = [np.mean([x.tobytes() in run for x in block]) for block in seen]
    assert shared[0] == 0 and shared[-1] == 1
