"""Gamma and its relatives: chi-square, inverse gamma, beta, Dirichlet, Wishart."""

from __future__ import annotations

import math

import torch
import torch.distributions as td

from sbpfast.torch._base import Exact
from sbpfast.torch._ops import beta_cdf, beta_quantile, draw, gamma_cdf, gamma_quantile, require_supported


class Gamma(Exact, td.Gamma):
    """Gamma distribution; see `torch.distributions.Gamma` for the parameters.

    Parameters
    ----------
    concentration, rate : float or Tensor
        Positive; they broadcast to the batch shape.
    validate_args : bool, optional
        As in torch.

    Notes
    -----
    dx/dconcentration is the transport weight -dF/dconcentration / p at the draw; it differentiates again.
    """

    _checked = ("concentration", "rate")

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient; before the rate divides them at least the smallest normal number."""
        shape = self._extended_shape(sample_shape)
        return draw("gamma", self.concentration.expand(shape)) / self.rate.expand(shape)

    def log_rsample(self, sample_shape=()):
        """Logarithms of draws, finite and with their gradients also where the draws would underflow."""
        shape = self._extended_shape(sample_shape)
        return draw("loggamma", self.concentration.expand(shape)) - self.rate.log()

    def cdf(self, value):
        """Distribution function, with gradients by the value and both parameters, which differentiate again."""
        if self._validate_args:
            self._validate_sample(value)
        return gamma_cdf(*torch.broadcast_tensors(self.rate * value, self.concentration))

    def icdf(self, value):
        """Quantiles; the gradient by the concentration is the transport weight."""
        return gamma_quantile(*torch.broadcast_tensors(value, self.concentration)) / self.rate


class Chi2(Gamma, td.Chi2):
    """Chi-square distribution; see `torch.distributions.Chi2`.  df may be any positive number."""


class InverseGamma(Exact, td.InverseGamma):
    """Inverse gamma distribution; see `torch.distributions.InverseGamma`."""

    def __init__(self, concentration, rate, validate_args=None):
        super().__init__(concentration, rate, validate_args=validate_args)
        self.base_dist: Gamma = Gamma(self.concentration, self.rate, validate_args=False)

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient."""
        shape = self._extended_shape(sample_shape)
        return self.rate * draw("inverse_gamma", self.concentration.expand(shape))

    def log_rsample(self, sample_shape=()):
        """Logarithms of draws, finite also where the draws would overflow."""
        return -self.base_dist.log_rsample(sample_shape)


class Beta(Exact, td.Beta):
    """Beta distribution; see `torch.distributions.Beta`.

    Notes
    -----
    Gradients by the transport weights; they differentiate again.  Draws stay inside (0, 1) as torch's do; where that
    hides too much (concentrations far below 1) use `log_rsample`, or that of `Dirichlet`, which also has log(1 - x).
    """

    def __init__(self, concentration1, concentration0, validate_args=None):
        super().__init__(concentration1, concentration0, validate_args=validate_args)
        require_supported("Beta", "concentration1", self._dirichlet.concentration)

    def _draw(self, name, sample_shape):
        shape = self._extended_shape(sample_shape)
        return draw(name, self.concentration1.expand(shape), self.concentration0.expand(shape))

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient."""
        return self._draw("beta", sample_shape)

    def log_rsample(self, sample_shape=()):
        """Logarithms of draws, finite also where the draws would underflow."""
        return self._draw("logbeta", sample_shape)

    def cdf(self, value):
        """Distribution function, with gradients by the value and both parameters, which differentiate again."""
        if self._validate_args:
            self._validate_sample(value)
        return beta_cdf(*torch.broadcast_tensors(value, self.concentration1, self.concentration0))

    def icdf(self, value):
        """Quantiles; the gradients by the concentrations are the transport weights."""
        return beta_quantile(*torch.broadcast_tensors(value, self.concentration1, self.concentration0))


class Dirichlet(Exact, td.Dirichlet):
    """Dirichlet distribution; see `torch.distributions.Dirichlet`.

    Notes
    -----
    The velocity under concentration_j moves x_j as that of a beta and shrinks the others in proportion; it has a
    smaller variance than that of normalised gammas, which is its mean given x.
    """

    _checked = ("concentration",)

    def rsample(self, sample_shape=()):
        """Draws with the exact gradient, inside the simplex as torch's are."""
        return draw("dirichlet", self.concentration.expand(self._extended_shape(sample_shape)))

    def log_rsample(self, sample_shape=()):
        """Logarithms of draws, all coordinates finite also where the draws would underflow."""
        return draw("logdirichlet", self.concentration.expand(self._extended_shape(sample_shape)))


class Wishart(Exact, td.Wishart):
    """Wishart distribution; see `torch.distributions.Wishart`.

    Notes
    -----
    W = L C C^T L^T with Bartlett's lower triangular C, whose squared diagonal is chi-square distributed: gradients by
    df go through their exact weights.  Draws are not rejected or repaired: as df falls to d - 1 they approach singular
    matrices, and rounding may make the smallest eigenvalue of W negative, which `rsample_factor` avoids.
    """

    _checked = ("df", "covariance_matrix", "precision_matrix", "scale_tril")

    def rsample_factor(self, sample_shape=()):
        """Lower triangular T with W = T T^T."""
        shape, d = self._extended_shape(sample_shape), self.event_shape[-1]
        lead = shape[:-2]
        steps = torch.arange(d, dtype=self.df.dtype)
        halves = 0.5 * (self.df.unsqueeze(-1) - steps)
        log_halves = draw("loggamma", halves.expand(*lead, d))
        factor = torch.diag_embed((0.5 * (log_halves + math.log(2.0))).exp())
        rows, columns = torch.tril_indices(d, d, offset=-1)
        below = torch.zeros(*lead, d, d, dtype=self.df.dtype)
        below[..., rows, columns] = torch.randn(*lead, len(rows), dtype=self.df.dtype)
        return self._unbroadcasted_scale_tril @ (factor + below)

    def rsample(self, sample_shape=(), max_try_correction=None):
        """Draws with the exact gradient; `max_try_correction` is accepted for torch's sake, nothing is corrected."""
        factor = self.rsample_factor(sample_shape)
        return factor @ factor.transpose(-1, -2)


@td.register_kl(Wishart, Wishart)
def _kl_wishart(p, q):
    """In closed form: torch's Bregman divergence sums over batches here."""
    d = p.event_shape[-1]
    lower, other = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    trace = torch.linalg.solve_triangular(other, lower, upper=False).square().sum((-1, -2))
    log_ratio = 2.0 * (_log_diagonal(other) - _log_diagonal(lower))
    halves = 0.5 * (p.df.unsqueeze(-1) - torch.arange(d, dtype=p.df.dtype))
    mean_log = torch.digamma(halves).sum(-1)
    constants = torch.mvlgamma(0.5 * q.df, d) - torch.mvlgamma(0.5 * p.df, d)
    return 0.5 * (p.df * (trace - d) + q.df * log_ratio + (p.df - q.df) * mean_log) + constants


def _log_diagonal(lower):
    return lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
