"""Adaptive Gauss-Legendre quadrature of vector functions, and panels that cover a unimodal density.

Every call of the integrand gets the nodes of all panels that are still being refined, so a vectorised target pays for a
handful of calls.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_LEVELS = 40
RTOL = 1e-13  # what a smooth integrand in double precision allows
_PANELS = 8192  # refined at a time; more means a function that oscillates beyond what panels can follow
_PANELS_OF_THE_LOST = 64  # the same, once that was so: the accuracy is lost already
_DROP = 45.0  # fall of the log density at which a tail may end, if the integrand is negligible there too
_DEPTH = 700.0  # and at which it must, because the density is about to underflow
ENOUGH = 27.7  # a fall at the last point of the line beyond which less than 1e-12 of the mass is lost
_GROWTH = 1.5


class Integral:
    """A running integral of a vector function, and the integral of its absolute value."""

    def __init__(self, function: Callable, rtol=RTOL):
        self.function, self.rtol = function, rtol
        self.value: np.ndarray | float = 0.0
        self.scale: np.ndarray | float = 0.0
        self._most = _PANELS
        self.panels: list[np.ndarray] = []  # those accepted, as (m, 2)

    def add(self, edges) -> float:
        """Add consecutive panels, and return the largest share they added to an integral of the absolute value.

        A panel is accepted when its 16-point rule agrees with the two rules on its halves to rtol of the integral of
        the absolute value, and is halved otherwise.
        """
        a, b = edges[:-1], edges[1:]
        coarse, size = self._rules(a, b)
        added = size.sum(axis=0)
        self.scale = self.scale + added
        for _ in range(_LEVELS):
            middle = 0.5 * (a + b)
            halves_a, halves_b = np.concatenate([a, middle]), np.concatenate([middle, b])
            halves, _ = self._rules(halves_a, halves_b)
            fine = halves[: len(a)] + halves[len(a) :]
            coarse_before = coarse
            done = (np.abs(fine - coarse) <= self.rtol * self.scale).all(axis=1)
            self.value = self.value + fine[done].sum(axis=0)
            left = ~np.concatenate([done, done])
            self.panels.append(np.stack([halves_a[~left], halves_b[~left]], axis=1))
            a, b, coarse = halves_a[left], halves_b[left], halves[left]
            if not 0 < len(a) <= self._most or not np.isfinite(self.scale).all():
                break
        self.value = self.value + coarse.sum(axis=0)
        if len(a) > self._most:
            self._most = _PANELS_OF_THE_LOST
        if len(a):
            self._report(np.abs(fine - coarse_before)[~done].sum(axis=0))
        return float(np.max(added / np.maximum(self.scale, 1e-300)))

    def _report(self, error):
        if (error > max(1e-8, 10.0 * self.rtol) * self.scale).any():
            text = "quadrature did not reach 1e-8: the target oscillates or jumps more often than panels can follow"
            warnings.warn(text, RuntimeWarning, stacklevel=5)

    def _rules(self, a, b):
        half = 0.5 * (b - a)
        t = (0.5 * (a + b))[:, None] + half[:, None] * _NODES
        values = self.function(t.reshape(-1)).reshape(len(a), len(_NODES), -1)
        weights = half[:, None, None] * _WEIGHTS[:, None]
        return (weights * values).sum(axis=1), (weights * np.abs(values)).sum(axis=1)


def reach(log_density: Callable, low, high, furthest) -> tuple[float, float]:
    """Ends of the line between which a density on it lies: low < 0 and high > 0, doubled where that is not enough.

    Raises
    ------
    ValueError
        The log density has not fallen enough at -furthest or furthest.
    """
    while True:
        top = float(log_density(np.array([mode(log_density, low, high)]))[0])
        fall = top - log_density(np.array([low, high]))
        short = ~(fall >= _DROP)
        if not short.any():
            return low, high
        at_end = np.array([low <= -furthest, high >= furthest])
        if (short & at_end & ~(fall >= ENOUGH)).any():
            raise ValueError("the density has not vanished at the ends of what quadrature can reach")
        if (at_end | ~short).all():
            return low, high
        low = max(2.0 * low, -furthest) if short[0] else low
        high = min(2.0 * high, furthest) if short[1] else high


def integrate_line(function: Callable, log_density: Callable, low, high, breaks=(), fall=_DROP, rtol=RTOL) -> Integral:
    """Integral over [low, high] of function(t (m,)) -> (m, q), a unimodal density times something.

    Panels start at the peak, with the width over which the log density falls by 1 on the steeper side, and grow
    outwards until the density and the integrand are both negligible.

    Parameters
    ----------
    function, log_density : callable
        Of t (m,).
    low, high : float
        Finite ends.
    breaks : sequence of float
        Points where the integrand may jump.
    fall : float
        The fall of the log density down to which panels are laid whatever the integrand is.
    rtol : float
        The accuracy wanted, which is no better than the rounding of the integrand.
    """
    peak = mode(log_density, low, high)
    top = float(log_density(np.array([peak]))[0])
    integral = Integral(function, rtol)
    cores, tails = [], []
    sides = [(s, lambda v, s=s: top - log_density(peak + s * v), s * (e - peak)) for s, e in ((1.0, high), (-1.0, low))]
    width = min((_distance(drop, length, 1.0) for _, drop, length in sides if length > 0.0), default=0.0)
    for sign, drop, length in sides:
        core, tail = _distances(drop, length, width, fall)
        inner = [sign * (b - peak) for b in breaks if 0.0 < sign * (b - peak) < length]
        cores.append(peak + sign * np.unique(np.concatenate([core, inner])))
        tails.append(peak + sign * tail)
    integral.add(np.concatenate([cores[1][::-1], [peak], cores[0]]))
    for edges in tails:
        _extend(integral, edges)
    return integral


def _extend(integral, edges):
    """Add panels outwards until one adds next to nothing."""
    for a, b in itertools.pairwise(edges):
        if not np.isfinite(integral.scale).all():
            return  # and so is the value, which the caller sees
        if integral.add(np.array([min(a, b), max(a, b)])) < 1e-15:
            return


def mode(log_density, low, high) -> float:
    """The mode of a density, to 1e-6 and so well that the density is flat around it, as far as doubles can tell."""
    for _ in range(60):  # 32^60 covers all doubles
        grid = np.linspace(low, high, 65)
        values = log_density(grid)
        i = int(np.argmax(np.where(np.isnan(values), -np.inf, values)))
        j, k = max(i - 1, 0), min(i + 1, 64)
        low, high = grid[j], grid[k]
        size, least = abs(low) + abs(high), min(values[j], values[k])
        flat = high - low < 1e-6 * (1.0 + size) and values[i] < least + 0.1
        if flat or high - low <= 1e-15 * size:
            break
    return float(grid[i])


def _distances(drop, length, width, fall):
    """Ends of panels from the peak to a fall of `fall`, and on from there to where the density underflows."""
    if length <= 0.0:
        return np.empty(0), np.empty(0)
    core, end = (_distance(drop, length, f) for f in (fall, max(fall, _DEPTH)))
    steps = width * (_GROWTH ** np.arange(1, 120) - 1.0) / (_GROWTH - 1.0)
    inner, outer = steps[steps < 0.9 * core], steps[(steps > 1.1 * core) & (steps < end)]
    return np.append(inner, core), np.concatenate([[core], outer, [end][: int(end > core)]])


def _distance(drop, length, fall):
    """Where the log density has fallen by `fall`, or the end of the line."""
    steps = np.minimum(length, 1e-20 * 2.0 ** np.arange(120))
    with np.errstate(invalid="ignore"):
        i = int(np.argmax(~(drop(steps) < fall) | (steps == length)))
    low, high = (steps[i - 1] if i else 0.0), steps[i]
    for _ in range(40):
        middle = 0.5 * (low + high)
        if drop(np.array([middle]))[0] < fall:
            low = middle
        else:
            high = middle
    return high
