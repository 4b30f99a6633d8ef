"""Scales integrated out: conditional Gaussians on a grid or a central composite design around the best theta.

The points lie in the eigenvectors of the curvature at the maximum, in units of its standard deviations, as in INLA
(Rue, Martino & Chopin 2009): a grid, whose sum is the trapezoid rule, for up to three parameters; beyond, the centre
and a sphere of points whose weights give a Gaussian's mass and variances exactly.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from sbpfast.fitting._mixed_arrow import Effects
from sbpfast.fitting._mixed_scales import TOL

MOST_ON_GRID = 3
STEPS = (0.8, 1.1, 1.2)  # of the grid, by dimension: the trapezoid rule of a Gaussian is off by 2 exp(-2 (pi/step)^2)
DROPS = (8.0, 6.5, 5.0)  # of the log density, to where the grid goes
MOST_POINTS = 400
RADIUS = 1.1  # of the sphere of the design, times the root of the dimension
WALSH = (
    1,
    2,
    4,
    8,
    15,
    16,
    32,
    51,
    64,
    85,
    106,
    128,
    150,
    171,
    219,
    237,
    247,
)  # factors of resolution V (Sanchez & Sanchez 2005)
LEAST_SHARE = 1e-6  # of the weight, below which a point is dropped
POINT_TOL = 1e-6  # of the conditional fits at the points, whose ELBOs are weights
STEP = 0.2  # in standard deviations, for the curvature


class Point:
    """A value of theta, the logarithm of its weight, and the Gaussian there."""

    def __init__(self, theta, log_weight, elbo, fit):
        self.theta, self.log_weight, self.elbo, self.fit = theta, log_weight, elbo, fit


def integrated(profile, maximum, keep) -> tuple[list[Point], float]:
    """Points whose weights sum to 1, and the logarithm of the integral of exp(ELBO) times the prior.

    `keep` makes of a conditional fit what stays of it.
    """
    dim = profile.layout.dim
    if dim > len(WALSH):
        raise ValueError(f"scales='integrate' takes at most {len(WALSH)} scales and other parameters, got {dim}")
    profile(maximum.theta, TOL)
    axes, drift = _axes(profile, maximum)
    points = Points(profile, maximum.theta, axes, drift, keep)
    if dim <= MOST_ON_GRID:
        found = _grid(points, dim)
        log_cell = dim * math.log(STEPS[dim - 1])
    else:
        found = _design(points, dim)
        log_cell = 0.5 * dim * math.log(2.0 * math.pi) + math.log(1.0 - RADIUS**-2)
    logs = np.array([point.log_weight for point in found])
    total = float(np.logaddexp.reduce(logs))
    kept = [point for point in found if point.log_weight - total > math.log(LEAST_SHARE)]
    rest = float(np.logaddexp.reduce([point.log_weight for point in kept]))
    for point in kept:
        point.log_weight -= rest
    return kept, total + log_cell + float(np.linalg.slogdet(axes)[1])


def _axes(profile, maximum):
    """Columns, one standard deviation of theta along each eigenvector of the curvature; and how fits follow theta."""
    dim, centre = profile.layout.dim, profile.here.state
    size = STEP * np.sqrt(np.diagonal(maximum.inverse_hessian))
    hessian, drift = np.empty((dim, dim)), Drift(centre)
    for i in range(dim):
        ends = []
        for sign in (1.0, -1.0):
            theta = maximum.theta.copy()
            theta[i] += sign * size[i]
            ends.append((profile(theta, TOL, centre)[1], profile.here.state))
        hessian[i] = (ends[1][0] - ends[0][0]) / (2.0 * size[i])
        drift.add(ends[0][1], ends[1][1], 2.0 * size[i])
    profile.here = centre
    unit = np.sqrt(np.diagonal(maximum.inverse_hessian))
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T) * np.outer(unit, unit))
    values = np.maximum(values, 0.05)  # of a direction about which the data say nothing
    return unit[:, None] * vectors / np.sqrt(values), drift


class Drift:
    """How a conditional fit's mean and curvatures move with theta, to first order, by differences of fits."""

    def __init__(self, centre):
        self.centre, self.means, self.logs = centre, [], []

    def add(self, after, before, size) -> None:
        """The next element of theta, from fits at both its ends."""
        self.means.append(after.mean.plus(before.mean, -1.0).times(1.0 / size))
        with np.errstate(divide="ignore", invalid="ignore"):
            self.logs.append(np.nan_to_num((after.w - before.w) / (size * self.centre.w), posinf=0.0, neginf=0.0))

    def ahead(self, fit, change) -> tuple[Effects, np.ndarray]:
        """Mean and curvatures expected at a change of theta from a fit."""
        mean, log = fit.mean, np.zeros_like(fit.w)
        for slope, rate, by in zip(self.means, self.logs, change):
            mean, log = mean.plus(slope, by), log + by * rate
        return mean, fit.w * np.exp(np.clip(log, -1.0, 1.0))


