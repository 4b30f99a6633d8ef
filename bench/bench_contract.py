"""The bare contractions: the mean of 20000 Hessians at the read bandwidth, and 1/2 tr(H dSigma) sample by sample."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from timing import compare, optional, report, save

import sbpfast as sb

N, D, P = 20_000, 32, 10
SUM = """
double total(const double *x, long n) {
    double s = 0;
    #pragma omp parallel for simd reduction(+ : s) num_threads(THREADS)
    for (long i = 0; i < n; i++) s += x[i];
    return s;
}
"""


def parallel_sum(threads):
    """The fastest thing one can do with an array: a parallel sum in C, the measure of read bandwidth."""
    folder = tempfile.mkdtemp()
    source, library = Path(folder, "sum.c"), Path(folder, "sum.so")
    source.write_text(SUM)
    flags = ["-O3", "-ffast-math", "-fopenmp", "-march=native", f"-DTHREADS={threads}"]
    subprocess.run(["cc", *flags, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).total
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_void_p, ctypes.c_long]
    return lambda x: function(x.ctypes.data, x.size)


def main():
    r = np.random.default_rng(0)
    H, dSigma = r.standard_normal((N, D, D)), r.standard_normal((D, D, P))
    g, dmu = np.zeros((N, D)), np.zeros((D, P))
    total = parallel_sum(sb._core.effective_threads())
    mean = {
        "sbpfast": lambda: sb.contract.price(H),
        "parallel sum of the same bytes": lambda: total(H),
        "numpy": lambda: H.mean(axis=0),
    }
    each = {
        "sbpfast": lambda: sb.contract.gaussian(g, H, dmu, dSigma, per_sample=True),
        "numpy tensordot": lambda: 0.5 * np.tensordot(H, dSigma, axes=2),
        "parallel sum of the same bytes": lambda: total(H),
    }
    if torch := optional("torch"):
        Ht, St = torch.from_numpy(H), torch.from_numpy(dSigma)
        mean["torch"] = lambda: Ht.mean(0)
        each["torch einsum"] = lambda: 0.5 * torch.einsum("nij,ijp->np", Ht, St)
    if jax := optional("jax"):
        jax.config.update("jax_enable_x64", True)
        Hj, Sj = jax.device_put(H), jax.device_put(dSigma)
        average, contract = (
            jax.jit(lambda h: h.mean(0)),
            jax.jit(lambda h, s: 0.5 * jax.numpy.einsum("nij,ijp->np", h, s)),
        )
        mean["JAX"] = lambda: jax.block_until_ready(average(Hj))
        each["JAX einsum"] = lambda: jax.block_until_ready(contract(Hj, Sj))
    results = {}
    for workload, candidates in (
        (f"mean of {N} Hessians {D} x {D}", mean),
        (f"1/2 tr(H dSigma) per sample, p = {P}", each),
    ):
        results[workload] = compare(candidates)
        report(workload, results[workload])
        print(f"  read bandwidth of sbpfast: {H.nbytes / results[workload]['sbpfast']['median'] / 1e9:.1f} GB/s")
    save("contract", results)


if __name__ == "__main__":
    main()
