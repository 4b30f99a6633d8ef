"""
Gradients through counts
========================

A Poisson number of guests, and a cost that is not linear. The difference estimator is the exact analogue of the
transport weight on whole numbers: E[B(x) (f(x + 1) - f(x))]. The score function needs far more draws.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

f = sb.Target(value=lambda x: np.maximum(x[:, 0] - 12.0, 0.0), dim=1)
rates = np.linspace(2, 25, 24)
for name in ("score", "difference"):
    found = [sb.expectation_grad(f, sb.expfam.Poisson(r), estimator=name, n_samples=400, rng=0) for r in rates]
    plt.errorbar(
        rates, [float(e.grad["rate"]) for e in found], [2 * float(e.stderr["rate"]) for e in found], fmt="o", label=name
    )
exact = [float(sb.expectation_grad(f, sb.expfam.Poisson(r), estimator="exact").grad["rate"]) for r in rates]
plt.plot(rates, exact, "k", label="exact, by summation")
plt.xlabel("rate")
plt.ylabel("d E[(x - 12)+] / d rate")
plt.legend()
plt.show()
