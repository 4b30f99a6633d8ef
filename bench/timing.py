"""The timing rule of every script here, and what becomes of the results.

All candidates of a workload run in one process, in turn, round after round, so that a drift of the machine meets all of
them.  Each, after a pause and a first call, is called until a round lasts 20 ms; the figure is the median over rounds,
with the least beside it.  Ratios are medians of the ratios round by round.  Results go to results/<name>.json and,
where there is a picture, .png.

Run a script as `python bench/bench_price.py`; peers that are not installed are left out and said to be.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

from sbpfast._config import describe

RESULTS = Path(__file__).parent / "results"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))


def seconds(call) -> float:
    """Seconds of one call, averaged over as many as fill 20 ms."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    repeats = max(1, int(0.02 / max(first, 1e-7)))
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def compare(candidates, ours="sbpfast", rounds=ROUNDS) -> dict:
    """Median and least seconds of every candidate, and the median ratio of each to ours."""
    for call in candidates.values():
        call()
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            time.sleep(0.1)  # until the idle threads of the candidate before have stopped spinning
            call()
            times[name].append(seconds(call))
    result = {}
    for name, t in times.items():
        ratio = float(np.median(np.array(t) / np.array(times[ours])))
        result[name] = {"median": float(np.median(t)), "least": float(np.min(t)), "ratio to ours": ratio}
    return result


def report(workload, result, unit=1e3, unit_name="ms") -> None:
    """Print a workload's figures."""
    print(f"\n{workload}")
    for name, r in result.items():
        median, least = unit * r["median"], unit * r["least"]
        print(f"  {name:34s} {median:10.4g} {unit_name} (least {least:.4g})   x {r['ratio to ours']:.2f}")


def save(name, results) -> None:
    """Write the figures of a script, with the machine they were taken on."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": describe(), "results": results}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(f"\nwritten: {RESULTS / name}.json")


def optional(name):
    """A peer, or None and a line that says it is not installed."""
    try:
        return __import__(name)
    except ImportError:
        print(f"({name} is not installed: left out)")
        return None


def pyplot():
    """matplotlib.pyplot without a screen, or None and a line that says why there is no picture."""
    try:
        import matplotlib
    except ImportError:
        print("(matplotlib is not installed: no picture)")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt
