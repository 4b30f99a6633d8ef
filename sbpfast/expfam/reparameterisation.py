"""Any smooth weight, corrected so that it is unbiased."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from sbpfast import _checks, _core
from sbpfast._means import BLOCK, RunningMean, group_mean, group_sizes
from sbpfast._streams import stream_key

_GROUP = 16


def generalised_reparameterisation(
    target, distribution, weight: Callable, *, n_samples: int = 4096, rng=None, n_threads=None
):
    """Gradients of E[f] by a weight of one's own.

    E[V f' + (d log p/dtheta + V d log p/dx + V') f] is the gradient for every smooth weight V whose flux f V p vanishes
    at the ends of the support.  V = B, the transport weight, makes the second term vanish; V = 0 is the score function;
    V = -Btilde, where it is smooth, is the product rule without its bias.

    Parameters
    ----------
    target : Target
        With value and gradient.
    distribution
        A continuous family of independent components.
    weight : callable
        x (n, d) to a dict by parameter name of pairs (V, dV/dx), each (n, d).
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
        `weight` is not callable or names something that is not a parameter; the support moves with a parameter.

    References
    ----------
    Ruiz, Titsias & Blei (2016), The generalized reparameterization gradient.
    """
    # here because the estimators import the Gaussians, whose `fit` is in this package
    from sbpfast._estimators import Result
    from sbpfast.estimate import Estimate

    if not callable(weight):
        raise TypeError(f"weight must be callable, got {type(weight).__name__}")
    n_samples, threads = _checks.count("n_samples", n_samples), _core.effective_threads(n_threads)
    key = stream_key(rng)
    statistics: dict[str, RunningMean] = defaultdict(RunningMean)
    for start in range(0, n_samples, BLOCK):
        draws = distribution._draw(key, start, min(start + BLOCK, n_samples), n_threads=threads)
        f, grad = target._value(draws.x), target._grad(draws.x)
        pairs = weight(draws.x)
        unknown = set(pairs) - set(distribution._names)
        if unknown:
            raise ValueError(f"weight must name parameters among {distribution._names}, got {sorted(unknown)}")
        v, dv = ({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))
        terms = distribution.weighted_terms(draws, f, grad, v, dv) | {"value": f}
        for name, term in terms.items():
            statistics[name].add(group_mean(term, _GROUP), group_sizes(draws.n, _GROUP))
    value = statistics.pop("value")
    grads = {name: s.mean for name, s in statistics.items()}
    errors = {name: s.standard_error() for name, s in statistics.items()}
    name = "generalised reparameterisation"
    result = Result(value.mean, value.standard_error(), grads, errors, {}, n_samples, name)
    return Estimate(result, tuple(grads), distribution)
