"""
Transport weights of the gamma
==============================

The weight B(x) = -(dF/dtheta) / p says how fast a draw moves when a parameter does. By shape it has no closed form;
it is computed to about 1e-13.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

x = np.geomspace(0.01, 12, 300)[:, None]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
for shape in (0.5, 1.0, 2.5, 6.0):
    p = sb.expfam.Gamma(shape, 1.0)
    for axis, parameter in zip(axes, ("shape", "rate"), strict=True):
        axis.plot(x, p.transport(x)[parameter], label=f"shape {shape}")
        axis.set(xlabel="x", title=f"dx / d{parameter}")
axes[0].legend()
plt.show()
