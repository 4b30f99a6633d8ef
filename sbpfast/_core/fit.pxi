"""The exact step of a Gaussian fit to a ridge target, in the coordinates z of the Gaussian itself, x = mean + L z.

Working in z keeps every product well scaled: at the optimum the Hessian's mean is minus the identity, however badly
scaled or correlated x is.  One pass over A does everything: 64 rows are projected to forms F = A L, their means m and
standard deviations t = |F_j| give one-dimensional integrals, and those go back into L^T E[grad] and L^T E[Hess] L
while F is still in the cache.  Rows are cut into groups whose number depends on the shapes alone and whose sums are
added in order, so the bits do not depend on the number of threads.
"""

include "common.pxi"

from cython.parallel cimport threadid
from libc.math cimport sqrt
from libc.string cimport memset

cdef extern from "integrals.h" nogil:
    ctypedef struct integral:
        pass
    integral open_integral(const double *link, const double *rules)
    void integrate_tile(const integral *q, const double *m, const double *t, const double *y, double *value,
                        double *slope, double *curvature)

cdef extern from "transpose.h" nogil:
    void transpose(Py_ssize_t n, Py_ssize_t d, const double *a, Py_ssize_t a_stride, double *out, Py_ssize_t out_stride)


def whitened_moments(const double[:, ::1] a, const double[:, :] terms, const double[::1] link, const double[::1] rules,
                     const double[::1] mean, const double[:, ::1] factor, double spread, double[:, ::1] out,
                     int n_threads):
    """The ridge part of E f, L^T E[grad f] and L^T E[Hess f] L under N(mean, spread^2 L L^T), L lower triangular.

    The terms (3, N) are offset, y and weight of every row; `link` and `rules` are those of `expectations` in ridge.pxi.
    `spread` is 1, or 0 for the values at the mean itself (L only sets the coordinates then).  Returns E f; the first
    row of `out` (1 + d, d) is the gradient, the others the Hessian.
    """
    cdef Py_ssize_t rows = a.shape[0], d = a.shape[1], padded = ceil_div(d, 8) * 8
    # at most 64 groups of whole panels, and partial sums of at most 64 MB
    cdef Py_ssize_t most = max(1, min(64, (1 << 23) // (d * padded)))
    cdef Py_ssize_t group = max(LANES, ceil_div(ceil_div(rows, most), LANES) * LANES), groups = ceil_div(rows, group)
    cdef Py_ssize_t i, j, g, size = d * padded + padded
    out[:, :] = 0.0
    if rows == 0:
        return 0.0
    cdef integral q = open_integral(&link[0], &rules[0])
    cdef double[:, ::1] partial = np.zeros((groups, size))
    cdef double[::1] values = np.zeros(groups)
    cdef int threads = threads_for(rows * d * (d + 20.0) / 32.0, n_threads)  # alone below half a millisecond
    cdef double[:, ::1] scratch = np.zeros((threads, 4 * LANES * padded))
    cdef double value = 0.0
    cdef Py_ssize_t step = stretch_of(rows * d * (d + 20.0), groups, threads), part
    for part in range(ceil_div(groups, step)):
        for g in prange(part * step, end_of(part, step, groups), nogil=True, num_threads=threads, schedule="guided"):
            _whitened_group(a, terms, &q, mean, factor, spread, g * group, min(rows, (g + 1) * group),
                            &scratch[threadid(), 0], &values[g], &partial[g, 0])
        PyErr_CheckSignals()
    with nogil:
        for g in range(groups):
            value += values[g]
            for i in range(d):
                out[0, i] += partial[g, d * padded + i]
                for j in range(i, d):
                    out[1 + i, j] += partial[g, i * padded + j]
        for i in range(d):
            for j in range(i):
                out[1 + i, j] = out[1 + j, i]
    return value


cdef void _whitened_group(const double[:, ::1] a, const double[:, :] terms, const integral *q, const double[::1] mean,
                          const double[:, ::1] factor, double spread, Py_ssize_t start, Py_ssize_t stop,
                          double *scratch, double *value, double *out) noexcept nogil:
    cdef Py_ssize_t d = a.shape[1], padded = ceil_div(d, 8) * 8, tile, j, i, l, lanes, first
    cdef double *panel = scratch                    # A^T of 64 rows, (d, 64)
    cdef double *forms = scratch + LANES * padded   # F^T, (d, 64)
    cdef double *rows = forms + LANES * padded      # F, (64, padded)
    cdef double *scaled = rows + LANES * padded     # diag(w E phi'') F, transposed
    cdef double[LANES] m, t, yy, w, v, s, c
    for tile in range(ceil_div(stop - start, LANES)):
        j = start + tile * LANES
        lanes = min(LANES, stop - j)
        for l in range(LANES):
            # lanes beyond the last row repeat it with weight 0
            first = j + min(l, lanes - 1)
            m[l], yy[l] = terms[0, first], terms[1, first]
            w[l] = terms[2, first] if l < lanes else 0.0
        transpose(lanes, d, &a[j, 0], d, panel, LANES)
        for l in range(lanes, LANES):
            for i in range(d):
                panel[i * LANES + l] = a[stop - 1, i]
        panel_product(1, LANES, d, &mean[0], 0, 1, panel, LANES, m, LANES, 1)
        memset(t, 0, sizeof(t))
        for i in range(0, d, 4):  # a column of the factor starts at its diagonal
            panel_product(min(4, d - i), LANES, d - i, &factor[i, i], 1, d, panel + i * LANES, LANES,
                          forms + i * LANES, LANES, 0)
        for i in range(d):
            for l in range(LANES):
                t[l] += forms[i * LANES + l] * forms[i * LANES + l]
        for l in range(LANES):
            t[l] = spread * sqrt(t[l])
        integrate_tile(q, m, t, yy, v, s, c)
        for l in range(LANES):
            c[l] *= w[l]
            v[l] *= w[l]
            s[l] *= w[l]
        value[0] += total(LANES, v)
        for i in range(d):
            for l in range(LANES):
                scaled[i * LANES + l] = c[l] * forms[i * LANES + l]
            out[d * padded + i] += _dot(s, forms + i * LANES)
        transpose(d, LANES, forms, LANES, rows, padded)
        for i in range(0, d, 4):
            first = (i // 8) * 8
            panel_product(min(4, d - i), padded - first, LANES, scaled + i * LANES, LANES, 1, rows + first, padded,
                          out + i * padded + first, padded, 1)


cdef inline double _dot(const double *s, const double *forms) noexcept nogil:
    cdef double[LANES] product
    cdef Py_ssize_t l
    for l in range(LANES):
        product[l] = s[l] * forms[l]
    return total(LANES, product)
