"""Where rows come from: arrays and batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sbpfast import _checks
from sbpfast._means import BLOCK_ROWS
from sbpfast.targets._row_block import COLUMNS, Block


class Arrays:
    """Of anything that can be sliced."""

    kind = "arrays"
    names: list[str] | None = None

    def __init__(self, X, **columns):
        self.X = _sliceable("X", X, 2)
        self.n_rows, self.dim = (int(size) for size in self.X.shape)
        if self.dim == 0:
            raise ValueError(f"X must have at least one column, got shape {self.X.shape}")
        self._columns = {name: _sliceable(name, c, 1) for name, c in columns.items() if c is not None}
        for name, column in self._columns.items():
            if column.shape[0] != self.n_rows:
                raise ValueError(
                    f"{name} must have one entry for each of the {self.n_rows} rows of X, got shape {column.shape}"
                )
        self.columns = tuple(self._columns)

    def batches(self) -> Iterator[Block]:
        for start in range(0, self.n_rows, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            yield Block(_read(self.X, rows), **{name: _read(c, rows) for name, c in self._columns.items()})

    def without_x(self) -> Arrays:
        bare = copy.copy(self)
        bare.X, bare.dim = np.empty((self.n_rows, 0)), 0
        return bare


def _read(array, rows):
    """Some of the rows; those of a memory map are read now, by who asks, and not when they are first used."""
    part = array[rows]
    return np.array(part) if isinstance(part, np.memmap) else part


def _sliceable(name, value, ndim):
    if not hasattr(value, "shape") or not hasattr(value, "__getitem__"):
        value = _checks.rectangular(name, value)
    if len(value.shape) != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got shape {tuple(value.shape)}")
    return value


class Batches:
    """Of what a callable gives, once a pass."""

    kind = "batches"
    n_rows: int | None = None
    columns: tuple[str, ...] | None = None

    def __init__(self, make: Callable, dim: int, names: list[str] | None = None):
        if not callable(make):
            raise TypeError(
                f"make must be callable and give a new iterator of batches at every call, got {type(make).__name__}, "
                "which would be used up after one pass"
            )
        self._make, self.dim, self.names = make, dim, names

    def batches(self) -> Iterator[Block]:
        for number, batch in enumerate(self._make()):
            block = _block(batch, number)
            yield block if self.dim else block._replace(X=block.X[:, :0])

    def without_x(self) -> Batches:
        return Batches(self._make, 0)


def _block(batch, number) -> Block:
    if not hasattr(batch, "keys"):
        raise TypeError(f"batch {number} must be a dict with X and y, got {type(batch).__name__}")
    unknown = [key for key in batch if key not in ("X", *COLUMNS)]
    if unknown or "X" not in batch:
        raise ValueError(
            f"batch {number} must have X and may have {', '.join(COLUMNS)}; got {', '.join(map(str, batch))}"
        )
    X = _checks.real_array("X", batch["X"], ndim=2, finite=False, dtypes=(np.float64, np.float32))
    given = [name for name in COLUMNS if batch.get(name) is not None]
    columns: dict[str, Any] = {name: _checks.rectangular(name, batch[name]) for name in given}
    return Block(X, **columns)
