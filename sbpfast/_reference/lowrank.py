"""NumPy twins of the kernels of the topic ``lowrank``; see `sbpfast._reference`.

Dense matrices, one row of the batch at a time: P = diag(D) + U U^T, C = P^-1.
"""

from __future__ import annotations

import numpy as np
import scipy


def _root(diag, factor):
    """R with R R^T = C: D^(-1/2) - A K U^T D^(-1/2), K = (M + L^T)^-1, M = I + U^T D^-1 U = L L^T, A = D^-1 U."""
    a = factor / diag[:, None]
    m = np.eye(factor.shape[1]) + factor.T @ a
    k = np.linalg.inv(m + np.linalg.cholesky(m).T)
    return (np.eye(len(diag)) - a @ k @ factor.T) / np.sqrt(diag)


def sample(mean, diag, factor, eps):
    """mean + R eps, eps (n, rows, d)."""
    return np.stack([m + z @ _root(d, u).T for m, d, u, z in zip(mean, diag, factor, eps.swapaxes(0, 1))], axis=1)


def _derivative(function, at, shape, step=1e-6):
    """Gradient of a scalar function by differences of the fourth order."""
    flat, out = at.ravel(), np.empty(at.size)
    for i in range(at.size):
        h = step * max(1.0, abs(flat[i]))
        values = []
        for j in (1, -1, 2, -2):
            moved = flat.copy()
            moved[i] += j * h
            values.append(function(moved.reshape(shape)))
        out[i] = (8.0 * (values[0] - values[1]) - (values[2] - values[3])) / (12.0 * h)
    return out.reshape(shape)


def sample_backward(diag, factor, eps, grad):
    """Gradients of sum grad * sample(mean, diag, factor, eps), by differences."""
    by_mean, by_diag, by_factor = grad.sum(axis=0), np.empty_like(diag), np.empty_like(factor)
    for b, (d, u) in enumerate(zip(diag, factor)):
        z, g = eps[:, b], grad[:, b]
        by_diag[b] = _derivative(lambda v, u=u, z=z, g=g: (g * (z @ _root(v, u).T)).sum(), d, d.shape, 1e-4)
        by_factor[b] = _derivative(lambda v, d=d, z=z, g=g: (g * (z @ _root(d, v).T)).sum(), u, u.shape, 1e-4)
    return by_mean, by_diag, by_factor


def _covariance(diag, factor):
    return scipy.linalg.inv(np.diag(diag) + factor @ factor.T)


def moments(diag, factor):
    """The diagonal of C and log det C."""
    covariances = [_covariance(d, u) for d, u in zip(diag, factor)]
    log_det = np.array([np.linalg.slogdet(c)[1] for c in covariances])
    return np.array([np.diagonal(c) for c in covariances]), log_det


def moments_backward(diag, factor, grad_variance, grad_log_det):
    """With G = diag(grad_variance), dC = -C dP C: by P, -C G C - grad_log_det C; by U, twice that times U."""
    by_diag, by_factor = np.empty_like(diag), np.empty_like(factor)
    for b, (d, u) in enumerate(zip(diag, factor)):
        c = _covariance(d, u)
        by_p = -(c * grad_variance[b]) @ c - grad_log_det[b] * c
        by_diag[b], by_factor[b] = np.diagonal(by_p), 2.0 * by_p @ u
    return by_diag, by_factor


def kl(mean, diag, factor, centre, std):
    """KL(N(mean, C) || N(centre, diag(std^2))) of every row."""
    variance, log_det = moments(diag, factor)
    scaled = (variance + (mean - centre) ** 2) / std**2
    return 0.5 * ((scaled - 1.0 + 2.0 * np.log(std)).sum(axis=1) - log_det)


def kl_backward(mean, diag, factor, centre, std, grad):
    """By the mean (mean - centre)/std^2; the rest as of the moments."""
    by_mean = grad[:, None] * (mean - centre) / std**2
    return by_mean, *moments_backward(diag, factor, 0.5 * grad[:, None] / std**2, -0.5 * grad)
