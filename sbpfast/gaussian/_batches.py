"""Batches of Gaussians: the diagonal and the low-rank precision structures with leading axes on their parameters.

`DiagonalGaussian` and `LowRankPrecisionGaussian` make one of these where the mean has leading axes.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sbpfast import _checks, _core
from sbpfast._streams import LONG, NOISE, normal_rows
from sbpfast.gaussian._diagonal import DiagonalGaussian
from sbpfast.gaussian._draws import LOG_2PI
from sbpfast.gaussian._full import GaussianBase
from sbpfast.gaussian._low_rank import LowRankPrecisionGaussian
from sbpfast.gaussian._precision_rows import low_rank_moments, low_rank_sample

LARGEST = 1e12  # trace of factor^T diag^-1 factor in a batch: from 1e16 on, nothing of the identity beside it is left


class Batch(GaussianBase):
    """What batches share; a method that needs one covariance refuses."""

    _single: type  # the class of a member

    def _set(self, **parameters):
        """The parameters broadcast against each other, read-only."""
        checked = {name: _checks.real_array(name, value) for name, value in parameters.items()}
        vectors = {name: a.shape[:-1] if name == "factor" else a.shape for name, a in checked.items()}
        try:
            shape = np.broadcast_shapes(*vectors.values())
        except ValueError:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in checked.items())
            raise ValueError(f"the parameters of a batch must broadcast: (..., d), got {shapes}") from None
        if len(shape) < 2 or 0 in shape or any(v[-1:] != shape[-1:] for v in vectors.values()):
            raise ValueError(f"the parameters of a batch must be (..., d) with one d > 0, got {vectors}")
        for name, array in checked.items():
            full = (*shape, array.shape[-1]) if name == "factor" else shape
            setattr(self, name, _checks.frozen(np.broadcast_to(array, full)))
        self.batch_shape = shape[:-1]

    def __repr__(self):
        return f"{self._single.__name__}(batch_shape={self.batch_shape}, dim={self.dim})"

    def __getitem__(self, index):
        """The Gaussian, or the batch, at an index of the leading axes."""
        return self._single(**{name: getattr(self, name)[self._leading(index)] for name in self._names})

    def _leading(self, index):
        """The index, refused where it reaches beyond the leading axes."""
        index = index if isinstance(index, tuple) else (index,)
        if len(index) > len(self.batch_shape) or not all(isinstance(i, Integral | slice) for i in index):
            raise IndexError(f"a batch of shape {self.batch_shape} takes integers and slices of its axes, got {index}")
        return index

    def _fill(self, key, out, n_threads):
        eps = normal_rows(key, NOISE, 0, len(out), self.mean.size, False, n_threads)
        out[...] = self._from_noise(eps.reshape(out.shape))

    def log_prob(self, x) -> np.ndarray:
        """Log densities (n, ...) at points x (n, ..., d), a point of every member."""
        x = _checks.real_array("x", x)
        if x.ndim != self.mean.ndim + 1 or x.shape[1:] != self.mean.shape:
            wanted = ", ".join(str(s) for s in ("n", *self.mean.shape))
            raise ValueError(f"x must have shape ({wanted}), got {x.shape}")
        return -0.5 * (self._squared_distance(x) + self._log_det() + self.dim * LOG_2PI)

    def entropy(self) -> Any:
        """Differential entropies, (...), in nats."""
        return 0.5 * (self._log_det() + self.dim * (1.0 + LOG_2PI))

    def kl(self, other) -> Any:
        """Divergences (...) from the members to those of another batch, or to a single Gaussian of these structures."""
        return _finite_kl(self, other)

    def _divergence_from(self, p) -> Any:
        return _finite_kl(p, self)

    def _from_noise(self, eps) -> np.ndarray:
        """Points from standard normals (n, ..., d)."""
        raise NotImplementedError

    def _refuse(self, *args, **kwargs) -> Any:
        raise ValueError(f"this is a batch of shape {self.batch_shape}: take a member first, as in q[0]")

    to_cholesky = to_full = to_natural = _draw = _draw_from = _refuse


class DiagonalBatch(Batch, DiagonalGaussian):
    """A batch of `DiagonalGaussian`; see there."""

    _batch = None
    _single = DiagonalGaussian

    def __init__(self, mean: ArrayLike, std: ArrayLike) -> None:
        self._set(mean=mean, std=std)
        _checks.positive("std", self.std)
        self._require_range()

    @property
    def cov(self) -> np.ndarray:
        """The covariances as full matrices, (..., d, d)."""
        return self.std[..., None] ** 2 * np.eye(self.dim)

    def _fill(self, key, out, n_threads):
        if self.mean.size >= LONG:
            super()._fill(key, out, n_threads)
        else:
            rows = out.reshape(len(out), -1)
            _core.random.diagonal_rows(key, NOISE, self.mean.ravel(), self.std.ravel(), rows, n_threads)

    def _from_noise(self, eps):
        return self.mean + self.std * eps

    def _mahalanobis(self, r):
        return ((r / self.std) ** 2).sum(axis=-1)

    def _log_det(self):
        return 2.0 * np.log(self.std).sum(axis=-1)


class LowRankPrecisionBatch(Batch, LowRankPrecisionGaussian):
    """A batch of `LowRankPrecisionGaussian`; see there."""

    _batch = None
    _single = LowRankPrecisionGaussian

    def __init__(self, mean: ArrayLike, diag: ArrayLike, factor: ArrayLike) -> None:
        if _checks.dimensions(factor) < 2:
            raise ValueError(f"factor must have at least 2 dimensions, got {_checks.dimensions(factor)}")
        self._set(mean=mean, diag=diag, factor=factor)
        _checks.positive("diag", self.diag)
        with np.errstate(over="ignore"):
            largest = ((self.factor / self.diag[..., None]) * self.factor).sum(axis=(-1, -2)).max(initial=0.0)
        if not largest <= LARGEST:
            raise ValueError(
                f"the squares of factor over diag must add up to at most {LARGEST:g} in a batch, which works with "
                f"their sums; got {largest:.3g}: single Gaussians take them"
            )
        self._require_range()

    @property
    def cov(self) -> np.ndarray:
        """The covariances as full matrices, (..., d, d)."""
        scaled = self.factor / self.diag[..., None]
        small = np.eye(self.rank) + self.factor.swapaxes(-1, -2) @ scaled
        return np.eye(self.dim) / self.diag[..., None] - scaled @ np.linalg.solve(small, scaled.swapaxes(-1, -2))

    @property
    def rank(self) -> int:
        """The number of columns k of the factors."""
        return self.factor.shape[-1]

    def _from_noise(self, eps):
        return low_rank_sample(self.mean, self.diag, self.factor, eps)

    def _mahalanobis(self, r):
        inner = (self.factor * r[..., None]).sum(axis=-2)
        return (self.diag * r * r).sum(axis=-1) + (inner * inner).sum(axis=-1)

    def _log_det(self):
        return low_rank_moments(self.diag, self.factor)[1]

    def _variances(self):
        return low_rank_moments(self.diag, self.factor)[0]


DiagonalGaussian._batch = DiagonalBatch
LowRankPrecisionGaussian._batch = LowRankPrecisionBatch


def _moments(q):
    """Variances (..., d) and log det cov (...)."""
    if isinstance(q, DiagonalGaussian):
        return q.std**2, 2.0 * np.log(q.std).sum(axis=-1)
    return low_rank_moments(q.diag, q.factor)


def _factor_trace(p, u):
    """tr(U^T cov U) for factors U (..., d, k) and a distribution p with as many members, or one."""
    if isinstance(p, DiagonalGaussian):
        return (p.std[..., None] ** 2 * u * u).sum(axis=(-1, -2))
    scaled = p.factor / p.diag[..., None]
    small = np.eye(p.factor.shape[-1]) + p.factor.swapaxes(-1, -2) @ scaled
    cross = scaled.swapaxes(-1, -2) @ u
    whole = (u * u / p.diag[..., None]).sum(axis=(-1, -2))
    return whole - (cross * np.linalg.solve(small, cross)).sum(axis=(-1, -2))


def _finite_kl(p, q):
    with np.errstate(over="ignore", invalid="ignore"):
        divergence = batch_kl(p, q)
    if np.isnan(divergence).any():
        raise ValueError(f"the divergence from {p!r} to {q!r} leaves double precision")
    return divergence


def batch_kl(p, q) -> np.ndarray:
    """KL(p || q) (...) where one or both are batches, whose leading axes broadcast; O(d k^2) a member."""
    for name, member in (("the first", p), ("other", q)):
        if not isinstance(member, DiagonalGaussian | LowRankPrecisionGaussian):
            raise TypeError(
                "divergences of batches are between DiagonalGaussian and LowRankPrecisionGaussian, but "
                f"{name} is a {type(member).__name__}"
            )
    if p.dim != q.dim:
        raise ValueError(f"other must have dimension {p.dim}, got {q.dim}")
    variance, log_det = _moments(p)
    r = p.mean - q.mean
    if isinstance(q, DiagonalGaussian):
        scaled = ((variance + r * r) / q.std**2).sum(axis=-1)
    else:
        inner = (q.factor * r[..., None]).sum(axis=-2)
        scaled = (q.diag * (variance + r * r)).sum(axis=-1) + (inner * inner).sum(axis=-1) + _factor_trace(p, q.factor)
    return np.maximum(0.5 * (scaled - p.dim + _moments(q)[1] - log_det), 0.0)  # rounding may leave less
