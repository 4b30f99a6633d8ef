/* Rejection samplers, a row of 64 lanes at a time.
 *
 * The first attempt of every lane is a vectorised sweep over the row; the few lanes it rejects try again one by one,
 * each from a stream of its own, so that a draw depends on (key, stream, block, row, lane) alone.
 */
#pragma once
#include "threefry.h"

/* Streams are used in blocks of eight, `stream` being the first. */
enum { DRAW_NORMAL = 0, DRAW_ACCEPT = 1, DRAW_BOOST = 2, DRAW_RETRY = 3, DRAW_STREAMS = 8 };

/* One attempt of Marsaglia & Tsang (ACM TOMS 26, 2000) at a gamma with shape d + 1/3 >= 1, c = 1 / sqrt(9 d): the
 * candidate is d t^3.  Returns log t of an accepted one and NaN of a rejected one. */
VM_INLINE double gamma_attempt(double d, double c, double z, double u) {
    double t = 1.0 + c * z;
    double safe = t > 0.0 ? t : 1.0;
    double log_t = vm_log(safe), v = safe * safe * safe;
    double bound = 0.5 * z * z + d * (1.0 - v + 3.0 * log_t);
    return (t > 0.0) & (vm_log(u) < bound) ? log_t : NAN;
}

/* Attempts 1, 2, ... of one lane, two from each evaluation of Threefry. */
static double gamma_retry(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, uint64_t lane, double d,
                          double c) {
    const threefry_key k = threefry_schedule(key);
    for (uint64_t attempt = 0;; attempt++) {
        uint64_t p, q, r, s;
        double a, b;
        threefry4x64(k, ROW * attempt + lane, block, stream + DRAW_RETRY, row, &p, &q, &r, &s);
        box_muller(p, q, &a, &b);
        double first = gamma_attempt(d, c, a, vm_uniform(r)), second = gamma_attempt(d, c, b, vm_uniform(s));
        if (first == first) return first;
        if (second == second) return second;
    }
}

/* 64 standard gammas and their logarithms.  A shape below 1 is reached from shape + 1 by a factor U^(1/shape) in the
 * logarithm, which therefore stays finite where the draw itself underflows to 0. */
static void row_gamma(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double shape,
                      double *restrict x, double *restrict log_x) {
    const double above = shape < 1.0 ? shape + 1.0 : shape, d = above - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    const double log_d = vm_log(d);
    double z[ROW], u[ROW];
    row_normal(key, stream + DRAW_NORMAL, block, row, z);
    row_uniform(key, stream + DRAW_ACCEPT, block, row, u);
    #pragma omp simd
    for (int l = 0; l < ROW; l++) log_x[l] = gamma_attempt(d, c, z[l], u[l]);
    for (int l = 0; l < ROW; l++)
        if (log_x[l] != log_x[l]) log_x[l] = gamma_retry(key, stream, block, row, l, d, c);
    if (shape < 1.0) {
        row_uniform(key, stream + DRAW_BOOST, block, row, u);
        #pragma omp simd
        for (int l = 0; l < ROW; l++) {
            log_x[l] = log_d + 3.0 * log_x[l] + vm_log(u[l]) / shape;
            x[l] = vm_exp(log_x[l]);
        }
    } else {
        #pragma omp simd
        for (int l = 0; l < ROW; l++) {
            x[l] = d * vm_exp(3.0 * log_x[l]);
            log_x[l] = log_d + 3.0 * log_x[l];
        }
    }
}