class Points:
    """Conditional fits at values of theta in units of the axes, each from another's."""

    def __init__(self, profile, theta, axes, drift, keep):
        self.profile, self.theta, self.axes, self.drift, self.keep = profile, theta, axes, drift, keep
        self.centre = profile.here.state

    def at(self, z, log_factor=0.0, start=None) -> Point:
        """The point at z; `start` is another's (z, fit), the centre's where it is not given."""
        nearest, fit = (np.zeros_like(z), self.centre) if start is None else start
        theta = self.theta + self.axes @ z
        value, _ = self.profile(theta, POINT_TOL, fit, self.drift.ahead(fit, self.axes @ (z - nearest)))
        return Point(theta, value + log_factor, self.profile.here.elbo, self.keep(self.profile.here))


def _grid(points, dim) -> list[Point]:
    """From the maximum outwards, each point from its neighbour's fit."""
    step, drop = STEPS[dim - 1], DROPS[dim - 1]
    origin = (0,) * dim
    centre = points.at(np.zeros(dim))
    found, front = {origin: centre}, [(origin, points.profile.here.state)]
    while front:
        nearest, front = front, []
        for at, fit in nearest:
            for neighbour, fall in _outwards(at, step):
                expected = found[at].log_weight - 0.7 * fall
                if neighbour in found or expected < centre.log_weight - drop or len(found) > MOST_POINTS:
                    continue
                found[neighbour] = points.at(step * np.array(neighbour), start=(step * np.array(at), fit))
                front.append((neighbour, points.profile.here.state))
    return list(found.values())


def _outwards(at, step):
    """Neighbours further from 0, and how much a Gaussian falls on the way."""
    for i, k in enumerate(at):
        for sign in (1, -1):
            if sign * k >= 0:
                yield (*at[:i], k + sign, *at[i + 1 :]), 0.5 * step**2 * (2 * abs(k) + 1)


def _design(points, dim) -> list[Point]:
    """The centre and a sphere of points: stars on the axes and the corners of a fractional factorial."""
    sphere = RADIUS * np.concatenate([math.sqrt(dim) * np.vstack([np.eye(dim), -np.eye(dim)]), corners(dim)])
    log_factor = 0.5 * dim * RADIUS**2 - math.log(len(sphere) * (RADIUS**2 - 1.0))
    return [points.at(np.zeros(dim)), *(points.at(z, log_factor) for z in sphere)]


def corners(dim) -> np.ndarray:
    """Signs (n, dim) of a two-level design in which no two products of two factors are confounded."""
    factors = WALSH[:dim]
    runs = 1 << max(factors).bit_length()
    return np.array([[1.0 - 2.0 * ((run & f).bit_count() % 2) for f in factors] for run in range(runs)])


def is_resolution_five(factors) -> bool:
    """Whether all factors and all their products of two differ."""
    pairs = [a ^ b for a, b in itertools.combinations(factors, 2)]
    return len({0, *factors, *pairs}) == 1 + len(factors) + len(pairs)
