"""Linear regression on data without noise: fits converge, warn of nothing, and give the linear function back."""

import numpy as np
import pytest

import sbpfast as sb


@pytest.mark.parametrize("rows", [20, 50, 400])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_linear_function_is_found(rows, scale):
    for seed in range(10):
        r = np.random.default_rng(seed)
        X = r.standard_normal((rows, 3)) * [1.0, scale, 1.0]
        b = np.array([2.0, r.integers(-3, 4) / scale, 0.0])
        m = sb.BayesianLinearRegression(random_state=0).fit(X, X @ b + 1.0)
        assert m.fit_.converged
        np.testing.assert_allclose(m.predict(X), X @ b + 1.0, atol=1e-9)
        np.testing.assert_allclose(m.coef_, b, rtol=1e-8, atol=1e-8 / scale)
        assert 0.0 < m.noise_scale_ < 1e-10


@pytest.mark.filterwarnings("ignore:The data say little:sbpfast.FitWarning")
def test_the_prior_alone_speaks_where_data_are_interpolated():
    """As noise vanishes the mean tends to the interpolant of least prior norm, whatever the order or repetition."""
    r = np.random.default_rng(1)
    X, y = r.standard_normal((8, 12)), r.integers(0, 3, 8).astype(float)
    design, root = np.column_stack([X, np.ones(8)]), np.append(np.full(12, 10.0), 100.0)
    want = root * np.linalg.lstsq(design * root, y, rcond=None)[0]
    often = r.permutation(np.repeat(np.arange(8), 3))
    new = r.standard_normal((5, 12))
    for rows in (often, np.repeat(np.arange(8), 4)):
        m = sb.BayesianLinearRegression(prior_scale=10.0, intercept_prior_scale=100.0, autoscale=False, random_state=0)
        m.fit(X[rows], y[rows])
        assert m.fit_.converged
        np.testing.assert_allclose(m.predict(X), y, atol=1e-10)
        np.testing.assert_allclose(m.predict(new), np.column_stack([new, np.ones(5)]) @ want, rtol=1e-7)


def test_the_density_near_the_solution_keeps_its_digits():
    """Against residuals in integers, which are exact."""
    X = np.random.default_rng(2).integers(-5, 6, (40, 2)).astype(float)
    f = sb.regression.linear_regression_unknown_noise(X, X @ [2.0, 1.0], prior_scale=np.inf)
    power = 2.0**-42
    points = np.array([[2.0 + i * power, 1.0 + j * power, -25.0] for i in range(-3, 4) for j in range(-3, 4)])
    squares = np.array([(((X @ np.array([i, j])) ** 2).sum()) for i in range(-3, 4) for j in range(-3, 4)]) * power**2
    floor = 1e-26 * ((X @ [2.0, 1.0]) ** 2).sum()
    got = -2.0 * np.exp(-50.0) * (f.value(points) - f.value(points[24:25]))
    np.testing.assert_allclose(got, squares, rtol=0.05, atol=floor)
