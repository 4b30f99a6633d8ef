"""Counter-based draws that need rejection: gamma, von Mises, and points of a simplex from gammas.

Arrays are panels (blocks, rows, 64) as in the topic ``random``; a row has its own parameter.  Every draw depends on
(key, stream, block, row, lane) alone.  A call uses the eight stream numbers from ``stream`` on (von Mises: from
``stream`` up, two for each attempt).
"""

include "common.pxi"

cdef extern from "draws.h" nogil:
    enum: ROW
    void row_gamma(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double shape, double *x,
                   double *log_x)
    void row_von_mises(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double kappa,
                       double *tangent)
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
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="static"):
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
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="static"):
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
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="static"):
            b = i // groups
            row_simplex(k, &log_gamma[b, (i % groups) * k, 0], min(ROW, n - b * ROW), rows,
                        &x[b * ROW, (i % groups) * k], &y[b * ROW, (i % groups) * k],
                        &log_x[b * ROW, (i % groups) * k], &log_y[b * ROW, (i % groups) * k])
        PyErr_CheckSignals()
