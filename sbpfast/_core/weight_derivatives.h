/* Derivatives of the gamma and beta weights in x and in the shapes, for Hessians with respect to parameters.
 *
 * Every recipe of weights.h is differentiated term by term; the regions are the same, the step counts a little larger.
 * z is log x (gamma) or logit x (beta), so dx/dz = x, or x y.  Nothing is taken from the differential equation of w,
 * whose terms cancel to 1 part in a.
 */
#pragma once
#include "weights.h"

/* w and its derivatives with respect to z and to the two shapes */
typedef struct { vec w, z, a, b; } slopes;

/* -- the uniform expansion ---------------------------------------------------------------------------------------- */

/* omega(y, u, m) = sum_k u^k sum_j m^j W_kj(y) and its three derivatives */
typedef struct { vec v, y, u, m; } omega_slopes;

VM_INLINE omega_slopes omega_with_slopes(vec y, vec u, vec m) {
    vec t = y * (1.0 / OMEGA_RANGE), zero = vec_all(0.0);
    omega_slopes s = {zero, zero, zero, zero};
    for (int k = OMEGA_ORDER; k >= 0; k--) {
        omega_slopes row = {zero, zero, zero, zero}; /* the polynomial in m */
        for (int j = k; j >= 0; j--) {
            const double *c = OMEGA_TABLE[k * (k + 1) / 2 + j];
            vec p = vec_all(c[OMEGA_DEGREE]), dp = zero;
            for (int i = OMEGA_DEGREE - 1; i >= 0; i--) dp = dp * t + p, p = p * t + c[i];
            row.m = row.m * m + row.v, row.v = row.v * m + p, row.y = row.y * m + dp * (1.0 / OMEGA_RANGE);
        }
        s.u = s.u * u + s.v, s.v = s.v * u + row.v, s.y = s.y * u + row.y, s.m = s.m * u + row.m;
    }
    return s;
}

/* w = u omega, u = 1/a */
VM_INLINE slopes gamma_uniform_slopes(vec a, vec lx) {
    vec u = 1.0 / a;
    omega_slopes o = omega_with_slopes(lx - vec_log(a), u, vec_all(0.0));
    slopes s = {u * o.v, u * o.y, -u * u * (o.v + o.y + u * o.u), vec_all(0.0)};
    return s;
}

VM_INLINE slopes beta_uniform_slopes(vec a, vec b, vec y, vec lx) {
    vec u = 1.0 / a, v = 1.0 / (a + b), m = a * v;
    omega_slopes o = omega_with_slopes(lx + vec_log1p(b * u), u, m);
    slopes s = {u * o.v, u * y * o.y, -u * (u * o.v + b * u * v * o.y + u * u * o.u - b * v * v * o.m),
                u * v * (o.y - m * o.m)};
    return s;
}

/* -- the recurrences ---------------------------------------------------------------------------------------------- */

VM_INLINE vec trigamma_large(vec x) {
    vec r = 1.0 / x, r2 = r * r;
    return TRIGAMMA_LARGE(r, r2);
}

/* f = a w, given at shape a + steps */
VM_INLINE slopes gamma_descend_slopes(vec a, vec x, vec lx, slopes f, int steps) {
    vec g = digamma_large(a + (steps + 1.0)) - lx, ga = trigamma_large(a + (steps + 1.0));
    for (int k = steps; k > 0; k--) {
        vec r = 1.0 / (a + (double)k), q = x * r;
        g -= r, ga += r * r;
        f.a = q * (f.a - r * f.w) + ga, f.z = q * (f.z + f.w) - 1.0, f.w = q * f.w + g;
    }
    vec u = 1.0 / a, w = u * f.w;
    slopes s = {w, u * f.z, u * (f.a - w), vec_all(0.0)};
    return s;
}

VM_INLINE slopes gamma_descent_slopes(vec a, vec x, vec lx, int steps) {
    vec top = a + (double)steps;
    slopes s = gamma_uniform_slopes(top, lx);
    slopes f = {top * s.w, top * s.z, top * s.a + s.w, s.b};
    return gamma_descend_slopes(a, x, lx, f, steps);
}

VM_INLINE slopes gamma_series_slopes(vec a, vec x, vec lx, int steps) {
    vec top = a + (steps + 1.0);
    slopes f = {digamma_large(top) - lx, vec_all(-1.0), trigamma_large(top), vec_all(0.0)};
    return gamma_descend_slopes(a, x, lx, f, steps);
}

