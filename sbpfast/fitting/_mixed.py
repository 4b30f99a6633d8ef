"""The Gaussian closest to the posterior of a regression with groups, at given scales.

Natural gradient steps of rate 1 (Khan & Rue): the precision becomes prior + A^T diag(w) A, w the rows' mean curvatures
under the Gaussian before, and the mean takes Newton's step.  The precision is linear in w: a shorter step is a mixture
of w before and after.  q is known by its mean and w, so that a change of scales keeps both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sbpfast.fitting._mixed_arrow import Arrow, Effects
from sbpfast.fitting._mixed_likelihood import Likelihood
from sbpfast.fitting._mixed_rows import Rows

SHORTEST = 2.0**-10  # step tried
LEAST_SHARE = 0.25
MOST_STEPS = 200
LARGEST = 1e30  # weight of a row
ROUNDING = 2e-15  # of a KL divergence, for each coefficient or row


class State(NamedTuple):
    """What a Gaussian is known by at given factors of the levels' covariances: where another fit starts from."""

    factors: list[np.ndarray]
    mean: Effects
    w: np.ndarray

    @property
    def state(self) -> State:
        return self


class Conditional:
    """A Gaussian at given scales: mean, the rows' curvatures w that make its precision, and what the rows say.

    Of a row are kept w, the next w and t.  A precision made of float32 weights is as good as any other near it, and
    all that is said of it is exact.

    Attributes
    ----------
    mean : Effects
        Of the fixed and the whitened effects.
    arrow : Arrow
        The precision.
    w, curvature : float32 arrays (N,)
        What made the precision, and the rows' mean curvatures under this Gaussian.
    t : array (N,)
        Standard deviations of the rows' linear predictors.
    gradient : Effects
        Of the ELBO by the mean.
    elbo : float
    """

    def __init__(self, model, factors, columns, arrow, mean, w):
        self.model, self.factors, self.columns, self.arrow, self.mean, self.w = model, factors, columns, arrow, mean, w
        self._evaluate()

    @classmethod
    def at(cls, model, factors, mean, w) -> Conditional:
        columns = [group.columns(factor) for group, factor in zip(model.rows.groups, factors)]
        w = np.asarray(w, dtype=np.float32)
        return cls(model, factors, columns, Arrow(model.rows, columns, model.fixed_precision, w), mean, w)

    @property
    def state(self) -> State:
        return State(self.factors, self.mean, self.w)

    @property
    def m(self) -> np.ndarray:
        """Means of the rows' linear predictors, (N,)."""
        return self._means(slice(None))

    def _means(self, part):
        return predictor(self.model.rows, self.columns, self.mean, self.model.likelihood.offset, part)

    def predictors(self):
        """Parts of the rows with the means and standard deviations of their linear predictors."""
        for part in self.model.rows.parts:
            yield part, self._means(part), self.t[part]

    def _evaluate(self):
        rows, likelihood = self.model.rows, self.model.likelihood
        self.arrow.invert()
        self.t, self.curvature = np.empty(rows.n_rows), np.empty(rows.n_rows, dtype=np.float32)
        value, images = likelihood.constant, self.arrow.with_images(rows)
        by_fixed = -self.model.fixed_precision * self.mean.fixed
        by_level = [-v for v in by_group(rows.shape, self.mean)]
        for part in rows.parts:
            with np.errstate(invalid="ignore"):
                self.t[part] = np.sqrt(self.arrow.variances(rows, self.columns, images, part))
            v, slope, curvature = likelihood.expectations(part, self._means(part), self.t[part])
            value += v
            with np.errstate(over="ignore", invalid="ignore"):
                self.curvature[part] = np.clip(curvature, -LARGEST, LARGEST)
                by_fixed += rows.X[part].T @ slope
                for k, columns in enumerate(self.columns):
                    for a, z in enumerate(columns):
                        by_level[k][:, a] += rows.sums[k].part(part, slope * z[part])
        crossed = [by_level[k].ravel() for k in rows.shape.others]
        self.gradient = Effects(by_fixed, np.concatenate([*crossed, np.zeros(0)]), by_level[rows.shape.main])
        self.covariances = [cov.sum(axis=0) for cov in self.arrow.covariances()]
        self.elbo = value + self._expected_prior() + 0.5 * rows.shape.dim - 0.5 * self.arrow.logdet
        if not (math.isfinite(self.elbo) and np.isfinite(self.curvature).all()):
            self.elbo = -math.inf

    def _expected_prior(self):
        """E log prior, but for the log 2 pi of the whitened effects, which their entropy takes back."""
        precision, p = self.model.fixed_precision, self.mean.fixed
        proper = precision[precision > 0.0]
        fixed = -0.5 * float(precision @ (p * p + np.diagonal(self.arrow.fixed_cov)))
        fixed += 0.5 * float(np.log(proper).sum()) + 0.5 * (len(precision) - len(proper)) * math.log(2.0 * math.pi)
        return fixed - 0.5 * sum(float(np.trace(v)) for v in self.second_moments())

    def second_moments(self) -> list[np.ndarray]:
        """E sum v v^T over the levels of every group, (r, r) each."""
        return [v.T @ v + c for v, c in zip(by_group(self.model.rows.shape, self.mean), self.covariances)]

    def divergence(self, arrow, w, step) -> float:
        """KL(this || the Gaussian of precision `arrow`, made of w, at the mean plus step)."""
        model = self.model
        trace = float(np.einsum("i,i,i->", w, self.t, self.t, dtype=np.float64)) + float(
            model.fixed_precision @ np.diagonal(self.arrow.fixed_cov)
        )
        trace += sum(float(np.trace(c)) for c in self.covariances)
        return 0.5 * (trace - model.rows.shape.dim + self.gradient.dot(step) + self.arrow.logdet - arrow.logdet)

    def scale_gradients(self) -> list[np.ndarray]:
        """d ELBO / d L by group, lower triangular: L^-T (sum E v v^T - J I)."""
        out = []
        for group, factor, moment in zip(self.model.rows.groups, self.factors, self.second_moments()):
            excess = moment - group.n_levels * np.eye(group.width)
            out.append(np.tril(np.linalg.solve(factor.T, excess)))
        return out


