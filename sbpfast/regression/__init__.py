"""Bayesian regressions as estimators in scikit-learn's protocol, with a Gaussian posterior over the coefficients.

Each fits the Gaussian of `sbpfast.fit` to the log joint density of its model, predicts with the coefficients integrated
out, and keeps the whole posterior: covariance, draws, evidence.  scikit-learn itself is not needed.
"""

from sbpfast.regression._classifiers import BayesianLogisticRegression, BayesianProbitRegression
from sbpfast.regression._merging import merge
from sbpfast.regression._mixed import BayesianMixedRegression, load
from sbpfast.regression._regressors import (
    BayesianGammaRegression,
    BayesianLinearRegression,
    BayesianNegativeBinomialRegression,
    BayesianPoissonRegression,
    BayesianStudentTRegression,
)
from sbpfast.targets._unknown_noise import linear_regression_unknown_noise

__all__ = [
    "BayesianGammaRegression",
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "BayesianMixedRegression",
    "BayesianNegativeBinomialRegression",
    "BayesianPoissonRegression",
    "BayesianProbitRegression",
    "BayesianStudentTRegression",
    "linear_regression_unknown_noise",
    "load",
    "merge",
]
