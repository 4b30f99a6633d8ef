"""Draws with a parameter an element, and batches of precision Gaussians: kernels against their twins and laws."""

import numpy as np
import pytest
import scipy.stats as st
from statistics_helpers import assert_law

from sbpfast import _core
from sbpfast._reference import draws, lowrank
from sbpfast._streams import stream_key
from sbpfast.expfam import elementwise

every_isa = pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
SHAPES = np.exp(np.linspace(np.log(1e-3), np.log(1e6), 70))


def gamma_each(shape, isa=_core.ISA, threads=1):
    x, log_x = np.empty(len(shape)), np.empty(len(shape))
    _core.load("draws", isa).gamma_each(stream_key(5), 16, np.asarray(shape, dtype=float), x, log_x, threads)
    return x, log_x


def von_mises_each(kappa, isa=_core.ISA, threads=1):
    out = np.empty(len(kappa))
    _core.load("draws", isa).von_mises_each(stream_key(5), 64, np.asarray(kappa, dtype=float), out, threads)
    return out


@every_isa
def test_gammas_match_their_definition(isa):
    x, log_x = gamma_each(SHAPES, isa)
    want, want_log = draws.gamma_each(stream_key(5), 16, SHAPES)
    np.testing.assert_allclose(log_x, want_log, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(x, want, rtol=2e-12, atol=0.0)


@every_isa
def test_von_mises_match_their_definition(isa):
    kappa = np.linspace(0.1, 60.0, 70)
    want = draws.von_mises_each(stream_key(5), 64, kappa)
    np.testing.assert_allclose(np.arctan(von_mises_each(kappa, isa)), np.arctan(want), rtol=1e-9, atol=1e-9)


@every_isa
@pytest.mark.parametrize("n, k", [(1, 1), (1, 4), (64, 2), (150, 9)])
def test_simplices_match_their_definition(isa, n, k):
    log_gamma = np.random.default_rng(n).normal(0.0, 200.0, (n, k))
    x, log_x = np.empty((n, k)), np.empty((n, k))
    _core.load("draws", isa).simplex_each(log_gamma, x, log_x, 2)
    for got, want in zip((x, log_x), draws.simplex_each(log_gamma)):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-300)


def test_elements_depend_on_themselves_alone():
    for draw, values in ((lambda v, **o: gamma_each(v, **o)[1], SHAPES), (von_mises_each, np.linspace(0.0, 90.0, 70))):
        many = np.tile(values, 200)
        whole = draw(many)
        np.testing.assert_array_equal(draw(many, threads=3), whole)
        np.testing.assert_array_equal(draw(many[:65]), whole[:65])
        other = many.copy()
        other[1::2] = 1.0
        np.testing.assert_array_equal(draw(other)[::2], whole[::2])


def test_values_outside_the_domain_give_nan_and_end():
    shape = np.array([1.0, np.nan, -1.0, 0.0, 2.0])
    np.testing.assert_array_equal(np.isnan(gamma_each(shape)[0]), [False, True, True, True, False])
    np.testing.assert_array_equal(np.isnan(von_mises_each(shape)), [False, True, True, False, False])


@pytest.mark.parametrize("a", [0.02, 0.7, 1.0, 3.3, 250.0])
def test_gammas_follow_their_law(a):
    x, _ = gamma_each(np.full(40_000, a))
    assert_law(x, st.gamma(a).cdf)


def test_keys_split_the_leading_axes():
    keys = np.stack([stream_key(i) for i in range(3)])
    for law, rank in ((elementwise.LAWS["beta"], 1), (elementwise.SIMPLEX_LAWS["dirichlet"], 2)):
        parameters = [np.full((3, 5, 4)[: rank + 1], 0.7) for _ in law.parameters]
        got = law.draw(keys, *parameters)
        np.testing.assert_array_equal(got, np.stack([law.draw(k, *(p[0] for p in parameters)) for k in keys]))


# -- precision diag + U U^T -------------------------------------------------------------------------------------------


