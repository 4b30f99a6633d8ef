"""The compiled core of sbpfast: one source a topic, built once for each instruction set.

Metadata lives in pyproject.toml.  Switches for developers, all environment variables:

    SBPFAST_DEBUG=1      bounds checks and assertions in every kernel, no optimisation
    SBPFAST_COVERAGE=1   line tracing, for coverage.py with the plugin Cython.Coverage
    SBPFAST_BUILD=avx2   build these instruction sets only (comma-separated; the baseline is always built)
    SBPFAST_NO_OPENMP=1  a serial build
    SBPFAST_COMPILER=mingw32  the kind of compiler, as of `build_ext --compiler`: GCC on Windows
    SBPFAST_SANITIZE=1   with the address and undefined-behaviour sanitizers; see .ci/sanitize
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

CORE = Path("sbpfast/_core")
TOPICS = sorted(path.stem for path in CORE.glob("*.pxi") if path.stem != "common")
DEBUG = os.environ.get("SBPFAST_DEBUG") == "1"
COVERAGE = os.environ.get("SBPFAST_COVERAGE") == "1"
SANITIZE = os.environ.get("SBPFAST_SANITIZE") == "1"

# -ffast-math, -Ofast and -march=native are never used: they change results, and with older GCCs the whole
# process.  The instruction sets are named one by one because auditwheel refuses x86-64-v3 and -v4 binaries.
COMPILE = ["-O0", "-g"] if DEBUG else ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
ISA_FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"
    ],
}  # fmt: skip


def instruction_sets():
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ["baseline"]
    wanted = os.environ.get("SBPFAST_BUILD")
    names = list(ISA_FLAGS) if wanted is None else ["baseline", *wanted.split(",")]
    unknown = set(names) - set(ISA_FLAGS)
    if unknown:
        sys.exit(f"SBPFAST_BUILD names {sorted(unknown)}; known are {list(ISA_FLAGS)}")
    return list(dict.fromkeys(names))


def isa_copy(topic, isa):
    """The path of a module that holds nothing but the inclusion of its topic's source."""
    path = CORE / f"{topic}_{isa}.pyx"
    text = f'include "{topic}.pxi"\n'
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(path)


def extension(name, source, flags):
    """`name` is that of a module of the package."""
    headers = [str(p) for p in CORE.glob("*.h")]
    macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
    if COVERAGE:
        macros += [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
    return Extension(
        f"sbpfast.{name}", [source], include_dirs=[str(CORE), np.get_include()], depends=headers,
        extra_compile_args=COMPILE + flags, define_macros=macros,
    )  # fmt: skip


class BuildExt(build_ext):
    """Adds the flags for threads that this compiler and linker are seen to take, and builds in parallel.

    The modules are also copied beside their sources: `python -m sbpfast` in the root of the repository imports the
    package from there, whatever is installed.
    """

    PROBE = """#include <omp.h>
#ifdef SBP_POOL
#include "pool.h"
#endif
int main(void) {
    static int marks[64];
    int i, sum = 0;
#ifdef SBP_POOL
    team_use(pool_calls());
#endif
    #pragma omp parallel num_threads(2)
    {
        #pragma omp for lastprivate(i) schedule(guided)
        for (i = 0; i < 64; i++) marks[i] = 1 + 0 * omp_get_thread_num();
    }
    for (i = 0; i < 64; i++) sum += marks[i];
    return sum != 64;
}
"""
    # how loops get their threads, best first: the flags of the compiler and those of the linker
    THREADS = (
        (["-fopenmp", "-DSBP_POOL", "-D_GNU_SOURCE", "-pthread"], ["-pthread"]),  # GCC's pragmas, the package's threads
        (["-fopenmp"], ["-fopenmp"]),
        (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),
    )

    def finalize_options(self):
        self.compiler = self.compiler or os.environ.get("SBPFAST_COMPILER")
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        super().run()
        if not self.inplace:
            self.copy_extensions_to_source()

    def build_extensions(self):
        self.refuse_without_compiler()
        compiled, linked = self.thread_flags()
        if SANITIZE:
            compiled, linked = ["-O1", "-g", *SANITIZERS, *compiled], [*SANITIZERS, *linked]
        for ext in self.extensions:
            ext.extra_compile_args += compiled
            ext.extra_link_args += linked
        super().build_extensions()

    def refuse_without_compiler(self):
        """One sentence instead of a page."""
        if self.compiler.compiler_type == "msvc":
            sys.exit(
                "sbpfast is written in GNU C and needs GCC or Clang, not MSVC: on Windows install MinGW-w64 and set "
                "SBPFAST_COMPILER=mingw32, or build it under WSL"
            )
        program = self.compiler.compiler_so[0]
        if shutil.which(program) is None:
            sys.exit(
                f"sbpfast is compiled on installation, and the C compiler {program!r} is not there: install GCC or "
                "Clang (Debian: apt install gcc; macOS: xcode-select --install) or name one by the variable CC"
            )

    def thread_flags(self):
        if os.environ.get("SBPFAST_NO_OPENMP") == "1":
            return [], []
        for compiled, linked in self.THREADS:
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder, "probe.c")
                source.write_text(self.PROBE)
                try:  # by the commands that the modules are built by, however many words they have
                    objects = self.compiler.compile(
                        [str(source)], output_dir=folder, include_dirs=[str(CORE)], extra_postargs=["-O2", *compiled]
                    )
                    self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=linked)
                    if subprocess.run([str(Path(folder, "probe"))], timeout=60).returncode == 0:
                        return compiled, linked
                except (CompileError, LinkError, OSError, subprocess.TimeoutExpired):
                    continue
        warnings.warn("sbpfast: no working OpenMP found, so this build uses one thread", stacklevel=2)
        return [], []


directives = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": DEBUG,
    "embedsignature": True,
    "freethreading_compatible": True,
    "linetrace": COVERAGE,
}

isas = instruction_sets()
extensions = [extension(f"_core.{name}", str(CORE / f"{name}.pyx"), []) for name in ("_platform", "_cfunc")]
extensions += [extension("kernels", "sbpfast/kernels.pyx", [])]
extensions += [extension(f"_core.{t}_{isa}", isa_copy(t, isa), ISA_FLAGS[isa]) for t in TOPICS for isa in isas]

setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives=directives,
        include_path=[str(CORE)],
        nthreads=os.cpu_count() or 1,
        show_all_warnings=DEBUG,
    ),
    cmdclass={"build_ext": BuildExt},
)
