"""
A covariance of low rank
========================

Counts in two hundred cells whose log rates vary together, by a prior of three factors. The diagonal fit understates the
standard deviations; three columns give them back, and only (200, 3) numbers are fitted for them.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(0)
factor = r.standard_normal((200, 3)) * [0.8, 0.5, 0.3]
prior = np.linalg.inv(0.1 * np.eye(200) + factor @ factor.T)
log_rates = factor @ r.standard_normal(3) + np.sqrt(0.1) * r.standard_normal(200)
cells = r.choice(200, 12, replace=False)  # few were looked at
counts = r.poisson(np.exp(log_rates[cells])).astype(float)
log_prior = sb.targets.quadratic(prior, np.zeros(200))
rates = sb.targets.ridge(np.eye(200)[cells], 0.0, "poisson", y=counts, quadratic=log_prior)
full = np.sqrt(np.diag(sb.fit(rates, rng=0).q.cov))
for label, options in {"diagonal": {"structure": "diagonal"}, "rank 3": {"structure": "low_rank", "rank": 3}}.items():
    fit = sb.fit(rates, rng=0, **options)
    sd = fit.q.std if label == "diagonal" else np.sqrt(fit.q.diag + (fit.q.factor**2).sum(axis=1))
    print(f"{label}: ELBO {fit.elbo:.2f}, standard deviations {np.median(sd / full):.2f} of the full fit's (median)")
    plt.plot(full, sd, ".", label=label)
plt.plot([0, full.max()], [0, full.max()], "k", lw=0.8)
plt.xlabel("standard deviation, full covariance")
plt.ylabel("standard deviation")
plt.legend()
plt.show()
