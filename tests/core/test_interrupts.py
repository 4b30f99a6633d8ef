"""Ctrl-C is answered in the middle of long kernels, and where they are cut changes no bit of a result."""

import numpy as np
import pytest

import sbpfast as sb
from sbpfast import _core
from sbpfast._reference import ridge
from sbpfast.gaussian._precision_rows import low_rank_moments, low_rank_sample

SECONDS = 1.0


def machine(n_hidden):
    w = 0.3 * np.random.default_rng(0).standard_normal((4, n_hidden))
    return sb.GaussianBernoulliRBM.from_params(w, np.zeros(4), np.zeros(n_hidden), np.ones(4))


def regression(rows, d=2):
    r = np.random.default_rng(0)
    y = (r.random(rows) < 0.5).astype(float)
    return sb.targets.logistic_regression(r.standard_normal((rows, d)), y, prior_scale=1.0)


@pytest.mark.parametrize("name", ["log_partition", "moments"])
def test_sums_over_states_answer(answer_to_interrupt, name):
    """Of 32 units, where a sum takes from 15 seconds to minutes."""
    assert answer_to_interrupt(getattr(machine(32), name)) < SECONDS


@pytest.mark.parametrize("name", ["value", "grad"])
@pytest.mark.parametrize("rows,n", [(200_000, 50_000), (2_000_000, 5000)])
def test_blocks_of_values_answer(answer_to_interrupt, rows, n, name):
    """1e10 terms in a single call: many points, and many rows."""
    call, x = getattr(regression(rows), name), np.random.default_rng(1).standard_normal((n, 2))
    assert answer_to_interrupt(lambda: call(x)) < SECONDS


KEY = np.arange(4, dtype=np.uint64)


@pytest.mark.parametrize("name", ["gamma", "von Mises", "simplex"])
def test_draws_of_one_parameter_each_answer(answer_to_interrupt, name):
    """Of 30 million elements, some ten seconds of one processor."""
    n = 30_000_000
    given, out, log_out = np.full((n // 10, 10), 2.5), np.empty((n // 10, 10)), np.empty((n // 10, 10))
    flat = [array.reshape(-1) for array in (given, out, log_out)]

    def call():
        for _ in range(50):  # a processor may be quicker than that
            if name == "gamma":
                _core.draws.gamma_each(KEY, 0, *flat, 1)
            elif name == "von Mises":
                _core.draws.von_mises_each(KEY, 0, *flat[:2], 1)
            else:
                _core.draws.simplex_each(given, out, log_out, 1)

    assert answer_to_interrupt(call) < SECONDS


@pytest.mark.parametrize("name", ["sample", "moments"])
def test_batches_of_low_rank_factors_answer(answer_to_interrupt, name):
    """200,000 members of 64 coordinates and 16 columns."""
    r = np.random.default_rng(0)
    diag, factor = np.ones((200_000, 64)), np.repeat(r.standard_normal((1, 64, 16)), 200_000, axis=0)
    if name == "sample":
        eps = np.zeros((1, 200_000, 64))
        call = lambda: [low_rank_sample(diag, diag, factor, eps) for _ in range(50)]
    else:
        call = lambda: [low_rank_moments(diag, factor) for _ in range(50)]
    assert answer_to_interrupt(call) < SECONDS


def test_where_draws_of_one_parameter_each_are_cut():
    """Twelve million elements take several looks for a signal: no bit shows where."""
    shape = np.exp(np.random.default_rng(0).standard_normal(12_000_000))
    whole, log_whole = np.empty_like(shape), np.empty_like(shape)
    _core.draws.gamma_each(KEY, 0, shape, whole, log_whole, 1)
    for threads in (2, 5):
        again, log_again = np.empty_like(shape), np.empty_like(shape)
        _core.draws.gamma_each(KEY, 0, shape, again, log_again, threads)
        np.testing.assert_array_equal(again, whole)
        np.testing.assert_array_equal(log_again, log_whole)


@pytest.mark.parametrize("method", ["gibbs", "gibbs-langevin"])
def test_chains_of_a_large_machine_answer(answer_to_interrupt, method):
    """20,000 chains of 784 by 500 units: a sweep takes seconds."""
    w = 0.01 * np.random.default_rng(0).standard_normal((784, 500))
    rbm = sb.GaussianBernoulliRBM.from_params(w, np.zeros(784), np.zeros(500), np.ones(784))
    assert answer_to_interrupt(lambda: rbm.sample(20_000, method, n_steps=50, rng=0), wait=1.5) < SECONDS


def test_a_machine_is_as_it_was_after_an_interrupt(answer_to_interrupt):
    rbm = machine(32)
    before = rbm._model().copy()
    answer_to_interrupt(rbm.moments)
    assert rbm._model().same_as(before)
    assert np.isfinite(rbm.free_energy(np.zeros((1, 4)))).all()


@pytest.mark.parametrize("rows,n", [(100_000, 256), (3000, 4000)])
def test_where_values_are_cut(rows, n):
    """Strips of rows and groups of points: the twin's values, and the same bits for every number of threads."""
    f, x = regression(rows, 3), np.random.default_rng(1).standard_normal((n, 3))
    want = ridge.ridge_values(f.design.matrix, np.zeros(rows), f.y, np.ones(rows), "logistic", (), x)
    outputs = []
    for threads in (1, 2, 5):
        outputs.append(f._value_and_grad(x, threads))
        np.testing.assert_array_equal(outputs[-1][0], outputs[0][0])
        np.testing.assert_array_equal(outputs[-1][1], outputs[0][1])
    prior = sb.targets.quadratic(np.eye(3), np.zeros(3), -1.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(outputs[0][0] - prior.value(x), want[0], rtol=1e-11)
    np.testing.assert_allclose(outputs[0][1] - prior.grad(x), want[1], rtol=1e-9, atol=1e-9)


def test_where_normals_are_cut():
    """130,000 rows in one call and in two."""
    whole, parts = np.empty((1300, 100, 64)), np.empty((1300, 100, 64))
    _core.random.fill_normal(KEY, 3, 5, whole, 2)
    _core.random.fill_normal(KEY, 3, 5, parts[:700], 1)
    _core.random.fill_normal(KEY, 3, 705, parts[700:], 1)
    np.testing.assert_array_equal(whole, parts)
