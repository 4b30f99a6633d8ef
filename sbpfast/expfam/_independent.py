"""Independent components of a one-dimensional family: points as rows, moments, quantiles, gradients by component."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sbpfast import _checks, _core
from sbpfast.expfam._base import Distribution, MeanAndVariance
from sbpfast.expfam._points import Points

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PASS = 2**15  # elements worked on at a time, so that what comes between the points and the results stays in the cache


def _parts(n, d) -> list[slice]:
    """Slices of n points of d coordinates."""
    step = max(1, PASS // d)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class Independent(Distribution):
    """Independent components of a one-dimensional family; points are rows (n, d).

    Scalar parameters mean d = 1, unless another parameter is a vector; a scalar parameter has a scalar gradient.
    """

    def __init__(self, *args: ArrayLike, **kwargs: ArrayLike) -> None:
        given = self._bind(args, kwargs)
        arrays = {}
        for q in (*self.parameters, *self.constants):
            array = _checks.real_array(q.name, given[q.name], ndim=(0, 1), finite=False)
            inside = q.domain.contains(array)
            if not inside.all():
                raise ValueError(f"{q.name} must be {q.domain.text}, got {array[~inside].flat[0]}")
            arrays[q.name] = array
        lengths = {name: len(a) for name, a in arrays.items() if a.ndim}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise ValueError(f"vector parameters must have one common length of at least 1, got {lengths}")
        self.dim = next(iter(lengths.values()), 1)
        for name, array in arrays.items():
            self.__dict__[name] = _checks.frozen(array) if array.ndim else float(array)
        self._p = SimpleNamespace(
            **{name: np.ascontiguousarray(np.broadcast_to(a, self.dim)) for name, a in arrays.items()}
        )
        with np.errstate(all="ignore"):
            self._prepare(self._p)

    # a row supplies these

    @staticmethod
    def _prepare(p) -> None:
        """Check the parameters jointly, and add to p what several functions need."""

    @staticmethod
    def _support(p) -> tuple:
        """The ends (low, high) of the closed support."""
        raise NotImplementedError

    @staticmethod
    def _log_prob(t, p) -> np.ndarray:
        raise NotImplementedError

    @staticmethod
    def _score(t, p) -> dict:
        """d log p / d parameter."""
        raise NotImplementedError

    _ppf: ClassVar[Callable | None] = None  # the inverse distribution function of u (n, d) and p, where there is one

    @classmethod
    def _cdf(cls, x, p) -> np.ndarray:
        """P(X <= x) at points (n, d) of the support."""
        raise NotImplementedError

    @classmethod
    def _inverse(cls, u, p) -> np.ndarray:
        """The inverse of `_cdf` at u (n, d) inside (0, 1)."""
        return cls._quantiles(u, p).x

    @staticmethod
    def _moments(p) -> tuple:
        """Mean and variance of x, each (d,)."""
        raise NotImplementedError

    @staticmethod
    def _mode(p) -> np.ndarray:
        raise NotImplementedError

    @classmethod
    def _quantiles(cls, u, p) -> Points:
        return super()._quantiles(u, p) if cls._ppf is None else Points(np.ascontiguousarray(cls._ppf(u, p)))

    # points

    @staticmethod
    def _steps(x) -> np.ndarray:
        """Where the distribution function last rose at or before x: at x itself, but for discrete families."""
        return x

    @classmethod
    def _inside(cls, x, p) -> np.ndarray:
        low, high = cls._support(p)
        return (x >= low) & (x <= high)

    def _rows(self, x) -> np.ndarray:
        x = _checks.real_array("x", x, finite=False)
        return _checks.points("x", x[:, None] if x.ndim == 1 and self.dim == 1 else x, self.dim)

    def _points(self, x) -> Points:
        """Points that a user gives, checked against the support."""
        if isinstance(x, Points):
            return x
        rows = self._rows(x)
        inside = self._inside(rows, self._p)
        if not inside.all():
            n, j = np.argwhere(~inside)[0]
            text = f"x must lie in the support, {self.formulas.support}; got {rows[n, j]} at index ({n}, {j})"
            raise ValueError(text)
        return Points(rows, n_threads=_core.effective_threads(None))

    # public

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """Log density (n,) at points x (n, d), summed over the components; -inf outside the support."""
        if isinstance(x, Points):
            return self._log_prob(x, self._p).sum(axis=1)
        rows = self._rows(x)
        out = np.empty(len(rows))
        for part in _parts(len(rows), self.dim):
            values = self._log_prob(Points(rows[part], n_threads=1), self._p)
            values = np.where(self._inside(rows[part], self._p), values, -np.inf)
            out[part] = np.where((values == -np.inf).any(axis=1), -np.inf, values.sum(axis=1))
        return out

    def score(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Derivatives of the log density by parameter name, each (n, d), at points x (n, d) of the support."""
        return self._terms(self._score, self._points(x))

    def entropy(self) -> float:
        """-E[log p(x)], summed over the components."""
        return float(np.sum(self._entropy(self._p)))

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function P(X <= x), element by element, as in ``scipy.stats``.

        Parameters
        ----------
        x : array_like
            Broadcast against the parameters: any shape where they are scalars, (..., d) where they are vectors.

        Returns
        -------
        ndarray of the broadcast shape, or a number
        """
        rows, shape = self._elements("x", x)
        low, high = self._support(self._p)
        inner = np.clip(rows, low, high)
        inner = np.where(np.isfinite(inner), inner, np.where(np.isfinite(low), low, np.minimum(0.0, high)))
        inside = self._cdf(self._steps(inner), self._p)
        values = np.where(rows < low, 0.0, np.where(rows >= high, 1.0, np.where(np.isinf(rows), rows > 0, inside)))
        return values.reshape(shape)[()]

    def ppf(self, q: ArrayLike) -> Any:
        """The least x with P(X <= x) >= q, element by element: the inverse of `cdf`, as in ``scipy.stats``.

        Parameters
        ----------
        q : array_like
            Probabilities in [0, 1], broadcast like x of `cdf`; at 0 and 1 the ends of the support.

        Returns
        -------
        ndarray of the broadcast shape, or a number
        """
        rows, shape = self._elements("q", q)
        if not ((rows >= 0.0) & (rows <= 1.0)).all():
            raise ValueError(f"q must lie in [0, 1], got {rows[~((rows >= 0.0) & (rows <= 1.0))].flat[0]}")
        low, high = self._support(self._p)
        inner = np.clip(rows, 1e-300, 1.0 - 2.0**-53)
        values = np.where(rows == 0.0, low, np.where(rows == 1.0, high, self._inverse(inner, self._p)))
        return values.reshape(shape)[()]

    def _elements(self, name, value) -> tuple[np.ndarray, tuple[int, ...]]:
        """Numbers that broadcast against the parameters, as rows (n, d), and the broadcast shape."""
        array = _checks.real_array(name, value, finite=False)
        if np.isnan(array).any():
            raise ValueError(f"{name} must not be NaN")
        try:
            shape = np.broadcast_shapes(array.shape, () if self._is_scalar else (self.dim,))
        except ValueError:
            raise ValueError(f"{name} must broadcast against {self.dim} components, got shape {array.shape}") from None
        return np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1, self.dim), shape

    @property
    def _is_scalar(self) -> bool:
        return not any(np.ndim(getattr(self, q.name)) for q in (*self.parameters, *self.constants))

    def moments(self) -> MeanAndVariance:
        """Mean and variance of x, infinite where they are; numbers, or (d,) where a parameter is a vector.

        Of every family, whatever its parameters are called.  Of angles: the mean direction and the circular variance.

        Raises
        ------
        ValueError
            There is no mean (Student's t for df up to 1).
        """
        return MeanAndVariance(*map(self._by_component, self._moments(self._p)))

    def mode(self) -> Any:
        """The point of largest density or probability, the least where several are; shaped as `moments` are."""
        return self._by_component(self._mode(self._p))

    def _by_component(self, value):
        value = np.array(np.broadcast_to(value, self.dim), dtype=np.float64)
        return float(value[0]) if self._is_scalar else value

    @classmethod
    def _entropy(cls, p) -> np.ndarray:
        raise NotImplementedError

    def _terms(self, function, t) -> dict[str, np.ndarray]:
        """Terms by name, each (n, d), of a function of points and parameters."""
        parts = _parts(t.n, self.dim)
        if len(parts) <= 1:
            return self._broadcast(function(t, self._p), t)
        out: dict[str, np.ndarray] = {}
        for part in parts:
            for name, value in function(t.part(part), self._p).items():
                out.setdefault(name, np.empty(t.x.shape))[part] = value
        return out

    @staticmethod
    def _broadcast(terms, t):
        return {name: np.array(np.broadcast_to(value, t.x.shape)) for name, value in terms.items()}

    # estimation: contributions of single draws, whose mean is the gradient

    @cached_property
    def _refused(self) -> tuple[str, ...]:
        """Estimators that this very distribution cannot serve for all its parameters."""
        return ("score",) if self._moving_ends(self._p) else ()

    def _integrates(self, target) -> bool:
        """Whether `_exact` serves this target."""
        return self.dim == 1 and target._has("value")

    def _chosen(self, names):
        return self._names if names is None else tuple(names)

    def _shaped(self, name, contributions) -> np.ndarray:
        """(n, d) as the parameter is shaped: a scalar parameter has its components' contributions added."""
        return contributions if np.ndim(getattr(self, name)) else contributions.sum(axis=1)

    def _score_terms(self, draws, names=None) -> dict:
        """name -> (n, ...) d log p / d parameter: E[f times these] is the gradient."""
        self._require_fixed_support("estimator 'score' is not valid", names, "use 'pathwise', or leave it out of wrt")
        score = self._score(draws, self._p)
        return {k: self._shaped(k, np.broadcast_to(score[k], draws.x.shape)) for k in self._chosen(names)}

    def _require_fixed_support(self, what, names, advice):
        moving = [name for name in self._chosen(names) if name in self._moving_ends(self._p)]
        if moving:
            raise ValueError(
                f"{what} for {', '.join(moving)}: the support of {type(self).__name__} moves with it; {advice}"
            )

    @classmethod
    def _moving_ends(cls, p) -> dict:
        """name -> (end (d,), flux (d,)): parameters the support moves with; flux is d(end)/dparameter times the
        density there, counted into the support."""
        return {}

    def _require_scalar(self, what):
        if self.dim != 1:
            raise ValueError(f"{what} needs one component, but this {type(self).__name__} has {self.dim}")

    def _exact(self, target, names=None) -> tuple[float, dict]:
        """E[f] and its gradient by deterministic quadrature or summation, for one component."""
        self._require_scalar("estimator 'exact'")
        if not target._has("value"):
            raise ValueError("estimator 'exact' needs the target's value, which it does not have")
        wanted = self._chosen(names)
        p, ends = self._p, self._moving_ends(self._p)

        def moments(t):
            score = self._score(t, p)
            columns = [np.ones(t.n), *(np.broadcast_to(score[k], t.x.shape)[:, 0] for k in wanted)]
            f = target._value(t.x)
            return np.stack([*columns, *(f * c for c in columns)], axis=1)

        both = self._expectation(moments)
        # E[(f - E f) s]: the mean of s is not exactly zero where the support moves, nor is it needed to be
        one, f = np.split(both, 2)
        self._require_mass(one[0])
        value = f[0] / one[0]
        grads = {}
        for i, name in enumerate(wanted, start=1):
            slope = f[i] - value * one[i]
            if name in ends:
                end, flux = (np.reshape(a, -1)[0] for a in ends[name])
                slope = f[i] - flux * target._value(np.array([[end]]))[0] if np.isfinite(end) else 0.0
            grads[name] = np.reshape(slope, np.shape(getattr(self, name)))
        return float(value), grads

    def _require_mass(self, mass):
        """Raise where the density did not integrate or sum to 1: what is missing lies beyond double precision."""
        if not abs(mass - 1.0) < 1e-6:
            raise ValueError(f"{self!r} cannot be integrated in double precision: its probability comes out as {mass}")

    def _expectation(self, function) -> np.ndarray:
        """E[function(points) (m, q)], for one component."""
        raise NotImplementedError

    def _score_covariance(self) -> np.ndarray:
        """Fisher information in the parameters of each component, (d, k, k), by quadrature or summation."""
        advice = "the family has no natural gradient unless its bounds are infinite"
        self._require_fixed_support("the Fisher information does not exist", None, advice)
        matrices = []
        for j in range(self.dim):
            one = self._component(j)

            def outer(t, one=one):
                s = one._score(t, one._p)
                s = np.stack([np.broadcast_to(s[k], t.x.shape)[:, 0] for k in one._names], axis=1)
                return (s[:, :, None] * s[:, None, :]).reshape(t.n, -1)

            matrices.append(one._expectation(outer).reshape(len(self._names), -1))
        return np.array(matrices)

    def _component(self, j):
        """The distribution of component j."""
        return type(self)(**{q.name: getattr(self._p, q.name)[j] for q in (*self.parameters, *self.constants)})

    @staticmethod
    def _inverse_fisher(p, grads) -> dict | None:
        """The inverse Fisher information of each component times a gradient, where it is nearly singular."""
        return None

    def _natural_grad(self, grads) -> dict:
        """Inverse Fisher information times a gradient, in the parameters as the user shaped them."""
        widths = [np.size(getattr(self, name)) for name in self._names]
        if set(widths) == {self.dim} and (closed := self._inverse_fisher(self._p, grads)) is not None:
            return {name: np.reshape(value, np.shape(getattr(self, name))) for name, value in closed.items()}
        offsets = np.concatenate([[0], np.cumsum(widths)])
        information = np.zeros((offsets[-1], offsets[-1]))
        for j, matrix in enumerate(self._score_covariance()):
            index = [offset + (j if width > 1 else 0) for offset, width in zip(offsets, widths)]
            information[np.ix_(index, index)] += matrix
        flat = np.concatenate([np.reshape(grads[name], -1) for name in self._names])
        try:
            solved = np.linalg.solve(information, flat)
        except np.linalg.LinAlgError:
            raise ValueError(
                f"the natural gradient does not exist: the Fisher information of {self!r} is singular"
            ) from None
        parts = np.split(solved, offsets[1:-1])
        return {name: part.reshape(np.shape(getattr(self, name))) for name, part in zip(self._names, parts)}
