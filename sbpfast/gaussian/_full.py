"""What every Gaussian has, and the three with a full covariance: given itself, by its factor, or by its inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sbpfast import _checks, _core
from sbpfast._forms import FullForm
from sbpfast._likelihood import MLE
from sbpfast._streams import (
    FACTOR_NOISE,
    LANES,
    LONG,
    NOISE,
    normal_panels,
    normal_rows,
    stream_key,
    to_panels,
)
from sbpfast.gaussian._draws import LOG_2PI, Draws, Panels, Rows
from sbpfast.gaussian._likelihood import fit_gaussian

REACH = 40.0  # standard deviations that no draw goes beyond


class GaussianBase(ABC):
    """What all covariance structures share; the abstract methods are what each supplies."""

    _estimators = ("price", "pathwise", "stein", "score", "exact", "combined", "auto")
    _refused: tuple[str, ...] = ()  # estimators that this very distribution cannot serve
    _names: tuple[str, ...]

    _batch: type | None = None  # the class for means with leading axes, where a structure has one

    mean: np.ndarray
    batch_shape: tuple[int, ...] = ()

    def __new__(cls, *parameters, **named):
        """A batch where the mean has leading axes and the structure knows batches."""
        mean = named["mean"] if "mean" in named else parameters[0] if parameters else ()
        return super().__new__(cls._batch if cls._batch is not None and _checks.dimensions(mean) > 1 else cls)

    def _set_mean(self, mean, d=None):
        mean = _checks.real_array("mean", mean, ndim=1)
        if mean.size == 0:
            raise ValueError("mean must have at least one element")
        if d is not None and len(mean) != d:
            raise ValueError(f"mean must have shape ({d},), got {mean.shape}")
        self.mean = _checks.frozen(mean)
        return len(mean)

    def _require_range(self):
        """Raise where the draws or the variances leave double precision."""
        with np.errstate(over="ignore", invalid="ignore"):
            variances = self._variances()
            reach = np.abs(self.mean) + REACH * np.sqrt(np.maximum(variances, 0.0))
        inside = np.isfinite(reach) & np.isfinite(variances)
        if not inside.all():
            where = ", ".join(str(j) for j in np.argwhere(~inside)[0])
            raise ValueError(
                f"{type(self).__name__} leaves double precision: the variance or the draws of x[{where}] overflow"
            )

    @property
    def dim(self) -> int:
        """The number of coordinates d."""
        return self.mean.shape[-1]

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
    def _projections(self, design, offset, n_threads) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of the linear forms a_j . x + c_j, (N,) each."""

    def _parameters(self):
        return {name: getattr(self, name) for name in self._names}

    @staticmethod
    def _integrates(target) -> bool:
        """Whether the target knows its expectations under Gaussians."""
        return hasattr(target, "_exact")

    @staticmethod
    def _rare_ends(n, names) -> str:
        return ""

    # draws

    def _noise_dims(self) -> tuple[int, ...]:
        return (self.dim,)

    def _draw(self, key, start, stop, antithetic, n_threads) -> Draws:
        """Draws start..stop-1 of the stream."""
        panels = self.dim < LONG and start % LANES == 0
        layout, normals = (Panels, normal_panels) if panels else (Rows, normal_rows)
        noise = [
            normals(key, stream, start, stop, d, antithetic, n_threads)
            for stream, d in zip((NOISE, FACTOR_NOISE), self._noise_dims())
        ]
        return Draws(self, noise, stop - start, layout, n_threads)

    def _draw_from(self, z, n_threads) -> Draws:
        """Draws from given standard normals (n, all noise dimensions)."""
        split = np.split(z, np.cumsum(self._noise_dims())[:-1], axis=1)
        if self.dim < LONG:
            return Draws(self, [to_panels(s) for s in split], len(z), Panels, n_threads)
        return Draws(self, split, len(z), Rows, n_threads)

    def sample(self, n, *, rng=None, n_threads=None, dtype=None, out=None) -> np.ndarray:
        """Draw n points, (n, d).

        Parameters
        ----------
        n : int
            Number of points, at least 1.  The first draws do not depend on it.
        rng : None, int, SeedSequence, BitGenerator or Generator
            See SPEC 7.
        n_threads : int, optional
            None means all usable cores.  The bits of the result do not depend on it.
        dtype : float64 or float32, optional
            Of the result; draws of float32 are those of float64, rounded.
        out : ndarray (n, d), optional
            Where the points are written to, float64 or float32; it is returned.
        """
        n, threads = _checks.count("n", n), _core.effective_threads(n_threads)
        out = _checks.output(out, dtype, (n, *self.batch_shape, self.dim))
        if out.flags.c_contiguous:
            self._fill(stream_key(rng), out, threads)
        else:
            out[...] = self.sample(n, rng=rng, n_threads=threads, dtype=out.dtype)
        return out

    def _fill(self, key, out, n_threads) -> None:
        """Write the first draws of the stream to rows (n, d), C-contiguous."""
        out[...] = self._draw(key, 0, len(out), False, n_threads).x

    # densities

    def log_prob(self, x) -> np.ndarray:
        """Log density at the points x (n, d), (n,)."""
        x = _checks.points("x", x, self.dim)
        return -0.5 * (self._squared_distance(x) + self._log_det() + self.dim * LOG_2PI)

    def _squared_distance(self, x):
        """(x - mean)^T cov^-1 (x - mean), infinite where it leaves double precision."""
        with np.errstate(over="ignore", invalid="ignore"):
            distance = self._mahalanobis(x - self.mean)
        return np.where(np.isnan(distance), np.inf, distance)

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
        with np.errstate(over="ignore", invalid="ignore"):
            divergence = other._divergence_from(self)
        if np.isnan(divergence).any():
            raise ValueError(f"the divergence of {self!r} from {other!r} overflows double precision")
        return divergence

    def _divergence_from(self, p) -> float:
        """KL(p || self)."""
        distance = self._mahalanobis((p.mean - self.mean)[None])[0]
        twice = self._precision_trace(p) + distance - self.dim + self._log_det() - p._log_det()
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
        with np.errstate(over="ignore", invalid="ignore"):
            eta1 = precision @ self.mean
        return NaturalGaussian(eta1, -0.5 * precision)


