"""What priors ask of the rows, in one pass: moments of columns and responses, the same wherever the rows lie.

Each block of rows gives its own moments about its own means; they are merged in the order of the blocks (Chan, Golub &
LeVeque 1983), so that the bits depend on the rows alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from sbpfast import _core
from sbpfast.targets._design import DenseDesign, Design, SparseDesign
from sbpfast.targets._row_block import Block

ROUNDING = 1e-13  # of a column's largest value: what it varies by less is constant


class Moments(NamedTuple):
    """Of columns, (d,) each, of rows with weights of this sum."""

    weight: float
    mean: np.ndarray
    squares: np.ndarray  # sums of w (a - mean)^2
    largest: np.ndarray  # absolute values

    def merged(self, other: Moments) -> Moments:
        """Of these rows and of others."""
        largest = np.maximum(self.largest, other.largest)
        if self.weight == 0.0 or other.weight == 0.0:
            return (other if self.weight == 0.0 else self)._replace(largest=largest)
        weight, apart = self.weight + other.weight, other.mean - self.mean
        share = other.weight / weight
        squares = self.squares + other.squares + apart**2 * (self.weight * share)
        return Moments(weight, self.mean + apart * share, squares, largest)

    @property
    def sd(self) -> np.ndarray:
        """Standard deviations, 1 for a column that is constant."""
        sd = np.sqrt(self.squares / self.weight)
        return np.where(sd > ROUNDING * self.largest, sd, 1.0)


class Survey(NamedTuple):
    """Of rows: moments of the design's columns, and of y and y less the offset."""

    columns: Moments
    responses: Moments
    log_exposure: float  # log of the sum of w e^offset
    least: float  # y

    def merged(self, other: Survey) -> Survey:
        """Of these rows and of others."""
        return Survey(
            self.columns.merged(other.columns), self.responses.merged(other.responses),
            float(np.logaddexp(self.log_exposure, other.log_exposure)), min(self.least, other.least),
        )  # fmt: skip

    def units_of_numbers(self) -> tuple[float, float]:
        """Where a linear predictor that is the mean of y lies and how far it spreads."""
        return float(self.responses.mean[1]), float(self.responses.sd[1])

    def units_of_logarithms(self) -> tuple[float, float]:
        """The same of one that is the logarithm of the mean."""
        mean, log_exposure = float(self.responses.mean[0]), self.log_exposure - np.log(self.responses.weight)
        return (float(np.log(mean) - log_exposure) if mean > 0.0 else 0.0), 1.0

    @property
    def mean(self) -> float:
        """Of y."""
        return float(self.responses.mean[0])

    @property
    def variance(self) -> float:
        """Of y."""
        return float(self.responses.squares[0] / self.responses.weight)


def design_of(X) -> Design:
    """Of rows that are dense or CSR; there may be no columns."""
    return SparseDesign(X) if scipy.sparse.issparse(X) else DenseDesign(np.ascontiguousarray(X))


def moments_of(design: Design, w, n_threads) -> Moments:
    """Of the columns of some rows of these weights."""
    total, largest = float(w.sum()), design.largest()
    if total == 0.0:
        return Moments(0.0, np.zeros(design.shape[1]), np.zeros(design.shape[1]), largest)
    mean = np.asarray(design.transposed_dot(w, n_threads)) / total
    return Moments(total, mean, np.asarray(design.squared_deviations(mean, w, n_threads)), largest)


def survey_of(block: Block) -> Survey:
    """Of a block of rows."""
    n_threads = _core.effective_threads()
    rows = block.X.shape[0]
    w = np.ones(rows) if block.weights is None else block.weights
    if (w < 0.0).any():
        row = int(np.argmax(w < 0.0))
        raise ValueError(f"row {block.start + row}: weights must not be negative, got {w[row]:g}")
    offset = np.broadcast_to(0.0 if block.offset is None else block.offset, rows)
    y = np.asarray(block.y)
    responses = DenseDesign(np.column_stack([y, y - offset]))
    log_exposure = float(scipy.special.logsumexp(offset, b=w)) if w.any() else -np.inf
    return Survey(
        moments_of(design_of(block.X), w, n_threads), moments_of(responses, w, n_threads), log_exposure,
        float(y.min()),
    )  # fmt: skip
