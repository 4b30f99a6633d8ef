"""Calls of expectation_grad over targets, distributions, estimators and samplings, and of what it returns."""

from __future__ import annotations

import pickle
from typing import get_args

import expfam_calls
import gaussian_calls
import target_calls
from fuzzer import Call, Discard, generator
from values import argument, array, some_spoiled, words

import sbpfast as sb
from sbpfast.estimate._estimators import EstimatorName

ESTIMATORS = get_args(EstimatorName)


def _pair(r):
    """A target and a distribution of its dimension."""
    q = gaussian_calls.gaussian(r) if r.random() < 0.5 else expfam_calls.distribution(r)
    if getattr(q, "dim", 99) > 12:
        raise Discard
    return target_calls.target(r, q.dim), q


def _options(r, q) -> dict:
    given: dict = {
        "estimator": str(r.choice(ESTIMATORS)),
        "n_samples": int(r.choice([1, 2, 7, 64, 600, 2500])),
        "rng": 1,
    }
    given["sampling"] = str(r.choice(["mc", "antithetic", "sobol"]))
    if r.random() < 0.3:
        given["wrt"] = [str(r.choice(q._names))]
    return given


@generator("estimate.expectation_grad")
def _expectation_grad(r):
    f, q = _pair(r)
    given = _options(r, q)
    text = f"expectation_grad({f!r}, {q!r}, {words(given)})".replace("\n", "")
    return Call(lambda: _known(f, sb.expectation_grad(f, q, **given)), text=text)


def _known(f, estimate):
    """What is known of an estimate: of a target without values, the gradients."""
    return (estimate.grad, estimate.value) if isinstance(f, sb.Target) and f._has("value") else estimate.grad


@generator("estimate.bad arguments")
def _bad(r):
    f, q = _pair(r)
    given = {"target": f, "distribution": q} | _options(r, q)
    given["n_samples"] = min(given["n_samples"], 64)
    given = some_spoiled(r, given, 0.6)
    text = f"expectation_grad({words(given)})".replace("\n", "")
    return Call(lambda: _known(given["target"], sb.expectation_grad(**given)), text=text)


def _estimate(r):
    f, q = _pair(r)
    estimator = str(r.choice([name for name in ESTIMATORS if name != "auto"]))
    try:
        return sb.expectation_grad(f, q, estimator=estimator, n_samples=64, rng=0), f"{estimator} of {q!r}"
    except (TypeError, ValueError):
        raise Discard from None


@generator("estimate.natural_grad")
def _natural(r):
    estimate, text = _estimate(r)
    return Call(estimate.natural_grad, text=f"{text}.natural_grad()".replace("\n", ""))


@generator("estimate.pullback")
def _pullback(r):
    estimate, text = _estimate(r)
    p = int(r.integers(0, 3))
    given = {name: array(r, (*grad.shape, p)) for name, grad in estimate.grad.items() if hasattr(grad, "shape")}
    given = some_spoiled(r, given, 0.4)
    if r.random() < 0.1:
        given["nonsense"] = argument(r)
    return Call(estimate.pullback, kwargs=given, text=f"{text}.pullback({words(given)})".replace("\n", ""))


@generator("estimate.pickle")
def _pickle(r):
    estimate, text = _estimate(r)

    def call():
        again = pickle.loads(pickle.dumps(estimate))
        assert repr(again) == repr(estimate)
        return again.grad

    return Call(call, text=f"pickle of {text}".replace("\n", ""))
