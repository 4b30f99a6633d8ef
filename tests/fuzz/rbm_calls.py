"""Calls of the Boltzmann machine: settings, parameters of every size, energies, sums, samplers and learning."""

from __future__ import annotations

import numpy as np
from fuzzer import Call, Discard, generator
from values import array, size, some_spoiled, words

import sbpfast as sb

Machine = sb.GaussianBernoulliRBM


def parameters(r, v, h) -> dict:
    return {
        "weights": array(r, (v, h), 0.15),
        "visible_bias": array(r, v, 0.15),
        "hidden_bias": array(r, h, 0.15),
        "sigma": np.exp(r.standard_normal(v)) * (size(r, True) if r.random() < 0.1 else 1.0),
    }


def _shapes(r):
    return int(r.integers(1, 4)), int(r.integers(1, 6))


def machine(r):
    v, h = _shapes(r)
    given = parameters(r, v, h)
    try:
        return Machine.from_params(**given, n_threads=1), f"RBM({words(given)})"
    except ValueError:
        raise Discard from None


@generator("rbm.from_params")
def _from_params(r):
    given = some_spoiled(r, parameters(r, *_shapes(r)))
    return Call(lambda: Machine.from_params(**given).weights_, text=f"from_params({words(given)})")


_OF_POINTS = (
    "energy", "free_energy", "free_energy_grad", "free_energy_hess", "free_energy_hvp", "free_energy_trace", "log_prob",
    "score", "score_samples", "transform",
)  # fmt: skip


@generator("rbm.points")
def _points(r):
    rbm, text = machine(r)
    n, (v, h) = int(r.integers(0, 4)), rbm.weights_.shape
    name = str(r.choice(_OF_POINTS))
    given = {"X" if name in ("transform", "score", "score_samples") else "v": array(r, (n, v), 0.4)}
    if name == "energy":
        given["h"] = r.integers(0, 2, (n, h)).astype(float)
    if name == "free_energy_hvp":
        given["u"] = array(r, (n, v))
    given = some_spoiled(r, given, 0.3)
    return Call(getattr(rbm, name), kwargs=given, text=f"{text}.{name}({words(given)})")


def _numbers(result):
    """The numbers of what a sum returns."""
    names = ("value", "lower", "upper", "mean", "cov", "hidden_mean")
    return result if isinstance(result, float) else [getattr(result, n) for n in names if hasattr(result, n)]


@generator("rbm.sums")
def _sums(r):
    rbm, text = machine(r)
    if r.random() < 0.4:
        return Call(lambda: _numbers(rbm.moments()), text=f"{text}.moments()")
    given: dict = {"method": "exact"}
    if r.random() < 0.6:
        given = {"method": "ais", "n_chains": int(r.integers(1, 20)), "n_betas": int(r.integers(2, 20)), "rng": 0}
    given = some_spoiled(r, given, 0.3)
    return Call(lambda: _numbers(rbm.log_partition(**given)), text=f"{text}.log_partition({words(given)})")


@generator("rbm.sample")
def _sample(r):
    rbm, text = machine(r)
    given: dict = {"n": int(r.integers(1, 20)), "n_steps": int(r.integers(0, 5)), "rng": 0}
    given["method"] = str(r.choice(["gibbs", "gibbs-langevin", "tempering"]))
    if given["method"] == "tempering":
        given["n_temperatures"] = int(r.integers(1, 5))
    if r.random() < 0.2:
        given["start"] = array(r, (given["n"], len(rbm.visible_bias_)), 0.4)
    given = some_spoiled(r, given, 0.3)
    return Call(rbm.sample, kwargs=given, text=f"{text}.sample({words(given)})")


@generator("rbm.learning")
def _learning(r):
    x = array(r, (int(r.integers(1, 30)), int(r.integers(1, 4))), 0.3)
    settings: dict = {"n_components": int(r.integers(1, 6)), "n_epochs": int(r.integers(0, 4)), "rng": 0}
    settings["method"] = str(r.choice(["pcd", "cd", "tempering", "gibbs-langevin"]))
    settings["batch_size"] = int(r.choice([1, 4, 100]))
    if r.random() < 0.3:
        settings["learning_rate"] = size(r, True)
    verb = "fit" if r.random() < 0.8 else "partial_fit"
    text = f"RBM({words(settings)}).{verb}({words({'X': x})})"
    return Call(lambda: _learned(Machine(**settings), verb, x), text=text)


def _learned(rbm, verb, x):
    """The weights after learning; that it diverged is an answer, too."""
    try:
        return getattr(rbm, verb)(x).weights_
    except sb.TrainingDiverged:
        return None


@generator("rbm.bad settings")
def _settings(r):
    settings = some_spoiled(r, Machine(4).get_params() | {"n_epochs": 1, "n_components": 4, "checkpoint": None}, 0.8)
    if settings["checkpoint"] is not None or settings["progress"] is True:
        raise Discard  # files of any name; a line of progress
    x = array(r, (10, 2), 0.0)
    return Call(lambda: _learned(Machine(**settings), "fit", x), text=f"RBM({words(settings)}).fit")


@generator("rbm.bad data")
def _bad_data(r):
    given = some_spoiled(r, {"X": array(r, (10, 2), 0.4)}, 0.9)
    rbm = Machine(3, n_epochs=1, rng=0)
    return Call(lambda: rbm.fit(**given).weights_, text=f"RBM.fit({words(given)})")
