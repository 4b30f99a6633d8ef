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
    total = np.zeros_like(z)
    for c in coefficients[::-1]:
        total = total * z + c
    return total


def log_minus_digamma(a) -> np.ndarray:
    """log a - psi(a) > 0, to full relative precision for every a > 0."""
    a = np.asarray(a, dtype=np.float64)
    large = np.maximum(a, _LARGE)
    far = 0.5 / large + _series(_DIGAMMA, large**-2.0) / large**2
    return np.where(a >= _LARGE, far, np.log(a) - special.digamma(a))


def trigamma_minus_inverse(a) -> np.ndarray:
    """psi'(a) - 1/a > 0: minus the derivative of log a - psi(a)."""
    a = np.asarray(a, dtype=np.float64)
    large = np.maximum(a, _LARGE)
    far = 0.5 / large**2 + _series(_BERNOULLI[:10], large**-2.0) / large**3
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
    near = special.gammaln(a) - (a - 0.5) * np.log(a) + a - 0.5 * LOG_2PI
    return np.where(a >= _LARGE, _series(_STIRLING, large**-2.0) / large, near)


def log_gamma_density(a, x, log_x) -> np.ndarray:
    """a log x - x - log Gamma(a), the log density of log x for x ~ Gamma(a, 1).

    For large a it is -a (d - log(1 + d)) plus logarithms, d = x/a - 1, so that the terms of size a log a never meet
    (Loader 2000, "Fast and accurate computation of binomial probabilities").
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        d = (x - a) / a
        near = -a * (d - np.log1p(d)) + 0.5 * (np.log(a) - LOG_2PI) - stirling_error(a)
        plain = a * log_x - x - special.gammaln(a)
    return np.where((a >= _LARGE) & (np.abs(d) < 0.5), near, plain)


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
