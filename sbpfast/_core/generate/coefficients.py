"""Writes coefficients.h and coefficients32.h, the polynomials of vmath.h and vmath32.h, by Chebyshev interpolation in
60-digit arithmetic.

Run it (mpmath is needed) from the root of the repository: python sbpfast/_core/generate/coefficients.py
Each line of output states the interpolation error relative to the function it stands for.
"""

from pathlib import Path

import mpmath as mp

mp.mp.dps = 60


def chebyshev(function, low, high, degree):
    """Monomial coefficients, constant first, of the interpolant of `function` at the Chebyshev nodes of [low, high]."""
    nodes = [mp.cos(mp.pi * (2 * i + 1) / (2 * degree + 2)) for i in range(degree + 1)]
    points = [(low + high) / 2 + (high - low) / 2 * t for t in nodes]
    return list(
        mp.lu_solve(
            mp.matrix([[x**k for k in range(degree + 1)] for x in points]), mp.matrix([function(x) for x in points])
        )
    )


def relative_error(coefficients, function, low, high):
    grid = [low + (high - low) * mp.mpf(i) / 499.5 for i in range(500)]
    return max(abs(mp.polyval(coefficients[::-1], x) / function(x) - 1) for x in grid)


def atanh_ratio(z):
    """atanh(sqrt z) / sqrt z."""
    return mp.mpf(1) if z == 0 else mp.atanh(mp.sqrt(z)) / mp.sqrt(z)


def sin_ratio(z):
    """sin(2 pi r) / r at z = r^2."""
    r = mp.sqrt(z)
    return 2 * mp.pi if z == 0 else mp.sin(2 * mp.pi * r) / r


def taylor_tail(function, start):
    """(function(x) - its Taylor polynomial below x^start) / x^start, stable at 0."""
    series = mp.taylor(function, 0, start + 30)
    return lambda x: mp.polyval(series[start:][::-1], x)


MILLS_CENTRE = 4  # the map a -> t = (a - 4) / (a + 4) takes [0, inf) to [-1, 1)


def mills(a):
    """Phi(-a) / phi(a)."""
    return mp.sqrt(mp.pi / 2) * mp.erfc(a / mp.sqrt(2)) * mp.exp(a * a / 2)


def of_half_line(function, at_infinity):
    """`function` of a in [0, inf) as a function of t in [-1, 1]."""
    return lambda t: at_infinity if t == 1 else function(MILLS_CENTRE * (1 + t) / (1 - t))


def probit_curvature(a):
    """-(log Phi)''(-a) = (1 - a R) / R^2 with R the Mills ratio, between 2/pi and 1."""
    if a > 1e6:
        return 1 - 1 / mp.mpf(a) ** 2
    with mp.workdps(100):
        r = mills(mp.mpf(a))
        return (1 - a * r) / r**2


TABLES = [
    # name, what it is, function, interval, degree
    ("EXP", "(e^r - 1 - r) / r^2 on |r| <= ln(2)/2", taylor_tail(mp.exp, 2), -mp.log(2) / 2, mp.log(2) / 2, 10),
    ("LOG", "(2 atanh(s)/s - 2) / s^2 in z = s^2, s = (m-1)/(m+1), sqrt(1/2) <= m <= sqrt(2)",
     lambda z: mp.mpf(2) / 3 if z == 0 else 2 * (atanh_ratio(z) - 1) / z,
     mp.mpf(0), (mp.sqrt(2) - 1) ** 2 / (mp.sqrt(2) + 1) ** 2, 6),
    ("LOG1P", "2 atanh(s)/s in z = s^2, s = e/(2+e), 0 <= e <= 1",
     lambda z: 2 * atanh_ratio(z), mp.mpf(0), mp.mpf(1) / 9, 11),
    ("SIN2PI", "sin(2 pi r)/r in z = r^2, |r| <= 1/8", sin_ratio, mp.mpf(0), mp.mpf(1) / 64, 7),
    ("COS2PI", "cos(2 pi r) in z = r^2, |r| <= 1/8",
     lambda z: mp.cos(2 * mp.pi * mp.sqrt(z)), mp.mpf(0), mp.mpf(1) / 64, 7),
    ("MILLS", "(1 + a) R(a) in t = (a - 4)/(a + 4), R the Mills ratio",
     of_half_line(lambda a: (1 + a) * mills(a), mp.mpf(1)), mp.mpf(-1), mp.mpf(1), 24),
    ("PROBIT", "(1 - a R) / R^2 in the same t", of_half_line(probit_curvature, mp.mpf(1)), mp.mpf(-1), mp.mpf(1), 29),
]  # fmt: skip

TABLES32 = [
    ("EXP32", "(e^r - 1 - r) / r^2 on |r| <= ln(2)/2", taylor_tail(mp.exp, 2), -mp.log(2) / 2, mp.log(2) / 2, 4),
    ("LOG32", "(log(1 + f) - f + f^2/2) / f^3 on sqrt(1/2) <= 1 + f <= sqrt(2)",
     lambda f: mp.mpf(1) / 3 if f == 0 else (mp.log1p(f) - f + f * f / 2) / f**3, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 8),
    ("LOG1P32", "log(1 + e) / e on 0 <= e <= 1",
     lambda e: mp.mpf(1) if e == 0 else mp.log1p(e) / e, mp.mpf(0), mp.mpf(1), 9),
    ("SIN2PI32", "sin(2 pi r)/r in z = r^2, |r| <= 1/8", sin_ratio, mp.mpf(0), mp.mpf(1) / 64, 3),
    ("COS2PI32", "cos(2 pi r) in z = r^2, |r| <= 1/8",
     lambda z: mp.cos(2 * mp.pi * mp.sqrt(z)), mp.mpf(0), mp.mpf(1) / 64, 4),
]  # fmt: skip


def horner(coefficients, variable):
    """A C expression: the loops of a vectorised function must not contain loops of their own."""
    first, *rest = (repr(float(c)) for c in coefficients)
    return f"{first} + {variable} * ({horner(coefficients[1:], variable)})" if rest else first


def write_header(file_name, tables, suffix=""):
    lines = ["/* Written by generate/coefficients.py; do not edit.  Constant term first. */", "#pragma once", ""]
    for name, what, function, low, high, degree in tables:
        coefficients = chebyshev(function, low, high, degree)
        error = relative_error(coefficients, function, low, high)
        lines += [f"/* {what}: relative error {mp.nstr(error, 2)} */"]
        if degree <= 12:
            lines += [f"#define {name}_{k} {float(c)!r}{suffix}" for k, c in enumerate(coefficients)]
        else:
            even, odd = (horner(coefficients[start::2], "t2") for start in (0, 1))
            lines += [f"#define {name}_AT(t, t2) (({even}) + (t) * ({odd}))"]
        lines += [""]
        print(name, mp.nstr(error, 3), "largest coefficient", mp.nstr(max(abs(c) for c in coefficients), 3))
    (Path(__file__).parents[1] / file_name).write_text("\n".join(lines))


def main():
    write_header("coefficients.h", TABLES)
    write_header("coefficients32.h", TABLES32, suffix="f")


if __name__ == "__main__":
    main()
