"""What a user's type checker sees: a program that is right passes ``mypy --strict``, wrong names of choices do not."""

import pytest
from user_types import errors_of, strictly_checked

RIGHT = """
import numpy as np
import sbpfast as sb
from numpy.typing import NDArray
from sbpfast.data import load_breast_cancer

X, y, names = load_breast_cancer()
f = sb.targets.logistic_regression(X, y, prior_scale=1.0)
fit = sb.fit(f, structure="full", rng=0)
mean: NDArray[np.float64] = fit.q.mean
print(fit.summary(names), fit.elbo, fit.khat)
draws: NDArray[np.float64] = fit.sample(10, rng=0)
fit.save("x.npz")
again = sb.Fit.load("x.npz")
table = again.summary(names)
column: NDArray[np.float64] = table["mean"]


def value(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-0.5 * (x * x).sum(axis=1))


def grad(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return -x


t = sb.Target(value=value, grad=grad, dim=3)
est = sb.expectation_grad(t, sb.Gaussian(np.zeros(3), np.eye(3)), estimator="price", n_samples=100, rng=0)
g: NDArray[np.float64] = est.grad["mean"]
e: NDArray[np.float64] | float = est.stderr["value"]


def watch(step: sb.FitStep) -> bool:
    return step.n_iter > 3


second = sb.fit(t, sb.Gaussian(np.zeros(3), np.eye(3)), callback=watch)
model = sb.BayesianLogisticRegression(prior_scale=2.5, class_weight="balanced", random_state=0).fit(X, y)
p: NDArray[np.float64] = model.predict_proba(X)
interval: NDArray[np.float64] = model.predict_interval(X, 0.9)
coef: NDArray[np.float64] = model.coef_
k: float = model.khat_
linear = sb.BayesianLinearRegression().fit(X, y)
yhat = linear.predict(X)
yhat, sd = linear.predict(X, return_std=True)
frame = model.summary().to_frame()
params = model.get_params()
counts = sb.BayesianNegativeBinomialRegression(prior_scale="auto", random_state=0).fit(X, y)
dispersion: float = counts.dispersion_
low, high = counts.learned_["dispersion"].interval(0.9)
positive = sb.BayesianGammaRegression(shape=2.0).fit(X, y + 1.0)
many = sb.targets.multinomial_regression(X, y, prior_scale=1.0, n_classes=3)
by_formula = sb.BayesianLogisticRegression.from_formula("y ~ x", {"x": X[:, 0], "y": y}, prior_scale=1.0)
by_name: NDArray[np.float64] = by_formula.predict_proba({"x": X[:, 0]})
model.set_params(prior_scale=1.0).fit(X, y)
d = sb.expfam.Gamma(2.0, 1.0).sample(5, rng=0)
"""

WRONG = {
    'sb.fit(t, structure="diagnal")': '"structure" to "fit"',
    'sb.fit(t, estimator="prise")': '"estimator" to "fit"',
    'sb.expectation_grad(t, q, estimator="prise")': '"estimator" to "expectation_grad"',
    'sb.expectation_grad(t, q, sampling="sobl")': '"sampling" to "expectation_grad"',
    'sb.BayesianLogisticRegression(class_weight="even")': '"class_weight" to',
}


@pytest.mark.slow
def test_a_program_passes(tmp_path):
    output, status = strictly_checked(tmp_path, RIGHT)
    assert status == 0, output


@pytest.mark.slow
def test_misspelt_choices_do_not_pass(tmp_path):
    start = "import numpy as np\nimport sbpfast as sb\n\n"
    start += "t = sb.targets.quadratic(1.0, np.zeros(2))\nq = sb.Gaussian(np.zeros(2), np.eye(2))\n"
    output, status = strictly_checked(tmp_path, start + "\n".join(WRONG) + "\n")
    lines = errors_of(output)
    assert status == 1 and len(lines) == len(WRONG), output
    for line, words in zip(lines, WRONG.values()):
        assert words in line
