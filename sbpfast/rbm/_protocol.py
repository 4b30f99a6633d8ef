"""scikit-learn's protocol for transformers, without scikit-learn."""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any, Self

import numpy as np

from sbpfast import _checks


class Transformer:
    """Settings by name, feature names, tags and the container of the output."""

    n_features_in_: int
    feature_names_in_: np.ndarray

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.name != "self"}

    def get_params(self, deep=True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params) -> Self:
        """Change constructor arguments; ValueError for a name that is none."""
        known = list(self._defaults())
        unknown = set(params) - set(known)
        if unknown:
            raise ValueError(f"{sorted(unknown)} are no parameters of {type(self).__name__}; those are {known}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = self._defaults()
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if repr(v) != repr(defaults[k])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            input_tags=InputTags(),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
        )

    # -- features ----------------------------------------------------------------------------------------------------

    def _remember_features(self, X):
        names = _column_names(X)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_features(self, X, n_given, n_expected):
        """That X has the features of fit: their number and, of data frames, their names and order."""
        if n_given != n_expected:
            raise ValueError(
                f"X has {n_given} features, but {type(self).__name__} is expecting {n_expected} features as input"
            )
        given, known = _column_names(X), getattr(self, "feature_names_in_", None)
        if given is not None and known is not None and not np.array_equal(given, known):
            raise ValueError(
                f"The feature names should match those that were passed during fit: got {given.tolist()}, "
                f"want {known.tolist()}"
            )

    # -- output ------------------------------------------------------------------------------------------------------

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


def _column_names(X) -> np.ndarray | None:
    """The columns of a data frame, if they are all strings."""
    names = getattr(X, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return np.asarray(names, dtype=object)
