"""Transport weights B(x) = -dF/dtheta / p, elementwise on contiguous float64 arrays of one length.

The recipes are in weights.h (gamma, beta) and weights_univariate.h (the rest).  Work is cut into blocks of 1024
elements; an element's result depends on that element alone, so neither the thread count nor the neighbours change a bit
of it.
An argument outside its domain gives NaN.  Where a log is an argument too, x itself may have underflowed to 0.
"""

include "common.pxi"

cdef extern from "weight_derivatives.h" nogil:
    void gamma_weight_derivatives_block(Py_ssize_t n, const double *shape, const double *x, const double *log_x,
                                        double *out_x, double *out_shape)
    void beta_weight_derivatives_block(Py_ssize_t n, const double *a, const double *b, const double *x,
                                       const double *y, const double *log_x, double *out_x, double *out_a,
                                       double *out_b)

cdef extern from "weights_univariate.h" nogil:
    enum: BLOCK
    void gamma_weight_block(Py_ssize_t n, const double *shape, const double *x, const double *log_x, double *out)
    void beta_weight_block(Py_ssize_t n, const double *a, const double *b, const double *x, const double *y,
                           const double *log_x, const double *log_y, double *out_a, double *out_b)
    void student_t_weight_block(Py_ssize_t n, const double *df, const double *t, double *out)
    void von_mises_weight_block(Py_ssize_t n, const double *kappa, const double *x, double *out)
    void inverse_gaussian_weight_block(Py_ssize_t n, const double *mean, const double *concentration, const double *x,
                                       double *out_mean, double *out_concentration)
    void truncated_normal_weight_block(Py_ssize_t n, const double *z, const double *low, const double *high,
                                       const double *above, const double *below, double *out_loc, double *out_scale,
                                       double *out_low, double *out_high)
    void continuous_bernoulli_weight_block(Py_ssize_t n, const double *eta, const double *x, double *out)


def gamma_weight(const double[::1] shape, const double[::1] x, const double[::1] log_x, double[::1] out, int n_threads):
    """w with B_shape = x w for the gamma of rate 1: the velocity of log x."""
    cdef Py_ssize_t n = out.shape[0], start, task
    cdef double work = 60.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            start = task * BLOCK
            gamma_weight_block(min(BLOCK, n - start), &shape[start], &x[start], &log_x[start], &out[start])
        PyErr_CheckSignals()


def beta_weight(const double[::1] a, const double[::1] b, const double[::1] x, const double[::1] y,
                const double[::1] log_x, const double[::1] log_y, double[::1] out_a, double[::1] out_b, int n_threads):
    """w_a, w_b with B_a = x y w_a and B_b = -x y w_b, y = 1 - x: the velocities of logit x, both positive."""
    cdef Py_ssize_t n = out_a.shape[0], i, task
    cdef double work = 200.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            beta_weight_block(min(BLOCK, n - i), &a[i], &b[i], &x[i], &y[i], &log_x[i], &log_y[i], &out_a[i], &out_b[i])
        PyErr_CheckSignals()


def gamma_weight_derivatives(const double[::1] shape, const double[::1] x, const double[::1] log_x, double[::1] out_x,
                             double[::1] out_shape, int n_threads):
    """dB/dx and dw/dshape of the gamma weight B = x w (dB/dshape = x dw/dshape)."""
    cdef Py_ssize_t n = out_x.shape[0], i, task
    cdef double work = 300.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            gamma_weight_derivatives_block(min(BLOCK, n - i), &shape[i], &x[i], &log_x[i], &out_x[i], &out_shape[i])
        PyErr_CheckSignals()


def beta_weight_derivatives(const double[::1] a, const double[::1] b, const double[::1] x, const double[::1] y,
                            const double[::1] log_x, double[::1] out_x, double[::1] out_a, double[::1] out_b,
                            int n_threads):
    """dB_a/dx, dw/da and dw/db of the beta weight B_a = x y w (dB_a/da = x y dw/da, dB_a/db = x y dw/db).

    For B_b swap a with b, x with y and log x with log y: dB_b/dx is the first result as it stands, and the other two,
    times -x y, are dB_b/db and dB_b/da.
    """
    cdef Py_ssize_t n = out_x.shape[0], i, task
    cdef double work = 900.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            beta_weight_derivatives_block(min(BLOCK, n - i), &a[i], &b[i], &x[i], &y[i], &log_x[i], &out_x[i],
                                          &out_a[i], &out_b[i])
        PyErr_CheckSignals()


def student_t_weight(const double[::1] df, const double[::1] t, double[::1] out, int n_threads):
    """B_df of the standardised Student t; times the scale for any other."""
    cdef Py_ssize_t n = out.shape[0], i, task
    cdef double work = 100.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            student_t_weight_block(min(BLOCK, n - i), &df[i], &t[i], &out[i])
        PyErr_CheckSignals()


def von_mises_weight(const double[::1] kappa, const double[::1] x, double[::1] out, int n_threads):
    """B_kappa of the von Mises law of mean 0, for x in [-pi, pi) and kappa >= 0."""
    cdef Py_ssize_t n = out.shape[0], i, task
    cdef double work = 200.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            von_mises_weight_block(min(BLOCK, n - i), &kappa[i], &x[i], &out[i])
        PyErr_CheckSignals()


def inverse_gaussian_weight(const double[::1] mean, const double[::1] concentration, const double[::1] x,
                            double[::1] out_mean, double[::1] out_concentration, int n_threads):
    """B_mean and B_concentration of the inverse Gaussian."""
    cdef Py_ssize_t n = out_mean.shape[0], i, task
    cdef double work = 30.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            inverse_gaussian_weight_block(min(BLOCK, n - i), &mean[i], &concentration[i], &x[i], &out_mean[i],
                                          &out_concentration[i])
        PyErr_CheckSignals()


def truncated_normal_weight(const double[::1] z, const double[::1] low, const double[::1] high,
                            const double[::1] above, const double[::1] below, double[::1] out_loc,
                            double[::1] out_scale, double[::1] out_low, double[::1] out_high, int n_threads):
    """B of the standard normal truncated to [low, high] (either may be infinite) with its four parameters.

    above = z - low and below = high - z are arguments because far in a tail the differences of rounded, standardised
    numbers have lost their digits: take (x - low)/scale and (high - x)/scale in the caller's own units.
    """
    cdef Py_ssize_t n = z.shape[0], i, task
    cdef double work = 300.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            truncated_normal_weight_block(min(BLOCK, n - i), &z[i], &low[i], &high[i], &above[i], &below[i],
                                          &out_loc[i], &out_scale[i], &out_low[i], &out_high[i])
        PyErr_CheckSignals()


def continuous_bernoulli_weight(const double[::1] eta, const double[::1] x, double[::1] out, int n_threads):
    """B_eta of the continuous Bernoulli with logit eta."""
    cdef Py_ssize_t n = out.shape[0], i, task
    cdef double work = 30.0 * n
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t tasks = ceil_div(n, BLOCK), step = stretch_of(work, tasks, threads), part
    for part in range(ceil_div(tasks, step)):
        for task in prange(part * step, end_of(part, step, tasks), nogil=True, num_threads=threads, schedule="guided"):
            i = task * BLOCK
            continuous_bernoulli_weight_block(min(BLOCK, n - i), &eta[i], &x[i], &out[i])
        PyErr_CheckSignals()
