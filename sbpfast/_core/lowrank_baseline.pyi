from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

def sample(mean: _Floats, diag: _Floats, factor: _Floats, eps: _Floats, out: _Floats, n_threads: int) -> None: ...
def sample_backward(
    diag: _Floats,
    factor: _Floats,
    eps: _Floats,
    grad: _Floats,
    grad_mean: _Floats,
    grad_diag: _Floats,
    grad_factor: _Floats,
    n_threads: int,
) -> None: ...
def moments(diag: _Floats, factor: _Floats, variance: _Floats, log_det: _Floats, n_threads: int) -> None: ...
def moments_backward(
    diag: _Floats,
    factor: _Floats,
    grad_variance: _Floats,
    grad_log_det: _Floats,
    grad_diag: _Floats,
    grad_factor: _Floats,
    n_threads: int,
) -> None: ...
def kl(
    mean: _Floats, diag: _Floats, factor: _Floats, centre: _Floats, std: _Floats, out: _Floats, n_threads: int
) -> None: ...
def kl_backward(
    mean: _Floats,
    diag: _Floats,
    factor: _Floats,
    centre: _Floats,
    std: _Floats,
    grad: _Floats,
    grad_mean: _Floats,
    grad_diag: _Floats,
    grad_factor: _Floats,
    n_threads: int,
) -> None: ...
