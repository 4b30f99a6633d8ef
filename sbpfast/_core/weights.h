/* Transport weights of the gamma and the beta, by region.
 *
 * Everything is a relative weight w: the velocity of log x (gamma: B = x w) or of logit x (beta: B_a = x y w,
 * y = 1 - x) with the first shape.  It never underflows, and log x is an argument of its own, so that x itself may.
 * Five recipes cover the quadrant:
 *
 *   uniform   the expansion in 1/a of omega_coefficients.h, for a >= 12 and |log(x/mean)| <= 1.6
 *   descent   the recurrence a -> a - 1, stable and started where a is large by the uniform expansion, or
 *   series    started by the leading term: then it is the power series in x, summed from its far end
 *   fraction  a continued fraction and its derivative with respect to a, for x right of the mean
 *   mirror    beta: the power series in y, for x right of the mean and y not near 1
 *
 * Each recipe is a function of vectors (lanes.h) with a fixed number of steps for each region, so every element is
 * computed by the same operations whatever stands next to it.  A block is sorted by region first (sort_by_region).
 */
#pragma once
#include "digamma.h"
#include "omega_coefficients.h"

/* -- the uniform expansion ---------------------------------------------------------------------------------------- */

/* sum_k u^k W_k0(y) up to `order` */
VM_INLINE vec omega_gamma(vec y, vec u, int order) {
    vec t = y * (1.0 / OMEGA_RANGE), t2 = t * t, s = vec_all(0.0);
    if (order >= 10) s = OMEGA_10_0(t, t2), s = s * u + OMEGA_9_0(t, t2);
    if (order >= 8) s = s * u + OMEGA_8_0(t, t2), s = s * u + OMEGA_7_0(t, t2);
    if (order >= 6) s = s * u + OMEGA_6_0(t, t2), s = s * u + OMEGA_5_0(t, t2);
    if (order >= 4) s = s * u + OMEGA_4_0(t, t2), s = s * u + OMEGA_3_0(t, t2);
    s = s * u + OMEGA_2_0(t, t2), s = s * u + OMEGA_1_0(t, t2);
    return s * u + OMEGA_0_0(t, t2);
}

/* 1 - sum_k u^k sum_j m^j W_kj(y): small when a is large, so its leading term has no cancellation */
#define O(k, j) OMEGA_##k##_##j(t, t2)
VM_INLINE vec omega_beta_gap(vec y, vec u, vec m, int order) {
    vec t = y * (1.0 / OMEGA_RANGE), t2 = t * t, s = vec_all(0.0);
    if (order >= 10) {
        s = O(10, 0) + m * (O(10, 1) + m * (O(10, 2) + m * (O(10, 3) + m * (O(10, 4) + m * (O(10, 5) + m * (O(10, 6)
          + m * (O(10, 7) + m * (O(10, 8) + m * (O(10, 9) + m * O(10, 10))))))))));
        s = s * u + (O(9, 0) + m * (O(9, 1) + m * (O(9, 2) + m * (O(9, 3) + m * (O(9, 4) + m * (O(9, 5) + m * (O(9, 6)
          + m * (O(9, 7) + m * (O(9, 8) + m * O(9, 9))))))))));
    }
    if (order >= 8) {
        s = s * u + (O(8, 0) + m * (O(8, 1) + m * (O(8, 2) + m * (O(8, 3) + m * (O(8, 4) + m * (O(8, 5) + m * (O(8, 6)
          + m * (O(8, 7) + m * O(8, 8)))))))));
        s = s * u + (O(7, 0) + m * (O(7, 1) + m * (O(7, 2) + m * (O(7, 3) + m * (O(7, 4) + m * (O(7, 5) + m * (O(7, 6)
          + m * O(7, 7))))))));
    }
    if (order >= 6) {
        s = s * u + (O(6, 0) + m * (O(6, 1) + m * (O(6, 2) + m * (O(6, 3) + m * (O(6, 4) + m * (O(6, 5)
          + m * O(6, 6)))))));
        s = s * u + (O(5, 0) + m * (O(5, 1) + m * (O(5, 2) + m * (O(5, 3) + m * (O(5, 4) + m * O(5, 5))))));
    }
    if (order >= 4) {
        s = s * u + (O(4, 0) + m * (O(4, 1) + m * (O(4, 2) + m * (O(4, 3) + m * O(4, 4)))));
        s = s * u + (O(3, 0) + m * (O(3, 1) + m * (O(3, 2) + m * O(3, 3))));
    }
    s = s * u + (O(2, 0) + m * (O(2, 1) + m * O(2, 2)));
    s = s * u + (O(1, 0) + m * O(1, 1));
    return OMEGA_GAP(t, t2) - s * u;
}
#undef O

