"""Multinomial logistic regression: the softmax of K classes as a log joint density in (K - 1) d coefficients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from sbpfast import _checks, _core
from sbpfast._forms import FullForm
from sbpfast._means import BLOCK_ROWS, group_sizes
from sbpfast.targets._design import LIKE_A_LINK, DenseDesign, Design, as_design
from sbpfast.targets._quadratic import _QUIET, Quadratic, normal_prior, require_squares
from sbpfast.targets._row_block import Block
from sbpfast.targets._rows import Rows
from sbpfast.targets._streamed import as_rows
from sbpfast.targets._target import Target, require_finite

CELLS = 2**20  # linear predictors that are worked on at a time


class Softmax(Target):
    """sum_j w_j [eta_jy - log sum_k e^eta_jk] + q(x), eta_jk = x_k . a_j, the first class's eta being 0.

    A point x holds the coefficients of class 1, then those of class 2, and so on: (K - 1) d numbers.
    """

    _ours = True

    def __init__(self, design: Design, y, weights, n_classes, quad):
        self.design, self.y, self.weights, self.quadratic = design, y, weights, quad
        self.n_classes, self.n_rows = n_classes, design.n_rows
        self.n_predictors = n_classes - 1
        self.dim = self.n_predictors * design.shape[1]

    def __repr__(self):
        return f"Softmax(dim={self.dim}, rows={self.n_rows}, classes={self.n_classes})"

    def _has(self, name):
        return name != "value_and_grad"

    @property
    def _link_work(self) -> int:
        return max(self.n_rows, 1) * max(self.n_predictors, self.dim // LIKE_A_LINK)

    @property
    def n_columns(self) -> int:
        """Coefficients of a class."""
        return self.dim // self.n_predictors

    # as for ridge targets a pass over the rows is a sum over parts of BLOCK_ROWS rows, which know nothing of q

    def over_parts(self, function, *arguments) -> Iterator[Any]:
        """function(part, *arguments) for every part in order; the last of the arguments is the number of threads."""
        for rows in self.design.blocks():
            yield function(self._part(rows), *arguments)

    def _part(self, rows) -> Softmax:
        if self.n_rows <= BLOCK_ROWS:
            return self
        return Softmax(self.design[rows], self.y[rows], self.weights[rows], self.n_classes, self.quadratic)

    @property
    def weight_sum(self) -> float:
        """The sum of the weights, added as all sums over the rows are."""
        return float(np.sum([self.weights[rows].sum() for rows in self.design.blocks()]))

    def every(self, stride) -> Softmax:
        """The same with every stride-th row, the weights scaled up to the same sum: a cheap stand-in."""
        design, weights = self.design.every(stride), self.weights[::stride]
        part = Softmax(design, self.y[::stride].copy(), weights.copy(), self.n_classes, self.quadratic)
        part.weights *= self.weight_sum / part.weight_sum
        return part

    # at given points

    def _blocks(self, n):
        return self.design.blocks(max(1, CELLS // max(1, n * self.n_predictors)))

    def _rows_at(self, x, rows, m, n_threads):
        """Log likelihoods (rows, n), probabilities (rows, P, n), and sums of curvatures over m draws, for some rows."""
        n, p, d = len(x), self.n_predictors, self.n_columns
        coefficients = x.reshape(n, p, d).transpose(2, 1, 0).reshape(d, p * n)
        y = self.y[rows]
        eta = np.ascontiguousarray(self.design[rows].dot(coefficients)).reshape(len(y), p, n)
        value, groups = np.empty((len(y), n)), -(-n // m) if m else 0
        curvature = np.empty((groups, len(y), p, p))
        _core.softmax.softmax_derivatives(eta, y, m, value, curvature, n_threads)
        return value, eta, curvature

    @_QUIET
    def _value(self, x, n_threads=None):
        value = self.quadratic.value(x)
        for part in self.over_parts(Softmax._part_value, x, _core.effective_threads(n_threads)):
            value += part
        return require_finite("f", value, x)

    @_QUIET
    def _part_value(self, x, n_threads):
        value = np.zeros(len(x))
        for rows in self._blocks(len(x)):
            value += self.weights[rows] @ self._rows_at(x, rows, 0, n_threads)[0]
        return value

    def _grad(self, x):
        return self._value_and_grad(x)[1]

    @_QUIET
    def _value_and_grad(self, x, n_threads=None):
        value, grad = self.quadratic.value(x), self.quadratic.grad(x)
        for part_value, part_grad in self.over_parts(Softmax._part_grad, x, _core.effective_threads(n_threads)):
            value += part_value
            grad += part_grad
        return require_finite("f", value, x), grad

    @_QUIET
    def _part_grad(self, x, n_threads):
        n, p, d = len(x), self.n_predictors, self.n_columns
        value, grad = np.zeros(n), np.zeros((n, self.dim))
        for rows in self._blocks(n):
            v, slope, _ = self._rows_at(x, rows, 0, n_threads)
            value += self.weights[rows] @ v
            slope = self._residuals(slope, rows) * self.weights[rows, None, None]
            sums = self.design[rows].transposed_dots(slope.reshape(len(v), p * n))
            grad += np.asarray(sums).reshape(d, p, n).transpose(2, 1, 0).reshape(n, p * d)
        return value, grad

    def _residuals(self, probability, rows):
        """[y = k] - p_k from the probabilities (rows, P, ...), which are overwritten."""
        np.negative(probability, out=probability)
        later = np.flatnonzero(self.y[rows] > 0)
        probability[later, self.y[rows][later] - 1] += 1.0
        return probability

    @_QUIET
    def _hvp(self, x, v):
        out = -self.quadratic.apply(v)
        for part in self.over_parts(Softmax._part_hvp, x, v, _core.effective_threads()):
            out += part
        return out

    @_QUIET
    def _part_hvp(self, x, v, n_threads):
        n, p, d = len(x), self.n_predictors, self.n_columns
        out = np.zeros_like(v)
        for rows in self._blocks(n):
            _, prob, _ = self._rows_at(x, rows, 0, n_threads)
            moved = self.design[rows].dot(v.reshape(n, p, d).transpose(2, 1, 0).reshape(d, p * n)).reshape(prob.shape)
            change = prob * ((prob * moved).sum(axis=1, keepdims=True) - moved) * self.weights[rows, None, None]
            sums = self.design[rows].transposed_dots(change.reshape(-1, p * n))
            out += np.asarray(sums).reshape(d, p, n).transpose(2, 1, 0).reshape(n, p * d)
        return out

    def _hess(self, x):
        return self._mean_hessians(x, 1)

    def _hess_mean(self, x):
        """No Hessian of a point is formed."""
        return self._mean_hessians(x, len(x))[0]

    def _hess_means(self, x, m, form):
        return np.stack([form.of_hessians(h[None], 1)[0] for h in self._mean_hessians(x, m)])

    @_QUIET
    def _mean_hessians(self, x, m):
        """Means of the Hessian over groups of m points, (groups, D, D): summed over draws in every row first."""
        out = np.zeros((len(group_sizes(len(x), m)), self.dim, self.dim))
        for part in self.over_parts(Softmax._part_hessians, x, m, _core.effective_threads()):
            out += part
        for hessian in out:
            FullForm.subtract(hessian, self.quadratic.precision)
        return require_finite("the Hessian of f", out, x[:: max(m, 1)])

    @_QUIET
    def _part_hessians(self, x, m, n_threads):
        sizes = group_sizes(len(x), m)
        out = np.zeros((len(sizes), self.dim, self.dim))
        for rows in self._blocks(len(x)):
            curvature = self._rows_at(x, rows, m, n_threads)[2]
            for group, size in enumerate(sizes):
                self._add_hessian(curvature[group], rows, 1.0 / size, out[group], n_threads)
        return out

    def _add_hessian(self, curvature, rows, factor, out, n_threads):
        """Add sum_j w_j curvature_j (x) a_j a_j^T, from curvatures (rows, P, P) of some rows."""
        d = self.n_columns
        design, weights = self.design[rows], factor * self.weights[rows]
        for k in range(self.n_predictors):
            for l in range(k, self.n_predictors):
                block = design.weighted_gram(np.ascontiguousarray(weights * curvature[:, k, l]), n_threads)
                out[k * d : (k + 1) * d, l * d : (l + 1) * d] += block
                if l > k:
                    out[l * d : (l + 1) * d, k * d : (k + 1) * d] += block.T


class StreamedSoftmax(Softmax):
    """One whose rows are read at every pass."""

    design: Rows

    def __init__(self, rows: Rows, n_classes, quad):
        facts = rows.checked(_facts)
        largest = int(max(largest for largest, _ in facts))
        _require_classes(n_classes, largest)
        self.design, self.n_classes, self.quadratic = rows, n_classes, quad
        self.n_rows, self.n_predictors, self.dim = rows.n_rows, n_classes - 1, (n_classes - 1) * rows.dim
        self._weight_sum = float(np.sum([weight for _, weight in facts]))

    def __repr__(self):
        return f"Softmax(dim={self.dim}, rows={self.n_rows}, classes={self.n_classes}, of {self.design!r})"

    @property
    def weight_sum(self):
        return self._weight_sum

    def over_parts(self, function, *arguments):
        return self.design.over_parts(partial(_softmax_of, n_classes=self.n_classes), function, *arguments)

    def every(self, stride):
        part = _softmax_of(self.design.every_block(stride), self.n_classes)
        part.quadratic = self.quadratic
        part.weights *= self.weight_sum / part.weight_sum
        return part


def _softmax_of(block: Block, n_classes, quad=None) -> Softmax:
    y, weights = _classes(block.y, len(block.X)), _weights(block.weights, len(block.X))
    return Softmax(DenseDesign(block.X), y, weights, n_classes, quad)


def _facts(block: Block) -> tuple[int, float]:
    """The largest class and the sum of the weights of some rows, checked."""
    part = _softmax_of(block, 2)
    return int(part.y.max()), float(part.weights.sum())


def multinomial_regression(
    X, y=None, *, prior_scale, prior_mean=0.0, weights=None, n_classes=None, symmetric=False
) -> Softmax:
    """Log joint density of Bayesian multinomial logistic regression.

    sum_j w_j [eta_jy - log sum_k e^eta_jk] + log prior,  eta_jk = b_k . x_j,  b_0 = 0

    Parameters
    ----------
    X : array_like, scipy.sparse array (N, d), Rows, dask array or data frame
    y : array_like (N,)
        Classes 0, 1, ..., K - 1.
    prior_scale : float or array_like, (d,) or (K - 1, d)
        Standard deviations of the normal prior of the coefficients b_1, ..., b_(K-1); ``np.inf`` is flat, and counts 0.
    prior_mean : float or array_like, of the same shapes
        0 where the prior is symmetric.
    weights : array_like (N,), optional
        Non-negative.
    n_classes : int, optional
        K; one more than the largest y by default.
    symmetric : bool
        False: the b_k are independent.  True: every difference b_k - b_l has this standard deviation, that of b_0 = 0
        and another among them, so that the order of the classes does not matter; ``prior_scale`` is then a scalar or
        (d,).

    Returns
    -------
    Target
        Of dimension (K - 1) d, a point holding b_1, then b_2, and so on, with every derivative and constant.
        `sbpfast.fit` integrates over the K - 1 linear predictors of each row by a fixed rule.
    """
    rows = as_rows(X, y, {"weights": weights})
    if rows is not None:
        if "y" not in rows.columns:
            raise ValueError("the rows must have y")
        for name in set(rows.columns) - {"y", "weights"}:
            raise ValueError(f"the rows have {name}, which this model does not take")
        if n_classes is None:
            n_classes = 1 + int(max(rows.without_x().over_blocks(_largest_class)))
        n_classes = _checks.count("n_classes", n_classes)
        return StreamedSoftmax(rows, n_classes, _prior(prior_scale, prior_mean, n_classes, rows.dim, symmetric))
    X = as_design("X", X)
    y = _classes(y, X.n_rows)
    largest = int(y.max(initial=0))
    n_classes = largest + 1 if n_classes is None else _checks.count("n_classes", n_classes)
    _require_classes(n_classes, largest)
    quad = _prior(prior_scale, prior_mean, n_classes, X.shape[1], symmetric)
    return Softmax(X, y, _weights(weights, X.n_rows), n_classes, quad)


def _require_classes(n_classes, largest):
    if not n_classes >= max(2, largest + 1):
        raise ValueError(f"n_classes must be at least 2 and more than every y, got {n_classes} and a y of {largest}")


def _largest_class(block: Block) -> int:
    return int(_classes(block.y, len(block.X)).max())


def _weights(weights, rows) -> np.ndarray:
    weights = _checks.vector("weights", 1.0 if weights is None else weights, rows)
    if (weights < 0).any():
        raise ValueError("weights must not be negative")
    return weights


def _prior(prior_scale, prior_mean, n_classes, d, symmetric) -> Quadratic:
    if n_classes < 2:
        raise ValueError(f"n_classes must be at least 2, got {n_classes}")
    shape = (n_classes - 1, d)
    if not _checks.flag("symmetric", symmetric):
        scale = _scales(prior_scale, ((), (d,), shape), shape).ravel()
        return normal_prior(len(scale), scale, _shaped("prior_mean", prior_mean, ((), (d,), shape), shape).ravel())
    if np.any(prior_mean):
        raise ValueError("prior_mean must be 0 where the prior is symmetric")
    return _symmetric_prior(_scales(prior_scale, ((), (d,), (d,)), (d,)), n_classes)


def _classes(y, rows):
    y = _checks.vector("y", y)
    if len(y) != rows:
        raise ValueError(f"y must have one entry for each of the {rows} rows of X, got shape {y.shape}")
    wrong = ~((y >= 0) & (y == np.floor(y)) & (y < 2**31))
    if wrong.any():
        raise ValueError(f"y must be classes, whole numbers from 0, got {y[wrong][0]}")
    return y.astype(np.intp)


def _shaped(name, value, allowed, shape, finite=True):
    """A value of one of the allowed shapes, spread to another."""
    value = _checks.real_array(name, value, ndim=(0, 1, 2), finite=finite)
    if value.shape not in allowed:
        wanted = ", ".join(str(s) for s in allowed if s)
        raise ValueError(f"{name} must be a scalar or have shape {wanted}, got {value.shape}")
    return np.broadcast_to(value, shape).astype(np.float64)


def _scales(value, allowed, shape):
    scale = _shaped("prior_scale", value, allowed, shape, finite=False)
    if np.isnan(scale).any() or not (scale > 0).all():
        raise ValueError("prior_scale must be positive (np.inf for a flat prior)")
    require_squares("prior_scale", scale[np.isfinite(scale)])
    return scale


def _symmetric_prior(scale, n_classes):
    """Of b_1, ..., b_(K-1) given b_0 = 0: covariance scale^2/2 (I + 1 1^T), so precision 2/scale^2 (I - 1 1^T/K)."""
    p = n_classes - 1
    precision = np.kron(2.0 * (np.eye(p) - 1.0 / n_classes), np.diag(1.0 / scale**2))
    proper = scale[np.isfinite(scale)]
    constant = -p * float(np.log(proper).sum())
    constant -= 0.5 * len(proper) * (math.log(n_classes) + p * math.log(math.pi))
    return Quadratic(precision, np.zeros(p * len(scale)), constant)
