"""Targets from functions of C, JAX and PyTorch."""

import ctypes

import numpy as np
import pytest
import scipy
from c_sources import compiled

import sbpfast as sb

SOURCE = """
#include <math.h>
#include <stdint.h>
double value(const double *x, intptr_t d, void *user) {
    double s = 0; for (intptr_t i = 0; i < d; i++) s += cos(x[i]) * (i + 1); return s * (user ? *(double *)user : 1.0);
}
void grad(const double *x, intptr_t d, double *out, void *user) {
    for (intptr_t i = 0; i < d; i++) out[i] = -sin(x[i]) * (i + 1);
}
void hess(const double *x, intptr_t d, double *out, void *user) {
    for (intptr_t i = 0; i < d * d; i++) out[i] = 0;
    for (intptr_t i = 0; i < d; i++) out[i * d + i] = -cos(x[i]) * (i + 1);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    lib = ctypes.CDLL(compiled(tmp_path_factory.mktemp("c"), SOURCE))
    pointer = ctypes.POINTER(ctypes.c_double)
    lib.value.restype, lib.value.argtypes = ctypes.c_double, [pointer, ctypes.c_ssize_t, ctypes.c_void_p]
    for name in ("grad", "hess"):
        getattr(lib, name).restype = None
        getattr(lib, name).argtypes = [pointer, ctypes.c_ssize_t, pointer, ctypes.c_void_p]
    return lib


def plain(d=3):
    scale = np.arange(1.0, d + 1)
    return sb.Target(
        value=lambda x: (np.cos(x) * scale).sum(axis=1),
        grad=lambda x: -np.sin(x) * scale,
        hess=lambda x: np.einsum("ni,ij->nij", -np.cos(x) * scale, np.eye(d)),
        dim=d,
    )


def check_same(target, want, rtol=1e-13):
    x = np.random.default_rng(0).standard_normal((100, want.dim))
    for name in ("value", "grad", "hess"):
        np.testing.assert_allclose(getattr(target, name)(x), getattr(want, name)(x), rtol=rtol, atol=rtol)
    q = sb.Gaussian(np.zeros(want.dim), np.eye(want.dim))
    got, expected = (sb.expectation_grad(t, q, estimator="price", n_samples=500, rng=0) for t in (target, want))
    np.testing.assert_allclose(got.grad["cov"], expected.grad["cov"], rtol=10 * rtol, atol=rtol)


def test_ctypes_functions(library):
    check_same(sb.Target.from_cfunc(library.value, library.grad, library.hess, dim=3), plain())


def test_low_level_callables_carry_user_data(library):
    factor = ctypes.c_double(2.5)
    pointer = ctypes.cast(ctypes.pointer(factor), ctypes.c_void_p)
    signature = "double (double *, intptr_t, void *)"
    target = sb.Target.from_cfunc(value=scipy.LowLevelCallable(library.value, pointer, signature=signature), dim=3)
    x = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_allclose(target.value(x), 2.5 * plain().value(x), rtol=1e-14)


def test_what_is_not_a_c_function_is_refused(library):
    with pytest.raises(TypeError, match=r"value must be a scipy\.LowLevelCallable"):
        sb.Target.from_cfunc(value=lambda x: 0.0, dim=3)
    wrong = scipy.LowLevelCallable(library.value, signature="double (double, void *)")
    with pytest.raises(TypeError, match="signatures"):
        sb.Target.from_cfunc(value=wrong, dim=3)
    with pytest.raises(ValueError, match="at least one"):
        sb.Target.from_cfunc(dim=3)


def test_numba_functions():
    numba = pytest.importorskip("numba")
    types = numba.types

    @numba.cfunc(types.float64(types.CPointer(types.float64), types.intp, types.voidptr))
    def value(x, d, user):
        total = 0.0
        for i in range(d):
            total += np.cos(x[i]) * (i + 1)
        return total

    x = np.random.default_rng(0).standard_normal((50, 3))
    np.testing.assert_allclose(sb.Target.from_cfunc(value=value, dim=3).value(x), plain().value(x), rtol=1e-13)


@pytest.mark.filterwarnings("default")
def test_jax_functions():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        target = sb.Target.from_jax(lambda x: (jax.numpy.cos(x) * jax.numpy.arange(1.0, 4.0)).sum(), dim=3)
        check_same(target, plain(), rtol=1e-12)
        v = np.ones((100, 3))
        x = np.random.default_rng(0).standard_normal((100, 3))
        np.testing.assert_allclose(target.hvp(x, v), plain().hvp(x, v), rtol=1e-12)


@pytest.mark.filterwarnings("default")
def test_torch_functions():
    torch = pytest.importorskip("torch")
    target = sb.Target.from_torch(lambda x: (torch.cos(x) * torch.arange(1, 4)).sum(), dim=3)
    check_same(target, plain(), rtol=1e-12)
    x = np.random.default_rng(0).standard_normal((100, 3))
    np.testing.assert_allclose(target.hvp(x, np.ones((100, 3))), plain().hvp(x, np.ones((100, 3))), rtol=1e-12)
