"""One Gaussian-Bernoulli RBM with fixed parameters: energy, free energy and its derivatives.

    E(v, h) = |D^-1 (v - b)|^2 / 2 - c.h - (D^-1 v)^T W h,   D = diag(sigma)
    F(v)    = |D^-1 (v - b)|^2 / 2 - sum_j log(1 + exp(c_j + (A^T v)_j)),   A = D^-1 W

Every quantity is one or two matrix products with A and sweeps over their rows by the kernels of ``_core.rbm``.  What
is divided by sigma^2 is divided by sigma twice, because the square of a float32 overflows at 2e19.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbpfast import _checks, _core

ROWS = 1024  # rows of v taken at a time, so that the linear forms stay in the second-level cache
BOTH: tuple = (np.float64, np.float32)
PRODUCT = 10**9  # multiplications of a product between two looks for Ctrl-C, about 0.1 seconds
PARAMETERS = ("weights", "visible_bias", "hidden_bias", "sigma")


def product(x, a) -> np.ndarray:
    """x @ a; many rows in slices, between which Ctrl-C is answered."""
    step = max(1, PRODUCT // a.size)
    if len(x) <= step:
        return x @ a
    out = np.empty((len(x), a.shape[1]), np.result_type(x, a))
    for start in range(0, len(x), step):
        np.matmul(x[start : start + step], a, out=out[start : start + step])
    return out


@dataclass(frozen=True, eq=False)
class Model:
    """Parameters of a GB-RBM, checked: weights (V, H), visible_bias (V,), hidden_bias (H,), sigma (V,)."""

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray
    sigma: np.ndarray

    @classmethod
    def checked(cls, weights, visible_bias, hidden_bias, sigma) -> Model:
        w = _checks.real_array("weights", weights, ndim=2, dtypes=BOTH)
        if 0 in w.shape:
            raise ValueError(f"weights must have at least one row and one column, got shape {w.shape}")
        b = _checks.real_array("visible_bias", visible_bias, shape=(w.shape[0],), dtypes=BOTH)
        c = _checks.real_array("hidden_bias", hidden_bias, shape=(w.shape[1],), dtypes=BOTH)
        s = _checks.positive("sigma", _checks.real_array("sigma", sigma, shape=(w.shape[0],), dtypes=BOTH))
        dtype = np.result_type(w, b, c, s)
        return cls(*(p.astype(dtype, copy=False) for p in (w, b, c, s)))

    @property
    def n_visible(self) -> int:
        return self.weights.shape[0]

    @property
    def n_hidden(self) -> int:
        return self.weights.shape[1]

    def parameters(self) -> tuple[np.ndarray, ...]:
        return self.weights, self.visible_bias, self.hidden_bias, self.sigma

    def astype(self, dtype) -> Model:
        if self.weights.dtype == dtype:
            return self
        return Model(*(p.astype(dtype) for p in self.parameters()))

    def copy(self) -> Model:
        return Model(*(p.copy() for p in self.parameters()))

    def same_as(self, other: Model) -> bool:
        return all(map(np.array_equal, self.parameters(), other.parameters()))

    def points(self, name, v) -> np.ndarray:
        """Rows of n_visible finite numbers, float32 kept."""
        return _checks.real_array(name, v, shape=(None, self.n_visible), dtypes=BOTH)

    def factor(self, dtype) -> np.ndarray:
        """A = D^-1 W (V, H), so that the linear forms of v are v @ A."""
        return (self.weights / self.sigma[:, None]).astype(dtype, copy=False)

    # -- value -------------------------------------------------------------------------------------------------------

    def energy(self, v, h) -> np.ndarray:
        v, h = self.points("v", v), _checks.real_array("h", h, shape=(None, self.n_hidden))
        if not ((h == 0) | (h == 1)).all():
            raise ValueError(f"h must hold zeros and ones, got {h[(h != 0) & (h != 1)][0]}")
        if len(v) != len(h) and 1 not in (len(v), len(h)):
            raise ValueError(f"v and h must have as many rows as each other, got {len(v)} and {len(h)}")
        model = self.astype(np.float64)
        squares = (((v - model.visible_bias) / model.sigma) ** 2).sum(1)
        linked = (v / model.sigma @ model.weights * h).sum(1)
        return (0.5 * squares - h @ model.hidden_bias - linked).astype(v.dtype, copy=False)

    def free_energy(self, v, n_threads) -> np.ndarray:
        model, a, threads = self.astype(v.dtype), self.factor(v.dtype), _core.effective_threads(n_threads)
        value, linked = np.empty(len(v)), np.empty(len(v))
        _core.rbm.half_square_rows(v, model.visible_bias, 1.0 / model.sigma, value, threads)
        for rows in blocks(len(v)):
            _core.rbm.softplus_rows(v[rows] @ a, model.hidden_bias, 1.0, linked[rows], threads)
        return (value - linked).astype(v.dtype, copy=False)

    def hidden_probability(self, v, n_threads) -> np.ndarray:
        """P(h_j = 1 | v), (n, H)."""
        model = self.astype(v.dtype)
        s = v @ self.factor(v.dtype)
        _core.rbm.probability_rows(
            s, model.hidden_bias, 1.0, np.zeros_like(model.hidden_bias), s, _core.effective_threads(n_threads)
        )
        return s

    # -- derivatives -------------------------------------------------------------------------------------------------

    def free_energy_grad(self, v, n_threads) -> np.ndarray:
        model, a = self.astype(v.dtype), self.factor(v.dtype)
        grad = (v - model.visible_bias) / model.sigma / model.sigma
        for rows in blocks(len(v)):
            grad[rows] -= self.hidden_probability(v[rows], n_threads) @ a.T
        return grad

    def curvature(self, v, n_threads) -> np.ndarray:
        """s (1 - s), the second derivative of the softplus at every linear form, (n, H)."""
        s = self.hidden_probability(v, n_threads)
        return s * (1.0 - s)

    def free_energy_hess(self, v, n_threads) -> np.ndarray:
        a = self.factor(v.dtype)
        hess = np.empty((len(v), self.n_visible, self.n_visible), v.dtype)
        for i, w in enumerate(self.curvature(v, n_threads)):
            np.matmul(a * -w, a.T, out=hess[i])
        hess[:, np.arange(self.n_visible), np.arange(self.n_visible)] += (1.0 / self.astype(v.dtype).sigma) ** 2
        return hess

    def free_energy_hvp(self, v, u, n_threads) -> np.ndarray:
        a = self.factor(v.dtype)
        u = u.astype(v.dtype, copy=False)
        sigma = self.astype(v.dtype).sigma
        product = u / sigma / sigma
        for rows in blocks(len(v)):
            product[rows] -= (self.curvature(v[rows], n_threads) * (u[rows] @ a)) @ a.T
        return product

    def free_energy_trace(self, v, n_threads) -> np.ndarray:
        """The Laplacian of F, sum_i 1/sigma_i^2 - sum_j s_j (1 - s_j) |A_j|^2."""
        a = self.factor(np.float64)
        largest = np.maximum(np.abs(a).max(0), np.finfo(np.float64).tiny)
        squares = ((a / largest) ** 2).sum(0)
        trace = np.full(len(v), ((1.0 / self.sigma.astype(np.float64)) ** 2).sum())
        for rows in blocks(len(v)):
            # squared after the product with the curvature, which is 0 where the weights are huge
            trace[rows] -= (np.sqrt(self.curvature(v[rows], n_threads)) * largest) ** 2 @ squares
        return trace.astype(v.dtype, copy=False)


def blocks(n):
    """Slices of at most ROWS rows."""
    return [slice(i, min(i + ROWS, n)) for i in range(0, n, ROWS)]
