"""Callables for `Target` from functions of JAX and PyTorch, and from pytrees."""

from __future__ import annotations

import numpy as np

from sbpfast.targets._parameters import Parameters, Variable

BLOCKS = (1024, 64)  # points in a call of a compiled function, which is compiled anew for every number of points


def in_blocks(compiled, *points):
    """A function that returns a list of arrays, on points (n, d) in blocks of few sizes; the last one is filled up."""
    n, start = len(points[0]), 0
    parts: list[list[np.ndarray]] = []
    while start < n or not parts:
        size = BLOCKS[0] if n - start >= BLOCKS[0] else BLOCKS[-1]
        block = [p[start : start + size] for p in points]
        have = len(block[0])
        if have < size:
            last = [p[-1:] if have else np.zeros((1, p.shape[1])) for p in block]
            block = [np.concatenate([p, np.repeat(q, size - have, axis=0)]) for p, q in zip(block, last)]
        parts.append([out[:have] for out in compiled(*block)])
        start += size
    return parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts)]


def of_jax(f):
    """value, grad, hess, hvp and value_and_grad of a JAX function of one point, compiled and vectorised."""
    import jax

    def ready(transformed, blocks=True):
        compiled = jax.jit(jax.vmap(transformed))

        def outputs(*block):
            found = compiled(*block)
            return [np.asarray(out, dtype=np.float64) for out in (found if isinstance(found, tuple) else (found,))]

        def call(*points):
            found = in_blocks(outputs, *points) if blocks else outputs(*points)
            return found[0] if len(found) == 1 else tuple(found)

        return call

    return {
        "value": ready(f),
        "grad": ready(jax.grad(f)),
        "hess": ready(jax.hessian(f), blocks=False),  # too much to compute for points that only fill up
        "hvp": ready(lambda x, v: jax.jvp(jax.grad(f), (x,), (v,))[1], blocks=False),
        "value_and_grad": ready(jax.value_and_grad(f)),
    }


def of_jax_tree(f, like):
    """The callables of a JAX function of a pytree as one of flat points, and the table of the tree's leaves."""
    import jax
    from jax.flatten_util import ravel_pytree

    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    if not leaves:
        raise ValueError("like must have at least one leaf, got an empty pytree")
    pieces = [Variable(_path_text(path), np.shape(leaf)) for path, leaf in leaves]
    for piece, (_, leaf) in zip(pieces, leaves):
        dtype = np.asarray(leaf).dtype
        if dtype.kind != "f":
            raise TypeError(f"like must hold floating-point leaves, but {piece.name!r} is of dtype {dtype}")
    start, unravel = ravel_pytree(like)
    if len(start) == 0:
        raise ValueError("like must have at least one number, all its leaves are empty")
    table = Parameters(
        variables=tuple(pieces),
        pieces=tuple(pieces),
        constrain=lambda x: table.split(x),
        free=tuple(piece.name for piece in pieces),
        assemble=lambda draws: jax.tree_util.tree_unflatten(tree, list(draws.values())),
    )
    return of_jax(lambda x: f(unravel(x.astype(start.dtype)))), table


def _path_text(path):
    """`layer.weight` for the leaf at ["layer"].weight; x where the tree is its only leaf."""
    parts = [getattr(key, "key", getattr(key, "name", getattr(key, "idx", None))) for key in path]
    return ".".join(map(str, parts)) or "x"


def of_torch(f):
    """value, grad, hess, hvp and value_and_grad of a PyTorch function of one point, vectorised by torch.func."""
    import torch

    def ready(transformed):
        batched = torch.func.vmap(transformed)
        return lambda *points: batched(*(torch.tensor(p) for p in points)).detach().numpy()

    grad_and_value = torch.func.vmap(torch.func.grad_and_value(f))

    def value_and_grad(points):
        grad, value = grad_and_value(torch.tensor(points))
        return value.detach().numpy(), grad.detach().numpy()

    return {
        "value": ready(f),
        "grad": ready(torch.func.grad(f)),
        "hess": ready(torch.func.hessian(f)),
        "hvp": ready(lambda x, v: torch.func.jvp(torch.func.grad(f), (x,), (v,))[1]),
        "value_and_grad": value_and_grad,
    }
