"""Rows that do not fit in memory: a design that is read anew, block by block, at every pass.

Batches arrive as they like; they are joined and split into blocks of BLOCK_ROWS rows, the same as in memory, so that
the bits of every sum depend on the rows and their order alone.  Reading runs one block ahead of computing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from sbpfast import _checks
from sbpfast._means import BLOCK_ROWS
from sbpfast.targets._design import DenseDesign, Design
from sbpfast.targets._parquet import Parquet
from sbpfast.targets._row_block import Block, Labels, Source
from sbpfast.targets._sources import Arrays, Batches


class RowsLost(ConnectionError):
    """The rows cannot be had any more: a cluster is gone."""


class Rows(Design):
    """Rows (N, d) with their responses, read block by block: of Parquet files, arrays, memory maps or batches.

    Targets of regressions, `sbpfast.targets.ridge` and the `fit` of regression estimators take them in place of X and
    y, `sbpfast.contract.price` in place of A.  A pass over them needs two blocks of 65536 rows in memory, and
    what the reader holds.  The results have the bits that the same rows give in memory.

    Make them by `from_parquet`, `from_arrays` or `from_batches`.

    Attributes
    ----------
    n_rows : int
        Where the source does not say, they are counted by a pass, once.
    names : list of str or None
        Of the columns of X, that of the intercept among them.
    intercept : bool
        Whether the last column is one of ones, added here.
    """

    has_panels = streamed = True
    remote = False  # whether other processes read them

    def __init__(self, source: Source, intercept: bool = False):
        self._source, self.intercept = source, _checks.flag("intercept", intercept)
        self._known: dict[str, Any] = {} if source.n_rows is None else {"n_rows": source.n_rows}
        self._labels: Labels | None = None

    @classmethod
    def from_arrays(cls, X, y, weights=None, offset=None, trials=None) -> Rows:
        """Of arrays, memory maps, and anything two-dimensional that can be sliced (h5py, zarr).

        Parameters
        ----------
        X : array_like (N, d)
            Only slices of it are read, and nothing is copied but a block at a time.
        y : array_like (N,)
        weights, offset, trials : array_like (N,), optional
            What the regressions take under these names.
        """
        return cls(Arrays(X, y=y, weights=weights, offset=offset, trials=trials))

    @classmethod
    def from_batches(cls, make: Callable[[], Iterable[dict]], dim: int) -> Rows:
        """Of batches that can be had any number of times.

        Parameters
        ----------
        make : callable
            Gives a new iterator of dicts with X (n, d) and y (n,), and optionally weights, offset and trials (n,); it
            is called once a pass and must give the same rows in the same order.
        dim : int
            d.
        """
        return cls(Batches(make, _checks.count("dim", dim)))

    @classmethod
    def from_parquet(
        cls, paths, response="y", columns=None, weights=None, offset=None, intercept=True, trials=None
    ) -> Rows:
        """Of Parquet files, read batch by batch; needs pyarrow.

        Parameters
        ----------
        paths : str, path or a list of them
            Files, or folders of ``*.parquet`` files, which are taken in the order of their names.
        response : str
            The column that is y.
        columns : list of str, optional
            Those of X; all others by default.  Columns of numbers and booleans are taken as they are.  Those of text
            and dictionary columns are categories: a column of 0 and 1 for each level but the first, in sorted order.
        weights, offset, trials : str, optional
            Columns, what the regressions take under these names.
        intercept : bool
            Adds a last column of ones.
        """
        return cls(Parquet(paths, columns, y=response, weights=weights, offset=offset, trials=trials), intercept)

    # what they are

    @property
    def n_rows(self) -> int:
        if "n_rows" not in self._known:
            for _ in self.read():
                pass
        return self._known["n_rows"]

    @property
    def fractions(self) -> bool:
        """Whether some y is no whole number."""
        if "fractions" not in self._known:
            self._known["fractions"] = any(list(self.without_x().over_blocks(_has_fractions)))
        return self._known["fractions"]

    @property
    def columns(self) -> tuple[str, ...]:
        """What the rows have beside x."""
        if "columns" not in self._known:
            known = self._source.columns
            if known is None:
                known = tuple(next(self._source.batches(), Block(np.empty((0, 0)))).columns())
            self._known["columns"] = known
        return self._known["columns"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.dim

    @property
    def dim(self) -> int:
        """Columns, that of the intercept among them."""
        return self._source.dim + self.intercept

    @property
    def names(self) -> list[str] | None:
        names = self._source.names
        return names if names is None or not self.intercept else [*names, "intercept"]

    def __repr__(self):
        rows = self._known.get("n_rows", "unknown")
        return f"Rows(dim={self.dim}, rows={rows}, of {self._source.kind})"

    # the same rows, read in another way

    def with_intercept(self, intercept: bool) -> Rows:
        """With a last column of ones, or without the one that is added here."""
        rows = copy.copy(self)
        rows.intercept = intercept
        return rows

    def without_x(self) -> Rows:
        """What there is beside x, of which much can be read at little cost."""
        rows = copy.copy(self)
        rows._source, rows.intercept = self._source.without_x(), False
        rows._known = {name: known for name, known in self._known.items() if name != "finite"}
        return rows

    def labelled(self, classes, factors=None) -> Rows:
        """With y the places of labels among classes, and weights times the factors of the classes."""
        rows = copy.copy(self)
        rows._labels = Labels(classes, factors)
        rows._known = {name: known for name, known in self._known.items() if name != "fractions"}
        return rows

    def over_labels(self, function) -> Iterator[Any]:
        """function(block) for all rows, of blocks without X whose y is of any kind, as it is."""
        bare, count = self._bare(), 0
        for batch in bare._checked_batches():
            count += len(batch.X)
            yield function(batch)
        self._require_some(count)
        self._known.setdefault("n_rows", count)

    def _bare(self) -> Rows:
        bare = self.without_x()
        bare._labels = Labels()
        return bare

    # reading

    def read(self) -> Iterator[Block]:
        """All rows in blocks of BLOCK_ROWS, one block ahead of who asks."""
        with ThreadPoolExecutor(1, "sbpfast-rows") as reader:
            blocks = self._blocks()
            ahead = reader.submit(next, blocks, None)
            while (block := ahead.result()) is not None:
                ahead = reader.submit(next, blocks, None)
                yield block

    def _blocks(self) -> Iterator[Block]:
        count = 0
        for block in _rebatched(self._checked_batches(), self.intercept):
            count += len(block.X)
            yield block
        known = self._known.setdefault("n_rows", count)
        if known != count:
            raise ValueError(
                f"the rows of {self._source.kind} must be the same in every pass: there were {known} at first, then "
                f"{count}; an iterator that is used up after one pass cannot be read again"
            )
        self._require_some(count)

    def _require_some(self, count):
        if count == 0:
            raise ValueError(
                f"there must be at least one row, got none from {self._source.kind}; an iterator that is used up after "
                "one pass cannot be read again"
            )

    def _checked_batches(self) -> Iterator[Block]:
        start, finite = 0, "finite" in self._known
        for batch in self._source.batches():
            if len(batch.X):
                batch = batch._replace(start=start)
                yield as_checked(batch, self._source.dim, self._source.names, finite, self._labels)
                start += len(batch.X)
        self._known["finite"] = True  # all of them

    # for targets

    def over_blocks(self, function, *arguments) -> Iterator[Any]:
        """function(block, *arguments) for every block, in order; the function is one that can be pickled."""
        for block in self.read():
            yield function(block, *arguments)

    def over_parts(self, part_of: Callable[[Block], Any], function, *arguments) -> Iterator[Any]:
        """function(the part of a target that part_of makes of a block, *arguments), in order; the last is n_threads."""
        if self.remote:
            arguments = (*arguments[:-1], 1)  # the blocks themselves are worked on at once
        return self.over_blocks(_on_part, part_of, function, arguments)

    def checked(self, check: Callable[[Block], Any]) -> list:
        """What a check makes of every block; where it refuses one, the error names the row."""
        return list(self.over_blocks(_checked_by, check))

    def every_block(self, stride) -> Block:
        """Every stride-th row, in memory."""
        kept = list(self.over_blocks(_every, stride))
        columns: dict[str, Any] = {name: np.concatenate([getattr(b, name) for b in kept]) for name in kept[0].columns()}
        return Block(np.concatenate([block.X for block in kept]), **columns)

    # products, each a pass

    def _parts(self) -> Iterator[tuple[slice, DenseDesign]]:
        start = 0
        for block in self.read():
            yield slice(start, start := start + len(block.X)), DenseDesign(block.X)

    def dense(self):
        return np.concatenate([part.dense() for _, part in self._parts()])

    def dot(self, x):
        return np.concatenate([part.dot(x) for _, part in self._parts()])

    def squares_dot(self, v):
        return np.concatenate([part.squares_dot(v) for _, part in self._parts()])

    def projected(self, offset, mean, factor, n_threads):
        parts = [part.projected(offset[rows], mean, factor, n_threads) for rows, part in self._parts()]
        return np.concatenate([m for m, _ in parts]), np.concatenate([t for _, t in parts])

    def transposed_dot(self, s, n_threads):
        return sum(part.transposed_dot(s[rows], n_threads) for rows, part in self._parts())

    def transposed_dots(self, s):
        return sum(part.transposed_dots(s[rows]) for rows, part in self._parts())

    def weighted_squares(self, w, n_threads):
        return sum(part.weighted_squares(w[rows], n_threads) for rows, part in self._parts())

    def squared_deviations(self, mean, w, n_threads):
        return sum(part.squared_deviations(mean, w[rows], n_threads) for rows, part in self._parts())

    def largest(self):
        return np.max([part.largest() for _, part in self._parts()], axis=0)

    def weighted_gram(self, w, n_threads):
        return sum(part.weighted_gram(w[rows], n_threads) for rows, part in self._parts())

    def weighted_gram_dot(self, w, v, n_threads):
        return sum(part.weighted_gram_dot(w[rows], v, n_threads) for rows, part in self._parts())


def _rebatched(batches: Iterable[Block], intercept: bool) -> Iterator[Block]:
    """The same rows in blocks of BLOCK_ROWS, the last perhaps shorter, with a column of ones where it is wanted."""
    block, filled, names = None, 0, None
    for batch in batches:
        names = list(batch.columns()) if names is None else names
        if list(batch.columns()) != names:
            raise ValueError(f"every batch must have the same entries beside X, got {names}, then {[*batch.columns()]}")
        start = 0
        while start < len(batch.X):
            if block is None and not intercept and len(batch.X) - start >= BLOCK_ROWS:
                yield batch.take(slice(start, start + BLOCK_ROWS))
                start += BLOCK_ROWS
                continue
            if block is None:
                block = _empty(batch, intercept)._replace(start=batch.start + start)
            taken = min(BLOCK_ROWS - filled, len(batch.X) - start)
            block.X[filled : filled + taken, : batch.X.shape[1]] = batch.X[start : start + taken]
            for name, column in batch.columns().items():
                getattr(block, name)[filled : filled + taken] = column[start : start + taken]
            start, filled = start + taken, filled + taken
            if filled == BLOCK_ROWS:
                yield block
                block, filled = None, 0
    if block is not None:
        yield block.take(slice(filled))


def _empty(like: Block, intercept: bool) -> Block:
    """Room for a block."""
    X = np.empty((BLOCK_ROWS, like.X.shape[1] + intercept))
    if intercept:
        X[:, -1] = 1.0
    columns: dict[str, Any] = {name: np.empty(BLOCK_ROWS) for name in like.columns()}
    return Block(X, **columns)


def as_checked(batch: Block, dim, names, finite=False, labels=None) -> Block:
    """As float64 of the right shapes, finite unless that is known; the text of an error names the row, from 0."""
    if labels is not None:
        batch = labels.coded(batch)
    columns: dict[str, Any] = {}
    for name, column in batch.columns().items():
        if name == "y" and labels is not None and labels.classes is None:
            columns[name] = np.asarray(column)
        else:
            columns[name] = _numbers(name, column, batch.start, 1, None, finite)
        if columns[name].shape != (len(batch.X),):
            raise ValueError(
                f"{name} must have one entry for each row of X: a batch at row {batch.start} has {len(batch.X)} rows "
                f"and {name} of shape {columns[name].shape}"
            )
    X = _numbers("X", batch.X, batch.start, 2, names, finite)
    if X.shape[1] != dim:
        raise ValueError(f"X must have {dim} columns in every batch, got {X.shape[1]} in that of row {batch.start}")
    block = Block(X, **columns, start=batch.start)
    return block if labels is None else labels.weighted(block)


def _numbers(name, value, start, ndim, names, finite):
    array = _checks.real_array(name, value, ndim=ndim, finite=False)
    if finite or np.isfinite(array).all():
        return array
    row, *column = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
    of = f", column {column[0] if names is None else repr(names[column[0]])}" if column else ""
    raise ValueError(f"{name} must be finite, got {array[(row, *column)]} in row {start + row}{of}")


def _every(block: Block, stride) -> Block:
    part = block.take(slice(-block.start % stride, None, stride))
    columns = {name: column.copy() for name, column in part.columns().items()}
    return Block(part.X.copy(), **columns)


def _has_fractions(block: Block) -> bool:
    return block.y is not None and bool((block.y != np.floor(block.y)).any())


def _on_part(block, part_of, function, arguments):
    return function(part_of(block), *arguments)


def _checked_by(block: Block, check):
    try:
        return check(block)
    except ValueError as error:
        low, high = 0, len(block.X)  # rows before `low` are allowed, those before `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _refused(check, block.take(slice(low, middle))) else (middle, high)
        of_row = _refused(check, block.take(slice(low, high)))
        if of_row is None:
            raise
        raise ValueError(f"row {block.start + low}: {of_row}") from error


def _refused(check, block) -> ValueError | None:
    try:
        check(block)
    except ValueError as error:
        return error
    return None
