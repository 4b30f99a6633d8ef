/* The softmax of K classes, the first of which has the linear predictor 0: P = K - 1 predictors a row.
 *
 * With eta_0 = 0 the log likelihood of class y is eta_y - log sum e^eta; its slope in eta_k is [y = k] - p_k, its second
 * derivative p_k p_l - [k = l] p_k.  Lanes are points (draws or nodes) of one row.
 */
#pragma once
#include <math.h>
#include <stddef.h>
#include "panel.h"
#include "vmath.h"

/* Predictors eta (P, stride) of up to 64 lanes become probabilities; value is the log likelihood of class y. */
static void softmax_lanes(ptrdiff_t lanes, ptrdiff_t p, double *eta, ptrdiff_t stride, ptrdiff_t y, double *value) {
    double top[LANES], sum[LANES];
    for (ptrdiff_t l = 0; l < lanes; l++) top[l] = 0.0, value[l] = 0.0;
    for (ptrdiff_t k = 0; k < p; k++)
        for (ptrdiff_t l = 0; l < lanes; l++) top[l] = fmax(top[l], eta[k * stride + l]);
    if (y > 0)
        for (ptrdiff_t l = 0; l < lanes; l++) value[l] = eta[(y - 1) * stride + l];
    _Pragma("omp simd") for (ptrdiff_t l = 0; l < lanes; l++) sum[l] = vm_exp(-top[l]);
    for (ptrdiff_t k = 0; k < p; k++) {
        double *e = eta + k * stride;
        _Pragma("omp simd") for (ptrdiff_t l = 0; l < lanes; l++) {
            e[l] = vm_exp(e[l] - top[l]);
            sum[l] += e[l];
        }
    }
    _Pragma("omp simd") for (ptrdiff_t l = 0; l < lanes; l++) {
        value[l] = (value[l] - top[l]) - vm_log(sum[l]);
        sum[l] = 1.0 / sum[l];
    }
    for (ptrdiff_t k = 0; k < p; k++)
        for (ptrdiff_t l = 0; l < lanes; l++) eta[k * stride + l] *= sum[l];
}

/* Adds sum_l w_l p_k and sum_l w_l p_k p_l of the lanes to first (P,) and second (P, P), of which the upper half is kept. */
static void softmax_sums(ptrdiff_t lanes, ptrdiff_t p, const double *prob, ptrdiff_t stride, const double *w, double *first,
                         double *second) {
    double scaled[LANES], product[LANES];
    for (ptrdiff_t k = 0; k < p; k++) {
        for (ptrdiff_t l = 0; l < lanes; l++) scaled[l] = (w ? w[l] : 1.0) * prob[k * stride + l];
        first[k] += sum(lanes, scaled);
        for (ptrdiff_t j = k; j < p; j++) {
            for (ptrdiff_t l = 0; l < lanes; l++) product[l] = scaled[l] * prob[j * stride + l];
            second[k * p + j] += sum(lanes, product);
        }
    }
}

/* E p p^T - diag(E p) in full, from the sums of the upper half. */
static void softmax_curvature(ptrdiff_t p, const double *first, double *second) {
    for (ptrdiff_t k = 0; k < p; k++) {
        second[k * p + k] -= first[k];
        for (ptrdiff_t j = 0; j < k; j++) second[k * p + j] = second[j * p + k];
    }
}

/* The lower factor of a covariance (P, P), of which the lower half is overwritten; what has no variance gets none. */
static void softmax_factor(ptrdiff_t p, double *cov) {
    for (ptrdiff_t j = 0; j < p; j++) {
        double pivot = cov[j * p + j];
        for (ptrdiff_t i = 0; i < j; i++) pivot -= cov[j * p + i] * cov[j * p + i];
        double root = sqrt(fmax(pivot, 0.0)), inverse = root > 0.0 ? 1.0 / root : 0.0;
        cov[j * p + j] = root;
        for (ptrdiff_t r = j + 1; r < p; r++) {
            double s = cov[r * p + j];
            for (ptrdiff_t i = 0; i < j; i++) s -= cov[r * p + i] * cov[j * p + i];
            cov[r * p + j] = s * inverse;
        }
    }
}

/* E of value, probabilities and curvature of one row under N(m, C C^T) by nodes (P, n) and weights; scratch P * 64. */
static void softmax_expectation(ptrdiff_t p, const double *m, const double *factor, ptrdiff_t y, ptrdiff_t n,
                                const double *nodes, const double *weights, double *scratch, double *value, double *first,
                                double *second) {
    double v[LANES];
    *value = 0.0;
    for (ptrdiff_t k = 0; k < p; k++) first[k] = 0.0;
    for (ptrdiff_t k = 0; k < p * p; k++) second[k] = 0.0;
    for (ptrdiff_t start = 0; start < n; start += LANES) {
        ptrdiff_t lanes = n - start < LANES ? n - start : LANES;
        for (ptrdiff_t k = 0; k < p; k++) {
            double *eta = scratch + k * LANES;
            for (ptrdiff_t l = 0; l < lanes; l++) eta[l] = m[k];
            for (ptrdiff_t i = 0; i <= k; i++) {
                const double *z = nodes + i * n + start;
                for (ptrdiff_t l = 0; l < lanes; l++) eta[l] += factor[k * p + i] * z[l];
            }
        }
        softmax_lanes(lanes, p, scratch, LANES, y, v);
        for (ptrdiff_t l = 0; l < lanes; l++) v[l] *= weights[start + l];
        *value += sum(lanes, v);
        softmax_sums(lanes, p, scratch, LANES, weights + start, first, second);
    }
    softmax_curvature(p, first, second);
}
