"""Validation of what users pass: every array argument of the package comes through here, before any work."""

from __future__ import annotations

import math
import sys
import warnings
from numbers import Integral, Real

import numpy as np


def real_array(name, value, *, ndim=None, shape=None, dtypes=(np.float64,), finite=True) -> np.ndarray:
    """`value` as a C-contiguous, aligned real array, never a copy where none is needed.

    Parameters
    ----------
    name : str
        The argument's name, for the error text.
    value : array_like
        Booleans, integers and reals are taken; complex numbers, strings and objects are not, nor is an array with
        masked elements, which stand for what is not known.
    ndim : int or tuple of int, optional
        Allowed numbers of dimensions.
    shape : tuple, optional
        The wanted shape; None stands for any length.
    dtypes : tuple of dtypes
        Types kept as they are; anything else becomes the first.
    finite : bool
        Refuse infinities and NaN.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what came and what is wanted.
    """
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be dense, sparse arrays are not taken: use .toarray()")
    refuse_mask(name, value)
    array = rectangular(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    dtype = array.dtype if array.dtype in dtypes else dtypes[0]
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if array.ndim not in allowed:
            wanted = " or ".join(str(k) for k in allowed)
            raise ValueError(f"{name} must have {wanted} dimension(s), got shape {array.shape}")
    if shape is not None and (
        array.ndim != len(shape) or any(want is not None and got != want for got, want in zip(array.shape, shape))
    ):
        wanted = "(" + ", ".join("n" if k is None else str(k) for k in shape) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    with np.errstate(over="ignore"):  # of a wider type, whose large numbers become infinite
        array = np.require(array, dtype=dtype, requirements=("C", "A")).reshape(array.shape)
    if finite and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[where]} at index {where}")
    return array


def rectangular(name, value) -> np.ndarray:
    """`value` as an array of any kind."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        kind = ValueError if isinstance(value, list | tuple) else TypeError
        raise kind(f"{name} is not a rectangular array: {error}") from None


def refuse_mask(name, value) -> None:
    """Raise where an array, or one in a list, has masked elements: the numbers behind a mask are not data."""
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise ValueError(f"{name} has masked elements: drop them, or fill them in with .filled(value)")


def frozen(array) -> np.ndarray:
    """A read-only copy, for a distribution or target to keep."""
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def dimensions(value) -> int:
    """How many dimensions an argument has; a list that is not rectangular, which is refused later, counts as 1."""
    try:
        return np.ndim(value)
    except ValueError:
        return 1


def vector(name, value, length=None) -> np.ndarray:
    """A finite float64 vector; a scalar fills one of known length."""
    if length is not None and dimensions(value) == 0:
        return np.full(length, real_array(name, value, ndim=0)[()])
    return real_array(name, value, shape=(length,))


def points(name, x, dim) -> np.ndarray:
    """Points are rows: (n, dim)."""
    return real_array(name, x, shape=(None, dim))


def positive(name, array) -> np.ndarray:
    """The array, all of whose elements are above 0."""
    if not (array > 0).all():
        raise ValueError(f"{name} must be positive, got {array[~(array > 0)].flat[0]}")
    return array


def count(name, value, least=1) -> int:
    """A whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if int(value) > sys.maxsize:
        raise ValueError(f"{name} must be at most {sys.maxsize}, got a number of {int(value).bit_length()} bits")
    return int(value)


def scalar(name, value, *, above=-np.inf, least=-np.inf, below=np.inf) -> float:
    """A finite real number, larger than `above`, not less than `least`, smaller than `below`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf  # of either sign: it is refused
    if not (math.isfinite(number) and above < number < below and least <= number):
        limits = (("above", above), ("at least", least), ("below", below))
        wanted = ["finite", *(f"{word} {limit:g}" for word, limit in limits if math.isfinite(limit))]
        raise ValueError(f"{name} must be {' and '.join(wanted)}, got {value}")
    return number


def flag(name, value) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def choice(name, value, allowed) -> str:
    """One of a few names."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
    return value


def output(out, dtype, shape) -> np.ndarray:
    """The array that draws are written to: `out`, or a new one of `dtype`, float64 where that is None."""
    if dtype is not None:
        try:
            dtype = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be float64 or float32, got {dtype!r}") from None
        if dtype not in (np.float64, np.float32):
            raise TypeError(f"dtype must be float64 or float32, got {dtype}")
    if out is None:
        return np.empty(shape, np.float64 if dtype is None else dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    if out.dtype not in (np.float64, np.float32):
        raise TypeError(f"out must hold float64 or float32, got {out.dtype}")
    if dtype is not None and out.dtype != dtype:
        raise TypeError(f"out must hold {dtype}, as dtype says, got {out.dtype}")
    if out.shape != tuple(shape):
        raise ValueError(f"out must have shape {tuple(shape)}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    return out


def symmetric(name, matrix) -> np.ndarray:
    """A square matrix that equals its transpose to 1e-8 of its scale, made exactly symmetric."""
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be square, got shape {matrix.shape}")
    with np.errstate(over="ignore"):
        gap = np.abs(matrix - matrix.T).max(initial=0.0)
    if gap > 1e-8 * np.abs(matrix).max(initial=0.0):
        raise ValueError(f"{name} must be symmetric, but differs from its transpose by up to {gap:.3g}")
    return 0.5 * matrix + 0.5 * matrix.T


def cholesky(name, matrix) -> np.ndarray:
    """The lower Cholesky factor of a symmetric matrix, which must be positive definite."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(matrix)[0]
        raise ValueError(f"{name} must be positive definite, but has an eigenvalue {least:.3g}") from None


def warn(text, category) -> None:
    """Warn at the line of the user's own that led here: the nearest one outside this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


class NotFittedError(ValueError, AttributeError):
    """An estimator is used before it is fitted."""


def not_fitted(text) -> Exception:
    """The error to raise; scikit-learn's own where it is loaded, so that code written for it can catch it."""
    scikit_learn = sys.modules.get("sklearn.exceptions")
    return (scikit_learn.NotFittedError if scikit_learn else NotFittedError)(text)
