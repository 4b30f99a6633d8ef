"""Twins of the kernels of ``_core.random``."""

from __future__ import annotations

import numpy as np

MASK = 2**64 - 1
ROTATIONS = ((14, 16), (52, 57), (23, 40), (5, 37), (25, 33), (46, 12), (58, 22), (32, 32))


def threefry(counter, key):
    """Threefry-4x64-20 in Python integers (Salmon et al., SC 2011, section 4.2)."""
    k = [int(w) for w in key]
    k.append(0x1BD11BDAA9FC1A22 ^ k[0] ^ k[1] ^ k[2] ^ k[3])
    x = [(int(c) + k[i]) & MASK for i, c in enumerate(counter)]
    for r in range(20):
        for i, j, rotation in (
            (0, 1 if r % 2 == 0 else 3, ROTATIONS[r % 8][0]),
            (2, 3 if r % 2 == 0 else 1, ROTATIONS[r % 8][1]),
        ):
            x[i] = (x[i] + x[j]) & MASK
            x[j] = ((x[j] << rotation) | (x[j] >> (64 - rotation))) & MASK
            x[j] ^= x[i]
        if r % 4 == 3:
            s = r // 4 + 1
            x = [(x[i] + k[(s + i) % 5] + (s if i == 3 else 0)) & MASK for i in range(4)]
    return x


def row_words(key, stream, block, row):
    """The 64 words of a row: lane l comes from counter (16 row + l % 16, block, stream, 0), word l // 16."""
    words = [threefry((16 * row + lane, block, stream, 0), key) for lane in range(16)]
    return np.array([words[lane % 16][lane // 16] for lane in range(64)], dtype=np.uint64)


def row_uniform(key, stream, block, row):
    """The top 52 bits of each word, at the centre of their interval."""
    return (row_words(key, stream, block, row) >> np.uint64(12)).astype(np.float64) * 2.0**-52 + 2.0**-53


def row_normal(key, stream, block, row):
    """Box-Muller on words (0, 1) and (2, 3) of every counter."""
    words = row_words(key, stream, block, row).reshape(4, 16)
    out = np.empty((4, 16))
    for pair in (0, 2):
        radius = np.sqrt(-2.0 * np.log((words[pair].astype(np.float64) + 0.5) * 2.0**-64))
        angle = 2.0 * np.pi * ((words[pair + 1] >> np.uint64(12)).astype(np.float64) * 2.0**-52 + 2.0**-53)
        out[pair], out[pair + 1] = radius * np.cos(angle), radius * np.sin(angle)
    return out.reshape(64)


def fill_uniform(key, stream, first_block, blocks, rows):
    return np.array([[row_uniform(key, stream, first_block + b, r) for r in range(rows)] for b in range(blocks)])


def fill_normal(key, stream, first_block, blocks, rows):
    return np.array([[row_normal(key, stream, first_block + b, r) for r in range(rows)] for b in range(blocks)])


def affine_panels(factor, mean, z):
    """mean + factor z for rows z (n, k)."""
    return mean + z @ factor.T


def solve_transposed_panels(factor, z):
    """L^-T z for rows z (n, d)."""
    return np.linalg.solve(factor.T, z.T).T


def diagonal_rows(key, stream, mean, std, n):
    """mean + std z for the first n draws z of the stream, (n, d)."""
    return mean + std * _normal_rows(key, stream, n, len(mean))


def affine_rows(key, stream, factor, mean, n):
    """mean + L z for the first n draws z of the stream, (n, d)."""
    return affine_panels(factor, mean, _normal_rows(key, stream, n, len(mean)))


def _normal_rows(key, stream, n, d):
    return fill_normal(key, stream, 0, -(-n // 64), d).transpose(0, 2, 1).reshape(-1, d)[:n]
