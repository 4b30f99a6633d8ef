/* Small dense products in the *panel* layout, where the index that runs over draws (or over rows of data) is the
 * last and contiguous one, so that every vector lane works on a draw of its own.
 *
 *     out[r, s] (+)= sum_k a[r, k] x[k, s]      r < rows,  k < depth,  s < lanes,  lanes a multiple of 8
 *
 * One routine is the linear forms of a regression, the map x = mean + L z, a gradient A^T s and a weighted Gram
 * matrix A^T diag(w) A, because `a` is read with two strides.  Each output element is summed over k in order by one
 * lane, so its bits depend on nothing but its own row and column.
 */
#pragma once
#include "lanes.h"

enum { LANES = 64 }; /* draws in a panel */

enum { TILE_VECS = VEC == 8 ? 4 : 2 };

/* R rows by V vectors of the output in registers. */
#define PANEL_TILE(R, V)                                                                                              \
    VM_INLINE void panel_tile_##R##_##V(ptrdiff_t depth, const double *a, ptrdiff_t row_stride, ptrdiff_t k_stride,  \
                                        const double *x, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride,      \
                                        int add) {                                                                    \
        vec t[R][V];                                                                                                  \
        _Pragma("GCC unroll 8") for (int r = 0; r < R; r++)                                                           \
            _Pragma("GCC unroll 8") for (int v = 0; v < V; v++)                                                       \
                t[r][v] = add ? vec_load(out + r * out_stride + v * VEC) : (vec){0};                                  \
        for (ptrdiff_t k = 0; k < depth; k++) {                                                                       \
            vec b[V];                                                                                                 \
            _Pragma("GCC unroll 8") for (int v = 0; v < V; v++) b[v] = vec_load(x + k * x_stride + v * VEC);          \
            _Pragma("GCC unroll 8") for (int r = 0; r < R; r++) {                                                     \
                const double s = a[r * row_stride + k * k_stride];                                                    \
                _Pragma("GCC unroll 8") for (int v = 0; v < V; v++) t[r][v] += s * b[v];                              \
            }                                                                                                         \
        }                                                                                                             \
        _Pragma("GCC unroll 8") for (int r = 0; r < R; r++)                                                           \
            _Pragma("GCC unroll 8") for (int v = 0; v < V; v++) vec_store(out + r * out_stride + v * VEC, t[r][v]);   \
    }

#define PANEL_TILES(V) PANEL_TILE(1, V) PANEL_TILE(2, V) PANEL_TILE(3, V) PANEL_TILE(4, V)
PANEL_TILES(4)
PANEL_TILES(2)
PANEL_TILES(1)

#define PANEL_STRIP(R, V) panel_tile_##R##_##V(depth, a, row_stride, k_stride, x, x_stride, out, out_stride, add)
#define PANEL_ROWS(V) (rows == 4 ? PANEL_STRIP(4, V) : rows == 3 ? PANEL_STRIP(3, V) : rows == 2 ? PANEL_STRIP(2, V) : PANEL_STRIP(1, V))

/* At most four rows, any number of lanes. */
static void panel_strip(int rows, ptrdiff_t lanes, ptrdiff_t depth, const double *a, ptrdiff_t row_stride,
                        ptrdiff_t k_stride, const double *x, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride,
                        int add) {
    while (lanes >= TILE_VECS * VEC) {
#if defined(__AVX512F__)
        PANEL_ROWS(4);
#else
        PANEL_ROWS(2);
#endif
        lanes -= TILE_VECS * VEC, x += TILE_VECS * VEC, out += TILE_VECS * VEC;
    }
    while (lanes >= 2 * VEC) { /* two vectors: enough sums in flight to hide the latency of an addition */
        PANEL_ROWS(2);
        lanes -= 2 * VEC, x += 2 * VEC, out += 2 * VEC;
    }
    while (lanes > 0) {
        PANEL_ROWS(1);
        lanes -= VEC, x += VEC, out += VEC;
    }
}

static void panel_product(ptrdiff_t rows, ptrdiff_t lanes, ptrdiff_t depth, const double *a, ptrdiff_t row_stride,
                          ptrdiff_t k_stride, const double *x, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride,
                          int add) {
    for (ptrdiff_t r = 0; r < rows; r += 4)
        panel_strip(rows - r < 4 ? (int)(rows - r) : 4, lanes, depth, a + r * row_stride, row_stride, k_stride,
                    x, x_stride, out + r * out_stride, out_stride, add);
}

/* sum_i a_i b_i in eight interleaved partial sums. */
VM_INLINE double dot(ptrdiff_t n, const double *a, const double *b) {
    double total = 0.0;
    #pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = 0; i < n; i++) total += a[i] * b[i];
    return total;
}

VM_INLINE double sum(ptrdiff_t n, const double *a) {
    double total = 0.0;
    #pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = 0; i < n; i++) total += a[i];
    return total;
}
