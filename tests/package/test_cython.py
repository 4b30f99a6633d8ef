"""What other people's Cython may call: the signatures are frozen, the example of the page compiles and agrees."""

import ctypes
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from statistics_helpers import assert_standard_normal

import sbpfast as sb
from sbpfast import kernels

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_cython_of_the_page_compiles_and_agrees(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "howto" / "c.md").read_text()
    (code,) = re.findall(r"```cython\n(.*?)```", page, re.DOTALL)
    (tmp_path / "guest.pyx").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(sb.__file__).parents[1])}
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "guest.pyx"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    guest = importlib.import_module("guest")
    x = np.random.default_rng(0).gamma(2.5, size=100)
    want = (sb.expfam.Gamma(2.5, 1.0).transport(x[:, None])["shape"][:, 0] * np.cos(x)).mean()
    np.testing.assert_allclose(guest.shape_gradient(2.5, x, np.cos(x)), want, rtol=1e-13)
    assert next(iter(sb.targets.LINKS)) == "softplus"
    np.testing.assert_allclose(
        guest.softplus(0.3), [np.log1p(np.exp(0.3)), 0.574442516811659, 0.24445831169], rtol=1e-10
    )
    sums = np.zeros(3)
    guest.column_sums(np.arange(6.0).reshape(2, 3), sums)
    assert sums.tolist() == [3.0, 5.0, 7.0]
    draws = np.array([guest.normals(np.arange(4, dtype=np.uint64), row) for row in range(400)])
    assert_standard_normal(draws)


def test_the_cython_signatures_are_frozen():
    """What kernels.pxd promises to modules that were compiled against it."""
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    found = {name: name_of(capsule).decode() for name, capsule in kernels.__pyx_capi__.items()}
    frozen = json.loads((ROOT / "tests" / "tables" / "cython_signatures.json").read_text())
    assert found == frozen
