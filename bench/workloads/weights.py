"""Transport weights of the gamma and beta distributions: time, and worst relative error against 24-digit values."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np

from peers import present
from peers.weights import jax_gamma, torch_beta, torch_gamma
from sbpfast import _core
from workload import Workload


@cache
def problem(n):
    """Shapes log-uniform in 0.1 ... 100 and a draw for each."""
    rng = np.random.default_rng(0)
    a, b = (np.exp(rng.uniform(np.log(0.1), np.log(100.0), n)) for _ in range(2))
    first, second = (np.maximum(rng.gamma(v), 1e-290) for v in (a, b))
    return {"a": a, "b": b, "gamma": first, "x": first / (first + second), "y": second / (first + second)}


def ours_gamma(p, threads):
    out, log_x = np.empty_like(p["a"]), np.log(p["gamma"])
    return lambda: (_core.weights.gamma_weight(p["a"], p["gamma"], log_x, out, threads), p["gamma"] * out)[1]


def ours_beta(p, threads):
    x, y = p["x"], p["y"]
    out_a, out_b = np.empty_like(x), np.empty_like(x)
    log_x, log_y = np.log(x), np.log(y)

    def call():
        _core.weights.beta_weight(p["a"], p["b"], x, y, log_x, log_y, out_a, out_b, threads)
        return x * y * out_a, -x * y * out_b

    return call


def gamma(n, check):
    p = problem(n)
    return present(
        {
            "sbpfast": ours_gamma(p, _core.effective_threads()),
            "sbpfast, one thread": ours_gamma(p, 1),
            "torch": torch_gamma(p),
        }
    )


def few_gamma(n, check):
    """JAX takes a microsecond each: fewer of them."""
    p = problem(n)
    return present({"sbpfast": ours_gamma(p, _core.effective_threads()), "JAX": jax_gamma(p)})


def beta(n, check):
    p = problem(n)
    return present(
        {
            "sbpfast": ours_beta(p, _core.effective_threads()),
            "sbpfast, one thread": ours_beta(p, 1),
            "torch": torch_beta(p),
        }
    )


def tables():
    """The definitions of tests/tables, or None without mpmath."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "tables"))
    try:
        import generate_weights
    except ImportError as error:
        print(f"  ({error.name} is not installed: no errors)")
        return None
    return generate_weights


def exact(p, index, table, which):
    """24-digit weights of a few elements."""
    from mpmath import mpf

    def pair(*row):
        a, b, x, y = map(mpf, row)
        x, y = (x, 1 - x) if x < y else (1 - y, y)  # the smaller one is exact
        return table.beta_first(a, b, x, y), -table.beta_first(b, a, y, x)

    def weight(*row):
        return (table.gamma_shape(*row),) if which == "gamma" else pair(*row)

    names = ("a", "gamma") if which == "gamma" else ("a", "b", "x", "y")
    rows = zip(*(p[name][index].tolist() for name in names))
    found = [table.settled(lambda row=row: weight(*row)) for row in rows]
    return [np.array(column, float) for column in zip(*found)]


def errors(which):
    """The facts of a workload: worst relative errors."""

    def facts(calls, times, n, check):
        table = tables()
        if table is None:
            return {}
        index = np.linspace(0, n - 1, check).astype(int)
        want = exact(problem(n), index, table, which)
        return {name: {"worst relative error": worst(call(), want, index)} for name, call in calls.items()}

    return facts


def worst(got, want, index):
    got = got if isinstance(got, tuple) else (got,)
    return max(float(np.max(np.abs(g[index] / w - 1))) for g, w in zip(got, want))


SIZES, QUICK = {"n": 1_000_000, "check": 300}, {"n": 100, "check": 3}
WORKLOADS = [
    Workload("gamma shape weights", gamma, SIZES, QUICK, "n weight", errors("gamma")),
    Workload("gamma shape weights, few", few_gamma, SIZES | {"n": 10_000}, QUICK, "n weight", errors("gamma")),
    Workload("beta weights", beta, SIZES, QUICK, "n pair", errors("beta")),
]
