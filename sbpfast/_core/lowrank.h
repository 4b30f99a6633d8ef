/* Gaussians with precision P = diag(D) + U U^T, one row of a batch: U is (d, k), row-major, k small.
 *
 * With A = D^-1 U, M = I + U^T D^-1 U = L L^T and K = (M + L^T)^-1 = L^-T (L + I)^-1,
 *
 *     x = mean + q - A K U^T q,   q = D^(-1/2) eps,
 *
 * has covariance P^-1: (I - V K V^T)(I - V K V^T)^T = (I + V V^T)^-1 for V = D^(-1/2) U, because
 * K + K^T - K (M - I) K^T = K (L + I)(L + I)^T K^T = M^-1.  For k = 1, K = 1 / (M + sqrt M), the bracket of Rezende,
 * Mohamed & Wierstra (2014) without its 0/0 at U = 0.  Everything is O(d k^2), and forms nothing of size d^2.
 *
 * Small matrices are (k, k), row-major.  A row's result depends on that row alone.
 */
#pragma once
#include <math.h>
#include <stddef.h>

/* the small matrices of one row */
static inline ptrdiff_t lr_work(ptrdiff_t k) { return 5 * k * k + 6 * k; }

/* out = sum_i a_i b_i w_i over strided columns */
static inline double lr_dot(ptrdiff_t n, const double *a, ptrdiff_t a_stride, const double *b, ptrdiff_t b_stride,
                            const double *over) {
    double total = 0.0;
    #pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = 0; i < n; i++) total += a[i * a_stride] * b[i * b_stride] / over[i];
    return total;
}

/* L, lower triangular with zeros above, of M = I + U^T D^-1 U.  M is at least I, so that no pivot can vanish. */
static inline void lr_factor(ptrdiff_t d, ptrdiff_t k, const double *diag, const double *u, double *m, double *l) {
    for (ptrdiff_t p = 0; p < k; p++)
        for (ptrdiff_t q = 0; q <= p; q++)
            m[p * k + q] = m[q * k + p] = (p == q) + lr_dot(d, u + p, k, u + q, k, diag);
    for (ptrdiff_t p = 0; p < k; p++)
        for (ptrdiff_t q = 0; q < k; q++) {
            double s = m[p * k + q];
            for (ptrdiff_t r = 0; r < q && q <= p; r++) s -= l[p * k + r] * l[q * k + r];
            l[p * k + q] = q > p ? 0.0 : (q == p ? sqrt(s) : s / l[q * k + q]);
        }
}

/* v <- (L + shift I)^-1 v */
static inline void lr_solve(ptrdiff_t k, const double *l, double shift, double *v) {
    for (ptrdiff_t p = 0; p < k; p++) {
        for (ptrdiff_t q = 0; q < p; q++) v[p] -= l[p * k + q] * v[q];
        v[p] /= l[p * k + p] + shift;
    }
}

/* v <- (L + shift I)^-T v */
static inline void lr_solve_transposed(ptrdiff_t k, const double *l, double shift, double *v) {
    for (ptrdiff_t p = k - 1; p >= 0; p--) {
        for (ptrdiff_t q = p + 1; q < k; q++) v[p] -= l[q * k + p] * v[q];
        v[p] /= l[p * k + p] + shift;
    }
}

/* bar_m (symmetric) += the pull-back of bar_l, the gradient by the lower triangular L, through M = L L^T:
 * sym(L^-T Phi(L^T bar_l) L^-1), Phi the lower triangle with half the diagonal.  bar_l and w are overwritten. */
static inline void lr_cholesky_backward(ptrdiff_t k, const double *l, double *bar_l, double *w, double *bar_m) {
    for (ptrdiff_t p = 0; p < k; p++)
        for (ptrdiff_t q = 0; q < k; q++) {
            double s = 0.0;
            for (ptrdiff_t r = p; r < k && q <= p; r++) s += l[r * k + p] * bar_l[r * k + q];
            w[q * k + p] = p == q ? 0.5 * s : s; /* the transpose, column by column */
        }
    for (ptrdiff_t q = 0; q < k; q++) lr_solve_transposed(k, l, 0.0, w + q * k);
    for (ptrdiff_t p = 0; p < k; p++)
        for (ptrdiff_t q = 0; q < k; q++) bar_l[p * k + q] = w[q * k + p]; /* L^-T Phi */
    for (ptrdiff_t p = 0; p < k; p++) lr_solve_transposed(k, l, 0.0, bar_l + p * k); /* its rows times L^-1 */
    for (ptrdiff_t p = 0; p < k; p++)
        for (ptrdiff_t q = 0; q < k; q++) bar_m[p * k + q] += 0.5 * (bar_l[p * k + q] + bar_l[q * k + p]);
}

