"""A fit as a picture: ELBO and residual by step, marginals beside their importance-sampled correction, and k-hat."""

from __future__ import annotations

import numpy as np
import scipy

MOST_MARGINALS = 12


def draw(fit, path, names):
    """Draw the page; to a file where a path is given.  Returns the matplotlib figure."""
    from matplotlib.figure import Figure

    shown = min(len(names), MOST_MARGINALS)
    rows = -(-shown // 4)
    figure = Figure(figsize=(12, 3.2 + 1.9 * rows), layout="constrained")
    grid = figure.add_gridspec(1 + rows, 4, height_ratios=[1.5, *[1.0] * rows])
    _trace(figure.add_subplot(grid[0, :2]), fit)
    _tail(figure.add_subplot(grid[0, 2:]), fit)
    # the parameters furthest from 0 in standard deviations come first
    sd = np.sqrt(fit.q._variances())
    order = np.sort(np.argsort(-np.abs(fit.q.mean) / sd, kind="stable")[:shown])
    for place, i in enumerate(order):
        _marginal(figure.add_subplot(grid[1 + place // 4, place % 4]), fit, i, names[i], sd[i])
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _trace(axes, fit):
    steps = np.arange(len(fit.elbo_trace))
    axes.plot(steps, fit.elbo_trace, "o-", color="tab:blue")
    axes.set_xlabel("step")
    axes.set_ylabel("ELBO", color="tab:blue")
    residual = axes.twinx()
    residual.semilogy(steps, np.maximum(fit.residual_trace, 1e-16), "s--", color="tab:red", markersize=4)
    residual.set_ylabel("residual", color="tab:red")
    axes.set_title(fit.message, fontsize=9)


def _tail(axes, fit):
    weights = np.sort(fit.importance_weights)[::-1]
    axes.loglog(np.arange(1, len(weights) + 1), weights * len(weights), ".", markersize=3)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("draws from q, heaviest first")
    axes.set_ylabel("importance weight, mean 1")
    verdict, size = fit._sample().verdict, f"{fit.ess:.0f} of {len(weights)}"
    axes.set_title(f"Pareto k-hat {fit.khat:.2f} ({verdict}), effective sample size {size}", fontsize=9)


def _marginal(axes, fit, i, name, sd):
    mean = fit.q.mean[i]
    x = np.linspace(mean - 4 * sd, mean + 4 * sd, 200)
    axes.fill_between(
        x, np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), alpha=0.3, color="tab:blue", label="q"
    )
    if np.isfinite(fit.psis_sd[i]):
        density = scipy.stats.norm.pdf(x, fit.psis_mean[i], fit.psis_sd[i])
        axes.plot(x, density, color="tab:orange", linewidth=1, label="with PSIS moments")
    axes.axvline(0.0, color="black", linewidth=0.6)
    axes.set_xlim(x[0], x[-1])
    axes.set_yticks([])
    axes.set_title(name, fontsize=8)
    axes.tick_params(labelsize=7)
