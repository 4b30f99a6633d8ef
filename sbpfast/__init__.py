"""Gradients of expectations, fast and exact on ordinary CPUs.

>>> import numpy as np, sbpfast as sb
>>> f = sb.targets.ridge(np.eye(2), 0.0, "softplus")
>>> q = sb.Gaussian(np.zeros(2), np.eye(2))
>>> round(sb.expectation_grad(f, q).value, 6)
1.612118
"""

from sbpfast import contract, expfam, special, targets
from sbpfast._config import show_config
from sbpfast._streams import standard_normal
from sbpfast.estimate import Estimate, expectation_grad
from sbpfast.expfam import MLEDoesNotExist
from sbpfast.fitting import Fit, FitStep, FitWarning, ImproperDensity, fit
from sbpfast.gaussian import (
    CholeskyGaussian,
    DiagonalGaussian,
    Gaussian,
    LowRankGaussian,
    LowRankPrecisionGaussian,
    NaturalGaussian,
)
from sbpfast.rbm import GaussianBernoulliRBM, TrainingDiverged
from sbpfast.regression import (
    BayesianLinearRegression,
    BayesianLogisticRegression,
    BayesianPoissonRegression,
    BayesianProbitRegression,
    BayesianStudentTRegression,
)
from sbpfast.targets import NonFiniteTarget, Target

__version__ = "0.1.0"

__all__ = [
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "BayesianPoissonRegression",
    "BayesianProbitRegression",
    "BayesianStudentTRegression",
    "CholeskyGaussian",
    "DiagonalGaussian",
    "Estimate",
    "Fit",
    "FitStep",
    "FitWarning",
    "Gaussian",
    "GaussianBernoulliRBM",
    "ImproperDensity",
    "LowRankGaussian",
    "LowRankPrecisionGaussian",
    "MLEDoesNotExist",
    "NaturalGaussian",
    "NonFiniteTarget",
    "Target",
    "TrainingDiverged",
    "contract",
    "expectation_grad",
    "expfam",
    "fit",
    "show_config",
    "special",
    "standard_normal",
    "targets",
]
