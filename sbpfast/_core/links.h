/* The functions phi(t; y) that ridge targets are made of: value, slope and curvature in t, together.
 *
 * Each is one branch-free scalar function; LINK_SWEEP makes a vectorised loop of it.  The order of the table in
 * link_at() is the order of LINKS in sbpfast/targets/_links.py.
 */
#pragma once
#include <stddef.h>
#include "vmath.h"

typedef struct { double v, s, c; } derivatives; /* value, slope, curvature */

/* log(1 + e^t) */
VM_INLINE derivatives link_softplus(double t, double y, const double *p) {
    (void)y, (void)p;
    double e = vm_exp(-fabs(t)), big, l = vm_log1p_unit(e, &big), small = e * big;
    derivatives d = {(t > 0.0 ? t : 0.0) + l, t > 0.0 ? big : small, big * small};
    return d;
}

/* y t - log(1 + e^t): the Bernoulli log likelihood at logit t, 0 <= y <= 1 */
VM_INLINE derivatives link_logistic(double t, double y, const double *p) {
    (void)p;
    double e = vm_exp(-fabs(t)), big, l = vm_log1p_unit(e, &big), small = e * big;
    double sign = t > 0.0 ? 1.0 : 0.0, miss = sign - y; /* miss t = max(t, 0) - y t without cancellation */
    derivatives d = {-(miss * t + l), -(miss + (t > 0.0 ? -small : small)), -big * small};
    return d;
}

/* log Phi(t) for y = 1, log Phi(-t) for y = 0 */
VM_INLINE derivatives link_probit(double t, double y, const double *p) {
    (void)p;
    double sign = 2.0 * y - 1.0, z = sign * t, a = fabs(z), h = (a - 4.0) / (a + 4.0), h2 = h * h;
    double mills = MILLS_AT(h, h2) / (1.0 + a), q = PROBIT_AT(h, h2), density = vm_exp(-0.5 * a * a) * 0.3989422804014327;
    /* left of 0 the Mills ratio is the whole answer; right of 0 Phi = 1 - density * mills */
    double tail = density * mills, ratio = density / (1.0 - tail);
    double left = vm_log(mills) - 0.5 * a * a - 0.9189385332046727, right = vm_log1p(-tail);
    double lambda = z < 0.0 ? 1.0 / mills : ratio;
    derivatives d = {z < 0.0 ? left : right, sign * lambda, z < 0.0 ? -q : -ratio * (a + ratio)};
    return d;
}

/* e^t */
VM_INLINE derivatives link_exp(double t, double y, const double *p) {
    (void)y, (void)p;
    double e = vm_exp(t);
    derivatives d = {e, e, e};
    return d;
}

/* y t - e^t: the Poisson log likelihood at log rate t, without its constant -log y! */
VM_INLINE derivatives link_poisson(double t, double y, const double *p) {
    (void)p;
    double e = vm_exp(t);
    derivatives d = {y * t - e, y - e, -e};
    return d;
}

/* (t - y)^2 */
VM_INLINE derivatives link_square(double t, double y, const double *p) {
    (void)p;
    double r = t - y;
    derivatives d = {r * r, 2.0 * r, 2.0};
    return d;
}

/* -(df + 1)/2 log(1 + u^2/df), u = (t - y)/scale: the Student-t log density without its constant; p = df, scale */
VM_INLINE derivatives link_student_t(double t, double y, const double *p) {
    double df = p[0], scale = p[1], u = (t - y) / scale, u2 = u * u, r = 1.0 / (df + u2);
    derivatives d = {-0.5 * (df + 1.0) * vm_log1p(u2 / df), -(df + 1.0) * u * r / scale,
                     -(df + 1.0) * (df - u2) * r * r / (scale * scale)};
    return d;
}

/* log cosh t */
VM_INLINE derivatives link_log_cosh(double t, double y, const double *p) {
    (void)y, (void)p;
    double a = fabs(t), e = vm_exp(-2.0 * a), m = -vm_expm1(-2.0 * a), r;
    double far = a + vm_log1p_unit(e, &r) - 0.6931471805599453;
    double near = 0.5 * vm_log1p(0.25 * m * m / (1.0 - m)); /* 1/2 log(1 + sinh^2 t) */
    double tanh = m * r;
    derivatives d = {a < 0.5 ? near : far, t < 0.0 ? -tanh : tanh, 4.0 * e * r * r};
    return d;
}

/* y u - (y + r) log(1 + e^u), u = t - log r: the negative binomial log likelihood at log mean t, without its constant;
 * the variance is mean + mean^2/r; p = r */
VM_INLINE derivatives link_negative_binomial(double t, double y, const double *p) {
    double u = t - vm_log(p[0]), n = y + p[0], e = vm_exp(-fabs(u)), big, l = vm_log1p_unit(e, &big), small = e * big;
    /* y u - n max(u, 0) without cancellation */
    derivatives d = {(u > 0.0 ? -p[0] : y) * u - n * l, u > 0.0 ? n * small - p[0] : y - n * small, -n * big * small};
    return d;
}

/* -t - y e^(-t): the gamma log likelihood at log mean t, over the shape and without its constant */
VM_INLINE derivatives link_gamma(double t, double y, const double *p) {
    (void)p;
    double e = y * vm_exp(-t);
    derivatives d = {-t - e, e - 1.0, -e};
    return d;
}

