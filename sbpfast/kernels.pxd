# Kernels for other people's Cython: `from sbpfast.kernels cimport gamma_weight`.
#
# Everything is nogil, raises nothing and allocates nothing.  Outside their domains weights are NaN.  Compiled for the
# baseline of the processor's family, with the same sources as the package's own kernels.  The signatures are frozen:
# tests/tables/cython_signatures.json holds them.

from libc.stdint cimport uint64_t

# -- transport weights of one point, B(x) = -(dF/dtheta) / p ----------------------------------------------------------

# w of the gamma of rate 1: B_shape = x w.  log x is an argument of its own, so that x may have underflowed to 0.
cdef double gamma_weight(double shape, double x, double log_x) noexcept nogil
# B_a = x y w_a and B_b = -x y w_b with y = 1 - x; give y and the logarithms as exactly as they are known.
cdef void beta_weight(double a, double b, double x, double y, double log_x, double log_y,
                      double *w_a, double *w_b) noexcept nogil
# B_df of the standard Student t; times the scale for any other.
cdef double student_t_weight(double df, double t) noexcept nogil
# B_kappa of the von Mises of mean 0, x in [-pi, pi).
cdef double von_mises_weight(double kappa, double x) noexcept nogil
cdef void inverse_gaussian_weight(double mean, double concentration, double x,
                                  double *b_mean, double *b_concentration) noexcept nogil
# B_eta of the continuous Bernoulli with logit eta.
cdef double continuous_bernoulli_weight(double eta, double x) noexcept nogil

# -- the same for arrays of n elements --------------------------------------------------------------------------------

cdef void gamma_weights(Py_ssize_t n, const double *shape, const double *x, const double *log_x,
                        double *w) noexcept nogil
cdef void beta_weights(Py_ssize_t n, const double *a, const double *b, const double *x, const double *y,
                       const double *log_x, const double *log_y, double *w_a, double *w_b) noexcept nogil
cdef void student_t_weights(Py_ssize_t n, const double *df, const double *t, double *out) noexcept nogil
cdef void von_mises_weights(Py_ssize_t n, const double *kappa, const double *x, double *out) noexcept nogil

# -- links: value, slope and curvature of phi(t; y) by t --------------------------------------------------------------

# `code` is the place of the link in sbpfast.targets.LINKS; `params` are df and scale of "student_t", the dispersion of
# "negative_binomial", and may be NULL for the others.
cdef void link(int code, double t, double y, const double *params,
               double *value, double *slope, double *curvature) noexcept nogil
cdef void links(int code, Py_ssize_t n, const double *t, const double *y, const double *params,
                double *value, double *slope, double *curvature) noexcept nogil

# -- streams: row `row` of 64 numbers, a function of its five arguments alone (Threefry-4x64-20) ----------------------

cdef void uniform_row(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) noexcept nogil
cdef void normal_row(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) noexcept nogil

# -- sums over rows: out[i] += sum_s weights[s] x[s, i], x (n, m) in C order; weights NULL means ones -----------------

cdef void add_rows(Py_ssize_t n, Py_ssize_t m, const double *x, const double *weights, double *out) noexcept nogil
