/* Normals to points: panels of 64 draws, coordinates as rows, to draws as rows. */
#pragma once
#include "panel.h"
#include "transpose.h"

enum { STRIP = 32 };  /* coordinates that are drawn, mapped and written before the next: 16 KB */

/* z = mean + std z, rounded twice as NumPy rounds it: the barrier keeps the compiler from fusing the two loops, and
 * with them the product and the sum */
static void scale_and_shift(ptrdiff_t rows, const double *mean, const double *std, double *z) {
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t l = 0; l < LANES; l++) z[i * LANES + l] *= std[i];
    __asm__ volatile("" ::: "memory");
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t l = 0; l < LANES; l++) z[i * LANES + l] += mean[i];
}

/* out[l, i] = panel[i, l], in either precision */
static void panel_to_rows_double(ptrdiff_t rows, ptrdiff_t lanes, const double *panel, double *out, ptrdiff_t stride) {
    transpose(rows, lanes, panel, LANES, out, stride);
}

static void panel_to_rows_float(ptrdiff_t rows, ptrdiff_t lanes, const double *panel, float *out, ptrdiff_t stride) {
    double t[LANES * 8];
    for (ptrdiff_t i = 0; i < rows; i += 8) {
        const ptrdiff_t some = rows - i < 8 ? rows - i : 8;
        transpose(some, lanes, panel + i * LANES, LANES, t, 8);
        for (ptrdiff_t l = 0; l < lanes; l++)
            for (ptrdiff_t j = 0; j < some; j++) out[l * stride + i + j] = (float)t[l * 8 + j];
    }
}
