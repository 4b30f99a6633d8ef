/* Elementary functions without branches, so that every loop over them vectorises.
 *
 * Plain C on double: the compiler turns a loop into SSE2, AVX2, AVX-512 or NEON code from the same lines, and the
 * results on two machines differ only where one of them fuses a multiplication with an addition.  Each function is
 * held against mpmath by tests/core/test_elementary.py on every instruction set; the bound stands beside its name.
 *
 * Two tricks recur.  Adding 1.5 * 2^52 rounds a double to an integer and leaves that integer in the low bits.
 * A conditional that only selects between two values already computed becomes a blend.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "coefficients.h"

#define VM_INLINE static inline __attribute__((always_inline))
#define VM_ROUND 6755399441055744.0 /* 1.5 * 2^52 */
#define VM_LN2_HI 0x1.62e42fee00000p-1 /* 32 bits: k * VM_LN2_HI is exact for |k| < 2^20 */
#define VM_LN2_LO 0x1.a39ef35793c76p-33

VM_INLINE double vm_from_bits(uint64_t u) { double x; memcpy(&x, &u, sizeof x); return x; }
VM_INLINE uint64_t vm_bits(double x) { uint64_t u; memcpy(&u, &x, sizeof u); return u; }

/* 2^k for an integral double k, -1022 <= k <= 1023. */
VM_INLINE double vm_exp2i(double k) { return vm_from_bits((vm_bits(k + VM_ROUND) << 52) + 0x3ff0000000000000u); }

/* e^x, 1 ulp; subnormal results included, inf beyond 709.78, NaN passed on. */
VM_INLINE double vm_exp(double x) {
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    double k = (x * 1.4426950408889634 + VM_ROUND) - VM_ROUND;
    double r = (x - k * VM_LN2_HI) - k * VM_LN2_LO;
    double r2 = r * r, r4 = r2 * r2;
    double q = ((EXP_0 + EXP_1 * r) + r2 * (EXP_2 + EXP_3 * r))
             + r4 * (((EXP_4 + EXP_5 * r) + r2 * (EXP_6 + EXP_7 * r)) + r4 * ((EXP_8 + EXP_9 * r) + r2 * EXP_10));
    double p = 1.0 + (r + r2 * q);
    double half = (0.5 * k + VM_ROUND) - VM_ROUND;  /* two factors, so that 2^k itself may be out of range */
    return p * vm_exp2i(half) * vm_exp2i(k - half);
}

/* log x, 1 ulp; log 0 = -inf, NaN for x < 0, subnormal x included. */
VM_INLINE double vm_log(double x) {
    double tiny = x < 2.2250738585072014e-308 ? 54.0 : 0.0;
    double y = x < 2.2250738585072014e-308 ? x * 18014398509481984.0 : x;
    uint64_t u = vm_bits(y);
    /* the exponent as a double: paste its bits below the leading bit of 2^52 */
    double e = vm_from_bits((u >> 52) | 0x4330000000000000u) - (4503599627370496.0 + 1023.0) - tiny;
    double m = vm_from_bits((u & 0x000fffffffffffffu) | 0x3ff0000000000000u);
    double above = m > 1.4142135623730951 ? 1.0 : 0.0;
    m = above > 0.5 ? 0.5 * m : m;
    e += above;
    double f = m - 1.0, s = f / (2.0 + f), z = s * s, z2 = z * z;
    double r = z * ((LOG_0 + LOG_1 * z) + z2 * ((LOG_2 + LOG_3 * z) + z2 * ((LOG_4 + LOG_5 * z) + z2 * LOG_6)));
    double h = 0.5 * f * f;
    double v = e * VM_LN2_HI - ((h - (s * (h + r) + e * VM_LN2_LO)) - f);
    v = x == 0.0 ? -INFINITY : v;
    v = x < 0.0 ? NAN : v;
    return x <= 1.7976931348623157e308 ? v : x + x; /* inf and NaN */
}

/* log(1 + x), 2 ulp, x > -1. */
VM_INLINE double vm_log1p(double x) {
    double u = 1.0 + x, d = u - 1.0;
    double v = vm_log(u) + (x - d) / u;
    v = u == 1.0 ? x : v;
    v = u == 0.0 ? -INFINITY : v;
    return u <= 1.7976931348623157e308 ? v : u;
}

