"""The moments of linear regression with unknown noise under a Gaussian, in closed form, for a fit."""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast.fitting._factors import entropy
from sbpfast.fitting._improper import dependent_columns
from sbpfast.fitting._moments import ExactSource
from sbpfast.fitting._source import Moments
from sbpfast.targets import NonFiniteTarget
from sbpfast.targets._unknown_noise import LEAST, UnknownNoise, unit_columns

MOST_STEPS = 200  # of Newton's method, for two numbers
EPSILON = float(np.finfo(float).eps)


class UnknownNoiseMoments(ExactSource):
    """Of an `UnknownNoise`, for a fit: what `ExactMoments` is for a ridge target."""

    of = UnknownNoise

    def at(self, mean, chol) -> Moments:
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
            if not np.linalg.norm(step) >= 1e-12:  # nor is NaN
                return x
        x, (value, slope) = x + step, ahead
        if np.abs(slope).max() <= tol:
            return x
    return x


def _diagonalised(factor, root):
    """B, U, g and p with F B = U diag(g) and B^T diag(root^2) B = diag(p), g^2 + p = 1."""
    both = np.vstack([factor, np.diag(root)])
    if not np.isfinite(both).all():
        raise NonFiniteTarget(
            "the rows overflow double precision in units of y, which is next to 0: rescale y or weights"
        )
    scaled, norms = unit_columns(both)
    upper = np.linalg.qr(scaled, mode="r")
    _, values, vectors = np.linalg.svd(upper)
    if values[-1] <= 2.0 * EPSILON * len(values) * values[0]:
        raise dependent_columns(vectors[-1])
    inverse = scipy.linalg.solve_triangular(upper, np.eye(len(upper))) / norms[:, None]
    u, g, v = np.linalg.svd(factor @ inverse, full_matrices=False)
    g[np.linalg.matrix_rank(unit_columns(factor)[0]) :] = 0.0  # rounding alone: the data say nothing there
    basis = inverse @ v.T
    return basis, u, g, ((root[:, None] * basis) ** 2).sum(axis=0)
