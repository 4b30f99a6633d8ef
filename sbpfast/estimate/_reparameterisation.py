"""Any smooth weight, corrected so that it is unbiased."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sbpfast import _checks, _core
from sbpfast._blocks import Run
from sbpfast._streams import RNG, stream_key
from sbpfast.estimate._result import Estimate, Result
from sbpfast.expfam._continuous import Continuous
from sbpfast.targets import Target

_GROUP = 16


def generalised_reparameterisation(
    target: Target,
    distribution: Continuous,
    weight: Callable,
    *,
    n_samples: int = 4096,
    rng: RNG = None,
    n_threads: int | None = None,
) -> Estimate:
    """Gradients of E[f] by a weight of one's own.

    E[V f' + (d log p/dtheta + V d log p/dx + V') f] is the gradient for every smooth weight V whose flux f V p vanishes
    at the ends of the support.  V = B, the transport weight, makes the second term vanish; V = 0 is the score function;
    V = -Btilde, where it is smooth, is the product rule without its bias.

    Parameters
    ----------
    target : Target
        With value and gradient.
    distribution
        A continuous family of independent components, from the registry.
    weight : callable
        x (n, d) to a dict by parameter name of pairs (V, dV/dx), each (n, d) and finite.
    n_samples : int
        Draws.
    rng, n_threads
        As in `sbpfast.expectation_grad`.

    Returns
    -------
    Estimate
        With the parameters that the weight names.

    Raises
    ------
    TypeError, ValueError
        Not a target with gradient, another dimension, a distribution of another kind; `weight` is not callable, returns
        anything but such a dict or names something that is not a parameter; the support moves with a parameter.

    References
    ----------
    Ruiz, Titsias & Blei (2016), The generalized reparameterization gradient.
    """
    if not isinstance(target, Target):
        raise TypeError(f"target must be a sbpfast.Target, got {type(target).__name__}")
    if not isinstance(distribution, Continuous):
        kind = type(distribution).__name__
        raise TypeError(f"distribution must be a continuous family of independent components, got {kind}")
    if target.dim != distribution.dim:
        raise ValueError(f"target has dimension {target.dim}, but distribution has dimension {distribution.dim}")
    if not (target._has("value") and target._has("grad")):
        raise ValueError("target must have a value and a gradient")
    if not callable(weight):
        raise TypeError(f"weight must be callable, got {type(weight).__name__}")
    n_samples, threads = _checks.count("n_samples", n_samples), _core.effective_threads(n_threads)
    run = Run(target, distribution, n_samples, "mc", stream_key(rng), threads, group=_GROUP)

    def rule(block):
        x = block.draws.x
        v, dv = _checked_weight(weight(x), distribution._names, x.shape)
        terms = distribution._weighted_terms(block.draws, block.f, block.grad, v, dv)
        return {name: block.mean(term) for name, term in terms.items()} | {"value": block.mean(block.f)}

    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found in the result, and said
        statistics = run.collect(rule, target.dim)
    value = statistics.pop("value")
    grads = {name: s.mean for name, s in statistics.items()}
    errors = {name: s.standard_error() for name, s in statistics.items()}
    name = "generalised reparameterisation"
    result = Result(value.mean, value.standard_error(), grads, errors, {}, n_samples, name)
    return Estimate(result, tuple(grads), distribution)


def _checked_weight(pairs, names, shape) -> tuple[dict, dict]:
    """V and dV/dx by parameter name, from what the user's function returned."""
    if not isinstance(pairs, dict):
        raise TypeError(f"weight must return a dict by parameter name, got {type(pairs).__name__}")
    unknown = [name for name in pairs if name not in names]
    if unknown or not pairs:
        raise ValueError(f"weight must name parameters among {names}, got {unknown}")
    v, dv = {}, {}
    for name, pair in pairs.items():
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise TypeError(f"weight must return a pair (V, dV/dx) for {name}, got {type(pair).__name__}")
        v[name] = _checks.real_array(f"V of {name}", pair[0], shape=shape)
        dv[name] = _checks.real_array(f"dV/dx of {name}", pair[1], shape=shape)
    return v, dv
