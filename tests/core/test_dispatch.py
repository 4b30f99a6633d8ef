"""The choice of instruction set, the configuration report, and what importing the package does to the process."""

import os
import subprocess
import sys

import numpy as np
import pytest

import sbpfast as sb
from sbpfast import _core


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
def test_an_instruction_set_can_be_forced(isa):
    code = "import sbpfast as sb; sb.show_config(); from sbpfast import _core; print(_core.ridge.__name__)"
    run = python(code, SBPFAST_ISA=isa)
    assert run.returncode == 0, run.stderr
    assert f"instruction set  {isa} " in run.stdout
    assert run.stdout.strip().endswith(f"ridge_{isa}")


@pytest.mark.parametrize("wanted", ["avx1024", "AVX2", ""])
def test_one_that_is_not_there_is_an_error(wanted):
    run = python("import sbpfast", SBPFAST_ISA=wanted)
    assert run.returncode != 0
    assert "ImportError" in run.stderr and "available: baseline" in run.stderr


def test_the_best_is_the_default():
    environment = {k: v for k, v in os.environ.items() if k != "SBPFAST_ISA"}
    code = "from sbpfast import _core; print(_core.ISA == _core.AVAILABLE_ISAS[-1])"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "True"


def test_show_config(capsys):
    sb.show_config()
    printed = capsys.readouterr().out
    for word in ("sbpfast", sb.__version__, "instruction set", "available", "OpenMP", "threads", "BLAS"):
        assert word in printed


def test_subnormals_survive_the_import():
    tiny = np.array([5e-324, 2.3e-308])
    assert (tiny * 1.0)[0] > 0
    assert (tiny / 4)[1] > 0
    out = np.empty(2)
    for isa in _core.AVAILABLE_ISAS:
        _core.load("elementary", isa).evaluate("exp", np.array([-745.0, -720.0]), out)
        assert (out > 0).all()


def test_public_names_are_there():
    for name in sb.__all__:
        assert hasattr(sb, name)
    assert sb.__version__.count(".") == 2
