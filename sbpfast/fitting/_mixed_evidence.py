"""How good the answer is: the evidence by importance sampling, the levels of the main group integrated by quadrature.

Draws are of the border alone, the fixed effects and the levels of all other groups.  Given the border, the main group's
levels are independent, and each one's integral is a Gauss-Hermite rule around its conditional Gaussian.  So the weights
know nothing of the many coefficients, and with one group and given fixed effects the log likelihood is lme4's with as
many quadrature points.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast.fitting import _psis
from sbpfast.fitting._importance import GOOD
from sbpfast.fitting._mixed_posterior import Judgement

NODES = {1: 15, 2: 7, 3: 5}  # a dimension, by effects a level
MANY = 243  # random nodes, for more effects a level
DRAWS, SECOND_LOOK, LEAST_DRAWS = 2048, 8192, 64
MOST_WORK = 5 * 10**7  # evaluations of the link
TOGETHER = 2**20  # of them at a time


def judged(model, posterior, key=0) -> Judgement:
    """From DRAWS draws of the components, and from more where their k-hat is in doubt, as many as MOST_WORK allows."""
    generator = np.random.default_rng(key)
    shape = model.rows.shape
    nodes = _nodes(shape.widths[shape.main], generator)
    affordable = max(LEAST_DRAWS, MOST_WORK // (model.rows.n_rows * len(nodes[0])))
    n = min(DRAWS, affordable)
    smoothed = _psis.smooth(_sampled(model, posterior, nodes, n, generator))
    if smoothed.khat > GOOD and affordable >= 2 * n:
        n = min(SECOND_LOOK, affordable)
        smoothed = _psis.smooth(_sampled(model, posterior, nodes, n, generator))
    best = _Ratios(model, posterior, posterior.best, nodes)
    return Judgement(
        posterior.log_total + smoothed.log_mean, smoothed.log_mean_error, smoothed.khat, smoothed.ess, n,
        best.log_likelihood(n if shape.n_crossed else 1, generator),
    )  # fmt: skip


def _sampled(model, posterior, nodes, n, generator):
    """Log ratios of n draws, shared out by the components' weights."""
    weights = posterior.weights
    counts = np.diff(np.round(np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum() * n)).astype(int)
    found = [
        _Ratios(model, posterior, c, nodes).sample(k, generator) - c.elbo
        for c, k in zip(posterior.components, counts)
        if k
    ]
    return np.concatenate(found)


class _Ratios:
    """Log densities at borders of one component."""

    def __init__(self, model, posterior, component, nodes):
        self.model, self.component, (self.nodes, self.log_weights) = model, component, nodes
        self.rows, self.shape = model.rows, model.rows.shape
        self.columns = [g.columns(f) for g, f in zip(self.rows.groups, posterior.factors(component))]
        model.likelihood.set(posterior.layout.values(component.theta))
        self.centre = np.concatenate([component.mean.fixed, component.mean.crossed])

    def sample(self, n, generator) -> np.ndarray:
        """log p(y, border) - log q(border) at n draws of the border."""
        factor = self.component.arrow.border_factor
        noise = generator.standard_normal((n, len(factor)))
        borders = self.centre + scipy.linalg.solve_triangular(factor.T, noise.T).T
        log_q = -0.5 * (noise**2).sum(axis=1) + np.log(np.diagonal(factor)).sum()
        log_q -= 0.5 * len(factor) * math.log(2.0 * math.pi)
        p, precision = self.shape.n_fixed, self.model.fixed_precision
        proper = precision[precision > 0.0]
        log_prior = -0.5 * (borders[:, :p] ** 2) @ precision
        log_prior += 0.5 * np.log(proper).sum() - 0.5 * len(proper) * math.log(2.0 * math.pi)
        return self._given(borders) + log_prior + _log_normal(borders[:, p:]) - log_q

    def log_likelihood(self, n, generator) -> float:
        """log p(y) at the fixed effects' mean, all levels integrated out."""
        p, factor = self.shape.n_fixed, self.component.arrow.border_factor
        borders = np.broadcast_to(self.centre, (n, len(self.centre))).copy()
        if not self.shape.n_crossed:
            return float(self._given(borders)[0])
        conditional = np.linalg.cholesky(factor[p:] @ factor[p:].T)
        noise = generator.standard_normal((n, self.shape.n_crossed))
        borders[:, p:] += scipy.linalg.solve_triangular(conditional.T, noise.T).T
        log_q = _log_normal(noise) + np.log(np.diagonal(conditional)).sum()
        logs = self._given(borders) + _log_normal(borders[:, p:]) - log_q
        return float(scipy.special.logsumexp(logs) - math.log(n))

    def _given(self, borders) -> np.ndarray:
        """log p(y | border) by quadrature over every level, (n,)."""
        together = max(1, TOGETHER // (self.rows.n_rows * len(self.nodes)))
        parts = [self._together(borders[i : i + together]) for i in range(0, len(borders), together)]
        return np.concatenate(parts) + self.model.likelihood.constant

    def _together(self, borders):
        rows, arrow, k = self.rows, self.component.arrow, self.shape.main
        level, z = rows.groups[k].index, self.columns[k]
        eta = borders[:, : self.shape.n_fixed] @ rows.X.T + self.model.likelihood.offset
        if self.shape.n_crossed:
            for at, column in zip(rows.crossed_columns, (z for i in self.shape.others for z in self.columns[i])):
                eta += borders[:, self.shape.n_fixed + at] * column
        centre = self.component.mean.main - arrow.main_images(borders - self.centre)  # (n, J, r)
        logs = np.empty((len(borders), len(self.nodes), len(arrow.roots)))
        for i, x in enumerate(self.nodes):
            v = centre + arrow.roots.mT @ x
            at = eta + sum(z[a] * v[:, level, a] for a in range(len(z)))
            terms = self.model.likelihood.log_density(slice(None), at)
            logs[:, i] = (
                rows.sums[k].of_rows(terms.T).T - 0.5 * (v**2).sum(axis=2) + 0.5 * float(x @ x) + self.log_weights[i]
            )
        roots = np.log(np.diagonal(arrow.roots, axis1=1, axis2=2)).sum()
        return scipy.special.logsumexp(logs, axis=1).sum(axis=1) + roots


def _log_normal(v):
    return -0.5 * (v**2).sum(axis=1) - 0.5 * v.shape[1] * math.log(2.0 * math.pi)


def _nodes(r, generator):
    """Nodes (n, r) and log weights of a rule for N(0, I)."""
    if r not in NODES:
        return generator.standard_normal((MANY, r)), np.full(MANY, -math.log(MANY))
    x, w = np.polynomial.hermite_e.hermegauss(NODES[r])
    grid = np.stack(np.meshgrid(*[x] * r, indexing="ij"), axis=-1).reshape(-1, r)
    logs = np.stack(np.meshgrid(*[np.log(w / w.sum())] * r, indexing="ij"), axis=-1).reshape(-1, r)
    return grid, logs.sum(axis=1)
