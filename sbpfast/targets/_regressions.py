"""Log joint densities of Bayesian regressions, as ridge targets with every constant."""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast import _checks
from sbpfast.targets._design import as_design
from sbpfast.targets._links import ANY, BINARY, COUNT, NON_NEGATIVE, POSITIVE
from sbpfast.targets._quadratic import normal_prior, require_squares
from sbpfast.targets._ridge import Ridge, quadratic, ridge
from sbpfast.targets._streamed import takes_rows


def _regression(X, y, link, weights, offset, prior_scale, prior_mean, constant, term_weights=1.0, **parameters):
    """A log joint density: ridge terms of the data and a normal prior with its constant.

    `constant` is that of all rows alike, or gives those of a block of rows: the bits are those of streamed rows.
    Without a prior scale there is neither prior nor constant: a pass over the rows needs only their terms.
    """
    X = as_design("X", X)
    rows, d = X.shape
    if prior_scale is None:
        weights = _checks.vector("weights", 1.0 if weights is None else weights, rows)
        return ridge(X, offset, link, weights * term_weights, y, None, **parameters)
    normal = normal_prior(d, prior_scale, prior_mean)
    weights = _checks.vector("weights", 1.0 if weights is None else weights, rows)
    if (weights < 0).any():
        raise ValueError("weights must not be negative")
    with np.errstate(over="ignore", invalid="ignore"):
        of = constant if callable(constant) else lambda part: constant
        total = float(np.sum([(weights[part] * of(part)).sum() for part in X.blocks()]))
    if not math.isfinite(total):
        raise ValueError("weights are so large that the constants of the likelihood overflow double precision")
    prior = quadratic(normal.precision, normal.mean, total + normal.constant)
    with np.errstate(over="ignore"):  # what is infinite is refused
        weights = weights * term_weights
    return ridge(X, offset, link, weights, y, prior, **parameters)


def _log_binomial(n, k):
    """log of the number of ways to choose k of n."""
    return -np.log1p(n) - scipy.special.betaln(n - k + 1.0, k + 1.0)


def _response(y, X, allowed, wanted):
    y = _checks.vector("y", y)
    if len(y) != X.shape[0]:
        raise ValueError(f"y must have one entry for each of the {X.shape[0]} rows of X, got shape {y.shape}")
    if not allowed(y).all():
        raise ValueError(f"y must be {wanted}, got {y[~allowed(y)][0]}")
    return y


@takes_rows
def logistic_regression(X, y=None, *, prior_scale, prior_mean=0.0, offset=0.0, weights=None, trials=None) -> Ridge:
    """Log joint density of Bayesian logistic regression.

    sum_j w_j [y_j t_j - n_j log(1 + e^t_j) + log C(n_j, y_j)] + log N(x; prior_mean, prior_scale^2),  t = X x + offset

    Parameters
    ----------
    X : array_like or scipy.sparse array (N, d)
    y : array_like (N,)
        0 or 1; with ``trials``, counts of successes.
    prior_scale : float or array_like (d,)
        Standard deviations of the normal prior; ``np.inf`` is a flat prior, which counts 0.
    prior_mean : float or array_like (d,)
    offset : float or array_like (N,)
    weights : array_like (N,), optional
        Non-negative, multiply the terms of the likelihood.
    trials : array_like (N,), optional
        Numbers of trials n_j, which make the likelihood binomial.

    Returns
    -------
    Target
        A ridge target with every normalising constant, so that an ELBO bounds the log evidence.
    """
    return _binomial(X, y, "logistic", weights, offset, prior_scale, prior_mean, trials)


@takes_rows
def cloglog_regression(X, y=None, *, prior_scale, prior_mean=0.0, offset=0.0, weights=None, trials=None) -> Ridge:
    """Log joint density of Bayesian binary regression with the complementary log-log link.

    sum_j w_j [y_j log(1 - exp(-e^t_j)) - (n_j - y_j) e^t_j + log C(n_j, y_j)] + log prior,  t = X x + offset

    Arguments as for `logistic_regression`.  This is the model of whether at least one event of rate e^t has happened,
    and of discrete survival times with proportional hazards.
    """
    return _binomial(X, y, "cloglog", weights, offset, prior_scale, prior_mean, trials)


def _binomial(X, y, link, weights, offset, prior_scale, prior_mean, trials):
    """Of y 0 or 1, or of counts of successes of trials: the link takes their share."""
    X = as_design("X", X)
    if trials is None:
        y = _response(y, X, *BINARY)
        return _regression(X, y, link, weights, offset, prior_scale, prior_mean, 0.0)
    n = _checks.vector("trials", trials, X.shape[0])
    if not ((n >= 1) & (n == np.floor(n))).all():
        raise ValueError("trials must be whole numbers, at least 1")
    y = _response(y, X, lambda v: (v >= 0) & (v <= n) & (v == np.floor(v)), "whole numbers between 0 and trials")
    constant = lambda part: _log_binomial(n[part], y[part])  # which a pass over the rows does not need
    return _regression(X, y / n, link, weights, offset, prior_scale, prior_mean, constant, term_weights=n)


