"""The sdist is complete, and a wheel built from it works without the source tree."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
    for wanted in (
        "sbpfast/py.typed",
        "sbpfast/kernels.pxd",
        "sbpfast/data/breast_cancer.csv",
        "sbpfast/_core/_platform.pyi",
    ):
        assert wanted in inside
    assert not [name for name in inside if name.endswith((".pxi", ".pyx", ".h", ".c")) or "generate" in name]
    run(sys.executable, "-m", "venv", str(tmp_path / "user"))
    user = str(tmp_path / "user" / "bin" / "python")
    run(user, "-m", "pip", "install", "-q", str(wheel))
    assert "exact" in run(user, "-m", "sbpfast", cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})


@pytest.mark.slow
def test_a_missing_compiler_is_said_in_one_sentence(tmp_path):
    pytest.importorskip("Cython")
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--build-temp",
        str(tmp_path),
        "--build-lib",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"CC": str(tmp_path / "cc")}, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 1
    assert "the C compiler" in done.stderr and "is not there: install GCC or Clang" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_openmp_is_found_where_the_compiler_is_two_words(tmp_path):
    """As with ccache."""
    pytest.importorskip("Cython")
    if not shutil.which("env") or not shutil.which("cc"):
        pytest.skip("needs cc and env")
    folders = ["--build-temp", str(tmp_path / "temp"), "--build-lib", str(tmp_path / "lib")]
    script = (
        "import runpy, sys; from setuptools.command import build_ext as b\n"
        "b.build_ext.build_extensions = lambda self: print('FLAGS', self.extensions[0].extra_compile_args)\n"
        "b.build_ext.copy_extensions_to_source = lambda self: None\n"
        f"sys.argv = ['setup.py', '-q', 'build_ext', *{folders!r}]; runpy.run_path('setup.py', run_name='__main__')"
    )
    done = run(sys.executable, "-c", script, cwd=ROOT, env=os.environ | {"CC": "env cc"})
    assert "'-fopenmp'" in done[done.index("FLAGS") :]
