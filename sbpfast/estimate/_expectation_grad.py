"""expectation_grad: gradients of E[f(x)] with respect to the parameters of the distribution of x.

The path of the data: *draw* a block of points, *evaluate* the target on it, *contract* derivatives with the weights of
the estimator, add the means of its groups of draws to running statistics, and hand back an *estimate*.  Every estimator
is a rule from one block to the means over its groups; blocks come from counter-based streams, so nothing depends on how
many there are or which thread works on them, and memory does not grow with the number of draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial
from typing import get_args

import numpy as np

from sbpfast import _checks, _core
from sbpfast._blocks import CHOICE, Run, Sampling, other_key
from sbpfast._streams import RNG, stream_key
from sbpfast.estimate._choice import automatic
from sbpfast.estimate._distribution import Distribution, is_chained, is_distribution
from sbpfast.estimate._estimators import ESTIMATORS, EstimatorName, parts_for
from sbpfast.estimate._result import Estimate, EstimateWarning
from sbpfast.targets import Target


def expectation_grad(
    target: Target,
    distribution: Distribution,
    *,
    wrt: str | Iterable[str] | None = None,
    estimator: EstimatorName = "auto",
    n_samples: int = 4096,
    sampling: Sampling = "mc",
    rng: RNG = None,
    n_threads: int | None = None,
) -> Estimate:
    """Value and gradients of E[f(x)], x from a distribution, with respect to the distribution's parameters.

    Parameters
    ----------
    target : Target
        f.
    distribution
        A Gaussian of `sbpfast` or a family of `sbpfast.expfam`.
    wrt : sequence of str, optional
        Parameter names; None means all.
    estimator : str
        "price" (gradient and Hessian of f, Gaussians): Bonnet E[grad f] and Price 1/2 E[Hess f].
        "pathwise" (gradient): E[B(x) grad f]; for Gaussians 1/2 sym E[cov^-1 (x - mean) grad^T].
        "stein" (gradient, Gaussians): pathwise with a linear control variate fitted in a pilot, which n_samples counts.
        "score" (value): E[(f - leave-one-out baseline) d log p].
        "product" (value, gradient): -E[d/dx (Btilde f)] + boundary, where Btilde has no pole.
        "difference" (value, discrete families): the exact finite-difference analogue.
        "exact": deterministic integrals, standard errors 0: ridge targets under Gaussians, one-dimensional families.
        "combined": the unbiased mix of least variance, no weight negative, of all that apply, from the same draws.
        "auto": exact where possible; else, from 2048 draws on, the least variance x work in a pilot of 256 draws each,
        and below that the first that applies of difference, price, stein, pathwise, score.  Work is counted, so that
        the choice depends on the draws alone.
    n_samples : int
        Draws; antithetic pairs and Sobol points round it up (see ``Estimate.n_samples``).
    sampling : str
        "mc", "antithetic" (pairs mirrored at the mean) or "sobol" (16 scrambled Sobol sequences, whose points next to
        the ends are stratified: standard errors, from their spread, are upper bounds, on smooth f two to three times
        too large).
    rng : None, int, SeedSequence, BitGenerator or Generator
        See SPEC 7.  An int gives the same bits for every number of threads.
    n_threads : int, optional
        None means all usable cores.

    Returns
    -------
    Estimate

    Raises
    ------
    TypeError, ValueError
        Wrong kinds, dimensions that do not match, n_samples < 1, an unknown estimator, sampling or parameter, an
        estimator whose derivatives the target lacks, or a gradient that overflows double precision.
    NonFiniteTarget
        f or a derivative is not finite at a drawn point.

    Warns
    -----
    EstimateWarning
        "auto" or "combined" left Price out, because E[Hess f] contradicts the gradients of f (kinks do that); or
        next to no draw comes near a bound of the support on which a gradient rests.

    References
    ----------
    Rezende, Mohamed & Wierstra (2014), Stochastic backpropagation and approximate inference in deep generative models.
    Mohamed, Rosca, Figurnov & Mnih (2020), Monte Carlo gradient estimation in machine learning, JMLR 21.
    """
    if not isinstance(target, Target):
        raise TypeError(f"target must be a sbpfast.Target, got {type(target).__name__}")
    if not is_distribution(distribution):
        raise TypeError(f"distribution must be one of sbpfast's, got {type(distribution).__name__}")
    if batch := getattr(distribution, "batch_shape", ()):
        raise ValueError(f"distribution must be one, got a batch of shape {batch}: pass a member")
    if target.dim != distribution.dim:
        raise ValueError(f"target has dimension {target.dim}, but distribution has dimension {distribution.dim}")
    _checks.choice("estimator", estimator, get_args(EstimatorName))
    _checks.choice("sampling", sampling, get_args(Sampling))
    n_samples = _checks.count("n_samples", n_samples)
    wanted = _wanted(wrt, distribution)
    n_threads = _core.effective_threads(n_threads)
    key = stream_key(rng)

    def make_run(n, name, key=key):
        least = ESTIMATORS[name].least
        return Run(target, distribution, n, sampling, key, n_threads, least=least, wrt=wanted)

    name: str = estimator
    doubts: tuple[str, ...] = ()
    with np.errstate(all="ignore"):  # what overflows is found in the result, and said
        if estimator == "auto":
            name, doubts = automatic(target, distribution, partial(make_run, key=other_key(key, CHOICE)), n_samples)
        _require(name, target, distribution, n_samples)
        result = ESTIMATORS[name].rule(make_run(n_samples, name))
        if name != "exact" and (rare := distribution._rare_ends(n_samples, wanted)):
            doubts += (rare,)
    if not np.isfinite(result.value) and (name == "exact" or target._has("value")):
        raise ValueError("the mean of f overflows double precision")
    for doubt in (*doubts, *result.doubts):
        warnings.warn(doubt, EstimateWarning, stacklevel=2)
    return Estimate(result, wanted, distribution)


def _wanted(wrt, distribution):
    names = distribution._names
    if wrt is None:
        return names
    if not isinstance(wrt, str | Iterable):
        raise TypeError(f"wrt must be a sequence of parameter names, got {type(wrt).__name__}")
    wrt = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    for name in wrt:
        if not isinstance(name, str) or name not in names:
            raise ValueError(f"wrt must name parameters among {', '.join(names)}; got {name!r}")
    return wrt


def _require(estimator, target, distribution, n_samples):
    """Refuse an estimator the distribution or the target cannot serve, saying what is missing."""
    if estimator not in distribution._estimators:
        allowed = ", ".join(distribution._estimators)
        raise ValueError(
            f"estimator {estimator!r} is not defined for {type(distribution).__name__}; use one of {allowed}"
        )
    row = ESTIMATORS[estimator]
    missing = [name for name in row.needs if not target._has(name)]
    if missing:
        raise ValueError(f"estimator {estimator!r} needs the target's {' and '.join(missing)}, which it does not have")
    if row.least > 1 and n_samples < 2:
        raise ValueError(
            f"estimator {estimator!r} needs n_samples of at least 2 for its leave-one-out baseline, got {n_samples}"
        )
    if estimator == "combined" and not parts_for(target, distribution):
        raise ValueError(
            f"estimator 'combined' has nothing to mix: the target has none of the derivatives that the estimators of "
            f"{type(distribution).__name__} need"
        )
    if estimator == "exact" and is_chained(distribution) and not distribution._integrates(target):
        raise ValueError(
            "estimator 'exact' needs a ridge target (sbpfast.targets.ridge, quadratic or a regression) under a Gaussian"
        )
