"""Means over samples of gradients, Hessians and their products with Jacobians.

Memory bound: every input is read once, in order.  Samples are cut into at most 64 pieces, a number that depends on the
sample count alone, each with a float64 sum of its own; the sums are added in order, so the bits do not depend on the
number of threads.  Inputs are float32 or float64, sums always float64.
"""

include "common.pxi"

ctypedef fused floating:
    float
    double


cdef inline Py_ssize_t piece_size(Py_ssize_t n) noexcept nogil:
    return max(1, ceil_div(n, 64))


def weighted_sum(const floating[:, ::1] x, const double[::1] weights, double[::1] out, int n_threads):
    """out[i] = sum_s weights[s] x[s, i]; weights None means ones."""
    cdef Py_ssize_t n = x.shape[0], m = x.shape[1], piece = piece_size(n), pieces = ceil_div(n, piece), task, i
    out[:] = 0.0
    if n == 0 or m == 0:
        return
    cdef double[:, ::1] partial = np.zeros((pieces, m))
    cdef bint weighted = weights is not None
    with nogil:
        for task in prange(pieces, num_threads=threads_for(1.0 * n * m, n_threads), schedule="static"):
            _sum_piece(&x[task * piece, 0], &weights[task * piece] if weighted else NULL,
                       min(piece, n - task * piece), m, &partial[task, 0])
        for task in range(pieces):
            for i in range(m):
                out[i] += partial[task, i]


cdef void _sum_piece(const floating *x, const double *w, Py_ssize_t n, Py_ssize_t m, double *out) noexcept nogil:
    # four samples a pass, so that the running sum is loaded and stored a quarter as often
    cdef Py_ssize_t s, i, whole = n - n % 4 if w == NULL else 0
    for s in range(0, whole, 4):
        for i in range(m):
            out[i] += (<double> x[s * m + i] + <double> x[(s + 1) * m + i]) + (<double> x[(s + 2) * m + i] + <double> x[(s + 3) * m + i])
    for s in range(whole, n):
        if w == NULL:
            for i in range(m):
                out[i] += x[s * m + i]
        else:
            for i in range(m):
                out[i] += w[s] * x[s * m + i]


def weighted_sum_of_squares(const double[:, ::1] x, const double[::1] weights, double[::1] out, int n_threads):
    """out[i] = sum_s weights[s] x[s, i]^2."""
    cdef Py_ssize_t n = x.shape[0], m = x.shape[1], piece = piece_size(n), pieces = ceil_div(n, piece), task, i
    out[:] = 0.0
    if n == 0 or m == 0:
        return
    cdef double[:, ::1] partial = np.zeros((pieces, m))
    with nogil:
        for task in prange(pieces, num_threads=threads_for(1.0 * n * m, n_threads), schedule="static"):
            _squares_piece(&x[task * piece, 0], &weights[task * piece], min(piece, n - task * piece), m, &partial[task, 0])
        for task in range(pieces):
            for i in range(m):
                out[i] += partial[task, i]


cdef void _squares_piece(const double *x, const double *w, Py_ssize_t n, Py_ssize_t m, double *out) noexcept nogil:
    cdef Py_ssize_t s, i
    for s in range(n):
        for i in range(m):
            out[i] += w[s] * x[s * m + i] * x[s * m + i]


def per_sample(const floating[:, ::1] x, const floating[:, :, ::1] jacobian, bint shared, double scale,
               double[:, ::1] out, int n_threads):
    """out[s] += scale x[s] . jacobian[s]: (n, m) with (n, m, p), or with one shared (1, m, p), to (n, p)."""
    cdef Py_ssize_t n = x.shape[0], m = x.shape[1], p = jacobian.shape[2], task, s
    cdef Py_ssize_t piece = piece_size(n), pieces = ceil_div(n, piece)
    if n == 0 or m == 0 or p == 0:
        return
    for task in prange(pieces, nogil=True, num_threads=threads_for(1.0 * n * m * p, n_threads), schedule="static"):
        for s in range(task * piece, min(n, (task + 1) * piece)):
            _sample_product(&x[s, 0], &jacobian[0 if shared else s, 0, 0], m, p, scale, &out[s, 0])


cdef void _sample_product(const floating *x, const floating *jacobian, Py_ssize_t m, Py_ssize_t p, double scale,
                          double *out) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double xi
    for i in range(m):
        xi = scale * x[i]
        for j in range(p):
            out[j] += xi * jacobian[i * p + j]
