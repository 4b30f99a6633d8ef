from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]

def log_divergence_sums(y: _Floats, weights: _Floats | None, centre: _Floats, out: _Floats, n_threads: int) -> None: ...
