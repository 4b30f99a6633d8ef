"""
A line through data with outliers
=================================

Student's t noise against normal noise: the two regressions are the same call but for the class.
"""

import matplotlib.pyplot as plt
import numpy as np

import sbpfast as sb

r = np.random.default_rng(1)
x = np.sort(r.uniform(-2, 2, 60))
y = 1.0 + 2.0 * x + 0.3 * r.standard_normal(60)
y[::8] -= 6 * (x[::8] > 0)  # a few went wrong
plt.plot(x, y, "k.")
for model in (sb.BayesianLinearRegression(random_state=0), sb.BayesianStudentTRegression(random_state=0)):
    model.fit(x[:, None], y)
    print(f"{type(model).__name__}: slope {model.coef_[0]:.2f}")
    plt.plot(x, model.predict(x[:, None]), label=type(model).__name__)
    plt.fill_between(x, *model.predict_interval(x[:, None], 0.9).T, alpha=0.2)
plt.legend()
plt.show()
