"""Twins of the ufuncs of ``_core.special``: minus density times transport weight, dF/dtheta = -B p."""

from __future__ import annotations

import numpy as np
import scipy.special as sp

from sbpfast._reference.weights import beta_weight, gamma_weight


def gammainc_da(a, x):
    """dP/da, P the regularised lower incomplete gamma function."""
    return -gamma_weight(a, x, np.log(x)) * np.exp(a * np.log(x) - x - sp.gammaln(a))


def _beta(a, b, x):
    """Both weights, times x^a (1 - x)^b / B(a, b)."""
    log_x, log_y = np.log(x), np.log1p(-x)
    weights = beta_weight(a, b, x, 1.0 - x, log_x, log_y)
    return tuple(w * np.exp(a * log_x + b * log_y - sp.betaln(a, b)) for w in weights)


def betainc_da(a, b, x):
    """dI/da, I the regularised incomplete beta function."""
    return -_beta(a, b, x)[0]


def betainc_db(a, b, x):
    """dI/db."""
    return _beta(a, b, x)[1]