/* g = psi(a + steps) - psi(a + b + steps) - log x, s = w with its slopes at shape a + steps */
VM_INLINE slopes beta_descend_slopes(vec a, vec b, vec x, vec y, vec g, slopes s, int steps) {
    vec total = a + b, gb = -trigamma_large(total + (double)steps), ga = trigamma_large(a + (double)steps) + gb;
    for (int k = steps - 1; k >= 0; k--) {
        vec r = 1.0 / (a + (double)k), t = total + (double)k, d = 1.0 / t, f = t * x;
        g += d, ga -= d * d, gb -= d * d;
        vec w = (g + f * s.w) * r;
        s.a = (ga + x * s.w + f * s.a - w) * r;
        s.b = (gb + x * s.w + f * s.b) * r;
        s.z = (f * (y * s.w + s.z) - y) * r;
        s.w = w;
        g -= r, ga += r * r;
    }
    return s;
}

VM_INLINE slopes beta_descent_slopes(vec a, vec b, vec x, vec y, vec lx, int steps) {
    vec top = a + (double)steps;
    vec g = digamma_drop(top, b, vec_log1p(b / top)) - lx;
    return beta_descend_slopes(a, b, x, y, g, beta_uniform_slopes(top, b, y, lx), steps);
}

VM_INLINE slopes beta_series_slopes(vec a, vec b, vec x, vec y, vec lx, int steps) {
    vec top = a + (double)steps, u = 1.0 / top, gb = -trigamma_large(top + b), ga = trigamma_large(top) + gb;
    vec g = digamma_drop(top, b, vec_log1p(b * u)) - lx, w = (g + u) * u;
    slopes s = {w, -y * u, (ga - u * u - w) * u, gb * u};
    return beta_descend_slopes(a, b, x, y, g, s, steps);
}

VM_INLINE slopes beta_mirror_slopes(vec a, vec b, vec x, vec y, vec lx, int steps) {
    vec total = a + b, top = total + (double)steps, gb = vec_trigamma(top), ga = gb - vec_trigamma(a);
    vec g = vec_digamma(top) - vec_digamma(a) + lx;
    slopes f = {g, y, ga, gb}; /* b w */
    for (int k = steps; k > 0; k--) {
        vec s = total + (k - 1.0), d = 1.0 / s, r = 1.0 / (b + (double)k), q = y * r, p = q * s;
        g -= d, ga += d * d, gb += d * d;
        f.a = ga + p * f.a + q * f.w;
        f.b = gb + p * f.b + (q - p * r) * f.w;
        f.z = y + p * (f.z - x * f.w);
        f.w = g + p * f.w;
    }
    vec u = 1.0 / b, w = u * f.w;
    slopes s = {w, u * f.z, u * f.a, u * (f.b - w)};
    return s;
}

/* -- the continued fractions -------------------------------------------------------------------------------------- */

/* A number with its first derivatives in a, b, z and the second derivatives that contain a. */
typedef struct { vec v, a, b, z, aa, ab, az; } jet;

VM_INLINE jet jet_of(vec v, double a, double b, vec z) {
    vec zero = vec_all(0.0);
    jet j = {v, vec_all(a), vec_all(b), z, zero, zero, zero};
    return j;
}

VM_INLINE jet jet_sum(jet f, jet g) {
    jet j = {f.v + g.v, f.a + g.a, f.b + g.b, f.z + g.z, f.aa + g.aa, f.ab + g.ab, f.az + g.az};
    return j;
}

VM_INLINE jet jet_product(jet f, jet g) {
    jet j = {f.v * g.v, f.a * g.v + f.v * g.a, f.b * g.v + f.v * g.b, f.z * g.v + f.v * g.z,
             f.aa * g.v + 2.0 * f.a * g.a + f.v * g.aa,
             f.ab * g.v + f.a * g.b + f.b * g.a + f.v * g.ab,
             f.az * g.v + f.a * g.z + f.z * g.a + f.v * g.az};
    return j;
}

VM_INLINE jet jet_scaled(jet f, vec c) {
    jet j = {c * f.v, c * f.a, c * f.b, c * f.z, c * f.aa, c * f.ab, c * f.az};
    return j;
}

