"""What does not grow with the work: a small call, the import, and memory over three million samples."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import problems
from timing import compare, report, save

MEMORY = """
import resource, numpy as np, sbpfast as sb
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
scale = np.linspace(1, 2, 20)
f = sb.Target(value=lambda x: np.cos(x) @ scale, grad=lambda x: -np.sin(x) * scale,
              hess=lambda x: -(np.cos(x) * scale)[:, :, None] * np.eye(20), dim=20)
q = sb.Gaussian(np.zeros(20), np.eye(20))
sb.expectation_grad(f, q, estimator={estimator!r}, n_samples=4096, rng=0)
before = peak()
sb.expectation_grad(f, q, estimator={estimator!r}, n_samples=3_000_000, rng=0)
print(peak() - before)
"""
IMPORT = "import time, numpy; t = time.perf_counter(); import sbpfast; print(time.perf_counter() - t)"


def printed(code):
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main():
    results = {}
    data = problems.regression(20, 5)
    candidates = {
        "sbpfast": problems.ours(*data, 16),
        "NumPy by hand": problems.by_hand(*data, 16),
    } | problems.jax_peers(*data, 16)
    results["a call with d=5, N=20, n=16"] = compare(candidates)
    report("a call with d=5, N=20, n=16", results["a call with d=5, N=20, n=16"], 1e6, "us")
    imports = [printed(IMPORT) for _ in range(11)]
    results["import sbpfast after import numpy, s"] = {"median": float(np.median(imports)), "least": min(imports)}
    print(f"\nimport sbpfast after import numpy: {1e3 * np.median(imports):.1f} ms (least {1e3 * min(imports):.1f})")
    for estimator in ("price", "stein", "score"):
        more = printed(MEMORY.format(estimator=estimator))
        results[f"peak memory over 3 million samples at d=20, {estimator}, MB"] = more
        print(f"peak memory over 3 million samples at d = 20, {estimator}: {more:.1f} MB more")
    save("overhead", results)


if __name__ == "__main__":
    main()
