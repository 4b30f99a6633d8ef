"""The estimators: rules that turn blocks of draws into gradients.

A *part* is one formula on one block: it returns group means by parameter name.  An estimator averages one part, or
mixes several; Run supplies the blocks, and RunningMean or RunningMix the errors.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from sbpfast._means import BLOCK, RunningMean, RunningMix
from sbpfast.estimate._parts import PARTS, chained, cost_of_a_draw, price_part
from sbpfast.estimate._result import Result
from sbpfast.gaussian._full import GaussianBase
from sbpfast.targets._ridge import Ridge


def _result(run, statistics, name, errors=None, extra_draws=0):
    """The result that running means make; `errors`, where given, is called for the errors of the gradients."""
    value = statistics.pop("value")
    grads = {key: mean.mean for key, mean in statistics.items() if not key.startswith("_")}
    moments = {key[1:]: mean.mean for key, mean in statistics.items() if key.startswith("_")}

    def own_errors():
        return {key: statistics[key].standard_error() for key in grads}

    return Result(value.mean, value.standard_error(), grads, errors or own_errors, moments, run.n + extra_draws, name)


def _plain(name):
    """The estimator that averages one part."""

    def estimator(run):
        def rule(block):
            grads = PARTS[name](run, block)  # first, so that the values come with the gradients
            return grads | {"value": block.mean(block.f)}

        return _result(run, run.collect(rule, cost_of_a_draw(run, (name,))), name)

    return estimator


def _price(run):
    """Of a ridge target, slopes and curvatures are averaged over all draws before the products with A.

    Its standard errors need those products for every group of draws, so they replay the streams, when first asked for.
    """
    target, q = run.target, run.q
    if not isinstance(target, Ridge):
        return _plain("price")(run)
    slope, curvature, mean_x = np.zeros(target.n_rows), np.zeros(target.n_rows), np.zeros(target.dim)

    def rule(block):
        slopes, curvatures, f, total_x = target._link_sums(block.draws, BLOCK, run.n_threads)
        slope[:] += slopes[0] / run.n
        curvature[:] += curvatures[0] / run.n
        mean_x[:] += total_x / run.n
        return {"value": block.mean(f)}

    statistics = run.collect(rule, target.dim)
    g, hessian = target._mean_derivatives(slope, curvature, mean_x, q._form(), run.n_threads)
    for name, mean in chained(q, g, 0.5 * hessian).items():
        statistics[name].mean = mean

    def errors():
        replay = run.collect(lambda block: price_part(run, block), cost_of_a_draw(run, ("price",)))
        return {name: replay[name].standard_error() for name in replay}

    return _result(run, statistics, "price", errors)


def _stein(run):
    """First order with a linear control variate.

    The gradient is regressed on x in a pilot of independent draws, grad f ~ c + C (x - mean).  What the linear part,
    and the quadratic it is the gradient of, contribute to every average is known: 1/2 tr(C cov) to the value, c to the
    gradient, and by Stein's identity E[cov^-1 (x - mean) (C (x - mean))^T] = C to the Hessian.  Only the rest has to be
    averaged: nothing is left of it where f is quadratic, and near the optimum of a variational fit it is small.
    """
    q, target, form = run.q, run.target, run.q._form()
    size = min(BLOCK, max(8, 2**22 // target.dim), max(2 * (target.dim + 1), run.n // 8))
    pilot = q._draw(run.pilot_key, 0, size, False, run.n_threads)
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

    return _result(run, run.collect(rule, cost_of_a_draw(run, ("stein",))), "stein", extra_draws=size)


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
    """The least-variance unbiased mix of every part that applies, from the same draws."""
    names = [name for name in PARTS if applies(name, run.target, run.q)]
    mixes: dict[str, RunningMix] = defaultdict(RunningMix)
    value = RunningMean()

    def rule(block):
        parts = {(name, key): mean for name in names for key, mean in PARTS[name](run, block).items()}
        return parts | {"value": block.mean(block.f)}

    for means, sizes in run.groups(rule, cost_of_a_draw(run, names)):
        value.add(means.pop("value"), sizes)
        for key in dict.fromkeys(key for _, key in means):
            mixes[key].add([means[name, key] for name in names], sizes)
    results = {key: mix.result() for key, mix in mixes.items()}
    grads = {key: mean for key, (mean, _) in results.items() if not key.startswith("_")}
    moments = {key[1:]: mean for key, (mean, _) in results.items() if key.startswith("_")}
    errors = {key: results[key][1] for key in grads}
    return Result(value.mean, value.standard_error(), grads, errors, moments, run.n, "combined")


def exact(target, q, wrt, n_threads):
    """Deterministic integrals, for ridge targets under Gaussians and for families that integrate themselves."""
    if not isinstance(q, GaussianBase):
        value, grads = q._exact(target, wrt)
        moments = {}
    else:
        value, g, hessian = target._exact(q, q._form(), n_threads)
        grads = chained(q, g, 0.5 * hessian)
        moments = {key: grads.pop(f"_{key}") for key in ("mean", "cov") if f"_{key}" in grads}
    return Result(value, 0.0, grads, {key: np.zeros_like(grad) for key, grad in grads.items()}, moments, 0, "exact")


# What a part or an estimator needs of the target, and the estimators that average draws.
NEEDS: dict[str, tuple[str, ...]] = {
    "price": ("grad", "hess"),
    "pathwise": ("grad",),
    "stein": ("grad",),
    "score": ("value",),
    "product": ("value", "grad"),
    "difference": ("value",),
    "exact": (),
    "combined": (),
}
MONTE_CARLO = {"price": _price, "stein": _stein, "combined": _combined} | {
    name: _plain(name) for name in ("pathwise", "score", "product", "difference")
}


def applies(name, target, q):
    """Whether a part may enter a mix."""
    return name in q._estimators and name not in q._refused and all(target._has(need) for need in NEEDS[name])
