"""Gaussian fits against thirty lines of NumPy and the peers: time to the same answer.

`thirty_lines` is the rival for regressions: natural gradients with Gauss-Hermite quadrature, from the mean 0 and the
curvature there, in plain NumPy.  Every workload says how far the answers are apart.  Densities given as callables are
timed until KL(q || best Gaussian) is below 1e-3, beside BlackJAX and GSM (`fit_peers.py`).  Each section saves as it
ends.

`--full` adds the regression with a million rows and NUTS.
"""

from __future__ import annotations

import sys
import time
import warnings

import fit_peers
import numpy as np
import scipy
import timing

import sbpfast as sb
from sbpfast.data import load_breast_cancer

FULL = "--full" in sys.argv
NEAR = 1e-3  # KL divergence from the best Gaussian at which the clock stops
NEAR_TOL = 0.05  # the residual that promises about as much: KL is r^2/4 to r^2/2
SEEDS = 3
# For the peers the fastest of a grid, chosen with the best Gaussian known: Adam with rate 3e-3 to 0.1, decaying to 0 as
# a cosine in 300 to 5000 steps of 10, 30 or 100 draws; GSM's batch 2 to 128.
BLACKJAX = {10: {"rate": 0.1, "draws": 10, "steps": 500}, 50: {"rate": 0.01, "draws": 10, "steps": 5000}}
GSM = {10: {"batch": 16, "steps": 1500}, 50: {"batch": 16, "steps": 1000}}


def gauss_hermite(n):
    """Nodes and weights of expectations under N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def trapezoid(n=401, end=10.0):
    """The same by equal steps, whose error falls faster than any power of n for functions analytic near the line."""
    nodes = np.linspace(-end, end, n)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def thirty_lines(X, y, prior_scale, rule, tol=1e-8, max_steps=50):
    """Mean, covariance and steps of the KL-optimal Gaussian of a logistic regression."""
    n, d = X.shape
    nodes, weights = rule
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


def regression(name, X, y, rounds, n_nodes=8):
    """Time of the fit, the target's construction included, against the thirty lines."""
    rival_name = f"thirty lines of NumPy, {n_nodes} nodes"

    def ours():
        return sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)

    def rival():
        return thirty_lines(X, y, 1.0, gauss_hermite(n_nodes), max_steps=200)

    fit, (mean, cov, steps) = ours(), rival()
    apart = sb.Gaussian(mean, cov).kl(fit.q)
    result = timing.compare({"sbpfast": ours, rival_name: rival}, rounds=rounds)
    timing.report(f"{name}: {fit.n_iter} steps, {fit.counts['passes']} passes, residual {fit.residual_trace[-1]:.1e} "
                  f"against {steps} steps; KL between the answers {apart:.1e}", result)  # fmt: skip
    return result | {"KL": apart, "steps": [fit.n_iter, steps], "passes": fit.counts["passes"]}


def breast_cancer():
    """569 x 31: seconds, and the worst error of a mean in standard deviations.

    Some linear predictors have a standard deviation of 4 to 10, which 8 nodes do not resolve: the rival uses 64.
    """
    X, y, _ = load_breast_cancer()
    result = regression("breast cancer, 569 x 31", X, y, 15, n_nodes=64)
    best_mean, best_cov, _ = thirty_lines(X, y, 1.0, trapezoid(), tol=1e-10, max_steps=200)
    sd = np.sqrt(np.diag(best_cov))

    def off(mean):
        return float(np.max(np.abs(mean - best_mean) / sd))

    means = {"sbpfast": sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0).q.mean}
    means |= {f"thirty lines, {n} nodes": thirty_lines(X, y, 1.0, gauss_hermite(n))[0] for n in (8, 64)}
    result["worst mean error, sd"] = {name: off(mean) for name, mean in means.items()}
    for name, error in result["worst mean error, sd"].items():
        print(f"  {name:34s} worst mean {error:.1e} sd from the best Gaussian's")
    svi = fit_peers.numpyro_svi(X, y)
    if svi is not None:
        seconds, error = svi["seconds"], off(svi.pop("mean"))
        ratio = seconds / result["sbpfast"]["median"]
        result["NumPyro full-rank SVI"] = svi | {"ratio to ours": ratio, "worst mean error, sd": error}
        print(
            f"  NumPyro full-rank SVI, {svi['steps']} steps: {seconds:.1f} s, x {ratio:.0f}; worst mean {error:.2f} sd"
        )
    nuts = fit_peers.numpyro_nuts(X, y) if FULL else None
    if nuts is not None:
        # the posterior's own means, which the best Gaussian's need not be
        seconds, apart, error = nuts["seconds"], off(nuts.pop("mean")), float(nuts.pop("error").max())
        ratio = seconds / result["sbpfast"]["median"]
        more = {"ratio to ours": ratio, "means apart, sd": apart, "Monte Carlo error, sd": error}
        result["NumPyro NUTS"] = nuts | more
        print(f"  NumPyro NUTS, {nuts['warmup']} + {nuts['draws']} draws: {seconds:.2f} s, x {ratio:.0f}; "
              f"means {apart:.2f} sd apart at most, its Monte Carlo error is {error:.2f} sd")  # fmt: skip
    return result


