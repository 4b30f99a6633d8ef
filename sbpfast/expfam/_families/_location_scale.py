"""Location-scale families that are expected but not exponential: Student t, logistic, Gumbel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import special

from sbpfast import _checks
from sbpfast._likelihood import MLE, MLEDoesNotExist, clean_data
from sbpfast.expfam import _weights
from sbpfast.expfam._base import POSITIVE, REAL, Formulas, Parameter, Validity
from sbpfast.expfam._continuous import Continuous
from sbpfast.expfam._functions import (
    EULER,
    LOG_2PI,
    exp_gap,
    log_gamma_rise,
    log_gap,
    log_minus_digamma_fall,
    standardised,
)
from sbpfast.expfam._points import Points
from sbpfast.expfam._statistics import newton_vector

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sbpfast.expfam._base import Distribution

_LOCATION = (Parameter("loc", REAL, "Location."), Parameter("scale", POSITIVE, "Scale s."))
_AT_LOC = "Btilde has a pole at the mode, x = loc = {pole:.6g}"


class _LocationScale(Continuous):
    """z = (x - loc)/scale moves with slope 1 in loc and z in scale."""

    _locations = ("loc",)
    _line = "real"

    @staticmethod
    def _support(p):
        return -np.inf, np.inf

    @staticmethod
    def _z(t, p):
        return standardised(t.x, p.loc, p.scale)

    @classmethod
    def _transport(cls, t, p):
        return {"loc": np.ones_like(t.x), "scale": cls._z(t, p)}

    @classmethod
    def _centre(cls, p):
        return p.loc, p.scale

    @classmethod
    def _product_rule(cls, p):
        return {"loc": Validity(True), "scale": Validity(False, _AT_LOC, p.loc)}

    @staticmethod
    def _mode(p):
        return p.loc

    def kl(self, other: Distribution) -> float:
        """Kullback-Leibler divergence from this distribution to another of the family, summed over components.

        By quadrature; of two that are near to each other, of q - p - p log(q/p) >= 0, which keeps its digits.

        Raises
        ------
        TypeError, ValueError
            Another family or dimension; tails beyond double precision.
        """
        if type(other) is not type(self):
            raise TypeError(f"other must be a {type(self).__name__}, got {type(other).__name__}")
        if other.dim != self.dim:
            raise ValueError(f"other must have dimension {self.dim}, got {other.dim}")
        return sum(self._component(j)._component_kl(other._component(j)) for j in range(self.dim))

    def _component_kl(self, other) -> float:
        def both(t):
            d = other._log_prob(t, other._p) - self._log_prob(t, self._p)
            return np.concatenate([np.ones_like(d), -d, exp_gap(d)], axis=1)

        mass, plain, gap = self._expectation(both)
        self._require_mass(mass)
        return float(gap if plain < 1e-3 else plain)


class StudentT(_LocationScale):
    """Student t distribution with a location and a scale."""

    parameters = (Parameter("df", POSITIVE, "Degrees of freedom nu, any positive number."), *_LOCATION)
    formulas = Formulas(
        support="the real line",
        density="Gamma((nu + 1)/2) / (Gamma(nu/2) sqrt(nu pi) s) (1 + z^2/nu)^(-(nu + 1)/2), z = (x - loc)/s",
        product="valid for loc; never for df and scale (pole at the mode, x = loc)",
    )
    example: ClassVar = {"df": 4.5, "loc": 0.3, "scale": 1.2}

    @staticmethod
    def _log_constant(nu):
        """log of Gamma((nu + 1)/2) / (Gamma(nu/2) sqrt(nu pi))."""
        return log_gamma_rise(0.5 * nu, 0.5) - 0.5 * np.log(0.5 * nu) - 0.5 * LOG_2PI

    @classmethod
    def _tail(cls, t, p):
        """z, the root of nu + z^2, and log(1 + z^2/nu), without squaring z where it is large."""
        z, unit = cls._z(t, p), np.sqrt(p.df)
        near = np.clip(z, -unit, unit) / unit
        root = np.hypot(unit, z)
        return z, root, np.where(np.abs(z) < unit, np.log1p(near * near), 2.0 * (np.log(root) - np.log(unit)))

    @classmethod
    def _log_prob(cls, t, p):
        _, _, log_tail = cls._tail(t, p)
        return cls._log_constant(p.df) - np.log(p.scale) - 0.5 * (p.df + 1.0) * log_tail

    @classmethod
    def _slopes(cls, t, p):
        z, nu = cls._z(t, p), p.df
        q = (nu + 1.0) / (nu + z * z)
        return -z * q / p.scale, -q * (nu - z * z) / (nu + z * z) / p.scale**2

    @classmethod
    def _score(cls, t, p):
        nu = p.df
        z, root, log_tail = cls._tail(t, p)
        share = (z / root) ** 2
        # psi((nu + 1)/2) - psi(nu/2) - 1/nu, of size 1/nu^2, and share + log(1 - share), of size z^4/nu^2
        constant = log_minus_digamma_fall(0.5 * nu, 0.5) - log_gap(1.0 / nu)
        tail = np.where(share < 0.5, -log_gap(-np.minimum(share, 0.5)), share - log_tail)
        return {
            "df": 0.5 * (constant + tail + share / nu),
            "loc": (nu + 1.0) / root * (z / root) / p.scale,
            "scale": ((nu + 1.0) * share - 1.0) / p.scale,
        }

    @classmethod
    def _score_slopes(cls, t, p):
        z, nu = cls._z(t, p), p.df
        s = nu + z * z
        q = (nu + 1.0) / s
        return {
            "df": (q - 1.0) * z / s / p.scale,
            "loc": q * (nu - z * z) / s / p.scale**2,
            "scale": 2.0 * z * nu * q / s / p.scale**2,
        }

    @classmethod
    def _transport(cls, t, p):
        z = cls._z(t, p)
        return {"df": p.scale * _weights.student_t_weight(p.df, z, t.n_threads)} | super()._transport(t, p)

    @classmethod
    def _product_rule(cls, p):
        return super()._product_rule(p) | {"df": Validity(False, _AT_LOC, p.loc)}

    @staticmethod
    def _ppf(u, p):
        return p.loc + p.scale * special.stdtrit(p.df, u)

    @classmethod
    def _draw_points(cls, streams, p):
        """A normal over the root of an independent gamma, through its logarithm so that small df do not divide by 0."""
        _, log_gamma = streams.gammas(0.5 * p.df)
        z = streams.normals() * np.exp(0.5 * (np.log(0.5 * p.df) - log_gamma))
        return Points(p.loc + p.scale * z, n_threads=streams.n_threads)

    @classmethod
    def _entropy(cls, p):
        digammas = np.log1p(1.0 / p.df) + log_minus_digamma_fall(0.5 * p.df, 0.5)
        return 0.5 * (p.df + 1.0) * digammas - cls._log_constant(p.df) + np.log(p.scale)

    @classmethod
    def fit(cls, x: ArrayLike, weights: ArrayLike | None = None, *, df: float | None = None) -> MLE:
        """Maximum likelihood of location and scale for known degrees of freedom, or of all three.

        Fisher's scoring from the median and the median deviation, in (loc, log scale, log df).

        Parameters
        ----------
        x : array_like (n, d) or (n,)
            Data; (n,) gives scalar parameters.
        weights : array_like (n,), optional
            Non-negative numbers.
        df : float, optional
            The known degrees of freedom; by default they are estimated.

        Returns
        -------
        MLE
            Of a local maximum, the one that scoring finds: the likelihood of all three grows without bound as the
            scale shrinks around one observation, for df below 1/(n - 1) (Fernandez & Steel 1999).

        Raises
        ------
        MLEDoesNotExist
            The likelihood rises towards the normal distribution (data with no heavier tails: use `Normal.fit`), or
            towards a scale of 0 (too many equal observations).
        """
        data, given, scalar = clean_data("x", x, weights)
        w = np.ones(len(data)) if given is None else given
        df = None if df is None else _checks.scalar("df", df, above=0.0)
        found = [_fit_student_t(column, w / w.sum(), df) for column in data.T]
        rows = np.array([theta for theta, _, _ in found]).T
        q = cls(*(float(row[0]) if scalar else row for row in rows))
        gap = sum(g for _, _, g in found)
        return MLE(q, w @ q.log_prob(data), max(i for _, i, _ in found), gap, gap < 1e-12 * len(found))

    @classmethod
    def _cdf(cls, x, p):
        return special.stdtr(p.df, standardised(x, p.loc, p.scale))

    @classmethod
    def _moments(cls, p):
        if (p.df <= 1.0).any():
            raise ValueError(f"{cls.__name__} has a mean for df above 1 only, got df = {p.df.min()}")
        return p.loc, np.where(p.df > 2.0, p.scale**2 / (1.0 - 2.0 / p.df), np.inf)


_NORMAL = 1e6  # degrees of freedom beyond which a Student t is as good as normal


def _fit_student_t(x, w, df) -> tuple[tuple[float, float, float], int, float]:
    """(df, loc, scale), the steps and the last decrement, of data (n,) with weights of sum 1."""
    order = np.argsort(x)
    loc, scale = x[order][np.searchsorted(np.cumsum(w[order]), 0.5)], 0.0
    deviation = np.abs(x - loc)
    order = np.argsort(deviation)
    scale = 1.5 * deviation[order][min(np.searchsorted(np.cumsum(w[order]), 0.5), len(x) - 1)]
    if not scale > 0.0:
        raise MLEDoesNotExist("StudentT: half of the observations are equal, so that the scale shrinks to 0")
    centre, unit = loc, scale
    z, free = ((x - centre) / unit)[:, None], df is None

    def parameters(theta):
        nu = np.exp(theta[2]) if free else df
        return SimpleNamespace(df=np.array([nu]), loc=theta[:1], scale=np.exp(theta[1:2]))

    def gradient(theta):
        p = parameters(theta)
        score = StudentT._score(Points(z), p)
        columns = [score["loc"], p.scale * score["scale"], p.df * score["df"]][: len(theta)]
        return -np.array([w @ column[:, 0] for column in columns])

    def solve(theta, g):
        return np.linalg.solve(_student_t_information(parameters(theta))[: len(g), : len(g)], g)

    def move(theta, step):
        new = theta + np.clip(step, -2.0, 2.0)
        return new if not free or new[2] < np.log(_NORMAL) + 2.0 else None

    start = np.array([0.0, 0.0, np.log(4.0)][: 3 if free else 2])
    with np.errstate(all="ignore"):
        theta, iterations, gap = newton_vector(gradient, solve, start, move)
    p = parameters(theta)
    if not p.df[0] < _NORMAL:
        raise MLEDoesNotExist(
            "StudentT: the likelihood rises towards the normal distribution, as df grows without bound: the data have "
            "no heavier tails; use Normal.fit, or give df"
        )
    if not (gap < 1e-8 and p.scale[0] > 1e-12):
        raise MLEDoesNotExist("StudentT: no maximum was found; too many observations are equal, or they are too few")
    return (float(p.df[0]), float(centre + unit * p.loc[0]), float(unit * p.scale[0])), iterations, gap


def _student_t_information(p) -> np.ndarray:
    """Fisher information in (loc, log scale, log df) (Lange, Little & Taylor 1989, appendix B)."""
    nu, scale = float(p.df[0]), float(p.scale[0])
    trigammas = special.polygamma(1, 0.5 * nu) - special.polygamma(1, 0.5 * (nu + 1.0))
    by_df = 0.25 * trigammas - 0.5 * (nu + 5.0) / (nu * (nu + 1.0) * (nu + 3.0))
    mixed = -2.0 * nu / ((nu + 1.0) * (nu + 3.0))
    by_scale = 2.0 * nu / (nu + 3.0)
    least = mixed * mixed / by_scale * (1.0 + 1e-9)  # what rounding leaves of it for large nu
    information = np.diag([(nu + 1.0) / (nu + 3.0) / scale**2, by_scale, max(nu * nu * by_df, least)])
    information[1, 2] = information[2, 1] = mixed
    return information


class Logistic(_LocationScale):
    """Logistic distribution."""

    parameters = _LOCATION
    formulas = Formulas(
        support="the real line", density="exp(-z) / (s (1 + exp(-z))^2), z = (x - loc)/s",
        product="valid for loc; never for scale (pole at the mode, x = loc)",
    )  # fmt: skip
    example: ClassVar = {"loc": 0.3, "scale": 1.2}

    @classmethod
    def _log_prob(cls, t, p):
        a = np.abs(cls._z(t, p))
        return -a - 2.0 * np.log1p(np.exp(-a)) - np.log(p.scale)

    @classmethod
    def _slopes(cls, t, p):
        th = np.tanh(0.5 * cls._z(t, p))
        return -th / p.scale, -0.5 * (1.0 - th * th) / p.scale**2

    @classmethod
    def _score(cls, t, p):
        z = cls._z(t, p)
        th = np.tanh(0.5 * z)
        return {"loc": th / p.scale, "scale": (z * th - 1.0) / p.scale}

    @classmethod
    def _score_slopes(cls, t, p):
        z = cls._z(t, p)
        th = np.tanh(0.5 * z)
        bell = 0.5 * (1.0 - th * th)
        return {"loc": bell / p.scale**2, "scale": (th + z * bell) / p.scale**2}

    @staticmethod
    def _ppf(u, p):
        return p.loc + p.scale * special.logit(u)

    @classmethod
    def _entropy(cls, p):
        return np.log(p.scale) + 2.0

    @classmethod
    def _cdf(cls, x, p):
        return special.expit(standardised(x, p.loc, p.scale))

    @staticmethod
    def _moments(p):
        return p.loc, (p.scale * np.pi) ** 2 / 3.0


class Gumbel(_LocationScale):
    """Gumbel distribution of maxima."""

    parameters = _LOCATION
    formulas = Formulas(
        support="the real line", density="exp(-z - exp(-z)) / s, z = (x - loc)/s",
        product="valid for loc; never for scale (pole at the mode, x = loc)",
    )  # fmt: skip
    example: ClassVar = {"loc": 0.3, "scale": 1.2}

    @classmethod
    def _log_prob(cls, t, p):
        z = cls._z(t, p)
        return np.where(z < -700.0, -np.exp(-z), -z - np.exp(-z)) - np.log(p.scale)  # there z is rounding in e^-z

    @classmethod
    def _slopes(cls, t, p):
        z = cls._z(t, p)
        return np.expm1(-z) / p.scale, -np.exp(-z) / p.scale**2

    @classmethod
    def _score(cls, t, p):
        z = cls._z(t, p)
        rise = -np.expm1(-z)
        return {"loc": rise / p.scale, "scale": (z * rise - 1.0) / p.scale}

    @classmethod
    def _score_slopes(cls, t, p):
        z = cls._z(t, p)
        return {"loc": np.exp(-z) / p.scale**2, "scale": (z * np.exp(-z) - np.expm1(-z)) / p.scale**2}

    @staticmethod
    def _ppf(u, p):
        return p.loc - p.scale * np.log(-np.log(u))

    @classmethod
    def _entropy(cls, p):
        return np.log(p.scale) + EULER + 1.0

    @classmethod
    def _cdf(cls, x, p):
        return np.exp(-np.exp(-standardised(x, p.loc, p.scale)))

    @staticmethod
    def _moments(p):
        return p.loc + EULER * p.scale, (p.scale * np.pi) ** 2 / 6.0
