"""The laws of `sbpfast.expfam.elementwise` as JAX functions: `custom_jvp` over `pure_callback`.

Inside a callback there is NumPy alone.  Under vmap all arguments get the batch axis in front, a key for each part.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from sbpfast.expfam.elementwise import LAWS, SIMPLEX_LAWS


def _callback(function, n_out):
    """The function on the host, for arrays shaped as its last argument."""

    def on_host(*arrays):
        return function(*(np.asarray(a) for a in arrays))

    def call(*arguments):
        like = jax.ShapeDtypeStruct(arguments[-1].shape, arguments[-1].dtype)
        result = like if n_out == 1 else (like,) * n_out
        return jax.pure_callback(on_host, result, *arguments, vmap_method="broadcast_all")

    return call


def _draw(law):
    """(words, *parameters): the key as eight uint32."""
    return _callback(lambda words, *p: law.draw(np.ascontiguousarray(words).view(np.uint64), *p), 1)


def _velocities(law):
    """(x, *parameters) to a tuple, with derivatives in turn where the law has slopes."""
    n = len(law.parameters)
    if n == 1:
        one = _callback(lambda *arrays: law.velocity(*arrays)[0], 1)
        plain = lambda *arrays: (one(*arrays),)
    else:
        plain = _callback(law.velocity, n)
    if law.slopes is None:
        return plain
    slopes = _callback(law.slopes, n * (n + 1))
    velocities = jax.custom_jvp(plain)

    @velocities.defjvp
    def _(primals, tangents):
        by = slopes(*primals)
        rows = [by[i * (n + 1) : (i + 1) * (n + 1)] for i in range(n)]
        return velocities(*primals), tuple(sum(s * t for s, t in zip(row, tangents)) for row in rows)

    return velocities


def _transported(law):
    draw, velocities = jax.custom_jvp(_draw(law)), _velocities(law)

    @draw.defjvp
    def _(primals, tangents):
        words, *parameters = primals
        x = draw(words, *parameters)
        return x, sum(v * t for v, t in zip(velocities(x, *parameters), tangents[1:]))

    return draw


def _simplex(law):
    """dx_i = sum_j (delta_ij - x_i) c_j dconcentration_j along the last axis."""
    draw, velocities = jax.custom_jvp(_draw(law)), _velocities(law)

    @draw.defjvp
    def _(primals, tangents):
        words, concentration = primals
        x = draw(words, concentration)
        moved = velocities(x, concentration)[0] * tangents[1]
        return x, moved - x * jnp.sum(moved, axis=-1, keepdims=True)

    return draw


DRAWS = {name: _transported(law) for name, law in LAWS.items()} | {"dirichlet": _simplex(SIMPLEX_LAWS["dirichlet"])}
"""name -> function of eight words and of the parameters, which have the shape and dtype of the result."""
