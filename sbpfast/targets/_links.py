"""The links: the one-dimensional functions that ridge targets are made of, a row each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Link(NamedTuple):
    """A row of the table of links: place in links.h, parameters, distance of the nearest singularity."""

    code: int
    parameters: tuple[str, ...] = ()
    pole: Callable[..., float] = lambda: math.inf


LINKS = {
    "softplus": Link(0, (), lambda: math.pi),
    "logistic": Link(1, (), lambda: math.pi),
    "probit": Link(2, (), lambda: 2.8),  # the zeros of Phi nearest to the real axis: -1.916 +- 2.816i
    "exp": Link(3),
    "poisson": Link(4),
    "square": Link(5),
    "student_t": Link(6, ("df", "scale"), lambda df, scale: math.sqrt(df) * scale),
    "log_cosh": Link(7, (), lambda: 0.5 * math.pi),
}
"""The links phi(t; y) by name.

softplus log(1 + e^t); logistic y t - log(1 + e^t); probit log Phi((2y - 1) t); exp e^t; poisson y t - e^t;
square (t - y)^2; student_t -(df + 1)/2 log(1 + (t - y)^2/(df scale^2)); log_cosh log cosh t.
"""
