"""Kernels of the ridge targets  f(x) = q(x) + sum_j w_j phi(a_j . x + c_j; y_j).

Draws come in panels (blocks, d, 64).  A *tile* is 32 rows of A against one panel: its linear forms are one small
matrix product, the link's value, slope and curvature one vectorised sweep, and everything stays in the first-level
cache.  Tiles are summed in a fixed order and work is cut into pieces whose number depends on the shapes alone, so the
bits of every result are the same for every number of threads.
"""

include "common.pxi"

from cython.parallel cimport threadid
from libc.math cimport sqrt
from libc.string cimport memset

cdef extern from "links.h" nogil:
    ctypedef void (*link_sweep_fn)(Py_ssize_t n, const double *t, double shift, const double *y, const double *params,
                                   double *value, double *slope, double *curvature)
    link_sweep_fn link_sweep(int link)

cdef extern from "integrals.h" nogil:
    ctypedef struct integral:
        pass
    integral open_integral(const double *link, const double *rules)
    void integrate_tile(const integral *q, const double *m, const double *t, const double *y, double *value,
                        double *slope, double *curvature)

cdef extern from *:
    """
    enum { TILE = 32 };
    """
    enum: TILE


# -- means over draws -------------------------------------------------------------------------------------------------

def ridge_moments(const double[:, ::1] a, const double[::1] offset, const double[::1] y, const double[::1] weights,
                  int link, const double[::1] params, const double[:, :, ::1] x, Py_ssize_t n, Py_ssize_t m,
                  double[::1] values, double[:, ::1] slopes, double[:, ::1] curvatures, int n_threads):
    """Add the first n draws of x (panels), in groups of m, to the sums that Bonnet and Price need.

    values[s] += sum_j w_j phi(t_js); slopes[g, j] += w_j sum phi'(t_js) and curvatures[g, j] += w_j sum phi''(t_js)
    over the draws s of group g.  m is a divisor or a multiple of 64.  `values` holds 64 numbers a panel; those of the
    lanes beyond n are not to be read.
    """
    cdef Py_ssize_t rows = a.shape[0], panels = x.shape[0], groups = slopes.shape[0]
    if rows == 0 or panels == 0:
        return
    # at most 64 pieces of whole tiles of rows and, for a single group, 4 spans of panels with partial sums of their
    # own: numbers that depend on the shapes alone
    cdef Py_ssize_t piece = max(TILE, ceil_div(ceil_div(rows, 64), TILE) * TILE), pieces = ceil_div(rows, piece)
    cdef Py_ssize_t span = panels if groups > 1 else max(1, ceil_div(panels, 4)), spans = ceil_div(panels, span)
    cdef double[:, ::1] partial = np.zeros((pieces, panels * LANES))
    cdef double[:, :, :, ::1] sums = np.zeros((spans, 2, groups, rows))
    cdef link_sweep_fn sweep = link_sweep(link)
    cdef double work = (20.0 + a.shape[1]) * n * rows
    cdef int threads = threads_for(20.0 * n * rows, n_threads)
    cdef Py_ssize_t tasks = pieces * spans, step = stretch_of(work, tasks, threads), part, task, i, g, j
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            _moments_task(a, offset, y, weights, sweep, params, x, n, m, (task // spans) * piece,
                          min(rows, (task // spans + 1) * piece), (task % spans) * span,
                          min(panels, (task % spans + 1) * span), &partial[task // spans, 0],
                          &sums[task % spans, 0, 0, 0], &sums[task % spans, 1, 0, 0])
        PyErr_CheckSignals()
    with nogil:
        for i in range(spans):
            for g in range(groups):
                for j in range(rows):
                    slopes[g, j] += sums[i, 0, g, j]
                    curvatures[g, j] += sums[i, 1, g, j]
        for i in range(pieces):
            for j in range(panels * LANES):
                values[j] += partial[i, j]


cdef void _moments_task(const double[:, ::1] a, const double[::1] offset, const double[::1] y,
                        const double[::1] weights, link_sweep_fn sweep, const double[::1] params,
                        const double[:, :, ::1] x, Py_ssize_t n, Py_ssize_t m, Py_ssize_t start, Py_ssize_t stop,
                        Py_ssize_t first_panel, Py_ssize_t last_panel, double *values, double *slopes,
                        double *curvatures) noexcept nogil:
    cdef double[TILE * LANES] t
    cdef double[LANES] yy, v, s, c
    cdef Py_ssize_t d = a.shape[1], total_rows = a.shape[0], segment = min(m, LANES)
    cdef Py_ssize_t tile, j, p, r, i, rows, lanes, k, at
    cdef double w
    for tile in range(ceil_div(stop - start, TILE)):
        j = start + tile * TILE
        rows = min(TILE, stop - j)
        for p in range(first_panel, last_panel):
            lanes = min(LANES, n - p * LANES)
            panel_product(rows, LANES, d, &a[j, 0], d, 1, &x[p, 0, 0], LANES, t, LANES, 0)
            for r in range(rows):
                for i in range(LANES):
                    yy[i] = y[j + r]
                sweep(LANES, t + r * LANES, offset[j + r], yy, &params[0], v, s, c)
                w = weights[j + r]
                for i in range(LANES):
                    values[p * LANES + i] += w * v[i]
                for k in range(ceil_div(lanes, segment)):
                    at = (p * LANES + k * segment) // m * total_rows + j + r
                    slopes[at] += w * total(min(segment, lanes - k * segment), s + k * segment)
                    curvatures[at] += w * total(min(segment, lanes - k * segment), c + k * segment)


# -- one result a draw ------------------------------------------------------------------------------------------------

def diagonal_quadratic(const double[:, :, ::1] x, Py_ssize_t n, const double[::1] precision, const double[::1] mean,
                       double constant, double[::1] values, double[::1] total_x, int n_threads):
    """values[s] = constant - 1/2 sum_i precision_i (x_is - mean_i)^2 and total_x += the sum of the first n draws."""
    cdef Py_ssize_t panels = x.shape[0], d = x.shape[1], p, i
    cdef int threads = threads_for(3.0 * LANES * d * panels, n_threads)
    if panels == 0 or d == 0:
        return
    cdef double[:, ::1] partial = np.empty((panels, d))
    with nogil:
        for p in prange(panels, num_threads=threads, schedule="guided"):
            _quadratic_panel(&x[p, 0, 0], d, min(LANES, n - p * LANES), &precision[0], &mean[0], constant,
                             &values[p * LANES], &partial[p, 0])
        for p in range(panels):
            for i in range(d):
                total_x[i] += partial[p, i]


cdef void _quadratic_panel(const double *x, Py_ssize_t d, Py_ssize_t lanes, const double *precision, const double *mean,
                           double constant, double *values, double *total_x) noexcept nogil:
    cdef Py_ssize_t i, s
    cdef double[LANES] v
    cdef double r
    for s in range(LANES):
        v[s] = constant
    for i in range(d):
        for s in range(LANES):
            r = x[i * LANES + s] - mean[i]
            v[s] -= 0.5 * precision[i] * r * r
        total_x[i] = total(lanes, x + i * LANES)
    for s in range(LANES):
        values[s] = v[s]


def ridge_values(const double[:, ::1] a, const double[::1] offset, const double[::1] y, const double[::1] weights,
                 int link, const double[::1] params, const double[:, :, ::1] x, double[::1] values,
                 double[:, :, ::1] grads, int n_threads):
    """values[s] += sum_j w_j phi(t_js) and, where `grads` (panels, d, 64) is given, grads += A^T (w phi')."""
    cdef Py_ssize_t rows = a.shape[0], d = a.shape[1], panels = x.shape[0]
    if rows == 0 or panels == 0:
        return
    cdef bint with_grad = grads is not None
    # few panels: several pieces of rows each, with partial sums of their own
    cdef Py_ssize_t pieces = 1 if panels >= 4 else min(8, ceil_div(rows, 256))
    cdef Py_ssize_t piece = ceil_div(ceil_div(rows, pieces), TILE) * TILE, task
    cdef double[:, ::1] partial = np.zeros((pieces, panels * LANES))
    cdef double[:, :, :, ::1] partial_grads = np.zeros((pieces, panels, d, LANES)) if with_grad else None
    cdef link_sweep_fn sweep = link_sweep(link)
    cdef int threads = threads_for(64.0 * 20.0 * panels * rows, n_threads)
    cdef Py_ssize_t i, p, k, start, tasks = pieces * panels
    # every task goes through its rows in strips, so that few long ones are no longer a wait than many short ones
    cdef Py_ssize_t strip = max(1, (1 << 15) // (d + 20)) * TILE, strips = ceil_div(piece, strip), at, part
    cdef Py_ssize_t step = stretch_of(LANES * (d + 20.0) * min(strip, piece) * tasks, tasks, threads)
    for at in range(strips):
        for part in range(ceil_div(tasks, step)):
            for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads,
                               schedule="guided"):
                start = (task // panels) * piece
                _values_task(a, offset, y, weights, sweep, params, &x[task % panels, 0, 0], start + at * strip,
                             min(rows, start + min(piece, (at + 1) * strip)),
                             &partial[task // panels, (task % panels) * LANES],
                             &partial_grads[task // panels, task % panels, 0, 0] if with_grad else NULL)
            PyErr_CheckSignals()
    with nogil:
        for i in range(pieces):
            for k in range(panels * LANES):
                values[k] += partial[i, k]
            if with_grad:
                for p in range(panels):
                    for k in range(d * LANES):
                        (&grads[p, 0, 0])[k] += (&partial_grads[i, p, 0, 0])[k]


cdef void _values_task(const double[:, ::1] a, const double[::1] offset, const double[::1] y,
                       const double[::1] weights, link_sweep_fn sweep, const double[::1] params, const double *x,
                       Py_ssize_t start, Py_ssize_t stop, double *values, double *grads) noexcept nogil:
    cdef double[TILE * LANES] t, slopes
    cdef double[LANES] yy, v, c
    cdef Py_ssize_t d = a.shape[1], tile, j, r, i, rows
    for tile in range(ceil_div(stop - start, TILE)):
        j = start + tile * TILE
        rows = min(TILE, stop - j)
        panel_product(rows, LANES, d, &a[j, 0], d, 1, x, LANES, t, LANES, 0)
        for r in range(rows):
            for i in range(LANES):
                yy[i] = y[j + r]
            sweep(LANES, t + r * LANES, offset[j + r], yy, &params[0], v, slopes + r * LANES, c)
            for i in range(LANES):
                values[i] += weights[j + r] * v[i]
                slopes[r * LANES + i] *= weights[j + r]
        if grads != NULL:
            panel_product(d, LANES, rows, &a[j, 0], 1, d, slopes, LANES, grads, LANES, 1)


def link_derivatives(const double[:, ::1] t, const double[::1] y, int link, const double[::1] params,
                     double[:, ::1] value, double[:, ::1] slope, double[:, ::1] curvature, int n_threads):
    """Value, slope and curvature of the link at every element of t (n, N); y (N,) belongs to the columns."""
    cdef Py_ssize_t n = t.shape[0], columns = t.shape[1], i
    if columns == 0:
        return
    cdef link_sweep_fn sweep = link_sweep(link)
    cdef double work = 20.0 * n * columns
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, n, threads), part
    for part in range(ceil_div(n, step)):
        for i in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            sweep(columns, &t[i, 0], 0.0, &y[0], &params[0], &value[i, 0], &slope[i, 0], &curvature[i, 0])
        PyErr_CheckSignals()


# -- exact Gaussian expectations --------------------------------------------------------------------------------------

def projected_moments(const double[:, ::1] a, const double[::1] offset, const double[::1] mean,
                      const double[:, ::1] factor, bint lower, double[::1] m, double[::1] t, int n_threads):
    """Mean and standard deviation of every linear form: a_j . x + c_j ~ N(m_j, t_j^2) for x = mean + factor z.

    Here the lanes are 64 rows of A, copied into a (d, 64) panel; `lower` says that the factor is lower triangular.
    """
    cdef Py_ssize_t rows = a.shape[0], d = a.shape[1], task, tasks = ceil_div(rows, LANES)
    if rows == 0:
        return
    cdef double work = 1.0 * rows * d * factor.shape[1]
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, tasks, threads), part
    cdef double[:, ::1] scratch = np.zeros((threads, d * LANES))
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            _projected_task(a, offset, mean, factor, lower, task * LANES, &scratch[threadid(), 0], m, t)
        PyErr_CheckSignals()


cdef void _projected_task(const double[:, ::1] a, const double[::1] offset, const double[::1] mean,
                          const double[:, ::1] factor, bint lower, Py_ssize_t start, double *panel, double[::1] m,
                          double[::1] t) noexcept nogil:
    cdef Py_ssize_t d = a.shape[1], k = factor.shape[1], lanes = min(LANES, a.shape[0] - start), i, j, l, r, first
    cdef double[4 * LANES] forms
    cdef double[LANES] variance
    for l in range(lanes):
        for i in range(d):
            panel[i * LANES + l] = a[start + l, i]
    panel_product(1, LANES, d, &mean[0], 0, 1, panel, LANES, forms, LANES, 0)
    for l in range(lanes):
        m[start + l] = forms[l] + offset[start + l]
    memset(variance, 0, sizeof(variance))
    for j in range(0, k, 4):
        r = min(4, k - j)
        first = j if lower else 0  # a column of a lower triangular factor starts at its diagonal
        panel_product(r, LANES, d - first, &factor[first, j], 1, k, panel + first * LANES, LANES, forms, LANES, 0)
        for i in range(r):
            for l in range(LANES):
                variance[l] += forms[i * LANES + l] * forms[i * LANES + l]
    for l in range(lanes):
        t[start + l] = sqrt(variance[l])


def expectations(const double[::1] m, const double[::1] t, const double[::1] y, const double[::1] link,
                 const double[::1] rules, double[:, ::1] out, int n_threads):
    """E phi, E phi' and E phi'' under N(m_j, t_j^2), (3, N); which rule serves which t is said in integrals.h.

    `link` is the link's record: code, distance of its nearest singularity, parameters.  Sixty-four rows share the rule
    of the largest t among them.
    """
    cdef Py_ssize_t rows = m.shape[0], task, tasks = ceil_div(rows, LANES)
    if rows == 0:
        return
    cdef integral q = open_integral(&link[0], &rules[0])
    cdef double work = 600.0 * rows
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            _expectations_task(&q, m, t, y, task * LANES, out)
        PyErr_CheckSignals()


cdef void _expectations_task(const integral *q, const double[::1] m, const double[::1] t, const double[::1] y,
                             Py_ssize_t start, double[:, ::1] out) noexcept nogil:
    cdef Py_ssize_t lanes = min(LANES, m.shape[0] - start), l, j
    cdef double[LANES] mm, tt, yy, v, s, c
    for l in range(LANES):  # lanes beyond the last row repeat it
        j = start + min(l, lanes - 1)
        mm[l], tt[l], yy[l] = m[j], t[j], y[j]
    integrate_tile(q, mm, tt, yy, v, s, c)
    for l in range(lanes):
        out[0, start + l], out[1, start + l], out[2, start + l] = v[l], s[l], c[l]


# -- back to the coordinates of x -------------------------------------------------------------------------------------

def weighted_product(const double[:, ::1] b, const double[::1] w, const double[:, ::1] a, bint symmetric,
                     double[:, ::1] out, int n_threads):
    """out = B^T diag(w) A, (p, d), for B (N, p) and A (N, d); `symmetric` says that B is A and fills half by mirror.

    Rows are cut into at most 16 groups (a number that depends on N alone) with a sum of their own.
    """
    cdef Py_ssize_t rows = a.shape[0], d = a.shape[1], p = b.shape[1]
    cdef Py_ssize_t group = max(LANES, ceil_div(ceil_div(rows, 16), LANES) * LANES), groups = ceil_div(rows, group)
    cdef Py_ssize_t padded = ceil_div(d, 8) * 8, i, j, g
    out[:, :] = 0.0
    if rows == 0 or d == 0 or p == 0:
        return
    cdef double[:, :, ::1] partial = np.zeros((groups, p, padded))
    cdef int threads = threads_for(1.0 * rows * d * p, n_threads)
    cdef double[:, ::1] scratch = np.zeros((threads, LANES * (padded + p)))
    cdef Py_ssize_t step = stretch_of(1.0 * rows * d * p, groups, threads), part
    for part in range(ceil_div(groups, step)):
        for g in prange(part * step, end_of(part, step, groups), nogil=True, num_threads=threads, schedule="guided"):
            _product_group(b, w, a, symmetric, g * group, min(rows, (g + 1) * group), padded, &scratch[threadid(), 0],
                           &partial[g, 0, 0])
        PyErr_CheckSignals()
    with nogil:
        for g in range(groups):
            for i in range(p):
                for j in range(i if symmetric else 0, d):
                    out[i, j] += partial[g, i, j]
        if symmetric:
            for i in range(p):
                for j in range(i):
                    out[i, j] = out[j, i]


cdef void _product_group(const double[:, ::1] b, const double[::1] w, const double[:, ::1] a, bint symmetric,
                         Py_ssize_t start, Py_ssize_t stop, Py_ssize_t padded, double *scratch,
                         double *out) noexcept nogil:
    # 64 rows at a time: A padded to whole vectors, then B scaled by the weights
    cdef Py_ssize_t d = a.shape[1], p = b.shape[1], tile, j, r, i, rows, first
    cdef double *left = scratch + LANES * padded
    for tile in range(ceil_div(stop - start, LANES)):
        j = start + tile * LANES
        rows = min(LANES, stop - j)
        for r in range(rows):
            for i in range(d):
                scratch[r * padded + i] = a[j + r, i]
            for i in range(p):
                left[r * p + i] = w[j + r] * b[j + r, i]
        for i in range(0, p, 4):
            first = (i // 8) * 8 if symmetric else 0
            panel_product(min(4, p - i), padded - first, rows, left + i, 1, p, scratch + first, padded,
                          out + i * padded + first, padded, 1)
