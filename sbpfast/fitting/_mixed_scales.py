"""The outer parameters of a regression with groups: standard deviations, correlations, and those of the likelihood.

theta holds, group by group, the Cholesky factor L of a level's covariance, row by row with the logarithm of its
diagonal, and then the logarithms of the likelihood's parameters.  The standard deviations are half-normal, correlation
matrices uniform.  F(theta), the largest ELBO, has a free gradient: q needs no derivative at its optimum.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import scipy

LEAST = 1e-7  # of the unit of an effect: a standard deviation that stands for 0
SMALL = 3e-2  # of the unit: below it, one that falls further is tried at 0
FIRST = 0.5  # of the unit: where standard deviations start


class Layout(NamedTuple):
    """Where what stands in theta."""

    widths: tuple[int, ...]  # effects a level, by group
    n_levels: tuple[int, ...]
    units: tuple[np.ndarray, ...]  # of the effects' standard deviations, (r,) by group
    parameters: tuple  # of the likelihood
    spread: float  # of the linear predictor, which the likelihood's parameters are measured in
    scale_prior: float  # in units

    @property
    def dim(self) -> int:
        return sum(r * (r + 1) // 2 for r in self.widths) + len(self.parameters)

    def blocks(self):
        """For every group its rows and columns of L and their places in theta."""
        return _blocks(self.widths)

    def start(self) -> np.ndarray:
        theta = np.zeros(self.dim)
        for (row, column, at), unit in zip(self.blocks(), self.units):
            theta[at[row == column]] = np.log(FIRST * unit)
        theta[self.dim - len(self.parameters) :] = [p.begins(self.spread) for p in self.parameters]
        return theta

    def diagonal(self):
        """Place in theta, group and effect of every diagonal element of an L."""
        for k, (row, column, at) in enumerate(self.blocks()):
            for i in np.flatnonzero(row == column):
                yield int(at[i]), k, int(row[i])

    def factors(self, theta) -> list[np.ndarray]:
        out = []
        for row, column, at in self.blocks():
            factor = np.zeros((row[-1] + 1,) * 2)
            with np.errstate(over="ignore"):  # a fit at such scales is refused
                factor[row, column] = np.where(row == column, np.exp(theta[at]), theta[at])
            out.append(factor)
        return out

    def values(self, theta) -> np.ndarray:
        """The likelihood's parameters."""
        return np.exp(theta[self.dim - len(self.parameters) :])

    def chained(self, theta, by_factor, by_log) -> np.ndarray:
        """The gradient by theta from those by L and by the logarithms of the likelihood's parameters."""
        out = np.empty(self.dim)
        for (row, column, at), gradient, factor in zip(self.blocks(), by_factor, self.factors(theta)):
            out[at] = np.where(row == column, factor[row, column], 1.0) * gradient[row, column]
        out[self.dim - len(self.parameters) :] = by_log
        return out

    def log_prior(self, theta, density) -> tuple[float, np.ndarray]:
        """The log prior and its gradient: of the scales themselves, or with `density` the density of theta."""
        value, by_factor = 0.0, []
        by_theta = np.zeros(self.dim)
        for (row, column, at), factor, unit in zip(self.blocks(), self.factors(theta), self.units):
            r, square = len(factor), (factor**2).sum(axis=1)
            gradient = np.zeros_like(factor)
            if math.isfinite(self.scale_prior):
                scale = self.scale_prior * unit
                value += float((-0.5 * square / scale**2 - np.log(scale)).sum() + 0.5 * r * math.log(2.0 / math.pi))
                gradient -= factor / scale[:, None] ** 2
            if density:
                times = r - np.arange(r) + 1.0  # of the logarithm of a diagonal element of L
                own = at[row == column]
                value += float(times @ theta[own] - 0.5 * r * np.log(square).sum()) - _log_volume(r)
                by_theta[own] += times
                gradient -= r * factor / square[:, None]
            by_factor.append(gradient)
        first = self.dim - len(self.parameters)
        learned = [p.log_prior(theta[first + i], self.spread) for i, p in enumerate(self.parameters)]
        by_theta += self.chained(theta, by_factor, [slope for _, slope in learned])
        return value + sum(v for v, _ in learned), by_theta


@functools.cache
def _blocks(widths):
    out, start = [], 0
    for r in widths:
        row, column = np.tril_indices(r)
        out.append((row, column, np.arange(start, start + len(row))))
        start += len(row)
    return out


def _log_volume(r) -> float:
    """The logarithm of the volume of the correlation matrices of r variables (Lewandowski, Kurowicka & Joe 2009)."""
    k = np.arange(1, r)
    beta = 0.5 * (r - k + 1.0)
    return float(((r - k) ** 2).sum() * math.log(2.0) + ((r - k) * scipy.special.betaln(beta, beta)).sum())


