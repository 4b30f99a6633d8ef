/* The rows of lowrank.h for one type of input and output, REAL; LR(name) names a function.  Sums are double.
 *
 * For k = 1 the loops over the coordinates are straight-line code, which vectorises.
 */

/* inverse and inverse root of D */
VM_INLINE void LR(inverses)(ptrdiff_t d, const REAL *diag, double *inverse, double *root) {
    #pragma omp simd
    for (ptrdiff_t i = 0; i < d; i++) {
        inverse[i] = 1.0 / (double)diag[i];
        root[i] = sqrt(inverse[i]);
    }
}

/* 1 + U^T D^-1 U for the pair of columns p, q, over the coordinates from..to - 1 */
VM_INLINE double LR(gram)(ptrdiff_t from, ptrdiff_t to, ptrdiff_t k, const double *inverse, const REAL *u, ptrdiff_t p,
                          ptrdiff_t q) {
    double total = 0.0;
    #pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = from; i < to; i++) total += (double)u[i * k + p] * u[i * k + q] * inverse[i];
    return (p == q) + total;
}

VM_INLINE void LR(factor)(ptrdiff_t d, ptrdiff_t k, const double *inverse, const REAL *u, double *m, double *l) {
    for (ptrdiff_t p = 0; p < k; p++)
        for (ptrdiff_t q = 0; q <= p; q++) m[p * k + q] = m[q * k + p] = LR(gram)(0, d, k, inverse, u, p, q);
    lr_cholesky(k, m, l);
}

/* The pull-back of bar_m, symmetric, through M = I + U^T D^-1 U, added to g_diag and g_u. */
VM_INLINE void LR(gram_backward)(ptrdiff_t d, ptrdiff_t k, const double *inverse, const REAL *u, const double *bar_m,
                                     double *g_diag, double *g_u) {
    if (k == 1) {
        const double b = bar_m[0];
        #pragma omp simd
        for (ptrdiff_t i = 0; i < d; i++) {
            double scaled = u[i] * inverse[i];
            g_u[i] += 2.0 * b * scaled;
            g_diag[i] -= b * scaled * scaled;
        }
        return;
    }
    for (ptrdiff_t i = 0; i < d; i++) {
        double inner = 0.0, over = inverse[i];
        for (ptrdiff_t p = 0; p < k; p++) {
            double s = 0.0;
            for (ptrdiff_t q = 0; q < k; q++) s += bar_m[p * k + q] * u[i * k + q];
            g_u[i * k + p] += 2.0 * s * over;
            inner += s * u[i * k + p];
        }
        g_diag[i] -= inner * over * over;
    }
}

/* t = U^T q for q = eps / sqrt D, and y = K t */
VM_INLINE void LR(project)(ptrdiff_t d, ptrdiff_t k, const double *root, const REAL *u, const double *l,
                               const REAL *eps, double *t, double *y) {
    for (ptrdiff_t p = 0; p < k; p++) {
        double total = 0.0;
        #pragma omp simd reduction(+ : total)
        for (ptrdiff_t i = 0; i < d; i++) total += (double)eps[i] * u[i * k + p] * root[i];
        y[p] = t[p] = total;
    }
    lr_solve(k, l, 1.0, y);
    lr_solve_transposed(k, l, 0.0, y);
}

/* x = mean + q - A K U^T q for n draws of one row, `stride` apart. */
VM_INLINE void LR(sample_of)(ptrdiff_t n, ptrdiff_t stride, ptrdiff_t d, ptrdiff_t k, const REAL *mean,
                              const REAL *diag, const REAL *u, const REAL *eps, REAL *out, double *work) {
    double *inverse = work, *root = inverse + d, *m = root + d, *l = m + k * k, *t = l + k * k, *y = t + k;
    LR(inverses)(d, diag, inverse, root);
    LR(factor)(d, k, inverse, u, m, l);
    for (ptrdiff_t s = 0; s < n; s++, eps += stride, out += stride) {
        LR(project)(d, k, root, u, l, eps, t, y);
        if (k == 1) {
            const double y0 = y[0];
            #pragma omp simd
            for (ptrdiff_t i = 0; i < d; i++) out[i] = (REAL)(mean[i] + eps[i] * root[i] - u[i] * y0 * inverse[i]);
            continue;
        }
        for (ptrdiff_t i = 0; i < d; i++) {
            double inner = 0.0;
            for (ptrdiff_t p = 0; p < k; p++) inner += u[i * k + p] * y[p];
            out[i] = (REAL)(mean[i] + eps[i] * root[i] - inner * inverse[i]);
        }
    }
}

