"""One Price estimate (value, d/dmean, d/dcov) of a logistic regression, float64, beside the peers."""

from __future__ import annotations

import problems
from timing import compare, report, save

WORKLOADS = [(10_000, 50, 64), (3000, 4, 1024), (569, 31, 256), (20, 5, 16)]


def main():
    results = {}
    for rows, d, n in WORKLOADS:
        data = problems.regression(rows, d)
        candidates = {
            "sbpfast": problems.ours(*data, n),
            "sbpfast, one thread": problems.ours(*data, n, n_threads=1),
            "sbpfast, exact": problems.ours(*data, n, estimator="exact"),
            "NumPy by hand": problems.by_hand(*data, n),
            "torch pathwise": problems.torch_pathwise(*data, n),
        } | problems.jax_peers(*data, n)
        workload = f"logistic N={rows} d={d} n={n}"
        results[workload] = compare({name: call for name, call in candidates.items() if call is not None})
        report(workload, results[workload])
    save("price", results)


if __name__ == "__main__":
    main()
