"""The sdist is complete, and a wheel built from it works without the source tree."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_from_sdist_to_a_working_wheel(tmp_path):
    if not (ROOT / "setup.py").exists():
        pytest.skip("needs the source tree")
    python = sys.executable
    run(python, "-m", "venv", str(tmp_path / "build"))
    builder = str(tmp_path / "build" / "bin" / "python")
    run(builder, "-m", "pip", "install", "-q", "build")
    run(builder, "-m", "build", "--sdist", "--outdir", str(tmp_path), str(ROOT))
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    tracked = set(run("git", "-C", str(ROOT), "ls-files").split()) if (ROOT / ".git").exists() else set()
    missing = {name for name in tracked if not name.startswith(".git")} - names
    assert not missing, f"the sdist lacks {sorted(missing)}"
    assert not {name for name in names if name.endswith((".so", ".c"))}
    run(builder, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(archive))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as zipped:
        inside = zipped.namelist()
    for wanted in ("sbpfast/py.typed", "sbpfast/data/breast_cancer.csv", "sbpfast/_core/_platform.pyi"):
        assert wanted in inside
    assert not [name for name in inside if name.endswith((".pxi", ".pyx", ".h", ".c"))]
    run(python, "-m", "venv", str(tmp_path / "user"))
    user = str(tmp_path / "user" / "bin" / "python")
    run(user, "-m", "pip", "install", "-q", str(wheel))
    assert "exact" in run(user, "-m", "sbpfast", cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