/* What one draw adds to the gradients by mean, D and U, with y = K t and t_bar = -K^T A^T g. */
VM_INLINE void LR(add_draw)(ptrdiff_t d, ptrdiff_t k, const double *inverse, const double *root, const REAL *u,
                                const REAL *eps, const REAL *g, const double *y, const double *bar_t, double *g_mean,
                                double *g_diag, double *g_u) {
    if (k == 1) {
        const double y0 = y[0], b0 = bar_t[0];
        #pragma omp simd
        for (ptrdiff_t i = 0; i < d; i++) {
            double q = eps[i] * root[i], over = g[i] * inverse[i];
            g_mean[i] += g[i];
            g_u[i] += q * b0 - over * y0;
            g_diag[i] += (over * u[i] * y0 - 0.5 * (g[i] + u[i] * b0) * q) * inverse[i];
        }
        return;
    }
    for (ptrdiff_t i = 0; i < d; i++) {
        double q = eps[i] * root[i], over = g[i] * inverse[i], inner = 0.0, bar_q = g[i];
        for (ptrdiff_t p = 0; p < k; p++) {
            inner += u[i * k + p] * y[p];
            bar_q += u[i * k + p] * bar_t[p];
            g_u[i * k + p] += q * bar_t[p] - over * y[p];
        }
        g_mean[i] += g[i];
        g_diag[i] += (over * inner - 0.5 * bar_q * q) * inverse[i];
    }
}

/* Gradients by mean, D and U (all set) of sum g . x over the n draws of one row.
 *
 * With r = A^T g and t_bar = -K^T r: by U, q t_bar^T - D^-1 g y^T; by q, g + U t_bar; by K^-1 = M + L^T, -t_bar y^T. */
VM_INLINE void LR(sample_backward_of)(ptrdiff_t n, ptrdiff_t stride, ptrdiff_t d, ptrdiff_t k, const REAL *diag,
                                       const REAL *u, const REAL *eps, const REAL *g, REAL *out_mean, REAL *out_diag,
                                       REAL *out_u, double *work) {
    double *inverse = work, *root = inverse + d, *by_mean = root + d, *by_diag = by_mean + d, *by_u = by_diag + d;
    double *m = by_u + d * k, *l = m + k * k, *bar_l = l + k * k, *bar_m = bar_l + k * k, *w = bar_m + k * k;
    double *t = w + k * k, *y = t + k, *bar_t = y + k;
    LR(inverses)(d, diag, inverse, root);
    LR(factor)(d, k, inverse, u, m, l);
    for (ptrdiff_t i = 0; i < d; i++) by_mean[i] = by_diag[i] = 0.0;
    for (ptrdiff_t i = 0; i < d * k; i++) by_u[i] = 0.0;
    for (ptrdiff_t i = 0; i < k * k; i++) bar_l[i] = bar_m[i] = 0.0;
    for (ptrdiff_t s = 0; s < n; s++, eps += stride, g += stride) {
        LR(project)(d, k, root, u, l, eps, t, y);
        for (ptrdiff_t p = 0; p < k; p++) {
            double total = 0.0;
            #pragma omp simd reduction(+ : total)
            for (ptrdiff_t i = 0; i < d; i++) total += (double)g[i] * u[i * k + p] * inverse[i];
            bar_t[p] = -total;
        }
        lr_solve(k, l, 0.0, bar_t);
        lr_solve_transposed(k, l, 1.0, bar_t);
        LR(add_draw)(d, k, inverse, root, u, eps, g, y, bar_t, by_mean, by_diag, by_u);
        for (ptrdiff_t p = 0; p < k; p++)
            for (ptrdiff_t q = 0; q < k; q++) {
                bar_m[p * k + q] -= 0.5 * (bar_t[p] * y[q] + bar_t[q] * y[p]);
                bar_l[p * k + q] -= q <= p ? bar_t[q] * y[p] : 0.0;
            }
    }
    lr_cholesky_backward(k, l, bar_l, w, bar_m);
    LR(gram_backward)(d, k, inverse, u, bar_m, by_diag, by_u);
    for (ptrdiff_t i = 0; i < d; i++) out_mean[i] = (REAL)by_mean[i], out_diag[i] = (REAL)by_diag[i];
    for (ptrdiff_t i = 0; i < d * k; i++) out_u[i] = (REAL)by_u[i];
}

