/* Row kernels of the restricted Boltzmann machine: everything between the matrix products, once for each real type.
 *
 * A row is one visible or hidden vector.  Its random numbers are rows of 64 words (threefry.h) numbered from the row's
 * own index, so a chain's draws depend on nothing but the key, the step and the chain.
 */
#pragma once
#include <stddef.h>
#include "threefry.h"
#include "vmath32.h"

/* One row of words holds 64 doubles or 128 floats. */
enum { DRAWS_f64 = 64, DRAWS_f32 = 128, WORDS = 64 };

static void row_words(threefry_key k, uint64_t stream, uint64_t block, uint64_t row, uint64_t *out) {
    #pragma omp simd
    for (int l = 0; l < ROW_COUNTERS; l++) {
        uint64_t p, q, r, s;
        threefry4x64(k, ROW_COUNTERS * row + l, block, stream, 0, &p, &q, &r, &s);
        out[l] = p;
        out[l + 16] = q;
        out[l + 32] = r;
        out[l + 48] = s;
    }
}

static void draw_uniforms_f32(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, float *out) {
    uint64_t words[WORDS];
    row_words(threefry_schedule(key), stream, block, row, words);
    #pragma omp simd
    for (int l = 0; l < WORDS; l++) {
        out[l] = vm32_uniform((uint32_t)words[l]);
        out[l + WORDS] = vm32_uniform((uint32_t)(words[l] >> 32));
    }
}

/* Box and Muller with 31 bits for the radius: |x| reaches 6.7. */
static void draw_normals_f32(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, float *out) {
    uint64_t words[WORDS];
    row_words(threefry_schedule(key), stream, block, row, words);
    #pragma omp simd
    for (int l = 0; l < WORDS; l++) {
        float s, c, radius = sqrtf(-2.0f * vm32_log(vm32_uniform_tail((uint32_t)words[l])));
        vm32_sincos2pi(vm32_uniform((uint32_t)(words[l] >> 32)), &s, &c);
        out[l] = radius * c;
        out[l + WORDS] = radius * s;
    }
}

static void draw_uniforms_f64(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) {
    row_uniform(key, stream, block, row, out);
}

static void draw_normals_f64(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) {
    row_normal(key, stream, block, row, out);
}

VM_INLINE double softplus_f64(double t) {
    double big;
    return (t > 0.0 ? t : 0.0) + vm_log1p_unit(vm_exp(-fabs(t)), &big);
}

VM_INLINE double sigmoid_f64(double t) {
    double e = vm_exp(-fabs(t)), big = 1.0 / (1.0 + e);
    return t > 0.0 ? big : e * big;
}

VM_INLINE double root_f64(double x) { return sqrt(x); }
VM_INLINE float root_f32(float x) { return sqrtf(x); }
VM_INLINE float softplus_f32(float t) { return vm32_softplus(t); }
VM_INLINE float sigmoid_f32(float t) { return vm32_sigmoid(t); }

#define REAL double
#define TYPED(name) name##_f64
#include "rbm_rows.h"
#undef REAL
#undef TYPED
#define REAL float
#define TYPED(name) name##_f32
#include "rbm_rows.h"
#undef REAL
#undef TYPED
