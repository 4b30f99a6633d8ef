"""Continuous components: transport weights, the product rule, one-dimensional quadrature."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sbpfast.expfam import _quadrature
from sbpfast.expfam._base import Validity
from sbpfast.expfam._independent import Independent
from sbpfast.expfam._points import Points

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Continuous(Independent):
    """Continuous components: transport weights, the product rule, one-dimensional quadrature."""

    _estimators = ("pathwise", "score", "product", "exact", "combined", "auto")
    _locations: ClassVar[tuple[str, ...]] = ()  # parameters that only shift x: Btilde = -1
    _line = "positive"  # the map from the real line for quadrature

    # a row supplies these

    @staticmethod
    def _transport(t, p) -> dict:
        """B = -dF/dparameter / p."""
        raise NotImplementedError

    @staticmethod
    def _slopes(t, p) -> tuple:
        """First and second derivative of log p in x."""
        raise NotImplementedError

    @staticmethod
    def _score_slopes(t, p) -> dict:
        """Derivatives of the score in x."""
        raise NotImplementedError

    @classmethod
    def _product_rule(cls, p) -> dict[str, Validity]:
        raise NotImplementedError

    # public

    def transport(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Transport weights B(x) = -dF/dparameter / p by parameter name, each (n, d).

        E[B f'] is the gradient of E f: B is dx/dparameter at fixed F (implicit reparameterisation; Figurnov, Mohamed
        & Mnih 2018), and solves the continuity equation dp/dparameter + d(p B)/dx = 0.
        """
        return self._terms(self._transport, self._points(x))

    def product_weight(self, x: ArrayLike) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The product rule's weight Btilde = (d log p / dparameter) / (d log p / dx) and its derivative in x.

        The gradient of E f is -E[d/dx (Btilde f)] plus boundary terms, but only where Btilde has no pole of positive
        density in the support; see the family's notes, and ``estimator="product"``, which refuses elsewhere.  At poles
        and at the ends of the support the quotients stand as they are, and may be infinite or NaN.
        """
        t = self._points(x)
        with np.errstate(all="ignore"):
            weights = self._product_weight(t, self._p)
        return {
            name: (np.array(np.broadcast_to(b, t.x.shape)), np.array(np.broadcast_to(slope, t.x.shape)))
            for name, (b, slope) in weights.items()
        }

    @classmethod
    def _product_weight(cls, t, p) -> dict:
        weights = {}
        with np.errstate(all="ignore"):
            slope, curvature = cls._slopes(t, p)
            score, score_slopes = cls._score(t, p), cls._score_slopes(t, p)
            for name in cls._names:
                if name in cls._locations:
                    weights[name] = (-1.0, 0.0)
                    continue
                b = score[name] / slope
                weights[name] = (b, (score_slopes[name] - b * curvature) / slope)
        return weights

    # estimation

    def _pathwise_terms(self, draws, grad, names=None) -> dict:
        """name -> (n, ...) B grad f."""
        weights = self._transport(draws, self._p)
        return {k: self._shaped(k, weights[k] * grad) for k in self._chosen(names)}

    def _product_terms(self, draws, f, grad, target=None, names=None) -> dict:
        """name -> (n, ...) -(Btilde f)' + boundary terms.

        Raises
        ------
        ValueError
            Btilde has a pole (at the mode, as a rule) or its boundary term does not exist; the text says which.
        """
        rules = self._product_rule(self._p)
        weights = self._product_weight(draws, self._p)
        terms = {}
        for name in self._chosen(names):
            rule = rules[name]
            valid = np.broadcast_to(rule.valid, (self.dim,))
            if not valid.all():
                j = int(np.argmin(valid))
                where = f" (component {j})" if self.dim > 1 else ""
                reason = rule.reason.format(pole=float(np.broadcast_to(rule.pole, valid.shape)[j]))
                raise ValueError(
                    f"estimator 'product' is not valid for {name} of {type(self).__name__}{where}: {reason}; "
                    "use 'pathwise'"
                )
            b, slope = weights[name]
            total = -(b * grad + slope * f[:, None])
            for point, coefficient in rule.ends:
                total = total + self._end_term(draws, target, point, coefficient)
            terms[name] = self._shaped(name, total)
        return terms

    def _end_term(self, draws, target, point, coefficient):
        """coefficient_j f(x with x_j = point_j), for every component j."""
        coefficient = np.broadcast_to(coefficient, (self.dim,))
        point = np.broadcast_to(point, (self.dim,))
        out = np.zeros(draws.x.shape)
        for j in np.flatnonzero((coefficient != 0) & np.isfinite(point)):
            moved = draws.x[:1].copy() if self.dim == 1 else draws.x.copy()
            moved[:, j] = point[j]
            out[:, j] = coefficient[j] * target._value(moved)
        return out

    def _weighted_terms(self, draws, f, grad, V, dV) -> dict:
        """name -> (n, ...) V f' + (d log p/dparameter + V d log p/dx + V') f, unbiased for any smooth weight V.

        Parameters
        ----------
        draws : Points
        f, grad : ndarray (n,), (n, d)
            The target at the draws.
        V, dV : dict of str to ndarray (n, d)
            The weight and its derivative in x.
        """
        advice = "V = B, estimator='pathwise', is the one weight for it"
        self._require_fixed_support("the generalised reparameterisation is not valid", V, advice)
        score, (slope, _) = self._score(draws, self._p), self._slopes(draws, self._p)
        return {
            k: self._shaped(k, V[k] * grad + (score[k] + V[k] * slope + dV[k]) * f[:, None]) for k in self._chosen(V)
        }

    @cached_property
    def _refused(self):
        valid = all(np.all(rule.valid) for rule in self._product_rule(self._p).values())
        return super()._refused + (() if valid else ("product",))

    # quadrature: x = x(t), t on the real line, where log densities fall at least linearly at both ends

    @classmethod
    def _from_line(cls, t, p) -> tuple[Points, np.ndarray]:
        """Points (m, 1) at t (m,), and log dx/dt (m,)."""
        t = t[:, None]
        if cls._line == "positive":
            with np.errstate(over="ignore"):
                return Points(np.exp(t), log_x=t), t[:, 0]
        if cls._line == "unit":
            log_x, log_y = -np.logaddexp(0.0, -t), -np.logaddexp(0.0, t)
            return Points(np.exp(log_x), y=np.exp(log_y), log_x=log_x, log_y=log_y), (log_x + log_y)[:, 0]
        centre, width = cls._centre(p)
        log_cosh = np.abs(t) + np.log1p(np.exp(-2.0 * np.abs(t))) - np.log(2.0)
        return Points(centre + width * np.sinh(t)), (np.log(width) + log_cosh)[:, 0]

    @classmethod
    def _centre(cls, p) -> tuple:
        """A location and a scale, for families on the whole line."""
        raise NotImplementedError

    # of t: where the search for the ends begins, and how far it may go before x squared overflows or t loses its digits
    _REACH: ClassVar[dict] = {"positive": (700.0, 1e6), "unit": (700.0, 1e6), "real": (350.0, 350.0)}

    def _integrates(self, target) -> bool:
        return super()._integrates(target) and self._is_covered

    @cached_property
    def _is_covered(self) -> bool:
        """Whether quadrature reaches all of the probability."""
        try:
            self._require_mass(self._expectation(lambda t: np.ones((t.n, 1)))[0])
        except ValueError:
            return False
        return True

    def _expectation(self, function) -> np.ndarray:
        """By quadrature on the line.

        Raises
        ------
        ValueError
            The tails reach beyond the range of double precision.
        """
        p = self._p

        def log_density(t):
            points, log_slope = self._from_line(t, p)
            with np.errstate(all="ignore"):
                return self._log_prob(points, p)[:, 0] + log_slope

        def integrand(t):
            points, log_slope = self._from_line(t, p)
            with np.errstate(all="ignore"):
                weight = np.exp(self._log_prob(points, p)[:, 0] + log_slope)
                return np.where(weight[:, None] > 0.0, weight[:, None] * function(points), 0.0)

        try:
            low, high = self._line_limits(log_density)
        except ValueError as error:
            raise ValueError(f"{self!r} cannot be integrated in double precision: {error}") from None
        integral = _quadrature.integrate_line(integrand, log_density, low, high, self._line_breaks(p))
        return np.asarray(integral.value)

    @classmethod
    def _line_limits(cls, log_density):
        start, furthest = cls._REACH[cls._line]
        return _quadrature.reach(log_density, -start, start, furthest)

    @classmethod
    def _line_breaks(cls, p) -> list:
        """Where on the line an integrand jumps."""
        return []
