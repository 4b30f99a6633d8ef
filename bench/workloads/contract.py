"""The bare contractions: the mean of Hessians at the read bandwidth, and 1/2 tr(H dSigma) sample by sample."""

from __future__ import annotations

import numpy as np

import sbpfast as sb
from peers import optional, present
from peers.bandwidth import parallel_sum
from workload import Workload

SUM = "parallel sum of the same bytes"


def summed(H):
    """A call that adds up the bytes of H, or None."""
    total = parallel_sum(sb._core.effective_threads())
    return None if total is None else lambda: total(H)


def mean_hessian(n, d):
    H = np.random.default_rng(0).standard_normal((n, d, d))
    calls = {"sbpfast": lambda: sb.contract.price(H), SUM: summed(H), "NumPy": lambda: H.mean(axis=0)}
    if torch := optional("torch"):
        Ht = torch.from_numpy(H)
        calls["torch"] = lambda: Ht.mean(0)
    if jax := optional("jax"):
        Hj, average = jax.device_put(H), jax.jit(lambda h: h.mean(0))
        calls["JAX"] = lambda: jax.block_until_ready(average(Hj))
    return present(calls)


def traces(n, d, p):
    r = np.random.default_rng(0)
    H, dSigma = r.standard_normal((n, d, d)), r.standard_normal((d, d, p))
    g, dmu = np.zeros((n, d)), np.zeros((d, p))
    calls = {
        "sbpfast": lambda: sb.contract.gaussian(g, H, dmu, dSigma, per_sample=True),
        "NumPy": lambda: 0.5 * np.tensordot(H, dSigma, axes=2),
        SUM: summed(H),
    }
    if torch := optional("torch"):
        Ht, St = torch.from_numpy(H), torch.from_numpy(dSigma)
        calls["torch"] = lambda: 0.5 * torch.einsum("nij,ijp->np", Ht, St)
    if jax := optional("jax"):
        Hj, Sj = jax.device_put(H), jax.device_put(dSigma)
        contract = jax.jit(lambda h, s: 0.5 * jax.numpy.einsum("nij,ijp->np", h, s))
        calls["JAX"] = lambda: jax.block_until_ready(contract(Hj, Sj))
    return present(calls)


def bandwidth(calls, times, n, d, **_):
    """Gigabytes of Hessians read a second."""
    return {name: {"GB/s": 8e-9 * n * d * d / t["median"]} for name, t in times.items()}


SIZES, QUICK = {"n": 20_000, "d": 32}, {"n": 20, "d": 3}
WORKLOADS = [
    Workload("mean of Hessians", mean_hessian, SIZES, QUICK, facts=bandwidth),
    Workload("1/2 tr(H dSigma) per sample", traces, SIZES | {"p": 10}, QUICK | {"p": 2}, facts=bandwidth),
]
