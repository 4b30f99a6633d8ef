/* Transport weights of the one-dimensional families that are neither gamma nor beta. */
#pragma once
#include "univariate_coefficients.h"
#include "weights.h"

/* -- Student t: B_df = (t/4) (2/df - w), w the beta weight at a = df/2, b = 1/2, X = df/(df + t^2) ----------------- */

typedef struct { vec x, y, log_x; } student_point;

/* X, 1 - X and log X; t^2 may overflow */
VM_INLINE student_point student_at(vec df, vec t) {
    vec r = t / vec_sqrt(df), size = vec_max(r, -r);
    vec_mask far = size > 1e8;
    vec square = vec_choose(far, vec_all(1.0), size * size), x = 1.0 / (1.0 + square);
    vec far_x = 1.0 / size, log_size = vec_log(vec_max(size, vec_all(1.0)));
    student_point p = {vec_choose(far, far_x * far_x, x), vec_choose(far, vec_all(1.0), square * x),
                       vec_choose(far, -2.0 * log_size, -vec_log1p(square))};
    return p;
}

VM_INLINE vec student_uniform(vec df, vec t, int order) {
    vec a = 0.5 * df, t2 = t * t;
    /* log(X (a + 1/2) / a), without cancellation where df is large */
    vec y = vec_log1p((1.0 - t2) / (df + t2));
    return 0.25 * t / a * omega_beta_gap(y, 1.0 / a, a / (a + 0.5), order);
}

/* The gap v = 1 - a w obeys  v(a) = 1 - r + log x - D + r v(a + 1),  r = (a + 1/2) x / (a + 1) < 1 and
   D = psi(a + 1) - psi(a + 1/2): a contraction on the way down, in which nothing large cancels. */
VM_INLINE vec student_descent(vec df, vec t, int steps) {
    student_point p = student_at(df, t);
    vec a = 0.5 * df, top = a + (double)steps, u = 1.0 / top, ratio = vec_log1p(0.5 * u);
    vec gap = omega_beta_gap(p.log_x + ratio, u, top / (top + 0.5), 10), bend = p.y + p.log_x;
    vec drop = (u - ratio) + (digamma_tail(top) - digamma_tail(top + 0.5));
    for (int k = steps - 1; k >= 0; k--) {
        vec s = a + (k + 0.5), q = 1.0 / (s * (s + 0.5)), r = s * q * p.x;
        drop += 0.5 * q;
        gap = (bend + (0.5 * r - drop)) + s * r * gap;
    }
    return 0.25 * t / a * gap;
}

VM_INLINE vec student_series(vec df, vec t, int steps) {
    student_point p = student_at(df, t);
    vec a = 0.5 * df, w = beta_series(a, vec_all(0.5), p.x, p.log_x, steps);
    return 0.25 * t / a * (1.0 - a * w);
}

#define REGION2(name, p, q, expression)                                                                               \
    static void name(ptrdiff_t n, const double *const *in, double *const *out) {                                      \
        for (ptrdiff_t i = 0; i < n; i += VEC) {                                                                    \
            vec p = vec_load(in[0] + i), q = vec_load(in[1] + i);                                                     \
            vec_store(out[0] + i, expression);                                                                        \
        }                                                                                                             \
    }
REGION2(student_region_0, df, t, student_uniform(df, t, 10))
REGION2(student_region_1, df, t, student_uniform(df, t, 6))
REGION2(student_region_2, df, t, student_series(df, t, 24))
REGION2(student_region_3, df, t, student_series(df, t, 36))
REGION2(student_region_4, df, t, student_descent(df, t, 12))
static const region_fn STUDENT_REGIONS[] = {student_region_0, student_region_1, student_region_2, student_region_3,
                                            student_region_4, region_invalid};

VM_INLINE double student_region(double df, double t) {
    double a = 0.5 * df, shift = a < 30.0 ? 12.0 : 0.0, top = a + shift, r = t / sqrt(df), x = 1.0 / (1.0 + r * r);
    double far = (top + 0.5) * x < FAR_LEFT * top ? 1.0 : 0.0;
    double region = a < 30.0 ? (far > 0.5 ? 3.0 : 4.0) : far > 0.5 ? 2.0 : a < 200.0 ? 0.0 : 1.0;
    double valid = (df > 0.0) & (df < INFINITY) & (fabs(t) < INFINITY) ? 1.0 : 0.0;
    return valid > 0.5 ? region : 5.0;
}

