"""Gaussian fits against thirty lines of NumPy and the peers: time to the same answer.

`thirty_lines` is the rival for regressions: natural gradients with 8-node Gauss-Hermite quadrature, from the mean 0 and
the curvature there, in plain NumPy.  Every workload checks that the answers agree before it times them.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import scipy
import timing

import sbpfast as sb
from sbpfast.data import load_breast_cancer

FULL = "--full" in sys.argv  # also N = 1e6, and the slow peers


def thirty_lines(X, y, prior_scale, tol=1e-8, max_steps=50):
    """Mean, covariance and steps of the KL-optimal Gaussian of a logistic regression."""
    n, d = X.shape
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    prior = np.eye(d) / prior_scale**2
    mean, cov = np.zeros(d), np.linalg.inv(X.T @ X / 4 + prior)
    for step in range(1, max_steps + 1):  # noqa: B007
        m = X @ mean
        t = np.sqrt(np.einsum("ij,ij->i", X @ cov, X))
        slope, curvature = y.copy(), np.zeros(n)
        for z, w in zip(nodes, weights):
            p = scipy.special.expit(m + t * z)
            slope -= w * p
            curvature += w * p * (1 - p)
        precision = (X * curvature[:, None]).T @ X + prior
        gradient = X.T @ slope - mean / prior_scale**2
        chol = np.linalg.cholesky(cov)
        residual = np.linalg.norm(chol.T @ gradient) + np.linalg.norm(np.eye(d) - chol.T @ precision @ chol)
        if residual < tol:
            break
        cov = np.linalg.inv(precision)
        mean = mean + cov @ gradient
    return mean, cov, step


def logistic_data(n, d, seed=0):
    r = np.random.default_rng(seed)
    X = r.standard_normal((n, d))
    return X, (r.random(n) < scipy.special.expit(X @ r.standard_normal(d) / np.sqrt(d))).astype(float)


def regression(name, X, y, rounds):
    """Time of the fit, the target's construction included, against the thirty lines."""

    def ours():
        return sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)

    fit, (mean, cov, steps) = ours(), thirty_lines(X, y, 1.0)
    rival = sb.Gaussian(mean, cov)
    result = timing.compare({"sbpfast": ours, "thirty lines of NumPy": lambda: thirty_lines(X, y, 1.0)}, rounds=rounds)
    timing.report(f"{name}: {fit.n_iter} steps, {fit.counts['passes']} passes, residual {fit.residual_trace[-1]:.1e} "
                  f"against {steps} steps; KL between the answers {rival.kl(fit.q):.1e}", result)  # fmt: skip
    return result | {"KL": rival.kl(fit.q), "steps": [fit.n_iter, steps], "passes": fit.counts["passes"]}


def heavy_poisson():
    """Poisson regressions with heavy-tailed columns: how many of 20 converge."""
    converged = 0
    for seed in range(20):
        r = np.random.default_rng(seed)
        X = r.standard_t(3, size=(2000, 10))
        y = r.poisson(np.exp(np.clip(X @ r.standard_normal(10) * 0.2, -20, 5)))
        fit = sb.fit(sb.targets.poisson_regression(X, y, prior_scale=1.0), rng=0)
        converged += fit.converged and bool(np.isfinite(fit.q.cov).all())
    print(f"\nPoisson with heavy-tailed columns: {converged} of 20 converge")
    return {"converged of 20": converged}


def callables(d, hessian, seed=0):
    """A logistic regression as plain callables, and its exact optimum."""
    X, y = logistic_data(20 * d, d, seed)

    def hess(x):
        p = scipy.special.expit(x @ X.T)
        return -np.stack([(X * c[:, None]).T @ X for c in p * (1 - p)]) - np.eye(d)

    target = sb.Target(
        value=lambda x: ((x @ X.T) * y - np.logaddexp(0, x @ X.T)).sum(1) - 0.5 * (x**2).sum(1),
        grad=lambda x: (y - scipy.special.expit(x @ X.T)) @ X - x,
        hess=hess if hessian else None,
        dim=d,
    )
    return target, sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0).q


def user_densities():
    """Seconds of a fit through callables, and the KL divergence from the exact optimum it reaches."""
    results = {}
    print("\nUser density through callables")
    for d in (10, 50):
        for hessian in (True, False):
            target, best = callables(d, hessian)
            seconds = []
            for seed in range(5):
                start = time.perf_counter()
                fit = sb.fit(target, rng=seed)
                seconds.append(time.perf_counter() - start)
            name = f"d = {d}, {'with' if hessian else 'without'} Hessian"
            results[name] = {"seconds": float(np.median(seconds)), "KL": fit.q.kl(best), "counts": fit.counts}
            print(f"  {name:28s} {np.median(seconds):7.3f} s, KL {fit.q.kl(best):.1e}, {fit.message}; {fit.counts}")
    return results


def peer_svi(X, y, best):
    """NumPyro's full-rank stochastic variational inference, 30,000 steps, where it is installed."""
    try:
        import jax
        import numpyro
        from numpyro import distributions, infer, optim
    except ImportError:
        print("  NumPyro is not installed: left out")
        return None
    numpyro.enable_x64()

    def model():
        b = numpyro.sample("b", distributions.Normal(0, 1).expand([X.shape[1]]).to_event(1))
        numpyro.sample("y", distributions.Bernoulli(logits=X @ b), obs=y)

    guide = infer.autoguide.AutoMultivariateNormal(model)
    svi = infer.SVI(model, guide, optim.Adam(1e-2), infer.Trace_ELBO())
    start = time.perf_counter()
    state = svi.run(jax.random.PRNGKey(0), 30000, progress_bar=False)
    seconds = time.perf_counter() - start
    mean = np.asarray(guide.get_posterior(state.params).mean)
    error = float(np.max(np.abs(mean - best.mean) / np.sqrt(np.diag(best.cov))))
    print(f"  NumPyro full-rank SVI: {seconds:.2f} s, worst mean {error:.3f} sd from the optimum")
    return {"seconds": seconds, "worst mean error, sd": error}


def main():
    warnings.simplefilter("ignore", sb.FitWarning)
    results = {}
    X, y, _ = load_breast_cancer()
    results["breast cancer"] = regression("breast cancer, 569 x 31", X, y, 15)
    best = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0).q
    results["NumPyro"] = peer_svi(X, y, best)
    results["1e5 x 50"] = regression("logistic, N = 1e5, d = 50", *logistic_data(100_000, 50), 5)
    if FULL:
        results["1e6 x 20"] = regression("logistic, N = 1e6, d = 20", *logistic_data(1_000_000, 20), 3)
    results["heavy Poisson"] = heavy_poisson()
    results["callables"] = user_densities()
    timing.save("fit", results)


if __name__ == "__main__":
    main()
