"""The posterior of a regression with groups: a mixture of conditional Gaussians over the scales, without the rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy

from sbpfast._means import BLOCK_ROWS
from sbpfast.fitting._mixed import by_group, predictor
from sbpfast.fitting._mixed_arrow import Arrow, Effects
from sbpfast.fitting._mixed_scales import LEAST, Layout, standard_deviations

BISECTIONS = 50


class Component(NamedTuple):
    """The conditional Gaussian at one value of the scales."""

    weight: float
    theta: np.ndarray
    elbo: float
    mean: Effects  # whitened
    arrow: Arrow


class Moments(NamedTuple):
    """Of a mixture of normals: weights (K,), means and standard deviations (K, N)."""

    weights: np.ndarray
    m: np.ndarray
    t: np.ndarray


class MixedPosterior:
    """Moments, predictions and draws.

    Attributes
    ----------
    components : list of Component
    layout : Layout
    log_total : float
        The logarithm of the integral of exp(ELBO) times the prior of the scales; the ELBO at given scales.
    """

    def __init__(self, layout: Layout, components, log_total):
        self.layout, self.components, self.log_total = layout, components, log_total
        self.shape = components[0].arrow.shape

    @property
    def weights(self) -> np.ndarray:
        return np.array([c.weight for c in self.components])

    @property
    def best(self) -> Component:
        return max(self.components, key=lambda c: c.weight)

    def factors(self, component) -> list[np.ndarray]:
        return self.layout.factors(component.theta)

    # moments

    def fixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (p,) and covariance (p, p) of the fixed effects."""
        means = np.stack([c.mean.fixed for c in self.components])
        mean = self.weights @ means
        off = means - mean
        cov = sum(c.weight * c.arrow.fixed_cov for c in self.components)
        return mean, cov + (self.weights[:, None] * off).T @ off

    def fixed_quantiles(self, p) -> np.ndarray:
        """Of every fixed effect, whose distribution is a mixture of normals, (n_fixed,)."""
        means, sds = self._fixed_components()
        reach = abs(scipy.special.ndtri(p)) + 1.0
        low, high = (means - reach * sds).min(axis=0), (means + reach * sds).max(axis=0)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.weights @ scipy.special.ndtr((middle - means) / sds) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    def fixed_above(self, value=0.0) -> np.ndarray:
        """The probability of every fixed effect to be above a value, (n_fixed,)."""
        means, sds = self._fixed_components()
        return self.weights @ scipy.special.ndtr((means - value) / sds)

    def _fixed_components(self):
        means = np.stack([c.mean.fixed for c in self.components])
        return means, np.sqrt(np.stack([np.diagonal(c.arrow.fixed_cov) for c in self.components]))

    def effects(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Means and standard deviations (J, r) of the levels' effects, by group."""
        groups = range(len(self.shape.n_levels))
        first = [np.zeros((n, r)) for n, r in zip(self.shape.n_levels, self.shape.widths)]
        second = [np.zeros_like(v) for v in first]
        for c in self.components:
            whitened, covs = by_group(self.shape, c.mean), c.arrow.covariances()
            for k, factor in zip(groups, self.factors(c)):
                mean = whitened[k] @ factor.T
                first[k] += c.weight * mean
                second[k] += c.weight * (((factor @ covs[k]) * factor).sum(axis=2) + mean**2)
        return [(m, np.sqrt(np.maximum(s - m**2, 0.0))) for m, s in zip(first, second)]

    def deviations(self, k) -> tuple[np.ndarray, np.ndarray]:
        """Standard deviations (K, r) and correlations (K, r, r) of a group by component; 0 where they stand for it."""
        found = [standard_deviations(self.factors(c)[k]) for c in self.components]
        sd = np.stack([sd for sd, _ in found])
        return np.where(sd <= 10.0 * LEAST * self.layout.units[k], 0.0, sd), np.stack([corr for _, corr in found])

    def parameters(self) -> np.ndarray:
        """Of the likelihood, (K, n)."""
        return np.stack([self.layout.values(c.theta) for c in self.components])

    def interval(self, values, level) -> tuple[float, float]:
        """The central interval of a positive number known at every component.

        Of one parameter by its density on the grid; else by the normal distribution of its logarithm.
        """
        if len(self.components) == 1:
            return math.nan, math.nan
        logs = np.log(np.maximum(values, 1e-300))
        tails = 0.5 - 0.5 * level, 0.5 + 0.5 * level
        if self.layout.dim > 1:
            centre = float(self.weights @ logs)
            sd = math.sqrt(float(self.weights @ (logs - centre) ** 2))
            low, high = (math.exp(centre + sd * scipy.special.ndtri(p)) for p in tails)
            return low, high
        order = np.argsort(logs)
        density = scipy.interpolate.CubicSpline(logs[order], np.log(self.weights[order]))
        x = np.linspace(logs.min(), logs.max(), 2001)
        below = scipy.integrate.cumulative_trapezoid(np.exp(density(x)), x, initial=0.0)
        low, high = np.exp(np.interp(tails, below / below[-1], x))
        return float(low), float(high)

    # predictions

    def predictors(self, rows, seen, offset) -> Moments:
        """Of the linear predictors of new rows; levels not seen (False in `seen`, by group) are integrated out."""
        m, t = np.empty((2, len(self.components), rows.n_rows))
        for i, c in enumerate(self.components):
            factors = self.factors(c)
            columns, extra = [], np.zeros(rows.n_rows)
            for group, factor, known in zip(rows.groups, factors, seen):
                z = group.columns(factor)
                extra += sum(np.where(known, 0.0, column) ** 2 for column in z)
                columns.append([np.where(known, column, 0.0) for column in z])
            m[i] = predictor(rows, columns, c.mean, offset)
            images = c.arrow.images(rows.pairs)
            for start in range(0, rows.n_rows, BLOCK_ROWS):
                part = slice(start, start + BLOCK_ROWS)
                t[i, part] = np.sqrt(c.arrow.variances(rows, columns, images, part) + extra[part])
        return Moments(self.weights, m, t)

    # draws

    def draw(self, n, generator) -> tuple[np.ndarray, Effects]:
        """Components (n,) and their effects: fixed (n, p) and whitened crossed (n, q) and main (n, J, r)."""
        chosen = np.sort(generator.choice(len(self.components), n, p=self.weights / self.weights.sum()))
        parts = []
        for i in np.unique(chosen):
            c = self.components[i]
            parts.append(_around(c.mean, c.arrow.draw(int((chosen == i).sum()), generator)))
        order = generator.permutation(n)
        joined = [
            np.concatenate([getattr(part, name) for part in parts])[order] for name in ("fixed", "crossed", "main")
        ]
        return chosen[order], Effects(*joined)

    def drawn_predictors(self, rows, seen, offset, chosen, effects, generator) -> np.ndarray:
        """Linear predictors of new rows (n, N) for draws of the effects; levels not seen are drawn, too."""
        eta = effects.fixed @ rows.X.T + offset
        levels = self.unwhitened(chosen, effects)
        for k, (group, known) in enumerate(zip(rows.groups, seen)):
            new = self._new_effects(k, chosen, generator)
            basis = np.ones((rows.n_rows, 1)) if group.basis is None else group.basis
            for a in range(group.width):
                eta += basis[:, a] * np.where(known, levels[k][:, group.index, a], new[:, None, a])
        return eta

    def _new_effects(self, k, chosen, generator) -> np.ndarray:
        """Of a level that was not seen, one for each draw (n, r)."""
        out = generator.standard_normal((len(chosen), self.shape.widths[k]))
        for i in np.unique(chosen):
            out[chosen == i] = out[chosen == i] @ self.factors(self.components[i])[k].T
        return out

    def unwhitened(self, chosen, effects) -> list[np.ndarray]:
        """Draws of the levels' effects (n, J, r) by group."""
        out = [v.copy() for v in by_group(self.shape, effects)]
        for i in np.unique(chosen):
            for v, factor in zip(out, self.factors(self.components[i])):
                v[chosen == i] = v[chosen == i] @ factor.T
        return out


def _around(mean, deviation) -> Effects:
    return Effects(mean.fixed + deviation.fixed, mean.crossed + deviation.crossed, mean.main + deviation.main)


class Judgement(NamedTuple):
    """What an importance sample says of the posterior, see `judged`."""

    log_evidence: float
    log_evidence_stderr: float
    khat: float
    ess: float
    n: int
    log_likelihood: float  # at the means of fixed effects, scales and parameters: what maximum likelihood maximises
