"""What this installation is made of."""

from __future__ import annotations

import os
import sys

import numpy as np

from sbpfast import _core

__version__ = "0.2.0"


def describe() -> dict[str, str]:
    """Version, instruction sets, OpenMP, threads and BLAS, as text by name."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    whose = "the package's own threads" if _core.OWN_THREADS else "the compiler's threads"
    specification = f"specification {_core.OPENMP}, {whose}" if _core.OPENMP else "absent: this build is serial"
    return {
        "sbpfast": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "instruction set": f"{_core.ISA} (available: {', '.join(_core.AVAILABLE_ISAS)})",
        "OpenMP": specification,
        "threads": f"{_core.effective_threads()} of {os.cpu_count()} processors",
        "BLAS (NumPy's)": f"{blas.get('name')} {blas.get('version')}",
    }


def show_config() -> None:
    """Print version, instruction set in use and available, OpenMP, thread count and BLAS."""
    for name, text in describe().items():
        print(f"{name:16s} {text}")
