"""
The pole of the product-rule weight
===================================

The quotient of the scores has a pole where the density has its mode. An estimator that uses it has no expectation:
leaving out a window about the mode gives a number that grows without bound as the window closes.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import sbpfast as sb

shape, mode = 2.4, 1.4
x = np.linspace(0, 8, 200_001)[1:]
log_ratio = np.log(x) - (np.log(x) * stats.gamma.pdf(x, shape)).sum() * (x[1] - x[0])
weight = x * log_ratio / (shape - 1 - x)  # score by shape over score by x
integrand = -np.gradient(weight * np.sin(x), x) * stats.gamma.pdf(x, shape)  # of f = sin x

windows = np.geomspace(0.3, 0.002, 25)
cut = [np.sum(integrand[np.abs(x - mode) > w]) * (x[1] - x[0]) for w in windows]
f = sb.Target(value=lambda x: np.sin(x[:, 0]), grad=np.cos, dim=1)
exact = sb.expectation_grad(f, sb.expfam.Gamma(shape, 1.0), estimator="exact").grad["shape"]

plt.loglog(windows, np.abs(cut), label="|product rule| outside a window about the mode")
plt.axhline(abs(float(exact)), color="k", label="|truth|")
plt.gca().invert_xaxis()
plt.xlabel("half width of the window")
plt.legend()
plt.show()

try:
    sb.expectation_grad(f, sb.expfam.Gamma(shape, 1.0), estimator="product", rng=0)
except ValueError as error:
    print(error)
