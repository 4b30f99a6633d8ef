"""NumPy twins of the kernels in ``_core.rbm``, same names and arguments (less the thread count): what they mean.

Random sweeps take their uniforms and normals from `uniforms` and `normals`, which lay the words of Threefry out as the
kernels do: row i of a sweep is made of whole rows of 64 words, each of which is 64 doubles or 128 floats.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logsumexp

from sbpfast import _core

ROTATIONS = ((14, 16), (52, 57), (23, 40), (5, 37), (25, 33), (46, 12), (58, 22), (32, 32))


def threefry(counter, key):
    """Threefry-4x64-20 (Salmon et al. 2011) of arrays of four-word counters (..., 4)."""
    with np.errstate(over="ignore"):
        k = [np.uint64(w) for w in key]
        k.append(np.uint64(0x1BD11BDAA9FC1A22) ^ k[0] ^ k[1] ^ k[2] ^ k[3])
        x = [counter[..., i] + k[i] for i in range(4)]
        for round_ in range(20):
            first, second = ROTATIONS[round_ % 8]
            pairs = ((0, 1), (2, 3)) if round_ % 2 == 0 else ((0, 3), (2, 1))
            for (a, b), turn in zip(pairs, (first, second)):
                x[a] = x[a] + x[b]
                x[b] = (x[b] << np.uint64(turn) | x[b] >> np.uint64(64 - turn)) ^ x[a]
            if round_ % 4 == 3:
                step = round_ // 4 + 1
                x = [x[i] + k[(step + i) % 5] for i in range(4)]
                x[3] = x[3] + np.uint64(step)
    return np.stack(x, axis=-1)


def row_words(key, stream, block, row):
    """The 64 words of one row: lane l of word group w is word w of counter 16 row + l."""
    counter = np.zeros((16, 4), dtype=np.uint64)
    counter[:, 0] = np.arange(16) + 16 * row
    counter[:, 1], counter[:, 2] = block, stream
    return threefry(counter, key).T.reshape(-1)


def _rows(key, stream, block, n, m, dtype, of_words):
    """of_words of enough rows of words for each of n rows, cut to m numbers."""
    chunks = -(-m // (64 if dtype == np.float64 else 128))
    rows = [[of_words(row_words(key, stream, block, i * chunks + q), dtype) for q in range(chunks)] for i in range(n)]
    return np.array(rows, dtype=dtype).reshape(n, -1)[:, :m]


def _uniforms_of_words(words, dtype):
    if dtype == np.float64:
        return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    halves = np.concatenate([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)])
    return ((halves >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23


def _normals_of_words(words, dtype):
    if dtype == np.float64:
        radius_words, angle_words = words.reshape(4, 16)[0::2], words.reshape(4, 16)[1::2]
        radius = (radius_words.astype(np.float64) + 0.5) * 2.0**-64
        angle = _uniforms_of_words(angle_words, dtype)
    else:
        radius = ((words & np.uint64(0xFFFFFFFF)) >> np.uint64(1)).astype(np.float64) * 2.0**-31 + 2.0**-32
        angle = ((words >> np.uint64(41)).astype(np.float64) + 0.5) * 2.0**-23
    radius = np.sqrt(-2.0 * np.log(radius))
    pair = radius * np.cos(2 * np.pi * angle), radius * np.sin(2 * np.pi * angle)
    return np.stack(pair, axis=1).reshape(-1) if dtype == np.float64 else np.concatenate(pair)


def uniforms(key, stream, block, n, m, dtype):
    """The uniforms (n, m) of a hidden sweep."""
    return _rows(key, stream, block, n, m, np.dtype(dtype), _uniforms_of_words)


def normals(key, stream, block, n, m, dtype):
    """The normals (n, m) of a visible sweep."""
    return _rows(key, stream, block, n, m, np.dtype(dtype), _normals_of_words)


# -- sweeps over rows -------------------------------------------------------------------------------------------------


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
    draw[:] = (uniforms(key, stream, block, *t.shape, t.dtype) < p) - centre.astype(np.float64)


def visible_rows(u, shift, gain, scale, key, stream, block, draw):
    z = normals(key, stream, block, *u.shape, u.dtype)
    draw[:] = shift + gain.astype(np.float64) * u + scale.astype(np.float64) * z


def standardise_rows(x, rows, centre, inverse_scale, out):
    out[:] = (x[rows] - centre) * inverse_scale


# -- steps of the optimisers ------------------------------------------------------------------------------------------


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


# -- the sum over hidden states ---------------------------------------------------------------------------------------


def sum_states(bias, coupling, moments):
    """By listing the states: 2^H rows of H."""
    units = len(bias)
    h = (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(np.float64)
    pairs = np.triu(coupling, 1)
    exponent = h @ bias + ((h @ pairs) * h).sum(1)
    log_sum = float(logsumexp(exponent))
    p = np.exp(exponent - log_sum)
    return log_sum, (h.T @ (p[:, None] * h) if moments else None)


KERNELS = [name for name in vars(_core.rbm) if name.endswith(("_rows", "_step", "_states")) and not name.startswith("_")]
"""The compiled kernels that need a twin here."""
