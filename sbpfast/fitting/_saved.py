"""What the file of a fit must hold before a fit is made of it."""

from __future__ import annotations

import numpy as np

from sbpfast.fitting._natural import NaturalFit
from sbpfast.fitting._sampled import SampledFit

_NUMBERS = (
    "elbo", "elbo_stderr", "converged", "evaluated", "importance_n", "importance_khat", "importance_ess",
    "importance_log_evidence", "importance_log_evidence_stderr", "importance_elbo", "importance_elbo_stderr",
)  # fmt: skip
_VECTORS = ("state_counters", "state_elbo_trace", "state_residual_trace", "importance_weights", "importance_ratios")
_BY_PARAMETER = ("importance_mean", "importance_sd")
_REQUIRED = ("elbo", "elbo_stderr", "converged", "state_counters", "state_elbo_trace", "state_residual_trace")


def require_whole(arrays) -> None:
    """Raise a ValueError that names an array that is missing, or of another kind or shape than it was saved in."""
    for name in _REQUIRED:
        if name not in arrays:
            raise ValueError(f"{name} is missing")
    dim = next((a.shape[0] for name, a in arrays.items() if name in ("q_mean", "q_eta1") and a.ndim == 1), None)
    shapes = dict.fromkeys(_NUMBERS, ()) | dict.fromkeys(_VECTORS, (None,))
    shapes |= dict.fromkeys((*_BY_PARAMETER, "names"), (dim,))
    for name, array in arrays.items():
        wanted = shapes.get(name)
        if wanted is not None and not _fits(array.shape, wanted):
            raise ValueError(f"{name} has shape {array.shape}")
        if wanted is not None and name != "names" and not _is_number(array):
            raise ValueError(f"{name} holds no numbers")
    if arrays.get("importance_mean_stderr", np.zeros(())).shape not in ((), (dim,)):
        raise ValueError(f"importance_mean_stderr has shape {arrays['importance_mean_stderr'].shape}")
    kind = SampledFit if "state_slow" in arrays else NaturalFit
    if len(arrays["state_counters"]) != len(kind.COUNTERS):
        raise ValueError(f"state_counters has shape {arrays['state_counters'].shape}")
    if "other_modes" in arrays and arrays["other_modes"].shape[1:] not in ((0,), (dim,)):
        raise ValueError(f"other_modes has shape {arrays['other_modes'].shape}")


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(want in (None, got) for got, want in zip(shape, wanted))


def _is_number(array):
    return np.issubdtype(array.dtype, np.number) or array.dtype == bool
