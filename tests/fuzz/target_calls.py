"""Calls of targets: their constructors, and their methods at points of every size."""

from __future__ import annotations

import numpy as np
from fuzzer import Call, generator
from scipy import sparse
from values import argument, array, matrix, number, size, some_spoiled, words

import sbpfast as sb
from sbpfast import targets

REGRESSIONS = {
    "logistic": ({}, lambda r, n: r.integers(0, 2, n).astype(float)),
    "probit": ({}, lambda r, n: r.integers(0, 2, n).astype(float)),
    "poisson": ({}, lambda r, n: r.poisson(2.0, n).astype(float)),
    "cloglog": ({}, lambda r, n: r.integers(0, 2, n).astype(float)),
    "gamma": ({"shape": 1.5}, lambda r, n: np.abs(array(r, n)) + 1e-3),
    "linear": ({"noise_scale": 0.7}, array),
    "student_t": ({"df": 4.0, "scale": 0.7}, array),
    "negative_binomial": ({"dispersion": 0.5}, lambda r, n: r.poisson(2.0, n).astype(float)),
}
_POINTWISE = {
    "cos": (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)),
    "square": (np.square, lambda x: 2.0 * x, lambda x: np.full_like(x, 2.0)),
    "exp": (np.exp, np.exp, np.exp),
    "abs": (np.abs, np.sign, np.zeros_like),
    "log": (np.log, lambda x: 1.0 / x, lambda x: -1.0 / x**2),
    "constant": (np.zeros_like, np.zeros_like, np.zeros_like),
}


def callables(r, d) -> dict:
    """Derivatives of a sum of functions of the coordinates, as many as are given."""
    f, slope, curvature = _POINTWISE[str(r.choice(list(_POINTWISE)))]
    given = {
        "value": lambda x: f(x).sum(axis=1),
        "grad": slope,
        "hess": lambda x: np.where(np.eye(d) > 0, curvature(x)[:, :, None], 0.0),
        "hvp": lambda x, v: curvature(x) * v,
        "value_and_grad": lambda x: (f(x).sum(axis=1), slope(x)),
    }
    return {name: np.errstate(all="ignore")(given[name]) for name in given if r.random() < 0.7}


def design(r, n, d, wild=0.15):
    """Rows of data, now and then with a row or a column of zeros, or two columns alike."""
    x = array(r, (n, d), wild)
    mood = r.random()
    if n and mood < 0.15:
        x[int(r.integers(n))] = 0.0
    elif d and mood < 0.25:
        x[:, 0] = x[:, -1]
    elif d and mood < 0.35:
        x[:, 0] = 0.0
    return x


def regression(r, name, n, d) -> dict:
    """Arguments of a regression."""
    more, response = REGRESSIONS[name]
    given: dict = {"X": design(r, n, d), "y": response(r, n)} | more
    given["prior_scale"] = float(r.choice([0.3, 1.0, 100.0, np.inf])) if r.random() < 0.7 else np.full(d, 2.0)
    if r.random() < 0.2:
        given["offset"] = array(r, n)
    if r.random() < 0.2:
        given["weights"] = np.abs(array(r, n))
    if r.random() < 0.2:
        given["prior_mean"] = array(r, d)
    if name in ("logistic", "cloglog") and r.random() < 0.3:
        given["trials"] = given["y"] + r.integers(1, 4, n)
    for key in more:
        if r.random() < 0.2:
            given[key] = size(r, True)
    return given


def target(r, d=None):
    """A target of any kind."""
    d = d or int(r.integers(1, 4))
    kind = r.random()
    if kind < 0.35:
        return sb.Target(**(callables(r, d) or {"value": lambda x: x.sum(axis=1)}), dim=d)
    if kind < 0.5:
        return targets.ridge(**ridge(r, int(r.integers(1, 6)), d))
    if kind < 0.6:
        return targets.quadratic(matrix(r, d) * r.choice([-1.0, 1.0]), array(r, d), 0.5)
    name = str(r.choice(list(REGRESSIONS)))
    given = regression(r, name, int(r.integers(1, 8)), d)
    if r.random() < 0.2:
        given["X"] = sparse.csr_array(given["X"])
    return getattr(targets, f"{name}_regression")(**given)


