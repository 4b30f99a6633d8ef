"""More than two classes: probabilities with the posterior integrated out, and coefficients in scikit-learn's shapes."""

from __future__ import annotations

import numpy as np
import scipy

from sbpfast import _core
from sbpfast.fitting._softmax import normal_rule

ROWS = 2048  # worked on at a time


def every_class(params, n_classes) -> np.ndarray:
    """The coefficients of all classes (n, K, p) from those of all but the first (n, (K - 1) p)."""
    later = params.reshape(len(params), n_classes - 1, -1)
    return np.concatenate([np.zeros_like(later[:, :1]), later], axis=1)


def centred(mean, cov, n_classes, d):
    """Coefficients (K, d) and the rest (K, p - d) that sum to 0 over the classes, and the covariance of the first."""
    p = len(mean) // (n_classes - 1)
    shift = np.eye(n_classes)[:, 1:] - 1.0 / n_classes  # from classes 1, 2, ... to all, less their mean
    coefficients = shift @ mean.reshape(n_classes - 1, p)
    part = cov.reshape(n_classes - 1, p, n_classes - 1, p)[:, :d, :, :d]
    spread = np.einsum("ak,kilj,bl->aibj", shift, part, shift)
    return coefficients[:, :d], coefficients[:, d:], spread.reshape(n_classes * d, n_classes * d)


def probabilities(q, design, n_classes) -> np.ndarray:
    """Of every class, (N, K), under the Gaussian q of the coefficients."""
    out = np.empty((design.shape[0], n_classes))
    p = n_classes - 1
    chol = q.to_cholesky().chol.reshape(p, design.shape[1], -1)
    mean = np.asarray(q.mean).reshape(p, -1)
    other = np.eye(p)  # to predictors against the second class: that of the first, then the others'
    other[:, 0] -= 1.0
    other[0, 0] = -1.0
    for start in range(0, len(out), ROWS):
        rows = design[start : start + ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            forms = np.stack([np.asarray(rows @ chol[k]) for k in range(p)], axis=1)
            m, cov = np.asarray(rows @ mean.T), forms @ forms.transpose(0, 2, 1)
        lost = ~(np.isfinite(m).all(axis=1) & np.isfinite(cov).all(axis=(1, 2)))
        if lost.any():
            row = start + int(np.argmax(lost))
            raise ValueError(f"the linear predictor of row {row} of X overflows double precision")
        out[start : start + ROWS, 1:] = _expected(m, cov)
        out[start : start + ROWS, 0] = _expected(m @ other.T, other @ cov @ other.T)[:, 0]
    return out / out.sum(axis=1, keepdims=True)


def _expected(m, cov):
    """E of the softmax of N(m, cov) in every row, the first class apart, whose predictor is 0."""
    n, p = m.shape
    nodes, weights = normal_rule(p)
    value, out, curvature = np.empty(n), np.empty((n, p)), np.empty((n, p, p))
    _core.softmax.softmax_expectations(
        np.ascontiguousarray(m), cov.copy(), np.zeros(n, dtype=np.intp), nodes, weights, value, out,
        curvature, _core.effective_threads(),
    )  # fmt: skip
    return out


def predictors(design, params, n_classes) -> np.ndarray:
    """Linear predictors of every class, row and draw, (n, N, K)."""
    coefficients = every_class(params, n_classes)
    flat = np.asarray(design @ coefficients.reshape(-1, coefficients.shape[2]).T)
    return flat.reshape(-1, len(params), n_classes).transpose(1, 0, 2)


def drawn_classes(eta, generator) -> np.ndarray:
    """The numbers of classes drawn for every linear predictor (n, N, K), (n, N)."""
    below = np.cumsum(scipy.special.softmax(eta, axis=2), axis=2)
    u = generator.random(eta.shape[:2])[..., None]
    return np.minimum((below < u).sum(axis=2), eta.shape[2] - 1)
