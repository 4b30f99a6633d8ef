"""
The way of a fit
================

Natural gradients take the Gaussian from where it begins to the optimum in a few steps that look like Newton's; the
callback sees each of them.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(0)
X = r.standard_normal((40, 2)) * [1.0, 3.0]
f = sb.targets.logistic_regression(X, (X.sum(axis=1) > r.logistic(size=40)).astype(float), prior_scale=2.0)
steps = []
fit = sb.fit(f, sb.Gaussian([-2.0, -2.0], np.eye(2)), callback=steps.append)
for step in steps:
    print(f"step {step.n_iter}: ELBO {step.elbo:.6f}, residual {step.residual:.1e}")

grid = np.stack(np.meshgrid(np.linspace(-4, 12, 150), np.linspace(-4, 12, 150)), axis=-1)
plt.contour(*grid.T.swapaxes(1, 2), f.value(grid.reshape(-1, 2)).reshape(150, 150), 60, cmap="Blues")
plt.plot(*np.transpose([step.mean for step in steps]), "o-", color="tab:red", label="mean, step by step")
circle = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 100)), np.sin(t)])
plt.plot(
    *(fit.q.mean[:, None] + 2 * np.linalg.cholesky(fit.q.cov) @ circle), color="tab:red", label="two sd of the fit"
)
plt.legend()
plt.show()
