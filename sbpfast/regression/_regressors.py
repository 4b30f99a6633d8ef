"""Regressions of numbers: counts, robust, and with unknown noise."""

from __future__ import annotations

import numpy as np

from sbpfast import targets
from sbpfast.regression._base import BayesianRegression
from sbpfast.regression._input import floats, response
from sbpfast.targets._unknown_noise import linear_regression_unknown_noise


class Regressor(BayesianRegression):
    _estimator_type = "regressor"

    def predict(self, X, offset=None):
        """Predicted means, (N,)."""
        raise NotImplementedError

    def score(self, X, y, sample_weight=None, offset=None) -> float:
        """The coefficient of determination R^2 of the predicted means."""
        predicted = self.predict(X, offset)
        y = floats("y", response(y, len(predicted)))
        residual = np.average((y - predicted) ** 2, weights=sample_weight)
        spread = np.average((y - np.average(y, weights=sample_weight)) ** 2, weights=sample_weight)
        if spread == 0.0:
            return float(residual == 0.0)
        return float(1.0 - residual / spread)


class BayesianPoissonRegression(Regressor):
    """Bayesian Poisson regression with log link; parameters and attributes as for `BayesianLogisticRegression`."""

    _counts = True

    def _target(self, X, y, scale, weights, offset):
        return targets.poisson_regression(X, y, prior_scale=scale, weights=weights, offset=offset)

    def predict(self, X, offset=None) -> np.ndarray:
        """Expected counts E exp(x . coef), (N,): with the posterior integrated, exp(m + t^2/2)."""
        m, t = self._predictor(X, offset, "predict")
        return np.exp(m + 0.5 * t * t)


class BayesianStudentTRegression(Regressor):
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


class BayesianLinearRegression(Regressor):
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
