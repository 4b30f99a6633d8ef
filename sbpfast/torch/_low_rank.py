"""The Gaussian of amortised inference with precision diag + U U^T (Rezende, Mohamed & Wierstra 2014)."""

from __future__ import annotations

import math

import torch
import torch.distributions as td
from torch.distributions import constraints

from sbpfast.torch._base import Exact
from sbpfast.torch._ops import low_rank_kl, low_rank_moments, low_rank_sample, require_supported

LOG_2PI = math.log(2.0 * math.pi)


class LowRankPrecisionNormal(Exact):
    """Normal distributions on R^d with precision diag(diag) + factor factor^T, in batches.

    Parameters
    ----------
    loc : Tensor (..., d)
        Mean.
    diag : Tensor (..., d)
        Positive.
    factor : Tensor (..., d, k)
        With one column, the posterior of Rezende, Mohamed & Wierstra (2014).
    validate_args : bool, optional

    Raises
    ------
    ValueError
        Shapes that do not broadcast, a diag that is not positive, another device.
    TypeError
        Integers or half precision.

    Notes
    -----
    A draw, its gradients, the variances, the log determinant and the divergence from a diagonal normal are O(d k^2) for
    each row of the batch; nothing of shape (d, d) is formed but by `covariance_matrix` and `precision_matrix`.  Draws
    are loc + R eps with a square root R of the covariance that is as smooth at factor = 0 as elsewhere.
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "diag": constraints.independent(constraints.positive, 1),
        "factor": constraints.independent(constraints.real, 2),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, diag, factor, validate_args=None):
        for name, value, least in (("loc", loc, 1), ("diag", diag, 1), ("factor", factor, 2)):
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"{name} must be a Tensor, got {type(value).__name__}")
            if value.dim() < least:
                raise ValueError(f"{name} must have at least {least} dimensions, got shape {tuple(value.shape)}")
            require_supported(type(self).__name__, name, value)
        shape = _common(loc, diag, factor)
        loc, diag, factor = _one_dtype(loc, diag, factor)
        self.loc, self.diag = loc.expand(shape), diag.expand(shape)
        self.factor = factor.expand(*shape, factor.shape[-1])
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """A view with this batch shape."""
        new = self._get_checked_instance(LowRankPrecisionNormal, _instance or self.__new__(type(self)))
        shape = torch.Size(batch_shape) + self.event_shape
        new.loc, new.diag = self.loc.expand(shape), self.diag.expand(shape)
        new.factor = self.factor.expand(*shape, self.factor.shape[-1])
        super(Exact, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self):
        """Mean, (..., d)."""
        return self.loc

    @property
    def mode(self):
        """Mean, (..., d)."""
        return self.loc

    @property
    def variance(self):
        """The diagonal of the covariance, (..., d)."""
        return low_rank_moments(self.diag, self.factor)[0]

    @property
    def precision_matrix(self):
        """diag(diag) + factor factor^T, (..., d, d)."""
        return torch.diag_embed(self.diag) + self.factor @ self.factor.mT

    @property
    def covariance_matrix(self):
        """The inverse of the precision, (..., d, d)."""
        scaled = self.factor / self.diag.unsqueeze(-1)
        return torch.diag_embed(1.0 / self.diag) - scaled @ torch.linalg.solve(self._capacitance(), scaled.mT)

    def _capacitance(self):
        eye = torch.eye(self.factor.shape[-1], dtype=self.diag.dtype)
        return eye + self.factor.mT @ (self.factor / self.diag.unsqueeze(-1))

    def rsample(self, sample_shape=()):
        """Draws, (*sample_shape, ..., d), with gradients by all three parameters."""
        eps = torch.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return low_rank_sample(self.loc, self.diag, self.factor, eps)

    def log_prob(self, value):
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        r = value - self.loc
        inner = (self.factor.mT @ r.unsqueeze(-1)).squeeze(-1)
        square = (self.diag * r * r).sum(-1) + (inner * inner).sum(-1)
        return -0.5 * (square + low_rank_moments(self.diag, self.factor)[1] + r.shape[-1] * LOG_2PI)

    def entropy(self):
        """Differential entropy."""
        log_det = low_rank_moments(self.diag, self.factor)[1]
        return 0.5 * (log_det + self.loc.shape[-1] * (1.0 + LOG_2PI))


def _one_dtype(*tensors):
    """The tensors in the dtype that torch promotes them to; the kernels take one."""
    dtype = tensors[0].dtype
    if all(t.dtype == dtype for t in tensors):
        return tensors
    for t in tensors[1:]:
        dtype = torch.promote_types(dtype, t.dtype)
    return [t.to(dtype) for t in tensors]


def _common(loc, diag, factor):
    """The shape (..., d) that the parameters broadcast to."""
    if loc.shape == diag.shape == factor.shape[:-1]:
        return loc.shape
    try:
        return torch.broadcast_shapes(loc.shape, diag.shape, factor.shape[:-1])
    except RuntimeError:
        raise ValueError(
            f"loc (..., d), diag (..., d) and factor (..., d, k) must broadcast, got shapes {tuple(loc.shape)}, "
            f"{tuple(diag.shape)} and {tuple(factor.shape)}"
        ) from None


@td.register_kl(LowRankPrecisionNormal, td.Normal)
def _kl_normal(p, q):
    """From a diagonal normal whose last batch axis is the coordinate."""
    shape = p.loc.shape if p.loc.shape == q.loc.shape else torch.broadcast_shapes(p.loc.shape, q.loc.shape)
    loc, diag, factor, centre, scale = _one_dtype(p.loc, p.diag, p.factor, q.loc, q.scale)
    factor = factor.expand(*shape, factor.shape[-1])
    return low_rank_kl(loc.expand(shape), diag.expand(shape), factor, centre.expand(shape), scale.expand(shape))


@td.register_kl(LowRankPrecisionNormal, td.Independent)
def _kl_independent_normal(p, q):
    if not isinstance(q.base_dist, td.Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError("the divergence is known for Independent(Normal(...), 1)")
    return _kl_normal(p, q.base_dist)


@td.register_kl(LowRankPrecisionNormal, LowRankPrecisionNormal)
def _kl_low_rank(p, q):
    variance, log_det = low_rank_moments(p.diag, p.factor)
    r = q.loc - p.loc
    scaled = p.factor / p.diag.unsqueeze(-1)
    cross = scaled.mT @ q.factor
    inner = (q.factor * (q.factor / p.diag.unsqueeze(-1))).sum((-1, -2))
    inner = inner - (cross * torch.linalg.solve(p._capacitance(), cross)).sum((-1, -2))
    square = (q.diag * (variance + r * r)).sum(-1) + ((q.factor.mT @ r.unsqueeze(-1)) ** 2).sum((-1, -2))
    return 0.5 * (square + inner - r.shape[-1] + low_rank_moments(q.diag, q.factor)[1] - log_det)
