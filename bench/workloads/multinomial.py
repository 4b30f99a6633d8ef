"""Multinomial regression: the party identification of 944 people in 7 classes (anes96, which statsmodels ships).

Columns are standardised and have an intercept beside them.  The worst error of a mean is in standard deviations of the
posterior, from the mean of NUTS, whose own error is about 1 / sqrt(effective draws).
"""

from __future__ import annotations

import importlib

import numpy as np

import sbpfast as sb
from peers import present
from peers.multinomial import numpyro_nuts, scikit_learn
from workload import Workload

NUTS, MODE = "NumPyro NUTS", "scikit-learn, the mode"
SCALE = 2.5


def rows(data):
    """X with a column of ones, and classes."""
    if data == "anes96":
        table = importlib.import_module("statsmodels.datasets").anes96.load_pandas()
        X, y = table.exog.to_numpy(dtype=float), table.endog.to_numpy(dtype=int)
    else:
        r = np.random.default_rng(0)
        X = r.standard_normal((200, 3))
        y = (X @ r.standard_normal((3, 4)) + r.gumbel(size=(200, 4))).argmax(axis=1)
    return np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))]), y


def candidates(data, draws):
    X, y = rows(data)
    return present(
        {
            "sbpfast": lambda: sb.fit(
                sb.targets.multinomial_regression(X, y, prior_scale=SCALE, symmetric=True), rng=0
            ),
            MODE: scikit_learn(X, y, SCALE),
            NUTS: numpyro_nuts(X, y, int(y.max()) + 1, SCALE, draws),
        }
    )


def worst_means(calls, times, **_):
    """Of every candidate, from the mean of NUTS; for ours the means corrected by importance weights, too."""
    fit = calls["sbpfast"]()
    facts = {"sbpfast": {"steps": fit.n_iter, "k-hat": fit.khat}}
    if NUTS not in calls:
        return facts
    mean, sd = calls[NUTS].answer
    answers = {"sbpfast": fit.q.mean} | ({MODE: calls[MODE]()} if MODE in calls else {})
    for name, answer in answers.items():
        facts.setdefault(name, {})["worst mean error, sd"] = float(np.max(np.abs(answer - mean) / sd))
    facts["sbpfast"]["corrected by importance weights"] = float(np.max(np.abs(fit.psis_mean - mean) / sd))
    facts["sbpfast"]["worst ratio of sds"] = float(np.exp(np.abs(np.log(np.sqrt(np.diag(fit.q.cov)) / sd)).max()))
    return facts


WORKLOADS = [
    Workload(
        "anes96, 944 x 6, 7 classes",
        candidates,
        {"data": "anes96", "draws": 8000},
        {"data": "simulated", "draws": 60},
        facts=worst_means,
    )
]
