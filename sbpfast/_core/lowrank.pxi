"""Batches of Gaussians with precision diag(D) + U U^T: draws, variances, log determinants and their gradients.

A row of the batch has its own mean (d,), D (d,) and U (d, k); draws are (n, rows, d).  The mathematics is in lowrank.h.
Rows are cut into at most 64 pieces, each with its own workspace; a row's result depends on that row alone.  float32
and float64 come and go as they are, sums are float64.
"""

include "common.pxi"

cdef extern from "lowrank.h" nogil:
    Py_ssize_t lr_work(Py_ssize_t d, Py_ssize_t k)
    void lr_sample_double(Py_ssize_t n, Py_ssize_t stride, Py_ssize_t d, Py_ssize_t k, const double *mean,
                          const double *diag, const double *u, const double *eps, double *out, double *work)
    void lr_sample_backward_double(Py_ssize_t n, Py_ssize_t stride, Py_ssize_t d, Py_ssize_t k, const double *diag,
                                   const double *u, const double *eps, const double *g, double *g_mean,
                                   double *g_diag, double *g_u,
                                   double *work)
    double lr_moments_double(Py_ssize_t d, Py_ssize_t k, const double *diag, const double *u, double *variance,
                             double *work)
    void lr_moments_backward_double(Py_ssize_t d, Py_ssize_t k, const double *diag, const double *u,
                                    const double *bar_variance, double bar_log_det, double *g_diag, double *g_u,
                                    double *work)
    void lr_sample_float(Py_ssize_t n, Py_ssize_t stride, Py_ssize_t d, Py_ssize_t k, const float *mean,
                         const float *diag, const float *u, const float *eps, float *out, double *work)
    void lr_sample_backward_float(Py_ssize_t n, Py_ssize_t stride, Py_ssize_t d, Py_ssize_t k, const float *diag,
                                  const float *u, const float *eps, const float *g, float *g_mean,
                                  float *g_diag, float *g_u,
                                  double *work)
    double lr_moments_float(Py_ssize_t d, Py_ssize_t k, const float *diag, const float *u, float *variance,
                            double *work)
    void lr_moments_backward_float(Py_ssize_t d, Py_ssize_t k, const float *diag, const float *u,
                                   const float *bar_variance, double bar_log_det, float *g_diag, float *g_u,
                                   double *work)
    double lr_kl_double(Py_ssize_t d, Py_ssize_t k, const double *mean, const double *diag, const double *u,
                        const double *centre, const double *std, double *work)
    void lr_kl_backward_double(Py_ssize_t d, Py_ssize_t k, const double *mean, const double *diag, const double *u,
                               const double *centre, const double *std, double bar, double *g_mean, double *g_diag,
                               double *g_u, double *work)
    double lr_kl_float(Py_ssize_t d, Py_ssize_t k, const float *mean, const float *diag, const float *u,
                       const float *centre, const float *std, double *work)
    void lr_kl_backward_float(Py_ssize_t d, Py_ssize_t k, const float *mean, const float *diag, const float *u,
                              const float *centre, const float *std, double bar, float *g_mean, float *g_diag,
                              float *g_u, double *work)


ctypedef fused real:
    double
    float


cdef inline Py_ssize_t _piece(Py_ssize_t rows) noexcept nogil:
    return max(1, ceil_div(rows, 64))


cdef inline Py_ssize_t _strip(double cost, Py_ssize_t piece, int threads) noexcept nogil:
    # how many rows of every piece are worked on between two looks for a signal
    return stretch_of(cost / min(threads, 8), piece, 1)


cdef _workspace(Py_ssize_t rows, Py_ssize_t d, Py_ssize_t k):
    return np.empty((ceil_div(rows, _piece(rows)), lr_work(d, k)))


def sample(const real[:, ::1] mean, const real[:, ::1] diag, const real[:, :, ::1] factor, const real[:, :, ::1] eps,
           real[:, :, ::1] out, int n_threads):
    """out[s, b] = mean[b] + R_b eps[s, b], R_b R_b^T the inverse of diag(diag[b]) + factor[b] factor[b]^T."""
    cdef Py_ssize_t n = eps.shape[0], rows = diag.shape[0], d = diag.shape[1], k = factor.shape[2], piece, task, b, at
    if n == 0 or rows == 0 or d == 0:
        return
    piece = _piece(rows)
    cdef double[:, ::1] work = _workspace(rows, d, k)
    cdef double cost = 6.0 * rows * d * (k + 2) * (n + k)
    cdef int threads = threads_for(cost, n_threads)
    cdef Py_ssize_t strip = _strip(cost, piece, threads)
    cdef const real *u = &factor[0, 0, 0] if k > 0 else NULL
    for at in range(0, piece, strip):
        for task in prange(work.shape[0], nogil=True, num_threads=threads, schedule="guided"):
            for b in range(task * piece + at, min(rows, task * piece + min(piece, at + strip))):
                if real is double:
                    lr_sample_double(n, rows * d, d, k, &mean[b, 0], &diag[b, 0], u + b * d * k, &eps[0, b, 0],
                                     &out[0, b, 0], &work[task, 0])
                else:
                    lr_sample_float(n, rows * d, d, k, &mean[b, 0], &diag[b, 0], u + b * d * k, &eps[0, b, 0],
                                    &out[0, b, 0], &work[task, 0])
        PyErr_CheckSignals()


