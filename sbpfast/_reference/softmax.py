"""Twins of the kernels of ``_core.softmax``: the first class has the linear predictor 0."""

from __future__ import annotations

import numpy as np
import scipy


def softmax_derivatives(eta, y, m):
    """Log likelihoods (rows, n), probabilities (rows, P, n), sums of p p^T - diag(p) over m draws each."""
    all_classes = np.concatenate([np.zeros_like(eta[:, :1]), eta], axis=1)
    logs = scipy.special.log_softmax(all_classes, axis=1)
    value = np.take_along_axis(logs, y[:, None, None], axis=1)[:, 0]
    p = np.exp(logs[:, 1:])
    each = np.einsum("rkn,rln->nrkl", p, p) - np.einsum("rkn,kl->nrkl", p, np.eye(p.shape[1]))
    return value, p, np.array([each[i : i + m].sum(axis=0) for i in range(0, len(each), m)])


def softmax_expectations(m, cov, y, nodes, weights):
    """E of log likelihood (N,), probabilities (N, P) and p p^T - diag(p) (N, P, P), row j under N(m_j, cov_j)."""
    eta = m[:, :, None] + np.linalg.cholesky(cov) @ nodes
    value, p, _ = softmax_derivatives(eta, y, eta.shape[2])
    second = np.einsum("n,rkn,rln->rkl", weights, p, p)
    mean = p @ weights
    return value @ weights, mean, second - mean[:, :, None] * np.eye(m.shape[1])
