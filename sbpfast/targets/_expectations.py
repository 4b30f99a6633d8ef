"""Integrals of a link under one-dimensional Gaussians: E phi, E phi' and E phi'' under N(m, t^2).

One kernel (`_core/integrals.h`) does them for the exact estimator, the fit and the predictions; which rule serves which
t is the table `RULES`.  `curvature_moments` are what Newton's method needs beside them, at a lower accuracy.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast import _core

# Gauss-Hermite rules, and the largest t / (distance of the nearest singularity) for which each is exact to rounding;
# beyond the last the trapezoid rule takes over
HERMITE_SIZES = (3, 4, 6, 8, 12, 16)
HERMITE_REACH = (0.0045, 0.014, 0.043, 0.07, 0.125, 0.16)
WIDE = 12.0  # t beyond which softplus is integrated against the density that softens (t)_+ to it
WIDEST = 8.0  # t / (distance of the nearest singularity) beyond which other links are integrated in asinh


def _softening_rule(x, p, n):
    """The n-point Gauss rule of a density p at equally spaced x, by Lanczos's method."""
    p = p * (x[1] - x[0])
    basis, diagonal, off_diagonal = [np.sqrt(p / p.sum())], [], []
    for k in range(n):
        v = x * basis[k]
        diagonal.append(basis[k] @ v)
        for b in reversed(basis):
            v = v - (b @ v) * b
        off_diagonal.append(np.linalg.norm(v))
        basis.append(v / off_diagonal[-1])
    nodes, vectors = scipy.linalg.eigh_tridiagonal(diagonal, off_diagonal[:-1])
    return nodes, vectors[0] ** 2


def _softening_densities():
    """By number: -phi'' of the logistic link, and of the complementary log-log link at y = 1."""
    x = 0.1 * np.arange(-450, 451)
    yield x, scipy.special.expit(x) * scipy.special.expit(-x)
    x = 0.05 * np.arange(-800, 120)
    w = np.exp(x)
    slope = np.where(w < 700.0, w / np.expm1(np.minimum(w, 700.0)), 0.0)
    bend = np.where(w < 0.02, -w * (0.5 + w * (1.0 - w * w / 60.0) / 12.0), 1.0 - w - slope)
    yield x, -slope * bend


def _packed_rules():
    """The table of rules as `open_integral` in integrals.h reads it."""
    hermite = [np.polynomial.hermite_e.hermegauss(k) for k in HERMITE_SIZES]
    nodes = np.concatenate([nodes for nodes, _ in hermite])
    weights = np.concatenate([weights / weights.sum() for _, weights in hermite])
    head = (len(hermite), len(nodes), SOFTENING_SIZE, WIDE, WIDEST)
    softening = [array for rule in SOFTENING for array in rule]
    return np.concatenate([head, HERMITE_SIZES, HERMITE_REACH, nodes, weights, *softening])


SOFTENING_SIZE = 12
SOFTENING = [_softening_rule(x, p, SOFTENING_SIZE) for x, p in _softening_densities()]
RULES = _packed_rules()


def link_expectations(record, m, t, y, n_threads) -> np.ndarray:
    """E phi, E phi' and E phi'' under N(m_j, t_j^2), (3, N); `record` is `Ridge.link_record`."""
    out = np.empty((3, len(m)))
    _core.ridge.expectations(m, t, y, record, RULES, out, n_threads)
    return out


# -- for Newton's method ----------------------------------------------------------------------------------------------

ROWS = 128  # that share a quadrature rule
FAR = 10.0  # standard deviations from the singularities, beyond which they do not matter


def curvature_moments(target, m, t, n_threads):
    """E[phi'' z^k], k = 0, 1, 2, for phi'' at m + t z."""
    link, y = target.link, target.y
    if link.closed is None:
        return _integrated_moments(target, y, m, t, n_threads)
    closed = link.closed(m, t, y)
    if not link.mixed:
        return closed
    return np.stack(closed) + y * _integrated_moments(target, np.ones_like(y), m, t, n_threads)


def _integrated_moments(target, y, m, t, n_threads):
    """The same by quadrature, for given y."""
    link = target.link
    out = np.empty((3, len(m)))
    limit = WIDE if link.softplus else WIDEST * target.pole
    order = np.argsort(t)  # rows of like t share a rule
    for start in range(0, len(m), ROWS):
        rows = order[start : start + ROWS]
        z, w = _rough_rule(min(t[rows].max(), limit), target.pole)
        at = m[rows] + t[rows] * z[:, None]
        out[:, rows] = np.stack([w, w * z, w * z * z]) @ _curvatures(target, at, y[rows], n_threads)
    far = np.flatnonzero(t > limit)
    if len(far) and link.softplus:
        nodes, weights = SOFTENING[link.density]
        u = (nodes[:, None] - m[far]) / t[far]
        density = link.softplus * np.exp(-0.5 * u * u) / (math.sqrt(2.0 * math.pi) * t[far])
        out[:, far] = [weights @ (density * u**k) for k in range(3)]
    elif len(far):
        near_singularities = far[np.abs(m[far] - target.centres[far]) <= FAR * t[far]]
        for rows in (near_singularities[i : i + ROWS] for i in range(0, len(near_singularities), ROWS)):
            z, w = _rough_wide_rule(m[rows], t[rows], target.centres[rows], target.pole)
            c = _curvatures(target, m[rows] + t[rows] * z, y[rows], n_threads)
            out[:, rows] = [(w * z**k * c).sum(axis=0) for k in range(3)]
    return out


def _curvatures(target, at, y, n_threads):
    """phi'' at some points, (nodes, rows), for the y of the rows."""
    at = np.ascontiguousarray(at)
    v, s, c = np.empty_like(at), np.empty_like(at), np.empty_like(at)
    threads = n_threads if at.size > 2**16 else 1
    _core.ridge.link_derivatives(at, y, target.link.code, target.parameters, v, s, c, threads)
    return c


def _rough_rule(widest, pole):
    """A trapezoid rule good to about 1e-7, plenty for the derivative that a Newton step is solved with."""
    h = min(0.9, 1.2 * pole / (math.pi * max(widest, 1e-300)))
    z = h * np.arange(-math.ceil(6.0 / h), math.ceil(6.0 / h) + 1)
    return z, h * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _rough_wide_rule(m, t, centre, pole):
    """The same in s, m + t z = centre + pole sinh(s); nodes and weights (nodes, rows)."""
    ends = np.arcsinh((m - centre + np.multiply.outer((-6.0, 6.0), t)) / pole)
    h = 0.1
    s = h * np.arange(math.floor(ends[0].min() / h), math.ceil(ends[1].max() / h) + 1)[:, None]
    z = (centre + pole * np.sinh(s) - m) / t
    inside = np.abs(z) <= 7.0
    z = np.where(inside, z, 0.0)
    return z, np.where(inside, h * pole * np.cosh(s) / t * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi), 0.0)
