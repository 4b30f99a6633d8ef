"""A row of zeros adds a constant to a log density: the fit is that without the row."""

import numpy as np
import pytest
import scipy

import sbpfast as sb

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")

MAKE = {
    "logistic": lambda X, r: sb.targets.logistic_regression(X, r.integers(0, 2, X.shape[0]), prior_scale=2.0),
    "probit": lambda X, r: sb.targets.probit_regression(X, r.integers(0, 2, X.shape[0]), prior_scale=2.0),
    "poisson": lambda X, r: sb.targets.poisson_regression(X, r.poisson(2.0, X.shape[0]), prior_scale=2.0),
    "student_t": lambda X, r: sb.targets.student_t_regression(
        X, r.standard_t(3.0, X.shape[0]), df=3.0, scale=0.8, prior_scale=2.0
    ),
}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_rows_of_zeros_change_nothing(name, kind):
    r = np.random.default_rng(0)
    for seed in range(20):
        X = np.eye(4)[r.permutation(np.r_[0:4, r.integers(4, size=8)])][:, 1:]  # dummy coding: the first level is zeros
        f = MAKE[name](kind(X), np.random.default_rng(seed))
        used = X.any(axis=1)
        without = sb.targets.ridge(
            X[used], 0.0, f._link_name, f._weights[used], f._y[used],
            sb.targets.quadratic(0.25, np.zeros(3)), **dict(zip(f._link.parameters, f._parameters)),
        )  # fmt: skip
        one, other = sb.fit(f, rng=0), sb.fit(without, rng=0)
        assert one.converged and other.converged and one.residual_trace[-1] < 1e-8
        sd = np.sqrt(np.diag(other.q.cov))
        np.testing.assert_allclose(one.q.mean / sd, other.q.mean / sd, atol=1e-7)
        np.testing.assert_allclose(one.q.cov, other.q.cov, rtol=1e-7, atol=1e-9)
