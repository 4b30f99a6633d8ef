"""A user's program passes ``mypy --strict``, and runs."""

import pathlib
import runpy

import numpy as np
from user_types import errors_of, strictly_checked

PROGRAM = pathlib.Path(__file__).parent / "typed_use.py"
WRONG = """from sbpfast import expfam
p = expfam.Normal(object(), 1.0)
p.log_prob(object())
p.sample('3')
p.sample(3, rng='seed')
p.kl(3.0)
"""


def test_the_program_passes_mypy_strict(tmp_path):
    output, status = strictly_checked(tmp_path, PROGRAM.read_text())
    assert status == 0, output


def test_mypy_sees_wrong_arguments(tmp_path):
    """The types are no mere Any."""
    output, status = strictly_checked(tmp_path, WRONG)
    assert status == 1
    assert [line.split(":")[1] for line in errors_of(output)] == ["2", "3", "4", "5", "6"]


def test_the_program_runs():
    assert np.isfinite(runpy.run_path(str(PROGRAM))["main"]())
