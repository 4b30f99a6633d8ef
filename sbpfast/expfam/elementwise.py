"""Draws and velocities for arrays of any shape, a parameter an element: what `sbpfast.torch` and `sbpfast.jax` call.

A `Law` has ``draw(key, *parameters)`` and ``velocity(x, *parameters)``, dx/dparameter at a fixed value of the
distribution function.  Arrays of one shape in, arrays of that shape out; float32 arrays are computed in float64, and
the velocities are those at the x that was returned, as rounded.  A key is four uint64; keys (..., 4) draw each part
of the leading axes from its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from scipy import special

from sbpfast import _core
from sbpfast.expfam import _functions, _truncation, _weights
from sbpfast.expfam._families import _gamma_beta
from sbpfast.expfam._families._bounded import ContinuousBernoulli, TruncatedNormal
from sbpfast.expfam._points import GAMMA_STREAM, NORMAL_STREAM, UNIFORM_STREAM, VON_MISES_STREAM, Points

LANES = 64


class Law(NamedTuple):
    """What a framework needs of a family; ``slopes(x, *parameters)`` are the derivatives of the velocities.

    ``slopes[i]`` holds those of velocity i with respect to x and to each parameter.
    """

    parameters: tuple[str, ...]
    draw: Callable
    velocity: Callable
    slopes: Callable | None = None


def _threads():
    return _core.effective_threads(None)


def _doubles(*, off_zero=False, off_one=False):
    """Makes a float64 function one of arrays of any float type, its results in the type of the last argument.

    off_zero, off_one : a draw that was moved off 0 or 1 counts as lying there, where velocities are 0.
    """

    def decorate(function):
        @functools.wraps(function)
        def wrapped(x, *parameters):
            dtype = (x, *parameters)[-1].dtype
            first, *rest = (np.asarray(a, dtype=np.float64) for a in (x, *parameters))
            if off_zero:
                first = np.where(x <= np.finfo(dtype).tiny, 0.0, first)
            if off_one:
                first = np.where(x >= 1.0 - np.finfo(dtype).epsneg, 1.0, first)
            with np.errstate(all="ignore"):
                out = function(first, *rest)
            if isinstance(out, tuple):
                return tuple(np.asarray(a, dtype=dtype) for a in out)
            return np.asarray(out, dtype=dtype)

        return wrapped

    return decorate


def _draws(*, event=0, off_zero=False, off_one=False):
    """Makes a draw of one key and float64 parameters one for keys (..., 4) and parameters of any shape and float type.

    event : 0 for flat parameters (n,), 1 for rows (n, k), each of which is a point.
    off_zero, off_one : keep the draws off 0 and 1, as torch does, so that log densities stay finite.
    """

    def decorate(function):
        @functools.wraps(function)
        def wrapped(key, *parameters):
            dtype, shape = parameters[-1].dtype, parameters[-1].shape
            keys = np.ascontiguousarray(key).reshape(-1, 4).view(np.uint64)
            flat = (len(keys), -1, *shape[len(shape) - event :])
            rows = [np.ascontiguousarray(p, dtype=np.float64).reshape(flat) for p in parameters]
            out = np.empty(rows[-1].shape, dtype)
            with np.errstate(all="ignore"):
                for i, k in enumerate(keys):
                    out[i] = function(k, *(p[i] for p in rows))
            if off_zero:
                np.maximum(out, np.finfo(dtype).tiny, out=out)
            if off_one:
                np.minimum(out, 1.0 - np.finfo(dtype).epsneg, out=out)
            return out.reshape(shape)

        return wrapped

    return decorate


# -- noise ------------------------------------------------------------------------------------------------------------


def _noise(fill, key, stream, n):
    out = np.empty((1, -(-n // LANES), LANES))
    fill(key, stream, 0, out, _threads())
    return out.reshape(-1)[:n]


def _uniforms(key, n):
    return _noise(_core.random.fill_uniform, key, UNIFORM_STREAM, n)


def _normals(key, n):
    return _noise(_core.random.fill_normal, key, NORMAL_STREAM, n)


def _gammas(key, shape):
    x, log_x = np.empty_like(shape), np.empty_like(shape)
    _core.draws.gamma_each(key, GAMMA_STREAM, shape, x, log_x, _threads())
    return x, log_x


def _simplex(key, concentration):
    """Points (n, k) and their logarithms."""
    _, log_gamma = _gammas(key, concentration.reshape(-1))
    x, log_x = np.empty_like(concentration), np.empty_like(concentration)
    _core.draws.simplex_each(log_gamma.reshape(concentration.shape), x, log_x, _threads())
    return x, log_x


# -- gamma ------------------------------------------------------------------------------------------------------------


@_draws(off_zero=True)
def gamma_draw(key, shape):
    """x ~ Gamma(shape, 1)."""
    return _gammas(key, shape)[0]


@_doubles(off_zero=True)
def gamma_velocity(x, shape):
    """dx/dshape."""
    return (_weights.scaled(x, _weights.gamma_weight(shape, x, np.log(x), _threads())),)


@_doubles(off_zero=True)
def gamma_slopes(x, shape):
    """Derivatives of dx/dshape by x and by the shape."""
    by_x, by_shape = _weights.gamma_weight_derivatives(shape, x, np.log(x), _threads())
    return np.where(x == 0.0, 0.0, by_x), _weights.scaled(x, by_shape)


@_draws()
def loggamma_draw(key, shape):
    """log x, x ~ Gamma(shape, 1): finite where x underflows."""
    return _gammas(key, shape)[1]


@_doubles()
def loggamma_velocity(log_x, shape):
    """d log x/dshape."""
    return (_weights.gamma_weight(shape, np.exp(log_x), log_x, _threads()),)


@_doubles()
def loggamma_slopes(log_x, shape):
    """With B = x w, dw/dlog x = dB/dx - w."""
    x = np.exp(log_x)
    by_x, by_shape = _weights.gamma_weight_derivatives(shape, x, log_x, _threads())
    return by_x - _weights.gamma_weight(shape, x, log_x, _threads()), by_shape


@_draws()
def inverse_gamma_draw(key, shape):
    """1/x, x ~ Gamma(shape, 1)."""
    return np.exp(-_gammas(key, shape)[1])


@_doubles()
def inverse_gamma_velocity(y, shape):
    """dy/dshape, y = 1/x."""
    return (-y * _weights.gamma_weight(shape, 1.0 / y, -np.log(y), _threads()),)


@_draws()
def student_t_draw(key, df):
    """A normal over the root of an independent gamma, through its logarithm so that small df do not divide by 0."""
    return _normals(key, len(df)) * np.exp(0.5 * (np.log(0.5 * df) - _gammas(key, 0.5 * df)[1]))


@_doubles()
def student_t_velocity(t, df):
    """dt/ddf of the standard Student t."""
    return (_weights.student_t_weight(df, t, _threads()),)


# -- beta and Dirichlet -----------------------------------------------------------------------------------------------


@_draws(off_zero=True, off_one=True)
def beta_draw(key, a, b):
    """x ~ Beta(a, b), inside (0, 1)."""
    return _simplex(key, np.stack([a, b], axis=1))[0][:, 0]


def _complement(x):
    y = 1.0 - x
    return y, np.log(x), np.where(x < 0.5, np.log1p(-x), np.log(y))


@_doubles(off_zero=True, off_one=True)
def beta_velocity(x, a, b):
    """dx/da and dx/db."""
    y, log_x, log_y = _complement(x)
    by_a, by_b = _weights.beta_weight(a, b, x, y, log_x, log_y, _threads())
    return _weights.scaled(x * y, by_a), -_weights.scaled(x * y, by_b)


@_doubles(off_zero=True, off_one=True)
def beta_slopes(x, a, b):
    """Derivatives of dx/da by x, a, b, then those of dx/db."""
    y, log_x, log_y = _complement(x)
    a_x, a_a, a_b = _weights.beta_weight_derivatives(a, b, x, y, log_x, _threads())
    b_x, b_b, b_a = _weights.beta_weight_derivatives(b, a, y, x, log_y, _threads())
    spread = x * y
    slopes = a_x, spread * a_a, spread * a_b, b_x, -spread * b_a, -spread * b_b
    return tuple(np.where(spread == 0.0, 0.0, v) for v in slopes)


@_draws()
def logbeta_draw(key, a, b):
    """log x, x ~ Beta(a, b): finite where x underflows."""
    return _simplex(key, np.stack([a, b], axis=1))[1][:, 0]


@_doubles()
def logbeta_velocity(log_x, a, b):
    """d log x/da and d log x/db."""
    x, y = np.exp(log_x), -np.expm1(log_x)
    by_a, by_b = _weights.beta_weight(a, b, x, y, log_x, np.log(y), _threads())
    return _weights.scaled(y, by_a), -_weights.scaled(y, by_b)


@_draws(event=1, off_zero=True, off_one=True)
def dirichlet_draw(key, concentration):
    """Points of the simplex, along the last axis, inside it."""
    return _simplex(key, concentration)[0]


@_doubles(off_zero=True, off_one=True)
def dirichlet_velocity(x, concentration):
    """c with dx_i/dconcentration_j = (delta_ij - x_i) c_j: c_j is x_j times the velocity of logit x_j."""
    others = np.where(np.arange(x.shape[-1]) == x.argmax(axis=-1)[..., None], 0.0, x).sum(axis=-1, keepdims=True)
    large = x > 0.5
    y = np.where(large, others, 1.0 - x)
    log_y = np.where(large, np.log(y), np.log1p(-np.where(large, 0.0, x)))
    return (_weights.scaled(x, _coordinate_weight(concentration, x, y, np.log(x), log_y)),)


def _coordinate_weight(concentration, x, y, log_x, log_y):
    """The velocity of logit x_j ~ Beta(a_j, sum of the others) with a_j alone, under a fixed sum of the others."""
    k = concentration.shape[-1]
    rest = concentration @ (1.0 - np.eye(k)) if k < 64 else concentration.sum(axis=-1, keepdims=True) - concentration
    return _weights.beta_weight(concentration, rest, x, y, log_x, log_y, _threads())[0]


@_draws(event=1)
def logdirichlet_draw(key, concentration):
    """Logarithms of points of the simplex, finite where the points underflow."""
    return _simplex(key, concentration)[1]


@_doubles()
def logdirichlet_velocity(log_x, concentration):
    """w with d log x_i/dconcentration_j = (delta_ij - x_j) w_j."""
    x = np.exp(log_x)
    top = np.arange(x.shape[-1]) == log_x.argmax(axis=-1)[..., None]
    others = np.where(top, -np.inf, log_x)
    largest = others.max(axis=-1, keepdims=True)
    log_others = largest + np.log(np.exp(others - largest).sum(axis=-1, keepdims=True))
    log_y = np.where(top, log_others, np.log1p(-np.where(top, 0.0, x)))
    return (_coordinate_weight(concentration, x, np.exp(log_y), log_x, log_y),)


# -- distribution functions -------------------------------------------------------------------------------------------


@_doubles()
def gamma_cdf(x, shape):
    """F(x) of Gamma(shape, 1)."""
    return special.gammainc(shape, x)


@_doubles()
def gamma_quantile(u, shape):
    """x with F(x) = u."""
    return _gamma_beta.gamma_quantile(shape, u, 1.0 - u)[0]


@_doubles()
def beta_cdf(x, a, b):
    """F(x) of Beta(a, b)."""
    return special.betainc(a, b, x)


@_doubles()
def beta_quantile(u, a, b):
    """x with F(x) = u."""
    return _gamma_beta.beta_quantile(a, b, u, 1.0 - u)[0]


# -- the circle, the line and the interval ----------------------------------------------------------------------------


@_draws()
def von_mises_draw(key, concentration):
    """Angles in [-pi, pi], of mean 0."""
    tangent = np.empty_like(concentration)
    _core.draws.von_mises_each(key, VON_MISES_STREAM, concentration, tangent, _threads())
    return 2.0 * np.arctan(tangent)


@_doubles()
def von_mises_velocity(x, concentration):
    """dx/dconcentration; 0 at the angle opposite to the mean."""
    return (_weights.von_mises_weight(concentration, np.clip(x, -np.pi, np.pi), _threads()),)


@_draws()
def inverse_gaussian_draw(key, mean, concentration):
    """Michael, Schucany & Haas (The American Statistician 30, 1976), the smaller root without cancellation."""
    w = 0.5 * mean / concentration * _normals(key, len(mean)) ** 2
    root = 1.0 / (1.0 + w + np.sqrt(w * (w + 2.0)))
    return np.where(_uniforms(key, len(mean)) * (1.0 + root) <= 1.0, mean * root, mean / root)


@_doubles()
def inverse_gaussian_velocity(x, mean, concentration):
    """dx/dmean and dx/dconcentration."""
    by_mean, by_concentration = _weights.inverse_gaussian_weight(mean, concentration, x, _threads())
    return np.where(x == 0.0, 0.0, by_mean), np.where(x == 0.0, 0.0, by_concentration)


@_draws()
def truncated_normal_draw(key, loc, scale, low, high):
    """By inversion; the ends themselves may be reached by rounding."""
    return _truncation.quantile(_uniforms(key, len(loc)), loc, scale, low, high)


@_doubles()
def truncated_normal_velocity(x, loc, scale, low, high):
    """dx by loc, scale, low and high."""
    p = SimpleNamespace(loc=loc, scale=scale, low=low, high=high)
    inside = Points(np.clip(x, low, high), n_threads=_threads())
    by = TruncatedNormal._transport(inside, p)
    return by["loc"], by["scale"], by["low"], by["high"]


def _truncated(loc, scale, low, high):
    """The parameters flat, with their moments: `sbpfast.expfam._truncation` takes vectors."""
    p = SimpleNamespace(loc=loc.ravel(), scale=scale.ravel(), low=low.ravel(), high=high.ravel())
    p.moments = _truncation.moments(p.loc, p.scale, p.low, p.high)
    return p


@_doubles()
def truncated_normal_log_integral(loc, scale, low, high):
    """log int exp(-offset y - y^2/2) dy over the y = (x - centre)/scale with x in [low, high].

    The centre is the point of [low, high] nearest to loc, and offset = (centre - loc)/scale.
    """
    return _truncated(loc, scale, low, high).moments.log_integral.reshape(loc.shape)


@_doubles()
def truncated_normal_log_integral_slopes(loc, scale, low, high):
    """Its derivatives by loc, scale, low and high."""
    p = _truncated(loc, scale, low, high)
    m, s = p.moments, p.scale
    by_scale = (m.second + 2.0 * m.offset * m.first - 1.0) / s
    at_low, at_high = TruncatedNormal._end_densities(p)
    by_low = np.where(m.centre == p.low, m.offset / s, 0.0) - at_low
    by_high = np.where(m.centre == p.high, m.offset / s, 0.0) + at_high
    return tuple(v.reshape(loc.shape) for v in (m.first / s, by_scale, by_low, by_high))


@_doubles()
def truncated_normal_moments(loc, scale, low, high):
    """Mean, variance and entropy."""
    p = _truncated(loc, scale, low, high)
    m = p.moments
    out = m.centre + p.scale * m.first, p.scale**2 * m.variance, TruncatedNormal._entropy(p)
    return tuple(a.reshape(loc.shape) for a in out)


@_doubles()
def truncated_normal_moment_slopes(loc, scale, low, high):
    """Derivatives of mean, variance and entropy, each by loc, scale, low and high.

    By loc and scale they are covariances with the score; a bound that moves adds the density there times what the
    quantity gains.  With dy = y - E y the scores are dy/scale and (2 E z dy + dy^2 - Var y)/scale.
    """
    p = _truncated(loc, scale, low, high)
    m, s = p.moments, p.scale
    third = m.mixed - 2.0 * m.first * m.variance
    fourth = m.variance_of_square - 4.0 * m.first * (third + m.first * m.variance)  # less the squared variance
    twice_z = 2.0 * (m.offset + m.first)
    mean, variance = m.centre + s * m.first, s * s * m.variance
    # -log p = z^2/2 + constants, so that -Cov(log p, score) = Cov(z^2/2, score), z^2/2 = E z dy + dy^2/2 + constants
    half = 0.5 * twice_z
    by_loc = [m.variance, s * third, (half * m.variance + 0.5 * third) / s]
    with_square = twice_z * third + fourth
    by_scale = [
        twice_z * m.variance + third,
        s * with_square,
        (half * (twice_z * m.variance + third) + 0.5 * with_square) / s,
    ]
    entropy = TruncatedNormal._entropy(p)
    ends = [
        _end_slopes(end, sign * density, mean, variance, entropy, density)
        for end, sign, density in zip((p.low, p.high), (1.0, -1.0), TruncatedNormal._end_densities(p))
    ]
    return tuple(v.reshape(loc.shape) for row in zip(by_loc, by_scale, *ends) for v in row)


def _end_slopes(end, flow, mean, variance, entropy, density):
    """Of mean, variance and entropy by a bound: the flow of probability there, times the mean less the value there."""
    at = np.where(np.isfinite(end), end, mean)
    log_density = np.log(np.where(density > 0.0, density, 1.0))
    return [flow * (mean - at), flow * (variance - (at - mean) ** 2), flow * (entropy - 1.0 + log_density)]


@_draws()
def continuous_bernoulli_draw(key, logit):
    """By inversion."""
    return ContinuousBernoulli._ppf(_uniforms(key, len(logit)), SimpleNamespace(logit=logit))


@_doubles()
def continuous_bernoulli_velocity(x, logit):
    """dx/dlogit."""
    return (_weights.continuous_bernoulli_weight(logit, x, _threads()),)


@_doubles()
def scaled_exponential_integral(s):
    """e^s E1(s), s > 0."""
    return _functions.scaled_exponential_integral(s)


LAWS = {
    "gamma": Law(("shape",), gamma_draw, gamma_velocity, gamma_slopes),
    "loggamma": Law(("shape",), loggamma_draw, loggamma_velocity, loggamma_slopes),
    "inverse_gamma": Law(("shape",), inverse_gamma_draw, inverse_gamma_velocity),
    "student_t": Law(("df",), student_t_draw, student_t_velocity),
    "beta": Law(("a", "b"), beta_draw, beta_velocity, beta_slopes),
    "logbeta": Law(("a", "b"), logbeta_draw, logbeta_velocity),
    "von_mises": Law(("concentration",), von_mises_draw, von_mises_velocity),
    "inverse_gaussian": Law(("mean", "concentration"), inverse_gaussian_draw, inverse_gaussian_velocity),
    "truncated_normal": Law(("loc", "scale", "low", "high"), truncated_normal_draw, truncated_normal_velocity),
    "continuous_bernoulli": Law(("logit",), continuous_bernoulli_draw, continuous_bernoulli_velocity),
}
"""Laws of one coordinate."""

SIMPLEX_LAWS = {
    "dirichlet": Law(("concentration",), dirichlet_draw, dirichlet_velocity),
    "logdirichlet": Law(("concentration",), logdirichlet_draw, logdirichlet_velocity),
}
"""Laws of a point along the last axis, whose velocity is a factor of the matrix dx_i/dconcentration_j."""
