"""Bayesian regressions as estimators in scikit-learn's protocol, with a Gaussian posterior over the coefficients.

Each fits the Gaussian of `sbpfast.fit` to the log joint density of its model, predicts with the coefficients integrated
out, and keeps the whole posterior: covariance, draws, evidence.  scikit-learn itself is not needed.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import scipy

from sbpfast import _checks, _core, targets
from sbpfast.fitting import Fit, fit
from sbpfast.targets import NonFiniteTarget, Target

__all__ = [
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "BayesianPoissonRegression",
    "BayesianProbitRegression",
    "BayesianStudentTRegression",
    "linear_regression_unknown_noise",
]

ROWS = 8192  # rows of X whose predictions are worked on at a time


class _BayesianRegression:
    """Parameters, fitting and the posterior; a model says its target and its predictions."""

    _estimator_type: str

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

    def get_params(self, deep: bool = True) -> dict:
        """The constructor's arguments, by name."""
        return {
            name: getattr(self, name) for name in inspect.signature(type(self).__init__).parameters if name != "self"
        }

    def set_params(self, **params):
        """Change constructor arguments; returns self."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fit_")

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        classifier = self._estimator_type == "classifier"
        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=True),
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
        names = getattr(X, "columns", None)
        X = _matrix(X)
        self.n_features_in_ = X.shape[1]
        if names is not None and all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.asarray(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        design = self._design(X)
        target = self._target(
            design, self._encoded(y, X), self._prior_scale(), sample_weight, 0.0 if offset is None else offset
        )
        self.fit_: Fit = fit(target, tol=self.tol, max_iter=self.max_iter, rng=self.random_state)
        mean, cov = np.asarray(self.fit_.q.mean), np.asarray(self.fit_.q.cov)
        d = self.n_features_in_
        self.coef_, self.coef_cov_ = mean[:d].copy(), cov[:d, :d].copy()
        self.intercept_ = float(mean[d]) if self.fit_intercept else 0.0
        self.n_iter_ = self.fit_.n_iter
        self.elbo_ = self.fit_.elbo
        return self

    def _encoded(self, y, X):
        y = _checks.vector("y", y)
        if len(y) != X.shape[0]:
            raise ValueError(f"y must have one entry for each of the {X.shape[0]} rows of X, got shape {y.shape}")
        return y

    def _design(self, X):
        """X with a column of ones for the intercept."""
        if not self.fit_intercept:
            return X
        ones = np.ones((X.shape[0], 1))
        return scipy.sparse.hstack([X, ones], format="csr") if scipy.sparse.issparse(X) else np.column_stack([X, ones])

    def _prior_scale(self):
        d = self.n_features_in_
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
        return self.fit_.summary(self._parameter_names(), level=level)

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
        X = _matrix(X)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"X must have {self.n_features_in_} columns, as in fit, got {X.shape[1]}")
        design = self._design(X)
        p = design.shape[1]
        chol = q.to_cholesky().chol[:p]  # rows beyond the design's columns belong to other parameters
        m, t = np.empty(X.shape[0]), np.empty(X.shape[0])
        for start in range(0, X.shape[0], ROWS):
            rows = design[start : start + ROWS]
            m[start : start + ROWS] = rows @ q.mean[:p]
            t[start : start + ROWS] = np.linalg.norm(rows @ chol, axis=1)
        if offset is not None:
            m += _checks.vector("offset", offset, X.shape[0])
        return m, t


def _matrix(X):
    if scipy.sparse.issparse(X):
        return scipy.sparse.csr_array(X, dtype=np.float64)
    return _checks.real_array("X", X, ndim=2)


# -- two classes ------------------------------------------------------------------------------------------------------


class _Classifier(_BayesianRegression):
    _estimator_type = "classifier"

    def _probability(self, m, t):
        """Of the second class, where the linear predictor is N(m, t^2)."""
        raise NotImplementedError

    def _encoded(self, y, X):
        y = np.asarray(y)
        if y.shape != (X.shape[0],):
            raise ValueError(f"y must have one entry for each of the {X.shape[0]} rows of X, got shape {y.shape}")
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(f"y must hold exactly two classes, got {len(self.classes_)}: {self.classes_[:5].tolist()}")
        return codes.astype(np.float64)

    def predict_proba(self, X, offset=None) -> np.ndarray:
        """Probabilities of the two classes with the posterior of the coefficients integrated out, (N, 2)."""
        p = self._probability(*self._predictor(X, offset, "predict_proba"))
        return np.column_stack([1.0 - p, p])

    def predict(self, X, offset=None) -> np.ndarray:
        """The more probable class of every row, (N,)."""
        m, _ = self._predictor(X, offset, "predict")  # both links are symmetric: P > 1/2 where m > 0
        return self.classes_[(m > 0).astype(int)]

    def score(self, X, y, sample_weight=None) -> float:
        """Accuracy."""
        return float(np.average(self.predict(X) == np.asarray(y), weights=sample_weight))


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
    random_state : None, int or Generator
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

    def score(self, X, y, sample_weight=None) -> float:
        """The coefficient of determination R^2 of the predicted means."""
        y = np.asarray(y, dtype=np.float64)
        residual = np.average((y - self.predict(X)) ** 2, weights=sample_weight)
        return float(
            1.0 - residual / np.average((y - np.average(y, weights=sample_weight)) ** 2, weights=sample_weight)
        )


class BayesianPoissonRegression(_Regressor):
    """Bayesian Poisson regression with log link; parameters and attributes as for `BayesianLogisticRegression`."""

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

    def fit(self, X, y, sample_weight=None, offset=None):
        super().fit(X, y, sample_weight, offset)
        q = self.fit_.q
        self.noise_scale_ = float(np.exp(q.mean[-1] + 0.5 * q.cov[-1, -1]))
        return self

    fit.__doc__ = _BayesianRegression.fit.__doc__

    def _parameter_names(self):
        return [*super()._parameter_names(), "log sigma"]

    def predict(self, X, offset=None, return_std=False):
        """Predictive means (N,), and with ``return_std`` the predictive standard deviations, noise included."""
        m, t = self._predictor(X, offset, "predict")
        q = self.fit_.q
        return (m, np.sqrt(t * t + np.exp(2.0 * (q.mean[-1] + q.cov[-1, -1])))) if return_std else m


class _GaussianNoise(Target):
    """Log joint density of (coefficients, log sigma) =: (b, s) from the sufficient statistics of the data.

    -n s - 1/2 e^(-2 s) R(b) + log prior,   R(b) = R0 + (b - b0)^T G (b - b0): no pass over the data an evaluation.
    """

    def __init__(self, gram, centre, least, n, precision, log_noise_mean, log_noise_scale, constant):
        super().__init__(value=self._value, grad=self._grad, hess=self._hess, dim=len(centre) + 1)
        self._gram, self._centre, self._least, self._n = gram, centre, least, n
        self._precision, self._constant = precision, constant
        self._noise_mean, self._noise_precision = log_noise_mean, 1.0 / log_noise_scale**2

    def _parts(self, x):
        b, s = x[:, :-1], x[:, -1]
        r = b - self._centre
        gr = r @ self._gram
        with np.errstate(over="ignore"):
            return b, s, gr, self._least + (gr * r).sum(axis=1), np.exp(-2.0 * s)

    def _finite(self, what, result, x):
        bad = ~np.isfinite(result.reshape(len(x), -1)).all(axis=1)
        if bad.any():
            raise NonFiniteTarget(
                f"{what} is not finite at {int(bad.sum())} of {len(x)} points, first at x = {x[int(np.argmax(bad))]}"
            )
        return result

    def _value(self, x, n_threads=None):
        b, s, _, sums, e = self._parts(x)
        prior = (b * b) @ self._precision + (s - self._noise_mean) ** 2 * self._noise_precision
        return self._finite("f", self._constant - self._n * s - 0.5 * e * sums - 0.5 * prior, x)

    def _grad(self, x):
        b, s, gr, sums, e = self._parts(x)
        noise = -self._n + e * sums - (s - self._noise_mean) * self._noise_precision
        return self._finite("the gradient of f", np.column_stack([-e[:, None] * gr - b * self._precision, noise]), x)

    def _value_and_grad(self, x, n_threads=None):
        return self._value(x), self._grad(x)

    def _hess(self, x):
        _, _, gr, sums, e = self._parts(x)
        h = np.empty((len(x), self.dim, self.dim))
        h[:, :-1, :-1] = -e[:, None, None] * self._gram - np.diag(self._precision)
        h[:, :-1, -1] = h[:, -1, :-1] = 2.0 * e[:, None] * gr
        h[:, -1, -1] = -2.0 * e * sums - self._noise_precision
        return self._finite("the Hessian of f", h, x)


def linear_regression_unknown_noise(
    X, y, *, prior_scale, log_noise_mean=0.0, log_noise_scale=5.0, offset=0.0, weights=None
) -> Target:
    """Log joint density of linear regression in (coefficients, log sigma), the last parameter being log sigma.

    sum_j w_j log N(y_j; x_j . b + offset_j, sigma^2) + log N(b; 0, prior_scale^2) + log N(log sigma; mean, scale^2)

    Parameters
    ----------
    X : array_like or scipy.sparse array (N, d)
    y : array_like (N,)
    prior_scale : float or array_like (d,)
        ``np.inf`` is a flat prior, which counts 0.
    log_noise_mean, log_noise_scale : float
    offset : float or array_like (N,)
    weights : array_like (N,), optional

    Returns
    -------
    Target
        Of dimension d + 1, with every derivative and normalising constant; the data enter by sufficient statistics.
    """
    known = targets.linear_regression(X, y, noise_scale=1.0, prior_scale=prior_scale, offset=offset, weights=weights)
    a, w, r = known._a, -2.0 * known._weights, known._y - known._offset
    weighted = np.sqrt(w)
    dense = a.toarray() if scipy.sparse.issparse(a) else a
    if known._rows < known.dim:
        raise ValueError(f"X must have at least as many rows as columns, got shape {dense.shape}")
    centre, *_ = np.linalg.lstsq(weighted[:, None] * dense, weighted * r, rcond=None)
    residual = r - dense @ centre
    n = float(w.sum())
    least = float(w @ residual**2)
    if least <= 1e-28 * float(w @ r**2):
        raise ValueError("y is an exact linear function of X: the noise scale has no lower bound")
    noise_scale = _checks.scalar("log_noise_scale", log_noise_scale, above=0.0)
    noise_mean = _checks.scalar("log_noise_mean", log_noise_mean)
    # of the known-noise target's constant the likelihood's part is the same, the sum of squares apart
    constant = known._quad.constant - math.log(noise_scale) - 0.5 * math.log(2.0 * math.pi)
    precision = np.broadcast_to(known._quad.precision, known.dim)
    gram = (dense * w[:, None]).T @ dense
    return _GaussianNoise(gram, centre, least, n, precision, noise_mean, noise_scale, constant)
