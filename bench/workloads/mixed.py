"""Logistic regressions with one group of random intercepts, simulated, of standard deviation 1.

Ours maximises the evidence over the scale, or integrates it out; statsmodels fits a mean-field Gaussian of effects and
logarithm of the scale.
"""

from __future__ import annotations

import numpy as np
import scipy

import sbpfast as sb
from peers import present
from peers.mixed import statsmodels_variational
from workload import Workload

OTHER = "sbpfast, scales integrated out"
TRUTH = (0.5, -0.5)


def simulated(rows, levels, seed=0):
    r = np.random.default_rng(seed)
    X, index = r.standard_normal((rows, 2)), r.permutation(np.arange(rows) % levels)
    eta = X @ TRUTH + r.standard_normal(levels)[index]
    return X, (r.random(rows) < scipy.special.expit(eta)).astype(float), index


def candidates(rows, levels, peers=True):
    X, y, index = simulated(rows, levels)

    def fitted(scales):
        return lambda: sb.BayesianMixedRegression(scales=scales).fit(X, y, {"g": index})

    calls = {"sbpfast": fitted("maximise"), OTHER: fitted("integrate")}
    return present(calls | ({"statsmodels, mean field": statsmodels_variational(X, y, index)} if peers else {}))


def scales_found(calls, times, **_):
    """The standard deviation of the intercepts, which is 1 in the simulation."""
    found = {}
    for name, call in calls.items():
        answer = call()
        found[name] = {"sd": answer[1] if isinstance(answer, tuple) else answer.scales_["g"].sd}
    return found


WORKLOADS = [
    Workload(
        "logistic, 2,000 rows in 200 groups",
        candidates,
        {"rows": 2000, "levels": 200},
        {"rows": 60, "levels": 6},
        facts=scales_found,
    ),
    Workload(
        "logistic, 200,000 rows in 20,000 groups",
        candidates,
        {"rows": 200_000, "levels": 20_000, "peers": False},
        {"rows": 60, "levels": 6, "peers": False},
        facts=scales_found,
    ),
]
