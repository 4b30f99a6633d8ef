"""NumPy twins of the kernels in ``_core.rbm``, same names and arguments (less the thread count): what they mean.

Random sweeps take their uniforms and normals from `uniforms` and `normals`, which lay the words of Threefry out as the
kernels do: row i of a sweep is made of whole rows of 64 words, each of which is 64 doubles or 128 floats.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logsumexp

from sbpfast._reference.random import row_normal, row_uniform, row_words


def _rows(key, stream, block, n, m, dtype, row_f64, of_words):
    """Enough rows of draws for each of n rows, cut to m numbers."""
    double = dtype == np.float64
    chunks = -(-m // (64 if double else 128))

    def row(index):
        return row_f64(key, stream, block, index) if double else of_words(row_words(key, stream, block, index))

    return np.array([[row(i * chunks + q) for q in range(chunks)] for i in range(n)], dtype).reshape(n, -1)[:, :m]


def _uniforms_of_words(words):
    halves = np.concatenate([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)])
    return ((halves >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23


def _normals_of_words(words):
    radius = ((words & np.uint64(0xFFFFFFFF)) >> np.uint64(1)).astype(np.float64) * 2.0**-31 + 2.0**-32
    angle = 2.0 * np.pi * ((words >> np.uint64(41)).astype(np.float64) + 0.5) * 2.0**-23
    radius = np.sqrt(-2.0 * np.log(radius))
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])


def uniforms(key, stream, block, n, m, dtype):
    """The uniforms (n, m) of a hidden sweep."""
    return _rows(key, stream, block, n, m, np.dtype(dtype), row_uniform, _uniforms_of_words)


def normals(key, stream, block, n, m, dtype):
    """The normals (n, m) of a visible sweep."""
    return _rows(key, stream, block, n, m, np.dtype(dtype), row_normal, _normals_of_words)


# -- sweeps over rows -----------------------------------------------------------------------------------------------


def softplus_rows(t, offset, slope, out):
    out[:] = np.logaddexp(0.0, slope * t.astype(np.float64) + offset).sum(1)


def half_square_rows(v, centre, inverse_scale, out):
    out[:] = 0.5 * (((v.astype(np.float64) - centre) * inverse_scale) ** 2).sum(1)


def probability_rows(t, offset, slope, centre, out):
    out[:] = expit(slope * t.astype(np.float64) + offset) - centre


def hidden_rows(t, offset, slope, centre, key, stream, block, probability, draw):
    p = expit(slope * t.astype(np.float64) + offset)
    if probability is not None:
        probability[:] = p - centre
    draw[:] = (uniforms(key, stream, block, t.shape[0], t.shape[1], t.dtype) < p) - centre.astype(np.float64)


def visible_rows(u, shift, gain, scale, key, stream, block, draw):
    z = normals(key, stream, block, u.shape[0], u.shape[1], u.dtype)
    draw[:] = shift + gain.astype(np.float64) * u + scale.astype(np.float64) * z


def standardise_rows(x, rows, centre, inverse_scale, out):
    out[:] = (x[rows] - centre) * inverse_scale


# -- steps of the optimisers ----------------------------------------------------------------------------------------


def adam_step(w, positive, negative, first, second, scale, decay, rate, beta1, beta2, epsilon, row_dots):
    row_dots[:] = (w.astype(np.float64) * positive).sum(1)
    g = scale * (positive - negative) - decay * w
    first[:] = beta1 * first + (1 - beta1) * g
    second[:] = beta2 * second + (1 - beta2) * g * g
    w += rate * first / (np.sqrt(second) + epsilon)


def momentum_step(w, positive, negative, velocity, scale, decay, rate, momentum, longest, row_dots):
    row_dots[:] = (w.astype(np.float64) * positive).sum(1)
    velocity[:] = momentum * velocity + rate * (scale * (positive - negative) - decay * w)
    length = np.sqrt((velocity.astype(np.float64) ** 2).sum(0))
    velocity *= np.where(length > longest, longest / np.maximum(length, longest), 1.0)
    w += velocity


# -- the sum over hidden states -------------------------------------------------------------------------------------


def sum_states(bias, coupling, moments):
    """By listing the states: 2^H rows of H."""
    units = len(bias)
    h = (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(np.float64)
    pairs = np.triu(coupling, 1)
    exponent = h @ bias + ((h @ pairs) * h).sum(1)
    log_sum = float(logsumexp(exponent))
    p = np.exp(exponent - log_sum)
    return log_sum, (h.T @ (p[:, None] * h) if moments else None)
