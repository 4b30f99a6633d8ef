"""The rows of a regression with groups: fixed effects, levels, and where the precision has its nonzeros.

The linear predictor of row j is x_j . b + sum_k z_kj . v_k[level of j in group k] + offset_j.  The effects v are
whitened: those of a level are L v with v ~ N(0, I), and z = L^T (basis of the row), so that a scale of 0 is regular.

One group, the *main* one with the most coefficients, is eliminated level by level.  What is left, the fixed effects and
the levels of all other groups, is the *border* of an arrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy

from sbpfast._means import BLOCK_ROWS


@dataclass(frozen=True)
class Group:
    """A grouping of the rows."""

    index: np.ndarray  # level of every row (N,)
    n_levels: int
    basis: np.ndarray | None  # (N, r), what multiplies a level's effects; None: the intercept alone

    @property
    def width(self) -> int:
        """Effects a level, r."""
        return 1 if self.basis is None else self.basis.shape[1]

    def columns(self, factor) -> list[np.ndarray]:
        """z by effect, r arrays (N,), for the Cholesky factor L of a level's covariance."""
        if self.basis is None:
            return [np.broadcast_to(factor[0, 0], len(self.index))]
        return list(np.ascontiguousarray((self.basis @ factor).T))


class LevelSums:
    """Sums over the rows of each level."""

    def __init__(self, index, n_levels):
        self.index, self.n_levels, self._parts = index, n_levels, parts_of(len(index), n_levels)

    def part(self, part, values) -> np.ndarray:
        """Of numbers of the rows `part` alone, (n_levels,)."""
        return np.bincount(self.index[part], values, self.n_levels)

    def of(self, *factors) -> np.ndarray:
        """Of products of numbers (N,), (n_levels,), without a temporary of all rows."""
        total = np.zeros(self.n_levels)
        for part in self._parts:
            values = np.asarray(factors[0][part], dtype=np.float64)
            for factor in factors[1:]:
                values = values * factor[part]
            total += self.part(part, values)
        return total

    def of_rows(self, X, *factors) -> np.ndarray:
        """Of products with the columns of X (N, p), (n_levels, p)."""
        out = np.empty((self.n_levels, X.shape[1]))
        for j in range(X.shape[1]):
            out[:, j] = self.of(X[:, j], *factors)
        return out


def parts_of(n, n_levels):
    """Slices of n rows, none of them much fewer than the levels that it is summed over."""
    step = max(BLOCK_ROWS, n_levels)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class Pairs:
    """The pairs of a level of another group and a main level that some row has."""

    def __init__(self, group, main):
        codes, self.of_row = np.unique(group.index.astype(np.int64) * main.n_levels + main.index, return_inverse=True)
        self.level, self.main = np.divmod(codes, main.n_levels)

    def __len__(self):
        return len(self.level)


class Shape(NamedTuple):
    """Numbers of coefficients, and which group is the main one: what is left of the rows when they are gone."""

    n_fixed: int
    n_levels: tuple[int, ...]
    widths: tuple[int, ...]  # effects a level, by group
    main: int
    others: tuple[int, ...]
    starts: tuple[int, ...]  # of the other groups in the border after the fixed effects, and their end

    @property
    def n_crossed(self) -> int:
        """Coefficients of all groups but the main one."""
        return self.starts[-1]

    @property
    def dim(self) -> int:
        return self.n_fixed + sum(n * r for n, r in zip(self.n_levels, self.widths))

    @property
    def effects(self):
        """Group's place among the others, and effect, for the columns of the other groups in their order."""
        return [(i, a) for i, k in enumerate(self.others) for a in range(self.widths[k])]


def shape_of(n_fixed, groups) -> Shape:
    sizes = [group.n_levels * group.width for group in groups]
    main = int(np.argmax(sizes))
    others = tuple(k for k in range(len(groups)) if k != main)
    starts = np.cumsum([0, *(sizes[k] for k in others)])
    return Shape(
        n_fixed, tuple(g.n_levels for g in groups), tuple(g.width for g in groups), main, others,
        tuple(int(start) for start in starts),
    )  # fmt: skip


class Rows:
    """Everything of the data that does not depend on scales: X (N, p), groups, and the patterns of sums."""

    def __init__(self, X, groups):
        self.X, self.groups = X, groups
        self.n_rows = len(X)
        self.shape = shape_of(X.shape[1], groups)

    @cached_property
    def parts(self) -> list[slice]:
        """The rows in parts that fits go through, so that little stands beside the data at a time."""
        return parts_of(self.n_rows, max(self.shape.n_levels))

    @cached_property
    def sums(self) -> list[LevelSums]:
        return [LevelSums(group.index, group.n_levels) for group in self.groups]

    @cached_property
    def pairs(self) -> list[Pairs]:
        return [Pairs(self.groups[k], self.groups[self.shape.main]) for k in self.shape.others]

    @cached_property
    def crossed_columns(self) -> list[np.ndarray]:
        """For every effect of the other groups, in their order, the column of each row in the border after X."""
        return [
            start + self.groups[k].index.astype(np.intp) * self.groups[k].width + a
            for start, k in zip(self.shape.starts, self.shape.others)
            for a in range(self.groups[k].width)
        ]

    @cached_property
    def pattern(self):
        """Rows, columns and order of the entries of the border's part (n_crossed, main size) as a CSR array."""
        r = self.shape.widths[self.shape.main]
        rows, columns = [], []
        for start, k, pairs in zip(self.shape.starts, self.shape.others, self.pairs):
            width = self.groups[k].width
            at = start + pairs.level[:, None, None] * width + np.arange(width)[:, None]
            to = pairs.main[:, None, None] * r + np.arange(r)
            rows.append(np.broadcast_to(at, (len(pairs), width, r)).ravel())
            columns.append(np.broadcast_to(to, (len(pairs), width, r)).ravel())
        row, column = np.concatenate(rows), np.concatenate(columns)
        order = np.lexsort((column, row))
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=self.shape.n_crossed))])
        return order, column[order], starts

    def crossed_array(self, blocks) -> scipy.sparse.csr_array:
        """The CSR array (n_crossed, main size) of blocks (pairs, width, r), one array a group."""
        order, columns, starts = self.pattern
        data = np.concatenate([block.ravel() for block in blocks])[order]
        size = self.shape.n_levels[self.shape.main] * self.shape.widths[self.shape.main]
        return scipy.sparse.csr_array((data, columns, starts), shape=(self.shape.n_crossed, size))
