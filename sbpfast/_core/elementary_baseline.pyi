from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]
_Words: TypeAlias = NDArray[np.uint64]

def evaluate(name: str, x: _Floats, out: _Floats) -> None: ...
def from_uint64(x: _Words, out: _Floats) -> None: ...
