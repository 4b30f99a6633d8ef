"""Integrals of a link under one-dimensional Gaussians: E phi, E phi' and E phi'' under N(m, t^2)."""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast import _core

# Gauss-Hermite rules, and the largest t / (distance of the nearest singularity) for which each is exact to rounding;
# beyond the last the trapezoid rule takes over
RULE_SIZES = np.array([3, 4, 6, 8, 12, 16], dtype=np.intp)
RULE_REACH = np.array([0.0045, 0.014, 0.043, 0.07, 0.125, 0.16])
_RULES = [np.polynomial.hermite_e.hermegauss(int(k)) for k in RULE_SIZES]
RULE_NODES = np.concatenate([nodes for nodes, _ in _RULES])
RULE_WEIGHTS = np.concatenate([weights / weights.sum() for _, weights in _RULES])
WIDE = 12.0  # t beyond which softplus is integrated against the logistic density instead
WIDEST = 100.0  # t / (distance of the nearest singularity) beyond which other links are not integrated: NaN


def _logistic_rule(n):
    """The n-point Gauss rule of the logistic density, by Lanczos's method on a fine trapezoid rule."""
    x = 0.1 * np.arange(-450, 451)
    p = 0.1 * scipy.special.expit(x) * scipy.special.expit(-x)
    basis, off_diagonal = [np.sqrt(p)], []
    for k in range(n - 1):
        v = x * basis[k]
        for b in reversed(basis):
            v = v - (b @ v) * b
        off_diagonal.append(np.linalg.norm(v))
        basis.append(v / off_diagonal[-1])
    nodes, vectors = scipy.linalg.eigh_tridiagonal(np.zeros(n), off_diagonal)
    return nodes, vectors[0] ** 2


WIDE_NODES, WIDE_WEIGHTS = _logistic_rule(12)
SOFTPLUS_SIGN = {"softplus": 1.0, "logistic": -1.0}


def quadrature(widest, pole, sizes=RULE_SIZES, reach=RULE_REACH, nodes=RULE_NODES, node_weights=RULE_WEIGHTS):
    """Nodes z and weights for E phi(m + t z), t up to `widest`: the smallest rule that is exact to rounding."""
    rule = int(np.searchsorted(reach * pole, widest))
    if rule < len(sizes):
        part = slice(int(sizes[:rule].sum()), int(sizes[: rule + 1].sum()))
        return nodes[part], node_weights[part]
    h = min(0.7, 0.4 * pole / (math.pi * widest))
    z = h * np.arange(-math.ceil(8.4 / h), math.ceil(8.4 / h) + 1)
    return z, h * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def link_means(
    m, t, y, link, params, pole, exponential, lift, sizes, reach, nodes, node_weights,
    sign, wide_nodes, wide_weights, wide, widest, n_threads,
):  # fmt: skip
    """E phi, E phi' and E phi'' under N(m_j, t_j^2), by the rule that the largest t asks for."""
    if exponential:
        z, w = np.zeros(1), np.ones(1)
        m = m + 0.5 * t * t
    else:
        limit = wide if sign else widest * pole
        z, w = quadrature(min(t.max(), limit), pole, sizes, reach, nodes, node_weights)
    at = np.ascontiguousarray(m + np.multiply.outer(z, 0.0 * t if exponential else t))
    v, s, c = np.empty_like(at), np.empty_like(at), np.empty_like(at)
    _core.ridge.link_derivatives(at, y, link, params, v, s, c, n_threads)
    value, slope, bend = w @ v, w @ s, w @ c
    if exponential:
        value = value - lift * y * 0.5 * t * t
    elif (far := t > limit).any():
        value[far], slope[far], bend[far] = math.nan, math.nan, math.nan
        if sign:
            u = (m[far] - wide_nodes[:, None]) / t[far]
            pdf, cdf = np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi), scipy.special.ndtr(u)
            linear = y[far] if sign < 0 else 0.0
            value[far] = sign * (wide_weights @ (t[far] * (u * cdf + pdf))) + linear * m[far]
            slope[far] = sign * (wide_weights @ cdf) + linear
            bend[far] = sign * (wide_weights @ pdf) / t[far]
    return value, slope, bend


ROWS = 128  # that share a quadrature rule


def _rough_rule(widest, pole):
    """A trapezoid rule good to about 1e-7, plenty for the derivative that a Newton step is solved with."""
    h = min(0.9, 1.2 * pole / (math.pi * max(widest, 1e-300)))
    z = h * np.arange(-math.ceil(6.0 / h), math.ceil(6.0 / h) + 1)
    return z, h * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def curvature_moments(target, m, t, n_threads):
    """E[phi'' z^k], k = 0, 1, 2, for phi'' at m + t z."""
    if target.link_name in ("exp", "poisson"):
        c = (1.0 if target.link_name == "exp" else -1.0) * np.exp(m + 0.5 * t * t)
        return c, c * t, c * (1.0 + t * t)
    out = np.empty((3, len(m)))
    sign = SOFTPLUS_SIGN.get(target.link_name, 0.0)
    limit = WIDE if sign else WIDEST * target.pole
    order = np.argsort(t)  # rows of like t share a rule
    for start in range(0, len(m), ROWS):
        rows = order[start : start + ROWS]
        z, w = _rough_rule(min(t[rows].max(), limit), target.pole)
        at = np.ascontiguousarray(m[rows] + np.multiply.outer(z, t[rows]))
        v, s, c = np.empty_like(at), np.empty_like(at), np.empty_like(at)
        _core.ridge.link_derivatives(
            at, target.y[rows], target.link.code, target.parameters, v, s, c, n_threads if at.size > 2**16 else 1
        )
        out[:, rows] = np.stack([w, w * z, w * z * z]) @ c
    far = t > limit
    if sign and far.any():
        u = (WIDE_NODES[:, None] - m[far]) / t[far]
        density = sign * np.exp(-0.5 * u * u) / (math.sqrt(2.0 * math.pi) * t[far])
        out[:, far] = [WIDE_WEIGHTS @ (density * u**k) for k in range(3)]
    return out
