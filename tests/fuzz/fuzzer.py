"""A fuzzer of public calls: it makes thousands of them at random and reports those that break the package's promises.

A *generator* is a function of a NumPy generator that returns a `Call`.  Modules register theirs with
``@generator("a name")`` and everything else is done here.  A call breaks a promise where it

- raises anything but a TypeError or ValueError (or a subclass), or one whose text NumPy or Python wrote,
- returns NaN without an error,
- lets a warning out,
- changes an array that it was given,
- takes more than two seconds of the processor, or more than the call says it may.

``python tests/fuzz/fuzzer.py --calls 100000 --seed 7 --only kl`` runs it by hand and prints what it found; a call is
named by its generator and number, and the same seed and number make the same call again.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import pathlib
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

GENERATORS: dict[str, Callable[[np.random.Generator], Call]] = {}
EVERY: dict[str, int] = {}
SECONDS = 2.0
_FOREIGN_TEXTS = (
    "unhashable", "truth value", "cannot reshape", "could not be broadcast", "could not broadcast", "inhomogeneous",
    "object is not", "unsupported operand", "unexpected keyword", "cannot convert", "could not convert", "shapes (",
    "not subscriptable", "has no attribute", "expected a", "Singular matrix", "must be str, not", "zero-size array",
    "Buffer", "ufunc", "setting an array element", "positional argument", "out of bounds", "matmul",
    "not supported between",
)  # fmt: skip


class Call(NamedTuple):
    """One call: a function of arguments, and how it reads."""

    function: Callable
    args: tuple = ()
    kwargs: dict[str, Any] | None = None
    text: str = ""
    nan_allowed: bool = False  # documented to return NaN in some places
    times: float = 1.0  # the seconds it may take, as a multiple of SECONDS


class Finding(NamedTuple):
    """A broken promise."""

    generator: str
    number: int
    kind: str
    text: str
    detail: str

    def __str__(self):
        return f"[{self.kind}] {self.generator} #{self.number}: {self.text}\n    {self.detail}"


class Discard(Exception):
    """A generator could not make the call it wanted; nothing is counted."""


class TooSlow(BaseException):
    """The alarm, which no handler of exceptions in the package may swallow."""


def generator(name: str, every: int = 1) -> Callable:
    """Register a generator under a name of its own, to be called in every round, or in one of `every`."""

    def register(function):
        if name in GENERATORS:
            raise ValueError(f"there are two generators {name!r}")
        GENERATORS[name], EVERY[name] = function, every
        return function

    return register


def register_all() -> None:
    """Import every module of calls beside this one."""
    for path in sorted(pathlib.Path(__file__).parent.glob("*_calls.py")):
        importlib.import_module(path.stem)


def arrays_of(value) -> Iterator[np.ndarray]:
    """All arrays and numbers in a result, as arrays."""
    if isinstance(value, np.ndarray | float | np.floating):
        yield np.asarray(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from arrays_of(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from arrays_of(item)
    elif hasattr(value, "_parameters"):  # a distribution
        yield from arrays_of(value._parameters())
    elif hasattr(value, "log_likelihood"):  # maximum likelihood
        yield from arrays_of([value.distribution, value.log_likelihood, value.duality_gap])
    elif hasattr(value, "elbo_trace"):  # a fit
        yield from arrays_of([value.q, value.elbo])


def has_nan(value) -> bool:
    """Whether NaN stands anywhere in a result."""
    return any(a.dtype.kind == "f" and np.isnan(a).any() for a in arrays_of(value))


def same(a, b) -> bool:
    """Whether an argument is what it was, to the bit."""
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(same(v, w) for v, w in zip(a, b))
    return True


def snapshot(value):
    """Copies of the arrays in an argument."""
    if isinstance(value, np.ndarray):
        return value.copy()
    return type(value)(map(snapshot, value)) if type(value) in (list, tuple) else value


def make(name, number, seed) -> Call:
    """The call of a generator with this number."""
    return GENERATORS[name](np.random.default_rng([seed, number, *name.encode()]))


def _error_kind(error) -> str:
    if not isinstance(error, TypeError | ValueError):
        return "wrong error"
    if isinstance(error, np.linalg.LinAlgError):
        return "wrong error"
    last = traceback.extract_tb(error.__traceback__)[-1]
    foreign = any(text in str(error) for text in _FOREIGN_TEXTS)
    return "foreign text" if foreign and "raise" not in (last.line or "") else ""


def check(name, number, seed) -> list[Finding]:
    """Make one call and say what is wrong with it."""
    with warnings.catch_warnings(), alarm(3.0 * SECONDS):
        warnings.simplefilter("ignore")
        try:
            call = make(name, number, seed)
        except Exception as error:  # what was to be called with could not be made, which other calls report
            raise Discard from error
    given = [*call.args, *(call.kwargs or {}).values()]
    before = snapshot(given)
    found = []

    def report(kind, detail):
        found.append(Finding(name, number, kind, call.text, detail))

    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with alarm(3.0 * call.times * SECONDS):
                result = call.function(*call.args, **(call.kwargs or {}))
            if not call.nan_allowed and has_nan(result):
                report("nan", f"returned {str(result)[:200]}")
        except TooSlow:
            report("slow", f"stopped after {3.0 * call.times * SECONDS:g} seconds")
        except Exception as error:
            if kind := _error_kind(error):
                where = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{pathlib.Path(where.filename).name}:{where.lineno}"
                report(kind, f"{type(error).__name__} at {place}: {str(error)[:200]}")
    elapsed = time.process_time() - start
    for w in caught:
        if issubclass(w.category, RuntimeWarning) and "encountered in" in str(w.message):  # NumPy's
            report("warning", f"{pathlib.Path(w.filename).name}:{w.lineno}: {w.message}")
    if elapsed > call.times * SECONDS and not any(f.kind == "slow" for f in found):
        report("slow", f"{elapsed:.1f} s")
    if not same(given, before):
        report("modified", "an argument was changed")
    return found


class alarm:
    """Raise TooSlow in the block after so many seconds of the processor, where the system has alarms.

    It rings again every so many: an exception is lost where it rings inside a destructor.
    """

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        if hasattr(signal, "setitimer"):
            self.before = signal.signal(signal.SIGPROF, self._ring)
            signal.setitimer(signal.ITIMER_PROF, self.seconds, self.seconds)

    def __exit__(self, *_):
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            signal.signal(signal.SIGPROF, self.before)

    @staticmethod
    def _ring(signum, frame):
        raise TooSlow


class Report(NamedTuple):
    """What a run did and found."""

    calls: int
    discarded: int
    findings: list[Finding]


def run(calls, seed=0, only="", seconds=np.inf, show=None) -> Report:
    """Make calls in turn from all generators whose name contains `only`; `show` is called with findings at once."""
    names = [name for name in GENERATORS if only in name]
    findings, made, discarded, end = [], 0, 0, time.monotonic() + seconds
    number = 0
    while made < calls and time.monotonic() < end and names:
        for name in names:
            if number % EVERY.get(name, 1):
                continue
            try:
                found = check(name, number, seed)
                made += 1
                findings += found
                for finding in found if show else ():
                    show(finding)
            except (Discard, TooSlow):
                discarded += 1
        number += 1
    return Report(made, discarded, findings)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of generators")
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after so many")
    parser.add_argument("--show", type=int, default=3, help="findings to print of each kind and generator")
    chosen = parser.parse_args()
    register_all()
    shown: collections.Counter = collections.Counter()

    def show(finding):
        key = finding.kind, finding.generator, finding.detail.split(":")[0]
        shown[key] += 1
        if shown[key] <= chosen.show:
            print(finding, flush=True)

    report = run(chosen.calls, chosen.seed, chosen.only, chosen.seconds, show)
    kinds = collections.Counter(f.kind for f in report.findings)
    print(f"{report.calls} calls, {report.discarded} discarded, {len(report.findings)} findings {dict(kinds)}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.modules["fuzzer"] = sys.modules["__main__"]
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    sys.exit(main())
