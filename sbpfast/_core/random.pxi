"""Counter-based random numbers.

A stream is a function of (key, stream number, block, row): every *row* of 64 numbers comes from 16 evaluations of
Threefry-4x64-20, so blocks can be drawn in any order, by any thread, and a prefix never depends on what follows.
Arrays are in the panel layout (blocks, rows, 64): the draws of a block are contiguous, a row is a coordinate.
"""

include "common.pxi"

from cython.parallel cimport threadid

cdef extern from "sample.h" nogil:
    enum: STRIP
    void scale_and_shift(Py_ssize_t rows, const double *mean, const double *std, double *z)
    void panel_to_rows_double(Py_ssize_t rows, Py_ssize_t lanes, const double *panel, double *out, Py_ssize_t stride)
    void panel_to_rows_float(Py_ssize_t rows, Py_ssize_t lanes, const double *panel, float *out, Py_ssize_t stride)

cdef extern from "threefry.h" nogil:
    ctypedef struct threefry_key:
        pass
    threefry_key threefry_schedule(const uint64_t *key)
    void threefry4x64(threefry_key key, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                      uint64_t *w0, uint64_t *w1, uint64_t *w2, uint64_t *w3)
    void row_uniform(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out)
    void row_normal(const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *out)


def threefry(const uint64_t[::1] counter, const uint64_t[::1] key):
    """The four words of Threefry-4x64-20, for the known-answer tests."""
    cdef object words = np.empty(4, dtype=np.uint64)
    cdef uint64_t[::1] w = words
    threefry4x64(threefry_schedule(&key[0]), counter[0], counter[1], counter[2], counter[3], &w[0], &w[1], &w[2], &w[3])
    return words


