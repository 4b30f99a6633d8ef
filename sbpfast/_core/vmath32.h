/* Elementary functions on float, for loops of 16 lanes where double has 8: half the width, half the digits.
 *
 * The same tricks as vmath.h, with polynomials of their own (coefficients32.h); held by tests/core/test_rbm_kernels.py.
 */
#pragma once
#include "coefficients32.h"
#include "vmath.h"

#define VM32_ROUND 12582912.0f /* 1.5 * 2^23 */
#define VM32_LN2_HI 0.693359375f
#define VM32_LN2_LO -2.12194440e-4f

VM_INLINE float vm32_from_bits(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }
VM_INLINE uint32_t vm32_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }

/* e^x for x <= 0, 2 ulp; 1e-38 from -87.3 down. */
VM_INLINE float vm32_exp_negative(float x) {
    x = x < -87.3f ? -87.3f : x;
    float n = x * 1.44269504f + VM32_ROUND, k = n - VM32_ROUND;
    float r = (x - k * VM32_LN2_HI) - k * VM32_LN2_LO, r2 = r * r;
    float q = EXP32_0 + r * (EXP32_1 + r * (EXP32_2 + r * (EXP32_3 + r * EXP32_4)));
    float p = 1.0f + (r + r2 * q);
    return vm32_from_bits(vm32_bits(p) + (vm32_bits(n) << 23)); /* adds k to the exponent of p */
}

/* log(1 + e^t), 1e-7 relative. */
VM_INLINE float vm32_softplus(float t) {
    float e = vm32_exp_negative(-fabsf(t)), e2 = e * e, e4 = e2 * e2;
    float p = ((LOG1P32_0 + LOG1P32_1 * e) + e2 * (LOG1P32_2 + LOG1P32_3 * e))
            + e4 * (((LOG1P32_4 + LOG1P32_5 * e) + e2 * (LOG1P32_6 + LOG1P32_7 * e))
                    + e4 * (LOG1P32_8 + LOG1P32_9 * e));
    return (t > 0.0f ? t : 0.0f) + e * p;
}

/* 1 / (1 + e^-t) */
VM_INLINE float vm32_sigmoid(float t) {
    float e = vm32_exp_negative(-fabsf(t)), big = 1.0f / (1.0f + e);
    return t > 0.0f ? big : e * big;
}

/* log x for normal x > 0, 2 ulp. */
VM_INLINE float vm32_log(float x) {
    uint32_t u = vm32_bits(x);
    float e = (float)((int32_t)(u >> 23) - 127);
    float m = vm32_from_bits((u & 0x007fffffu) | 0x3f800000u);
    float above = m > 1.41421356f ? 1.0f : 0.0f;
    m = above > 0.5f ? 0.5f * m : m;
    e += above;
    float f = m - 1.0f, f2 = f * f, f4 = f2 * f2;
    float p = ((LOG32_0 + LOG32_1 * f) + f2 * (LOG32_2 + LOG32_3 * f))
            + f4 * (((LOG32_4 + LOG32_5 * f) + f2 * (LOG32_6 + LOG32_7 * f)) + f4 * LOG32_8);
    return e * VM32_LN2_HI + (f + (f2 * (f * p - 0.5f) + e * VM32_LN2_LO));
}

/* sin(2 pi u) and cos(2 pi u) for 0 <= u < 1 */
VM_INLINE void vm32_sincos2pi(float u, float *sine, float *cosine) {
    float n = 4.0f * u + VM32_ROUND;
    uint32_t quadrant = vm32_bits(n);
    float r = u - 0.25f * (n - VM32_ROUND), z = r * r;
    float s = r * (SIN2PI32_0 + z * (SIN2PI32_1 + z * (SIN2PI32_2 + z * SIN2PI32_3)));
    float c = COS2PI32_0 + z * (COS2PI32_1 + z * (COS2PI32_2 + z * (COS2PI32_3 + z * COS2PI32_4)));
    uint32_t odd = 0 - (quadrant & 1);
    uint32_t sb = vm32_bits(s), cb = vm32_bits(c), swap = (sb ^ cb) & odd;
    *sine = vm32_from_bits((sb ^ swap) ^ ((quadrant & 2) << 30));
    *cosine = vm32_from_bits((cb ^ swap) ^ (((quadrant + 1) & 2) << 30));
}

/* Uniform on (0, 1): the top 23 bits, at the centres of their intervals. */
VM_INLINE float vm32_uniform(uint32_t w) { return (vm32_from_bits((w >> 9) | 0x3f800000u) - 1.0f) + 0x1p-24f; }

/* Uniform on (0, 1] from 31 bits, with relative accuracy near 0, for the radius of Box and Muller. */
VM_INLINE float vm32_uniform_tail(uint32_t w) { return ((float)(int32_t)(w >> 1) + 0.5f) * 0x1p-31f; }
