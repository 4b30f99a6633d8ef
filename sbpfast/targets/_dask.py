"""Rows of dask arrays and data frames: every pass is one task a block, and what comes back is of the size of (d, d).

A task gets the pieces of the chunks that make up its block, wherever they were cut, so that the bits do not depend on
the chunks.  The client adds in the order of the blocks.  Dask is imported with the first of its collections.
"""

from __future__ import annotations

import concurrent.futures
import copy
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from sbpfast._means import BLOCK_ROWS
from sbpfast.targets._row_block import Block
from sbpfast.targets._rows import Rows, RowsLost, as_checked

LEAST_AT_ONCE, NUMBERS_AT_ONCE = 64, 2**23  # blocks whose results may wait at the client, and their numbers


def is_dask(thing) -> bool:
    """Whether it is a collection of dask, asked without importing dask."""
    return hasattr(thing, "__dask_graph__") and type(thing).__module__.partition(".")[0].startswith("dask")


class Pieces:
    """A collection as its chunks of rows: what they are and how long."""

    def __init__(self, name, collection, ndim):
        self.name = name
        if not is_dask(collection):
            collection = _as_collection(name, collection)
        if len(collection.shape) != ndim:
            raise ValueError(f"{name} must have {ndim} dimension(s), got {len(collection.shape)}")
        self.frame_columns = _numeric_columns(name, collection) if hasattr(collection, "to_dask_array") else None
        if ndim == 2 and self.frame_columns is None and collection.numblocks[1] > 1:
            collection = collection.rechunk({1: -1})
        self.width = int(collection.shape[1]) if ndim == 2 else 1
        self.chunks = [*np.ravel(np.array(collection.to_delayed(), dtype=object))]
        chunks = getattr(collection, "chunks", None)
        self.lengths = None if chunks is None or np.isnan(chunks[0]).any() else [int(n) for n in chunks[0]]

    def covering(self, start, stop) -> list[tuple[Any, int, int]]:
        """The chunks that hold rows start..stop - 1, each with the part of it that does."""
        out, first = [], 0
        for chunk, length in zip(self.chunks, self.lengths or ()):
            low, high = max(start, first), min(stop, first + length)
            if low < high:
                out.append((chunk, low - first, high - first))
            first += length
        return out


def _as_collection(name, value):
    import dask.array

    return dask.array.from_array(np.asarray(value), chunks=BLOCK_ROWS)


def _numeric_columns(name, frame) -> list[str]:
    columns, kinds = ([frame.name], [frame.dtype]) if frame.ndim == 1 else ([*frame.columns], [*frame.dtypes])
    for column, kind in zip(columns, kinds):
        if name != "y" and getattr(kind, "kind", "O") not in "biuf":
            raise TypeError(f"column {column!r} of {name} must hold numbers, got {kind}")
    return [str(column) for column in columns]


class DaskSource:
    """What the rows know of their source; they are read by tasks and not by batches."""

    kind = "dask"

    def __init__(self, X, **columns):
        self.pieces = {"X": Pieces("X", X, 2)}
        self.pieces |= {name: Pieces(name, c, 1) for name, c in columns.items() if c is not None}
        self._count()
        self.dim, self.names = self.pieces["X"].width, self.pieces["X"].frame_columns
        self.columns: tuple[str, ...] | None = tuple(name for name in self.pieces if name != "X")
        self.n_rows: int | None = sum(self.pieces["X"].lengths or ())
        if self.n_rows == 0:
            raise ValueError("there must be at least one row, got none from dask")
        for name, pieces in self.pieces.items():
            got = sum(pieces.lengths or ())
            if got != self.n_rows:
                raise ValueError(f"{name} must have one entry for each of the {self.n_rows} rows of X, got {got}")

    def _count(self):
        """Count the rows of the chunks whose sizes are not known."""
        import dask

        unknown = [pieces for pieces in self.pieces.values() if pieces.lengths is None]
        tasks = [dask.delayed(len)(chunk) for pieces in unknown for chunk in pieces.chunks]
        lengths = iter(list(computed(tasks)))
        for pieces in unknown:
            pieces.lengths = [next(lengths) for _ in pieces.chunks]

    def batches(self) -> Iterator[Block]:
        raise NotImplementedError("rows of dask are read by tasks")

    def without_x(self) -> DaskSource:
        bare = copy.copy(self)
        bare.pieces, bare.dim, bare.names = {name: p for name, p in self.pieces.items() if name != "X"}, 0, None
        return bare


