/* One vector register of doubles as a value: GCC's and Clang's vector extension, the same source on every machine.
 *
 * `#pragma omp simd` vectorises a loop whose body is straight-line code.  The recurrences of weights.h have loops of
 * their own inside the body; written on `vec` they keep their state in registers.  A vec function is a pure function of
 * each lane: what stands in the other lanes never changes a bit of the result.
 */
#pragma once
#include <stddef.h>
#include "vmath.h"

#if defined(__AVX512F__)
enum { VEC = 8 };
#elif defined(__AVX__)
enum { VEC = 4 };
#else
enum { VEC = 2 };
#endif

typedef double vec __attribute__((vector_size(8 * VEC)));
typedef int64_t vec_mask __attribute__((vector_size(8 * VEC)));

VM_INLINE vec vec_load(const double *p) { vec v; memcpy(&v, p, sizeof v); return v; }
VM_INLINE void vec_store(double *p, vec v) { memcpy(p, &v, sizeof v); }
VM_INLINE vec vec_all(double c) { return c + (vec){0.0}; }

/* a where the mask is set, b elsewhere */
VM_INLINE vec vec_choose(vec_mask m, vec a, vec b) { return (vec)((m & (vec_mask)a) | (~m & (vec_mask)b)); }
VM_INLINE vec vec_min(vec a, vec b) { return vec_choose(a < b, a, b); }
VM_INLINE vec vec_max(vec a, vec b) { return vec_choose(a > b, a, b); }

/* What rounding took from the product p = a b, exactly (but for underflow). */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
VM_INLINE vec vec_product_error(vec a, vec b, vec p) {
    double x[VEC], y[VEC], lane[VEC];
    vec_store(x, a), vec_store(y, b), vec_store(lane, p);
    _Pragma("omp simd") for (int i = 0; i < VEC; i++) lane[i] = __builtin_fma(x[i], y[i], -lane[i]);
    return vec_load(lane);
}
#else
VM_INLINE vec vec_upper_half(vec a) { vec t = 134217729.0 * a; return t - (t - a); } /* 26 bits (Veltkamp) */
VM_INLINE vec vec_product_error(vec a, vec b, vec p) {
    vec a1 = vec_upper_half(a), a2 = a - a1, b1 = vec_upper_half(b), b2 = b - b1;
    return ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2; /* Dekker */
}
#endif

/* A function of vmath.h on every lane; the loop has a constant length and becomes straight vector code. */
#define VEC_MAP(name, function)                                                                                       \
    VM_INLINE vec name(vec v) {                                                                                       \
        double lane[VEC];                                                                                           \
        vec_store(lane, v);                                                                                           \
        _Pragma("omp simd") for (int i = 0; i < VEC; i++) lane[i] = function(lane[i]);                              \
        return vec_load(lane);                                                                                        \
    }
VEC_MAP(vec_exp, vm_exp)
VEC_MAP(vec_expm1, vm_expm1)
VEC_MAP(vec_log, vm_log)
VEC_MAP(vec_log1p, vm_log1p)
VEC_MAP(vec_sqrt, sqrt)
VEC_MAP(vec_mills, vm_mills)
