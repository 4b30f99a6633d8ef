"""How much the peak of memory grows over three million draws, beyond what four thousand need."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import numpy as np, sbpfast as sb
def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
scale = np.linspace(1, 2, 20)
f = sb.Target(value=lambda x: np.cos(x) @ scale, grad=lambda x: -np.sin(x) * scale,
              hess=lambda x: -(np.cos(x) * scale)[:, :, None] * np.eye(20), dim=20)
q = sb.Gaussian(np.zeros(20), np.eye(20))
sb.expectation_grad(f, q, estimator={estimator!r}, n_samples=4096, rng=0)
before = peak()
sb.expectation_grad(f, q, estimator={estimator!r}, n_samples={n}, rng=0)
print(peak() - before)
"""


def study(quick):
    """Megabytes by estimator, each in a Python of its own (Linux keeps the peak in /proc)."""
    results, n = {}, 8192 if quick else 3_000_000
    for estimator in ("price", "stein", "score"):
        command = [sys.executable, "-c", CODE.format(estimator=estimator, n=n)]
        more = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        results[f"{estimator}, d = 20, n = {n}"] = {"megabytes more at the peak": more}
        print(f"  {estimator}: {more:.1f} MB more at the peak over {n} draws, d = 20")
    return results
