"""A PyTensor graph of one point as a function of many points.

Four ways, which differ by factors of a hundred in the time to compile and in the time a point takes: JAX vectorises the
graph of one point; PyTensor vectorises it and NumPy computes it, step by step; numba compiles it to a C function that
our threads loop over; PyMC's own compiled function is called point by point.  `fastest` tries them in the order of what
they cost to compile, and stops where compiling another would take longer than it could save.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from sbpfast.targets._c_functions import NUTPIE, CFunction, pairs
from sbpfast.targets._foreign import in_blocks

Call = Callable[[np.ndarray], list[np.ndarray]]


class Way(NamedTuple):
    """One way to evaluate a graph at many points."""

    make: Callable[..., Call]
    compilation: float  # seconds it typically takes, for a graph of some 50 nodes


def array_of(variable) -> np.ndarray:
    """The value of data: of a constant, of a shared variable, or of what is made of them."""
    return np.array(variable.data if hasattr(variable, "data") else variable.eval())


def with_constant_data(outputs):
    """The graphs with the present values of the data in them in place of the data."""
    import pytensor.tensor as pt
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.traversal import graph_inputs

    data: set[Any] = {v for v in graph_inputs(outputs) if hasattr(v, "get_value") and isinstance(v, pt.TensorVariable)}
    return clone_replace(outputs, {v: pt.constant(v.get_value(), dtype=v.dtype) for v in data})


def by_jax(joined, outputs, dim) -> Call:
    """JAX, in float64 whatever its setting elsewhere."""
    import jax
    from pymc.sampling.jax import get_jaxified_graph

    switch: Any = jax if hasattr(jax, "enable_x64") else jax.experimental
    with switch.enable_x64(True):
        compiled = jax.jit(jax.vmap(get_jaxified_graph([joined], outputs)))

    def call(x):
        with switch.enable_x64(True):
            return in_blocks(lambda block: [np.asarray(out, dtype=np.float64) for out in compiled(block)], x)

    return call


def by_numpy(joined, outputs, dim) -> Call:
    """PyTensor's vectorised graph, computed by NumPy: nothing is compiled, so scalar functions are not fused."""
    import pytensor.tensor as pt
    from pymc.pytensorf import compile
    from pytensor.compile.mode import Mode
    from pytensor.graph.replace import vectorize_graph

    x = pt.matrix("x", shape=(None, dim), dtype="float64")
    mode = Mode(linker="py", optimizer="fast_run").excluding("fusion")
    function = compile([x], vectorize_graph(outputs, {joined: x}), mode=mode)

    def call(points):
        with np.errstate(all="ignore"):
            found = function(points)
        return [_per_point(out, one.ndim, len(points)) for out, one in zip(found, outputs)]

    return call


def _per_point(out, ndim, n):
    """With an axis for the points, also where the output does not depend on them."""
    out = np.asarray(out)
    return out if out.ndim > ndim else np.broadcast_to(out, (n, *out.shape))


def by_numba(joined, outputs, dim) -> Call:
    """Value and gradient as one C function without Python in it, looped over by our threads."""
    import numba
    from pymc.pytensorf import compile

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "error", message="Numba will use object mode"
        )  # which is Python, and hides what it raises
        compiled = compile([joined], outputs, mode="NUMBA").vm.jit_fn
    t = numba.types
    pointer = t.CPointer(t.float64)

    @numba.cfunc(t.int64(t.uint64, pointer, pointer, pointer, t.voidptr))
    def function(d, x, grad, value, user_data):
        try:
            f, g = compiled(numba.carray(x, (dim,)))
            numba.carray(value, ())[()] = f
            numba.carray(grad, (dim,))[:] = g
        except Exception:
            return 1
        return 0

    both = pairs(CFunction(NUTPIE, function.address, keep_alive=function))
    return lambda x: list(both(np.ascontiguousarray(x)))


def by_point(joined, outputs, dim) -> Call:
    """PyMC's compiled function, called for one point after another."""
    from pymc.pytensorf import compile

    function = compile([joined], outputs)

    def call(points):
        if len(points) == 0:
            return [np.empty((0, *one.shape)) for one in function(np.zeros(dim))]
        return [np.stack(column) for column in zip(*(function(point) for point in points))]

    return call


def _calls_lapack(outputs):
    from pytensor.graph.traversal import ancestors

    ops = [v.owner.op for v in ancestors(outputs) if v.owner is not None]
    return any("linalg" in type(getattr(op, "core_op", op)).__module__ for op in ops)


def _with_one_blas_thread(call) -> Call:
    """LAPACK's own threads stand in the way on small matrices: Cholesky factors of 50 rows are 100 times slower."""
    from threadpoolctl import ThreadpoolController  # which PyMC needs

    controller = ThreadpoolController()

    def limited(x):
        with controller.limit(limits=1, user_api="blas"):
            return call(x)

    return limited


def fastest(joined, outputs, x, points, ways) -> Call:
    """The way to evaluate `outputs` that costs least for so many points, with what it takes to compile.

    Tried at the points x.  A way that cannot translate the graph is passed over; the last, PyMC's own, raises what the
    model raises.
    """
    best: Call | None = None
    seconds = np.inf
    lapack = bool(outputs) and _calls_lapack(outputs)
    for way in ways:
        if best is not None and seconds * points <= way.compilation:
            break
        if best is not None and way is NUMPY:  # which is never faster than JAX
            continue
        try:
            call = way.make(joined, outputs, x.shape[1])
            call = _with_one_blas_thread(call) if lapack else call
            spent = _seconds(call, x)
        except Exception:
            if way is ways[-1] and best is None:
                raise
            continue
        if spent < seconds:
            best, seconds = call, spent
    assert best is not None  # or the last way has raised
    return best


def _seconds(call, x):
    """Of one point: a first call of a few, and where that was quick a second of all."""
    few = x[:4]
    start = time.perf_counter()
    call(few)
    first = time.perf_counter() - start
    start = time.perf_counter()
    call(few)
    again = time.perf_counter() - start
    if again > 0.1:
        return min(first, again) / len(few)
    start = time.perf_counter()
    call(x)
    return (time.perf_counter() - start) / len(x)


JAX, NUMPY, NUMBA, POINT = Way(by_jax, 1.0), Way(by_numpy, 1.0), Way(by_numba, 10.0), Way(by_point, 8.0)


def ways_for_pairs() -> list[Way]:
    """For a value and its gradient."""
    return [*([JAX] if find_spec("jax") else []), NUMPY, *([NUMBA] if find_spec("numba") else []), POINT]


def ways_for_draws() -> list[Way]:
    """For outputs of any kind."""
    return [*([JAX] if find_spec("jax") else []), NUMPY, POINT]
