"""Exponential families and the weights B(x) with d/dtheta E[f] = E[B(x) f'(x)].

`FAMILIES` is the registry: twenty-four exponential families and three others, each a class whose body is its row of the
table.  `Univariate` makes any other one-dimensional family numerically.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sbpfast._likelihood import MLE, MLEDoesNotExist
from sbpfast.expfam._base import FAMILIES
from sbpfast.expfam._families._bounded import ContinuousBernoulli, TruncatedNormal, VonMises
from sbpfast.expfam._families._discrete import Bernoulli, Binomial, Geometric, NegativeBinomial, Poisson
from sbpfast.expfam._families._elementary import (
    Exponential,
    HalfNormal,
    InverseGaussian,
    Laplace,
    LogNormal,
    Normal,
    Pareto,
    Rayleigh,
    Weibull,
)
from sbpfast.expfam._families._gamma_beta import Beta, ChiSquare, Gamma, InverseGamma
from sbpfast.expfam._families._location_scale import Gumbel, Logistic, StudentT
from sbpfast.expfam._families._multivariate import Categorical, Dirichlet, Wishart, smat, svec
from sbpfast.expfam._univariate import Univariate
from sbpfast.gaussian._likelihood import GaussianStatistics, fit_gaussian

if TYPE_CHECKING:
    from sbpfast.estimate._reparameterisation import generalised_reparameterisation

__all__ = [
    "FAMILIES",
    "MLE",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ChiSquare",
    "ContinuousBernoulli",
    "Dirichlet",
    "Exponential",
    "Gamma",
    "GaussianStatistics",
    "Geometric",
    "Gumbel",
    "HalfNormal",
    "InverseGamma",
    "InverseGaussian",
    "Laplace",
    "LogNormal",
    "Logistic",
    "MLEDoesNotExist",
    "NegativeBinomial",
    "Normal",
    "Pareto",
    "Poisson",
    "Rayleigh",
    "StudentT",
    "TruncatedNormal",
    "Univariate",
    "VonMises",
    "Weibull",
    "Wishart",
    "fit_gaussian",
    "generalised_reparameterisation",
    "smat",
    "svec",
]


def __getattr__(name: str) -> Any:
    """The generalised reparameterisation is an estimator, and is handed on when first asked for."""
    if name != "generalised_reparameterisation":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = globals()[name] = getattr(import_module("sbpfast.estimate._reparameterisation"), name)
    return function
