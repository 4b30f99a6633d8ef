"""A regression with groups as a picture: fixed effects, scales, and the levels of every group as a caterpillar."""

from __future__ import annotations

import numpy as np

MOST_LEVELS = 60  # drawn one by one with their names
MOST_DRAWN = 2000  # of a caterpillar
COLOUR, RULE = "tab:blue", "0.35"


def draw(model, path):
    """Draw the page; to a file where a path is given.  Returns the matplotlib figure."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = [(group, a) for group in model._known for a in range(len(group.effects))]
    columns = 2 + len(panels)
    tallest = max(min(len(group.levels), MOST_LEVELS) for group in model._known)
    height = max(4.0, 0.16 * tallest + 1.5)
    figure = Figure(figsize=(4.0 * columns, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    axes = figure.subplots(1, columns)
    summary = model.summary()
    fixed, scales = summary.fixed, summary.random
    _intervals(axes[0], fixed.names, fixed["mean"], fixed["low"], fixed["high"], "Fixed effects")
    value = scales["mean"] if "mean" in scales.columns else scales["value"]
    ends = (scales["low"], scales["high"]) if "low" in scales.columns else (value, value)
    _intervals(axes[1], scales.names, value, *ends, "Scales")
    for panel, (group, a) in zip(axes[2:], panels):
        _caterpillar(panel, model.random_effects_[group.name], group, a)
    figure.suptitle(model.message_[0].upper() + model.message_[1:], x=0.01, ha="left", fontsize=9)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _intervals(axes, names, mean, low, high, title):
    at = np.arange(len(names))[::-1]
    axes.hlines(at, low, high, color=COLOUR, linewidth=1.6)
    axes.plot(mean, at, "o", color=COLOUR, markersize=4)
    axes.set_yticks(at, names, fontsize=8)
    axes.set_ylim(-0.7, len(names) - 0.3)
    _finish(axes, title)


def _caterpillar(axes, effects, group, a):
    """Levels by the size of their effect, with 95 % intervals."""
    mean, sd = (np.reshape(effects[name], (len(group.levels), -1))[:, a] for name in ("mean", "sd"))
    order = np.argsort(mean, kind="stable")
    order = order[:: max(1, -(-len(order) // MOST_DRAWN))]
    at = np.arange(len(order))
    axes.hlines(at, mean[order] - 1.96 * sd[order], mean[order] + 1.96 * sd[order], color=COLOUR, linewidth=0.9)
    axes.plot(mean[order], at, ".", color=COLOUR, markersize=4)
    if len(order) <= MOST_LEVELS:
        axes.set_yticks(at, [str(level) for level in group.levels[order]], fontsize=6)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(group.levels)} levels" + (f", {len(order)} drawn" * (len(order) < len(group.levels))))
    axes.set_ylim(-1.0, len(order))
    _finish(axes, f"{group.name}: {group.effects[a]}")


def _finish(axes, title):
    low, high = axes.get_xlim()
    if low < 0.0 < high:
        axes.axvline(0.0, color=RULE, linewidth=0.8)
    for side in ("right", "top", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title, fontsize=10, loc="left")
