"""Bayesian regressions as estimators in scikit-learn's protocol, with a Gaussian posterior over the coefficients.

Each fits the Gaussian of `sbpfast.fit` to the log joint density of its model, predicts with the coefficients integrated
out, and keeps the whole posterior: covariance, draws, evidence.  scikit-learn itself is not needed.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import scipy

from sbpfast import _checks, _core, targets
from sbpfast._protocol import Estimator, column_names
from sbpfast.fitting import Fit, fit
from sbpfast.targets import Target
from sbpfast.targets._unknown_noise import linear_regression_unknown_noise

__all__ = [
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "BayesianPoissonRegression",
    "BayesianProbitRegression",
    "BayesianStudentTRegression",
    "linear_regression_unknown_noise",
]

ROWS = 8192  # rows of X whose predictions are worked on at a time


class _BayesianRegression(Estimator):
    """Parameters, fitting and the posterior; a model says its target and its predictions."""

    _estimator_type: str
    _counts = False  # whether y must not be negative

    def __init__(
        self, *, prior_scale=2.5, intercept_prior_scale=10.0, fit_intercept=True, tol=None, max_iter=200,
        random_state=None,
    ):  # fmt: skip
        self.prior_scale, self.intercept_prior_scale, self.fit_intercept = (
            prior_scale, intercept_prior_scale, fit_intercept,
        )  # fmt: skip
        self.tol, self.max_iter, self.random_state = tol, max_iter, random_state

    def _target(self, X, y, scale, weights, offset) -> Target:
        """The log joint density of the model; X holds the intercept's column."""
        raise NotImplementedError

    # scikit-learn's protocol

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fit_")

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        classifier = self._estimator_type == "classifier"
        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=True, positive_only=self._counts),
            classifier_tags=ClassifierTags(multi_class=False) if classifier else None,
            regressor_tags=None if classifier else RegressorTags(),
            input_tags=InputTags(sparse=True),
        )

    # fitting

    def fit(self, X, y, sample_weight=None, offset=None):
        """Fit the posterior; returns self.

        Parameters
        ----------
        X : array_like, data frame or scipy.sparse array (N, d)
        y : array_like (N,)
        sample_weight : array_like (N,), optional
            Non-negative; multiplies each row's log likelihood.
        offset : array_like (N,), optional
            Known part of the linear predictor (log exposure, for counts).
        """
        names = column_names(X)
        X = _matrix(X)
        rows, d = X.shape
        if rows == 0 or d == 0:
            what = "0 feature(s)" if rows else "0 sample(s)"
            raise ValueError(f"X has {what} (shape={X.shape}) while a minimum of 1 is required.")
        y, attributes = self._encoded(_response(y, rows))
        weights = None if sample_weight is None else _floats("sample_weight", sample_weight)
        if weights is not None and not weights.any():
            raise ValueError("sample_weight must not be zero for every row")
        offset = 0.0 if offset is None else _floats("offset", offset)
        target = self._target(self._design(X), y, self._prior_scale(d), weights, offset)
        rng = self.random_state
        if isinstance(rng, np.random.RandomState):
            rng = int(rng.randint(2**63, dtype=np.uint64))
        result = fit(target, tol=self.tol, max_iter=self.max_iter, rng=rng)
        # nothing is changed before all has gone well
        self._keep_names(names)
        vars(self).update(attributes)
        self._keep(result, d)
        return self

    def _keep(self, result: Fit, d):
        mean, cov = np.asarray(result.q.mean), np.asarray(result.q.cov)
        self.fit_, self.n_features_in_ = result, d
        self.coef_, self.coef_cov_ = mean[:d].copy(), cov[:d, :d].copy()
        self.intercept_ = float(mean[d]) if self.fit_intercept else 0.0
        self.n_iter_, self.elbo_ = max(1, result.n_iter), result.elbo  # finding the start is a step, too
        result.names = self._parameter_names()

    def _encoded(self, y):
        """The response as numbers, and fitted attributes that it determines."""
        return _floats("y", y), {}

    def _design(self, X):
        """X with a column of ones for the intercept."""
        if not self.fit_intercept:
            return X
        ones = np.ones((X.shape[0], 1))
        return scipy.sparse.hstack([X, ones], format="csr") if scipy.sparse.issparse(X) else np.column_stack([X, ones])

    def _prior_scale(self, d):
        scale = _checks.real_array("prior_scale", self.prior_scale, ndim=(0, 1), finite=False)
        if scale.ndim == 1 and len(scale) != d:
            raise ValueError(
                f"prior_scale must be a scalar or have one entry for each of the {d} features, got shape {scale.shape}"
            )
        scale = np.broadcast_to(scale, d)
        return np.append(scale, self.intercept_prior_scale) if self.fit_intercept else scale

    # the posterior

    def sample_coef(self, n: int = 1, *, rng=None) -> np.ndarray:
        """Draw n coefficient vectors from the posterior, (n, d): Thompson sampling takes one a decision."""
        return self._posterior("sample_coef").sample(n, rng=rng)[:, : self.n_features_in_]

    def sample_params(self, n: int = 1, *, rng=None) -> np.ndarray:
        """Draw n vectors of coefficients and, after them, whatever else the model has (intercept, log sigma)."""
        return self._posterior("sample_params").sample(n, rng=rng)

    def summary(self, *, level: float = 0.95):
        """A table of the posterior, see `Fit.summary`."""
        self._posterior("summary")
        return self.fit_.summary(level=level)

    def _parameter_names(self):
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])
        return [*names, *(["intercept"] if self.fit_intercept else [])]

    def _posterior(self, method):
        if not hasattr(self, "fit_"):
            raise _checks.not_fitted(f"this {type(self).__name__} is not fitted: call fit before {method}")
        return self.fit_.q

    def _predictor(self, X, offset, method):
        """Mean and standard deviation of the linear predictor of every row, under the posterior."""
        q = self._posterior(method)
        names, X = column_names(X), _matrix(X)
        self._check_features(names, X.shape[1], self.n_features_in_)
        design = self._design(X)
        p = design.shape[1]
        chol = q.to_cholesky().chol[:p]  # rows beyond the design's columns belong to other parameters
        m, t = np.empty(X.shape[0]), np.empty(X.shape[0])
        for start in range(0, X.shape[0], ROWS):
            rows = design[start : start + ROWS]
            m[start : start + ROWS] = rows @ q.mean[:p]
            t[start : start + ROWS] = np.linalg.norm(rows @ chol, axis=1)
        if offset is not None:
            m += _checks.vector("offset", _floats("offset", offset), X.shape[0])
        return m, t


