"""What comes into a regression: X, y and vectors of one entry a row, of whatever kind the user has."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import scipy

from sbpfast import _checks


def floats(name, value) -> np.ndarray:
    """A float64 array without NaN and infinities; objects that are numbers are taken (frames of several kinds)."""
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {array.dtype}")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} must hold real numbers: {error}") from None
    array = _checks.real_array(name, array, finite=False)
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} must hold no NaN and no inf, got {array[where]} at index {where}")
    return array


def matrix(X):
    if scipy.sparse.issparse(X):
        X = scipy.sparse.csr_array(X)
        return scipy.sparse.csr_array((floats("X.data", X.data), X.indices, X.indptr), shape=X.shape)
    X = floats("X", X)
    if X.ndim != 2:
        raise ValueError(
            f"X must have 2 dimensions, got shape {X.shape}. Reshape your data: X.reshape(1, -1) makes it one row, "
            "X.reshape(-1, 1) one column"
        )
    return X


def response(y, rows) -> np.ndarray:
    """y as a vector of one entry a row, of any kind; a column is flattened with a warning."""
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None")
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        text = "A column-vector y was passed when a 1d array was expected."
        scikit_learn = sys.modules.get("sklearn.exceptions")
        warnings.warn(text, scikit_learn.DataConversionWarning if scikit_learn else UserWarning, stacklevel=3)
        y = y[:, 0]
    if y.shape != (rows,):
        raise ValueError(f"y must have one entry for each of the {rows} rows of X, got shape {y.shape}")
    return y


def is_missing(label) -> bool:
    """None, NaN, NaT or pandas' NA: what does not equal itself."""
    same = label == label
    return label is None or not (isinstance(same, bool | np.bool_) and same)
