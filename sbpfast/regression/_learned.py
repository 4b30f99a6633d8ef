"""Scales, dispersions and shapes learned by maximising the ELBO over their logarithms (empirical Bayes).

Given them the best Gaussian q is found as always, from where it was for the last ones; the slope of the ELBO in them is
then that of E_q[f] with q held, because the ELBO is flat in q (the envelope theorem).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy

from sbpfast import _core
from sbpfast.fitting._fit import exact_source
from sbpfast.fitting._natural import NaturalFit
from sbpfast.fitting._start import full_start
from sbpfast.targets import Target

PRIOR = "prior_scale"
TOL, MOST_STEPS = 1e-8, 200  # of each fit
STEP = 1e-4  # in the logarithm, for the slope of E_q[f]
APART = 0.05  # in the logarithm, for the curvature of the ELBO
EDGE, FLAT = 1e-3, 3.0  # in the logarithm: so close to an end, or of such a standard deviation, nothing is learned


class Scalar(NamedTuple):
    """A positive number to be learned: where the search starts, and its ends."""

    name: str
    start: float
    low: float
    high: float


class Learned(NamedTuple):
    """The number of the highest ELBO; the posterior of its logarithm is about normal, of this standard deviation.

    at_end: the ELBO grows, or is flat, up to an end of the range that was searched, such as a scale of 0.
    """

    value: float
    log_sd: float
    at_end: bool

    def interval(self, level) -> tuple[float, float]:
        """The central interval, under a flat prior of the logarithm."""
        away = np.exp(scipy.special.ndtri(0.5 + 0.5 * level) * self.log_sd)
        return self.value / away, self.value * away

    def text(self, name, level) -> str:
        """A line for a table."""
        if self.at_end:
            return f"{name} {self.value:.4g}, and as good anywhere from there to the end of the range searched"
        low, high = self.interval(level)
        return f"{name} {self.value:.5g} ({100 * level:.3g} %: {low:.4g} to {high:.4g}), where the ELBO is highest"


class Evidence:
    """The ELBO, maximised over q, as a function of the logarithms of the scalars.

    make: the target for given values, by name.
    unit: the precision of the coefficients' prior where its scale is 1, (d, d) or its diagonal (d,), and which of the
    target's parameters they are; for PRIOR alone.
    """

    def __init__(self, make: Callable[[dict[str, float]], Target], scalars: list[Scalar], unit: tuple[Any, Any]):
        self.make, self.scalars, self.unit = make, scalars, unit
        self.threads = _core.effective_threads()
        self.loop: NaturalFit | None = None

    def _target(self, u):
        return self.make({scalar.name: float(np.exp(v)) for scalar, v in zip(self.scalars, u)})

    def at(self, u) -> tuple[float, np.ndarray]:
        """The ELBO and its slopes."""
        target = self._target(u)
        source = exact_source(target, "full", self.threads)
        assert source is not None
        mean, shape = full_start(source, None) if self.loop is None else (self.loop.mean, self.loop.shape)
        self.loop = NaturalFit(source, mean, shape, TOL, 1)
        self.loop.run(MOST_STEPS, lambda *_: False)
        slopes = [self._slope(u, i) for i in range(len(u))]
        return self.loop.last.elbo, np.array(slopes)

    def _slope(self, u, i):
        if self.scalars[i].name == PRIOR:
            return self._prior_slope(float(np.exp(u[i])))
        assert self.loop is not None
        q, step = self.loop.shape.gaussian(self.loop.mean), STEP * np.eye(len(u))[i]
        ends = [self._target(u + sign * step)._exact(q, q._form(), self.threads)[0] for sign in (1.0, -1.0)]
        return (ends[0] - ends[1]) / (2.0 * STEP)

    def _prior_slope(self, scale):
        """E[b^T P b] / scale^2 less the number of coefficients b, P their prior's precision where its scale is 1."""
        assert self.loop is not None
        precision, which = self.unit
        mean, factor = self.loop.mean[which], self.loop.shape.chol[which]
        if np.ndim(precision) == 2:
            squares = mean @ precision @ mean + np.sum((precision @ factor) * factor)
        else:
            squares = precision @ (mean * mean + (factor * factor).sum(axis=1))
        return squares / scale**2 - len(mean)


def maximised(evidence: Evidence) -> dict[str, Learned]:
    """The scalars of the highest ELBO, by name."""
    scalars = evidence.scalars
    bounds = [(np.log(scalar.low), np.log(scalar.high)) for scalar in scalars]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values on the way
        found = scipy.optimize.minimize(
            lambda u: tuple(-part for part in evidence.at(u)), np.log([scalar.start for scalar in scalars]),
            jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-5, "maxiter": 100},
        )  # fmt: skip
        curvature = np.array([_bend(evidence, found.x, e) for e in np.eye(len(scalars))])
    values, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    variances = ((vectors / np.maximum(values, 1e-8)) * vectors).sum(axis=1)
    ends = [min(u - low, high - u) < EDGE or v > FLAT**2 for u, v, (low, high) in zip(found.x, variances, bounds)]
    return {
        scalar.name: Learned(float(np.exp(u)), float(np.sqrt(v)), bool(end))
        for scalar, u, v, end in zip(scalars, found.x, variances, ends)
    }


def _bend(evidence, u, e):
    """Minus the second derivative of the ELBO along a coordinate, by differences of its slopes."""
    ahead, behind = evidence.at(u + APART * e)[1], evidence.at(u - APART * e)[1]
    return (behind - ahead) / (2.0 * APART)
