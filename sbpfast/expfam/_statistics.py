"""Maximum likelihood: centred, mergeable statistics and the solution of grad A(eta) = mean u.

Families whose statistics are (y, phi(y)) with a convex phi (y^2, -log y, 1/y) are determined by the mean of y and the
*Jensen gap*, mean phi(y) - phi(mean y) >= 0.  The gap is accumulated as a mean of Bregman divergences
D(y, c) = phi(y) - phi(c) - phi'(c)(y - c) from the centre of each chunk, terms that are all positive, so that data with
a mean of 1e8 and a spread of 1 lose nothing.  The mean log-likelihood is the log density at the mean plus the gap times
a natural parameter, so it loses nothing either.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sbpfast import _checks, _core
from sbpfast._likelihood import CHUNK, LEAST_SQUARE, MLE, Mergeable, MLEDoesNotExist, check_prior, clean_data
from sbpfast.expfam._functions import exp_gap, log_gap, log_ratio
from sbpfast.expfam._points import Points


class Solution(NamedTuple):
    """Parameters (arrays (d,)) that solve the moment equations."""

    source: dict[str, np.ndarray]
    iterations: int = 0
    gap: float = 0.0


class Gap(NamedTuple):
    """A convex function phi of a linear statistic y, for statistics that are (y, phi(y)) up to order and sign.

    A point's y has shape (d,), or (j, d) where a component has j coordinates (with a phi for each, or one for all).
    """

    y: Callable  # points and the family's constants to y, (..., n, d)
    divergence: Callable  # D(y, c)
    from_means: Callable = list  # mean parameters to [mean y, gap]
    compiled: bool = False  # phi is -log: one compiled pass over the data


def square_divergence(y, c):
    """Of phi(y) = y^2."""
    return (y - c) ** 2


def log_divergence(y, c):
    """Of phi(y) = -log y."""
    d = (y - c) / c
    return np.where(d < -0.5, d - (np.log(y) - np.log(c)), log_gap(np.maximum(d, -0.5)))  # 1 + d rounds where y << c


def inverse_divergence(y, c):
    """Of phi(y) = 1/y."""
    d = (y - c) / c
    return d * d / y


def count_divergence(y, c):
    """Of phi(y) = y log y: between Poisson distributions with means y and c."""
    with np.errstate(divide="ignore"):
        return np.where(y > 0, y * exp_gap(log_ratio(c, np.where(y > 0, y, 1.0))), c)


# -- statistics of data -----------------------------------------------------------------------------------------------


class Statistics(Mergeable):
    """Mean statistics of weighted data; statistics of two parts of the data add up to those of the whole.

    Attributes
    ----------
    weight : float
        The sum of the weights.
    summary : list of ndarray (d,)
        The means of the sufficient statistics, or mean and Jensen gap; (j, d) for j coordinates a component.
    low, high : ndarray (d,)
        The extremes of the data.
    log_base : ndarray (d,)
        The mean of log h; of the log density at the parameters that fit a point best, for counts.
    """

    def __init__(self, family, constants, scalar, weight, summary, low, high, log_base):
        self.family, self.constants, self.scalar = family, constants, scalar
        self.weight, self.summary, self.low, self.high, self.log_base = weight, summary, low, high, log_base

    def __repr__(self):
        return f"Statistics({self.family.__name__}, weight={self.weight:.10g}, components={len(self.low)})"

    def __add__(self, other):
        if not isinstance(other, Statistics):
            return NotImplemented
        same = self.constants.keys() == other.constants.keys() and all(
            np.array_equal(v, other.constants[k]) for k, v in self.constants.items()
        )
        if self.family is not other.family or not same:
            raise ValueError("only statistics of one family with the same constants can be merged")
        if self.low.shape != other.low.shape:
            raise ValueError(f"statistics of {len(self.low)} and {len(other.low)} components cannot be merged")
        weight = self.weight + other.weight
        share = other.weight / weight
        summary = merge(self.family._gap, self.summary, other.summary, share)
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        log_base = self.log_base + share * (other.log_base - self.log_base)
        return Statistics(self.family, self.constants, self.scalar, weight, summary, low, high, log_base)


def merge(gap, first, second, share) -> list:
    """Summaries of two parts into one; share is the second's part of the weight."""
    means = [a + share * (b - a) for a, b in zip(first, second)]
    if gap is None:
        return means
    centre = means[0]
    spread = (1.0 - share) * gap.divergence(first[0], centre) + share * gap.divergence(second[0], centre)
    return [centre, means[1] + spread]


