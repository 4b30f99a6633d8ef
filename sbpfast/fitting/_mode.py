"""A mode of a log density and the Laplace approximation there, by gradients alone.

L-BFGS (Nocedal 1980) in coordinates u of x = origin + frame u, then the Hessian by differences of gradients along the
columns of the frame, which makes the next frame: there -Hess f is I where it was positive definite, else that of its
absolute values, so that the search leaves saddle points (Dauphin et al. 2014).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sbpfast.fitting._factors import refactored, upper_factor
from sbpfast.fitting._sets import Points
from sbpfast.fitting._start import place
from sbpfast.targets import NonFiniteTarget

MEMORY = 10
MOST_STEPS = (100, 50, 50, 50)  # of L-BFGS, before each Hessian
ROUGHLY, CLOSELY = 1e-2, 1e-8  # nats to be gained, where a climb ends: in a frame that is a guess, in a Hessian's
STALLED = 5  # steps that together gain less than that
STEP = 1e-4  # of the differences, in the coordinates of a frame
LEAST_POSITIVE, LEAST_NEGATIVE = 1e-8, 1e-3  # curvature given to a direction, as a part of the largest
LARGEST, WIDEST_RANGE = 1e5, 1e7  # curvatures in a frame that differences resolve
FAR = 2.0  # standard deviations from the last Hessian, beyond which it is taken again
SHORTEST = 1e-10


class Mode(NamedTuple):
    """Where a climb ended, the factor of the Laplace covariance, and whether this is a maximum of f."""

    mean: np.ndarray
    chol: np.ndarray
    proper: bool


class _Place(NamedTuple):
    x: np.ndarray
    value: float
    gradient: np.ndarray


def find_mode(points: Points, x, frame) -> Mode:
    """A mode near x; frame (d, d), lower triangular, is a guess of the Laplace factor."""
    here = _at(points, x)
    if here is None:
        raise NonFiniteTarget(
            f"f or a derivative is not finite at {place(x)}, where the fit starts; pass q0 to start elsewhere"
        )
    resolved = False
    for most in MOST_STEPS:
        start = here.x
        here = _climb(points, here, frame, most, resolved)
        moved = np.linalg.norm(np.linalg.solve(frame, here.x - start))
        if resolved and moved < FAR:
            return Mode(here.x, frame, True)
        hessian = _hessian(points, here, frame)
        if hessian is None or not hessian.any():
            break
        values, vectors = np.linalg.eigh(hessian)
        resolved = bool(0.0 < values[-1] < LARGEST and values[0] > values[-1] / WIDEST_RANGE)
        if values[0] < 0.0 and np.linalg.norm(frame.T @ here.gradient) < ROUGHLY:
            here = _off_the_saddle(points, here, frame @ vectors[:, 0] / np.sqrt(-values[0]))
        frame = _next_frame(frame, values, vectors)
    return Mode(here.x, frame, False)


def _next_frame(frame, values, vectors):
    size, largest = np.abs(values), float(np.abs(values).max())
    size = np.maximum(size, largest * np.where(values > 0.0, LEAST_POSITIVE, LEAST_NEGATIVE))
    return refactored(frame, upper_factor((vectors * size) @ vectors.T))


def _at(points, x) -> _Place | None:
    try:
        f, g = points.value_and_grad(x[None])
    except NonFiniteTarget:
        return None
    return _Place(x, float(f[0]), g[0])


def _off_the_saddle(points, here, kick) -> _Place:
    ends = [end for end in (_at(points, here.x + kick), _at(points, here.x - kick)) if end is not None]
    return max([here, *ends], key=lambda place: place.value)


def _climb(points, here, frame, most, resolved) -> _Place:
    """L-BFGS ascent; the first step is Newton's where the frame is that of a Hessian, else of length 1, 2, 4, ..."""
    left = CLOSELY if resolved else ROUGHLY
    secants: list[tuple] = []
    gains: list[float] = []
    reach = 1.0
    for _ in range(most):
        slope = frame.T @ here.gradient
        direction = _two_loops(slope, secants)
        if not (secants or resolved):
            direction *= reach / max(reach, float(np.linalg.norm(direction)))
        rise = float(slope @ direction)
        if min(rise, float(slope @ slope)) < left:
            break
        ahead, rate = _line_search(points, here, frame @ direction, rise)
        if ahead is None:
            break
        step, fall = rate * direction, slope - frame.T @ ahead.gradient
        if step @ fall > 1e-8 * np.linalg.norm(step) * np.linalg.norm(fall):
            secants = [*secants, (step, fall)][-MEMORY:]
        else:  # f bends upwards
            secants, reach = [], 2.0 * float(np.linalg.norm(step))
        gains.append(ahead.value - here.value)
        here = ahead
        if len(gains) >= STALLED and sum(gains[-STALLED:]) < left:
            break
    return here


