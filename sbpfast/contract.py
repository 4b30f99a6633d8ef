"""The bare contractions, for people who have their own derivatives.

    bonnet    E[g]                    E[g^T dmean/dtheta]
    price     1/2 E[H]                1/2 tr(E[H] dcov/dtheta)
    gaussian  g^T dmean/dtheta + 1/2 tr(H dcov/dtheta), a sample at a time or in the mean
    expfam    B(x) grad f             the transport weight of any family
    product   -(Btilde f)' + boundary the product-rule weight, where it is valid

Without ``per_sample`` these are means over samples, self-normalised where weights are given: sum w g / sum w.  Inputs
are float32 or float64 and are read once; sums are always float64, and so are results.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sbpfast import _checks, _core
from sbpfast._means import BLOCK_ROWS

__all__ = ["bonnet", "expfam", "gaussian", "price", "product"]

KEPT: tuple = (np.float64, np.float32)
_QUIET = np.errstate(over="ignore", invalid="ignore")  # what overflows is found in the result, and said


def _array(name, value, ndim):
    return _checks.real_array(name, value, ndim=ndim, dtypes=KEPT, finite=False)


def _checked(result, **inputs):
    """The result, once it is known that no input holds an infinity or a NaN.

    Looking at the inputs would cost as much as the contraction; what is wrong with one of them shows in the result.
    """
    if not np.isfinite(result).all():
        for name, array in inputs.items():
            _checks.real_array(name, array, dtypes=KEPT)
        raise ValueError(f"the products of {', '.join(inputs)} overflow double precision")
    return result


def _same_dtype(*arrays):
    """The arrays in their common type: kernels take one."""
    dtype = np.result_type(*arrays)
    return [a.astype(dtype, copy=False) for a in arrays]


def _weights(weights, n):
    """Weights that sum to 1 (float64), or None for equal ones."""
    if weights is None:
        return None
    w = _checks.real_array("weights", weights, shape=(n,)).astype(np.float64, copy=False)
    total = w.sum()
    if (w < 0).any() or not total > 0:
        raise ValueError("weights must not be negative, and at least one must be positive")
    return w / total


def _mean(x, weights, n_threads):
    """Weighted mean over the first axis of an array of any shape, float64."""
    flat = x.reshape(len(x), math.prod(x.shape[1:]))
    out = np.empty(flat.shape[1])
    _core.contract.weighted_sum(flat, weights, out, n_threads)
    return (out / len(x) if weights is None else out).reshape(x.shape[1:])


def _require_samples(name, array):
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one sample of at least one coordinate, got shape {array.shape}")
    return array


def _jacobian(name, value, lead, n):
    """A Jacobian (*lead, p), shared, or (n, *lead, p), one a sample, as (1 or n, size of lead, p)."""
    j = _array(name, value, (len(lead) + 1, len(lead) + 2))
    shared = j.ndim == len(lead) + 1
    wanted = lead if shared else (n, *lead)
    if j.shape[:-1] != wanted:
        shape = ", ".join(map(str, lead))
        raise ValueError(f"{name} must have shape ({shape}, p) or ({n}, {shape}, p), got {j.shape}")
    return j.reshape(1 if shared else n, math.prod(lead), j.shape[-1])


def _products(x, jacobian, scale, out, n_threads):
    """out += scale x . jacobian, sample by sample: x (n, m), jacobian (1 or n, m, p)."""
    if len(jacobian) == 1:
        _core.contract.per_sample_shared(x, jacobian[0].astype(np.float64), scale, out, n_threads)
    else:
        x, jacobian = _same_dtype(x, jacobian)
        _core.contract.per_sample(x, jacobian, scale, out, n_threads)


@_QUIET
def bonnet(g, jac_mean=None, weights=None, *, n_threads=None) -> np.ndarray:
    """Gradient of E[f] with respect to the mean of a Gaussian, or to theta through it.

    Parameters
    ----------
    g : array_like (n, d)
        Gradients of f at n samples.
    jac_mean : array_like (d, p) or (n, d, p), optional
        dmean/dtheta, shared or one a sample.
    weights : array_like (n,), optional
        Self-normalised.
    n_threads : int, optional

    Returns
    -------
    numpy.ndarray (d,) or (p,)
        E[g], or E[g^T dmean/dtheta] (Bonnet 1964).
    """
    threads = _core.effective_threads(n_threads)
    g = _require_samples("g", _array("g", g, 2))
    w = _weights(weights, len(g))
    if jac_mean is None:
        return _checked(_mean(g, w, threads), g=g)
    j = _jacobian("jac_mean", jac_mean, g.shape[1:], len(g))
    if len(j) == 1:
        return _checked(_mean(g, w, threads) @ j[0].astype(np.float64), g=g, jac_mean=j)
    out = np.zeros((len(g), j.shape[-1]))
    _products(g, j, 1.0, out, threads)
    return _checked(_mean(out, w, threads), g=g, jac_mean=j)


@_QUIET
def price(H, jac_cov=None, weights=None, *, n_threads=None) -> np.ndarray:
    """Gradient of E[f] with respect to the covariance of a Gaussian, or to theta through it.

    Parameters
    ----------
    H : array_like (n, d, d), array_like (n, d), or tuple (A (N, d), w (n, N))
        Hessians of f at n samples: full, their diagonals, or factored as A^T diag(w_s) A; A may be `Rows`.
    jac_cov : array_like (d, d, p) or (n, d, d, p), optional
        dcov/dtheta; for diagonal Hessians (d, p) or (n, d, p), the diagonal of dcov/dtheta.
    weights : array_like (n,), optional
        Self-normalised.
    n_threads : int, optional

    Returns
    -------
    numpy.ndarray (d, d), (d,) or (p,)
        1/2 E[H] (its diagonal for diagonal Hessians), or 1/2 E[tr(H dcov/dtheta)] (Price 1958).

    Notes
    -----
    Factored Hessians are averaged over samples before the one product with A.
    """
    threads = _core.effective_threads(n_threads)
    if isinstance(H, tuple):
        return _checked(_price_of_mean(_factored_mean(H, weights, threads), jac_cov), H=H[1])
    h = _require_samples("H", _array("H", H, (2, 3)))
    if h.ndim == 3 and h.shape[1] != h.shape[2]:
        raise ValueError(f"H must have shape (n, d, d) or (n, d), got {h.shape}")
    w = _weights(weights, len(h))
    j = None if jac_cov is None else _jacobian("jac_cov", jac_cov, h.shape[1:], len(h))
    if j is None or _checks.dimensions(jac_cov) == h.ndim:
        return _checked(_price_of_mean(_mean(h, w, threads), jac_cov), H=h)
    out = np.zeros((len(h), j.shape[-1]))
    _products(h.reshape(len(h), -1), j, 0.5, out, threads)
    return _checked(_mean(out, w, threads), H=h, jac_cov=j)


def _price_of_mean(mean, jac_cov):
    """1/2 the mean Hessian, or 1/2 tr(mean Hessian dcov/dtheta) with a shared Jacobian."""
    if jac_cov is None:
        return 0.5 * mean
    j = _checks.real_array("jac_cov", jac_cov, shape=(*mean.shape, None))
    return 0.5 * (mean.reshape(-1) @ j.reshape(mean.size, j.shape[-1]))


def _factored_mean(factors, weights, threads):
    """A^T diag(mean of w) A."""
    if len(factors) != 2:
        raise ValueError(f"factored Hessians are a pair (A, w), got {len(factors)} items")
    a: Any = factors[0]
    streamed = hasattr(a, "weighted_gram")  # rows that are read block by block
    a = a if streamed else _checks.real_array("A", a, ndim=2)
    w = _require_samples("w", _checks.real_array("w", factors[1], shape=(None, a.shape[0]), dtypes=KEPT))
    curvature = _mean(w, _weights(weights, len(w)), threads)
    if streamed:
        return a.weighted_gram(curvature, threads)
    total, out = np.zeros((2, a.shape[1], a.shape[1]))
    for start in range(0, len(a), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        _core.ridge.weighted_product(a[rows], curvature[rows], a[rows], True, out, threads)
        total += out
    return total


@_QUIET
def gaussian(g, H, jac_mean, jac_cov, weights=None, per_sample=False, *, n_threads=None) -> np.ndarray:
    """The chain rule of stochastic backpropagation, g^T dmean/dtheta + 1/2 tr(H dcov/dtheta).

    Parameters
    ----------
    g : array_like (n, d)
    H : array_like (n, d, d) or (n, d)
        Full Hessians or their diagonals.
    jac_mean : array_like (d, p) or (n, d, p)
    jac_cov : array_like (d, d, p) or (n, d, d, p); (d, p) or (n, d, p) for diagonal Hessians
    weights : array_like (n,), optional
        Self-normalised; only for means.
    per_sample : bool
        One result a sample instead of the mean.
    n_threads : int, optional

    Returns
    -------
    numpy.ndarray (p,) or (n, p)
    """
    threads = _core.effective_threads(n_threads)
    g = _require_samples("g", _array("g", g, 2))
    n, d = g.shape
    h = _array("H", H, (2, 3))
    if h.shape not in ((n, d), (n, d, d)):
        raise ValueError(f"H must have shape ({n}, {d}, {d}) or ({n}, {d}), got {h.shape}")
    jm, jc = _jacobian("jac_mean", jac_mean, (d,), n), _jacobian("jac_cov", jac_cov, h.shape[1:], n)
    if jm.shape[-1] != jc.shape[-1]:
        raise ValueError(f"jac_mean and jac_cov must have the same p, got {jm.shape[-1]} and {jc.shape[-1]}")
    per_sample = _checks.flag("per_sample", per_sample)
    if not per_sample and len(jm) == 1 and len(jc) == 1:
        return bonnet(g, jac_mean, weights, n_threads=n_threads) + price(h, jac_cov, weights, n_threads=n_threads)
    out = np.zeros((n, jm.shape[-1]))
    _products(g, jm, 1.0, out, threads)
    _products(h.reshape(n, -1), jc, 0.5, out, threads)
    return _checked(_finish(out, weights, per_sample, threads), g=g, H=h, jac_mean=jm, jac_cov=jc)


@_QUIET
def expfam(grad_f, B, weights=None, per_sample=False, *, n_threads=None) -> np.ndarray:
    """B(x) grad f, the gradient of E[f] through a transport weight B = -dF/dtheta / p.

    Parameters
    ----------
    grad_f : array_like (n, d)
    B : array_like (n, d) or (n, d, ...)
        Independent components with a parameter each, or a velocity field for each element of a parameter of this shape.
    weights : array_like (n,), optional
        Self-normalised; only for means.
    per_sample : bool
    n_threads : int, optional

    Returns
    -------
    numpy.ndarray (d,) or shape; (n, d) or (n, ...) per sample
    """
    threads = _core.effective_threads(n_threads)
    g = _require_samples("grad_f", _array("grad_f", grad_f, 2))
    b = _array("B", B, None)
    if b.shape[:2] != g.shape:
        n, d = g.shape
        raise ValueError(f"B must have shape ({n}, {d}) or ({n}, {d}, ...), got {b.shape}")
    per_sample = _checks.flag("per_sample", per_sample)
    if b.ndim == 2:
        out = g.astype(np.float64) * b
    else:
        flat = b.reshape(*g.shape, math.prod(b.shape[2:]))
        out = np.zeros((len(g), flat.shape[-1]))
        _products(g, flat, 1.0, out, threads)
        out = out.reshape(len(g), *b.shape[2:])
    return _checked(_finish(out, weights, per_sample, threads), grad_f=g, B=b)


@_QUIET
def product(f, grad_f, Btilde, dBtilde, boundary=0.0, per_sample=False, weights=None, *, n_threads=None) -> np.ndarray:
    """-d/dx(Btilde f) + boundary: the gradient of E[f] by the product rule, Btilde = d_theta log p / d_x log p.

    Right only where Btilde has no pole inside the support and the boundary term [f Btilde p] is included.

    Parameters
    ----------
    f : array_like (n,)
    grad_f, Btilde, dBtilde : array_like (n, d)
        The gradient of f, the weight, and the weight's derivative in x, component by component.
    boundary : float or array_like (d,)
        Added to every sample.
    per_sample : bool
    weights : array_like (n,), optional
        Self-normalised; only for means.
    n_threads : int, optional

    Returns
    -------
    numpy.ndarray (d,), or (n, d) per sample
    """
    threads = _core.effective_threads(n_threads)
    g = _require_samples("grad_f", _checks.real_array("grad_f", grad_f, ndim=2))
    f = _checks.real_array("f", f, shape=(len(g),))
    b = _checks.real_array("Btilde", Btilde, shape=g.shape)
    db = _checks.real_array("dBtilde", dBtilde, shape=g.shape)
    boundary = _checks.vector("boundary", boundary, g.shape[1])
    per_sample = _checks.flag("per_sample", per_sample)
    out = boundary - (b * g + db * f[:, None])
    return _checked(_finish(out, weights, per_sample, threads), f=f, grad_f=g, Btilde=b, dBtilde=db)


def _finish(out, weights, per_sample, threads):
    if per_sample:
        if weights is not None:
            raise ValueError("weights are for means: leave them out with per_sample=True")
        return out
    return _mean(out, _weights(weights, len(out)), threads)