static void student_t_weight_block(ptrdiff_t n, const double *df, const double *t, double *out) {
    const double *in[] = {df, t};
    double region[BLOCK];
    _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) region[i] = student_region(df[i], t[i]);
    evaluate_by_region(n, 2, in, region, STUDENT_REGIONS, 1, &out);
}

/* -- von Mises ---------------------------------------------------------------------------------------------------- */

VM_INLINE void vec_sincos(vec angle, vec *sine, vec *cosine) { /* 0 <= angle <= pi */
    double a[VEC], s[VEC], c[VEC];
    vec_store(a, angle * 0.15915494309189535);
    _Pragma("omp simd") for (int i = 0; i < VEC; i++) vm_sincos2pi(a[i], s + i, c + i);
    *sine = vec_load(s), *cosine = vec_load(c);
}

/* I1/I0, absolute error 2e-16 */
VM_INLINE vec bessel_ratio(vec kappa) {
    vec near = vec_min(kappa, vec_all(30.0)), ratio = vec_all(0.0);
    for (int n = 64; n > 0; n--) ratio = near / (2.0 * n + near * ratio);
    return vec_choose(kappa < 30.0, ratio, BESSEL_RATIO(1.0 / kappa));
}

/* kappa cos^2(x/2) >= 30 */
VM_INLINE vec vonmises_far(vec kappa, vec x) {
    vec sine, cosine, size = vec_max(x, -x);
    vec_sincos(0.5 * size, &sine, &cosine);
    vec tau = sine / cosine, r = 1.0 / kappa;
    return vec_choose(x < 0.0, tau, -tau) * r * VONMISES_SUM(tau * tau, r);
}

/* The integral of e^(kappa (cos t - cos x)) (cos t - A1) from 0 to |x| where cos x > A1, from |x| to pi otherwise: one
   sign, and an exponent between -60 and 1.  Distances h, v are taken from that end, sign = +1 or -1. */
VM_INLINE vec vonmises_integral(vec kappa, vec x) {
    vec size = vec_max(x, -x), ratio = bessel_ratio(kappa), sine, cosine, sum = vec_all(0.0);
    vec_sincos(size, &sine, &cosine);
    vec_mask left = cosine > ratio;
    vec h = vec_choose(left, size, (M_PI - size) + 1.2246467991473532e-16); /* the second part of pi */
    vec sign = vec_choose(left, vec_all(1.0), vec_all(-1.0));
    vec_sincos(0.5 * h, &sine, &cosine);
    vec end = sine * sine, rate = 2.0 * kappa * sign, offset = sign * ratio;
    for (int k = 0; k < NODES; k++) {
        vec_sincos(0.5 * NODE[k] * h, &sine, &cosine);
        vec square = sine * sine;
        sum += NODE_WEIGHT[k] * vec_exp(rate * (end - square)) * (1.0 - 2.0 * square - offset);
    }
    return vec_choose(x < 0.0, h * sum, -h * sum);
}

REGION2(vonmises_region_0, kappa, x, vonmises_far(kappa, x))
REGION2(vonmises_region_1, kappa, x, vonmises_integral(kappa, x))
static const region_fn VONMISES_REGIONS[] = {vonmises_region_0, vonmises_region_1, region_invalid};

static void von_mises_weight_block(ptrdiff_t n, const double *kappa, const double *x, double *out) {
    const double *in[] = {kappa, x};
    double region[BLOCK];
    for (ptrdiff_t i = 0; i < n; i++) {
        double c = cos(0.5 * x[i]);
        int valid = (kappa[i] >= 0.0) & (kappa[i] < INFINITY) & (fabs(x[i]) <= M_PI);
        region[i] = !valid ? 2.0 : kappa[i] * c * c >= 30.0 ? 0.0 : 1.0;
    }
    evaluate_by_region(n, 2, in, region, VONMISES_REGIONS, 1, &out);
}

/* Lanes i ... i + VEC - 1 of an array of n, the first of them repeated beyond its end; and the way back. */
VM_INLINE void lanes_in(const double *x, ptrdiff_t n, ptrdiff_t i, double *lane) {
    for (ptrdiff_t l = 0; l < VEC; l++) lane[l] = x[i + l < n ? i + l : i];
}

VM_INLINE void lanes_out(const double *lane, ptrdiff_t n, ptrdiff_t i, double *x) {
    for (ptrdiff_t l = 0; l < VEC && i + l < n; l++) x[i + l] = lane[l];
}

/* -- inverse Gaussian --------------------------------------------------------------------------------------------- */

