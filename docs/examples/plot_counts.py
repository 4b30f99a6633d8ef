"""
Counts with exposures
=====================

A Poisson regression of rates: the response is count over exposure and the weight is the exposure. The band is the 90 %
interval of the rate's mean.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(0)
x = np.linspace(-2, 2, 80)
exposure = r.uniform(1, 20, 80)
counts = r.poisson(exposure * np.exp(0.3 + 0.6 * x))
model = sb.BayesianPoissonRegression(random_state=0).fit(x[:, None], counts / exposure, sample_weight=exposure)
draws = model.sample_params(2000, rng=0)
print(model.summary())

coef, intercept = model.sample_coef(2000, rng=0), model.intercept_
rates = np.exp(coef * x + intercept)
plt.scatter(x, counts / exposure, s=exposure * 3, alpha=0.5, label="observed rates, area by exposure")
plt.plot(x, model.predict(x[:, None]), label="mean rate")
plt.fill_between(x, *np.quantile(rates, [0.05, 0.95], axis=0), alpha=0.3)
plt.legend()
plt.show()
