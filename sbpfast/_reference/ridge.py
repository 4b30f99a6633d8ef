"""Twins of the kernels of ``_core.ridge``."""

from __future__ import annotations

import math

import numpy as np
import scipy


def link_derivatives(t, y, link, parameters=()):
    """phi, phi' and phi'' of a named link, by textbook formulas."""
    special = scipy.special
    if link == "softplus":
        s = special.expit(t)
        return np.logaddexp(0.0, t), s, s * special.expit(-t)
    if link == "logistic":
        value = np.where(t > 0, (y - 1.0) * t, y * t) - np.log1p(np.exp(-np.abs(t)))
        slope = np.where(t > 0, (y - 1.0) + special.expit(-t), y - special.expit(t))
        return value, slope, -special.expit(t) * special.expit(-t)
    if link == "probit":
        sign = 2.0 * y - 1.0
        z = sign * t
        with np.errstate(over="ignore"):
            scaled = special.erfcx(-z / math.sqrt(2.0))  # 2 Phi(z) exp(z^2/2)
        ratio = math.sqrt(2.0 / math.pi) / scaled
        left = np.log(0.5 * scaled, where=z < 0, out=np.zeros_like(z)) - 0.5 * z * z
        value = np.where(z < 0, left, np.log1p(-0.5 * special.erfc(np.abs(z) / math.sqrt(2.0))))
        return value, sign * ratio, -ratio * (z + ratio)
    if link == "exp":
        return np.exp(t), np.exp(t), np.exp(t)
    if link == "poisson":
        return y * t - np.exp(t), y - np.exp(t), -np.exp(t)
    if link == "square":
        return (t - y) ** 2, 2.0 * (t - y), np.full_like(t, 2.0)
    if link == "student_t":
        df, scale = parameters
        u = (t - y) / scale
        value = -0.5 * (df + 1.0) * np.log1p(u * u / df)
        return value, -(df + 1.0) * u / (scale * (df + u * u)), -(df + 1.0) * (df - u * u) / (scale * (df + u * u)) ** 2
    if link == "log_cosh":
        return np.logaddexp(t, -t) - math.log(2.0), np.tanh(t), 1.0 / np.cosh(t) ** 2
    if link == "negative_binomial":
        (r,) = parameters
        p = special.expit(t - math.log(r))  # of the mean over the mean + r
        value = special.xlogy(y, p) + r * special.log_expit(math.log(r) - t)
        return value, y - (y + r) * p, -(y + r) * p * special.expit(math.log(r) - t)
    if link == "gamma":
        return -t - y * np.exp(-t), y * np.exp(-t) - 1.0, -y * np.exp(-t)
    if link == "cloglog":
        return _cloglog(np.asarray(t), y)
    raise ValueError(f"unknown link {link!r}")


def _cloglog(t, y):
    """y log(1 - exp(-w)) - (1 - y) w, w = e^t."""
    w = np.exp(t)
    near = np.where(w < 1e-9, t - 0.5 * w, np.log(-np.expm1(-np.clip(w, 1e-9, 1.0))))
    value = np.where(w < 1.0, near, np.log1p(-np.exp(-np.maximum(w, 1.0))))
    c = np.clip(w, 1e-300, 700.0)
    slope = np.where(w < 700.0, c / np.expm1(c), 0.0)
    k = np.arange(1, 31)
    bernoulli = scipy.special.bernoulli(30)[1:] / scipy.special.factorial(k)
    bend = np.where(w < 0.5, -bernoulli @ np.minimum(w, 0.5) ** k.reshape(-1, *[1] * w.ndim) - w, 1.0 - c - slope)
    rest = np.where(y < 1.0, (1.0 - y) * np.where(y < 1.0, w, 0.0), 0.0)
    return y * value - rest, y * slope - rest, y * slope * bend - rest


def ridge_moments(a, offset, y, weights, link, parameters, x, m):
    """Values (n,), and sums of w phi' and w phi'' over groups of m draws (groups, N)."""
    v, s, c = link_derivatives(x @ a.T + offset, y, link, parameters)
    starts = range(0, len(x), m)
    slopes = np.array([(weights * s[i : i + m]).sum(axis=0) for i in starts])
    curvatures = np.array([(weights * c[i : i + m]).sum(axis=0) for i in starts])
    return v @ weights, slopes, curvatures


def ridge_values(a, offset, y, weights, link, parameters, x):
    """Values (n,) and gradients (n, d)."""
    v, s, _ = link_derivatives(x @ a.T + offset, y, link, parameters)
    return v @ weights, (weights * s) @ a


def diagonal_quadratic(x, precision, mean, constant):
    """Values (n,) and the sum of x (d,)."""
    return constant - 0.5 * ((x - mean) ** 2) @ precision, x.sum(axis=0)


def projected_moments(a, offset, mean, factor):
    """Means and standard deviations of the linear forms a_j . x + c_j, x = mean + factor z."""
    return a @ mean + offset, np.sqrt(((a @ factor) ** 2).sum(axis=1))


def expectations(m, t, y, link, parameters=()):
    """E phi, E phi', E phi'' under N(m_j, t_j^2) by a trapezoid rule far finer than the kernel's."""
    out = np.empty((3, len(m)))
    for j, (mean, sd, data) in enumerate(zip(m, t, y)):
        h = min(0.05, 0.05 / max(sd, 1e-300))
        z = np.arange(-9.5, 9.5 + h, h)
        density = h * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        out[:, j] = [density @ d for d in link_derivatives(mean + sd * z, data, link, parameters)]
    return out


def weighted_product(b, w, a):
    """B^T diag(w) A."""
    return b.T @ (w[:, None] * a)
