"""A mode of a log density and the Laplace approximation there, by gradients alone.

L-BFGS (Nocedal 1980) in coordinates u of x = origin + frame u, then the Hessian by differences of gradients along the
columns of the frame, which makes the next frame: there -Hess f is I where it was positive definite, else that of its
absolute values, so that the search leaves saddle points (Dauphin et al. 2014).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sbpfast._economy_draws import Points
from sbpfast._whitened import refactored, upper_factor
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
            "f or a derivative is not finite at the zero vector, where the fit starts; pass q0 to start elsewhere"
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
        resolved = 0.0 < values[-1] < LARGEST and values[0] > values[-1] / WIDEST_RANGE
        if values[0] < 0.0 and np.linalg.norm(frame.T @ here.gradient) < ROUGHLY:
            here = _off_the_saddle(points, here, frame @ vectors[:, 0] / np.sqrt(-values[0]))
        frame = _next_frame(frame, values, vectors)
    return Mode(here.x, frame, False)


def _next_frame(frame, values, vectors):
    size, largest = np.abs(values), np.abs(values).max()
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
            direction *= reach / max(reach, np.linalg.norm(direction))
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
    step = STEP
    try:
        _, ahead = points.value_and_grad(here.x + step * frame.T)
    except NonFiniteTarget:
        return None
    h = ((here.gradient - ahead) / step) @ frame
    return 0.5 * (h + h.T)
