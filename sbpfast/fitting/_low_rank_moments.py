"""The moments of a log density under a diagonal or low-rank Gaussian, and how they change with it."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from sbpfast._blocks import Run
from sbpfast._forms import FullForm, LowRankForm
from sbpfast._means import BLOCK, RunningMean, group_cross
from sbpfast._streams import FACTOR_NOISE, NOISE, normal_rows
from sbpfast.fitting._moments import ExactMoments
from sbpfast.fitting._sampler import SampledMoments
from sbpfast.fitting._source import Moments
from sbpfast.gaussian import LowRankGaussian
from sbpfast.gaussian._draws import LOG_2PI
from sbpfast.targets._expectations import curvature_moments, link_expectations

MANY = 50  # rows a parameter from which P is formed, and held fixed during a step
FEW = 256  # draws that stand for all in a second derivative
DIFFERENCE = 1e-5  # step of the differences that stand for a second derivative


def _forms(part, mean, shape):
    """Means and standard deviations of the linear forms of some of the rows, and A U."""
    au = part.design.dot(shape.factor)
    t = np.sqrt(part.design.squares_dot(shape.std**2) + (au * au).sum(axis=1))
    return part.design.dot(mean) + part.offset, t, au


def exact_moments(source: ExactMoments, mean, shape) -> Moments:
    source.counts["passes"] += 1
    target = source.target
    many = target.n_rows > MANY * target.dim
    form = FullForm if many else LowRankForm(shape.factor)
    with np.errstate(over="ignore", invalid="ignore"):
        value, gradient = target.quadratic.expectation(LowRankGaussian(mean, shape.std**2, shape.factor))
        h = form.zeros(target.dim)
        for part_value, part_gradient, part_h in target.over_parts(_part_moments, mean, shape, form, source.n_threads):
            value, gradient, h = value + part_value, gradient + part_gradient, h + part_h
        form.subtract(h, target.quadratic.precision)
    uphill = shape.uphill(-low_rank_form(h, shape.factor) if many else -h)
    return Moments(value + shape.entropy(), shape.own_gradient(gradient), uphill, hessian=h if many else None)


def _part_moments(part, mean, shape, form, n_threads):
    m, t, _ = _forms(part, mean, shape)
    link = np.empty((3, len(m)))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(m), BLOCK):
            rows = slice(start, start + BLOCK)
            link[:, rows] = link_expectations(part.link_record, m[rows], t[rows], part.y[rows], n_threads)
        value, slope, bend = part.weights * link
        return float(value.sum()), *part._part_derivatives(slope, bend, form, n_threads)


def low_rank_form(h, factor):
    """The diagonals of (..., d, d) beside the products with U."""
    return np.concatenate([np.diagonal(h, axis1=-2, axis2=-1)[..., None], h @ factor], axis=-1)


def exact_change(source, mean, shape, here):
    """How E[grad f], diag(P) and P U change with the mean, half of D and U."""
    if here.hessian is not None:
        return _fixed_change(-here.hessian)
    target, quad = source.target, source.target.quadratic
    parts = target.kept(ChangePart, mean, shape, source.n_threads, keep=not target.streamed)

    def change(d_mean, d_diag, d_factor):
        source.counts["passes"] += 1
        back, d_diagonal = np.zeros((target.dim, 1 + d_factor.shape[1])), np.zeros(target.dim)
        for part_back, part_diagonal in parts.results(ChangePart.change, d_mean, d_diag, d_factor):
            back, d_diagonal = back + part_back, d_diagonal + part_diagonal
        return back[:, 0] - quad.apply(d_mean), -d_diagonal, quad.apply(d_factor.T).T - back[:, 1:]

    return change


class ChangePart:
    """Of some of the rows: the integrals that say how the slopes and curvatures change, and A U."""

    def __init__(self, part, mean, shape, n_threads):
        m, t, self.au = _forms(part, mean, shape)
        self.c0, c1, c2 = (part.weights * c for c in curvature_moments(part, m, t, n_threads))
        inverse_t = 1.0 / np.maximum(t, 1e-100)
        self.slope, self.bend = 0.5 * c1 * inverse_t, 0.5 * (c2 - self.c0) * inverse_t**2
        self.design, self.n_threads = part.design, n_threads

    def change(self, d_mean, d_diag, d_factor):
        """A^T times the changes of the slopes, and of the curvatures times A U, and the diagonal of theirs."""
        moved = self.design.dot(np.column_stack([d_mean, d_factor]))
        d_variance = 2.0 * (self.design.squares_dot(d_diag) + (self.au * moved[:, 1:]).sum(axis=1))
        d_slope = self.c0 * moved[:, 0] + self.slope * d_variance
        d_bend = 2.0 * self.slope * moved[:, 0] + self.bend * d_variance
        inner = np.column_stack([d_slope, d_bend[:, None] * self.au + self.c0[:, None] * moved[:, 1:]])
        return self.design.transposed_dots(inner), self.design.weighted_squares(d_bend, self.n_threads)


def _fixed_change(p):
    """The same with P (d, d) held fixed, as natural gradients do: the more data, the less it changes."""
    return lambda d_mean, d_diag, d_factor: (-p @ d_mean, 0.0, p @ d_factor)


class Around:
    """N(mean, D + U U^T) as a run draws from it."""

    def __init__(self, mean, shape):
        self.mean, self.shape = mean, shape

    def _draw(self, key, start, stop, antithetic, n_threads) -> Deviations:
        std, factor = self.shape.std, self.shape.factor
        r = std * normal_rows(key, NOISE, start, stop, len(std), antithetic, n_threads)
        if k := factor.shape[1]:
            r += normal_rows(key, FACTOR_NOISE, start, stop, k, antithetic, n_threads) @ factor.T
        return Deviations(r + self.mean, r)


class Deviations(NamedTuple):
    """Draws, and these less their mean, to all digits."""

    x: np.ndarray
    r: np.ndarray

    @property
    def n(self) -> int:
        return len(self.x)


def sampled_moments(source: SampledMoments, mean, shape) -> Moments:
    """From antithetic draws; with u = C (x - mean), (C - P) V = E[(grad f + u) u^T] V, whose noise is the misfit's."""
    std, factor = shape.std, shape.factor
    d, k = factor.shape
    log_normaliser = 0.5 * (d * LOG_2PI + shape.log_det)

    def rule(block):
        r, g = block.draws.r, source.counted(block)
        v = shape.scaled_inverse((r / std).T).T  # std u
        means = {
            "ratio": block.mean(block.f + 0.5 * (r / std * v).sum(axis=1) + log_normaliser),
            "gradient": block.mean(shape.own_gradient(g)),
        }
        if source.hessian:
            h = source.target._hess_means(block.draws.x, block.m, FullForm)
            return means | {"uphill": shape.uphill(-low_rank_form(h, factor)), "hessian": h}
        e = std * g + v
        rest = group_cross(e, v @ (factor / std[:, None]), block.m)
        return means | {"uphill": shape.own_uphill(block.mean(e * v), rest)}

    run = Run(source.target, Around(mean, shape), source.n, "antithetic", source.key, source.n_threads)
    statistics: dict[str, RunningMean] = defaultdict(RunningMean)
    ratios = []
    for means, sizes in run.groups(rule, max(1, d * (1 + k) // 2)):  # the results of two draws, at least
        ratios.append(means["ratio"])
        for name, group_means in means.items():
            statistics[name].add(group_means, sizes)
    groups, gradient, uphill = np.concatenate(ratios), statistics["gradient"], statistics["uphill"]
    return Moments(
        float(groups.mean()), gradient.mean, uphill.mean, gradient.standard_error(), uphill.standard_error(), groups,
        statistics["hessian"].mean if source.hessian else None,
    )  # fmt: skip


def sampled_change(source: SampledMoments, mean, shape, here):
    """How E[grad f] and P U change with the mean and U, P held fixed.

    Without Hessians the product with P is a difference of gradients, under a few of the draws: an error here slows the
    steps down but does not move where they lead.
    """
    if here.hessian is not None:
        return _fixed_change(-here.hessian)
    few = source.fewer(FEW)
    x = Around(mean, shape)._draw(few.key, 0, few.n, True, few.n_threads).x
    here_gradient = few.value_and_grad(x)[1].mean(axis=0)

    def times_p(v):
        if not v.any():
            return np.zeros_like(v)
        h = DIFFERENCE / np.abs(v / shape.spread).max()
        return (here_gradient - few.value_and_grad(x + h * v)[1].mean(axis=0)) / h

    def change(d_mean, d_diag, d_factor):
        columns = [times_p(v) for v in d_factor.T]
        return -times_p(d_mean), 0.0, np.stack(columns, axis=1) if columns else np.zeros_like(d_factor)

    return change
