"""
An uncertain design
===================

A part is made with a spread that grows with its size. The mean cost and its gradient with respect to the size follow
from Bonnet, Price and the chain rule: `pullback` takes the Jacobians of mean and covariance.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

cost = sb.Target(
    value=lambda x: np.exp(-x[:, 0]) + 0.1 * x[:, 0] ** 2,
    grad=lambda x: -np.exp(-x) + 0.2 * x,
    hess=lambda x: (np.exp(-x) + 0.2)[:, :, None],
    dim=1,
)
spread = 0.4  # standard deviation as a share of the size


def estimate(size):
    q = sb.Gaussian([size], [[(spread * size) ** 2]])
    est = sb.expectation_grad(cost, q, estimator="price", sampling="sobol", n_samples=4096, rng=0)
    slope = est.pullback(mean=np.array([[1.0]]), cov=np.array([[[2 * spread**2 * size]]]))
    return est.value, slope[0]


size, way = 0.5, []
for _ in range(40):
    value, slope = estimate(size)
    way.append((size, value))
    size -= 0.8 * slope
sizes = np.linspace(0.4, 3, 60)
plt.plot(sizes, [estimate(s)[0] for s in sizes], label="mean cost with spread")
plt.plot(sizes, cost.value(sizes[:, None]), "--", label="cost without spread")
plt.plot(*np.transpose(way), "o-", ms=3, label="gradient descent")
plt.xlabel("size")
plt.legend()
plt.show()
