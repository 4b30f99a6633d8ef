"""Samplers of the Boltzmann machine: chains that start in P stay in it, and reach all of it."""

import numpy as np
import pytest
from rbm_cases import assert_moments, machine
from statistics_helpers import assert_unbiased

import sbpfast as sb
from sbpfast import _streams
from sbpfast.rbm import _partition, _sampling
from sbpfast.rbm._draws import Draws


@pytest.mark.parametrize("method", ["gibbs", "gibbs-langevin", "tempering", "parallel-tempering"])
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_samplers_do_not_drift(method, scale):
    rbm = machine(3, 5, seed=7, scale=scale)
    m = rbm.moments()
    start = rbm.sample(20_000, method="exact", rng=3)
    assert_moments(start, m.mean, m.cov)
    for steps in (1, 4):
        x = rbm.sample(20_000, method=method, n_steps=steps, start=start, n_temperatures=5, rng=steps)
        assert_moments(x, m.mean, m.cov)
        assert not np.array_equal(x, start)


def test_tempered_models_are_the_path():
    """Every point of the path is a GB-RBM: F differs from the path's energy by a constant."""
    draws = Draws(_streams.stream_key(1))
    path = _partition.pilot_path(machine(3, 4)._model(), draws)
    v = np.random.default_rng(0).standard_normal((6, 3))
    for beta in (0.0, 0.3, 1.0):
        rung = _sampling.tempered_model(path, beta)
        t = v @ path.factor
        energy = (1 - beta) * 0.5 * (((v - path.mean) / path.std) ** 2).sum(1) - path.linked(t, beta, draws)
        energy += beta * 0.5 * (((v - path.model.visible_bias) / path.model.sigma) ** 2).sum(1)
        gap = rung.free_energy(v, 1) - energy
        np.testing.assert_allclose(gap, gap[0], rtol=0, atol=1e-11)


def test_tempering_crosses_gaps_that_gibbs_does_not():
    """Two modes 12 sigma apart, all chains started in one: half of them belong in the other."""
    w = np.array([[12.0]])
    rbm = sb.GaussianBernoulliRBM.from_params(w, np.array([-6.0]), np.array([0.0]), np.array([1.0]))
    assert rbm.moments().hidden_mean[0] == pytest.approx(0.5)
    start = np.full((2000, 1), -6.0)
    gibbs = rbm.sample(2000, method="gibbs", n_steps=30, start=start, rng=0)
    jumps = rbm.sample(2000, method="tempering", n_steps=30, start=start, rng=0)
    assert (gibbs > 0).mean() < 0.01
    assert_unbiased((jumps > 0).mean(), 0.5, 0.5 / np.sqrt(2000), freedom=np.inf)


def test_samples_do_not_depend_on_the_number_of_threads():
    outputs = []
    for threads in (1, 2, 5):
        rbm = machine(40, 30).set_params(n_threads=threads)
        outputs.append([rbm.sample(300, method=m, n_steps=2, rng=4) for m in ("gibbs", "gibbs-langevin", "tempering")])
    for other in outputs[1:]:
        for x, y in zip(outputs[0], other):
            np.testing.assert_array_equal(x, y)


def test_same_rng_same_sample():
    rbm = machine(3, 4)
    a, b = (rbm.sample(10, n_steps=3, rng=np.random.SeedSequence(1)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, rbm.sample(10, n_steps=3, rng=2))


def test_visible_noise_is_drawn():
    """A machine without weights samples N(b, sigma^2), noise and all (another implementation drew none)."""
    rbm = machine(3, 2, scale=0.0)
    x = rbm.sample(20_000, method="gibbs", n_steps=2, rng=0)
    assert_moments(x, rbm.visible_bias_, np.diag(rbm.sigma_**2))
