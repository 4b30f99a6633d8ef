"""A diagonal plus a product of few columns, as covariance or as precision; nothing of shape (d, d) is formed."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sbpfast import _checks
from sbpfast._forms import LowRankForm
from sbpfast.gaussian._draws import row_norms
from sbpfast.gaussian._full import GaussianBase

LEAST = 1e-300  # element of diag
LARGE = 1e8  # sum of squares beyond which I + V^T V would lose the I in half of its digits
DENSE = 1024  # unknowns up to which an information that conjugate gradients cannot solve is decomposed


def _capacitance_factor(v):
    """The lower Cholesky factor of I + V^T V; from V itself where V is so large that the product would lose the I."""
    k = v.shape[1]
    if (v * v).sum() <= LARGE:
        return np.linalg.cholesky(np.eye(k) + v.T @ v)
    r = np.linalg.qr(np.concatenate([v, np.eye(k)]), mode="r")
    return (np.where(np.diagonal(r) < 0, -1.0, 1.0)[:, None] * r).T


def _solve_semidefinite(metric, b, name):
    """A solution of metric(x) = b, b in its range up to rounding.

    Conjugate gradients; where the metric is so nearly singular that what rounding leaves of b outside its range stops
    them, the pseudo-inverse.
    """
    n = len(b)
    operator = scipy.sparse.linalg.LinearOperator((n, n), matvec=metric, dtype=np.float64)
    x, status = scipy.sparse.linalg.cg(operator, b, rtol=1e-10, atol=0.0, maxiter=20 * n)
    if status == 0:
        return x
    if n <= DENSE:
        return scipy.linalg.pinvh(np.array([metric(e) for e in np.eye(n)]), atol=0.0, rtol=1e-13 * n) @ b
    if np.linalg.norm(metric(x) - b) <= 1e-6 * np.linalg.norm(b):
        return x
    raise ValueError(f"the Fisher information of {name} is too nearly singular for a natural gradient")


class LowRankBase(GaussianBase):
    """Structures of a diagonal and a factor (d, k); nothing here is larger than (d, k)."""

    _names = ("mean", "diag", "factor")

    def __init__(self, mean: ArrayLike, diag: ArrayLike, factor: ArrayLike) -> None:
        d = self._set_mean(mean)
        self.diag = _checks.frozen(_checks.positive("diag", _checks.real_array("diag", diag, shape=(d,))))
        self.factor = _checks.frozen(_checks.real_array("factor", factor, shape=(d, None)))
        if self.diag.min() < LEAST:
            raise ValueError(
                f"diag must be at least {LEAST:g}, below which its inverse overflows, got {self.diag.min()}"
            )
        with np.errstate(over="ignore"):
            scaled = self.factor / np.sqrt(self.diag)[:, None]
            if not (np.isfinite((self.factor**2).sum()) and np.isfinite((scaled**2).sum())):
                raise ValueError("factor is too large: the diagonal of factor factor^T overflows, or its ratio to diag")
        self._small_chol = _capacitance_factor(scaled)
        # W with (D + U U^T)^-1 = D^-1 - W W^T
        scaled = self.factor / self.diag[:, None]
        self._w = scipy.linalg.solve_triangular(self._small_chol, scaled.T, lower=True, check_finite=False).T
        self._require_range()

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
        gradient lies in its range, up to rounding.  Conjugate gradients solve it with products of O(d k^2).  Taking the
        rotation out leaves the least-norm solution wherever rotations are all that is undetermined, (d - k)^2 >= d + k.
        """
        d, k = self.dim, self.rank
        gradient = np.concatenate([grad["diag"], grad["factor"].ravel()])
        scale = np.concatenate([self._metric_scale(), np.repeat(self._metric_scale() ** 0.5, k)])

        def metric(v):
            v = scale * v
            diag, factor = self._metric_dot(v[:d], v[d:].reshape(d, k))
            return scale * np.concatenate([diag, factor.ravel()])

        solution = scale * _solve_semidefinite(metric, scale * gradient, repr(self))
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


class LowRankGaussian(LowRankBase):
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

    def _noise_dims(self) -> tuple[int, ...]:
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
        z, rest = np.zeros((len(r), self.rank)), r
        for _ in range(
            3 if self._small_chol.max(initial=0.0) > LARGE**0.5 else 1
        ):  # refined where it is ill-conditioned
            slope = (rest / self.diag) @ self.factor - z
            z = z + scipy.linalg.cho_solve((self._small_chol, True), slope.T, check_finite=False).T
            rest = r - z @ self.factor.T
        return ((rest**2) / self.diag).sum(axis=1) + (z * z).sum(axis=1)

    def _log_det(self):
        return self._sum_log_det()

    def _variances(self):
        return self.diag + (self.factor**2).sum(axis=1)

    def _cov_dot(self, v):
        return self._sum_dot(v)

    def _precision_trace(self, other):
        return (other._variances() / self.diag).sum() - (self._w * other._cov_dot(self._w)).sum()

    def _projections(self, design, offset, n_threads):
        variances = design.squares_dot(self.diag) + (design.dot(self.factor) ** 2).sum(axis=1)
        return design.dot(self.mean) + offset, np.sqrt(variances)


class LowRankPrecisionGaussian(LowRankBase):
    """Gaussian with precision diag(diag) + U U^T; with one column it is that of Rezende, Mohamed & Wierstra (2014).

    Parameters
    ----------
    mean : array_like (d,) or (..., d)
    diag : array_like (d,) or (..., d)
        Positive.
    factor : array_like (d, k) or (..., d, k)
        U.

    Notes
    -----
    A mean with leading axes makes it a batch of Gaussians, to which the others broadcast: ``sample(n)`` is (n, ..., d),
    ``log_prob`` takes that and gives (n, ...), ``entropy()`` and ``kl`` give (...), and ``q[i]`` is a member.
    Estimators and fits take members.

    d/dU = -2 cov G cov U and d/ddiag = -diag(cov G cov), in O(d k) and without cancellation as U goes to 0.  Draws use
    the symmetric square root (I + V V^T)^(-1/2) = I - V C V^T, V = D^(-1/2) U, with the eigenvalues
    c = 1/((1 + s) + sqrt(1 + s)) of C where s are those of V^T V: the paper's (1 - sqrt(eta))/s without its 0/0.
    """

    def __init__(self, mean: ArrayLike, diag: ArrayLike, factor: ArrayLike) -> None:
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

    def _projections(self, design, offset, n_threads):
        t = []
        for block in design.dense_blocks():
            b = block / np.sqrt(self.diag)
            t.append(row_norms(b - (b @ self._root) @ self._scaled.T))
        return design.dot(self.mean) + offset, np.concatenate(t)
