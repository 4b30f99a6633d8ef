from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]
_Reals: TypeAlias = NDArray[np.float64] | NDArray[np.float32]
_Words: TypeAlias = NDArray[np.uint64]
_Indices: TypeAlias = NDArray[np.intp]

def softplus_rows(t: _Reals, offset: _Reals, slope: float, out: _Floats, n_threads: int) -> None: ...
def half_square_rows(v: _Reals, centre: _Reals, inverse_scale: _Reals, out: _Floats, n_threads: int) -> None: ...
def probability_rows(t: _Reals, offset: _Reals, slope: float, centre: _Reals, out: _Reals, n_threads: int) -> None: ...
def hidden_rows(
    t: _Reals,
    offset: _Reals,
    slope: float,
    centre: _Reals,
    key: _Words,
    stream: int,
    block: int,
    probability: _Reals | None,
    draw: _Reals,
    n_threads: int,
) -> None: ...
def visible_rows(
    u: _Reals,
    shift: _Reals,
    gain: _Reals,
    scale: _Reals,
    key: _Words,
    stream: int,
    block: int,
    draw: _Reals,
    n_threads: int,
) -> None: ...
def standardise_rows(
    x: _Reals, rows: _Indices, centre: _Reals, inverse_scale: _Reals, out: _Reals, n_threads: int
) -> None: ...
def adam_step(
    w: _Reals,
    positive: _Reals,
    negative: _Reals,
    first: _Reals,
    second: _Reals,
    scale: float,
    decay: float,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    row_dots: _Floats,
    n_threads: int,
) -> None: ...
def momentum_step(
    w: _Reals,
    positive: _Reals,
    negative: _Reals,
    velocity: _Reals,
    scale: float,
    decay: float,
    rate: float,
    momentum: float,
    longest: float,
    row_dots: _Floats,
    n_threads: int,
) -> None: ...
def sum_states(bias: _Floats, coupling: _Floats, moments: bool, n_threads: int) -> tuple[float, _Floats | None]: ...
