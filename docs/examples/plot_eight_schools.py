"""
A PyMC model in one line
========================

The eight schools, fitted as they are: ``sb.fit(model)``. The table is on the model's own scale and under its own names,
weighted by importance because k-hat allows it.
"""

import matplotlib.pyplot as plt
import numpy as np
import pymc as pm

import sbpfast as sb

schools = ["Choate", "Deerfield", "Andover", "Exeter", "Hotchkiss", "Lawrenceville", "St. Paul's", "Mt. Hermon"]
effect = np.array([28, 8, -3, 7, -1, 1, 18, 12])
error = np.array([15, 10, 16, 11, 9, 11, 10, 18])
with pm.Model(coords={"school": schools}) as model:
    mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
    z = pm.Normal("z", 0, 1, dims="school")
    theta = pm.Deterministic("theta", mu + tau * z, dims="school")
    pm.Normal("y", theta, error, observed=effect)

fit = sb.fit(model, rng=0)
print(fit.summary())

# %%
# Draws under the model's names, weighted by importance:
theta = fit.posterior(4000, rng=0, resample=True)["theta"]
rows = np.arange(8)
plt.errorbar(effect, rows + 0.15, xerr=error, fmt="o", label="observed, with its error")
low, middle, high = np.quantile(theta, [0.05, 0.5, 0.95], axis=0)
plt.errorbar(middle, rows - 0.15, xerr=[middle - low, high - middle], fmt="s", label="posterior, 90 %")
plt.yticks(rows, schools)
plt.axvline(0, color="k", lw=0.5)
plt.legend()
plt.show()