/* -- gamma -------------------------------------------------------------------------------------------------------- */

VM_INLINE vec gamma_uniform(vec a, vec lx, int order) {
    vec u = 1.0 / a;
    return u * omega_gamma(lx - vec_log(a), u, order);
}

/* From a w at shape a + steps down to w at shape a:  a w(a) = psi(a + 1) - log x + x w(a + 1). */
VM_INLINE vec gamma_descend(vec a, vec x, vec lx, vec value, int steps) {
    vec g = digamma_large(a + (steps + 1.0)) - lx;
    for (int k = steps; k > 0; k--) {
        vec r = 1.0 / (a + (double)k);
        g -= r;
        value = value * (x * r) + g;
    }
    return value / a;
}

VM_INLINE vec gamma_descent(vec a, vec x, vec lx, int steps) {
    vec top = a + (double)steps, u = 1.0 / top;
    return gamma_descend(a, x, lx, omega_gamma(lx - vec_log(top), u, 10), steps);
}

VM_INLINE vec gamma_series(vec a, vec x, vec lx, int steps) {
    return gamma_descend(a, x, lx, digamma_large(a + (steps + 1.0)) - lx, steps);
}

/* w = (log x - psi(a)) G + dG/da, G = U(1, a + 1, x) by Legendre's continued fraction with its terms divided by x. */
VM_INLINE vec gamma_fraction(vec a, vec x, vec lx, int steps) {
    vec r = 1.0 / x, r2 = r * r, zero = vec_all(0.0), one = vec_all(1.0);
    vec beta = 1.0 - (a - 1.0) * r;
    vec p0 = zero, p1 = one, q0 = one, q1 = beta;      /* numerators and denominators */
    vec dp0 = zero, dp1 = zero, dq0 = zero, dq1 = -r;  /* their derivatives with respect to a */
    for (int n = 1; n < steps; n++) {
        double k = n;
        vec dalpha = k * r2, alpha = dalpha * (a - k);
        beta += 2.0 * r;
        vec p2 = beta * p1 + alpha * p0, dp2 = beta * dp1 + alpha * dp0 - r * p1 + dalpha * p0;
        vec q2 = beta * q1 + alpha * q0, dq2 = beta * dq1 + alpha * dq0 - r * q1 + dalpha * q0;
        p0 = p1, p1 = p2, q0 = q1, q1 = q2, dp0 = dp1, dp1 = dp2, dq0 = dq1, dq1 = dq2;
    }
    vec inverse = 1.0 / q1, c = p1 * inverse, dc = (dp1 - c * dq1) * inverse;
    return r * ((lx - vec_digamma(a)) * c + dc);
}

/* -- beta --------------------------------------------------------------------------------------------------------- */

VM_INLINE vec beta_uniform(vec a, vec b, vec lx, int order) {
    vec u = 1.0 / a;
    return u * (1.0 - omega_beta_gap(lx + vec_log1p(b * u), u, a / (a + b), order));
}

/* From w at shape a + steps down to w at shape a:  a w(a, b) = psi(a + 1) - psi(a + b) - log x + (a + b) x w(a + 1, b);
   g is psi(a + steps) - psi(a + b + steps) - log x. */
VM_INLINE vec beta_descend(vec a, vec b, vec x, vec g, vec w, int steps) {
    vec total = a + b;
    for (int k = steps - 1; k >= 0; k--) {
        vec z = a + (double)k, s = total + (double)k, q = 1.0 / (z * s), r = q * s;
        g += q * z;
        w = (g + s * x * w) * r;
        g -= r;
    }
    return w;
}

/* psi(a) - psi(a + b) for a >= 12 */
VM_INLINE vec digamma_drop(vec a, vec b, vec log_ratio) { return digamma_tail(a) - digamma_tail(a + b) - log_ratio; }

VM_INLINE vec beta_descent(vec a, vec b, vec x, vec lx, int steps) {
    vec top = a + (double)steps, u = 1.0 / top, ratio = vec_log1p(b * u);
    vec w = u * (1.0 - omega_beta_gap(lx + ratio, u, top / (top + b), 10));
    return beta_descend(a, b, x, digamma_drop(top, b, ratio) - lx, w, steps);
}

