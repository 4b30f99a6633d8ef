"""The sampling kernels against their twins and their laws, on every instruction set."""

import numpy as np
import pytest
import scipy.stats as st
from statistics_helpers import assert_law

from sbpfast import _core
from sbpfast._reference import draws as twin
from sbpfast._reference import statistics
from sbpfast._streams import stream_key

every_isa = pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
SHAPES = np.array([1e-3, 0.02, 0.7, 1.0, 3.3, 250.0, 1e6])


def gammas(isa, key, blocks, shape, first=0, threads=1):
    x, log_x = np.empty((blocks, len(shape), 64)), np.empty((blocks, len(shape), 64))
    _core.load("draws", isa).fill_gamma(key, 0, first, np.asarray(shape, dtype=float), x, log_x, threads)
    return x, log_x


def simplex(isa, log_gamma, k, n):
    out = [np.empty((n, log_gamma.shape[1])) for _ in range(4)]
    _core.load("draws", isa).simplex(log_gamma, k, *out, 1)
    return out


@every_isa
def test_gammas_match_their_definition(isa):
    x, log_x = gammas(isa, stream_key(5), 2, SHAPES, first=11)
    want, want_log = twin.fill_gamma(stream_key(5), 0, 11, 2, SHAPES)
    np.testing.assert_allclose(log_x, want_log, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(x, want, rtol=2e-12, atol=0.0)


@every_isa
def test_gammas_follow_their_law(isa):
    x, log_x = gammas(isa, stream_key(1), 800, SHAPES)
    for j, shape in enumerate(SHAPES):
        # log x + log(U)/shape is what is exact for the tiniest shapes: P(log x < v) ~ e^(shape v) / Gamma(shape + 1)
        if shape >= 0.02:
            assert_law(x[:, j].ravel(), st.gamma(shape).cdf)
        else:
            low = log_x[:, j].ravel()
            low = low[low < -30]
            assert_law(np.exp(shape * (low + 30)), "uniform")
        assert np.isfinite(log_x[:, j]).all()


@every_isa
def test_draws_depend_on_their_number_alone(isa):
    whole, _ = gammas(isa, stream_key(2), 40, SHAPES)
    np.testing.assert_array_equal(gammas(isa, stream_key(2), 5, SHAPES, first=20)[0], whole[20:25])
    np.testing.assert_array_equal(gammas(isa, stream_key(2), 40, SHAPES, threads=3)[0], whole)
    np.testing.assert_array_equal(gammas(isa, stream_key(2), 40, SHAPES[:3])[0], whole[:, :3])


@every_isa
def test_von_mises(isa):
    kappa = np.array([1e-6, 0.3, 2.1, 40.0, 1e4])
    out = np.empty((600, len(kappa), 64))
    _core.load("draws", isa).fill_von_mises(stream_key(3), 64, 7, kappa, out, 2)
    want = twin.fill_von_mises(stream_key(3), 64, 7, 2, kappa[1:4])
    shifted = np.empty((2, 3, 64))
    _core.load("draws", isa).fill_von_mises(stream_key(3), 64, 7, kappa[1:4].copy(), shifted, 1)
    np.testing.assert_allclose(np.arctan(shifted), np.arctan(want), rtol=1e-9, atol=1e-9)
    for j, k in enumerate(kappa):
        law = st.vonmises(k).cdf if k < 50 else st.norm(scale=k**-0.5).cdf
        assert_law(2 * np.arctan(out[:, j].ravel()), law)
    zero = np.empty((50, 1, 64))
    _core.load("draws", isa).fill_von_mises(stream_key(3), 64, 0, np.zeros(1), zero, 1)
    assert_law(2 * np.arctan(zero.ravel()), st.uniform(-np.pi, 2 * np.pi).cdf)


@every_isa
@pytest.mark.parametrize("k", [2, 3, 8])
def test_simplex(isa, k):
    shape = np.array([1e-3, 0.1, 5.0, 300.0, 0.5, 1e-3, 2.0, 1.0])
    _, log_gamma = gammas(isa, stream_key(4), 3, np.tile(shape[:k], 2))
    got, want = simplex(isa, log_gamma, k, 150), twin.simplex(log_gamma, k, 150)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-300)
    x, y, log_x, log_y = got
    np.testing.assert_allclose(x.reshape(150, 2, k).sum(axis=2), 1.0, rtol=1e-15 * k)
    assert np.isfinite(log_x).all() and np.isfinite(log_y).all()
    np.testing.assert_allclose(x + y, 1.0, rtol=1e-15)


@every_isa
@pytest.mark.parametrize("n, d", [(1, 1), (300, 1), (5000, 3)])
def test_log_divergence_sums(isa, n, d):
    rng = np.random.default_rng(n)
    y = np.exp(rng.normal(0.0, 3.0, (n, d)))
    y[0] *= 1e-200
    w, centre = rng.uniform(0.0, 2.0, n), y.mean(axis=0)
    kernel = _core.load("statistics", isa).log_divergence_sums
    for weights in (None, w):
        out, again = np.empty((4, d)), np.empty((4, d))
        kernel(y, weights, centre, out, 1)
        kernel(y, weights, centre, again, 3)
        np.testing.assert_array_equal(again, out)
        np.testing.assert_allclose(out, statistics.log_divergence_sums(y, weights, centre), rtol=1e-12, atol=1e-12 * n)


@every_isa
@pytest.mark.parametrize("shape", [0.5, 1e4, 1e6])
def test_log_divergence_of_concentrated_data(isa, shape):
    y = np.random.default_rng(3).gamma(shape, 1 / shape, (3001, 1))
    centre, out = y[:50].mean(axis=0), np.empty((4, 1))
    e = y[:, 0].astype(np.longdouble) / centre - 1
    for weights in (None, np.ones(len(y))):
        _core.load("statistics", isa).log_divergence_sums(y, weights, centre, out, 1)
        np.testing.assert_allclose(out[1, 0], float(np.sum(e - np.log1p(e))), rtol=1e-13)
