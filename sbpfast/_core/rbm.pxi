"""Kernels of the Gaussian-Bernoulli restricted Boltzmann machine: what stands between the matrix products.

Rows are shared out to the threads in pieces; a row's result depends on the row alone.  The sum over hidden states is
cut into at most 64 pieces with sums of their own, added in order.  So the bits are the same for every thread count.
"""

include "common.pxi"

from libc.stdlib cimport free, malloc

ctypedef fused floating:
    float
    double

cdef extern from "rbm.h" nogil:
    double softplus_row_f64(Py_ssize_t n, const double *t, const double *offset, double slope)
    double softplus_row_f32(Py_ssize_t n, const float *t, const float *offset, float slope)
    double half_square_row_f64(Py_ssize_t n, const double *v, const double *centre, const double *inverse_scale)
    double half_square_row_f32(Py_ssize_t n, const float *v, const float *centre, const float *inverse_scale)
    void probability_row_f64(Py_ssize_t n, const double *t, const double *offset, double slope, const double *centre,
                             double *probability)
    void probability_row_f32(Py_ssize_t n, const float *t, const float *offset, float slope, const float *centre,
                             float *probability)
    void hidden_row_f64(Py_ssize_t n, const double *t, const double *offset, double slope, const double *centre,
                        const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *probability,
                        double *draw)
    void hidden_row_f32(Py_ssize_t n, const float *t, const float *offset, float slope, const float *centre,
                        const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, float *probability,
                        float *draw)
    void visible_row_f64(Py_ssize_t n, const double *u, const double *shift, const double *gain, const double *scale,
                         const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, double *draw)
    void visible_row_f32(Py_ssize_t n, const float *u, const float *shift, const float *gain, const float *scale,
                         const uint64_t *key, uint64_t stream, uint64_t block, uint64_t row, float *draw)
    void standardise_row_f64(Py_ssize_t n, const double *x, const double *centre, const double *inverse_scale,
                             double *out)
    void standardise_row_f32(Py_ssize_t n, const float *x, const float *centre, const float *inverse_scale, float *out)
    double adam_row_f64(Py_ssize_t n, double *w, const double *positive, const double *negative, double *first,
                        double *second, double scale, double decay, double rate, double beta1, double beta2,
                        double epsilon)
    double adam_row_f32(Py_ssize_t n, float *w, const float *positive, const float *negative, float *first,
                        float *second, float scale, float decay, float rate, float beta1, float beta2, float epsilon)
    double velocity_row_f64(Py_ssize_t n, const double *w, const double *positive, const double *negative,
                            double *velocity, double scale, double decay, double rate, double momentum,
                            double *column_squares)
    double velocity_row_f32(Py_ssize_t n, const float *w, const float *positive, const float *negative,
                            float *velocity, float scale, float decay, float rate, float momentum,
                            double *column_squares)
    void move_row_f64(Py_ssize_t n, double *w, double *velocity, const double *shrink)
    void move_row_f32(Py_ssize_t n, float *w, float *velocity, const float *shrink)

cdef extern from "rbm_gray.h" nogil:
    enum: GRAY_MAX
    enum: GRAY_RESYNC
    enum: GRAY_LANES
    enum: GRAY_BLOCK
    enum: GRAY_BLOCK_BITS
    ctypedef struct gray_model:
        int units, lane_bits, block_bits, walk_bits, piece_bits
    ctypedef struct gray_sums:
        pass
    void gray_setup(gray_model *model, int units, const double *bias, const double *coupling)
    void gray_piece(const gray_model *model, uint64_t piece, uint64_t first, uint64_t stop, int moments, gray_sums *out)


cdef inline int sweep_threads(Py_ssize_t elements, int n_threads) noexcept nogil:
    # These sweeps alternate with matrix products that have threads of their own.  An OpenMP team keeps spinning for a
    # millisecond or so after its work and holds the cores that the next product wants, so sweeps shorter than that
    # stay serial: a training epoch is five times as fast for it.
    return n_threads if elements > 2000000 else 1


# -- sweeps over rows -------------------------------------------------------------------------------------------------

