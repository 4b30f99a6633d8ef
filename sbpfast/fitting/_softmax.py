"""Moments of multinomial regression under a Gaussian: for each row an integral over its K - 1 linear predictors.

A row's predictors are N(m, C C^T); one rule for the standard normal in K - 1 dimensions serves every row, in the
coordinates C.  Up to three dimensions it is a product of Gauss-Hermite rules; beyond, points of a Sobol sequence and
their opposites, moved so that their mean, covariance and third moments are exact.  All its weights are positive: it is
the expectation under some distribution, so that the curvature stays positive and the ELBO bounded.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy

from sbpfast import _core
from sbpfast._forms import FullForm
from sbpfast.fitting._moments import RowSource
from sbpfast.targets._softmax import Softmax

HERMITE = {1: 24, 2: 14, 3: 9}  # nodes a dimension
POINTS = 256  # of the rule beyond three dimensions
BLOCK = 2**21  # numbers of the projected factors that are held at a time


@cache
def normal_rule(p):
    """Nodes (p, n) and weights (n,) for N(0, I) in p dimensions."""
    if p in HERMITE:
        z, w = np.polynomial.hermite_e.hermegauss(HERMITE[p])
        nodes = np.stack(np.meshgrid(*[z] * p, indexing="ij")).reshape(p, -1)
        weights = np.prod(np.meshgrid(*[w / w.sum()] * p, indexing="ij"), axis=0).ravel()
        kept = weights > 1e-18
        return np.ascontiguousarray(nodes[:, kept]), weights[kept] / weights[kept].sum()
    half = max(POINTS // 2, 1 << (4 * p - 1).bit_length())
    with np.errstate(all="ignore"):
        u = scipy.stats.qmc.Sobol(p, scramble=True, rng=np.random.default_rng(0)).random(half)
    z = scipy.special.ndtri(u)
    z = np.concatenate([z, -z])
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / len(z))).T
    return np.ascontiguousarray(z.T), np.full(len(z), 1.0 / len(z))


class SoftmaxMoments(RowSource):
    """Of a `Softmax`, for a fit: what `ExactMoments` is for a ridge target."""

    of = Softmax

    def _moments(self, mean, chol, spread):
        self.counts["passes"] += 1
        quad = self.target.quadratic
        gradient, hessian = np.zeros(self.dim), np.zeros((self.dim, self.dim))
        with np.errstate(over="ignore", invalid="ignore"):
            value = 0.0
            for part_value, part_gradient, part_hessian in self._parts(mean, chol, spread):
                value, gradient, hessian = value + part_value, gradient + part_gradient, hessian + part_hessian
            r = mean - quad.mean
            pull = quad.apply(r)
            held = quad.precision @ chol if quad.precision.ndim == 2 else quad.precision[:, None] * chol
            value += quad.constant - 0.5 * float(r @ pull + (spread and (chol * held).sum()))
            return value, chol.T @ (gradient - pull), chol.T @ (held - hessian @ chol)

    def _parts(self, mean, chol, spread):
        """What blocks of rows add to E f, E[grad f] (D,) and E[Hess f] (D, D)."""
        return self.target.over_parts(softmax_moments, mean, chol, spread, self.n_threads)

    def diagonal_curvature(self, mean) -> np.ndarray:
        hessian = np.zeros((self.dim, self.dim))
        for _, _, part in self._parts(mean, np.eye(self.dim), False):
            hessian += part
        FullForm.subtract(hessian, self.target.quadratic.precision)
        return -np.diagonal(hessian)


def softmax_moments(part, mean, chol, spread, n_threads):
    """Of some rows: their part of E f, of E[grad f] (D,) and of E[Hess f] (D, D)."""
    value, gradient, hessian = 0.0, np.zeros(part.dim), np.zeros((part.dim, part.dim))
    p, d = part.n_predictors, part.n_columns
    nodes, weights = normal_rule(p) if spread else (np.zeros((p, 1)), np.ones(1))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in part.design.blocks(max(64, BLOCK // (p * part.dim))):
            design, y, w = part.design[rows], part.y[rows], part.weights[rows]
            m = np.ascontiguousarray(design.dot(mean.reshape(p, d).T))
            cov = _predictor_cov(design, chol, p) if spread else np.zeros((len(y), p, p))
            v, prob, curvature = np.empty(len(y)), np.empty((len(y), p)), np.empty((len(y), p, p))
            _core.softmax.softmax_expectations(m, cov, y, nodes, weights, v, prob, curvature, n_threads)
            value += float(w @ v)
            gradient += design.transposed_dots(w[:, None] * part._residuals(prob, rows)).T.ravel()
            part._add_hessian(curvature, rows, 1.0, hessian, n_threads)
    return value, gradient, hessian


def _predictor_cov(design, chol, p):
    """Covariances (rows, p, p) of the linear predictors of every row."""
    d = design.shape[1]
    forms = np.stack([design.dot(chol[k * d : (k + 1) * d]) for k in range(p)], axis=1)
    return np.ascontiguousarray(forms @ forms.transpose(0, 2, 1))
