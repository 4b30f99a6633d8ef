"""The estimators: rules that turn blocks of draws into gradients.

A *part* is one formula on one block: it returns group means by parameter name.  An estimator averages one part, or
mixes several; Run supplies the blocks, and RunningMean or RunningMix the errors.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sbpfast._forms import FullForm
from sbpfast._means import BLOCK, RunningMean, RunningMix, group_mean, group_sizes
from sbpfast.gaussian._full import GaussianBase
from sbpfast.targets._ridge import Ridge

# -- the parts: gradients of one block by one formula, as group means by parameter name --------------------------------


def _gradients(q, g, big_g):
    """The chain rule, and (g, G) itself for the pullback where G is a full matrix."""
    grads = q._chain(g, big_g)
    return grads | {"_mean": g, "_cov": big_g} if q._form() is FullForm else grads


def _price_part(run, block):
    """Bonnet and Price."""
    q, target = run.q, run.target
    form = q._form()
    if isinstance(target, Ridge):
        g, hessian = target._group_derivatives(block.draws, block.m, form, run.n_threads)
    else:
        g, hessian = block.mean(block.grad), target._hess_means(block.draws.x, block.m, form)
    return _gradients(q, g, 0.5 * hessian)


def _pathwise_part(run, block):
    """First order: B(x) grad f, for Gaussians 1/2 sym(cov^-1 (x - mean) grad^T)."""
    if isinstance(run.q, GaussianBase):
        g, outer = block.mean(block.grad), run.q._form().of_outer(block.draws.u, block.grad, block.m)
        return _gradients(run.q, g, 0.5 * outer)
    return {name: block.mean(term) for name, term in run.q._pathwise_terms(block.draws, block.grad, run.wrt).items()}


def _score_part(run, block):
    """(f - the mean of f over the other draws of the group) times the score.

    The deviations of f sum to 0 over a group, which cancels the constant part of a Gaussian's second-order score.
    """
    f = baselined(block.f, block.m, run.sampling)
    if isinstance(run.q, GaussianBase):
        weighted = block.draws.u * f[:, None]
        outer = run.q._form().of_outer(weighted, block.draws.u, block.m)
        return _gradients(run.q, block.mean(weighted), 0.5 * outer)
    return {
        name: block.mean(_by_draw(f, term) * term) for name, term in run.q._score_terms(block.draws, run.wrt).items()
    }


def _product_part(run, block):
    """The product rule, where the distribution finds it valid."""
    terms = run.q._product_terms(block.draws, block.f, block.grad, run.target, run.wrt)
    return {name: block.mean(term) for name, term in terms.items()}


def _difference_part(run, block):
    """The exact finite-difference analogue of the discrete families."""
    return {name: block.mean(term) for name, term in run.q._difference_terms(block.draws, run.target, run.wrt).items()}


def _by_draw(f, term):
    return f.reshape((-1,) + (1,) * (term.ndim - 1))


PARTS = {
    "price": _price_part,
    "pathwise": _pathwise_part,
    "score": _score_part,
    "product": _product_part,
    "difference": _difference_part,
}


def _cost(run, names):
    """Doubles a draw occupies while these parts work on it."""
    target, d = run.target, run.target.dim
    if "price" in names and not isinstance(target, Ridge):
        return d * d
    rows = target._rows if "price" in names else 0
    results = run.q._form().entries(d) if isinstance(run.q, GaussianBase) else d
    return rows + d + results // run.m


def baselined(f, m, sampling) -> np.ndarray:
    """f less a baseline that is independent of its draw, (n,); the results sum to 0 over each group.

    The baseline is the mean of f over the other draws of the group: the result is the deviation from the group's mean,
    times m/(m - 1).  The mirror image of an antithetic draw depends on it and is left out as well.  The points of a
    Sobol sequence make their own mean nearly constant, so nothing is left out of it.
    """
    sizes = group_sizes(len(f), m)
    own, mean = np.repeat(sizes, sizes), np.repeat(group_mean(f, m), sizes)
    if sampling == "sobol":
        return f - mean
    if sampling == "antithetic":
        return f - (own * mean - np.repeat(f[0::2] + f[1::2], 2)) / (own - 2)
    return (f - mean) * (own / (own - 1))


# -- the estimators ---------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What an estimator hands back: gradients by parameter name, and (g, G) as "mean" and "cov" where known."""

    value: float
    value_error: float
    grads: dict
    errors: dict | Callable[[], dict]
    moments: dict
    n: int
    name: str


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

        return _result(run, run.collect(rule, _cost(run, (name,))), name)

    return estimator


def _price(run):
    """Of a ridge target, slopes and curvatures are averaged over all draws before the products with A.

    Its standard errors need those products for every group of draws, so they replay the streams, when first asked for.
    """
    target, q = run.target, run.q
    if not isinstance(target, Ridge):
        return _plain("price")(run)
    slope, curvature, mean_x = np.zeros(target._rows), np.zeros(target._rows), np.zeros(target.dim)

    def rule(block):
        slopes, curvatures, f, total_x = target._link_sums(block.draws, BLOCK, run.n_threads)
        slope[:] += slopes[0] / run.n
        curvature[:] += curvatures[0] / run.n
        mean_x[:] += total_x / run.n
        return {"value": block.mean(f)}

    statistics = run.collect(rule, target.dim)
    g, hessian = target._mean_derivatives(slope, curvature, mean_x, q._form(), run.n_threads)
    for name, mean in _gradients(q, g, 0.5 * hessian).items():
        statistics[name].mean = mean

    def errors():
        replay = run.collect(lambda block: _price_part(run, block), _cost(run, ("price",)))
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
        return _gradients(q, c + block.mean(rest), 0.5 * (known + outer)) | {"value": block.mean(value)}

    return _result(run, run.collect(rule, _cost(run, ("stein",))), "stein", extra_draws=size)


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
    names = [name for name in PARTS if _applies(name, run.target, run.q)]
    mixes: dict[str, RunningMix] = defaultdict(RunningMix)
    value = RunningMean()

    def rule(block):
        parts = {(name, key): mean for name in names for key, mean in PARTS[name](run, block).items()}
        return parts | {"value": block.mean(block.f)}

    for means, sizes in run.groups(rule, _cost(run, names)):
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
        grads = _gradients(q, g, 0.5 * hessian)
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


def _applies(name, target, q):
    """Whether a part may enter a mix."""
    return name in q._estimators and name not in q._refused and all(target._has(need) for need in NEEDS[name])


# -- the choice --------------------------------------------------------------------------------------------------------

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
    candidates = [name for name in PREFERRED if _applies(name, target, q)]
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