/* y log(1 - exp(-e^t)) - (1 - y) e^t: the Bernoulli log likelihood of probability 1 - exp(-e^t), 0 <= y <= 1 */
VM_INLINE derivatives link_cloglog(double t, double y, const double *p) {
    (void)p;
    double rate = vm_exp(t), w = fmax(fmin(rate, 800.0), 1e-300), e = vm_exp(-w), none = -vm_expm1(-w), w2 = w * w;
    double near = t + vm_log(none / w), far = vm_log1p(-e), slope = w / none * e, rest = y < 1.0 ? (1.0 - y) * rate : 0.0;
    /* 1 - w - w/(e^w - 1), which cancels for small w: the series of the Bernoulli numbers */
    double series = -0.5 * w - w2 * (1.0 / 12 - w2 * (1.0 / 720 - w2 * (1.0 / 30240 - w2 * (1.0 / 1209600
                    - w2 * (1.0 / 47900160 - w2 * (691.0 / 1307674368000 - w2 / 74724249600))))));
    double bend = w < 0.5 ? series : 1.0 - w - slope;
    derivatives d = {y * (w < 1.0 ? near : far) - rest, y * slope - rest, y * slope * bend - rest};
    return d;
}

#define LINK_SWEEP(name)                                                                                              \
    static void sweep_##name(ptrdiff_t n, const double *restrict t, double shift, const double *restrict y,           \
                             const double *p, double *restrict v, double *restrict s, double *restrict c) {           \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                                       \
            derivatives d = link_##name(t[i] + shift, y[i], p);                                                       \
            v[i] = d.v, s[i] = d.s, c[i] = d.c;                                                                       \
        }                                                                                                             \
    }
LINK_SWEEP(softplus)
LINK_SWEEP(logistic)
LINK_SWEEP(probit)
LINK_SWEEP(exp)
LINK_SWEEP(poisson)
LINK_SWEEP(square)
LINK_SWEEP(student_t)
LINK_SWEEP(log_cosh)
LINK_SWEEP(negative_binomial)
LINK_SWEEP(gamma)
LINK_SWEEP(cloglog)

/* Gaussian expectations in closed form: E phi, E phi', E phi'' under N(m, t^2). */
#define LINK_CLOSED(name)                                                                                             \
    static void closed_##name(ptrdiff_t n, const double *restrict m, const double *restrict t,                        \
                              const double *restrict y, const double *p, double *restrict v, double *restrict s,      \
                              double *restrict c) {                                                                   \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                                       \
            derivatives d = mean_##name(m[i], t[i], y[i], p);                                                         \
            v[i] = d.v, s[i] = d.s, c[i] = d.c;                                                                       \
        }                                                                                                             \
    }

VM_INLINE derivatives mean_exp(double m, double t, double y, const double *p) {
    return link_exp(m + 0.5 * t * t, y, p);
}
VM_INLINE derivatives mean_poisson(double m, double t, double y, const double *p) {
    (void)p;
    double e = vm_exp(m + 0.5 * t * t);
    derivatives d = {y * m - e, y - e, -e};
    return d;
}
VM_INLINE derivatives mean_square(double m, double t, double y, const double *p) {
    derivatives d = link_square(m, y, p);
    d.v += t * t;
    return d;
}
VM_INLINE derivatives mean_gamma(double m, double t, double y, const double *p) {
    (void)p;
    double e = y * vm_exp(0.5 * t * t - m);
    derivatives d = {-m - e, e - 1.0, -e};
    return d;
}
/* of the part - (1 - y) e^t */
VM_INLINE derivatives mean_cloglog(double m, double t, double y, const double *p) {
    (void)p;
    double e = y < 1.0 ? (y - 1.0) * vm_exp(m + 0.5 * t * t) : 0.0;
    derivatives d = {e, e, e};
    return d;
}
LINK_CLOSED(exp)
LINK_CLOSED(poisson)
LINK_CLOSED(square)
LINK_CLOSED(gamma)
LINK_CLOSED(cloglog)

/* The point of the real axis that the link's singularities lie above and below, where it is not 0. */
static double centre_student_t(double y, const double *p) { return (void)p, y; }
static double centre_negative_binomial(double y, const double *p) { return (void)y, log(p[0]); }
static double centre_probit(double y, const double *p) { return (void)p, y > 0.5 ? -1.9 : 1.9; }

typedef void (*link_sweep_fn)(ptrdiff_t, const double *, double, const double *, const double *, double *, double *, double *);
typedef void (*link_closed_fn)(ptrdiff_t, const double *, const double *, const double *, const double *, double *, double *, double *);

typedef struct {
    link_sweep_fn sweep;
    link_closed_fn closed;                       /* NULL: integrated numerically */
    double (*centre)(double y, const double *p); /* NULL: 0 */
    double softplus; /* its sign in the link, where the rest is linear; 0 in any other */
    int density;     /* that softens (t)_+ to the softplus: 0 the logistic, 1 the one of log(1 - exp(-e^t)) */
    int mixed;       /* y times the link at y = 1 is integrated numerically, and `closed` is of the rest */
} link_row;

static const link_row *link_at(int code) {
    static const link_row table[] = {
        {sweep_softplus, NULL, NULL, 1.0, 0, 0},
        {sweep_logistic, NULL, NULL, -1.0, 0, 0},
        {sweep_probit, NULL, centre_probit, 0.0, 0, 0},
        {sweep_exp, closed_exp, NULL, 0.0, 0, 0},
        {sweep_poisson, closed_poisson, NULL, 0.0, 0, 0},
        {sweep_square, closed_square, NULL, 0.0, 0, 0},
        {sweep_student_t, NULL, centre_student_t, 0.0, 0, 0},
        {sweep_log_cosh, NULL, NULL, 0.0, 0, 0},
        {sweep_negative_binomial, NULL, centre_negative_binomial, 0.0, 0, 0},
        {sweep_gamma, closed_gamma, NULL, 0.0, 0, 0},
        {sweep_cloglog, closed_cloglog, NULL, -1.0, 1, 1},
    };
    return table + code;
}

static link_sweep_fn link_sweep(int code) { return link_at(code)->sweep; }
