"""Log densities of five kinds of model, constants left out: values written once for NumPy and JAX, gradients by hand.

Each is (d, value, grad) with value(x, xp) of points (n, d), xp the array module, and grad(x) by NumPy.
"""

from __future__ import annotations

import numpy as np
import scipy


def columns(*parts):
    """Vectors (n,) and blocks (n, k) side by side."""
    return np.concatenate([part[:, None] if part.ndim == 1 else part for part in parts], axis=1)


def funnel(d=10):
    """Neal's: x_0 ~ N(0, 9), x_i ~ N(0, e^x_0)."""

    def value(x, xp):
        v, rest = x[:, 0], x[:, 1:]
        return -(v**2) / 18 - 0.5 * (d - 1) * v - 0.5 * xp.exp(-v) * (rest**2).sum(1)

    def grad(x):
        w, rest = np.exp(-x[:, :1]), x[:, 1:]
        return columns(-x[:, 0] / 9 - 0.5 * (d - 1) + 0.5 * w[:, 0] * (rest**2).sum(1), -w * rest)

    return d, value, grad


def varying_means(groups=10):
    """Means of groups with known errors, their scale learned, not centred: mean, log scale, standardised effects."""
    r = np.random.default_rng(10)
    error = r.uniform(8.0, 18.0, groups)
    y = 6.0 + 5.0 * r.standard_normal(groups) + error * r.standard_normal(groups)

    def value(x, xp):
        mean, log_scale, z = x[:, :1], x[:, 1:2], x[:, 2:]
        residual = (y - mean - xp.exp(log_scale) * z) / error
        prior = -0.5 * (mean[:, 0] / 10) ** 2 - 0.5 * (log_scale[:, 0] - 1.0) ** 2
        return prior - 0.5 * (z**2).sum(1) - 0.5 * (residual**2).sum(1)

    def grad(x):
        mean, log_scale, z = x[:, :1], x[:, 1:2], x[:, 2:]
        scale = np.exp(log_scale)
        slope = (y - mean - scale * z) / error**2
        return columns(
            slope.sum(1) - mean[:, 0] / 100, (slope * scale * z).sum(1) - log_scale[:, 0] + 1.0, scale * slope - z
        )

    return 2 + groups, value, grad


def item_response(persons=60, items=15):
    """Two-parameter logistic: abilities, log discriminations, difficulties."""
    r = np.random.default_rng(11)
    ability, difficulty = r.standard_normal(persons), r.standard_normal(items)
    odds = np.exp(0.4 * r.standard_normal(items)) * (ability[:, None] - difficulty)
    y = (r.random((persons, items)) < scipy.special.expit(odds)).astype(float)
    cut = persons + items

    def parts(x, xp):
        apart = x[:, :persons, None] - x[:, None, cut:]
        discrimination = xp.exp(x[:, persons:cut])
        return discrimination, discrimination[:, None, :] * apart

    def value(x, xp):
        _, eta = parts(x, xp)
        prior = (x[:, :persons] ** 2).sum(1) + 4.0 * (x[:, persons:cut] ** 2).sum(1) + 0.25 * (x[:, cut:] ** 2).sum(1)
        return (y * eta - xp.logaddexp(0.0, eta)).sum((1, 2)) - 0.5 * prior

    def grad(x):
        discrimination, eta = parts(x, np)
        left = y - scipy.special.expit(eta)
        slope = left * discrimination[:, None, :]
        return columns(
            slope.sum(2) - x[:, :persons],
            (left * eta).sum(1) - 4.0 * x[:, persons:cut],
            -slope.sum(1) - 0.25 * x[:, cut:],
        )

    return persons + 2 * items, value, grad


def cox_process(side=8):
    """Counts on a grid whose log rate is a Gaussian process: mean, log amplitude, whitened field."""
    r = np.random.default_rng(12)
    place = (np.indices((side, side)).reshape(2, -1).T + 0.5) / side
    apart = np.sqrt(((place[:, None] - place) ** 2).sum(2))
    factor = np.linalg.cholesky(np.exp(-apart / 0.3) + 1e-8 * np.eye(side**2))
    y = r.poisson(2.0 * np.exp(factor @ r.standard_normal(side**2)))

    def parts(x, xp):
        field = x[:, 2:] @ factor.T
        amplitude = xp.exp(x[:, 1:2])
        return amplitude, field, x[:, :1] + amplitude * field

    def value(x, xp):
        amplitude, _, eta = parts(x, xp)
        prior = -(x[:, 0] ** 2) / 8 - 0.5 * amplitude[:, 0] ** 2 + x[:, 1] - 0.5 * (x[:, 2:] ** 2).sum(1)
        return (y * eta - xp.exp(eta)).sum(1) + prior

    def grad(x):
        amplitude, field, eta = parts(x, np)
        left = y - np.exp(eta)
        of_amplitude = (amplitude * left * field).sum(1) - amplitude[:, 0] ** 2 + 1.0
        return columns(left.sum(1) - x[:, 0] / 4, of_amplitude, amplitude * (left @ factor) - x[:, 2:])

    return 2 + side**2, value, grad


def crossed_effects(rows=20, cols=15):
    """Two crossed factors, half of the cells seen: mean, log scales of both and of the noise, effects not centred."""
    r = np.random.default_rng(13)
    y = 1.0 + 0.7 * r.standard_normal((rows, 1)) + 0.4 * r.standard_normal(cols) + r.standard_normal((rows, cols))
    seen = (r.random((rows, cols)) < 0.5).astype(float)

    def parts(x, xp):
        scales, a, b = xp.exp(x[:, 1:4]), x[:, 4 : 4 + rows], x[:, 4 + rows :]
        fitted = x[:, :1, None] + (scales[:, :1] * a)[:, :, None] + (scales[:, 1:2] * b)[:, None, :]
        return scales, a, b, (y - fitted) * seen

    def value(x, xp):
        scales, a, b, left = parts(x, xp)
        effects = (a**2).sum(1) + (b**2).sum(1) + x[:, 0] ** 2 / 25 + (scales**2).sum(1)
        likelihood = -0.5 * (left**2).sum((1, 2)) / scales[:, 2] ** 2 - seen.sum() * x[:, 3]
        return likelihood - 0.5 * effects + x[:, 1:4].sum(1)

    def grad(x):
        scales, a, b, left = parts(x, np)
        slope = left / scales[:, 2, None, None] ** 2
        of_a, of_b = scales[:, :1] * slope.sum(2), scales[:, 1:2] * slope.sum(1)
        squares = (left * slope).sum((1, 2)) - seen.sum()
        of_scales = columns((of_a * a).sum(1), (of_b * b).sum(1), squares) - scales**2 + 1.0
        return columns(slope.sum((1, 2)) - x[:, 0] / 25, of_scales, of_a - a, of_b - b)

    return 4 + rows + cols, value, grad


DENSITIES = {
    "Neal's funnel": funnel,
    "varying means": varying_means,
    "crossed effects": crossed_effects,
    "Cox process": cox_process,
    "item response": item_response,
}
