"""Targets: the functions f whose expectations and gradients are wanted.

`Target` wraps vectorised callables with whatever derivatives the user has.  `ridge` builds the class that has its own
kernels: a quadratic plus a weighted sum of one-dimensional functions of linear forms,

    f(x) = q(x) + sum_j w_j phi(a_j . x + c_j; y_j).

Generalised linear models are of this form (rows a_j of the data, phi a log likelihood), and so is the free energy of a
Gaussian-Bernoulli restricted Boltzmann machine.  Its mean Hessian over draws is A^T diag(mean of w phi'') A, formed
once however many draws there are, and its Gaussian expectations are one-dimensional integrals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from sbpfast import _c_functions, _checks, _core, _foreign
from sbpfast._forms import FullForm
from sbpfast._means import BLOCK, group_mean, group_sizes
from sbpfast._streams import LANES, LONG, to_panels, to_rows

__all__ = [
    "LINKS",
    "NonFiniteTarget",
    "Target",
    "gaussian_bernoulli_free_energy",
    "linear_regression",
    "logistic_regression",
    "poisson_regression",
    "probit_regression",
    "quadratic",
    "ridge",
    "student_t_regression",
]


class NonFiniteTarget(ValueError):
    """f, its gradient or its Hessian is not finite at a point that was drawn; the text names the point."""


def _point_text(x):
    shown = ", ".join(f"{v:.6g}" for v in x[:8])
    return f"[{shown}{', ...' if len(x) > 8 else ''}]"


def _require_finite(what, result, x):
    if not np.isfinite(result).all():
        bad = ~np.isfinite(result.reshape(len(result), -1)).all(axis=1)
        first = int(np.argmax(bad))
        raise NonFiniteTarget(
            f"{what} is not finite at {int(bad.sum())} of {len(x)} points, first at x = {_point_text(x[first])}"
        )
    return result


def _result(name, result, shape, x):
    """What a callable returned, as a float64 array of the wanted shape, finite."""
    result = np.asarray(result)
    if result.dtype.kind not in "biuf":
        raise TypeError(f"{name} must return real numbers, got dtype {result.dtype}")
    if result.shape != shape:
        raise ValueError(f"{name} must return shape {shape} for x of shape {x.shape}, got {result.shape}")
    what = {"value": "f", "grad": "the gradient of f"}.get(name, "the Hessian of f")
    return _require_finite(what, np.ascontiguousarray(result, dtype=np.float64), x)


class Target:
    """A function of R^d with the derivatives the user has, all vectorised over points.

    Parameters
    ----------
    value : callable, optional
        x (n, d) to f (n,).
    grad : callable, optional
        x (n, d) to the gradients (n, d).
    hess : callable, optional
        x (n, d) to the Hessians (n, d, d).
    hvp : callable, optional
        x (n, d), v (n, d) to the Hessian-vector products (n, d).
    value_and_grad : callable, optional
        x (n, d) to the pair of f (n,) and the gradients (n, d), in one evaluation: used wherever both are wanted, and
        for either where ``value`` or ``grad`` is not given.
    dim : int
        d.

    Raises
    ------
    TypeError
        Something given is not callable; a result is not real.
    ValueError
        No callable at all; a result has the wrong shape.
    NonFiniteTarget
        A result is not finite; the text names the first such point.

    Notes
    -----
    Each callable gets a C-contiguous float64 array and may be called several times, on blocks of points.  What it
    raises reaches the caller unchanged.
    """

    _value_brings_grad = False  # f alone is not cheaper than f with its gradient

    def __init__(
        self,
        value: Callable | None = None,
        grad: Callable | None = None,
        hess: Callable | None = None,
        hvp: Callable | None = None,
        value_and_grad: Callable | None = None,
        *,
        dim: int,
    ):
        self._callables = {
            "value": value, "grad": grad, "hess": hess, "hvp": hvp, "value_and_grad": value_and_grad
        }  # fmt: skip
        for name, function in self._callables.items():
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be callable, got {type(function).__name__}")
        if all(function is None for function in self._callables.values()):
            raise ValueError("a Target needs at least one of value, grad, hess, hvp and value_and_grad")
        self.dim = _checks.count("dim", dim)
        self._value_brings_grad = value is None and value_and_grad is not None

    @classmethod
    def from_jax(cls, f, *, dim: int) -> Target:
        """A target from a JAX function of one point (dim,) to a scalar; JAX differentiates it.

        JAX computes in float32 unless ``jax_enable_x64`` is set.  Blocks come in a few sizes; each is compiled once.
        """
        return cls(**_foreign.of_jax(f), dim=dim)

    @classmethod
    def from_torch(cls, f, *, dim: int) -> Target:
        """A target from a PyTorch function of one point (dim,), float64, to a scalar; torch.func differentiates it."""
        return cls(**_foreign.of_torch(f), dim=dim)

    @classmethod
    def from_cfunc(cls, value=None, grad=None, hess=None, value_and_grad=None, *, dim: int) -> Target:
        """A target from C functions, called without the GIL from several threads at once.

        Parameters
        ----------
        value : scipy.LowLevelCallable, numba cfunc or ctypes function, optional
            ``double value(const double *x, intptr_t d, void *user_data)``.
        grad, hess : the same kinds, optional
            ``void grad(const double *x, intptr_t d, double *out, void *user_data)``, out (d,) or (d, d).
        value_and_grad : the same kinds, optional
            ``int f(const double *x, intptr_t d, double *value, double *grad, void *user_data)``, both in one call; a
            result other than 0 says that they are not finite at x.  Also taken: the order of nutpie's compiled models,
            ``int64_t f(uint64_t d, double *x, double *grad, double *value, void *user_data)``, and BridgeStan's
            ``bs_log_density_gradient``, with the model as user data.
        dim : int

        Raises
        ------
        TypeError
            Not one of these kinds, or of another signature: the ``_sig`` of numba functions, ``argtypes`` and
            ``restype`` of ctypes functions and the signature of a LowLevelCallable are compared with those above.
        """
        functions = {"value": value, "grad": grad, "hess": hess, "value_and_grad": value_and_grad}
        return cls(**_c_functions.of_cfunc(**functions), dim=dim)

    def __repr__(self):
        have = [name for name, function in self._callables.items() if function is not None]
        return f"{type(self).__name__}(dim={self.dim}, with {', '.join(have)})"

    # public: checked input

    def value(self, x) -> np.ndarray:
        """f at the points x (n, d), (n,)."""
        return self._value(_checks.points("x", x, self.dim))

    def grad(self, x) -> np.ndarray:
        """Gradients at the points x (n, d), (n, d)."""
        return self._grad(_checks.points("x", x, self.dim))

    def hess(self, x) -> np.ndarray:
        """Hessians at the points x (n, d), (n, d, d)."""
        return self._hess(_checks.points("x", x, self.dim))

    def hvp(self, x, v) -> np.ndarray:
        """Hessian-vector products at x (n, d) with v (n, d) or (d,), (n, d)."""
        x = _checks.points("x", x, self.dim)
        v = _checks.real_array("v", v)
        if v.shape not in (x.shape, (self.dim,)):
            raise ValueError(f"v must have shape {x.shape} or ({self.dim},), got {v.shape}")
        return self._hvp(x, np.broadcast_to(v, x.shape).copy())

    def hess_mean(self, x) -> np.ndarray:
        """Mean of the Hessians over the points x (n, d), (d, d)."""
        x = _checks.points("x", x, self.dim)
        if len(x) == 0:
            raise ValueError("x must hold at least one point")
        block = max(1, 2**22 // self.dim**2)
        total = np.zeros((self.dim, self.dim))
        for start in range(0, len(x), block):
            total += self._hess(x[start : start + block]).sum(axis=0)
        return total / len(x)

    # internal: x is C-contiguous float64 and finite

    def _has(self, name) -> bool:
        given = self._callables
        if name in ("value", "grad"):
            return given[name] is not None or given["value_and_grad"] is not None
        if name == "hess":
            return given["hess"] is not None or given["hvp"] is not None
        return given[name] is not None

    def _call(self, name, shape, x, *more):
        function = self._callables[name]
        if function is None:
            raise ValueError(f"this target has no {name}")
        return _result(name, function(x, *more), shape, x)

    def _pair(self, x):
        """What value_and_grad returns, unchecked."""
        function = self._callables["value_and_grad"]
        assert function is not None
        pair = function(x)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"value_and_grad must return a pair, f and its gradient, got {type(pair).__name__}")
        return pair

    def _value(self, x, n_threads=None):
        if self._value_brings_grad:
            return _result("value", self._pair(x)[0], (len(x),), x)
        return self._call("value", (len(x),), x)

    def _grad(self, x):
        if self._callables["grad"] is None and self._has("grad"):
            return _result("grad", self._pair(x)[1], x.shape, x)
        return self._call("grad", x.shape, x)

    def _value_and_grad(self, x, n_threads=None):
        if self._callables["value_and_grad"] is not None:
            value, grad = self._pair(x)
            return _result("value", value, (len(x),), x), _result("grad", grad, x.shape, x)
        value = self._value(x) if self._has("value") else np.full(len(x), math.nan)
        return value, self._grad(x)

    def _hess(self, x):
        if self._callables["hess"] is None and self._callables["hvp"] is not None:
            columns = [self._hvp(x, np.broadcast_to(e, x.shape).copy()) for e in np.eye(self.dim)]
            return np.stack(columns, axis=-1)
        return self._call("hess", (len(x), self.dim, self.dim), x)

    def _hvp(self, x, v):
        if self._callables["hvp"] is not None:
            return self._call("hvp", x.shape, x, v)
        return np.einsum("nij,nj->ni", self._hess(x), v)

    def _hess_means(self, x, m, form):
        """Group means of the Hessian in the form a covariance structure needs."""
        return form.of_hessians(self._hess(x), m)


class _Quadratic(NamedTuple):
    """constant - 1/2 (x - mean)^T P (x - mean); P a diagonal (d,) or a matrix (d, d)."""

    precision: np.ndarray
    mean: np.ndarray
    constant: float

    def apply(self, r):
        """P r for a vector or rows r."""
        return r @ self.precision if self.precision.ndim == 2 else r * self.precision

    def value(self, x):
        r = x - self.mean
        return self.constant - 0.5 * (r * self.apply(r)).sum(axis=1)

    def grad(self, x):
        return -self.apply(x - self.mean)

    def panel_values(self, panels, n, total_x, n_threads):
        """Values at the lanes of panels (blocks, d, 64), flattened; adds the sum of the first n draws to total_x."""
        values = np.empty(len(panels) * LANES)
        if self.precision.ndim == 1:
            _core.ridge.diagonal_quadratic(
                panels, n, self.precision, self.mean, self.constant, values, total_x, n_threads
            )
        else:
            x = to_rows(panels, len(values))
            values[:] = self.value(x)
            total_x += x[:n].sum(axis=0)
        return values

    def expectation(self, q):
        """E f and E grad f under a Gaussian."""
        r = q.mean - self.mean
        if self.precision.ndim == 2:
            trace = (self.precision * q._cov_dot(np.eye(len(r)))).sum()
        else:
            trace = (self.precision * q._variances()).sum()
        pr = self.apply(r)
        return self.constant - 0.5 * float(r @ pr + trace), -pr


class Link(NamedTuple):
    """A row of the table of links: place in links.h, parameters, distance of the nearest singularity."""

    code: int
    parameters: tuple[str, ...] = ()
    pole: Callable[..., float] = lambda: math.inf


LINKS = {
    "softplus": Link(0, (), lambda: math.pi),
    "logistic": Link(1, (), lambda: math.pi),
    "probit": Link(2, (), lambda: 2.8),  # the zeros of Phi nearest to the real axis: -1.916 +- 2.816i
    "exp": Link(3),
    "poisson": Link(4),
    "square": Link(5),
    "student_t": Link(6, ("df", "scale"), lambda df, scale: math.sqrt(df) * scale),
    "log_cosh": Link(7, (), lambda: 0.5 * math.pi),
}
"""The links phi(t; y) by name.

