"""A fit as a picture: what is left to gain by step, importance weights, and marginals beside their correction."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import scipy

MOST_MARGINALS = 12
WIDEST_NAME = 34  # characters in a line above a marginal
FIT, RESIDUAL, CORRECTED, RULE = "tab:blue", "tab:red", "tab:orange", "0.35"


def draw(fit, path, names):
    """Draw the page; to a file where a path is given.  Returns the matplotlib figure."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = min(len(names), MOST_MARGINALS)
    columns = min(shown, 4)
    rows = -(-shown // columns)
    heights = [3.5, 0.6 + 1.9 * rows]
    figure = Figure(figsize=(12, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    outer = figure.add_gridspec(2, 1, height_ratios=heights)
    top, bottom = figure.add_subfigure(outer[0]), figure.add_subfigure(outer[1])
    trace, weights = top.subplots(1, 2)
    _trace(trace, fit)
    _weights(weights, fit)
    # the parameters furthest from 0 in standard deviations come first
    sd = np.sqrt(fit.q._variances())
    order = np.sort(np.argsort(-np.abs(fit.q.mean) / sd, kind="stable")[:shown])
    grid = bottom.subplots(rows, columns, squeeze=False).ravel()
    for axes, i in zip(grid, order):
        _marginal(axes, fit, i, names[i], sd[i])
    for axes in grid[shown:]:
        axes.set_axis_off()
    which = "" if shown == len(names) else f": the {shown} of {len(names)} parameters furthest from 0"
    bottom.suptitle(f"Marginals{which}", x=0.01, ha="left", fontsize=11)
    bottom.legend(*grid[0].get_legend_handles_labels(), loc="upper right", fontsize=9, frameon=False, ncols=2)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _trace(axes, fit):
    """Both curves fall towards the optimum, on one logarithmic scale: the ELBO itself stands in the title."""
    steps, elbo = np.arange(len(fit.elbo_trace)), fit.elbo_trace
    left = elbo.max() - elbo
    visible = left > 1e-14 * (1.0 + np.abs(elbo).max())  # more than rounding
    if visible.any():
        axes.semilogy(steps[visible], left[visible], "o-", color=FIT, markersize=5, label="ELBO below its best, nats")
    residual = np.maximum(fit.residual_trace, 1e-16)
    axes.semilogy(steps, residual, "s--", color=RESIDUAL, markersize=4, label="residual")
    axes.set_xlabel("step")
    axes.set_xlim(-0.02 * max(len(steps) - 1, 1), 1.02 * max(len(steps) - 1, 1))
    axes.locator_params(axis="x", integer=True)
    if len(steps) == 1:
        axes.text(0.5, 0.5, "the start is the optimum: no step was needed", ha="center", transform=axes.transAxes)
    _decade_ticks(axes)
    axes.legend(fontsize=9, frameon=False)
    error = f" ± {fit.elbo_stderr:.2g}" if fit.elbo_stderr else ""
    evidence = f"ELBO {_digits(fit.elbo)}{error}, log evidence {_digits(fit.log_evidence)}"
    _headline(axes, [*textwrap.wrap(_sentence(fit.message), 70), evidence])


def _weights(axes, fit):
    """Sorted, on logarithmic scales, on which a Pareto tail of shape k-hat is a line of slope -k-hat."""
    sample = fit._sample()
    if len(sample.weights) == 0:
        axes.text(0.5, 0.5, "the weights are not at hand", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
    else:
        weights = np.sort(sample.weights)[::-1] * sample.n
        tail = math.ceil(min(0.2 * sample.n, 3.0 * math.sqrt(sample.n)))
        rank = np.arange(1, sample.n + 1)
        axes.loglog(rank[tail:], weights[tail:], ".", color=FIT, markersize=4, label="draws from q")
        axes.loglog(rank[:tail], weights[:tail], ".", color=CORRECTED, markersize=5, label="the tail that gives k-hat")
        axes.axhline(1.0, color=RULE, linewidth=0.8)
        heaviest, lightest = weights[0], weights[-max(1, sample.n // 200)]
        axes.set_ylim(min(0.1, 0.5 * max(lightest, 1e-4)), max(10.0, 2.0 * heaviest))
        axes.set_xlim(0.8, 1.25 * sample.n)
        axes.set_xlabel("draws from q, heaviest first")
        axes.set_ylabel("importance weight, mean 1")
        axes.legend(fontsize=9, frameon=False, loc="lower left")
        _decade_ticks(axes)
    size = f"effective sample size {fit.ess:.0f} of {sample.n}"
    _headline(axes, [f"Pareto k-hat {sample.khat_text}", size])


def _headline(axes, lines):
    axes.set_title("\n".join(lines), fontsize=10, loc="left")
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)


def _decade_ticks(axes):
    """Few powers of ten, and at least two."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axes.get_ylim()
    if high < 100.0 * low:
        axes.set_ylim(0.3 * low, 3.0 * high)
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", alpha=0.25)


def _marginal(axes, fit, i, name, sd):
    mean = fit.q.mean[i]
    x = np.linspace(mean - 4 * sd, mean + 4 * sd, 200)
    axes.fill_between(x, scipy.stats.norm.pdf(x, mean, sd), alpha=0.3, color=FIT, linewidth=0, label="fit")
    if np.isfinite(fit.psis_sd[i]):
        density = scipy.stats.norm.pdf(x, fit.psis_mean[i], fit.psis_sd[i])
        axes.plot(x, density, color=CORRECTED, linewidth=1.2, label="corrected by importance sampling")
    if x[0] < 0.0 < x[-1]:
        axes.axvline(0.0, color=RULE, linewidth=0.8)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0.0)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    sure = scipy.special.ndtr(abs(mean) / sd)
    certain = f"= {sure:.3f}" if sure < 0.9995 else "> 0.999"
    axes.set_title(f"{_shortened(name)}\nP({'>' if mean > 0 else '<'} 0) {certain}", fontsize=8)
    _round_ticks(axes, x[0], x[-1])


def _round_ticks(axes, low, high):
    """Round numbers in full, as many as have room beside one another."""
    from matplotlib.ticker import MaxNLocator

    for most in (5, 4, 3, 2):
        ticks = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
        digits = max(4, math.ceil(math.log10(max(abs(low), abs(high)) / step)) + 2)
        labels = [f"{0.0 if abs(tick) < 1e-9 * step else tick:.{digits}g}".replace("-", "−") for tick in ticks]
        if sum(map(len, labels)) <= 30:
            break
    axes.set_xticks(ticks, labels, fontsize=7)


def _shortened(name):
    """A long name in two lines, and its middle left out where it is longer still."""
    lines = textwrap.wrap(name, WIDEST_NAME) or [name]
    if len(lines) > 2:
        kept = WIDEST_NAME - 1
        lines = [name[:kept] + "…", name[-kept:]]
    return "\n".join(lines)


def _sentence(text):
    return text[0].upper() + text[1:]


def _digits(value):
    """Two decimals, or six digits of what is small."""
    return f"{value:.2f}" if abs(value) >= 10.0 else f"{value:.6g}"
