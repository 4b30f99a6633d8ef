"""
Price's theorem against reparameterisation
==========================================

Both estimate the gradient of E f with respect to the covariance of a Gaussian from the same number of draws. The
Hessian makes Price's estimate much less noisy on a smooth f, here the log posterior of a logistic regression.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(0)
X = r.standard_normal((200, 5))
f = sb.targets.logistic_regression(X, (X @ np.ones(5) > r.logistic(size=200)).astype(float), prior_scale=1.0)
q = sb.Gaussian(np.ones(5), 0.05 * np.eye(5))
exact = sb.expectation_grad(f, q, estimator="exact").grad["cov"]

sizes = 2 ** np.arange(5, 13)
for estimator in ("price", "stein", "pathwise", "score"):
    errors = [
        [
            sb.expectation_grad(f, q, wrt="cov", estimator=estimator, n_samples=n, rng=k).grad["cov"] - exact
            for k in range(8)
        ]
        for n in sizes
    ]
    plt.loglog(sizes, np.sqrt(np.mean(np.square(errors), axis=(1, 2, 3))), "o-", label=estimator)
plt.xlabel("draws")
plt.ylabel("root mean square error of an entry")
plt.legend()
plt.show()
