"""Calls of the mixed regression: settings, groups and slopes of every kind, and methods of a fitted one.

A fit is some hundred fits at given scales, each of up to hundreds of steps where data are degenerate (a handful of rows
that separate, under flat priors of the scales): it may take half a minute, and has its turn less often.
"""

from __future__ import annotations

import warnings

import numpy as np
from fuzzer import Call, generator
from target_calls import design
from values import RESPONSES, array, size, some_spoiled, words

import sbpfast as sb

TIMES, EVERY = 15.0, 20


def _labels(r, n):
    labels = r.integers(0, int(r.integers(1, 5)), n)
    kind = int(r.integers(3))
    return labels if kind == 0 else labels.astype(float) if kind == 1 else labels.astype(str)


def _settings(r, name) -> dict:
    given: dict = {"family": name, "random_state": 0}
    for key in ("prior_scale", "intercept_prior_scale", "scale_prior"):
        if r.random() < 0.2:
            given[key] = float(r.choice([1e-3, 0.5, 100.0, np.inf, size(r, True)]))
    if r.random() < 0.3:
        given["scales"] = str(r.choice(["integrate", "maximise"]))
    for key in ("autoscale", "fit_intercept"):
        if r.random() < 0.2:
            given[key] = bool(r.integers(2))
    return given


def _data(r, name) -> dict:
    n, d = int(r.integers(2, 15)), int(r.integers(0, 3))
    given: dict = {"X": design(r, n, d), "y": RESPONSES[name](r, n), "groups": {"g": _labels(r, n)}}
    if r.random() < 0.2:
        given["groups"]["h"] = _labels(r, n)
    if r.random() < 0.2:
        given["slopes"] = {"g": array(r, (n, 1))}
    if r.random() < 0.2:
        given["offset"] = array(r, n)
    if r.random() < 0.2:
        given["sample_weight"] = np.abs(array(r, n))
    if name == "logistic" and r.random() < 0.2:
        given["trials"] = given["y"] + 2.0
    return given


def _answers(model, data):
    """Everything a fitted model says of itself and of its rows."""
    more = {key: data[key] for key in ("groups", "slopes", "offset") if key in data}
    found = [model.coef_, model.log_evidence_, str(model.summary()), model.predict(data["X"], **more)]
    return [*found, model.sample_params(3, rng=0)]


@generator("mixed.fit", EVERY)
def _fit(r):
    name = str(r.choice(list(RESPONSES)))
    settings, data = _settings(r, name), _data(r, name)

    def call():
        return _answers(sb.BayesianMixedRegression(**settings).fit(**data), data)

    return Call(call, text=f"BayesianMixedRegression({words(settings)}).fit({words(data)})", times=TIMES)


@generator("mixed.bad data", EVERY)
def _bad_data(r):
    name = str(r.choice(list(RESPONSES)))
    data = _data(r, name)
    inside = str(r.choice([key for key in ("groups", "slopes") if key in data]))
    if r.random() < 0.5:
        data[inside] = some_spoiled(r, data[inside], 0.9)
    data = some_spoiled(r, data, 0.5)
    return Call(
        lambda: sb.BayesianMixedRegression(name, random_state=0).fit(**data).coef_,
        text=f"BayesianMixedRegression({name!r}).fit({words(data)})",
        times=TIMES,
    )


@generator("mixed.bad settings", EVERY)
def _bad_settings(r):
    name = str(r.choice(list(RESPONSES)))
    settings, data = some_spoiled(r, sb.BayesianMixedRegression(name).get_params(), 0.8), _data(r, name)
    return Call(
        lambda: sb.BayesianMixedRegression(**settings).fit(**data).coef_,
        text=f"BayesianMixedRegression({words(settings)}).fit({words(data)})",
        times=TIMES,
    )


_FITTED: dict = {}


def _fitted(name):
    """A model of two columns and a group of three, fitted once."""
    if name not in _FITTED:
        r = np.random.default_rng(0)
        model, y = sb.BayesianMixedRegression(name, random_state=0), RESPONSES[name](np.random.default_rng(3), 30)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _FITTED[name] = model.fit(r.standard_normal((30, 2)), y, groups={"g": np.arange(30) % 3})
    return _FITTED[name]


_METHODS = {
    "predict": ("X", "groups", "offset"),
    "predict_proba": ("X", "groups", "offset"),
    "predict_linear": ("X", "groups", "offset"),
    "sample_coef": ("n", "rng"),
    "sample_params": ("n", "rng"),
    "sample_random_effects": ("n", "rng"),
    "score": ("X", "y", "groups"),
    "summary": ("level",),
}


@generator("mixed.methods")
def _methods(r):
    name, n = str(r.choice(["logistic", "linear", "poisson"])), int(r.integers(2, 5))
    model = _fitted(name)
    method = str(r.choice([m for m in _METHODS if m != "predict_proba" or name == "logistic"]))
    values = {"X": array(r, (n, 2), 0.3), "groups": {"g": r.integers(0, 5, n)}, "offset": None, "level": 0.9}
    values |= {"n": 3, "rng": 0, "y": RESPONSES[name](r, n)}
    given = some_spoiled(r, {key: values[key] for key in _METHODS[method]}, 0.4)
    return Call(lambda: _shown(getattr(model, method)(**given)), text=f"mixed {name}.{method}({words(given)})")


def _shown(result):
    """A table as its text, anything else as it is."""
    return str(result) if hasattr(result, "to_frame") else result
