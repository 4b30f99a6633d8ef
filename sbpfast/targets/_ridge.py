"""Ridge targets: a quadratic plus a weighted sum of one-dimensional functions of linear forms."""

from __future__ import annotations

import copy
import math

import numpy as np

from sbpfast import _checks, _core
from sbpfast._forms import FullForm
from sbpfast._means import BLOCK, group_mean, group_sizes
from sbpfast._streams import LANES, LONG, to_panels, to_rows
from sbpfast.targets._design import Design, as_design
from sbpfast.targets._expectations import link_expectations
from sbpfast.targets._links import LINKS, Link, link_record
from sbpfast.targets._quadratic import Quadratic
from sbpfast.targets._target import NonFiniteTarget, Target, point_text, require_finite

_QUIET = np.errstate(over="ignore", invalid="ignore")  # what overflows is found in the result, and said


class Ridge(Target):
    """q(x) + sum_j w_j phi(a_j . x + c_j; y_j), see `ridge`."""

    def __init__(self, design: Design, offset, link, parameters, weights, y, quad):
        self.design, self.terms = design, np.stack([offset, y, weights])
        self.n_rows, self.dim = design.shape
        self.link_name = link
        self.link_record = link_record(link, *parameters)
        self.quadratic = quad

    def __repr__(self):
        return f"Ridge(dim={self.dim}, rows={self.n_rows}, link={self.link_name!r})"

    @property
    def offset(self) -> np.ndarray:
        return self.terms[0]

    @property
    def y(self) -> np.ndarray:
        return self.terms[1]

    @property
    def weights(self) -> np.ndarray:
        return self.terms[2]

    @property
    def pole(self) -> float:
        """The distance of the link's nearest singularity from the real axis."""
        return float(self.link_record[1])

    @property
    def parameters(self) -> np.ndarray:
        """Of the link, and a last 0, so that there is one to point at."""
        return self.link_record[2:]

    @property
    def centres(self) -> np.ndarray:
        """For each row the point of the real axis near which the link's singularities lie."""
        return np.broadcast_to(self.link.centre(self.y, *self.parameters[:-1]), self.n_rows)

    @property
    def link(self) -> Link:
        return LINKS[self.link_name]  # looked up, because a row of the table holds functions and cannot be pickled

    def _has(self, name):
        return True

    def every(self, stride) -> Ridge:
        """The same with every stride-th row, the weights scaled up to the same sum: a cheap stand-in."""
        rows = slice(None, None, stride)
        part = copy.copy(self)
        part.design, part.terms = self.design.every(stride), self.terms[:, rows].copy()
        part.terms[2] *= self.weights.sum() / part.weights.sum()
        part.n_rows = part.design.n_rows
        return part

    def __setstate__(self, state):
        """Of this version, or of version 0.1, whose attributes had underscores and whose rows were a bare matrix."""
        if "_a" in state:
            design, name = as_design("a", state["_a"]), state["_link_name"]
            parameters = state["_parameters"][: len(LINKS[name].parameters)].tolist()
            Ridge.__init__(
                self, design, state["_offset"], name, parameters, state["_weights"], state["_y"], state["_quad"]
            )
            return
        self.__dict__.update(state)

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
        values = self.quadratic.panel_values(panels, len(x), np.zeros(self.dim), n_threads)
        grads = np.zeros_like(panels) if with_grad else None
        _core.ridge.ridge_values(
            self.design.matrix,
            self.offset,
            self.y,
            self.weights,
            self.link.code,
            self.parameters,
            panels,
            values,
            grads,
            n_threads,
        )
        value = require_finite("f", values[: len(x)], x)
        return value, (to_rows(grads, len(x)) + self.quadratic.grad(x) if with_grad else None)

    def _by_rows(self, n):
        """Sparse designs have no kernel, and a few long points would be padded to a whole panel of 64."""
        return not self.design.has_panels or (self.dim >= LONG and n < LANES)

    def _derivatives(self, x, rows, n_threads):
        """w phi, w phi' and w phi'' at the linear forms of some rows of A, (n, rows) each."""
        forms = np.ascontiguousarray(self.design[rows].dot(x.T).T) + self.offset[rows]
        v, s, c = np.empty_like(forms), np.empty_like(forms), np.empty_like(forms)
        _core.ridge.link_derivatives(forms, self.y[rows], self.link.code, self.parameters, v, s, c, n_threads)
        w = self.weights[rows]
        return w * v, w * s, w * c

    def _row_blocks(self, n):
        """Slices of the rows, so that (n, rows) stays small."""
        block = max(1, 2**20 // max(n, 1))
        return [slice(i, min(i + block, self.n_rows)) for i in range(0, self.n_rows, block)]

    @_QUIET
    def _row_values(self, x, n_threads):
        value, grad = self.quadratic.value(x), self.quadratic.grad(x)
        for rows in self._row_blocks(len(x)):
            v, s, _ = self._derivatives(x, rows, n_threads)
            value += v.sum(axis=1)
            grad += self.design[rows].transposed_dots(s.T).T
        return require_finite("f", value, x), grad

    @_QUIET
    def _hess(self, x):
        n_threads = _core.effective_threads()
        out = np.empty((len(x), self.dim, self.dim))
        for i, point in enumerate(x):
            curvature = np.concatenate(
                [self._derivatives(point[None], rows, n_threads)[2][0] for rows in self._row_blocks(1)] or [np.zeros(0)]
            )
            out[i] = self._from_curvature(FullForm, curvature, n_threads)
        return out

    @_QUIET
    def _hvp(self, x, v):
        out = -self.quadratic.apply(v)
        for rows in self._row_blocks(len(x)):
            c = self._derivatives(x, rows, _core.effective_threads())[2]
            a = self.design[rows]
            out += a.transposed_dots((c * a.dot(v.T).T).T).T
        return out

    @_QUIET
    def _hess_mean(self, x):
        n_threads = _core.effective_threads()
        curvature = np.zeros(self.n_rows)
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
        slopes, curvatures = np.zeros((2, groups, self.n_rows))
        total_x = np.zeros(self.dim)
        if self._by_rows(n):
            total_x += draws.x.sum(axis=0)
            value = self.quadratic.value(draws.x)
            sizes = group_sizes(n, m)[:, None]
            for rows in self._row_blocks(n):
                v, s, c = self._derivatives(draws.x, rows, n_threads)
                value += v.sum(axis=1)
                slopes[:, rows], curvatures[:, rows] = sizes * group_mean(s, m), sizes * group_mean(c, m)
        else:
            panels = draws.panels
            values = self.quadratic.panel_values(panels, n, total_x, n_threads)
            _core.ridge.ridge_moments(
                self.design.matrix, self.offset, self.y, self.weights, self.link.code, self.parameters,
                panels, n, m, values, slopes, curvatures, n_threads,
            )  # fmt: skip
            value = values[:n]
        if not np.isfinite(value).all():
            require_finite("f", value, draws.x)
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
        grad = self.design.transposed_dot(slope, n_threads) - self.quadratic.apply(mean_x - self.quadratic.mean)
        return grad, self._from_curvature(form, curvature, n_threads)

    def _from_curvature(self, form, curvature, n_threads):
        """A^T diag(curvature) A + Hess q in the given form."""
        hessian = form.of_factored(self.design, curvature, n_threads)
        form.subtract(hessian, self.quadratic.precision)
        return hessian

    # exact Gaussian expectations

    def _exact(self, q, form, n_threads):
        """E f, E grad f and E Hess f (in the given form) under the Gaussian q, by one-dimensional integrals."""
        m, t = q._projections(self.design, self.offset, n_threads)
        with np.errstate(over="ignore"):
            v, s, c = link_expectations(self.link_record, m, t, self.y, n_threads)
        w = self.weights
        constant, quad_grad = self.quadratic.expectation(q)
        value = constant + float(w @ v)
        grad = quad_grad + self.design.transposed_dot(w * s, n_threads)
        if not (math.isfinite(value) and np.isfinite(grad).all()):
            raise NonFiniteTarget(f"the expectation of f overflows under the Gaussian with mean {point_text(q.mean)}")
        return value, grad, self._from_curvature(form, w * c, n_threads)


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
    quad = Quadratic(_checks.frozen(precision), _checks.frozen(mean), _checks.scalar("constant", constant))
    return Ridge(as_design("a", np.zeros((0, d))), np.zeros(0), "square", (), np.zeros(0), np.zeros(0), quad)


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
        Of the link: ``df`` and ``scale`` for "student_t", ``dispersion`` for "negative_binomial".

    Returns
    -------
    Target
        With every derivative and exact Gaussian expectations.  ``a`` is kept without a copy where it already is a
        C-contiguous float64 array; do not change it while the target is in use.
    """
    design = as_design("a", a)
    rows, d = design.shape
    _checks.choice("link", link, LINKS)
    wanted = LINKS[link].parameters
    if set(parameters) != set(wanted):
        raise TypeError(f"link {link!r} takes the parameters {list(wanted)}, got {sorted(parameters)}")
    values = tuple(_checks.scalar(name, parameters[name], above=0.0) for name in wanted)
    y = _checks.vector("y", 0.0 if y is None else y, rows)
    allowed, wanted_y = LINKS[link].response
    if not allowed(y).all():
        raise ValueError(f"y must be {wanted_y} for the {link} link, got {y[~allowed(y)][0]}")
    if quadratic is None:
        quad = Quadratic(np.zeros(d), np.zeros(d), 0.0)
    elif isinstance(quadratic, Ridge) and quadratic.n_rows == 0:
        if quadratic.dim != d:
            raise ValueError(f"quadratic must have dimension {d}, got {quadratic.dim}")
        quad = quadratic.quadratic
    else:
        raise TypeError("quadratic must be made by sbpfast.targets.quadratic")
    return Ridge(
        design, _checks.vector("offset", offset, rows), link, values, _checks.vector("weights", weights, rows), y, quad
    )