def statistics(family, x, weights, constants) -> Statistics:
    """The statistics of data, chunk by chunk."""
    compiled = family._gap is not None and family._gap.compiled
    x, weights, scalar = clean_data("x", x, weights, finite=not compiled)
    c = family._constants(constants, (x.shape[1],))
    if compiled:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return _compiled_statistics(family, x, weights, scalar)
    parts = []
    for start in range(0, len(x), CHUNK):
        rows = x[start : start + CHUNK]
        w = np.ones(len(rows)) if weights is None else weights[start : start + CHUNK]
        with np.errstate(over="ignore", invalid="ignore"):
            parts.append(_chunk(family, rows, w, c, constants, scalar))
    return functools.reduce(operator.add, parts)


def _compiled_statistics(family, x, weights, scalar):
    """Mean and Jensen gap of -log from sums about a provisional centre, the mean of the first observations.

    Data are checked after the event: a y that is not positive and finite shows in the sums and the extremes.
    """
    y = family._gap.y(Points(x), None)
    columns = np.ascontiguousarray(np.moveaxis(y, -2, 0)).reshape(len(x), -1)
    centre = columns[:512].mean(axis=0)
    if not (np.isfinite(centre).all() and (columns[:512] > 0).all()):
        family._features(_checks.real_array("x", x), {})
    sums = np.empty((4, len(centre)))
    _core.statistics.log_divergence_sums(columns, weights, centre, sums, _core.effective_threads(None))
    linear, divergence, low, high = sums
    if not (np.isfinite(sums).all() and (low > 0).all()):
        family._features(_checks.real_array("x", x), {})
    weight = float(len(x)) if weights is None else weights.sum()
    mean = np.clip(centre * (1.0 + linear / weight), low, high)
    gap = np.maximum(divergence / weight - family._gap.divergence(mean, centre), 0.0) * (low < high)
    summary = [v.reshape(np.delete(y.shape, -2)) for v in (mean, gap)]
    if y is not x:
        low, high = x.min(axis=0), x.max(axis=0)
    return Statistics(family, {}, scalar, weight, summary, low, high, np.zeros(x.shape[1]))


def _require_representable(family, stats):
    """Refuse data whose sums overflow, or whose squares underflow."""
    small = np.zeros(1, dtype=bool)
    if family._squares:
        extent = stats.high - stats.low if family._gap is not None else stats.high
        small = (stats.summary[-1] < LEAST_SQUARE) & (extent > 0)
    if small.any() or not all(np.isfinite(s).all() for s in stats.summary):
        allowed = "spreads from 1e-146 to 1e154" if family._squares else "sums below 1.8e308"
        raise ValueError(
            f"x is outside the range of {family.__name__}.fit, {allowed}: it reaches from {stats.low.min()} to "
            f"{stats.high.max()}; rescale it"
        )


def _chunk(family, rows, w, c, constants, scalar):
    t = family._features(rows, c)
    weight = w.sum()

    def mean(a):
        return w @ a / weight

    p = _Constants(c)
    if family._gap is None:
        summary = [mean(u) for u in family._averages(t, p)]
    else:
        y = family._gap.y(t, p)
        low, high = y.min(axis=-2), y.max(axis=-2)
        centre = np.clip(mean(y), low, high)
        summary = [centre, mean(family._gap.divergence(y, centre[..., None, :]))]
    base = family._averaged_base(t, p)
    log_base = np.full(rows.shape[1], base) if np.ndim(base) == 0 else mean(np.broadcast_to(base, rows.shape))
    return Statistics(family, constants, scalar, weight, summary, rows.min(axis=0), rows.max(axis=0), log_base)


class _Constants:
    """The constants of a family as attributes, where the parameters are not known yet."""

    def __init__(self, c):
        self.__dict__.update(c)


# -- the maximum ------------------------------------------------------------------------------------------------------


def maximum_likelihood(family, stats, prior) -> MLE:
    """The fit of a one-dimensional family with independent components."""
    _require_representable(family, stats)
    c = family._constants(stats.constants, stats.low.shape)
    summary = stats.summary
    if prior is not None:
        nu, m0 = check_prior(prior)
        summary = merge(family._gap, summary, _pseudo_data(family, m0, c, summary), nu / (nu + stats.weight))
    elif family._collapsed(stats.low == stats.high).any():
        j = int(np.argmax(stats.low == stats.high))
        raise MLEDoesNotExist(
            f"{family.__name__}: all observations of component {j} equal {stats.low[j]}: the likelihood has no maximum"
        )
    solution = family._solve(summary, c)
    q = family._make(solution.source, stats.constants, stats.scalar)
    log_likelihood = stats.weight * np.sum(family._mean_log_likelihood(q._p, stats.summary, stats.log_base))
    if np.isnan([log_likelihood, solution.gap]).any():
        raise ValueError(
            f"the likelihood of {family.__name__} cannot be computed in double precision at its maximum, {q!r}"
        )
    return MLE(q, log_likelihood, solution.iterations, solution.gap, solution.gap < 1e-12 * len(stats.low))


