"""What a full-covariance fit of anyone's log density costs, in points evaluated, and how far it is from the best one.

Five densities of latent variables and scales, through values and gradients alone; medians of ours over five seeds,
diagnostics included, one seed of the peers.  KL is from the Gaussian of a long fit (tol 2e-4, another seed), the error
of a mean in its standard deviations.  NUTS samples the posterior itself, so that its KL is not comparable and only its
points are told.  Seconds hold the compilation of the peers that compile: they are of one short run, not by the rule of
the workloads.
"""

from __future__ import annotations

import time

import numpy as np

import sbpfast as sb
from peers import densities as theirs
from peers import optional, present
from studies import _densities

SEEDS = 5
STEPS, FULLRANK_STEPS, DRAWS = 20000, 10000, 1000
REFERENCE_TOL, REFERENCE_SEED = 2e-4, 1000


def figures(best, mean, cov, points, seconds):
    """The KL divergence from the best Gaussian, the worst error of a mean, and what it cost."""
    kl = float(sb.Gaussian(mean, cov).kl(best)) if cov is not None else float("nan")
    worst = float((np.abs(mean - best.mean) / np.sqrt(np.diagonal(best.cov))).max())
    return {"KL": kl, "worst mean": worst, "points": points, "seconds": seconds}


def ours(target, best, seeds):
    """Medians of our fits, and the largest KL of one that says it converged."""
    rows, converged = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        fit = sb.fit(target, rng=seed)
        seconds = time.perf_counter() - start
        rows.append(figures(best, fit.q.mean, fit.q.cov, fit.n_evaluations, seconds) | {"k-hat": fit.khat})
        converged += [rows[-1]["KL"]] if fit.converged else []
    middle = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    worst = {"converged": len(converged), "runs": seeds, "largest KL converged": max(converged, default=float("nan"))}
    return middle | worst


def peers_of(value, d, best, quick):
    """The figures of each peer through the same density in JAX."""
    numpy = optional("jax.numpy")
    if numpy is None:
        return {}
    calls = present({
        "NumPyro SVI": theirs.svi(200 if quick else STEPS),
        "BlackJAX full-rank VI": theirs.fullrank(200 if quick else FULLRANK_STEPS),
        "Pathfinder": theirs.pathfinder(), "NUTS": theirs.nuts(50 if quick else DRAWS),
    })  # fmt: skip
    rows = {}
    for name, call in calls.items():
        start = time.perf_counter()
        try:
            mean, cov, points = call(lambda x: value(x[None], numpy)[0], d, 0)
            rows[name] = figures(best, mean, cov, points, time.perf_counter() - start)
        except (ValueError, np.linalg.LinAlgError) as error:
            rows[name] = {"failed": str(error)[:80]}
    if "NUTS" in rows:
        rows["NUTS"].pop("KL", None)
    return rows


def study(quick):
    """By density, the figures of every method."""
    results = {}
    for name, make in list(_densities.DENSITIES.items())[: 2 if quick else None]:
        d, value, grad = make()
        target = sb.Target(lambda x, value=value: value(x, np), grad, dim=d)
        best = sb.fit(target, rng=REFERENCE_SEED, tol=REFERENCE_TOL, max_iter=400).q
        start = time.perf_counter()
        mean, cov, points = theirs.laplace(lambda x, value=value: value(x, np), grad, d)
        rows = {"sbpfast": ours(target, best, 1 if quick else SEEDS)}
        rows["Laplace"] = figures(best, mean, cov, points, time.perf_counter() - start)
        rows |= peers_of(value, d, best, quick)
        results[f"{name}, d = {d}"] = rows
        print(f"{name}, d = {d}")
        for method, row in rows.items():
            shown = ", ".join(f"{key} {figure:.3g}" if key != "failed" else figure for key, figure in row.items())
            print(f"  {method:22s} {shown}", flush=True)
    return results


LOOKS = {
    "sbpfast": ("o", "tab:blue"), "Laplace": ("v", "tab:gray"), "NumPyro SVI": ("s", "tab:orange"),
    "BlackJAX full-rank VI": ("D", "tab:green"), "Pathfinder": ("^", "tab:red"),
}  # fmt: skip


def draw(plt, results, folder):
    """Points evaluated against the divergence that is left, a marker a density."""
    figure, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    for method, (marker, colour) in LOOKS.items():
        rows = [methods[method] for methods in results.values() if "KL" in methods.get(method, {})]
        if rows:
            points, kl = [row["points"] for row in rows], [max(row["KL"], 1e-5) for row in rows]
            ax.loglog(points, kl, marker, color=colour, label=method)
    ax.set_xlabel("points at which f was evaluated")
    ax.set_ylabel("KL from the best Gaussian")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    figure.savefig(folder / "economy.png", dpi=130)
