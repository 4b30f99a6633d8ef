"""Linear regression with unknown noise, in (coefficients, log sigma) =: (b, s): its Gaussian moments in closed form.

The data enter by the triangular factor (F, z) of the weighted (X, y), so that no evaluation passes over them:

    f(b, s) = -n s - 1/2 e^(-2 s) R(b) + log prior,   R(b) = |F b - z|^2.

Under a Gaussian e^(-2 s) is a shift: E[e^(-2 s) g(b)] = e^(-2 E s + 2 var s) E[g(b - 2 cov(b, s))].
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from sbpfast import _checks
from sbpfast.targets._regressions import linear_regression
from sbpfast.targets._target import Target, require_finite

ROWS = 8192  # of the data that are reduced at a time
ROUNDING = 1e-13  # of |y|: residuals below it are taken for rounding errors, as large as this
LEAST = 1e-100  # the same where y is zero


class UnknownNoise(Target):
    """The log joint density of (coefficients, log sigma)."""

    _ours = True

    def __init__(self, factor, z, n, precision, log_noise_mean, log_noise_scale, constant):
        super().__init__(value=self._value, grad=self._grad, hess=self._hess, dim=factor.shape[1] + 1)
        self._factor, self._z, self._n = factor, z, n
        self._precision, self._constant = precision, constant
        self._noise_mean, self._noise_precision = log_noise_mean, 1.0 / log_noise_scale**2

    @cached_property
    def _misfit(self):
        """The b of least squares, and z less F times it: R(b) for b near it is no difference of large numbers."""
        _, best = _least_squares(self._factor, self._z)
        return best, self._z - self._factor @ best

    def _parts(self, x):
        b, s = x[:, :-1], x[:, -1]
        best, rest = self._misfit
        u = (b - best) @ self._factor.T - rest
        with np.errstate(over="ignore"):
            e = np.exp(-2.0 * s)
            return b, s, u @ self._factor, e * (u * u).sum(axis=1), e

    def _value(self, x, n_threads=None):
        b, s, _, squares, _ = self._parts(x)
        prior = (b * b) @ self._precision + (s - self._noise_mean) ** 2 * self._noise_precision
        return require_finite("f", self._constant - self._n * s - 0.5 * (squares + prior), x)

    def _grad(self, x):
        b, s, slope, squares, e = self._parts(x)
        noise = -self._n + squares - (s - self._noise_mean) * self._noise_precision
        grad = np.column_stack([-e[:, None] * slope - b * self._precision, noise])
        return require_finite("the gradient of f", grad, x)

    def _value_and_grad(self, x, n_threads=None):
        return self._value(x), self._grad(x)

    def _hess(self, x):
        _, _, slope, squares, e = self._parts(x)
        h = np.empty((len(x), self.dim, self.dim))
        h[:, :-1, :-1] = -e[:, None, None] * (self._factor.T @ self._factor) - np.diag(self._precision)
        h[:, :-1, -1] = h[:, -1, :-1] = 2.0 * e[:, None] * slope
        h[:, -1, -1] = -2.0 * squares - self._noise_precision
        return require_finite("the Hessian of f", h, x)


def linear_regression_unknown_noise(
    X, y=None, *, prior_scale, log_noise_mean=0.0, log_noise_scale=5.0, offset=0.0, weights=None
) -> UnknownNoise:
    """Log joint density of linear regression in (coefficients, log sigma), the last parameter being log sigma.

    sum_j w_j log N(y_j; x_j . b + offset_j, sigma^2) + log N(b; 0, prior_scale^2) + log N(log sigma; mean, scale^2)

    Parameters
    ----------
    X : array_like, scipy.sparse array (N, d), Rows, dask array or data frame
    y : array_like (N,)
    prior_scale : float or array_like (d,)
        ``np.inf`` is a flat prior, which counts 0.
    log_noise_mean, log_noise_scale : float
    offset : float or array_like (N,)
    weights : array_like (N,), optional

    Returns
    -------
    Target
        Of dimension d + 1, with every derivative and normalising constant; `sbpfast.fit` knows its moments under a
        full-covariance Gaussian in closed form.  The data enter by sufficient statistics: two passes are made here,
        and none by a fit.

    Notes
    -----
    Where y is a linear function of X to within rounding, which would leave the noise to the prior of log sigma alone,
    a residual of 1e-13 of the norm of y is added.
    """
    known = linear_regression(X, y, noise_scale=1.0, prior_scale=prior_scale, offset=offset, weights=weights)
    n = -2.0 * known.weight_sum
    reduced = np.zeros((known.dim, known.dim + 1))  # so that there never are fewer rows
    for part in known.over_parts(_triangle, 1):
        reduced = np.asarray(np.linalg.qr(np.vstack([reduced, part]), mode="r"))
    factor, z = reduced[:, :-1], reduced[:, -1]
    (rank, best), floor = _least_squares(factor, z), max(ROUNDING * float(np.linalg.norm(z)), LEAST)
    if float(np.linalg.norm(z - factor @ best)) < floor and n > rank:
        factor, z = np.vstack([factor, np.zeros(known.dim)]), np.append(z, floor)
    scale = _checks.scalar("log_noise_scale", log_noise_scale, above=0.0)
    mean = _checks.scalar("log_noise_mean", log_noise_mean)
    # of the known-noise target's constant the likelihood's part is the same, the sum of squares apart
    constant = known.quadratic.constant - math.log(scale) - 0.5 * math.log(2.0 * math.pi)
    return UnknownNoise(factor, z, n, known.quadratic.precision, mean, scale, constant)


def _triangle(known, _):
    """The triangular factor of the weighted (A, y) of some rows, whatever the scales of the columns."""
    d = known.dim
    y, weights = known.y - known.offset, np.sqrt(-2.0 * known.weights)
    out = np.zeros((d, d + 1))
    for rows in known.design.blocks(max(ROWS, 4 * d)):
        part = weights[rows, None] * np.column_stack([known.design[rows].dense(), y[rows]])
        out = np.asarray(np.linalg.qr(np.vstack([out, part]), mode="r"))
    return out


def _least_squares(factor, z):
    """The rank of the factor, whatever the scales of its columns, and the b of least |F b - z|."""
    if not (np.isfinite(factor).all() and np.isfinite(z).all()):
        raise ValueError("X, y or the weights are too large: their sums overflow double precision")
    scaled, norms = unit_columns(factor)
    best, _, rank, _ = np.linalg.lstsq(scaled, z, rcond=None)
    return rank, best / norms


def unit_columns(matrix):
    """The matrix with columns of length 1 (or 0), and their lengths (1 for 0)."""
    norms = np.linalg.norm(matrix, axis=0)
    norms[norms == 0.0] = 1.0
    return matrix / norms, norms
