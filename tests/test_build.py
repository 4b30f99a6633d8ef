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


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The path of a source distribution made from this tree, and a Python that can build."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("needs the source tree")
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "venv", str(folder / "build"))
    builder = str(folder / "build" / "bin" / "python")
    run(builder, "-m", "pip", "install", "-q", "build")
    run(builder, "-m", "build", "--sdist", "--outdir", str(folder), str(ROOT))
    (archive,) = folder.glob("*.tar.gz")
    return archive, builder


@pytest.mark.slow
def test_the_sdist_is_complete(sdist):
    with tarfile.open(sdist[0]) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    tracked = set(run("git", "-C", str(ROOT), "ls-files").split()) if (ROOT / ".git").exists() else set()
    missing = {name for name in tracked if not name.startswith(".git")} - names
    assert not missing, f"the sdist lacks {sorted(missing)}"
    assert not {name for name in names if name.endswith((".so", ".c"))}


@pytest.mark.slow
def test_a_wheel_from_the_sdist_works(sdist, tmp_path):
    archive, builder = sdist
    run(builder, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(archive))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as zipped:
        inside = zipped.namelist()
    for wanted in ("sbpfast/py.typed", "sbpfast/data/breast_cancer.csv", "sbpfast/_core/_platform.pyi"):
        assert wanted in inside
    assert not [name for name in inside if name.endswith((".pxi", ".pyx", ".h", ".c"))]
    run(sys.executable, "-m", "venv", str(tmp_path / "user"))
    user = str(tmp_path / "user" / "bin" / "python")
    run(user, "-m", "pip", "install", "-q", str(wheel))
    assert "exact" in run(user, "-m", "sbpfast", cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
