"""Numbers next to the end of the range: quiet answers, or errors in words; RuntimeWarnings are errors in this run."""

import warnings

import numpy as np
import pytest

import sbpfast as sb


def test_rows_beside_which_the_others_vanish():
    X = np.array([[-0.7, 0.9], [-1.0, -1.7e308], [2.0, 0.4], [0.6, 0.4]])
    with pytest.raises(ValueError, match=r"overflow|double precision"):
        sb.BayesianLinearRegression(autoscale=False).fit(X, np.arange(4.0), sample_weight=[1.0, 1.9, 1.0, 1.0])


def test_values_whose_parts_overflow_are_refused():
    f = sb.targets.ridge(np.array([[1.0], [1.0]]), 0.0, "square", weights=[-1.7e308, -1.7e308])
    with pytest.raises(sb.NonFiniteTarget):
        f.value([[10.0]])


def test_a_score_of_predictions_far_from_nearly_constant_responses():
    x = np.arange(60.0)
    model = sb.BayesianLinearRegression().fit(x[:, None], x + np.sin(7.0 * x))
    assert model.score(np.full((2, 1), 1e130), [0.0, 1e-30]) < -1e300


@pytest.mark.parametrize("size", [1e306, 1e200])
def test_fits_whose_start_overflows(size):
    """Numbers or an error of the package; no LinAlgError of LAPACK, and no warning of NumPy."""
    r = np.random.default_rng(0)
    X, y = r.standard_normal((13, 2)), r.integers(0, 2, 13).astype(float)
    X[10, 0] = -size
    f = sb.targets.cloglog_regression(X, y, prior_scale=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.FitWarning)
        try:
            mean = sb.fit(f, estimator="price", max_iter=20, rng=0).q.mean
        except (sb.NonFiniteTarget, sb.ImproperDensity):
            mean = np.zeros(2)
    assert np.isfinite(mean).all()


def test_responses_so_small_that_rows_overflow_in_their_units():
    X = np.random.default_rng(0).standard_normal((6, 2))
    with pytest.raises(sb.NonFiniteTarget, match="rescale y"):
        sb.BayesianLinearRegression().fit(X, 1e-206 * X[:, 0], sample_weight=[1.0, 1.0, 1.0, 1e154, 1.0, 1.0])


def test_weights_that_overflow_in_their_product_are_refused():
    with pytest.raises(ValueError, match="weights"):
        sb.targets.gamma_regression(np.ones((2, 1)), [1.0, 2.0], shape=1e10, prior_scale=1.0, weights=[1e305, 1e305])
