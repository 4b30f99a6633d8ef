"""What all families share: the registry, parameters, points, estimation and the exponential-family calculus.

A family is a class whose body is its row of the registry: the parameters and their domains, the formulas, and the
handful of one-dimensional functions (density, score, weights, ...) that only it knows.  Everything else is made here
from the row: the constructor, the documentation, vectors of independent components, the checks and the estimators.

The functions of a row take ``p``, the parameters as float64 arrays (d,), and ``t``, points (n, d) with their
transforms (see `Points`), and return arrays (n, d) or (d,).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from scipy import special

from sbpfast import _checks, _core
from sbpfast._streams import RNG, stream_key
from sbpfast.expfam import _quadrature
from sbpfast.expfam._points import Points, Streams
from sbpfast.expfam._precision import guard

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

FAMILIES: dict[str, type[Distribution]] = {}
"""Every family by name, in the order of the table in the documentation."""


# -- parameters -------------------------------------------------------------------------------------------------------


class Domain(NamedTuple):
    """A set of real numbers, and its name in an error text."""

    text: str
    contains: Callable


REAL = Domain("finite", np.isfinite)
EXTENDED = Domain("a number, possibly infinite", lambda v: ~np.isnan(v))
POSITIVE = Domain("positive and finite", lambda v: (v > 0) & np.isfinite(v))
NON_NEGATIVE = Domain("non-negative and finite", lambda v: (v >= 0) & np.isfinite(v))
PROBABILITY = Domain("inside (0, 1)", lambda v: (v > 0) & (v < 1))
COUNT = Domain("a positive whole number", lambda v: (v >= 1) & np.isfinite(v) & (v == np.floor(v)))


class Parameter(NamedTuple):
    """One argument of a family."""

    name: str
    domain: Domain
    meaning: str


class Formulas(NamedTuple):
    """The mathematics of a row, as text for the documentation."""

    support: str
    density: str
    product: str
    eta: str = ""
    u: str = ""
    h: str = ""
    A: str = ""


class MeanAndVariance(NamedTuple):
    """E x and the variance of x."""

    mean: Any
    variance: Any


class Validity(NamedTuple):
    """Where the product rule may be used for one parameter.

    valid : bool array (d,);  reason : what is in the way where it is not, with {pole} for the pole (d,);
    ends : pairs (point (d,), coefficient (d,)): the boundary and jump terms, coefficient * f(point).
    """

    valid: Any
    reason: str = ""
    pole: Any = np.nan
    ends: tuple = ()


_GUARDED = frozenset({
    "log_prob", "score", "entropy", "kl", "transport", "transport_derivatives", "sufficient", "log_base", "natural",
    "mean_params", "fisher", "log_partition", "from_natural", "from_mean_params", "statistics", "fit", "sample", "cdf",
    "ppf", "moments", "mean", "variance", "mode", "_pathwise_terms", "_score_terms", "_difference_terms",
    "_product_terms", "_weighted_terms", "_natural_grad", "_exact",
})  # fmt: skip


# -- distributions ----------------------------------------------------------------------------------------------------


class Distribution:
    """Base of all families: a name, parameters, points as rows."""

    parameters: ClassVar[tuple[Parameter, ...]] = ()
    constants: ClassVar[tuple[Parameter, ...]] = ()
    formulas: ClassVar[Formulas]
    example: ClassVar[dict[str, Any]]
    __signature__: ClassVar[inspect.Signature]
    _names: ClassVar[tuple[str, ...]] = ()
    _estimators: ClassVar[tuple[str, ...]] = ()
    _p: Any

    dim: int

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        guard(cls, _GUARDED)
        if "formulas" in cls.__dict__:
            _register(cls)

    if TYPE_CHECKING:  # the parameters are attributes, under names that the registry gives them

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name, value):
        if name in self._names or any(name == c.name for c in self.constants):
            raise AttributeError(f"{name} of {type(self).__name__} cannot be set: make another distribution")
        super().__setattr__(name, value)

    @classmethod
    def _bind(cls, args, kwargs) -> dict:
        try:
            return cls.__signature__.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{cls.__name__}{cls.__signature__}: {error}") from None

    def _parameters(self) -> dict:
        return {name: getattr(self, name) for name in self._names}

    def __repr__(self):
        inner = ", ".join(f"{c.name}={getattr(self, c.name)!r}" for c in (*self.parameters, *self.constants))
        return f"{type(self).__name__}({inner})"

    def _points(self, x) -> Points:
        raise NotImplementedError

    def transport(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Transport weights, where the family has them."""
        raise ValueError(f"{type(self).__name__} has no transport weight")

    def product_weight(self, x: ArrayLike) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The product rule's weight and its derivative, where the family has them."""
        raise ValueError(f"{type(self).__name__} has no product-rule weight: {self.formulas.product}")

    def moments(self) -> MeanAndVariance:
        """Mean and variance of x, infinite where they are; of every family, whatever its parameters are called.

        Raises
        ------
        ValueError
            There is no mean.
        """
        raise NotImplementedError

    def mean(self) -> Any:
        """E x, as `moments` has it.  Where a parameter is called mean, ``mean`` is that parameter and no method."""
        return self.moments().mean

    def variance(self) -> Any:
        """The variance of x, as `moments` has it."""
        return self.moments().variance

    def mode(self) -> Any:
        """The point of largest density or probability, the least where several are."""
        raise NotImplementedError

    def _rare_ends(self, n, names) -> str:
        """A warning of parameters whose gradients rest where next to none of n draws come; "" where there are none."""
        return ""

    # draws

    _mirrors = False  # _draw_points is a monotone function of symmetric noise, so that mirrored noise is antithetic

    def _draw(self, key, start, stop, antithetic=False, n_threads=None) -> Points:
        """Draws start..stop-1, start a multiple of 64; antithetic ones are pairs 2i, 2i + 1."""
        streams = Streams(key, start, stop, self.dim, antithetic, _core.effective_threads(n_threads))
        if antithetic and not self._mirrors:
            return self._draw_uniform(streams.uniforms(), streams.n_threads)
        return self._draw_points(streams, self._p)

    def _draw_points(self, streams, p) -> Points:
        return self._draw_uniform(streams.uniforms(), streams.n_threads)

    def _draw_uniform(self, u, n_threads=1) -> Points:
        """Points (n, d) from uniforms (n, d) by the inverse distribution function."""
        points = self._quantiles(u, self._p)
        points.n_threads = n_threads
        return points

    @classmethod
    def _quantiles(cls, u, p) -> Points:
        """Points at the probabilities u (n, d), with the transforms of them that are known better than from x."""
        raise ValueError(f"{cls.__name__} has no inverse distribution function: only sampling='mc' is possible")

    def _draw_from(self, normals, n_threads=1) -> Points:
        """Points from standard normals (n, d)."""
        return self._draw_uniform(special.ndtr(normals), n_threads)

    def _noise_dims(self):
        return (self.dim,)

    def sample(
        self,
        n: int,
        *,
        rng: RNG = None,
        n_threads: int | None = None,
        dtype: DTypeLike | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """n independent points as rows (n, dim).

        Parameters
        ----------
        n : int
            Number of points.  A smaller n with the same ``rng`` gives the first of them.
        rng : None, int, SeedSequence, BitGenerator or Generator
            See SPEC 7.
        n_threads : int, optional
            None means all usable cores.  The bits of the result do not depend on it.
        dtype : float64 or float32, optional
            Of the result; draws of float32 are those of float64, rounded.
        out : ndarray (n, dim), optional
            Where the points are written to, float64 or float32; it is returned.
        """
        n = _checks.count("n", n, least=0)
        threads = _core.effective_threads(n_threads)
        out = _checks.output(out, dtype, (n, self.dim))
        key = stream_key(rng)
        step = max(64, 2**17 // self.dim // 64 * 64)  # the transforms of the points need not all be in memory
        for start in range(0, n, step):
            stop = min(start + step, n)
            out[start:stop] = self._draw(key, start, stop, n_threads=threads).x
        return out


guard(Distribution, _GUARDED)


def _register(cls):
    """Complete a row: constructor signature, documentation, entry in the registry."""
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    cls.__signature__ = inspect.Signature(
        [inspect.Parameter(q.name, kinds[0]) for q in cls.parameters]
        + [inspect.Parameter(q.name, kinds[1]) for q in cls.constants]
    )
    cls._names = tuple(q.name for q in cls.parameters)
    cls.__doc__ = _documentation(cls)
    FAMILIES[cls.__name__] = cls


def _documentation(cls):
    f = cls.formulas
    lines = [inspect.cleandoc(cls.__doc__), "", "Parameters", "----------"]
    for q in (*cls.parameters, *cls.constants):
        lines += [f"{q.name} : array_like, {q.domain.text}", f"    {q.meaning}"]
    lines += ["", "Notes", "-----", f"Support: {f.support}.  Density: {f.density}.", ""]
    if f.eta:
        lines += [f"Exponential family with eta = {f.eta}, u(x) = {f.u}, h(x) = {f.h}, A = {f.A}.", ""]
    lines += [f"Product rule: {f.product}."]
    return "\n".join(lines)


# -- independent components of a one-dimensional family ---------------------------------------------------------------

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
        inside = self._cdf(np.floor(inner) if isinstance(self, Discrete) else inner, self._p)
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