# -- what comes in ----------------------------------------------------------------------------------------------------


def _floats(name, value) -> np.ndarray:
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


def _matrix(X):
    if scipy.sparse.issparse(X):
        X = scipy.sparse.csr_array(X)
        return scipy.sparse.csr_array((_floats("X.data", X.data), X.indices, X.indptr), shape=X.shape)
    X = _floats("X", X)
    if X.ndim != 2:
        raise ValueError(
            f"X must have 2 dimensions, got shape {X.shape}. Reshape your data: X.reshape(1, -1) makes it one row, "
            "X.reshape(-1, 1) one column"
        )
    return X


def _response(y, rows) -> np.ndarray:
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


def _missing(label) -> bool:
    """None, NaN, NaT or pandas' NA: what does not equal itself."""
    same = label == label
    return label is None or not (isinstance(same, bool | np.bool_) and same)


# -- two classes ------------------------------------------------------------------------------------------------------


class _Classifier(_BayesianRegression):
    _estimator_type = "classifier"
    classes_: np.ndarray

    def _probability(self, m, t):
        """Of the second class, where the linear predictor is N(m, t^2)."""
        raise NotImplementedError

    def _encoded(self, y):
        missing = [_missing(label) for label in y] if y.dtype.kind == "O" else y != y
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
        return float(np.average(predicted == _response(y, len(predicted)), weights=sample_weight))


class BayesianLogisticRegression(_Classifier):
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


class BayesianProbitRegression(_Classifier):
    """Bayesian probit regression; parameters and attributes as for `BayesianLogisticRegression`."""

    def _target(self, X, y, scale, weights, offset):
        return targets.probit_regression(X, y, prior_scale=scale, weights=weights, offset=offset)

    def _probability(self, m, t):
        return scipy.special.ndtr(m / np.sqrt(1.0 + t * t))


# -- numbers ----------------------------------------------------------------------------------------------------------


