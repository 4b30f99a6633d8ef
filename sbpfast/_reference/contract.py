"""Twins of the kernels of ``_core.contract``."""

from __future__ import annotations

import numpy as np


def weighted_sum(x, weights=None):
    x = np.asarray(x, dtype=np.float64)
    return x.sum(axis=0) if weights is None else weights @ x


def weighted_sum_of_squares(x, weights):
    return weights @ x**2


def per_sample(x, jacobian, scale):
    return scale * np.einsum("si,sip->sp", np.asarray(x, np.float64), np.asarray(jacobian, np.float64))


def per_sample_shared(x, jacobian, scale):
    return scale * np.asarray(x, np.float64) @ np.asarray(jacobian, np.float64)
