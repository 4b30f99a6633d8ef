"""Counter-based draws that need rejection: gamma, von Mises, and points of a simplex from gammas.

Arrays are panels (blocks, rows, 64) as in the topic ``random``; a row has its own parameter.  Every draw depends on
(key, stream, block, row, lane) alone.  A call uses the eight stream numbers from ``stream`` on (von Mises: from
``stream`` up, two for each attempt).
"""

from libc.math cimport NAN

include "common.pxi"

cdef extern from "draws.h" nogil:
    enum: ROW
    void row_gamma(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double shape, double *x,
                   double *log_x)
    void row_von_mises(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double kappa,
                       double *tangent)
    void row_gamma_each(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, const double *shape,
                        double *x, double *log_x)
    ctypedef struct von_mises_envelope:
        pass
    von_mises_envelope envelope_of(double concentration)
    void row_von_mises_each(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row,
                            const von_mises_envelope *e, double *tangent)
    void rows_simplex(Py_ssize_t n, Py_ssize_t k, const double *log_g, double *x, double *log_x)
    void row_simplex(Py_ssize_t k, const double *log_g, Py_ssize_t lanes, Py_ssize_t stride, double *x, double *y,
                     double *log_x, double *log_y)


def fill_gamma(const uint64_t[::1] key, uint64_t stream, uint64_t first_block, const double[::1] shape,
               double[:, :, ::1] out, double[:, :, ::1] log_out, int n_threads):
    """Gammas of rate 1 and their logarithms: out[b, r] has shape parameter shape[r]."""
    cdef Py_ssize_t rows = out.shape[1], i, count = out.shape[0] * out.shape[1]
    if count == 0:
        return
    cdef double work = 2000.0 * count
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, count, threads), part
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            row_gamma(&key[0], stream, first_block + <uint64_t> (i // rows), <uint64_t> (i % rows), shape[i % rows],
                      &out[i // rows, i % rows, 0], &log_out[i // rows, i % rows, 0])
        PyErr_CheckSignals()


def fill_von_mises(const uint64_t[::1] key, uint64_t stream, uint64_t first_block, const double[::1] concentration,
                   double[:, :, ::1] tangent, int n_threads):
    """tan(x / 2) for x von Mises with mean 0: tangent[b, r] has concentration[r]."""
    cdef Py_ssize_t rows = tangent.shape[1], i, count = tangent.shape[0] * tangent.shape[1]
    if count == 0:
        return
    cdef double work = 6000.0 * count
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, count, threads), part
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            row_von_mises(&key[0], stream, first_block + <uint64_t> (i // rows), <uint64_t> (i % rows),
                          concentration[i % rows], &tangent[i // rows, i % rows, 0])
        PyErr_CheckSignals()


def simplex(const double[:, :, ::1] log_gamma, Py_ssize_t k, double[:, ::1] x, double[:, ::1] y, double[:, ::1] log_x,
            double[:, ::1] log_y, int n_threads):
    """Groups of k log gammas, panels (blocks, groups k, 64), to points of simplices as rows (n, groups k).

    Returns in the last four arguments x, 1 - x, log x and log(1 - x), each to full relative precision.
    """
    cdef Py_ssize_t n = x.shape[0], rows = x.shape[1], groups = rows // k, b, i, count = ceil_div(n, ROW) * groups
    if n == 0 or rows == 0:
        return
    cdef double work = 2000.0 * count * k
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, count, threads), part
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            b = i // groups
            row_simplex(k, &log_gamma[b, (i % groups) * k, 0], min(ROW, n - b * ROW), rows,
                        &x[b * ROW, (i % groups) * k], &y[b * ROW, (i % groups) * k],
                        &log_x[b * ROW, (i % groups) * k], &log_y[b * ROW, (i % groups) * k])
        PyErr_CheckSignals()


# -- one parameter an element: element i is lane i % 64 of row i // 64 of block 0 --------------------------------------

def gamma_each(const uint64_t[::1] key, uint64_t stream, const double[::1] shape, double[::1] out, double[::1] log_out,
               int n_threads):
    """Gammas of rate 1 and their logarithms, out[i] of shape parameter shape[i]; NaN where that is not positive."""
    cdef Py_ssize_t n = shape.shape[0], i, count = ceil_div(n, ROW)
    cdef double work = 10000.0 * count
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, count, threads), part
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            _gamma_row(&key[0], stream, i, min(ROW, n - i * ROW), &shape[i * ROW], &out[i * ROW], &log_out[i * ROW])
        PyErr_CheckSignals()


cdef void _gamma_row(const uint64_t *key, uint64_t stream, Py_ssize_t row, Py_ssize_t lanes, const double *shape,
                     double *out, double *log_out) noexcept nogil:
    cdef double[ROW] a, x, log_x
    cdef Py_ssize_t l
    for l in range(ROW):
        a[l] = shape[l] if l < lanes and shape[l] > 0.0 else 1.0
    row_gamma_each(key, stream, 0, <uint64_t> row, a, x, log_x)
    for l in range(lanes):
        out[l] = x[l] if shape[l] > 0.0 else NAN
        log_out[l] = log_x[l] if shape[l] > 0.0 else NAN


def von_mises_each(const uint64_t[::1] key, uint64_t stream, const double[::1] concentration, double[::1] tangent,
                   int n_threads):
    """tan(x / 2) for x von Mises with mean 0 and concentration[i]; NaN where that is negative."""
    cdef Py_ssize_t n = concentration.shape[0], i, count = ceil_div(n, ROW)
    cdef double work = 6000.0 * count
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, count, threads), part
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            _von_mises_row(&key[0], stream, i, min(ROW, n - i * ROW), &concentration[i * ROW], &tangent[i * ROW])
        PyErr_CheckSignals()


cdef void _von_mises_row(const uint64_t *key, uint64_t stream, Py_ssize_t row, Py_ssize_t lanes,
                         const double *concentration, double *tangent) noexcept nogil:
    cdef von_mises_envelope[ROW] e
    cdef double[ROW] t
    cdef Py_ssize_t l
    for l in range(ROW):
        e[l] = envelope_of(concentration[l] if l < lanes and concentration[l] >= 0.0 else 1.0)
    row_von_mises_each(key, stream, 0, <uint64_t> row, e, t)
    for l in range(lanes):
        tangent[l] = t[l] if concentration[l] >= 0.0 else NAN


def simplex_each(const double[:, ::1] log_gamma, double[:, ::1] x, double[:, ::1] log_x, int n_threads):
    """Rows of k log gammas (n, k) to points of the simplex and their logarithms."""
    cdef Py_ssize_t n = x.shape[0], k = x.shape[1], i, count = ceil_div(n, ROW)
    if n == 0 or k == 0:
        return
    cdef double work = 30.0 * n * k
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, count, threads), part
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            rows_simplex(min(ROW, n - i * ROW), k, &log_gamma[i * ROW, 0], &x[i * ROW, 0], &log_x[i * ROW, 0])
        PyErr_CheckSignals()
