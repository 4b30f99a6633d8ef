"""What comes into a regression: X, y and vectors of one entry a row, of whatever kind the user has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np
import scipy

from sbpfast import _checks
from sbpfast._means import BLOCK_ROWS
from sbpfast._protocol import dense_matrix, floats, refuse_empty, two_dimensional
from sbpfast.regression._survey import Survey, survey_of
from sbpfast.targets._dask import DaskRows, is_dask
from sbpfast.targets._row_block import Block
from sbpfast.targets._rows import Rows

OF_ROWS = {"sample_weight": "weights"}  # what rows call an argument of `fit`
MOST_CLASSES = 10000  # of streamed rows
MOST_IN_MEMORY = 2**27  # numbers of rows that groups need at hand


@dataclass(frozen=True)
class Data:
    """Checked rows: the design with the intercept's column last, and what belongs to each row.

    A design that is streamed brings all the rest with it: y, weights and trials are None then, and the offset 0.
    """

    design: Any
    y: Any = None
    weights: np.ndarray | None = None
    offset: np.ndarray | float = 0.0
    trials: np.ndarray | None = None
    n_classes: int = 2  # of a classifier

    @property
    def streamed(self) -> bool:
        """Whether the rows are read anew at every pass."""
        return isinstance(self.design, Rows)

    def over_blocks(self, function, *arguments) -> Iterator[Any]:
        """function(block, *arguments) for blocks of BLOCK_ROWS rows in order; the function is one that can be pickled.

        X of a block is CSR where the design is.
        """
        if self.streamed:
            yield from self.design.over_blocks(function, *arguments)
            return
        for start in range(0, self.design.shape[0], BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            of: dict[str, Any] = {"weights": self.weights, "offset": self.offset, "trials": self.trials}
            columns = {name: column[rows] for name, column in of.items() if np.ndim(column)}
            yield function(Block(self.design[rows], self.y[rows], **columns, start=start), *arguments)

    @cached_property
    def survey(self) -> Survey:
        """Moments of columns and responses, by a pass."""
        survey = reduce(Survey.merged, self.over_blocks(survey_of))
        if not survey.columns.weight > 0.0:
            raise ValueError("sample_weight must not be zero for every row")
        return survey


def streamed_rows(X, y, **columns) -> Rows | None:
    """The rows that stand for X and y, or None where those are in memory."""
    given = {name: value for name, value in columns.items() if value is not None}
    if not isinstance(X, Rows) and not is_dask(X):
        for name, value in {"y": y, **given}.items():
            if is_dask(value):
                raise TypeError(f"{name} is a collection of dask but X is in memory: give both as dask, or compute it")
        return None
    if isinstance(X, Rows):
        for name, value in {"y": y, **given}.items():
            if value is not None:
                raise ValueError(f"{name} must not be given beside Rows, which bring theirs with them")
        rows = X
    else:
        if y is None:
            raise ValueError("this estimator requires y to be passed, but the target y is None")
        rows = DaskRows(X, y, **{OF_ROWS.get(name, name): value for name, value in given.items()})
    if "y" not in rows.columns:
        raise ValueError("the rows must have y")
    return rows


def in_memory(X, y, sample_weight, offset, trials) -> tuple:
    """The same with rows that are streamed read into memory, where they are not too many."""
    rows = streamed_rows(X, y, sample_weight=sample_weight, offset=offset, trials=trials)
    if rows is None:
        return X, y, sample_weight, offset, trials
    rows, names = rows.with_intercept(False), feature_names(rows)
    if rows.n_rows * rows.dim > MOST_IN_MEMORY:
        raise ValueError(
            f"a regression with groups needs its rows in memory, at most {MOST_IN_MEMORY} numbers, and these are "
            f"{rows.n_rows} rows of {rows.dim}"
        )
    labels = np.concatenate(list(rows.over_labels(_labels)))
    block = rows.labelled(np.array(list(dict.fromkeys(labels.tolist())), dtype=labels.dtype)).every_block(1)
    X = block.X if names is None else Columns(block.X, names.tolist())
    return X, labels, block.weights, block.offset, block.trials


def _labels(block: Block) -> np.ndarray:
    return np.asarray(block.y)


def feature_names(rows: Rows) -> np.ndarray | None:
    """Of the columns of rows, the intercept apart, if they have names."""
    names = rows.with_intercept(False).names
    return None if names is None else np.asarray(names, dtype=object)


def classes_of(rows: Rows, check: Callable[[np.ndarray], None]) -> np.ndarray:
    """The sorted classes that y of streamed rows holds, by a pass over y.

    `check` refuses classes that are too few or none; it is asked early where they are very many.
    """
    found: set = set()
    kinds: set = set()
    for labels in rows.over_labels(_different_labels):
        found.update(labels.tolist())
        kinds.add(labels.dtype)
        if len(found) > MOST_CLASSES:
            check(_sorted_labels(found, kinds))
            raise ValueError(f"y must hold classes, got more than {MOST_CLASSES} different values")
    classes = _sorted_labels(found, kinds)
    check(classes)
    return classes


def _sorted_labels(found, kinds) -> np.ndarray:
    try:
        return np.array(sorted(found), dtype=np.result_type(*kinds))
    except TypeError as error:
        raise TypeError(f"y must hold labels of one kind: {error}") from None


def _different_labels(block: Block) -> np.ndarray:
    labels = np.asarray(block.y)
    wrong = [is_missing(label) for label in labels] if labels.dtype.kind == "O" else labels != labels
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise ValueError(f"y must hold no missing labels, got {labels[row]!r} in row {block.start + row}")
    if labels.dtype.kind != "O":
        return np.unique(labels)
    different = np.empty(len(found := set(labels.tolist())), dtype=object)
    different[:] = list(found)
    return different


def shares_of(weights, rows) -> np.ndarray:
    """Weights, where there are, that sum to 1, (rows,)."""
    return np.full(rows, 1.0 / rows) if weights is None else weights / weights.sum()


class Columns(NamedTuple):
    """Rows with the names of their columns, as a data frame has them."""

    values: np.ndarray
    columns: list[str]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


def matrix(X):
    """X as a dense float64 or a CSR array of at least one row and column."""
    if isinstance(X, Rows):
        raise TypeError("X must be in memory here, Rows are taken by fit: predict block by block")
    if is_dask(X):
        raise TypeError(
            "X must be in memory here, collections of dask are taken by fit: predict chunk by chunk, as by "
            "X.map_blocks(model.predict, drop_axis=1) or frame.map_partitions(model.predict)"
        )
    if scipy.sparse.issparse(X):
        X = scipy.sparse.csr_array(X)
        X = two_dimensional(scipy.sparse.csr_array((floats("X.data", X.data), X.indices, X.indptr), shape=X.shape))
    else:
        X = dense_matrix(X)
    refuse_empty(X)
    return X


def response(y, rows) -> np.ndarray:
    """y as a vector of one entry a row, of any kind; a column is flattened with a warning."""
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None")
    try:
        y = np.asarray(y)
    except ValueError as error:
        raise ValueError(f"y is not a rectangular array: {error}") from None
    if y.ndim == 2 and y.shape[1] == 1:
        text = "A column-vector y was passed when a 1d array was expected."
        scikit_learn = sys.modules.get("sklearn.exceptions")
        _checks.warn(text, scikit_learn.DataConversionWarning if scikit_learn else UserWarning)
        y = y[:, 0]
    if y.shape != (rows,):
        raise ValueError(f"y must have one entry for each of the {rows} rows of X, got shape {y.shape}")
    return y


def sample_weights(value, rows) -> np.ndarray | None:
    """Non-negative weights, one a row and not all of them 0."""
    if value is None:
        return None
    weights = _checks.vector("sample_weight", floats("sample_weight", value), rows)
    if (weights < 0).any():
        raise ValueError(f"sample_weight must not be negative, got {weights.min():g}")
    if not weights.any():
        raise ValueError("sample_weight must not be zero for every row")
    return weights


def is_missing(label) -> bool:
    """None, NaN, NaT or pandas' NA: what does not equal itself."""
    same = label == label
    return label is None or not (isinstance(same, bool | np.bool_) and same)


def refuse_missing_labels(name, labels) -> None:
    """Raise where a label is missing, with how many are and where the first one is."""
    missing = [is_missing(label) for label in labels] if labels.dtype.kind == "O" else labels != labels
    if np.any(missing):
        count, first = int(np.sum(missing)), int(np.argmax(missing))
        raise ValueError(
            f"{name} must hold no missing labels, got {count} of {len(labels)}, the first at index {first} "
            f"(missing labels are None and NaN; index {first} holds {labels[first]!r})"
        )


def codes_of_labels(y, classes) -> np.ndarray:
    """The places of labels among the sorted classes of fit, as numbers."""
    known = np.isin(y, classes)
    if not known.all():
        raise ValueError(f"y must hold the classes of fit, {classes.tolist()}, got {y[~known][0]!r}")
    return np.searchsorted(classes, y).astype(np.float64)
