"""The functions by the names of `jax.random`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from sbpfast.jax._laws import DRAWS


def _dtype(name, dtype):
    wanted = jnp.result_type(float) if dtype is None else jax.dtypes.canonicalize_dtype(dtype)
    if wanted not in (jnp.float32, jnp.float64):
        raise ValueError(f"{name}: dtype must be float32 or float64, got {wanted}")
    return wanted


def _broadcast(name, shape, dtype, out_sharding, parameters, event=0):
    """The parameters, named, in the shape of the result: that of their broadcast, or shape and the event axes."""
    if out_sharding is not None:
        raise ValueError(f"{name}: out_sharding must be None, as the draws are made on the host")
    dtype = _dtype(name, dtype)
    arrays = []
    for label, value in parameters.items():
        array = jnp.asarray(value)
        if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
            raise TypeError(f"{name}: {label} must be real, got {array.dtype}")
        arrays.append(array.astype(dtype))
    common = jnp.broadcast_shapes(*(a.shape for a in arrays))
    if shape is None:
        full = common
    else:
        full = (*np.atleast_1d(np.asarray(shape, dtype=np.int64)).tolist(), *common[len(common) - event :])
        if np.broadcast_shapes(full, common) != full:
            raise ValueError(f"{name}: shape {tuple(shape)} does not hold the parameters' shape {common}")
    return [jnp.broadcast_to(a, full) for a in arrays]


def _words(key):
    return jax.random.bits(key, (8,), "uint32")


def gamma(key, a, shape=None, dtype=None, *, out_sharding=None):
    """Gamma draws of rate 1; see `jax.random.gamma`.

    Parameters
    ----------
    key : PRNG key
    a : array_like
        Shape parameter, positive; anything else gives NaN.
    shape : tuple of ints, optional
        Of the result; by default that of a.
    dtype : dtype, optional
        float32 or float64; by default JAX's default float.
    out_sharding : None
        Accepted for the signature's sake.

    Returns
    -------
    jax.Array
        Differentiable twice by a: the transport weight -dF/da / p and its own derivatives.

    Raises
    ------
    ValueError, TypeError
        Half precision, shapes that do not fit, parameters that are not real.
    """
    return DRAWS["gamma"](_words(key), *_broadcast("gamma", shape, dtype, out_sharding, {"a": a}))


def loggamma(key, a, shape=None, dtype=None, *, out_sharding=None):
    """Logarithms of gamma draws, finite where the draws underflow; see `jax.random.loggamma` and `gamma`."""
    return DRAWS["loggamma"](_words(key), *_broadcast("loggamma", shape, dtype, out_sharding, {"a": a}))


def beta(key, a, b, shape=None, dtype=None, *, out_sharding=None):
    """Beta draws, inside (0, 1), twice differentiable; see `jax.random.beta` and `gamma`."""
    return DRAWS["beta"](_words(key), *_broadcast("beta", shape, dtype, out_sharding, {"a": a, "b": b}))


def dirichlet(key, alpha, shape=None, dtype=None, *, out_sharding=None):
    """Points of the simplex along the last axis; see `jax.random.dirichlet` and `gamma`.

    shape is that of the batch, without the last axis.  Gradients are the mean, given the draw, of those of normalised
    gammas.
    """
    if jnp.ndim(alpha) < 1:
        raise ValueError("dirichlet: alpha must have at least one dimension")
    return DRAWS["dirichlet"](
        _words(key), *_broadcast("dirichlet", shape, dtype, out_sharding, {"alpha": alpha}, event=1)
    )


def t(key, df, shape=None, dtype=None, *, out_sharding=None):
    """Student t draws; see `jax.random.t` and `gamma`."""
    return DRAWS["student_t"](_words(key), *_broadcast("t", shape, dtype, out_sharding, {"df": df}))


def chisquare(key, df, shape=None, dtype=None, *, out_sharding=None):
    """Chi-square draws; see `jax.random.chisquare` and `gamma`."""
    (df,) = _broadcast("chisquare", shape, dtype, out_sharding, {"df": df})
    return 2.0 * DRAWS["gamma"](_words(key), 0.5 * df)


def vonmises(key, loc, concentration, shape=None, dtype=None, *, out_sharding=None):
    """Von Mises draws, angles in [-pi, pi), which `jax.random` does not have; see `gamma`.

    loc is the mean direction, concentration is at least 0.  What is averaged must be periodic for the gradients to
    hold.
    """
    parameters = {"loc": loc, "concentration": concentration}
    loc, concentration = _broadcast("vonmises", shape, dtype, out_sharding, parameters)
    offset = DRAWS["von_mises"](_words(key), concentration)
    return jnp.remainder(loc + offset + np.pi, 2.0 * np.pi) - np.pi


def truncated_normal(key, lower, upper, shape=None, dtype=None, *, out_sharding=None):
    """Standard normals truncated to [lower, upper], with gradients by both; see `jax.random.truncated_normal`.

    Either bound may be infinite, and both may lie far in one tail.  loc + scale * truncated_normal(key, (low - loc) /
    scale, (high - loc) / scale) has the exact gradients by loc and scale.
    """
    parameters = {"lower": lower, "upper": upper}
    lower, upper = _broadcast("truncated_normal", shape, dtype, out_sharding, parameters)
    zero, one = jnp.zeros_like(lower), jnp.ones_like(lower)
    return DRAWS["truncated_normal"](_words(key), zero, one, lower, upper)


def wald(key, mean, shape=None, dtype=None, *, out_sharding=None):
    """Wald (inverse Gaussian) draws of concentration 1; see `jax.random.wald` and `gamma`.

    lam * wald(key, mean / lam) has concentration lam, and the exact gradient by it.
    """
    (mean,) = _broadcast("wald", shape, dtype, out_sharding, {"mean": mean})
    return DRAWS["inverse_gaussian"](_words(key), mean, jnp.ones_like(mean))


def lowrank_precision_normal(key, mean, diag, factor, shape=None, dtype=None):
    """Draws from N(mean, (diag(diag) + factor factor^T)^-1), the posterior of Rezende, Mohamed & Wierstra (2014).

    Parameters
    ----------
    key : PRNG key
    mean, diag : array_like (..., d)
        diag is positive.
    factor : array_like (..., d, k)
    shape : tuple of ints, optional
        Of the result without the last axis; by default that of the batch.
    dtype : dtype, optional
        float32 or float64.

    Returns
    -------
    jax.Array (*shape, d)
        mean + R eps in O(d k^2), by operations of JAX alone: it differentiates in every mode and as often as wanted.

    Raises
    ------
    ValueError
        Half precision, shapes that do not fit.
    """
    dtype = _dtype("lowrank_precision_normal", dtype)
    mean, diag, factor = (jnp.asarray(v, dtype) for v in (mean, diag, factor))
    if min(mean.ndim, diag.ndim) < 1 or factor.ndim < 2:
        raise ValueError(
            "lowrank_precision_normal: mean and diag must be (..., d) and factor (..., d, k), got shapes "
            f"{mean.shape}, {diag.shape} and {factor.shape}"
        )
    common = jnp.broadcast_shapes(mean.shape, diag.shape, factor.shape[:-1])
    full = common if shape is None else (*shape, common[-1])
    if np.broadcast_shapes(full, common) != full:
        raise ValueError(f"lowrank_precision_normal: shape {shape} does not hold the batch shape {common[:-1]}")
    eye, scaled = jnp.eye(factor.shape[-1], dtype=dtype), factor / diag[..., None]
    chol = jnp.linalg.cholesky(eye + jnp.swapaxes(factor, -1, -2) @ scaled)
    q = jax.random.normal(key, full, dtype) / jnp.sqrt(diag)
    inner = (jnp.swapaxes(factor, -1, -2) @ q[..., None])[..., 0]
    return mean + q - (scaled @ _root_solve(chol, inner, eye)[..., None])[..., 0]


def _root_solve(chol, v, eye):
    """(M + L^T)^-1 v = L^-T (L + I)^-1 v for M = L L^T (..., k, k) and v (..., k)."""
    chol = jnp.broadcast_to(chol, (*v.shape, v.shape[-1]))
    first = solve_triangular(chol + eye, v[..., None], lower=True)
    return solve_triangular(chol, first, lower=True, trans=1)[..., 0]
