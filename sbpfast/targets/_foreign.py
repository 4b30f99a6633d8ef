"""Callables for `Target` from functions of JAX, PyTorch and C."""

from __future__ import annotations

import ctypes

import numpy as np

from sbpfast import _core
from sbpfast._core import _cfunc


def of_jax(f):
    """value, grad, hess and hvp of a JAX function of one point, compiled and vectorised."""
    import jax

    def ready(transformed):
        compiled = jax.jit(jax.vmap(transformed))
        return lambda *points: np.asarray(compiled(*points), dtype=np.float64)

    return {
        "value": ready(f),
        "grad": ready(jax.grad(f)),
        "hess": ready(jax.hessian(f)),
        "hvp": ready(lambda x, v: jax.jvp(jax.grad(f), (x,), (v,))[1]),
    }


def of_torch(f):
    """value, grad, hess and hvp of a PyTorch function of one point, vectorised by torch.func."""
    import torch

    def ready(transformed):
        batched = torch.func.vmap(transformed)
        return lambda *points: batched(*(torch.tensor(p) for p in points)).detach().numpy()

    return {
        "value": ready(f),
        "grad": ready(torch.func.grad(f)),
        "hess": ready(torch.func.hessian(f)),
        "hvp": ready(lambda x, v: torch.func.jvp(torch.func.grad(f), (x,), (v,))[1]),
    }


VALUE_SIGNATURES = ("double (const double *, intptr_t, void *)", "double (double *, intptr_t, void *)")
ARRAY_SIGNATURES = ("void (const double *, intptr_t, double *, void *)", "void (double *, intptr_t, double *, void *)")


def of_cfunc(**functions):
    """value, grad and hess from C functions, by name; None stays None."""
    ready = {}
    for name, function in functions.items():
        if function is None:
            continue
        address, user_data = _address(name, function, VALUE_SIGNATURES if name == "value" else ARRAY_SIGNATURES)
        ready[name] = _caller(name, address, user_data, function)
    return ready


def _caller(name, address, user_data, keep_alive):
    def call(x):
        n, d = x.shape
        shape = {"value": (n,), "grad": (n, d), "hess": (n, d, d)}[name]
        out = np.empty(shape)
        n_threads = _core.effective_threads()
        if name == "value":
            _cfunc.call_scalar(address, user_data, x, out, n_threads)
        else:
            _cfunc.call_array(address, user_data, x, out.reshape(n, -1), n_threads)
        return out

    call.keep_alive = keep_alive  # type: ignore[attr-defined]
    return call


def _address(name, function, signatures):
    """Function pointer and user data, as integers."""
    if isinstance(function, tuple) and hasattr(function, "function"):  # scipy.LowLevelCallable
        address, user_data, signature = _cfunc.capsule_addresses(tuple.__getitem__(function, 0))
        if signature is not None and signature not in signatures:
            raise TypeError(
                f"{name} must have one of the signatures {', '.join(map(repr, signatures))}, got {signature!r}"
            )
        return address, user_data
    if hasattr(function, "address"):  # numba.cfunc
        return function.address, 0
    if hasattr(function, "restype"):  # ctypes
        return ctypes.cast(function, ctypes.c_void_p).value, 0
    raise TypeError(
        f"{name} must be a scipy.LowLevelCallable, a numba cfunc or a ctypes function, got {type(function).__name__}"
    )