class DaskRows(Rows):
    """Rows of dask collections."""

    remote = True
    _source: DaskSource

    def __init__(self, X, y=None, weights=None, offset=None, trials=None):
        super().__init__(DaskSource(X, y=y, weights=weights, offset=offset, trials=trials))

    def over_blocks(self, function, *arguments):
        import dask

        at_once = max(LEAST_AT_ONCE, NUMBERS_AT_ONCE // max(self.dim, 1) ** 2)
        payload = dask.delayed((function, arguments), name=f"sbpfast-{uuid.uuid4().hex}", traverse=False)
        starts = range(0, self.n_rows, BLOCK_ROWS)
        for i in range(0, len(starts), at_once):
            yield from computed([self._task(start, payload) for start in starts[i : i + at_once]])
        self._known["finite"] = True  # all of them

    def _task(self, start, payload):
        import dask

        chunks: dict[str, list] = {}
        cuts: dict[str, list] = {}
        for name, pieces in self._source.pieces.items():
            covering = pieces.covering(start, min(start + BLOCK_ROWS, self.n_rows))
            chunks[name], cuts[name] = [c for c, _, _ in covering], [(low, high) for _, low, high in covering]
        size = min(BLOCK_ROWS, self.n_rows - start)
        facts = size, self._source.dim, self._source.names, "finite" in self._known, self._labels, self.intercept
        return dask.delayed(_run, pure=False)(payload, chunks, cuts, start, facts)

    def over_labels(self, function):
        return self._bare().over_blocks(function)

    def read(self):
        for start in range(0, self.n_rows, BLOCK_ROWS):
            yield from computed([self._task(start, (_itself, ()))])


def _itself(block):
    return block


def _run(payload, chunks, cuts, start, facts):
    """A task: bring the block together, check it, and call the function."""
    (function, arguments), (size, dim, names, finite, labels, intercept) = payload, facts
    columns: dict[str, Any] = {"X": np.empty((size, 0))} | {
        name: _joined([_plain(chunk)[low:high] for chunk, (low, high) in zip(chunks[name], cuts[name])])
        for name in chunks
    }
    block = as_checked(Block(**columns, start=start), dim, names, finite, labels)
    if intercept:
        block = block._replace(X=np.column_stack([block.X, np.ones(size)]))
    return function(block, *arguments)


def _joined(pieces) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _plain(chunk) -> np.ndarray:
    """A chunk as an array: of NumPy, or the values of a part of a data frame."""
    return chunk.to_numpy() if hasattr(chunk, "to_numpy") else np.asarray(chunk)


def client():
    """The client of a cluster in force, or None."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None


def computed(tasks) -> Iterator[Any]:
    """The results of tasks in their order, on the client in force or else on threads of this process."""
    if not tasks:
        return
    there = client()
    if there is None:
        import dask

        yield from dask.compute(*tasks, scheduler="threads")
        return
    futures: list[Any] = []
    try:
        futures += there.compute(tasks)
        while futures:
            yield futures[0].result()
            del futures[0]  # let go of, so that the cluster forgets it
    except (Exception, concurrent.futures.CancelledError) as error:
        if there.status == "running":
            raise
        raise RowsLost(f"the scheduler of the cluster is gone: {error}") from error
    finally:
        if futures and there.status == "running":
            there.cancel(futures)
