"""Differences and ratios of special functions that lose digits when formed from SciPy's."""

from __future__ import annotations

import numpy as np
from scipy import special

LOG_2PI = float(np.log(2.0 * np.pi))
EULER = float(np.euler_gamma)

# B_2k / (2k (2k - 1)) and B_2k / 2k, k = 1..10: Stirling's series (DLMF 5.11.1, 5.11.2)
_BERNOULLI = special.bernoulli(32)[2::2]
_EVEN = 2.0 * np.arange(1, 17)
_STIRLING = (_BERNOULLI / (_EVEN * (_EVEN - 1.0)))[:10]
_DIGAMMA = (_BERNOULLI / _EVEN)[:10]
_LARGE = 12.0


def _series(coefficients, z):
    """sum_k coefficients[k] z^k by Horner's rule."""
    total = np.full_like(z, coefficients[-1])
    for c in coefficients[-2::-1]:
        total *= z
        total += c
    return total


# x - log(1 + x) = s (x - s^2 sum_k c_k s^2k), s = x / (2 + x), from log(1 + x) = 2 artanh s
_ARTANH = 2.0 / np.arange(3.0, 17.0, 2.0)
_NEAR = 0.1


def standardised(x, loc, scale) -> np.ndarray:
    """(x - loc) / scale of finite numbers, by halves where the difference overflows."""
    with np.errstate(over="ignore"):
        d = x - loc
        far = np.isinf(d)
        if not far.any():
            return d / scale
        return np.where(far, 2.0 * ((0.5 * x - 0.5 * loc) / scale), d / scale)


def log_gap(x) -> np.ndarray:
    """x - log(1 + x) >= 0, to full relative precision however small x is."""
    x = np.asarray(x, dtype=np.float64)
    near = np.clip(x, -_NEAR, _NEAR)
    s = near / (2.0 + near)
    series = s * (near - s * s * _series(_ARTANH, s * s))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(x) < _NEAR, series, x - np.log1p(x))


def exp_gap(x) -> np.ndarray:
    """e^x - 1 - x >= 0, to full relative precision however small x is."""
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.expm1(x)
        return np.where(np.abs(x) < _NEAR, log_gap(y), y - x)


def log_ratio(a, b, difference=None) -> np.ndarray:
    """log(a / b) of positive numbers, to full relative precision however near to each other they are.

    difference : a - b, where it is known better than from a and b.
    """
    with np.errstate(over="ignore"):
        d = (a - b if difference is None else difference) / b
    return np.where(np.abs(d) < 0.5, np.log1p(np.clip(d, -0.5, 0.5)), np.log(a) - np.log(b))


# Gauss-Legendre on [0, 1/16] and [1/16, 1]: an integrand that falls fast has its panel near 0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_HALVES = np.array([[1.0], [15.0]]) / 32.0
_PATH = list(zip((np.array([[1.0], [17.0]]) / 32.0 + _HALVES * _NODES).ravel(), (_HALVES * _WEIGHTS).ravel()))


def bregman(f, slope, curvature, a, d) -> np.ndarray:
    """f(a + d) - f(a) - f'(a) d >= 0 of a convex function from f, f' and f'', for each element of a and d.

    Where that difference is below 1/1000 of its terms, it is integrated: d^2 int_0^1 (1 - t) f''(a + t d) dt, all of
    whose terms are positive.
    """
    terms = f(a + d), -f(a), -slope(a) * d
    plain = sum(terms)
    cancels = ~(plain > 1e-3 * sum(np.abs(v) for v in terms))
    if not np.any(cancels):
        return plain
    return np.where(cancels, d * sum(w * (1.0 - t) * curvature(a + t * d) for t, w in _PATH) * d, plain)


def log_minus_digamma(a) -> np.ndarray:
    """log a - psi(a) > 0, to full relative precision for every a > 0."""
    a = np.asarray(a, dtype=np.float64)
    return np.where(a >= _LARGE, 0.5 / a + _digamma_tail(a), np.log(a) - special.digamma(a))


