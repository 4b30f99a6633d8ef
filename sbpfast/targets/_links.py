"""The links phi(t; y): the one-dimensional functions that ridge targets are made of, a row each.

A new likelihood is a row here, its function (and its closed integral or its centre, where it has one) in
`_core/links.h`, and its readable twin, `link_derivatives` of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Response(NamedTuple):
    """What y may be."""

    allowed: Callable[[np.ndarray], np.ndarray]
    wanted: str


ANY = Response(np.isfinite, "finite")
UNIT = Response(lambda y: (y >= 0) & (y <= 1), "in [0, 1]")
BINARY = Response(lambda y: (y == 0) | (y == 1), "0 or 1")
COUNT = Response(lambda y: (y >= 0) & (y == np.floor(y)), "whole numbers, not negative")
NON_NEGATIVE = Response(lambda y: y >= 0, "not negative")
POSITIVE = Response(lambda y: y > 0, "positive")


class Link(NamedTuple):
    """A row of the table of links."""

    code: int  # the place in the table of links.h
    parameters: tuple[str, ...] = ()
    pole: Callable[..., float] = lambda: math.inf  # distance of the nearest singularity from the real axis
    response: Response = ANY
    centre: Callable = lambda y, *parameters: 0.0  # of the real axis, which the singularities lie above and below
    # Where the Gaussian expectations have a closed form: E[phi'' z^k], k = 0, 1, 2, for phi'' at m + t z, from m, t, y.
    closed: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
    softplus: float = 0.0  # its sign in the link, where the rest is linear: wide integrals have a rule of their own
    density: int = 0  # that softens (t)_+ to the softplus: 0 the logistic, 1 the one of log(1 - exp(-e^t))
    mixed: bool = False  # y times the link at y = 1 is integrated numerically, and `closed` is of the rest
    # Where a flat prior can leave the density improper: the sign of the weights for which this can be, for every y the
    # side of t = 0 towards which a term never falls (1, -1; 0: neither), and what data do then.
    flat_weights: float = 0.0
    flat_side: Callable[[np.ndarray], np.ndarray] = np.zeros_like
    improper: str = ""


def _of_exponential(sign):
    """Of a phi'' that is sign e^t."""

    def moments(m, t, y):
        c = sign * np.exp(m + 0.5 * t * t)
        return c, c * t, c * (1.0 + t * t)

    return moments


def _of_square(m, t, y):
    two = np.full_like(m, 2.0)
    return two, 0.0 * m, two


def _of_gamma(m, t, y):
    c = -y * np.exp(0.5 * t * t - m)
    return c, -c * t, c * (1.0 + t * t)


def _of_none(m, t, y):
    """Of -(1 - y) e^t, where y < 1."""
    c = np.where(y < 1.0, (y - 1.0) * np.exp(np.where(y < 1.0, m + 0.5 * t * t, 0.0)), 0.0)
    return c, c * t, c * (1.0 + t * t)


def _towards_response(y):
    return np.where(y == 1.0, 1.0, np.where(y == 0.0, -1.0, 0.0))


def _down_from_none(y):
    return np.where(y == 0.0, -1.0, 0.0)


def _down(y):
    return np.full(len(y), -1.0)


SEPARATES, NONE_COUNTED = "it separates the responses", "every count that it changes is 0"

LINKS = {
    "softplus": Link(0, (), lambda: math.pi, softplus=1.0, flat_weights=-1.0, flat_side=_down),
    "logistic": Link(
        1, (), lambda: math.pi, UNIT, softplus=-1.0, flat_weights=1.0, flat_side=_towards_response, improper=SEPARATES
    ),
    # the zeros of Phi nearest to the real axis are -1.916 +- 2.816i
    "probit": Link(
        2, (), lambda: 2.8, BINARY, lambda y: 1.9 - 3.8 * y,
        flat_weights=1.0, flat_side=_towards_response, improper=SEPARATES
    ),
    "exp": Link(3, closed=_of_exponential(1.0), flat_weights=-1.0, flat_side=_down),
    "poisson": Link(
        4, closed=_of_exponential(-1.0), flat_weights=1.0, flat_side=_down_from_none, improper=NONE_COUNTED
    ),
    "square": Link(5, closed=_of_square),
    "student_t": Link(6, ("df", "scale"), lambda df, scale: math.sqrt(df) * scale, centre=lambda y, df, scale: y),
    "log_cosh": Link(7, (), lambda: 0.5 * math.pi),
    "negative_binomial": Link(
        8, ("dispersion",), lambda dispersion: math.pi, NON_NEGATIVE, lambda y, dispersion: math.log(dispersion),
        flat_weights=1.0, flat_side=_down_from_none, improper=NONE_COUNTED,
    ),
    "gamma": Link(9, (), response=POSITIVE, closed=_of_gamma),
    # log(1 - exp(-e^t)) has its singularities at log(2 pi k) +- i pi/2
    "cloglog": Link(
        10, (), lambda: 0.5 * math.pi, UNIT, closed=_of_none, softplus=-1.0, density=1, mixed=True,
        flat_weights=1.0, flat_side=_towards_response, improper=SEPARATES,
    ),
}  # fmt: skip
"""The links by name.

softplus log(1 + e^t); logistic y t - log(1 + e^t); probit log Phi((2y - 1) t); exp e^t; poisson y t - e^t;
square (t - y)^2; student_t -(df + 1)/2 log(1 + (t - y)^2/(df scale^2)); log_cosh log cosh t;
negative_binomial y u - (y + r) log(1 + e^u), u = t - log r, r = dispersion; gamma -t - y e^(-t);
cloglog y log(1 - exp(-e^t)) - (1 - y) e^t.
"""


def link_record(name, *parameters) -> np.ndarray:
    """A link as the kernels of Gaussian integrals take it: code, distance of its nearest singularity, parameters, 0."""
    return np.array([LINKS[name].code, LINKS[name].pole(*parameters), *parameters, 0.0])
