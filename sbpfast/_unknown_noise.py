"""Linear regression with unknown noise, in (coefficients, log sigma) =: (b, s): its Gaussian moments in closed form.

The data enter by the triangular factor (F, z) of the weighted (X, y), so that no evaluation passes over them:

    f(b, s) = -n s - 1/2 e^(-2 s) R(b) + log prior,   R(b) = |F b - z|^2.

Under a Gaussian e^(-2 s) is a shift: E[e^(-2 s) g(b)] = e^(-2 E s + 2 var s) E[g(b - 2 cov(b, s))].
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import scipy

from sbpfast import _checks, targets
from sbpfast._improper import dependent_columns
from sbpfast._whitened import ExactSource, Moments, entropy
from sbpfast.targets import Target

ROWS = 8192  # of the data that are reduced at a time
ROUNDING = 1e-13  # of |y|: residuals below it are taken for rounding errors, as large as this
LEAST = 1e-100  # the same where y is zero
MOST_STEPS = 200  # of Newton's method, for two numbers
EPSILON = float(np.finfo(float).eps)


class UnknownNoise(Target):
    """The log joint density of (coefficients, log sigma)."""

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
        return targets._require_finite("f", self._constant - self._n * s - 0.5 * (squares + prior), x)

    def _grad(self, x):
        b, s, slope, squares, e = self._parts(x)
        noise = -self._n + squares - (s - self._noise_mean) * self._noise_precision
        grad = np.column_stack([-e[:, None] * slope - b * self._precision, noise])
        return targets._require_finite("the gradient of f", grad, x)

    def _value_and_grad(self, x, n_threads=None):
        return self._value(x), self._grad(x)

    def _hess(self, x):
        _, _, slope, squares, e = self._parts(x)
        h = np.empty((len(x), self.dim, self.dim))
        h[:, :-1, :-1] = -e[:, None, None] * (self._factor.T @ self._factor) - np.diag(self._precision)
        h[:, :-1, -1] = h[:, -1, :-1] = 2.0 * e[:, None] * slope
        h[:, -1, -1] = -2.0 * squares - self._noise_precision
        return targets._require_finite("the Hessian of f", h, x)


class UnknownNoiseMoments(ExactSource):
    """Of an `UnknownNoise`, for a fit: what `ExactMoments` is for a ridge target."""

    def at(self, mean, chol) -> Moments:
        """Under N(mean, L L^T)."""
        self.counts["passes"] += 1
        t = self.target
        b, s, of_b, of_s = mean[:-1], mean[-1], chol[:-1], chol[-1]
        (best, rest), noise, variance = t._misfit, s - t._noise_mean, of_s @ of_s
        with np.errstate(over="ignore", invalid="ignore"):
            forms, e = t._factor @ of_b, np.exp(-2.0 * (s - variance))
            u = t._factor @ (b - best) - rest - 2.0 * (forms @ of_s)
            squares = e * (u @ u + (forms * forms).sum())
            slope = e * (forms.T @ u)
            prior = t._precision @ (b * b + (of_b * of_b).sum(axis=1)) + t._noise_precision * (noise**2 + variance)
            value = t._constant - t._n * s - 0.5 * (squares + prior)
            gradient = (squares - t._n - t._noise_precision * noise) * of_s - slope - of_b.T @ (t._precision * b)
            cross = np.multiply.outer(slope, of_s)
            precision = e * (forms.T @ forms) + of_b.T @ (t._precision[:, None] * of_b) - 2.0 * (cross + cross.T)
            precision += (2.0 * squares + t._noise_precision) * np.multiply.outer(of_s, of_s)
            rounding = e * self._rounding(b, of_b, forms, u)
        return Moments(float(value) + entropy(chol), gradient, precision, rounding=rounding)

    def _rounding(self, b, of_b, forms, u):
        """How large the residual may be at the optimum (over e), because the mean and factor are rounded to doubles."""
        size = EPSILON * np.abs(self.target._factor)
        of_forms, of_u, forms = size @ np.abs(of_b), size @ np.abs(b), np.abs(forms)
        of_slope = forms.T @ of_u + of_forms.T @ np.abs(u)
        return float(np.linalg.norm(of_slope) + 2.0 * np.linalg.norm(forms.T @ of_forms))

    def start(self):
        """Mean and lower factor of the optimum, but for rounding.

        In the coordinates beta of b = B beta that make F^T F = diag(g^2) and the prior's precision diag(p), the best
        b given mean and variance v of s is beta = mu + a (s - E s) + N(0, 1/h): numbers, one a coordinate.  What is
        left is to be maximised over E s and log v.
        """
        t = self.target
        k = max(t._n, 1.0) / max(float(t._z @ t._z), LEAST**2)
        basis, u, g, p = _diagonalised(math.sqrt(k) * t._factor, np.sqrt(t._precision))
        z = math.sqrt(k) * t._z
        zeta = z @ u
        rest = float(((z - u @ zeta) ** 2).sum())

        def best(x):
            """Curvature h, mu, a and E[e^(-2 s) R] for (E s, log v)."""
            s, v = x[0], np.exp(x[1])
            e = np.exp(-2.0 * (s - v)) / k
            h = e * g * g + p
            mu = e * g * zeta / (h + 4.0 * e * g * g * p * v / h)
            a = -2.0 * p * mu / h
            misfit = g * (mu - 2.0 * a * v) - zeta
            return h, mu, a, e * (rest + float((misfit**2 + g * g * (1.0 / h + v * a * a)).sum()))

        def loss(x):
            s, v = x[0], np.exp(x[1])
            h, mu, a, squares = best(x)
            prior = float((p * (mu * mu + 1.0 / h + v * a * a)).sum())
            noise = s - t._noise_mean
            value = t._n * s + 0.5 * (squares + prior + t._noise_precision * (noise**2 + v) + np.log(h).sum() - x[1])
            of_v = squares + 0.5 * (t._noise_precision - float((h * a * a).sum()) - 1.0 / v)
            return value, np.array([t._n - squares + t._noise_precision * noise, v * of_v])

        information = 2.0 * t._n + t._noise_precision
        between = (t._noise_precision * t._noise_mean - t._n * math.log(k)) / information
        at = np.array([max(between, -0.5 * math.log(k)), -math.log(information)])
        with np.errstate(over="ignore", invalid="ignore"):
            x = _minimised(loss, at, 1e-12 * (1.0 + t._n))
        h, mu, a, _ = best(x)
        deviation = math.exp(0.5 * x[1])
        root = np.zeros((self.dim, self.dim))
        root[:-1, :-1], root[:-1, -1], root[-1, -1] = basis / np.sqrt(h), basis @ a * deviation, deviation
        lower = np.asarray(np.linalg.qr(root.T, mode="r")).T
        return np.append(basis @ mu, x[0]), lower * np.sign(np.diagonal(lower))


def _minimised(loss, x, tol):
    """Newton's method with steps of at most 2, the second derivative by differences of the first."""
    value, slope = loss(x)
    for _ in range(MOST_STEPS):
        h = np.array([loss(x + e)[1] - loss(x - e)[1] for e in 1e-5 * np.eye(len(x))]) / 2e-5
        curvatures, directions = np.linalg.eigh(0.5 * (h + h.T))
        step = -directions @ ((slope @ directions) / np.maximum(np.abs(curvatures), 1e-300))
        step *= min(1.0, 2.0 / np.linalg.norm(step))
        while not (ahead := loss(x + step))[0] <= value:
            step *= 0.5
            if np.linalg.norm(step) < 1e-12:
                return x
        x, (value, slope) = x + step, ahead
        if np.abs(slope).max() <= tol:
            return x
    return x