def _digamma_tail(a):
    """log a - psi(a) - 1/(2 a), for a above 12."""
    z = np.maximum(a, _LARGE) ** -2.0
    return z * _series(_DIGAMMA, z)


def log_minus_digamma_fall(a, s) -> np.ndarray:
    """L(a) - L(a + s) > 0, L = log - psi, for s > 0: 1/a - 1/(a + s) is formed exactly."""
    far = 0.5 * s / (a * (a + s)) + (_digamma_tail(a) - _digamma_tail(a + s))
    return np.where(a >= _LARGE, far, log_minus_digamma(a) - log_minus_digamma(a + s))


def trigamma_minus_inverse(a) -> np.ndarray:
    """psi'(a) - 1/a > 0: minus the derivative of log a - psi(a)."""
    a = np.asarray(a, dtype=np.float64)
    large = np.maximum(a, _LARGE)
    far = large**-2.0 * (0.5 + _series(_BERNOULLI[:10], large**-2.0) / large)
    return np.where(a >= _LARGE, far, special.polygamma(1, a) - 1.0 / a)


def inverse_digamma(y) -> np.ndarray:
    """The a > 0 with psi(a) = y: five Newton steps from Minka's start (2000, "Estimating a Dirichlet distribution")."""
    y = np.asarray(y, dtype=np.float64)
    a = np.where(y > -2.22, np.exp(np.maximum(y, -2.22)) + 0.5, -1.0 / (np.minimum(y, -2.22) - special.digamma(1.0)))
    for _ in range(5):
        a = a - (special.digamma(a) - y) / special.polygamma(1, a)
    return a


def stirling_error(a) -> np.ndarray:
    """log Gamma(a) - [(a - 1/2) log a - a + 1/2 log 2 pi]."""
    a = np.asarray(a, dtype=np.float64)
    large = np.maximum(a, _LARGE)
    with np.errstate(invalid="ignore", over="ignore"):
        near = special.gammaln(a) - (a - 0.5) * np.log(a) + a - 0.5 * LOG_2PI
    return np.where(a >= _LARGE, _series(_STIRLING, large**-2.0) / large, near)


def log_gamma_remainder(a) -> np.ndarray:
    """log Gamma(a) - a log a + a, a convex function: minus log a - psi(a) is its slope."""
    return 0.5 * (LOG_2PI - np.log(a)) + stirling_error(a)


def log_gamma_rise(a, s) -> np.ndarray:
    """log Gamma(a + s) - log Gamma(a), s >= 0."""
    rise = (a + s - 0.5) * np.log1p(s / a) - s + s * np.log(a)
    return rise + (stirling_error(a + s) - stirling_error(a))


def log_gamma_divergence(a, d) -> np.ndarray:
    """Kullback-Leibler divergence from a gamma distribution with shape a to that with shape a + d and the same mean.

    The Bregman divergence of log Gamma(a) - a log a + a.
    """
    return bregman(log_gamma_remainder, lambda v: -log_minus_digamma(v), trigamma_minus_inverse, a, d)


def log_gamma_density(a, x, log_x) -> np.ndarray:
    """a log x - x - log Gamma(a), the log density of log x for x ~ Gamma(a, 1).

    For large a it is -a (d - log(1 + d)) plus logarithms, d = x/a - 1, so that the terms of size a log a never meet
    (Loader 2000, "Fast and accurate computation of binomial probabilities").
    """
    large = np.asarray(a >= _LARGE)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        small = np.asarray(0.0) if large.all() else a * log_x - x - special.gammaln(a)
        if not large.any():
            return small
        d = (x - a) / a
        deviance = np.where(np.abs(d) < 0.5, log_gap(d), d - (log_x - np.log(a)))
        return np.where(large, -a * deviance - log_gamma_remainder(a), small)


