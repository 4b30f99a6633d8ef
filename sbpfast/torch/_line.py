"""Student t and inverse Gaussian."""

from __future__ import annotations

import math

import torch
import torch.distributions as td
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

from sbpfast.torch._base import Exact, expanded
from sbpfast.torch._ops import draw, scaled_exponential_integral


class StudentT(Exact, td.StudentT):
    """Student t distribution; see `torch.distributions.StudentT`.

    Notes
    -----
    The gradient by df is the transport weight at the draw: the mean, given the draw, of the one through a normal and a
    chi-square, and so of smaller variance.
    """

    _checked = ("df", "loc", "scale")

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient."""
        t = draw("student_t", self.df.expand(self._extended_shape(sample_shape)))
        return self.loc + self.scale * t


class InverseGaussian(Exact):
    """Inverse Gaussian (Wald) distribution, which torch does not have.

    Parameters
    ----------
    loc : float or Tensor
        Mean mu, positive.
    concentration : float or Tensor
        lam, positive; the variance is mu^3 / lam.
    validate_args : bool, optional

    Notes
    -----
    Density sqrt(lam / (2 pi x^3)) exp(-lam (x - mu)^2 / (2 mu^2 x)), x > 0.
    """

    arg_constraints = {"loc": constraints.positive, "concentration": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    has_rsample = True
    _checked = ("loc", "concentration")

    def __init__(self, loc, concentration, validate_args=None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """A view with this batch shape."""
        return expanded(self, InverseGaussian, batch_shape, _instance, ("loc", "concentration"))

    @property
    def mean(self):
        """mu."""
        return self.loc

    @property
    def mode(self):
        """mu (sqrt(1 + s^2) - s), s = 3 mu / (2 lam)."""
        s = 1.5 * self.loc / self.concentration
        return self.loc / ((1.0 + s * s).sqrt() + s)

    @property
    def variance(self):
        """mu^3 / lam."""
        return self.loc**3 / self.concentration

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient."""
        shape = self._extended_shape(sample_shape)
        return draw("inverse_gaussian", self.loc.expand(shape), self.concentration.expand(shape))

    def log_prob(self, value):
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        d = (value - self.loc) / self.loc
        constant = 0.5 * (self.concentration.log() - math.log(2.0 * math.pi) - 3.0 * value.log())
        return constant - 0.5 * self.concentration * d * d / value

    def entropy(self):
        """Differential entropy: E log x is log mu - e^s E1(s), s = 2 lam / mu."""
        mean_log = self.loc.log() - scaled_exponential_integral(2.0 * self.concentration / self.loc)
        return 0.5 * (1.0 + math.log(2.0 * math.pi) - self.concentration.log()) + 1.5 * mean_log

    def cdf(self, value):
        """Phi(r (x/mu - 1)) + e^(2 lam / mu) Phi(-r (x/mu + 1)), r = sqrt(lam / x); the product by logarithms."""
        if self._validate_args:
            self._validate_sample(value)
        r = (self.concentration / value).sqrt()
        upper = 2.0 * self.concentration / self.loc + torch.special.log_ndtr(-r * (value / self.loc + 1.0))
        return torch.special.ndtr(r * (value / self.loc - 1.0)) + upper.exp()


@td.register_kl(InverseGaussian, InverseGaussian)
def _kl_inverse_gaussian(p, q):
    ratio = q.concentration / p.concentration
    shape = 0.5 * (ratio - 1.0 - ratio.log())
    gap = (p.loc - q.loc) / q.loc
    return shape + 0.5 * q.concentration / p.loc * gap * gap
