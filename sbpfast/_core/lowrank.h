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
#include "vmath.h"

/* doubles that one row needs: vectors of length d, the gradient by U, small matrices */
static inline ptrdiff_t lr_work(ptrdiff_t d, ptrdiff_t k) { return 4 * d + d * k + 5 * k * k + 6 * k; }

/* L, lower triangular with zeros above, of M.  M is at least I, so that no pivot can vanish. */
static inline void lr_cholesky(ptrdiff_t k, const double *m, double *l) {
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

#define REAL double
#define LR(name) lr_##name##_double
#include "lowrank_rows.h"
#undef REAL
#undef LR
#define REAL float
#define LR(name) lr_##name##_float
#include "lowrank_rows.h"
#undef REAL
#undef LR
