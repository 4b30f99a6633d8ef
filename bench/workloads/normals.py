"""Standard normals, beside numpy, torch and JAX."""

from __future__ import annotations

import numpy as np

import sbpfast as sb
from peers import optional
from workload import Workload


def candidates(n):
    generator = np.random.default_rng(0)
    calls = {
        "sbpfast": lambda: sb.standard_normal(n, rng=0),
        "sbpfast, one thread": lambda: sb.standard_normal(n, rng=0, n_threads=1),
        "NumPy": lambda: generator.standard_normal(n),
    }
    if torch := optional("torch"):
        calls["torch"] = lambda: torch.randn(n, dtype=torch.float64)
    if jax := optional("jax"):
        key, draw = jax.random.key(0), jax.jit(lambda key: jax.random.normal(key, (n,), dtype="float64"))
        calls["JAX"] = lambda: jax.block_until_ready(draw(key))
    return calls


WORKLOADS = [Workload("standard normals", candidates, {"n": 4_000_000}, {"n": 1000}, "n normal")]
