from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]

def gamma_weight(shape: _Floats, x: _Floats, log_x: _Floats, out: _Floats, n_threads: int) -> None: ...
def beta_weight(
    a: _Floats,
    b: _Floats,
    x: _Floats,
    y: _Floats,
    log_x: _Floats,
    log_y: _Floats,
    out_a: _Floats,
    out_b: _Floats,
    n_threads: int,
) -> None: ...
def gamma_weight_derivatives(
    shape: _Floats, x: _Floats, log_x: _Floats, out_x: _Floats, out_shape: _Floats, n_threads: int
) -> None: ...
def beta_weight_derivatives(
    a: _Floats,
    b: _Floats,
    x: _Floats,
    y: _Floats,
    log_x: _Floats,
    out_x: _Floats,
    out_a: _Floats,
    out_b: _Floats,
    n_threads: int,
) -> None: ...
def student_t_weight(df: _Floats, t: _Floats, out: _Floats, n_threads: int) -> None: ...
def von_mises_weight(kappa: _Floats, x: _Floats, out: _Floats, n_threads: int) -> None: ...
def inverse_gaussian_weight(
    mean: _Floats, concentration: _Floats, x: _Floats, out_mean: _Floats, out_concentration: _Floats, n_threads: int
) -> None: ...
def truncated_normal_weight(
    z: _Floats,
    low: _Floats,
    high: _Floats,
    above: _Floats,
    below: _Floats,
    out_loc: _Floats,
    out_scale: _Floats,
    out_low: _Floats,
    out_high: _Floats,
    n_threads: int,
) -> None: ...
def continuous_bernoulli_weight(eta: _Floats, x: _Floats, out: _Floats, n_threads: int) -> None: ...
