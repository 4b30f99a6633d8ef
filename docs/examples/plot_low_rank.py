"""
A covariance of low rank
========================

Two hundred coefficients whose posterior is correlated through a few directions. The diagonal fit understates the
standard deviations, eight columns give nearly all of them back, and no matrix of 200 x 200 is formed.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(0)
X = r.standard_normal((800, 4)) @ r.standard_normal((4, 200)) + 0.3 * r.standard_normal((800, 200))
y = (X @ r.standard_normal(200) / 10 > r.logistic(size=800)).astype(float)
f = sb.targets.logistic_regression(X / 4, y, prior_scale=1.0)
full = np.sqrt(np.diag(sb.fit(f, rng=0).q.cov))
for label, options in {"diagonal": {"structure": "diagonal"}, "rank 8": {"structure": "low_rank", "rank": 8}}.items():
    fit = sb.fit(f, rng=0, **options)
    sd = fit.q.std if label == "diagonal" else np.sqrt(fit.q.diag + (fit.q.factor**2).sum(axis=1))
    plt.plot(full, sd, ".", label=label)
plt.plot([full.min(), full.max()], [full.min(), full.max()], "k", lw=0.8)
plt.xlabel("standard deviation, full covariance")
plt.ylabel("standard deviation")
plt.legend()
plt.show()