/* The pull-back of bar_m, symmetric, through M = I + U^T D^-1 U, added to g_diag and g_u. */
static inline void lr_gram_backward(ptrdiff_t d, ptrdiff_t k, const double *diag, const double *u, const double *bar_m,
                                    double *g_diag, double *g_u) {
    for (ptrdiff_t i = 0; i < d; i++) {
        double inner = 0.0;
        for (ptrdiff_t p = 0; p < k; p++) {
            double s = 0.0;
            for (ptrdiff_t q = 0; q < k; q++) s += bar_m[p * k + q] * u[i * k + q];
            g_u[i * k + p] += 2.0 * s / diag[i];
            inner += s * u[i * k + p];
        }
        g_diag[i] -= inner / (diag[i] * diag[i]);
    }
}

/* t = U^T q for q = eps / sqrt D, and y = K t */
static inline void lr_project(ptrdiff_t d, ptrdiff_t k, const double *root, const double *u, const double *l,
                              const double *eps, double *t, double *y) {
    for (ptrdiff_t p = 0; p < k; p++) y[p] = t[p] = lr_dot(d, eps, 1, u + p, k, root);
    lr_solve(k, l, 1.0, y);
    lr_solve_transposed(k, l, 0.0, y);
}

/* x = mean + q - A K U^T q for n draws of one row, `stride` apart.  root (d,) receives sqrt D. */
static inline void lr_sample(ptrdiff_t n, ptrdiff_t stride, ptrdiff_t d, ptrdiff_t k, const double *mean,
                             const double *diag, const double *u, const double *eps, double *out, double *root,
                             double *work) {
    double *m = work, *l = m + k * k, *t = l + k * k, *y = t + k;
    for (ptrdiff_t i = 0; i < d; i++) root[i] = sqrt(diag[i]);
    lr_factor(d, k, diag, u, m, l);
    for (ptrdiff_t s = 0; s < n; s++, eps += stride, out += stride) {
        lr_project(d, k, root, u, l, eps, t, y);
        #pragma omp simd
        for (ptrdiff_t i = 0; i < d; i++) {
            double inner = 0.0;
            for (ptrdiff_t p = 0; p < k; p++) inner += u[i * k + p] * y[p];
            out[i] = mean[i] + eps[i] / root[i] - inner / diag[i];
        }
    }
}

/* Gradients by mean, D and U (all set) of sum g . x over the n draws of one row.
 *
 * With r = A^T g and t_bar = -K^T r: by U, q t_bar^T - D^-1 g y^T; by q, g + U t_bar; by K^-1 = M + L^T, -t_bar y^T. */
static inline void lr_sample_backward(ptrdiff_t n, ptrdiff_t stride, ptrdiff_t d, ptrdiff_t k, const double *diag,
                                      const double *u, const double *eps, const double *g, double *g_mean,
                                      double *g_diag, double *g_u, double *root, double *work) {
    double *m = work, *l = m + k * k, *bar_l = l + k * k, *bar_m = bar_l + k * k, *w = bar_m + k * k, *t = w + k * k;
    double *y = t + k, *bar_t = y + k;
    for (ptrdiff_t i = 0; i < d; i++) root[i] = sqrt(diag[i]), g_mean[i] = g_diag[i] = 0.0;
    for (ptrdiff_t i = 0; i < d * k; i++) g_u[i] = 0.0;
    for (ptrdiff_t i = 0; i < k * k; i++) bar_l[i] = bar_m[i] = 0.0;
    lr_factor(d, k, diag, u, m, l);
    for (ptrdiff_t s = 0; s < n; s++, eps += stride, g += stride) {
        lr_project(d, k, root, u, l, eps, t, y);
        for (ptrdiff_t p = 0; p < k; p++) bar_t[p] = -lr_dot(d, g, 1, u + p, k, diag);
        lr_solve(k, l, 0.0, bar_t);
        lr_solve_transposed(k, l, 1.0, bar_t);
        #pragma omp simd
        for (ptrdiff_t i = 0; i < d; i++) {
            double q = eps[i] / root[i], over = g[i] / diag[i], inner = 0.0, bar_q = g[i];
            for (ptrdiff_t p = 0; p < k; p++) {
                inner += u[i * k + p] * y[p];
                bar_q += u[i * k + p] * bar_t[p];
                g_u[i * k + p] += q * bar_t[p] - over * y[p];
            }
            g_mean[i] += g[i];
            g_diag[i] += (over * inner - 0.5 * bar_q * q) / diag[i];
        }
        for (ptrdiff_t p = 0; p < k; p++)
            for (ptrdiff_t q = 0; q < k; q++) {
                bar_m[p * k + q] -= 0.5 * (bar_t[p] * y[q] + bar_t[q] * y[p]);
                bar_l[p * k + q] -= q <= p ? bar_t[q] * y[p] : 0.0;
            }
    }
    lr_cholesky_backward(k, l, bar_l, w, bar_m);
    lr_gram_backward(d, k, diag, u, bar_m, g_diag, g_u);
}