/* B_mean = (2/mean^2) sqrt(c x^3) R(q), q = sqrt(c/x) (x/mean + 1), R the Mills ratio;
   B_c = (x/c) [(mean - x)/(mean + x) + 2x/(mean + x) (1 - q R(q))] */
VM_INLINE void inverse_gaussian(double m, double c, double x, double *by_mean, double *by_concentration) {
    double root = sqrt(c / x), q = root * (x / m + 1.0), t = (q - 4.0) / (q + 4.0), t2 = t * t;
    double mills = MILLS_AT(t, t2) / (1.0 + q), defect = PROBIT_AT(t, t2) * mills * mills; /* 1 - q R(q) */
    double valid = (m > 0.0) & (m < INFINITY) & (c > 0.0) & (x > 0.0) & (q < INFINITY) ? 1.0 : NAN;
    *by_mean = valid * (2.0 * (x / m) * root * mills * (x / m)); /* its factors in an order that does not overflow */
    *by_concentration = valid * (x / c * (((m - x) + 2.0 * x * defect) / (m + x)));
}

static void inverse_gaussian_weight_block(ptrdiff_t n, const double *mean, const double *concentration, const double *x,
                                          double *out_mean, double *out_concentration) {
    for (ptrdiff_t i = 0; i < n; i += VEC) {
        double m[VEC], c[VEC], v[VEC], first[VEC], second[VEC];
        lanes_in(mean, n, i, m), lanes_in(concentration, n, i, c), lanes_in(x, n, i, v);
        _Pragma("omp simd") for (int l = 0; l < VEC; l++) inverse_gaussian(m[l], c[l], v[l], first + l, second + l);
        lanes_out(first, n, i, out_mean), lanes_out(second, n, i, out_concentration);
    }
}

/* -- truncated normal --------------------------------------------------------------------------------------------- */

typedef struct { vec loc, scale, low, high; } truncated_weights;

/* B_low = (1 - F) phi(low)/phi(z), B_high = F phi(high)/phi(z), and, from the nearer end, with the moments E z, E z^2,
     B_loc = int_low^z e^((z^2 - t^2)/2) (E z - t) dt  or  int_z^high e^((z^2 - t^2)/2) (t - E z) dt, B_scale with t^2.
   One Gauss-Legendre panel gives the moments, a second one the integrals; each integrand is cut where it falls below
   e^-40.  Reflected so that low + high >= 0; the distances above = z - low and below = high - z come from the caller. */
VM_INLINE truncated_weights truncated_normal(vec z, vec low, vec high, vec above, vec below) {
    vec zero = vec_all(0.0), infinity = vec_all(INFINITY);
    vec_mask flip = ((low == -infinity) & (high < infinity)) | ((low > -infinity) & (low + high < 0.0));
    vec from = vec_choose(flip, -high, low), to = vec_choose(flip, -low, high), at = vec_choose(flip, -z, z);
    vec s = vec_choose(flip, below, above), rest = vec_choose(flip, above, below);
    /* moments about the peak of the density, over [start, start + width], and z's own distance from that peak */
    vec start = vec_max(from, vec_all(-9.0)), peak = vec_max(start, zero), lead = peak - start;
    vec lift = 0.5 * lead * lead, offset = vec_choose(start < 0.0, at, s);
    vec whole = vec_choose(from < -9.0, to + 9.0, s + rest);
    vec width = vec_min(80.0 / (vec_sqrt(peak * peak + 80.0) + peak) + lead, whole);
    vec mass = zero, mean = zero, square = zero;
    for (int k = 0; k < NODES; k++) {
        vec v = NODE[k] * width, t = v - lead, e = NODE_WEIGHT[k] * vec_exp(-v * (start + 0.5 * v) - lift);
        mass += e, mean += e * t, square += e * t * (2.0 * peak + t);
    }
    mean /= mass, square /= mass, mass *= width; /* E z - peak, E z^2 - peak^2 */
    /* the nearer side of z */
    vec_mask left = offset < mean;
    vec sign = vec_choose(left, vec_all(1.0), vec_all(-1.0)), toward = sign * at;
    vec reach = vec_sqrt(at * at + 80.0), cut = vec_choose(toward < 0.0, 80.0 / (reach - toward), reach + toward);
    vec span = vec_min(cut, vec_choose(left, s, rest));
    vec gap = sign * (mean - offset), gap2 = sign * (square - offset * (2.0 * peak + offset));
    vec flux = zero, loc = zero, scale = zero;
    for (int k = 0; k < NODES; k++) {
        vec r = NODE[k] * span, e = NODE_WEIGHT[k] * vec_exp(r * (toward - 0.5 * r));
        flux += e, loc += e * (gap + r), scale += e * (gap2 + sign * r * (2.0 * toward - r));
    }
    flux *= span, loc *= span, scale *= span;
    /* the probability on that side, and the two ends */
    vec fall = vec_choose(from > 0.0, 0.5 * s * (at + from), 0.5 * at * at); /* (z^2 - peak^2) / 2 */
    vec part = flux * vec_exp(-fall) / mass, other = 1.0 - part;
    vec rise = 0.5 * s * (at + from), drop = -0.5 * rest * (at + to); /* (z^2 - from^2)/2, (z^2 - to^2)/2 */
    rise = vec_choose(from == -infinity, -infinity, rise), drop = vec_choose(to == infinity, -infinity, drop);
    vec at_from = vec_choose(left, other * vec_exp(rise), flux * vec_exp(rise - fall) / mass);
    vec at_to = vec_choose(left, flux * vec_exp(drop - fall) / mass, other * vec_exp(drop));
    vec_mask valid = (low < high) & (above >= 0.0) & (below >= 0.0) & (z == z);
    vec bad = vec_all(NAN);
    truncated_weights w = {vec_choose(valid, loc, bad), vec_choose(valid, vec_choose(flip, -scale, scale), bad),
                           vec_choose(valid, vec_choose(flip, at_to, at_from), bad),
                           vec_choose(valid, vec_choose(flip, at_from, at_to), bad)};
    return w;
}

