"""The main job: gradients of expectations on a Bayesian regression, and the Gaussian fitted to its posterior."""

from __future__ import annotations

import sys
import time

import numpy as np

import sbpfast as sb
from sbpfast._command.fit import breast_cancer_fit
from sbpfast._config import describe
from sbpfast.data import load_breast_cancer

ROWS = [
    ("price", "mc"),
    ("price", "antithetic"),
    ("price", "sobol"),
    ("combined", "mc"),
    ("stein", "mc"),
    ("stein", "antithetic"),
    ("pathwise", "mc"),
    ("score", "mc"),
]
INTRODUCTION = """\
Bayesian logistic regression, breast cancer data: {rows} cases, {dim} coefficients, prior N(0, 1), log joint density f.
The gradients of E[f(x)], x ~ N(mean, cov) with a full covariance at a typical point of a variational fit.
"""
COLUMNS = """\
error: root mean square over the entries of d/dcov, in percent of the root mean square entry of the exact gradient
standard error: the same of the estimate's own standard errors, which is how an error is known without the exact answer
var. x time: of d/dcov, relative to the best; the price of a digit
"""


def problem():
    """The target, and a Gaussian near its optimum: three natural-gradient steps from the prior."""
    X, y, _ = load_breast_cancer()
    target = sb.targets.logistic_regression(X, y, prior_scale=1.0)
    q = sb.Gaussian(np.zeros(target.dim), np.eye(target.dim))
    for _ in range(3):
        est = sb.expectation_grad(target, q, estimator="exact")
        precision = -2.0 * est.grad["cov"]
        q = sb.NaturalGaussian(precision @ q.mean + est.grad["mean"], -0.5 * precision).to_full()
    return target, q


def root_mean_square(a):
    return float(np.sqrt(np.mean(np.square(a))))


def timed(target, q, estimator, sampling, n_samples, rng, repeats=3):
    """An estimate with its standard errors, and the least of the seconds both took."""
    seconds = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        est = sb.expectation_grad(target, q, estimator=estimator, sampling=sampling, n_samples=n_samples, rng=rng)
        errors = est.stderr
        seconds = min(seconds, time.perf_counter() - start)
    return est, errors, seconds


def table(target, q, n_samples, rng):
    """Lines of the table of estimators."""
    exact, _, exact_seconds = timed(target, q, "exact", "mc", 1, rng)
    scale = root_mean_square(exact.grad["cov"])
    results = []
    for estimator, sampling in ROWS:
        est, errors, seconds = timed(target, q, estimator, sampling, n_samples, rng)
        error, expected = (root_mean_square(e) / scale for e in (est.grad["cov"] - exact.grad["cov"], errors["cov"]))
        results.append((estimator, sampling, error, expected, seconds, expected**2 * seconds))
    best = min(result[-1] for result in results)
    yield f"{'estimator':10s} {'draws':11s} {'error':>9s} {'standard error':>15s} {'time':>10s} {'var. x time':>12s}"
    for estimator, sampling, error, expected, seconds, price in results:
        errors = f"{error:9.3%} {expected:15.3%}"
        yield f"{estimator:10s} {sampling:11s} {errors} {1e3 * seconds:7.2f} ms {price / best:12.4g}"
    yield f"{'exact':10s} {'none':11s} {0.0:9.3%} {0.0:15.3%} {1e3 * exact_seconds:7.2f} ms {0.0:12.4g}"


def plot(target, q, path, rng):
    """Error of d/dcov against time, a line an estimator, drawn to a file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    exact, _, exact_seconds = timed(target, q, "exact", "mc", 1, rng)
    scale = root_mean_square(exact.grad["cov"])
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for estimator, sampling in ROWS:
        seconds, errors = [], []
        for power in range(7, 14, 2):
            runs = [timed(target, q, estimator, sampling, 2**power, rng + k, repeats=1) for k in range(3)]
            seconds.append(min(run[2] for run in runs))
            errors.append(
                root_mean_square([root_mean_square(run[0].grad["cov"] - exact.grad["cov"]) for run in runs]) / scale
            )
        axes.loglog(
            seconds, errors, "o-", markersize=4, label=estimator + ("" if sampling == "mc" else f", {sampling}")
        )
    axes.axvline(exact_seconds, color="black", linestyle=":", label="exact integrals")
    axes.set_xlabel("seconds, with standard errors (128, 512, 2048 and 8192 draws)")
    axes.set_ylabel("relative error of dE[f]/dcov")
    axes.set_title("Breast cancer logistic regression: error against time")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def show(options) -> int:
    """The main job: the machine, the table of estimators, the fit."""
    print(", ".join(f"{name} {text}" for name, text in describe().items()))
    print()
    target, q = problem()
    print(INTRODUCTION.format(rows=len(load_breast_cancer()[1]), dim=target.dim))
    for line in table(target, q, options.n_samples, options.seed):
        print(line, flush=True)
    print()
    print(COLUMNS)
    fit, names, seconds = breast_cancer_fit(options.seed)
    how = "by natural gradients from exact expectations"
    print(f"The Gaussian closest to the posterior, {how}, in {1e3 * seconds:.1f} ms:")
    print(fit.summary(names))
    if options.plot:
        try:
            plot(target, q, options.plot, options.seed)
        except ImportError:
            print("--plot needs matplotlib: pip install 'sbpfast[plot]'", file=sys.stderr)
            return 1
        print(f"\nerror against time: {options.plot}")
    return 0
