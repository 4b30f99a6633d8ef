"""Transport weights: nanoseconds an element and worst relative error, this library beside its peers in one run.

    python bench/bench_weights.py [--n 1000000] [--threads 2] [--repeats 5] [--json out.json]

Peers (PyTorch, JAX) are timed if they can be imported, with all the threads they take by themselves.  Times are the
best of the repeats; errors are against 24-digit values at `--check` of the same elements (needs mpmath, else skipped).
JAX is timed on 1e4 elements: it takes microseconds each.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from sbpfast import _core


def best(call, repeats):
    """The shortest of `repeats` runs, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def problem(n, seed=0):
    """Shapes log-uniform in 0.1 ... 100 and a draw for each."""
    rng = np.random.default_rng(seed)
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


def torch_gamma(p):
    import torch

    a, x = torch.from_numpy(p["a"]), torch.from_numpy(p["gamma"])
    return lambda: torch._standard_gamma_grad(a, x).numpy()


def torch_beta(p):
    """The two columns of the derivative of a Dirichlet draw (x, y) with respect to (a, b)."""
    import torch

    point, shapes = (torch.from_numpy(np.stack([p[u], p[v]], 1)) for u, v in (("x", "y"), ("a", "b")))
    total = shapes.sum(1, keepdim=True).expand_as(shapes).contiguous()

    def call():
        g = torch._dirichlet_grad(point, shapes, total).numpy()
        return p["y"] * g[:, 0], -p["x"] * g[:, 1]

    return call


def jax_gamma(p):
    import jax

    jax.config.update("jax_enable_x64", True)
    gradient = jax.jit(jax.lax.random_gamma_grad)
    a, x = (jax.numpy.asarray(p[k]) for k in ("a", "gamma"))
    return lambda: np.asarray(gradient(a, x).block_until_ready())


def exact(p, index):
    """24-digit weights of a few elements by the definitions of tests/tables, or None without mpmath."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "tables"))
    try:
        import generate_weights as table
        import mpmath as mp
    except ImportError:
        return None

    def beta(a, b, x, y):
        a, b, x, y = (mp.mpf(v) for v in (a, b, x, y))
        x, y = (x, 1 - x) if x < y else (1 - y, y)  # the smaller one is exact
        return table.beta_first(a, b, x, y), -table.beta_first(b, a, y, x)

    rows = lambda *names: zip(*(p[name][index].tolist() for name in names))
    gamma = [table.settled(lambda: (table.gamma_shape(*row),))[0] for row in rows("a", "gamma")]  # noqa: B023
    pairs = [table.settled(lambda: beta(*row)) for row in rows("a", "b", "x", "y")]  # noqa: B023
    return {"gamma": [np.array(gamma, float)], "beta": [np.array(column, float) for column in zip(*pairs)]}


def error(got, want, index):
    got = got if isinstance(got, tuple) else (got,)
    return max(float(np.max(np.abs(g[index] / w - 1))) for g, w in zip(got, want))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=_core.effective_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--check", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    whole, part = problem(options.n), problem(10_000)
    calls = [
        ("gamma", f"sbpfast, {options.threads} threads", whole, lambda p: ours_gamma(p, options.threads)),
        ("gamma", "sbpfast, 1 thread", whole, lambda p: ours_gamma(p, 1)),
        ("gamma", "torch", whole, torch_gamma),
        ("gamma", "jax", part, jax_gamma),
        ("beta", f"sbpfast, {options.threads} threads", whole, lambda p: ours_beta(p, options.threads)),
        ("beta", "sbpfast, 1 thread", whole, lambda p: ours_beta(p, 1)),
        ("beta", "torch", whole, torch_beta),
    ]
    truth, results = {}, []
    print(f"{_core.ISA}, {options.n} elements, shapes log-uniform in 0.1 ... 100 (beta: nanoseconds a pair)")
    for family, name, p, make in calls:
        try:
            call = make(p)
        except ImportError:
            continue
        seconds, size = best(call, options.repeats if p is whole else 2), len(p["a"])
        index = np.linspace(0, size - 1, options.check).astype(int)
        if size not in truth:
            truth[size] = exact(p, index)
        worst = error(call(), truth[size][family], index) if truth[size] else None
        results.append({"family": family, "name": name, "ns": seconds / size * 1e9, "error": worst})
        checked = f"   worst relative error {worst:.1e}" if worst is not None else ""
        print(f"{family:6s} {name:22s} {seconds / size * 1e9:9.1f} ns{checked}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"isa": _core.ISA, "n": options.n, "results": results}, indent=1))


if __name__ == "__main__":
    main()