def ridge(r, n, d) -> dict:
    """Arguments of a ridge target."""
    link = str(r.choice(list(targets.LINKS)))
    given = {"a": design(r, n, d), "offset": array(r, n), "link": link, "weights": array(r, n)}
    given["y"] = r.integers(0, 2, n).astype(float)
    if r.random() < 0.3:
        given["quadratic"] = targets.quadratic(matrix(r, d), array(r, d), 0.5)
    return given | dict.fromkeys(targets.LINKS[link].parameters, 0.7)


@generator("targets.Target")
def _callables(r):
    d = int(r.integers(1, 4))
    good = callables(r, d)
    given = some_spoiled(r, {**good, "dim": d}, 0.3)
    given |= {name: good[name] for name in good if callable(given[name])}  # what other functions raise is their own
    x = array(r, (int(r.integers(0, 4)), d), 0.5)
    method = str(r.choice(["value", "grad", "hess", "hess_mean", "hvp"]))
    args = (x, array(r, d)) if method == "hvp" else (x,)
    return Call(lambda: getattr(sb.Target(**given), method)(*args), text=f"Target({words(given)}).{method}{args!r}")


@generator("targets.wrong callables")
def _wrong(r):
    """A target whose functions return what they should not."""
    d, name, value = int(r.integers(1, 4)), str(r.choice(["value", "grad", "hess", "value_and_grad"])), argument(r)
    x = array(r, (2, d))
    method = name if name != "value_and_grad" else str(r.choice(["value", "grad"]))

    def call():
        f = sb.Target(**{name: lambda x: value}, dim=d)
        return getattr(f, method)(x)

    return Call(call, text=f"Target({name}=lambda x: {value!r}, dim={d}).{method}")


@generator("targets.ridge")
def _ridge(r):
    given = some_spoiled(r, ridge(r, int(r.integers(0, 5)), int(r.integers(1, 4))))
    return Call(targets.ridge, kwargs=given, text=f"ridge({words(given)})")


@generator("targets.quadratic")
def _quadratic(r):
    d = int(r.integers(1, 4))
    given = some_spoiled(r, {"precision": matrix(r, d), "mean": array(r, d), "constant": number(r, False)})
    return Call(targets.quadratic, kwargs=given, text=f"quadratic({words(given)})")


@generator("targets.regression")
def _regression(r):
    name = str(r.choice(list(REGRESSIONS)))
    given = some_spoiled(r, regression(r, name, int(r.integers(0, 6)), int(r.integers(1, 4))))
    return Call(getattr(targets, f"{name}_regression"), kwargs=given, text=f"{name}_regression({words(given)})")


def _multinomial(r) -> dict:
    """Arguments of a multinomial regression."""
    n, d = int(r.integers(1, 8)), int(r.integers(1, 4))
    given: dict = {"X": design(r, n, d), "y": r.integers(0, int(r.integers(2, 5)), n)}
    given["prior_scale"] = float(r.choice([0.3, 1.0, 100.0, np.inf]))
    if r.random() < 0.2:
        given["weights"] = np.abs(array(r, n))
    return given


@generator("targets.multinomial")
def _multinomial_methods(r):
    given = _multinomial(r)
    given = some_spoiled(r, given) if r.random() < 0.5 else given
    method = str(r.choice(["value", "grad", "hess", "hess_mean"]))
    seed = int(r.integers(2**31))

    def call():
        f = targets.multinomial_regression(**given)
        return getattr(f, method)(np.random.default_rng(seed).standard_normal((2, f.dim)))

    return Call(call, text=f"multinomial_regression({words(given)}).{method} at rng {seed}")


@generator("targets.methods")
def _methods(r):
    f = target(r)
    method = str(r.choice(["value", "grad", "hess", "hess_mean", "hvp"]))
    given = {"x": array(r, (int(r.integers(0, 5)), f.dim), 0.4)}
    if method == "hvp":
        given["v"] = array(r, f.dim if r.random() < 0.5 else given["x"].shape)
    given = some_spoiled(r, given, 0.3)
    return Call(getattr(f, method), kwargs=given, text=f"{f!r}.{method}({words(given)})".replace("\n", ""))
