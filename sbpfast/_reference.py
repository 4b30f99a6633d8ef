"""NumPy twins of the compiled kernels: the readable definition of each, and the oracle of its tests.

A function here has the name of its kernel and the same mathematics without its layout: draws are rows (n, d), results
are returned.  Nothing in the package calls them.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

MASK = 2**64 - 1
ROTATIONS = ((14, 16), (52, 57), (23, 40), (5, 37), (25, 33), (46, 12), (58, 22), (32, 32))


# -- random -----------------------------------------------------------------------------------------------------------


def threefry(counter, key):
    """Threefry-4x64-20 in Python integers (Salmon et al., SC 2011, section 4.2)."""
    k = [int(w) for w in key]
    k.append(0x1BD11BDAA9FC1A22 ^ k[0] ^ k[1] ^ k[2] ^ k[3])
    x = [(int(c) + k[i]) & MASK for i, c in enumerate(counter)]
    for r in range(20):
        for i, j, rotation in (
            (0, 1 if r % 2 == 0 else 3, ROTATIONS[r % 8][0]),
            (2, 3 if r % 2 == 0 else 1, ROTATIONS[r % 8][1]),
        ):
            x[i] = (x[i] + x[j]) & MASK
            x[j] = ((x[j] << rotation) | (x[j] >> (64 - rotation))) & MASK
            x[j] ^= x[i]
        if r % 4 == 3:
            s = r // 4 + 1
            x = [(x[i] + k[(s + i) % 5] + (s if i == 3 else 0)) & MASK for i in range(4)]
    return x


def row_words(key, stream, block, row):
    """The 64 words of a row: lane l comes from counter (16 row + l % 16, block, stream, 0), word l // 16."""
    words = [threefry((16 * row + lane, block, stream, 0), key) for lane in range(16)]
    return np.array([words[lane % 16][lane // 16] for lane in range(64)], dtype=np.uint64)


def row_uniform(key, stream, block, row):
    """The top 52 bits of each word, at the centre of their interval."""
    return (row_words(key, stream, block, row) >> np.uint64(12)).astype(np.float64) * 2.0**-52 + 2.0**-53


def row_normal(key, stream, block, row):
    """Box-Muller on words (0, 1) and (2, 3) of every counter."""
    words = row_words(key, stream, block, row).reshape(4, 16)
    out = np.empty((4, 16))
    for pair in (0, 2):
        radius = np.sqrt(-2.0 * np.log((words[pair].astype(np.float64) + 0.5) * 2.0**-64))
        angle = 2.0 * np.pi * ((words[pair + 1] >> np.uint64(12)).astype(np.float64) * 2.0**-52 + 2.0**-53)
        out[pair], out[pair + 1] = radius * np.cos(angle), radius * np.sin(angle)
    return out.reshape(64)


def fill_uniform(key, stream, first_block, blocks, rows):
    return np.array([[row_uniform(key, stream, first_block + b, r) for r in range(rows)] for b in range(blocks)])


def fill_normal(key, stream, first_block, blocks, rows):
    return np.array([[row_normal(key, stream, first_block + b, r) for r in range(rows)] for b in range(blocks)])


def affine_panels(factor, mean, z):
    """mean + factor z for rows z (n, k)."""
    return mean + z @ factor.T


def solve_transposed_panels(factor, z):
    """L^-T z for rows z (n, d)."""
    return np.linalg.solve(factor.T, z.T).T


# -- contract ---------------------------------------------------------------------------------------------------------


def weighted_sum(x, weights=None):
    x = np.asarray(x, dtype=np.float64)
    return x.sum(axis=0) if weights is None else weights @ x


def weighted_sum_of_squares(x, weights):
    return weights @ x**2


def per_sample(x, jacobian, scale):
    return scale * np.einsum("si,sip->sp", np.asarray(x, np.float64), np.asarray(jacobian, np.float64))


def per_sample_shared(x, jacobian, scale):
    return scale * np.asarray(x, np.float64) @ np.asarray(jacobian, np.float64)


# -- ridge ------------------------------------------------------------------------------------------------------------


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
    raise ValueError(f"unknown link {link!r}")


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
