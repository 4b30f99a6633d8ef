"""The rule of timing, one for every workload, and the machine that a figure belongs to.

All candidates of a workload run in one process, in turn, round after round, so that a drift of the machine meets all of
them.  Each, after a pause and a first call, is called until a round lasts 20 ms; the figure is the median over rounds,
with the least beside it.  Ratios are medians of the ratios round by round.  What takes two seconds or more the first
time is called that once, compilation included.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbpfast._config import describe

OURS = "sbpfast"
PEERS = ("torch", "jax", "numpyro", "blackjax", "gsmvi", "scipy", "scikit-learn", "statsmodels", "gpboost")


@dataclass(frozen=True)
class Rule:
    """How often, how long and after what pause a candidate is called."""

    rounds: int = int(os.environ.get("BENCH_ROUNDS", "15"))
    fill: float = 0.02
    pause: float = 0.1  # until the idle threads of the candidate before have stopped spinning
    once: float = 2.0

    def seconds(self, call: Callable) -> float:
        """Seconds of one call, averaged over as many as fill the time of a round."""
        first = elapsed(call)
        repeats = max(1, int(self.fill / max(first, 1e-7)))
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats

    def compare(self, candidates: dict[str, Callable]) -> dict[str, dict[str, float]]:
        """Median and least seconds of every candidate, and the median ratio of each to ours."""
        firsts = {name: elapsed(call) for name, call in candidates.items()}
        times = {name: [first] for name, first in firsts.items() if first >= self.once}
        repeated = {name: call for name, call in candidates.items() if name not in times}
        for _ in range(self.rounds):
            for name, call in repeated.items():
                time.sleep(self.pause)
                call()
                times.setdefault(name, []).append(self.seconds(call))
        return {name: figures(times[name], times[OURS]) for name in candidates}


QUICK = Rule(rounds=1, fill=0.0, pause=0.0)


def elapsed(call: Callable) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def figures(times: list[float], ours: list[float]) -> dict[str, float]:
    """Median, least and ratio; a candidate that ran once is compared with the median of ours."""
    same = ours if len(ours) == len(times) else [float(np.median(ours))]
    ratio = np.median(np.array(times) / np.array(same))
    return {"median": float(np.median(times)), "least": float(np.min(times)), "ratio to ours": float(ratio)}


def machine() -> dict[str, str]:
    """Processor, system, this package and its peers: where and with what figures were taken."""
    versions = {name: version for name in PEERS if (version := version_of(name))}
    return {
        "processor": processor(),
        "system": platform.platform(),
        **describe(),
        **versions,
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }


def processor() -> str:
    """The processor's name, as Linux gives it where it runs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def commit() -> str:
    """The commit measured, with a + where files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
