"""NumPy twins of the kernels of `weights`: the readable definitions, and an oracle for them.

The transport weight of a parameter is B = -dF/dtheta / p.  Since dF/dtheta is the integral of the score s times p from
the left end, or minus that from the right end,

    B(x) = int_x^right s(t) p(t)/p(x) dt = -int_left^x s(t) p(t)/p(x) dt,

and these functions are little more than that, with the density in a coordinate in which its support is the whole line
(log x, logit x), where B becomes the relative weight w.  The side is the one on which s has one sign.  Accurate to
about 1e-11, slow, and nothing like the recipes of weights.h and weights_univariate.h.
"""

import numpy as np
import scipy.special as sp

__all__ = [
    "beta_weight",
    "beta_weight_derivatives",
    "continuous_bernoulli_weight",
    "gamma_weight",
    "gamma_weight_derivatives",
    "inverse_gaussian_weight",
    "student_t_weight",
    "truncated_normal_weight",
    "von_mises_weight",
]


def half_line(integrand, scale):
    """int_0^inf integrand(s) ds by the exp-sinh rule around s = scale; integrand maps (n, nodes) to (n, nodes)."""
    u = np.linspace(-4.6, 4.6, 1601)
    s = np.asarray(scale)[:, None] * np.exp(np.pi / 2 * np.sinh(u))
    jacobian = s * (np.pi / 2) * np.cosh(u) * (u[1] - u[0])
    with np.errstate(all="ignore"):
        values = integrand(s) * jacobian
    return np.sum(np.where(np.isfinite(values), values, 0.0), axis=1)


def interval(integrand, width):
    """int_0^width integrand(s) ds by Gauss and Legendre, in 16 panels of 20 points."""
    node, weight = np.polynomial.legendre.leggauss(20)
    unit = ((np.arange(16)[:, None] + (node + 1) / 2) / 16).ravel()
    weights = np.tile(weight / 32, 16)
    return width * np.sum(integrand(np.asarray(width)[:, None] * unit) * weights, axis=1)


def columns(*arrays):
    return [np.asarray(v, dtype=float)[:, None] for v in arrays]


def _gamma_sides(shape, x, log_x):
    """The weight as two integrals: over t = log x - s, and over t = x (1 + s), where the tails are exponential.

    Each is (score(s), log p(t)/p(x), log(t/x)).
    """
    a, x, z = columns(shape, x, log_x)
    score = z - sp.digamma(a)
    left = (lambda s: score - s), (lambda s: -a * s - x * np.expm1(-s)), (lambda s: -s)
    right = (lambda s: score + np.log1p(s)), (lambda s: (a - 1) * np.log1p(s) - x * s), np.log1p
    return left, right


def _gamma_integral(shape, x, log_x, integrand):
    scale = 1 / (np.abs(shape - x) + np.sqrt(shape) + 1e-3)
    left, right = (half_line(lambda s: integrand(side, s) * np.exp(side[1](s)), scale)  # noqa: B023
                   for side in _gamma_sides(shape, x, log_x))  # fmt: skip
    return np.where(log_x <= sp.digamma(shape), -left, right)


def gamma_weight(shape, x, log_x):
    """w with B_shape = x w, rate 1."""
    return _gamma_integral(shape, x, log_x, lambda side, s: side[0](s))


def gamma_weight_derivatives(shape, x, log_x):
    """dB/dx, from the continuity equation, and dw/dshape, under the integral."""
    slope = sp.polygamma(1, shape)[:, None]
    by_shape = _gamma_integral(shape, x, log_x, lambda side, s: side[2](s) * side[0](s) - slope)
    w = gamma_weight(shape, x, log_x)
    return sp.digamma(shape) - log_x + w * (x - shape + 1), by_shape


def _beta_sides(a, b, x, y, log_x):
    """(side, score, log x'/x, log y'/y, log p(x')/p(x), scale) on both sides of x, logit x' = logit x -+ s."""
    scale = 1 / (np.sqrt(1 / (1 / a + 1 / b)) + np.abs(a - (a + b) * x) + 1e-3)
    a, b, x, y, z = columns(a, b, x, y, log_x)
    score = z - sp.digamma(a) + sp.digamma(a + b)

    def side(sign):
        # x' = x / (x + y e^-s) on the right; on the left x and y change places
        def logs(s):
            u, v = (x, y) if sign > 0 else (y, x)
            near = np.where(s < 1, np.log1p(v * np.expm1(-np.minimum(s, 1))), np.log(u + v * np.exp(-s)))
            return (-near, -s - near) if sign > 0 else (-s - near, -near)

        return logs, (lambda s: score + logs(s)[0]), (lambda s: a * logs(s)[0] + b * logs(s)[1])

    return score[:, 0] <= 0, side(-1), side(+1), scale


def _beta_one(a, b, x, y, log_x):
    below, (_, s0, e0), (_, s1, e1), scale = _beta_sides(a, b, x, y, log_x)
    left = -half_line(lambda s: s0(s) * np.exp(e0(s)), scale)
    return np.where(below, left, half_line(lambda s: s1(s) * np.exp(e1(s)), scale))


def beta_weight(a, b, x, y, log_x, log_y):
    """w_a, w_b with B_a = x y w_a and B_b = -x y w_b."""
    return _beta_one(a, b, x, y, log_x), _beta_one(b, a, y, x, log_y)


