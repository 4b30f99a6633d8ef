"""The choice that "auto" makes."""

from __future__ import annotations

import math
import time

import numpy as np

from sbpfast.estimate._estimators import MONTE_CARLO, applies
from sbpfast.gaussian._full import GaussianBase
from sbpfast.targets._ridge import Ridge

PREFERRED = ("difference", "price", "stein", "pathwise", "score")
PILOT = 256  # draws of each candidate; a run too short to pay for pilots takes the first that applies


def automatic(target, q, make_run, n_samples) -> str:
    """The estimator with the least variance x time in a pilot of measured runs.

    Time is rounded to a power of two, so that only estimators close to each other can change places from one run to
    the next.
    """
    exact = isinstance(target, Ridge) if isinstance(q, GaussianBase) else q._integrates(target)
    if exact and "exact" in q._estimators:
        return "exact"
    candidates = [name for name in PREFERRED if applies(name, target, q)]
    if not candidates:
        raise ValueError(f"the target has none of the derivatives that the estimators of {type(q).__name__} need")
    if len(candidates) == 1 or n_samples < 8 * PILOT:
        return candidates[0]
    costs = {}
    for name in candidates:
        start = time.perf_counter()
        result = MONTE_CARLO[name](make_run(PILOT, name))
        errors = result.errors() if callable(result.errors) else result.errors
        elapsed = 2.0 ** round(math.log2(time.perf_counter() - start))
        costs[name] = (
            elapsed,
            {key: float(np.sum(np.square(error))) for key, error in errors.items() if not key.startswith("_")},
        )
    return min(candidates, key=lambda name: _log_cost(name, costs))


def _log_cost(name, costs):
    """log(time) plus the mean over parameters of log(variance), each relative to the largest."""
    elapsed, variances = costs[name]
    total = math.log(elapsed)
    for key, variance in variances.items():
        largest = max(v[key] for _, v in costs.values())
        total += math.log(max(variance / largest, 1e-30) if largest > 0 else 1.0) / len(variances)
    return total
