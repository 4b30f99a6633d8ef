from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]

def whitened_moments(
    a: _Floats,
    terms: _Floats,
    link: _Floats,
    rules: _Floats,
    mean: _Floats,
    factor: _Floats,
    spread: float,
    out: _Floats,
    n_threads: int,
) -> float: ...