softplus log(1 + e^t); logistic y t - log(1 + e^t); probit log Phi((2y - 1) t); exp e^t; poisson y t - e^t;
square (t - y)^2; student_t -(df + 1)/2 log(1 + (t - y)^2/(df scale^2)); log_cosh log cosh t.
"""


class Ridge(Target):
    """q(x) + sum_j w_j phi(a_j . x + c_j; y_j), see `ridge`."""

    def __init__(self, a, offset, link, parameters, weights, y, quad):
        self.dim = a.shape[1]
        self._rows = a.shape[0]
        self._sparse = scipy.sparse.issparse(a)
        self._a, self._offset, self._weights, self._y = a, offset, weights, y
        self._link_name = link
        self._parameters = np.array(parameters or (0.0,))
        self._pole = self._link.pole(*parameters)
        self._quad = quad

    def __repr__(self):
        return f"Ridge(dim={self.dim}, rows={self._rows}, link={self._link_name!r})"

    @property
    def _link(self) -> Link:
        return LINKS[self._link_name]  # looked up, because a row of the table holds functions and cannot be pickled

    def _has(self, name):
        return True

    # at given points

    def _value(self, x, n_threads=None):
        return self._values(x, False, n_threads)[0]

    def _grad(self, x):
        return self._values(x, True)[1]

    def _value_and_grad(self, x, n_threads=None):
        return self._values(x, True, n_threads)

    def _values(self, x, with_grad, n_threads=None):
        n_threads = _core.effective_threads(n_threads)
        if len(x) == 0:
            return np.zeros(0), np.zeros((0, self.dim))
        if self._by_rows(len(x)):
            return self._row_values(x, n_threads)
        panels = to_panels(x)
        values = self._quad.panel_values(panels, len(x), np.zeros(self.dim), n_threads)
        grads = np.zeros_like(panels) if with_grad else None
        _core.ridge.ridge_values(
            self._a,
            self._offset,
            self._y,
            self._weights,
            self._link.code,
            self._parameters,
            panels,
            values,
            grads,
            n_threads,
        )
        value = _require_finite("f", values[: len(x)], x)
        return value, (to_rows(grads, len(x)) + self._quad.grad(x) if with_grad else None)

    def _by_rows(self, n):
        """Sparse designs have no kernel, and a few long points would be padded to a whole panel of 64."""
        return self._sparse or (self.dim >= LONG and n < LANES)

    def _derivatives(self, x, rows, n_threads):
        """w phi, w phi' and w phi'' at the linear forms of some rows of A, (n, rows) each."""
        forms = np.ascontiguousarray((self._a[rows] @ x.T).T) + self._offset[rows]
        v, s, c = np.empty_like(forms), np.empty_like(forms), np.empty_like(forms)
        _core.ridge.link_derivatives(forms, self._y[rows], self._link.code, self._parameters, v, s, c, n_threads)
        w = self._weights[rows]
        return w * v, w * s, w * c

    def _row_blocks(self, n):
        """Slices of the rows, so that (n, rows) stays small."""
        block = max(1, 2**20 // max(n, 1))
        return [slice(i, min(i + block, self._rows)) for i in range(0, self._rows, block)]

    def _row_values(self, x, n_threads):
        value, grad = self._quad.value(x), self._quad.grad(x)
        for rows in self._row_blocks(len(x)):
            v, s, _ = self._derivatives(x, rows, n_threads)
            value += v.sum(axis=1)
            grad += (self._a[rows].T @ s.T).T
        return _require_finite("f", value, x), grad

    def _hess(self, x):
        n_threads = _core.effective_threads()
        out = np.empty((len(x), self.dim, self.dim))
        for i, point in enumerate(x):
            curvature = np.concatenate(
                [self._derivatives(point[None], rows, n_threads)[2][0] for rows in self._row_blocks(1)] or [np.zeros(0)]
            )
            out[i] = self._from_curvature(FullForm, curvature, n_threads)
        return out

    def _hvp(self, x, v):
        out = -self._quad.apply(v)
        for rows in self._row_blocks(len(x)):
            c = self._derivatives(x, rows, _core.effective_threads())[2]
            a = self._a[rows]
            out += (a.T @ (c * (a @ v.T).T).T).T
        return out

    def hess_mean(self, x):
        x = _checks.points("x", x, self.dim)
        if len(x) == 0:
            raise ValueError("x must hold at least one point")
        n_threads = _core.effective_threads()
        curvature = np.zeros(self._rows)
        for start in range(0, len(x), BLOCK):
            block = x[start : start + BLOCK]
            for rows in self._row_blocks(len(block)):
                curvature[rows] += self._derivatives(block, rows, n_threads)[2].sum(axis=0)
        return self._from_curvature(FullForm, curvature / len(x), n_threads)

    # means over draws

    def _link_sums(self, draws, m, n_threads):
        """Over groups of m draws: the sums of w phi' and of w phi'' (groups, N); the values (n,); the sum of x (d,)."""
        n = draws.n
        groups = -(-n // m)
        slopes, curvatures, total_x = np.zeros((groups, self._rows)), np.zeros((groups, self._rows)), np.zeros(self.dim)
        if self._by_rows(n):
            total_x += draws.x.sum(axis=0)
            value = self._quad.value(draws.x)
            sizes = group_sizes(n, m)[:, None]
            for rows in self._row_blocks(n):
                v, s, c = self._derivatives(draws.x, rows, n_threads)
                value += v.sum(axis=1)
                slopes[:, rows], curvatures[:, rows] = sizes * group_mean(s, m), sizes * group_mean(c, m)
        else:
            panels = draws.panels
            values = self._quad.panel_values(panels, n, total_x, n_threads)
            _core.ridge.ridge_moments(
                self._a, self._offset, self._y, self._weights, self._link.code, self._parameters,
                panels, n, m, values, slopes, curvatures, n_threads,
            )  # fmt: skip
            value = values[:n]
        if not np.isfinite(value).all():
            _require_finite("f", value, draws.x)
        return slopes, curvatures, value, total_x

    def _group_derivatives(self, draws, m, form, n_threads):
        """Group means of the gradient and of the Hessian, in the given form."""
        slopes, curvatures, _, _ = self._link_sums(draws, m, n_threads)
        sizes = group_sizes(draws.n, m)
        means = zip(slopes / sizes[:, None], curvatures / sizes[:, None], group_mean(draws.x, m))
        pairs = [self._mean_derivatives(s, c, x, form, n_threads) for s, c, x in means]
        return np.stack([g for g, _ in pairs]), np.stack([h for _, h in pairs])

    def _mean_derivatives(self, slope, curvature, mean_x, form, n_threads):
        """Mean gradient and mean Hessian from the mean slope and curvature of each term."""
        grad = self._transposed_dot(slope, n_threads) - self._quad.apply(mean_x - self._quad.mean)
        return grad, self._from_curvature(form, curvature, n_threads)

    def _transposed_dot(self, s, n_threads):
        """A^T s."""
        if self._sparse:
            return self._a.T @ s
        out = np.empty(self.dim)
        _core.contract.weighted_sum(self._a, s, out, n_threads)
        return out

    def _from_curvature(self, form, curvature, n_threads):
        """A^T diag(curvature) A + Hess q in the given form."""
        hessian = form.of_factored(self._a, curvature, n_threads)
        form.subtract(hessian, self._quad.precision)
        return hessian

    # exact Gaussian expectations

    def _exact(self, q, form, n_threads):
        """E f, E grad f and E Hess f (in the given form) under the Gaussian q, by one-dimensional integrals."""
        m, t = q._projections(self._a, self._offset, n_threads)
        v, s, c = self._link_expectations(m, t, n_threads)
        w = self._weights
        constant, quad_grad = self._quad.expectation(q)
        value = constant + float(w @ v)
        grad = quad_grad + self._transposed_dot(w * s, n_threads)
        if not (math.isfinite(value) and np.isfinite(grad).all()):
            raise NonFiniteTarget(f"the expectation of f overflows under the Gaussian with mean {_point_text(q.mean)}")
        return value, grad, self._from_curvature(form, w * c, n_threads)

    def _link_expectations(self, m, t, n_threads):
        """E phi, E phi', E phi'' under N(m_j, t_j^2)."""
        y = self._y
        if self._link_name in ("exp", "poisson"):
            with np.errstate(over="ignore"):
                e = np.exp(m + 0.5 * t * t)
            return (e, e, e) if self._link_name == "exp" else (y * m - e, y - e, -e)
        if self._link_name == "square":
            return (m - y) ** 2 + t * t, 2.0 * (m - y), np.full_like(m, 2.0)
        v, s, c = np.empty_like(m), np.empty_like(m), np.empty_like(m)
        _core.ridge.gaussian_expectations(m, t, y, self._link.code, self._parameters, self._pole, v, s, c, n_threads)
        return v, s, c


# -- constructors -----------------------------------------------------------------------------------------------------


def quadratic(precision, mean, constant=0.0) -> Ridge:
    """constant - 1/2 (x - mean)^T P (x - mean): the log density of a Gaussian, up to the constant.

    Parameters
    ----------
    precision : array_like, scalar, (d,) or (d, d)
        P, symmetric; it need not be positive.
    mean : array_like (d,)
    constant : float

    Returns
    -------
    Target
        With value, gradient, Hessian and exact Gaussian expectations.
    """
    mean = _checks.real_array("mean", mean, ndim=1)
    d = len(mean)
    if d == 0:
        raise ValueError("mean must have at least one element")
    precision = _checks.real_array("precision", precision, ndim=(0, 1, 2))
    if precision.ndim == 2:
        precision = _checks.symmetric("precision", precision)
    if precision.ndim == 0:
        precision = np.full(d, precision)
    if precision.shape[0] != d:
        raise ValueError(f"precision must be a scalar or have shape ({d},) or ({d}, {d}), got {precision.shape}")
    quad = _Quadratic(_checks.frozen(precision), _checks.frozen(mean), _checks.scalar("constant", constant))
    return Ridge(np.zeros((0, d)), np.zeros(0), "square", (), np.zeros(0), np.zeros(0), quad)


def ridge(a, offset, link, weights=1.0, y=None, quadratic=None, **parameters) -> Ridge:
    """A quadratic plus a weighted sum of one-dimensional functions of linear forms.

    f(x) = q(x) + sum_j w_j phi(a_j . x + c_j; y_j)

    Parameters
    ----------
    a : array_like or scipy.sparse array (N, d)
        The rows a_j.
    offset : float or array_like (N,)
        c.
    link : str
        phi, a key of `LINKS`.
    weights : float or array_like (N,)
        w, of either sign.
    y : float or array_like (N,), optional
        Data of the link, 0 by default; in [0, 1] for "logistic", 0 or 1 for "probit".
    quadratic : Target, optional
        q, made by `quadratic`.
    **parameters
        Of the link: ``df`` and ``scale`` for "student_t".

    Returns
    -------
    Target
        With every derivative and exact Gaussian expectations.  ``a`` is kept without a copy where it already is a
        C-contiguous float64 array; do not change it while the target is in use.
    """
    a = _design("a", a)
    rows, d = a.shape
    _checks.choice("link", link, LINKS)
    wanted = LINKS[link].parameters
    if set(parameters) != set(wanted):
        raise TypeError(f"link {link!r} takes the parameters {list(wanted)}, got {sorted(parameters)}")
    values = tuple(_checks.scalar(name, parameters[name], above=0.0) for name in wanted)
    y = _checks.vector("y", 0.0 if y is None else y, rows)
    if link == "logistic" and not ((y >= 0) & (y <= 1)).all():
        raise ValueError("y must lie in [0, 1] for the logistic link")
    if link == "probit" and not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("y must be 0 or 1 for the probit link")
    if quadratic is None:
        quad = _Quadratic(np.zeros(d), np.zeros(d), 0.0)
    elif isinstance(quadratic, Ridge) and quadratic._a.shape[0] == 0:
        if quadratic.dim != d:
            raise ValueError(f"quadratic must have dimension {d}, got {quadratic.dim}")
        quad = quadratic._quad
    else:
        raise TypeError("quadratic must be made by sbpfast.targets.quadratic")
    return Ridge(
        a, _checks.vector("offset", offset, rows), link, values, _checks.vector("weights", weights, rows), y, quad
    )


def gaussian_bernoulli_free_energy(rbm) -> Ridge:
    """F(v) of a Gaussian-Bernoulli restricted Boltzmann machine, so that log P(v) = -F(v) - log Z.

    F(v) = sum_i (v_i - b_i)^2 / (2 sigma_i^2) - sum_j log(1 + exp(c_j + sum_i v_i w_ij / sigma_i))

    Parameters
    ----------
    rbm : GaussianBernoulliRBM
        Fitted, or made from parameters.

    Returns
    -------
    Target
        With an indefinite Hessian in general; every Gaussian estimator applies, "exact" among them.

    Raises
    ------
    TypeError, ValueError
        Not a GaussianBernoulliRBM; not fitted.
    """
    from sbpfast.rbm import GaussianBernoulliRBM

    if not isinstance(rbm, GaussianBernoulliRBM):
        raise TypeError(f"rbm must be a GaussianBernoulliRBM, got {type(rbm).__name__}")
    model = rbm._model().astype(np.float64)
    return ridge(
        np.ascontiguousarray(model.factor(np.float64).T),
        model.hidden_bias,
        "softplus",
        weights=-1.0,
        quadratic=quadratic(-1.0 / model.sigma**2, model.visible_bias),
    )


def _design(name, a):
    """A design matrix: C-contiguous float64, or CSR."""
    if scipy.sparse.issparse(a):
        if a.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {a.dtype}")
        a = scipy.sparse.csr_array(a, dtype=np.float64)
        if not np.isfinite(a.data).all():
            raise ValueError(f"{name} must be finite")
    else:
        a = _checks.real_array(name, a, ndim=2)
    if a.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {a.shape}")
    return a


def _regression(X, y, link, weights, offset, prior_scale, prior_mean, constant, term_weights=1.0, **parameters):
    """A log joint density: ridge terms of the data and a normal prior with its constant."""
    X = _design("X", X)
    rows, d = X.shape
    scale = _checks.real_array("prior_scale", prior_scale, ndim=(0, 1), finite=False)
    if scale.shape not in ((), (d,)):
        raise ValueError(f"prior_scale must be a scalar or have shape ({d},), got {scale.shape}")
    scale = np.broadcast_to(scale, d)
    if np.isnan(scale).any() or not (scale > 0).all():
        raise ValueError("prior_scale must be positive (np.inf for a flat prior)")
    weights = _checks.vector("weights", 1.0 if weights is None else weights, rows)
    if (weights < 0).any():
        raise ValueError("weights must not be negative")
    constant = float(weights @ constant) if np.ndim(constant) else float(weights.sum() * constant)
    proper = scale[np.isfinite(scale)]
    constant -= float(np.log(proper).sum()) + 0.5 * len(proper) * math.log(2.0 * math.pi)
    prior = quadratic(1.0 / scale**2, _checks.vector("prior_mean", prior_mean, d), constant)
    return ridge(X, offset, link, weights * term_weights, y, prior, **parameters)


def _response(y, X, allowed, wanted):
    y = _checks.vector("y", y)
    if len(y) != X.shape[0]:
        raise ValueError(f"y must have one entry for each of the {X.shape[0]} rows of X, got shape {y.shape}")
    if not allowed(y).all():
        raise ValueError(f"y must be {wanted}, got {y[~allowed(y)][0]}")
    return y


def logistic_regression(X, y, *, prior_scale, prior_mean=0.0, offset=0.0, weights=None, trials=None) -> Ridge:
    """Log joint density of Bayesian logistic regression.

    sum_j w_j [y_j t_j - n_j log(1 + e^t_j) + log C(n_j, y_j)] + log N(x; prior_mean, prior_scale^2),  t = X x + offset

    Parameters
    ----------
    X : array_like or scipy.sparse array (N, d)
    y : array_like (N,)
        0 or 1; with ``trials``, counts of successes.
    prior_scale : float or array_like (d,)
        Standard deviations of the normal prior; ``np.inf`` is a flat prior, which counts 0.
    prior_mean : float or array_like (d,)
    offset : float or array_like (N,)
    weights : array_like (N,), optional
        Non-negative, multiply the terms of the likelihood.
    trials : array_like (N,), optional
        Numbers of trials n_j, which make the likelihood binomial.

    Returns
    -------
    Target
        A ridge target with every normalising constant, so that an ELBO bounds the log evidence.
    """
    X = _design("X", X)
    if trials is None:
        y = _response(y, X, lambda v: (v == 0) | (v == 1), "0 or 1")
        return _regression(X, y, "logistic", weights, offset, prior_scale, prior_mean, 0.0)
    n = _checks.vector("trials", trials, X.shape[0])
    if not ((n >= 1) & (n == np.floor(n))).all():
        raise ValueError("trials must be whole numbers, at least 1")
    y = _response(y, X, lambda v: (v >= 0) & (v <= n) & (v == np.floor(v)), "whole numbers between 0 and trials")
    constant = scipy.special.gammaln(n + 1) - scipy.special.gammaln(y + 1) - scipy.special.gammaln(n - y + 1)
    return _regression(X, y / n, "logistic", weights, offset, prior_scale, prior_mean, constant, term_weights=n)


def probit_regression(X, y, *, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of Bayesian probit regression.

    sum_j w_j log Phi((2 y_j - 1) t_j) + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with y 0 or 1.
    """
    X = _design("X", X)
    y = _response(y, X, lambda v: (v == 0) | (v == 1), "0 or 1")
    return _regression(X, y, "probit", weights, offset, prior_scale, prior_mean, 0.0)


def poisson_regression(X, y, *, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of Bayesian Poisson regression.

    sum_j w_j [y_j t_j - e^t_j - log y_j!] + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with y counts.
    """
    X = _design("X", X)
    y = _response(y, X, lambda v: (v >= 0) & (v == np.floor(v)), "whole numbers, not negative")
    return _regression(X, y, "poisson", weights, offset, prior_scale, prior_mean, -scipy.special.gammaln(y + 1))


def linear_regression(X, y, *, noise_scale, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of Bayesian linear regression.

    sum_j w_j log N(y_j; t_j, noise_scale^2) + log prior,  t = X x + offset

    Arguments as for `logistic_regression`, with real y and the known standard deviation of the noise.
    """
    X = _design("X", X)
    noise = _checks.scalar("noise_scale", noise_scale, above=0.0)
    y = _response(y, X, np.isfinite, "finite")
    constant = -math.log(noise) - 0.5 * math.log(2.0 * math.pi)
    return _regression(X, y, "square", weights, offset, prior_scale, prior_mean, constant, term_weights=-0.5 / noise**2)


def student_t_regression(X, y, *, df, scale, prior_scale, prior_mean=0.0, offset=0.0, weights=None) -> Ridge:
    """Log joint density of robust regression: sum_j w_j log t_df(y_j; t_j, scale) + log prior, t = X x + offset.

    Arguments as for `logistic_regression`, with real y and the known degrees of freedom and scale of the noise.
    """
    X = _design("X", X)
    df, scale = _checks.scalar("df", df, above=0.0), _checks.scalar("scale", scale, above=0.0)
    y = _response(y, X, np.isfinite, "finite")
    gammaln = scipy.special.gammaln
    constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * math.log(df * math.pi) - math.log(scale)
    return _regression(X, y, "student_t", weights, offset, prior_scale, prior_mean, float(constant), df=df, scale=scale)
