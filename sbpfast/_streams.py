"""Random streams: from ``rng`` to a key, and from a key to blocks of draws.

A key is four 64-bit words.  Draw number i of a stream depends on (key, stream number, i) alone, so draws can be made
in blocks, in any order, by any number of threads.  Draws below ``LONG`` coordinates are stored 64 to a panel (the
lanes of the kernels); longer ones one after another, so that a few draws of a million coordinates stay affordable.
"""

from __future__ import annotations

from numbers import Integral
from typing import TypeAlias

import numpy as np

from sbpfast import _checks, _core

RNG: TypeAlias = int | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | None
"""What a draw takes its randomness from; `stream_key` says how."""

LANES = 64
LONG = 1024

# stream numbers: what a draw is for
NOISE = 0
FACTOR_NOISE = 1


def stream_key(rng: RNG = None, name="rng") -> np.ndarray:
    """The key (4,) of a family of streams, from anything SPEC 7 allows.

    Parameters
    ----------
    rng : None, int, numpy.random.SeedSequence, BitGenerator or Generator
        None takes fresh entropy.  A Generator is advanced by four words; the others are not changed.
    name : str
        The argument's name, for the error text.

    Raises
    ------
    TypeError, ValueError
        Not one of these; a negative int.
    """
    if isinstance(rng, np.random.Generator):
        return rng.integers(0, 2**64 - 1, size=4, dtype=np.uint64, endpoint=True)
    if isinstance(rng, np.random.BitGenerator):
        return rng.random_raw(4)
    if isinstance(rng, Integral) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"{name} must be a non-negative integer, got {rng}")
        rng = np.random.SeedSequence(int(rng))
    elif rng is None:
        rng = np.random.SeedSequence()
    if not isinstance(rng, np.random.SeedSequence):
        raise TypeError(
            f"{name} must be None, an int, a SeedSequence, a BitGenerator or a Generator, got {type(rng).__name__}"
        )
    return rng.generate_state(4, np.uint64)


def to_rows(panels, n) -> np.ndarray:
    """(blocks, d, 64) to (n, d)."""
    blocks, d, _ = panels.shape
    return panels.transpose(0, 2, 1).reshape(blocks * LANES, d)[:n]


def to_panels(x) -> np.ndarray:
    """(n, d) to (blocks, d, 64); the lanes beyond n repeat the last point."""
    n, d = x.shape
    blocks = -(-n // LANES)
    padded = np.empty((blocks * LANES, d))
    padded[:n] = x
    padded[n:] = x[-1]
    return np.ascontiguousarray(padded.reshape(blocks, LANES, d).transpose(0, 2, 1))


def normal_panels(key, stream, start, stop, d, antithetic, n_threads) -> np.ndarray:
    """Standard normals for draws start..stop-1, start a multiple of 64, as panels (blocks, d, 64).

    Antithetic draws come in pairs 2i, 2i + 1, the second the negative of the first.
    """
    if d >= LONG:
        return to_panels(normal_rows(key, stream, start, stop, d, antithetic, n_threads))
    blocks = -(-(stop - start) // LANES)
    z = np.empty((blocks, d, LANES))
    _core.random.fill_normal(key, stream, start // LANES, z, n_threads)
    if antithetic:
        half = z[:, :, : LANES // 2].copy()
        z[:, :, 0::2] = half
        np.negative(half, out=z[:, :, 1::2])
    return z


def normal_rows(key, stream, start, stop, d, antithetic, n_threads) -> np.ndarray:
    """The same normals as rows (stop - start, d); start may be any number."""
    if d >= LONG:
        return _long_rows(key, stream, start, stop, d, antithetic, n_threads)
    first = start - start % LANES
    panels = normal_panels(key, stream, first, stop, d, antithetic, n_threads)
    return np.ascontiguousarray(to_rows(panels, stop - first)[start - first :])


def _long_rows(key, stream, start, stop, d, antithetic, n_threads):
    if antithetic:
        first, last = start // 2, -(-stop // 2)
        half = _long_rows(key, stream, first, last, d, False, n_threads)
        both = np.empty((2 * len(half), d))
        both[0::2] = half
        np.negative(half, out=both[1::2])
        return both[start - 2 * first : stop - 2 * first]
    z = np.empty((stop - start, -(-d // LANES), LANES))
    _core.random.fill_normal(key, stream, start, z, n_threads)
    return z.reshape(stop - start, -1)[:, :d]


def standard_normal(size: int | tuple[int, ...], *, rng: RNG = None, n_threads: int | None = None) -> np.ndarray:
    """Independent standard normals.

    Parameters
    ----------
    size : int or tuple of ints
        The shape of the result.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Source of the key, see SPEC 7.
    n_threads : int, optional
        None means all usable cores.  The bits of the result do not depend on it.

    Returns
    -------
    numpy.ndarray of float64
        Box-Muller transforms of Threefry-4x64-20 words (Salmon et al., SC 2011); values reach 9.49 in either tail.
    """
    sizes = size if isinstance(size, tuple | list) else (size,)
    shape = tuple(_checks.count("size", n, least=0) for n in sizes)
    count = int(np.prod(shape, dtype=np.int64))
    z = np.empty((-(-count // LANES), 1, LANES))
    _core.random.fill_normal(stream_key(rng), NOISE, 0, z, _core.effective_threads(n_threads))
    return z.reshape(-1)[:count].reshape(shape)
