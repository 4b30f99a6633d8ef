"""The quadratic part of a target, and the normal priors that it stands for."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sbpfast import _checks, _core
from sbpfast._streams import LANES, to_rows

_QUIET = np.errstate(over="ignore", invalid="ignore")  # what overflows is found in the result of the target, and said


class Quadratic(NamedTuple):
    """constant - 1/2 (x - mean)^T P (x - mean); P a diagonal (d,) or a matrix (d, d)."""

    precision: np.ndarray
    mean: np.ndarray
    constant: float

    @_QUIET
    def apply(self, r):
        """P r for a vector or rows r."""
        return r @ self.precision if self.precision.ndim == 2 else r * self.precision

    @_QUIET
    def value(self, x):
        r = x - self.mean
        return self.constant - 0.5 * (r * self.apply(r)).sum(axis=1)

    def grad(self, x):
        return -self.apply(x - self.mean)

    def panel_values(self, panels, n, total_x, n_threads):
        """Values at the lanes of panels (blocks, d, 64), flattened; adds the sum of the first n draws to total_x."""
        values = np.empty(len(panels) * LANES)
        if self.precision.ndim == 1:
            _core.ridge.diagonal_quadratic(
                panels, n, self.precision, self.mean, self.constant, values, total_x, n_threads
            )
        else:
            x = to_rows(panels, len(values))
            values[:] = self.value(x)
            total_x += x[:n].sum(axis=0)
        return values

    def expectation(self, q):
        """E f and E grad f under a Gaussian."""
        r = q.mean - self.mean
        if self.precision.ndim == 2:
            trace = (self.precision * q._cov_dot(np.eye(len(r)))).sum()
        else:
            trace = (self.precision * q._variances()).sum()
        pr = self.apply(r)
        return self.constant - 0.5 * float(r @ pr + trace), -pr


def normal_prior(d, prior_scale, prior_mean=0.0) -> Quadratic:
    """Independent normal priors with their constant; where the scale is infinite they are flat and count 0."""
    scale = _checks.real_array("prior_scale", prior_scale, ndim=(0, 1), finite=False)
    if scale.shape not in ((), (d,)):
        raise ValueError(f"prior_scale must be a scalar or have shape ({d},), got {scale.shape}")
    scale = np.broadcast_to(scale, d)
    if np.isnan(scale).any() or not (scale > 0).all():
        raise ValueError("prior_scale must be positive (np.inf for a flat prior)")
    proper = scale[np.isfinite(scale)]
    require_squares("prior_scale", proper)
    constant = -(float(np.log(proper).sum()) + 0.5 * len(proper) * math.log(2.0 * math.pi))
    mean = _checks.vector("prior_mean", prior_mean, d)
    return Quadratic(_checks.frozen(1.0 / scale**2), _checks.frozen(mean), constant)


def require_squares(name, scale):
    """Refuse scales whose squares, or one over them, are not doubles."""
    outside = np.atleast_1d(scale)[~((np.atleast_1d(scale) >= 1e-150) & (np.atleast_1d(scale) <= 1e150))]
    if len(outside):
        raise ValueError(f"{name} must lie between 1e-150 and 1e150, got {outside[0]}")
