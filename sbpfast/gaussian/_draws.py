"""Draws of a Gaussian: points, their standardised residuals and the noise behind them, as panels or as rows."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from sbpfast import _core
from sbpfast._streams import (
    LANES,
    to_panels,
    to_rows,
)

LOG_2PI = math.log(2.0 * math.pi)


class Panels:
    """Arithmetic on arrays whose coordinate axis is the last but one: (blocks, d, 64)."""

    @staticmethod
    def column(v):
        return v[:, None]

    @staticmethod
    def apply(factor, z, shift, lower, n_threads):
        """shift + factor z, the factor (d, k)."""
        out = np.empty((len(z), factor.shape[0], LANES))
        _core.random.affine_panels(factor, shift, z, out, lower, n_threads)
        return out


class Rows:
    """The same on arrays whose coordinate axis is the last: (n, d).  Used for long draws, a few at a time."""

    @staticmethod
    def column(v):
        return v

    @staticmethod
    def apply(factor, z, shift, lower, n_threads):
        # not BLAS: the bits of its products depend on how many draws there are
        out = np.zeros((len(z), len(factor)))
        _core.contract.per_sample_shared(np.ascontiguousarray(z), np.ascontiguousarray(factor.T), 1.0, out, n_threads)
        return out + shift


class Draws:
    """A block of draws: the points, and the score of the density with respect to its mean."""

    def __init__(self, q, noise, n, layout, n_threads):
        self.n = n
        self.n_threads = n_threads
        self._q = q
        self._noise = noise
        self._layout = layout
        self._x = q._map(noise, layout, n_threads)

    @cached_property
    def x(self) -> np.ndarray:
        """Points as rows (n, d), C-contiguous."""
        return np.ascontiguousarray(self._rows(self._x))

    @property
    def panels(self) -> np.ndarray:
        """Points as panels (blocks, d, 64)."""
        return self._x if self._layout is Panels else to_panels(self._x)

    @cached_property
    def u(self) -> np.ndarray:
        """cov^-1 (x - mean), (n, d): the score with respect to the mean."""
        return self._q._dual(self)

    @property
    def noise(self) -> np.ndarray:
        """The first standard normals behind the points, (n, d)."""
        return self._rows(self._noise[0])

    def map_noise(self, panels_map, rows_map) -> np.ndarray:
        """A map of the noise to rows (n, d), given for panels and for rows."""
        return self._rows(panels_map(self._noise[0])) if self._layout is Panels else rows_map(self._noise[0])

    def _rows(self, a):
        return to_rows(a, self.n) if self._layout is Panels else a


def row_norms(rows):
    return np.sqrt((rows * rows).sum(axis=1))
