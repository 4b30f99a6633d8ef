"""Batches of Gaussians with precision diag(D) + U U^T, as arrays: draws, variances, log determinants, gradients.

Means and D are (..., d), U is (..., d, k), noise and draws (n, ..., d).  Inputs are arrays whose shapes fit, all
float32 or all float64, as are the results; the mathematics is in _core/lowrank.h.
"""

from __future__ import annotations

import math

import numpy as np

from sbpfast import _core


def _shaped(u):
    """Rows, d and k of factors (..., d, k)."""
    return math.prod(u.shape[:-2]), u.shape[-2], u.shape[-1]


def _rows(a, *shape):
    return np.ascontiguousarray(a).reshape(shape)


def low_rank_sample(mean, diag, factor, eps) -> np.ndarray:
    """mean + R eps with R R^T = (diag(D) + U U^T)^-1, shaped like eps (n, ..., d)."""
    rows, d, k = _shaped(factor)
    z = _rows(eps, -1, rows, d)
    out = np.empty_like(z)
    _core.lowrank.sample(
        _rows(mean, rows, d), _rows(diag, rows, d), _rows(factor, rows, d, k), z, out, _core.effective_threads(None)
    )
    return out.reshape(eps.shape)


def low_rank_sample_backward(diag, factor, eps, grad) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients by mean, diag and factor of sum grad * low_rank_sample(mean, diag, factor, eps)."""
    rows, d, k = _shaped(factor)
    z, g = _rows(eps, -1, rows, d), _rows(grad, -1, rows, d)
    out = np.zeros(diag.shape, diag.dtype), np.zeros(diag.shape, diag.dtype), np.zeros(factor.shape, diag.dtype)
    if len(z):
        _core.lowrank.sample_backward(
            _rows(diag, rows, d), _rows(factor, rows, d, k), z, g, out[0].reshape(rows, d), out[1].reshape(rows, d),
            out[2].reshape(rows, d, k), _core.effective_threads(None),
        )  # fmt: skip
    return out


def low_rank_moments(diag, factor) -> tuple[np.ndarray, np.ndarray]:
    """The variances (..., d) and the logarithm (...) of the determinant of the covariance."""
    rows, d, k = _shaped(factor)
    variance, log_det = np.empty(diag.shape, diag.dtype), np.empty(diag.shape[:-1], diag.dtype)
    _core.lowrank.moments(
        _rows(diag, rows, d), _rows(factor, rows, d, k), variance.reshape(rows, d), log_det.reshape(rows),
        _core.effective_threads(None),
    )  # fmt: skip
    return variance, log_det


def low_rank_moments_backward(diag, factor, grad_variance, grad_log_det) -> tuple[np.ndarray, np.ndarray]:
    """Gradients by diag and factor of sum grad_variance * variance + sum grad_log_det * log_det."""
    rows, d, k = _shaped(factor)
    by_diag, by_factor = np.empty(diag.shape, diag.dtype), np.empty(factor.shape, diag.dtype)
    _core.lowrank.moments_backward(
        _rows(diag, rows, d), _rows(factor, rows, d, k), _rows(grad_variance, rows, d), _rows(grad_log_det, rows),
        by_diag.reshape(rows, d), by_factor.reshape(rows, d, k), _core.effective_threads(None),
    )  # fmt: skip
    return by_diag, by_factor


def low_rank_kl(mean, diag, factor, centre, std) -> np.ndarray:
    """Divergences (...) from N(centre, diag(std^2)), centre and std (..., d)."""
    rows, d, k = _shaped(factor)
    out = np.empty(diag.shape[:-1], diag.dtype)
    _core.lowrank.kl(
        _rows(mean, rows, d), _rows(diag, rows, d), _rows(factor, rows, d, k), _rows(centre, rows, d),
        _rows(std, rows, d), out.reshape(rows), _core.effective_threads(None),
    )  # fmt: skip
    return out


def low_rank_kl_backward(mean, diag, factor, centre, std, grad) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients by mean, diag and factor of sum grad * low_rank_kl."""
    rows, d, k = _shaped(factor)
    out = np.empty(diag.shape, diag.dtype), np.empty(diag.shape, diag.dtype), np.empty(factor.shape, diag.dtype)
    _core.lowrank.kl_backward(
        _rows(mean, rows, d), _rows(diag, rows, d), _rows(factor, rows, d, k), _rows(centre, rows, d),
        _rows(std, rows, d), _rows(grad, rows), out[0].reshape(rows, d), out[1].reshape(rows, d),
        out[2].reshape(rows, d, k), _core.effective_threads(None),
    )  # fmt: skip
    return out
