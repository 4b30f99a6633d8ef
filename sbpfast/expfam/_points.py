"""Points of a family, the transforms of them that are known to full precision, and the streams they are drawn from."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sbpfast import _core
from sbpfast._streams import LANES, normal_panels, to_rows

NORMAL_STREAM = 0
UNIFORM_STREAM = 8
GAMMA_STREAM = 16  # eight stream numbers each
VON_MISES_STREAM = 64  # and all above


class Points:
    """Points x (n, d), with log x, 1 - x and log(1 - x) where the source knows them better than x does.

    Small shapes send draws so near 0 or 1 that x alone underflows or rounds to 1; a sampler that carries the logarithms
    and the complement keeps every weight and score accurate there.
    """

    def __init__(self, x, *, log_x=None, y=None, log_y=None, n_threads=1, **more):
        self.x = x
        self.n_threads = n_threads
        for name, value in (("log_x", log_x), ("y", y), ("log_y", log_y), *more.items()):
            if value is not None:
                self.__dict__[name] = value

    @property
    def n(self) -> int:
        """The number of points."""
        return len(self.x)

    def part(self, rows: slice) -> Points:
        """Some of the points, with what is known of them."""
        known = {name: value[rows] for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}
        return Points(n_threads=self.n_threads, **known)

    @cached_property
    def log_x(self) -> np.ndarray:
        """log x, -inf at 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.x)

    @cached_property
    def y(self) -> np.ndarray:
        """1 - x."""
        return 1.0 - self.x

    @cached_property
    def log_y(self) -> np.ndarray:
        """log(1 - x), -inf at 1."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log1p(-self.x)


class Streams:
    """The random numbers behind draws start..stop-1 of d coordinates; start is a multiple of 64.

    Antithetic draws come in pairs 2i, 2i + 1: the second has the normals' signs changed and u replaced by 1 - u.
    """

    def __init__(self, key, start, stop, d, antithetic, n_threads):
        self.key, self.start, self.stop, self.d = key, start, stop, d
        self.antithetic, self.n_threads = antithetic, n_threads

    @property
    def n(self) -> int:
        """The number of draws."""
        return self.stop - self.start

    def _panels(self, d):
        return np.empty((-(-self.n // LANES), d, LANES))

    def _rows(self, panels):
        return np.ascontiguousarray(to_rows(panels, self.n))

    def normals(self, stream=0, d=None) -> np.ndarray:
        """Standard normals (n, d)."""
        d = self.d if d is None else d
        return self._rows(
            normal_panels(self.key, NORMAL_STREAM + stream, self.start, self.stop, d, self.antithetic, self.n_threads)
        )

    def uniforms(self, stream=0) -> np.ndarray:
        """Uniforms on (0, 1), (n, d)."""
        u = self._panels(self.d)
        _core.random.fill_uniform(self.key, UNIFORM_STREAM + stream, self.start // LANES, u, self.n_threads)
        if self.antithetic:
            half = u[:, :, : LANES // 2].copy()
            u[:, :, 0::2] = half
            np.subtract(1.0, half, out=u[:, :, 1::2])
        return self._rows(u)

    def gamma_panels(self, shape, stream=0) -> tuple[np.ndarray, np.ndarray]:
        """Gammas of rate 1 with shapes (rows,), and their logarithms, as panels (blocks, rows, 64)."""
        x = self._panels(len(shape))
        log_x = np.empty_like(x)
        _core.draws.fill_gamma(
            self.key, GAMMA_STREAM + 8 * stream, self.start // LANES, shape, x, log_x, self.n_threads
        )
        return x, log_x

    def gammas(self, shape, stream=0) -> tuple[np.ndarray, np.ndarray]:
        """Gammas of rate 1 with shapes (rows,), and their logarithms, as rows (n, rows)."""
        x, log_x = self.gamma_panels(shape, stream)
        return self._rows(x), self._rows(log_x)

    def simplex(self, shape, k) -> Points:
        """Normalised groups of k gammas: points of simplices, with their complements and logarithms."""
        _, log_gamma = self.gamma_panels(shape)
        x, y, log_x, log_y = (np.empty((self.n, len(shape))) for _ in range(4))
        _core.draws.simplex(log_gamma, k, x, y, log_x, log_y, self.n_threads)
        return Points(x, y=y, log_x=log_x, log_y=log_y, n_threads=self.n_threads)

    def half_angle_tangents(self, concentration) -> np.ndarray:
        """tan(x/2) of von Mises draws with mean 0, (n, d)."""
        tangent = self._panels(self.d)
        first = self.start // LANES
        _core.draws.fill_von_mises(self.key, VON_MISES_STREAM, first, concentration, tangent, self.n_threads)
        return self._rows(tangent)