def softplus_rows(const floating[:, ::1] t, const floating[::1] offset, double slope, double[::1] out, int n_threads):
    """out[i] = sum_j log(1 + exp(slope t[i, j] + offset[j])), summed in float64."""
    cdef Py_ssize_t n = t.shape[0], m = t.shape[1], i
    if n == 0 or m == 0:
        out[:] = 0.0
        return
    cdef int threads = sweep_threads(n * m, n_threads)
    cdef Py_ssize_t step = stretch_of(100.0 * n * m, n, threads), part
    for part in range(ceil_div(n, step)):
        for i in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            if floating is float:
                out[i] = softplus_row_f32(m, &t[i, 0], &offset[0], <float> slope)
            else:
                out[i] = softplus_row_f64(m, &t[i, 0], &offset[0], slope)
        PyErr_CheckSignals()


def half_square_rows(const floating[:, ::1] v, const floating[::1] centre, const floating[::1] inverse_scale,
                     double[::1] out, int n_threads):
    """out[i] = sum_j ((v[i, j] - centre[j]) inverse_scale[j])^2 / 2, summed in float64."""
    cdef Py_ssize_t n = v.shape[0], m = v.shape[1], i
    if n == 0 or m == 0:
        out[:] = 0.0
        return
    cdef int threads = sweep_threads(n * m, n_threads)
    cdef Py_ssize_t step = stretch_of(100.0 * n * m, n, threads), part
    for part in range(ceil_div(n, step)):
        for i in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            if floating is float:
                out[i] = half_square_row_f32(m, &v[i, 0], &centre[0], &inverse_scale[0])
            else:
                out[i] = half_square_row_f64(m, &v[i, 0], &centre[0], &inverse_scale[0])
        PyErr_CheckSignals()


def probability_rows(const floating[:, ::1] t, const floating[::1] offset, double slope, const floating[::1] centre,
                     floating[:, ::1] out, int n_threads):
    """out[i, j] = sigmoid(slope t[i, j] + offset[j]) - centre[j]; out may be t."""
    cdef Py_ssize_t n = t.shape[0], m = t.shape[1], i
    if n == 0 or m == 0:
        return
    cdef int threads = sweep_threads(n * m, n_threads)
    cdef Py_ssize_t step = stretch_of(100.0 * n * m, n, threads), part
    for part in range(ceil_div(n, step)):
        for i in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            if floating is float:
                probability_row_f32(m, &t[i, 0], &offset[0], <float> slope, &centre[0], &out[i, 0])
            else:
                probability_row_f64(m, &t[i, 0], &offset[0], slope, &centre[0], &out[i, 0])
        PyErr_CheckSignals()


def hidden_rows(const floating[:, ::1] t, const floating[::1] offset, double slope, const floating[::1] centre,
                const uint64_t[::1] key, uint64_t stream, uint64_t block, floating[:, ::1] probability,
                floating[:, ::1] draw, int n_threads):
    """draw[i, j] = Bernoulli(p) - centre[j] with p = sigmoid(slope t[i, j] + offset[j]).

    `probability`, p - centre, may be None.  Row i uses the uniforms of row i of (key, stream, block).
    """
    cdef Py_ssize_t n = t.shape[0], m = t.shape[1], i
    cdef bint wanted = probability is not None
    if n == 0 or m == 0:
        return
    cdef int threads = sweep_threads(n * m, n_threads)
    cdef Py_ssize_t step = stretch_of(100.0 * n * m, n, threads), part
    for part in range(ceil_div(n, step)):
        for i in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            if floating is float:
                hidden_row_f32(m, &t[i, 0], &offset[0], <float> slope, &centre[0], &key[0], stream, block, <uint64_t> i,
                               &probability[i, 0] if wanted else NULL, &draw[i, 0])
            else:
                hidden_row_f64(m, &t[i, 0], &offset[0], slope, &centre[0], &key[0], stream, block, <uint64_t> i,
                               &probability[i, 0] if wanted else NULL, &draw[i, 0])
        PyErr_CheckSignals()


def visible_rows(const floating[:, ::1] u, const floating[::1] shift, const floating[::1] gain,
                 const floating[::1] scale, const uint64_t[::1] key, uint64_t stream, uint64_t block,
                 floating[:, ::1] draw, int n_threads):
    """draw[i, j] = shift[j] + gain[j] u[i, j] + scale[j] z, z the normals of row i of (key, stream, block)."""
    cdef Py_ssize_t n = u.shape[0], m = u.shape[1], i
    if n == 0 or m == 0:
        return
    cdef int threads = sweep_threads(n * m, n_threads)
    cdef Py_ssize_t step = stretch_of(100.0 * n * m, n, threads), part
    for part in range(ceil_div(n, step)):
        for i in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            if floating is float:
                visible_row_f32(m, &u[i, 0], &shift[0], &gain[0], &scale[0], &key[0], stream, block,
                                <uint64_t> i, &draw[i, 0])
            else:
                visible_row_f64(m, &u[i, 0], &shift[0], &gain[0], &scale[0], &key[0], stream, block,
                                <uint64_t> i, &draw[i, 0])
        PyErr_CheckSignals()


