"""What comes into a regression: X, y and vectors of one entry a row, of whatever kind the user has."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import scipy

from sbpfast import _checks
from sbpfast._protocol import dense_matrix, floats, refuse_empty, two_dimensional


class Data(NamedTuple):
    """Checked rows: the design with the intercept's column last, and what belongs to each row."""

    design: Any
    y: np.ndarray
    weights: np.ndarray | None
    offset: np.ndarray | float
    trials: np.ndarray | None
    n_classes: int = 2  # of a classifier

    @property
    def shares(self) -> np.ndarray:
        """What each row counts for in a mean over the rows, (N,)."""
        return shares_of(self.weights, self.design.shape[0])


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
    if getattr(X, "streamed", False):
        raise TypeError(
            "X must be in memory for estimators; Rows are taken by sbpfast.targets, whose targets fit takes"
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
