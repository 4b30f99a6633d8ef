"""Families on 0, 1, 2, ...: the finite-difference analogue of the transport weight, quantiles, summation."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from sbpfast.expfam._independent import Independent
from sbpfast.expfam._points import Points

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


_MOST_TERMS = 1e7


def _whole_spacing(k) -> np.ndarray:
    """The distance between doubles at k where it exceeds that of whole numbers, 0 elsewhere."""
    spacing = np.spacing(k)
    return np.where(spacing > 1.0, spacing, 0.0)


class Discrete(Independent):
    """Families on 0, 1, 2, ...: the exact finite-difference analogue of the transport weight, and summation.

    Sums go up to 1e7 terms; ``ValueError`` says where a distribution is wider.  Beyond 2^53, where doubles are whole
    numbers but not all of them, draws are the doubles next to the quantiles.
    """

    _estimators = ("score", "difference", "exact", "combined", "auto")

    @staticmethod
    def _transport(t, p) -> dict:
        raise NotImplementedError

    @staticmethod
    def _steps(x) -> np.ndarray:
        return np.floor(x)

    @classmethod
    def _inside(cls, x, p) -> np.ndarray:
        low, high = cls._support(p)
        return (x >= low) & (x <= high) & (x == np.floor(x))

    def transport(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """The discrete analogue of the transport weight, B(x) = -dF/dparameter(x) / p(x), by name, each (n, d).

        E[B(X) (f(X + 1) - f(X))] is the gradient of E f (Abel summation).
        """
        return self._terms(self._transport, self._points(x))

    def _difference_terms(self, draws, target, names=None) -> dict:
        """name -> (n, ...) B(x_j) (f(x + e_j) - f(x))."""
        x, (_, high) = draws.x, self._support(self._p)
        f = target._value(x)
        differences = np.empty(x.shape)
        for j in range(self.dim):
            moved = x.copy()
            moved[:, j] = np.minimum(moved[:, j] + 1.0, high[j])  # at the upper end B is 0 and f is not asked beyond
            differences[:, j] = target._value(moved) - f
        weights = self._transport(draws, self._p)
        return {k: self._shaped(k, weights[k] * differences) for k in self._chosen(names)}

    @classmethod
    def _ppf(cls, u, p) -> np.ndarray:
        """The least k with F(k) >= u: by a table where the distribution is narrow enough, by bisection elsewhere."""
        x = np.empty(u.shape)
        for j in range(u.shape[1]):
            q = SimpleNamespace(**{name: value[j : j + 1] for name, value in vars(p).items()})
            low, high = (int(v) for v in cls._bracket(q))
            if high - low < min(2**20, 64 * len(u)):
                table = cls._cdf(np.arange(low, high, dtype=np.float64), q)
                x[:, j] = low + np.searchsorted(table, u[:, j], side="left")
            else:
                x[:, j] = cls._bisect(u[:, j], q, low, high)
        return x

    @classmethod
    def _bisect(cls, u, q, low, high):
        a, b = np.full(len(u), float(low)), np.full(len(u), float(high))
        while (b - a > _whole_spacing(b)).any():
            middle = a + np.floor(0.5 * (b - a))
            enough = cls._cdf(middle, q) >= u
            a, b = np.where(enough, a, middle + 1.0), np.where(enough, middle, b)
        return b

    @classmethod
    def _bracket(cls, q):
        """Whole numbers low <= high with F(low - 1) < 2^-54 and 1 - F(high) < 2^-54, by doubling from the mean."""
        low, high = (float(v[0]) for v in cls._support(q))
        mean = float(cls._mean_value(q)[0])
        if not np.isfinite([mean, *cls._cdf(np.array([np.floor(mean)]), q)]).all():
            raise ValueError(f"{cls.__name__} with mean {mean:.6g} is out of the range of its distribution function")
        step, a = max(1.0, np.spacing(mean)), np.floor(mean)
        while a > low and cls._cdf(np.array([a - 1.0]), q)[0] >= 2.0**-54:
            a, step = max(low, a - step), 2.0 * step
        step, b = max(1.0, np.spacing(mean)), np.floor(mean)
        while b < high and cls._cdf(np.array([b]), q)[0] < 1.0 - 2.0**-53:
            b, step = min(high, b + step), 2.0 * step
        return a, b

    @classmethod
    def _mean_value(cls, p) -> np.ndarray:
        raise NotImplementedError

    def _integrates(self, target) -> bool:
        return super()._integrates(target) and self._width <= _MOST_TERMS

    @cached_property
    def _width(self) -> float:
        """The number of points that hold the probability, for one component."""
        low, high = (float(v[0]) for v in self._support(self._p))
        if high - low > _MOST_TERMS:
            low, high = self._bracket(self._p)
        return high - low + 1.0

    def _expectation(self, function) -> np.ndarray:
        """Sums outwards from the mean in blocks until the terms no longer count."""
        if self._width > _MOST_TERMS:
            raise ValueError(f"{self!r} is too wide to be summed: about {self._width:.2g} terms, more than 1e7")
        low, high = (float(v[0]) for v in self._support(self._p))
        start = float(np.floor(np.clip(self._mean_value(self._p)[0], low, high)))
        if start >= 2.0**53:
            raise ValueError(f"{self!r} cannot be summed: doubles beyond 2^53 are not all whole numbers")
        total, scale = 0.0, 0.0
        for direction in (1.0, -1.0):
            first, size = (start if direction > 0 else start - 1.0), 256
            while low <= first <= high:
                count = min(
                    size,
                    int(high - first if direction > 0 else first - low) + 1
                    if np.isfinite(high) or direction < 0
                    else size,
                )
                k = first + direction * np.arange(count)
                points = Points(k[:, None])
                weight = np.exp(self._log_prob(points, self._p))
                with np.errstate(invalid="ignore", over="ignore"):
                    terms = np.where(weight > 0.0, weight * function(points), 0.0)
                total, size_here = total + terms.sum(axis=0), np.abs(terms).sum(axis=0)
                scale = scale + size_here
                rest = weight.sum()
                if rest < 1e-100 or (rest < 1e-12 and (size_here <= 1e-16 * scale).all()) or np.isnan(scale).any():
                    break
                first, size = first + direction * count, min(2 * size, 2**20)
        return np.asarray(total)
