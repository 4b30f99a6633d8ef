"""scikit-learn's protocol without scikit-learn."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from typing import Any, Self

import numpy as np

from sbpfast import _checks

METHODS = ("fit", "partial_fit", "predict", "predict_proba", "predict_log_proba", "decision_function", "score")
DATA = ("self", "X", "y")


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

    def get_metadata_routing(self):
        """What scikit-learn's pipelines and searches shall pass on, a ``MetadataRequest``; needs scikit-learn."""
        from sklearn.utils.metadata_routing import MetadataRequest

        if hasattr(self, "_metadata_request"):
            return copy.deepcopy(self._metadata_request)
        routing = MetadataRequest(owner=self)
        for method in METHODS:
            for name in self._metadata(method):
                getattr(routing, method).add_request(param=name, alias=None)
        return routing

    def _metadata(self, method) -> list[str]:
        """Arguments of a method beside the data."""
        if not hasattr(type(self), method):
            return []
        return [name for name in inspect.signature(getattr(type(self), method)).parameters if name not in DATA]

    def _set_request(self, method, requests) -> Self:
        from sklearn import get_config

        if not get_config().get("enable_metadata_routing", False):
            raise RuntimeError(
                "This method is only available when metadata routing is enabled. You can enable it using "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        known = self._metadata(method)
        if not set(requests) <= set(known):
            unknown = set(requests) - set(known)
            raise TypeError(f"Unexpected args: {unknown} in {method}. Accepted arguments are: {known}")
        routing = self.get_metadata_routing()
        for name, alias in requests.items():
            if alias != "$UNCHANGED$":  # scikit-learn's own mark
                getattr(routing, method).add_request(param=name, alias=alias)
        self._metadata_request = routing  # the name under which clone looks for it
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
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {array.dtype}")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            kind = ValueError if isinstance(error, OverflowError) else type(error)
            raise kind(f"{name} must hold real numbers: {error}") from None
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
    return two_dimensional(floats("X", X, dtypes))


def two_dimensional(X):
    """X, which has rows and columns."""
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
