"""One pass over data for maximum likelihood."""

include "common.pxi"

cdef extern from "statistics.h" nogil:
    void log_divergence(Py_ssize_t n, Py_ssize_t d, const double *y, const double *w, const double *centre, double *out)


def log_divergence_sums(const double[:, ::1] y, const double[::1] weights, const double[::1] centre, double[:, ::1] out,
                        int n_threads):
    """For each column: the sums of w (y/c - 1) and of w (y/c - 1 - log(y/c)), the least and the largest y, (4, d).

    weights None means ones.  Rows are cut into at most 64 pieces, a number that depends on the
    shape alone, whose sums are added in order.  A NaN makes the first two sums NaN; the extremes may pass over it.
    """
    cdef Py_ssize_t n = y.shape[0], d = y.shape[1], j, task
    cdef Py_ssize_t piece = max(256, ceil_div(n, 64)), pieces = ceil_div(n, piece)
    cdef double work = 30.0 * n * d
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, pieces, threads), part
    cdef double[:, :, ::1] partial = np.empty((pieces, 4, d))
    cdef const double *w = &weights[0] if weights is not None else NULL
    for part in range(ceil_div(pieces, step)):
        for task in prange(part * step, end_of(part, step, pieces), nogil=True, num_threads=threads, schedule="guided"):
            log_divergence(min(piece, n - task * piece), d, &y[task * piece, 0], w + task * piece if w else NULL,
                           &centre[0], &partial[task, 0, 0])
        PyErr_CheckSignals()
    for j in range(d):
        out[0, j] = out[1, j] = 0.0
        out[2, j] = partial[0, 2, j]
        out[3, j] = partial[0, 3, j]
        for task in range(pieces):
            out[0, j] += partial[task, 0, j]
            out[1, j] += partial[task, 1, j]
            out[2, j] = min(out[2, j], partial[task, 2, j])
            out[3, j] = max(out[3, j], partial[task, 3, j])
