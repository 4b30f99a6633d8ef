"""The gamma and beta families, whose transport weights share one expansion."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import special

from sbpfast._likelihood import MLEDoesNotExist
from sbpfast.expfam import _statistics, _weights
from sbpfast.expfam._base import POSITIVE, Formulas, Parameter, Validity
from sbpfast.expfam._continuous import Continuous
from sbpfast.expfam._exponential import ExponentialFamily
from sbpfast.expfam._families._elementary import positive_data
from sbpfast.expfam._functions import (
    bregman,
    exp_gap,
    gamma_entropy,
    inverse_digamma,
    log_gamma_density,
    log_gamma_divergence,
    log_gamma_remainder,
    log_minus_digamma,
    log_ratio,
    trigamma_minus_inverse,
)
from sbpfast.expfam._points import Points
from sbpfast.expfam._statistics import Gap, Solution, newton_scalar, newton_vector, require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_NARROW = 1e14  # both shapes of a beta beyond which its excess kurtosis is below rounding
_TINY = -36.0  # of log x: below it the leading term of a distribution function is all of it


def gamma_quantile(shape, lower, upper) -> tuple[np.ndarray, np.ndarray]:
    """x and log x of Gamma(shape, 1) at the probabilities lower = F(x) and upper = 1 - F(x).

    log x is finite where x underflows: there F = x^a / Gamma(a + 1).
    """
    leading = (np.log(lower) + special.gammaln(shape + 1.0)) / shape
    x = np.where(upper < lower, special.gammainccinv(shape, upper), special.gammaincinv(shape, lower))
    with np.errstate(divide="ignore"):
        log_x = np.where(leading < _TINY, leading, np.log(x))
    return np.exp(log_x), log_x


def beta_quantile(a, b, lower, upper) -> tuple[np.ndarray, np.ndarray]:
    """x and log x of Beta(a, b), to full relative precision for x below 1/2; log x is finite as in `gamma_quantile`."""
    narrow = np.minimum(a, b) > _NARROW
    p, q = (np.where(narrow, 1.0, shape) for shape in (a, b))
    leading = (np.log(lower) + np.log(p) + special.betaln(p, q)) / p  # F = x^a / (a Beta(a, b)) where b x is small too
    x = np.where(upper < lower, special.betainccinv(p, q, upper), special.betaincinv(p, q, lower))
    x = np.where(narrow, _narrow_beta_quantile(a, b, lower, upper), x)
    with np.errstate(divide="ignore"):
        log_x = np.where((leading + np.log1p(q) < _TINY) & ~narrow, leading, np.log(x))
    return np.exp(log_x), log_x


def _narrow_beta_quantile(a, b, lower, upper):
    """Of shapes so large that the law is normal but for its skewness: Cornish and Fisher's first two terms.

    SciPy's takes tens of milliseconds there, or returns NaN.
    """
    z = np.where(upper < lower, -special.ndtri(upper), special.ndtri(lower))
    with np.errstate(over="ignore"):
        ratio = b / a
    spread = np.sqrt(ratio / (1.0 + ratio) / a)  # sd over mean
    skewness = (ratio - 1.0) / (ratio + 1.0) * 2.0 / (np.sqrt(a) * np.sqrt(ratio / (1.0 + ratio)))
    return (1.0 + spread * (z + skewness / 6.0 * (z * z - 1.0))) / (1.0 + ratio)


def solve_gamma_shape(gap, family) -> tuple[np.ndarray, int, float]:
    """The shape a with log a - psi(a) = gap, by Newton's method in log a."""
    require(
        gap > 1e-24,  # a spread of 1e-12 of the mean, which its own rounding begins to blur
        family,
        "log of the mean must exceed the mean of the log: the observations are equal, or too nearly so",
    )
    start = (3.0 - gap + np.sqrt((gap - 3.0) ** 2 + 24.0 * gap)) / (12.0 * gap)  # Minka 2002

    def gradient(v):
        return gap - log_minus_digamma(np.exp(v))

    def slope(v):
        a = np.exp(v)
        return a * trigamma_minus_inverse(a)

    v, iterations, _ = newton_scalar(gradient, slope, np.log(start), -np.inf, np.inf)
    a = np.exp(v)
    residual = gap - log_minus_digamma(a)
    return a, iterations, float(np.sum(residual**2 / trigamma_minus_inverse(a)))


