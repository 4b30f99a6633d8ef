"""
Plain, antithetic and Sobol draws
=================================

Scrambled Sobol points lower the error of a smooth expectation much faster than one over the root of the number of
draws, at the same price.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

f = sb.targets.ridge(np.eye(4) + 0.3, 0.0, "softplus")
q = sb.Gaussian(np.zeros(4), np.eye(4))
exact = sb.expectation_grad(f, q).value
sizes = 2 ** np.arange(6, 14)
for sampling in ("mc", "antithetic", "sobol"):
    errors = [
        [
            sb.expectation_grad(f, q, estimator="price", n_samples=n, sampling=sampling, rng=k).value - exact
            for k in range(10)
        ]
        for n in sizes
    ]
    plt.loglog(sizes, np.sqrt(np.mean(np.square(errors), axis=1)), "o-", label=sampling)
plt.xlabel("draws")
plt.ylabel("root mean square error of E f")
plt.legend()
plt.show()
