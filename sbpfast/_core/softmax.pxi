"""The softmax of many rows: at draws, summed over groups of them, expected under a Gaussian of its own for each row.

The linear predictors come from matrix products outside; here every cell (row, draw) is visited once.  The Hessian of a
row is kept as P (P + 1)/2 numbers, summed over draws before any product with the columns of X.
"""

include "common.pxi"

from cython.parallel cimport threadid

cdef extern from "softmax.h" nogil:
    void softmax_lanes(Py_ssize_t lanes, Py_ssize_t p, double *eta, Py_ssize_t stride, Py_ssize_t y, double *value)
    void softmax_sums(Py_ssize_t lanes, Py_ssize_t p, const double *prob, Py_ssize_t stride, const double *w,
                      double *first, double *second)
    void softmax_curvature(Py_ssize_t p, const double *first, double *second)
    void softmax_factor(Py_ssize_t p, double *cov)
    void softmax_expectation(Py_ssize_t p, const double *m, const double *factor, Py_ssize_t y, Py_ssize_t n,
                             const double *nodes, const double *weights, double *scratch, double *value, double *first,
                             double *second)


def softmax_derivatives(double[:, :, ::1] eta, const Py_ssize_t[::1] y, Py_ssize_t m, double[:, ::1] value,
                        double[:, :, :, ::1] curvature, int n_threads):
    """Log likelihoods (rows, n), probabilities in place of the predictors eta (rows, P, n), and curvatures.

    curvature (groups, rows, P, P) gets the sums over m draws each of p p^T - diag(p); of length 0 it is left out.
    """
    cdef Py_ssize_t rows = eta.shape[0], p = eta.shape[1], n = eta.shape[2], row
    if rows == 0 or n == 0:
        return
    cdef double work = (20.0 + p) * p * rows * n
    cdef int threads = threads_for(work, n_threads)
    cdef double[:, ::1] scratch = np.empty((threads, p))
    cdef Py_ssize_t step = stretch_of(work, rows, threads), part
    for part in range(ceil_div(rows, step)):
        for row in prange(part * step, end_of(part, step, rows), nogil=True, num_threads=threads, schedule="guided"):
            _row_at_draws(eta, y[row], m, row, value, curvature, &scratch[threadid(), 0])
        PyErr_CheckSignals()


cdef void _row_at_draws(double[:, :, ::1] eta, Py_ssize_t y, Py_ssize_t m, Py_ssize_t row, double[:, ::1] value,
                        double[:, :, :, ::1] curvature, double *first) noexcept nogil:
    cdef Py_ssize_t p = eta.shape[1], n = eta.shape[2], start, stop, group, k
    start = 0
    while start < n:
        softmax_lanes(min(LANES, n - start), p, &eta[row, 0, start], n, y, &value[row, start])
        start = start + LANES
    for group in range(curvature.shape[0]):
        stop = min(n, (group + 1) * m)
        for k in range(p):
            first[k] = 0.0
        for k in range(p * p):
            (&curvature[group, row, 0, 0])[k] = 0.0
        start = group * m
        while start < stop:
            softmax_sums(min(LANES, stop - start), p, &eta[row, 0, start], n, NULL, first, &curvature[group, row, 0, 0])
            start = start + LANES
        softmax_curvature(p, first, &curvature[group, row, 0, 0])


def softmax_expectations(const double[:, ::1] m, double[:, :, ::1] cov, const Py_ssize_t[::1] y,
                         const double[:, ::1] nodes, const double[::1] weights, double[::1] value,
                         double[:, ::1] probability, double[:, :, ::1] curvature, int n_threads):
    """E of log likelihood (N,), probabilities (N, P) and p p^T - diag(p) (N, P, P), row j under N(m_j, cov_j).

    nodes (P, n) and weights (n,) are a rule for a standard normal; cov (N, P, P) is overwritten by its factors.
    """
    cdef Py_ssize_t rows = m.shape[0], p = m.shape[1], n = nodes.shape[1], row
    if rows == 0:
        return
    cdef double work = (20.0 + 2.0 * p) * p * rows * n
    cdef int threads = threads_for(work, n_threads)
    cdef double[:, ::1] scratch = np.empty((threads, p * LANES))
    cdef Py_ssize_t step = stretch_of(work, rows, threads), part
    for part in range(ceil_div(rows, step)):
        for row in prange(part * step, end_of(part, step, rows), nogil=True, num_threads=threads, schedule="guided"):
            softmax_factor(p, &cov[row, 0, 0])
            softmax_expectation(p, &m[row, 0], &cov[row, 0, 0], y[row], n, &nodes[0, 0], &weights[0],
                                &scratch[threadid(), 0], &value[row], &probability[row, 0], &curvature[row, 0, 0])
        PyErr_CheckSignals()
