"""What a user's type checker says of a program."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import sbpfast


def strictly_checked(folder, program):
    """Output and status of ``mypy --strict``, which reads the package under test as a user's does: its types, not its
    own errors."""
    pytest.importorskip("mypy")
    (folder / "program.py").write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "program.py"]
    home = Path(sbpfast.__file__).parent.parent
    path = "" if home == Path(sysconfig.get_path("platlib")) else str(home)  # mypy refuses to be shown where it looks
    run = subprocess.run(command, cwd=folder, env={**os.environ, "MYPYPATH": path}, capture_output=True, text=True)
    return run.stdout + run.stderr, run.returncode


def errors_of(output):
    return [line for line in output.splitlines() if "error:" in line]