class DenseGaussian(GaussianBase):
    """Structures that hold the lower Cholesky factor of a full covariance."""

    _chol: np.ndarray

    def _map(self, noise, layout, n_threads):
        return layout.apply(self._chol, noise[0], self.mean, True, n_threads)

    def _fill(self, key, out, n_threads):
        if self.dim >= LONG:
            super()._fill(key, out, n_threads)
        else:
            _core.random.affine_rows(key, NOISE, self._chol, self.mean, out, n_threads)

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

    def _projections(self, design, offset, n_threads):
        return design.projected(offset, self.mean, self._chol, n_threads)


class Gaussian(DenseGaussian):
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

    def __init__(self, mean: ArrayLike, cov: ArrayLike) -> None:
        d = self._set_mean(mean)
        with np.errstate(over="ignore"):
            cov = _checks.symmetric("cov", _checks.real_array("cov", cov, shape=(d, d)))
        self._chol = _checks.cholesky("cov", cov)
        self._cov = _checks.frozen(cov)
        self._require_range()

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
        result = fit_gaussian(x, weights, prior)
        return MLE(cls(result.mean, result.cov), *result[2:])

    def _chain(self, g, big_g):
        return {"mean": g, "cov": big_g}

    def _natural_grad(self, grad):
        return {"mean": self.cov @ grad["mean"], "cov": 2.0 * self.cov @ grad["cov"] @ self.cov}


class CholeskyGaussian(DenseGaussian):
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

    def __init__(self, mean: ArrayLike, chol: ArrayLike) -> None:
        d = self._set_mean(mean)
        chol = _checks.real_array("chol", chol, shape=(d, d))
        if np.triu(chol, 1).any():
            raise ValueError("chol must be lower triangular, but has entries above the diagonal")
        _checks.positive("the diagonal of chol", np.diagonal(chol))
        self.chol = self._chol = _checks.frozen(chol)
        self._require_range()

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


class NaturalGaussian(DenseGaussian):
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

    def __init__(self, eta1: ArrayLike, eta2: ArrayLike) -> None:
        eta1 = _checks.real_array("eta1", eta1, ndim=1)
        d = len(eta1)
        with np.errstate(over="ignore"):
            eta2 = _checks.symmetric("eta2", _checks.real_array("eta2", eta2, shape=(d, d)))
            precision_chol = _checks.cholesky("-eta2", -2.0 * eta2)
        cov = scipy.linalg.cho_solve((precision_chol, True), np.eye(d), check_finite=False)
        self._cov = _checks.frozen(0.5 * cov + 0.5 * cov.T)
        self._set_mean(scipy.linalg.cho_solve((precision_chol, True), eta1, check_finite=False))
        self._chol = _checks.cholesky("the covariance of eta2", self._cov)
        self.eta1, self.eta2 = _checks.frozen(eta1), _checks.frozen(eta2)
        self._require_range()

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
