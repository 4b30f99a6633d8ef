"""Regressions of two classes."""

from __future__ import annotations

import numpy as np
import scipy

from sbpfast import _core, targets
from sbpfast.regression._base import BayesianRegression
from sbpfast.regression._input import is_missing, response


class Classifier(BayesianRegression):
    _estimator_type = "classifier"
    classes_: np.ndarray

    def _probability(self, m, t):
        """Of the second class, where the linear predictor is N(m, t^2)."""
        raise NotImplementedError

    def _encoded(self, y):
        missing = [is_missing(label) for label in y] if y.dtype.kind == "O" else y != y
        if np.any(missing):
            raise ValueError(f"y must hold no missing labels (None, NaN), got one at index {int(np.argmax(missing))}")
        try:
            classes, codes = np.unique(y, return_inverse=True)
        except TypeError as error:
            raise TypeError(f"y must hold labels of one kind: {error}") from None
        got = f"got {len(classes)} class{'es' * (len(classes) != 1)}: {classes[:5].tolist()}"
        if len(classes) > 2 and y.dtype.kind == "f" and (y != np.floor(y)).any():
            raise ValueError(f"Unknown label type: continuous. y must hold exactly two classes, {got}")
        if len(classes) != 2:
            raise ValueError(f"Only binary classification is supported. y must hold exactly two classes, {got}")
        return codes.astype(np.float64), {"classes_": classes}

    def predict_proba(self, X, offset=None) -> np.ndarray:
        """Probabilities of the two classes with the posterior of the coefficients integrated out, (N, 2)."""
        m, t = self._predictor(X, offset, "predict_proba")
        return np.column_stack([self._probability(-m, t), self._probability(m, t)])

    def predict_log_proba(self, X, offset=None) -> np.ndarray:
        """Logarithms of `predict_proba`, (N, 2)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, offset))

    def decision_function(self, X, offset=None) -> np.ndarray:
        """Log odds of the second class by `predict_proba`, (N,)."""
        p = np.maximum(self.predict_proba(X, offset), np.finfo(float).tiny)
        return np.log(p[:, 1] / p[:, 0])

    def predict(self, X, offset=None) -> np.ndarray:
        """The more probable class of every row, (N,)."""
        m, _ = self._predictor(X, offset, "predict")  # both links are symmetric: P > 1/2 where m > 0
        return self.classes_[(m > 0).astype(int)]

    def score(self, X, y, sample_weight=None, offset=None) -> float:
        """Accuracy."""
        predicted = self.predict(X, offset)
        return float(np.average(predicted == response(y, len(predicted)), weights=sample_weight))


class BayesianLogisticRegression(Classifier):
    """Bayesian logistic regression.

    Parameters
    ----------
    prior_scale : float or array_like (d,)
        Standard deviations of the independent normal priors of the coefficients; ``np.inf`` is flat.
    intercept_prior_scale : float
    fit_intercept : bool
    tol : float, optional
        Of the fit's residual, see `sbpfast.fit`.
    max_iter : int
    random_state : None, int, Generator or RandomState
        Of the draws that judge the fit; the fit itself is deterministic.

    Attributes
    ----------
    coef_ (d,), intercept_, coef_cov_ (d, d)
        Posterior means and the covariance of the coefficients.
    fit_ : Fit
        The whole posterior (with the intercept last), ELBO, k-hat.
    classes_, n_features_in_, n_iter_, elbo_
    """

    def _target(self, X, y, scale, weights, offset):
        return targets.logistic_regression(X, y, prior_scale=scale, weights=weights, offset=offset)

    def _probability(self, m, t):
        softplus = targets.ridge(np.ones((len(m), 1)), 0.0, "softplus")
        return softplus._link_expectations(m, t, _core.effective_threads())[1]


class BayesianProbitRegression(Classifier):
    """Bayesian probit regression; parameters and attributes as for `BayesianLogisticRegression`."""

    def _target(self, X, y, scale, weights, offset):
        return targets.probit_regression(X, y, prior_scale=scale, weights=weights, offset=offset)

    def _probability(self, m, t):
        return scipy.special.ndtr(m / np.sqrt(1.0 + t * t))
