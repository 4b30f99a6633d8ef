"""Kernels for other people's Cython: scalar and array weights, links, streams and sums; see kernels.pxd."""

from libc.stdint cimport uint64_t

cdef extern from "weights_univariate.h" nogil:
    enum: BLOCK
    void gamma_weight_block(Py_ssize_t n, const double *shape, const double *x, const double *log_x, double *out)
    void beta_weight_block(Py_ssize_t n, const double *a, const double *b, const double *x, const double *y,
                           const double *log_x, const double *log_y, double *out_a, double *out_b)
    void student_t_weight_block(Py_ssize_t n, const double *df, const double *t, double *out)
    void von_mises_weight_block(Py_ssize_t n, const double *kappa, const double *x, double *out)
    void inverse_gaussian_weight_block(Py_ssize_t n, const double *mean, const double *concentration, const double *x,
                                       double *out_mean, double *out_concentration)
    void continuous_bernoulli_weight_block(Py_ssize_t n, const double *eta, const double *x, double *out)

cdef extern from "links.h" nogil:
    ctypedef void (*link_sweep_fn)(Py_ssize_t n, const double *t, double shift, const double *y, const double *params,
                                   double *value, double *slope, double *curvature)
    link_sweep_fn link_sweep(int link)

cdef extern from "threefry.h" nogil:
    void row_uniform(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out)
    void row_normal(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out)

cdef extern from "contract.h" nogil:
    void add_rows_double(Py_ssize_t n, Py_ssize_t m, const double *x, double *out)
    void add_weighted_rows_double(Py_ssize_t n, Py_ssize_t m, const double *x, const double *w, double *out)


cdef double gamma_weight(double shape, double x, double log_x) noexcept nogil:
    cdef double w
    gamma_weight_block(1, &shape, &x, &log_x, &w)
    return w


cdef void beta_weight(double a, double b, double x, double y, double log_x, double log_y,
                      double *w_a, double *w_b) noexcept nogil:
    beta_weight_block(1, &a, &b, &x, &y, &log_x, &log_y, w_a, w_b)


cdef double student_t_weight(double df, double t) noexcept nogil:
    cdef double out
    student_t_weight_block(1, &df, &t, &out)
    return out


cdef double von_mises_weight(double kappa, double x) noexcept nogil:
    cdef double out
    von_mises_weight_block(1, &kappa, &x, &out)
    return out


cdef void inverse_gaussian_weight(double mean, double concentration, double x,
                                  double *b_mean, double *b_concentration) noexcept nogil:
    inverse_gaussian_weight_block(1, &mean, &concentration, &x, b_mean, b_concentration)


cdef double continuous_bernoulli_weight(double eta, double x) noexcept nogil:
    cdef double out
    continuous_bernoulli_weight_block(1, &eta, &x, &out)
    return out


cdef void gamma_weights(Py_ssize_t n, const double *shape, const double *x, const double *log_x,
                        double *w) noexcept nogil:
    cdef Py_ssize_t part, i
    for part in range((n + BLOCK - 1) // BLOCK):
        i = part * BLOCK
        gamma_weight_block(min(BLOCK, n - i), shape + i, x + i, log_x + i, w + i)


cdef void beta_weights(Py_ssize_t n, const double *a, const double *b, const double *x, const double *y,
                       const double *log_x, const double *log_y, double *w_a, double *w_b) noexcept nogil:
    cdef Py_ssize_t part, i
    for part in range((n + BLOCK - 1) // BLOCK):
        i = part * BLOCK
        beta_weight_block(min(BLOCK, n - i), a + i, b + i, x + i, y + i, log_x + i, log_y + i, w_a + i, w_b + i)


cdef void student_t_weights(Py_ssize_t n, const double *df, const double *t, double *out) noexcept nogil:
    cdef Py_ssize_t part, i
    for part in range((n + BLOCK - 1) // BLOCK):
        i = part * BLOCK
        student_t_weight_block(min(BLOCK, n - i), df + i, t + i, out + i)


cdef void von_mises_weights(Py_ssize_t n, const double *kappa, const double *x, double *out) noexcept nogil:
    cdef Py_ssize_t part, i
    for part in range((n + BLOCK - 1) // BLOCK):
        i = part * BLOCK
        von_mises_weight_block(min(BLOCK, n - i), kappa + i, x + i, out + i)


cdef void link(int code, double t, double y, const double *params,
               double *value, double *slope, double *curvature) noexcept nogil:
    link_sweep(code)(1, &t, 0.0, &y, params, value, slope, curvature)


cdef void links(int code, Py_ssize_t n, const double *t, const double *y, const double *params,
                double *value, double *slope, double *curvature) noexcept nogil:
    link_sweep(code)(n, t, 0.0, y, params, value, slope, curvature)


cdef void uniform_row(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) noexcept nogil:
    row_uniform(key, stream, block, row, out)


cdef void normal_row(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) noexcept nogil:
    row_normal(key, stream, block, row, out)


cdef void add_rows(Py_ssize_t n, Py_ssize_t m, const double *x, const double *weights, double *out) noexcept nogil:
    if weights == NULL:
        add_rows_double(n, m, x, out)
    else:
        add_weighted_rows_double(n, m, x, weights, out)
