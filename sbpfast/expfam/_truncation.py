"""The truncated normal's integrals, quantiles and moment equations, free of differences of distribution functions.

Everything is measured from the point of the interval nearest to the mode (the *centre*): y = (x - centre)/scale, so
that the density is proportional to exp(-offset y - y^2/2), offset = (centre - loc)/scale.  Integrals of that over the
part of the interval where it has not fallen below e^-45 need no subtraction, however far in the tail or however narrow
the interval is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from sbpfast._likelihood import MLEDoesNotExist
from sbpfast.expfam._functions import LOG_2PI, standardised
from sbpfast.expfam._statistics import newton_vector

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_PANELS = 4
_FALL = 45.0


class Moments(NamedTuple):
    """Of y, for each component."""

    centre: np.ndarray
    offset: np.ndarray
    log_integral: np.ndarray  # log of int exp(-offset y - y^2/2) dy
    log_mass: np.ndarray  # log(Phi(beta) - Phi(alpha))
    first: np.ndarray  # E y
    second: np.ndarray  # E y^2
    variance: np.ndarray  # Var y
    mixed: np.ndarray  # Cov(y, y^2)
    variance_of_square: np.ndarray  # Var y^2


def moments(loc, scale, low, high) -> Moments:
    """Moments of the standardised distances from the centre, by Gauss-Legendre quadrature."""
    centre = np.clip(loc, low, high)
    offset = standardised(centre, loc, scale)
    ends = []
    for end, sign in ((high, 1.0), (low, -1.0)):
        slope = np.maximum(sign * offset, 0.0)
        reach = 2.0 * _FALL / (slope + np.hypot(slope, np.sqrt(2.0 * _FALL)))
        with np.errstate(invalid="ignore"):
            ends.append(sign * np.minimum(reach, sign * standardised(end, centre, scale)))
    y, w = _panels(ends[1], ends[0])
    mass = w * np.exp(-y * (offset[:, None] + 0.5 * y))
    total = mass.sum(axis=1)
    mass /= total[:, None]
    first, second = (mass * y).sum(axis=1), (mass * y * y).sum(axis=1)
    dy, dsquare = y - first[:, None], y * y - second[:, None]
    return Moments(
        centre, offset, np.log(total), np.log(total) - 0.5 * (offset * offset + LOG_2PI), first, second,
        (mass * dy * dy).sum(axis=1), (mass * dy * dsquare).sum(axis=1), (mass * dsquare * dsquare).sum(axis=1),
    )  # fmt: skip


def _panels(left, right):
    """Nodes and weights (d, m) on [left, 0] and [0, right], for each component."""
    fractions = (np.arange(_PANELS)[:, None] + 0.5 * (_NODES + 1.0)).reshape(-1) / _PANELS
    w = np.tile(0.5 * _WEIGHTS, _PANELS) / _PANELS
    y = np.concatenate([left[:, None] * fractions, right[:, None] * fractions], axis=1)
    return y, np.concatenate([-left[:, None] * w, right[:, None] * w], axis=1)


def covariance_of_powers(m, scale) -> list:
    """Cov of (x, x^2) from the moments of y, x = centre + scale y."""
    c, s = m.centre, scale
    xx = s * s * m.variance
    xq = s * s * (2.0 * c * m.variance + s * m.mixed)
    qq = s * s * (4.0 * c * c * m.variance + 4.0 * c * s * m.mixed + s * s * m.variance_of_square)
    return [[xx, xq], [xq, qq]]


_HAZARD_NODES, _HAZARD_WEIGHTS = np.polynomial.legendre.leggauss(16)


def hazard(z) -> np.ndarray:
    """phi(z) / (1 - Phi(z)) of the standard normal."""
    return np.sqrt(2.0 / np.pi) / special.erfcx(z / np.sqrt(2.0))


def _hazard_integral(start, length) -> np.ndarray:
    """Integral of the hazard over [start, start + length]: minus the log of the share of the tail that lies beyond.

    Good to 1e-13 for lengths up to 4, and from a start above 0 as long as it is below 40.
    """
    nodes = start[..., None] + 0.5 * length[..., None] * (_HAZARD_NODES + 1.0)
    return 0.5 * length * (hazard(nodes) @ _HAZARD_WEIGHTS)


def quantile(u, loc, scale, low, high) -> np.ndarray:
    """The inverse distribution function of u (n, d), to full precision of the distance from the nearer bound."""
    with np.errstate(all="ignore"):
        flip = (low - loc) + (high - loc) < 0.0  # the nearer bound is the one with more of the density around it
        start, width = np.where(flip, (loc - high) / scale, (low - loc) / scale), (high - low) / scale
        v, rest = np.where(flip, 1.0 - u, u), np.where(flip, u, 1.0 - u)
        s = _distance(v, rest, start, width)
        bounded = np.where(flip, high - scale * s, low + scale * s)
        return np.clip(np.where(np.isinf(start), loc + scale * special.ndtri(u), bounded), low, high)


def distribution(x, loc, scale, low, high) -> np.ndarray:
    """The distribution function at x (n, d), by the tails beyond the nearer bound."""
    with np.errstate(all="ignore"):
        flip = (low - loc) + (high - loc) < 0.0
        start, width = np.where(flip, (loc - high) / scale, (low - loc) / scale), (high - low) / scale
        s = np.where(flip, (high - x) / scale, (x - low) / scale)
        h, whole = (_fall(np.broadcast_to(start, np.shape(v)), v) for v in (s, np.broadcast_to(width, np.shape(s))))
        inside, beyond = np.expm1(-h) / np.expm1(-whole), np.exp(-h) * np.expm1(h - whole) / np.expm1(-whole)
        beyond = np.where(np.isinf(whole), np.exp(-h), beyond)
        return np.where(np.isinf(start), special.ndtr((x - loc) / scale), np.where(flip, beyond, inside))


def _fall(start, length):
    """Minus the log of the share of the tail from start that lies beyond start + length."""
    reach = np.minimum(length, 40.0 / np.maximum(start, 1.0) + 9.0)  # to a fall of 40 at least
    straight = special.log_ndtr(-start) - special.log_ndtr(-start - length)
    return np.where((start >= 0.0) | (length <= 4.0), _hazard_integral(start, reach), straight)


def _distance(v, rest, start, width):
    """s at which the standard normal truncated to [start, start + width] has distribution function v = 1 - rest.

    With the integral h of the hazard from start on, h(s) = -log(1 - v (1 - e^(-h(width)))).
    """
    log_tail, whole = special.log_ndtr(-start), _fall(start, width)
    h = np.where((v < 0.5) | (whole < 1.0), -np.log1p(v * np.expm1(-whole)), -np.log(rest + v * np.exp(-whole)))
    s = -special.ndtri_exp(log_tail - h) - start
    rough = (h < 1e-3) | (s < 1e-3 * (1.0 + np.abs(start)))  # what is left of the digits, next to the bound or far out
    s[rough] = _refined(s[rough], h[rough], np.broadcast_to(start, s.shape)[rough])
    return s


def _refined(s, h, start):
    """Two Newton steps, from another start where s is as good as lost."""
    growth = np.maximum(-start, 1e-300)  # of the density next to the bound
    near = np.where(start < 0.0, np.log1p(growth * h / hazard(start)) / growth, h / hazard(start))
    s = np.where(start > 1e3, 2.0 * h / (start + np.sqrt(start * start + 2.0 * h)), s)
    s = np.where((h < 1e-6) & (near < 0.3), near, s)
    for _ in range(2):
        s = s - (_hazard_integral(start, s) - h) / hazard(start + s)
    return s


# -- maximum likelihood -----------------------------------------------------------------------------------------------


def solve(mean, variance, low, high, family) -> tuple[tuple[float, float], int, float]:
    """(loc, scale) of one component with this mean and variance, by Newton's method in standardised coordinates."""
    if np.isinf(low) and np.isinf(high):
        return (mean, float(np.sqrt(variance))), 0, 0.0
    if np.isinf(low):
        (loc, scale), iterations, gap = solve(-mean, variance, -high, -low, family)
        return (-loc, scale), iterations, gap
    first, unit = mean - low, (high - low if np.isfinite(high) else mean - low)
    if first <= 0 or (np.isfinite(high) and mean >= high):
        raise MLEDoesNotExist(f"{family}: the mean of the data lies on the boundary of the support")
    if np.isinf(high) and variance >= first * first:
        raise MLEDoesNotExist(
            f"{family}: on a half-line the mean square distance from the bound must be below twice the squared mean "
            "distance; the likelihood rises towards the exponential distribution, which no loc and scale give"
        )
    target = np.array([first / unit, (variance + first * first) / unit**2])
    if np.isfinite(high) and target[1] >= target[0]:
        raise MLEDoesNotExist(f"{family}: all observations lie on the bounds")
    width = 1.0 if np.isfinite(high) else np.inf
    spread = variance / unit**2
    start = np.array([target[0] / spread, -0.5 / spread])
    eta, iterations, gap = newton_vector(
        lambda e: _power_moments(e, width)[0] - target,
        lambda e, g: np.linalg.solve(_power_moments(e, width)[1], g),
        start,
        lambda e, step: e + step if np.isfinite(width) or e[1] + step[1] < 0 else None,
    )
    if eta[1] >= 0:
        raise MLEDoesNotExist(
            f"{family}: the maximum over the natural parameters is at eta2 >= 0 (the data lean to the bounds), "
            "which no loc and scale give"
        )
    scale = np.sqrt(-0.5 / eta[1])
    return (low + unit * eta[0] * scale * scale, unit * scale), iterations, gap


