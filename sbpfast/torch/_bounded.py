"""The circle, the truncated line and the tilted interval: von Mises, truncated normal, continuous Bernoulli."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.distributions as td
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import softplus

from sbpfast.expfam._functions import TILTED_LOG_PARTITION
from sbpfast.torch._base import Exact, expanded
from sbpfast.torch._ops import draw, truncated_normal_log_integral, truncated_normal_moments

LOG_2PI = math.log(2.0 * math.pi)


class VonMises(Exact, td.VonMises):
    """Von Mises distribution on the circle; see `torch.distributions.VonMises`, which has no `rsample`.

    Notes
    -----
    Draws are angles in [-pi, pi); what is averaged must be periodic for the gradients to hold.  The normalising
    constant is exact at every concentration.
    """

    has_rsample = True
    _checked = ("loc", "concentration")

    def expand(self, batch_shape, _instance=None):
        """A view with this batch shape."""
        return expanded(self, td.VonMises, batch_shape, _instance or self.__new__(type(self)), ("loc", "concentration"))

    def sample(self, sample_shape=()):
        """Draws without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient by loc, which is 1, and by the concentration."""
        offset = draw("von_mises", self.concentration.expand(self._extended_shape(sample_shape)))
        return torch.remainder(self.loc + offset + math.pi, 2.0 * math.pi) - math.pi

    def log_prob(self, value):
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        half = torch.sin(0.5 * (value - self.loc))
        return -2.0 * self.concentration * half * half - torch.special.i0e(self.concentration).log() - LOG_2PI

    def entropy(self):
        """Differential entropy."""
        return torch.special.i0e(self.concentration).log() + self.concentration * self.variance + LOG_2PI

    @property
    def variance(self):
        """The circular variance 1 - I1(concentration) / I0(concentration)."""
        return 1.0 - _bessel_ratio(self.concentration)


def _bessel_ratio(kappa):
    return torch.special.i1e(kappa) / torch.special.i0e(kappa)


@td.register_kl(VonMises, VonMises)
def _kl_von_mises(p, q):
    half = torch.sin(0.5 * (p.loc - q.loc))
    scaled = torch.special.i0e(q.concentration).log() - torch.special.i0e(p.concentration).log()
    complement = (q.concentration - p.concentration) * p.variance
    return scaled + complement + 2.0 * q.concentration * _bessel_ratio(p.concentration) * half * half


class TruncatedNormal(Exact):
    """Normal distribution truncated to [low, high], which torch does not have.

    Parameters
    ----------
    loc, scale : float or Tensor
        Of the normal distribution before truncation; scale is positive.
    low, high : float or Tensor
        Bounds, low < high; either may be infinite.  Gradients by the bounds are had, too.
    validate_args : bool, optional

    Notes
    -----
    Draws by inversion; integrals of the density itself, never differences of distribution functions, so that
    everything holds however far in a tail or however narrow [low, high] is.
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.dependent,
        "high": constraints.dependent,
    }
    has_rsample = True
    _checked = ("loc", "scale", "low", "high")

    def __init__(self, loc, scale, low, high, validate_args=None):
        self.loc, self.scale, self.low, self.high = broadcast_all(loc, scale, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)
        if self._validate_args and not (self.low < self.high).all():
            raise ValueError(f"low must be below high, got low = {low} and high = {high}")

    def expand(self, batch_shape, _instance=None):
        """A view with this batch shape."""
        return expanded(self, TruncatedNormal, batch_shape, _instance, ("loc", "scale", "low", "high"))

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        """[low, high]."""
        return constraints.interval(self.low, self.high)

    @property
    def _parameters(self):
        return self.loc, self.scale, self.low, self.high

    @property
    def mean(self):
        """Mean."""
        return truncated_normal_moments(*self._parameters)[0]

    @property
    def variance(self):
        """Variance."""
        return truncated_normal_moments(*self._parameters)[1]

    @property
    def mode(self):
        """The point of [low, high] nearest to loc."""
        return torch.minimum(torch.maximum(self.loc, self.low), self.high)

    def entropy(self):
        """Differential entropy."""
        return truncated_normal_moments(*self._parameters)[2]

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient by all four parameters."""
        shape = self._extended_shape(sample_shape)
        return draw("truncated_normal", *(p.expand(shape) for p in self._parameters))

    def log_prob(self, value):
        """Log density, -inf outside of [low, high]."""
        if self._validate_args:
            self._validate_sample(value)
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, self._log_density(torch.where(inside, value, self.mode)), -torch.inf)

    def _log_density(self, x):
        centre = self.mode
        offset, y = (centre - self.loc) / self.scale, (x - centre) / self.scale
        return -y * (offset + 0.5 * y) - self.scale.log() - truncated_normal_log_integral(*self._parameters)


@td.register_kl(TruncatedNormal, TruncatedNormal)
def _kl_truncated_normal(p, q):
    """Infinite where the support of p is not inside that of q."""
    inside = (p.low >= q.low) & (p.high <= q.high)
    mean, variance, entropy = truncated_normal_moments(*p._parameters)
    at = torch.where(inside, mean, q.mode)
    return torch.where(inside, 0.5 * variance / q.scale**2 - q._log_density(at) - entropy, torch.inf)


class ContinuousBernoulli(Exact, td.ContinuousBernoulli):
    """Continuous Bernoulli distribution; see `torch.distributions.ContinuousBernoulli`.

    Notes
    -----
    Exact through probs = 1/2, where torch's gradient is 0 and its moments are Taylor series; `lims` is accepted, but
    nothing depends on it.
    """

    _checked = ("_param",)

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient."""
        return draw("continuous_bernoulli", self.logits.expand(self._extended_shape(sample_shape)))

    def sample(self, sample_shape=()):
        """Draws without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def _cont_bern_log_norm(self):
        return softplus(self.logits) - _tilted_log_partition(self.logits)

    def log_prob(self, value):
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * value - _tilted_log_partition(self.logits)

    @property
    def mean(self):
        """1/(1 - e^-logit) - 1/logit, 1/2 at 0."""
        return _tilted(self.logits, 1)

    @property
    def variance(self):
        """Variance, 1/12 at logit 0."""
        return _tilted(self.logits, 2)

    def entropy(self):
        """Differential entropy."""
        return _tilted_log_partition(self.logits) - self.logits * self.mean

    def cdf(self, value):
        """(e^(logit x) - 1) / (e^logit - 1), x at logit 0; 0 and 1 outside of [0, 1]."""
        if self._validate_args:
            self._validate_sample(value)
        eta, x = broadcast_all(self.logits, value)
        a = eta.abs()
        safe = torch.where(a > 1e-30, a, torch.ones_like(a))
        toward = torch.where(eta > 0, 1.0 - x, x)
        share = torch.where(a > 1e-30, torch.expm1(-safe * toward) / torch.expm1(-safe), toward)
        return torch.where(eta > 0, 1.0 - share, share).clamp(0.0, 1.0)

    def icdf(self, value):
        """The inverse of `cdf`."""
        eta, u = broadcast_all(self.logits, value)
        a = eta.abs()
        safe = torch.where(a > 1e-30, a, torch.ones_like(a))
        v = torch.where(eta > 0, 1.0 - u, u)
        toward = torch.where(a > 1e-30, -torch.log1p(v * torch.expm1(-safe)) / safe, v)
        return torch.where(eta > 0, 1.0 - toward, toward)


_SERIES_BELOW = 1.0


def _tilted_log_partition(eta):
    """A(eta) = log((e^eta - 1) / eta), 0 at 0; by its series below 1."""
    near = eta.clamp(-_SERIES_BELOW, _SERIES_BELOW)
    series = 0.5 * near + near * near * _series(TILTED_LOG_PARTITION, near)
    a = torch.where(eta.abs() < _SERIES_BELOW, torch.full_like(eta, _SERIES_BELOW), eta.abs())
    far = torch.where(eta > 0, eta, torch.zeros_like(eta)) + (-torch.expm1(-a) / a).log()
    return torch.where(eta.abs() < _SERIES_BELOW, series, far)


def _tilted(eta, order):
    """A' (the mean) or A'' (the variance): in closed form away from 0, by the derivative of A's series near it."""
    small = eta.abs() < _SERIES_BELOW
    near = eta.clamp(-_SERIES_BELOW, _SERIES_BELOW)
    a = torch.where(small, torch.full_like(eta, _SERIES_BELOW), eta.abs())
    powers = 2.0 * np.arange(1, len(TILTED_LOG_PARTITION) + 1)
    if order == 1:
        series = 0.5 + near * _series(TILTED_LOG_PARTITION * powers, near)
        lower = 1.0 / a - (-a).exp() / -torch.expm1(-a)
        return torch.where(small, series, torch.where(eta > 0, 1.0 - lower, lower))
    series = _series(TILTED_LOG_PARTITION * powers * (powers - 1.0), near)
    return torch.where(small, series, a**-2.0 - (-a).exp() / torch.expm1(-a) ** 2)


def _series(coefficients, x):
    """sum_k coefficients[k] x^(2k)."""
    square, total = x * x, torch.zeros_like(x)
    for c in reversed(coefficients.tolist()):
        total = total * square + c
    return total
