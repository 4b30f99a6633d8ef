/* Sums of y/c - 1 and of the Bregman divergence of -log, D(y, c) = y/c - 1 - log(y/c), over a piece of data. */
#pragma once
#include <stddef.h>
#include "vmath.h"

/* log(1 + d), y = c (1 + d): from y where 1 + d has lost its digits, corrected for the rounding of 1 + d elsewhere */
VM_INLINE double log_ratio(double y, double inverse, double d) {
    int low = d < -0.5;
    double u = low ? y * inverse : 1.0 + d;
    double reciprocal = 1.0f / (float)u; /* of a correction below 1 ulp, so single precision is plenty */
    return vm_log(u) + (low ? 0.0 : (d - (u - 1.0)) * reciprocal);
}

#define LOG_DIVERGENCE_SUMS(name, weight)                                                                             \
    static void name(ptrdiff_t n, ptrdiff_t d, const double *y, const double *w, const double *centre, double *out) { \
        for (ptrdiff_t j = 0; j < d; j++) {                                                                           \
            double c = centre[j], inverse = 1.0 / c, linear = 0.0, total = 0.0, low = INFINITY, high = -INFINITY;     \
            _Pragma("omp simd reduction(+ : linear, total) reduction(min : low) reduction(max : high)")               \
            for (ptrdiff_t i = 0; i < n; i++) {                                                                       \
                double v = y[i * d + j], e = (v - c) * inverse;                                                       \
                linear += (weight) * e;                                                                               \
                total += (weight) * (e - log_ratio(v, inverse, e));                                                   \
                low = v < low ? v : low;                                                                              \
                high = v > high ? v : high;                                                                           \
            }                                                                                                         \
            out[j] = linear, out[d + j] = total, out[2 * d + j] = low, out[3 * d + j] = high;                         \
        }                                                                                                             \
    }
LOG_DIVERGENCE_SUMS(log_divergence_unweighted, 1.0)
LOG_DIVERGENCE_SUMS(log_divergence_weighted, w[i])
