"""Gaussian distributions, one class a covariance structure, each with its chain rule.

Bonnet and Price give the gradients with respect to the mean and the covariance,

    g = dE[f]/dmean = E[grad f],        G = dE[f]/dcov = 1/2 E[Hess f]    (dE[f] = tr(G dcov)),

and the chain rule takes (g, G) to the parameters a class is built from.  Structured covariances never need all of G;
the *form* of a structure (see `_forms.py`) says which part.  Every chain rule accepts leading batch axes.
"""

from sbpfast.gaussian import _batches  # noqa: F401 - makes itself known to the structures
from sbpfast.gaussian._diagonal import DiagonalGaussian
from sbpfast.gaussian._full import CholeskyGaussian, Gaussian, NaturalGaussian
from sbpfast.gaussian._low_rank import LowRankGaussian, LowRankPrecisionGaussian

__all__ = [
    "CholeskyGaussian",
    "DiagonalGaussian",
    "Gaussian",
    "LowRankGaussian",
    "LowRankPrecisionGaussian",
    "NaturalGaussian",
]
