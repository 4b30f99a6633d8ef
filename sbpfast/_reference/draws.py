"""NumPy twins of the kernels of the topic ``draws``; see `sbpfast._reference`."""

from __future__ import annotations

import numpy as np

from sbpfast._reference.random import row_normal, row_uniform, threefry

RETRY = 3  # streams from the first: normals, uniforms of the acceptance, of the boost, and retries


def _uniform(word):
    return float(word >> 12) * 2.0**-52 + 2.0**-53


def _gamma_attempt(d, c, z, u):
    """log t of an accepted candidate d t^3, else None."""
    t = 1.0 + c * z
    if t > 0 and np.log(u) < 0.5 * z * z + d * (1.0 - t**3 + 3.0 * np.log(t)):
        return np.log(t)
    return None


def _gamma_retry(key, stream, block, row, lane, d, c):
    attempt = 0
    while True:
        p, q, r, s = threefry((64 * attempt + lane, block, stream + RETRY, row), key)
        radius, angle = np.sqrt(-2.0 * np.log((p + 0.5) * 2.0**-64)), 2.0 * np.pi * _uniform(q)
        for z, word in ((radius * np.cos(angle), r), (radius * np.sin(angle), s)):
            accepted = _gamma_attempt(d, c, z, _uniform(word))
            if accepted is not None:
                return accepted
        attempt += 1


def row_gamma(key, stream, block, row, shape):
    """64 log gammas by Marsaglia & Tsang (ACM TOMS 26, 2000); below shape 1 from shape + 1 times U^(1/shape)."""
    d = (shape + 1.0 if shape < 1.0 else shape) - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    z, u = row_normal(key, stream, block, row), row_uniform(key, stream + 1, block, row)
    log_t = np.empty(64)
    for lane in range(64):
        accepted = _gamma_attempt(d, c, z[lane], u[lane])
        log_t[lane] = _gamma_retry(key, stream, block, row, lane, d, c) if accepted is None else accepted
    log_x = np.log(d) + 3.0 * log_t
    return log_x + np.log(row_uniform(key, stream + 2, block, row)) / shape if shape < 1.0 else log_x


def fill_gamma(key, stream, first_block, blocks, shape):
    """Gammas and their logarithms, (blocks, len(shape), 64)."""
    log_x = np.array(
        [[row_gamma(key, stream, first_block + b, r, a) for r, a in enumerate(shape)] for b in range(blocks)]
    )
    return np.exp(log_x), log_x


def row_von_mises(key, stream, block, row, kappa):
    """64 values of tan(x/2) by Best & Fisher (1979), from their r = (1 + rho^2) / (2 rho)."""
    tau = 1.0 + np.sqrt(1.0 + 4.0 * kappa * kappa)
    rho = (tau - np.sqrt(2.0 * tau)) / (2.0 * kappa)
    r = (1.0 + rho * rho) / (2.0 * rho)
    tangent, attempt = np.full(64, np.nan), 0
    while np.isnan(tangent).any():
        half_turn = np.pi * row_uniform(key, stream + 2 * attempt, block, row)
        u = row_uniform(key, stream + 2 * attempt + 1, block, row)
        z = -np.cos(2.0 * half_turn)
        w = (1.0 + r * z) / (r + z)
        bound = kappa * (r - w)
        accepted = np.log(u) < np.log(bound) + 1.0 - bound
        candidate = -np.sign(np.cos(half_turn)) * np.tan(0.5 * np.arccos(np.clip(w, -1.0, 1.0)))
        tangent = np.where(np.isnan(tangent) & accepted, candidate, tangent)
        attempt += 1
    return tangent


def fill_von_mises(key, stream, first_block, blocks, concentration):
    """tan(x/2) of von Mises draws, (blocks, len(concentration), 64)."""
    return np.array(
        [
            [row_von_mises(key, stream, first_block + b, r, k) for r, k in enumerate(concentration)]
            for b in range(blocks)
        ]
    )


def simplex(log_gamma, k, n):
    """x, 1 - x, log x, log(1 - x) of normalised groups of k gammas: panels (blocks, groups k, 64) to rows."""
    rows = log_gamma.transpose(0, 2, 1).reshape(-1, log_gamma.shape[1] // k, k)[:n]
    others = np.stack([np.logaddexp.reduce(np.delete(rows, i, axis=2), axis=2) for i in range(k)], axis=2)
    log_x, log_y = (-np.logaddexp(0.0, v).reshape(n, -1) for v in (others - rows, rows - others))
    return np.exp(log_x), np.exp(log_y), log_x, log_y


# -- one parameter an element -----------------------------------------------------------------------------------------


def gamma_each(key, stream, shape):
    """Gammas and their logarithms: element i is lane i % 64 of row i // 64 of block 0, of its own shape."""
    log_x = np.array([row_gamma(key, stream, 0, i // 64, a)[i % 64] for i, a in enumerate(shape)])
    return np.exp(log_x), log_x


def von_mises_each(key, stream, concentration):
    """tan(x/2) of von Mises draws, each of its own concentration."""
    return np.array([row_von_mises(key, stream, 0, i // 64, k)[i % 64] for i, k in enumerate(concentration)])


def simplex_each(log_gamma):
    """x and log x of normalised rows of k gammas (n, k)."""
    others = [
        np.logaddexp.reduce(np.delete(log_gamma, i, axis=1), axis=1, initial=-np.inf) for i in range(log_gamma.shape[1])
    ]
    log_x = -np.logaddexp(0.0, np.stack(others, axis=1) - log_gamma)
    return np.exp(log_x), log_x
