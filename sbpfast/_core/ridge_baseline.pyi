from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]

def ridge_moments(
    a: _Floats,
    offset: _Floats,
    y: _Floats,
    weights: _Floats,
    link: int,
    params: _Floats,
    x: _Floats,
    n: int,
    m: int,
    values: _Floats,
    slopes: _Floats,
    curvatures: _Floats,
    n_threads: int,
) -> None: ...
def diagonal_quadratic(
    x: _Floats,
    n: int,
    precision: _Floats,
    mean: _Floats,
    constant: float,
    values: _Floats,
    total_x: _Floats,
    n_threads: int,
) -> None: ...
def ridge_values(
    a: _Floats,
    offset: _Floats,
    y: _Floats,
    weights: _Floats,
    link: int,
    params: _Floats,
    x: _Floats,
    values: _Floats,
    grads: _Floats | None,
    n_threads: int,
) -> None: ...
def link_derivatives(
    t: _Floats,
    y: _Floats,
    link: int,
    params: _Floats,
    value: _Floats,
    slope: _Floats,
    curvature: _Floats,
    n_threads: int,
) -> None: ...
def projected_moments(
    a: _Floats, offset: _Floats, mean: _Floats, factor: _Floats, lower: bool, m: _Floats, t: _Floats, n_threads: int
) -> None: ...
def expectations(
    m: _Floats, t: _Floats, y: _Floats, link: _Floats, rules: _Floats, out: _Floats, n_threads: int
) -> None: ...
def weighted_product(b: _Floats, w: _Floats, a: _Floats, symmetric: bool, out: _Floats, n_threads: int) -> None: ...
