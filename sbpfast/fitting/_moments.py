"""What a fit needs of a log density f: its moments under a Gaussian, in the Gaussian's own coordinates.

For x = mean + L z the fit sees the gradient L^T E[grad f] and the precision L^T E[-Hess f] L.  Both are invariant to
affine changes of x, well scaled whatever the scale and correlation of x, and equal to 0 and I at the optimum.  They
come from one-dimensional integrals (`ExactMoments`, ridge targets) or from antithetic draws (`SampledMoments`, any
target).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sbpfast import _core
from sbpfast._forms import FullForm
from sbpfast._means import BLOCK, RunningMean, group_cross, group_mean, group_sizes
from sbpfast._streams import NOISE, normal_rows
from sbpfast.fitting._factors import entropy
from sbpfast.gaussian._draws import LOG_2PI
from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._expectations import RULES, link_expectations


class Moments(NamedTuple):
    """Of a log density under N(mean, L L^T); the errors are 0 where the moments are exact."""

    elbo: float  # E f + entropy, or f itself at a point
    gradient: np.ndarray  # L^T E[grad f]
    precision: np.ndarray  # L^T E[-Hess f] L
    gradient_error: np.ndarray | float = 0.0
    precision_error: np.ndarray | float = 0.0
    ratios: np.ndarray | None = None  # group means of f - log q, for paired comparisons and the error of the ELBO
    hessian: np.ndarray | None = None  # E[Hess f] itself, where a low-rank structure can have it
    rounding: float = 0.0  # what rounding may leave of the residual at the optimum, where that is known

    @property
    def elbo_error(self) -> float:
        if self.ratios is None:
            return 0.0
        return float(self.ratios.std(ddof=1) / math.sqrt(len(self.ratios)))

    def finite(self) -> bool:
        return bool(math.isfinite(self.elbo) and np.isfinite(self.gradient).all() and np.isfinite(self.precision).all())


class ExactSource:
    """Moments in closed form or by integrals; deterministic."""

    exact = True

    def __init__(self, target, n_threads: int):
        self.target, self.n_threads = target, n_threads
        self.counts = {"passes": 0}
        self.looked_at = 0  # points far away, by which no step is led

    @property
    def dim(self) -> int:
        return self.target.dim


class ExactMoments(ExactSource):
    """Of a ridge target."""

    def at(self, mean, chol) -> Moments:
        """Under N(mean, L L^T)."""
        value, gradient, precision = self._moments(mean, chol, 1.0)
        return Moments(value + entropy(chol), gradient, precision)

    def at_point(self, mean, chol) -> Moments:
        """f itself and its derivatives at the mean, in the coordinates of L."""
        return Moments(*self._moments(mean, chol, 0.0))

    def _moments(self, mean, chol, spread):
        self.counts["passes"] += 1
        target, quad = self.target, self.target.quadratic
        d, value = target.dim, 0.0
        ridge = np.zeros((1 + d, d))
        with np.errstate(over="ignore", invalid="ignore"):
            for part_value, part in target.over_parts(ridge_moments, mean, chol, spread, self.n_threads):
                value += part_value
                ridge += part
            r = mean - quad.mean
            p_r = quad.apply(r)
            p_chol = (
                quad.precision @ chol
                if quad.precision.ndim == 2
                else np.broadcast_to(quad.precision, d)[:, None] * chol
            )
            value += quad.constant - 0.5 * float(r @ p_r + spread * (chol * p_chol).sum())
            return value, ridge[0] - chol.T @ p_r, chol.T @ p_chol - ridge[1:]

    def diagonal_curvature(self, mean) -> np.ndarray:
        """The diagonal of -Hess f at a point, which sets the scale of the first coordinates."""
        return self.target.diagonal_curvature(mean, self.n_threads)

    def every(self, stride) -> ExactMoments:
        """The same with every stride-th row, counted stride times: a cheap stand-in far from the optimum."""
        return ExactMoments(self.target.every(stride), self.n_threads)


def ridge_moments(part, mean, chol, spread, n_threads):
    """The ridge part of E f, and (1 + d, d) of L^T E[grad f] and L^T E[Hess f] L, from some of the rows."""
    out = np.empty((1 + part.dim, part.dim))
    whitened = _core.fit.whitened_moments if part.design.has_panels else whitened_moments
    arguments = part.link_record, RULES, mean, chol, spread, out, n_threads
    with np.errstate(over="ignore", invalid="ignore"):
        return whitened(part.design.matrix, part.terms, *arguments), out


def whitened_moments(a, terms, link, rules, mean, factor, spread, out, n_threads):
    """The kernel of the same name, readable, and for sparse rows."""
    out[:] = 0.0
    total = 0.0
    for start in range(0, a.shape[0], BLOCK):
        rows = slice(start, start + BLOCK)
        forms = np.ascontiguousarray(a[rows] @ factor)
        offset, y, weights = np.ascontiguousarray(terms[:, rows])
        m, t = a[rows] @ mean + offset, spread * np.sqrt((forms * forms).sum(axis=1))
        value, slope, curvature = link_expectations(link, m, t, y, n_threads)
        total += float(weights @ value)
        out[0] += forms.T @ (weights * slope)
        out[1:] += forms.T @ ((weights * curvature)[:, None] * forms)
    return total


class SampledMoments:
    """From n antithetic draws x = mean + L z, the same z whatever mean and L.

    With Hessians the precision is Price's, E[-L^T H L].  With gradients g alone it is Stein's identity less the
    Gaussian's own score, whose expectation is known: I - E sym[z (L^T g + z)^T].  Near the optimum L^T g + z is small,
    so the noise vanishes with it.
    """

    exact = False

    def __init__(self, target: Target, hessian: bool, key, n: int, n_threads: int, counts: dict):
        self.target, self.hessian, self.n, self.n_threads, self.counts = target, hessian, n, n_threads, counts
        self.key = key

    @property
    def dim(self) -> int:
        return self.target.dim

    def fewer(self, n) -> SampledMoments:
        """From the first n of the draws, by gradients alone."""
        return SampledMoments(self.target, False, self.key, min(n, self.n), self.n_threads, self.counts)

    def at(self, mean, chol) -> Moments:
        """Under N(mean, L L^T)."""
        d, n = self.dim, self.n
        m = max(2, 1 << ((n // 64).bit_length() - 1)) if n >= 128 else 2
        block = max(m, min(BLOCK, n))
        gradient, precision = RunningMean(), RunningMean()
        ratios = []
        log_normaliser = 0.5 * d * LOG_2PI + float(np.log(np.diagonal(chol)).sum())
        for start in range(0, n, block):
            stop = min(start + block, n)
            z = normal_rows(self.key, NOISE, start, stop, d, True, self.n_threads)
            x = z @ chol.T + mean
            f, g = self.value_and_grad(x)
            sizes, g = group_sizes(len(z), m), g @ chol
            gradient.add(group_mean(g, m), sizes)
            precision.add(self._precisions(x, z, g, chol, m), sizes)
            ratios.append(group_mean(f + 0.5 * (z * z).sum(axis=1) + log_normaliser, m))
        groups = np.concatenate(ratios)
        return Moments(
            float(groups.mean()), gradient.mean, precision.mean,
            gradient.standard_error(), precision.standard_error(), groups,
        )  # fmt: skip

    def _precisions(self, x, z, g, chol, m):
        if self.hessian:
            self.counts["hessians"] += len(x)
            return -(chol.T @ self.target._hess_means(x, m, FullForm) @ chol)
        cross = group_cross(z, g + z, m)
        return np.eye(self.dim) - 0.5 * (cross + cross.swapaxes(-1, -2))

    def value_and_grad(self, x):
        self.counts["values"] += len(x)
        self.counts["gradients"] += len(x)
        return self.target._value_and_grad(np.ascontiguousarray(x))

    def at_point(self, mean, chol) -> Moments:
        """f and its derivatives at the mean; Hessians missing from the target become differences of gradients."""
        f, g = self.value_and_grad(mean[None])
        if self.hessian:
            self.counts["hessians"] += 1
            h = -(chol.T @ self.target._hess(np.ascontiguousarray(mean[None]))[0] @ chol)
        else:
            step = 0.01  # of a standard deviation
            points = np.concatenate([mean + step * chol.T, mean - step * chol.T])
            _, gradients = self.value_and_grad(points)
            h = (gradients[self.dim :] - gradients[: self.dim]) @ chol / (2.0 * step)
        return Moments(float(f[0]), chol.T @ g[0], 0.5 * (h + h.T))

    def diagonal_curvature(self, mean) -> np.ndarray:
        """The diagonal of -Hess f at a point, which sets the scale of the first coordinates."""
        if self.hessian:
            self.counts["hessians"] += 1
            return -np.diagonal(self.target._hess(np.ascontiguousarray(mean[None]))[0])
        steps = 1e-4 * np.maximum(1.0, np.abs(mean))
        out = np.empty(self.dim)
        for start in range(0, self.dim, BLOCK):
            i = np.arange(start, min(start + BLOCK, self.dim))
            shift = np.zeros((len(i), self.dim))
            shift[i - start, i] = steps[i]
            _, gradients = self.value_and_grad(np.concatenate([mean + shift, mean - shift]))
            below, above = gradients[len(i) :], gradients[: len(i)]
            out[i] = (below[i - start, i] - above[i - start, i]) / (2.0 * steps[i])
        return out


class Sampler:
    """Makes `SampledMoments` of any size; every size has its own independent draws."""

    def __init__(self, target: Target, hessian: bool, key, n_threads: int):
        self.target, self.hessian, self.key, self.n_threads = target, hessian, key, n_threads
        self.looked_at = 0  # points far away, by which no step is led

    @cached_property
    def counts(self) -> dict:
        return {"values": 0, "gradients": 0, "hessians": 0}

    def draws(self, n) -> SampledMoments:
        key = self.key.copy()
        key[0] ^= np.uint64(n)
        return SampledMoments(self.target, self.hessian, key, n, self.n_threads, self.counts)


def try_at(moments, *where) -> Moments | None:
    """The moments, or None where they are not finite: a step that went too far."""
    try:
        result = moments(*where)
    except NonFiniteTarget:
        return None
    return result if result.finite() else None
