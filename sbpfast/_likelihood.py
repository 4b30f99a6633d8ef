"""What every fit by maximum likelihood shares: the answer, its refusal, and how data, weights and priors come in."""

from __future__ import annotations

from typing import Any

import numpy as np

from sbpfast import _checks

CHUNK = 1 << 15  # observations whose statistics are formed at a time
LEAST_SQUARE = 1e-292  # mean squares below it have lost digits to underflow


class MLEDoesNotExist(ValueError):
    """The likelihood has no maximum: the mean statistics of the data lie on the boundary of their set."""


class MLE:
    """A maximum-likelihood (or maximum a posteriori) estimate.

    Attributes
    ----------
    distribution
        The fitted distribution.
    log_likelihood : float
        Of the data (weights counted), without the prior.
    iterations : int
        Newton steps; 0 for a closed form.
    duality_gap : float
        Upper bound on what the objective A(eta) - eta . mean u, summed over components, could still fall: the Newton
        decrement squared g' (Hess A)^-1 g, g = grad A - mean u, a bound wherever the Hessian between here and the
        optimum is at least half of the one here.  Closed forms have 0.
    converged : bool
        The gap is at the level of rounding.
    """

    def __init__(self, distribution, log_likelihood, iterations, duality_gap, converged):
        self.distribution = distribution
        self.log_likelihood = float(log_likelihood)
        self.iterations = int(iterations)
        self.duality_gap = float(duality_gap)
        self.converged = bool(converged)

    def __repr__(self):
        return (
            f"MLE({self.distribution!r}, log_likelihood={self.log_likelihood:.10g}, iterations={self.iterations}, "
            f"duality_gap={self.duality_gap:.2g}, converged={self.converged})"
        )


class Mergeable:
    """Statistics of the data of one `family`; those of two parts of the data add up to those of the whole."""

    family: Any

    def __radd__(self, other):
        return self if isinstance(other, int) and other == 0 else NotImplemented  # the start of sum()


def clean_data(name, x, weights, finite=True):
    """Data (n, d) and weights (n,) with the weights of 0 dropped, and whether the data came as (n,)."""
    x = _checks.real_array(name, x, ndim=(1, 2), finite=finite)
    scalar = x.ndim == 1
    x = x[:, None] if scalar else x
    if weights is not None:
        weights = _checks.real_array("weights", weights, shape=(len(x),))
        if (weights < 0).any():
            raise ValueError(f"weights must be non-negative, got {weights.min()}")
        with np.errstate(over="ignore"):
            if not np.isfinite(weights.sum()):
                raise ValueError("weights must have a finite sum; divide them by their maximum")
        if (weights == 0).any():
            x, weights = x[weights > 0], weights[weights > 0]
        if (weights == 1.0).all():
            weights = None  # the same bits, sooner
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise ValueError(f"{name} must hold at least one observation of positive weight, got shape {x.shape}")
    return x, weights, scalar


def given_statistics(family, x, weights, constants=()) -> bool:
    """Whether x holds the statistics of data in place of data; raises where they are not this family's."""
    if not isinstance(x, Mergeable):
        return False
    if weights is not None or constants:
        raise TypeError("weights and constants belong to the statistics, which are given already")
    if x.family is not family:
        raise TypeError(f"x must be data or statistics of {family.__name__}, got {x!r}")
    return True


def check_prior(prior) -> tuple[float, Any]:
    """(nu, m0) of a conjugate prior."""
    try:
        nu, m0 = prior
    except (TypeError, ValueError):
        raise TypeError(f"prior must be a pair (nu, m0), got {type(prior).__name__}") from None
    return _checks.scalar("nu of prior", nu, above=0.0), m0
