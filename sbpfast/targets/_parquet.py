"""Rows of Parquet files, batch by batch; pyarrow is imported when the first file is opened."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sbpfast._means import BLOCK_ROWS
from sbpfast.targets._row_block import Block

MOST_LEVELS = 1000  # of a column of text


class Parquet:
    """Columns of files that all have them; those of text become columns of 0 and 1."""

    def __init__(self, paths, explaining, **columns):
        self.paths = _files(paths)
        self.kind = f"{len(self.paths)} Parquet file{'s' * (len(self.paths) != 1)}"
        self._columns = {name: column for name, column in columns.items() if column is not None}
        self.columns = tuple(self._columns)
        first = _opened(self.paths[0]).schema_arrow
        special = list(self._columns.values())
        if explaining is None:
            explaining = [name for name in first.names if name not in special]
        self._explaining = _names(explaining)
        if not self._explaining:
            raise ValueError(
                f"columns must name at least one column, {self.paths[0].name} has {', '.join(first.names)}"
            )
        self.n_rows = self._checked_files(special)
        text = [name for name in self._explaining if _is_text(first.field(name).type)]
        self._levels = self._all_levels(text)
        self.names = [name for column in self._explaining for name in self._own_names(column)]
        self.dim = len(self.names)

    def _checked_files(self, special) -> int:
        """The number of rows; every file must have every column, of one kind."""
        rows = 0
        kinds: dict[str, str] = {}
        for path in self.paths:
            file = _opened(path)
            rows += file.metadata.num_rows
            schema = file.schema_arrow
            for name in [*self._explaining, *special]:
                if name not in schema.names:
                    raise ValueError(f"{path} has no column {name!r}; its columns are {', '.join(schema.names)}")
                kind = _kind(path, name, schema.field(name).type)
                if name in self._explaining and kinds.setdefault(name, kind) != kind:
                    raise ValueError(f"column {name!r} holds {kind} in {path}, but {kinds[name]} in {self.paths[0]}")
        if rows == 0:
            raise ValueError(f"there must be at least one row, got none from {self.kind}")
        return rows

    def _all_levels(self, text) -> dict[str, Any]:
        """The sorted levels of columns of text, by a pass over these columns alone."""
        found: dict[str, set] = {name: set() for name in text}
        for batch in self._record_batches(text) if text else ():
            for name in text:
                found[name].update(batch.column(name).unique().to_pylist())
                if len(found[name]) > MOST_LEVELS:
                    raise ValueError(
                        f"column {name!r} has more than {MOST_LEVELS} different texts, too many for categories; name "
                        "the columns to use"
                    )
        for name, levels in found.items():
            levels.discard(None)
            if len(levels) < 2:
                raise ValueError(f"column {name!r} is constant, {min(levels, default=None)!r}; drop it")
        return {name: sorted(levels) for name, levels in found.items()}

    def _own_names(self, column):
        levels = self._levels.get(column)
        return [column] if levels is None else [f"{column}[{level}]" for level in levels[1:]]

    def _record_batches(self, columns):
        for path in self.paths:
            yield from _opened(path).iter_batches(batch_size=BLOCK_ROWS, columns=columns, use_threads=False)

    def batches(self) -> Iterator[Block]:
        wanted = [*dict.fromkeys([*self._explaining, *self._columns.values()])]
        start = 0
        for batch in self._record_batches(wanted):
            columns: dict[str, Any] = {
                name: _values(column, batch.column(column), start, name == "y")
                for name, column in self._columns.items()
            }
            yield Block(self._matrix(batch, start), **columns)
            start += batch.num_rows

    def without_x(self) -> Parquet:
        bare = copy.copy(self)
        bare._explaining, bare.names, bare.dim = [], [], 0
        return bare

    def _matrix(self, batch, start) -> np.ndarray:
        X, at = np.empty((batch.num_rows, self.dim)), 0
        for column in self._explaining:
            levels, values = self._levels.get(column), batch.column(column)
            if levels is None:
                X[:, at] = _values(column, values, start)
                at += 1
                continue
            codes = _codes(column, values, levels, start)
            for level in range(1, len(levels)):
                X[:, at] = codes == level
                at += 1
        return X


def _arrow():
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet files need pyarrow: pip install 'sbpfast[parquet]'") from None
    return pyarrow


def _files(paths) -> list[Path]:
    """Files in the order given, those of a folder in the order of their names."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise ValueError("paths must name at least one Parquet file")
    files: list[Path] = []
    for path in map(Path, given):
        inside = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not inside:
            raise FileNotFoundError(f"the folder {path} holds no *.parquet file")
        files.extend(inside)
    return files


def _opened(path):
    """A file, read through a buffer so that a large group of rows is never in memory as a whole."""
    arrow = _arrow()
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return arrow.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from None


def _names(columns) -> list[str]:
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got the text {columns!r}")
    columns = list(columns)
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise ValueError(f"columns names {twice[0]!r} twice")
    return columns


def _kind(path, name, kind) -> str:
    types = _arrow().types
    if _is_text(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return "numbers"
    raise ValueError(f"column {name!r} of {path} must hold numbers, booleans or text, got {kind}")


def _is_text(kind) -> bool:
    types = _arrow().types
    return any(
        is_a(kind) for is_a in (types.is_dictionary, types.is_string, types.is_large_string, types.is_string_view)
    )


def _values(name, values, start, text_allowed=False) -> np.ndarray:
    """A column as numbers, or as it is where it holds text and may; nothing may be missing."""
    if values.null_count:
        row = start + int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"column {name!r} is missing a value in row {row}")
    if _is_text(values.type):
        if not text_allowed:
            raise TypeError(f"column {name!r} must hold numbers, got text")
        return values.to_numpy(zero_copy_only=False).astype(object)
    if _arrow().types.is_decimal(values.type):
        values = values.cast(_arrow().float64())
    return values.to_numpy(zero_copy_only=False)


def _codes(name, values, levels, start) -> np.ndarray:
    """Places of texts among the levels."""
    arrow = _arrow()
    if arrow.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    codes = arrow.compute.index_in(values, value_set=arrow.array(levels, type=values.type))
    if codes.null_count:
        row = start + int(np.argmax(codes.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"column {name!r} is missing a value in row {row}")
    return codes.to_numpy()


class ParquetColumns:
    """Columns of Parquet files by name, as they are: numbers, booleans or texts, none of them missing."""

    def __init__(self, paths):
        self.paths = _files(paths)
        self.names: list[str] = _opened(self.paths[0]).schema_arrow.names
        self.n_rows = sum(_opened(path).metadata.num_rows for path in self.paths)
        if self.n_rows == 0:
            raise ValueError(f"there must be at least one row, got none from {self.paths[0]}")

    def batches(self, names) -> Iterator[dict[str, np.ndarray]]:
        """The columns of these names, batch by batch."""
        start = 0
        for path in self.paths:
            file = _opened(path)
            for name in names:
                if name not in file.schema_arrow.names:
                    known = ", ".join(file.schema_arrow.names)
                    raise ValueError(f"{path} has no column {name!r}; its columns are {known}")
                _kind(path, name, file.schema_arrow.field(name).type)
            for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=list(names), use_threads=False):
                if batch.num_rows:
                    yield {name: _present(name, batch.column(name), start) for name in names}
                start += batch.num_rows


def _present(name, values, start) -> np.ndarray:
    column = _values(name, values, start, text_allowed=True)
    if column.dtype.kind == "f" and np.isnan(column).any():
        raise ValueError(f"column {name!r} is missing a value in row {start + int(np.argmax(np.isnan(column)))}")
    return column
