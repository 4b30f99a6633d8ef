"""Why a log density cannot be normalised: asked where a fit does not converge, since most densities are proper."""

from __future__ import annotations

import math
import warnings

import numpy as np
import scipy

from sbpfast.targets import NonFiniteTarget
from sbpfast.targets._ridge import Ridge

RADII = 10.0 ** np.arange(1, 7)  # distances from the mean, in standard deviations, at which f is looked at
LONGEST_SEARCH = 20.0  # seconds for a linear programme
FIRST_FALL = 12.0  # of f from the mean to the first radius
MOST_RAYS = 512


class ImproperDensity(ValueError):
    """The density cannot be normalised, or has no best Gaussian: the ELBO grows without bound."""


def dependent_columns(direction) -> ImproperDensity:
    """The error for a line along which a regression with a flat prior is constant."""
    largest = sorted(np.argsort(-np.abs(direction))[:3].tolist())
    return ImproperDensity(
        f"the log density does not change along a line in which parameters {', '.join(map(str, largest))} take part, "
        "so it cannot be normalised; drop a column that is a combination of others, or give a finite prior_scale"
    )


def refuse_improper(target, mean, directions) -> None:
    """Raise ImproperDensity where that can be shown; directions (m, d) are about a standard deviation long."""
    direction = flat_direction(target) if isinstance(target, Ridge) else None
    if direction is not None:
        raise ImproperDensity(
            f"the log density never falls along a line of parameters {_largest(direction)}, so it cannot "
            f"be normalised{REASONS.get(target.link_name, '')}; give these parameters a finite prior_scale"
        )
    direction = unnormalisable_ray(target, mean, directions)
    if direction is not None:
        raise ImproperDensity(
            "the log density does not fall fast enough along a line of parameters "
            f"{_largest(direction)} (as far out as {RADII[-1]:.0e} standard deviations), so it cannot be normalised "
            "and no Gaussian is best; give every parameter a proper prior"
        )


REASONS = {
    "logistic": " (it separates the responses)",
    "probit": " (it separates the responses)",
    "poisson": " (every count that it changes is 0)",
}


def _largest(direction):
    """The numbers of the parameters that take most part, three at most."""
    order = [i for i in np.argsort(-np.abs(direction))[:3] if abs(direction[i]) > 1e-6 * np.abs(direction).max()]
    return ", ".join(str(i) for i in sorted(order))


def flat_direction(target: Ridge):
    """A direction u along which no term of a log-concave ridge target ever falls, by a linear programme; or None.

    Far along u a term rises, falls or stays according to the sign of a_j . u alone, so u must lie in a cone; with data
    y of 0 and 1 this is the linear separability of a logistic regression (Albert & Anderson 1984).
    """
    side = _flat_side(target)
    precision = target.quadratic.precision
    if side is None or precision.ndim == 2 or (precision < 0.0).any() or not (precision == 0.0).any():
        return None
    flat = precision == 0.0
    use = target.weights != 0.0
    a, side = scipy.sparse.csr_array(target.design[use].matrix[:, flat]), side[use]
    size = np.maximum(abs(a).max(axis=0).toarray().ravel(), 1e-300)
    signed = scipy.sparse.diags_array(np.where(side == 0.0, 1.0, side)) @ a @ scipy.sparse.diags_array(1.0 / size)
    free = side != 0.0
    gain = -np.asarray(signed[free].sum(axis=0)).ravel()
    found = scipy.optimize.linprog(
        gain,
        A_ub=-signed[free] if free.any() else None, b_ub=np.zeros(int(free.sum())) if free.any() else None,
        A_eq=signed[~free] if (~free).any() else None, b_eq=np.zeros(int((~free).sum())) if (~free).any() else None,
        bounds=(-1.0, 1.0), method="highs", options={"time_limit": LONGEST_SEARCH},
    )  # fmt: skip
    if found.x is None or found.fun > -1e-6:
        return None
    direction = np.zeros(target.dim)
    direction[flat] = found.x / size
    return direction


def _flat_side(target):
    """For each term the sign of a_j . u with which it never falls (0: only with a_j . u = 0); None for other links."""
    y, link = target.y, target.link_name
    positive = bool((target.weights >= 0.0).all())
    negative = bool((target.weights <= 0.0).all())
    if link in ("logistic", "probit") and positive:
        return np.where(y == 1.0, 1.0, np.where(y == 0.0, -1.0, 0.0))
    if link == "poisson" and positive:
        return np.where(y == 0.0, -1.0, 0.0)
    if link in ("softplus", "exp") and negative:
        return np.full(len(y), -1.0)
    return None


def unnormalisable_ray(target, mean, directions):
    """A direction in which exp f falls no faster than 1/distance, as far as can be seen, so that its integral diverges.

    Where f stops being finite it must have been rising.
    """
    rays = np.concatenate([directions, -directions])[:MOST_RAYS]
    slow, rising = np.ones(len(rays), dtype=bool), np.zeros(len(rays), dtype=bool)
    looking = np.ones(len(rays), dtype=bool)
    fall = FIRST_FALL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflow
        before = _values(target, np.broadcast_to(mean, rays.shape).copy())
        for radius in RADII:
            value = _values(target, mean + radius * rays)
            looking &= np.isfinite(value)
            slow &= np.where(looking, value - before >= -fall, rising)
            rising = np.where(looking, value > before, rising)
            before, fall = value, math.log(10.0)
    return rays[np.argmax(slow)] if slow.any() else None


def _values(target, points):
    """f at points, NaN where it is not finite."""
    try:
        return target._value(points)
    except NonFiniteTarget:
        if len(points) == 1:
            return np.full(1, math.nan)
    return np.concatenate([_values(target, point[None]) for point in points])
