from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]
_Integers: TypeAlias = NDArray[np.intp]

def softmax_derivatives(
    eta: _Floats, y: _Integers, m: int, value: _Floats, curvature: _Floats, n_threads: int
) -> None: ...
def softmax_expectations(
    m: _Floats,
    cov: _Floats,
    y: _Integers,
    nodes: _Floats,
    weights: _Floats,
    value: _Floats,
    probability: _Floats,
    curvature: _Floats,
    n_threads: int,
) -> None: ...
