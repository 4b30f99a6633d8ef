"""How many of 20 Poisson regressions with heavy-tailed columns converge, at three sizes."""

from __future__ import annotations

import time

import numpy as np

import sbpfast as sb

HEAVY = (1.0, 1.0, 2.0, 2.0, 2.0, 2.5, 2.5, 2.5, 3.0, 3.0)  # degrees of freedom; 1 is Cauchy


def heavy_poisson_data(rows, scale, seed):
    """Columns with Student's t tails and counts up to exp(20), of rates that the columns' extremes drive."""
    r = np.random.default_rng(seed)
    X = np.column_stack([r.standard_t(df, size=rows) for df in HEAVY])
    rate = np.exp(np.clip(X @ r.standard_normal(len(HEAVY)) * scale, -20, 20))
    return X, r.poisson(rate).astype(float)


def study(quick):
    results, seeds = {}, 2 if quick else 20
    for rows, scale in ((2000, 0.2), (2000, 0.05), (200, 0.2)):
        stuck, seconds = {}, []
        for seed in range(seeds):
            X, y = heavy_poisson_data(rows, scale, seed)
            start = time.perf_counter()
            fit = sb.fit(sb.targets.poisson_regression(X, y, prior_scale=1.0), rng=0)
            seconds.append(time.perf_counter() - start)
            if not (fit.converged and np.isfinite(fit.q.cov).all()):
                stuck[seed] = fit.message
        name = f"{rows} rows, coefficients {scale:g}"
        results[name] = {f"converged of {seeds}": seeds - len(stuck), "seconds, worst": max(seconds), "stuck": stuck}
        print(f"  {name:28s} {seeds - len(stuck)} of {seeds} converge, the slowest in {1e3 * max(seconds):.0f} ms")
        for seed, message in stuck.items():
            print(f"    seed {seed}: {message}")
    return results