/* 1 - h of a coordinate that h = u^T M^-1 u / D all but fills: 1 / (1 + u^T M_i^-1 u / D), M_i without coordinate i. */
VM_INLINE double LR(without)(ptrdiff_t d, ptrdiff_t k, const double *inverse, const REAL *u, ptrdiff_t i, double *m,
                             double *l, double *v) {
    for (ptrdiff_t p = 0; p < k; p++)
        for (ptrdiff_t q = 0; q <= p; q++)
            m[p * k + q] = m[q * k + p] =
                LR(gram)(0, i, k, inverse, u, p, q) + LR(gram)(i + 1, d, k, inverse, u, p, q) - (p == q);
    lr_cholesky(k, m, l);
    double odds = 0.0;
    for (ptrdiff_t p = 0; p < k; p++) v[p] = u[i * k + p];
    lr_solve(k, l, 0.0, v);
    for (ptrdiff_t p = 0; p < k; p++) odds += v[p] * v[p];
    return 1.0 / (1.0 + odds * inverse[i]);
}

/* The diagonal of P^-1 (d,), 1/D (1 - h) with h = u^T M^-1 u / D; returns log det P^-1.  l receives the factor of M. */
VM_INLINE double LR(variances)(ptrdiff_t d, ptrdiff_t k, const REAL *diag, const REAL *u, double *inverse,
                               double *variance, double *m, double *l, double *more) {
    double *rest_m = more, *rest_l = rest_m + k * k, *v = rest_l + k * k, log_det = 0.0, most = 0.0;
    #pragma omp simd reduction(- : log_det)
    for (ptrdiff_t i = 0; i < d; i++) {
        inverse[i] = 1.0 / (double)diag[i];
        log_det -= vm_log((double)diag[i]);
    }
    LR(factor)(d, k, inverse, u, m, l);
    if (k == 1) {
        const double over_m = 1.0 / m[0];
        #pragma omp simd reduction(max : most)
        for (ptrdiff_t i = 0; i < d; i++) {
            double h = (double)u[i] * u[i] * inverse[i] * over_m;
            variance[i] = inverse[i] * (1.0 - h);
            most = h > most ? h : most;
        }
    } else
        for (ptrdiff_t i = 0; i < d; i++) {
            double h = 0.0;
            for (ptrdiff_t p = 0; p < k; p++) v[p] = u[i * k + p];
            lr_solve(k, l, 0.0, v);
            for (ptrdiff_t p = 0; p < k; p++) h += v[p] * v[p] * inverse[i];
            variance[i] = inverse[i] * (1.0 - h);
            most = h > most ? h : most;
        }
    for (ptrdiff_t i = 0; i < d && most > 0.9; i++)
        if (variance[i] < 0.1 * inverse[i])
            variance[i] = inverse[i] * LR(without)(d, k, inverse, u, i, rest_m, rest_l, v);
    for (ptrdiff_t p = 0; p < k; p++) log_det -= 2.0 * log(l[p * k + p]);
    return log_det;
}

VM_INLINE double LR(moments_of)(ptrdiff_t d, ptrdiff_t k, const REAL *diag, const REAL *u, REAL *out, double *work) {
    double *inverse = work, *variance = inverse + d, *m = variance + d, *l = m + k * k;
    const double log_det = LR(variances)(d, k, diag, u, inverse, variance, m, l, l + k * k);
    for (ptrdiff_t i = 0; i < d; i++) out[i] = (REAL)variance[i];
    return log_det;
}

