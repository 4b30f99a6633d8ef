/* Included by rbm.h once with REAL = double and once with REAL = float. */

enum { TYPED(CHUNK) = 64 };

/* sum_j log(1 + exp(slope t_j + offset_j)), summed in double */
static double TYPED(softplus_row)(ptrdiff_t n, const REAL *restrict t, const REAL *restrict offset, REAL slope) {
    REAL chunk[TYPED(CHUNK)];
    double total = 0.0;
    for (ptrdiff_t j = 0; j < n; j += TYPED(CHUNK)) {
        const ptrdiff_t m = n - j < TYPED(CHUNK) ? n - j : TYPED(CHUNK);
        #pragma omp simd
        for (ptrdiff_t i = 0; i < m; i++) chunk[i] = TYPED(softplus)(slope * t[j + i] + offset[j + i]);
        #pragma omp simd reduction(+ : total)
        for (ptrdiff_t i = 0; i < m; i++) total += (double)chunk[i];
    }
    return total;
}

/* sum_i ((v_i - centre_i) inverse_scale_i)^2 / 2, summed in double */
static double TYPED(half_square_row)(ptrdiff_t n, const REAL *restrict v, const REAL *restrict centre,
                                     const REAL *restrict inverse_scale) {
    double total = 0.0;
    #pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL x = (v[i] - centre[i]) * inverse_scale[i];
        total += (double)x * (double)x;
    }
    return 0.5 * total;
}

/* probability_j = sigmoid(slope t_j + offset_j) - centre_j */
static void TYPED(probability_row)(ptrdiff_t n, const REAL *restrict t, const REAL *restrict offset, REAL slope,
                                   const REAL *restrict centre, REAL *restrict probability) {
    #pragma omp simd
    for (ptrdiff_t j = 0; j < n; j++) probability[j] = TYPED(sigmoid)(slope * t[j] + offset[j]) - centre[j];
}

/* draw_j = Bernoulli(sigmoid(slope t_j + offset_j)) - centre_j and, where asked for, the probabilities as above */
static void TYPED(hidden_row)(ptrdiff_t n, const REAL *restrict t, const REAL *restrict offset, REAL slope,
                              const REAL *restrict centre, const uint64_t *key, uint64_t stream, uint64_t block,
                              uint64_t row, REAL *restrict probability, REAL *restrict draw) {
    const ptrdiff_t chunks = (n + TYPED(DRAWS) - 1) / TYPED(DRAWS);
    REAL u[TYPED(DRAWS)];
    for (ptrdiff_t q = 0; q < chunks; q++) {
        const ptrdiff_t j = q * TYPED(DRAWS), m = n - j < TYPED(DRAWS) ? n - j : TYPED(DRAWS);
        TYPED(draw_uniforms)(key, stream, block, row * (uint64_t)chunks + (uint64_t)q, u);
        if (probability) {
            #pragma omp simd
            for (ptrdiff_t i = 0; i < m; i++) {
                REAL p = TYPED(sigmoid)(slope * t[j + i] + offset[j + i]);
                probability[j + i] = p - centre[j + i];
                draw[j + i] = (u[i] < p ? (REAL)1.0 : (REAL)0.0) - centre[j + i];
            }
        } else {
            #pragma omp simd
            for (ptrdiff_t i = 0; i < m; i++) {
                REAL p = TYPED(sigmoid)(slope * t[j + i] + offset[j + i]);
                draw[j + i] = (u[i] < p ? (REAL)1.0 : (REAL)0.0) - centre[j + i];
            }
        }
    }
}

/* draw_i = shift_i + gain_i u_i + scale_i N(0, 1) */
static void TYPED(visible_row)(ptrdiff_t n, const REAL *restrict u, const REAL *restrict shift,
                               const REAL *restrict gain, const REAL *restrict scale, const uint64_t *key,
                               uint64_t stream, uint64_t block, uint64_t row, REAL *restrict draw) {
    const ptrdiff_t chunks = (n + TYPED(DRAWS) - 1) / TYPED(DRAWS);
    REAL z[TYPED(DRAWS)];
    for (ptrdiff_t q = 0; q < chunks; q++) {
        const ptrdiff_t j = q * TYPED(DRAWS), m = n - j < TYPED(DRAWS) ? n - j : TYPED(DRAWS);
        TYPED(draw_normals)(key, stream, block, row * (uint64_t)chunks + (uint64_t)q, z);
        #pragma omp simd
        for (ptrdiff_t i = 0; i < m; i++)
            draw[j + i] = (shift[j + i] + gain[j + i] * u[j + i]) + scale[j + i] * z[i];
    }
}

/* out_i = (x_i - centre_i) inverse_scale_i */
static void TYPED(standardise_row)(ptrdiff_t n, const REAL *restrict x, const REAL *restrict centre,
                                   const REAL *restrict inverse_scale, REAL *restrict out) {
    #pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (x[i] - centre[i]) * inverse_scale[i];
}

/* One row of Adam (Kingma & Ba 2015), ascending g = scale (positive - negative) - decay w.  The bias corrections are
 * in rate and epsilon.  Returns sum_j w_j positive_j before the step. */
static double TYPED(adam_row)(ptrdiff_t n, REAL *restrict w, const REAL *restrict positive,
                              const REAL *restrict negative, REAL *restrict first, REAL *restrict second, REAL scale,
                              REAL decay, REAL rate, REAL beta1, REAL beta2, REAL epsilon) {
    double total = 0.0;
    #pragma omp simd reduction(+ : total)
    for (ptrdiff_t j = 0; j < n; j++) {
        REAL g = scale * (positive[j] - negative[j]) - decay * w[j];
        REAL m = beta1 * first[j] + ((REAL)1.0 - beta1) * g;
        REAL v = beta2 * second[j] + ((REAL)1.0 - beta2) * (g * g);
        total += (double)(w[j] * positive[j]);
        first[j] = m;
        second[j] = v;
        w[j] += rate * m / (TYPED(root)(v) + epsilon);
    }
    return total;
}

/* velocity = momentum velocity + rate g; adds velocity^2 to column_squares and returns sum_j w_j positive_j */
static double TYPED(velocity_row)(ptrdiff_t n, const REAL *restrict w, const REAL *restrict positive,
                                  const REAL *restrict negative, REAL *restrict velocity, REAL scale, REAL decay,
                                  REAL rate, REAL momentum, double *restrict column_squares) {
    double total = 0.0;
    #pragma omp simd reduction(+ : total)
    for (ptrdiff_t j = 0; j < n; j++) {
        REAL g = scale * (positive[j] - negative[j]) - decay * w[j];
        REAL d = momentum * velocity[j] + rate * g;
        total += (double)(w[j] * positive[j]);
        velocity[j] = d;
        column_squares[j] += (double)(d * d);
    }
    return total;
}

/* velocity_j *= shrink_j; w += velocity */
static void TYPED(move_row)(ptrdiff_t n, REAL *restrict w, REAL *restrict velocity, const REAL *restrict shrink) {
    #pragma omp simd
    for (ptrdiff_t j = 0; j < n; j++) {
        velocity[j] *= shrink[j];
        w[j] += velocity[j];
    }
}