# log Gamma(1 + 2 e) - 2 log Gamma(1 + e) = sum_n (-1)^n (2^n - 2) zeta(n) / n e^n
_POWERS = np.arange(2.0, 20.0)
_CURVATURE = np.append([0.0, 0.0], (-1.0) ** _POWERS * (2.0**_POWERS - 2.0) * special.zeta(_POWERS) / _POWERS)


def log_gamma_curvature(e) -> np.ndarray:
    """log Gamma(1 + 2 e) - 2 log Gamma(1 + e), e > 0, to full relative precision."""
    near = np.minimum(e, 0.05)
    return np.where(
        e < 0.05, _series(_CURVATURE, near), special.gammaln(1.0 + 2.0 * e) - 2.0 * special.gammaln(1.0 + e)
    )


def log_poisson_density(k, rate, log_rate) -> np.ndarray:
    """k log rate - rate - log k!."""
    return log_gamma_density(k + 1.0, rate, log_rate) - log_rate


def log_poisson_mode(k) -> np.ndarray:
    """log of the Poisson probability of k under the rate k, which makes it largest; 0 at 0."""
    positive = np.maximum(k, 1.0)
    return np.where(k > 0, log_poisson_density(positive, positive, np.log(positive)), 0.0)


def beta_distribution(a, b, x, y) -> np.ndarray:
    """The regularised incomplete beta function I_x(a, b), y = 1 - x.

    From 1e10 on Temme's expansion (DLMF 8.18.9), whose next term is below rounding, where SciPy's takes long.
    """
    n = a + b
    p, q, large = a / n, b / n, np.minimum(a, b) >= 1e10
    if not np.any(large):
        return special.betainc(a, b, x)
    d = np.where(x < y, x - p, q - y)
    half_square = p * log_gap(np.maximum(d / p, -1.0)) + q * log_gap(np.maximum(-d / q, -1.0))
    eta, root = np.sign(d) * np.sqrt(2.0 * half_square), np.sqrt(p) * np.sqrt(q)
    with np.errstate(all="ignore"):
        first = np.where(np.abs(d) < 1e-9 * root, (q - p) / (3.0 * root), 1.0 / eta - root / d)
        density = np.exp(-n * half_square) / np.sqrt(2.0 * np.pi) / np.sqrt(n)
        far = special.ndtr(np.sqrt(n) * eta) + np.where(density > 0.0, density * first, 0.0)
        return np.where(large, far, special.betainc(np.where(large, 1.0, a), np.where(large, 1.0, b), x))


def gamma_entropy(a) -> np.ndarray:
    """Entropy of Gamma(a, 1): a + log Gamma(a) + (1 - a) psi(a)."""
    return 0.5 * (LOG_2PI + np.log(a)) + stirling_error(a) + (a - 1.0) * log_minus_digamma(a)


def log_bessel(kappa) -> np.ndarray:
    """log I0(kappa) - kappa, a convex function."""
    return np.log(special.i0e(kappa))


def bessel_ratio(kappa) -> np.ndarray:
    """A(kappa) = I1(kappa) / I0(kappa), the mean resultant length of the von Mises distribution."""
    return special.i1e(kappa) / special.i0e(kappa)


def _ratio_complement_coefficients(n):
    """1 - A(kappa) ~ sum_j c_j kappa^-j, from the Riccati equation A' = 1 - A/kappa - A^2."""
    c = np.zeros(n + 1)
    for j in range(1, n + 1):
        c[j] = 0.5 * ((j - 2) * c[j - 1] + (j == 1) + sum(c[i] * c[j - i] for i in range(1, j)))
    return c


_COMPLEMENT = _ratio_complement_coefficients(20)
_BESSEL_LARGE = 40.0


def bessel_ratio_complement(kappa) -> np.ndarray:
    """1 - A(kappa), to full relative precision however large kappa is."""
    kappa = np.asarray(kappa, dtype=np.float64)
    far = _series(_COMPLEMENT, 1.0 / np.maximum(kappa, _BESSEL_LARGE))
    return np.where(kappa >= _BESSEL_LARGE, far, 1.0 - bessel_ratio(kappa))