static void truncated_normal_weight_block(ptrdiff_t n, const double *z, const double *low, const double *high,
                                          const double *above, const double *below, double *out_loc, double *out_scale,
                                          double *out_low, double *out_high) {
    const double *in[] = {z, low, high, above, below};
    double *const out[] = {out_loc, out_scale, out_low, out_high};
    for (ptrdiff_t i = 0; i < n; i += VEC) {
        double lane[5][VEC], result[4][VEC];
        for (int c = 0; c < 5; c++) lanes_in(in[c], n, i, lane[c]);
        truncated_weights w = truncated_normal(vec_load(lane[0]), vec_load(lane[1]), vec_load(lane[2]),
                                               vec_load(lane[3]), vec_load(lane[4]));
        vec_store(result[0], w.loc), vec_store(result[1], w.scale);
        vec_store(result[2], w.low), vec_store(result[3], w.high);
        for (int c = 0; c < 4; c++) lanes_out(result[c], n, i, out[c]);
    }
}

/* -- continuous Bernoulli ----------------------------------------------------------------------------------------- */

/* (e^-u - 1 + u) / u^2 for |u| <= 1, by its series */
VM_INLINE double exponential_remainder(double u) {
    double s = 1.0 / 19;
    for (int k = 18; k >= 3; k--) s = (1.0 - u * s) / k;
    return 0.5 * (1.0 - u * s);
}

/* B_eta = [expm1(-eta x)/expm1(-eta) - x]/eta; reflected to x <= 1/2, where both forms below keep every digit */
VM_INLINE double continuous_bernoulli(double eta, double x) {
    double v = x > 0.5 ? 1.0 - x : x, e = x > 0.5 ? -eta : eta;
    double close = fabs(e) < 1.0 ? e : 1.0;
    double whole = exponential_remainder(close), part = exponential_remainder(close * v);
    double near = v * (whole - v * part) / (1.0 - close * whole); /* (1 - e^-u)/u = 1 - u whole */
    double apart = fabs(e) < 1.0 ? 1.0 : e, top = vm_expm1(-fabs(apart)), inner = vm_expm1(-fabs(apart) * v);
    /* eta < 0: e^eta (e^(-eta v) - 1) / (1 - e^eta), every exponent negative */
    double below = vm_exp(apart < 0.0 ? apart * (1.0 - v) : 0.0) * inner / top;
    double far = ((apart < 0.0 ? below : inner / top) - v) / apart;
    double valid = (x >= 0.0) & (x <= 1.0) & (fabs(eta) < INFINITY) ? 1.0 : NAN;
    return valid * (fabs(e) < 1.0 ? near : far);
}

static void continuous_bernoulli_weight_block(ptrdiff_t n, const double *eta, const double *x, double *out) {
    for (ptrdiff_t i = 0; i < n; i += VEC) {
        double e[VEC], v[VEC], b[VEC];
        lanes_in(eta, n, i, e), lanes_in(x, n, i, v);
        _Pragma("omp simd") for (int l = 0; l < VEC; l++) b[l] = continuous_bernoulli(e[l], v[l]);
        lanes_out(b, n, i, out);
    }
}