def _line_search(points, here, direction, rise):
    """The first of ever shorter steps that raises f by enough, and its rate; None where there is none."""
    rate = 1.0
    while rate > SHORTEST:
        ahead = _at(points, here.x + rate * direction)
        if ahead is not None and ahead.value >= here.value + 1e-4 * rate * rise:
            return ahead, rate
        if ahead is None:
            rate *= 0.1
        else:  # the maximum of the parabola through both values and the slope
            rate *= float(np.clip(0.5 * rise / (rise - (ahead.value - here.value) / rate), 0.1, 0.5))
    return None, 0.0


def _two_loops(slope, secants):
    """The quasi-Newton direction from the last steps and falls of the gradient along them."""
    direction, alphas = slope.copy(), []
    for s, y in reversed(secants):
        alphas.append(float(s @ direction) / float(s @ y))
        direction -= alphas[-1] * y
    if secants:
        s, y = secants[-1]
        direction *= float(s @ y) / float(y @ y)
    for (s, y), alpha in zip(secants, reversed(alphas)):
        direction += (alpha - float(y @ direction) / float(s @ y)) * s
    return direction


def _hessian(points, here, frame):
    """frame^T (-Hess f) frame by one-sided differences; None where f is not finite so near."""
    try:
        _, ahead = points.value_and_grad(here.x + STEP * frame.T)
    except NonFiniteTarget:
        return None
    h = ((here.gradient - ahead) / STEP) @ frame
    return 0.5 * (h + h.T)


# -- other modes ------------------------------------------------------------------------------------------------------

WIDER = np.array([4.0, 8.0, 16.0, 32.0])  # times as far out as a draw: pairs of points to climb from
CLIMB = 20  # steps
FURTHER = 80  # steps of those that end apart, which may be on their way along a ridge
CLIMBED = 1e-3  # length of a gradient, in standard deviations, at the end of a climb that found a mode
APART = 1.0  # standard deviations between two modes, and
DIP = 0.5  # nats that f falls between them
NEGLIGIBLE = 10.0  # nats below the mode at hand


class FarPoints(Points):
    """Points so far out that a function which fails there says nothing against it."""

    def value_and_grad(self, x):
        try:
            return super().value_and_grad(x)
        except (ArithmeticError, ValueError) as error:
            raise NonFiniteTarget(str(error)) from error


def other_modes(points: Points, mean, frame, draws, most) -> np.ndarray:
    """Modes of f apart from the one next to the mean, (k, d), from climbs that start far out along draws of N(0, I).

    No climb begins after `most` evaluations.

    k-hat sees what q reaches.  A mode counts where a climb ends with no slope left, f is not far below that of the mode
    at hand, and falls between the two.
    """
    home = _at(points, mean)
    if home is None:
        return np.zeros((0, len(mean)))
    home = _climb(points, home, frame, CLIMB, True)
    found: list[_Place] = []
    for z in np.concatenate([WIDER[:, None] * draws, -WIDER[:, None] * draws]):
        if points.counts["values"] > most:
            break
        start = _at(points, mean + frame @ z)
        end = None if start is None else _climb(points, start, frame, CLIMB, True)
        if end is None or not _new(points, end, (home, *found), frame):
            continue
        end = _climb(points, end, frame, FURTHER, True)
        if np.linalg.norm(frame.T @ end.gradient) < CLIMBED and _new(points, end, (home, *found), frame):
            found.append(end)
    return np.array([place.x for place in found]).reshape(-1, len(mean))


def _new(points, end, known, frame) -> bool:
    """Whether f is large there, and falls on the way to every known mode."""
    return end.value > known[0].value - NEGLIGIBLE and all(_apart(points, end, other, frame) for other in known)


def _apart(points, one, other, frame) -> bool:
    """Whether f falls on the way from one place to another."""
    if np.linalg.norm(np.linalg.solve(frame, one.x - other.x)) < APART:
        return False
    between = [_at(points, (1.0 - part) * one.x + part * other.x) for part in (0.25, 0.5, 0.75)]
    return any(place is None or place.value < min(one.value, other.value) - DIP for place in between)
