"""Design: the rows a_j of a ridge target as one noun, with the products that targets, Gaussians and fits ask of them.

A dense design has kernels of its own; a sparse one (CSR) is multiplied by SciPy.  Nobody else asks which it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import scipy

from sbpfast import _checks, _core
from sbpfast._means import BLOCK_ROWS

LIKE_A_LINK = 500  # columns whose product takes as long as a link function
SOON_DENSE = 2**16  # multiplications that take less time than scipy's setting up of a sparse product


def as_design(name, a) -> Design:
    """The design of a matrix, checked: C-contiguous float64, or CSR."""
    if isinstance(a, Design):
        if a.streamed:
            raise TypeError(f"{name} must be in memory here: rows that are streamed are not taken")
        return a
    if scipy.sparse.issparse(a):
        if a.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {a.dtype}")
        a = scipy.sparse.csr_array(a, dtype=np.float64)
        if not np.isfinite(a.data).all():
            raise ValueError(f"{name} must be finite")
    else:
        a = _checks.real_array(name, a, ndim=2)
    if a.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {a.shape}")
    return SparseDesign(a) if scipy.sparse.issparse(a) else DenseDesign(a)


class Design(ABC):
    """Rows A, (N, d)."""

    streamed = False  # whether the rows are read anew at every pass
    has_panels = False  # whether the kernels that work on tiles of A and panels of draws take `matrix`

    def __init__(self, matrix):
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def n_rows(self) -> int:
        return self.matrix.shape[0]

    def __repr__(self):
        return f"{type(self).__name__}{self.shape}"

    # parts

    def __getitem__(self, rows) -> Design:
        """Some of the rows: a slice or a mask."""
        return type(self)(self.matrix[rows])

    def every(self, stride) -> Design:
        """Every stride-th row, in memory of its own."""
        return self[::stride]

    def blocks(self, size=BLOCK_ROWS) -> Iterator[slice]:
        """Consecutive rows, `size` at a time."""
        for start in range(0, self.n_rows, size):
            yield slice(start, min(start + size, self.n_rows))

    @abstractmethod
    def dense(self) -> np.ndarray:
        """All rows as an array (N, d)."""

    # products

    def dot(self, x) -> np.ndarray:
        """A x for x (d,) or (d, k)."""
        return np.asarray(self.matrix @ x)

    @abstractmethod
    def transposed_dot(self, s, n_threads) -> np.ndarray:
        """A^T s for s (N,), (d,)."""

    def transposed_dots(self, s) -> np.ndarray:
        """A^T S for S (N, k), (d, k)."""
        return np.asarray(self.matrix.T @ s)

    @abstractmethod
    def squares_dot(self, v) -> np.ndarray:
        """(A * A) v for v (d,), (N,)."""

    @abstractmethod
    def weighted_squares(self, w, n_threads) -> np.ndarray:
        """The diagonal of A^T diag(w) A, (d,)."""

    @abstractmethod
    def squared_deviations(self, mean, w, n_threads) -> np.ndarray:
        """sum_j w_j (a_j - mean)^2 of every column, (d,)."""

    @abstractmethod
    def largest(self) -> np.ndarray:
        """The largest |a_j| of every column, (d,)."""

    @abstractmethod
    def weighted_gram(self, w, n_threads) -> np.ndarray:
        """A^T diag(w) A, (d, d)."""

    @abstractmethod
    def weighted_gram_dot(self, w, v, n_threads) -> np.ndarray:
        """A^T diag(w) A V for V (d, k), (d, k)."""

    @abstractmethod
    def projected(self, offset, mean, factor, n_threads) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations (N,) of a_j . x + c_j, x ~ N(mean, L L^T), L lower triangular."""

    def dense_blocks(self) -> Iterator[np.ndarray]:
        """The rows as arrays of about eight megabytes each, at least one."""
        step = max(1, 2**20 // self.shape[1])
        for start in range(0, max(self.n_rows, 1), step):
            yield self[start : start + step].dense()


class DenseDesign(Design):
    """Of a C-contiguous float64 array."""

    has_panels = True

    def every(self, stride):
        return DenseDesign(np.ascontiguousarray(self.matrix[::stride]))

    def dense(self):
        return self.matrix

    def transposed_dot(self, s, n_threads):
        out = np.empty(self.shape[1])
        _core.contract.weighted_sum(self.matrix, s, out, n_threads)
        return out

    def squares_dot(self, v):
        out, step = np.empty(self.n_rows), max(1, 2**17 // self.shape[1])
        for start in range(0, self.n_rows, step):
            rows = self.matrix[start : start + step]
            out[start : start + step] = (rows * rows) @ v
        return out

    def weighted_squares(self, w, n_threads):
        out = np.empty(self.shape[1])
        _core.contract.weighted_sum_of_squares(self.matrix, w, out, n_threads)
        return out

    def squared_deviations(self, mean, w, n_threads):
        total, step = np.zeros(self.shape[1]), max(1, 2**17 // max(self.shape[1], 1))
        for start in range(0, self.n_rows, step):
            rows = slice(start, start + step)
            total += DenseDesign(self.matrix[rows] - mean).weighted_squares(w[rows], n_threads)
        return total

    def largest(self):
        return np.maximum(self.matrix.max(axis=0, initial=0.0), -self.matrix.min(axis=0, initial=0.0))

    def weighted_gram(self, w, n_threads):
        total, out = np.zeros((2, self.shape[1], self.shape[1]))
        for rows in self.blocks():
            _core.ridge.weighted_product(self.matrix[rows], w[rows], self.matrix[rows], True, out, n_threads)
            total += out
        return total

    def weighted_gram_dot(self, w, v, n_threads):
        images = np.ascontiguousarray(self.matrix @ v)
        out = np.empty((v.shape[1], self.shape[1]))
        _core.ridge.weighted_product(images, w, self.matrix, False, out, n_threads)
        return out.T

    def projected(self, offset, mean, factor, n_threads):
        m, t = np.empty(self.n_rows), np.empty(self.n_rows)
        _core.ridge.projected_moments(self.matrix, offset, mean, factor, True, m, t, n_threads)
        return m, t


class SparseDesign(Design):
    """Of a CSR array."""

    def dense(self):
        return self.matrix.toarray()

    def transposed_dot(self, s, n_threads):
        return self.matrix.T @ s

    def squares_dot(self, v):
        return (self.matrix * self.matrix) @ v

    def weighted_squares(self, w, n_threads):
        return (self.matrix * self.matrix).T @ w

    def squared_deviations(self, mean, w, n_threads):
        rows, columns = self.matrix.nonzero()
        deviations = np.asarray(self.matrix[rows, columns]).ravel() - mean[columns]
        present = np.bincount(columns, w[rows], self.shape[1])
        absent = np.maximum(w.sum() - present, 0.0)
        return np.bincount(columns, w[rows] * deviations**2, self.shape[1]) + absent * mean**2

    def largest(self):
        return abs(self.matrix).max(axis=0).toarray().ravel()

    def weighted_gram(self, w, n_threads):
        if self.n_rows * self.shape[1] ** 2 <= SOON_DENSE:
            rows = self.matrix.toarray()
            return rows.T @ (w[:, None] * rows)
        return (self.matrix.T @ (scipy.sparse.diags_array(w) @ self.matrix)).toarray()

    def weighted_gram_dot(self, w, v, n_threads):
        return self.matrix.T @ (w[:, None] * (self.matrix @ v))

    def projected(self, offset, mean, factor, n_threads):
        step = max(1, 2**20 // self.shape[1])
        forms = (self.matrix[rows] @ factor for rows in self.blocks(step))
        t = [np.sqrt((f * f).sum(axis=1)) for f in forms]
        return self.dot(mean) + offset, np.concatenate(t) if t else np.zeros(0)
