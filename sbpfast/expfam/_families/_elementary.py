"""Continuous families with elementary transport weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import special

from sbpfast._likelihood import MLE, MLEDoesNotExist, clean_data, given_statistics
from sbpfast.expfam import _statistics, _weights
from sbpfast.expfam._base import POSITIVE, REAL, Formulas, Parameter, Validity
from sbpfast.expfam._continuous import Continuous
from sbpfast.expfam._exponential import ExponentialFamily
from sbpfast.expfam._functions import (
    EULER,
    LOG_2PI,
    exp_gap,
    log_gamma_curvature,
    log_ratio,
    scaled_exponential_integral,
    standardised,
)
from sbpfast.expfam._points import Points
from sbpfast.expfam._statistics import Gap, Solution, bisection, newton_scalar, require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def positive_data(family, x) -> Points:
    """Data of a family on the positive half-line, whose likelihood has no maximum when an observation is 0."""
    if (x < 0).any():
        raise ValueError(f"x must be positive for {family.__name__}, got {x.min()}")
    if (x == 0).any():
        raise MLEDoesNotExist(
            f"{family.__name__}: an observation is 0, on the boundary of the support, so the likelihood has no maximum"
        )
    return Points(x)


def non_negative_data(family, x) -> Points:
    """Data of a family on [0, inf)."""
    if (x < 0).any():
        raise ValueError(f"x must be non-negative for {family.__name__}, got {x.min()}")
    return Points(x)


class Normal(ExponentialFamily, Continuous):
    """Normal distribution with a mean and a standard deviation."""

    parameters = (Parameter("mean", REAL, "Mean mu."), Parameter("std", POSITIVE, "Standard deviation sigma."))
    formulas = Formulas(
        support="the real line",
        density="exp(-(x - mu)^2 / (2 sigma^2)) / (sigma sqrt(2 pi))",
        eta="(mu / sigma^2, -1 / (2 sigma^2))", u="(x, x^2)", h="(2 pi)^(-1/2)", A="mu^2 / (2 sigma^2) + log sigma",
        product="valid for mean; never for std (pole at the mode, x = mean)",
    )  # fmt: skip
    example: ClassVar = {"mean": 0.4, "std": 1.3}
    _k = 2
    _locations = ("mean",)
    _line = "real"
    _mirrors = True
    _gap = Gap(lambda t, c: t.x, _statistics.square_divergence, lambda m: [m[0], m[1] - m[0] * m[0]])
    _squares = True

    @staticmethod
    def _support(p):
        return -np.inf, np.inf

    @staticmethod
    def _eta(p):
        return [p.mean / p.std**2, -0.5 / p.std**2]

    @staticmethod
    def _source(eta, c):
        variance = -0.5 / eta[1]
        return {"mean": eta[0] * variance, "std": np.sqrt(variance)}

    @staticmethod
    def _partition(p):
        return 0.5 * (p.mean / p.std) ** 2 + np.log(p.std)

    @staticmethod
    def _mean(p):
        return [p.mean, p.mean**2 + p.std**2]

    @staticmethod
    def _hessian(p):
        v = p.std**2
        return [[v, 2.0 * p.mean * v], [2.0 * p.mean * v, 4.0 * p.mean**2 * v + 2.0 * v * v]]

    @staticmethod
    def _u(t, p):
        return [t.x, t.x * t.x]

    @staticmethod
    def _log_base(t, p):
        return -0.5 * LOG_2PI

    @staticmethod
    def _log_prob(t, p):
        z = standardised(t.x, p.mean, p.std)
        return -0.5 * (z * z + LOG_2PI) - np.log(p.std)

    @staticmethod
    def _slopes(t, p):
        return -standardised(t.x, p.mean, p.std) / p.std, -(p.std**-2.0)

    @staticmethod
    def _score(t, p):
        z = standardised(t.x, p.mean, p.std)
        return {"mean": z / p.std, "std": (z - 1.0) * (z + 1.0) / p.std}

    @staticmethod
    def _score_slopes(t, p):
        return {"mean": p.std**-2.0, "std": 2.0 * standardised(t.x, p.mean, p.std) / p.std**2}

    @staticmethod
    def _transport(t, p):
        return {"mean": np.ones_like(t.x), "std": standardised(t.x, p.mean, p.std)}

    @classmethod
    def _product_rule(cls, p):
        return {
            "mean": Validity(True),
            "std": Validity(False, "Btilde has a pole at the mode, x = mean = {pole:.6g}", p.mean),
        }

    @staticmethod
    def _ppf(u, p):
        return p.mean + p.std * special.ndtri(u)

    @classmethod
    def _draw_points(cls, streams, p):
        return Points(p.mean + p.std * streams.normals(), n_threads=streams.n_threads)

    @classmethod
    def _centre(cls, p):
        return p.mean, p.std

    @classmethod
    def _entropy(cls, p):
        return np.log(p.std) + 0.5 * (LOG_2PI + 1.0)

    @classmethod
    def _kl(cls, p, q):
        return 0.5 * (exp_gap(2.0 * log_ratio(p.std, q.std)) + standardised(p.mean, q.mean, q.std) ** 2)

    @classmethod
    def _solve(cls, s, c):
        require(s[1] > 0, cls.__name__, "the variance of the data is zero")
        return Solution({"mean": s[0], "std": np.sqrt(s[1])})

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        return -0.5 * (s[1] + (s[0] - p.mean) ** 2) / p.std**2 - np.log(p.std) + log_base

    @staticmethod
    def _cdf(x, p):
        return special.ndtr(standardised(x, p.mean, p.std))

    @staticmethod
    def _moments(p):
        return p.mean, p.std**2

    @staticmethod
    def _mode(p):
        return p.mean


class LogNormal(ExponentialFamily, Continuous):
    """Log-normal distribution: log x is normal."""

    parameters = (
        Parameter("mean", REAL, "Mean mu of log x."),
        Parameter("std", POSITIVE, "Standard deviation sigma of log x."),
    )
    formulas = Formulas(
        support="x > 0",
        density="exp(-(log x - mu)^2 / (2 sigma^2)) / (x sigma sqrt(2 pi))",
        eta="(mu / sigma^2, -1 / (2 sigma^2))", u="(log x, (log x)^2)", h="1 / (x sqrt(2 pi))",
        A="mu^2 / (2 sigma^2) + log sigma",
        product="never for mean (pole at the mode, exp(mu - sigma^2)); for std only at sigma = 1 (the pole cancels)",
    )  # fmt: skip
    example: ClassVar = {"mean": 0.4, "std": 0.6}
    _k = 2
    _mirrors = True
    _gap = Gap(lambda t, c: t.log_x, _statistics.square_divergence, Normal._gap.from_means)

    _eta = staticmethod(Normal._eta)
    _source = staticmethod(Normal._source)
    _partition = staticmethod(Normal._partition)
    _mean = staticmethod(Normal._mean)
    _hessian = staticmethod(Normal._hessian)
    _kl = Normal._kl
    _mean_log_likelihood = Normal._mean_log_likelihood

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _z(t, p):
        return (t.log_x - p.mean) / p.std

    @staticmethod
    def _u(t, p):
        return [t.log_x, t.log_x**2]

    @staticmethod
    def _log_base(t, p):
        return -t.log_x - 0.5 * LOG_2PI

    @classmethod
    def _log_prob(cls, t, p):
        z = cls._z(t, p)
        density = -0.5 * (z * z + LOG_2PI) - np.log(p.std) - t.log_x
        return np.where(t.log_x == -np.inf, -np.inf, density)

    @classmethod
    def _slopes(cls, t, p):
        slope = -(cls._z(t, p) / p.std + 1.0) / t.x
        return slope, -slope / t.x - 1.0 / (p.std * t.x) ** 2

    @classmethod
    def _score(cls, t, p):
        z = cls._z(t, p)
        return {"mean": z / p.std, "std": (z - 1.0) * (z + 1.0) / p.std}

    @classmethod
    def _score_slopes(cls, t, p):
        return {"mean": 1.0 / (p.std**2 * t.x), "std": 2.0 * cls._z(t, p) / (p.std**2 * t.x)}

    @classmethod
    def _transport(cls, t, p):
        return {"mean": t.x.copy(), "std": _weights.scaled(t.x, cls._z(t, p))}

    @classmethod
    def _product_weight(cls, t, p):
        general = super()._product_weight(t, p)
        z, one = cls._z(t, p), p.std == 1.0  # there (z^2 - 1) / (1 + z) = z - 1
        b, slope = general["std"]
        return general | {"std": (np.where(one, -_weights.scaled(t.x, z - 1.0), b), np.where(one, -z, slope))}

    @classmethod
    def _product_rule(cls, p):
        reason, mode = "Btilde has a pole at the mode, x = {pole:.6g}", np.exp(p.mean - p.std**2)
        return {"mean": Validity(False, reason, mode), "std": Validity(p.std == 1.0, reason, mode)}

    @staticmethod
    def _from_normals(z, p):
        log_x = p.mean + p.std * z
        with np.errstate(over="ignore"):
            return Points(np.exp(log_x), log_x=log_x)

    @classmethod
    def _quantiles(cls, u, p):
        return cls._from_normals(special.ndtri(u), p)

    @classmethod
    def _draw_points(cls, streams, p):
        return cls._from_normals(streams.normals(), p)

    @classmethod
    def _entropy(cls, p):
        return p.mean + np.log(p.std) + 0.5 * (LOG_2PI + 1.0)

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[1] > 0, cls.__name__, "the variance of log x is zero")
        return Solution({"mean": s[0], "std": np.sqrt(s[1])})

    @staticmethod
    def _cdf(x, p):
        return special.ndtr((np.log(x) - p.mean) / p.std)

    @staticmethod
    def _moments(p):
        variance = p.std**2
        return np.exp(p.mean + 0.5 * variance), np.expm1(variance) * np.exp(2.0 * p.mean + variance)

    @staticmethod
    def _mode(p):
        return np.exp(p.mean - p.std**2)


class Exponential(ExponentialFamily, Continuous):
    """Exponential distribution with a rate."""

    parameters = (Parameter("rate", POSITIVE, "Rate r."),)
    formulas = Formulas(
        support="x >= 0", density="r exp(-r x)", eta="-r", u="x", h="1", A="-log r",
        product="valid, with the boundary term + f(0) / r",
    )  # fmt: skip
    example: ClassVar = {"rate": 1.9}

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _eta(p):
        return [-p.rate]

    @staticmethod
    def _source(eta, c):
        return {"rate": -eta[0]}

    @staticmethod
    def _partition(p):
        return -np.log(p.rate)

    @staticmethod
    def _mean(p):
        return [1.0 / p.rate]

    @staticmethod
    def _hessian(p):
        return [[p.rate**-2.0]]

    @staticmethod
    def _u(t, p):
        return [t.x]

    @staticmethod
    def _log_prob(t, p):
        return np.log(p.rate) - p.rate * t.x

    @staticmethod
    def _slopes(t, p):
        return -p.rate, 0.0

    @staticmethod
    def _score(t, p):
        return {"rate": 1.0 / p.rate - t.x}

    @staticmethod
    def _score_slopes(t, p):
        return {"rate": -1.0}

    @staticmethod
    def _transport(t, p):
        return {"rate": -t.x / p.rate}

    @classmethod
    def _product_rule(cls, p):
        return {"rate": Validity(True, ends=((0.0, 1.0 / p.rate),))}

    @staticmethod
    def _ppf(u, p):
        return -np.log1p(-u) / p.rate

    @classmethod
    def _entropy(cls, p):
        return 1.0 - np.log(p.rate)

    @classmethod
    def _features(cls, x, c):
        return non_negative_data(cls, x)

    @classmethod
    def _kl(cls, p, q):
        return exp_gap(log_ratio(q.rate, p.rate))

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean must be positive: all observations are 0")
        return Solution({"rate": 1.0 / s[0]})

    @staticmethod
    def _cdf(x, p):
        return -np.expm1(-p.rate * x)

    @staticmethod
    def _moments(p):
        return 1.0 / p.rate, p.rate**-2.0

    @staticmethod
    def _mode(p):
        return np.zeros_like(p.rate)


class InverseGaussian(ExponentialFamily, Continuous):
    """Inverse Gaussian distribution: the first passage time of a Brownian motion with drift."""

    parameters = (
        Parameter("mean", POSITIVE, "Mean mu."),
        Parameter("concentration", POSITIVE, "Concentration lam; the variance is mu^3 / lam."),
    )
    formulas = Formulas(
        support="x > 0", density="sqrt(lam / (2 pi x^3)) exp(-lam (x - mu)^2 / (2 mu^2 x))",
        eta="(-lam / (2 mu^2), -lam / 2)", u="(x, 1/x)", h="(2 pi x^3)^(-1/2)", A="-lam / mu - log(lam) / 2",
        product="never (pole at the mode)",
    )  # fmt: skip
    example: ClassVar = {"mean": 1.2, "concentration": 2.5}
    _k = 2
    _gap = Gap(lambda t, c: t.x, _statistics.inverse_divergence, lambda m: [m[0], m[1] - 1.0 / m[0]])

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _eta(p):
        return [-0.5 * p.concentration / p.mean**2, -0.5 * p.concentration]

    @staticmethod
    def _source(eta, c):
        return {"mean": np.sqrt(eta[1] / eta[0]), "concentration": -2.0 * eta[1]}

    @staticmethod
    def _partition(p):
        return -p.concentration / p.mean - 0.5 * np.log(p.concentration)

    @staticmethod
    def _mean(p):
        return [p.mean, 1.0 / p.mean + 1.0 / p.concentration]

    @staticmethod
    def _hessian(p):
        m, c = p.mean, p.concentration
        return [[m**3 / c, -m / c], [-m / c, 1.0 / (m * c) + 2.0 / c**2]]

    @staticmethod
    def _u(t, p):
        return [t.x, 1.0 / t.x]

    @staticmethod
    def _log_base(t, p):
        return -0.5 * LOG_2PI - 1.5 * t.log_x

    @staticmethod
    def _log_prob(t, p):
        d = (t.x - p.mean) / p.mean
        density = 0.5 * (np.log(p.concentration) - LOG_2PI - 3.0 * t.log_x) - 0.5 * p.concentration * d * d / t.x
        return np.where(t.x > 0, density, -np.inf)

    @staticmethod
    def _slopes(t, p):
        x, m, c = t.x, p.mean, p.concentration
        return -1.5 / x - 0.5 * c / m**2 + 0.5 * c / x**2, 1.5 / x**2 - c / x**3

    @staticmethod
    def _score(t, p):
        d = (t.x - p.mean) / p.mean
        c = p.concentration
        return {"mean": c * d / p.mean**2, "concentration": 0.5 / c - 0.5 * d * d / t.x}

    @staticmethod
    def _score_slopes(t, p):
        return {"mean": p.concentration / p.mean**3, "concentration": -0.5 * (p.mean**-2.0 - t.x**-2.0)}

    @staticmethod
    def _transport(t, p):
        mean, concentration = _weights.inverse_gaussian_weight(p.mean, p.concentration, t.x, t.n_threads)
        return {name: np.where(t.x == 0.0, 0.0, w) for name, w in (("mean", mean), ("concentration", concentration))}

    @classmethod
    def _product_rule(cls, p):
        s = 1.5 * p.mean / p.concentration
        mode = p.mean / (np.sqrt(1.0 + s * s) + s)
        never = Validity(False, "Btilde has a pole at the mode, x = {pole:.6g}", mode)
        return {"mean": never, "concentration": never}

    @classmethod
    def _draw_points(cls, streams, p):
        """Michael, Schucany & Haas (The American Statistician 30, 1976), the smaller root without cancellation."""
        w = 0.5 * p.mean / p.concentration * streams.normals() ** 2
        root = 1.0 / (1.0 + w + np.sqrt(w * (w + 2.0)))
        small = streams.uniforms() * (1.0 + root) <= 1.0
        return Points(np.where(small, p.mean * root, p.mean / root), n_threads=streams.n_threads)

    @classmethod
    def _entropy(cls, p):
        mean_log = np.log(p.mean) - scaled_exponential_integral(2.0 * p.concentration / p.mean)
        return 0.5 * (1.0 + LOG_2PI - np.log(p.concentration)) + 1.5 * mean_log

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(
            (s[0] > 0) & (s[1] > 0), cls.__name__, "mean(1/x) must exceed 1/mean(x): the observations are all equal"
        )
        return Solution({"mean": s[0], "concentration": 1.0 / s[1]})

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        centre = Points(s[0])
        return cls._log_prob(centre, p) - 0.5 * p.concentration * s[1] + (log_base - cls._log_base(centre, p))

    @classmethod
    def _kl(cls, p, q):
        by_mean = q.concentration / p.mean * ((p.mean - q.mean) / q.mean) ** 2
        return 0.5 * (exp_gap(log_ratio(q.concentration, p.concentration)) + by_mean)

    @staticmethod
    def _cdf(x, p):
        """Phi(a) + e^(2 lam/mu) Phi(-b), whose exponents cancel: b^2 = a^2 + 4 lam/mu (Shuster 1968)."""
        root = np.sqrt(p.concentration / x)
        a, b = root * (x / p.mean - 1.0), root * (x / p.mean + 1.0)
        return special.ndtr(a) + 0.5 * np.exp(-0.5 * a * a) * special.erfcx(b / np.sqrt(2.0))

    @classmethod
    def _inverse(cls, u, p):
        return np.exp(bisection(lambda log_x: cls._cdf(np.exp(log_x), p), u, -745.0, 709.7))

    @staticmethod
    def _moments(p):
        return p.mean, p.mean / p.concentration * p.mean * p.mean

    @classmethod
    def _mode(cls, p):
        s = 1.5 * p.mean / p.concentration
        return p.mean / (np.hypot(1.0, s) + s)


class Weibull(ExponentialFamily, Continuous):
    """Weibull distribution with a known shape (which `fit` can estimate, too)."""

    parameters = (Parameter("scale", POSITIVE, "Scale c."),)
    constants = (Parameter("shape", POSITIVE, "Shape k, known."),)
    formulas = Formulas(
        support="x >= 0", density="(k / c) (x / c)^(k - 1) exp(-(x / c)^k)",
        eta="-c^-k", u="x^k", h="k x^(k - 1)", A="k log c",
        product="valid for k < 1; for k = 1 with the boundary term -f(0) / c; never for k > 1 (pole at the mode)",
    )  # fmt: skip
    example: ClassVar = {"scale": 1.8, "shape": 1.5}

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _r(t, p):
        return np.exp(p.shape * (t.log_x - np.log(p.scale)))

    @staticmethod
    def _eta(p):
        return [-(p.scale**-p.shape)]

    @staticmethod
    def _source(eta, c):
        return {"scale": (-eta[0]) ** (-1.0 / c["shape"])}

    @staticmethod
    def _partition(p):
        return p.shape * np.log(p.scale)

    @staticmethod
    def _mean(p):
        return [p.scale**p.shape]

    @staticmethod
    def _hessian(p):
        return [[p.scale ** (2.0 * p.shape)]]

    @staticmethod
    def _u(t, p):
        return [t.x**p.shape]

    @staticmethod
    def _log_base(t, p):
        return np.log(p.shape) + special.xlogy(p.shape - 1.0, t.x)

    @classmethod
    def _log_prob(cls, t, p):
        k = p.shape
        power = np.where(k == 1.0, 0.0, (k - 1.0) * (t.log_x - np.log(p.scale)))
        return np.log(k) - np.log(p.scale) + power - cls._r(t, p)

    @classmethod
    def _slopes(cls, t, p):
        k, r = p.shape, cls._r(t, p)
        return (k - 1.0 - k * r) / t.x, -(k - 1.0) * (1.0 + k * r) / t.x**2

    @classmethod
    def _score(cls, t, p):
        return {"scale": p.shape / p.scale * (cls._r(t, p) - 1.0)}

    @classmethod
    def _score_slopes(cls, t, p):
        return {"scale": p.shape**2 * cls._r(t, p) / (p.scale * t.x)}

    @staticmethod
    def _transport(t, p):
        return {"scale": t.x / p.scale}

    @classmethod
    def _product_rule(cls, p):
        k = p.shape
        mode = p.scale * (np.maximum(k - 1.0, 0.0) / k) ** (1.0 / k)
        end = np.where(k == 1.0, -1.0 / p.scale, 0.0)
        return {"scale": Validity(k <= 1.0, "Btilde has a pole at the mode, x = {pole:.6g}", mode, ((0.0, end),))}

    @classmethod
    def _quantiles(cls, u, p):
        log_x = np.log(p.scale) + np.log(-np.log1p(-u)) / p.shape
        with np.errstate(over="ignore"):
            return Points(np.exp(log_x), log_x=log_x)

    @classmethod
    def _entropy(cls, p):
        return EULER * (1.0 - 1.0 / p.shape) + (np.log(p.scale) - np.log(p.shape)) + 1.0

    @classmethod
    def _features(cls, x, c):
        return non_negative_data(cls, x) if (c["shape"] == 1.0).all() else positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean of x^k must be positive: all observations are 0")
        return Solution({"scale": s[0] ** (1.0 / c["shape"])})

    @classmethod
    def fit(
        cls, x: ArrayLike | _statistics.Statistics, weights: ArrayLike | None = None,
        prior: tuple[float, ArrayLike] | None = None, *, shape: ArrayLike | None = None, **constants: ArrayLike,
    ) -> MLE:  # fmt: skip
        """Maximum likelihood of the scale for a known shape, or of both.

        Parameters
        ----------
        x : array_like (n, d) or (n,), or Statistics
            Positive data; (n,) gives scalar parameters.
        weights : array_like (n,), optional
            Non-negative numbers.
        prior : (nu, m0), optional
            As of every family, for a known shape.
        shape : array_like, optional
            The known shape; by default it is estimated, from data and not from `Statistics`, which depend on it.  The
            profile likelihood has one maximum: the root of sum w x^k log x / sum w x^k - mean log x = 1/k.

        Raises
        ------
        MLEDoesNotExist
            All observations are equal, or one of them is 0.
        TypeError, ValueError
            As in every family; a prior for an unknown shape.
        """
        if shape is not None:
            constants["shape"] = shape
        if constants or given_statistics(cls, x, weights):
            return super().fit(x, weights, prior, **constants)
        if prior is not None:
            raise TypeError("prior needs a known shape: its mean statistics are those of x^shape")
        data, given, scalar = clean_data("x", x, weights)
        log_x = positive_data(cls, data).log_x
        w = np.ones(len(data)) if given is None else given
        top, mean_log = log_x.max(axis=0), w @ log_x / w.sum()
        require(top > log_x.min(axis=0), cls.__name__, "all observations are equal")

        def tilted(k):
            """Mean and variance of log x under the weights w x^k."""
            powers = w[:, None] * np.exp(k * (log_x - top))
            powers /= powers.sum(axis=0)
            mean = (powers * log_x).sum(axis=0)
            return mean, (powers * (log_x - mean) ** 2).sum(axis=0)

        spread = np.sqrt(w @ (log_x - mean_log) ** 2 / w.sum())
        k, iterations, gap = newton_scalar(
            lambda k: tilted(k)[0] - mean_log - 1.0 / k,
            lambda k: tilted(k)[1] + k**-2.0,
            np.pi / np.sqrt(6.0) / spread,
            0.0,
            np.inf,
        )
        require(gap < 1e-8, cls.__name__, "the observations that carry the weight are equal, or too nearly so")
        log_scale = top + np.log(w @ np.exp(k * (log_x - top)) / w.sum()) / k
        values = {"scale": np.exp(log_scale), "shape": k}
        q = cls(**{name: float(v[0]) if scalar else v for name, v in values.items()})
        return MLE(q, w @ q.log_prob(data), iterations, gap, gap < 1e-12 * len(k))

    @classmethod
    def _kl(cls, p, q):
        return exp_gap(p.shape * log_ratio(p.scale, q.scale))

    @staticmethod
    def _cdf(x, p):
        return -np.expm1(-np.exp(p.shape * (np.log(x) - np.log(p.scale))))

    @staticmethod
    def _moments(p):
        power = 1.0 / p.shape
        mean = p.scale * special.gamma(1.0 + power)
        return mean, mean * mean * np.expm1(log_gamma_curvature(power))

    @staticmethod
    def _mode(p):
        return p.scale * np.exp(np.log(np.maximum(1.0 - 1.0 / p.shape, 0.0)) / p.shape)


class Pareto(ExponentialFamily, Continuous):
    """Pareto distribution with a known minimum."""

    parameters = (Parameter("tail", POSITIVE, "Tail index a."),)
    constants = (Parameter("minimum", POSITIVE, "The least value m, known."),)
    formulas = Formulas(
        support="x >= minimum", density="a m^a x^(-a - 1)",
        eta="-(a + 1)", u="log x", h="1", A="-log a - a log m",
        product="valid, with the boundary term + f(m) / (a + 1)",
    )  # fmt: skip
    example: ClassVar = {"tail": 2.5, "minimum": 1.2}

    @staticmethod
    def _support(p):
        return p.minimum, np.inf

    @staticmethod
    def _log_ratio(t, p):
        """log(x / minimum), as the source of the points knows it."""
        return t.log_ratio if hasattr(t, "log_ratio") else np.log1p((t.x - p.minimum) / p.minimum)

    @staticmethod
    def _at_log_ratio(r, p):
        with np.errstate(over="ignore"):  # a small tail index sends x beyond the largest double
            return Points(np.maximum(p.minimum * np.exp(r), p.minimum), log_x=np.log(p.minimum) + r, log_ratio=r)

    @staticmethod
    def _eta(p):
        return [-(p.tail + 1.0)]

    @staticmethod
    def _source(eta, c):
        return {"tail": -eta[0] - 1.0}

    @staticmethod
    def _partition(p):
        return -np.log(p.tail) - p.tail * np.log(p.minimum)

    @staticmethod
    def _mean(p):
        return [np.log(p.minimum) + 1.0 / p.tail]

    @staticmethod
    def _hessian(p):
        return [[p.tail**-2.0]]

    @staticmethod
    def _u(t, p):
        return [t.log_x]

    @classmethod
    def _log_prob(cls, t, p):
        return np.log(p.tail) - np.log(p.minimum) - (p.tail + 1.0) * cls._log_ratio(t, p)

    @staticmethod
    def _slopes(t, p):
        return -(p.tail + 1.0) / t.x, (p.tail + 1.0) / t.x**2

    @classmethod
    def _score(cls, t, p):
        return {"tail": 1.0 / p.tail - cls._log_ratio(t, p)}

    @staticmethod
    def _score_slopes(t, p):
        return {"tail": -1.0 / t.x}

    @classmethod
    def _transport(cls, t, p):
        return {"tail": -t.x / p.tail * cls._log_ratio(t, p)}

    @classmethod
    def _product_rule(cls, p):
        return {"tail": Validity(True, ends=((p.minimum, 1.0 / (p.tail + 1.0)),))}

    @classmethod
    def _quantiles(cls, u, p):
        return cls._at_log_ratio(-np.log1p(-u) / p.tail, p)

    @classmethod
    def _from_line(cls, t, p):
        """x = minimum exp(e^t)."""
        points = cls._at_log_ratio(np.exp(t)[:, None], p)
        return points, points.log_x[:, 0] + t

    @classmethod
    def _entropy(cls, p):
        return 1.0 + 1.0 / p.tail + np.log(p.minimum) - np.log(p.tail)

    @classmethod
    def _features(cls, x, c):
        if (x < c["minimum"]).any():
            raise ValueError(f"x must be at least the minimum for {cls.__name__}, got {x.min()}")
        return Points(x)

    @classmethod
    def _averages(cls, t, c):
        return [cls._log_ratio(t, c)]

    @classmethod
    def _from_means(cls, m, c):
        return [m[0] - np.log(c["minimum"])]

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "mean(log x) must exceed log(minimum): all observations are at the minimum")
        return Solution({"tail": 1.0 / s[0]})

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        return np.log(p.tail) - np.log(p.minimum) - (p.tail + 1.0) * s[0]

    @classmethod
    def _kl(cls, p, q):
        return exp_gap(log_ratio(q.tail, p.tail))

    @staticmethod
    def _cdf(x, p):
        return -np.expm1(-p.tail * np.log1p((x - p.minimum) / p.minimum))

    @staticmethod
    def _moments(p):
        a, m = p.tail, p.minimum
        mean = np.where(a > 1.0, m * (1.0 / (1.0 - 1.0 / a)), np.inf)
        return mean, np.where(a > 2.0, (m / (a - 1.0)) ** 2 / (1.0 - 2.0 / a), np.inf)

    @staticmethod
    def _mode(p):
        return p.minimum


class Laplace(ExponentialFamily, Continuous):
    """Laplace distribution with a known location."""

    parameters = (Parameter("scale", POSITIVE, "Scale b."),)
    constants = (Parameter("loc", REAL, "Location c, known."),)
    formulas = Formulas(
        support="the real line", density="exp(-abs(x - c) / b) / (2 b)",
        eta="-1/b", u="abs(x - c)", h="1", A="log 2b",
        product="valid, with the jump term -f(c) / b",
    )  # fmt: skip
    example: ClassVar = {"scale": 1.3, "loc": 0.2}
    _line = "real"

    @staticmethod
    def _support(p):
        return -np.inf, np.inf

    @staticmethod
    def _eta(p):
        return [-1.0 / p.scale]

    @staticmethod
    def _source(eta, c):
        return {"scale": -1.0 / eta[0]}

    @staticmethod
    def _partition(p):
        return np.log(2.0 * p.scale)

    @staticmethod
    def _mean(p):
        return [p.scale]

    @staticmethod
    def _hessian(p):
        return [[p.scale**2]]

    @staticmethod
    def _u(t, p):
        return [np.abs(t.x - p.loc)]

    @staticmethod
    def _log_prob(t, p):
        return -np.abs(t.x - p.loc) / p.scale - np.log(2.0 * p.scale)

    @staticmethod
    def _sign(t, p):
        return np.where(t.x < p.loc, -1.0, 1.0)

    @classmethod
    def _slopes(cls, t, p):
        return -cls._sign(t, p) / p.scale, 0.0

    @staticmethod
    def _score(t, p):
        return {"scale": (np.abs(t.x - p.loc) / p.scale - 1.0) / p.scale}

    @classmethod
    def _score_slopes(cls, t, p):
        return {"scale": cls._sign(t, p) / p.scale**2}

    @staticmethod
    def _transport(t, p):
        return {"scale": (t.x - p.loc) / p.scale}

    @classmethod
    def _product_rule(cls, p):
        return {"scale": Validity(True, ends=((p.loc, -1.0 / p.scale),))}

    @staticmethod
    def _ppf(u, p):
        tail = np.minimum(u, 1.0 - u)
        return p.loc + p.scale * np.where(u < 0.5, 1.0, -1.0) * np.log(2.0 * tail)

    @classmethod
    def _centre(cls, p):
        return p.loc, p.scale

    @classmethod
    def _entropy(cls, p):
        return 1.0 + np.log(2.0) + np.log(p.scale)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "mean abs(x - loc) must be positive: all observations equal the location")
        return Solution({"scale": s[0]})

    @classmethod
    def _kl(cls, p, q):
        return exp_gap(log_ratio(p.scale, q.scale))

    @staticmethod
    def _cdf(x, p):
        z = standardised(x, p.loc, p.scale)
        tail = 0.5 * np.exp(-np.abs(z))
        return np.where(z < 0.0, tail, 1.0 - tail)

    @staticmethod
    def _moments(p):
        return p.loc, 2.0 * p.scale**2

    @staticmethod
    def _mode(p):
        return p.loc


class Rayleigh(ExponentialFamily, Continuous):
    """Rayleigh distribution: the length of a two-dimensional normal vector."""

    parameters = (Parameter("scale", POSITIVE, "Scale s, the standard deviation of each coordinate."),)
    formulas = Formulas(
        support="x >= 0", density="(x / s^2) exp(-x^2 / (2 s^2))", eta="-1 / (2 s^2)", u="x^2", h="x", A="2 log s",
        product="never (pole at the mode, x = s)",
    )  # fmt: skip
    example: ClassVar = {"scale": 1.4}
    _squares = True

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    @staticmethod
    def _eta(p):
        return [-0.5 / p.scale**2]

    @staticmethod
    def _source(eta, c):
        return {"scale": np.sqrt(-0.5 / eta[0])}

    @staticmethod
    def _partition(p):
        return 2.0 * np.log(p.scale)

    @staticmethod
    def _mean(p):
        return [2.0 * p.scale**2]

    @staticmethod
    def _hessian(p):
        return [[4.0 * p.scale**4]]

    @staticmethod
    def _u(t, p):
        return [t.x**2]

    @staticmethod
    def _log_base(t, p):
        return t.log_x

    @staticmethod
    def _log_prob(t, p):
        return t.log_x - 2.0 * np.log(p.scale) - 0.5 * (t.x / p.scale) ** 2

    @staticmethod
    def _slopes(t, p):
        return 1.0 / t.x - t.x / p.scale**2, -(t.x**-2.0) - p.scale**-2.0

    @staticmethod
    def _score(t, p):
        return {"scale": ((t.x / p.scale) ** 2 - 2.0) / p.scale}

    @staticmethod
    def _score_slopes(t, p):
        return {"scale": 2.0 * t.x / p.scale**3}

    @staticmethod
    def _transport(t, p):
        return {"scale": t.x / p.scale}

    @classmethod
    def _product_rule(cls, p):
        return {"scale": Validity(False, "Btilde has a pole at the mode, x = scale = {pole:.6g}", p.scale)}

    @staticmethod
    def _ppf(u, p):
        return p.scale * np.sqrt(-2.0 * np.log1p(-u))

    @classmethod
    def _entropy(cls, p):
        return 1.0 + np.log(p.scale) - 0.5 * np.log(2.0) + 0.5 * EULER

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean of x^2 must be positive")
        return Solution({"scale": np.sqrt(0.5 * s[0])})

    @classmethod
    def _kl(cls, p, q):
        return exp_gap(2.0 * log_ratio(p.scale, q.scale))

    @staticmethod
    def _cdf(x, p):
        return -np.expm1(-0.5 * (x / p.scale) ** 2)

    @staticmethod
    def _moments(p):
        return p.scale * np.sqrt(0.5 * np.pi), (2.0 - 0.5 * np.pi) * p.scale**2

    @staticmethod
    def _mode(p):
        return p.scale


class HalfNormal(ExponentialFamily, Continuous):
    """Half-normal distribution: the size of a centred normal variable."""

    parameters = (Parameter("scale", POSITIVE, "Scale s, the standard deviation of the normal variable."),)
    formulas = Formulas(
        support="x >= 0", density="sqrt(2 / pi) exp(-x^2 / (2 s^2)) / s", eta="-1 / (2 s^2)", u="x^2", h="1",
        A="log s + log(pi / 2) / 2", product="never (pole at the mode, x = 0, where the density is positive)",
    )  # fmt: skip
    example: ClassVar = {"scale": 1.4}
    _squares = True

    @staticmethod
    def _support(p):
        return 0.0, np.inf

    _eta = staticmethod(Rayleigh._eta)
    _source = staticmethod(Rayleigh._source)
    _u = staticmethod(Rayleigh._u)
    _transport = staticmethod(Rayleigh._transport)
    _score_slopes = staticmethod(Rayleigh._score_slopes)

    @staticmethod
    def _partition(p):
        return np.log(p.scale) + 0.5 * np.log(0.5 * np.pi)

    @staticmethod
    def _mean(p):
        return [p.scale**2]

    @staticmethod
    def _hessian(p):
        return [[2.0 * p.scale**4]]

    @staticmethod
    def _log_prob(t, p):
        return 0.5 * np.log(2.0 / np.pi) - np.log(p.scale) - 0.5 * (t.x / p.scale) ** 2

    @staticmethod
    def _slopes(t, p):
        return -t.x / p.scale**2, -(p.scale**-2.0)

    @staticmethod
    def _score(t, p):
        return {"scale": ((t.x / p.scale) ** 2 - 1.0) / p.scale}

    @classmethod
    def _product_rule(cls, p):
        return {"scale": Validity(False, "Btilde has a pole at the mode, x = 0, where the density is positive")}

    @staticmethod
    def _ppf(u, p):
        small = np.sqrt(2.0) * special.erfinv(np.minimum(u, 0.5))
        return p.scale * np.where(u < 0.5, small, -special.ndtri(0.5 * (1.0 - u)))

    @classmethod
    def _entropy(cls, p):
        return 0.5 * (1.0 + np.log(0.5 * np.pi)) + np.log(p.scale)

    @classmethod
    def _features(cls, x, c):
        return non_negative_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean of x^2 must be positive: all observations are 0")
        return Solution({"scale": np.sqrt(s[0])})

    @classmethod
    def _kl(cls, p, q):
        return 0.5 * exp_gap(2.0 * log_ratio(p.scale, q.scale))

    @staticmethod
    def _cdf(x, p):
        return special.erf(x / p.scale / np.sqrt(2.0))

    @staticmethod
    def _moments(p):
        return p.scale * np.sqrt(2.0 / np.pi), (1.0 - 2.0 / np.pi) * p.scale**2

    @staticmethod
    def _mode(p):
        return np.zeros_like(p.scale)