/* The same for 64 shapes, one a lane. */
static void row_gamma_each(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row,
                           const double *restrict shape, double *restrict x, double *restrict log_x) {
    double z[ROW], u[ROW], d[ROW], c[ROW], log_d[ROW];
    int small = 0;
    #pragma omp simd reduction(+ : small)
    for (int l = 0; l < ROW; l++) {
        d[l] = (shape[l] < 1.0 ? shape[l] + 1.0 : shape[l]) - 1.0 / 3.0;
        c[l] = 1.0 / sqrt(9.0 * d[l]);
        log_d[l] = vm_log(d[l]);
        small += shape[l] < 1.0;
    }
    row_normal(key, stream + DRAW_NORMAL, block, row, z);
    row_uniform(key, stream + DRAW_ACCEPT, block, row, u);
    #pragma omp simd
    for (int l = 0; l < ROW; l++) log_x[l] = gamma_attempt(d[l], c[l], z[l], u[l]);
    for (int l = 0; l < ROW; l++)
        if (log_x[l] != log_x[l] && d[l] > 0.0) log_x[l] = gamma_retry(key, stream, block, row, l, d[l], c[l]);
    if (small) row_uniform(key, stream + DRAW_BOOST, block, row, u);
    #pragma omp simd
    for (int l = 0; l < ROW; l++) {
        double log_t3 = 3.0 * log_x[l], boost = small ? vm_log(u[l]) / shape[l] : 0.0;
        boost = shape[l] < 1.0 ? boost : 0.0;
        log_x[l] = log_d[l] + log_t3 + boost;
        x[l] = shape[l] < 1.0 ? vm_exp(log_x[l]) : d[l] * vm_exp(log_t3);
    }
}

/* The envelope of Best & Fisher (Applied Statistics 28, 1979) for the von Mises distribution with mean 0: a wrapped
 * Cauchy, whose half-angle has a scaled Cauchy tangent.  Neither h = sqrt(1 + 4 kappa^2) nor rho nor 1 - rho cancels or
 * overflows, for any concentration from 0 up. */
typedef struct { double rho, short_of_1, scale, top; } von_mises_envelope;

VM_INLINE von_mises_envelope envelope_of(double concentration) {
    von_mises_envelope e;
    const double kappa = concentration < 1e300 ? concentration : 1e300; /* above it 4 kappa might overflow */
    const double inverse = 0.5 / (kappa > 1.0 ? kappa : 1.0), near = 2.0 * (kappa < 1.0 ? kappa : 1.0);
    const double h = kappa < 1.0 ? sqrt(1.0 + near * near) : 2.0 * kappa * sqrt(1.0 + inverse * inverse);
    const double root = sqrt(1.0 + h);
    e.rho = 2.0 * kappa / (h + 1.0) * (root / (root + 1.4142135623730951));
    /* 2 kappa (1 - rho) = sqrt(2 (1 + h)) - 1 - 1 / (h + 2 kappa) */
    const double rest = (1.4142135623730951 * root - 1.0 - 1.0 / (h + 2.0 * kappa)) * inverse;
    e.short_of_1 = kappa < 1.0 ? 1.0 - e.rho : rest;
    const double half_ratio = 0.25 * (h + 1.0) * (1.0 + 1.4142135623730951 / root); /* kappa / (2 rho) */
    const double gap = e.short_of_1 * (1.0 + e.rho);
    e.scale = e.short_of_1 / (1.0 + e.rho);
    e.top = half_ratio * gap * gap;
    return e;
}

/* 64 values tan(x / 2), x von Mises with the lane's envelope.  A concentration of NaN or below 0 gives NaN. */
static void row_von_mises_each(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row,
                               const von_mises_envelope *e, double *restrict tangent) {
    double angle[ROW], u[ROW], candidate[ROW];
    int left = ROW;
    for (int l = 0; l < ROW; l++) tangent[l] = NAN;
    for (uint64_t attempt = 0; left > 0; attempt++) {
        row_uniform(key, stream + 2 * attempt, block, row, angle);
        row_uniform(key, stream + 2 * attempt + 1, block, row, u);
        #pragma omp simd
        for (int l = 0; l < ROW; l++) {
            double s, co;
            vm_sincos2pi(0.5 * angle[l], &s, &co);
            double bound = e[l].top / (e[l].short_of_1 * e[l].short_of_1 + 4.0 * e[l].rho * s * s);
            candidate[l] = vm_log(u[l]) < vm_log(bound) + 1.0 - bound ? -e[l].scale * co / s : NAN;
        }
        left = 0;
        for (int l = 0; l < ROW; l++) {
            if (tangent[l] != tangent[l]) tangent[l] = candidate[l];
            left += tangent[l] != tangent[l] && e[l].top > 0.0;
        }
    }
}

