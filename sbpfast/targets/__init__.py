"""Targets: the functions f whose expectations and gradients are wanted.

`Target` wraps vectorised callables with whatever derivatives the user has.  `ridge` builds the class that has its own
kernels: a quadratic plus a weighted sum of one-dimensional functions of linear forms,

    f(x) = q(x) + sum_j w_j phi(a_j . x + c_j; y_j).

Generalised linear models are of this form (rows a_j of the data, phi a log likelihood), and so is the free energy of a
Gaussian-Bernoulli restricted Boltzmann machine.  Its mean Hessian over draws is A^T diag(mean of w phi'') A, formed
once however many draws there are, and its Gaussian expectations are one-dimensional integrals.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sbpfast.targets._links import LINKS
from sbpfast.targets._quadratic import Quadratic as _Quadratic  # noqa: F401  the name in pickles of version 0.1
from sbpfast.targets._regressions import (
    cloglog_regression,
    gamma_regression,
    linear_regression,
    logistic_regression,
    negative_binomial_regression,
    poisson_regression,
    probit_regression,
    student_t_regression,
)
from sbpfast.targets._ridge import Ridge, quadratic  # noqa: F401  Ridge: likewise
from sbpfast.targets._softmax import multinomial_regression
from sbpfast.targets._streamed import ridge
from sbpfast.targets._target import NonFiniteTarget, Target

if TYPE_CHECKING:
    from sbpfast.rbm._target import gaussian_bernoulli_free_energy

__all__ = [
    "LINKS",
    "NonFiniteTarget",
    "Target",
    "cloglog_regression",
    "gamma_regression",
    "gaussian_bernoulli_free_energy",
    "linear_regression",
    "logistic_regression",
    "multinomial_regression",
    "negative_binomial_regression",
    "poisson_regression",
    "probit_regression",
    "quadratic",
    "ridge",
    "student_t_regression",
]


def __getattr__(name: str) -> Any:
    """The free energy of the Boltzmann machine belongs to the machine, and is handed on when first asked for."""
    if name != "gaussian_bernoulli_free_energy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = globals()[name] = getattr(import_module("sbpfast.rbm._target"), name)
    return function
