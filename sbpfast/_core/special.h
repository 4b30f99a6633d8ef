/* The incomplete gamma and beta functions' derivatives in their shapes: minus density times weight.
 *
 * The densities go through their saddle-point form (Loader 2000): the exponent is a deviance, small near the mode, so
 * a = x = 1e4 keeps every digit.
 */
#pragma once
#include "weights.h"

/* log r - (r - 1), u = r - 1 given: near 0 by the odd series in s = u/(2 + u), where the difference would cancel */
VM_INLINE double log_excess(double r, double u) {
    double s = u / (2.0 + u), z = s * s, near = fabs(u) < 0.4 ? z : 0.0, sum = 0.0;
    for (int k = 12; k >= 1; k--) sum = near * (sum + 1.0 / (2 * k + 1));
    return fabs(u) < 0.4 ? 2.0 * s * sum - s * u : vm_log(r) - u;
}

/* log Gamma(a) - [(a - 1/2) log a - a + log(2 pi)/2], a > 0: Stirling's series from 12 on, twelve shifts below */
VM_INLINE double stirling_tail(double a) {
    double up = a < 12.0 ? a + 12.0 : a, low = a < 12.0 ? a : 1.0, product = 1.0;
    for (int k = 1; k < 12; k++) product *= low + k;
    double r = 1.0 / up, r2 = r * r;
    double tail = r * (1.0 / 12 - r2 * (1.0 / 360 - r2 * (1.0 / 1260 - r2 * (1.0 / 1680 - r2 * (1.0 / 1188
                - r2 * (691.0 / 360360))))));
    double shift = (up - 0.5) * vm_log(up) - 12.0 - vm_log(product) - (low + 0.5) * vm_log(low);
    return a < 12.0 ? tail + shift : tail;
}

/* shapes of the gamma below it are taken for it: the derivative has reached its limit, and quotients do not overflow */
#define LEAST_SHAPE 1e-290

/* x^a e^-x / Gamma(a); beyond 40 a and 1500 it has underflowed */
VM_INLINE double gamma_kernel(double a, double x) {
    double most = a > 37.5 ? 40.0 * a : 1500.0, near = x < most ? x : most;
    double deviance = a * log_excess(near / a, (near - a) / a);
    double kernel = vm_exp(deviance - stirling_tail(a)) * sqrt(a * 0.15915494309189535);
    return x < most ? kernel : 0.0;
}

/* a (log(x/p) - (x - p)/p), p = a/n, where the quotient x/p may overflow */
VM_INLINE double share_deviance(double a, double n, double p, double x, double d) {
    double far = (p > 1e-280) & (x < 1e280 * p) ? 0.0 : 1.0, safe = far > 0.5 ? 1.0 : p;
    double near_value = a * log_excess(x / safe, d / safe);
    double far_value = a * (vm_log(x) + vm_log(n) - vm_log(a)) - (n * x - a);
    return far > 0.5 ? far_value : near_value;
}

/* x^a y^b / B(a, b) */
VM_INLINE double beta_kernel(double a, double b, double x, double y) {
    double n = a + b, p = a / n, q = b / n, d = x < y ? x - p : q - y;
    double deviance = share_deviance(a, n, p, x, d) + share_deviance(b, n, q, y, -d);
    double excess = stirling_tail(n) - stirling_tail(a) - stirling_tail(b);
    return vm_exp(deviance + excess) * (sqrt(a * 0.15915494309189535) * sqrt(q));
}

/* In both functions the arrays have room for BLOCK elements, n <= BLOCK, and are padded to whole vectors, so that each
   element goes through the same instructions wherever it stands. */
VM_INLINE ptrdiff_t pad(ptrdiff_t n, double *x) {
    ptrdiff_t padded = (n + VEC - 1) / VEC * VEC;
    for (ptrdiff_t i = n; i < padded; i++) x[i] = x[0];
    return padded;
}
#define VECTORS(padded, body)                                                                                         \
    for (ptrdiff_t start = 0; start < padded; start += VEC) {                                                         \
        _Pragma("omp simd") for (ptrdiff_t i = start; i < start + VEC; i++) { body }                                  \
    }

