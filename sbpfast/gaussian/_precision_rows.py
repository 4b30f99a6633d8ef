"""Batches of Gaussians with precision diag(D) + U U^T, as arrays: draws, variances, log determinants, gradients.

Means and D are (..., d), U is (..., d, k), noise and draws (n, ..., d).  Inputs are arrays whose shapes fit, results
are float64; the mathematics is in _core/lowrank.h.
"""

from __future__ import annotations

import numpy as np

from sbpfast import _core


def _rows(a, events):
    """Leading axes as one, C-contiguous float64."""
    return np.ascontiguousarray(a, dtype=np.float64).reshape(-1, *a.shape[a.ndim - events :])


def _noise_rows(eps, rows, d):
    return np.ascontiguousarray(eps, dtype=np.float64).reshape(-1, rows, d)


def _flat_factor(factor):
    """(rows, d, k), also where a size is 0."""
    d, k = factor.shape[-2:]
    rows = int(np.prod(factor.shape[:-2], dtype=np.int64))
    return np.ascontiguousarray(factor, dtype=np.float64).reshape(rows, d, k)


def low_rank_sample(mean, diag, factor, eps) -> np.ndarray:
    """mean + R eps with R R^T = (diag(D) + U U^T)^-1, shaped like eps (n, ..., d)."""
    u = _flat_factor(factor)
    z = _noise_rows(eps, u.shape[0], u.shape[1])
    out = np.empty_like(z)
    _core.lowrank.sample(_rows(mean, 1), _rows(diag, 1), u, z, out, _core.effective_threads(None))
    return out.reshape(eps.shape)


def low_rank_sample_backward(diag, factor, eps, grad) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients by mean, diag and factor of sum grad * low_rank_sample(mean, diag, factor, eps)."""
    u = _flat_factor(factor)
    z, g = (_noise_rows(a, u.shape[0], u.shape[1]) for a in (eps, grad))
    by_mean, by_diag, by_factor = np.zeros(u.shape[:2]), np.zeros(u.shape[:2]), np.zeros(u.shape)
    if len(z):
        _core.lowrank.sample_backward(
            _rows(diag, 1), u, z, g, by_mean, by_diag, by_factor, _core.effective_threads(None)
        )
    return by_mean.reshape(diag.shape), by_diag.reshape(diag.shape), by_factor.reshape(factor.shape)


def low_rank_moments(diag, factor) -> tuple[np.ndarray, np.ndarray]:
    """The variances (..., d) and the logarithm (...) of the determinant of the covariance."""
    u = _flat_factor(factor)
    variance, log_det = np.empty(u.shape[:2]), np.empty(len(u))
    _core.lowrank.moments(_rows(diag, 1), u, variance, log_det, _core.effective_threads(None))
    return variance.reshape(diag.shape), log_det.reshape(diag.shape[:-1])


def low_rank_moments_backward(diag, factor, grad_variance, grad_log_det) -> tuple[np.ndarray, np.ndarray]:
    """Gradients by diag and factor of sum grad_variance * variance + sum grad_log_det * log_det."""
    u = _flat_factor(factor)
    by_diag, by_factor = np.empty(u.shape[:2]), np.empty(u.shape)
    _core.lowrank.moments_backward(
        _rows(diag, 1), u, _rows(grad_variance, 1), _rows(grad_log_det, 0), by_diag, by_factor,
        _core.effective_threads(None),
    )  # fmt: skip
    return by_diag.reshape(diag.shape), by_factor.reshape(factor.shape)
