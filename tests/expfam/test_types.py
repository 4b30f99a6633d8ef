"""A user's program passes ``mypy --strict``, and runs."""

import pathlib
import runpy

import numpy as np
import pytest

PROGRAM = pathlib.Path(__file__).parent / "typed_use.py"


def test_the_program_passes_mypy_strict(tmp_path):
    api = pytest.importorskip("mypy.api")
    options = ["--strict", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
    report, errors, status = api.run([*options, f"--cache-dir={tmp_path}", str(PROGRAM)])
    assert status == 0, report + errors


def test_mypy_sees_wrong_arguments(tmp_path):
    """The types are no mere Any."""
    api = pytest.importorskip("mypy.api")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from sbpfast import expfam\n"
        "p = expfam.Normal(object(), 1.0)\n"
        "p.log_prob(object())\n"
        "p.sample('3')\n"
        "p.sample(3, rng='seed')\n"
        "p.kl(3.0)\n"
    )
    report, _, status = api.run(
        ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={tmp_path}", str(wrong)]
    )
    assert status == 1
    assert [line.split(":")[1] for line in report.splitlines() if ": error:" in line] == ["2", "3", "4", "5", "6"]


def test_the_program_runs():
    assert np.isfinite(runpy.run_path(str(PROGRAM))["main"]())
