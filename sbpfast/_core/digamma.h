/* psi(x) and psi'(x) for x > 0: the asymptotic series from 12 on, twelve steps of the recurrence below. */
#pragma once
#include "lanes.h"

/* psi(z) - log z for z >= 12, absolute error 2e-17 */
#define DIGAMMA_TAIL(r, r2)                                                                                           \
    (-(0.5 * (r) + (r2) * (1.0 / 12 - (r2) * (1.0 / 120 - (r2) * (1.0 / 252 - (r2) * (1.0 / 240 - (r2) *              \
    (1.0 / 132 - (r2) * (691.0 / 32760 - (r2) * (1.0 / 12)))))))))

/* psi'(z) for z >= 12 */
#define TRIGAMMA_LARGE(r, r2)                                                                                         \
    ((r) + 0.5 * (r2) + (r) * (r2) * (1.0 / 6 - (r2) * (1.0 / 30 - (r2) * (1.0 / 42 - (r2) * (1.0 / 30 - (r2) *       \
    (5.0 / 66 - (r2) * (691.0 / 2730 - (r2) * (7.0 / 6))))))))

/* psi(z) - log z, z >= 12 */
VM_INLINE vec digamma_tail(vec z) {
    vec r = 1.0 / z, r2 = r * r;
    return DIGAMMA_TAIL(r, r2);
}

VM_INLINE vec digamma_large(vec z) { return vec_log(z) + digamma_tail(z); }

/* psi(x), x > 0, absolute error 4e-16 (1 + |psi|): relative accuracy is lost next to the zero at 1.4616 only */
VM_INLINE vec vec_digamma(vec x) {
    vec_mask small = x < 12.0;
    vec low = vec_choose(small, x, vec_all(1.0)), product = low, sum = vec_all(1.0);
    for (int k = 1; k < 12; k++) { /* sum / product = sum_k 1 / (x + k) with one division */
        vec z = low + (double)k;
        sum = sum * z + product;
        product = product * z;
    }
    vec large = vec_choose(small, x + 12.0, x);
    return digamma_large(large) - vec_choose(small, sum / product, vec_all(0.0));
}

/* psi'(x), x > 0, relative error 1e-15 */
VM_INLINE vec vec_trigamma(vec x) {
    vec_mask small = x < 12.0;
    vec low = vec_choose(small, x, vec_all(1.0)), sum = vec_all(0.0);
    for (int k = 11; k >= 0; k--) {
        vec r = 1.0 / (low + (double)k);
        sum += r * r;
    }
    vec r = 1.0 / vec_choose(small, x + 12.0, x), r2 = r * r;
    return TRIGAMMA_LARGE(r, r2) + vec_choose(small, sum, vec_all(0.0));
}
