"""scikit-learn's protocol without scikit-learn."""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any, Self

import numpy as np

from sbpfast import _checks


class Estimator:
    """Settings by name, and the features of the data that it was fitted to."""

    n_features_in_: int
    feature_names_in_: np.ndarray

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params) -> Self:
        """Change constructor arguments; ValueError for a name that is none."""
        known = list(self._defaults())
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = self._defaults()
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if repr(v) != repr(defaults[k])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _keep_names(self, names):
        """Of the columns of a data frame that was fitted to, or None."""
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names

    def _check_features(self, names, n_given, n_expected):
        """That X has the features of fit: their names and order, where it is a data frame, and their number."""
        known = getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and list(names) != list(known):
            raise ValueError(_other_names(names, known))
        if n_given != n_expected:
            raise ValueError(
                f"X has {n_given} features, but {type(self).__name__} is expecting {n_expected} features as input"
            )


def column_names(X) -> np.ndarray | None:
    """The columns of a data frame, if they are all strings."""
    names = getattr(X, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return np.asarray(names, dtype=object)


def floats(name, value, dtypes: tuple = (np.float64,)) -> np.ndarray:
    """A real array without NaN and infinities, of the first dtype unless it has another of them.

    Objects that are numbers are taken (frames of several kinds).  The words of the errors are those that scikit-learn's
    checks of an estimator look for.
    """
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {array.dtype}")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} must hold real numbers: {error}") from None
    array = _checks.real_array(name, array, dtypes=dtypes, finite=False)
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} must hold no NaN and no inf, got {array[where]} at index {where}")
    return array


def dense_matrix(X, dtypes: tuple = (np.float64,)) -> np.ndarray:
    """X as rows of numbers."""
    if hasattr(X, "toarray"):
        raise TypeError("X must be dense, sparse arrays are not taken: use .toarray()")
    X = floats("X", X, dtypes)
    if X.ndim != 2:
        raise ValueError(
            f"X must have 2 dimensions, got shape {X.shape}. Reshape your data: X.reshape(1, -1) makes it one row, "
            "X.reshape(-1, 1) one column"
        )
    return X


def refuse_empty(X):
    """Rows and columns must be there to learn from."""
    if 0 in X.shape:
        what = "0 feature(s)" if X.shape[0] else "0 sample(s)"
        raise ValueError(f"X has {what} (shape={X.shape}) while a minimum of 1 is required.")


def _other_names(names, known) -> str:
    text = "The feature names should match those that were passed during fit.\n"
    unseen, absent = sorted(set(names) - set(known)), sorted(set(known) - set(names))
    for title, which in (("unseen at fit time", unseen), ("seen at fit time, yet now missing", absent)):
        if which:
            text += f"Feature names {title}:\n" + "".join(f"- {name}\n" for name in which[:5])
    if not unseen and not absent:
        text += "Feature names must be in the same order as they were in fit.\n"
    return text


class Transformer(Estimator):
    """What is fitted to X alone and maps it to features, in the container of the user's choice."""

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            input_tags=InputTags(),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
        )

    def set_output(self, *, transform=None) -> Self:
        """What `transform` returns: "default" (an array) or "pandas" (a data frame); None changes nothing."""
        if transform is not None:
            _checks.choice("transform", transform, ("default", "pandas"))
            self._sklearn_output_config = {"transform": transform}  # the name under which clone looks for it
        return self

    def _contained(self, array, X, columns):
        """The array, or a data frame of it where set_output or scikit-learn's configuration asks for one."""
        kind = getattr(self, "_sklearn_output_config", {}).get("transform")
        if kind is None and (scikit_learn := sys.modules.get("sklearn")):
            kind = scikit_learn.get_config()["transform_output"]
        if kind != "pandas":
            return array
        pandas = importlib.import_module("pandas")
        index = X.index if isinstance(X, pandas.DataFrame) else None
        return pandas.DataFrame(array, index=index, columns=columns, copy=False)