def gamma_divergence(a, rate, other_a, other_rate) -> np.ndarray:
    """KL(Gamma(a, rate) || Gamma(other_a, other_rate)): by the means, then between gammas of one mean.

    Neither part is a difference of large terms.
    """
    by_mean = exp_gap(log_ratio(a, other_a) + log_ratio(other_rate, rate))
    return other_a * by_mean + log_gamma_divergence(a, other_a - a)


def gamma_solve(a, b, by_shape, by_rate) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of the Fisher information ((psi'(a), -1/b), (-1/b, a/b^2)), times a vector."""
    shape = (by_shape + b / a * by_rate) / trigamma_minus_inverse(a)
    return shape, b / a * (shape + b * by_rate)


class Gamma(ExponentialFamily, Continuous):
    """Gamma distribution with a shape and a rate."""

    parameters = (
        Parameter("shape", POSITIVE, "Shape a."),
        Parameter("rate", POSITIVE, "Rate b, the inverse of the scale."),
    )
    formulas = Formulas(
        support="x >= 0", density="b^a x^(a - 1) exp(-b x) / Gamma(a)",
        eta="(a - 1, -b)", u="(log x, x)", h="1", A="log Gamma(a) - a log b",
        product=(
            "valid for a < 1; at a = 1 for rate with the boundary term f(0) / b, never for shape; "
            "never for a > 1 (pole at the mode, (a - 1) / b)"
        ),
    )  # fmt: skip
    example: ClassVar = {"shape": 2.3, "rate": 1.7}
    _k = 2
    _gap = Gap(lambda t, c: t.x, _statistics.log_divergence, lambda m: [m[1], np.log(m[1]) - m[0]], compiled=True)

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _eta(p):
        return [p.shape - 1.0, -p.rate]

    @staticmethod
    def _source(eta, c):
        return {"shape": eta[0] + 1.0, "rate": -eta[1]}

    @staticmethod
    def _partition(p):
        return log_gamma_remainder(p.shape) + p.shape * (log_ratio(p.shape, p.rate) - 1.0)

    @staticmethod
    def _mean(p):
        return [special.digamma(p.shape) - np.log(p.rate), p.shape / p.rate]

    @staticmethod
    def _hessian(p):
        return [[special.polygamma(1, p.shape), 1.0 / p.rate], [1.0 / p.rate, p.shape / p.rate**2]]

    @staticmethod
    def _u(t, p):
        return [t.log_x, t.x]

    @staticmethod
    def _log_prob(t, p):
        inside = log_gamma_density(p.shape, p.rate * t.x, np.log(p.rate) + t.log_x) - t.log_x
        at_zero = np.where(p.shape < 1.0, np.inf, np.where(p.shape == 1.0, np.log(p.rate), -np.inf))
        return np.where(t.log_x == -np.inf, at_zero, inside)

    @staticmethod
    def _slopes(t, p):
        return (p.shape - 1.0) / t.x - p.rate, -(p.shape - 1.0) / t.x**2

    @staticmethod
    def _score(t, p):
        return {"shape": np.log(p.rate) + t.log_x - special.digamma(p.shape), "rate": p.shape / p.rate - t.x}

    @staticmethod
    def _score_slopes(t, p):
        return {"shape": 1.0 / t.x, "rate": -1.0}

    @staticmethod
    def _transport(t, p):
        w = _weights.gamma_weight(p.shape, p.rate * t.x, np.log(p.rate) + t.log_x, t.n_threads)
        return {"shape": _weights.scaled(t.x, w), "rate": -t.x / p.rate}

    def transport_derivatives(self, x: ArrayLike) -> dict[str, dict[str, np.ndarray]]:
        """Derivatives of the transport weights, for second derivatives of E[f].

        Returns
        -------
        dict of dict of ndarray (n, d)
            ``out[i][j]`` is dB_i/dparameter_j, and ``out[i]["x"]`` is dB_i/dx.  The Hessian of E f is
            E[B_i B_j f'' + (dB_i/dparameter_j + B_j dB_i/dx) f'].
        """
        t, p = self._points(x), self._p
        arguments = p.shape, p.rate * t.x, np.log(p.rate) + t.log_x, t.n_threads
        w, (slope, by_shape) = _weights.gamma_weight(*arguments), _weights.gamma_weight_derivatives(*arguments)
        scaled, at_end = t.x / p.rate, t.x == 0.0
        slope = np.where(at_end, np.inf, slope)
        return {
            "shape": {
                "x": slope,
                "shape": _weights.scaled(t.x, by_shape),
                "rate": np.where(at_end, 0.0, scaled * (slope - w)),
            },
            "rate": {
                "x": np.broadcast_to(-1.0 / p.rate, t.x.shape),
                "shape": np.zeros_like(t.x),
                "rate": scaled / p.rate,
            },
        }

    @classmethod
    def _product_rule(cls, p):
        a, b = p.shape, p.rate
        mode = np.maximum(a - 1.0, 0.0) / b
        reason = "for shape 1 the boundary term diverges, and above 1 Btilde has a pole at the mode, x = {pole:.6g}"
        end = np.where(a == 1.0, 1.0 / b, 0.0)
        return {"shape": Validity(a < 1.0, reason, mode), "rate": Validity(a <= 1.0, reason, mode, ((0.0, end),))}

    @classmethod
    def _quantiles(cls, u, p):
        x, log_x = gamma_quantile(p.shape, u, 1.0 - u)
        return Points(x / p.rate, log_x=log_x - np.log(p.rate))

    @classmethod
    def _draw_points(cls, streams, p):
        x, log_x = streams.gammas(p.shape)
        x /= p.rate
        log_x -= np.log(p.rate)
        return Points(x, log_x=log_x, n_threads=streams.n_threads)

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean must be positive")
        shape, iterations, gap = solve_gamma_shape(s[1], cls.__name__)
        return Solution({"shape": shape, "rate": shape / s[0]}, iterations, gap)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        return cls._log_prob(Points(s[0]), p) - (p.shape - 1.0) * s[1]

    @classmethod
    def _entropy(cls, p):
        return gamma_entropy(p.shape) - np.log(p.rate)

    @classmethod
    def _kl(cls, p, q):
        return gamma_divergence(p.shape, p.rate, q.shape, q.rate)

    @staticmethod
    def _inverse_fisher(p, grads):
        shape, rate = gamma_solve(p.shape, p.rate, grads["shape"], grads["rate"])
        return {"shape": shape, "rate": rate}

    @staticmethod
    def _cdf(x, p):
        return special.gammainc(p.shape, p.rate * x)

    @staticmethod
    def _moments(p):
        return p.shape / p.rate, p.shape / p.rate / p.rate

    @staticmethod
    def _mode(p):
        return np.maximum(p.shape - 1.0, 0.0) / p.rate


class InverseGamma(ExponentialFamily, Continuous):
    """Inverse gamma distribution: 1/x is gamma distributed."""

    parameters = (Parameter("shape", POSITIVE, "Shape a."), Parameter("scale", POSITIVE, "Scale b."))
    formulas = Formulas(
        support="x > 0", density="b^a x^(-a - 1) exp(-b / x) / Gamma(a)",
        eta="(-a - 1, -b)", u="(log x, 1/x)", h="1", A="log Gamma(a) - a log b",
        product="never (pole at the mode, b / (a + 1))",
    )  # fmt: skip
    example: ClassVar = {"shape": 3.2, "scale": 1.4}
    _k = 2
    _gap = Gap(lambda t, c: 1.0 / t.x, _statistics.log_divergence, lambda m: [m[1], np.log(m[1]) + m[0]], compiled=True)

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _eta(p):
        return [-p.shape - 1.0, -p.scale]

    @staticmethod
    def _source(eta, c):
        return {"shape": -eta[0] - 1.0, "scale": -eta[1]}

    @staticmethod
    def _partition(p):
        return log_gamma_remainder(p.shape) + p.shape * (log_ratio(p.shape, p.scale) - 1.0)

    @staticmethod
    def _mean(p):
        return [np.log(p.scale) - special.digamma(p.shape), p.shape / p.scale]

    @staticmethod
    def _hessian(p):
        return [[special.polygamma(1, p.shape), -1.0 / p.scale], [-1.0 / p.scale, p.shape / p.scale**2]]

    @staticmethod
    def _u(t, p):
        return [t.log_x, 1.0 / t.x]

    @staticmethod
    def _gamma(t, p):
        """g = scale / x, a gamma variable of rate 1, and log g."""
        log_g = np.log(p.scale) - t.log_x
        return np.exp(log_g), log_g

    @classmethod
    def _log_prob(cls, t, p):
        density = log_gamma_density(p.shape, *cls._gamma(t, p)) - t.log_x
        return np.where(t.log_x == -np.inf, -np.inf, density)

    @staticmethod
    def _slopes(t, p):
        return (p.scale / t.x - p.shape - 1.0) / t.x, (p.shape + 1.0 - 2.0 * p.scale / t.x) / t.x**2

    @staticmethod
    def _score(t, p):
        return {"shape": np.log(p.scale) - t.log_x - special.digamma(p.shape), "scale": p.shape / p.scale - 1.0 / t.x}

    @staticmethod
    def _score_slopes(t, p):
        return {"shape": -1.0 / t.x, "scale": t.x**-2.0}

    @classmethod
    def _transport(cls, t, p):
        g, log_g = cls._gamma(t, p)
        w = _weights.gamma_weight(p.shape, g, log_g, t.n_threads)
        return {"shape": -_weights.scaled(t.x, w), "scale": t.x / p.scale}

    @classmethod
    def _product_rule(cls, p):
        never = Validity(False, "Btilde has a pole at the mode, x = {pole:.6g}", p.scale / (p.shape + 1.0))
        return {"shape": never, "scale": never}

    @staticmethod
    def _from_gamma(log_g, p):
        log_x = np.log(p.scale) - log_g
        with np.errstate(over="ignore"):  # a small shape sends x beyond the largest double
            return Points(np.exp(log_x), log_x=log_x)

    @classmethod
    def _quantiles(cls, u, p):
        return cls._from_gamma(gamma_quantile(p.shape, 1.0 - u, u)[1], p)

    @classmethod
    def _draw_points(cls, streams, p):
        points = cls._from_gamma(streams.gammas(p.shape)[1], p)
        points.n_threads = streams.n_threads
        return points

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean of 1/x must be positive")
        shape, iterations, gap = solve_gamma_shape(s[1], cls.__name__)
        return Solution({"shape": shape, "scale": shape / s[0]}, iterations, gap)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        return cls._log_prob(Points(1.0 / s[0]), p) - (p.shape + 1.0) * s[1]

    @classmethod
    def _entropy(cls, p):
        return gamma_entropy(p.shape) + np.log(p.scale) - 2.0 * special.digamma(p.shape)

    @classmethod
    def _kl(cls, p, q):
        return gamma_divergence(p.shape, p.scale, q.shape, q.scale)  # that of the inverses

    @staticmethod
    def _inverse_fisher(p, grads):
        shape, scale = gamma_solve(p.shape, p.scale, grads["shape"], grads["scale"])
        return {"shape": shape, "scale": scale}

    @staticmethod
    def _cdf(x, p):
        return special.gammaincc(p.shape, p.scale / x)

    @staticmethod
    def _moments(p):
        a = p.shape
        mean = np.where(a > 1.0, p.scale / (a - 1.0), np.inf)
        return mean, np.where(a > 2.0, mean * mean / (a - 2.0), np.inf)

    @staticmethod
    def _mode(p):
        return p.scale / (p.shape + 1.0)


class ChiSquare(ExponentialFamily, Continuous):
    """Chi-square distribution: x/2 is gamma distributed with shape df/2."""

    parameters = (Parameter("df", POSITIVE, "Degrees of freedom k, any positive number."),)
    formulas = Formulas(
        support="x >= 0", density="x^(k/2 - 1) exp(-x/2) / (2^(k/2) Gamma(k/2))",
        eta="k/2 - 1", u="log x", h="exp(-x/2)", A="log Gamma(k/2) + (k/2) log 2",
        product="valid for k < 2; never otherwise (pole at the mode, k - 2; at k = 2 the boundary term diverges)",
    )  # fmt: skip
    example: ClassVar = {"df": 3.7}
    _gap = Gap(
        lambda t, c: t.x, _statistics.log_divergence, lambda m: [np.exp(m[0]), np.zeros_like(m[0])], compiled=True
    )

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _eta(p):
        return [0.5 * p.df - 1.0]

    @staticmethod
    def _source(eta, c):
        return {"df": 2.0 * (eta[0] + 1.0)}

    @staticmethod
    def _partition(p):
        return special.gammaln(0.5 * p.df) + 0.5 * p.df * np.log(2.0)

    @staticmethod
    def _mean(p):
        return [special.digamma(0.5 * p.df) + np.log(2.0)]

    @staticmethod
    def _hessian(p):
        return [[special.polygamma(1, 0.5 * p.df)]]

    @staticmethod
    def _u(t, p):
        return [t.log_x]

    @staticmethod
    def _log_base(t, p):
        return -0.5 * t.x

    @staticmethod
    def _log_prob(t, p):
        inside = log_gamma_density(0.5 * p.df, 0.5 * t.x, t.log_x - np.log(2.0)) - t.log_x
        at_zero = np.where(p.df < 2.0, np.inf, np.where(p.df == 2.0, -np.log(2.0), -np.inf))
        return np.where(t.log_x == -np.inf, at_zero, inside)

    @staticmethod
    def _slopes(t, p):
        return (0.5 * p.df - 1.0) / t.x - 0.5, -(0.5 * p.df - 1.0) / t.x**2

    @staticmethod
    def _score(t, p):
        return {"df": 0.5 * (t.log_x - np.log(2.0) - special.digamma(0.5 * p.df))}

    @staticmethod
    def _score_slopes(t, p):
        return {"df": 0.5 / t.x}

    @staticmethod
    def _transport(t, p):
        w = _weights.gamma_weight(0.5 * p.df, 0.5 * t.x, t.log_x - np.log(2.0), t.n_threads)
        return {"df": _weights.scaled(0.5 * t.x, w)}

    @classmethod
    def _product_rule(cls, p):
        mode = np.maximum(p.df - 2.0, 0.0)
        reason = "for df 2 the boundary term diverges, and above 2 Btilde has a pole at the mode, x = {pole:.6g}"
        return {"df": Validity(p.df < 2.0, reason, mode)}

    @classmethod
    def _quantiles(cls, u, p):
        x, log_x = gamma_quantile(0.5 * p.df, u, 1.0 - u)
        return Points(2.0 * x, log_x=log_x + np.log(2.0))

    @classmethod
    def _draw_points(cls, streams, p):
        x, log_x = streams.gammas(0.5 * p.df)
        return Points(2.0 * x, log_x=log_x + np.log(2.0), n_threads=streams.n_threads)

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        """psi(df/2) = log(mean x/2) - gap."""
        half = 0.5 * s[0]
        target = np.log(half) - s[1]
        a, iterations, gap = newton_scalar(
            lambda a: log_ratio(a, half) + s[1] - log_minus_digamma(a),
            lambda a: special.polygamma(1, a),
            inverse_digamma(target),
            0.0,
            np.inf,
        )
        return Solution({"df": 2.0 * a}, iterations, gap)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        return cls._log_prob(Points(s[0]), p) - (0.5 * p.df - 1.0) * s[1]

    @classmethod
    def _entropy(cls, p):
        return gamma_entropy(0.5 * p.df) + np.log(2.0)

    @classmethod
    def _kl(cls, p, q):
        trigamma = functools.partial(special.polygamma, 1)
        return bregman(special.gammaln, special.digamma, trigamma, 0.5 * p.df, 0.5 * (q.df - p.df))

    @staticmethod
    def _cdf(x, p):
        return special.gammainc(0.5 * p.df, 0.5 * x)

    @staticmethod
    def _moments(p):
        return p.df, 2.0 * p.df

    @staticmethod
    def _mode(p):
        return np.maximum(p.df - 2.0, 0.0)


def dirichlet_log_density(a, x, log_x, axis=-1) -> np.ndarray:
    """log of prod x_i^(a_i - 1) / Beta(a), i along an axis: for large a that of gammas given their sum."""
    total = a.sum(axis=axis)
    large = (total >= 24.0) & (log_x.min(axis=axis) > -np.inf) & np.isfinite(total)
    plain = gammas = np.asarray(0.0)
    if not large.all():
        powers = np.where(a == 1.0, 0.0, (a - 1.0) * log_x)
        powers = np.where((powers == -np.inf).any(axis=axis), -np.inf, powers.sum(axis=axis))
        plain = powers - (special.gammaln(a).sum(axis=axis) - special.gammaln(total))
    if large.any():
        log_total = np.log(total)
        scaled, log_scaled = np.expand_dims(total, axis) * x, np.expand_dims(log_total, axis) + log_x
        gammas = (log_gamma_density(a, scaled, log_scaled) - log_x).sum(axis=axis)
        gammas = gammas - log_gamma_density(total, total, log_total)
    return np.where(large, gammas, plain)


def dirichlet_entropy(a) -> np.ndarray:
    """Of concentrations a (K, ...): the entropy of independent gammas, less that of their sum, and its scale."""
    total = a.sum(axis=0)
    return gamma_entropy(a).sum(axis=0) - gamma_entropy(total) - (len(a) - 1.0) * special.digamma(total)


def dirichlet_kl(a, b) -> np.ndarray:
    """From concentrations a (K, ...) to b: gammas of one mean, less their sum's, and the shares of the means."""
    total_a, total_b, d = a.sum(axis=0), b.sum(axis=0), (b - a).sum(axis=0)
    spread = log_gamma_divergence(a, b - a).sum(axis=0) - log_gamma_divergence(total_a, d)
    shares = (b * exp_gap(log_ratio(a, b) - log_ratio(total_a, total_b, -d))).sum(axis=0)
    return np.maximum(spread + shares, 0.0)


def dirichlet_solve(a, g) -> np.ndarray:
    """The inverse of the Fisher information diag(psi'(a)) - psi'(sum a), times g, for a and g (K, ...).

    Sherman and Morrison's formula, whose denominator 1 - psi'(sum a) sum 1/psi'(a_i) is formed from psi'(a) - 1/a:
    for large a it is (K - 1)/(2 sum a).
    """
    total, rest = a.sum(axis=0), a * trigamma_minus_inverse(a)
    inverse = a / (1.0 + rest)
    missing, slope = (inverse * rest).sum(axis=0), trigamma_minus_inverse(total)
    denominator = missing / total - slope * (total - missing)
    return inverse * (g + (1.0 / total + slope) * (inverse * g).sum(axis=0) / denominator)


def dirichlet_means(m) -> list:
    """Mean logarithms m (K, ...) as a point of the simplex, exp(m) normalised, and the gaps there."""
    level = np.maximum(m, m.max(axis=0) - 500.0)  # no coordinate may underflow
    return [special.softmax(level, axis=0), level - m - special.logsumexp(level, axis=0)]


def solve_dirichlet(centre, gap, family) -> tuple[np.ndarray, int, float]:
    """Concentrations (K,) with psi(a_i) - psi(sum a) = log centre_i - gap_i.

    The closed convex hull of the statistics log x over the simplex is {m: sum exp(m) <= 1}: the maximum exists exactly
    where sum exp(mean log x) < 1.  The unknowns are the total A and the small d_i of a_i = A centre_i e^d_i, kept
    so that sum a_i = A: concentrations of 1e15 leave d_i of 1e-15, which differences of logarithms would lose.
    """
    centre = centre / centre.sum()
    room = -(centre * np.expm1(-gap)).sum()
    if not room > 0:
        raise MLEDoesNotExist(f"{family}: the observations are all equal: the likelihood has no maximum")

    def concentrations(state):
        return state[0] * centre * np.exp(state[1:])

    def state_of(total, d):
        return np.append(total, d - np.log1p((centre * np.expm1(d)).sum()))

    def gradient(state):
        return state[1:] + gap + (log_minus_digamma(state[0]) - log_minus_digamma(concentrations(state)))

    def move(state, step):
        relative, total = step / concentrations(state), step.sum() / state[0]
        if not (relative > -1.0).all():
            return None
        return state_of(state[0] * (1.0 + total), state[1:] + np.log1p(relative) - np.log1p(total))

    mean_log = np.log(centre) - gap
    start = centre * 0.5 * (len(centre) - 1) / room  # exact as the concentrations grow
    for _ in range(30):  # Minka's fixed point (2000), as small ones are far off and Newton would overshoot
        start = inverse_digamma(special.digamma(start.sum()) + mean_log)
    state, iterations, decrement = newton_vector(
        gradient,
        lambda state, g: dirichlet_solve(concentrations(state), g),
        state_of(start.sum(), np.log(start / (start.sum() * centre))),
        move,
    )
    return concentrations(state), iterations, decrement


class Beta(ExponentialFamily, Continuous):
    """Beta distribution."""

    parameters = (Parameter("a", POSITIVE, "Power of x plus 1."), Parameter("b", POSITIVE, "Power of 1 - x plus 1."))
    formulas = Formulas(
        support="0 <= x <= 1", density="x^(a - 1) (1 - x)^(b - 1) / Beta(a, b)",
        eta="(a - 1, b - 1)", u="(log x, log(1 - x))", h="1", A="log Beta(a, b)",
        product=(
            "valid where (a - 1)(b - 1) < 0; at b = 1 for a with the term f(1) / (a - 1), at a = 1 for b with "
            "f(0) / (b - 1); never otherwise (pole at the mode or antimode, (a - 1) / (a + b - 2))"
        ),
    )  # fmt: skip
    example: ClassVar = {"a": 1.4, "b": 3.1}
    _k = 2
    _line = "unit"
    _gap = Gap(
        lambda t, c: np.stack([t.x, t.y]),
        _statistics.log_divergence,
        lambda m: dirichlet_means(np.stack(m)),
        compiled=True,
    )

    @staticmethod
    def _support(p):
        return 0.0, 1.0

    @staticmethod
    def _eta(p):
        return [p.a - 1.0, p.b - 1.0]

    @staticmethod
    def _source(eta, c):
        return {"a": eta[0] + 1.0, "b": eta[1] + 1.0}

    @staticmethod
    def _partition(p):
        return special.betaln(p.a, p.b)

    @staticmethod
    def _mean(p):
        total = special.digamma(p.a + p.b)
        return [special.digamma(p.a) - total, special.digamma(p.b) - total]

    @staticmethod
    def _hessian(p):
        total = special.polygamma(1, p.a + p.b)
        return [[special.polygamma(1, p.a) - total, -total], [-total, special.polygamma(1, p.b) - total]]

    @staticmethod
    def _u(t, p):
        return [t.log_x, t.log_y]

    @staticmethod
    def _log_prob(t, p):
        a = np.stack([p.a, p.b]).reshape(2, *(1,) * (t.x.ndim - 1), -1)
        return dirichlet_log_density(a, np.stack([t.x, t.y]), np.stack([t.log_x, t.log_y]), axis=0)

    @staticmethod
    def _slopes(t, p):
        left, right = (p.a - 1.0) / t.x, (p.b - 1.0) / t.y
        return left - right, -left / t.x - right / t.y

    @staticmethod
    def _score(t, p):
        total = special.digamma(p.a + p.b)
        return {"a": t.log_x - special.digamma(p.a) + total, "b": t.log_y - special.digamma(p.b) + total}

    @staticmethod
    def _score_slopes(t, p):
        return {"a": 1.0 / t.x, "b": -1.0 / t.y}

    @staticmethod
    def _transport(t, p):
        a, b = _weights.beta_weight(p.a, p.b, t.x, t.y, t.log_x, t.log_y, t.n_threads)
        spread = t.x * t.y
        return {"a": _weights.scaled(spread, a), "b": -_weights.scaled(spread, b)}

    def transport_derivatives(self, x: ArrayLike) -> dict[str, dict[str, np.ndarray]]:
        """Derivatives of the transport weights, for second derivatives of E[f].

        Returns
        -------
        dict of dict of ndarray (n, d)
            ``out[i][j]`` is dB_i/dparameter_j, and ``out[i]["x"]`` is dB_i/dx.  The Hessian of E f is
            E[B_i B_j f'' + (dB_i/dparameter_j + B_j dB_i/dx) f'].
        """
        t, p = self._points(x), self._p
        slope_a, aa, ab = _weights.beta_weight_derivatives(p.a, p.b, t.x, t.y, t.log_x, t.n_threads)
        slope_b, bb, ba = _weights.beta_weight_derivatives(p.b, p.a, t.y, t.x, t.log_y, t.n_threads)
        spread, total = t.x * t.y, special.digamma(p.a + p.b)
        at_0, at_1 = t.x == 0.0, t.y == 0.0
        ends_a, ends_b = (np.inf, (special.digamma(p.a) - total) / p.b), ((special.digamma(p.b) - total) / p.a, np.inf)
        slope_a, slope_b = (
            np.where(at_0, left, np.where(at_1, right, slope))
            for slope, (left, right) in ((slope_a, ends_a), (slope_b, ends_b))
        )
        return {
            "a": {"x": slope_a, "a": _weights.scaled(spread, aa), "b": _weights.scaled(spread, ab)},
            "b": {"x": slope_b, "a": -_weights.scaled(spread, ba), "b": -_weights.scaled(spread, bb)},
        }

    @classmethod
    def _product_rule(cls, p):
        a, b = p.a, p.b
        opposite = (a - 1.0) * (b - 1.0) < 0
        with np.errstate(divide="ignore", invalid="ignore"):
            pole = (a - 1.0) / (a + b - 2.0)
            ends_a = np.where((b == 1.0) & (a != 1.0), 1.0 / (a - 1.0), 0.0)
            ends_b = np.where((a == 1.0) & (b != 1.0), 1.0 / (b - 1.0), 0.0)
        reason = "Btilde has a pole at the mode or antimode, x = {pole:.6g}, or the boundary term diverges"
        return {
            "a": Validity(opposite | (ends_a != 0), reason, pole, ((1.0, ends_a),)),
            "b": Validity(opposite | (ends_b != 0), reason, pole, ((0.0, ends_b),)),
        }

    @classmethod
    def _quantiles(cls, u, p):
        x, log_x = beta_quantile(p.a, p.b, u, 1.0 - u)
        y, log_y = beta_quantile(p.b, p.a, 1.0 - u, u)
        left = x < y
        return Points(
            np.where(left, x, 1.0 - y),
            y=np.where(left, 1.0 - x, y),
            log_x=np.where(left, log_x, np.log1p(-np.minimum(y, 0.5))),
            log_y=np.where(left, np.log1p(-np.minimum(x, 0.5)), log_y),
        )

    @classmethod
    def _draw_points(cls, streams, p):
        pairs = streams.simplex(np.ascontiguousarray(np.stack([p.a, p.b], axis=1).reshape(-1)), 2)
        x, y, log_x, log_y = (np.ascontiguousarray(v[:, 0::2]) for v in (pairs.x, pairs.y, pairs.log_x, pairs.log_y))
        return Points(x, y=y, log_x=log_x, log_y=log_y, n_threads=streams.n_threads)

    @classmethod
    def _features(cls, x, c):
        if ((x < 0) | (x > 1)).any():
            raise ValueError(f"x must lie in [0, 1] for {cls.__name__}, got {x[(x < 0) | (x > 1)].flat[0]}")
        if ((x == 0) | (x == 1)).any():
            raise MLEDoesNotExist(
                f"{cls.__name__}: an observation is 0 or 1, on the boundary: the likelihood has no maximum"
            )
        return Points(x)

    @classmethod
    def _solve(cls, s, c):
        solved = [solve_dirichlet(centre, gap, cls.__name__) for centre, gap in zip(s[0].T, s[1].T)]
        a, b = np.array([v for v, _, _ in solved]).T
        return Solution({"a": a, "b": b}, max(i for _, i, _ in solved), sum(g for _, _, g in solved))

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        (x, y), (gap_x, gap_y) = s
        centre = Points(x, y=y, log_y=np.where(x > 0.5, np.log(y), np.log1p(-x)))
        return cls._log_prob(centre, p) - (p.a - 1.0) * gap_x - (p.b - 1.0) * gap_y

    @classmethod
    def _entropy(cls, p):
        return dirichlet_entropy(np.stack([p.a, p.b]))

    @classmethod
    def _kl(cls, p, q):
        return dirichlet_kl(np.stack([p.a, p.b]), np.stack([q.a, q.b]))

    @staticmethod
    def _inverse_fisher(p, grads):
        a, b = dirichlet_solve(np.stack([p.a, p.b]), np.stack([np.broadcast_to(grads[k], p.a.shape) for k in "ab"]))
        return {"a": a, "b": b}

    @staticmethod
    def _cdf(x, p):
        return special.betainc(p.a, p.b, x)

    @staticmethod
    def _moments(p):
        total = p.a + p.b
        return p.a / total, p.a / total * (p.b / total) / (total + 1.0)

    @staticmethod
    def _mode(p):
        inner = (p.a - 1.0) / ((p.a - 1.0) + (p.b - 1.0))
        return np.where((p.a > 1.0) & (p.b > 1.0), inner, np.where((p.a >= 1.0) & (p.b < p.a), 1.0, 0.0))
