"""Why a log density cannot be normalised: asked where a fit does not converge, since most densities are proper."""

from __future__ import annotations

import math
import warnings

import numpy as np
import scipy

from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._ridge import Ridge
from sbpfast.targets._target import point_text

RADII = 10.0 ** np.arange(1, 7)  # distances from the mean, in standard deviations, at which f is looked at
LONGEST_SEARCH = 20.0  # seconds for a linear programme
FIRST_FALL = 12.0  # of f from the mean to the first radius
MOST_RAYS = 512
TOO_LARGE = 1e-2 / float(np.finfo(float).eps)  # a value of f whose last digit is worth more than a hundredth
MOSTLY = 0.9  # of the directions


class ImproperDensity(ValueError):
    """The density cannot be normalised, or has no best Gaussian: the ELBO grows without bound."""


def dependent_columns(direction) -> ImproperDensity:
    """The error for a line along which a regression with a flat prior is constant."""
    largest = sorted(np.argsort(-np.abs(direction))[:3].tolist())
    return ImproperDensity(
        f"the log density does not change along a line in which parameters {', '.join(map(str, largest))} take part, "
        "so it cannot be normalised; drop a column that is a combination of others, or give a finite prior_scale"
    )


def refuse_improper(target, mean, directions) -> int:
    """Raise ImproperDensity where that can be shown; directions (m, d) are about a standard deviation long.

    Otherwise the number of points at which f was looked at.
    """
    direction = flat_direction(target)
    if direction is not None:
        reason = f" ({target.link.improper})" if target.link.improper else ""
        raise ImproperDensity(
            f"the log density never falls along a line of parameters {_largest(direction)}, so it cannot "
            f"be normalised{reason}; give these parameters a finite prior_scale"
        )
    direction, looked_at = unnormalisable_ray(target, mean, directions)
    if direction is None:
        return looked_at
    mistake = _mistake(target, mean, directions)
    if mistake is not None:
        raise ImproperDensity(mistake)
    raise ImproperDensity(
        "the log density does not fall fast enough along a line of parameters "
        f"{_largest(direction)} (as far out as {RADII[-1]:.0e} standard deviations), so it cannot be normalised "
        "and no Gaussian is best; give every parameter a proper prior"
    )


def _mistake(target, mean, directions) -> str | None:
    """What else may be wrong: f grows wherever one looks, or is so large that rounding hides it; or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflow
        at_zero, at_mean = _values(target, np.stack([np.zeros_like(mean), mean]))
        rays = np.concatenate([directions, -directions])[:MOST_RAYS]
        around, around_zero = _values(target, mean + RADII[0] * rays), _values(target, RADII[0] * rays)
    if abs(at_zero) > TOO_LARGE:
        return (
            f"f is {at_zero:.3g} at the zero vector: rounding hides how it changes, and no Gaussian is best; leave out "
            "its constant"
        )
    if at_mean > TOO_LARGE or max(np.mean(around > at_mean), np.mean(around_zero > at_zero)) >= MOSTLY:
        return (
            f"f grows without bound, as far as can be seen, so exp(f) cannot be normalised: did you return -log p? "
            f"f must be the log density itself (it is {at_mean:.3g} at {point_text(mean)}), with a proper prior"
        )
    return None


def _largest(direction):
    """The numbers of the parameters that take most part, three at most."""
    order = [i for i in np.argsort(-np.abs(direction))[:3] if abs(direction[i]) > 1e-6 * np.abs(direction).max()]
    return ", ".join(str(i) for i in sorted(order))


def flat_direction(target: Target):
    """A direction u along which no term of a log-concave ridge target ever falls, by a linear programme; or None.

    Far along u a term rises, falls or stays according to the sign of a_j . u alone, so u must lie in a cone; with data
    y of 0 and 1 this is the linear separability of a logistic regression (Albert & Anderson 1984).  Where
    the rows are too many for memory it is not known.
    """
    whole = target._in_memory()
    return None if whole is None else _flat_direction(whole)


def _flat_direction(target: Ridge):
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
    link = target.link
    if link.flat_weights == 0.0 or (link.flat_weights * target.weights < 0.0).any():
        return None
    return link.flat_side(target.y)


def unnormalisable_ray(target, mean, directions):
    """A direction in which exp f falls no faster than 1/distance, as far as can be seen, so that its integral diverges.

    Where f stops being finite it must have been rising.  None where there is no such direction; and the number of
    points looked at.
    """
    rays = np.concatenate([directions, -directions])[:MOST_RAYS]
    looking, rising = np.ones(len(rays), dtype=bool), np.zeros(len(rays), dtype=bool)
    fall, looked_at = FIRST_FALL, 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflow
        before = np.full(len(rays), _values(target, mean[None])[0])
        for radius in RADII:
            value = _values(target, mean + radius * rays)
            looked_at += len(rays)
            looking &= np.isfinite(value)
            slow = np.where(looking, value - before >= -fall, rising)
            rising = np.where(looking, value > before, rising)
            rays, looking, rising, before = rays[slow], looking[slow], rising[slow], value[slow]
            if len(rays) == 0:
                return None, looked_at
            fall = math.log(10.0)
    return rays[0], looked_at


def _values(target, points):
    """f at points, NaN where it is not finite."""
    try:
        return target._value(points)
    except NonFiniteTarget:
        if len(points) == 1:
            return np.full(1, math.nan)
    return np.concatenate([_values(target, point[None]) for point in points])