def standard_deviations(factor) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (r,) and correlations (r, r) of a covariance L L^T."""
    sd = np.sqrt((factor**2).sum(axis=1))
    unit = factor / sd[:, None]
    return sd, unit @ unit.T


class Profile:
    """F(theta) + log prior and its gradient, by conditional fits that each start from the last.

    Parameters
    ----------
    model : MixedModel
    layout : Layout
    density : bool
        Whether the prior is a density of theta (to integrate) or of the scales themselves (to maximise).
    """

    def __init__(self, model, layout, density):
        self.model, self.layout, self.density = model, layout, density
        self.here: Any = None  # the last conditional fit
        self.n_fits = 0

    def begin(self, theta, fixed) -> None:
        self.model.likelihood.set(self.layout.values(theta))
        self.here = self.model.start(self.layout.factors(theta), fixed)

    def __call__(self, theta, tol, start=None, expected=None) -> tuple[float, np.ndarray]:
        """At theta, from the state `start`, else that of the last fit, or from `expected`, see `moved`."""
        self.model.likelihood.set(self.layout.values(theta))
        start = self.here.state if start is None else start
        self.here = None  # its rows are not needed any more
        self.here = here = self.model.fitted(self.model.moved(start, self.layout.factors(theta), expected), tol)
        self.n_fits += 1
        prior, slope = self.layout.log_prior(theta, self.density)
        by_log = self.model.likelihood.parameter_gradient(here.predictors)
        return here.elbo + prior, slope + self.layout.chained(theta, here.scale_gradients(), by_log)


class Maximum(NamedTuple):
    theta: np.ndarray
    value: float
    gradient: np.ndarray
    zero: tuple[int, ...]  # places in theta of diagonal elements of an L whose best value is 0
    converged: bool
    inverse_hessian: np.ndarray


TOL = 1e-10  # of the conditional fits, as a KL divergence
LOOSE = 1e-5
LONGEST = 1.5  # step in theta
CLOSE = 1e-4  # of a standard deviation of theta: where the maximum is found
MOST_FITS = 100


def maximise(profile, theta) -> Maximum:
    """The maximum of the profile, by BFGS from a guess of its curvature; elements that fall towards 0 are set to it."""
    layout = profile.layout
    zero: tuple[int, ...] = ()
    inverse = np.diag(1.0 / _guessed_curvature(profile))
    value, gradient = profile(theta, LOOSE)
    for _ in range(MOST_FITS):
        zero = _fallen(layout, theta, gradient, zero)
        if zero:
            theta = _at_zero(layout, theta, zero)
        free = np.setdiff1d(np.arange(layout.dim), zero)
        h = inverse[np.ix_(free, free)]
        step = h @ gradient[free]
        gain = float(gradient[free] @ step)  # twice what a quadratic would rise
        if gain < CLOSE**2:
            return Maximum(theta, value, gradient, zero, True, inverse)
        step *= min(1.0, LONGEST / float(np.abs(step).max()))
        tol = max(TOL, min(LOOSE, 1e-4 * gain))
        theta, value, gradient, moved = _searched(profile, theta, value, gradient, free, step, tol)
        if moved is None:
            return Maximum(theta, value, gradient, zero, gain < 1e-4, inverse)
        inverse[np.ix_(free, free)] = _updated(h, *moved)
    return Maximum(theta, value, gradient, zero, False, inverse)


def _searched(profile, theta, value, gradient, free, step, tol):
    """Along a step, halved until the value rises; and the changes of theta and the gradient, None where it does not."""
    rate = 1.0
    while rate > 1e-3:
        ahead = theta.copy()
        ahead[free] += rate * step
        before = profile.here.state
        new, slope = profile(ahead, tol)
        rise = rate * float(gradient[free] @ step)
        if new >= value + 1e-4 * rise - 1e-9 * (1.0 + abs(value)) - tol:
            return ahead, new, slope, (rate * step, gradient[free] - slope[free])
        profile.here = before
        rate *= 0.35
    return theta, value, gradient, None


def _updated(h, s, y):
    """The BFGS update of an inverse Hessian of the negative, which stays positive."""
    sy = float(s @ y)
    if sy <= 1e-3 * math.sqrt(float(s @ s) * float(y @ y)):
        return h
    a = np.eye(len(s)) - np.outer(s, y) / sy
    return a @ h @ a.T + np.outer(s, s) / sy


def _guessed_curvature(profile) -> np.ndarray:
    """Of -F in theta: 2 J for the logarithm of a standard deviation that the data determine, less where they shrink."""
    layout, out = profile.layout, []
    for (row, column, _), levels, factor in zip(layout.blocks(), layout.n_levels, profile.here.factors):
        scale = np.diagonal(factor)
        out += [levels if a == b else 0.5 * levels / scale[a] ** 2 for a, b in zip(row, column)]
    weights = profile.model.rows.n_rows
    return np.array(out + [0.5 * weights] * len(layout.parameters))


def _fallen(layout, theta, gradient, zero) -> tuple[int, ...]:
    """Diagonal elements that are small and whose square would better be smaller still."""
    out = set(zero)
    for at, k, a in layout.diagonal():
        if theta[at] < math.log(SMALL * layout.units[k][a]) and gradient[at] < 0.0:
            out.add(at)
    return tuple(sorted(out))


def _at_zero(layout, theta, zero):
    theta = theta.copy()
    for at, k, a in layout.diagonal():
        if at in zero:
            theta[at] = math.log(LEAST * layout.units[k][a])
    return theta
