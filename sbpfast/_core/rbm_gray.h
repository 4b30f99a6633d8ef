/* The sum over all hidden states of a Gaussian-Bernoulli RBM, sum_h exp(e(h)),
 *
 *     e(h) = sum_j bias_j h_j + sum_{j<k} h_j h_k coupling_jk
 *
 * with bias = beta + diag(G)/2 and coupling the off-diagonal part of G.
 *
 * The H units are split into four runs:   lanes | block | walk | piece
 *   lanes (up to 4)  all their states side by side, one in each of 16 vector lanes, so a vector holds 16 walks;
 *   block (up to 6)  64 states of every lane, built by doubling: switching bit l on adds field_l + (its coupling to
 *                    the bits already on), two additions a state and no drift;
 *   walk             a Gray code: each step flips one bit, whose field moves everything else, O(H) for 1024 states;
 *                    recomputed from its state every 64 steps, so that rounding cannot build up;
 *   piece (up to 6)  fixed in a walk: the unit of work of a thread, 64 at most whatever the number of threads.
 * A walk can be taken in stretches that start where it is recomputed: its sums go on from one to the next.
 * The exponentials of a block are taken relative to the largest exponent seen so far (streaming log-sum-exp).
 */
#pragma once
#include <stddef.h>
#include <string.h>
#include "vmath.h"

enum { GRAY_MAX = 32, GRAY_LANES = 16, GRAY_LANE_BITS = 4, GRAY_BLOCK_BITS = 6, GRAY_BLOCK = 64, GRAY_PIECE_BITS = 6,
       GRAY_RESYNC = 64 };

typedef struct {
    int units, lane_bits, block_bits, walk_bits, piece_bits;
    double bias[GRAY_MAX], coupling[GRAY_MAX][GRAY_MAX];
    double lane_exponent[GRAY_LANES];         /* exponent of the lane bits alone; -inf in unused lanes */
    double lane_field[GRAY_MAX][GRAY_LANES];  /* what the lane bits add to the field of a unit */
    double block_field[GRAY_BLOCK];           /* [2^l + g]: coupling of block bit l to the block bits on in g < 2^l */
} gray_model;

/* What one piece finds, all sums relative to exp(largest).  Doubles only: rbm.pxi reads it as a row of an array. */
typedef struct {
    double largest;
    double weight[GRAY_LANES];                       /* over everything but the lane */
    double joint[GRAY_BLOCK][GRAY_LANES];            /* marginal of (block, lane) */
    double walk_lane[GRAY_MAX][GRAY_LANES];          /* weight with walk bit u on, by lane */
    double walk_block[GRAY_MAX][GRAY_BLOCK_BITS];    /* weight with walk bit u and block bit l on */
    double walk_walk[GRAY_MAX][GRAY_MAX];            /* u' <= u both on */
} gray_sums;

/* Fields and exponents of the walk's present state. */
typedef struct {
    double lane[GRAY_LANES];              /* exponent with all block bits off */
    double block[GRAY_BLOCK_BITS];        /* field of a block bit, without lanes */
    double walk[GRAY_MAX];                /* field of a walk bit, without lanes and without itself */
} gray_state;

static int gray_least(int a, int b) { return a < b ? a : b; }

static void gray_setup(gray_model *m, int units, const double *bias, const double *coupling) {
    m->units = units;
    m->lane_bits = gray_least(GRAY_LANE_BITS, units);
    m->block_bits = gray_least(GRAY_BLOCK_BITS, units - m->lane_bits);
    m->piece_bits = gray_least(GRAY_PIECE_BITS, units - m->lane_bits - m->block_bits);
    m->walk_bits = units - m->lane_bits - m->block_bits - m->piece_bits;
    for (int j = 0; j < units; j++) {
        m->bias[j] = bias[j];
        for (int k = 0; k < units; k++) m->coupling[j][k] = j == k ? 0.0 : coupling[j * units + k];
    }
    for (int t = 0; t < GRAY_LANES; t++) {
        double e = 0.0;
        for (int j = 0; j < units; j++) {
            double field = 0.0;
            for (int a = 0; a < m->lane_bits; a++) field += (t >> a) & 1 ? m->coupling[j][a] : 0.0;
            m->lane_field[j][t] = field;
            if (j < m->lane_bits && (t >> j) & 1) e += m->bias[j] + 0.5 * field;
        }
        m->lane_exponent[t] = t >> m->lane_bits ? -INFINITY : e;
    }
    for (int l = 0; l < m->block_bits; l++)
        for (int g = 0; g < 1 << l; g++) {
            double field = 0.0;
            for (int k = 0; k < l; k++) field += (g >> k) & 1 ? m->coupling[m->lane_bits + l][m->lane_bits + k] : 0.0;
            m->block_field[(1 << l) + g] = field;
        }
}

