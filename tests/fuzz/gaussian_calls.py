"""Calls of the Gaussians: constructors and methods of the six covariance structures, and of the two in batches."""

from __future__ import annotations

import numpy as np
from fuzzer import Call, generator
from values import argument, array, matrix, size, some_spoiled, words

import sbpfast as sb


def _positive(r, shape):
    return np.exp(r.standard_normal(shape)) * (size(r, True) if r.random() < 0.15 else 1.0)


PARAMETERS = {
    "Gaussian": lambda r, d: {"mean": array(r, d), "cov": matrix(r, d)},
    "CholeskyGaussian": lambda r, d: {
        "mean": array(r, d),
        "chol": np.tril(array(r, (d, d)), -1) + np.diag(_positive(r, d)),
    },
    "DiagonalGaussian": lambda r, d: {"mean": array(r, d), "std": _positive(r, d)},
    "LowRankGaussian": lambda r, d: {"mean": array(r, d), "diag": _positive(r, d), "factor": array(r, (d, _rank(r)))},
    "LowRankPrecisionGaussian": lambda r, d: {
        "mean": array(r, d),
        "diag": _positive(r, d),
        "factor": array(r, (d, _rank(r))),
    },
    "NaturalGaussian": lambda r, d: {"eta1": array(r, d), "eta2": -matrix(r, d)},
}


def _rank(r):
    return int(r.integers(0, 4))


def parameters(r, name, d):
    """Parameters of a structure; for the two that have them, now and then of a batch."""
    if name not in ("DiagonalGaussian", "LowRankPrecisionGaussian") or r.random() < 0.7:
        return PARAMETERS[name](r, d)
    batch, k = tuple(r.integers(0, 3, size=int(r.integers(1, 3)))), _rank(r)
    given = {"mean": array(r, (*batch, d))}
    if name == "DiagonalGaussian":
        return given | {"std": _positive(r, (*batch, d))}
    return given | {"diag": _positive(r, (*batch, d)), "factor": array(r, (*batch, d, k))}


def gaussian(r, d=None):
    """A Gaussian of any structure."""
    name = str(r.choice(list(PARAMETERS)))
    return getattr(sb, name)(**PARAMETERS[name](r, d or int(r.integers(1, 5))))


@generator("gaussian.construct")
def _construct(r):
    name = str(r.choice(list(PARAMETERS)))
    given = some_spoiled(r, parameters(r, name, int(r.integers(1, 4))))
    return Call(getattr(sb, name), kwargs=given, text=f"{name}({words(given)})")


def _member(r):
    name = str(r.choice(list(PARAMETERS)))
    given = parameters(r, name, int(r.integers(1, 4)))
    return getattr(sb, name)(**given), f"{name}({words(given)})"


@generator("gaussian.without arguments")
def _plain(r):
    q, text = _member(r)
    method = str(r.choice(["entropy", "to_cholesky", "to_full", "to_natural", "cov", "kl"]))
    if method == "cov":
        return Call(lambda: q.cov, text=f"{text}.cov")
    if method == "kl":
        return Call(q.kl, (q,), text=f"{text}.kl(itself)")
    return Call(getattr(q, method), text=f"{text}.{method}()")


@generator("gaussian.kl")
def _kl(r):
    p, text = _member(r)
    name = str(r.choice(list(PARAMETERS)))
    given = PARAMETERS[name](r, p.dim)
    return Call(p.kl, (getattr(sb, name)(**given),), text=f"{text}.kl({name}({words(given)}))")


@generator("gaussian.log_prob")
def _log_prob(r):
    q, text = _member(r)
    x = array(r, (int(r.integers(0, 4)), *np.shape(q.mean)))
    given = some_spoiled(r, {"x": x})
    return Call(q.log_prob, kwargs=given, text=f"{text}.log_prob({words(given)})")


@generator("gaussian.sample")
def _sample(r):
    q, text = _member(r)
    given = some_spoiled(r, {"n": int(r.integers(0, 200)), "rng": 0, "n_threads": 1}, chance=0.4)
    return Call(q.sample, kwargs=given, text=f"{text}.sample({words(given)})")


@generator("gaussian.fit")
def _fit(r):
    x = array(r, (int(r.integers(1, 12)), int(r.integers(1, 4))))
    given = {"x": x}
    if r.random() < 0.4:
        given["weights"] = np.abs(array(r, len(x)))
    if r.random() < 0.3:
        d = x.shape[1]
        given["prior"] = (size(r, r.random() < 0.3), array(r, d + d * (d + 1) // 2))
    given = some_spoiled(r, given, 0.3)
    return Call(sb.Gaussian.fit, kwargs=given, text=f"Gaussian.fit({words(given)})")


@generator("gaussian.standard_normal")
def _standard_normal(r):
    given = some_spoiled(r, {"size": (int(r.integers(0, 100)), int(r.integers(0, 5))), "rng": 3})
    return Call(sb.standard_normal, kwargs=given, text=f"standard_normal({words(given)})")


@generator("gaussian.wrong other")
def _other(r):
    q, text = _member(r)
    value = argument(r)
    return Call(q.kl, (value,), text=f"{text}.kl({value!r})")
