"""Twins of the kernels of ``_core.elementary``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special as sp

FUNCTIONS: dict[str, Callable] = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "mills": lambda x: np.sqrt(np.pi / 2.0) * sp.erfcx(x / np.sqrt(2.0)),
    "log1p_unit": np.log1p,
    "sin2pi": lambda x: np.sin(2.0 * np.pi * x),
    "cos2pi": lambda x: np.cos(2.0 * np.pi * x),
}


def evaluate(name, x):
    """One function of x at every element."""
    return FUNCTIONS[name](x)


def from_uint64(x):
    """64-bit integers as doubles, correctly rounded."""
    return x.astype(np.float64)
