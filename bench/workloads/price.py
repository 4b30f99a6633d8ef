"""One Price estimate (value, d/dmean, d/dcov) of a logistic regression, float64, beside the peers."""

from __future__ import annotations

from peers import present
from peers.price import by_hand, jax_peers, ours, regression, torch_pathwise
from workload import Workload


def candidates(rows, d, n):
    data = regression(rows, d)
    return present(
        {
            "sbpfast": ours(*data, n),
            "sbpfast, one thread": ours(*data, n, n_threads=1),
            "sbpfast, exact": ours(*data, n, estimator="exact"),
            "NumPy": by_hand(*data, n),
            "torch pathwise": torch_pathwise(*data, n),
            **jax_peers(*data, n),
        }
    )


WORKLOADS = [
    Workload(f"logistic N={rows} d={d} n={n}", candidates, {"rows": rows, "d": d, "n": n}, {"rows": 9, "d": 2, "n": 32})
    for rows, d, n in ((10_000, 50, 64), (3000, 4, 1024), (569, 31, 256), (20, 5, 16))
]
