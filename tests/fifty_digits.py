"""The doubles that the package gets, in the 50 digits of the oracles."""

import mpmath as mp
import numpy as np

mp.mp.dps = 50
M = mp.mpf


def big(values):
    return [M(float(v)) for v in np.ravel(values)]


def error(got, want, floor=0):
    """Relative error; absolute below the floor."""
    return float(abs(M(float(got)) - want) / max(abs(want), M(floor)))


def log_beta(*a):
    return sum(mp.loggamma(v) for v in a) - mp.loggamma(sum(a))