VM_INLINE jet jet_reciprocal(jet f) {
    vec r = 1.0 / f.v, r2 = r * r, r3 = 2.0 * r * r2;
    jet j = {r, -r2 * f.a, -r2 * f.b, -r2 * f.z, r3 * f.a * f.a - r2 * f.aa, r3 * f.a * f.b - r2 * f.ab,
             r3 * f.a * f.z - r2 * f.az};
    return j;
}

/* w = l c + dc/da with l = log x - psi(a) (+ psi(a + b)); la, lb, lz are its derivatives */
VM_INLINE slopes fraction_slopes(jet c, vec l, vec la, vec lb, vec lz) {
    slopes s = {l * c.v + c.a, lz * c.v + l * c.z + c.az, la * c.v + l * c.a + c.aa, lb * c.v + l * c.b + c.ab};
    return s;
}

VM_INLINE slopes gamma_fraction_slopes(vec a, vec x, vec lx, int steps) {
    vec scale = 1.0 / x, zero = vec_all(0.0), one = vec_all(1.0);
    jet p0 = jet_of(zero, 0, 0, zero), p1 = jet_of(one, 0, 0, zero), q0 = p1;
    jet beta = jet_scaled(jet_of(x - a + 1.0, -1, 0, x), scale), q1 = beta;
    for (int n = 1; n < steps; n++) {
        double k = n;
        jet alpha = jet_scaled(jet_of(k * (a - k), k, 0, zero), scale * scale);
        beta.v += 2.0 * scale;
        jet p2 = jet_sum(jet_product(beta, p1), jet_product(alpha, p0));
        jet q2 = jet_sum(jet_product(beta, q1), jet_product(alpha, q0));
        p0 = p1, p1 = p2, q0 = q1, q1 = q2;
    }
    jet c = jet_scaled(jet_product(p1, jet_reciprocal(q1)), scale);
    return fraction_slopes(c, lx - vec_digamma(a), -vec_trigamma(a), zero, one);
}

VM_INLINE slopes beta_fraction_slopes(vec a, vec b, vec x, vec y, vec lx, int steps) {
    vec total = a + b, scale = 1.0 / (total * x), zero = vec_all(0.0), one = vec_all(1.0), xy = x * y;
    jet jx = jet_of(x, 0, 0, xy), jy = jet_of(y, 0, 0, -xy), d = jet_reciprocal(jet_of(b + 1.0, 0, 1, zero));
    jet lead = jet_sum(jet_product(jet_of(total, 1, 1, zero), jx), jet_of(1.0 - a, -1, 0, zero));
    jet p0 = jet_of(zero, 0, 0, zero), p1 = jet_of(one, 0, 0, zero), q0 = p1;
    jet q1 = jet_scaled(jet_product(jet_product(jet_of(b, 0, 1, zero), d), lead), scale);
    for (int n = 1; n < steps; n++) {
        double k = n;
        jet f = jet_product(jy, d), down = jet_of(a - k, 1, 0, zero);
        d = jet_reciprocal(jet_of(b + (2.0 * k + 1.0), 0, 1, zero));
        jet c = jet_product(jet_of((b + (k - 1.0)) * k, 0, k, zero), jet_product(f, f));
        jet alpha = jet_product(jet_product(c, jet_of(total + (k - 1.0), 1, 1, zero)), down);
        jet far = jet_sum(lead, jet_of(k * (1.0 + x), 0, 0, k * xy));
        jet beta = jet_sum(jet_scaled(jet_product(down, f), vec_all(k)),
                           jet_product(jet_product(jet_of(b + k, 0, 1, zero), d), far));
        beta.v += k;
        alpha = jet_scaled(alpha, scale * scale), beta = jet_scaled(beta, scale);
        jet p2 = jet_sum(jet_product(beta, p1), jet_product(alpha, p0));
        jet q2 = jet_sum(jet_product(beta, q1), jet_product(alpha, q0));
        p0 = p1, p1 = p2, q0 = q1, q1 = q2;
    }
    jet c = jet_scaled(jet_product(p1, jet_reciprocal(q1)), scale);
    vec lb = vec_trigamma(total);
    return fraction_slopes(c, lx + vec_digamma(total) - vec_digamma(a), lb - vec_trigamma(a), lb, y);
}

/* -- by region ---------------------------------------------------------------------------------------------------- */

