"""Calls of the regression estimators: settings, data of every kind, and methods of fitted ones."""

from __future__ import annotations

import warnings

import numpy as np
from fuzzer import Call, generator
from target_calls import design
from values import RESPONSES, array, size, some_spoiled, words

import sbpfast as sb

ESTIMATORS = {
    "BayesianLogisticRegression": lambda r, n: r.integers(0, r.integers(2, 5), n).astype(float),
    "BayesianProbitRegression": RESPONSES["probit"],
    "BayesianPoissonRegression": RESPONSES["poisson"],
    "BayesianLinearRegression": RESPONSES["linear"],
    "BayesianStudentTRegression": RESPONSES["student_t"],
    "BayesianNegativeBinomialRegression": RESPONSES["negative_binomial"],
    "BayesianGammaRegression": RESPONSES["gamma"],
}


def _settings(r) -> dict:
    given: dict = {"max_iter": 30, "random_state": 0}
    if r.random() < 0.4:
        scales = (1e-3, 0.5, 100.0, np.inf, size(r, True), "auto")
        given["prior_scale"] = scales[int(r.integers(len(scales)))]
    for name in ("autoscale", "fit_intercept"):
        if r.random() < 0.3:
            given[name] = bool(r.integers(2))
    return given


def _data(r, name) -> dict:
    n, d = int(r.integers(1, 15)), int(r.integers(1, 4))
    given: dict = {"X": design(r, n, d), "y": ESTIMATORS[name](r, n)}
    if r.random() < 0.2:
        given["sample_weight"] = np.abs(array(r, n))
    if r.random() < 0.2:
        given["offset"] = array(r, n)
    if r.random() < 0.1 and name == "BayesianLogisticRegression":
        given["trials"] = given["y"] + 2.0
    return given


def _answers(model, X, **more):
    """Everything a fitted model says of itself and of rows."""
    found = [model.coef_, model.log_evidence_, str(model.summary()), model.predict(X, **more)]
    if hasattr(model, "predict_proba"):
        found += [model.predict_proba(X, **more), model.decision_function(X, **more)]
    return [*found, model.sample_coef(3, rng=0)]


@generator("regression.fit")
def _fit(r):
    name = str(r.choice(list(ESTIMATORS)))
    settings, data = _settings(r), _data(r, name)
    more = {"offset": data["offset"]} if "offset" in data else {}

    def call():
        return _answers(getattr(sb, name)(**settings).fit(**data), data["X"], **more)

    return Call(call, text=f"{name}({words(settings)}).fit({words(data)})")


@generator("regression.bad data")
def _bad_data(r):
    name = str(r.choice(list(ESTIMATORS)))
    settings, data = _settings(r), some_spoiled(r, _data(r, name), 0.6)
    return Call(
        lambda: getattr(sb, name)(**settings).fit(**data).coef_, text=f"{name}({words(settings)}).fit({words(data)})"
    )


@generator("regression.bad settings")
def _bad_settings(r):
    name = str(r.choice(list(ESTIMATORS)))
    model = getattr(sb, name)
    settings = some_spoiled(r, model().get_params() | {"max_iter": 20}, 0.8)
    data = _data(r, name)
    return Call(lambda: model(**settings).fit(**data).coef_, text=f"{name}({words(settings)}).fit({words(data)})")


_FITTED: dict = {}


def _fitted(name):
    """A model of three columns, fitted once."""
    if name not in _FITTED:
        r = np.random.default_rng(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _FITTED[name] = getattr(sb, name)(random_state=0).fit(r.standard_normal((40, 3)), ESTIMATORS[name](r, 40))
    return _FITTED[name]


_METHODS = {
    "predict": ("X", "offset"),
    "predict_interval": ("X", "level", "offset"),
    "predict_proba": ("X", "offset"),
    "predict_log_proba": ("X", "offset"),
    "decision_function": ("X", "offset"),
    "sample_coef": ("n", "rng"),
    "sample_params": ("n", "rng"),
    "sample_predictive": ("X", "n", "offset", "rng"),
    "score": ("X", "y", "sample_weight", "offset"),
    "summary": ("level",),
}


@generator("regression.methods")
def _methods(r):
    name = str(r.choice(list(ESTIMATORS)))
    model, n = _fitted(name), int(r.integers(0, 5))
    method = str(r.choice([m for m in _METHODS if hasattr(model, m)]))
    values = {"X": array(r, (n, 3), 0.3), "offset": None, "level": 0.9, "n": 3, "rng": 0, "sample_weight": None}
    values["y"] = ESTIMATORS[name](r, n)
    given = some_spoiled(r, {key: values[key] for key in _METHODS[method]}, 0.4)
    undefined = method == "score" and n < 2  # R^2 of one row, as scikit-learn has it
    return Call(getattr(model, method), kwargs=given, text=f"{name}.{method}({words(given)})", nan_allowed=undefined)
