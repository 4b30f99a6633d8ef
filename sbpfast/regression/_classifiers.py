"""Regressions of classes: two, or more by the softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import scipy

from sbpfast import _checks, targets
from sbpfast.regression import _multinomial
from sbpfast.regression._base import BayesianRegression, interval_ends
from sbpfast.regression._input import (
    Data,
    classes_of,
    codes_of_labels,
    floats,
    refuse_missing_labels,
    response,
    sample_weights,
)
from sbpfast.regression._laws import LAWS
from sbpfast.regression._priors import warn_of_silent_data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Classifier(BayesianRegression):
    """What is shared by the models of classes."""

    _estimator_type = "classifier"
    classes_: np.ndarray
    intercept_: np.ndarray

    def __init__(
        self, *, prior_scale: ArrayLike = 2.5, intercept_prior_scale: float = 10.0, autoscale: bool = True,
        fit_intercept: bool = True, class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        tol: float | None = None, max_iter: int = 200, random_state: Any = None,
    ):  # fmt: skip
        super().__init__(
            prior_scale=prior_scale, intercept_prior_scale=intercept_prior_scale, autoscale=autoscale,
            fit_intercept=fit_intercept, tol=tol, max_iter=max_iter, random_state=random_state,
        )  # fmt: skip
        self.class_weight = class_weight

    def __setstate__(self, state):
        super().__setstate__(state)
        if np.ndim(state.get("coef_", 0.0)) == 1:  # version 0.1 had other shapes
            self.coef_, self.intercept_ = self.coef_.reshape(1, -1), np.reshape(self.intercept_, 1)

    def _shaped(self, value):
        return np.reshape(value, (1, -1) if np.ndim(value) else 1)

    def _encoded(self, y):
        refuse_missing_labels("y", y)
        try:
            classes, codes = np.unique(y, return_inverse=True)
        except TypeError as error:
            raise TypeError(f"y must hold labels of one kind: {error}") from None
        self._check_classes(classes)
        return codes.astype(np.float64), {"classes_": classes}

    def _check_classes(self, classes):
        got = f"got {len(classes)} class{'es' * (len(classes) != 1)}: {classes[:5].tolist()}"
        if len(classes) > 2 and classes.dtype.kind == "f" and (classes != np.floor(classes)).any():
            raise ValueError(f"Unknown label type: continuous. y must hold classes, {got}")
        if len(classes) < 2 and self._multi_class:
            raise ValueError(f"y must hold at least two classes, {got}")
        if len(classes) != 2 and not self._multi_class:
            raise ValueError(f"Only binary classification is supported. y must hold exactly two classes, {got}")

    def _streamed(self, rows):
        if "trials" in rows.columns and self._binomial:
            self._refuse_class_weights()
            return Data(rows), {"classes_": np.array([0, 1])}
        classes = classes_of(rows, self._check_classes)
        rows = rows.labelled(classes)
        if len(classes) > 2 and "offset" in rows.columns:
            raise ValueError(f"an offset belongs to the linear predictor of two classes, y has {len(classes)}")
        data = Data(rows, n_classes=len(classes))
        if self.class_weight is not None:
            data = replace(data, design=rows.labelled(classes, self._class_weights(data, classes)))
        return data, {"classes_": classes}

    def _numbers(self, y):
        return codes_of_labels(y, self.classes_)

    def _data(self, X, y, sample_weight, offset, trials, encoded):
        data, attributes = super()._data(X, y, sample_weight, offset, trials, encoded)
        classes = attributes.get("classes_", getattr(self, "classes_", None))
        data = replace(data, n_classes=len(classes))
        if data.n_classes > 2 and offset is not None:
            raise ValueError(f"an offset belongs to the linear predictor of two classes, y has {data.n_classes}")
        if self.class_weight is None:
            return data, attributes
        if trials is not None:
            self._refuse_class_weights()
        of_class = self._class_weights(data, classes)
        weights = 1.0 if data.weights is None else data.weights
        return replace(data, weights=weights * of_class[data.y.astype(int)]), attributes

    def _refuse_class_weights(self):
        if self.class_weight is not None:
            raise ValueError("class_weight belongs to rows of one class each, not to trials")

    def _class_weights(self, data, classes):
        """The factor of each class."""
        if isinstance(self.class_weight, str):
            _checks.choice("class_weight", self.class_weight, ("balanced",))
            weights = sum(data.over_blocks(_weights_of_classes, data.n_classes))
            shares = weights / weights.sum()
            return 1.0 / (data.n_classes * np.maximum(shares, np.finfo(float).tiny))
        if not isinstance(self.class_weight, Mapping):
            kind = type(self.class_weight).__name__
            raise TypeError(f"class_weight must be a dict of weights by class, 'balanced' or None, got {kind}")
        weights = dict(self.class_weight)
        unknown = [label for label in weights if label not in classes.tolist()]
        if unknown:
            raise ValueError(f"class_weight must have the classes {classes.tolist()} as keys, got {unknown[0]!r}")
        return np.array([_checks.scalar("class_weight", weights.get(c, 1.0), least=0.0) for c in classes.tolist()])

    def set_predict_proba_request(self, **requests: bool | str | None) -> Self:
        """Which of `predict_proba`'s arguments scikit-learn shall pass on (metadata routing)."""
        return self._set_request("predict_proba", requests)

    def set_predict_log_proba_request(self, **requests: bool | str | None) -> Self:
        """The same of `predict_log_proba`."""
        return self._set_request("predict_log_proba", requests)

    def set_decision_function_request(self, **requests: bool | str | None) -> Self:
        """The same of `decision_function`."""
        return self._set_request("decision_function", requests)

    def predict_proba(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """Probabilities of the two classes with the posterior of the coefficients integrated out, (N, 2)."""
        m, t = self._predictor(X, offset, "predict_proba")
        return np.column_stack([self._law.mean(-m, t), self._law.mean(m, t)])

    def predict_log_proba(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """Logarithms of `predict_proba`, (N, 2)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, offset))

    def decision_function(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """Log odds of the second class by `predict_proba`, (N,)."""
        p = np.maximum(self.predict_proba(X, offset), np.finfo(float).tiny)
        return np.log(p[:, 1] / p[:, 0])

    def predict(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """The more probable class of every row, (N,)."""
        m, _ = self._predictor(X, offset, "predict")  # both links are symmetric: P > 1/2 where m > 0
        return self.classes_[(m > 0).astype(int)]

    def predict_interval(self, X: Any, level: float = 0.95, *, offset: ArrayLike | None = None) -> np.ndarray:
        """The central interval of the probability of the second class, (N, 2)."""
        m, t = self._predictor(X, offset, "predict_interval")
        return np.stack([self._law.inverse_link(m + scipy.special.ndtri(p) * t) for p in interval_ends(level)], axis=1)

    def score(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None
    ) -> float:
        """Accuracy."""
        predicted = self.predict(X, offset)
        right = predicted == response(y, len(predicted))
        return float(np.average(right, weights=sample_weights(sample_weight, len(right))))

    def _drawn(self, eta, params, trials, generator):
        drawn = super()._drawn(eta, params, trials, generator)
        return self.classes_[drawn] if trials is None else drawn


def _weights_of_classes(block, n_classes) -> np.ndarray:
    return np.bincount(block.y.astype(int), block.weights, n_classes)


class BayesianLogisticRegression(Classifier):
    """Bayesian logistic regression: of two classes, of more (multinomial, by the softmax), and binomial.

    Parameters
    ----------
    prior_scale : float, array_like (d,) or "auto"
        Standard deviations of the independent normal priors of the coefficients, in units of 1/sd(x_j) where
        ``autoscale`` is True; ``np.inf`` is flat; "auto" is the one number of the highest ELBO, an empirical Bayes
        estimate (the intercept's prior is then that of 2.5).  With a flat prior the posterior mean is still not the
        maximum likelihood estimate, which is the mode: few data make the posterior skewed, and its mean lies further
        from 0.
    intercept_prior_scale : float
        The same for the intercept, in units of the root of 1 + sum (prior_scale_j mean(x_j))^2.
    autoscale : bool
        Whether the scales are in units of the data, as in rstanarm and bambi, or absolute.
    fit_intercept : bool
    class_weight : dict, "balanced" or None
        Multiplies the weights of the rows of each class; "balanced" gives both classes the same total.  The posterior
        is then that of the weighted data.
    tol : float, optional
        Of the fit's residual, see `sbpfast.fit`.
    max_iter : int
    random_state : None, int, Generator or RandomState
        Of the draws that judge the fit; the fit itself is deterministic.

    Attributes
    ----------
    coef_ (1, d), intercept_ (1,)
        Posterior means, in scikit-learn's shapes: with K > 2 classes (K, d) and (K,), which sum to 0 over the classes.
    coef_cov_ (d, d)
        The covariance of ``coef_[0]``, or of ``coef_.ravel()`` where K > 2; draws of `sample_coef` are (n, d), or
        (n, K, d).
    prior_scale_ (d,), intercept_prior_scale_
        Standard deviations of the priors in force.
    fit_ : Fit
        The whole posterior (with the intercept last), ELBO, k-hat.  Pickles hold it without the training data.
    khat_, elbo_, log_evidence_
        How good the Gaussian is, and the evidence of the model.
    learned_ : dict
        What was learned by the highest ELBO: "prior_scale" where it is "auto".
    classes_, n_features_in_, n_iter_

    Notes
    -----
    With K > 2 classes the differences between the coefficients of any two classes have the prior that the coefficients
    of two classes have, so that the order of the classes does not matter.  The parameters of ``fit_`` and
    `sample_params` are those of every class but the first, whose are 0.
    """

    _law = LAWS["logistic"]
    _binomial = True
    _multi_class = True

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        trials: ArrayLike | None = None,
    ) -> Self:
        """Fit the posterior; returns self.

        Parameters
        ----------
        X : array_like, data frame or scipy.sparse array (N, d), Rows, dask array or data frame
            The last three as for `BayesianPoissonRegression.fit`; one more pass, over y, finds the classes.
        y : array_like (N,)
            Labels of classes; with ``trials``, counts of successes.
        sample_weight : array_like (N,), optional
            Non-negative; multiplies each row's log likelihood.
        offset : array_like (N,), optional
            Known part of the linear predictor, of two classes.
        trials : array_like (N,), optional
            Numbers of trials of a binomial model, whose ``classes_`` are 0 and 1.

        Warns
        -----
        FitWarning
            As for the other regressions, see `BayesianPoissonRegression.fit`.
        """
        return self._fit(X, y, sample_weight, offset, trials)

    def score(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        trials: ArrayLike | None = None,
    ) -> float:
        """Accuracy; with ``trials``, of all trials."""
        if trials is None:
            return super().score(X, y, sample_weight, offset)
        success = self.predict(X, offset) == self.classes_[1]
        y, trials = floats("y", response(y, len(success))), self._trials(trials, len(success))
        return float(np.average(np.where(success, y, trials - y) / trials, weights=self._times(trials, sample_weight)))

    def _times(self, trials, sample_weight):
        return trials if sample_weight is None else trials * floats("sample_weight", sample_weight)

    def _data(self, X, y, sample_weight, offset, trials, encoded):
        if trials is not None:
            encoded = lambda y: (floats("y", y), {"classes_": np.array([0, 1])})
        return super()._data(X, y, sample_weight, offset, trials, encoded)

    def _trials(self, trials, rows):
        return None if trials is None else _checks.vector("trials", floats("trials", trials), rows)

    def _target(self, data, scale, **learned):
        if data.n_classes > 2:
            return targets.multinomial_regression(
                data.design, data.y, prior_scale=scale, weights=data.weights, n_classes=data.n_classes, symmetric=True
            )
        return targets.logistic_regression(
            data.design, data.y, prior_scale=scale, weights=data.weights, offset=data.offset, trials=data.trials
        )

    # more than two classes

    @property
    def _many(self):
        return len(self.classes_) > 2

    def _prior_unit(self, data, scale, d):
        if data.n_classes == 2:
            return super()._prior_unit(data, scale, d)
        p = len(scale)
        which = np.concatenate([np.arange(d) + k * p for k in range(data.n_classes - 1)])
        precision = self._target(data, scale).quadratic.precision
        return precision[np.ix_(which, which)], which

    def _keep(self, result, d, scale):
        super()._keep(result, d, scale)
        if not self._many:
            return
        mean, cov = np.asarray(result.q.mean), np.asarray(result.q.cov)
        self.coef_, rest, self.coef_cov_ = _multinomial.centred(mean, cov, len(self.classes_), d)
        self.intercept_ = rest[:, 0] if self.fit_intercept else np.zeros(len(self.classes_))

    def _silent(self, result, d):
        if not self._many:
            return super()._silent(result, d)
        each = (len(result.names) // (len(self.classes_) - 1), d)
        which = np.concatenate([np.arange(d) + k * each[0] for k in range(len(self.classes_) - 1)])
        sd = np.sqrt(np.diagonal(np.asarray(result.q.cov)))[which]
        warn_of_silent_data([result.names[i] for i in which], sd, np.tile(self.prior_scale_, len(self.classes_) - 1))

    def _parameter_names(self):
        names = super()._parameter_names()
        return [f"{name}[{label}]" for label in self.classes_[1:] for name in names] if self._many else names

    def sample_coef(self, n: int = 1, *, rng: Any = None) -> np.ndarray:
        """Draw n coefficient vectors from the posterior, (n, d), or (n, K, d) where there are K > 2 classes."""
        if not hasattr(self, "fit_") or not self._many:
            return super().sample_coef(n, rng=rng)
        every = _multinomial.every_class(self.sample_params(n, rng=rng), len(self.classes_))
        return (every - every.mean(axis=1, keepdims=True))[..., : self.n_features_in_]

    def predict_proba(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """Probabilities of the K classes with the posterior of the coefficients integrated out, (N, K)."""
        q = self._posterior("predict_proba")
        if not self._many:
            return super().predict_proba(X, offset)
        design, offset = self._new_rows(X, offset)
        if np.any(offset):
            raise ValueError(f"an offset belongs to two classes, there are {len(self.classes_)}")
        return _multinomial.probabilities(q, design, len(self.classes_))

    def predict(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """The most probable class of every row, (N,)."""
        self._posterior("predict")
        if not self._many:
            return super().predict(X, offset)
        return self.classes_[self.predict_proba(X, offset).argmax(axis=1)]

    def decision_function(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """Log odds of the second of two classes by `predict_proba`, (N,); of K > 2 the logarithms less their mean."""
        self._posterior("decision_function")
        if not self._many:
            return super().decision_function(X, offset)
        logs = np.log(np.maximum(self.predict_proba(X, offset), np.finfo(float).tiny))
        return logs - logs.mean(axis=1, keepdims=True)

    def predict_interval(self, X: Any, level: float = 0.95, *, offset: ArrayLike | None = None) -> np.ndarray:
        """The central interval of the probability of the second of two classes, (N, 2)."""
        self._posterior("predict_interval")
        if self._many:
            raise ValueError(
                f"predict_interval is for two classes, there are {len(self.classes_)}: take quantiles of the softmax "
                "of draws, see sample_params"
            )
        return super().predict_interval(X, level, offset=offset)

    def _predictors(self, design, offset, params):
        if self._many:
            return _multinomial.predictors(design, params, len(self.classes_))
        return super()._predictors(design, offset, params)

    def _drawn(self, eta, params, trials, generator):
        if self._many:
            return self.classes_[_multinomial.drawn_classes(eta, generator)]
        return super()._drawn(eta, params, trials, generator)


class BayesianProbitRegression(Classifier):
    """Bayesian probit regression; parameters and attributes as for `BayesianLogisticRegression`."""

    _law = LAWS["probit"]

    def _target(self, data, scale, **learned):
        return targets.probit_regression(
            data.design, data.y, prior_scale=scale, weights=data.weights, offset=data.offset
        )
