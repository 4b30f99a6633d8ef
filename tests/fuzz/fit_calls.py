"""Calls of `fit` on small problems, and of what it returns."""

from __future__ import annotations

import target_calls
from fuzzer import Call, Discard, generator
from gaussian_calls import gaussian
from values import some_spoiled, words

import sbpfast as sb

STRUCTURES = ("full", "diagonal", "low_rank")


def _options(r) -> dict:
    given: dict = {"structure": str(r.choice(STRUCTURES)), "max_samples": 1024, "max_iter": int(r.integers(1, 40))}
    if given["structure"] == "low_rank":
        given["rank"] = int(r.integers(1, 3))
    if r.random() < 0.3:
        given["estimator"] = str(r.choice(["auto", "exact", "price", "stein"]))
    if r.random() < 0.2:
        given["tol"] = float(r.choice([1e-12, 1e-4, 0.1]))
    return given | {"rng": 0, "n_threads": 1}


def _summarised(fit):
    """The fit, whose table is made as well."""
    return fit.q.mean, fit.elbo, str(fit), str(fit.summary())


@generator("fit.targets")
def _fit(r):
    f = target_calls.target(r)
    given = _options(r)
    if r.random() < 0.2:
        given["q0"] = gaussian(r, f.dim)
    return Call(lambda: _summarised(sb.fit(f, **given)), text=f"fit({f!r}, {words(given)})".replace("\n", ""))


@generator("fit.regressions")
def _regression(r):
    """Regressions whose data may separate, repeat or be all zero."""
    name = str(r.choice(list(target_calls.REGRESSIONS)))
    d = int(r.integers(1, 4))
    data = target_calls.regression(r, name, int(r.integers(1, 15)), d)
    given = _options(r)
    text = f"fit({name}_regression({words(data)}), {words(given)})".replace("\n", "")

    def call():
        return _summarised(sb.fit(getattr(sb.targets, f"{name}_regression")(**data), **given))

    return Call(call, text=text)


@generator("fit.bad arguments")
def _bad(r):
    f = target_calls.target(r)
    given = {"target": f, "q0": None, "callback": None, "progress": False, "tol": None} | _options(r)
    given = some_spoiled(r, given, 0.6)
    text = f"fit({words(given)})".replace("\n", "")
    return Call(lambda: _summarised(sb.fit(**given)), text=text)


_FITTED: list = []


def fitted():
    """A fit of each structure, made once."""
    if not _FITTED:
        X, y, _ = sb.data.load_breast_cancer()
        f = sb.targets.logistic_regression(X[:60, :3], y[:60], prior_scale=1.0)
        _FITTED.extend(sb.fit(f, structure=s, rank=1 if s == "low_rank" else None, rng=0) for s in STRUCTURES)
    return _FITTED


_METHODS = {
    "sample": {"n": 5, "rng": 0},
    "summary": {"names": None, "level": 0.9},
    "diagnose": {"n_samples": 500, "rng": 0},
    "posterior": {"n": 5, "rng": 0, "resample": False},
    "nuts_init": {"chains": 2, "rng": 0},
}


@generator("fit.methods")
def _methods(r):
    fit = fitted()[int(r.integers(3))]
    method = str(r.choice(list(_METHODS)))
    given = some_spoiled(r, _METHODS[method], 0.6)
    if given.get("n_samples", 0) != 500 and r.random() < 0.5:
        raise Discard
    return Call(lambda: _shown(getattr(fit, method)(**given)), text=f"{fit!r}.{method}({words(given)})")


def _shown(result):
    return result if hasattr(result, "shape") else str(result)
