"""What does not grow with the work: a small call, and the import."""

from __future__ import annotations

import subprocess
import sys

from peers import present
from peers.price import by_hand, jax_peers, ours, regression
from workload import Workload


def small_call(rows, d, n):
    data = regression(rows, d)
    return present({"sbpfast": ours(*data, n), "NumPy": by_hand(*data, n), **jax_peers(*data, n)})


def imports():
    """A new Python that imports NumPy, with this package and without."""

    def start(what):
        return lambda: subprocess.run([sys.executable, "-c", f"import {what}"], check=True)

    return {"sbpfast": start("numpy, sbpfast"), "NumPy alone": start("numpy")}


WORKLOADS = [
    Workload("a call with d=5, N=20, n=16", small_call, {"rows": 20, "d": 5, "n": 16}, {"rows": 9, "d": 2, "n": 16}),
    Workload("a new Python and its imports", imports),
]
