"""Public submodules are there after ``import sbpfast`` alone, and importing it loads none of those that can wait."""

import subprocess
import sys

import pytest

PUBLIC = ("contract", "data", "expfam", "fitting", "rbm", "rbm.plots", "regression", "special", "targets")
LATER = ("sbpfast.rbm", "sbpfast.expfam", "sbpfast.fitting", "sbpfast.data", "matplotlib")


@pytest.mark.parametrize("name", PUBLIC)
def test_submodules_are_there(name):
    code = f"import sbpfast as sb; print(sb.{name}.__name__); assert {name.split('.')[0]!r} in dir(sb)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == f"sbpfast.{name}\n", run.stderr


def test_what_can_wait_is_not_loaded():
    loaded = (
        f"[m for m, v in sys.modules.items() if m.startswith({LATER}) and v.__spec__]"  # stand-ins of pickles have none
    )
    code = f"import sys, sbpfast; print({loaded})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "[]\n", run.stdout + run.stderr
