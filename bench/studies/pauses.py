"""A call where the user stands: after a pause, and beside processes that keep cores busy.

An optimiser, a notebook or a server calls after a pause, in which the other threads have gone to sleep, and the other
cores may have work of their own.  The peer is the same call on one thread: two threads should never cost much more.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

import numpy as np

import sbpfast as sb
from peers.price import ours, regression
from timing import elapsed

PAUSES = (0.0, 0.001, 0.02, 0.1, 1.0)  # seconds
NEIGHBOURS = (0, 1)
THREADS = (1, 2)
CALLS = 15  # of each
LONGEST = 6.0  # seconds of pauses a row


def price(rows, d, n):
    """A Price estimate of a logistic regression, by number of threads."""
    data = regression(rows, d)
    return {k: ours(*data, n, n_threads=k) for k in THREADS}


def normals(n):
    return {k: partial(sb.standard_normal, n, rng=0, n_threads=k) for k in THREADS}


@contextmanager
def busy_processes(k):
    """k processes that do nothing but keep a core busy."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(k)]
    try:
        time.sleep(0.2 * (k > 0))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def after(pause, calls, repeats) -> dict[str, dict[str, float]]:
    """Seconds of every call, in turn, each after a pause; without one, each after a call of its own."""
    times: dict[int, list[float]] = {k: [] for k in calls}
    for _ in range(repeats):
        for k, call in calls.items():
            time.sleep(pause) if pause else call()
            times[k].append(elapsed(call))
    return {
        f"threads {k}": {"median": float(np.median(t)), "worst decile": float(np.quantile(t, 0.9))}
        for k, t in times.items()
    }


def cases(quick):
    if quick:
        return {"price, N=20, d=2, n=16": price(20, 2, 16)}
    return {
        "price, N=569, d=31, n=256": price(569, 31, 256),
        "price, N=10000, d=50, n=64": price(10_000, 50, 64),
        "4 million normals": normals(4_000_000),
    }


def study(quick):
    """Seconds by case, neighbours, pause and threads."""
    results: dict = {}
    for busy in NEIGHBOURS[:1] if quick else NEIGHBOURS:
        with busy_processes(busy):
            for name, calls in cases(quick).items():
                table = results.setdefault(name, {}).setdefault(f"busy neighbours {busy}", {})
                for pause in PAUSES[:2] if quick else PAUSES:
                    repeats = 2 if quick else max(3, min(CALLS, int(LONGEST / (2 * max(pause, 1e-3)))))
                    row = table[f"pause {pause * 1e3:g} ms"] = after(pause, calls, repeats)
                    shown = ", ".join(
                        f"{k}: {v['median'] * 1e3:.2f} ({v['worst decile'] * 1e3:.2f})" for k, v in row.items()
                    )
                    print(f"{name}, {busy} busy, after {pause * 1e3:g} ms: {shown} ms", flush=True)
    return results