VM_INLINE vec beta_series(vec a, vec b, vec x, vec lx, int steps) {
    vec top = a + (double)steps, u = 1.0 / top;
    vec g = digamma_drop(top, b, vec_log1p(b * u)) - lx;
    return beta_descend(a, b, x, g, (g + u) * u, steps);
}

/* b w = sum_k (a+b)_k / (b+1)_k y^k (log x + psi(a + b + k) - psi(a)), every term positive right of the mean */
VM_INLINE vec beta_mirror(vec a, vec b, vec y, vec lx, int steps) {
    vec total = a + b, g = vec_digamma(total + (double)steps) - vec_digamma(a) + lx, value = g;
    for (int k = steps; k > 0; k--) {
        vec s = total + (k - 1.0), z = b + (double)k, q = 1.0 / (s * z);
        g -= q * z;
        value = g + value * (y * s * s * q);
    }
    return value / b;
}

/* w = (log x + psi(a + b) - psi(a)) C + dC/da, C by the even part of DLMF 8.17.22, its terms divided by (a + b) x. */
VM_INLINE vec beta_fraction(vec a, vec b, vec x, vec y, vec lx, int steps) {
    vec total = a + b, scale = 1.0 / (total * x), lead = (total * x - a + 1.0) * scale;
    vec zero = vec_all(0.0), one = vec_all(1.0), d = 1.0 / (b + 1.0), ys = y * scale;
    vec p0 = zero, p1 = one, q0 = one, q1 = b * d * lead;
    vec dp0 = zero, dp1 = zero, dq0 = zero, dq1 = -ys * b * d;
    for (int n = 1; n < steps; n++) {
        double k = n;
        vec d1 = d;
        d = 1.0 / (b + (2.0 * k + 1.0));
        vec f = ys * d1, c = (b + (k - 1.0)) * k * f * f, up = total + (k - 1.0), down = a - k;
        vec alpha = c * up * down, dalpha = c * (up + down), e = (b + k) * d;
        vec beta = k * scale + k * down * f + e * (lead + k * (1.0 + x) * scale), dbeta = k * f - e * ys;
        vec p2 = beta * p1 + alpha * p0, dp2 = beta * dp1 + alpha * dp0 + dbeta * p1 + dalpha * p0;
        vec q2 = beta * q1 + alpha * q0, dq2 = beta * dq1 + alpha * dq0 + dbeta * q1 + dalpha * q0;
        p0 = p1, p1 = p2, q0 = q1, q1 = q2, dp0 = dp1, dp1 = dp2, dq0 = dq1, dq1 = dq2;
    }
    vec inverse = 1.0 / q1, c = p1 * inverse, dc = (dp1 - c * dq1) * inverse;
    return scale * ((lx + vec_digamma(total) - vec_digamma(a)) * c + dc);
}

/* -- a block of elements, sorted by region ------------------------------------------------------------------------ */

enum { BLOCK = 1024, MAX_INPUTS = 5, MAX_OUTPUTS = 3, MAX_REGIONS = 16 };

typedef void (*region_fn)(ptrdiff_t n, const double *const *in, double *const *out); /* n is a multiple of VEC */

/* A vec function of inputs 0, 1, ... of the block, `expression` in their names, as a region_fn. */
#define REGION3(name, p, q, r, expression)                                                                            \
    static void name(ptrdiff_t n, const double *const *in, double *const *out) {                                      \
        for (ptrdiff_t i = 0; i < n; i += VEC) {                                                                    \
            vec p = vec_load(in[0] + i), q = vec_load(in[1] + i), r = vec_load(in[2] + i);                            \
            (void)p, (void)q, (void)r;                                                                                \
            vec_store(out[0] + i, expression);                                                                        \
        }                                                                                                             \
    }

