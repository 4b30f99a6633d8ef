"""
The posterior of a logistic regression
======================================

The Gaussian closest to the posterior of 31 coefficients, by exact integrals: no draws, no learning rate. The page of
the fit shows the way to the optimum, the importance weights that judge it, and the marginals that lie furthest from 0.
"""

import sbpfast as sb
from sbpfast.data import load_breast_cancer

X, y, names = load_breast_cancer()
fit = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0), rng=0)
fit.names = names
print(fit.message)
page = fit.plot()