def sample_backward(const real[:, ::1] diag, const real[:, :, ::1] factor, const real[:, :, ::1] eps,
                    const real[:, :, ::1] grad, real[:, ::1] grad_mean, real[:, ::1] grad_diag,
                    real[:, :, ::1] grad_factor, int n_threads):
    """Gradients of sum_s grad[s, b] . out[s, b] by the three parameters of every row; n must be positive."""
    cdef Py_ssize_t n = eps.shape[0], rows = diag.shape[0], d = diag.shape[1], k = factor.shape[2], piece, task, b, at
    if rows == 0 or d == 0:
        return
    piece = _piece(rows)
    cdef double[:, ::1] work = _workspace(rows, d, k)
    cdef double cost = 10.0 * rows * d * (k + 2) * (n + k)
    cdef int threads = threads_for(cost, n_threads)
    cdef Py_ssize_t strip = _strip(cost, piece, threads)
    cdef const real *u = &factor[0, 0, 0] if k > 0 else NULL
    cdef real *g_u = &grad_factor[0, 0, 0] if k > 0 else NULL
    for at in range(0, piece, strip):
        for task in prange(work.shape[0], nogil=True, num_threads=threads, schedule="guided"):
            for b in range(task * piece + at, min(rows, task * piece + min(piece, at + strip))):
                if real is double:
                    lr_sample_backward_double(n, rows * d, d, k, &diag[b, 0], u + b * d * k, &eps[0, b, 0],
                                              &grad[0, b, 0],
                                              &grad_mean[b, 0], &grad_diag[b, 0], g_u + b * d * k, &work[task, 0])
                else:
                    lr_sample_backward_float(n, rows * d, d, k, &diag[b, 0], u + b * d * k, &eps[0, b, 0],
                                             &grad[0, b, 0],
                                             &grad_mean[b, 0], &grad_diag[b, 0], g_u + b * d * k, &work[task, 0])
        PyErr_CheckSignals()


def moments(const real[:, ::1] diag, const real[:, :, ::1] factor, real[:, ::1] variance, real[::1] log_det,
            int n_threads):
    """The diagonal of the covariance, and the logarithm of its determinant, for every row."""
    cdef Py_ssize_t rows = diag.shape[0], d = diag.shape[1], k = factor.shape[2], piece, task, b, at
    if rows == 0 or d == 0:
        return
    piece = _piece(rows)
    cdef double[:, ::1] work = _workspace(rows, d, k)
    cdef double cost = 4.0 * rows * d * (k + 2) * (k + 2)
    cdef int threads = threads_for(cost, n_threads)
    cdef Py_ssize_t strip = _strip(cost, piece, threads)
    cdef const real *u = &factor[0, 0, 0] if k > 0 else NULL
    for at in range(0, piece, strip):
        for task in prange(work.shape[0], nogil=True, num_threads=threads, schedule="guided"):
            for b in range(task * piece + at, min(rows, task * piece + min(piece, at + strip))):
                if real is double:
                    log_det[b] = lr_moments_double(d, k, &diag[b, 0], u + b * d * k, &variance[b, 0], &work[task, 0])
                else:
                    log_det[b] = <float> lr_moments_float(d, k, &diag[b, 0], u + b * d * k, &variance[b, 0],
                                                          &work[task, 0])
        PyErr_CheckSignals()