/* dB/dx and dw/dshape */
#define GAMMA_SLOPES(name, expression)                                                                                \
    static void name(ptrdiff_t n, const double *const *in, double *const *out) {                                      \
        for (ptrdiff_t i = 0; i < n; i += VEC) {                                                                      \
            vec a = vec_load(in[0] + i), x = vec_load(in[1] + i), lx = vec_load(in[2] + i);                           \
            (void)x;                                                                                                  \
            slopes s = expression;                                                                                    \
            vec_store(out[0] + i, s.w + s.z), vec_store(out[1] + i, s.a);                                             \
        }                                                                                                             \
    }
GAMMA_SLOPES(gamma_slopes_0, gamma_uniform_slopes(a, lx))
GAMMA_SLOPES(gamma_slopes_1, gamma_series_slopes(a, x, lx, 28))
GAMMA_SLOPES(gamma_slopes_2, gamma_series_slopes(a, x, lx, 40))
GAMMA_SLOPES(gamma_slopes_3, gamma_fraction_slopes(a, x, lx, 36))
GAMMA_SLOPES(gamma_slopes_4, gamma_descent_slopes(a, x, lx, 12))
GAMMA_SLOPES(gamma_slopes_5, gamma_descent_slopes(a, x, lx, 8))

/* the order of gamma_region */
static const region_fn GAMMA_SLOPE_REGIONS[] = {
    gamma_slopes_0, gamma_slopes_0, gamma_slopes_0, gamma_slopes_0, gamma_slopes_1, gamma_slopes_3, gamma_slopes_1,
    gamma_slopes_2, gamma_slopes_3, gamma_slopes_3, gamma_slopes_4, gamma_slopes_5, region_invalid};

static void gamma_weight_derivatives_block(ptrdiff_t n, const double *shape, const double *x, const double *log_x,
                                           double *out_x, double *out_shape) {
    const double *in[] = {shape, x, log_x};
    double *const out[] = {out_x, out_shape};
    double region[BLOCK];
    _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) region[i] = gamma_region(shape[i], x[i], log_x[i]);
    evaluate_by_region(n, 3, in, region, GAMMA_SLOPE_REGIONS, 2, out);
}

/* dB_a/dx, dw/da and dw/db */
#define BETA_SLOPES(name, expression)                                                                                 \
    static void name(ptrdiff_t n, const double *const *in, double *const *out) {                                      \
        for (ptrdiff_t i = 0; i < n; i += VEC) {                                                                      \
            vec a = vec_load(in[0] + i), b = vec_load(in[1] + i), x = vec_load(in[2] + i), y = vec_load(in[3] + i);   \
            vec lx = vec_load(in[4] + i);                                                                             \
            slopes s = expression;                                                                                    \
            vec_store(out[0] + i, (y - x) * s.w + s.z), vec_store(out[1] + i, s.a), vec_store(out[2] + i, s.b);       \
        }                                                                                                             \
    }
BETA_SLOPES(beta_slopes_0, beta_uniform_slopes(a, b, y, lx))
BETA_SLOPES(beta_slopes_1, beta_series_slopes(a, b, x, y, lx, 28))
BETA_SLOPES(beta_slopes_2, beta_series_slopes(a, b, x, y, lx, 44))
BETA_SLOPES(beta_slopes_3, beta_fraction_slopes(a, b, x, y, lx, 36))
BETA_SLOPES(beta_slopes_4, beta_mirror_slopes(a, b, x, y, lx, 64))
BETA_SLOPES(beta_slopes_5, beta_descent_slopes(a, b, x, y, lx, 16))

/* the order of beta_region */
static const region_fn BETA_SLOPE_REGIONS[] = {
    beta_slopes_0, beta_slopes_0, beta_slopes_0, beta_slopes_0, beta_slopes_1, beta_slopes_3, beta_slopes_1,
    beta_slopes_2, beta_slopes_3, beta_slopes_4, beta_slopes_4, beta_slopes_5, beta_slopes_5, region_invalid};

static void beta_weight_derivatives_block(ptrdiff_t n, const double *a, const double *b, const double *x,
                                          const double *y, const double *log_x, double *out_x, double *out_a,
                                          double *out_b) {
    const double *in[] = {a, b, x, y, log_x};
    double *const out[] = {out_x, out_a, out_b};
    double region[BLOCK];
    _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) region[i] = beta_region(a[i], b[i], x[i], y[i], log_x[i]);
    evaluate_by_region(n, 5, in, region, BETA_SLOPE_REGIONS, 3, out);
}
