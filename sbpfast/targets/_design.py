"""The rows a_j of a ridge target."""

from __future__ import annotations

import numpy as np
import scipy

from sbpfast import _checks


def design_matrix(name, a):
    """A design matrix: C-contiguous float64, or CSR."""
    if scipy.sparse.issparse(a):
        if a.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {a.dtype}")
        a = scipy.sparse.csr_array(a, dtype=np.float64)
        if not np.isfinite(a.data).all():
            raise ValueError(f"{name} must be finite")
    else:
        a = _checks.real_array(name, a, ndim=2)
    if a.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {a.shape}")
    return a