@takes_rows
def probit_regression(X, y=None, *, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of Bayesian probit regression.

    sum_j w_j log Phi((2 y_j - 1) t_j) + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with y 0 or 1.
    """
    X = as_design("X", X)
    y = _response(y, X, *BINARY)
    return _regression(X, y, "probit", weights, offset, prior_scale, prior_mean, 0.0)


@takes_rows
def poisson_regression(X, y=None, *, prior_scale, prior_mean=0.0, offset=0.0, weights=None, rates=None) -> Ridge:
    """Log joint density of Bayesian Poisson regression.

    sum_j w_j [y_j t_j - e^t_j - log y_j!] + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with y counts, not negative.  Where they are not all whole numbers, or
    ``rates`` is True, y are rates and w exposures: w_j y_j is then a count of mean w_j e^t_j, and f the log joint
    density of these counts.
    """
    X = as_design("X", X)
    y = _response(y, X, *NON_NEGATIVE)
    if rates is None:
        rates = not (y == np.floor(y)).all()
    if not rates:
        constant = lambda part: -scipy.special.gammaln(y[part] + 1.0)
    else:
        sizes = _checks.vector("weights", 1.0 if weights is None else weights, len(y))
        constant = lambda part: _rates_constant(y[part], sizes[part])
    return _regression(X, y, "poisson", weights, offset, prior_scale, prior_mean, constant)


def _rates_constant(y, w):
    w = np.where(w > 0.0, w, 1.0)  # rows of no weight have no constant either
    return scipy.special.xlogy(y, w) - scipy.special.gammaln(w * y + 1) / w


@takes_rows
def linear_regression(X, y=None, *, noise_scale, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of Bayesian linear regression.

    sum_j w_j log N(y_j; t_j, noise_scale^2) + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with real y and the known standard deviation of the noise.
    """
    X = as_design("X", X)
    noise = _checks.scalar("noise_scale", noise_scale, above=0.0)
    require_squares("noise_scale", noise)
    y = _response(y, X, *ANY)
    constant = -math.log(noise) - 0.5 * math.log(2.0 * math.pi)
    return _regression(X, y, "square", weights, offset, prior_scale, prior_mean, constant, term_weights=-0.5 / noise**2)


@takes_rows
def student_t_regression(X, y=None, *, df, scale, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of robust regression: sum_j w_j log t_df(y_j; t_j, scale) + log prior, t = X x + offset.

    Arguments as for `logistic_regression`, with real y and the known degrees of freedom and scale of the noise.
    """
    X = as_design("X", X)
    df, scale = _checks.scalar("df", df, above=0.0), _checks.scalar("scale", scale, above=0.0)
    y = _response(y, X, *ANY)
    require_squares("scale", scale)
    require_squares("df", df)
    constant = math.log(scipy.special.poch(0.5 * df, 0.5)) - 0.5 * math.log(df * math.pi) - math.log(scale)
    return _regression(X, y, "student_t", weights, offset, prior_scale, prior_mean, float(constant), df=df, scale=scale)


@takes_rows
def negative_binomial_regression(
    X, y=None, *, dispersion, prior_scale, prior_mean=0.0, offset=0.0, weights=None
) -> Ridge:
    """Log joint density of regression of counts that vary more than Poisson's, with known dispersion r.

    sum_j w_j log NB(y_j; mean e^t_j, variance e^t_j + e^(2 t_j) / r) + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with y counts and r the ``dispersion``, positive: the larger it is, the
    closer to Poisson.
    """
    X = as_design("X", X)
    y = _response(y, X, *COUNT)
    return _negative_binomial(X, y, dispersion, prior_scale, prior_mean, offset, weights)


@takes_rows
def continued_negative_binomial(
    X, y=None, *, dispersion, prior_scale, prior_mean=0.0, offset=0.0, weights=None
) -> Ridge:
    """The same for any y that are not negative, whose factorials are gamma functions."""
    return _negative_binomial(X, y, dispersion, prior_scale, prior_mean, offset, weights)


def _negative_binomial(X, y, dispersion, prior_scale, prior_mean, offset, weights):
    X = as_design("X", X)
    r = _checks.scalar("dispersion", dispersion, above=0.0)
    y = _response(y, X, *NON_NEGATIVE)
    require_squares("dispersion", r)
    constant = lambda part: _negative_binomial_constant(y[part], r)
    return _regression(X, y, "negative_binomial", weights, offset, prior_scale, prior_mean, constant, dispersion=r)


def _negative_binomial_constant(y, r):
    some = np.where(y > 0.0, y, 1.0)
    return np.where(y > 0.0, -np.log(some) - scipy.special.betaln(some, r), 0.0)


@takes_rows
def gamma_regression(X, y=None, *, shape, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of regression of positive numbers whose spread grows with their mean.

    sum_j w_j log Gamma(y_j; mean e^t_j, variance e^(2 t_j) / shape) + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with y positive and the known ``shape``: 1 is the exponential distribution.
    """
    X = as_design("X", X)
    a = _checks.scalar("shape", shape, above=0.0)
    y = _response(y, X, *POSITIVE)
    require_squares("shape", a)
    constant = lambda part: scipy.special.xlogy(a, a) - scipy.special.gammaln(a) + (a - 1.0) * np.log(y[part])
    return _regression(X, y, "gamma", weights, offset, prior_scale, prior_mean, constant, term_weights=a)