/* out[.][i] = table[region[i]](in[0][i], in[1][i], ...) for n <= BLOCK elements: gather, evaluate, scatter. */
static void evaluate_by_region(ptrdiff_t n, int inputs, const double *const *in, const double *region,
                               const region_fn *table, int outputs, double *const *out) {
    double gathered[MAX_INPUTS][BLOCK + VEC], computed[MAX_OUTPUTS][BLOCK + VEC];
    const double *columns[MAX_INPUTS];
    double *results[MAX_OUTPUTS];
    int start[MAX_REGIONS + 1] = {0}, next[MAX_REGIONS], order[BLOCK];
    for (ptrdiff_t i = 0; i < n; i++) start[(int)region[i] + 1]++;
    for (int r = 0; r < MAX_REGIONS; r++) next[r] = start[r], start[r + 1] += start[r];
    for (ptrdiff_t i = 0; i < n; i++) order[next[(int)region[i]]++] = (int)i;
    for (int c = 0; c < inputs; c++) columns[c] = gathered[c];
    for (int c = 0; c < MAX_OUTPUTS; c++) results[c] = computed[c];
    for (int r = 0; r < MAX_REGIONS; r++) {
        const int *members = order + start[r];
        ptrdiff_t count = start[r + 1] - start[r], padded = (count + VEC - 1) / VEC * VEC;
        if (count == 0) continue;
        for (int c = 0; c < inputs; c++) {
            for (ptrdiff_t i = 0; i < count; i++) gathered[c][i] = in[c][members[i]];
            for (ptrdiff_t i = count; i < padded; i++) gathered[c][i] = gathered[c][0];
        }
        table[r](padded, columns, results);
        for (int c = 0; c < outputs; c++)
            for (ptrdiff_t i = 0; i < count; i++) out[c][members[i]] = computed[c][i];
    }
}

static void region_invalid(ptrdiff_t n, const double *const *in, double *const *out) {
    (void)in;
    for (int c = 0; c < MAX_OUTPUTS; c++)
        for (ptrdiff_t i = 0; i < n; i++) out[c][i] = NAN;
}

/* -- gamma by region ---------------------------------------------------------------------------------------------- */

/* Thresholds, orders and step counts come from comparisons with 34-digit values over each region: no region is worse
   than 1e-13 (gamma) or 2e-13 (beta). */

#define FAR_LEFT 0.20189651799465538  /* e^-1.6, e^1.6: the range of the uniform expansion */
#define FAR_RIGHT 4.953032424395115

REGION3(gamma_region_0, a, x, lx, gamma_uniform(a, lx, 10))
REGION3(gamma_region_1, a, x, lx, gamma_uniform(a, lx, 8))
REGION3(gamma_region_2, a, x, lx, gamma_uniform(a, lx, 6))
REGION3(gamma_region_3, a, x, lx, gamma_uniform(a, lx, 4))
REGION3(gamma_region_4, a, x, lx, gamma_series(a, x, lx, 24))
REGION3(gamma_region_5, a, x, lx, gamma_fraction(a, x, lx, 12))
REGION3(gamma_region_6, a, x, lx, gamma_series(a, x, lx, 16))
REGION3(gamma_region_7, a, x, lx, gamma_series(a, x, lx, 32))
REGION3(gamma_region_8, a, x, lx, gamma_fraction(a, x, lx, 28))
REGION3(gamma_region_9, a, x, lx, gamma_fraction(a, x, lx, 20))
REGION3(gamma_region_10, a, x, lx, gamma_descent(a, x, lx, 12))
REGION3(gamma_region_11, a, x, lx, gamma_descent(a, x, lx, 8))
static const region_fn GAMMA_REGIONS[] = {
    gamma_region_0, gamma_region_1, gamma_region_2, gamma_region_3, gamma_region_4, gamma_region_5, gamma_region_6,
    gamma_region_7, gamma_region_8, gamma_region_9, gamma_region_10, gamma_region_11, region_invalid};

VM_INLINE double gamma_region(double a, double x, double lx) {
    double large = x < FAR_LEFT * a ? 4.0 : x > FAR_RIGHT * a ? 5.0
                 : a < 30.0 ? 0.0 : a < 100.0 ? 1.0 : a < 1000.0 ? 2.0 : 3.0;
    double low = x > a + 3.0 ? 8.0 : x < 4.05 ? 7.0 : 10.0;
    double high = x > a + 2.0 ? 9.0 : x < 4.05 ? 7.0 : a < 6.0 ? 10.0 : 11.0;
    double region = a >= 12.0 ? large : x < 0.5 ? 6.0 : a < 3.0 ? low : high;
    double invalid = (a > 0.0) & (a < INFINITY) & (x >= 0.0) & (x < INFINITY) & (lx == lx) ? 0.0 : 1.0;
    return invalid > 0.5 ? 12.0 : region;
}

