"""How the time of a Price estimate grows: draws, rows, coordinates, columns of a low-rank factor."""

from __future__ import annotations

import numpy as np

import sbpfast as sb
from peers.price import ours, regression
from workload import Workload

BASE = {"rows": 4000, "d": 32, "n": 512}
SWEEPS = {
    "n": ("draws", [64, 128, 256, 512, 1024, 2048, 4096, 8192]),
    "rows": ("rows", [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000]),
    "d": ("coordinates", [4, 8, 16, 32, 64, 128, 256]),
}
COLUMNS = [1, 2, 4, 8, 16]
QUICK = {"rows": 9, "d": 2, "n": 32}


def price(rows, d, n):
    data = regression(rows, d)
    return {"sbpfast": ours(*data, n), "sbpfast, one thread": ours(*data, n, n_threads=1)}


def low_rank(k, d, n):
    """Pathwise under diag + U U^T, a separable target: O(d k) a draw."""
    r = np.random.default_rng(k)
    q = sb.LowRankGaussian(np.zeros(d), np.ones(d), r.standard_normal((d, k)) / 10)
    target = sb.Target(value=lambda x: np.cos(x).sum(axis=1), grad=lambda x: -np.sin(x), dim=d)
    return {"sbpfast": lambda: sb.expectation_grad(target, q, estimator="pathwise", n_samples=n, rng=0).grad}


WORKLOADS = [
    *(
        Workload(f"{name} = {size}", price, BASE | {name: size}, QUICK)
        for name, (_, sizes) in SWEEPS.items()
        for size in sizes
    ),
    *(Workload(f"k = {k}", low_rank, {"k": k, "d": 100_000, "n": 64}, {"k": k, "d": 100, "n": 16}) for k in COLUMNS),
]


def curve(results, name, candidate):
    """Sizes of a sweep and milliseconds."""
    entries = {key.split(" = ")[1]: e["seconds"] for key, e in results.items() if key.startswith(f"{name} = ")}
    return [int(size) for size in entries], [1e3 * seconds[candidate]["median"] for seconds in entries.values()]


def draw(plt, results, folder):
    figure, axes = plt.subplots(1, 4, figsize=(15, 4), layout="constrained", sharey=True)
    for ax, (name, (what, _)) in zip(axes, SWEEPS.items()):
        for candidate in ("sbpfast", "sbpfast, one thread"):
            ax.loglog(*curve(results, name, candidate), "o-", label=candidate)
        fixed = ", ".join(f"{key} = {value}" for key, value in BASE.items() if key != name)
        ax.set_title(f"Price, {fixed}", fontsize=9)
        ax.set_xlabel(f"{what} {name}")
    axes[3].loglog(*curve(results, "k", "sbpfast"), "o-")
    axes[3].set_title("pathwise, low rank, d = 100000, n = 64", fontsize=9)
    axes[3].set_xlabel("columns k")
    axes[0].set_ylabel("ms")
    axes[0].legend()
    for ax in axes:
        ax.grid(alpha=0.3, which="both")
    figure.savefig(folder / "scaling.png", dpi=130)
