"""The estimators: rules that turn blocks of draws into gradients, one row of a table each.

A *part* is one formula on one block: it returns group means by parameter name.  An estimator averages one part, or
mixes several; Run supplies the blocks, and RunningMean or RunningMix the errors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from sbpfast._blocks import CONTROL, other_key
from sbpfast._means import BLOCK, RunningMean, RunningMix
from sbpfast.estimate._distribution import is_chained
from sbpfast.estimate._hold import KINKS, Hold
from sbpfast.estimate._parts import (
    chained,
    cost_of_a_draw,
    difference_part,
    pathwise_part,
    price_part,
    product_part,
    score_part,
)
from sbpfast.estimate._result import Result
from sbpfast.targets._ridge import Ridge


def _result(run, means, errors, name, extra_draws=0):
    """The result that means by name make, "value" among them and moments under a leading underscore."""
    value, value_error = means.pop("value"), errors["value"]
    grads = {key: mean for key, mean in means.items() if not key.startswith("_")}
    moments = {key[1:]: mean for key, mean in means.items() if key.startswith("_")}
    return Result(value, value_error, grads, errors, moments, run.n + extra_draws, name)


def _averaged(run, rule, name, extra_draws=0):
    """The result of the means of a rule over all draws."""
    cost = cost_of_a_draw(run, name)
    statistics = run.collect(rule, cost)
    means = {key: s.mean for key, s in statistics.items()}
    errors = run.resolved(rule, cost, means, {key: s.standard_error() for key, s in statistics.items()})
    return _result(run, means, errors, name, extra_draws)


def _average_of(name, part):
    """The estimator that averages one part."""

    def estimator(run):
        def rule(block):
            grads = part(run, block)  # first, so that the values come with the gradients
            return grads | {"value": block.mean(block.f)}

        return _averaged(run, rule, name)

    return estimator


def _price(run):
    """Of a ridge target, slopes and curvatures are averaged over all draws before the products with A.

    Its standard errors need those products for every group of draws, so they replay the streams, when first asked for.
    """
    target, q = run.target, run.q
    if not target._factored:
        return _average_of("price", price_part)(run)
    if target.streamed:
        return _price_by_parts(run)
    slope, curvature, mean_x = np.zeros(target.n_rows), np.zeros(target.n_rows), np.zeros(target.dim)

    def rule(block):
        slopes, curvatures, f, total_x = target._link_sums(block.draws, BLOCK, run.n_threads)
        slope[:] += slopes[0] / run.n
        curvature[:] += curvatures[0] / run.n
        mean_x[:] += total_x / run.n
        return {"value": block.mean(f)}

    value = run.collect(rule, target.dim)["value"]
    g, hessian = target._mean_derivatives(slope, curvature, mean_x, q._form(), run.n_threads)
    return _price_result(run, g, hessian, value)


def _price_result(run, g, hessian, value):
    means = chained(run.q, g, 0.5 * hessian) | {"value": value.mean}

    def errors():
        replay = run.collect(lambda block: price_part(run, block), cost_of_a_draw(run, "price"))
        return {name: replay[name].standard_error() for name in replay}

    return _result(run, means, {"value": value.standard_error()}, "price")._replace(errors=errors)


def _price_by_parts(run):
    """Of a ridge target whose rows are streamed: all draws at each part in turn, so that one pass is enough."""
    target, form = run.target, run.q._form()
    draws = [block for block, _ in run.blocks(target.dim)]
    quadratic = [target._quadratic_values(block, run.n_threads) for block in draws]
    values, mean_x = [value for value, _ in quadratic], np.zeros(target.dim)
    for _, total_x in quadratic:
        mean_x += total_x / run.n
    parts = []
    for part_values, g, hessian in target.over_parts(Ridge._part_means, draws, run.n, form, run.n_threads):
        values = [value + more for value, more in zip(values, part_values)]
        parts.append((g, hessian))
    for value, block in zip(values, draws):
        target._refuse_overflow(value, block)
    g, hessian = target._derivatives_sum(parts, mean_x, form)
    known = iter(values)
    value = run.collect(lambda block: {"value": block.mean(next(known))}, target.dim)["value"]
    return _price_result(run, g, hessian, value)


def _stein(run):
    """First order with a linear control variate.

    The gradient is regressed on x in a pilot of independent draws, grad f ~ c + C (x - mean).  What the linear part,
    and the quadratic it is the gradient of, contribute to every average is known: 1/2 tr(C cov) to the value, c to the
    gradient, and by Stein's identity E[cov^-1 (x - mean) (C (x - mean))^T] = C to the Hessian.  Only the rest has to be
    averaged: nothing is left of it where f is quadratic, and near the optimum of a variational fit it is small.
    """
    q, target, form = run.q, run.target, run.q._form()
    size = min(BLOCK, max(8, 2**22 // target.dim), max(2 * (target.dim + 1), run.n // 8))
    pilot = q._draw(other_key(run.key, CONTROL), 0, size, False, run.n_threads)
    c, slope = _linear_fit(pilot.x - q.mean, target._value_and_grad(pilot.x, run.n_threads)[1])
    known = form.zeros(target.dim)
    form.subtract(known, -slope)
    trace = np.trace(q._cov_dot(slope)) if slope.ndim == 2 else slope @ q._variances()

    def rule(block):
        r = block.draws.x - q.mean
        linear = r @ slope if slope.ndim == 2 else r * slope
        rest = block.grad - c - linear
        outer = form.of_outer(block.draws.u, rest, block.m)
        value = block.f - r @ c - 0.5 * ((r * linear).sum(axis=1) - trace)
        return chained(q, c + block.mean(rest), 0.5 * (known + outer)) | {"value": block.mean(value)}

    return _averaged(run, rule, "stein", extra_draws=size)


def _linear_fit(r, g):
    """c and the symmetric C of the regression g ~ c + C r; too few draws for a matrix: C is diagonal, (d,)."""
    n, d = r.shape
    g_mean, r_mean = g.mean(axis=0), r.mean(axis=0)
    r, g = r - r_mean, g - g_mean
    if n >= 2 * (d + 1):
        slope = np.linalg.lstsq(r, g, rcond=None)[0]
        slope = 0.5 * (slope + slope.T)
        return g_mean - r_mean @ slope, slope
    slope = (r * g).sum(axis=0) / (r * r).sum(axis=0)
    return g_mean - r_mean * slope, slope


def _combined(run):
    """The mix of least variance of every part that applies, from the same draws.

    Price is left out of it where its Hessians contradict the gradients.
    """
    parts = parts_for(run.target, run.q)
    names = list(parts)
    mixes: dict[str, RunningMix] = defaultdict(RunningMix)
    value, hold = RunningMean(), Hold()

    def rule(block):
        means = {(name, key): mean for name, part in parts.items() for key, mean in part(run, block).items()}
        return means | {"value": block.mean(block.f)}

    cost = cost_of_a_draw(run, *names)
    for groups, sizes in run.groups(rule, cost):
        value.add(groups.pop("value"), sizes)
        for key in dict.fromkeys(key for _, key in groups):
            mixes[key].add([groups[name, key] for name in names], sizes)
            if "price" in names:
                hold.add(key, groups["price", key], groups["pathwise", key], sizes)
    kept = [i for i, name in enumerate(names) if not (name == "price" and hold.broken())]
    results = {key: mix.result(kept) for key, mix in mixes.items()} | {"value": (value.mean, value.standard_error())}
    means, errors = ({key: pair[i] for key, pair in results.items()} for i in (0, 1))

    def mix_of(block):
        """The same mix of other draws."""
        got = rule(block)
        mixed = {key: mix.mixed([got[names[i], key] for i in kept], kept) for key, mix in mixes.items()}
        return mixed | {"value": got["value"]}

    errors = run.resolved(mix_of, cost, means, errors)
    doubts = () if len(kept) == len(names) else (KINKS,)
    return _result(run, means, errors, "combined")._replace(doubts=doubts)


def _exact(run):
    """Deterministic integrals, for ridge targets under Gaussians and for families that integrate themselves."""
    q, target = run.q, run.target
    if is_chained(q):
        value, g, hessian = target._exact(q, q._form(), run.n_threads)
        grads = chained(q, g, 0.5 * hessian)
        moments = {key: grads.pop(f"_{key}") for key in ("mean", "cov") if f"_{key}" in grads}
    else:
        value, grads = q._exact(target, run.wrt)
        moments = {}
    return Result(value, 0.0, grads, {key: np.zeros_like(grad) for key, grad in grads.items()}, moments, 0, "exact")


class Estimator(NamedTuple):
    """A row of the table.

    needs : what the target must have.
    rule : a run to a result.
    part : its formula on one block, where it may enter a mix.
    least : draws to a group at the least; from 2 on, it has a baseline that needs another independent draw.
    work : multiplications a draw takes, from the dimension, those of one f, and the entries of the form that the chain
        rule needs; None where "auto" does not take it.
    """

    needs: tuple[str, ...]
    rule: Callable
    part: Callable | None = None
    least: int = 1
    work: Callable[[float, float, float], float] | None = None


EstimatorName = Literal["difference", "price", "stein", "pathwise", "score", "product", "combined", "exact", "auto"]

# In the order in which "auto" takes them when a run is too short for a pilot.  A gradient counts as two more f, as
# reverse differentiation makes it, and a Hessian as one f a coordinate.
ESTIMATORS: dict[str, Estimator] = {
    "difference": Estimator(
        ("value",), _average_of("difference", difference_part), difference_part, work=lambda d, f, form: (d + 1.0) * f
    ),
    "price": Estimator(("grad", "hess"), _price, price_part, work=lambda d, f, form: (3.0 + d) * f + form),
    "stein": Estimator(("grad",), _stein, work=lambda d, f, form: 3.0 * f + 4.0 * form),
    "pathwise": Estimator(
        ("grad",), _average_of("pathwise", pathwise_part), pathwise_part, work=lambda d, f, form: 3.0 * f + 2.0 * form
    ),
    "score": Estimator(
        ("value",), _average_of("score", score_part), score_part, least=8, work=lambda d, f, form: f + 2.0 * form
    ),
    "product": Estimator(("value", "grad"), _average_of("product", product_part), product_part),
    "combined": Estimator((), _combined, least=8),
    "exact": Estimator((), _exact),
}


def applies(name, target, q):
    """Whether an estimator serves this target and distribution, for all parameters."""
    return name in q._estimators and name not in q._refused and all(map(target._has, ESTIMATORS[name].needs))


def parts_for(target, q) -> dict[str, Callable]:
    """The parts that a mix for this target and distribution is made of, by name."""
    return {name: row.part for name, row in ESTIMATORS.items() if row.part and applies(name, target, q)}