/* w with B_shape = x w, rate 1; n <= BLOCK */
static void gamma_weight_block(ptrdiff_t n, const double *shape, const double *x, const double *log_x, double *out) {
    const double *in[] = {shape, x, log_x};
    double region[BLOCK];
    _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) region[i] = gamma_region(shape[i], x[i], log_x[i]);
    evaluate_by_region(n, 3, in, region, GAMMA_REGIONS, 1, &out);
}

/* -- beta by region ----------------------------------------------------------------------------------------------- */

#define REGION5(name, expression)                                                                                     \
    static void name(ptrdiff_t n, const double *const *in, double *const *out) {                                      \
        for (ptrdiff_t i = 0; i < n; i += VEC) {                                                                    \
            vec a = vec_load(in[0] + i), b = vec_load(in[1] + i), x = vec_load(in[2] + i), y = vec_load(in[3] + i);   \
            vec lx = vec_load(in[4] + i);                                                                             \
            (void)x, (void)y;                                                                                         \
            vec_store(out[0] + i, expression);                                                                        \
        }                                                                                                             \
    }
REGION5(beta_region_0, beta_uniform(a, b, lx, 10))
REGION5(beta_region_1, beta_uniform(a, b, lx, 8))
REGION5(beta_region_2, beta_uniform(a, b, lx, 6))
REGION5(beta_region_3, beta_uniform(a, b, lx, 4))
REGION5(beta_region_4, beta_series(a, b, x, lx, 24))
REGION5(beta_region_5, beta_fraction(a, b, x, y, lx, 16))
REGION5(beta_region_6, beta_series(a, b, x, lx, 16))
REGION5(beta_region_7, beta_series(a, b, x, lx, 36))
REGION5(beta_region_8, beta_fraction(a, b, x, y, lx, 24))
REGION5(beta_region_9, beta_mirror(a, b, y, lx, 16))
REGION5(beta_region_10, beta_mirror(a, b, y, lx, 56))
REGION5(beta_region_11, beta_descent(a, b, x, lx, 16))
REGION5(beta_region_12, beta_descent(a, b, x, lx, 12))
static const region_fn BETA_REGIONS[] = {
    beta_region_0, beta_region_1, beta_region_2, beta_region_3, beta_region_4, beta_region_5, beta_region_6,
    beta_region_7, beta_region_8, beta_region_9, beta_region_10, beta_region_11, beta_region_12, region_invalid};

VM_INLINE double beta_region(double a, double b, double x, double y, double lx) {
    double total = a + b, mean = total * x, top = a < 3.0 ? a + 16.0 : a + 12.0;
    double large = mean < FAR_LEFT * a ? 4.0 : mean > FAR_RIGHT * a ? 5.0
                 : a < 30.0 ? 0.0 : a < 100.0 ? 1.0 : a < 1000.0 ? 2.0 : 3.0;
    double ratio = mean / (a + 1.0); /* of the series, together with x */
    double left = (ratio < 0.08) & (x < 0.08) ? 6.0 : 7.0, descent = a < 3.0 ? 11.0 : 12.0;
    double mirror = y < 0.08 ? 9.0 : 10.0;
    double small = mean > a + 4.0 ? 8.0 : (top + b) * x < FAR_LEFT * top ? left
                 : (a < 3.0) & (b > 0.1) & (y < 0.5) & (mean > a) ? mirror : descent;
    double valid = (a > 0.0) & (b > 0.0) & (total < INFINITY) & (x >= 0.0) & (y >= 0.0) & (x <= 1.0) & (y <= 1.0)
                 & (lx == lx) ? 1.0 : 0.0;
    return valid < 0.5 ? 13.0 : a >= 12.0 ? large : small;
}

static void beta_one_weight(ptrdiff_t n, const double *a, const double *b, const double *x, const double *y,
                            const double *log_x, double *out) {
    const double *in[] = {a, b, x, y, log_x};
    double region[BLOCK];
    _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) region[i] = beta_region(a[i], b[i], x[i], y[i], log_x[i]);
    evaluate_by_region(n, 5, in, region, BETA_REGIONS, 1, &out);
}

/* w_a and w_b with B_a = x y w_a, B_b = -x y w_b; n <= BLOCK */
static void beta_weight_block(ptrdiff_t n, const double *a, const double *b, const double *x, const double *y,
                              const double *log_x, const double *log_y, double *out_a, double *out_b) {
    beta_one_weight(n, a, b, x, y, log_x, out_a);
    beta_one_weight(n, b, a, y, x, log_y, out_b);
}
