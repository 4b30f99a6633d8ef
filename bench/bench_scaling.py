"""How the time of a Price estimate grows: draws, rows, coordinates, columns of a low-rank factor, threads."""

from __future__ import annotations

import numpy as np
import problems
from timing import RESULTS, compare, pyplot, save

import sbpfast as sb
from sbpfast import _core

BASE = {"rows": 4000, "d": 32, "n": 512}
SWEEPS = {
    "n": [64, 128, 256, 512, 1024, 2048, 4096, 8192],
    "rows": [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000],
    "d": [4, 8, 16, 32, 64, 128, 256],
}
FACTOR = {"d": 100_000, "n": 64, "k": [1, 2, 4, 8, 16]}


def one(call):
    return compare({"sbpfast": call}, rounds=5)["sbpfast"]["median"]


def low_rank(k):
    """Pathwise under diag + U U^T in 100 000 coordinates, a separable target: O(d k) a draw."""
    d, r = FACTOR["d"], np.random.default_rng(k)
    q = sb.LowRankGaussian(np.zeros(d), np.ones(d), r.standard_normal((d, k)) / 10)
    target = sb.Target(value=lambda x: np.cos(x).sum(axis=1), grad=lambda x: -np.sin(x), dim=d)
    return lambda: sb.expectation_grad(target, q, estimator="pathwise", n_samples=FACTOR["n"], rng=0).grad


def main():
    results = {}
    for name, sizes in SWEEPS.items():
        for threads in (1, 2):
            times = []
            for size in sizes:
                shape = BASE | {name: size}
                times.append(
                    one(problems.ours(*problems.regression(shape["rows"], shape["d"]), shape["n"], n_threads=threads))
                )
            results[f"{name}, {threads} thread(s)"] = dict(zip(map(str, sizes), times))
            print(
                f"{name:5s} {threads} thread(s): " + "  ".join(f"{s}: {1e3 * t:.3f} ms" for s, t in zip(sizes, times))
            )
    results["k"] = {str(k): one(low_rank(k)) for k in FACTOR["k"]}
    print("k    : " + "  ".join(f"{k}: {1e3 * t:.1f} ms" for k, t in results["k"].items()))
    data = problems.regression(10_000, 50)
    pair = {str(t): one(problems.ours(*data, 1024, n_threads=t)) for t in range(1, _core.effective_threads() + 1)}
    results["threads"] = pair
    print("threads, N=10000 d=50 n=1024: " + "  ".join(f"{t}: {1e3 * v:.2f} ms" for t, v in pair.items()))
    save("scaling", results)
    draw(results)


def draw(results):
    plt = pyplot()
    if plt is None:
        return
    figure, axes = plt.subplots(1, 4, figsize=(15, 4), layout="constrained", sharey=True)
    for ax, (name, what) in zip(axes, (("n", "draws n"), ("rows", "rows N"), ("d", "coordinates d"))):
        for threads in (1, 2):
            times = results[f"{name}, {threads} thread(s)"]
            ax.loglog([int(s) for s in times], [1e3 * t for t in times.values()], "o-", label=f"{threads} thread(s)")
        fixed = ", ".join(f"{key} = {value}" for key, value in BASE.items() if key != name)
        ax.set_title(f"Price, {fixed}", fontsize=9)
        ax.set_xlabel(what)
    axes[3].loglog([int(s) for s in results["k"]], [1e3 * t for t in results["k"].values()], "o-")
    axes[3].set_title(f"pathwise, low rank, d = {FACTOR['d']}, n = {FACTOR['n']}", fontsize=9)
    axes[3].set_xlabel("columns k")
    axes[0].set_ylabel("ms")
    axes[0].legend()
    for ax in axes:
        ax.grid(alpha=0.3, which="both")
    figure.savefig(RESULTS / "scaling.png", dpi=130)
    print(f"written: {RESULTS / 'scaling.png'}")


if __name__ == "__main__":
    main()
