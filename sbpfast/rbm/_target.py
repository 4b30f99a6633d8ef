"""The free energy of a Gaussian-Bernoulli restricted Boltzmann machine as a target."""

from __future__ import annotations

import numpy as np

from sbpfast.rbm._estimator import GaussianBernoulliRBM
from sbpfast.targets._ridge import Ridge, quadratic, ridge


def gaussian_bernoulli_free_energy(rbm) -> Ridge:
    """F(v) of a Gaussian-Bernoulli restricted Boltzmann machine, so that log P(v) = -F(v) - log Z.

    F(v) = sum_i (v_i - b_i)^2 / (2 sigma_i^2) - sum_j log(1 + exp(c_j + sum_i v_i w_ij / sigma_i))

    Parameters
    ----------
    rbm : GaussianBernoulliRBM
        Fitted, or made from parameters.

    Returns
    -------
    Target
        With an indefinite Hessian in general; every Gaussian estimator applies, "exact" among them.

    Raises
    ------
    TypeError, ValueError
        Not a GaussianBernoulliRBM; not fitted.
    """
    if not isinstance(rbm, GaussianBernoulliRBM):
        raise TypeError(f"rbm must be a GaussianBernoulliRBM, got {type(rbm).__name__}")
    model = rbm._model().astype(np.float64)
    return ridge(
        np.ascontiguousarray(model.factor(np.float64).T),
        model.hidden_bias,
        "softplus",
        weights=-1.0,
        quadratic=quadratic(-1.0 / model.sigma**2, model.visible_bias),
    )
