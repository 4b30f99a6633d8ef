"""Ridge targets: a quadratic plus a weighted sum of one-dimensional functions of linear forms."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sbpfast import _checks, _core
from sbpfast._forms import FullForm
from sbpfast._means import BLOCK, BLOCK_ROWS, group_mean, group_sizes
from sbpfast._streams import LANES, LONG, to_panels, to_rows
from sbpfast.targets._design import LIKE_A_LINK, Design, as_design
from sbpfast.targets._expectations import link_expectations
from sbpfast.targets._links import LINKS, Link, link_record
from sbpfast.targets._quadratic import Quadratic
from sbpfast.targets._target import NonFiniteTarget, Target, point_text, require_finite

_QUIET = np.errstate(over="ignore", invalid="ignore")  # what overflows is found in the result, and said


class Ridge(Target):
    """q(x) + sum_j w_j phi(a_j . x + c_j; y_j), see `ridge`."""

    _ours = _factored = True

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

    @property
    def _link_work(self) -> int:
        return max(self.n_rows, 1) * max(1, self.dim // LIKE_A_LINK)

    @property
    def _multiplications(self) -> float:
        return 2.0 * self.dim * self.n_rows

    # Every pass over the rows is a sum over parts of BLOCK_ROWS rows, added in their order: the bits are then the same
    # wherever the rows lie.  A part is a ridge target of its own, whose quadratic plays no role.

    streamed = False  # whether a pass reads the rows from where they lie
    remote = False  # whether other processes may do so, and what is made there does not stay there

    def over_parts(self, function, *arguments) -> Iterator[Any]:
        """function(part, *arguments) for every part in order.

        The function is one that can be pickled; the last of the arguments is the number of threads.
        """
        for rows in self.design.blocks():
            yield function(self._part(rows), *arguments)

    def _part(self, rows) -> Ridge:
        if self.n_rows <= BLOCK_ROWS:
            return self
        part = copy.copy(self)
        part.design, part.terms, part.n_rows = self.design[rows], self.terms[:, rows], rows.stop - rows.start
        return part

    def kept(self, make, *arguments, keep=True) -> Kept:
        """What `make(part, *arguments)` makes of every part, for sums over them; kept between sums if it may be."""
        return Kept(self, make, arguments, keep)

    @property
    def weight_sum(self) -> float:
        """The sum of the weights, added as all sums over the rows are."""
        return float(np.sum([self.weights[rows].sum() for rows in self.design.blocks()]))

    def every(self, stride) -> Ridge:
        """The same with every stride-th row, the weights scaled up to the same sum: a cheap stand-in."""
        rows = slice(None, None, stride)
        part = copy.copy(self)
        part.design, part.terms = self.design.every(stride), self.terms[:, rows].copy()
        part.terms[2] *= self.weight_sum / part.weight_sum
        part.n_rows = part.design.n_rows
        return part

    def _in_memory(self) -> Ridge | None:
        return self

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

    @_QUIET
    def _values(self, x, with_grad, n_threads=None):
        n_threads = _core.effective_threads(n_threads)
        if len(x) == 0:
            return np.zeros(0), np.zeros((0, self.dim))
        if self._by_rows(len(x)):
            value = self.quadratic.value(x)
        else:
            panels = to_panels(x)
            value = self.quadratic.panel_values(panels, len(x), np.zeros(self.dim), n_threads)[: len(x)]
        grad = self.quadratic.grad(x) if with_grad else np.zeros_like(x)
        for v, g in self.over_parts(Ridge._part_values, x, with_grad, n_threads):
            value += v
            grad += g
        return require_finite("f", value, x), grad

    @_QUIET
    def _part_values(self, x, with_grad, n_threads):
        """Without the quadratic; the gradients are 0 where they are not asked for."""
        if self._by_rows(len(x)):
            return self._row_values(x, n_threads)
        panels, values = to_panels(x), np.zeros(-(-len(x) // LANES) * LANES)
        grads = np.zeros_like(panels) if with_grad else None
        _core.ridge.ridge_values(
            self.design.matrix, self.offset, self.y, self.weights, self.link.code, self.parameters,
            panels, values, grads, n_threads,
        )  # fmt: skip
        return values[: len(x)], to_rows(grads, len(x)) if with_grad else 0.0

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

    def _row_values(self, x, n_threads):
        value, grad = np.zeros(len(x)), np.zeros_like(x)
        for rows in self._row_blocks(len(x)):
            v, s, _ = self._derivatives(x, rows, n_threads)
            value += v.sum(axis=1)
            grad += self.design[rows].transposed_dots(s.T).T
        return value, grad

    @_QUIET
    def _hess(self, x):
        out = np.zeros((len(x), self.dim, self.dim))
        for part in self.over_parts(Ridge._part_hessians, x, _core.effective_threads()):
            out += part
        FullForm.subtract(out, self.quadratic.precision)
        return out

    @_QUIET
    def _part_hessians(self, x, n_threads):
        out = np.empty((len(x), self.dim, self.dim))
        for i, point in enumerate(x):
            curvature = self._curvature(point[None], n_threads)
            out[i] = self.design.weighted_gram(curvature, n_threads)
        return out

    def _curvature(self, x, n_threads):
        """Sums of w phi'' over the points x, (N,)."""
        blocks = self._row_blocks(len(x))
        return np.concatenate([self._derivatives(x, rows, n_threads)[2].sum(axis=0) for rows in blocks])

    @_QUIET
    def _hvp(self, x, v):
        out = -self.quadratic.apply(v)
        for part in self.over_parts(Ridge._part_hvp, x, v, _core.effective_threads()):
            out += part
        return out

    @_QUIET
    def _part_hvp(self, x, v, n_threads):
        out = np.zeros_like(v)
        for rows in self._row_blocks(len(x)):
            c = self._derivatives(x, rows, n_threads)[2]
            a = self.design[rows]
            out += a.transposed_dots((c * a.dot(v.T).T).T).T
        return out

    @_QUIET
    def _hess_mean(self, x):
        return self._form_sum(FullForm, self.over_parts(Ridge._part_hess_mean, x, _core.effective_threads()))

    @_QUIET
    def _part_hess_mean(self, x, n_threads):
        curvature = np.zeros(self.n_rows)
        for start in range(0, len(x), BLOCK):
            curvature += self._curvature(x[start : start + BLOCK], n_threads)
        return self.design.weighted_gram(curvature / len(x), n_threads)

    def _form_sum(self, form, parts):
        """Hess q and the parts' Hessians, all in the given form."""
        hessian = form.zeros(self.dim)
        for part in parts:
            hessian += part
        form.subtract(hessian, self.quadratic.precision)
        return hessian

    def diagonal_curvature(self, x, n_threads) -> np.ndarray:
        """The diagonal of -Hess f at a point."""
        precision = self.quadratic.precision
        diagonal = np.zeros(self.dim)
        for part in self.over_parts(Ridge._part_diagonal, x, n_threads):
            diagonal -= part
        return diagonal + (np.diagonal(precision) if precision.ndim == 2 else precision)

    def _part_diagonal(self, x, n_threads):
        return self.design.weighted_squares(self._curvature(x[None], n_threads), n_threads)

    # means over draws

    def _link_sums(self, draws, m, n_threads):
        """Over groups of m draws: the sums of w phi' and of w phi'' (groups, N); the values (n,); the sum of x (d,)."""
        value, total_x = self._quadratic_values(draws, n_threads)
        slopes, curvatures = np.zeros((2, -(-draws.n // m), self.n_rows))
        start = 0
        for s, c, v in self.over_parts(Ridge._part_link_sums, draws, m, n_threads):
            rows = slice(start, start := start + s.shape[1])
            slopes[:, rows], curvatures[:, rows] = s, c
            value += v
        self._refuse_overflow(value, draws)
        return slopes, curvatures, value, total_x

    def _quadratic_values(self, draws, n_threads):
        """Values of the quadratic (n,) and the sum of x (d,)."""
        if self._by_rows(draws.n):
            return self.quadratic.value(draws.x), draws.x.sum(axis=0)
        total_x = np.zeros(self.dim)
        return self.quadratic.panel_values(draws.panels, draws.n, total_x, n_threads)[: draws.n], total_x

    @staticmethod
    def _refuse_overflow(value, draws):
        if not np.isfinite(value).all():
            require_finite("f", value, draws.x)

    def _part_link_sums(self, draws, m, n_threads):
        """The same of one part, without the quadratic."""
        n = draws.n
        groups = -(-n // m)
        slopes, curvatures = np.zeros((2, groups, self.n_rows))
        if self._by_rows(n):
            value, sizes = np.zeros(n), group_sizes(n, m)[:, None]
            for rows in self._row_blocks(n):
                v, s, c = self._derivatives(draws.x, rows, n_threads)
                value += v.sum(axis=1)
                slopes[:, rows], curvatures[:, rows] = sizes * group_mean(s, m), sizes * group_mean(c, m)
            return slopes, curvatures, value
        panels = draws.panels
        values = np.zeros(len(panels) * LANES)
        _core.ridge.ridge_moments(
            self.design.matrix, self.offset, self.y, self.weights, self.link.code, self.parameters,
            panels, n, m, values, slopes, curvatures, n_threads,
        )  # fmt: skip
        return slopes, curvatures, values[:n]

    def _group_derivatives(self, block, form, n_threads):
        draws, m = block.draws, block.m
        x = group_mean(draws.x, m)
        g = -self.quadratic.apply(x - self.quadratic.mean)
        h = np.stack([form.zeros(self.dim)] * len(x))
        value, _ = self._quadratic_values(draws, n_threads)
        for part_g, part_h, v in self.over_parts(Ridge._part_group_derivatives, draws, m, form, n_threads):
            g, h, value = g + part_g, h + part_h, value + v
        self._refuse_overflow(value, draws)
        for hessian in h:
            form.subtract(hessian, self.quadratic.precision)
        return g, h

    def _part_group_derivatives(self, draws, m, form, n_threads):
        slopes, curvatures, value = self._part_link_sums(draws, m, n_threads)
        sizes = group_sizes(draws.n, m)[:, None]
        pairs = [self._part_derivatives(s, c, form, n_threads) for s, c in zip(slopes / sizes, curvatures / sizes)]
        return np.stack([g for g, _ in pairs]), np.stack([h for _, h in pairs]), value

    def _part_means(self, blocks, n, form, n_threads):
        """Values by block of draws, and the mean gradient and Hessian over all n draws, without the quadratic."""
        slope, curvature, values = np.zeros(self.n_rows), np.zeros(self.n_rows), []
        for draws in blocks:
            slopes, curvatures, value = self._part_link_sums(draws, BLOCK, n_threads)
            slope += slopes[0] / n
            curvature += curvatures[0] / n
            values.append(value)
        return values, *self._part_derivatives(slope, curvature, form, n_threads)

    def _part_derivatives(self, slope, curvature, form, n_threads):
        """A^T slope and A^T diag(curvature) A in the given form."""
        return self.design.transposed_dot(slope, n_threads), form.of_factored(self.design, curvature, n_threads)

    def _mean_derivatives(self, slope, curvature, mean_x, form, n_threads):
        """Mean gradient and mean Hessian from the mean slope and curvature of each term."""
        parts = (
            self._part(rows)._part_derivatives(slope[rows], curvature[rows], form, n_threads)
            for rows in self.design.blocks()
        )
        return self._derivatives_sum(parts, mean_x, form)

    def _derivatives_sum(self, parts, mean_x, form):
        """The gradient and the Hessian of the whole from those of the parts."""
        grad = -self.quadratic.apply(mean_x - self.quadratic.mean)
        hessian = form.zeros(self.dim)
        for g, h in parts:
            grad, hessian = grad + g, hessian + h
        form.subtract(hessian, self.quadratic.precision)
        return grad, hessian

    # exact Gaussian expectations

    def _exact(self, q, form, n_threads):
        """E f, E grad f and E Hess f (in the given form) under the Gaussian q, by one-dimensional integrals."""
        value, grad = self.quadratic.expectation(q)
        hessian = form.zeros(self.dim)
        for v, g, h in self.over_parts(Ridge._part_exact, q, form, n_threads):
            value, grad, hessian = value + v, grad + g, hessian + h
        if not (math.isfinite(value) and np.isfinite(grad).all()):
            raise NonFiniteTarget(f"the expectation of f overflows under the Gaussian with mean {point_text(q.mean)}")
        form.subtract(hessian, self.quadratic.precision)
        return value, grad, hessian

    def _part_exact(self, q, form, n_threads):
        m, t = q._projections(self.design, self.offset, n_threads)
        with np.errstate(over="ignore", invalid="ignore"):
            v, s, c = link_expectations(self.link_record, m, t, self.y, n_threads)
            w = self.weights
            return float((w * v).sum()), *self._part_derivatives(w * s, w * c, form, n_threads)


class Kept:
    """What is made of every part of a ridge target, for sums over the parts: kept, or made again for every sum."""

    def __init__(self, target, make, arguments, keep):
        self._target, self._make, self._arguments = target, make, arguments
        self._made = list(target.over_parts(make, *arguments)) if keep and not target.remote else None

    def results(self, function, *more) -> Iterator[Any]:
        """function(what was made of a part, *more) for every part in order."""
        if self._made is not None:
            return (function(made, *more) for made in self._made)
        *arguments, n_threads = self._arguments
        return self._target.over_parts(_made_again, self._make, arguments, function, more, n_threads)


def _made_again(part, make, arguments, function, more, n_threads):
    return function(make(part, *arguments, n_threads), *more)


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


def ridge(a, offset=0.0, link="", weights=1.0, y=None, quadratic=None, **parameters) -> Ridge:
    """A quadratic plus a weighted sum of one-dimensional functions of linear forms.

    f(x) = q(x) + sum_j w_j phi(a_j . x + c_j; y_j)

    Parameters
    ----------
    a : array_like, scipy.sparse array (N, d) or Rows
        The rows a_j; `Rows` bring offset, weights and y with them.
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
    quad = quadratic_part(quadratic, d)
    return Ridge(
        design, _checks.vector("offset", offset, rows), link, values, _checks.vector("weights", weights, rows), y, quad
    )


def quadratic_part(quadratic, d) -> Quadratic:
    """q as the numbers it is made of; 0 where there is none."""
    if quadratic is None:
        return Quadratic(np.zeros(d), np.zeros(d), 0.0)
    if not isinstance(quadratic, Ridge) or quadratic.n_rows:
        raise TypeError("quadratic must be made by sbpfast.targets.quadratic")
    if quadratic.dim != d:
        raise ValueError(f"quadratic must have dimension {d}, got {quadratic.dim}")
    return quadratic.quadratic
