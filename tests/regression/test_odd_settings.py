"""Settings and data of the wrong kind or size: errors that name the argument."""

import numpy as np
import pytest

import sbpfast as sb
from sbpfast.regression._input import Data

X, Y = np.array([[0.1], [-1.0], [0.4], [2.0]]), np.array([0.0, 0.0, 1.0, 1.0])

SETTINGS = [
    (sb.BayesianLogisticRegression, {"class_weight": 2.5}, "class_weight must be a dict"),
    (sb.BayesianLogisticRegression, {"class_weight": [1, 2]}, "class_weight must be a dict"),
    (sb.BayesianLogisticRegression, {"fit_intercept": "yes"}, "fit_intercept must be True or False"),
    (sb.BayesianLogisticRegression, {"fit_intercept": np.zeros(2)}, "fit_intercept must be True or False"),
    (sb.BayesianProbitRegression, {"intercept_prior_scale": None}, "intercept_prior_scale must hold real numbers"),
    (sb.BayesianProbitRegression, {"intercept_prior_scale": [1.0]}, "intercept_prior_scale must have 0 dimension"),
    (sb.BayesianProbitRegression, {"intercept_prior_scale": -1.0}, "intercept_prior_scale must be positive"),
    (sb.BayesianPoissonRegression, {"intercept_prior_scale": 10**400}, "intercept_prior_scale must hold real numbers"),
    (sb.BayesianLinearRegression, {"log_noise_prior": 3.0}, "log_noise_prior must be a pair"),
    (sb.BayesianLinearRegression, {"log_noise_prior": (0.0,)}, "log_noise_prior must be a pair"),
    (sb.BayesianLinearRegression, {"log_noise_prior": (0.0, "wide")}, "log_noise_prior must be a real number"),
    (sb.BayesianLinearRegression, {"log_noise_prior": (0.0, 0.0)}, "standard deviation of log_noise_prior"),
]


@pytest.mark.parametrize("model, settings, text", SETTINGS, ids=lambda v: repr(v)[:40])
def test_settings_are_checked_by_name(model, settings, text):
    with pytest.raises((TypeError, ValueError), match=text):
        model(**settings).fit(X, Y)


@pytest.mark.parametrize("value", [[[1.0], [2.0, 3.0]], 10**400, np.array([[10**400]], dtype=object)])
def test_what_is_no_table_is_named(value):
    with pytest.raises((TypeError, ValueError), match=r"^X ") as caught:
        sb.BayesianLogisticRegression().fit(value, Y)
    assert type(caught.value) in (TypeError, ValueError)


def test_responses_that_are_not_rectangular_are_named():
    with pytest.raises(ValueError, match="y is not a rectangular array"):
        sb.BayesianLogisticRegression().fit(X, [[0], [0, 1], [1], [1]])


def test_predictors_that_overflow_name_the_row():
    model = sb.BayesianStudentTRegression(random_state=0).fit(X, Y)
    for method in (model.predict, model.predict_interval):
        with pytest.raises(ValueError, match="linear predictor of row 1 of X overflows"):
            method([[1.0], [1.7e308]])


def test_scores_of_responses_that_overflow_are_refused():
    model = sb.BayesianStudentTRegression(random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="squares of y overflow"):
        model.score(X, 1e200 * np.arange(4.0))


def test_offsets_whose_exposure_underflows():
    """e^-1000 is no double, but its logarithm is: the intercept's prior scale takes it in."""
    one, two = (sb.BayesianPoissonRegression(random_state=0)._units(_counts(shift)) for shift in (0.0, -1000.0))
    assert two[0] == pytest.approx(one[0] + 1000.0)


def _counts(shift):
    return Data(X, np.array([1.0, 0.0, 2.0, 1.0]), None, np.array([0.1, 0.2, 0.3, 0.4]) + shift, None)
