"""
What the prior's scale does
===========================

The ELBO bounds the log evidence of a model, so that it can choose the scale of a prior: here of the coefficients of a
logistic regression, in the units of the data.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb
from sbpfast.data import load_breast_cancer

X, y, _ = load_breast_cancer()
scales = np.geomspace(0.05, 20, 12)
fits = [sb.fit(sb.targets.logistic_regression(X, y, prior_scale=s), rng=0) for s in scales]
plt.semilogx(scales, [fit.elbo for fit in fits], "o-", label="ELBO")
plt.semilogx(scales, [fit.log_evidence for fit in fits], "x", label="log evidence, by importance weights")
plt.xlabel("prior scale")
plt.legend()
plt.show()