class _Regressor(_BayesianRegression):
    _estimator_type = "regressor"

    def predict(self, X, offset=None):
        """Predicted means, (N,)."""
        raise NotImplementedError

    def score(self, X, y, sample_weight=None, offset=None) -> float:
        """The coefficient of determination R^2 of the predicted means."""
        predicted = self.predict(X, offset)
        y = _floats("y", _response(y, len(predicted)))
        residual = np.average((y - predicted) ** 2, weights=sample_weight)
        spread = np.average((y - np.average(y, weights=sample_weight)) ** 2, weights=sample_weight)
        if spread == 0.0:
            return float(residual == 0.0)
        return float(1.0 - residual / spread)


class BayesianPoissonRegression(_Regressor):
    """Bayesian Poisson regression with log link; parameters and attributes as for `BayesianLogisticRegression`."""

    _counts = True

    def _target(self, X, y, scale, weights, offset):
        return targets.poisson_regression(X, y, prior_scale=scale, weights=weights, offset=offset)

    def predict(self, X, offset=None) -> np.ndarray:
        """Expected counts E exp(x . coef), (N,): with the posterior integrated, exp(m + t^2/2)."""
        m, t = self._predictor(X, offset, "predict")
        return np.exp(m + 0.5 * t * t)


class BayesianStudentTRegression(_Regressor):
    """Robust Bayesian regression: noise of a Student-t distribution of known degrees of freedom and scale.

    Parameters
    ----------
    df, scale : float
        Of the noise.
    prior_scale, intercept_prior_scale, fit_intercept, tol, max_iter, random_state
        As for `BayesianLogisticRegression`.
    """

    def __init__(
        self, *, df=4.0, scale=1.0, prior_scale=10.0, intercept_prior_scale=100.0, fit_intercept=True, tol=None,
        max_iter=200, random_state=None,
    ):  # fmt: skip
        super().__init__(
            prior_scale=prior_scale, intercept_prior_scale=intercept_prior_scale, fit_intercept=fit_intercept, tol=tol,
            max_iter=max_iter, random_state=random_state,
        )  # fmt: skip
        self.df, self.scale = df, scale

    def _target(self, X, y, scale, weights, offset):
        return targets.student_t_regression(
            X, y, df=self.df, scale=self.scale, prior_scale=scale, weights=weights, offset=offset
        )

    def predict(self, X, offset=None, return_std=False):
        """Posterior means of the linear predictor, (N,), and with ``return_std`` their standard deviations."""
        m, t = self._predictor(X, offset, "predict")
        return (m, t) if return_std else m


class BayesianLinearRegression(_Regressor):
    """Bayesian linear regression with unknown noise, through (coefficients, log sigma).

    Parameters
    ----------
    log_noise_prior : tuple of two floats
        Mean and standard deviation of the normal prior of log sigma.
    prior_scale, intercept_prior_scale, fit_intercept, tol, max_iter, random_state
        As for `BayesianLogisticRegression`.

    Attributes
    ----------
    noise_scale_ : float
        Posterior mean of sigma.
    """

    def __init__(
        self, *, log_noise_prior=(0.0, 5.0), prior_scale=10.0, intercept_prior_scale=100.0, fit_intercept=True,
        tol=None, max_iter=200, random_state=None,
    ):  # fmt: skip
        super().__init__(
            prior_scale=prior_scale, intercept_prior_scale=intercept_prior_scale, fit_intercept=fit_intercept, tol=tol,
            max_iter=max_iter, random_state=random_state,
        )  # fmt: skip
        self.log_noise_prior = log_noise_prior

    def _target(self, X, y, scale, weights, offset):
        mean, sd = self.log_noise_prior
        return linear_regression_unknown_noise(
            X, y, prior_scale=scale, log_noise_mean=mean, log_noise_scale=sd, weights=weights, offset=offset
        )

    def _keep(self, result, d):
        super()._keep(result, d)
        self.noise_scale_ = float(np.exp(result.q.mean[-1] + 0.5 * result.q.cov[-1, -1]))

    def _parameter_names(self):
        return [*super()._parameter_names(), "log sigma"]

    def predict(self, X, offset=None, return_std=False):
        """Predictive means (N,), and with ``return_std`` the predictive standard deviations, noise included."""
        m, t = self._predictor(X, offset, "predict")
        q = self.fit_.q
        return (m, np.sqrt(t * t + np.exp(2.0 * (q.mean[-1] + q.cov[-1, -1])))) if return_std else m