def fill_uniform(const uint64_t[::1] key, uint64_t stream, uint64_t first_block, double[:, :, ::1] out, int n_threads):
    """Uniforms on (0, 1): out[b, r] is row r of block first_block + b."""
    cdef Py_ssize_t rows = out.shape[1], i, count = out.shape[0] * out.shape[1]
    if count == 0:
        return
    cdef int threads = threads_for(200.0 * count, n_threads)
    cdef Py_ssize_t step = stretch_of(3000.0 * count, count, threads), part  # new memory takes most of the time
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            row_uniform(&key[0], stream, first_block + <uint64_t> (i // rows), <uint64_t> (i % rows),
                        &out[i // rows, i % rows, 0])
        PyErr_CheckSignals()


def fill_normal(const uint64_t[::1] key, uint64_t stream, uint64_t first_block, double[:, :, ::1] out, int n_threads):
    """Standard normals: out[b, r] is row r of block first_block + b."""
    cdef Py_ssize_t rows = out.shape[1], i, count = out.shape[0] * out.shape[1]
    if count == 0:
        return
    cdef int threads = threads_for(600.0 * count, n_threads)
    cdef Py_ssize_t step = stretch_of(3000.0 * count, count, threads), part  # new memory takes most of the time
    for part in range(ceil_div(count, step)):
        for i in prange(part * step, end_of(part, step, count), nogil=True, num_threads=threads, schedule="guided"):
            row_normal(&key[0], stream, first_block + <uint64_t> (i // rows), <uint64_t> (i % rows),
                       &out[i // rows, i % rows, 0])
        PyErr_CheckSignals()


def affine_panels(const double[:, ::1] factor, const double[::1] mean, const double[:, :, ::1] z, double[:, :, ::1] out,
                  bint lower, int n_threads):
    """out[b] = mean + factor z[b], the factor (d, k) shared; `lower` says that it is lower triangular."""
    cdef Py_ssize_t b, blocks = z.shape[0], d = factor.shape[0], k = factor.shape[1]
    if blocks == 0 or d == 0:
        return
    cdef double work = 64.0 * d * k * blocks
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, blocks, threads), part
    for part in range(ceil_div(blocks, step)):
        for b in prange(part * step, end_of(part, step, blocks), nogil=True, num_threads=threads, schedule="guided"):
            _affine_panel(d, k, &factor[0, 0], &mean[0], &z[b, 0, 0], &out[b, 0, 0], lower)
        PyErr_CheckSignals()


cdef void _affine_panel(Py_ssize_t d, Py_ssize_t k, const double *factor, const double *mean, const double *z,
                        double *out, bint lower) noexcept nogil:
    cdef Py_ssize_t i, s, rows
    for i in range(d):
        for s in range(LANES):
            out[i * LANES + s] = mean[i]
    for i in range(0, d, 4):
        rows = min(4, d - i)
        panel_product(rows, LANES, min(i + rows, k) if lower else k, factor + i * k, k, 1, z, LANES, out + i * LANES,
                      LANES, 1)


def solve_transposed_panels(const double[:, ::1] factor, const double[:, :, ::1] z, double[:, :, ::1] out,
                            int n_threads):
    """out[b] = L^-T z[b] for a lower triangular L (d, d), by back substitution in every lane."""
    cdef Py_ssize_t b, blocks = z.shape[0], d = factor.shape[0]
    if blocks == 0 or d == 0:
        return
    cdef double work = 32.0 * d * d * blocks
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work, blocks, threads), part
    for part in range(ceil_div(blocks, step)):
        for b in prange(part * step, end_of(part, step, blocks), nogil=True, num_threads=threads, schedule="guided"):
            _solve_panel(d, &factor[0, 0], &z[b, 0, 0], &out[b, 0, 0])
        PyErr_CheckSignals()


cdef void _solve_panel(Py_ssize_t d, const double *factor, const double *z, double *out) noexcept nogil:
    cdef Py_ssize_t i, s
    cdef double[LANES] known
    for i in range(d - 1, -1, -1):
        # L^T is upper triangular: row i of it is column i of L, below the diagonal
        panel_product(1, LANES, d - 1 - i, factor + (i + 1) * d + i, 0, d, out + (i + 1) * LANES, LANES, known, LANES,
                      0)
        for s in range(LANES):
            out[i * LANES + s] = (z[i * LANES + s] - known[s]) / factor[i * d + i]


# -- points as rows, in one pass --------------------------------------------------------------------------------------

ctypedef fused real:
    float
    double


cdef inline void _write(Py_ssize_t rows, Py_ssize_t lanes, const double *panel, real *out, Py_ssize_t d) noexcept nogil:
    if real is float:
        panel_to_rows_float(rows, lanes, panel, out, d)
    else:
        panel_to_rows_double(rows, lanes, panel, out, d)


def diagonal_rows(const uint64_t[::1] key, uint64_t stream, const double[::1] mean, const double[::1] std,
                  real[:, ::1] out, int n_threads):
    """out[s] = mean + std z[s], z the first draws of the stream."""
    cdef Py_ssize_t n = out.shape[0], d = out.shape[1], b, blocks = ceil_div(n, LANES)
    if n == 0 or d == 0:
        return
    cdef int threads = threads_for(600.0 * blocks * d, n_threads)
    cdef Py_ssize_t step = stretch_of(3000.0 * blocks * d, blocks, threads), part  # new memory takes most of the time
    for part in range(ceil_div(blocks, step)):
        for b in prange(part * step, end_of(part, step, blocks), nogil=True, num_threads=threads, schedule="guided"):
            _diagonal_block(&key[0], stream, <uint64_t> b, &mean[0], &std[0], d, min(LANES, n - b * LANES),
                            &out[b * LANES, 0])
        PyErr_CheckSignals()


cdef void _diagonal_block(const uint64_t *key, uint64_t stream, uint64_t block, const double *mean, const double *std,
                          Py_ssize_t d, Py_ssize_t lanes, real *out) noexcept nogil:
    cdef double[STRIP * LANES] z
    cdef Py_ssize_t strip, first, rows, i
    for strip in range(ceil_div(d, STRIP)):
        first = strip * STRIP
        rows = min(STRIP, d - first)
        for i in range(rows):
            row_normal(key, stream, block, <uint64_t> (first + i), &z[i * LANES])
        scale_and_shift(rows, mean + first, std + first, z)
        _write(rows, lanes, z, out + first, d)


def affine_rows(const uint64_t[::1] key, uint64_t stream, const double[:, ::1] factor, const double[::1] mean,
                real[:, ::1] out, int n_threads):
    """out[s] = mean + L z[s] for a lower triangular L (d, d), z the first draws of the stream."""
    cdef Py_ssize_t n = out.shape[0], d = out.shape[1], b, blocks = ceil_div(n, LANES)
    if n == 0 or d == 0:
        return
    cdef double work = (32.0 * d + 600.0) * d * blocks
    cdef int threads = threads_for(work, n_threads)
    cdef Py_ssize_t step = stretch_of(work + 2400.0 * d * blocks, blocks, threads), part
    cdef double[:, ::1] scratch = np.empty((threads, 2 * d * LANES))
    for part in range(ceil_div(blocks, step)):
        for b in prange(part * step, end_of(part, step, blocks), nogil=True, num_threads=threads, schedule="guided"):
            _affine_block(&key[0], stream, <uint64_t> b, &factor[0, 0], &mean[0], d, min(LANES, n - b * LANES),
                          &scratch[threadid(), 0], &out[b * LANES, 0])
        PyErr_CheckSignals()


cdef void _affine_block(const uint64_t *key, uint64_t stream, uint64_t block, const double *factor, const double *mean,
                        Py_ssize_t d, Py_ssize_t lanes, double *scratch, real *out) noexcept nogil:
    cdef double *points = scratch + d * LANES
    cdef Py_ssize_t i
    for i in range(d):
        row_normal(key, stream, block, <uint64_t> i, scratch + i * LANES)
    _affine_panel(d, d, factor, mean, scratch, points, True)
    _write(d, lanes, points, out, d)
