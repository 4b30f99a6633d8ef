"""Numbers next to the end of the range: quiet answers, or errors in words; RuntimeWarnings are errors in this run."""

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
