"""Callables for `Target` from functions of JAX and PyTorch."""

from __future__ import annotations

import numpy as np


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
