"""Any other one-dimensional exponential family, from its pieces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from sbpfast import _checks, _core
from sbpfast._streams import stream_key
from sbpfast.expfam import quadrature
from sbpfast.expfam.points import Points, Streams

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_FALL = 500.0  # how far down the log density is covered


class Univariate:
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
    ValueError
        The density does not integrate: eta lies outside the natural domain, or the tails fall too slowly.

    Notes
    -----
    The density should have one mode, after the support is mapped to the line (x = e^t on a half-line, logistic on an
    interval, sinh on the line).  Points more than 500 below the peak in log density are outside what is covered.
    """

    _names = ("eta",)
    _estimators = ("pathwise", "score", "exact", "combined", "auto")
    _refused: tuple[str, ...] = ()
    dim = 1

    def __init__(self, log_h: Callable, eta, u: Callable, support=(-np.inf, np.inf)):
        for name, function in (("log_h", log_h), ("u", u)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, got {type(function).__name__}")
        array = _checks.real_array("eta", eta, ndim=(0, 1))
        self.eta = _checks.frozen(array) if array.ndim else float(array)
        self._eta = array.reshape(-1)
        low, high = (float(v) for v in support)
        if not low < high:
            raise ValueError(f"support must be an interval, got ({low}, {high})")
        self.support = (low, high)
        self._log_h, self._u = log_h, u
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

    def _statistics(self, x):
        u = np.asarray(self._u(x), dtype=np.float64)
        return u.reshape(len(x), len(self._eta))

    def _unnormalised(self, x):
        return np.asarray(self._log_h(x), dtype=np.float64) + self._statistics(x) @ self._eta

    def _line_density(self, t):
        """log of the unnormalised density of t."""
        with np.errstate(all="ignore"):
            x, log_slope = self._map(t)
            value = self._unnormalised(x) + log_slope
        return np.where(np.isnan(value), -np.inf, value)

    def _build(self):
        reach = (-30.0, 30.0) if np.isfinite(self.support).all() else (-600.0, 600.0)
        if np.isinf(self.support).all():
            reach = (-300.0, 300.0)
        scan = self._line_density(np.linspace(*reach, 2001))
        top = float(scan.max())
        if not (np.isfinite(top) and max(scan[0], scan[-1]) < top - 30.0):
            self._refuse()

        def moments(t):
            p = np.exp(self._line_density(t) - top)[:, None]
            with np.errstate(all="ignore"):
                u = self._statistics(self._map(t)[0])
                both = np.concatenate([np.ones_like(p), u, (u[:, :, None] * u[:, None, :]).reshape(len(t), -1)], axis=1)
                return np.where(p > 0, p * both, 0.0)

        integral = quadrature.integrate_line(moments, self._line_density, *reach, fall=_FALL)
        mass = np.asarray(integral.value)[0]
        if not (np.isfinite(mass) and mass > 0):
            self._refuse()
        self._log_partition = float(np.log(mass) + top)
        self._mean = self._expect(integral.panels, lambda x: self._statistics(x))
        centred = self._expect(integral.panels, self._centred_squares)
        self._covariance = centred.reshape(len(self._eta), -1)

    def _refuse(self):
        raise ValueError(
            f"the density does not integrate over {self.support} at eta = {self.eta}, outside the natural domain"
        )

    def _centred_squares(self, x):
        d = self._statistics(x) - self._mean
        return (d[:, :, None] * d[:, None, :]).reshape(len(x), -1)

    def _expect(self, panels, function):
        """Integral of the normalised density times a function, panel by panel; keeps the panels' shares."""
        edges = np.concatenate(panels)
        edges = edges[np.argsort(edges[:, 0])]
        self._left, self._right = edges[:, 0], edges[:, 1]
        t, w = self._nodes(self._left, self._right)
        density = w * np.exp(self._line_density(t.reshape(-1)) - self._log_partition).reshape(t.shape)
        self._mass = density.sum(axis=1)
        with np.errstate(all="ignore"):
            values = np.nan_to_num(function(self._map(t.reshape(-1))[0]), posinf=0.0, neginf=0.0)
        return (density.reshape(-1, 1) * values).sum(axis=0)

    @staticmethod
    def _nodes(a, b):
        half = 0.5 * (b - a)
        return (0.5 * (a + b))[:, None] + half[:, None] * _NODES, half[:, None] * _WEIGHTS

    # the calculus

    def __repr__(self):
        return f"Univariate(eta={self.eta!r}, support={self.support!r})"

    def _parameters(self):
        return {"eta": self.eta}

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

    def from_natural(self, eta) -> Univariate:
        """The member of this family with other natural parameters."""
        eta = np.asarray(eta, dtype=np.float64).reshape(np.shape(self.eta))
        return Univariate(self._log_h, eta, self._u, self.support)

    def sufficient(self, x) -> np.ndarray:
        """u(x), (n, 1, k)."""
        return self._statistics(self._points(x).x[:, 0])[:, None, :]

    def log_base(self, x) -> np.ndarray:
        """log h(x), (n,)."""
        return np.asarray(self._log_h(self._points(x).x[:, 0]), dtype=np.float64)

    def log_prob(self, x) -> np.ndarray:
        """Log density (n,); -inf outside the support."""
        x = self._rows(x)[:, 0]
        inside = (x >= self.support[0]) & (x <= self.support[1])
        with np.errstate(all="ignore"):
            return np.where(inside, self._unnormalised(np.where(inside, x, np.nan)) - self._log_partition, -np.inf)

    def score(self, x) -> dict[str, np.ndarray]:
        """u(x) - E u, (n, 1), or (n, 1, k) for vectors of natural parameters."""
        return {"eta": self._by_parameter(self._statistics(self._points(x).x[:, 0]) - self._mean)}

    def _by_parameter(self, columns):
        return columns[:, None, :] if np.ndim(self.eta) else columns

    def entropy(self) -> float:
        """-E log p."""
        return float(-self._expectation(lambda t: self._unnormalised(t.x[:, 0])[:, None] - self._log_partition)[0])

    def kl(self, other) -> float:
        """Kullback-Leibler divergence to a member of the same family (made by `from_natural`)."""
        if not isinstance(other, Univariate) or other._log_h is not self._log_h or other._u is not self._u:
            raise TypeError("other must be a member of the same family, made by from_natural")
        return float(other._log_partition - self._log_partition - (other._eta - self._eta) @ self._mean)

    # points

    def _rows(self, x):
        if np.ndim(x) == 1:
            x = np.reshape(x, (-1, 1))
        return _checks.points("x", x, 1)

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
            values = np.nan_to_num(function(self._map(t.reshape(-1))[0])).reshape(*t.shape, -1)
        return ((w * np.exp(log_density))[:, :, None] * values).sum(axis=1)

    def _excess(self, x):
        return self._statistics(x) - self._mean

    def transport(self, x) -> dict[str, np.ndarray]:
        """B(x) = -dF/deta / p, shaped as `score`: the integral of (u - E u) p from x to the nearer end, over p(x)."""
        return {"eta": self._by_parameter(self._weight(self._points(x).x[:, 0]))}

    def _weight(self, x):
        t = self._unmap(x)
        if ((t < self._left[0]) | (t > self._right[-1])).any():
            raise ValueError("x lies where the density is below e^-500 of its peak, beyond what the quadrature covers")
        i = np.clip(np.searchsorted(self._right, t), 0, len(self._right) - 1)
        edges, w = self._nodes(self._left, self._right)
        density = w * np.exp(self._line_density(edges.reshape(-1)) - self._log_partition).reshape(edges.shape)
        shares = (
            density[:, :, None] * np.nan_to_num(self._excess(self._map(edges.reshape(-1))[0])).reshape(*edges.shape, -1)
        ).sum(axis=1)
        below = np.concatenate([np.zeros((1, shares.shape[1])), np.cumsum(shares, axis=0)])
        above = np.concatenate([np.cumsum(shares[::-1], axis=0)[::-1], np.zeros((1, shares.shape[1]))])
        log_p = self._unnormalised(x) - self._log_partition
        upper = np.cumsum(self._mass)[i] > 0.5
        right = self._partial(t, self._right[i], log_p, self._excess) + above[i + 1] * np.exp(-log_p)[:, None]
        left = -self._partial(self._left[i], t, log_p, self._excess) - below[i] * np.exp(-log_p)[:, None]
        decreasing = np.isinf(self.support[0]) and np.isfinite(self.support[1])  # x = high - e^t runs backwards
        weight = np.where(upper[:, None], right, left)
        return -weight if decreasing else weight

    def _ppf(self, u):
        """Newton's method on the distribution function of t, inside the panel that holds u."""
        if np.isinf(self.support[0]) and np.isfinite(self.support[1]):
            u = 1.0 - u
        cumulative = np.concatenate([[0.0], np.cumsum(self._mass)])
        cumulative /= cumulative[-1]
        i = np.clip(np.searchsorted(cumulative, u) - 1, 0, len(self._mass) - 1)
        t = 0.5 * (self._left[i] + self._right[i])
        wanted, todo = u - cumulative[i], np.arange(len(u))
        a, b = self._left[i].copy(), self._right[i].copy()
        for _ in range(100):
            here = t[todo]
            mass = self._partial(self._left[i[todo]], here, np.zeros(len(todo)), lambda x: np.ones((len(x), 1)))[:, 0]
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

    def _draw(self, key, start, stop, sampling="mc", n_threads=None) -> Points:
        streams = Streams(key, start, stop, 1, sampling in ("antithetic", True), _core.effective_threads(n_threads))
        return self._draw_uniform(streams.uniforms(), streams.n_threads)

    def _noise_dims(self):
        return (1,)

    def _draw_from(self, normals, n_threads=1) -> Points:
        return self._draw_uniform(special.ndtr(normals), n_threads)

    def sample(self, n, *, rng=None, n_threads=None) -> np.ndarray:
        """n points (n, 1); see `Gamma.sample`."""
        n = _checks.count("n", n, least=0)
        return self._draw(stream_key(rng), 0, n, n_threads=n_threads).x if n else np.empty((0, 1))

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
        integral = quadrature.Integral(integrand)
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
