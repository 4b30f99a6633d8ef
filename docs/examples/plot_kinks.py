"""
Where Price's theorem does not hold
===================================

Price needs a continuous gradient. The rectifier max(x, 0) has a kink: its Hessian is zero almost everywhere, so an
average of Hessians is 0 for every number of draws, while the truth is the normal density at the kink. Estimators of
first order see it.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

import sbpfast as sb

relu = sb.Target(
    value=lambda x: np.maximum(x[:, 0], 0.0),
    grad=lambda x: (x > 0).astype(float),
    hess=lambda x: np.zeros((len(x), 1, 1)),
    dim=1,
)
means = np.linspace(-2, 2, 17)
found = {
    name: [
        sb.expectation_grad(relu, sb.Gaussian([m], [[1.0]]), estimator=name, n_samples=20_000, rng=0).grad["cov"][0, 0]
        for m in means
    ]
    for name in ("price", "pathwise")
}
fine = np.linspace(-2, 2, 200)
plt.plot(fine, norm.pdf(fine) / 2, "k", label="exact, half the density at the kink")
plt.plot(means, found["pathwise"], "o", label="pathwise")
plt.plot(means, found["price"], "x", label="price: wrong, not noisy")
plt.xlabel("mean of the Gaussian")
plt.ylabel("d E[max(x, 0)] / d variance")
plt.legend()
plt.show()
