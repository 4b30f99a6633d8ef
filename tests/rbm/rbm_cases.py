"""Machines and data of the tests of the Boltzmann machine, and what they are as mixtures."""

import itertools

import numpy as np
from scipy.special import logsumexp
from statistics_helpers import assert_unbiased, assert_unbiased_over_runs

import sbpfast as sb


def machine(n_visible, n_hidden, seed=0, scale=0.8, dtype=np.float64):
    r = np.random.default_rng(seed)
    parts = (
        scale * r.standard_normal((n_visible, n_hidden)),
        r.standard_normal(n_visible),
        r.standard_normal(n_hidden),
        0.5 + r.random(n_visible),
    )
    return sb.GaussianBernoulliRBM.from_params(*(p.astype(dtype) for p in parts))


def as_mixture(rbm):
    """States h, component means, log weights and log Z from the definition, by listing."""
    w, b, c, s = rbm.weights_, rbm.visible_bias_, rbm.hidden_bias_, rbm.sigma_
    h = np.array(list(itertools.product([0.0, 1.0], repeat=w.shape[1])))
    means = b + s * (h @ w.T)
    exponent = h @ c + 0.5 * (((means / s) ** 2).sum(1) - ((b / s) ** 2).sum())
    total = logsumexp(exponent)
    return h, means, exponent - total, 0.5 * len(b) * np.log(2 * np.pi) + np.log(s).sum() + total


def three_gaussians(seed=0, n=2000):
    r = np.random.default_rng(seed)
    means = np.array([[-5.0, -5.0], [5.0, -5.0], [0.0, 5.0]])
    return means[r.choice(3, size=n, p=[0.33, 0.33, 0.34])] + r.standard_normal((n, 2))


def assert_moments(x, mean, cov):
    """z-tests of the means and of the second moments of independent rows."""
    d = x - mean
    assert_unbiased(d.mean(0), 0.0, np.sqrt(np.diag(cov) / len(x)), freedom=np.inf)
    assert_unbiased_over_runs(np.einsum("ni,nj->nij", d, d), cov)
