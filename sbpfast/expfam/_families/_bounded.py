"""The circle, the truncated line and the tilted interval: von Mises, truncated normal, continuous Bernoulli."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
from scipy import special

from sbpfast._likelihood import MLEDoesNotExist
from sbpfast.expfam import _truncation, _weights
from sbpfast.expfam._base import EXTENDED, NON_NEGATIVE, POSITIVE, REAL, Formulas, Parameter, Validity
from sbpfast.expfam._continuous import Continuous
from sbpfast.expfam._exponential import ExponentialFamily
from sbpfast.expfam._families._elementary import Normal
from sbpfast.expfam._functions import (
    LOG_2PI,
    bessel_ratio,
    bessel_ratio_complement,
    bessel_ratio_over,
    bessel_ratio_slope,
    bregman,
    log_bessel,
    standardised,
    tilted_uniform_log_partition,
    tilted_uniform_mean,
    tilted_uniform_variance,
)
from sbpfast.expfam._points import Points
from sbpfast.expfam._statistics import Gap, Solution, bisection, newton_scalar, require


def wrap(angle) -> np.ndarray:
    """The angle in [-pi, pi) that differs by whole turns."""
    inside = (angle >= -np.pi) & (angle < np.pi)
    wrapped = angle - 2.0 * np.pi * np.floor((angle + np.pi) / (2.0 * np.pi))
    return np.where(inside, angle, np.where(wrapped >= np.pi, -np.pi, wrapped))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(80)
_FALL = 45.0
_RARE, _FEWEST = 0.02, 20.0  # the share of the draws next to a bound, and their number


def von_mises_distribution(angle, kappa) -> np.ndarray:
    """F of angles (n, d) in [-pi, pi), mean 0: the density is integrated from the angle outwards, until it is gone."""
    a, square = np.abs(angle), np.sin(0.5 * angle) ** 2
    end = 2.0 * np.arcsin(np.sqrt(np.minimum(square + 0.5 * _FALL / kappa, 1.0)))
    half = 0.5 * (end - a)
    tail = np.zeros_like(half)
    for node, weight in zip(_NODES, _WEIGHTS):
        tail += weight * np.exp(-2.0 * kappa * np.sin(0.5 * (a + half * (1.0 + node))) ** 2)
    tail *= half / (2.0 * np.pi * special.i0e(kappa))
    return np.where(angle < 0.0, tail, 1.0 - tail)


class VonMises(ExponentialFamily, Continuous):
    """Von Mises distribution on the circle.

    Draws are angles in [-pi, pi), and any other angle that is given counts as the one there that differs by whole
    turns; targets must be periodic for the pathwise gradients to hold.
    """

    parameters = (
        Parameter("mean", REAL, "Mean direction mu, an angle."),
        Parameter("concentration", NON_NEGATIVE, "Concentration kappa; 0 is the uniform distribution."),
    )
    formulas = Formulas(
        support="angles", density="exp(kappa cos(x - mu)) / (2 pi I0(kappa))",
        eta="(kappa cos mu, kappa sin mu)", u="(cos x, sin x)", h="1 / (2 pi)", A="log I0(kappa)",
        product="valid for mean; never for concentration (poles at the mode, x = mean, and opposite)",
    )  # fmt: skip
    example: ClassVar = {"mean": 0.6, "concentration": 2.1}
    _k = 2
    _locations = ("mean",)
    _gap = Gap(
        lambda t, c: np.stack([np.cos(t.x), np.sin(t.x)]),
        lambda y, c: 0.5 * ((y - c) ** 2).sum(axis=0),  # of half the squared length: its gap is (1 - r^2)/2
        lambda m: [np.stack(m), 0.5 * (1.0 - (np.stack(m) ** 2).sum(axis=0))],
    )

    @staticmethod
    def _support(p):
        return -np.pi, np.pi

    def _rows(self, x):
        return wrap(super()._rows(x))

    @staticmethod
    def _offset(t, p):
        return wrap(t.x - p.mean)

    @staticmethod
    def _eta(p):
        return [p.concentration * np.cos(p.mean), p.concentration * np.sin(p.mean)]

    @staticmethod
    def _source(eta, c):
        return {"mean": np.arctan2(eta[1], eta[0]), "concentration": np.hypot(eta[0], eta[1])}

    @staticmethod
    def _partition(p):
        return log_bessel(p.concentration) + p.concentration

    @staticmethod
    def _mean(p):
        a = bessel_ratio(p.concentration)
        return [a * np.cos(p.mean), a * np.sin(p.mean)]

    @staticmethod
    def _hessian(p):
        c, s = np.cos(p.mean), np.sin(p.mean)
        along, across = bessel_ratio_slope(p.concentration), bessel_ratio_over(p.concentration)
        mixed = c * s * (along - across)
        return [[c * c * along + s * s * across, mixed], [mixed, s * s * along + c * c * across]]

    @staticmethod
    def _u(t, p):
        return [np.cos(t.x), np.sin(t.x)]

    @staticmethod
    def _log_base(t, p):
        return -LOG_2PI

    @classmethod
    def _log_prob(cls, t, p):
        half = np.sin(0.5 * cls._offset(t, p))
        return -2.0 * p.concentration * half * half - log_bessel(p.concentration) - LOG_2PI

    @classmethod
    def _slopes(cls, t, p):
        d = cls._offset(t, p)
        return -p.concentration * np.sin(d), -p.concentration * np.cos(d)

    @classmethod
    def _score(cls, t, p):
        d = cls._offset(t, p)
        spread = bessel_ratio_complement(p.concentration) - 2.0 * np.sin(0.5 * d) ** 2
        return {"mean": p.concentration * np.sin(d), "concentration": spread}

    @classmethod
    def _score_slopes(cls, t, p):
        d = cls._offset(t, p)
        return {"mean": p.concentration * np.cos(d), "concentration": -np.sin(d)}

    @classmethod
    def _transport(cls, t, p):
        w = _weights.von_mises_weight(p.concentration, cls._offset(t, p), t.n_threads)
        return {"mean": np.ones_like(t.x), "concentration": w}

    @classmethod
    def _product_rule(cls, p):
        poles = "Btilde has poles at the mode, x = mean = {pole:.6g}, and opposite"
        return {"mean": Validity(True), "concentration": Validity(False, poles, p.mean)}

    @classmethod
    def _draw_points(cls, streams, p):
        d = 2.0 * np.arctan(streams.half_angle_tangents(p.concentration))
        return Points(wrap(p.mean + d), n_threads=streams.n_threads)

    @classmethod
    def _from_line(cls, t, p):
        return Points(wrap(p.mean + t[:, None])), np.zeros(len(t))

    @classmethod
    def _line_limits(cls, log_density):
        return -np.pi, np.pi

    @classmethod
    def _line_breaks(cls, p):
        """Where the circle is cut."""
        return [float(wrap(np.pi - p.mean)[0])]

    @classmethod
    def _entropy(cls, p):
        kappa = p.concentration
        return log_bessel(kappa) + kappa * bessel_ratio_complement(kappa) + LOG_2PI

    @classmethod
    def _features(cls, x, c):
        return Points(wrap(x))

    @classmethod
    def _solve(cls, s, c):
        (cosine, sine), half = s
        require(half > 0, cls.__name__, "the mean resultant length must be below 1: all angles are equal")
        r = np.hypot(cosine, sine)
        complement = 2.0 * half / (1.0 + r)  # 1 - r
        start = r * (2.0 - r * r) / (2.0 * half)  # Banerjee, Dhillon, Ghosh & Sra 2005
        kappa, iterations, gap = newton_scalar(
            lambda k: complement - bessel_ratio_complement(k), bessel_ratio_slope, start, 0.0, np.inf
        )
        return Solution(
            {"mean": np.arctan2(sine, cosine), "concentration": np.where(r == 0, 0.0, kappa)}, iterations, gap
        )

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        (cosine, sine), half = s
        r = np.hypot(cosine, sine)
        turned = np.sin(0.5 * (np.arctan2(sine, cosine) - p.mean))
        spread = 2.0 * half / (1.0 + r) + 2.0 * r * turned * turned  # mean of 1 - cos(x - mean)
        return -p.concentration * spread - log_bessel(p.concentration) - LOG_2PI

    @classmethod
    def _kl(cls, p, q):
        turned = np.sin(0.5 * (p.mean - q.mean))
        spread = bregman(
            log_bessel,
            lambda k: -bessel_ratio_complement(k),
            bessel_ratio_slope,
            p.concentration,
            q.concentration - p.concentration,
        )
        return spread + 2.0 * q.concentration * bessel_ratio(p.concentration) * turned * turned

    @classmethod
    def _cdf(cls, x, p):
        """From the cut at -pi."""
        at, cut = (von_mises_distribution(wrap(v - p.mean), p.concentration) for v in (x, -np.pi))
        return np.clip(np.where(x >= np.pi, 1.0, at - cut + (at < cut)), 0.0, 1.0)

    @classmethod
    def _inverse(cls, u, p):
        return bisection(lambda x: cls._cdf(x, p), u, -np.pi, np.pi)

    @staticmethod
    def _moments(p):
        """The mean direction and the circular variance 1 - abs(E e^ix)."""
        return wrap(p.mean), bessel_ratio_complement(p.concentration)

    @staticmethod
    def _mode(p):
        return wrap(p.mean)


class TruncatedNormal(ExponentialFamily, Continuous):
    """Normal distribution truncated to an interval; the bounds are parameters too, and may be infinite."""

    parameters = (
        Parameter("loc", REAL, "Location mu of the normal distribution before truncation."),
        Parameter("scale", POSITIVE, "Its scale sigma."),
        Parameter("low", EXTENDED, "Lower bound, below `high`."),
        Parameter("high", EXTENDED, "Upper bound."),
    )
    formulas = Formulas(
        support="low <= x <= high", density="exp(-(x - mu)^2 / (2 sigma^2)) / Z",
        eta="(mu / sigma^2, -1 / (2 sigma^2)), for known bounds", u="(x, x^2)", h="(2 pi)^(-1/2) on [low, high]",
        A="mu^2 / (2 sigma^2) + log sigma + log(Phi(beta) - Phi(alpha)), alpha and beta the standardised bounds",
        product=(
            "for loc and scale where loc lies outside [low, high], with boundary terms; never elsewhere "
            "(pole at x = loc), nor for the bounds"
        ),
    )  # fmt: skip
    example: ClassVar = {"loc": 0.3, "scale": 1.2, "low": -0.5, "high": 2.5}
    _k = 2
    _line = "real"
    _gap = Normal._gap
    _squares = True

    @staticmethod
    def _prepare(p):
        if not (p.low < p.high).all():
            j = int(np.argmin(p.low < p.high))
            raise ValueError(f"low must be below high, got low = {p.low[j]} and high = {p.high[j]}")
        p.moments = _truncation.moments(p.loc, p.scale, p.low, p.high)
        known = np.isfinite(p.moments.log_integral) & (p.moments.variance > 0)
        if not known.all():
            j = int(np.argmin(known))
            raise ValueError(
                f"the density of a normal with loc = {p.loc[j]} and scale = {p.scale[j]} between low = {p.low[j]} and "
                f"high = {p.high[j]} cannot be represented in double precision"
            )

    @staticmethod
    def _support(p):
        return p.low, p.high

    @classmethod
    def _fixed(cls):
        return cls.parameters[2:]

    @staticmethod
    def _eta(p):
        return [p.loc / p.scale**2, -0.5 / p.scale**2]

    @staticmethod
    def _source(eta, c):
        variance = -0.5 / eta[1]
        return {"loc": eta[0] * variance, "scale": np.sqrt(variance)}

    @staticmethod
    def _partition(p):
        return 0.5 * (p.loc / p.scale) ** 2 + np.log(p.scale) + p.moments.log_mass

    @staticmethod
    def _mean(p):
        m = p.moments
        x = m.centre + p.scale * m.first
        return [x, m.centre**2 + 2.0 * m.centre * p.scale * m.first + p.scale**2 * m.second]

    @staticmethod
    def _hessian(p):
        return _truncation.covariance_of_powers(p.moments, p.scale)

    @staticmethod
    def _u(t, p):
        return [t.x, t.x * t.x]

    @staticmethod
    def _log_base(t, p):
        return -0.5 * LOG_2PI

    @staticmethod
    def _log_prob(t, p):
        m = p.moments
        y = (t.x - m.centre) / p.scale
        return -y * (m.offset + 0.5 * y) - np.log(p.scale) - m.log_integral

    @staticmethod
    def _z(t, p):
        return standardised(t.x, p.loc, p.scale)

    @classmethod
    def _slopes(cls, t, p):
        return -cls._z(t, p) / p.scale, -1.0 / p.scale**2

    @classmethod
    def _score(cls, t, p):
        m = p.moments
        y = (t.x - m.centre) / p.scale  # z = offset + y; the mean of z^2 is taken off before anything is squared
        low, high = cls._end_densities(p)
        return {
            "loc": (y - m.first) / p.scale,
            "scale": (2.0 * m.offset * (y - m.first) + (y * y - m.second)) / p.scale,
            "low": np.broadcast_to(low, y.shape),
            "high": np.broadcast_to(-high, y.shape),
        }

    @classmethod
    def _end_densities(cls, p):
        ends = []
        for end in (p.low, p.high):
            finite = np.isfinite(end)
            at = Points(np.where(finite, end, p.moments.centre)[None])
            ends.append(np.where(finite, np.exp(cls._log_prob(at, p)[0]), 0.0))
        return ends

    @classmethod
    def _moving_ends(cls, p):
        low, high = cls._end_densities(p)
        moving = {"low": (p.low, low)} if np.isfinite(p.low).any() else {}
        return moving | ({"high": (p.high, -high)} if np.isfinite(p.high).any() else {})

    def _rare_ends(self, n, names) -> str:
        """What to say of bounds whose gradients n draws cannot measure, "" where there are none.

        The gradient of E f in a bound is an integral of f' over all points between it and the bulk, of equal weight:
        where next to no draw comes near the bound, neither the estimate nor its standard error knows of those points.
        """
        p, rare = self._p, {}
        centre = p.moments.centre + p.scale * p.moments.first
        for name, density in zip(("low", "high"), self._end_densities(p)):
            end = getattr(p, name)
            with np.errstate(all="ignore"):
                below = self._cdf((end + 0.25 * (centre - end))[None], p)[0]  # the quarter of the way that is nearest
            share = np.where(density * p.scale > 1e-14, below if name == "low" else 1.0 - below, 1.0)
            if name in names and share.min() < _RARE and n * share.min() < _FEWEST:
                rare[name] = share.min()
        if not rare:
            return ""
        enough = f"{_FEWEST / min(rare.values()):.1g}" if min(rare.values()) > 0 else "infinitely many"
        return (
            f"next to none of {n} draws come near {' and '.join(rare)} of {type(self).__name__}, on which the gradient "
            f"rests: its standard error is too small; use estimator='exact', {enough} draws, or leave it out of wrt"
        )

    @classmethod
    def _score_slopes(cls, t, p):
        zero = np.zeros_like(t.x)
        return {"loc": p.scale**-2.0, "scale": 2.0 * cls._z(t, p) / p.scale**2, "low": zero, "high": zero}

    @classmethod
    def _transport(cls, t, p):
        z, low, high = cls._z(t, p), (p.low - p.loc) / p.scale, (p.high - p.loc) / p.scale
        above, below = (t.x - p.low) / p.scale, (p.high - t.x) / p.scale
        loc, scale, at_low, at_high = _weights.truncated_normal_weight(z, low, high, above, below, t.n_threads)
        return {"loc": loc, "scale": scale, "low": at_low, "high": at_high}

    @classmethod
    def _product_rule(cls, p):
        outside = (p.loc < p.low) | (p.loc > p.high)
        pole = "Btilde has a pole at x = loc = {pole:.6g}, the mode, inside [low, high]"
        rules = {}
        densities = cls._end_densities(p)
        for name in ("loc", "scale"):
            ends = []
            for end, density, sign in zip((p.low, p.high), densities, (-1.0, 1.0)):
                at = Points(np.where(np.isfinite(end), end, p.loc + p.scale)[None])
                with np.errstate(divide="ignore", invalid="ignore"):
                    weight = np.broadcast_to(cls._product_weight(at, p)[name][0], (1, len(p.loc)))[0]
                ends.append((end, np.where(np.isfinite(end), sign * weight * density, 0.0)))
            rules[name] = Validity(outside, pole, p.loc, tuple(ends))
        moving = Validity(False, "the boundary of the support moves with it")
        return rules | {"low": moving, "high": moving}

    @staticmethod
    def _ppf(u, p):
        return _truncation.quantile(u, p.loc, p.scale, p.low, p.high)

    @classmethod
    def _from_line(cls, t, p):
        """x = low + e^t or high - e^t on a half-line, a logistic map on an interval, sinh on the line."""
        low, high, t = p.low[0], p.high[0], t[:, None]
        if np.isfinite(low) and np.isfinite(high):
            x = low + (high - low) * special.expit(t)
            return Points(x), (np.log(high - low) - np.logaddexp(0.0, -t) - np.logaddexp(0.0, t))[:, 0]
        if np.isfinite(low):
            return Points(low + np.exp(t)), t[:, 0]
        if np.isfinite(high):
            return Points(high - np.exp(t)), t[:, 0]
        return super()._from_line(t[:, 0], p)

    @classmethod
    def _centre(cls, p):
        return p.loc, p.scale

    @classmethod
    def _entropy(cls, p):
        m = p.moments
        return m.offset * m.first + 0.5 * m.second + np.log(p.scale) + m.log_integral

    @classmethod
    def _kl(cls, p, q):
        """With x measured from the centre of p, where x^2 is of the size of its own spread."""
        moved = [
            SimpleNamespace(loc=r.loc - p.moments.centre, scale=r.scale, low=low, high=high)
            for low, high in [(p.low - p.moments.centre, p.high - p.moments.centre)]
            for r in (p, q)
        ]
        for r in moved:
            cls._prepare(r)
        return super()._kl(*moved)

    @classmethod
    def _constants(cls, constants, shape):
        c = super()._constants(constants, shape)
        if not (c["low"] < c["high"]).all():
            raise ValueError(f"low must be below high, got low = {c['low']} and high = {c['high']}")
        return c

    @classmethod
    def _features(cls, x, c):
        if ((x < c["low"]) | (x > c["high"])).any():
            raise ValueError(f"x must lie in [low, high] for {cls.__name__}, got values from {x.min()} to {x.max()}")
        return Points(x)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        m = p.moments
        y = (s[0] - m.centre) / p.scale
        return -m.offset * y - 0.5 * (y * y + s[1] / p.scale**2) - np.log(p.scale) - m.log_integral

    @classmethod
    def _solve(cls, s, c):
        require(s[1] > 0, cls.__name__, "the variance of the data is zero")
        solved = [_truncation.solve(m, v, low, high, cls.__name__) for m, v, low, high in zip(*s, c["low"], c["high"])]
        loc, scale = np.array([v for v, _, _ in solved]).T
        return Solution({"loc": loc, "scale": scale}, max(i for _, i, _ in solved), sum(g for _, _, g in solved))

    @staticmethod
    def _cdf(x, p):
        return _truncation.distribution(x, p.loc, p.scale, p.low, p.high)

    @staticmethod
    def _moments(p):
        return p.moments.centre + p.scale * p.moments.first, p.scale**2 * p.moments.variance

    @staticmethod
    def _mode(p):
        return p.moments.centre


class ContinuousBernoulli(ExponentialFamily, Continuous):
    """Continuous Bernoulli distribution: the density on (0, 1) proportional to exp(logit x)."""

    parameters = (
        Parameter("logit", REAL, "Natural parameter eta = log(lam / (1 - lam)); 0 is the uniform distribution."),
    )
    formulas = Formulas(
        support="0 <= x <= 1", density="eta exp(eta x) / (exp(eta) - 1)",
        eta="logit", u="x", h="1", A="log((exp(eta) - 1) / eta)",
        product="valid for eta != 0, with boundary terms at 0 and 1; undefined at eta = 0 (pole at every x)",
    )  # fmt: skip
    example: ClassVar = {"logit": 0.8}
    _line = "unit"

    @staticmethod
    def _support(p):
        return 0.0, 1.0

    @staticmethod
    def _eta(p):
        return [p.logit]

    @staticmethod
    def _source(eta, c):
        return {"logit": eta[0]}

    @staticmethod
    def _partition(p):
        return tilted_uniform_log_partition(p.logit)

    @staticmethod
    def _mean(p):
        return [tilted_uniform_mean(p.logit)]

    @staticmethod
    def _hessian(p):
        return [[tilted_uniform_variance(p.logit)]]

    @staticmethod
    def _u(t, p):
        return [t.x]

    @staticmethod
    def _log_prob(t, p):
        far = np.where(p.logit > 0, -t.y, t.x)  # |eta| times the distance from the likelier end
        return p.logit * far - tilted_uniform_log_partition(-np.abs(p.logit))

    @staticmethod
    def _slopes(t, p):
        return p.logit, 0.0

    @staticmethod
    def _score(t, p):
        return {"logit": t.x - tilted_uniform_mean(p.logit)}

    @staticmethod
    def _score_slopes(t, p):
        return {"logit": 1.0}

    @staticmethod
    def _transport(t, p):
        return {"logit": _weights.continuous_bernoulli_weight(p.logit, t.x, t.n_threads)}

    @classmethod
    def _product_rule(cls, p):
        eta, m = p.logit, tilted_uniform_mean(p.logit)
        with np.errstate(divide="ignore", invalid="ignore"):
            right = np.where(eta == 0, 0.0, (1.0 - m) / eta * np.exp(cls._log_prob(Points(np.ones((1, 1))), p)[0]))
            left = np.where(eta == 0, 0.0, m / eta * np.exp(cls._log_prob(Points(np.zeros((1, 1))), p)[0]))
        ends = ((1.0, right), (0.0, left))
        return {"logit": Validity(eta != 0, "at logit 0 Btilde has a pole at every x", ends=ends)}

    @staticmethod
    def _ppf(u, p):
        a = np.maximum(np.abs(p.logit), 1e-300)
        v = np.where(p.logit > 0, 1.0 - u, u)
        toward_zero = -np.log1p(v * np.expm1(-a)) / a  # the quantile for -abs(eta)
        near_zero = np.log1p(u * np.expm1(np.minimum(a, 700.0))) / a  # where 1 - toward_zero would cancel
        upper = np.where(u * np.exp(np.minimum(a, 700.0)) < 1.0, near_zero, 1.0 - toward_zero)
        return np.clip(np.where(p.logit > 0, upper, toward_zero), 0.0, 1.0)

    @classmethod
    def _entropy(cls, p):
        a = -np.abs(p.logit)  # x and 1 - x have one entropy
        return tilted_uniform_log_partition(a) - a * tilted_uniform_mean(a)

    @classmethod
    def _features(cls, x, c):
        if ((x < 0) | (x > 1)).any():
            raise ValueError(f"x must lie in [0, 1] for {cls.__name__}, got {x[(x < 0) | (x > 1)].flat[0]}")
        return Points(x)

    @classmethod
    def _solve(cls, s, c):
        m = s[0]
        require(
            (m > 0) & (m < 1), cls.__name__, "the mean must lie inside (0, 1): all observations are 0, or all are 1"
        )
        start = np.where(m < 0.5, -1.0 / np.maximum(m, 1e-300), 1.0 / np.maximum(1.0 - m, 1e-300)) + np.where(
            m < 0.5, 2.0, -2.0
        )
        eta, iterations, gap = newton_scalar(
            lambda e: tilted_uniform_mean(e) - m, tilted_uniform_variance, start, -np.inf, np.inf
        )
        if not np.isfinite(eta).all():
            raise MLEDoesNotExist(f"{cls.__name__}: the mean {m} is too near the boundary")
        return Solution({"logit": eta}, iterations, gap)

    @staticmethod
    def _cdf(x, p):
        a = np.maximum(np.abs(p.logit), 1e-300)
        rise = np.expm1(-a * x) / np.expm1(-a)
        return np.where(p.logit > 0, np.exp(-a * (1.0 - x)) * rise, rise)

    @staticmethod
    def _moments(p):
        return tilted_uniform_mean(p.logit), tilted_uniform_variance(p.logit)

    @staticmethod
    def _mode(p):
        return np.where(p.logit > 0, 1.0, 0.0)