def _diagonalised(factor, root):
    """B, U, g and p with F B = U diag(g) and B^T diag(root^2) B = diag(p), g^2 + p = 1."""
    both = np.vstack([factor, np.diag(root)])
    scaled, norms = _unit_columns(both)
    upper = np.linalg.qr(scaled, mode="r")
    _, values, vectors = np.linalg.svd(upper)
    if values[-1] <= 2.0 * EPSILON * len(values) * values[0]:
        raise dependent_columns(vectors[-1])
    inverse = scipy.linalg.solve_triangular(upper, np.eye(len(upper))) / norms[:, None]
    u, g, v = np.linalg.svd(factor @ inverse, full_matrices=False)
    g[np.linalg.matrix_rank(_unit_columns(factor)[0]) :] = 0.0  # rounding alone: the data say nothing there
    basis = inverse @ v.T
    return basis, u, g, ((root[:, None] * basis) ** 2).sum(axis=0)


def linear_regression_unknown_noise(
    X, y, *, prior_scale, log_noise_mean=0.0, log_noise_scale=5.0, offset=0.0, weights=None
) -> UnknownNoise:
    """Log joint density of linear regression in (coefficients, log sigma), the last parameter being log sigma.

    sum_j w_j log N(y_j; x_j . b + offset_j, sigma^2) + log N(b; 0, prior_scale^2) + log N(log sigma; mean, scale^2)

    Parameters
    ----------
    X : array_like or scipy.sparse array (N, d)
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
        full-covariance Gaussian in closed form.  The data enter by sufficient statistics.

    Notes
    -----
    Where y is a linear function of X to within rounding, which would leave the noise to the prior of log sigma alone,
    a residual of 1e-13 of the norm of y is added.
    """
    known = targets.linear_regression(X, y, noise_scale=1.0, prior_scale=prior_scale, offset=offset, weights=weights)
    w = -2.0 * known._weights
    n = float(w.sum())
    reduced = _triangle(known._a, known._y - known._offset, np.sqrt(w))
    factor, z = reduced[:, :-1], reduced[:, -1]
    (rank, best), floor = _least_squares(factor, z), max(ROUNDING * float(np.linalg.norm(z)), LEAST)
    if float(np.linalg.norm(z - factor @ best)) < floor and n > rank:
        factor, z = np.vstack([factor, np.zeros(known.dim)]), np.append(z, floor)
    scale = _checks.scalar("log_noise_scale", log_noise_scale, above=0.0)
    mean = _checks.scalar("log_noise_mean", log_noise_mean)
    # of the known-noise target's constant the likelihood's part is the same, the sum of squares apart
    constant = known._quad.constant - math.log(scale) - 0.5 * math.log(2.0 * math.pi)
    return UnknownNoise(factor, z, n, known._quad.precision, mean, scale, constant)


def _triangle(a, y, weights):
    """The triangular factor of the weighted (A, y), whatever the scales of the columns."""
    out = np.zeros((a.shape[1], a.shape[1] + 1))  # so that there never are fewer rows
    block = max(ROWS, 4 * a.shape[1])
    for start in range(0, a.shape[0], block):
        rows = slice(start, start + block)
        part = a[rows].toarray() if scipy.sparse.issparse(a) else a[rows]
        part = weights[rows, None] * np.column_stack([part, y[rows]])
        out = np.asarray(np.linalg.qr(np.vstack([out, part]), mode="r"))
    return out


def _least_squares(factor, z):
    """The rank of the factor, whatever the scales of its columns, and the b of least |F b - z|."""
    scaled, norms = _unit_columns(factor)
    best, _, rank, _ = np.linalg.lstsq(scaled, z, rcond=None)
    return rank, best / norms


def _unit_columns(matrix):
    """The matrix with columns of length 1 (or 0), and their lengths (1 for 0)."""
    norms = np.linalg.norm(matrix, axis=0)
    norms[norms == 0.0] = 1.0
    return matrix / norms, norms