/* log(1 + e) and 1 / (1 + e) for 0 <= e <= 1 from one division, 1 ulp each. */
VM_INLINE double vm_log1p_unit(double e, double *reciprocal) {
    double a = 1.0 + e, b = 2.0 + e, q = 1.0 / (a * b);
    double s = e * (a * q), z = s * s, z2 = z * z, z4 = z2 * z2;
    *reciprocal = b * q;
    return s * (((LOG1P_0 + LOG1P_1 * z) + z2 * (LOG1P_2 + LOG1P_3 * z))
              + z4 * (((LOG1P_4 + LOG1P_5 * z) + z2 * (LOG1P_6 + LOG1P_7 * z))
                    + z4 * ((LOG1P_8 + LOG1P_9 * z) + z2 * (LOG1P_10 + LOG1P_11 * z))));
}

/* sin(2 pi u) and cos(2 pi u) for 0 <= u < 1, 1 ulp of the larger of the two. */
VM_INLINE void vm_sincos2pi(double u, double *sine, double *cosine) {
    double n = 4.0 * u + VM_ROUND;
    uint64_t quadrant = vm_bits(n);
    double r = u - 0.25 * (n - VM_ROUND), z = r * r, z2 = z * z, z4 = z2 * z2;
    double s = r * (((SIN2PI_0 + SIN2PI_1 * z) + z2 * (SIN2PI_2 + SIN2PI_3 * z))
                  + z4 * ((SIN2PI_4 + SIN2PI_5 * z) + z2 * (SIN2PI_6 + SIN2PI_7 * z)));
    double c = 1.0 + z * (COS2PI_1 + z * ((COS2PI_2 + COS2PI_3 * z) + z2 * ((COS2PI_4 + COS2PI_5 * z) + z2 * (COS2PI_6 + COS2PI_7 * z))));
    uint64_t odd = 0 - (quadrant & 1);
    uint64_t sb = vm_bits(s), cb = vm_bits(c), swap = (sb ^ cb) & odd;
    *sine = vm_from_bits((sb ^ swap) ^ ((quadrant & 2) << 62));
    *cosine = vm_from_bits((cb ^ swap) ^ (((quadrant + 1) & 2) << 62));
}

/* A 64-bit integer as a double, correctly rounded, on machines that have no such instruction. */
VM_INLINE double vm_from_uint64(uint64_t u) {
    double high = vm_from_bits((u >> 32) | 0x4530000000000000u);         /* 2^84 + high * 2^32 */
    double low = vm_from_bits((u & 0xffffffffu) | 0x4330000000000000u);  /* 2^52 + low */
    return (high - 0x1.00000001p84) + low;                                /* 2^84 + 2^52 */
}

/* Uniform on (0, 1): the top 52 bits, at the centres of their intervals. */
VM_INLINE double vm_uniform(uint64_t u) { return (vm_from_bits((u >> 12) | 0x3ff0000000000000u) - 1.0) + 0x1p-53; }

/* e^x - 1, 2 ulp. */
VM_INLINE double vm_expm1(double x) {
    x = x > 710.0 ? 710.0 : x;
    x = x < -40.0 ? -40.0 : x;
    double k = (x * 1.4426950408889634 + VM_ROUND) - VM_ROUND;
    double r = (x - k * VM_LN2_HI) - k * VM_LN2_LO;
    double r2 = r * r, r4 = r2 * r2;
    double q = ((EXP_0 + EXP_1 * r) + r2 * (EXP_2 + EXP_3 * r))
             + r4 * (((EXP_4 + EXP_5 * r) + r2 * (EXP_6 + EXP_7 * r)) + r4 * ((EXP_8 + EXP_9 * r) + r2 * EXP_10));
    double half = (0.5 * k + VM_ROUND) - VM_ROUND, a = vm_exp2i(half), b = vm_exp2i(k - half);
    return (r + r2 * q) * a * b + (a * b - 1.0); /* a b overflows only where e^x does */
}

/* The Mills ratio R(a) = Phi(-a) / phi(a), a >= 0, 4 ulp. */
VM_INLINE double vm_mills(double a) {
    double t = (a - 4.0) / (a + 4.0), t2 = t * t;
    return MILLS_AT(t, t2) / (1.0 + a);
}