HEAVY = (1.0, 1.0, 2.0, 2.0, 2.0, 2.5, 2.5, 2.5, 3.0, 3.0)  # degrees of freedom; 1 is Cauchy


def heavy_poisson_data(rows, scale, seed):
    """Columns with Student's t tails and counts up to exp(20), of rates that the columns' extremes drive."""
    r = np.random.default_rng(seed)
    X = np.column_stack([r.standard_t(df, size=rows) for df in HEAVY])
    rate = np.exp(np.clip(X @ r.standard_normal(len(HEAVY)) * scale, -20, 20))
    return X, r.poisson(rate).astype(float)


def heavy_poisson():
    """How many of 20 such regressions converge, at three sizes."""
    results = {}
    print(f"\nPoisson, {len(HEAVY)} columns of Student's t with 1 to 3 degrees of freedom")
    for rows, scale in ((2000, 0.2), (2000, 0.05), (200, 0.2)):
        stuck, seconds = {}, []
        for seed in range(20):
            X, y = heavy_poisson_data(rows, scale, seed)
            start = time.perf_counter()
            fit = sb.fit(sb.targets.poisson_regression(X, y, prior_scale=1.0), rng=0)
            seconds.append(time.perf_counter() - start)
            if not (fit.converged and np.isfinite(fit.q.cov).all()):
                stuck[seed] = fit.message
        name = f"{rows} rows, coefficients {scale:g}"
        results[name] = {"converged of 20": 20 - len(stuck), "seconds, worst": max(seconds), "stuck": stuck}
        print(f"  {name:28s} {20 - len(stuck)} of 20 converge, the slowest in {1e3 * max(seconds):.0f} ms")
        for seed, message in stuck.items():
            print(f"    seed {seed}: {message}")
    return results


def callables(X, y, hessian):
    """A logistic regression with prior N(0, I) as a user writes it."""
    n, d = X.shape
    squares = np.einsum("ni,nj->nij", X, X).reshape(n, d * d)

    def hess(x):
        p = scipy.special.expit(x @ X.T)
        return -((p * (1 - p)) @ squares).reshape(-1, d, d) - np.eye(d)

    return sb.Target(
        value=lambda x: x @ (X.T @ y) - np.logaddexp(0, x @ X.T).sum(1) - 0.5 * (x**2).sum(1),
        grad=lambda x: (y - scipy.special.expit(x @ X.T)) @ X - x,
        hess=hess if hessian else None,
        dim=d,
    )


def our_trace(target, best, seed):
    """(seconds, KL) after each step of a fit that stops itself, and the seconds of the whole, diagnostics included."""
    times = []
    start = time.perf_counter()
    whole = sb.fit(target, tol=NEAR_TOL, rng=seed, callback=lambda step: times.append(time.perf_counter() - start))
    seconds, fit, trace = time.perf_counter() - start, None, []
    for elapsed in times:  # the same steps again, one at a time, to see q after each
        fit = sb.fit(target, fit, tol=NEAR_TOL, rng=seed, callback=lambda step: True)
        trace.append((elapsed, fit.q.kl(best)))
    return trace, seconds, whole


def with_kl(trace, family, best):
    """(seconds, KL) of a peer's trace of seconds and parameters; infinite where it has lost definiteness."""
    result = []
    for elapsed, mean, spread in trace:
        try:
            result.append((elapsed, family(mean, spread).kl(best)))
        except ValueError:
            result.append((elapsed, np.inf))
    return result


def first_below(trace):
    return next((elapsed for elapsed, kl in trace if kl < NEAR), None)


