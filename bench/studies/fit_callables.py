"""How long a fit of a density given as callables takes until KL(q || best Gaussian) is below 1e-3, beside the peers.

The clock is read from the fit's callback after each step, and from each peer's own trace; peers without their
compilation.  One run a seed, medians over three seeds.
"""

from __future__ import annotations

import time

import numpy as np
import scipy

import sbpfast as sb
from peers.fit import blackjax_fullrank, gsm
from workloads.fit import logistic_data

NEAR = 1e-3  # KL divergence from the best Gaussian at which the clock stops
NEAR_TOL = 5e-4  # the divergence asked for, an expectation: below NEAR for nearly every seed
SEEDS = 3
# For the peers the fastest of a grid, chosen with the best Gaussian known: Adam with rate 3e-3 to 0.1, decaying to 0 as
# a cosine in 300 to 5000 steps of 10, 30 or 100 draws; GSM's batch 2 to 128.
BLACKJAX = {10: {"rate": 0.1, "draws": 10, "steps": 500}, 50: {"rate": 0.01, "draws": 10, "steps": 5000}}
GSM = {10: {"batch": 16, "steps": 1500}, 50: {"batch": 16, "steps": 1000}}
QUICK = {"rate": 0.1, "draws": 2, "steps": 40}, {"batch": 2, "steps": 40}


def callables(X, y, hessian):
    """A logistic regression with prior N(0, I) as a user writes it."""
    n, d = X.shape
    squares = np.einsum("ni,nj->nij", X, X).reshape(n, d * d)

    def hess(x):
        p = scipy.special.expit(x @ X.T)
        return -((p * (1 - p)) @ squares).reshape(-1, d, d) - np.eye(d)

    return sb.Target(
        value=lambda x: x @ (X.T @ y) - np.logaddexp(0, x @ X.T).sum(1) - 0.5 * (x**2).sum(1),
        grad=lambda x: (y - scipy.special.expit(x @ X.T)) @ X - x,
        hess=hess if hessian else None,
        dim=d,
    )


def our_trace(target, best, seed):
    """(seconds, KL) after each step of a fit that stops itself, and the seconds of the whole, diagnostics included."""
    times = []
    start = time.perf_counter()
    whole = sb.fit(target, tol=NEAR_TOL, rng=seed, callback=lambda step: times.append(time.perf_counter() - start))
    seconds, fit, trace = time.perf_counter() - start, None, []
    for elapsed in times:  # the same steps again, one at a time, to see q after each
        fit = sb.fit(target, fit, tol=NEAR_TOL, rng=seed, callback=lambda step: True)
        trace.append((elapsed, fit.q.kl(best)))
    return trace, seconds, whole


def with_kl(trace, family, best):
    """(seconds, KL) of a peer's trace of seconds and parameters; infinite where it has lost definiteness."""
    result = []
    for elapsed, mean, spread in trace:
        try:
            result.append((elapsed, family(mean, spread).kl(best)))
        except ValueError:
            result.append((elapsed, np.inf))
    return result


def first_below(trace):
    return next((elapsed for elapsed, kl in trace if kl < NEAR), None)


def summarised(traces):
    """Median seconds until near, None where a seed never gets there, and the least and last KL."""
    hits = [first_below(trace) for trace in traces]
    return {
        "seconds until KL 1e-3": None if None in hits else float(np.median(hits)),
        "least KL": float(np.median([min(kl for _, kl in trace) for trace in traces])),
        "last KL": float(np.median([trace[-1][1] for trace in traces])),
        "last seconds": float(np.median([trace[-1][0] for trace in traces])),
        "trace": traces[0][:: max(1, len(traces[0]) // 60)],
    }


def say(name, r, rest=""):
    t = r["seconds until KL 1e-3"]
    reached = "        never" if t is None else f"{1e3 * t:10.1f} ms"
    print(f"  {name:28s} {reached}   KL {r['last KL']:.1e} after {r['last seconds']:.2f} s{rest}")


def ours(X, y, best, hessian):
    """The figures of our fits, with or without the Hessian."""
    target = callables(X, y, hessian)
    runs = [our_trace(target, best, seed) for seed in range(SEEDS)]
    r = summarised([trace for trace, _, _ in runs])
    r["seconds, stopping itself"] = float(np.median([seconds for _, seconds, _ in runs]))
    start = time.perf_counter()
    usual = sb.fit(target, rng=0)
    r["default tol"] = {"seconds": time.perf_counter() - start, "KL": usual.q.kl(best), "counts": usual.counts}
    say(f"sbpfast, {'with' if hessian else 'without'} Hessian", r,
        f"; has stopped itself, diagnostics and all, by {r['seconds, stopping itself']:.2f} s; "
        f"default tol: KL {r['default tol']['KL']:.1e} in {r['default tol']['seconds']:.2f} s")  # fmt: skip
    return r


def theirs(name, peer, family, X, y, best, setting):
    """The figures of a peer's fits, or None where it is not installed."""
    runs = [peer(X, y, seed, **setting) for seed in range(SEEDS)]
    if runs[0] is None:
        return None
    r = summarised([with_kl(trace, family, best) for trace, _ in runs])
    r |= {"setting": setting, "compilation, seconds": float(np.median([compiling for _, compiling in runs]))}
    say(name, r, f"; compiling {r['compilation, seconds']:.2f} s" if r["compilation, seconds"] else "")
    return r


def study(quick):
    """By number of coordinates, every method's seconds and trace of KL from the best Gaussian of the exact fit."""
    results = {}
    for d in (10,) if quick else (10, 50):
        X, y = logistic_data(20 * d, d)
        best = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0).q
        print(f"density through callables, d = {d}, {20 * d} rows: until KL {NEAR:g} from the best Gaussian")
        here = {f"sbpfast, {word} Hessian": ours(X, y, best, word == "with") for word in ("with", "without")}
        settings = QUICK if quick else (BLACKJAX[d], GSM[d])
        rows = (("BlackJAX full-rank VI", blackjax_fullrank, sb.CholeskyGaussian), ("GSM", gsm, sb.Gaussian))
        for (name, peer, family), setting in zip(rows, settings):
            r = theirs(name, peer, family, X, y, best, setting)
            if r is not None:
                here[name] = r
        results[f"d = {d}"] = here
    return results


LOOKS = {
    "sbpfast, with Hessian": ("o-", "tab:blue"),
    "sbpfast, without Hessian": ("s-", "tab:cyan"),
    "BlackJAX full-rank VI": ("-", "tab:orange"),
    "GSM": ("-", "tab:green"),
}


def draw(plt, results, folder):
    """The way of each method towards the best Gaussian."""
    figure, axes = plt.subplots(1, len(results), figsize=(11, 4.2), layout="constrained", squeeze=False)
    for ax, (title, methods) in zip(axes[0], results.items()):
        for name, r in methods.items():
            style, colour = LOOKS[name]
            seconds, kl = np.transpose(r["trace"])
            kl = np.minimum.accumulate(kl)  # as if each knew its best
            ax.loglog(seconds, kl, style, color=colour, markersize=5, linewidth=1.6, label=name)
        ax.axhline(NEAR, color="black", linewidth=0.8, linestyle=":")
        ax.set_title(f"logistic regression as callables, {title}")
        ax.set_xlabel("seconds, without compilation")
        ax.grid(alpha=0.25)
        ax.set_ylim(3e-5, 1e3)
    axes[0, 0].set_ylabel("KL from the best Gaussian")
    axes[0, 0].legend(frameon=False)
    figure.savefig(folder / "fit_peers.png", dpi=130)
