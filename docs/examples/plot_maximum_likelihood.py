"""
Convex maximum likelihood
=========================

Exponential families are fitted by Newton's method on a convex function; the duality gap certifies the answer. Five
families on the same waiting times, ranked by their log likelihood.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

data = sb.expfam.InverseGaussian(2.0, 3.0).sample(2000, rng=0)
families = sb.expfam.InverseGaussian, sb.expfam.LogNormal, sb.expfam.Gamma, sb.expfam.Exponential, sb.expfam.Rayleigh
grid = np.linspace(0.05, 10, 300)[:, None]
plt.hist(data[:, 0], 100, density=True, alpha=0.3, range=(0, 10))
fits = sorted((family.fit(data) for family in families), key=lambda mle: -mle.log_likelihood)
for mle in fits:
    name = type(mle.distribution).__name__
    print(f"{name:16s} log likelihood {mle.log_likelihood:9.1f}, duality gap {mle.duality_gap:.1e}")
    plt.plot(grid, np.exp(mle.distribution.log_prob(grid)), label=name)
plt.legend()
plt.show()
