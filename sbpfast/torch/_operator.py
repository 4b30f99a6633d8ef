"""One function of NumPy arrays as an operator of torch, in the two forms that torch has for it.

The registered operator (`torch.library`) is what compilers, exporters and fake tensors see: a name, a shape rule,
gradients and a rule for vmap.  Plain tensors take the `torch.autograd.Function` of the same content, which costs a
quarter of the time to call and works under `torch.func.grad`, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

_PLAIN = (torch.Tensor, torch.nn.Parameter)


def to_front(batch, tensors, in_dims):
    """Every tensor with the batch axis in front."""
    return [
        t.movedim(d, 0) if d is not None else t.unsqueeze(0).expand(batch, *t.shape) for t, d in zip(tensors, in_dims)
    ]


def all_in_front(info, in_dims, tensors):
    """The rule for vmap of a function that takes any leading axes: the arguments, and where the results have theirs."""
    return to_front(info.batch_size, tensors, in_dims), 0


def fresh(like, shape=None):
    """An empty contiguous tensor, what a shape rule returns."""
    return torch.empty(like.shape if shape is None else shape, dtype=like.dtype, device=like.device)


def _tensor(array):
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _no_gradient(name):
    def backward(ctx, *grads):
        raise RuntimeError(f"sbpfast::{name} has no autograd formula: it is not differentiated (again)")

    return backward


class Operator:
    """sbpfast::<name>, CPU tensors to tensors.

    Parameters
    ----------
    name : str
    function : callable
        NumPy arrays to an array, or to a tuple of n_out.
    n_in, n_out : int
    fake : callable
        The rule of shapes: tensors to empty ones shaped like the results.
    batch : callable
        The rule for vmap: (info, in_dims, tensors) to (arguments, axis of the batch in the results).
    first : str
        The first argument's name.
    """

    def __init__(self, name, function, n_in, n_out, fake, *, batch=all_in_front, first="x"):
        arguments = ", ".join([f"Tensor {first}", *(f"Tensor p{i}" for i in range(n_in - 1))])
        results = "Tensor" if n_out == 1 else "(" + ", ".join(["Tensor"] * n_out) + ")"

        def compute(*tensors):
            out = function(*(t.detach().contiguous().numpy() for t in tensors))
            return _tensor(out) if n_out == 1 else tuple(_tensor(a) for a in out)

        def batched(call, info, in_dims, *tensors):
            moved, axis = batch(info, in_dims, tensors)
            return call(*moved), axis if n_out == 1 else (axis,) * n_out

        compute.__signature__ = inspect.signature(compute)  # type: ignore[attr-defined] # torch asks at every call
        self.name = name
        self.op = torch.library.custom_op(
            f"sbpfast::{name}", compute, mutates_args=(), device_types="cpu", schema=f"({arguments}) -> {results}"
        )
        self.op.register_fake(fake)
        self.op.register_vmap(partial(batched, self.op))
        self.function: Any = type(
            name,
            (torch.autograd.Function,),
            {
                "forward": staticmethod(compute),
                "setup_context": staticmethod(lambda ctx, inputs, output: None),
                "backward": staticmethod(_no_gradient(name)),
                "vmap": staticmethod(partial(batched, self)),
            },
        )

    def differentiate(self, backward: Callable, save: Callable) -> None:
        """Register gradients.

        backward : (call, ctx, *grads) to the gradients of the inputs; other operators are called as
            ``call(operator)(...)``, in the form that is in force.
        save : (ctx, inputs, output).
        """
        self.op.register_autograd(partial(backward, lambda operator: operator.op), setup_context=save)
        self.function.backward = staticmethod(partial(backward, lambda operator: operator))
        self.function.setup_context = staticmethod(save)

    def __call__(self, *tensors):
        if torch.compiler.is_compiling() or not all(type(t) in _PLAIN for t in tensors):
            return self.op(*tensors)
        return self.function.apply(*tensors)