def rows(b, d, k, n=3):
    r = np.random.default_rng(b + 10 * d + 100 * k)
    diag, factor = 0.3 + np.abs(r.standard_normal((b, d))), r.standard_normal((b, d, k))
    return r.standard_normal((b, d)), diag, factor, r.standard_normal((n, b, d)), r.standard_normal((n, b, d))


def run(name, inputs, outputs, isa=_core.ISA, threads=1):
    out = [np.empty(shape) for shape in outputs]
    getattr(_core.load("lowrank", isa), name)(*map(np.ascontiguousarray, inputs), *out, threads)
    return out


def cases(b, d, k):
    mean, diag, factor, eps, grad = rows(b, d, k)
    by_variance, by_log_det = grad[0], grad[0, :, 0].copy()
    return {
        "sample": ((mean, diag, factor, eps), [eps.shape]),
        "sample_backward": ((diag, factor, eps, grad), [diag.shape, diag.shape, factor.shape]),
        "moments": ((diag, factor), [diag.shape, (b,)]),
        "moments_backward": ((diag, factor, by_variance, by_log_det), [diag.shape, factor.shape]),
        "kl": ((mean, diag, factor, eps[0], 0.5 + diag[::-1]), [(b,)]),
        "kl_backward": (
            (mean, diag, factor, eps[0], 0.5 + diag[::-1], by_log_det),
            [diag.shape, diag.shape, factor.shape],
        ),
    }


@every_isa
@pytest.mark.parametrize("name", ["sample", "sample_backward", "moments", "moments_backward", "kl", "kl_backward"])
@pytest.mark.parametrize("b, d, k", [(1, 1, 1), (2, 5, 0), (3, 7, 1), (2, 6, 3), (70, 3, 2)])
def test_batches_match_their_twins(name, b, d, k, isa):
    inputs, outputs = cases(b, d, k)[name]
    want = getattr(lowrank, name)(*inputs)
    want = want if isinstance(want, tuple) else (want,)
    tolerance = 1e-8 if name == "sample_backward" else 1e-11  # its twin takes differences
    for got, truth in zip(run(name, inputs, outputs, isa), want):
        np.testing.assert_allclose(
            got, truth, rtol=tolerance, atol=tolerance * max(1.0, np.abs(truth).max(initial=0.0))
        )


def test_float32_is_rounded_float64():
    for name, (inputs, outputs) in cases(5, 7, 2).items():
        single = [np.asarray(v, np.float32) for v in inputs]
        out = [np.empty(shape, np.float32) for shape in outputs]
        getattr(_core.lowrank, name)(*map(np.ascontiguousarray, single), *out, 1)
        for got, want in zip(out, run(name, [v.astype(np.float64) for v in single], outputs)):
            np.testing.assert_array_equal(got, want.astype(np.float32))


def test_a_row_depends_on_itself_alone():
    for name, (inputs, outputs) in cases(200, 130, 2).items():
        whole = run(name, inputs, outputs)
        for got, want in zip(run(name, inputs, outputs, threads=3), whole):
            np.testing.assert_array_equal(got, want)
        few = [np.ascontiguousarray(v[:, :7] if v.ndim == 3 and v.shape[:2] == (3, 200) else v[:7]) for v in inputs]
        shapes = [tuple(7 if s == 200 else s for s in shape) for shape in outputs]
        for got, want in zip(run(name, few, shapes), whole):
            np.testing.assert_array_equal(got, want[:, :7] if want.shape[:2] == (3, 200) else want[:7])


def test_the_square_root_is_one():
    """Columns of R from unit noise: R R^T is the covariance."""
    _, diag, factor, *_ = rows(2, 6, 3)
    eps = np.repeat(np.eye(6)[:, None], 2, axis=1)
    columns = run("sample", (np.zeros((2, 6)), diag, factor, eps), [eps.shape])[0]
    for b in range(2):
        root = columns[:, b].T
        precision = np.diag(diag[b]) + factor[b] @ factor[b].T
        np.testing.assert_allclose(root @ root.T @ precision, np.eye(6), atol=1e-12)
