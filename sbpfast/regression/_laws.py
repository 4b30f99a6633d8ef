"""The laws of responses, given their linear predictor: means, log likelihoods and draws, a row for each family."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from sbpfast.regression._predictive import mean_logistic

LARGEST = 1e18  # mean of a count or a gamma draw


class Law(NamedTuple):
    """A row: functions of linear predictors eta (n, N), and of the law's own parameters, numbers or columns (n, 1).

    Of two classes the response is 1 for the second, or the number of successes among trials (N,).
    """

    inverse_link: Callable[[np.ndarray], np.ndarray]  # from eta to the mean
    mean: Callable[[np.ndarray, np.ndarray], np.ndarray]  # where eta is N(m, t^2)
    log_likelihood: Callable[..., np.ndarray]  # of y, eta, parameters and trials, (n, N)
    drawn: Callable[..., np.ndarray]  # from eta, parameters, trials and a generator, (n, N)


def bounded_exp(eta):
    """e^eta, as far as counts and gamma draws can be had."""
    return np.minimum(np.exp(np.minimum(eta, 700.0)), LARGEST)


def _identity(eta):
    return eta


def _unmoved(m, t):
    return m


def _mean_exp(m, t):
    with np.errstate(over="ignore"):
        return np.exp(m + 0.5 * t * t)


def _mean_probit(m, t):
    return scipy.special.ndtr(m / np.sqrt(1.0 + t * t))


def _successes(inverse_link):
    def drawn(eta, parameters, trials, generator):
        p = inverse_link(eta)
        if trials is None:
            return (generator.random(p.shape) < p).astype(np.int64)
        return generator.binomial(trials.astype(np.int64), p)

    return drawn


def _log_logistic(y, eta, parameters, trials):
    if trials is None:
        return y * eta - np.logaddexp(0.0, eta)
    log_factorial = lambda k: scipy.special.gammaln(k + 1.0)
    ways = log_factorial(trials) - log_factorial(y) - log_factorial(trials - y)
    return y * eta - trials * np.logaddexp(0.0, eta) + ways


def _log_probit(y, eta, parameters, trials):
    return scipy.special.log_ndtr((2.0 * y - 1.0) * eta)


def _log_poisson(y, eta, parameters, trials):
    return y * eta - np.exp(eta) - scipy.special.gammaln(y + 1.0)


def _drawn_poisson(eta, parameters, trials, generator):
    return generator.poisson(bounded_exp(eta))


def _log_negative_binomial(y, eta, parameters, trials):
    (r,) = parameters
    constant = scipy.special.gammaln(y + r) - scipy.special.gammaln(r) - scipy.special.gammaln(y + 1.0)
    u = eta - np.log(r)
    return constant + y * scipy.special.log_expit(u) + r * scipy.special.log_expit(-u)


def _drawn_negative_binomial(eta, parameters, trials, generator):
    return generator.poisson(np.minimum(_drawn_gamma(eta, parameters, trials, generator), LARGEST))


def _log_gamma(y, eta, parameters, trials):
    (shape,) = parameters
    return scipy.stats.gamma.logpdf(y, shape, scale=np.exp(eta) / shape)


def _drawn_gamma(eta, parameters, trials, generator):
    (shape,) = parameters
    return generator.gamma(shape, bounded_exp(eta) / shape)


def _log_normal(y, eta, parameters, trials):
    (noise,) = parameters
    return scipy.stats.norm.logpdf(y, eta, noise)


def _drawn_normal(eta, parameters, trials, generator):
    (noise,) = parameters
    return eta + noise * generator.standard_normal(eta.shape)


def _log_student_t(y, eta, parameters, trials):
    scale, df = parameters
    return scipy.stats.t.logpdf(y, df, eta, scale)


def _drawn_student_t(eta, parameters, trials, generator):
    scale, df = parameters
    return eta + scale * generator.standard_t(df, eta.shape)


LAWS = {
    "logistic": Law(scipy.special.expit, mean_logistic, _log_logistic, _successes(scipy.special.expit)),
    "probit": Law(scipy.special.ndtr, _mean_probit, _log_probit, _successes(scipy.special.ndtr)),
    "poisson": Law(np.exp, _mean_exp, _log_poisson, _drawn_poisson),
    "negative_binomial": Law(np.exp, _mean_exp, _log_negative_binomial, _drawn_negative_binomial),
    "gamma": Law(np.exp, _mean_exp, _log_gamma, _drawn_gamma),
    "linear": Law(_identity, _unmoved, _log_normal, _drawn_normal),
    "student_t": Law(_identity, _unmoved, _log_student_t, _drawn_student_t),
}