def moments_backward(const real[:, ::1] diag, const real[:, :, ::1] factor, const real[:, ::1] grad_variance,
                     const real[::1] grad_log_det, real[:, ::1] grad_diag, real[:, :, ::1] grad_factor, int n_threads):
    """Gradients of sum grad_variance variance + grad_log_det log_det by diag and factor, for every row."""
    cdef Py_ssize_t rows = diag.shape[0], d = diag.shape[1], k = factor.shape[2], piece, task, b, at
    if rows == 0 or d == 0:
        return
    piece = _piece(rows)
    cdef double[:, ::1] work = _workspace(rows, d, k)
    cdef double cost = 6.0 * rows * d * (k + 2) * (k + 2)
    cdef int threads = threads_for(cost, n_threads)
    cdef Py_ssize_t strip = _strip(cost, piece, threads)
    cdef const real *u = &factor[0, 0, 0] if k > 0 else NULL
    cdef real *g_u = &grad_factor[0, 0, 0] if k > 0 else NULL
    for at in range(0, piece, strip):
        for task in prange(work.shape[0], nogil=True, num_threads=threads, schedule="guided"):
            for b in range(task * piece + at, min(rows, task * piece + min(piece, at + strip))):
                if real is double:
                    lr_moments_backward_double(d, k, &diag[b, 0], u + b * d * k, &grad_variance[b, 0], grad_log_det[b],
                                               &grad_diag[b, 0], g_u + b * d * k, &work[task, 0])
                else:
                    lr_moments_backward_float(d, k, &diag[b, 0], u + b * d * k, &grad_variance[b, 0], grad_log_det[b],
                                              &grad_diag[b, 0], g_u + b * d * k, &work[task, 0])
        PyErr_CheckSignals()


def kl(const real[:, ::1] mean, const real[:, ::1] diag, const real[:, :, ::1] factor, const real[:, ::1] centre,
       const real[:, ::1] std, real[::1] out, int n_threads):
    """The divergence of every row from N(centre, diag(std^2))."""
    cdef Py_ssize_t rows = diag.shape[0], d = diag.shape[1], k = factor.shape[2], piece, task, b, at
    if rows == 0 or d == 0:
        return
    piece = _piece(rows)
    cdef double[:, ::1] work = _workspace(rows, d, k)
    cdef double cost = 6.0 * rows * d * (k + 2) * (k + 2)
    cdef int threads = threads_for(cost, n_threads)
    cdef Py_ssize_t strip = _strip(cost, piece, threads)
    cdef const real *u = &factor[0, 0, 0] if k > 0 else NULL
    for at in range(0, piece, strip):
        for task in prange(work.shape[0], nogil=True, num_threads=threads, schedule="guided"):
            for b in range(task * piece + at, min(rows, task * piece + min(piece, at + strip))):
                if real is double:
                    out[b] = lr_kl_double(d, k, &mean[b, 0], &diag[b, 0], u + b * d * k, &centre[b, 0], &std[b, 0],
                                          &work[task, 0])
                else:
                    out[b] = <float> lr_kl_float(d, k, &mean[b, 0], &diag[b, 0], u + b * d * k, &centre[b, 0],
                                                 &std[b, 0],
                                                 &work[task, 0])
        PyErr_CheckSignals()


def kl_backward(const real[:, ::1] mean, const real[:, ::1] diag, const real[:, :, ::1] factor,
                const real[:, ::1] centre, const real[:, ::1] std, const real[::1] grad, real[:, ::1] grad_mean,
                real[:, ::1] grad_diag, real[:, :, ::1] grad_factor, int n_threads):
    """Gradients of sum grad kl by mean, diag and factor, for every row."""
    cdef Py_ssize_t rows = diag.shape[0], d = diag.shape[1], k = factor.shape[2], piece, task, b, at
    if rows == 0 or d == 0:
        return
    piece = _piece(rows)
    cdef double[:, ::1] work = _workspace(rows, d, k)
    cdef double cost = 6.0 * rows * d * (k + 2) * (k + 2)
    cdef int threads = threads_for(cost, n_threads)
    cdef Py_ssize_t strip = _strip(cost, piece, threads)
    cdef const real *u = &factor[0, 0, 0] if k > 0 else NULL
    cdef real *g_u = &grad_factor[0, 0, 0] if k > 0 else NULL
    for at in range(0, piece, strip):
        for task in prange(work.shape[0], nogil=True, num_threads=threads, schedule="guided"):
            for b in range(task * piece + at, min(rows, task * piece + min(piece, at + strip))):
                if real is double:
                    lr_kl_backward_double(d, k, &mean[b, 0], &diag[b, 0], u + b * d * k, &centre[b, 0], &std[b, 0],
                                          grad[b],
                                          &grad_mean[b, 0], &grad_diag[b, 0], g_u + b * d * k, &work[task, 0])
                else:
                    lr_kl_backward_float(d, k, &mean[b, 0], &diag[b, 0], u + b * d * k, &centre[b, 0], &std[b, 0],
                                         grad[b],
                                         &grad_mean[b, 0], &grad_diag[b, 0], g_u + b * d * k, &work[task, 0])
        PyErr_CheckSignals()
