"""Writes omega_coefficients.h: the uniform expansion of the gamma and beta transport weights.

Run it (mpmath is needed) from the root of the repository: python sbpfast/_core/generate/omega.py

With m = a/(a + b), y = log(x/m) (gamma: m = 0, y = log(x/a)) the relative weight w, the velocity of logit x (gamma: of
log x) with the shape a, has the expansion

    a w = sum_k a^-k omega_k(y; m),    omega_k = sum_{j <= k} m^j W_kj(y),    W_00 = y / (e^y - 1),
    (e^y - 1) W_kj = W'_{k-1,j} - e^y W'_{k-1,j-1} - const,

which follows from dw/dz + (a - (a + b) x) w + log x - psi(a) + psi(a + b) = 0, z = logit x, order by order; the
constant is the one that leaves W_kj regular at y = 0.  Every W_kj is analytic for |y| < 2 pi.  They are power series
here, and become polynomials by interpolation at the Chebyshev nodes of |y| <= RANGE, each of the lowest degree whose
error, divided by SHAPE^k, the smallest shape that the expansion serves, is below TOLERANCE.
"""

from pathlib import Path

import mpmath as mp

mp.mp.dps = 60

ORDER = 10  # the last k
RANGE = mp.mpf("1.6")
SHAPE = 12
TOLERANCE = mp.mpf(10) ** -17
TERMS = 90  # of the power series in y: (1.6 / 2 pi)^90 is 4e-54


def product(p, q, n):
    """The first n coefficients of the product of two power series."""
    return [mp.fsum(p[i] * q[k - i] for i in range(k + 1)) for k in range(n)]


def derivative(p):
    return [(i + 1) * c for i, c in enumerate(p[1:])]


def omega_series():
    """W[k][j] as power series in y; each order has one term fewer than the one before it."""
    exponential = [1 / mp.factorial(i) for i in range(TERMS + 1)]
    bernoulli = [mp.bernoulli(i) / mp.factorial(i) for i in range(TERMS)]
    bernoulli[1] = -mp.mpf(1) / 2
    table = [[bernoulli]]
    for k in range(1, ORDER + 1):
        row, n = [], TERMS - k
        slopes = [derivative(p) for p in table[-1]]
        zero = [mp.mpf(0)] * n
        for j in range(k + 1):
            plain = slopes[j] if j < k else zero
            moving = product(exponential, slopes[j - 1], n) if j > 0 else zero
            numerator = [p - q for p, q in zip(plain[:n], moving)]
            row.append([*product([*numerator[1:], mp.mpf(0)], bernoulli, n - 1), mp.mpf(0)])
        table.append(row)
    return table


def interpolant(function, degree):
    """Monomial coefficients in t = y / RANGE of the interpolant at the Chebyshev nodes, constant first."""
    nodes = [mp.cos(mp.pi * (2 * i + 1) / (2 * degree + 2)) for i in range(degree + 1)]
    system = mp.matrix([[t**k for k in range(degree + 1)] for t in nodes])
    return list(mp.lu_solve(system, mp.matrix([function(RANGE * t) for t in nodes])))


def economised(series, tolerance):
    """The shortest interpolant whose error on a grid is below `tolerance`, and that error."""
    value = lambda y: mp.polyval(series[::-1], y)
    grid = [RANGE * mp.mpf(i) / 20 for i in range(-20, 21)]
    exact = [value(y) for y in grid]
    for degree in range(2, 24):
        c = interpolant(value, degree)
        error = max(abs(mp.polyval(c[::-1], y / RANGE) - v) for y, v in zip(grid, exact))
        if error < tolerance:
            return c, error
    raise RuntimeError("no degree below 24 is enough")


def horner(coefficients, variable):
    first, *rest = (repr(float(c)) for c in coefficients)
    return f"{first} + {variable} * ({horner(coefficients[1:], variable)})" if rest else first


def polynomial(coefficients):
    """A C expression in t and t2 = t * t; two half-length chains hide the latency of one.  Some are even or odd."""
    even, odd = coefficients[0::2], coefficients[1::2]
    absent = [max(abs(c) for c in half) < mp.mpf(10) ** -40 for half in (even, odd)]
    first, second = f"({horner(even, 't2')})", f"t * ({horner(odd, 't2')})"
    return second if absent[0] else first if absent[1] else f"({first} + {second})"


def main():
    table = omega_series()
    head = """/* Written by generate/omega.py, which says what they are; do not edit.  t = y / OMEGA_RANGE, t2 = t t. */
#pragma once
"""
    lines = [head, f"#define OMEGA_RANGE {float(RANGE)!r}", f"#define OMEGA_ORDER {ORDER}", ""]
    # 1 - W_00 = y/2 - y^2 R(y^2): kept apart, so that the Student-t weight has 1 - W_00 without cancellation
    rest = table[0][0][2::2]
    even = [c for pair in zip(rest, [mp.mpf(0)] * len(rest)) for c in pair]
    c, error = economised(even, TOLERANCE)
    c = [RANGE**2 * v for v in c[0::2]]
    lines += [f"/* error {mp.nstr(error, 2)} */",
              f"#define OMEGA_GAP(t, t2) ({float(RANGE / 2)!r} * t - t2 * ({horner(c, 't2')}))",
              "#define OMEGA_0_0(t, t2) (1.0 - OMEGA_GAP(t, t2))", ""]  # fmt: skip
    rows = [("OMEGA_0_0", [mp.mpf(1), -RANGE / 2, *[v for pair in zip(c, [mp.mpf(0)] * len(c)) for v in pair][:-1]])]
    for k in range(1, ORDER + 1):
        for j in range(k + 1):
            c, error = economised(table[k][j], TOLERANCE * mp.mpf(SHAPE) ** k)
            rows.append((f"OMEGA_{k}_{j}", c))
            lines += [f"/* degree {len(c) - 1}, error {mp.nstr(error, 2)} */",
                      f"#define OMEGA_{k}_{j}(t, t2) {polynomial(c)}"]  # fmt: skip
        print(k, [len(c) - 1 for _, c in rows[-k - 1 :]])
    degree = max(len(c) for _, c in rows) - 1
    lines += ["", "/* The same coefficients as a table, row k (k + 1) / 2 + j, for code that needs derivatives. */",
              f"#define OMEGA_DEGREE {degree}",
              f"static const double OMEGA_TABLE[{len(rows)}][{degree + 1}] = {{"]  # fmt: skip
    lines += ["    {" + ", ".join(repr(float(v)) for v in c) + "}," for _, c in rows]
    lines += ["};", ""]
    (Path(__file__).parents[1] / "omega_coefficients.h").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