def _pseudo_data(family, m0, c, summary):
    """The summary of a prior's mean statistics, in the shape of that of the data."""
    columns, _ = family._columns("m0 of prior", m0)
    try:
        return [np.broadcast_to(m, np.shape(s)) for m, s in zip(family._from_means(columns, c), summary)]
    except ValueError:
        raise ValueError(f"m0 of prior must fit the data, got shape {np.shape(m0)}") from None


def require(inside, family, what) -> None:
    """Raise MLEDoesNotExist, naming the first component where a condition fails."""
    inside = np.atleast_1d(inside)
    if not inside.all():
        raise MLEDoesNotExist(f"{family}: {what} (component {int(np.argmin(inside))})")


# -- Newton -----------------------------------------------------------------------------------------------------------


def newton_scalar(gradient: Callable, slope: Callable, start, low, high) -> tuple[np.ndarray, int, float]:
    """Root of an increasing function for each component: Newton steps, bisection where they leave the bracket.

    Returns the roots, the steps, and the sum of the squared Newton decrements g^2 / slope.
    """
    x = np.array(start, dtype=np.float64)
    low, high = np.broadcast_to(low, x.shape).copy(), np.broadcast_to(high, x.shape).copy()
    before, done = np.full(x.shape, np.inf), np.zeros(x.shape, dtype=bool)
    iterations = 0
    for _ in range(200):
        iterations += 1
        g, s = gradient(x), slope(x)
        low, high = np.where(g < 0, x, low), np.where(g > 0, x, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = x - g / s
        outside = ~((step >= low) & (step <= high) & np.isfinite(step))
        new = np.where(done | (g == 0), x, np.where(outside, _middle(low, high, x), step))
        moved = np.abs(new - x)
        x = new
        settled = ~outside & (moved < 1e-8 * np.abs(x)) & (moved >= 0.25 * before)  # steps of rounding's size
        done |= settled | (moved <= 4e-16 * np.abs(x)) | (high - low <= 4e-16 * np.abs(x))
        if done.all():
            break
        before = moved
    g, s = gradient(x), slope(x)
    return x, iterations, float(np.sum(g * g / s))


def bisection(function: Callable, wanted, low, high) -> np.ndarray:
    """Where an increasing function takes the wanted values, for each of them, between low and high."""
    low, high = np.full(wanted.shape, float(low)), np.full(wanted.shape, float(high))
    for _ in range(200):
        x = 0.5 * (low + high)
        below = function(x) < wanted
        low, high = np.where(below, x, low), np.where(below, high, x)
        if (high - low <= 2e-16 * np.maximum(np.abs(low), np.abs(high))).all():
            break
    return high


def _middle(low, high, x):
    """Between the ends; outwards by doubling where an end is infinite."""
    with np.errstate(invalid="ignore"):
        inner = 0.5 * (low + high)
    up, down = np.where(x > 0, 2.0 * x, 0.5 * x + 1.0), np.where(x < 0, 2.0 * x, 0.5 * x - 1.0)
    return np.where(
        np.isinf(high) & np.isinf(low), x, np.where(np.isinf(high), up, np.where(np.isinf(low), down, inner))
    )


def newton_vector(gradient: Callable, solve: Callable, start, move: Callable) -> tuple[np.ndarray, int, float]:
    """Minimum of a convex function of a vector from its gradient and solve(x, g), the inverse Hessian at x times g.

    move(x, step) is the point a step away, None outside the domain; x may hold it in any form.  Lengths of a step are
    bisected until the point is inside the domain and the slope along the step has shrunk to 0.9 of its size or less, a
    line search that never subtracts large function values.

    Returns the minimum, the steps, and the squared Newton decrement there.
    """
    x = np.array(start, dtype=np.float64)
    g = gradient(x)
    decrement = np.inf
    iterations = 0
    for _ in range(500):
        iterations += 1
        step = -solve(x, g)
        slope = float(g @ step)
        decrement_here = -slope
        if (
            not np.isfinite(slope)
            or decrement_here <= 0.0
            or (decrement_here < 1e-14 and decrement_here >= 0.25 * decrement)
        ):
            break
        decrement = decrement_here
        found = _line_search(gradient, move, x, step, slope)
        if found is None:
            break
        x, g = found
    return x, iterations, max(float(g @ solve(x, g)), 0.0)


def _line_search(gradient, move, x, step, slope):
    """The first point and gradient that will do, or None."""
    short, long, length = 0.0, None, 1.0
    for _ in range(60):
        new = move(x, length * step)
        turned = np.inf
        if new is not None:
            g = gradient(new)
            turned = float(g @ step) if np.isfinite(g).all() else np.inf
            if abs(turned) <= 0.9 * abs(slope) + 1e-30:
                return new, g
        if turned > 0:
            long = length
        elif long is None:
            return new, g  # a full step that falls all the way is a good one
        else:
            short = length
        length = 0.5 * (short + long)
    return None
