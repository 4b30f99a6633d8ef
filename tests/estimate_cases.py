"""Targets whose Gaussian expectations are known, and the estimators and samplings that the tests go through."""

import numpy as np
from statistics_helpers import MC_FREEDOM, SOBOL_FREEDOM

import sbpfast as sb

SAMPLINGS = ("mc", "antithetic", "sobol")
ESTIMATORS = ("price", "pathwise", "stein", "score", "combined")


def freedom(sampling):
    return SOBOL_FREEDOM if sampling == "sobol" else MC_FREEDOM


def smooth(d, seed=0):
    """sum_j w_j sin(a_j . x) as a ridge-free target with every derivative, and its exact Gaussian expectation."""
    r = np.random.default_rng([seed, d])
    a, w = r.standard_normal((6, d)) / np.sqrt(d), r.standard_normal(6)
    target = sb.Target(
        value=lambda x: np.sin(x @ a.T) @ w,
        grad=lambda x: (w * np.cos(x @ a.T)) @ a,
        hess=lambda x: np.einsum("ki,nk,kj->nij", a, -w * np.sin(x @ a.T), a, optimize=True),
        dim=d,
    )

    def expectation(mean, cov):
        m, damp = a @ mean, np.exp(-0.5 * np.einsum("ki,ij,kj->k", a, cov, a))
        value = (w * damp) @ np.sin(m)
        return value, (w * damp * np.cos(m)) @ a, -0.5 * (a.T * (w * damp * np.sin(m))) @ a

    return target, expectation


def separable(d, hessian):
    hess = (lambda x: -np.sin(x)[:, :, None] * np.eye(d)) if hessian else None
    return sb.Target(value=lambda x: np.sin(x).sum(axis=1), grad=np.cos, hess=hess, dim=d)
