"""A row of zeros adds a constant to a log density: the fit is that without the row."""

import numpy as np
import pytest
import scipy

import sbpfast as sb

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")
MODELS = {
    "logistic": (sb.targets.logistic_regression, lambda r: r.integers(0, 2, 12), {}),
    "probit": (sb.targets.probit_regression, lambda r: r.integers(0, 2, 12), {}),
    "poisson": (sb.targets.poisson_regression, lambda r: r.poisson(2.0, 12), {}),
    "student_t": (sb.targets.student_t_regression, lambda r: r.standard_t(3.0, 12), {"df": 3.0, "scale": 0.8}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_rows_of_zeros_change_nothing(name, kind):
    build, response, more = MODELS[name]
    r = np.random.default_rng(0)
    for _ in range(20):
        X = np.eye(4)[r.permutation(np.r_[0:4, r.integers(4, size=8)])][:, 1:]  # dummy coding: the first level is zeros
        y, used = response(r), X.any(axis=1)
        one = sb.fit(build(kind(X), y, prior_scale=2.0, **more), rng=0)
        other = sb.fit(build(kind(X[used]), y[used], prior_scale=2.0, **more), rng=0)
        assert one.converged and other.converged and one.residual_trace[-1] < 1e-8
        sd = np.sqrt(np.diag(other.q.cov))
        np.testing.assert_allclose(one.q.mean / sd, other.q.mean / sd, atol=1e-7)
        np.testing.assert_allclose(one.q.cov, other.q.cov, rtol=1e-7, atol=1e-9)


def test_an_endless_newton_step_is_not_the_end():
    """The fourth step of Newton's method is 4000 standard deviations long here: the ELBO is hardly concave."""
    groups = {0: [0.18107804, 2.36952325, -1.39748349, -1.69277853], 1: [-0.51379566, -1.61102106], 2: [-0.22371724]}
    y = np.concatenate(list(groups.values()))
    X = np.eye(3)[np.repeat(list(groups), [len(v) for v in groups.values()])]
    f = sb.targets.student_t_regression(X, y, df=2.8292811411904975, scale=0.2323744507425638, prior_scale=2.0)
    fit = sb.fit(f, rng=0)
    others = [sb.fit(f, sb.Gaussian(fit.q.mean + shift, fit.q.cov), rng=0).elbo for shift in (-0.3, 0.0, 0.3)]
    assert fit.converged and fit.elbo == pytest.approx(max(others), abs=1e-8)
