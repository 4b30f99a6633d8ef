/* Threefry-4x64-20 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
 * a function from (counter, key), four 64-bit words each, to four random words, with additions, rotations and
 * exclusive-ors only, so that a loop over counters vectorises on every machine.
 */
#pragma once
#include "vmath.h"

typedef struct { uint64_t k0, k1, k2, k3, k4; } threefry_key;

VM_INLINE threefry_key threefry_schedule(const uint64_t *key) {
    threefry_key k = {key[0], key[1], key[2], key[3], 0x1bd11bdaa9fc1a22u ^ key[0] ^ key[1] ^ key[2] ^ key[3]};
    return k;
}

#define TF_MIX(a, b, r) a += b, b = (b << (r)) | (b >> (64 - (r))), b ^= a
#define TF_EVEN TF_MIX(a, b, 14), TF_MIX(c, d, 16), TF_MIX(a, d, 52), TF_MIX(c, b, 57), \
                TF_MIX(a, b, 23), TF_MIX(c, d, 40), TF_MIX(a, d, 5), TF_MIX(c, b, 37)
#define TF_ODD TF_MIX(a, b, 25), TF_MIX(c, d, 33), TF_MIX(a, d, 46), TF_MIX(c, b, 12), \
               TF_MIX(a, b, 58), TF_MIX(c, d, 22), TF_MIX(a, d, 32), TF_MIX(c, b, 32)
#define TF_INJECT(p, q, r, s, n) a += p, b += q, c += r, d += (s) + (n)

/* Scalars in and out, no arrays: that is what lets the compiler keep a whole vector of counters in registers. */
VM_INLINE void threefry4x64(threefry_key k, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                            uint64_t *w0, uint64_t *w1, uint64_t *w2, uint64_t *w3) {
    TF_INJECT(k.k0, k.k1, k.k2, k.k3, 0);
    TF_EVEN; TF_INJECT(k.k1, k.k2, k.k3, k.k4, 1);
    TF_ODD; TF_INJECT(k.k2, k.k3, k.k4, k.k0, 2);
    TF_EVEN; TF_INJECT(k.k3, k.k4, k.k0, k.k1, 3);
    TF_ODD; TF_INJECT(k.k4, k.k0, k.k1, k.k2, 4);
    TF_EVEN; TF_INJECT(k.k0, k.k1, k.k2, k.k3, 5);
    *w0 = a; *w1 = b; *w2 = c; *w3 = d;
}

/* A *row* is 64 numbers from 16 counters: lane l of the row comes from counter (16 row + l % 16, block, stream, 0),
 * word l / 16.  Rows are the smallest unit of every stream, so a prefix never depends on what follows it. */
enum { ROW = 64, ROW_COUNTERS = 16 };

VM_INLINE void row_uniform(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) {
    const threefry_key k = threefry_schedule(key);
    #pragma omp simd
    for (int l = 0; l < ROW_COUNTERS; l++) {
        uint64_t p, q, r, s;
        threefry4x64(k, ROW_COUNTERS * row + l, block, stream, 0, &p, &q, &r, &s);
        out[l] = vm_uniform(p);
        out[l + 16] = vm_uniform(q);
        out[l + 32] = vm_uniform(r);
        out[l + 48] = vm_uniform(s);
    }
}

/* Box & Muller (1958).  The radius comes from all 64 bits, (w + 1/2) / 2^64, so |x| reaches 9.49 and the tail
 * beyond it has probability 2e-21; the angle comes from 52 bits. */
VM_INLINE void box_muller(uint64_t radius_word, uint64_t angle_word, double *a, double *b) {
    double u = (vm_from_uint64(radius_word) + 0.5) * 0x1p-64, s, c;
    double radius = sqrt(-2.0 * vm_log(u));
    vm_sincos2pi(vm_uniform(angle_word), &s, &c);
    *a = radius * c;
    *b = radius * s;
}

VM_INLINE void row_normal(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out) {
    const threefry_key k = threefry_schedule(key);
    #pragma omp simd
    for (int l = 0; l < ROW_COUNTERS; l++) {
        uint64_t p, q, r, s;
        threefry4x64(k, ROW_COUNTERS * row + l, block, stream, 0, &p, &q, &r, &s);
        double a, b, c, d;
        box_muller(p, q, &a, &b);
        box_muller(r, s, &c, &d);
        out[l] = a;
        out[l + 16] = b;
        out[l + 32] = c;
        out[l + 48] = d;
    }
}