def _power_moments(eta, width):
    """Mean and covariance of (y, y^2) under the density proportional to exp(eta1 y + eta2 y^2) on [0, width]."""
    y, w = _tilted_panels(eta, width)
    exponent = eta[0] * y + eta[1] * y * y
    mass = w * np.exp(exponent - exponent.max())
    mass /= mass.sum()
    powers = np.stack([y, y * y])
    mean = powers @ mass
    centred = powers - mean[:, None]
    return mean, (centred * mass) @ centred.T


def _tilted_panels(eta, width):
    """Panels that resolve the peak of a concave exponent, or the two ends of a convex one."""
    e1, e2 = float(eta[0]), float(eta[1])
    if e2 < 0:
        peak = min(max(-0.5 * e1 / e2, 0.0), width)
        slope = e1 + 2.0 * e2 * peak

        def reach(s):
            return 2.0 * _FALL / (s + np.sqrt(s * s - 4.0 * e2 * _FALL))

        left, right = -min(peak, reach(max(slope, 0.0))), min(width - peak, reach(max(-slope, 0.0)))
        y, w = _panels(np.array([left]), np.array([right]))
        return peak + y[0], w[0]
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-40.0, 0.0)])
    edges = 0.5 * width * np.concatenate([edges, (2.0 - edges)[::-1]])
    edges = np.unique(edges)
    half = 0.5 * np.diff(edges)
    y = (0.5 * (edges[1:] + edges[:-1]))[:, None] + half[:, None] * _NODES
    return y.reshape(-1), (half[:, None] * _WEIGHTS).reshape(-1)
