"""The kernels of the RBM against their NumPy twins: instruction sets, both precisions, thread counts."""

import mpmath
import numpy as np
import pytest
from statistics_helpers import assert_unbiased

from sbpfast import _core
from sbpfast._reference import rbm as twins

ISAS = _core.AVAILABLE_ISAS
TYPES = (np.float64, np.float32)
TOLERANCE = {np.float64: 2e-14, np.float32: 1e-6}  # relative to the largest element
KEY = np.array([1, 2, 3, 2**63 + 5], dtype=np.uint64)
SHAPES = [(1, 1), (3, 64), (2, 65), (5, 127), (4, 128), (3, 129), (2, 500)]


def both(name, isa):
    return getattr(_core.load("rbm", isa), name), getattr(twins, name)


def close(got, want, dtype):
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(want).max(initial=0.0)))


def inputs(shape, dtype, scale=3.0):
    r = np.random.default_rng(shape[1])
    t = (scale * r.standard_normal(shape)).astype(dtype)
    return (t, *(r.standard_normal(shape[1]).astype(dtype) for _ in range(3)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_row_sweeps(shape, dtype, isa):
    t, a, b, _c = inputs(shape, dtype)
    for name, arguments in (("softplus_rows", (t, a, 0.7)), ("half_square_rows", (t, a, b))):
        kernel, twin = both(name, isa)
        got, want = np.empty(len(t)), np.empty(len(t))
        kernel(*arguments, got, 1)
        twin(*arguments, want)
        close(got, want, dtype)
    rows = np.arange(len(t))[::-1].copy()
    for name, arguments in (("probability_rows", (t, a, 0.7, b)), ("standardise_rows", (t, rows, a, b))):
        kernel, twin = both(name, isa)
        got, want = np.empty_like(t), np.empty_like(t)
        kernel(*arguments, got, 1)
        twin(*arguments, want)
        close(got, want, dtype)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_random_sweeps(shape, dtype, isa):
    t, a, b, c = inputs(shape, dtype)
    hidden, hidden_twin = both("hidden_rows", isa)
    got, want, p, q = (np.empty_like(t) for _ in range(4))
    hidden(t, a, 0.7, b, KEY, 16, 9, p, got, 1)
    hidden_twin(t, a, 0.7, b, KEY, 16, 9, q, want)
    close(p, q, dtype)
    close(got, want, dtype)
    again = np.empty_like(t)
    hidden(t, a, 0.7, b, KEY, 16, 9, None, again, 1)
    np.testing.assert_array_equal(again, got)
    visible, visible_twin = both("visible_rows", isa)
    visible(t, a, b, c, KEY, 17, 9, got, 1)
    visible_twin(t, a, b, c, KEY, 17, 9, want)
    close(got, want, dtype)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", TYPES)
def test_optimiser_steps(dtype, isa):
    r = np.random.default_rng(0)
    w, positive, negative = (r.standard_normal((40, 33)).astype(dtype) for _ in range(3))
    states = [np.abs(r.standard_normal((40, 33))).astype(dtype) for _ in range(2)]
    for name, n_states, arguments in (
        ("adam_step", 2, (0.01, 0.3, 1e-2, 0.9, 0.999, 1e-8)),
        ("momentum_step", 1, (0.01, 0.3, 1e-2, 0.9, 1.5)),
    ):
        kernel, twin = both(name, isa)
        got, want = ([x.copy() for x in (w, *states[:n_states])] for _ in range(2))
        dots, dots_twin = np.empty(40), np.empty(40)
        kernel(got[0], positive, negative, *got[1:], *arguments, dots, 1)
        twin(want[0], positive, negative, *want[1:], *arguments, dots_twin)
        for x, y in zip((*got, dots), (*want, dots_twin)):
            close(x, y, dtype)


def test_momentum_shortens_long_columns_only():
    w, velocity = np.zeros((3, 2)), np.array([[3.0, 0.1], [0.0, 0.2], [4.0, 0.0]])
    zero = np.zeros((3, 2))
    _core.rbm.momentum_step(w, zero, zero, velocity, 1.0, 0.0, 1.0, 1.0, 1.0, np.empty(3), 1)
    np.testing.assert_allclose(w, [[0.6, 0.1], [0.0, 0.2], [0.8, 0.0]], rtol=1e-15)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("units", [1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 16, 17])
def test_sum_over_states(units, isa):
    """All splits into lanes, block, walk and piece; a Gray walk longer than one resynchronisation from 17 on."""
    r = np.random.default_rng(units)
    w = r.standard_normal((6, units))
    bias, coupling = 2 * r.standard_normal(units), w.T @ w
    kernel, twin = both("sum_states", isa)
    want, second = twin(bias, coupling, True)
    got, moments = kernel(bias, coupling, True, 2)
    assert got == pytest.approx(want, rel=1e-13)
    np.testing.assert_allclose(moments, second, rtol=1e-11, atol=0)
    alone, nothing = kernel(bias, coupling, False, 2)
    assert alone == pytest.approx(want, rel=1e-13)
    assert nothing is None


def test_sum_over_states_at_extremes():
    """Couplings of +-1e4: nothing overflows, and one state has all the weight."""
    r = np.random.default_rng(0)
    w = 100 * r.standard_normal((3, 12))
    bias, coupling = 1e3 * r.standard_normal(12), w.T @ w
    want, second = twins.sum_states(bias, coupling, True)
    got, moments = _core.rbm.sum_states(bias, coupling, True, 1)
    assert got == pytest.approx(want, rel=1e-14)
    np.testing.assert_allclose(moments, second, atol=1e-12)
    assert np.isfinite(moments).all()


def test_sum_over_states_refuses_other_sizes():
    for units in (0, 33):
        with pytest.raises(ValueError, match="1 to 32"):
            _core.rbm.sum_states(np.zeros(units), np.zeros((max(units, 1), max(units, 1))), False, 1)


@pytest.mark.parametrize("dtype", TYPES)
def test_threads_change_no_bits(dtype):
    """Sweeps large enough to be shared out."""
    t, a, b, c = inputs((4100, 500), dtype)
    outputs = []
    for threads in (1, 2, 5):
        k = _core.rbm
        sums, squares, dots = np.empty(len(t)), np.empty(len(t)), np.empty(len(t))
        p, h, v = np.empty_like(t), np.empty_like(t), np.empty_like(t)
        k.softplus_rows(t, a, 1.0, sums, threads)
        k.half_square_rows(t, a, b, squares, threads)
        k.hidden_rows(t, a, 1.0, b, KEY, 16, 1, p, h, threads)
        k.visible_rows(t, a, b, c, KEY, 17, 1, v, threads)
        w, velocity = t.copy(), h.copy()
        k.momentum_step(w, p, h, velocity, 0.1, 0.0, 0.1, 0.9, 1.0, dots, threads)
        outputs.append((sums, squares, p, h, v, w, velocity, dots))
    for other in outputs[1:]:
        for x, y in zip(outputs[0], other):
            np.testing.assert_array_equal(x, y)
    r = np.random.default_rng(1)
    w = r.standard_normal((5, 17))
    sums = [_core.rbm.sum_states(np.ones(17), w.T @ w, True, n) for n in (1, 2, 5)]
    for value, second in sums[1:]:
        assert value == sums[0][0]
        np.testing.assert_array_equal(second, sums[0][1])


@pytest.mark.parametrize("isa", ISAS)
def test_float32_functions_against_mpmath(isa):
    t = np.concatenate([np.linspace(-100, 100, 401), [-1e30, -88.0, -1e-20, 0.0, 1e-20, 1e30]]).astype(np.float32)
    k, zero, one = _core.load("rbm", isa), np.zeros(1, np.float32), np.ones((1, 1), np.float32)
    out, p = np.empty(1), one.copy()
    for x in t:
        k.softplus_rows(one * x, zero, 1.0, out, 1)
        k.probability_rows(one * x, zero, 1.0, zero, p, 1)
        big = mpmath.mpf(float(x))
        soft = float(mpmath.log1p(mpmath.exp(-abs(big))) + max(big, 0))
        sigmoid = float(1 / (1 + mpmath.exp(-big))) if abs(x) < 1e4 else float(x > 0)
        assert out[0] == pytest.approx(soft, rel=4e-7, abs=2e-38)
        assert p[0, 0] == pytest.approx(sigmoid, rel=4e-7, abs=2e-38)


@pytest.mark.parametrize("dtype", TYPES)
def test_draws_have_their_laws(dtype):
    """z-tests of 4 moments of 400,000 normals, and of Bernoulli frequencies at five probabilities."""
    n, m = 2000, 200
    zero, one = np.zeros(m, dtype), np.ones(m, dtype)
    z = np.empty((n, m), dtype)
    _core.rbm.visible_rows(np.zeros((n, m), dtype), zero, zero, one, KEY, 17, 3, z, 2)
    z = z.astype(np.float64)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert_unbiased((z**power).mean(), mean, np.sqrt(variance / z.size), freedom=np.inf)
    assert_unbiased(np.corrcoef(z[:, 0], z[:, 1])[0, 1], 0.0, 1 / np.sqrt(n), freedom=np.inf)
    for p in (1e-3, 0.2, 0.5, 0.9, 0.999):
        t = np.full((n, m), np.log(p / (1 - p)), dtype)
        h = np.empty_like(t)
        _core.rbm.hidden_rows(t, zero, 1.0, zero, KEY, 16, 3, None, h, 2)
        assert_unbiased(h.mean(dtype=np.float64), p, np.sqrt(p * (1 - p) / h.size), freedom=np.inf)
