"""Independent coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sbpfast import _checks, _core
from sbpfast._forms import DiagonalForm
from sbpfast._streams import LONG, NOISE
from sbpfast.gaussian._full import CholeskyGaussian, GaussianBase

LEAST = 1e-154  # standard deviation


class DiagonalGaussian(GaussianBase):
    """Gaussian with independent coordinates.

    Parameters
    ----------
    mean : array_like (d,) or (..., d)
    std : array_like (d,) or (..., d)
        Standard deviations, positive.

    Notes
    -----
    A mean with leading axes makes it a batch of Gaussians, to which the others broadcast: ``sample(n)`` is (n, ..., d),
    ``log_prob`` takes that and gives (n, ...), ``entropy()`` and ``kl`` give (...), and ``q[i]`` is a member.
    Estimators and fits take members.

    d/dstd_i = std_i E[d^2 f / dx_i^2].  Never forms (d, d) unless ``cov`` is asked for.
    """

    _names = ("mean", "std")

    def __init__(self, mean: ArrayLike, std: ArrayLike) -> None:
        d = self._set_mean(mean)
        self.std = _checks.frozen(_checks.positive("std", _checks.real_array("std", std, shape=(d,))))
        if self.std.min() < LEAST:
            raise ValueError(f"std must be at least {LEAST:g}, below which precisions overflow, got {self.std.min()}")
        self._require_range()

    @property
    def cov(self) -> np.ndarray:
        """The covariance as a full matrix, (d, d)."""
        return np.diag(self.std**2)

    @staticmethod
    def _form():
        return DiagonalForm

    def _map(self, noise, layout, n_threads):
        return layout.column(self.mean) + layout.column(self.std) * noise[0]

    def _fill(self, key, out, n_threads):
        if self.dim >= LONG:
            super()._fill(key, out, n_threads)
        else:
            _core.random.diagonal_rows(key, NOISE, self.mean, self.std, out, n_threads)

    def _dual(self, draws):
        return draws.noise / self.std

    def _chain(self, g, big_g):
        return {"mean": g, "std": 2.0 * self.std * big_g}

    def _natural_grad(self, grad):
        return {"mean": self.std**2 * grad["mean"], "std": 0.5 * self.std**2 * grad["std"]}

    def _mahalanobis(self, r):
        return ((r / self.std) ** 2).sum(axis=1)

    def _log_det(self):
        return 2.0 * float(np.log(self.std).sum())

    def _variances(self):
        return self.std**2

    def _cov_dot(self, v):
        return (self.std**2)[:, None] * v if v.ndim == 2 else self.std**2 * v

    def _precision_trace(self, other):
        return (other._variances() / self.std**2).sum()

    def _projections(self, design, offset, n_threads):
        return design.dot(self.mean) + offset, np.sqrt(design.squares_dot(self.std**2))

    def to_cholesky(self):
        return CholeskyGaussian(self.mean, np.diag(self.std))