/* The diagonal of P^-1 (d,); returns log det P^-1.
 *
 * 1/D (1 - h), h = u^T M^-1 u / D; where h is near 1, 1 - h = 1 / (1 + u^T M_i^-1 u / D) with this row left out of M. */
static inline double lr_moments(ptrdiff_t d, ptrdiff_t k, const double *diag, const double *u, double *variance,
                                double *work) {
    double *m = work, *l = m + k * k, *m_without = l + k * k, *l_without = m_without + k * k, *v = l_without + k * k;
    double log_det = 0.0;
    lr_factor(d, k, diag, u, m, l);
    for (ptrdiff_t i = 0; i < d; i++) {
        double leverage = 0.0;
        for (ptrdiff_t p = 0; p < k; p++) v[p] = u[i * k + p];
        lr_solve(k, l, 0.0, v);
        for (ptrdiff_t p = 0; p < k; p++) leverage += v[p] * v[p];
        leverage /= diag[i];
        double rest = 1.0 - leverage;
        if (leverage > 0.9) {
            ptrdiff_t before = i, after = d - i - 1;
            for (ptrdiff_t p = 0; p < k; p++)
                for (ptrdiff_t q = 0; q <= p; q++)
                    m_without[p * k + q] = (p == q) + lr_dot(before, u + p, k, u + q, k, diag) +
                                           lr_dot(after, u + (i + 1) * k + p, k, u + (i + 1) * k + q, k, diag + i + 1);
            for (ptrdiff_t p = 0; p < k; p++)
                for (ptrdiff_t q = 0; q <= p; q++) {
                    double s = m_without[p * k + q];
                    for (ptrdiff_t r = 0; r < q; r++) s -= l_without[p * k + r] * l_without[q * k + r];
                    l_without[p * k + q] = q == p ? sqrt(s) : s / l_without[q * k + q];
                }
            for (ptrdiff_t p = 0; p < k; p++) v[p] = u[i * k + p];
            lr_solve(k, l_without, 0.0, v);
            double odds = 0.0;
            for (ptrdiff_t p = 0; p < k; p++) odds += v[p] * v[p];
            rest = 1.0 / (1.0 + odds / diag[i]);
        }
        variance[i] = rest / diag[i];
        log_det -= log(diag[i]);
    }
    for (ptrdiff_t p = 0; p < k; p++) log_det -= 2.0 * log(l[p * k + p]);
    return log_det;
}

/* Gradients by D and U (both set) of sum_i bar_variance_i variance_i + bar_log_det log det P^-1.
 *
 * dC = -C dP C: with a = D^-1 u (a row), T = M^-1 a: the variances pull back to M as sum_i bar_i T_i T_i^T. */
static inline void lr_moments_backward(ptrdiff_t d, ptrdiff_t k, const double *diag, const double *u,
                                       const double *bar_variance, double bar_log_det, double *g_diag, double *g_u,
                                       double *work) {
    double *m = work, *l = m + k * k, *bar_m = l + k * k, *v = bar_m + k * k;
    lr_factor(d, k, diag, u, m, l);
    for (ptrdiff_t p = 0; p < k; p++) { /* -bar_log_det M^-1 */
        for (ptrdiff_t q = 0; q < k; q++) v[q] = p == q;
        lr_solve(k, l, 0.0, v);
        lr_solve_transposed(k, l, 0.0, v);
        for (ptrdiff_t q = 0; q < k; q++) bar_m[p * k + q] = -bar_log_det * v[q];
    }
    for (ptrdiff_t i = 0; i < d; i++) {
        double inner = 0.0, bar = bar_variance[i];
        for (ptrdiff_t p = 0; p < k; p++) v[p] = u[i * k + p] / diag[i];
        lr_solve(k, l, 0.0, v);
        lr_solve_transposed(k, l, 0.0, v);
        for (ptrdiff_t p = 0; p < k; p++) {
            inner += v[p] * u[i * k + p] / diag[i];
            g_u[i * k + p] = -2.0 * bar * v[p] / diag[i];
            for (ptrdiff_t q = 0; q < k; q++) bar_m[p * k + q] += bar * v[p] * v[q];
        }
        g_diag[i] = (2.0 * bar * inner - bar / diag[i] - bar_log_det) / diag[i];
    }
    lr_gram_backward(d, k, diag, u, bar_m, g_diag, g_u);
}
