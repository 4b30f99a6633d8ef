"""Draws and gradients inside PyTorch and JAX, beside their own: time, worst relative errors, and what is not finite.

Nothing where torch or JAX is not installed: here they are the ground that ours stands on, too.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from peers.frameworks import jax_gradients, kept, posterior_steps, torch_gradients
from workload import Workload
from workloads.weights import tables


def shapes(n, dtype, low=0.1, high=100.0, seed=0):
    """Log-uniform."""
    r = np.random.default_rng(seed)
    return np.exp(r.uniform(np.log(low), np.log(high), n)).astype(dtype)


def gamma(n, check, dtype):
    return torch_gradients("Gamma", [shapes(n, dtype)], (1.0,))


def beta(n, check, dtype):
    return torch_gradients("Beta", [shapes(n, dtype), shapes(n, dtype, seed=1)])


def dirichlet(n, k):
    return torch_gradients("Dirichlet", [shapes(n * k, np.float64).reshape(n, k)])


def tiny_beta(n):
    return torch_gradients("Beta", [np.full(n, 1e-3), np.full(n, 1e-3)])


def tiny_dirichlet(n, k):
    return torch_gradients("Dirichlet", [np.full((n, k), 1e-3)])


def gamma_under_jit(n):
    return jax_gradients(shapes(n, np.float64))


def posterior(batch, d):
    import torch

    return posterior_steps(batch, d, torch.float32)


def epoch(images, pixels):
    """An epoch of the deep latent Gaussian model with the paper's posterior, and with torch's diagonal one."""
    import torch

    from studies._dlgm import Model, Shape
    from studies._dlgm import epoch as one

    data = (torch.rand(images, pixels, generator=torch.Generator().manual_seed(0)) < 0.3).float()

    def made(kind):
        torch.manual_seed(0)
        model = Model(Shape(pixels), kind)
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        generator = torch.Generator().manual_seed(0)
        return lambda: one(model, optimiser, data, generator)

    return kept({"sbpfast": "rank-one precision", "torch, diagonal": "diagonal"}, made)


def errors(which):
    """Worst relative errors of the gradients at the draws that were returned, against 24-digit values."""

    def facts(calls, times, n, check, dtype):
        table = tables()
        if table is None:
            return {}
        index, out = np.linspace(0, n - 1, check).astype(int), {}
        for name, call in calls.items():
            x, *gradients = (np.asarray(v, np.float64)[index] for v in call())
            parameters = [shapes(n, dtype, seed=i).astype(np.float64)[index] for i in range(len(gradients))]
            out[name] = {"worst relative error": _worst(table, which, x, parameters, gradients)}
        return out

    return facts


def _worst(table, which, x, parameters, gradients):
    from mpmath import mpf

    worst = 0.0
    for at, *rest in zip(x.tolist(), *(p.tolist() for p in parameters), *(g.tolist() for g in gradients)):
        if not 1e-290 < at < 1.0 - 1e-12 and which == "beta":
            continue  # moved off an end of the interval
        given, got = rest[: len(parameters)], rest[len(parameters) :]
        want = table.settled(lambda p=given, v=at: _weights(table, which, *map(mpf, p), mpf(v)))
        worst = max(worst, *(abs(g / float(w) - 1.0) for g, w in zip(got, want)))
    return worst


def _weights(table, which, *row):
    return (table.gamma_shape(*row),) if which == "gamma" else table.beta_pair(*row)


def finite(calls, times, **sizes):
    """Shares of gradients that are not finite, and of draws near the middle, where there is no mass."""
    out = {}
    for name, call in calls.items():
        x, *gradients = call()
        lost = max(float((~np.isfinite(g)).mean()) for g in gradients)
        middle = float(((x > 0.05) & (x < 0.95)).mean())
        out[name] = {"gradients not finite": lost, "draws in (0.05, 0.95)": middle}
    return out


BOTH = {"double": np.float64, "single": np.float32}
SIZES, QUICK = {"n": 1_000_000, "check": 300}, {"n": 100, "check": 3}
LAWS = {"Gamma": (gamma, errors("gamma")), "Beta": (beta, errors("beta"))}

WORKLOADS = [
    Workload(f"{law} rsample and backward, {name}", call, SIZES | {"dtype": t}, QUICK | {"dtype": t}, "n draw", facts)
    for law, (call, facts) in LAWS.items()
    for name, t in BOTH.items()
] + [
    Workload("Dirichlet(8) rsample and backward", dirichlet, {"n": 125_000, "k": 8}, {"n": 20, "k": 8}, "n point"),
    Workload("Beta at concentrations 1e-3", tiny_beta, {"n": 100_000}, {"n": 100}, "n draw", finite),
    Workload("Dirichlet(8) at 1e-3", tiny_dirichlet, {"n": 20_000, "k": 8}, {"n": 50, "k": 8}, "n point", finite),
    Workload("gamma and gradient under jit", gamma_under_jit, {"n": 1_000_000}, {"n": 100}, "n draw"),
    Workload("rank-one posteriors: rsample, kl, backward", posterior, {"batch": 100, "d": 200}, {"batch": 3, "d": 4}),
    Workload("an epoch of the DLGM", epoch, {"images": 4_000, "pixels": 784}, {"images": 200, "pixels": 16}),
]
if find_spec("torch") is None or find_spec("jax") is None:
    WORKLOADS = []
