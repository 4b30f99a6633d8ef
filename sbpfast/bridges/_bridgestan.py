"""Stan models, compiled by BridgeStan, as targets."""

from __future__ import annotations

import ctypes
import re

import numpy as np

from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._c_functions import STAN, CFunction, pairs
from sbpfast.targets._parameters import Parameters, Variable

METHODS = ("param_unc_num", "param_unc_names", "param_names", "param_constrain")
SYMBOL = "bs_log_density_gradient"


def target(model) -> Target:
    """The log density of the unconstrained parameters of a Stan model, see `Target.from_bridgestan`."""
    missing = [name for name in (*METHODS, "model", "stanlib") if not hasattr(model, name)]
    if not missing and not hasattr(model.stanlib, SYMBOL):
        missing = [f"stanlib.{SYMBOL}"]
    if missing:
        kind = type(model).__name__
        raise TypeError(f"model must be a bridgestan.StanModel, got {kind} without {', '.join(missing)}")
    d = int(model.param_unc_num())
    if d == 0:
        raise ValueError("the model has no parameters")
    address = ctypes.cast(getattr(model.stanlib, SYMBOL), ctypes.c_void_p).value or 0
    several = "STAN_THREADS=true" in (model.model_info() if hasattr(model, "model_info") else "")
    pair = pairs(CFunction(STAN, address, int(model.model), model, None if several else 1))
    labels = [_bracketed(name) for name in model.param_unc_names()]
    _check_start(pair, labels)
    target = Target(value_and_grad=pair, dim=d)
    target.model_parameters = _parameters(model, labels)
    return target


def _check_start(pair, labels):
    value, grad = pair(np.zeros((1, len(labels))))
    if not np.isfinite(value[0]):
        raise NonFiniteTarget(f"the log density is not finite at the start, where {' = '.join(labels)} = 0")
    if not np.isfinite(grad).all():
        bad = labels[int(np.argmax(~np.isfinite(grad[0])))]
        raise NonFiniteTarget(f"the gradient of the log density by {bad!r} is not finite where {bad} = 0")


def _parameters(model, labels) -> Parameters:
    """The table; transformed parameters are in it, generated quantities, which may be random, are not."""
    variables = _variables(model.param_names(include_tp=True))
    parameters = {v.name for v in _variables(model.param_names())}

    sizes = [int(np.prod(v.shape)) for v in variables]

    def constrain(x):
        rows = np.array([model.param_constrain(point, include_tp=True) for point in x]).reshape(len(x), sum(sizes))
        parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        # Stan's elements are in column-major order
        return {
            v.name: part.reshape(len(x), *v.shape[::-1]).transpose(0, *range(len(v.shape), 0, -1))
            for v, part in zip(variables, parts)
        }

    return Parameters(
        variables=variables,
        pieces=tuple(Variable(label) for label in labels),
        constrain=constrain,
        coords={str(dim): np.arange(1, n + 1) for v in variables for dim, n in zip(v.dims or (), v.shape)},
        free=tuple(v.name for v in variables if v.name in parameters),
    )


def _variables(names) -> tuple[Variable, ...]:
    """From names of elements such as ``theta.1`` or ``L.2.1``; indices start at 1, as in Stan's programs."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        base, index = _split(name)
        seen = shapes.get(base, (0,) * len(index))
        shapes[base] = tuple(max(pair) for pair in zip(seen, index))
    return tuple(
        Variable(base, shape, tuple(f"{base}_dim_{k}" for k in range(len(shape)))) for base, shape in shapes.items()
    )


def _split(name):
    """Base and indices, from 1: ``L.2.1`` is L and (2, 1)."""
    indices = re.search(r"(\.\d+)*$", name)
    assert indices is not None
    return name[: indices.start()], tuple(int(i) for i in indices[0].split(".")[1:])


def _bracketed(name):
    """``L[2,1]``, as Stan's programs write it, for ``L.2.1``."""
    base, index = _split(name)
    return f"{base}[{','.join(map(str, index))}]" if index else base