/* 64 values tan(x / 2) of one concentration. */
static void row_von_mises(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double concentration,
                          double *restrict tangent) {
    von_mises_envelope e[ROW];
    for (int l = 0; l < ROW; l++) e[l] = envelope_of(concentration);
    row_von_mises_each(key, stream, block, row, e, tangent);
}

/* K log gammas to a point of the simplex and its logarithm, for each of n rows. */
static void rows_simplex(ptrdiff_t n, ptrdiff_t k, const double *log_g, double *x, double *log_x) {
    for (ptrdiff_t r = 0; r < n; r++, log_g += k, x += k, log_x += k) {
        ptrdiff_t top = 0;
        for (ptrdiff_t i = 1; i < k; i++) top = log_g[i] > log_g[top] ? i : top;
        const double largest = log_g[top];
        double rest = 0.0;
        #pragma omp simd
        for (ptrdiff_t i = 0; i < k; i++) x[i] = vm_exp(log_g[i] - largest);
        x[top] = 0.0;
        for (ptrdiff_t i = 0; i < k; i++) rest += x[i];
        const double log_sum = vm_log1p(rest);
        #pragma omp simd
        for (ptrdiff_t i = 0; i < k; i++) {
            log_x[i] = log_g[i] - largest - log_sum;
            x[i] = x[i] / (1.0 + rest);
        }
        x[top] = 1.0 / (1.0 + rest);
    }
}

/* From 64 lanes of K log gammas, (K, 64), to a point of the simplex by lanes: rows (64, K) of x, 1 - x and their
 * logarithms, each to full relative precision.  Only the largest coordinate can be near 1; its complement is the sum
 * of the others, scaled by the second largest. */
VM_INLINE void simplex_lanes(ptrdiff_t k, const double *log_g, double *first, double *second, double *rest,
                             ptrdiff_t *largest) {
    for (int l = 0; l < ROW; l++) first[l] = second[l] = -INFINITY, rest[l] = 0.0, largest[l] = 0;
    for (ptrdiff_t i = 0; i < k; i++) {
        #pragma omp simd
        for (int l = 0; l < ROW; l++) {
            double g = log_g[i * ROW + l], top = first[l];
            second[l] = g > top ? top : (g > second[l] ? g : second[l]);
            largest[l] = g > top ? i : largest[l];
            first[l] = g > top ? g : top;
        }
    }
    for (ptrdiff_t i = 0; i < k; i++) {
        #pragma omp simd
        for (int l = 0; l < ROW; l++) {
            double e = vm_exp(log_g[i * ROW + l] - second[l]);
            rest[l] += largest[l] == i ? 0.0 : e;
        }
    }
}

static void row_simplex(ptrdiff_t k, const double *log_g, ptrdiff_t lanes, ptrdiff_t stride, double *x, double *y,
                        double *log_x, double *log_y) {
    double first[ROW], second[ROW], rest[ROW], log_sum[ROW], xs[ROW], ys[ROW], lx[ROW], ly[ROW];
    ptrdiff_t largest[ROW];
    simplex_lanes(k, log_g, first, second, rest, largest);
    #pragma omp simd
    for (int l = 0; l < ROW; l++) log_sum[l] = vm_log1p(vm_exp(second[l] - first[l]) * rest[l]);
    for (ptrdiff_t i = 0; i < k; i++) {
        #pragma omp simd
        for (int l = 0; l < ROW; l++) {
            double below = log_g[i * ROW + l] - first[l] - log_sum[l], other = vm_exp(below);
            double log_rest = second[l] - first[l] + vm_log(rest[l]) - log_sum[l], rest_share = vm_exp(log_rest);
            int top = largest[l] == i;
            lx[l] = top ? -log_sum[l] : below;
            xs[l] = top ? vm_exp(-log_sum[l]) : other;
            ys[l] = top ? rest_share : 1.0 - other;
            ly[l] = top ? log_rest : vm_log1p(-other);
        }
        for (ptrdiff_t l = 0; l < lanes; l++) {
            x[l * stride + i] = xs[l], y[l * stride + i] = ys[l];
            log_x[l * stride + i] = lx[l], log_y[l * stride + i] = ly[l];
        }
    }
}