class Mixing:
    """How far w goes towards the curvatures, level by level of the main group.

    A level's w and its variance feed on one another: the step of rate 1 oscillates where a scale is large (counts of
    0), by a factor that the last two changes of the level's sum of w show.
    """

    def __init__(self, sums):
        self._sums, self._before, self._shares = sums, None, np.ones(sums.n_levels)

    def update(self, here) -> None:
        """The share of its change that each level's rows take, from how it changed last."""
        now = self._sums.of(here.curvature) - self._sums.of(here.w)
        if self._before is not None:
            ratio = np.divide(now, self._before, out=np.ones_like(now), where=self._before != 0.0)
            factor = (ratio - 1.0 + self._shares) / self._shares  # of a step of rate 1
            self._shares = np.clip(1.0 / (1.0 - np.clip(factor, -3.0, 0.0)), LEAST_SHARE, 1.0)
        self._before = now

    def mixed(self, here, rate) -> np.ndarray:
        """Curvatures on the way to those of a Gaussian."""
        w = np.empty_like(here.w)
        for part in here.model.rows.parts:
            share = rate * self._shares[self._sums.index[part]]
            w[part] = here.w[part] + share * (here.curvature[part] - here.w[part])
        return w


class MixedModel:
    """Data, likelihood and prior of the fixed effects: what conditional fits share."""

    def __init__(self, rows: Rows, likelihood: Likelihood, fixed_precision):
        self.rows, self.likelihood, self.fixed_precision = rows, likelihood, fixed_precision
        self.steps = 0

    def start(self, factors, fixed) -> Conditional:
        """At given fixed effects, with the curvatures of the linear predictor's own values."""
        rows, shape = self.rows, self.rows.shape
        mean = Effects(
            fixed, np.zeros(shape.n_crossed), np.zeros((shape.n_levels[shape.main], shape.widths[shape.main]))
        )
        w = np.empty(rows.n_rows, dtype=np.float32)
        for part in rows.parts:
            m = rows.X[part] @ fixed + self.likelihood.offset[part]
            w[part] = np.minimum(self.likelihood.expectations(part, m, np.zeros(len(m)))[2], LARGEST)
        return Conditional.at(self, factors, mean, np.maximum(w, 1e-3 * max(float(w.max()), 1e-30)))

    def moved(self, here, factors, expected=None) -> Conditional:
        """The Gaussian of the same effects and curvatures at other scales, or of those expected if they make one."""
        changed = [np.linalg.solve(new, old) for new, old in zip(factors, here.factors)]
        mean = self._mapped(here.mean, changed)
        starts = [] if expected is None else [expected]
        for start in (*starts, (mean, here.w)):
            try:
                ahead = Conditional.at(self, factors, *start)
                if ahead.elbo > -math.inf:
                    return ahead
            except np.linalg.LinAlgError:
                pass  # a link whose curvature has both signs
        return Conditional.at(self, factors, mean, np.maximum(here.w, 0.0))

    def _mapped(self, mean, maps):
        shape = self.rows.shape
        parts = [v @ a.T for v, a in zip(by_group(shape, mean), maps)]
        crossed = np.concatenate([*(parts[k].ravel() for k in shape.others), np.zeros(0)])
        return Effects(mean.fixed, crossed, parts[shape.main])

    def fitted(self, here, tol) -> Conditional:
        """Natural gradient steps from `here` until one would change q by a KL divergence below tol."""
        floor = max(tol, ROUNDING * (self.rows.shape.dim + self.rows.n_rows))
        mixing = Mixing(self.rows.sums[self.rows.shape.main])
        for _ in range(MOST_STEPS):
            mixing.update(here)
            ahead = self._step(here, floor, mixing)
            if ahead is None:
                return here
            here = ahead
        return here

    def _step(self, here, floor, mixing) -> Conditional | None:
        """The longest step that does not lower the ELBO; None where the first one would change next to nothing."""
        rate = 1.0
        while rate > SHORTEST:
            w = mixing.mixed(here, rate)
            try:
                arrow = Arrow(self.rows, here.columns, self.fixed_precision, w)
                step = arrow.solve(here.gradient)
                if rate == 1.0 and here.divergence(arrow, w, step) < floor:
                    return None
                self.steps += 1
                ahead = Conditional(self, here.factors, here.columns, arrow, here.mean.plus(step, rate), w)
                if ahead.elbo >= here.elbo - 1e-12 * (1.0 + abs(here.elbo)):
                    return ahead
            except np.linalg.LinAlgError:
                pass  # a link whose curvature has both signs
            rate *= 0.5
        return None


def by_group(shape, effects) -> list[np.ndarray]:
    """The effects (..., J, r) of every group, in the order of the groups."""
    out = [effects.main] * len(shape.n_levels)
    for i, k in enumerate(shape.others):
        part = effects.crossed[..., shape.starts[i] : shape.starts[i + 1]]
        out[k] = part.reshape(*part.shape[:-1], shape.n_levels[k], shape.widths[k])
    return out


def predictor(rows, columns, effects, offset, part=slice(None)) -> np.ndarray:
    """The linear predictors of the rows `part`, a slice."""
    eta = rows.X[part] @ effects.fixed + np.broadcast_to(offset, (rows.n_rows,))[part]
    for group, z, v in zip(rows.groups, columns, by_group(rows.shape, effects)):
        for a in range(group.width):
            eta += z[a][part] * v[group.index[part], a]
    return eta