def bessel_ratio_slope(kappa) -> np.ndarray:
    """A'(kappa) = 1 - A/kappa - A^2, the variance of cos x."""
    kappa = np.asarray(kappa, dtype=np.float64)
    large = np.maximum(kappa, _BESSEL_LARGE)
    far = _series(_COMPLEMENT * np.arange(len(_COMPLEMENT)), 1.0 / large) / large
    a = bessel_ratio(kappa)
    return np.where(kappa >= _BESSEL_LARGE, far, 1.0 - bessel_ratio_over(kappa) - a * a)


def bessel_ratio_over(kappa) -> np.ndarray:
    """A(kappa) / kappa, 1/2 at 0: the variance of sin x."""
    kappa = np.asarray(kappa, dtype=np.float64)
    small = 0.5 * (1.0 - special.ive(2, kappa) / special.i0e(kappa))
    return np.where(kappa < 1.0, small, bessel_ratio(kappa) / np.maximum(kappa, 1.0))


# E x - 1/2 = sum_k B_2k eta^(2k-1) / (2k)! for the density proportional to e^(eta x) on (0, 1)
_TILT = _BERNOULLI / special.factorial(_EVEN)
_TILT_SMALL = 1.5
TILTED_LOG_PARTITION = _TILT / _EVEN
"""log((e^eta - 1) / eta) = eta/2 + sum_k of these times eta^2k, k = 1, 2, ..."""


def tilted_uniform_log_partition(eta) -> np.ndarray:
    """log((e^eta - 1) / eta), 0 at 0."""
    eta = np.asarray(eta, dtype=np.float64)
    a = np.maximum(np.abs(eta), 1e-300)
    return np.maximum(eta, 0.0) + np.log(-np.expm1(-a) / a)


def tilted_uniform_mean(eta) -> np.ndarray:
    """1/(1 - e^-eta) - 1/eta, 1/2 at 0."""
    eta = np.asarray(eta, dtype=np.float64)
    near = np.clip(eta, -_TILT_SMALL, _TILT_SMALL)
    a = np.maximum(np.abs(eta), _TILT_SMALL)
    upper = -1.0 / np.expm1(-a) - 1.0 / a
    lower = 1.0 / a - np.exp(-a) / -np.expm1(-a)
    far = np.where(eta > 0, upper, lower)
    return np.where(np.abs(eta) < _TILT_SMALL, 0.5 + near * _series(_TILT, near * near), far)


def tilted_uniform_variance(eta) -> np.ndarray:
    """1/eta^2 - 1/(4 sinh^2(eta/2)), 1/12 at 0."""
    eta = np.asarray(eta, dtype=np.float64)
    near = np.clip(eta, -_TILT_SMALL, _TILT_SMALL)
    a = np.maximum(np.abs(eta), _TILT_SMALL)
    far = a**-2.0 - np.exp(-a) / np.expm1(-a) ** 2
    return np.where(np.abs(eta) < _TILT_SMALL, _series(_TILT * (_EVEN - 1.0), near * near), far)


def scaled_exponential_integral(s) -> np.ndarray:
    """e^s E1(s), s > 0."""
    s = np.asarray(s, dtype=np.float64)
    small = np.minimum(s, 100.0)
    large = np.maximum(s, 100.0)
    far = np.ones_like(large)
    for k in range(20, 0, -1):  # E1's asymptotic series, DLMF 6.12.1
        far = 1.0 - k * far / large
    return np.where(s <= 100.0, np.exp(small) * special.exp1(small), far / large)


def log_multigamma(a, d) -> float:
    """log of the multivariate gamma function of order d."""
    return float(0.25 * d * (d - 1) * np.log(np.pi) + special.gammaln(a - 0.5 * np.arange(d)).sum())
