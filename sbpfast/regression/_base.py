"""What all regressions share: parameters, fitting, and the posterior."""

from __future__ import annotations

import numpy as np
import scipy

from sbpfast import _checks
from sbpfast._protocol import Estimator, column_names
from sbpfast.fitting import Fit, fit
from sbpfast.regression._input import floats, matrix, response
from sbpfast.targets import Target

ROWS = 8192  # rows of X whose predictions are worked on at a time


class BayesianRegression(Estimator):
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
        X = matrix(X)
        rows, d = X.shape
        if rows == 0 or d == 0:
            what = "0 feature(s)" if rows else "0 sample(s)"
            raise ValueError(f"X has {what} (shape={X.shape}) while a minimum of 1 is required.")
        y, attributes = self._encoded(response(y, rows))
        weights = None if sample_weight is None else floats("sample_weight", sample_weight)
        if weights is not None and not weights.any():
            raise ValueError("sample_weight must not be zero for every row")
        offset = 0.0 if offset is None else floats("offset", offset)
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
        return floats("y", y), {}

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
        names, X = column_names(X), matrix(X)
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
            m += _checks.vector("offset", floats("offset", offset), X.shape[0])
        return m, t