/* d/da P(a, x), P the regularised lower incomplete gamma function */
static void gammainc_da_block(ptrdiff_t n, double *a, double *x, double *out) {
    double log_x[BLOCK], w[BLOCK];
    ptrdiff_t padded = pad(n, a);
    pad(n, x);
    VECTORS(padded, a[i] = (a[i] > 0.0) & (a[i] < LEAST_SHAPE) ? LEAST_SHAPE : a[i];)
    VECTORS(padded, log_x[i] = vm_log(x[i]);)
    gamma_weight_block(padded, a, x, log_x, w);
    VECTORS(padded,
        double inside = (x[i] > 0.0) & (x[i] < INFINITY) ? 1.0 : 0.0;
        double good = (a[i] > 0.0) & (a[i] < INFINITY) & (x[i] >= 0.0) ? 1.0 : 0.0;
        double kernel = gamma_kernel(a[i], x[i]);
        double value = kernel > 0.0 ? -w[i] * kernel : 0.0;
        out[i] = good < 0.5 ? NAN : inside > 0.5 ? value : 0.0;) /* P is 0 or 1 at the ends, whatever a is */
}

/* Where products of the shapes would leave the range of numbers, each of three limits is within 1e-15 of the truth:

     a + b < 1e-20      I = b/(a + b): its derivatives are homogeneous of degree -1, and both shapes are scaled up
     one is far less    the derivative in the lesser shape does not depend on it, that in the other is proportional to it
     b > 1e100 > 1e20 > a   I depends on b x alone, and b is scaled down (a > 1e100 has I = 0 unless x = 1)
 */
#define SMALL_SHAPES 1e-20
#define FAR_LESS 1e-25
#define GREAT_SHAPE 1e100

/* The derivative is `factor` times that at the shapes and the point that these become. */
static void tame_shapes(ptrdiff_t padded, double *shape, double *partner, double *factor) {
    VECTORS(padded,
        double total = shape[i] + partner[i];
        double up = (total > 0.0) & (total < SMALL_SHAPES) ? SMALL_SHAPES / total : 1.0;
        double p = up * shape[i];
        double q = up * partner[i];
        double least_p = FAR_LESS * (q < 1.0 ? q : 1.0);
        double least_q = FAR_LESS * (p < 1.0 ? p : 1.0);
        double lift = (q > 0.0) & (q < least_q) ? least_q : q;
        factor[i] = q < lift ? up * (q / lift) : up;
        shape[i] = (p > 0.0) & (p < least_p) ? least_p : p;
        partner[i] = lift;)
}

/* d/da (which = 0) or d/db (which = 1) of I_x(a, b), the regularised incomplete beta function */
static void betainc_block(ptrdiff_t n, int which, double *a, double *b, double *x, double *out) {
    double y[BLOCK], log_end[BLOCK], w[BLOCK], factor[BLOCK];
    double *end = which ? y : x, *other = which ? x : y, sign = which ? 1.0 : -1.0;
    ptrdiff_t padded = pad(n, a);
    pad(n, b), pad(n, x);
    tame_shapes(padded, which ? b : a, which ? a : b, factor);
    VECTORS(padded,
        double down = (b[i] > GREAT_SHAPE) & (a[i] < 1e20) ? GREAT_SHAPE / b[i] : 1.0;
        double near = x[i] / down;
        b[i] *= down;
        x[i] = down < 1.0 ? (near < 0.5 ? near : x[i] <= 1.0 ? 0.5 : x[i]) : x[i];
        factor[i] *= which ? down : 1.0;)
    VECTORS(padded, y[i] = 1.0 - x[i];)
    VECTORS(padded, log_end[i] = end[i] < 0.5 ? vm_log(end[i]) : vm_log1p(-other[i]);)
    if (which) beta_one_weight(padded, b, a, y, x, log_end, w);
    else beta_one_weight(padded, a, b, x, y, log_end, w);
    VECTORS(padded,
        double shapes = (a[i] > 0.0) & (b[i] > 0.0) & (a[i] + b[i] < INFINITY) ? 1.0 : 0.0;
        double good = (x[i] >= 0.0) & (x[i] <= 1.0) ? shapes : 0.0;
        double inside = (x[i] > 0.0) & (x[i] < 1.0) ? 1.0 : 0.0;
        double kernel = beta_kernel(a[i], b[i], x[i], y[i]);
        double value = kernel > 0.0 ? sign * w[i] * kernel * factor[i] : 0.0;
        out[i] = good < 0.5 ? NAN : inside > 0.5 ? value : 0.0;)
}