def beta_weight_derivatives(a, b, x, y, log_x):
    """dB_a/dx, from the continuity equation, dw/da and dw/db, under the integral."""
    below, left, right, scale = _beta_sides(a, b, x, y, log_x)
    total = sp.polygamma(1, a + b)[:, None]
    first = total - sp.polygamma(1, a)[:, None]

    def integral(side, sign, in_a):
        logs, score, exponent = side
        change = first if in_a else total
        return sign * half_line(lambda s: (change + score(s) * logs(s)[0 if in_a else 1]) * np.exp(exponent(s)), scale)

    by_a, by_b = (np.where(below, integral(left, -1.0, in_a), integral(right, 1.0, in_a)) for in_a in (True, False))
    w = _beta_one(a, b, x, y, log_x)
    slope = sp.digamma(a) - sp.digamma(a + b) - log_x + w * ((a + b) * x - a + (y - x))
    return slope, by_a, by_b


# -- the others -------------------------------------------------------------------------------------------------------


def student_t_weight(df, t):
    """B_df, odd in t; the integral over the tail beyond |t|, in log t."""
    v, size = columns(df, np.maximum(np.abs(t), 1e-300))
    constant = (sp.digamma((v + 1) / 2) - sp.digamma(v / 2) - 1 / v) / 2

    def integrand(s):  # at |t| + s
        x2 = (size + s) ** 2
        ratio = np.exp(-(v + 1) / 2 * np.log1p(s * (2 * size + s) / (v + size**2)))
        return ratio * (constant - np.log1p(x2 / v) / 2 + (v + 1) / 2 * x2 / v / (v + x2))

    return np.sign(t) * half_line(integrand, (1 + np.abs(t)) / (1 + np.minimum(np.abs(t), np.sqrt(df)) ** 2))


def von_mises_weight(kappa, x):
    """B_kappa, mean 0, odd in x."""
    k, size = columns(kappa, np.abs(x))
    ratio = sp.i1e(k) / sp.i0e(k)
    inner = np.cos(size[:, 0]) > ratio[:, 0]
    # the integrand dies out over 40 / (kappa sin x) or 9 / sqrt kappa
    width = np.where(inner, size[:, 0], np.pi - size[:, 0])
    layer = np.minimum(width, 40 / (k * np.sin(size) + 1e-300)[:, 0])

    def integrand(s):
        angle = np.where(inner[:, None], size - s, size + s)
        exponent = 2 * k * np.sin((size - angle) / 2) * np.sin((size + angle) / 2)
        return np.exp(exponent) * (np.cos(angle) - ratio)

    value = interval(integrand, np.where(inner, width, layer))
    return np.sign(x) * np.where(inner, -value, value)


def inverse_gaussian_weight(mean, concentration, x):
    """B_mean = (2/mean^2) sqrt(c x^3) R(q); B_concentration = (x - mean B_mean)/c, R the Mills ratio."""
    root = np.sqrt(concentration / x)
    mills = np.sqrt(np.pi / 2) * sp.erfcx(root * (x / mean + 1) / np.sqrt(2))
    by_mean = 2 * (x / mean) * root * mills * (x / mean)
    return by_mean, (x - mean * by_mean) / concentration


def truncated_normal_weight(z, low, high, above, below):
    """B with loc, scale, low and high in standardised units: integrals of the score over [low, z] or [z, high]."""
    flip = above > below
    s, start, width = np.where(flip, below, above), np.where(flip, -high, low), above + below
    at = np.where(flip, -z, z)
    cut = 40 / (np.maximum(start, 0) + 3)
    finite, reach = np.minimum(width, cut + s), np.minimum(s, 12.0)
    lo, zz, ss = columns(start, at, s)
    # density over its value at z, at a distance v above the start of the support, or r below z
    outward = lambda v: np.exp((ss - v) * (lo + (ss + v) / 2))
    mass = interval(outward, finite)
    mean = interval(lambda v: outward(v) * v, finite) / mass
    square = interval(lambda v: outward(v) * v * (2 * lo + v), finite) / mass
    inward = lambda r: np.exp(r * (zz - r / 2))
    gap, gap2 = columns(mean - s, square - s * (2 * start + s))
    loc = interval(lambda r: inward(r) * (gap + r), reach)
    scale = interval(lambda r: inward(r) * (gap2 + r * (2 * zz - r)), reach)
    part = interval(inward, reach) / mass
    near = (1 - part) * np.exp(s * (at + start) / 2)
    far = part * np.exp(-(width - s) * (width + start + at) / 2)
    return loc, np.where(flip, -scale, scale), np.where(flip, far, near), np.where(flip, near, far)


def continuous_bernoulli_weight(eta, x):
    """B_eta = [expm1(-eta x)/expm1(-eta) - x]/eta, its limit x (1 - x)/2 at eta = 0."""
    safe = np.where(np.abs(eta) < 1e-5, 1.0, eta)
    near = x * (1 - x) / 2 * (1 + eta * (1 - 2 * x) / 6)
    return np.where(np.abs(eta) < 1e-5, near, (np.expm1(-safe * x) / np.expm1(-safe) - x) / safe)
