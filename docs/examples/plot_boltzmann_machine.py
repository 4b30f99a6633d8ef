"""
A Boltzmann machine learns a density
====================================

Eight hidden units on points about three centres; log Z is exact, so the density can be drawn as it is.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(0)
centres = np.array([[-5.0, -5.0], [5.0, -5.0], [0.0, 5.0]])
v = centres[r.integers(3, size=2000)] + r.standard_normal((2000, 2))
rbm = sb.GaussianBernoulliRBM(n_components=8, n_epochs=50, rng=0).fit(v)
print(f"mean log density {rbm.score_samples(v).mean():.2f}, of the truth {-np.log(3) - np.log(2 * np.pi) - 1:.2f}")

side = np.linspace(-9, 9, 150)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
plt.contourf(side, side, np.exp(rbm.score_samples(grid)).reshape(150, 150), 20, cmap="Blues")
plt.plot(*v[:300].T, "k.", ms=2)
plt.gca().set_aspect("equal")
plt.show()
