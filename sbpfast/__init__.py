"""Gradients of expectations, fast and exact on ordinary CPUs.

>>> import numpy as np, sbpfast as sb
>>> f = sb.targets.ridge(np.eye(2), 0.0, "softplus")
>>> q = sb.Gaussian(np.zeros(2), np.eye(2))
>>> round(sb.expectation_grad(f, q).value, 6)
1.612118
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sbpfast import _moved, bridges, contract, targets  # noqa: F401  pickles of version 0.1; models of other programs
from sbpfast._config import __version__, show_config
from sbpfast._streams import standard_normal
from sbpfast.estimate import Estimate, EstimateWarning, expectation_grad
from sbpfast.gaussian import (
    CholeskyGaussian,
    DiagonalGaussian,
    Gaussian,
    LowRankGaussian,
    LowRankPrecisionGaussian,
    NaturalGaussian,
)
from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._rows import Rows

if TYPE_CHECKING:
    from sbpfast import data, expfam, fitting, rbm, regression, special
    from sbpfast.expfam import MLEDoesNotExist
    from sbpfast.fitting import Fit, FitStep, FitWarning, ImproperDensity, fit
    from sbpfast.rbm import GaussianBernoulliRBM, TrainingDiverged
    from sbpfast.regression import (
        BayesianGammaRegression,
        BayesianLinearRegression,
        BayesianLogisticRegression,
        BayesianMixedRegression,
        BayesianNegativeBinomialRegression,
        BayesianPoissonRegression,
        BayesianProbitRegression,
        BayesianStudentTRegression,
        load,
    )

# loaded when first used, so that importing the package stays quick: name to module
_LATER = {
    "data": "data",
    "expfam": "expfam",
    "fitting": "fitting",
    "rbm": "rbm",
    "regression": "regression",
    "special": "special",
    "MLEDoesNotExist": "expfam",
    "Fit": "fitting",
    "FitStep": "fitting",
    "FitWarning": "fitting",
    "ImproperDensity": "fitting",
    "fit": "fitting",
    "load": "regression",
    "GaussianBernoulliRBM": "rbm",
    "TrainingDiverged": "rbm",
    "BayesianGammaRegression": "regression",
    "BayesianLinearRegression": "regression",
    "BayesianLogisticRegression": "regression",
    "BayesianMixedRegression": "regression",
    "BayesianNegativeBinomialRegression": "regression",
    "BayesianPoissonRegression": "regression",
    "BayesianProbitRegression": "regression",
    "BayesianStudentTRegression": "regression",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'sbpfast' has no attribute {name!r}")
    module = import_module(f"sbpfast.{_LATER[name]}")
    thing = globals()[name] = module if name == _LATER[name] else getattr(module, name)
    return thing


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])


__all__ = [
    "BayesianGammaRegression",
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "BayesianMixedRegression",
    "BayesianNegativeBinomialRegression",
    "BayesianPoissonRegression",
    "BayesianProbitRegression",
    "BayesianStudentTRegression",
    "CholeskyGaussian",
    "DiagonalGaussian",
    "Estimate",
    "EstimateWarning",
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
    "Rows",
    "Target",
    "TrainingDiverged",
    "__version__",
    "contract",
    "data",
    "expectation_grad",
    "expfam",
    "fit",
    "fitting",
    "load",
    "rbm",
    "regression",
    "show_config",
    "special",
    "standard_normal",
    "targets",
]
