"""Gaussian distributions, one class a covariance structure, each with its chain rule.

Bonnet and Price give the gradients with respect to the mean and the covariance,

    g = dE[f]/dmean = E[grad f],        G = dE[f]/dcov = 1/2 E[Hess f]    (dE[f] = tr(G dcov)),

and the chain rule takes (g, G) to the parameters a class is built from.  Structured covariances never need all of G;
the *form* of a structure (see _forms.py) says which part.  Every chain rule accepts leading batch axes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy

from sbpfast import _checks, _core
from sbpfast._forms import DiagonalForm, FullForm, LowRankForm
from sbpfast._streams import (
    FACTOR_NOISE,
    LANES,
    LONG,
    NOISE,
    normal_panels,
    normal_rows,
    stream_key,
    to_panels,
    to_rows,
)

if TYPE_CHECKING:
    from sbpfast.expfam.mle import MLE

__all__ = [
    "CholeskyGaussian",
    "DiagonalGaussian",
    "Gaussian",
    "LowRankGaussian",
    "LowRankPrecisionGaussian",
    "NaturalGaussian",
]

LOG_2PI = math.log(2.0 * math.pi)


# -- draws ------------------------------------------------------------------------------------------------------------


class _Panels:
    """Arithmetic on arrays whose coordinate axis is the last but one: (blocks, d, 64)."""

    @staticmethod
    def column(v):
        return v[:, None]

    @staticmethod
    def apply(factor, z, shift, lower, n_threads):
        """shift + factor z, the factor (d, k)."""
        out = np.empty((len(z), factor.shape[0], LANES))
        _core.random.affine_panels(factor, shift, z, out, lower, n_threads)
        return out


class _Rows:
    """The same on arrays whose coordinate axis is the last: (n, d).  Used for long draws, a few at a time."""

    @staticmethod
    def column(v):
        return v

    @staticmethod
    def apply(factor, z, shift, lower, n_threads):
        # not BLAS: the bits of its products depend on how many draws there are
        out = np.zeros((len(z), len(factor)))
        _core.contract.per_sample_shared(np.ascontiguousarray(z), np.ascontiguousarray(factor.T), 1.0, out, n_threads)
        return out + shift


class Draws:
    """A block of draws: the points, and the score of the density with respect to its mean."""

    def __init__(self, q, noise, n, layout, n_threads):
        self.n = n
        self.n_threads = n_threads
        self._q = q
        self._noise = noise
        self._layout = layout
        self._x = q._map(noise, layout, n_threads)

    @cached_property
    def x(self) -> np.ndarray:
        """Points as rows (n, d), C-contiguous."""
        return np.ascontiguousarray(self._rows(self._x))

    @property
    def panels(self) -> np.ndarray:
        """Points as panels (blocks, d, 64)."""
        return self._x if self._layout is _Panels else to_panels(self._x)

    @cached_property
    def u(self) -> np.ndarray:
        """cov^-1 (x - mean), (n, d): the score with respect to the mean."""
        return self._q._dual(self)

    @property
    def noise(self) -> np.ndarray:
        """The first standard normals behind the points, (n, d)."""
        return self._rows(self._noise[0])

    def map_noise(self, panels_map, rows_map) -> np.ndarray:
        """A map of the noise to rows (n, d), given for panels and for rows."""
        return self._rows(panels_map(self._noise[0])) if self._layout is _Panels else rows_map(self._noise[0])

    def _rows(self, a):
        return to_rows(a, self.n) if self._layout is _Panels else a


def _row_blocks(a):
    """Blocks of the rows of a design matrix, about eight megabytes of dense rows each."""
    step = max(1, 2**20 // a.shape[1])
    return [a[i : i + step] for i in range(0, max(a.shape[0], 1), step)]


def _norms(rows):
    return np.sqrt((rows * rows).sum(axis=1))


# -- the structures ---------------------------------------------------------------------------------------------------


class GaussianBase(ABC):
    """What all covariance structures share; the abstract methods are what each supplies."""

    _estimators = ("price", "pathwise", "stein", "score", "exact", "combined", "auto")
    _refused: tuple[str, ...] = ()  # estimators that this very distribution cannot serve
    _names: tuple[str, ...]

    mean: np.ndarray

    def _set_mean(self, mean, d=None):
        mean = _checks.real_array("mean", mean, ndim=1)
        if mean.size == 0:
            raise ValueError("mean must have at least one element")
        if d is not None and len(mean) != d:
            raise ValueError(f"mean must have shape ({d},), got {mean.shape}")
        self.mean = _checks.frozen(mean)
        return len(mean)

    @property
    def dim(self) -> int:
        """The number of coordinates d."""
        return len(self.mean)

    def __repr__(self):
        return f"{type(self).__name__}(dim={self.dim})"

    # what a structure supplies

    @property
    @abstractmethod
    def cov(self) -> np.ndarray:
        """The covariance as a full matrix, (d, d)."""

    @abstractmethod
    def _map(self, noise, layout, n_threads):
        """Points from standard normals: mean + (a square root of cov) noise, in the layout of the noise."""

    @abstractmethod
    def _dual(self, draws) -> np.ndarray:
        """cov^-1 (x - mean) at the draws, (n, d)."""

    @abstractmethod
    def _form(self):
        """The form of a symmetric matrix that the chain rule needs."""

    @abstractmethod
    def _chain(self, g, big_g) -> dict:
        """Gradients by parameter name from g = dE[f]/dmean and G = dE[f]/dcov in this structure's form."""

    @abstractmethod
    def _natural_grad(self, grad) -> dict:
        """Inverse Fisher information times the gradients."""

    @abstractmethod
    def _mahalanobis(self, r) -> np.ndarray:
        """r^T cov^-1 r for rows r (n, d), (n,)."""

    @abstractmethod
    def _log_det(self) -> float:
        """log det cov."""

    @abstractmethod
    def _variances(self) -> np.ndarray:
        """The diagonal of cov, (d,)."""

    @abstractmethod
    def _cov_dot(self, v) -> np.ndarray:
        """cov v for v (d,) or (d, k)."""

    @abstractmethod
    def _precision_trace(self, other) -> float:
        """tr(cov^-1 other.cov)."""

    @abstractmethod
    def _projections(self, a, offset, n_threads) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of the linear forms a_j . x + c_j, (N,) each; a may be sparse."""

    def _parameters(self):
        return {name: getattr(self, name) for name in self._names}

    # draws

    def _noise_dims(self):
        return (self.dim,)

    def _draw(self, key, start, stop, antithetic, n_threads) -> Draws:
        """Draws start..stop-1 of the stream."""
        panels = self.dim < LONG and start % LANES == 0
        layout, normals = (_Panels, normal_panels) if panels else (_Rows, normal_rows)
        noise = [
            normals(key, stream, start, stop, d, antithetic, n_threads)
            for stream, d in zip((NOISE, FACTOR_NOISE), self._noise_dims())
        ]
        return Draws(self, noise, stop - start, layout, n_threads)

    def _draw_from(self, z, n_threads) -> Draws:
        """Draws from given standard normals (n, all noise dimensions)."""
        split = np.split(z, np.cumsum(self._noise_dims())[:-1], axis=1)
        if self.dim < LONG:
            return Draws(self, [to_panels(s) for s in split], len(z), _Panels, n_threads)
        return Draws(self, split, len(z), _Rows, n_threads)

    def sample(self, n, *, rng=None, n_threads=None) -> np.ndarray:
        """Draw n points, (n, d).

        ``rng`` is None, an int, a SeedSequence, a BitGenerator or a Generator.  The first draws do not depend on n,
        and no draw on the number of threads.
        """
        n = _checks.count("n", n)
        return self._draw(stream_key(rng), 0, n, False, _core.effective_threads(n_threads)).x

    # densities

    def log_prob(self, x) -> np.ndarray:
        """Log density at the points x (n, d), (n,)."""
        r = _checks.points("x", x, self.dim) - self.mean
        return -0.5 * (self._mahalanobis(r) + self._log_det() + self.dim * LOG_2PI)

    def _log_prob_of(self, draws) -> np.ndarray:
        """Log density of its own draws, (n,)."""
        return self.log_prob(draws.x)

    def entropy(self) -> float:
        """Differential entropy 1/2 log det(2 pi e cov), in nats."""
        return 0.5 * (self._log_det() + self.dim * (1.0 + LOG_2PI))

    def kl(self, other) -> float:
        """Kullback-Leibler divergence KL(self || other) to another Gaussian of the same dimension, in nats."""
        if not isinstance(other, GaussianBase):
            raise TypeError(f"other must be a Gaussian, got {type(other).__name__}")
        if other.dim != self.dim:
            raise ValueError(f"other must have dimension {self.dim}, got {other.dim}")
        distance = other._mahalanobis((self.mean - other.mean)[None])[0]
        twice = other._precision_trace(self) + distance - self.dim + other._log_det() - self._log_det()
        return 0.5 * float(np.maximum(twice, 0.0))  # rounding may leave less

    # other representations

    def to_cholesky(self) -> CholeskyGaussian:
        """The same distribution as a CholeskyGaussian; forms (d, d)."""
        return CholeskyGaussian(self.mean, _checks.cholesky("cov", self.cov))

    def to_full(self) -> Gaussian:
        """The same distribution as a Gaussian; forms (d, d)."""
        return Gaussian(self.mean, self.cov)

    def to_natural(self) -> NaturalGaussian:
        """The same distribution as a NaturalGaussian; forms (d, d)."""
        chol = self.to_cholesky()._chol
        precision = scipy.linalg.cho_solve((chol, True), np.eye(self.dim))
        precision = 0.5 * (precision + precision.T)
        return NaturalGaussian(precision @ self.mean, -0.5 * precision)


class _DenseGaussian(GaussianBase):
    """Structures that hold the lower Cholesky factor of a full covariance."""

    _chol: np.ndarray

    def _map(self, noise, layout, n_threads):
        return layout.apply(self._chol, noise[0], self.mean, True, n_threads)

    def _dual(self, draws):
        def of_panels(z):
            out = np.empty_like(z)
            _core.random.solve_transposed_panels(self._chol, z, out, draws.n_threads)
            return out

        def of_rows(z):
            return scipy.linalg.solve_triangular(self._chol, z.T, lower=True, trans="T", check_finite=False).T

        return draws.map_noise(of_panels, of_rows)

    @staticmethod
    def _form():
        return FullForm

    def _mahalanobis(self, r):
        return (scipy.linalg.solve_triangular(self._chol, r.T, lower=True, check_finite=False) ** 2).sum(axis=0)

    def _log_prob_of(self, draws):
        return -0.5 * ((draws.noise**2).sum(axis=1) + self._log_det() + self.dim * LOG_2PI)

    def _log_det(self):
        return 2.0 * float(np.log(np.diagonal(self._chol)).sum())

    def _variances(self):
        return (self._chol**2).sum(axis=1)

    def _cov_dot(self, v):
        return self._chol @ (self._chol.T @ v)

    def _precision_trace(self, other):
        half = scipy.linalg.solve_triangular(self._chol, other.cov, lower=True, check_finite=False)
        return np.trace(scipy.linalg.solve_triangular(self._chol, half.T, lower=True, check_finite=False))

    def _projections(self, a, offset, n_threads):
        if scipy.sparse.issparse(a):
            return a @ self.mean + offset, np.concatenate([_norms(b @ self._chol) for b in _row_blocks(a)])
        m, t = np.empty(len(a)), np.empty(len(a))
        _core.ridge.projected_moments(a, offset, self.mean, self._chol, True, m, t, n_threads)
        return m, t


class Gaussian(_DenseGaussian):
    """Gaussian with a full covariance matrix.

    Parameters
    ----------
    mean : array_like (d,)
    cov : array_like (d, d)
        Symmetric positive definite.

    Notes
    -----
    Gradients: d/dmean = E[grad f] (Bonnet) and d/dcov = 1/2 E[Hess f] (Price), the symmetric matrix G with
    dE[f] = tr(G dcov).

    Raises
    ------
    TypeError, ValueError
        Wrong type or shape, non-finite, not symmetric, not positive definite.
    """

    _names = ("mean", "cov")

    def __init__(self, mean, cov):
        d = self._set_mean(mean)
        cov = _checks.symmetric("cov", _checks.real_array("cov", cov, shape=(d, d)))
        self._chol = _checks.cholesky("cov", cov)
        self._cov = _checks.frozen(cov)

    @property
    def cov(self) -> np.ndarray:
        """The covariance, (d, d)."""
        return self._cov

    @classmethod
    def fit(cls, x, weights=None, prior=None) -> MLE:
        """Maximum likelihood: the weighted mean and the covariance about it.

        Parameters
        ----------
        x : array_like (n, d), or GaussianStatistics
        weights : array_like (n,), optional
            Non-negative; integer weights stand for repeated rows.
        prior : (nu, (m1, m2)), optional
            A conjugate prior: nu pseudo-observations with E x = m1 (d,) and E x x^T = m2 (d, d); the maximum is then
            that of the posterior.

        Returns
        -------
        MLE

        Raises
        ------
        MLEDoesNotExist
            The covariance of the data is singular: at most d points, or data on a hyperplane.
        ValueError
            A column of x reaches below 1e-146 or beyond 1e150, where squares leave the range of a double.
        """
        from sbpfast.expfam import mle  # the families need scipy.stats, which takes long to import

        result = mle.fit_gaussian(x, weights, prior)
        return mle.MLE(cls(result.mean, result.cov), *result[2:])

    def _chain(self, g, big_g):
        return {"mean": g, "cov": big_g}

    def _natural_grad(self, grad):
        return {"mean": self.cov @ grad["mean"], "cov": 2.0 * self.cov @ grad["cov"] @ self.cov}


class CholeskyGaussian(_DenseGaussian):
    """Gaussian with covariance L L^T.

    Parameters
    ----------
    mean : array_like (d,)
    chol : array_like (d, d)
        Lower triangular with a positive diagonal; entries above the diagonal must be 0.

    Notes
    -----
    d/dL = tril(2 G L), G = 1/2 E[Hess f].
    """

    _names = ("mean", "chol")

    def __init__(self, mean, chol):
        d = self._set_mean(mean)
        chol = _checks.real_array("chol", chol, shape=(d, d))
        if np.triu(chol, 1).any():
            raise ValueError("chol must be lower triangular, but has entries above the diagonal")
        _checks.positive("the diagonal of chol", np.diagonal(chol))
        self.chol = self._chol = _checks.frozen(chol)

    @cached_property
    def cov(self) -> np.ndarray:
        """L L^T, (d, d)."""
        return _checks.frozen(self._chol @ self._chol.T)

    def _chain(self, g, big_g):
        return {"mean": g, "chol": np.tril(2.0 * big_g @ self._chol)}

    def _natural_grad(self, grad):
        # with dL = L A, A lower triangular, the Fisher metric is sum_{i>j} A_ij^2 + 2 sum_i A_ii^2
        a = np.tril(self._chol.T @ grad["chol"])
        a[np.diag_indices(self.dim)] *= 0.5
        return {"mean": self._cov_dot(grad["mean"]), "chol": self._chol @ a}

    def to_cholesky(self):
        return self


class NaturalGaussian(_DenseGaussian):
    """Gaussian in natural parameters: eta1 = P mean and eta2 = -P/2, with P the precision.

    Parameters
    ----------
    eta1 : array_like (d,)
    eta2 : array_like (d, d)
        Symmetric negative definite.

    Notes
    -----
    d/deta1 = cov g and d/deta2 = 2 cov G cov + cov g mean^T + mean g^T cov.
    """

    _names = ("eta1", "eta2")

    def __init__(self, eta1, eta2):
        eta1 = _checks.real_array("eta1", eta1, ndim=1)
        d = len(eta1)
        eta2 = _checks.symmetric("eta2", _checks.real_array("eta2", eta2, shape=(d, d)))
        precision_chol = _checks.cholesky("-eta2", -2.0 * eta2)
        cov = scipy.linalg.cho_solve((precision_chol, True), np.eye(d), check_finite=False)
        self._cov = _checks.frozen(0.5 * (cov + cov.T))
        self._set_mean(scipy.linalg.cho_solve((precision_chol, True), eta1, check_finite=False))
        self._chol = _checks.cholesky("the covariance of eta2", self._cov)
        self.eta1, self.eta2 = _checks.frozen(eta1), _checks.frozen(eta2)

    @property
    def cov(self) -> np.ndarray:
        """The covariance, (d, d)."""
        return self._cov

    def _chain(self, g, big_g):
        cov_g = g @ self.cov
        outer = cov_g[..., :, None] * self.mean
        return {"eta1": cov_g, "eta2": 2.0 * self.cov @ big_g @ self.cov + outer + outer.swapaxes(-1, -2)}

    def _natural_grad(self, grad):
        # the natural gradient in natural parameters is the gradient in the expectation parameters (mean, E x x^T)
        precision = -2.0 * self.eta2
        g = precision @ grad["eta1"]
        outer = np.outer(grad["eta1"], self.mean)
        big_g = 0.5 * precision @ (grad["eta2"] - outer - outer.T) @ precision
        return {"eta1": g - 2.0 * big_g @ self.mean, "eta2": big_g}


class DiagonalGaussian(GaussianBase):
    """Gaussian with independent coordinates.

    Parameters
    ----------
    mean : array_like (d,)
    std : array_like (d,)
        Standard deviations, positive.

    Notes
    -----
    d/dstd_i = std_i E[d^2 f / dx_i^2].  Never forms (d, d) unless ``cov`` is asked for.
    """

    _names = ("mean", "std")

    def __init__(self, mean, std):
        d = self._set_mean(mean)
        self.std = _checks.frozen(_checks.positive("std", _checks.real_array("std", std, shape=(d,))))

    @property
    def cov(self) -> np.ndarray:
        """The covariance as a full matrix, (d, d)."""
        return np.diag(self.std**2)

    @staticmethod
    def _form():
        return DiagonalForm

    def _map(self, noise, layout, n_threads):
        return layout.column(self.mean) + layout.column(self.std) * noise[0]

    def _dual(self, draws):
        return draws.noise / self.std

    def _chain(self, g, big_g):
        return {"mean": g, "std": 2.0 * self.std * big_g}

    def _natural_grad(self, grad):
        return {"mean": self.std**2 * grad["mean"], "std": 0.5 * self.std**2 * grad["std"]}

    def _mahalanobis(self, r):
        return ((r / self.std) ** 2).sum(axis=1)

    def _log_det(self):
        return 2.0 * float(np.log(self.std).sum())

    def _variances(self):
        return self.std**2

    def _cov_dot(self, v):
        return (self.std**2)[:, None] * v if v.ndim == 2 else self.std**2 * v

    def _precision_trace(self, other):
        return (other._variances() / self.std**2).sum()

    def _projections(self, a, offset, n_threads):
        return a @ self.mean + offset, np.sqrt((a * a) @ self.std**2)

    def to_cholesky(self):
        return CholeskyGaussian(self.mean, np.diag(self.std))


class _LowRankBase(GaussianBase):
    """Structures of a diagonal and a factor (d, k); nothing here is larger than (d, k)."""

    _names = ("mean", "diag", "factor")

    def __init__(self, mean, diag, factor):
        d = self._set_mean(mean)
        self.diag = _checks.frozen(_checks.positive("diag", _checks.real_array("diag", diag, shape=(d,))))
        self.factor = _checks.frozen(_checks.real_array("factor", factor, shape=(d, None)))
        scaled = self.factor / np.sqrt(self.diag)[:, None]
        self._capacitance = np.eye(self.rank) + scaled.T @ scaled  # I + U^T D^-1 U
        self._small_chol = np.linalg.cholesky(self._capacitance)
        # W with (D + U U^T)^-1 = D^-1 - W W^T
        scaled = self.factor / self.diag[:, None]
        self._w = scipy.linalg.solve_triangular(self._small_chol, scaled.T, lower=True, check_finite=False).T

    @property
    def rank(self) -> int:
        """The number of columns k of the factor."""
        return self.factor.shape[1]

    def _sum_log_det(self):
        """log det(D + U U^T)."""
        return float(np.log(self.diag).sum()) + 2.0 * float(np.log(np.diagonal(self._small_chol)).sum())

    def _sum_dot(self, v):
        """(D + U U^T) v for v (d,) or (d, j)."""
        diag = self.diag if v.ndim == 1 else self.diag[:, None]
        return diag * v + self.factor @ (self.factor.T @ v)

    def _inverse_dot(self, v):
        """(D + U U^T)^-1 v."""
        diag = self.diag if v.ndim == 1 else self.diag[:, None]
        return v / diag - self._w @ (self._w.T @ v)

    def _natural_grad(self, grad):
        """The solution of (Fisher information) x = gradient that does not rotate the factor.

        The factor is determined up to a rotation, so the Fisher information of (diag, factor) is singular; the
        gradient lies in its range.  Conjugate gradients solve it with products of O(d k^2).  Taking the rotation out
        leaves the least-norm solution wherever rotations are all that is undetermined, (d - k)^2 >= d + k.
        """
        d, k = self.dim, self.rank
        gradient = np.concatenate([grad["diag"], grad["factor"].ravel()])
        scale = np.concatenate([self._metric_scale(), np.repeat(self._metric_scale() ** 0.5, k)])

        def metric(v):
            v = scale * v
            diag, factor = self._metric_dot(v[:d], v[d:].reshape(d, k))
            return scale * np.concatenate([diag, factor.ravel()])

        operator = scipy.sparse.linalg.LinearOperator((d + d * k,) * 2, matvec=metric, dtype=np.float64)
        solution, status = scipy.sparse.linalg.cg(
            operator, scale * gradient, rtol=1e-10, atol=0.0, maxiter=20 * (d + d * k)
        )
        if status != 0:
            raise RuntimeError(f"the natural gradient of {self!r} did not converge")
        solution = scale * solution
        factor = self._without_rotation(solution[d:].reshape(d, k))
        return {"mean": self._cov_dot(grad["mean"]), "diag": solution[:d], "factor": factor}

    def _without_rotation(self, step):
        """A step of the factor less its part U A, A antisymmetric: U^T U A + A U^T U = U^T step - step^T U."""
        s, basis = np.linalg.eigh(self.factor.T @ self.factor)
        twist = basis.T @ (self.factor.T @ step - step.T @ self.factor) @ basis
        pairs = s[:, None] + s
        twist = np.divide(twist, pairs, out=np.zeros_like(twist), where=pairs > 1e-15 * s.max(initial=0.0))
        return step - self.factor @ (basis @ twist @ basis.T)

    def _metric_dot(self, diag, factor):
        """The Fisher information of (diag, factor) times a tangent: 1/2 C dM C with dM = diag + dU U^T + U dU^T.

        C is the inverse of M = D + U U^T, whether M is the covariance or the precision: the Fisher information
        1/2 tr(M^-1 dM M^-1 dM) is the same.
        """
        cu, cf = self._inverse_dot(self.factor), self._inverse_dot(factor)
        # C diag C needs only its diagonal and its product with U
        left = self._inverse_diagonal_sandwich(diag)
        product = self._inverse_dot(diag[:, None] * cu) + cf @ (self.factor.T @ cu) + cu @ (factor.T @ cu)
        diagonal = left + 2.0 * (cf * cu).sum(axis=1)
        return 0.5 * diagonal, product

    def _inverse_diagonal_sandwich(self, v):
        """The diagonal of C diag(v) C, C = D^-1 - W W^T."""
        inner = self._w.T @ (v[:, None] * self._w)
        return (
            v / self.diag**2
            - 2.0 * v / self.diag * (self._w**2).sum(axis=1)
            + ((self._w @ inner) * self._w).sum(axis=1)
        )

    def _metric_scale(self):
        return 1.0 / np.maximum(1.0 / self.diag - (self._w**2).sum(axis=1), 1e-300)


class LowRankGaussian(_LowRankBase):
    """Gaussian with covariance diag(diag) + U U^T.

    Parameters
    ----------
    mean : array_like (d,)
    diag : array_like (d,)
        Positive.
    factor : array_like (d, k)
        U.

    Notes
    -----
    d/dU = 2 G U and d/ddiag = diag(G): O(d k) a draw, and no (d, d) array unless ``cov`` is asked for.
    """

    def _noise_dims(self):
        return (self.dim, self.rank)

    @property
    def cov(self) -> np.ndarray:
        """The covariance as a full matrix, (d, d)."""
        return np.diag(self.diag) + self.factor @ self.factor.T

    def _form(self):
        return LowRankForm(self.factor)

    def _map(self, noise, layout, n_threads):
        low_rank = layout.apply(self.factor, noise[1], self.mean, False, n_threads)
        return low_rank + layout.column(np.sqrt(self.diag)) * noise[0]

    def _dual(self, draws):
        return self._inverse_dot((draws.x - self.mean).T).T

    def _chain(self, g, big_g):
        return {"mean": g, "diag": big_g[..., 0], "factor": 2.0 * big_g[..., 1:]}

    def _mahalanobis(self, r):
        # min over z of |D^-1/2 (r - U z)|^2 + |z|^2: two squares, where r^T cov^-1 r cancels for a large factor
        z = scipy.linalg.cho_solve((self._small_chol, True), self.factor.T @ (r / self.diag).T, check_finite=False).T
        return (((r - z @ self.factor.T) ** 2) / self.diag).sum(axis=1) + (z * z).sum(axis=1)

    def _log_det(self):
        return self._sum_log_det()

    def _variances(self):
        return self.diag + (self.factor**2).sum(axis=1)

    def _cov_dot(self, v):
        return self._sum_dot(v)

    def _precision_trace(self, other):
        return (other._variances() / self.diag).sum() - (self._w * other._cov_dot(self._w)).sum()

    def _projections(self, a, offset, n_threads):
        return a @ self.mean + offset, np.sqrt((a * a) @ self.diag + ((a @ self.factor) ** 2).sum(axis=1))


class LowRankPrecisionGaussian(_LowRankBase):
    """Gaussian with precision diag(diag) + U U^T; with one column it is that of Rezende, Mohamed & Wierstra (2014).

    Parameters
    ----------
    mean : array_like (d,)
    diag : array_like (d,)
        Positive.
    factor : array_like (d, k)
        U.

    Notes
    -----
    d/dU = -2 cov G cov U and d/ddiag = -diag(cov G cov), in O(d k) and without cancellation as U goes to 0.  Draws use
    the symmetric square root (I + V V^T)^(-1/2) = I - V C V^T, V = D^(-1/2) U, with the eigenvalues
    c = 1/((1 + s) + sqrt(1 + s)) of C where s are those of V^T V: the paper's (1 - sqrt(eta))/s without its 0/0.
    """

    def __init__(self, mean, diag, factor):
        super().__init__(mean, diag, factor)
        self._scaled = self.factor / np.sqrt(self.diag)[:, None]
        s, basis = np.linalg.eigh(self._scaled.T @ self._scaled)
        s = np.maximum(s, 0.0)
        self._root = np.ascontiguousarray((self._scaled @ basis) / ((1.0 + s) + np.sqrt(1.0 + s)) @ basis.T)  # V C

    @property
    def cov(self) -> np.ndarray:
        """The covariance as a full matrix, (d, d)."""
        return np.diag(1.0 / self.diag) - self._w @ self._w.T

    def _form(self):
        return LowRankForm(self._w)

    def _map(self, noise, layout, n_threads):
        zero, small_zero = np.zeros(self.dim), np.zeros(self.rank)
        inner = layout.apply(np.ascontiguousarray(self._scaled.T), noise[0], small_zero, False, n_threads)
        correction = layout.apply(self._root, inner, zero, False, n_threads)
        return layout.column(self.mean) + (noise[0] - correction) / layout.column(np.sqrt(self.diag))

    def _dual(self, draws):
        return self._sum_dot((draws.x - self.mean).T).T

    def _chain(self, g, big_g):
        diagonal, gw = big_g[..., 0], big_g[..., 1:]
        # G cov U = G W R^-1 with the capacitance R R^T, because cov U = W R^-1
        solved = np.linalg.solve(self._small_chol.T, gw.swapaxes(-1, -2)).swapaxes(-1, -2)
        factor = -2.0 * (solved / self.diag[:, None] - self._w @ (self._w.T @ solved))
        inner = self._w.T @ gw
        sandwich = (
            diagonal / self.diag**2
            - 2.0 / self.diag * (gw * self._w).sum(axis=-1)
            + ((self._w @ inner) * self._w).sum(axis=-1)
        )
        return {"mean": g, "diag": -sandwich, "factor": factor}

    def _mahalanobis(self, r):
        return (r * r) @ self.diag + ((r @ self.factor) ** 2).sum(axis=1)

    def _log_det(self):
        return -self._sum_log_det()

    def _variances(self):
        return 1.0 / self.diag - (self._w**2).sum(axis=1)

    def _cov_dot(self, v):
        return self._inverse_dot(v)

    def _precision_trace(self, other):
        return (other._variances() * self.diag).sum() + (self.factor * other._cov_dot(self.factor)).sum()

    def _projections(self, a, offset, n_threads):
        t = []
        for block in _row_blocks(a):
            b = (block.toarray() if scipy.sparse.issparse(block) else block) / np.sqrt(self.diag)
            t.append(_norms(b - (b @ self._root) @ self._scaled.T))
        return a @ self.mean + offset, np.concatenate(t)
