"""Writes univariate_coefficients.h: Gauss-Legendre nodes and the large-concentration expansion of the von Mises weight.

Run it (mpmath is needed) from the root of the repository: python sbpfast/_core/generate/univariate.py

For kappa cos^2(x/2) large and tau = tan(x/2) the weight is sum_k b_k(tau) kappa^-(k+1), where the continuity equation
gives b_0 = -tau and b_k = (1 + tau^2)/(4 tau) [(1 + tau^2) b'_{k-1}(tau) - b'_{k-1}(0)]; b_k = -tau P_k(tau^2).
The ratio A1 = I1/I0 of Bessel functions solves A1' = 1 - A1/kappa - A1^2; its series in 1/kappa follows.
"""

from fractions import Fraction
from pathlib import Path

import mpmath as mp

mp.mp.dps = 40

NODES = 48  # an even number
VONMISES_ORDER = 16
RATIO_ORDER = 16


def legendre(n):
    """The positive nodes on (-1, 1) and their weights, by Newton's method."""
    pairs = []
    for i in range(n // 2):
        x = mp.cos(mp.pi * (i + mp.mpf(3) / 4) / (n + mp.mpf(1) / 2))
        for _ in range(8):
            before, value = mp.mpf(1), x
            for k in range(2, n + 1):
                before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
            slope = n * (x * value - before) / (x * x - 1)
            x -= value / slope
        pairs.append((x, 2 / ((1 - x * x) * slope**2)))
    assert abs(sum(w for _, w in pairs) - 1) < mp.mpf(10) ** -30
    return pairs


def vonmises_polynomials(order):
    """P_k as exact coefficients in tau^2, k = 0 ... order."""
    polynomials = [[Fraction(1)]]
    for _ in range(order):
        slope = [(2 * i + 1) * c for i, c in enumerate(polynomials[-1])]  # b' = -sum (2 i + 1) c_i tau^2i
        product = [a + b for a, b in zip([*slope, Fraction(0)], [Fraction(0), *slope])]
        quotient = product[1:]  # subtract b'(0), divide by tau^2; the other factor tau makes b_k odd
        polynomials.append([(a + b) / 4 for a, b in zip([*quotient, Fraction(0)], [Fraction(0), *quotient])])
    return polynomials


def bessel_ratio(order):
    c = [Fraction(1)]
    for n in range(1, order + 1):
        c.append(((n - 2) * c[n - 1] - sum(c[i] * c[n - i] for i in range(1, n))) / 2)
    return c


def horner(coefficients, variable):
    first, *rest = coefficients
    first = first if isinstance(first, str) else repr(float(first))
    return f"{first} + {variable} * ({horner(rest, variable)})" if rest else first


def main():
    pairs = legendre(NODES)
    lines = ["/* Written by generate/univariate.py; do not edit. */", "#pragma once", "",
             f"enum {{ NODES = {NODES} }};", "/* Gauss-Legendre on (0, 1) */",
             "static const double NODE[NODES] = {"]  # fmt: skip
    nodes = [*((1 - x) / 2 for x, _ in pairs), *((1 + x) / 2 for x, _ in pairs[::-1])]
    lines += [f"    {float(x)!r}," for x in nodes]
    lines += ["};", "static const double NODE_WEIGHT[NODES] = {"]
    lines += [f"    {float(w / 2)!r}," for _, w in [*pairs, *pairs[::-1]]]
    rows = ["(" + horner(p, "q") + ")" for p in vonmises_polynomials(VONMISES_ORDER)]
    ratio = horner(bessel_ratio(RATIO_ORDER), "(r)")
    lines += ["};", "", "/* I1/I0 in r = 1/kappa */", f"#define BESSEL_RATIO(r) ({ratio})",
              "", "/* sum_k P_k(q) r^k, q = tan(x/2)^2, r = 1/kappa */",
              f"#define VONMISES_SUM(q, r) ({horner(rows, '(r)')})", ""]  # fmt: skip
    (Path(__file__).parents[1] / "univariate_coefficients.h").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
