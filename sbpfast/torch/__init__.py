"""Distributions for PyTorch whose `rsample` has the exact gradient: the transport weights of `sbpfast.expfam`.

Each class stands where that of `torch.distributions` of the same name stands, or fills a gap there: constructor
arguments, constraints, `expand`, `log_prob`, `entropy`, `mean`, `variance`, `kl_divergence`.  Draws follow
`torch.manual_seed`.  Gradients hold to 1e-12 in float64 and 2e-7 in float32, relative, at every parameter; those of the
gamma and beta families differentiate again.  float32 and float64 on the CPU; any other tensor is refused.

>>> import torch, sbpfast.torch as sbt
>>> shape = torch.tensor(1e-3, dtype=torch.float64, requires_grad=True)
>>> log_x = sbt.Gamma(shape, 1.0).log_rsample()        # x itself would be 0
>>> log_x.backward()
"""

from sbpfast.torch._bounded import ContinuousBernoulli, TruncatedNormal, VonMises
from sbpfast.torch._gamma import Beta, Chi2, Dirichlet, Gamma, InverseGamma, Wishart
from sbpfast.torch._line import InverseGaussian, StudentT
from sbpfast.torch._low_rank import LowRankPrecisionNormal
from sbpfast.torch._price import price_loss

__all__ = [
    "Beta",
    "Chi2",
    "ContinuousBernoulli",
    "Dirichlet",
    "Gamma",
    "InverseGamma",
    "InverseGaussian",
    "LowRankPrecisionNormal",
    "StudentT",
    "TruncatedNormal",
    "VonMises",
    "Wishart",
    "price_loss",
]
