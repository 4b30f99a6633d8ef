"""Four million standard normals, beside numpy, torch and JAX."""

from __future__ import annotations

import numpy as np
from timing import compare, optional, report, save

import sbpfast as sb

COUNT = 4_000_000


def main():
    generator = np.random.default_rng(0)
    candidates = {
        "sbpfast": lambda: sb.standard_normal(COUNT, rng=0),
        "sbpfast, one thread": lambda: sb.standard_normal(COUNT, rng=0, n_threads=1),
        "numpy": lambda: generator.standard_normal(COUNT),
    }
    if torch := optional("torch"):
        candidates["torch"] = lambda: torch.randn(COUNT, dtype=torch.float64)
    if jax := optional("jax"):
        jax.config.update("jax_enable_x64", True)
        key, draw = jax.random.key(0), jax.jit(lambda key: jax.random.normal(key, (COUNT,), dtype="float64"))
        candidates["JAX"] = lambda: jax.block_until_ready(draw(key))
    results = {"4 million standard normals": compare(candidates)}
    report("4 million standard normals, ns each", results["4 million standard normals"], 1e9 / COUNT, "ns")
    save("normals", results)


if __name__ == "__main__":
    main()
