"""Means over samples of gradients, Hessians and their products with Jacobians.

Memory bound: every input is read once, in order.  Samples are cut into at most 64 pieces, a number that depends on the
sample count alone, each with a float64 sum of its own; the sums are added in order, so the bits do not depend on the
number of threads.  Inputs are float32 or float64, sums always float64.
"""

include "common.pxi"

from cython.parallel cimport threadid

cdef extern from "contract.h" nogil:
    void add_rows_float(Py_ssize_t n, Py_ssize_t m, const float *x, double *out)
    void add_rows_double(Py_ssize_t n, Py_ssize_t m, const double *x, double *out)
    void add_weighted_rows_float(Py_ssize_t n, Py_ssize_t m, const float *x, const double *w, double *out)
    void add_weighted_rows_double(Py_ssize_t n, Py_ssize_t m, const double *x, const double *w, double *out)
    void add_product_float(Py_ssize_t m, Py_ssize_t p, double scale, const float *x, const float *jacobian, double *out)
    void add_product_double(Py_ssize_t m, Py_ssize_t p, double scale, const double *x, const double *jacobian,
                            double *out)
    void widen_float(Py_ssize_t n, const float *x, double *out)
    void add_squares(Py_ssize_t n, Py_ssize_t m, const double *x, const double *w, double *out)

cdef extern from *:
    """
    enum { DEPTH = 1024, SAMPLES = 4 };
    """
    enum: DEPTH
    enum: SAMPLES

ctypedef fused floating:
    float
    double


cdef inline Py_ssize_t piece_size(Py_ssize_t n) noexcept nogil:
    return max(1, ceil_div(n, 64))


def weighted_sum(const floating[:, ::1] x, const double[::1] weights, double[::1] out, int n_threads):
    """out[i] = sum_s weights[s] x[s, i]; weights None means ones."""
    cdef Py_ssize_t n = x.shape[0], m = x.shape[1], piece = piece_size(n), pieces = ceil_div(n, piece), task, i, rows
    out[:] = 0.0
    if n == 0 or m == 0:
        return
    cdef double[:, ::1] partial = np.zeros((pieces, m))
    cdef bint weighted = weights is not None
    cdef double work = 1.0 * n * m
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, pieces, threads), part
    for part in range(ceil_div(pieces, step)):
        for task in prange(part * step, end_of(part, step, pieces), nogil=True, num_threads=threads, schedule="guided"):
            rows = min(piece, n - task * piece)
            if floating is float:
                if weighted:
                    add_weighted_rows_float(rows, m, &x[task * piece, 0], &weights[task * piece], &partial[task, 0])
                else:
                    add_rows_float(rows, m, &x[task * piece, 0], &partial[task, 0])
            else:
                if weighted:
                    add_weighted_rows_double(rows, m, &x[task * piece, 0], &weights[task * piece], &partial[task, 0])
                else:
                    add_rows_double(rows, m, &x[task * piece, 0], &partial[task, 0])
        PyErr_CheckSignals()
    with nogil:
        for task in range(pieces):
            for i in range(m):
                out[i] += partial[task, i]


def weighted_sum_of_squares(const double[:, ::1] x, const double[::1] weights, double[::1] out, int n_threads):
    """out[i] = sum_s weights[s] x[s, i]^2."""
    cdef Py_ssize_t n = x.shape[0], m = x.shape[1], piece = piece_size(n), pieces = ceil_div(n, piece), task, i
    out[:] = 0.0
    if n == 0 or m == 0:
        return
    cdef double[:, ::1] partial = np.zeros((pieces, m))
    with nogil:
        for task in prange(pieces, num_threads=threads_for(1.0 * n * m, n_threads), schedule="guided"):
            add_squares(min(piece, n - task * piece), m, &x[task * piece, 0], &weights[task * piece], &partial[task, 0])
        for task in range(pieces):
            for i in range(m):
                out[i] += partial[task, i]


def per_sample(const floating[:, ::1] x, const floating[:, :, ::1] jacobian, double scale, double[:, ::1] out,
               int n_threads):
    """out[s] += scale x[s] . jacobian[s]: (n, m) with (n, m, p) to (n, p)."""
    cdef Py_ssize_t n = x.shape[0], m = x.shape[1], p = jacobian.shape[2], s
    if n == 0 or m == 0 or p == 0:
        return
    cdef double work = 1.0 * n * m * p
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, n, threads), part
    for part in range(ceil_div(n, step)):
        for s in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            if floating is float:
                add_product_float(m, p, scale, &x[s, 0], &jacobian[s, 0, 0], &out[s, 0])
            else:
                add_product_double(m, p, scale, &x[s, 0], &jacobian[s, 0, 0], &out[s, 0])
        PyErr_CheckSignals()


def per_sample_shared(const floating[:, ::1] x, const double[:, ::1] jacobian, double scale, double[:, ::1] out,
                      int n_threads):
    """out[s] += scale x[s] . jacobian: (n, m) with one (m, p) to (n, p)."""
    cdef Py_ssize_t n = x.shape[0], m = x.shape[1], p = jacobian.shape[1], padded = ceil_div(p, 8) * 8, task
    if n == 0 or m == 0 or p == 0:
        return
    cdef double work = 1.0 * n * m * p
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, SAMPLES), step = stretch_of(work, tasks, threads), part
    cdef double[:, ::1] wide = np.zeros((m, padded))
    wide[:, :p] = jacobian
    cdef double[:, ::1] scratch = np.empty((threads, SAMPLES * (DEPTH + padded)))
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            _shared_task(&x[task * SAMPLES, 0], min(SAMPLES, n - task * SAMPLES), m, wide, scale,
                         &scratch[threadid(), 0], &out[task * SAMPLES, 0], p)
        PyErr_CheckSignals()


cdef void _shared_task(const floating *x, Py_ssize_t samples, Py_ssize_t m, const double[:, ::1] wide, double scale,
                       double *scratch, double *out, Py_ssize_t p) noexcept nogil:
    # float32 is widened DEPTH elements at a time; float64 is read in place
    cdef Py_ssize_t padded = wide.shape[1], chunk, start, depth, s, j
    cdef double *sums = scratch + SAMPLES * DEPTH
    for chunk in range(ceil_div(m, DEPTH)):
        start = chunk * DEPTH
        depth = min(DEPTH, m - start)
        if floating is float:
            for s in range(samples):
                widen_float(depth, x + s * m + start, scratch + s * depth)
            panel_product(samples, padded, depth, scratch, depth, 1, &wide[start, 0], padded, sums, padded, chunk > 0)
        else:
            panel_product(samples, padded, depth, x + start, m, 1, &wide[start, 0], padded, sums, padded, chunk > 0)
    for s in range(samples):
        for j in range(p):
            out[s * p + j] += scale * sums[s * padded + j]
