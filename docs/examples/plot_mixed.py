"""
A mixed model in five lines
===========================

Cases of illness in forty herds over two periods: effects of the herds are drawn together as much as their learned
spread says.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(0)
herd, period = np.repeat(np.arange(40), 2), np.tile([0.0, 1.0], 40)
effect = 0.7 * r.standard_normal(40)
cases = r.binomial(20, 1 / (1 + np.exp(1.5 - effect[herd] + 0.8 * period)))

m = sb.BayesianMixedRegression(family="logistic", random_state=0)
m.fit(period[:, None], cases, groups={"herd": herd}, trials=20)
print(m.summary())

effects = m.random_effects_["herd"]
order = np.argsort(effect)
plt.plot(effect[order], "k.", label="truth")
found, sd = np.ravel(effects["mean"])[order], np.ravel(effects["sd"])[order]
plt.errorbar(np.arange(40), found, 1.64 * sd, fmt="o", alpha=0.6, label="posterior, 90 %")
plt.xlabel("herd, in the order of the truth")
plt.ylabel("effect")
plt.legend()
plt.show()
