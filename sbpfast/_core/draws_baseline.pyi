from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]
_Words: TypeAlias = NDArray[np.uint64]

def fill_gamma(
    key: _Words, stream: int, first_block: int, shape: _Floats, out: _Floats, log_out: _Floats, n_threads: int
) -> None: ...
def fill_von_mises(
    key: _Words, stream: int, first_block: int, concentration: _Floats, tangent: _Floats, n_threads: int
) -> None: ...
def simplex(
    log_gamma: _Floats, k: int, x: _Floats, y: _Floats, log_x: _Floats, log_y: _Floats, n_threads: int
) -> None: ...
def gamma_each(key: _Words, stream: int, shape: _Floats, out: _Floats, log_out: _Floats, n_threads: int) -> None: ...
def von_mises_each(key: _Words, stream: int, concentration: _Floats, tangent: _Floats, n_threads: int) -> None: ...
def simplex_each(log_gamma: _Floats, x: _Floats, log_x: _Floats, n_threads: int) -> None: ...
