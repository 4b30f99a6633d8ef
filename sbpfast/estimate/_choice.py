"""The choice that "auto" makes: the least variance x work, the variance from a pilot, the work counted."""

from __future__ import annotations

import math

import numpy as np

from sbpfast.estimate._distribution import is_chained
from sbpfast.estimate._estimators import ESTIMATORS, applies
from sbpfast.estimate._hold import KINKS, Hold
from sbpfast.estimate._parts import cost_of_a_draw, pathwise_part, price_part

PILOT = 256  # draws of each candidate; a run too short to pay for pilots takes the first that applies


def automatic(target, q, make_run, n_samples) -> tuple[str, tuple[str, ...]]:
    """The estimator of least variance x work, and the doubts that the pilots raised.

    Work is counted and not measured, so that the choice depends on nothing but the draws.
    """
    if "exact" in q._estimators and q._integrates(target):
        return "exact", ()
    candidates = [name for name, row in ESTIMATORS.items() if row.work and applies(name, target, q)]
    if not candidates:
        raise ValueError(f"the target has none of the derivatives that the estimators of {type(q).__name__} need")
    doubts: tuple[str, ...] = ()
    if "price" in candidates and _contradicted(make_run(min(PILOT, n_samples), "price")):
        candidates.remove("price")
        doubts = (KINKS,)
    if len(candidates) == 1 or n_samples < 8 * PILOT:
        return candidates[0], doubts
    variances = {name: _variances(ESTIMATORS[name].rule(make_run(PILOT, name))) for name in candidates}
    work = {name: _work(name, target, q) for name in candidates}
    return min(candidates, key=lambda name: math.log(work[name]) + _log_variance(name, variances)), doubts


def _contradicted(run) -> bool:
    """Whether Price and the first order disagree on the same draws."""
    hold = Hold()

    def rule(block):
        parts = {"price": price_part(run, block), "first": pathwise_part(run, block)}
        return {(name, key): mean for name, part in parts.items() for key, mean in part.items()}

    for means, sizes in run.groups(rule, cost_of_a_draw(run, "price", "pathwise")):
        for name, key in means:
            if name == "price":
                hold.add(key, means["price", key], means["first", key], sizes)
    return hold.broken()


def _work(name, target, q) -> float:
    row, d = ESTIMATORS[name], target.dim
    assert row.work is not None
    return row.work(d, target._multiplications, q._form().entries(d) if is_chained(q) else d)


def _variances(result) -> dict[str, float]:
    """By parameter, summed over its elements."""
    errors = result.errors() if callable(result.errors) else result.errors
    return {key: float(np.sum(np.square(error))) for key, error in errors.items()}


def _log_variance(name, variances) -> float:
    """The mean over parameters of log(variance), each relative to the largest."""
    total = 0.0
    for key, variance in variances[name].items():
        largest = max(v[key] for v in variances.values())
        total += math.log(max(variance / largest, 1e-30) if largest > 0 else 1.0)
    return total / len(variances[name])