def standardise_rows(const floating[:, ::1] x, const Py_ssize_t[::1] rows, const floating[::1] centre,
                     const floating[::1] inverse_scale, floating[:, ::1] out, int n_threads):
    """out[i] = (x[rows[i]] - centre) inverse_scale."""
    cdef Py_ssize_t n = rows.shape[0], m = x.shape[1], i
    if n == 0 or m == 0:
        return
    cdef int threads = sweep_threads(n * m, n_threads)
    cdef Py_ssize_t step = stretch_of(100.0 * n * m, n, threads), part
    for part in range(ceil_div(n, step)):
        for i in prange(part * step, end_of(part, step, n), nogil=True, num_threads=threads, schedule="guided"):
            if floating is float:
                standardise_row_f32(m, &x[rows[i], 0], &centre[0], &inverse_scale[0], &out[i, 0])
            else:
                standardise_row_f64(m, &x[rows[i], 0], &centre[0], &inverse_scale[0], &out[i, 0])
        PyErr_CheckSignals()


# -- steps of the optimisers ------------------------------------------------------------------------------------------

def adam_step(floating[:, ::1] w, const floating[:, ::1] positive, const floating[:, ::1] negative,
              floating[:, ::1] first, floating[:, ::1] second, double scale, double decay, double rate, double beta1,
              double beta2, double epsilon, double[::1] row_dots, int n_threads):
    """One ascent step of Adam along scale (positive - negative) - decay w, in place.

    row_dots[i] = sum_j w[i, j] positive[i, j] before the step.  The bias corrections are in rate and epsilon.
    """
    cdef Py_ssize_t n = w.shape[0], m = w.shape[1], i
    for i in prange(n, nogil=True, num_threads=sweep_threads(n * m, n_threads), schedule="guided"):
        if floating is float:
            row_dots[i] = adam_row_f32(m, &w[i, 0], &positive[i, 0], &negative[i, 0], &first[i, 0], &second[i, 0],
                                       <float> scale, <float> decay, <float> rate, <float> beta1, <float> beta2,
                                       <float> epsilon)
        else:
            row_dots[i] = adam_row_f64(m, &w[i, 0], &positive[i, 0], &negative[i, 0], &first[i, 0], &second[i, 0],
                                       scale, decay, rate, beta1, beta2, epsilon)


def momentum_step(floating[:, ::1] w, const floating[:, ::1] positive, const floating[:, ::1] negative,
                  floating[:, ::1] velocity, double scale, double decay, double rate, double momentum, double longest,
                  double[::1] row_dots, int n_threads):
    """One ascent step with momentum, in place; a column's step is shortened to Euclidean length `longest`.

    row_dots[i] = sum_j w[i, j] positive[i, j] before the step.
    """
    cdef Py_ssize_t n = w.shape[0], m = w.shape[1], piece = max(1, ceil_div(n, 16)), pieces = ceil_div(n, piece)
    cdef Py_ssize_t task, i, j
    cdef double[:, ::1] squares = np.zeros((pieces, m))
    cdef object shrink_array = np.ones(m, dtype=np.float32 if floating is float else np.float64)
    cdef floating[::1] shrink = shrink_array
    cdef int threads = sweep_threads(n * m, n_threads)
    cdef double square
    with nogil:
        for task in prange(pieces, num_threads=threads, schedule="guided"):
            for i in range(task * piece, min(n, (task + 1) * piece)):
                if floating is float:
                    row_dots[i] = velocity_row_f32(m, &w[i, 0], &positive[i, 0], &negative[i, 0], &velocity[i, 0],
                                                   <float> scale, <float> decay, <float> rate, <float> momentum,
                                                   &squares[task, 0])
                else:
                    row_dots[i] = velocity_row_f64(m, &w[i, 0], &positive[i, 0], &negative[i, 0], &velocity[i, 0],
                                                   scale, decay, rate, momentum, &squares[task, 0])
        for j in range(m):
            square = 0.0
            for task in range(pieces):
                square += squares[task, j]
            if square > longest * longest:
                shrink[j] = <floating> (longest / square ** 0.5)
        for i in prange(n, num_threads=threads, schedule="guided"):
            if floating is float:
                move_row_f32(m, &w[i, 0], &velocity[i, 0], &shrink[0])
            else:
                move_row_f64(m, &w[i, 0], &velocity[i, 0], &shrink[0])


