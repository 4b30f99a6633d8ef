"""The fastest thing one can do with an array: a parallel sum in C, the measure of read bandwidth."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

SUM = """
double total(const double *x, long n) {
    double s = 0;
    #pragma omp parallel for simd reduction(+ : s) num_threads(THREADS)
    for (long i = 0; i < n; i++) s += x[i];
    return s;
}
"""


def parallel_sum(threads):
    """The sum of an array of doubles, compiled for this machine; None without a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "sum.c"), Path(folder, "sum.so")
        source.write_text(SUM)
        flags = ["-O3", "-ffast-math", "-fopenmp", "-march=native", f"-DTHREADS={threads}"]
        try:
            subprocess.run(["cc", *flags, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        except (OSError, subprocess.CalledProcessError):
            print("  (there is no C compiler: the parallel sum is left out)")
            return None
        function = ctypes.CDLL(str(library)).total
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_void_p, ctypes.c_long]
    return lambda x: function(x.ctypes.data, x.size)
