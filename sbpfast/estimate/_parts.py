"""The parts: gradients of one block of draws by one formula, as group means by parameter name."""

from __future__ import annotations

import numpy as np

from sbpfast._forms import FullForm
from sbpfast._means import BLOCK_ROWS, group_mean, group_sizes
from sbpfast.estimate._distribution import is_chained


def chained(q, g, big_g):
    """The chain rule, and (g, G) itself for the pullback where G is a full matrix."""
    grads = q._chain(g, big_g)
    return grads | {"_mean": g, "_cov": big_g} if q._form() is FullForm else grads


def price_part(run, block):
    """Bonnet and Price."""
    g, hessian = run.target._group_derivatives(block, run.q._form(), run.n_threads)
    return chained(run.q, g, 0.5 * hessian)


def pathwise_part(run, block):
    """First order: B(x) grad f, for Gaussians 1/2 sym(cov^-1 (x - mean) grad^T)."""
    if is_chained(run.q):
        g, outer = block.mean(block.grad), run.q._form().of_outer(block.draws.u, block.grad, block.m)
        return chained(run.q, g, 0.5 * outer)
    return {name: block.mean(term) for name, term in run.q._pathwise_terms(block.draws, block.grad, run.wrt).items()}


def score_part(run, block):
    """(f - the mean of f over the other draws of the group) times the score.

    The deviations of f sum to 0 over a group, which cancels the constant part of a Gaussian's second-order score.  The
    points of a Sobol sequence all depend on each other: families take their baseline from independent draws.
    """
    chained_law = is_chained(run.q)
    if run.sampling == "sobol" and not chained_law:
        f = block.f - run.baseline
    else:
        f = baselined(block.f, block.m, run.sampling)
    if chained_law:
        weighted = block.draws.u * f[:, None]
        outer = run.q._form().of_outer(weighted, block.draws.u, block.m)
        return chained(run.q, block.mean(weighted), 0.5 * outer)
    return {
        name: block.mean(_by_draw(f, term) * term) for name, term in run.q._score_terms(block.draws, run.wrt).items()
    }


def product_part(run, block):
    """The product rule, where the distribution finds it valid."""
    terms = run.q._product_terms(block.draws, block.f, block.grad, run.target, run.wrt)
    return {name: block.mean(term) for name, term in terms.items()}


def difference_part(run, block):
    """The exact finite-difference analogue of the discrete families."""
    return {name: block.mean(term) for name, term in run.q._difference_terms(block.draws, run.target, run.wrt).items()}


def _by_draw(f, term):
    return f.reshape((-1,) + (1,) * (term.ndim - 1))


def cost_of_a_draw(run, *names):
    """Doubles a draw occupies while these parts work on it."""
    target, d = run.target, run.target.dim
    if "price" in names and not target._factored:
        return d * d
    rows = min(target.n_rows, BLOCK_ROWS) // run.m if "price" in names else 0  # one number a row and group
    results = run.q._form().entries(d) if is_chained(run.q) else d
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
