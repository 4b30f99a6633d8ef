/* Sums of y/c - 1 and of the Bregman divergence of -log, D(y, c) = y/c - 1 - log(y/c), over a piece of data. */
#pragma once
#include "lanes.h"

typedef struct { double linear, divergence, low, high; } LogDivergence;

/* log(1 + d), y = c (1 + d): from y where 1 + d has lost its digits, corrected for the rounding of 1 + d elsewhere */
VM_INLINE double log_ratio(double y, double inverse, double d) {
    int low = d < -0.5;
    double u = low ? y * inverse : 1.0 + d;
    double reciprocal = 1.0f / (float)u; /* of a correction below 1 ulp, so single precision is plenty */
    return vm_log(u) + (low ? 0.0 : (d - (u - 1.0)) * reciprocal);
}

/* One logarithm a value; w NULL means weights of 1. */
#define TERM_BY_TERM(name, weight)                                                                                    \
    static LogDivergence name(ptrdiff_t n, ptrdiff_t d, const double *y, const double *w, double c) {                 \
        double inverse = 1.0 / c, linear = 0.0, total = 0.0, low = INFINITY, high = -INFINITY;                        \
        _Pragma("omp simd reduction(+ : linear, total) reduction(min : low) reduction(max : high)")                   \
        for (ptrdiff_t i = 0; i < n; i++) {                                                                           \
            double v = y[i * d], e = (v - c) * inverse;                                                               \
            linear += (weight) * e;                                                                                   \
            total += (weight) * (e - log_ratio(v, inverse, e));                                                       \
            low = v < low ? v : low;                                                                                  \
            high = v > high ? v : high;                                                                               \
        }                                                                                                             \
        return (LogDivergence){linear, total, low, high};                                                             \
    }
TERM_BY_TERM(log_divergence_unweighted, 1.0)
TERM_BY_TERM(log_divergence_weighted, w[i])

/* One logarithm for FACTORS values a lane: that of their product, carried as high + low with twice the digits. */
enum { FACTORS = 16, CHAINS = 2, TILE = FACTORS * CHAINS * VEC };

typedef struct { vec high, low, linear, least, most; } Product;

VM_INLINE void multiply(Product *p, vec v, vec c, vec inverse) {
    vec u = v * inverse, high = p->high * u;
    p->low = p->low * u + (p->high * vec_product_error(v, inverse, u) + vec_product_error(p->high, u, high));
    p->high = high;
    p->linear += (v - c) * inverse;
    p->least = vec_min(v, p->least);
    p->most = vec_max(v, p->most);
}

VM_INLINE double lane_sum(vec a) { double s = 0.0; for (int i = 0; i < VEC; i++) s += a[i]; return s; }

/* TILE values.  False, with nothing said of them, where a product could leave the range of a double. */
VM_INLINE int log_divergence_tile(ptrdiff_t d, const double *y, double c, LogDivergence *out) {
    vec one = vec_all(1.0), zero = vec_all(0.0), centre = vec_all(c), inverse = one / centre, v;
    vec unit = centre * inverse, bias = (unit - one) + vec_product_error(centre, inverse, unit); /* c inverse - 1 */
    Product p[CHAINS];
    for (int q = 0; q < CHAINS; q++) p[q] = (Product){one, zero, zero, vec_all(INFINITY), vec_all(-INFINITY)};
    for (int k = 0; k < FACTORS; k++)
        for (int q = 0; q < CHAINS; q++, y += VEC * d) {
            if (d == 1) v = vec_load(y);
            else for (int i = 0; i < VEC; i++) v[i] = y[i * d];
            multiply(&p[q], v, centre, inverse);
        }
    double linear = 0.0, logarithm = -TILE * bias[0], low = INFINITY, high = -INFINITY;
    for (int q = 0; q < CHAINS; q++) {
        linear += lane_sum(p[q].linear);
        logarithm += lane_sum(vec_log(p[q].high) + p[q].low / p[q].high);
        for (int i = 0; i < VEC; i++) {
            low = p[q].least[i] < low ? p[q].least[i] : low;
            high = p[q].most[i] > high ? p[q].most[i] : high;
        }
    }
    *out = (LogDivergence){linear, linear - logarithm, low, high};
    return low / c > 0x1p-60 && high / c < 0x1p60 && out->divergence < INFINITY;
}

/* out (4, d): the sums of y/c - 1 and of D, the least and the largest y, of every column */
static void log_divergence(ptrdiff_t n, ptrdiff_t d, const double *y, const double *w, const double *centre, double *out) {
    for (ptrdiff_t j = 0; j < d; j++) {
        double c = centre[j];
        LogDivergence sum = {0.0, 0.0, INFINITY, -INFINITY}, part;
        for (ptrdiff_t i = 0, m; i < n; i += m) {
            const double *rows = y + i * d + j;
            m = w ? n : n - i < TILE ? n - i : TILE;
            if (w) part = log_divergence_weighted(m, d, rows, w, c);
            else if (m < TILE || !log_divergence_tile(d, rows, c, &part))
                part = log_divergence_unweighted(m, d, rows, w, c);
            sum.linear += part.linear;
            sum.divergence += part.divergence;
            sum.low = part.low < sum.low ? part.low : sum.low;
            sum.high = part.high > sum.high ? part.high : sum.high;
        }
        out[j] = sum.linear, out[d + j] = sum.divergence, out[2 * d + j] = sum.low, out[3 * d + j] = sum.high;
    }
}
