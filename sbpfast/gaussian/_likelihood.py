"""Maximum likelihood of a multivariate Gaussian from centred statistics that merge."""

from __future__ import annotations

import functools
import math
import operator
from typing import NamedTuple

import numpy as np

from sbpfast import _checks
from sbpfast._likelihood import (
    CHUNK,
    LEAST_SQUARE,
    Mergeable,
    MLEDoesNotExist,
    check_prior,
    clean_data,
    given_statistics,
)


class GaussianStatistics(Mergeable):
    """Weight, mean (d,) and scatter (d, d) about it; parts add up to the whole (Chan, Golub & LeVeque 1983)."""

    def __init__(self, weight, mean, scatter):
        self.weight, self.mean, self.scatter = weight, mean, scatter

    @property
    def family(self) -> type:
        """The class itself: there is one family."""
        return type(self)

    def __repr__(self):
        return f"GaussianStatistics(weight={self.weight:.10g}, dimension={len(self.mean)})"

    @classmethod
    def of(cls, x, weights=None) -> GaussianStatistics:
        """Of data (n, d)."""
        x, weights, _ = clean_data("x", x, weights)
        reach = np.abs(x).max(axis=0)
        if ((reach > 0) & (reach < LEAST_SQUARE**0.5)).any() or reach.max() > 1e150:
            raise ValueError(
                f"x is outside the range of a Gaussian fit, columns of 1e-146 to 1e150; it reaches {reach}; rescale it"
            )
        parts = []
        step = max(1, CHUNK // x.shape[1])
        for start in range(0, len(x), step):
            rows = x[start : start + step]
            w = np.ones(len(rows)) if weights is None else weights[start : start + step]
            with np.errstate(over="ignore", invalid="ignore"):
                mean = w @ rows / w.sum()
                centred = rows - mean
                parts.append(cls(w.sum(), mean, (w[:, None] * centred).T @ centred))
        total = functools.reduce(operator.add, parts)
        if not np.isfinite(total.scatter).all():
            raise ValueError("the weights times the squares of x overflow double precision: divide the weights")
        return total

    def __add__(self, other):
        if not isinstance(other, GaussianStatistics):
            return NotImplemented
        if len(self.mean) != len(other.mean):
            raise ValueError(f"statistics of dimensions {len(self.mean)} and {len(other.mean)} cannot be merged")
        weight = self.weight + other.weight
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.weight / weight)
        between = np.outer(shift, shift) * (self.weight * other.weight / weight)
        return GaussianStatistics(weight, mean, self.scatter + other.scatter + between)


class GaussianFit(NamedTuple):
    """What `fit_gaussian` finds."""

    mean: np.ndarray
    cov: np.ndarray
    log_likelihood: float
    iterations: int
    duality_gap: float
    converged: bool


def fit_gaussian(x, weights=None, prior=None) -> GaussianFit:
    """Maximum likelihood of a multivariate Gaussian: the weighted mean and the covariance about it.

    Parameters
    ----------
    x : array_like (n, d), or GaussianStatistics
    weights : array_like (n,), optional
        Non-negative.
    prior : (nu, (m1, m2)), optional
        nu pseudo-observations with E x = m1 (d,) and E x x^T = m2 (d, d).

    Returns
    -------
    GaussianFit

    Raises
    ------
    MLEDoesNotExist
        The covariance of the data is singular: at most d points, or data on a hyperplane.
    """
    data = x if given_statistics(GaussianStatistics, x, weights) else GaussianStatistics.of(x, weights)
    d = len(data.mean)
    stats = data
    if prior is not None:
        nu, (m1, m2) = check_prior(prior)
        m1 = _checks.real_array("m1 of prior", m1, shape=(d,))
        m2 = _checks.symmetric("m2 of prior", _checks.real_array("m2 of prior", m2, shape=(d, d)))
        stats = data + GaussianStatistics(nu, m1, nu * (m2 - np.outer(m1, m1)))
    cov = stats.scatter / stats.weight
    _require_full_rank(cov, stats.mean)
    factor = np.linalg.cholesky(cov)
    shift = data.mean - stats.mean
    scatter = data.scatter / data.weight + np.outer(shift, shift)
    log_det = 2.0 * float(np.log(np.diagonal(factor)).sum())
    trace = float(np.trace(np.linalg.solve(factor.T, np.linalg.solve(factor, scatter))))
    log_likelihood = -0.5 * (d * math.log(2.0 * math.pi) + log_det + trace) * float(data.weight)
    if not math.isfinite(log_likelihood):
        raise ValueError("the log likelihood overflows double precision: divide the weights by their maximum")
    return GaussianFit(stats.mean, cov, float(log_likelihood), 0, 0.0, True)


def _require_full_rank(cov, mean):
    """Judged on the correlations, so that the units of the variables do not matter."""
    spread = np.sqrt(np.diagonal(cov))
    if (spread > 2.0 * np.finfo(np.float64).eps * np.abs(mean)).all():
        correlation = cov / np.outer(spread, spread)
        least = np.linalg.eigvalsh(correlation)[0]
        if least > 1e-14 * len(cov):
            return
    raise MLEDoesNotExist(
        f"the covariance of the data is singular (d = {len(cov)}): the likelihood of a Gaussian has no maximum; "
        "more points, fewer variables or a prior are needed"
    )
