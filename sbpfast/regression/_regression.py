"""What regressions with and without groups share: scikit-learn's tags, formulas, and the names of coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from sbpfast._protocol import Estimator, floats
from sbpfast.regression._formula import Formula, FormulaRows, column, parse_formula


class Regression(Estimator):
    """An estimator of a response from the columns of X, perhaps by a formula."""

    _estimator_type: str
    _counts = False  # whether y must not be negative
    _multi_class = False  # whether there may be more than two classes
    _sparse = True  # whether X may be

    fit_intercept: bool
    formula_: Formula

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        classifier = self._estimator_type == "classifier"
        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=True, positive_only=self._counts),
            classifier_tags=ClassifierTags(multi_class=self._multi_class) if classifier else None,
            regressor_tags=None if classifier else RegressorTags(),
            input_tags=InputTags(sparse=self._sparse),
        )

    @staticmethod
    def _parsed(formula, data, sample_weight, settings) -> tuple[Formula, FormulaRows, Any]:
        """What a formula makes of a data frame, and the weights, which may be the name of a column."""
        if "fit_intercept" in settings:
            raise TypeError("whether there is an intercept is said by the formula: write 0 + to leave it out")
        read, rows = parse_formula(formula, data)
        named = isinstance(sample_weight, str)
        return read, rows, column("sample_weight", sample_weight, data) if named else sample_weight

    def _rows_of(self, X, offset) -> tuple[FormulaRows | None, Any]:
        """What the formula of fit makes of a data frame, None of anything else; and the offset with the formula's."""
        if not hasattr(self, "formula_") or not (isinstance(X, dict) or hasattr(X, "columns")):
            return None, offset
        rows = self.formula_.rows(X)
        if rows.offset is not None:
            offset = rows.offset + (0.0 if offset is None else floats("offset", offset))
        return rows, offset

    def _design(self, X):
        """X with a column of ones for the intercept."""
        if not self.fit_intercept:
            return X
        ones = np.ones((X.shape[0], 1))
        return scipy.sparse.hstack([X, ones], format="csr") if scipy.sparse.issparse(X) else np.column_stack([X, ones])

    def _coefficient_names(self) -> list[str]:
        """Of the columns of `_design`."""
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])
        return [*map(str, names), *(["intercept"] if self.fit_intercept else [])]


def r_squared(y, predicted, weights) -> float:
    """The coefficient of determination of predicted means."""
    with np.errstate(over="ignore", invalid="ignore"):
        residual = np.average((y - predicted) ** 2, weights=weights)
        spread = np.average((y - np.average(y, weights=weights)) ** 2, weights=weights)
    if not np.isfinite(spread):
        raise ValueError("the squares of y overflow double precision: give it another unit")
    if spread == 0.0:
        return float(residual == 0.0)
    with np.errstate(over="ignore"):
        return float(1.0 - residual / spread)
