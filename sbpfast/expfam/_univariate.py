"""Any other one-dimensional exponential family, from its pieces."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from sbpfast import _checks, _core
from sbpfast._likelihood import MLE, MLEDoesNotExist, check_prior, clean_data
from sbpfast.expfam import _quadrature, _statistics
from sbpfast.expfam._base import Distribution, MeanAndVariance
from sbpfast.expfam._points import Points

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_FALL = 500.0  # how far down the log density is covered
_ROUGHEST = 1e-3  # rounding error of the log density at its peak
_MOST_MEMBERS = 40  # of a family that a search for mean parameters makes


def _one(x):
    return np.ones((len(x), 1))


class Univariate(Distribution):
    """A one-dimensional exponential family h(x) exp(eta . u(x) - A(eta)), built numerically.

    The log-partition function comes from adaptive quadrature, the transport weights from integrating
    (u - E u) p towards the nearer tail, and draws from inverting the distribution function.

    Parameters
    ----------
    log_h : callable
        x (m,) to log h(x) (m,).
    eta : array_like (k,) or float
        Natural parameters.
    u : callable
        x (m,) to the statistics (m, k), or (m,) where k = 1.
    support : pair of float
        The ends of the interval, which may be infinite.

    Raises
    ------
    TypeError, ValueError
        Not callable, or results of a wrong shape; no interval; the density does not integrate in double precision: eta
        lies outside the natural domain, more than 1e-12 of the probability lies beyond the largest double or within
        rounding of an end, or rounding leaves the log density unknown by more than 1e-3 at its peak.  (Next to an end
        at 0 there are doubles down to 5e-324, next to any other there are not: a density like x^(-1/2) can be resolved
        at 0 only.)

    Notes
    -----
    The density should have one mode, after the support is mapped to the line (x = e^t on a half-line, logistic on an
    interval, sinh on the line).  Points more than 500 below the peak in log density are outside what is covered, and
    weights at a distance d from an end c other than 0 are good to abs(c) 2e-16 / d.

    `from_natural`, `from_mean_params` and `fit` make other members of the same family; they are methods of a member,
    which holds the functions.
    """

    _names = ("eta",)
    _estimators = ("pathwise", "score", "exact", "combined", "auto")
    _refused: tuple[str, ...] = ()
    _p = None
    dim = 1
    eta: float | np.ndarray

    def __init__(
        self,
        log_h: Callable[[np.ndarray], ArrayLike],
        eta: ArrayLike,
        u: Callable[[np.ndarray], ArrayLike],
        support: tuple[float, float] = (-np.inf, np.inf),
    ) -> None:
        for name, function in (("log_h", log_h), ("u", u)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, got {type(function).__name__}")
        array = _checks.real_array("eta", eta, ndim=(0, 1))
        self.__dict__["eta"] = _checks.frozen(array) if array.ndim else float(array)
        self._eta = array.reshape(-1)
        low, high = _checks.real_array("support", support, shape=(2,), finite=False).tolist()
        if not low < high:
            raise ValueError(f"support must be an interval, got ({low}, {high})")
        self.support = (low, high)
        self._log_h, self._u = log_h, u
        with np.errstate(all="ignore"):
            self._build()

    # the line t, on which the density is laid out

    def _map(self, t):
        low, high = self.support
        if np.isfinite(low) and np.isfinite(high):
            log_slope = np.log(high - low) - np.logaddexp(0.0, -t) - np.logaddexp(0.0, t)
            return low + (high - low) * special.expit(t), log_slope
        if np.isfinite(low):
            return low + np.exp(t), t
        if np.isfinite(high):
            return high - np.exp(t), t
        return np.sinh(t), np.logaddexp(t, -t) - np.log(2.0)

    def _unmap(self, x):
        low, high = self.support
        with np.errstate(divide="ignore"):
            if np.isfinite(low) and np.isfinite(high):
                return np.log((x - low) / (high - x))
            if np.isfinite(low):
                return np.log(x - low)
            if np.isfinite(high):
                return np.log(high - x)
            return np.arcsinh(x)

    def _line_ends(self) -> tuple[float, float]:
        """The t between which x lies strictly inside the support, as doubles."""
        low, high = self.support
        width = high - low if np.isfinite(high - low) else 1.0

        def last(end):
            return np.log(max(np.spacing(min(abs(end), 2.0**1023)), 1e-323)) - np.log(width)

        if np.isfinite(low) and np.isfinite(high):
            return last(low), -last(high)
        if np.isfinite(low) or np.isfinite(high):
            return last(low if np.isfinite(low) else high), 709.0
        return -709.0, 709.0

    def _statistics(self, x):
        m, k = len(x), len(self._eta)
        u = np.asarray(self._u(x), dtype=np.float64)
        if u.shape != (m, k) and (k > 1 or u.shape != (m,)):
            wanted = f"({m}, {k})" if k > 1 else f"({m}, 1) or ({m},)"
            raise ValueError(f"u must return an array of shape {wanted} for x of shape ({m},), got {u.shape}")
        return u.reshape(m, k)

    def _base(self, x):
        value = np.asarray(self._log_h(x), dtype=np.float64)
        if value.shape != x.shape:
            raise ValueError(f"log_h must return an array of the shape of x, {x.shape}, got {value.shape}")
        return value

    def _unnormalised(self, x):
        return self._base(x) + self._statistics(x) @ self._eta

    def _line_density(self, t):
        """log of the unnormalised density of t."""
        with np.errstate(all="ignore"):
            x, log_slope = self._map(t)
            value = self._unnormalised(x) + log_slope
        outside = (x <= self.support[0]) | (x >= self.support[1])
        return np.where(outside | np.isnan(value), -np.inf, value)

    def _build(self):
        reach = self._line_ends()
        peak = _quadrature.mode(self._line_density, *reach)
        first, top, last = self._line_density(np.array([reach[0], peak, reach[1]]))
        if not (np.isfinite(top) and top - max(first, last) >= _quadrature.ENOUGH):
            self._refuse()
        self._lowest = top - _FALL
        noise = self._rounding(self._map(np.array([peak]))[0])
        if noise > _ROUGHEST:
            self._refuse()

        def moments(t):
            p = np.exp(self._line_density(t) - top)[:, None]
            with np.errstate(all="ignore"):
                u = self._statistics(self._map(t)[0])
                both = np.concatenate([np.ones_like(p), u, (u[:, :, None] * u[:, None, :]).reshape(len(t), -1)], axis=1)
                return np.where(p > 0, p * both, 0.0)

        rtol = max(_quadrature.RTOL, 4.0 * noise)
        integral = _quadrature.integrate_line(moments, self._line_density, *reach, fall=_FALL, rtol=rtol)
        mass = np.asarray(integral.value)[0]
        if not (np.isfinite(mass) and mass > 0):
            self._refuse()
        self._log_partition = float(np.log(mass) + top)
        self._mean = self._expect(integral.panels, lambda x: self._statistics(x))
        centred = self._expect(integral.panels, self._centred_squares)
        self._covariance = centred.reshape(len(self._eta), -1)

    def _rounding(self, x) -> float:
        """How far off the log density at a point may be, as the sum of terms that cancel."""
        terms = np.abs(self._base(x)) + np.abs(self._statistics(x)) @ np.abs(self._eta)
        return float(np.finfo(float).eps * terms[0])

    def _refuse(self):
        raise ValueError(
            f"the density does not integrate over {self.support} at eta = {self.eta} in double precision: eta is "
            "outside the natural domain, too much of the probability lies next to the ends, or the terms of the log "
            "density are so large that their rounding hides its shape"
        )

    def _centred_squares(self, x):
        d = self._statistics(x) - self._mean
        return (d[:, :, None] * d[:, None, :]).reshape(len(x), -1)

    def _expect(self, panels, function):
        """Integral of the normalised density times a function, panel by panel; keeps the panels' shares."""
        edges = np.concatenate(panels) if panels else np.empty((0, 2))
        if not (edges[:, 1] > edges[:, 0]).any():
            self._refuse()
        edges = self._steps(edges[np.argsort(edges[:, 0])])
        self._left, self._right = edges[:-1], edges[1:]
        t, w = self._nodes(self._left, self._right)
        density = w * np.exp(self._line_density(t.reshape(-1)) - self._log_partition).reshape(t.shape)
        mass = density.sum()
        density /= mass  # next to 1, but as the panels have it: far from 0, 1e-9 of a mean may be a standard deviation
        self._log_partition += float(np.log(mass))
        self._mass = density.sum(axis=1)
        with np.errstate(all="ignore"):
            values = np.nan_to_num(function(self._map(t.reshape(-1))[0]), posinf=0.0, neginf=0.0)
        return (density.reshape(-1, 1) * values).sum(axis=0)

    def _steps(self, panels):
        """Edges of consecutive panels, cut so that the log density rises or falls by 16 at most in each."""
        edges = np.append(panels[:, 0], panels[-1, 1])
        change = np.abs(np.diff(np.maximum(self._line_density(edges) - self._log_partition, -2.0 * _FALL)))
        pieces = np.ceil(change / 16.0).astype(np.intp).clip(1)
        cut = [np.linspace(a, b, k, endpoint=False) for a, b, k in zip(edges[:-1], edges[1:], pieces)]
        return np.append(np.concatenate(cut), edges[-1])

    @staticmethod
    def _nodes(a, b):
        half = 0.5 * (b - a)
        return (0.5 * (a + b))[:, None] + half[:, None] * _NODES, half[:, None] * _WEIGHTS

    # the calculus

    def __repr__(self):
        return f"Univariate(eta={self.eta!r}, support={self.support!r})"

    def natural(self) -> np.ndarray:
        """Natural parameters, (1, k)."""
        return self._eta[None].copy()

    def mean_params(self) -> np.ndarray:
        """grad A = E u, (1, k)."""
        return self._mean[None].copy()

    def fisher(self) -> np.ndarray:
        """Hessian of A, the covariance of u, (1, k, k)."""
        return self._covariance[None].copy()

    def log_partition(self) -> float:
        """A(eta)."""
        return self._log_partition

    def from_natural(self, eta: ArrayLike) -> Univariate:
        """The member of this family with other natural parameters."""
        eta = self._vector("eta", eta).reshape(np.shape(self.eta))
        return Univariate(self._log_h, eta, self._u, self.support)

    def _vector(self, name, value):
        """k numbers, given as (k,), (1, k), or one number where k is 1."""
        array, k = _checks.real_array(name, value), len(self._eta)
        if array.shape not in ((k,), (1, k)) and (k > 1 or array.shape):
            raise ValueError(f"{name} must have shape ({k},) or (1, {k}), got {array.shape}")
        return array.reshape(-1)

    def from_mean_params(self, m: ArrayLike) -> Univariate:
        """The member of this family with mean parameters E u = m, by Newton's method from this one.

        Raises
        ------
        ValueError
            m is not in the interior of the set of means.
        """
        wanted = self._vector("m", m)
        found, _, gap = self._solve(wanted)
        if not gap < 1e-12:
            raise ValueError(f"m must lie in the interior of the set of means E u, got {wanted}")
        return found

    def _solve(self, m) -> tuple[Univariate, int, float]:
        """The minimum of A(eta) - eta . m, the Newton steps, and the squared decrement there."""
        latest, made = self, 0

        def member(eta):
            nonlocal latest, made
            if not np.array_equal(eta, latest._eta):
                made += 1
                if made > _MOST_MEMBERS:
                    raise np.linalg.LinAlgError("no minimum was found")
                latest = self.from_natural(eta)
            return latest

        def move(eta, step):
            try:
                member(eta + step)
            except (ValueError, RuntimeWarning):  # outside the domain, or too narrow for panels
                return None
            return eta + step

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                eta, iterations, gap = _statistics.newton_vector(
                    lambda eta: member(eta)._mean - m,
                    lambda eta, g: np.linalg.solve(member(eta)._covariance, g),
                    self._eta,
                    move,
                )
        except np.linalg.LinAlgError:  # eta ran off, or to where u does not vary
            return self, 0, np.inf
        found = member(eta)
        # the decrement of a member too narrow for its panels may mean nothing
        reached = np.allclose(found._mean, m, rtol=1e-9, atol=1e-9)
        return found, iterations, gap if reached else np.inf

    def fit(self, x: ArrayLike, weights: ArrayLike | None = None, prior: tuple[float, ArrayLike] | None = None) -> MLE:
        """Maximum likelihood, or the maximum a posteriori under a conjugate prior, among the members of this family.

        Parameters
        ----------
        x : array_like (n,) or (n, 1)
        weights : array_like (n,), optional
            Non-negative numbers.
        prior : (nu, m0), optional
            nu pseudo-observations with mean statistics m0 (k,).

        Raises
        ------
        MLEDoesNotExist
            The mean statistics are not in the interior of the set of means.
        """
        rows, w, _ = clean_data("x", x, weights)
        data = self._points(rows).x[:, 0]
        if prior is None and (data == data[0]).all():
            raise MLEDoesNotExist(f"Univariate: all observations equal {data[0]}: the likelihood has no maximum")
        mean, total = np.average(self._statistics(data), axis=0, weights=w), len(data)
        if w is not None:
            total = w.sum()
        target = mean
        if prior is not None:
            nu, m0 = check_prior(prior)
            target = mean + (self._vector("m0 of prior", m0) - mean) * (nu / (nu + total))
        q, iterations, gap = self._solve(target)
        if not gap < 1e-12:
            raise MLEDoesNotExist(f"Univariate: no member has the mean statistics {target}")
        base = np.average(self._base(data), weights=w)
        return MLE(q, total * (q._eta @ mean - q._log_partition + base), iterations, gap, True)

    def sufficient(self, x: ArrayLike) -> np.ndarray:
        """u(x), (n, 1, k)."""
        return self._statistics(self._points(x).x[:, 0])[:, None, :]

    def log_base(self, x: ArrayLike) -> np.ndarray:
        """log h(x), (n,)."""
        return self._base(self._points(x).x[:, 0])

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """Log density (n,); -inf outside the support."""
        x = self._rows(x)[:, 0]
        inside = (x >= self.support[0]) & (x <= self.support[1])
        with np.errstate(all="ignore"):
            return np.where(inside, self._unnormalised(np.where(inside, x, np.nan)) - self._log_partition, -np.inf)

    def score(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """u(x) - E u, (n, 1), or (n, 1, k) for vectors of natural parameters."""
        return {"eta": self._by_parameter(self._statistics(self._points(x).x[:, 0]) - self._mean)}

    def _by_parameter(self, columns):
        return columns[:, None, :] if np.ndim(self.eta) else columns

    def entropy(self) -> float:
        """-E log p."""
        return float(-self._expectation(lambda t: self._unnormalised(t.x[:, 0])[:, None] - self._log_partition)[0])

    def kl(self, other: Distribution) -> float:
        """Kullback-Leibler divergence to a member of the same family (made by `from_natural`)."""
        if not isinstance(other, Univariate) or other._log_h is not self._log_h or other._u is not self._u:
            raise TypeError("other must be a member of the same family, made by from_natural")
        if other.support != self.support:
            raise ValueError(f"other must have the support {self.support}, got {other.support}")
        divergence = other._log_partition - self._log_partition - (other._eta - self._eta) @ self._mean
        return float(np.maximum(divergence, 0.0))  # rounding may leave less

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function P(X <= x), element by element, of x of any shape."""
        x = _checks.real_array("x", x)
        low, high = self.support
        inside = (x > low) & (x < high)
        values = np.where(x >= high, 1.0, 0.0)
        values[inside] = self._distribution(x[inside])
        return values[()]

    def _distribution(self, x):
        t, (first, last) = self._unmap(x), (self._left[0], self._right[-1])
        t = np.clip(t, first, last)
        i = np.clip(np.searchsorted(self._right, t), 0, len(self._right) - 1)
        below = np.concatenate([[0.0], np.cumsum(self._mass)])
        share = (below[i] + self._partial(self._left[i], t, np.zeros(len(t)), _one)[:, 0]) / below[-1]
        return np.clip(1.0 - share if self._runs_backwards else share, 0.0, 1.0)

    @property
    def _runs_backwards(self) -> bool:
        """Whether x falls as t rises: x = high - e^t."""
        return bool(np.isinf(self.support[0]) and np.isfinite(self.support[1]))

    def ppf(self, q: ArrayLike) -> Any:
        """The inverse of `cdf` at probabilities q of any shape; at 0 and 1 the ends of the support."""
        q = _checks.real_array("q", q)
        if not ((q >= 0.0) & (q <= 1.0)).all():
            raise ValueError(f"q must lie in [0, 1], got {q[(q < 0.0) | (q > 1.0)].flat[0]}")
        low, high = self.support
        inner = self._ppf(np.clip(q, 1e-300, 1.0 - 2.0**-53).reshape(-1)).reshape(q.shape)
        return np.where(q == 0.0, low, np.where(q == 1.0, high, inner))[()]

    def moments(self) -> MeanAndVariance:
        """Mean and variance of x, by quadrature."""
        mean = float(self._expectation(lambda t: t.x)[0])
        return MeanAndVariance(mean, float(self._expectation(lambda t: (t.x - mean) ** 2)[0]))

    def mode(self) -> float:
        """The point of largest density inside the support, to 1e-6."""

        def log_density(t):
            with np.errstate(all="ignore"):
                return self._unnormalised(self._map(t)[0])

        t = _quadrature.mode(log_density, self._left[0], self._right[-1])
        return float(self._map(np.array([t]))[0][0])

    # points

    def _rows(self, x):
        x = _checks.real_array("x", x, finite=False)
        return _checks.points("x", x[:, None] if x.ndim == 1 else x, 1)

    def _points(self, x):
        if isinstance(x, Points):
            return x
        rows = self._rows(x)
        if ((rows < self.support[0]) | (rows > self.support[1])).any():
            raise ValueError(f"x must lie in the support, {self.support}")
        return Points(rows, n_threads=_core.effective_threads(None))

    def _partial(self, a, b, shift, function):
        """Integral over [a, b] of exp(log density of t - shift) function(x), for each point."""
        t, w = self._nodes(a, b)
        log_density = self._line_density(t.reshape(-1)).reshape(t.shape) - self._log_partition - shift[:, None]
        with np.errstate(all="ignore"):
            values = np.nan_to_num(function(self._map(t.reshape(-1))[0]))
        values = values.reshape(*t.shape, values.shape[1])
        return ((w * np.exp(log_density))[:, :, None] * values).sum(axis=1)

    def _excess(self, x):
        return self._statistics(x) - self._mean

    def transport(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """B(x) = -dF/deta / p, shaped as `score`: the integral of (u - E u) p from x to the nearer end, over p(x)."""
        return {"eta": self._by_parameter(self._weight(self._points(x).x[:, 0]))}

    def product_weight(self, x: ArrayLike):
        """Not to be had: ``ValueError``, as the derivatives of log_h and u are not known."""
        raise ValueError("Univariate has no product-rule weight: the derivatives of log_h and u are not known")

    def _weight(self, x):
        at_end = (x == self.support[0]) | (x == self.support[1])  # where the limit is 0
        t = np.where(at_end, 0.5 * (self._left[0] + self._right[-1]), self._unmap(x))
        if (self._line_density(t) < self._lowest).any():
            raise ValueError("x lies where the density is below e^-500 of its peak, beyond what the quadrature covers")
        i = np.clip(np.searchsorted(self._right, t), 0, len(self._right) - 1)
        edges, w = self._nodes(self._left, self._right)
        density = w * np.exp(self._line_density(edges.reshape(-1)) - self._log_partition).reshape(edges.shape)
        shares = (
            density[:, :, None] * np.nan_to_num(self._excess(self._map(edges.reshape(-1))[0])).reshape(*edges.shape, -1)
        ).sum(axis=1)
        below = np.concatenate([np.zeros((1, shares.shape[1])), np.cumsum(shares, axis=0)])
        above = np.concatenate([np.cumsum(shares[::-1], axis=0)[::-1], np.zeros((1, shares.shape[1]))])
        log_p = self._unnormalised(np.where(at_end, self._map(t)[0], x)) - self._log_partition
        upper = np.cumsum(self._mass)[i] > 0.5
        right = self._partial(t, self._right[i], log_p, self._excess) + above[i + 1] * np.exp(-log_p)[:, None]
        left = -self._partial(self._left[i], t, log_p, self._excess) - below[i] * np.exp(-log_p)[:, None]
        weight = np.where(upper[:, None], right, left)
        return np.where(at_end[:, None], 0.0, -weight if self._runs_backwards else weight)

    def _ppf(self, u):
        """Newton's method on the distribution function of t, inside the panel that holds u."""
        if self._runs_backwards:
            u = 1.0 - u
        cumulative = np.concatenate([[0.0], np.cumsum(self._mass)])
        cumulative /= cumulative[-1]
        i = np.clip(np.searchsorted(cumulative, u) - 1, 0, len(self._mass) - 1)
        t = 0.5 * (self._left[i] + self._right[i])
        wanted, todo = u - cumulative[i], np.arange(len(u))
        a, b = self._left[i].copy(), self._right[i].copy()
        for _ in range(100):
            here = t[todo]
            mass = self._partial(self._left[i[todo]], here, np.zeros(len(todo)), _one)[:, 0]
            error = mass - wanted[todo]
            a[todo], b[todo] = np.where(error < 0, here, a[todo]), np.where(error > 0, here, b[todo])
            with np.errstate(all="ignore"):
                step = here - error / np.exp(self._line_density(here) - self._log_partition)
            new = np.where((step >= a[todo]) & (step <= b[todo]), step, 0.5 * (a[todo] + b[todo]))
            t[todo] = new
            todo = todo[(np.abs(error) > 1e-15) & (np.abs(new - here) > 1e-13 * (1.0 + np.abs(here)))]
            if not len(todo):
                break
        return self._map(t)[0]

    def _draw_uniform(self, u, n_threads=1) -> Points:
        return Points(self._ppf(u[:, 0])[:, None], n_threads=n_threads)

    # estimation

    def _shaped(self, columns):
        return columns if np.ndim(self.eta) else columns[:, 0]

    def _integrates(self, target) -> bool:
        return target._has("value")

    def _pathwise_terms(self, draws, grad, names=None) -> dict:
        return {"eta": self._shaped(self._weight(draws.x[:, 0]) * grad)}

    def _score_terms(self, draws, names=None) -> dict:
        return {"eta": self._shaped(self._excess(draws.x[:, 0]))}

    def _expectation(self, function):
        def integrand(t):
            x, _ = self._map(t)
            weight = np.exp(self._line_density(t) - self._log_partition)[:, None]
            with np.errstate(all="ignore"):
                return np.where(weight > 0, weight * function(Points(x[:, None])), 0.0)

        edges = np.unique(np.concatenate([self._left, self._right]))
        density = self._line_density(0.5 * (edges[1:] + edges[:-1]))
        keep = np.flatnonzero(density - density.max() > -60.0)
        integral = _quadrature.Integral(integrand)
        integral.add(edges[keep[0] : keep[-1] + 2])
        return np.asarray(integral.value)

    def _exact(self, target, names=None):
        def moments(t):
            f = target._value(t.x)[:, None]
            return np.concatenate([f, f * self._excess(t.x[:, 0])], axis=1)

        value, *grad = self._expectation(moments)
        return float(value), {"eta": np.reshape(grad, np.shape(self.eta))}

    def _natural_grad(self, grads) -> dict:
        solved = np.linalg.solve(self._covariance, np.reshape(grads["eta"], -1))
        return {"eta": solved.reshape(np.shape(self.eta))}
