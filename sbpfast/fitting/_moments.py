"""Moments without draws: the sources that integrate, and that of ridge targets by one-dimensional integrals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np

from sbpfast import _core
from sbpfast._means import BLOCK, BLOCK_ROWS
from sbpfast.fitting._factors import entropy
from sbpfast.fitting._source import Moments
from sbpfast.targets import Target
from sbpfast.targets._expectations import RULES, link_expectations
from sbpfast.targets._ridge import Ridge

MOST_FORMS = 2**24  # numbers of the rows' linear forms that Newton's method keeps
SUBSAMPLE_ROWS = 40000  # a target of more rows starts from a sixteenth of them, or from a block


class ExactSource(ABC):
    """Moments in closed form or by integrals; deterministic."""

    exact = True
    of: ClassVar[type[Target]]  # the kind of target it serves
    structures: ClassVar[tuple[str, ...]] = ("full",)  # of covariances

    def __init__(self, target, n_threads: int):
        self.target, self.n_threads = target, n_threads
        self.counts = {"passes": 0}
        self.looked_at = 0

    @property
    def dim(self) -> int:
        return self.target.dim

    @property
    def newton(self) -> bool:
        return False

    @abstractmethod
    def at(self, mean, chol) -> Moments:
        """Under N(mean, L L^T)."""

    def draws(self, n) -> Self:
        return self

    def coarse(self) -> Self:
        return self

    def start(self) -> tuple[np.ndarray, np.ndarray] | None:
        return None


class RowSource(ExactSource):
    """Of a target that is a sum over rows."""

    def at(self, mean, chol) -> Moments:
        value, gradient, precision = self._moments(mean, chol, 1.0)
        return Moments(value + entropy(chol), gradient, precision)

    def at_point(self, mean, chol) -> Moments:
        """f itself and its derivatives at the mean, in the coordinates of L."""
        return Moments(*self._moments(mean, chol, 0.0))

    @abstractmethod
    def _moments(self, mean, chol, spread) -> tuple[float, np.ndarray, np.ndarray]:
        """E f, gradient and precision, in the coordinates of L, under N(mean, L L^T); at the mean where spread is 0."""

    @abstractmethod
    def diagonal_curvature(self, mean) -> np.ndarray:
        """The diagonal of -Hess f at a point, which sets the scale of the first coordinates."""

    def coarse(self) -> Self:
        """With every so-many-th row, counted as often, where the rows are many."""
        rows = self.target.n_rows
        if rows < SUBSAMPLE_ROWS or rows < 400 * self.dim:
            return self
        return type(self)(self.target.every(max(16, -(-rows // BLOCK_ROWS))), self.n_threads)


class ExactMoments(RowSource):
    """Of a ridge target."""

    of = Ridge
    structures = ("full", "diagonal", "low_rank")

    @property
    def newton(self) -> bool:
        return self.target.n_rows * self.dim <= MOST_FORMS

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
        return self.target.diagonal_curvature(mean, self.n_threads)


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
