"""The families of regressions with groups: a log likelihood of the rows for every value of its parameters."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from sbpfast import _core, targets
from sbpfast.targets._expectations import link_expectations

STEP = 1e-4  # in the logarithm of a parameter, for a derivative


class Parameter(NamedTuple):
    """A parameter of a likelihood that is learned: where it starts, and the normal prior of its logarithm."""

    name: str
    start: float
    centre: float  # exp of the prior's mean
    prior_sd: float
    of_spread: bool = False  # whether start and centre are in units of the linear predictor's spread

    def begins(self, unit) -> float:
        """The logarithm of where it starts."""
        return math.log(self.start * (unit if self.of_spread else 1.0))

    def log_prior(self, log_value, unit) -> tuple[float, float]:
        """Its log density and the derivative."""
        z = (log_value - math.log(self.centre * (unit if self.of_spread else 1.0))) / self.prior_sd
        return -0.5 * z * z - math.log(self.prior_sd) - 0.5 * math.log(2.0 * math.pi), -z / self.prior_sd


NOISE = Parameter("noise_scale", 0.7, 1.0, 5.0, of_spread=True)
SCALE = Parameter("scale", 0.5, 1.0, 5.0, of_spread=True)
DF = Parameter("df", 6.0, 10.0, 1.0)
DISPERSION = Parameter("dispersion", 5.0, 1.0, 2.5)
SHAPE = Parameter("shape", 2.0, 1.0, 2.5)


class Family(NamedTuple):
    """A row of the table of families."""

    target: str  # name in sbpfast.targets
    parameters: tuple[Parameter, ...] = ()
    classifier: bool = False
    log_mean: bool = False  # whether the linear predictor is the logarithm of the mean


FAMILIES = {
    "logistic": Family("logistic_regression", classifier=True),
    "probit": Family("probit_regression", classifier=True),
    "poisson": Family("poisson_regression", log_mean=True),
    "linear": Family("linear_regression", (NOISE,)),
    "student_t": Family("student_t_regression", (SCALE, DF)),
    "negative_binomial": Family("negative_binomial_regression", (DISPERSION,), log_mean=True),
    "gamma": Family("gamma_regression", (SHAPE,), log_mean=True),
}


class Likelihood:
    """sum_j w_j log p(y_j | eta_j) of the rows, whose parameters can be set.

    Parameters
    ----------
    family : Family
    design : Design (N, p)
        For the checks of y, weights and offset against it.
    y, offset, weights, trials
        As the targets take them.
    """

    def __init__(self, family, design, y, offset, weights, trials=None):
        self.family, self._design = family, design
        self._data: dict[str, Any] = {"y": _compact(y), "offset": offset, "weights": weights}
        if trials is not None:
            self._data["trials"] = trials
        self.values: tuple[float, ...] | None = None

    def set(self, values) -> None:
        """Take the values of the family's parameters."""
        values = tuple(float(v) for v in values)
        if values != self.values:
            self._terms, self.values = Terms.of(self._at(values)), values

    def target(self, prior_scale):
        """The log joint density of the fixed effects alone, as if there were no groups."""
        return self._at(self.values, prior_scale)

    def _at(self, values, prior_scale=np.inf):
        named = {parameter.name: value for parameter, value in zip(self.family.parameters, values)}
        return getattr(targets, self.family.target)(self._design, prior_scale=prior_scale, **self._data, **named)

    @property
    def offset(self) -> np.ndarray:
        return self._terms.offset

    @property
    def constant(self) -> float:
        return self._terms.constant

    def expectations(self, part, m, t):
        """w E phi summed, w E phi' and -w E phi'' of the rows `part` under N(m, t^2)."""
        return self._terms.expectations(part, m, t)

    def parameter_gradient(self, blocks) -> np.ndarray:
        """Derivatives of the expected log likelihood by the logarithms of the parameters.

        `blocks` is a function: (part, m, t) of the rows in parts, whose linear predictors are N(m, t^2).
        """
        out = np.zeros(len(self.family.parameters))
        for i in range(len(out)):
            for sign in (-1.0, 1.0):
                values = list(self.values or ())
                values[i] *= math.exp(sign * STEP)
                terms = Terms.of(self._at(values))
                value = terms.constant + sum(terms.expectations(*block)[0] for block in blocks())
                out[i] += sign * value / (2.0 * STEP)
        return out

    def log_density(self, part, eta) -> np.ndarray:
        """The rows' log likelihoods at linear predictors eta (..., rows) of the rows `part`, without the constant."""
        eta, terms = np.ascontiguousarray(eta).reshape(-1, eta.shape[-1]), self._terms
        v, s, c = np.empty_like(eta), np.empty_like(eta), np.empty_like(eta)
        threads = _core.effective_threads()
        _core.ridge.link_derivatives(eta, terms.responses(part), terms.code, terms.parameters, v, s, c, threads)
        return terms.weights[part] * v


class Terms(NamedTuple):
    """What a ridge target knows of its rows, without what all of them share written out for each."""

    constant: float
    record: np.ndarray
    code: int
    parameters: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, target) -> Terms:
        rows = (_compact(v) for v in (target.y, target.weights, target.offset))
        return cls(target.quadratic.constant, target.link_record, target.link.code, target.parameters, *rows)

    def responses(self, part) -> np.ndarray:
        return np.ascontiguousarray(self.y[part], dtype=np.float64)

    def expectations(self, part, m, t):
        """w E phi summed, w E phi' and -w E phi'' of the rows `part` under N(m, t^2)."""
        with np.errstate(over="ignore"):
            v, s, c = link_expectations(self.record, m, t, self.responses(part), _core.effective_threads())
            w = self.weights[part]
            return float(w @ v), w * s, -w * c


def _compact(v) -> np.ndarray:
    """The same numbers in less memory: one for all where they are equal, float32 where that is exact."""
    if len(v) and (v == v[0]).all():
        return np.broadcast_to(v[:1].copy(), v.shape)
    with np.errstate(over="ignore"):
        small = v.astype(np.float32)
    return small if np.array_equal(small, v) else v
