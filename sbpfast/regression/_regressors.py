"""Regressions of numbers: counts, robust, and with unknown noise."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import scipy

from sbpfast import _checks, _core, targets
from sbpfast._means import BLOCK_ROWS
from sbpfast.fitting import fit
from sbpfast.regression._base import BayesianRegression, interval_ends
from sbpfast.regression._input import floats, response, sample_weights
from sbpfast.regression._laws import LAWS
from sbpfast.regression._learned import Scalar
from sbpfast.regression._predictive import (
    gamma_quantile,
    mixture_quantile,
    negative_binomial_quantile,
    normal_nodes,
    poisson_quantile,
    precision_nodes,
)
from sbpfast.regression._priors import is_auto
from sbpfast.regression._regression import r_squared
from sbpfast.targets._regressions import continued_negative_binomial
from sbpfast.targets._unknown_noise import linear_regression_unknown_noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SCALES = 10.0  # a robust guess of the noise is not further off
LEAST, INTERPOLATED = 1e-3, 0.1  # of sd(y): the least noise tried, and what is taken where there seems to be none
STEP = 1e-4  # in the logarithm of the scale, for a derivative


class Regressor(BayesianRegression):
    """What is shared by the models of numbers."""

    _estimator_type = "regressor"
    intercept_: float

    def predict(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """Predicted means, (N,)."""
        raise NotImplementedError

    def predict_interval(self, X: Any, level: float = 0.95, *, offset: ArrayLike | None = None) -> np.ndarray:
        """The central interval of a new response, noise and all, (N, 2).

        It holds a new y with probability ``level``: the quantiles are those of the posterior predictive distribution,
        by deterministic integrals.
        """
        quantile = self._quantiles(X, offset)
        return np.stack([quantile(p) for p in interval_ends(level)], axis=1)

    def _quantiles(self, X, offset):
        """The predictive quantile as a function of the probability."""
        raise NotImplementedError

    def _units(self, data):
        return data.survey.units_of_numbers()

    def score(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None
    ) -> float:
        """The coefficient of determination R^2 of the predicted means."""
        predicted = self.predict(X, offset)
        y = floats("y", response(y, len(predicted)))
        return r_squared(y, predicted, sample_weights(sample_weight, len(y)))


class LogLink(Regressor):
    """What is shared by the models whose mean is the exponential of the linear predictor."""

    _counts = True

    def _units(self, data):
        return data.survey.units_of_logarithms()

    def predict(self, X: Any, offset: ArrayLike | None = None) -> np.ndarray:
        """Expected responses E exp(x . coef), (N,): with the posterior integrated, exp(m + t^2/2)."""
        return self._law.mean(*self._predictor(X, offset, "predict"))


class BayesianPoissonRegression(LogLink):
    """Bayesian Poisson regression with log link, of counts or of rates.

    Parameters are those of `BayesianLogisticRegression` without ``class_weight``, with intercept_prior_scale in units
    of the root of 1 + log(mean(y))^2 + sum (prior_scale_j mean(x_j))^2; attributes are the same, but for ``coef_``
    (d,) and ``intercept_``, a float.

    Counts y over exposures e are fitted either as ``fit(X, y, offset=log(e))`` or as rates,
    ``fit(X, y / e, sample_weight=e)``: the two posteriors are the same.
    """

    _law = LAWS["poisson"]

    def _target(self, data, scale, **learned):
        return targets.poisson_regression(
            data.design, data.y, prior_scale=scale, weights=data.weights, offset=data.offset
        )

    def _quantiles(self, X, offset):
        m, t = self._predictor(X, offset, "predict_interval")
        return lambda p: poisson_quantile(p, m, t)


class Dispersed(LogLink):
    """What is shared by those with a number beside the mean that says how the response spreads, known or learned."""

    _spread: str  # its name

    def _of_law(self, params):
        return (getattr(self, f"{self._spread}_"),)

    def _in_force(self, learned) -> float:
        """The number: while it is learned, given by the user, or of the fit."""
        given = learned.get(self._spread, getattr(self, self._spread))
        return getattr(self, f"{self._spread}_") if given is None else given

    def _scalars(self, data, scale):
        return [self._unknown(data)] if getattr(self, self._spread) is None else []

    def _unknown(self, data) -> Scalar:
        """The number to be learned."""
        raise NotImplementedError

    def _fitted(self, data, scale, rng, values):
        result, attributes = super()._fitted(data, scale, rng, values)
        known = getattr(self, self._spread)
        return result, attributes if known is None else {f"{self._spread}_": float(known)} | attributes


class BayesianNegativeBinomialRegression(Dispersed):
    """Bayesian regression of counts that vary more than Poisson's: of variance mean + mean^2 / dispersion.

    Parameters
    ----------
    dispersion : float, optional
        Known; None: the one of the highest ELBO, an empirical Bayes estimate.  The larger, the closer to Poisson.
    prior_scale, intercept_prior_scale, autoscale, fit_intercept, tol, max_iter, random_state
        As for `BayesianPoissonRegression`.

    Responses that are no whole numbers are taken, the factorials in their density being gamma functions.

    Attributes
    ----------
    coef_ (d,), intercept_
        Posterior means; the other attributes are those of `BayesianLogisticRegression`.
    dispersion_ : float
        In force.  ``learned_["dispersion"]`` tells how uncertain it is, and so does `summary`; the posterior of the
        coefficients is the one given it.
    """

    dispersion_: float
    _law = LAWS["negative_binomial"]
    _spread = "dispersion"

    def __init__(
        self, *, dispersion: float | None = None, prior_scale: ArrayLike = 2.5, intercept_prior_scale: float = 10.0,
        autoscale: bool = True, fit_intercept: bool = True, tol: float | None = None, max_iter: int = 200,
        random_state: Any = None,
    ):  # fmt: skip
        super().__init__(
            prior_scale=prior_scale, intercept_prior_scale=intercept_prior_scale, autoscale=autoscale,
            fit_intercept=fit_intercept, tol=tol, max_iter=max_iter, random_state=random_state,
        )  # fmt: skip
        self.dispersion = dispersion

    def _unknown(self, data):
        if data.survey.least < 0.0:
            raise ValueError(f"y must be not negative, got {data.survey.least}")
        mean = data.survey.mean
        excess = data.survey.variance - mean
        guess = mean * mean / excess if excess > 0.0 else 10.0
        return Scalar("dispersion", min(max(guess, 0.1), 50.0), 1e-3, 1e5)

    def _target(self, data, scale, **learned):
        return continued_negative_binomial(
            data.design, data.y, dispersion=self._in_force(learned), prior_scale=scale, weights=data.weights,
            offset=data.offset,
        )  # fmt: skip

    def _quantiles(self, X, offset):
        m, t = self._predictor(X, offset, "predict_interval")
        return lambda p: negative_binomial_quantile(p, m, t, self.dispersion_)


class BayesianGammaRegression(Dispersed):
    """Bayesian regression of positive numbers with log link, gamma distributed: of variance mean^2 / shape.

    Parameters
    ----------
    shape : float, optional
        Known; None: the one of the highest ELBO, an empirical Bayes estimate.  1 is the exponential distribution.
    prior_scale, intercept_prior_scale, autoscale, fit_intercept, tol, max_iter, random_state
        As for `BayesianPoissonRegression`.

    Attributes
    ----------
    coef_ (d,), intercept_
        Posterior means; the other attributes are those of `BayesianLogisticRegression`.
    shape_ : float
        In force.  ``learned_["shape"]`` tells how uncertain it is, and so does `summary`; the posterior of the
        coefficients is the one given it.
    """

    shape_: float
    _law = LAWS["gamma"]
    _spread = "shape"

    def __init__(
        self, *, shape: float | None = None, prior_scale: ArrayLike = 2.5, intercept_prior_scale: float = 10.0,
        autoscale: bool = True, fit_intercept: bool = True, tol: float | None = None, max_iter: int = 200,
        random_state: Any = None,
    ):  # fmt: skip
        super().__init__(
            prior_scale=prior_scale, intercept_prior_scale=intercept_prior_scale, autoscale=autoscale,
            fit_intercept=fit_intercept, tol=tol, max_iter=max_iter, random_state=random_state,
        )  # fmt: skip
        self.shape = shape

    def _unknown(self, data):
        if not data.survey.least > 0.0:
            raise ValueError(f"y must be positive, got {data.survey.least}")
        return Scalar("shape", 1.0, 1e-2, 1e6)

    def _target(self, data, scale, **learned):
        return targets.gamma_regression(
            data.design, data.y, shape=self._in_force(learned), prior_scale=scale, weights=data.weights,
            offset=data.offset,
        )  # fmt: skip

    def _quantiles(self, X, offset):
        m, t = self._predictor(X, offset, "predict_interval")
        return lambda p: gamma_quantile(p, m, t, self.shape_)


class BayesianStudentTRegression(Regressor):
    """Robust Bayesian regression: noise of a Student-t distribution of known degrees of freedom.

    Parameters
    ----------
    df : float
        Degrees of freedom of the noise.
    scale : float, optional
        Of the noise, in the units of y.  None: the one of the highest ELBO, an empirical Bayes estimate.
    prior_scale, intercept_prior_scale, autoscale
        As for `BayesianLogisticRegression`, but in units of sd(y)/sd(x_j), and of the root of sd(y)^2 + mean(y)^2 +
        sum (prior_scale_j mean(x_j))^2.
    fit_intercept, tol, max_iter, random_state
        As for `BayesianLogisticRegression`.

    Attributes
    ----------
    coef_ (d,), intercept_
        Posterior means; the other attributes are those of `BayesianLogisticRegression`.
    scale_ : float
        The noise's scale in force.
    """

    _law = LAWS["student_t"]

    def _of_law(self, params):
        return self.scale_, self.df

    def __init__(
        self, *, df: float = 4.0, scale: float | None = None, prior_scale: ArrayLike = 2.5,
        intercept_prior_scale: float = 10.0, autoscale: bool = True, fit_intercept: bool = True,
        tol: float | None = None, max_iter: int = 200, random_state: Any = None,
    ):  # fmt: skip
        super().__init__(
            prior_scale=prior_scale, intercept_prior_scale=intercept_prior_scale, autoscale=autoscale,
            fit_intercept=fit_intercept, tol=tol, max_iter=max_iter, random_state=random_state,
        )  # fmt: skip
        self.df, self.scale = df, scale

    def __setstate__(self, state):
        super().__setstate__(state)
        if "fit_" in state:
            self.scale_ = state.get("scale_", self.scale)

    def _with_scale(self, data, prior, scale):
        return targets.student_t_regression(
            data.design, data.y, df=self.df, scale=scale, prior_scale=prior, weights=data.weights, offset=data.offset
        )

    def _target(self, data, scale, **learned):
        given = learned.get("noise_scale", self.scale)
        return self._with_scale(data, scale, self.scale_ if given is None else given)

    def _scalars(self, data, scale):
        if not is_auto(self.prior_scale) or self.scale is not None:
            return []
        best = self._best_scale(data, scale)
        return [Scalar("noise_scale", best, best / SCALES, best * SCALES)]

    def _fitted(self, data, scale, rng, values):
        noise = values.get("noise_scale", self.scale)
        noise = self._best_scale(data, scale) if noise is None else noise
        result = fit(self._with_scale(data, scale, noise), tol=self.tol, max_iter=self.max_iter, rng=rng)
        return result, {"scale_": float(noise)}

    def _best_scale(self, data, prior):
        """The scale where the ELBO, maximised over q, has no slope: a root in its logarithm."""
        guess = unit = self._units(data)[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scales on the way
            for _ in range(3):
                q = fit(self._with_scale(data, prior, guess), rng=0).q
                parts = data.over_blocks(_some_residuals, q.mean, -(-data.design.shape[0] // BLOCK_ROWS))
                residuals, weights = np.concatenate(list(parts), axis=1)
                noise = 1.4826 * _median(residuals, weights / weights.sum())
                guess = max(noise, LEAST * unit)
            if noise < 0.01 * guess:  # interpolated: the data say nothing about noise
                return INTERPOLATED * unit
            ends = np.log(guess) - np.log(SCALES), np.log(guess) + np.log(SCALES)
            slopes = [self._slope(u, data, prior) for u in ends]
            if slopes[0] <= 0.0 or slopes[1] >= 0.0:  # the ELBO grows towards an end
                return float(np.exp(ends[0] if slopes[0] <= 0.0 else ends[1]))
            return float(np.exp(scipy.optimize.brentq(self._slope, *ends, args=(data, prior), xtol=1e-10)))

    def _slope(self, log_scale, data, prior):
        """Of the ELBO in the logarithm of the scale: that of E_q[f] with q as it is."""
        q = fit(self._with_scale(data, prior, np.exp(log_scale)), rng=0).q
        ends = [self._with_scale(data, prior, np.exp(log_scale + step)) for step in (-STEP, STEP)]
        threads = _core.effective_threads()
        values = [target._exact(q, q._form(), threads)[0] for target in ends]
        return (values[1] - values[0]) / (2.0 * STEP)

    @overload
    def predict(self, X: Any, offset: ArrayLike | None = None, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(
        self, X: Any, offset: ArrayLike | None = None, *, return_std: Literal[True]
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(self, X: Any, offset: ArrayLike | None = None, return_std: bool = False) -> Any:
        """Posterior means of the linear predictor, (N,), and with ``return_std`` their standard deviations."""
        m, t = self._predictor(X, offset, "predict")
        return (m, t) if return_std else m

    def _quantiles(self, X, offset):
        m, t = self._predictor(X, offset, "predict_interval")
        g, weights = precision_nodes(_checks.scalar("df", self.df, above=0.0))
        sd = np.sqrt(t * t + (self.scale_**2 / g)[:, None])
        return lambda p: mixture_quantile(p, np.broadcast_to(m, sd.shape), sd, weights)


def _some_residuals(block, mean, stride) -> np.ndarray:
    """Sizes of residuals, and weights, of every stride-th row, (2, n)."""
    some = slice(-block.start % stride, None, stride)
    offset = 0.0 if block.offset is None else block.offset[some]
    residuals = np.abs(block.y[some] - offset - block.X[some] @ mean)
    return np.stack([residuals, np.ones(len(residuals)) if block.weights is None else block.weights[some]])


def _median(values, shares) -> float:
    """The least value with half of the shares at or below it."""
    order = np.argsort(values)
    return float(values[order[np.searchsorted(np.cumsum(shares[order]), 0.5 - 1e-9)]])


class BayesianLinearRegression(Regressor):
    """Bayesian linear regression with unknown noise, through (coefficients, log sigma).

    Parameters
    ----------
    log_noise_prior : tuple of two floats
        Mean and standard deviation of the normal prior of log sigma, or of log(sigma / sd(y)) where ``autoscale`` is
        True.
    prior_scale, intercept_prior_scale, autoscale
        As for `BayesianStudentTRegression`.
    fit_intercept, tol, max_iter, random_state
        As for `BayesianLogisticRegression`.

    Attributes
    ----------
    coef_ (d,), intercept_
        Posterior means; the other attributes are those of `BayesianLogisticRegression`.
    noise_scale_ : float
        Posterior mean of sigma.
    """

    _law = LAWS["linear"]

    def _of_law(self, params):
        return (np.exp(params[:, -1:]),)

    def __init__(
        self, *, log_noise_prior: tuple[float, float] = (0.0, 5.0), prior_scale: ArrayLike = 2.5,
        intercept_prior_scale: float = 10.0, autoscale: bool = True, fit_intercept: bool = True,
        tol: float | None = None, max_iter: int = 200, random_state: Any = None,
    ):  # fmt: skip
        super().__init__(
            prior_scale=prior_scale, intercept_prior_scale=intercept_prior_scale, autoscale=autoscale,
            fit_intercept=fit_intercept, tol=tol, max_iter=max_iter, random_state=random_state,
        )  # fmt: skip
        self.log_noise_prior = log_noise_prior

    def _target(self, data, scale, **learned):
        mean, sd = self._log_noise_prior()
        if self.autoscale:
            mean = mean + float(np.log(self._units(data)[1]))
        return linear_regression_unknown_noise(
            data.design, data.y, prior_scale=scale, log_noise_mean=mean, log_noise_scale=sd, weights=data.weights,
            offset=data.offset,
        )  # fmt: skip

    def _log_noise_prior(self) -> tuple[float, float]:
        pair = self.log_noise_prior
        if not isinstance(pair, tuple | list | np.ndarray) or len(pair) != 2:
            raise TypeError(f"log_noise_prior must be a pair (mean, standard deviation), got {pair!r}")
        mean, sd = (_checks.scalar("log_noise_prior", value) for value in pair)
        return mean, _checks.scalar("the standard deviation of log_noise_prior", sd, above=0.0)

    def _keep(self, result, d, scale):
        super()._keep(result, d, scale)
        self.noise_scale_ = float(np.exp(result.q.mean[-1] + 0.5 * result.q.cov[-1, -1]))

    def _parameter_names(self):
        return [*super()._parameter_names(), "log sigma"]

    @overload
    def predict(self, X: Any, offset: ArrayLike | None = None, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(
        self, X: Any, offset: ArrayLike | None = None, *, return_std: Literal[True]
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(self, X: Any, offset: ArrayLike | None = None, return_std: bool = False) -> Any:
        """Predictive means (N,), and with ``return_std`` the predictive standard deviations, noise included."""
        m, t = self._predictor(X, offset, "predict")
        q = self.fit_.q
        return (m, np.sqrt(t * t + np.exp(2.0 * (q.mean[-1] + q.cov[-1, -1])))) if return_std else m

    def _quantiles(self, X, offset):
        m, t = self._predictor(X, offset, "predict_interval")
        q, (z, weights) = self.fit_.q, normal_nodes()
        design, _ = self._new_rows(X, offset)
        sd = np.sqrt(q.cov[-1, -1])
        tilt = design @ (q.cov[: design.shape[1], -1] / sd)  # of the linear predictor with log sigma
        mean = m + np.multiply.outer(z, tilt)
        variance = np.maximum(t * t - tilt * tilt, 0.0) + np.exp(2.0 * (q.mean[-1] + sd * z))[:, None]
        return lambda p: mixture_quantile(p, mean, np.sqrt(variance), weights)
