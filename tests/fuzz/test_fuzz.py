"""The fuzzer in the test run: some thousands of calls, and that it sees what it is there to see."""

import pathlib
import sys
import warnings

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import fuzzer

fuzzer.register_all()
CALLS = 4000


def test_public_calls_keep_their_promises():
    report = fuzzer.run(CALLS, seed=20_26)
    assert report.calls >= CALLS
    assert not report.findings, "\n".join(map(str, report.findings[:10]))


@pytest.mark.slow
def test_many_public_calls_keep_their_promises():
    report = fuzzer.run(30_000, seed=1)
    assert not report.findings, "\n".join(map(str, report.findings[:10]))


def spoil(x):
    x[0] = 1.0


def warn(x):
    warnings.warn("overflow encountered in exp", RuntimeWarning, stacklevel=1)
    return x


def spin(x):
    while True:
        x = x + 1.0


BROKEN = {
    "wrong error": lambda x: {}[str(x)],
    "foreign text": lambda x: np.zeros(3).reshape(2, 2),
    "nan": lambda x: {"a": (x * np.nan,)},
    "warning": warn,
    "modified": spoil,
    "slow": spin,
}


@pytest.mark.parametrize("kind", BROKEN, ids="a call with {}".format)
def test_the_fuzzer_finds_broken_promises(kind, monkeypatch):
    monkeypatch.setattr(fuzzer, "GENERATORS", {kind: lambda r: fuzzer.Call(BROKEN[kind], (np.zeros(2),), text=kind)})
    monkeypatch.setattr(fuzzer, "SECONDS", 0.05)
    assert {f.kind for f in fuzzer.run(1).findings} == {kind}


@pytest.mark.parametrize("function", [lambda x: x, lambda x: np.inf, lambda x: int("x must be a number"[:0] or "1")])
def test_the_fuzzer_is_content_with_good_calls(function, monkeypatch):
    monkeypatch.setattr(fuzzer, "GENERATORS", {"good": lambda r: fuzzer.Call(function, (np.zeros(2),))})
    assert fuzzer.run(3).findings == []


def test_a_seed_and_a_number_make_the_same_call_again():
    assert fuzzer.make("expfam.score", 7, 3).text == fuzzer.make("expfam.score", 7, 3).text
