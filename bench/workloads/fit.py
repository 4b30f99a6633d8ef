"""Gaussian fits of logistic regressions, the target's construction included, and how far the answers are off.

The rival is thirty lines of NumPy: natural gradients with Gauss-Hermite quadrature, from the mean 0 and the curvature
there.  NumPyro's times hold its compilation.  Some linear predictors of the breast cancer data have a standard
deviation of 4 to 10, which 8 nodes do not resolve: there the rival uses 64.
"""

from __future__ import annotations

import numpy as np
import scipy

import sbpfast as sb
from peers import present
from peers.fit import gauss_hermite, numpyro_nuts, numpyro_svi, thirty_lines, trapezoid
from sbpfast.data import load_breast_cancer
from workload import Workload

RIVAL = "thirty lines of NumPy"


def logistic_data(n, d, seed=0):
    r = np.random.default_rng(seed)
    X = r.standard_normal((n, d))
    return X, (r.random(n) < scipy.special.expit(X @ r.standard_normal(d) / np.sqrt(d))).astype(float)


def fitted(X, y):
    return sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)


def regression(rows, d, nodes):
    X, y = logistic_data(rows, d)
    return {
        "sbpfast": lambda: fitted(X, y),
        RIVAL: lambda: thirty_lines(X, y, 1.0, gauss_hermite(nodes), max_steps=200),
    }


def apart(calls, times, **_):
    """Steps, and the KL divergence of the rival's answer from ours."""
    fit, (mean, cov, steps) = calls["sbpfast"](), calls[RIVAL]()
    return {
        "sbpfast": {"steps": fit.n_iter, "passes": fit.counts["passes"]},
        RIVAL: {"steps": steps, "KL from ours": sb.Gaussian(mean, cov).kl(fit.q)},
    }


def breast_cancer(nodes, svi_steps, nuts_draws):
    X, y, _ = load_breast_cancer()
    return present(
        {
            "sbpfast": lambda: fitted(X, y),
            RIVAL: lambda: thirty_lines(X, y, 1.0, gauss_hermite(nodes), max_steps=200),
            "NumPyro full-rank SVI": numpyro_svi(X, y, svi_steps),
            "NumPyro NUTS": numpyro_nuts(X, y, nuts_draws),
        }
    )


def worst_means(calls, times, **_):
    """The worst error of a mean in standard deviations; NUTS aims at the posterior's, not the best Gaussian's."""
    X, y, _ = load_breast_cancer()
    best, cov, _ = thirty_lines(X, y, 1.0, trapezoid(), tol=1e-10, max_steps=200)
    means = {"sbpfast": lambda fit: fit.q.mean, RIVAL: lambda answer: answer[0]}
    facts = apart(calls, times)
    for name, call in calls.items():
        mean = means.get(name, np.asarray)(call())
        off = float(np.max(np.abs(mean - best) / np.sqrt(np.diag(cov))))
        facts.setdefault(name, {})["worst mean error, sd"] = off
    return facts


WORKLOADS = [
    Workload(
        "breast cancer, 569 x 31",
        breast_cancer,
        {"nodes": 64, "svi_steps": 30_000, "nuts_draws": 2000},
        {"nodes": 64, "svi_steps": 10, "nuts_draws": 4},
        facts=worst_means,
    ),
    *(
        Workload(
            f"logistic, N = {rows}, d = {d}",
            regression,
            {"rows": rows, "d": d, "nodes": 8},
            {"rows": 60, "d": 3, "nodes": 8},
            facts=apart,
        )
        for rows, d in ((100_000, 50), (1_000_000, 20))
    ),
]


def draw(plt, results, folder):
    """The page of the breast cancer fit."""
    X, y, names = load_breast_cancer()
    fitted(X, y).plot(folder / "fit.png", names)
