"""
A family of your own
====================

`Univariate` makes a one-dimensional exponential family from its pieces, numerically: density, moments, draws and
transport weights. Here p(x) is proportional to exp(eta1 x - eta2 x^4), lighter in its tails than any normal.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

p = sb.expfam.Univariate(np.zeros_like, [1.0, 0.25], lambda x: np.stack([x, -(x**4)], axis=-1))
x = np.linspace(-2.5, 3, 300)[:, None]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
axes[0].hist(p.sample(20_000, rng=0)[:, 0], 80, density=True, alpha=0.4)
axes[0].plot(x, np.exp(p.log_prob(x)))
axes[0].set_title("density and draws")
axes[1].plot(x, p.transport(x)["eta"].reshape(300, 2), label=["eta1", "eta2"])
axes[1].set_title("how draws move with eta")
axes[1].legend()
plt.show()
