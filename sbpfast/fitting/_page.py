"""A fit as a picture: ELBO and residual by step, marginals beside their importance-sampled correction, and k-hat."""

from __future__ import annotations

import textwrap

import numpy as np
import scipy

MOST_MARGINALS = 12
FIT, RESIDUAL, CORRECTED = "tab:blue", "tab:red", "tab:orange"


def draw(fit, path, names):
    """Draw the page; to a file where a path is given.  Returns the matplotlib figure."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = min(len(names), MOST_MARGINALS)
    columns = min(shown, 4)
    rows = -(-shown // columns)
    heights = [3.4, 0.5 + 1.75 * rows]
    figure = Figure(figsize=(12, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06))
    outer = figure.add_gridspec(2, 1, height_ratios=heights)
    top, bottom = figure.add_subfigure(outer[0]), figure.add_subfigure(outer[1])
    trace, tail = top.subplots(1, 2)
    _trace(trace, fit)
    _tail(tail, fit)
    # the parameters furthest from 0 in standard deviations come first
    sd = np.sqrt(fit.q._variances())
    order = np.sort(np.argsort(-np.abs(fit.q.mean) / sd, kind="stable")[:shown])
    grid = bottom.subplots(rows, columns, squeeze=False).ravel()
    for axes, i in zip(grid, order):
        _marginal(axes, fit, i, names[i], sd[i])
    for axes in grid[shown:]:
        axes.set_axis_off()
    which = "" if shown == len(names) else f": the {shown} of {len(names)} parameters furthest from 0"
    bottom.suptitle(f"Marginals{which}", x=0.01, ha="left", fontsize=10)
    bottom.legend(*grid[0].get_legend_handles_labels(), loc="upper right", fontsize=9, frameon=False, ncols=2)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _trace(axes, fit):
    steps = np.arange(len(fit.elbo_trace))
    axes.plot(steps, fit.elbo_trace, "o-", color=FIT)
    axes.set_xlabel("step")
    axes.set_ylabel("ELBO", color=FIT)
    axes.locator_params(axis="x", integer=True)
    residual = axes.twinx()
    residual.semilogy(steps, np.maximum(fit.residual_trace, 1e-16), "s--", color=RESIDUAL, markersize=4)
    residual.set_ylabel("residual", color=RESIDUAL)
    error = f" ± {fit.elbo_stderr:.2g}" if fit.elbo_stderr else ""
    title = "\n".join(textwrap.wrap(fit.message, 75))
    axes.set_title(f"{title}\nELBO {fit.elbo:.6g}{error}, log evidence {fit.log_evidence:.6g}", fontsize=10)


def _tail(axes, fit):
    weights = np.sort(fit.importance_weights)[::-1]
    axes.loglog(np.arange(1, len(weights) + 1), weights * len(weights), ".", color=FIT, markersize=4)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylim(1e-3)
    axes.set_xlabel("draws from q, heaviest first")
    axes.set_ylabel("importance weight, mean 1")
    verdict, size = fit._sample().verdict, f"{fit.ess:.0f} of {len(weights)}"
    axes.set_title(f"Pareto k-hat {fit.khat:.2f} ({verdict})\neffective sample size {size}", fontsize=10)


def _marginal(axes, fit, i, name, sd):
    mean = fit.q.mean[i]
    x = np.linspace(mean - 4 * sd, mean + 4 * sd, 200)
    axes.fill_between(x, scipy.stats.norm.pdf(x, mean, sd), alpha=0.3, color=FIT, linewidth=0, label="fit")
    if np.isfinite(fit.psis_sd[i]):
        density = scipy.stats.norm.pdf(x, fit.psis_mean[i], fit.psis_sd[i])
        axes.plot(x, density, color=CORRECTED, linewidth=1.2, label="corrected by importance sampling")
    axes.axvline(0.0, color="black", linewidth=0.7)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0.0)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    sure = scipy.special.ndtr(abs(mean) / sd)
    axes.set_title(f"{name}, P({'>' if mean > 0 else '<'} 0) = {sure:.3f}", fontsize=8)
    axes.tick_params(labelsize=7)