/* The state from nothing but its bits: `on` has the walk bits, then the piece bits. */
static void gray_synchronise(const gray_model *m, uint64_t on, gray_state *s) {
    const int first = m->lane_bits + m->block_bits, outer = m->units - first;
    double e = 0.0;
    memcpy(s->lane, m->lane_exponent, sizeof s->lane);
    for (int l = 0; l < m->block_bits; l++) s->block[l] = m->bias[m->lane_bits + l];
    for (int u = 0; u < outer; u++) {
        double field = m->bias[first + u], below = 0.0;
        for (int k = 0; k < outer; k++) {
            const double c = (on >> k) & 1 ? m->coupling[first + u][first + k] : 0.0;
            field += c;
            below += k < u ? c : 0.0;
        }
        if (u < m->walk_bits) s->walk[u] = field;
        if ((on >> u) & 1) {
            e += m->bias[first + u] + below;
            for (int t = 0; t < GRAY_LANES; t++) s->lane[t] += m->lane_field[first + u][t];
            for (int l = 0; l < m->block_bits; l++) s->block[l] += m->coupling[m->lane_bits + l][first + u];
        }
    }
    for (int t = 0; t < GRAY_LANES; t++) s->lane[t] += e;
}

static void gray_flip(const gray_model *m, int u, double sign, gray_state *s) {
    const int first = m->lane_bits + m->block_bits;
    const double field = s->walk[u];
    for (int t = 0; t < GRAY_LANES; t++) s->lane[t] += sign * (field + m->lane_field[first + u][t]);
    for (int l = 0; l < m->block_bits; l++) s->block[l] += sign * m->coupling[m->lane_bits + l][first + u];
    for (int k = 0; k < m->walk_bits; k++) s->walk[k] += sign * m->coupling[first + k][first + u];
}

/* e^x for x <= 0, 1 ulp, 0 below -708: one scale factor is enough. */
VM_INLINE double gray_exp(double x) {
    double y = x < -708.0 ? -708.0 : x;
    double n = y * 1.4426950408889634 + VM_ROUND, k = n - VM_ROUND;
    double r = (y - k * VM_LN2_HI) - k * VM_LN2_LO, r2 = r * r, r4 = r2 * r2;
    double q = ((EXP_0 + EXP_1 * r) + r2 * (EXP_2 + EXP_3 * r))
             + r4 * (((EXP_4 + EXP_5 * r) + r2 * (EXP_6 + EXP_7 * r)) + r4 * ((EXP_8 + EXP_9 * r) + r2 * EXP_10));
    double p = 1.0 + (r + r2 * q);
    p = vm_from_bits(vm_bits(p) + (vm_bits(n) << 52));
    return x < -708.0 ? 0.0 : p;
}

