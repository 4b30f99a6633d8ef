"""Calls of rows that are streamed: their constructors, the regressions over them, and fits of those."""

from __future__ import annotations

import itertools

import target_calls
from fuzzer import Call, generator
from values import argument, array, some_spoiled, words

import sbpfast as sb

STREAMED = ("logistic", "probit", "poisson", "linear", "student_t", "negative_binomial", "gamma", "cloglog")


def _arrays(r, name, n, d) -> dict:
    """Arguments of a regression, those that rows bring apart from those that stay."""
    given = target_calls.regression(r, name, n, d)
    brought = {key: given.pop(key) for key in ("X", "y", "weights", "offset", "trials") if key in given}
    return {"brought": brought, "stay": given}


def _batches(brought, cuts):
    """The rows in batches of any length."""
    ends = [0, *cuts, len(brought["y"])]
    return [{key: value[i:j] for key, value in brought.items()} for i, j in itertools.pairwise(ends)]


def _rows(brought, cuts):
    if cuts is None:
        return sb.Rows.from_arrays(**brought)
    return sb.Rows.from_batches(lambda: iter(_batches(brought, cuts)), dim=brought["X"].shape[1])


def _cuts(r, n):
    return sorted(r.integers(0, n + 1, size=int(r.integers(0, 4))).tolist()) if r.random() < 0.5 else None


@generator("rows.methods")
def _methods(r):
    name, n, d = str(r.choice(STREAMED)), int(r.integers(1, 12)), int(r.integers(1, 4))
    given, cuts = _arrays(r, name, n, d), _cuts(r, n)
    method, x = str(r.choice(["value", "grad", "hess", "hess_mean", "hvp"])), array(r, (int(r.integers(1, 4)), d), 0.3)
    args = (x, array(r, d)) if method == "hvp" else (x,)

    def call():
        f = getattr(sb.targets, f"{name}_regression")(_rows(given["brought"], cuts), **given["stay"])
        return getattr(f, method)(*args)

    text = f"{name}_regression(Rows({words(given['brought'])}), {words(given['stay'])}).{method}{args!r} cut at {cuts}"
    return Call(call, text=text.replace("\n", ""))


@generator("rows.fit")
def _fit(r):
    name, n, d = str(r.choice(STREAMED)), int(r.integers(1, 12)), int(r.integers(1, 4))
    given, cuts = _arrays(r, name, n, d), _cuts(r, n)
    structure = str(r.choice(["full", "diagonal"]))

    def call():
        f = getattr(sb.targets, f"{name}_regression")(_rows(given["brought"], cuts), **given["stay"])
        fit = sb.fit(f, structure=structure, max_iter=20, rng=0, n_threads=1)
        return fit.q.mean, fit.elbo, str(fit)

    text = f"fit({name}_regression(Rows({words(given['brought'])}), {words(given['stay'])}), {structure}) cut at {cuts}"
    return Call(call, text=text.replace("\n", ""))


@generator("rows.bad arrays")
def _bad_arrays(r):
    name = str(r.choice(STREAMED))
    given = _arrays(r, name, int(r.integers(1, 8)), int(r.integers(1, 4)))
    brought = some_spoiled(r, given["brought"], 0.6)

    def call():
        f = getattr(sb.targets, f"{name}_regression")(sb.Rows.from_arrays(**brought), **given["stay"])
        return f.value([[0.1] * f.dim])

    return Call(call, text=f"{name}_regression(Rows.from_arrays({words(brought)}), {words(given['stay'])})")


@generator("rows.bad batches")
def _bad_batches(r):
    """Batches that are not what they should be, or of other lengths, names or widths."""
    name, d = str(r.choice(STREAMED)), int(r.integers(1, 4))
    given = _arrays(r, name, int(r.integers(1, 8)), d)
    batches = _batches(given["brought"], _cuts(r, len(given["brought"]["y"])) or [])
    at, key = int(r.integers(len(batches))), str(r.choice([*given["brought"], "nonsense"]))
    batches[at] = argument(r) if r.random() < 0.2 else batches[at] | {key: argument(r)}

    def call():
        rows = sb.Rows.from_batches(lambda: iter(batches), dim=d)
        return getattr(sb.targets, f"{name}_regression")(rows, **given["stay"]).value([[0.1] * d])

    return Call(call, text=f"{name}_regression(Rows.from_batches({batches!r}), {words(given['stay'])})")