def summarised(traces):
    """Median seconds until near, None where a seed never gets there, and the least and last KL."""
    hits = [first_below(trace) for trace in traces]
    return {
        "seconds until KL 1e-3": None if None in hits else float(np.median(hits)),
        "least KL": float(np.median([min(kl for _, kl in trace) for trace in traces])),
        "last KL": float(np.median([trace[-1][1] for trace in traces])),
        "last seconds": float(np.median([trace[-1][0] for trace in traces])),
        "trace": traces[0][:: max(1, len(traces[0]) // 60)],
    }


def say(name, r, rest=""):
    t = r["seconds until KL 1e-3"]
    reached = "        never" if t is None else f"{1e3 * t:10.1f} ms"
    print(f"  {name:28s} {reached}   KL {r['last KL']:.1e} after {r['last seconds']:.2f} s{rest}")


def user_densities():
    """Seconds until KL 1e-3 from the best Gaussian, which the exact fit gives; peers without their compilation."""
    results = {}
    for d in (10, 50):
        X, y = logistic_data(20 * d, d)
        best = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0).q
        here = results[f"d = {d}"] = {}
        print(f"\nUser density through callables, d = {d}, {20 * d} rows: until KL {NEAR:g} from the best Gaussian")
        for hessian in (True, False):
            target = callables(X, y, hessian)
            runs = [our_trace(target, best, seed) for seed in range(SEEDS)]
            r = summarised([trace for trace, _, _ in runs])
            r["seconds, stopping itself"] = float(np.median([seconds for _, seconds, _ in runs]))
            start = time.perf_counter()
            usual = sb.fit(target, rng=0)
            r["default tol"] = {"seconds": time.perf_counter() - start, "KL": usual.q.kl(best), "counts": usual.counts}
            name = f"sbpfast, {'with' if hessian else 'without'} Hessian"
            here[name] = r
            say(name, r, f"; has stopped itself, diagnostics and all, by {r['seconds, stopping itself']:.2f} s; "
                f"default tol: KL {r['default tol']['KL']:.1e} in {r['default tol']['seconds']:.2f} s")  # fmt: skip
        for name, peer, family, setting in (
            ("BlackJAX full-rank VI", fit_peers.blackjax_fullrank, sb.CholeskyGaussian, BLACKJAX[d]),
            ("GSM", fit_peers.gsm, sb.Gaussian, GSM[d]),
        ):
            runs = [peer(X, y, seed, **setting) for seed in range(SEEDS)]
            if runs[0] is None:
                continue
            r = summarised([with_kl(trace, family, best) for trace, _ in runs])
            r |= {"setting": setting, "compilation, seconds": float(np.median([compiling for _, compiling in runs]))}
            here[name] = r
            say(name, r, f"; compiling {r['compilation, seconds']:.2f} s" if r["compilation, seconds"] else "")
    return results


def main():
    warnings.simplefilter("ignore", sb.FitWarning)
    sections = {
        "breast cancer": breast_cancer,
        "1e5 x 50": lambda: regression("logistic, N = 1e5, d = 50", *logistic_data(100_000, 50), 5),
        "heavy Poisson": heavy_poisson,
        "callables": user_densities,
    }
    if FULL:
        sections["1e6 x 20"] = lambda: regression("logistic, N = 1e6, d = 20", *logistic_data(1_000_000, 20), 3)
    results = {}
    for name, section in sections.items():
        results[name] = section()
        timing.save("fit", results)
    draw(results["callables"])


LOOKS = {
    "sbpfast, with Hessian": ("o-", "tab:blue"),
    "sbpfast, without Hessian": ("s-", "tab:cyan"),
    "BlackJAX full-rank VI": ("-", "tab:orange"),
    "GSM": ("-", "tab:green"),
}


def draw(results):
    """The page of the breast cancer fit, and the way of each method towards the best Gaussian."""
    plt = timing.pyplot()
    if plt is None:
        return
    X, y, names = load_breast_cancer()
    sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0).plot(timing.RESULTS / "fit.png", names)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharex=True, sharey=True)
    for ax, (title, methods) in zip(axes, results.items()):
        for name, r in methods.items():
            style, colour = LOOKS[name]
            seconds, kl = np.transpose(r["trace"])
            kl = np.minimum.accumulate(kl)  # as if each knew its best
            ax.loglog(seconds, kl, style, color=colour, markersize=5, linewidth=1.6, label=name)
        ax.axhline(NEAR, color="black", linewidth=0.8, linestyle=":")
        ax.set_title(f"logistic regression as callables, {title}")
        ax.set_xlabel("seconds, without compilation")
        ax.grid(alpha=0.25)
    axes[0].set_ylabel("KL from the best Gaussian")
    axes[0].set_ylim(3e-5, 1e3)
    axes[0].legend(frameon=False)
    figure.savefig(timing.RESULTS / "fit_peers.png", dpi=130)
    print(f"written: {timing.RESULTS / 'fit.png'}, {timing.RESULTS / 'fit_peers.png'}")


if __name__ == "__main__":
    main()