/* Gradients by D and U (both set) of sum_i bar_i variance_i + bar_log_det log det P^-1, from M and its factor.
 *
 * dC = -C dP C: with a = D^-1 u (a row), T = M^-1 a, the variances pull back to M as sum_i bar_i T_i T_i^T. */
VM_INLINE void LR(pull_back)(ptrdiff_t d, ptrdiff_t k, const double *inverse, const REAL *u, const double *m,
                             const double *l, const double *bars, double bar_log_det, double *by_diag, double *by_u,
                             double *bar_m, double *v) {
    for (ptrdiff_t p = 0; p < k; p++) { /* -bar_log_det M^-1 */
        for (ptrdiff_t q = 0; q < k; q++) v[q] = p == q;
        lr_solve(k, l, 0.0, v);
        lr_solve_transposed(k, l, 0.0, v);
        for (ptrdiff_t q = 0; q < k; q++) bar_m[p * k + q] = -bar_log_det * v[q];
    }
    if (k == 1) {
        const double over_m = 1.0 / m[0];
        double total = 0.0;
        #pragma omp simd reduction(+ : total)
        for (ptrdiff_t i = 0; i < d; i++) {
            double over = inverse[i], bar = bars[i], t = u[i] * over * over_m;
            by_u[i] = -2.0 * bar * t * over;
            by_diag[i] = (2.0 * bar * t * u[i] * over - bar * over - bar_log_det) * over;
            total += bar * t * t;
        }
        bar_m[0] += total;
    } else
        for (ptrdiff_t i = 0; i < d; i++) {
            double inner = 0.0, bar = bars[i], over = inverse[i];
            for (ptrdiff_t p = 0; p < k; p++) v[p] = u[i * k + p] * over;
            lr_solve(k, l, 0.0, v);
            lr_solve_transposed(k, l, 0.0, v);
            for (ptrdiff_t p = 0; p < k; p++) {
                inner += v[p] * u[i * k + p] * over;
                by_u[i * k + p] = -2.0 * bar * v[p] * over;
                for (ptrdiff_t q = 0; q < k; q++) bar_m[p * k + q] += bar * v[p] * v[q];
            }
            by_diag[i] = (2.0 * bar * inner - bar * over - bar_log_det) * over;
        }
    LR(gram_backward)(d, k, inverse, u, bar_m, by_diag, by_u);
}

VM_INLINE void LR(moments_backward_of)(ptrdiff_t d, ptrdiff_t k, const REAL *diag, const REAL *u,
                                       const REAL *bar_variance, double bar_log_det, REAL *out_diag, REAL *out_u,
                                       double *work) {
    double *inverse = work, *bars = inverse + d, *by_diag = bars + d, *by_u = by_diag + 2 * d, *m = by_u + d * k;
    double *l = m + k * k, *bar_m = l + k * k, *v = bar_m + k * k;
    for (ptrdiff_t i = 0; i < d; i++) inverse[i] = 1.0 / (double)diag[i], bars[i] = bar_variance[i];
    LR(factor)(d, k, inverse, u, m, l);
    LR(pull_back)(d, k, inverse, u, m, l, bars, bar_log_det, by_diag, by_u, bar_m, v);
    for (ptrdiff_t i = 0; i < d; i++) out_diag[i] = (REAL)by_diag[i];
    for (ptrdiff_t i = 0; i < d * k; i++) out_u[i] = (REAL)by_u[i];
}

/* KL(N(mean, P^-1) || N(centre, diag(std^2))) */
VM_INLINE double LR(kl_of)(ptrdiff_t d, ptrdiff_t k, const REAL *mean, const REAL *diag, const REAL *u,
                           const REAL *centre, const REAL *std, double *work) {
    double *inverse = work, *variance = inverse + d, *m = variance + d, *l = m + k * k, twice = 0.0;
    const double log_det = LR(variances)(d, k, diag, u, inverse, variance, m, l, l + k * k);
    #pragma omp simd reduction(+ : twice)
    for (ptrdiff_t i = 0; i < d; i++) {
        double r = (double)mean[i] - centre[i], square = (double)std[i] * std[i];
        twice += (variance[i] + r * r) / square - 1.0 + vm_log(square);
    }
    return 0.5 * (twice - log_det);
}