/* The exponents of the 64 states of every lane; returns the largest. */
static double gray_exponents(const gray_model *m, const gray_state *s, double e[GRAY_BLOCK][GRAY_LANES]) {
    double top[GRAY_LANES], field[GRAY_LANES], largest;
    memcpy(e[0], s->lane, sizeof e[0]);
    memcpy(top, s->lane, sizeof top);
    for (int l = 0; l < m->block_bits; l++) {
        const int size = 1 << l;
        for (int t = 0; t < GRAY_LANES; t++) field[t] = s->block[l] + m->lane_field[m->lane_bits + l][t];
        for (int g = 0; g < size; g++) {
            const double coupling = m->block_field[size + g];
            double *restrict to = e[size + g];
            const double *restrict from = e[g];
            for (int t = 0; t < GRAY_LANES; t++) {
                const double x = from[t] + (field[t] + coupling);
                to[t] = x;
                top[t] = x > top[t] ? x : top[t];
            }
        }
    }
    largest = top[0];
    for (int t = 1; t < GRAY_LANES; t++) largest = top[t] > largest ? top[t] : largest;
    return largest;
}

static void gray_rescale(gray_sums *out, double factor) {
    double *p = out->weight;
    const ptrdiff_t n = (sizeof *out - offsetof(gray_sums, weight)) / sizeof(double);
    for (ptrdiff_t i = 0; i < n; i++) p[i] *= factor;
}

/* Adds a block of weights to the moments: `on` has the walk bits. */
static void gray_moments(const gray_model *m, uint64_t on, double w[GRAY_BLOCK][GRAY_LANES], gray_sums *out) {
    double marginal[GRAY_BLOCK_BITS] = {0}, all = 0.0;
    const int states = 1 << m->block_bits;
    for (int g = 0; g < states; g++)
        for (int t = 0; t < GRAY_LANES; t++) out->joint[g][t] += w[g][t];
    if (on == 0) return;
    for (int l = m->block_bits - 1; l >= 0; l--) { /* fold the block in half, its upper half has bit l on */
        double upper[GRAY_LANES] = {0};
        for (int g = 0; g < 1 << l; g++)
            for (int t = 0; t < GRAY_LANES; t++) {
                const double x = w[(1 << l) + g][t];
                upper[t] += x;
                w[g][t] += x;
            }
        for (int t = 0; t < GRAY_LANES; t++) marginal[l] += upper[t];
    }
    for (int t = 0; t < GRAY_LANES; t++) all += w[0][t];
    for (int u = 0; u < m->walk_bits; u++) {
        if (!((on >> u) & 1)) continue;
        for (int t = 0; t < GRAY_LANES; t++) out->walk_lane[u][t] += w[0][t];
        for (int l = 0; l < m->block_bits; l++) out->walk_block[u][l] += marginal[l];
        for (int k = 0; k <= u; k++) out->walk_walk[u][k] += (on >> k) & 1 ? all : 0.0;
    }
}

/* Steps first to stop - 1 of a piece's walk, first a multiple of GRAY_RESYNC. */
static void gray_piece(const gray_model *m, uint64_t piece, uint64_t first, uint64_t stop, int moments,
                       gray_sums *out) {
    double w[GRAY_BLOCK][GRAY_LANES] __attribute__((aligned(64)));
    gray_state s;
    const int size = GRAY_LANES << m->block_bits;
    uint64_t on = 0;
    if (first == 0) {
        memset(out, 0, sizeof *out);
        out->largest = -INFINITY;
    }
    for (uint64_t i = first; i < stop; i++) {
        if (i % GRAY_RESYNC == 0) {
            on = i ^ (i >> 1);
            gray_synchronise(m, on | (piece << m->walk_bits), &s);
        } else {
            const int u = __builtin_ctzll(i);
            on ^= (uint64_t)1 << u;
            gray_flip(m, u, (on >> u) & 1 ? 1.0 : -1.0, &s);
        }
        const double largest = gray_exponents(m, &s, w);
        if (largest > out->largest) {
            gray_rescale(out, gray_exp(out->largest - largest));
            out->largest = largest;
        }
        const double reference = out->largest;
        double *restrict flat = w[0];
        #pragma omp simd
        for (int k = 0; k < size; k++) flat[k] = gray_exp(flat[k] - reference);
        if (moments) {
            gray_moments(m, on, w, out);
        } else {
            for (int g = 0; g < size / GRAY_LANES; g++)
                for (int t = 0; t < GRAY_LANES; t++) out->weight[t] += w[g][t];
        }
    }
}
