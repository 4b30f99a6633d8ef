"""Predictions with the linear predictor, N(m, t^2) in every row, integrated out: means and quantiles."""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast import _core
from sbpfast.targets._expectations import link_expectations
from sbpfast.targets._links import link_record

ROWS = 8192  # worked on at a time
STEPS = 100  # of bisection, at most
LARGEST = 2.0**52  # count looked for


def mean_logistic(m, t) -> np.ndarray:
    """E 1/(1 + e^-x) under N(m, t^2), the slope of softplus."""
    return link_expectations(link_record("softplus"), m, t, np.zeros(len(m)), _core.effective_threads())[1]


def normal_nodes(n=65):
    """Nodes and weights of a trapezoid rule for a standard normal, good to rounding for smooth functions."""
    z = np.linspace(-8.4, 8.4, n)
    weights = np.exp(-0.5 * z * z)
    return z, weights / weights.sum()


def precision_nodes(df, n=257):
    """Nodes and weights for the factor g of a Student-t's precision, gamma distributed of shape and rate df/2.

    Trapezoids in log g, between the quantiles of 1e-18; those far below 1 make the tails heavy.
    """
    ends = scipy.special.gammaincinv(0.5 * df, 1e-18), scipy.special.gammainccinv(0.5 * df, 1e-18)
    u = np.linspace(math.log(max(ends[0], 1e-290)), math.log(ends[1]), n)
    log_weights = 0.5 * df * u - np.exp(u)
    weights = np.exp(log_weights - log_weights.max())
    return np.exp(u) / (0.5 * df), weights / weights.sum()


def mixture_quantile(p, mean, sd, weights) -> np.ndarray:
    """The p-quantiles (N,) of mixtures of normals, of means and standard deviations (K, N) and weights (K,)."""
    mean, sd = np.broadcast_arrays(mean, sd)
    out = np.empty(mean.shape[1])
    for start in range(0, mean.shape[1], ROWS // 8):
        rows = slice(start, start + ROWS // 8)
        m, s = mean[:, rows], sd[:, rows]
        at = scipy.special.ndtri(p)
        low, high = (m + at * s).min(axis=0), (m + at * s).max(axis=0)  # the quantile lies between its parts'
        for _ in range(STEPS):
            middle = 0.5 * (low + high)
            below = weights @ scipy.special.ndtr((middle - m) / s) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
            if (high - low <= 1e-12 * (np.abs(low) + np.abs(high)) + 1e-300).all():
                break
        out[rows] = 0.5 * (low + high)
    return out


def poisson_quantile(p, m, t) -> np.ndarray:
    """The p-quantiles (N,) of counts of rate e^x, x ~ N(m, t^2): the least k with P(y <= k) >= p."""
    return _count_quantile(p, m, t, lambda k, rate: scipy.special.gammaincc(k + 1.0, rate))


def negative_binomial_quantile(p, m, t, r) -> np.ndarray:
    """The same of negative binomial counts of mean e^x and dispersion r."""
    return _count_quantile(p, m, t, lambda k, rate: scipy.special.betainc(r, k + 1.0, r / (r + rate)))


def _count_quantile(p, m, t, cdf):
    """The least k with a mean of cdf(k, e^x) over x ~ N(m, t^2) of at least p."""
    z, weights = normal_nodes()
    out = np.empty(len(m))

    def below(k, rate):
        return weights @ np.where(k < 0.0, 0.0, cdf(np.maximum(k, 0.0), rate))

    for start in range(0, len(m), ROWS // 8):
        rows = slice(start, start + ROWS // 8)
        with np.errstate(over="ignore"):
            rate = np.exp(m[rows] + np.multiply.outer(z, t[rows]))
        low, high = np.full(rate.shape[1], -1.0), np.ones(rate.shape[1])
        while (short := (high < LARGEST) & (below(high, rate) < p)).any():
            low, high = np.where(short, high, low), np.where(short, 2.0 * high, high)
        while ((middle := np.floor(0.5 * (low + high))) > low).any():
            short = below(middle, rate) < p
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        out[rows] = high
    return out


def gamma_quantile(p, m, t, shape) -> np.ndarray:
    """The p-quantiles (N,) of gamma distributed numbers of mean e^x and known shape, x ~ N(m, t^2)."""
    z, weights = normal_nodes()
    out, own = np.empty(len(m)), math.log(scipy.special.gammaincinv(shape, p) / shape)
    for start in range(0, len(m), ROWS // 8):
        rows = slice(start, start + ROWS // 8)
        centre = m[rows] + np.multiply.outer(z, t[rows])  # logarithms of means
        low, high = centre.min(axis=0) + own, centre.max(axis=0) + own  # the quantile lies between its parts'
        for _ in range(STEPS):
            middle = 0.5 * (low + high)
            below = weights @ scipy.special.gammainc(shape, shape * np.exp(np.minimum(middle - centre, 700.0))) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
            if (high - low <= 1e-13 * (1.0 + np.abs(low))).all():
                break
        with np.errstate(over="ignore"):
            out[rows] = np.exp(0.5 * (low + high))
    return out