/* Gradients by mean, D and U (all set) of bar times that divergence. */
VM_INLINE void LR(kl_backward_of)(ptrdiff_t d, ptrdiff_t k, const REAL *mean, const REAL *diag, const REAL *u,
                                  const REAL *centre, const REAL *std, double bar, REAL *out_mean, REAL *out_diag,
                                  REAL *out_u, double *work) {
    double *inverse = work, *bars = inverse + d, *by_diag = bars + d, *by_u = by_diag + 2 * d, *m = by_u + d * k;
    double *l = m + k * k, *bar_m = l + k * k, *v = bar_m + k * k;
    #pragma omp simd
    for (ptrdiff_t i = 0; i < d; i++) {
        double each = bar / ((double)std[i] * std[i]);
        inverse[i] = 1.0 / (double)diag[i];
        bars[i] = 0.5 * each;
        out_mean[i] = (REAL)(each * ((double)mean[i] - centre[i]));
    }
    LR(factor)(d, k, inverse, u, m, l);
    LR(pull_back)(d, k, inverse, u, m, l, bars, -0.5 * bar, by_diag, by_u, bar_m, v);
    for (ptrdiff_t i = 0; i < d; i++) out_diag[i] = (REAL)by_diag[i];
    for (ptrdiff_t i = 0; i < d * k; i++) out_u[i] = (REAL)by_u[i];
}

/* What is called: with a constant k = 1 the compiler knows that columns are contiguous. */
static void LR(sample)(ptrdiff_t n, ptrdiff_t stride, ptrdiff_t d, ptrdiff_t k, const REAL *mean, const REAL *diag,
                       const REAL *u, const REAL *eps, REAL *out, double *work) {
    if (k == 1)
        LR(sample_of)(n, stride, d, 1, mean, diag, u, eps, out, work);
    else
        LR(sample_of)(n, stride, d, k, mean, diag, u, eps, out, work);
}

static void LR(sample_backward)(ptrdiff_t n, ptrdiff_t stride, ptrdiff_t d, ptrdiff_t k, const REAL *diag,
                                const REAL *u, const REAL *eps, const REAL *g, REAL *out_mean, REAL *out_diag,
                                REAL *out_u, double *work) {
    if (k == 1)
        LR(sample_backward_of)(n, stride, d, 1, diag, u, eps, g, out_mean, out_diag, out_u, work);
    else
        LR(sample_backward_of)(n, stride, d, k, diag, u, eps, g, out_mean, out_diag, out_u, work);
}

static double LR(moments)(ptrdiff_t d, ptrdiff_t k, const REAL *diag, const REAL *u, REAL *variance, double *work) {
    return k == 1 ? LR(moments_of)(d, 1, diag, u, variance, work) : LR(moments_of)(d, k, diag, u, variance, work);
}

static void LR(moments_backward)(ptrdiff_t d, ptrdiff_t k, const REAL *diag, const REAL *u, const REAL *bar_variance,
                                 double bar_log_det, REAL *out_diag, REAL *out_u, double *work) {
    if (k == 1)
        LR(moments_backward_of)(d, 1, diag, u, bar_variance, bar_log_det, out_diag, out_u, work);
    else
        LR(moments_backward_of)(d, k, diag, u, bar_variance, bar_log_det, out_diag, out_u, work);
}

static double LR(kl)(ptrdiff_t d, ptrdiff_t k, const REAL *mean, const REAL *diag, const REAL *u, const REAL *centre,
                     const REAL *std, double *work) {
    return k == 1 ? LR(kl_of)(d, 1, mean, diag, u, centre, std, work)
                  : LR(kl_of)(d, k, mean, diag, u, centre, std, work);
}

static void LR(kl_backward)(ptrdiff_t d, ptrdiff_t k, const REAL *mean, const REAL *diag, const REAL *u,
                            const REAL *centre, const REAL *std, double bar, REAL *out_mean, REAL *out_diag,
                            REAL *out_u, double *work) {
    if (k == 1)
        LR(kl_backward_of)(d, 1, mean, diag, u, centre, std, bar, out_mean, out_diag, out_u, work);
    else
        LR(kl_backward_of)(d, k, mean, diag, u, centre, std, bar, out_mean, out_diag, out_u, work);
}
