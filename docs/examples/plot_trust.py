"""
When a Gaussian is the wrong shape
==================================

A curved valley, bent more and more. The closest Gaussian exists for each; k-hat, from the importance weights of its
draws, says which of them stands for the density. Above 0.7 neither the Gaussian nor reweighted draws are to be trusted.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb


def valley(bend):
    def value_and_grad(x):
        u = x[:, 1] - bend * (x[:, 0] ** 2 - 1)
        value = -0.5 * x[:, 0] ** 2 - 2 * u**2
        return value, np.stack([-x[:, 0] + 8 * bend * x[:, 0] * u, -4 * u], axis=1)

    return sb.Target(value_and_grad=value_and_grad, dim=2)


figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True)
grid = np.stack(np.meshgrid(np.linspace(-3, 3, 120), np.linspace(-3, 6, 120)), axis=-1)
for axis, bend in zip(axes, (0.1, 0.4, 1.0), strict=True):
    f = valley(bend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.FitWarning)  # it says in words what the title says
        fit = sb.fit(f, rng=0)
    axis.contour(
        *grid.T.swapaxes(1, 2),
        f.value(grid.reshape(-1, 2)).reshape(120, 120),
        levels=[-8, -4, -2, -0.5],
        cmap="viridis",
    )
    axis.plot(*fit.sample(300, rng=0).T, ".", ms=3, color="tab:red")
    axis.set(title=f"bend {bend}: k-hat {fit.khat:.2f}", xlim=(-3, 3), ylim=(-3, 6))
plt.show()
