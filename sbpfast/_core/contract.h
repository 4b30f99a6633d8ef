/* Loops over samples for the bare contractions, for float and double input, always with double sums.
 * `restrict` is what they are in C for: it lets the compiler keep sums in registers and load whole vectors.
 */
#pragma once
#include "panel.h"

#define CONTRACT_LOOPS(real)                                                                                          \
    /* out[i] += sum_s x[s, i]; eight samples a pass, so that the sum is loaded and stored an eighth as often */      \
    VM_INLINE void add_rows_##real(ptrdiff_t n, ptrdiff_t m, const real *restrict x, double *restrict out) {          \
        ptrdiff_t s = 0;                                                                                              \
        for (; s + 8 <= n; s += 8, x += 8 * m) {                                                                      \
            _Pragma("omp simd") for (ptrdiff_t i = 0; i < m; i++)                                                     \
                out[i] += (((double)x[i] + (double)x[m + i]) + ((double)x[2 * m + i] + (double)x[3 * m + i])) +       \
                          (((double)x[4 * m + i] + (double)x[5 * m + i]) + ((double)x[6 * m + i] + (double)x[7 * m + i])); \
        }                                                                                                             \
        for (; s < n; s++, x += m) {                                                                                  \
            _Pragma("omp simd") for (ptrdiff_t i = 0; i < m; i++) out[i] += (double)x[i];                             \
        }                                                                                                             \
    }                                                                                                                 \
    /* out[i] += sum_s w[s] x[s, i] */                                                                                \
    VM_INLINE void add_weighted_rows_##real(ptrdiff_t n, ptrdiff_t m, const real *restrict x,                         \
                                            const double *restrict w, double *restrict out) {                         \
        ptrdiff_t s = 0;                                                                                              \
        for (; s + 4 <= n; s += 4, x += 4 * m) {                                                                      \
            _Pragma("omp simd") for (ptrdiff_t i = 0; i < m; i++)                                                     \
                out[i] += (w[s] * (double)x[i] + w[s + 1] * (double)x[m + i]) +                                       \
                          (w[s + 2] * (double)x[2 * m + i] + w[s + 3] * (double)x[3 * m + i]);                        \
        }                                                                                                             \
        for (; s < n; s++, x += m) {                                                                                  \
            _Pragma("omp simd") for (ptrdiff_t i = 0; i < m; i++) out[i] += w[s] * (double)x[i];                      \
        }                                                                                                             \
    }                                                                                                                 \
    /* out[j] += scale sum_i x[i] jacobian[i, j], eight columns at a time */                                          \
    VM_INLINE void add_product_##real(ptrdiff_t m, ptrdiff_t p, double scale, const real *restrict x,                 \
                                      const real *restrict jacobian, double *restrict out) {                          \
        for (ptrdiff_t j = 0; j < p; j += 8) {                                                                        \
            const ptrdiff_t width = p - j < 8 ? p - j : 8;                                                            \
            double t[8] = {0};                                                                                        \
            if (width == 8) {                                                                                         \
                for (ptrdiff_t i = 0; i < m; i++)                                                                     \
                    _Pragma("omp simd") for (int l = 0; l < 8; l++) t[l] += (double)x[i] * (double)jacobian[i * p + j + l]; \
            } else {                                                                                                  \
                for (ptrdiff_t i = 0; i < m; i++)                                                                     \
                    for (ptrdiff_t l = 0; l < width; l++) t[l] += (double)x[i] * (double)jacobian[i * p + j + l];     \
            }                                                                                                         \
            for (ptrdiff_t l = 0; l < width; l++) out[j + l] += scale * t[l];                                         \
        }                                                                                                             \
    }

CONTRACT_LOOPS(float)
CONTRACT_LOOPS(double)

VM_INLINE void widen_float(ptrdiff_t n, const float *restrict x, double *restrict out) {
    #pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (double)x[i];
}

/* out[i] += sum_s w[s] x[s, i]^2 */
VM_INLINE void add_squares(ptrdiff_t n, ptrdiff_t m, const double *restrict x, const double *restrict w, double *restrict out) {
    for (ptrdiff_t s = 0; s < n; s++, x += m) {
        #pragma omp simd
        for (ptrdiff_t i = 0; i < m; i++) out[i] += w[s] * (x[i] * x[i]);
    }
}
