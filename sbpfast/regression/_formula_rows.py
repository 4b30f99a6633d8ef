"""Formulas over rows that are streamed: levels are found in a first pass, then every batch makes its own columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from sbpfast.regression._formula import NAME, Formula, _description, _frame, _response, parse_formula
from sbpfast.targets._rows import Rows
from sbpfast.targets._sources import Batches

FIRST = 64  # rows that are looked at whatever their levels
MOST_LEVELS = 1000  # of a column
OF_WHOLE_COLUMNS = re.compile(r"(?<![\w.])(center|scale|standardize|poly|bs|cc|cr|tp)\(")
CATEGORIES = re.compile(rf"(?<![\w.])[CST]\(\s*{NAME}")

Batch = dict[str, np.ndarray]


class StreamedFormula:
    """A formula over batches of columns by name, numbers or texts, that can be had any number of times.

    Parameters
    ----------
    text : str
        As for `parse_formula`, without groups and without what needs a whole column, such as ``scale(x)``.
    make : callable
        Gives a new iterator of the batches, all in the same order.
    weights : str, optional
        A column.
    """

    def __init__(self, text: str, make: Callable[[], Iterable[Batch]], weights: str | None = None):
        if found := OF_WHOLE_COLUMNS.search(text):
            raise ValueError(
                f"{found[1]}(...) needs its whole column at once, and the rows are read in batches: bring the column "
                "into its units in the file, or write numbers, as (x - 3.5) / 2"
            )
        self._make, self._weights = make, weights
        self.read: Formula
        self.read, first = parse_formula(text, _few_rows(text, make()))
        if first.groups:
            raise ValueError(f"groups need all rows in memory, got ({next(iter(first.groups))!r}) in {text!r}")
        if not self.read.names:
            raise ValueError(f"a formula over streamed rows must have a column beside the intercept, got {text!r}")
        self._component = _description(text).response.term.components[0]
        self._require_row_by_row(next(iter(make())))

    def rows(self) -> Rows:
        """The rows that the formula makes, without an intercept."""
        return Rows(Batches(self._batches, len(self.read.names), self.read.names))

    def _batches(self) -> Iterator[Batch]:
        return map(self._columns, self._make())

    def _columns(self, batch: Batch) -> Batch:
        rows = self.read.rows(batch)
        y, trials = _response_of(self._component, batch)
        weights = None if self._weights is None else batch[self._weights]
        columns: dict[str, Any] = {"X": rows.X, "y": y, "trials": trials, "offset": rows.offset, "weights": weights}
        return {name: column for name, column in columns.items() if column is not None}

    def _require_row_by_row(self, batch):
        """Refuse what makes another number of a row when other rows are beside it, such as ``x - np.mean(x)``."""
        half = len(next(iter(batch.values()))) // 2
        if half == 0:
            return
        whole = self._columns(batch)
        parts = [self._columns({k: v[part] for k, v in batch.items()}) for part in (slice(half), slice(half, None))]
        for name, column in whole.items():
            if not np.array_equal(column, np.concatenate([part[name] for part in parts])):
                raise ValueError(
                    f"formula {self.read.text!r} makes numbers of a row that depend on other rows, and the rows are "
                    "read in batches: write them as numbers"
                )


def _response_of(component, batch):
    """The response of a batch, in which the level of ``y["level"]`` may be missing."""
    frame = _frame(batch, component.var_names)
    reference = getattr(component, "reference", None)
    if reference is None:
        return _response(component, frame)
    return np.asarray(frame[component.name]) == reference, None


def _few_rows(text, batches: Iterable[Batch]) -> Batch:
    """Rows that show every level of every column that is or may be a category, and the first ones."""
    forced = {name.strip("`") for name in CATEGORIES.findall(text)}
    seen: dict[str, set] = {}
    kept: list[Batch] = []
    for batch in batches:
        rows = set(range(FIRST)) if not kept else set()
        for name, column in batch.items():
            if column.dtype.kind in "iuf" and name not in forced:
                continue
            levels, places = _first_places(column)
            known = seen.setdefault(name, set())
            rows.update(place for level, place in zip(levels, places) if level not in known)
            known.update(levels)
            if len(known) > MOST_LEVELS:
                raise ValueError(
                    f"column {name!r} has more than {MOST_LEVELS} different values, too many for categories"
                )
        n_rows = len(next(iter(batch.values())))
        some = np.array(sorted(row for row in rows if row < n_rows), dtype=int)
        kept.append({name: column[some] for name, column in batch.items()})
    return {name: np.concatenate([batch[name] for batch in kept]) for name in kept[0]}


def _first_places(column):
    """The different values and the first place of each."""
    if column.dtype.kind != "O":
        values, places = np.unique(column, return_index=True)
        return values.tolist(), places.tolist()
    first: dict = {}
    for place, value in enumerate(column.tolist()):
        first.setdefault(value, place)
    return list(first), list(first.values())
