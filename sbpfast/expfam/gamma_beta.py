"""The gamma and beta families, whose transport weights share one expansion."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import special

from sbpfast.expfam import mle, weights
from sbpfast.expfam.base import POSITIVE, Continuous, Formulas, Parameter, Validity
from sbpfast.expfam.family import ExponentialFamily
from sbpfast.expfam.functions import inverse_digamma, log_gamma_density, log_minus_digamma, trigamma_minus_inverse
from sbpfast.expfam.mle import Gap, MLEDoesNotExist, Solution, newton_scalar, newton_vector, require
from sbpfast.expfam.points import Points
from sbpfast.expfam.univariate import positive_data

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
    leading = (np.log(lower) + np.log(a) + special.betaln(a, b)) / a  # F = x^a / (a Beta(a, b)) where b x is small too
    x = np.where(upper < lower, special.betainccinv(a, b, upper), special.betaincinv(a, b, lower))
    with np.errstate(divide="ignore"):
        log_x = np.where(leading + np.log1p(b) < _TINY, leading, np.log(x))
    return np.exp(log_x), log_x


def solve_gamma_shape(gap, family) -> tuple[np.ndarray, int, float]:
    """The shape a with log a - psi(a) = gap, by Newton's method in log a."""
    resolved = gap > 4.0 * np.finfo(np.float64).eps
    require(
        resolved,
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
    _gap = Gap(
        lambda t: t.x, mle.log_divergence,
        lambda m: [m[1], np.log(m[1]) - m[0]],
        lambda s: [np.log(s[0]) - s[1], s[0]],
        compiled=True,
    )  # fmt: skip

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
        return special.gammaln(p.shape) - p.shape * np.log(p.rate)

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
        w = weights.gamma_weight(p.shape, p.rate * t.x, np.log(p.rate) + t.log_x, t.n_threads)
        return {"shape": weights.scaled(t.x, w), "rate": -t.x / p.rate}

    def transport_derivatives(self, x) -> dict[str, dict[str, np.ndarray]]:
        """Derivatives of the transport weights, for second derivatives of E[f].

        Returns
        -------
        dict of dict of ndarray (n, d)
            ``out[i][j]`` is dB_i/dparameter_j, and ``out[i]["x"]`` is dB_i/dx.  The Hessian of E f is
            E[B_i B_j f'' + (dB_i/dparameter_j + B_j dB_i/dx) f'].
        """
        t, p = self._points(x), self._p
        arguments = p.shape, p.rate * t.x, np.log(p.rate) + t.log_x, t.n_threads
        w, (slope, by_shape) = weights.gamma_weight(*arguments), weights.gamma_weight_derivatives(*arguments)
        scaled = t.x / p.rate
        return {
            "shape": {"x": slope, "shape": t.x * by_shape, "rate": scaled * (slope - w)},
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
    def _mean_log_base(cls, p):
        return 0.0

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean must be positive")
        shape, iterations, gap = solve_gamma_shape(s[1], cls.__name__)
        return Solution({"shape": shape, "rate": shape / s[0]}, iterations, gap)


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
    _gap = Gap(
        lambda t: 1.0 / t.x, mle.log_divergence,
        lambda m: [m[1], np.log(m[1]) + m[0]],
        lambda s: [s[1] - np.log(s[0]), s[0]],
    )  # fmt: skip

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
        return special.gammaln(p.shape) - p.shape * np.log(p.scale)

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
        w = weights.gamma_weight(p.shape, g, log_g, t.n_threads)
        return {"shape": -weights.scaled(t.x, w), "scale": t.x / p.scale}

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
    def _mean_log_base(cls, p):
        return 0.0

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean of 1/x must be positive")
        shape, iterations, gap = solve_gamma_shape(s[1], cls.__name__)
        return Solution({"shape": shape, "scale": shape / s[0]}, iterations, gap)


class ChiSquare(ExponentialFamily, Continuous):
    """Chi-square distribution: x/2 is gamma distributed with shape df/2."""

    parameters = (Parameter("df", POSITIVE, "Degrees of freedom k, any positive number."),)
    formulas = Formulas(
        support="x >= 0", density="x^(k/2 - 1) exp(-x/2) / (2^(k/2) Gamma(k/2))",
        eta="k/2 - 1", u="log x", h="exp(-x/2)", A="log Gamma(k/2) + (k/2) log 2",
        product="valid for k < 2; never otherwise (pole at the mode, k - 2; at k = 2 the boundary term diverges)",
    )  # fmt: skip
    example: ClassVar = {"df": 3.7}

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
        w = weights.gamma_weight(0.5 * p.df, 0.5 * t.x, t.log_x - np.log(2.0), t.n_threads)
        return {"df": weights.scaled(0.5 * t.x, w)}

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
    def _mean_log_base(cls, p):
        return -0.5 * p.df

    @classmethod
    def _features(cls, x, c):
        return positive_data(cls, x)

    @classmethod
    def _solve(cls, s, c):
        target = s[0] - np.log(2.0)
        half, iterations, gap = newton_scalar(
            lambda a: special.digamma(a) - target,
            lambda a: special.polygamma(1, a),
            inverse_digamma(target),
            0.0,
            np.inf,
        )
        return Solution({"df": 2.0 * half}, iterations, gap)


def solve_dirichlet(mean_log, family) -> tuple[np.ndarray, int, float]:
    """Concentrations (K,) with psi(a_i) - psi(sum a) = mean_log_i.

    The closed convex hull of the statistics log x over the simplex is {m: sum exp(m) <= 1}: the maximum exists exactly
    where sum exp(mean log x) < 1.
    """
    top = mean_log.max()
    room = -np.expm1(top + np.log(np.exp(mean_log - top).sum()))
    if not room > 16.0 * np.finfo(np.float64).eps * (1.0 + np.abs(mean_log).max()):
        raise MLEDoesNotExist(
            f"{family}: the observations are all equal, or too nearly so: the likelihood has no maximum"
        )
    start = special.softmax(mean_log) * 0.5 * (len(mean_log) - 1) / room  # exact as the concentrations grow
    for _ in range(30):  # Minka's fixed point (2000), as small ones are far off and Newton would overshoot
        start = inverse_digamma(special.digamma(start.sum()) + mean_log)

    def gradient(a):
        return special.digamma(a) - special.digamma(a.sum()) - mean_log

    def hessian(a):
        return np.diag(special.polygamma(1, a)) - special.polygamma(1, a.sum())

    return newton_vector(gradient, hessian, start, lambda a: (a > 0).all())


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
        def power(c, log_v):
            return np.where(c == 1.0, 0.0, (c - 1.0) * log_v)

        return power(p.a, t.log_x) + power(p.b, t.log_y) - special.betaln(p.a, p.b)

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
        a, b = weights.beta_weight(p.a, p.b, t.x, t.y, t.log_x, t.log_y, t.n_threads)
        spread = t.x * t.y
        return {"a": weights.scaled(spread, a), "b": -weights.scaled(spread, b)}

    def transport_derivatives(self, x) -> dict[str, dict[str, np.ndarray]]:
        """Derivatives of the transport weights, for second derivatives of E[f].

        Returns
        -------
        dict of dict of ndarray (n, d)
            ``out[i][j]`` is dB_i/dparameter_j, and ``out[i]["x"]`` is dB_i/dx.  The Hessian of E f is
            E[B_i B_j f'' + (dB_i/dparameter_j + B_j dB_i/dx) f'].
        """
        t, p = self._points(x), self._p
        slope_a, aa, ab = weights.beta_weight_derivatives(p.a, p.b, t.x, t.y, t.log_x, t.n_threads)
        slope_b, bb, ba = weights.beta_weight_derivatives(p.b, p.a, t.y, t.x, t.log_y, t.n_threads)
        spread = t.x * t.y
        return {
            "a": {"x": slope_a, "a": spread * aa, "b": spread * ab},
            "b": {"x": slope_b, "a": -spread * ba, "b": -spread * bb},
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
    def _mean_log_base(cls, p):
        return 0.0

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
        solved = [solve_dirichlet(np.array(m), cls.__name__) for m in zip(*s)]
        a, b = np.array([v for v, _, _ in solved]).T
        return Solution({"a": a, "b": b}, max(i for _, i, _ in solved), sum(g for _, _, g in solved))
