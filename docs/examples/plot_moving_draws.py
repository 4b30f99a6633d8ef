"""
How draws move with a parameter
===============================

Each draw of a von Mises distribution is carried along by its transport weight: the histogram of the moved draws is the
distribution with the moved concentration.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

p, moved = sb.expfam.VonMises(0.5, 2.0), sb.expfam.VonMises(0.5, 3.0)
x = p.sample(20_000, rng=0)
for step in range(20):  # twenty small steps of 0.05
    x = x + 0.05 * sb.expfam.VonMises(0.5, 2.0 + 0.05 * step).transport(x)["concentration"]

angles = np.linspace(-np.pi, np.pi - 1e-9, 300)[:, None]
plt.hist(x[:, 0], 80, density=True, alpha=0.4, label="draws of concentration 2, carried to 3")
plt.plot(angles, np.exp(p.log_prob(angles)), label="concentration 2")
plt.plot(angles, np.exp(moved.log_prob(angles)), label="concentration 3")
plt.xlabel("angle")
plt.legend()
plt.show()
