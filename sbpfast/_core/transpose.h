/* The transpose of a small matrix in the cache: out[j, i] = a[i, j], i < n, j < d. */
#pragma once
#include <stddef.h>
#include "lanes.h"

#if defined(__AVX__)
typedef double quad __attribute__((vector_size(32)));
typedef int64_t quad_index __attribute__((vector_size(32)));

/* 4 x 4: pairs within rows first, then pairs of pairs. */
VM_INLINE void transpose_block(const double *a, ptrdiff_t a_stride, double *out, ptrdiff_t out_stride) {
    quad r[4], p[4], c[4];
    for (int i = 0; i < 4; i++) memcpy(&r[i], a + i * a_stride, sizeof(quad));
    for (int i = 0; i < 4; i += 2) {
        p[i] = __builtin_shuffle(r[i], r[i + 1], (quad_index){0, 4, 2, 6});
        p[i + 1] = __builtin_shuffle(r[i], r[i + 1], (quad_index){1, 5, 3, 7});
    }
    for (int i = 0; i < 2; i++) {
        c[i] = __builtin_shuffle(p[i], p[i + 2], (quad_index){0, 1, 4, 5});
        c[i + 2] = __builtin_shuffle(p[i], p[i + 2], (quad_index){2, 3, 6, 7});
    }
    for (int i = 0; i < 4; i++) memcpy(out + i * out_stride, &c[i], sizeof(quad));
}
#else
VM_INLINE void transpose_block(const double *a, ptrdiff_t a_stride, double *out, ptrdiff_t out_stride) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) out[j * out_stride + i] = a[i * a_stride + j];
}
#endif

static void transpose(ptrdiff_t n, ptrdiff_t d, const double *a, ptrdiff_t a_stride, double *out, ptrdiff_t out_stride) {
    const ptrdiff_t rows = n - n % 4, columns = d - d % 4;
    for (ptrdiff_t j = 0; j < columns; j += 4)
        for (ptrdiff_t i = 0; i < rows; i += 4)
            transpose_block(a + i * a_stride + j, a_stride, out + j * out_stride + i, out_stride);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = i < rows ? columns : 0; j < d; j++) out[j * out_stride + i] = a[i * a_stride + j];
}