# -- the sum over hidden states ---------------------------------------------------------------------------------------

def sum_states(const double[::1] bias, const double[:, ::1] coupling, bint moments, int n_threads):
    """log sum_h exp(bias . h + sum_{j<k} h_j h_k coupling_jk) over all h in {0, 1}^H, 1 <= H <= 32.

    Returns the logarithm and, where `moments` is set, the matrix E[h h^T] (H, H), otherwise None.
    """
    cdef int units = <int> bias.shape[0]
    if not 1 <= units <= GRAY_MAX:
        raise ValueError(f"the sum over states takes 1 to {GRAY_MAX} units, got {units}")
    cdef gray_model *model = <gray_model *> malloc(sizeof(gray_model))
    cdef double[:, ::1] sums
    cdef Py_ssize_t pieces, task
    cdef uint64_t steps, first, stop
    cdef int threads
    try:
        if model == NULL:
            raise MemoryError
        gray_setup(model, units, &bias[0], &coupling[0, 0])
        pieces = 1 << model.piece_bits
        sums = np.empty((pieces, sizeof(gray_sums) // sizeof(double)))
        threads = threads_for(2.0 ** units, n_threads)
        steps, first = (<uint64_t> 1) << model.walk_bits, 0
        while first < steps:  # 4 million states at a time
            stop = min(steps, first + GRAY_RESYNC)
            for task in prange(pieces, nogil=True, num_threads=threads, schedule="guided"):
                gray_piece(model, <uint64_t> task, first, stop, moments, <gray_sums *> &sums[task, 0])
            PyErr_CheckSignals()
            first = stop
        return _combine(model, np.asarray(sums), moments)
    finally:
        free(model)


cdef _combine(gray_model *model, sums, bint moments):
    # every piece relative to its own largest exponent; units in the order lanes, block, walk, piece
    cdef Py_ssize_t a = model.lane_bits, b = model.block_bits, c = model.walk_bits, units = model.units, d = a + b + c
    cdef Py_ssize_t pieces = sums.shape[0]
    lengths = [1, GRAY_LANES, GRAY_BLOCK * GRAY_LANES, GRAY_MAX * GRAY_LANES, GRAY_MAX * GRAY_BLOCK_BITS]
    largest, weight, joint, walk_lane, walk_block, walk_walk = np.split(sums, np.cumsum(lengths), axis=1)
    top = largest.max()
    factor = np.exp(largest[:, 0] - top)
    if not moments:
        return float(top + np.log(factor @ weight.sum(1))), None
    joint = joint.reshape(pieces, GRAY_BLOCK, GRAY_LANES)[:, : 1 << b]
    walk_lane = walk_lane.reshape(pieces, GRAY_MAX, GRAY_LANES)[:, :c]
    walk_block = walk_block.reshape(pieces, GRAY_MAX, GRAY_BLOCK_BITS)
    walk_walk = walk_walk.reshape(pieces, GRAY_MAX, GRAY_MAX)[:, :c, :c]
    lanes = (np.arange(GRAY_LANES)[:, None] >> np.arange(a) & 1).astype(float)
    block = (np.arange(1 << b)[:, None] >> np.arange(b) & 1).astype(float)
    on = (np.arange(pieces)[:, None] >> np.arange(units - d) & 1).astype(float)
    inside = np.zeros((pieces, d, d))  # E[h h^T] of the units that vary within a piece, lower triangle
    inside[:, :a, :a] = lanes.T @ (joint.sum(1)[:, :, None] * lanes)
    inside[:, a:a + b, :a] = block.T @ joint @ lanes
    inside[:, a:a + b, a:a + b] = block.T @ (joint.sum(2)[:, :, None] * block)
    inside[:, a + b:, :a] = walk_lane @ lanes
    inside[:, a + b:, a:a + b] = walk_block[:, :c, :b]
    inside[:, a + b:, a + b:] = walk_walk
    weight = factor * joint.sum((1, 2))
    second = np.zeros((units, units))
    second[:d, :d] = np.tensordot(factor, inside, 1)
    second[d:, :d] = on.T @ (factor[:, None] * np.diagonal(inside, axis1=1, axis2=2))
    second[d:, d:] = on.T @ (weight[:, None] * on)
    second = np.tril(second) + np.tril(second, -1).T
    normaliser = weight.sum()
    return float(top + np.log(normaliser)), second / normaliser
