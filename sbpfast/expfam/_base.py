"""What all families share: the registry, parameters, domains, points as rows, draws.

A family is a class whose body is its row of the registry: the parameters and their domains, the formulas, and the
handful of one-dimensional functions (density, score, weights, ...) that only it knows.  Everything else is made here
from the row: the constructor, the documentation, vectors of independent components, the checks and the estimators.

The functions of a row take ``p``, the parameters as float64 arrays (d,), and ``t``, points (n, d) with their
transforms (see `Points`), and return arrays (n, d) or (d,).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from scipy import special

from sbpfast import _checks, _core
from sbpfast._streams import RNG, stream_key
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
