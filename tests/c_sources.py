"""Small C libraries for the tests."""

import shutil
import subprocess

import pytest


def compiled(folder, source) -> str:
    """The path of a shared library made of a C source; skips the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (folder / "source.c").write_text(source)
    command = [compiler, "-shared", "-fPIC", "-O1", folder / "source.c", "-o", folder / "library.so", "-lm"]
    subprocess.run(command, check=True)
    return str(folder / "library.so")
