"""The exponential-family calculus: p(x) = h(x) exp(eta . u(x) - A(eta)).

grad A = E u, Hess A = Cov u = the Fisher information in eta; KL is the Bregman divergence of A; and maximum likelihood
is the convex problem min A(eta) - eta . mean u.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from sbpfast import _checks
from sbpfast._likelihood import MLE, given_statistics
from sbpfast.expfam import _statistics
from sbpfast.expfam._functions import bregman
from sbpfast.expfam._independent import Independent
from sbpfast.expfam._points import Points

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sbpfast.expfam._base import Distribution


class ExponentialFamily(Independent):
    """Independent components of a one-dimensional exponential family with k statistics."""

    _k: ClassVar[int] = 1
    _gap: ClassVar[_statistics.Gap | None] = None  # how the sufficient statistics are accumulated without cancellation
    _squares: ClassVar[bool] = False  # the last of the summary is a mean square, which may underflow

    # a row supplies these; the lists have k arrays

    @staticmethod
    def _eta(p) -> list:
        raise NotImplementedError

    @staticmethod
    def _source(eta, c) -> dict:
        """Parameters from natural parameters; c holds the constants."""
        raise NotImplementedError

    @staticmethod
    def _partition(p) -> np.ndarray:
        """A(eta)."""
        raise NotImplementedError

    @staticmethod
    def _mean(p) -> list:
        """grad A = E u."""
        raise NotImplementedError

    @staticmethod
    def _hessian(p) -> list:
        """Hess A, as nested lists."""
        raise NotImplementedError

    @staticmethod
    def _u(t, p) -> list:
        raise NotImplementedError

    @classmethod
    def _averages(cls, t, c) -> list:
        """What of the data is averaged where there is no `_gap`: u, or an affine map of it that loses no digits."""
        return cls._u(t, c)

    @staticmethod
    def _log_base(t, p):
        """log h; a scalar where it is constant."""
        return 0.0

    @classmethod
    def _averaged_base(cls, t, c):
        """What of log h is averaged over data: log h, where nothing of its size is taken from it again."""
        return cls._log_base(t, c)

    @classmethod
    def _solve(cls, s, c) -> _statistics.Solution:
        """The parameters at which grad A equals the summary s (see `_statistics.Gap`)."""
        raise NotImplementedError

    # conversions

    def natural(self) -> np.ndarray:
        """Natural parameters eta, (d, k)."""
        return self._stack(self._eta(self._p))

    def mean_params(self) -> np.ndarray:
        """Mean parameters grad A(eta) = E[u(x)], (d, k)."""
        return self._stack(self._mean(self._p))

    def fisher(self) -> np.ndarray:
        """Fisher information in eta, the Hessian of A and the covariance of u, (d, k, k)."""
        rows = [self._stack(row) for row in self._hessian(self._p)]
        return np.stack(rows, axis=1)

    def log_partition(self) -> float:
        """A(eta), summed over the components."""
        return float(np.sum(self._partition(self._p)))

    def _stack(self, columns):
        return np.stack([np.broadcast_to(c, (self.dim,)) for c in columns], axis=1)

    @classmethod
    def from_natural(cls, eta: ArrayLike, **constants: ArrayLike) -> Self:
        """The distribution with natural parameters eta.

        Parameters
        ----------
        eta : array_like (d, k) or (k,)
            (k,) makes scalar parameters, (d, k) vectors of d.
        **constants
            The known constants of the family, by keyword.

        Raises
        ------
        ValueError
            Outside the natural domain.
        """
        columns, scalar = cls._columns("eta", eta)
        c = cls._constants(constants, columns[0].shape)
        with np.errstate(all="ignore"):
            source = cls._source(columns, c)
        try:
            return cls._make(source, constants, scalar)
        except ValueError as error:
            raise ValueError(f"eta lies outside the natural domain of {cls.__name__}: {error}") from None

    @classmethod
    def from_mean_params(cls, m: ArrayLike, **constants: ArrayLike) -> Self:
        """The distribution whose mean parameters E[u(x)] are m, (d, k) or (k,); the inverse of grad A.

        Raises
        ------
        ValueError
            m is not in the interior of the set of means.
        """
        columns, scalar = cls._columns("m", m)
        c = cls._constants(constants, columns[0].shape)
        try:
            with np.errstate(all="ignore"):
                return cls._make(cls._solve(cls._from_means(columns, c), c).source, constants, scalar)
        except ValueError:
            raise ValueError(f"m must lie inside the set of means of {cls.__name__}, got {m!r}") from None

    @classmethod
    def _columns(cls, name, array):
        array = _checks.real_array(name, array, ndim=(1, 2))
        if array.shape[-1] != cls._k:
            raise ValueError(f"{name} must have shape (d, {cls._k}) or ({cls._k},), got {array.shape}")
        scalar = array.ndim == 1
        return list(np.atleast_2d(array).T), scalar

    @classmethod
    def _constants(cls, constants, shape) -> dict:
        arrays = {}
        for q in cls._fixed():
            if q.name not in constants:
                raise TypeError(f"{cls.__name__} needs the constant {q.name} by keyword")
            array = _checks.real_array(q.name, constants[q.name], ndim=(0, 1), finite=False)
            inside = q.domain.contains(array)
            if not inside.all():
                raise ValueError(f"{q.name} must be {q.domain.text}, got {array[~inside].flat[0]}")
            if array.ndim and array.shape != shape:
                raise ValueError(f"{q.name} must be a number or have shape {shape}, got {array.shape}")
            arrays[q.name] = np.broadcast_to(array, shape)
        unknown = set(constants) - set(arrays)
        if unknown:
            raise TypeError(f"{cls.__name__} has no constants {sorted(unknown)}")
        return arrays

    @classmethod
    def _fixed(cls):
        """What eta does not determine."""
        return cls.constants

    @classmethod
    def _make(cls, source, constants, scalar):
        values = {name: (float(np.reshape(v, -1)[0]) if scalar else np.array(v)) for name, v in source.items()}
        return cls(**values, **constants)

    # statistics and divergences

    def sufficient(self, x: ArrayLike) -> np.ndarray:
        """Sufficient statistics u(x), (n, d, k)."""
        t = self._points(x)
        return np.stack([np.broadcast_to(u, t.x.shape) for u in self._u(t, self._p)], axis=2)

    def log_base(self, x: ArrayLike) -> np.ndarray:
        """log h(x), (n,), summed over the components."""
        t = self._points(x)
        return np.broadcast_to(self._log_base(t, self._p), t.x.shape).sum(axis=1)

    @classmethod
    def _entropy(cls, p) -> np.ndarray:
        """A - eta . grad A - E[log h]."""
        tilted = sum(e * m for e, m in zip(cls._eta(p), cls._mean(p)))
        return cls._partition(p) - tilted - cls._mean_log_base(p)

    @classmethod
    def _mean_log_base(cls, p) -> np.ndarray:
        raise NotImplementedError

    def kl(self, other: Distribution) -> float:
        """Kullback-Leibler divergence from this distribution to another of the same family, summed over components.

        The Bregman divergence A(eta') - A(eta) - (eta' - eta) . grad A(eta), from forms that keep its digits where the
        two are near to each other.

        Raises
        ------
        TypeError, ValueError
            Another family, dimension, or other known constants.
        """
        if type(other) is not type(self):
            raise TypeError(f"other must be a {type(self).__name__}, got {type(other).__name__}")
        if other.dim != self.dim:
            raise ValueError(f"other must have dimension {self.dim}, got {other.dim}")
        for q in self._fixed():
            if not np.array_equal(getattr(self._p, q.name), getattr(other._p, q.name)):
                raise ValueError(f"the two distributions must share {q.name}, on which the base measure depends")
        with np.errstate(over="ignore"):
            return float(np.sum(self._kl(self._p, other._p)))

    @classmethod
    def _kl(cls, p, q) -> np.ndarray:
        """The divergence of A along the line from eta to eta'."""
        start = cls._eta(p)
        step = [b - a for a, b in zip(start, cls._eta(q))]
        constants = {c.name: getattr(p, c.name) for c in cls._fixed()}

        def at(t):
            source = cls._source([a + t * d for a, d in zip(start, step)], constants)
            r = SimpleNamespace(**source, **constants)
            cls._prepare(r)
            return r

        return bregman(
            lambda t: cls._partition((p, q)[int(t)]),
            lambda t: sum(d * m for d, m in zip(step, cls._mean(p))),
            lambda t: sum(a * b * h for a, row in zip(step, cls._hessian(at(t))) for b, h in zip(step, row)),
            0.0,
            1.0,
        )

    # maximum likelihood

    @classmethod
    def _from_means(cls, m, c) -> list:
        """The summary of mean parameters m (a list of k arrays)."""
        return m if cls._gap is None else cls._gap.from_means(m)

    @classmethod
    def _collapsed(cls, equal) -> np.ndarray:
        """Where there is no maximum because all observations are equal, from where they are."""
        return equal & (cls._k > 1)

    @classmethod
    def statistics(
        cls, x: ArrayLike, weights: ArrayLike | None = None, **constants: ArrayLike
    ) -> _statistics.Statistics:
        """What `fit` needs to know of data: centred, and mergeable with ``+``.

        Parameters
        ----------
        x : array_like (n, d) or (n,)
        weights : array_like (n,), optional
            Non-negative; observations of weight 0 are dropped.
        **constants
            The known constants of the family, by keyword.
        """
        return _statistics.statistics(cls, x, weights, constants)

    @classmethod
    def fit(
        cls,
        x: ArrayLike | _statistics.Statistics,
        weights: ArrayLike | None = None,
        prior: tuple[float, ArrayLike] | None = None,
        **constants: ArrayLike,
    ) -> MLE:
        """Maximum likelihood, or the maximum a posteriori under a conjugate prior.

        Solves the convex problem min over eta of A(eta) - eta . mean u, in closed form or by safeguarded Newton steps.

        Parameters
        ----------
        x : array_like (n, d) or (n,), or Statistics
            Data; (n,) gives scalar parameters.  Statistics of chunks may be merged with ``+`` and fitted as a whole.
        weights : array_like (n,), optional
            Non-negative numbers.  Unit weights change no bit; a whole number repeats the observation; 0 drops it.
        prior : (nu, m0), optional
            nu pseudo-observations with mean statistics m0, (d, k) or (k,): log prior nu (eta . m0 - A(eta)).
        **constants
            The known constants of the family, by keyword.

        Returns
        -------
        MLE

        Raises
        ------
        MLEDoesNotExist
            The mean statistics lie on the boundary of their set, so the likelihood has no maximum.
        TypeError, ValueError
            Data outside the support, negative weights, wrong shapes, statistics of another family; data whose sums or
            squares leave the range of a double (Normal, HalfNormal, Rayleigh, TruncatedNormal: spreads from 1e-146 to
            1e154).
        """
        given_statistics(cls, x, weights, constants)
        stats = x if isinstance(x, _statistics.Statistics) else cls.statistics(x, weights, **constants)
        return _statistics.maximum_likelihood(cls, stats, prior)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base) -> np.ndarray:
        """Mean of log p over data with summary s and mean log h; families with a `_gap` have their own."""
        return sum(e * m for e, m in zip(cls._eta(p), s)) - cls._partition(p) + log_base

    @classmethod
    def _features(cls, x, c) -> Points:
        """Data as points; raises where data are outside the support."""
        return Points(x)
