"""Derivatives of gamma and beta draws in their shapes, by torch and JAX.  None where a peer is not installed."""

from __future__ import annotations

import numpy as np

from peers import optional


def torch_gamma(p):
    torch = optional("torch")
    if torch is None:
        return None
    a, x = torch.from_numpy(p["a"]), torch.from_numpy(p["gamma"])
    return lambda: torch._standard_gamma_grad(a, x).numpy()


def torch_beta(p):
    """The two columns of the derivative of a Dirichlet draw (x, y) with respect to (a, b)."""
    torch = optional("torch")
    if torch is None:
        return None
    point, shapes = (torch.from_numpy(np.stack([p[u], p[v]], 1)) for u, v in (("x", "y"), ("a", "b")))
    total = shapes.sum(1, keepdim=True).expand_as(shapes).contiguous()

    def call():
        g = torch._dirichlet_grad(point, shapes, total).numpy()
        return p["y"] * g[:, 0], -p["x"] * g[:, 1]

    return call


def jax_gamma(p):
    jax = optional("jax")
    if jax is None:
        return None
    gradient = jax.jit(jax.lax.random_gamma_grad)
    a, x = (jax.numpy.asarray(p[k]) for k in ("a", "gamma"))
    return lambda: np.asarray(gradient(a, x).block_until_ready())
