/* Gaussian integrals of the links: E phi, E phi' and E phi'' under N(m_j, t_j^2), for 64 rows at a time.
 *
 * One table of rules (RULES in sbpfast/targets/_expectations.py) says which is taken; t is measured in units of the
 * distance `pole` of the link's nearest singularity from the real axis:
 *
 *     closed form             where the link has one: e^t, y t - e^t, (t - y)^2, -t - y e^(-t)
 *     Gauss-Hermite           small t: 3 to 16 nodes, each rule as far as it is exact to rounding
 *     trapezoid in z          E g(m + t z); converges geometrically, with 45 t/pole nodes
 *     logistic density        softplus beyond t = `wide`: softplus is (x)_+ smoothed by that density; and so is
 *                             -log(1 - exp(-e^(-x))) by one of its own
 *     trapezoid in asinh      any other link beyond t = `widest` poles: x = centre + pole sinh(s) keeps the singularities,
 *                             which lie above and below the centre, at a distance in s; the nodes grow like log t
 *
 * The complementary log-log link is mixed: y log(1 - exp(-e^t)) by these rules and -(1 - y) e^t in closed form.
 */
#pragma once
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "links.h"
#include "panel.h"

typedef struct {
    const link_row *link;
    const double *p; /* the link's parameters */
    double pole;
    ptrdiff_t rules;
    const double *sizes, *reach, *nodes, *weights; /* Gauss-Hermite, smallest first; nodes of all, one after another */
    ptrdiff_t wide_size;
    const double *wide_nodes, *wide_weights; /* the Gauss rule of the density that softens (x)_+ */
    double wide, widest;
} integral;

static const double ROOT_TWO_PI_INVERSE = 0.3989422804014327;

/* From the link's record (code, pole, parameters) and the table of rules, as Python packs them. */
static integral open_integral(const double *record, const double *table) {
    integral q;
    ptrdiff_t total = (ptrdiff_t)table[1];
    q.link = link_at((int)record[0]), q.pole = record[1], q.p = record + 2;
    q.rules = (ptrdiff_t)table[0], q.wide_size = (ptrdiff_t)table[2], q.wide = table[3], q.widest = table[4];
    q.sizes = table + 5, q.reach = q.sizes + q.rules, q.nodes = q.reach + q.rules, q.weights = q.nodes + total;
    q.wide_nodes = q.weights + total + 2 * q.wide_size * q.link->density, q.wide_weights = q.wide_nodes + q.wide_size;
    return q;
}

static void add_node(const integral *q, const double *m, const double *t, const double *y, double z, double weight,
                     double *value, double *slope, double *curvature) {
    double x[LANES], v[LANES], s[LANES], c[LANES];
    for (int l = 0; l < LANES; l++) x[l] = m[l] + t[l] * z;
    q->link->sweep(LANES, x, 0.0, y, q->p, v, s, c);
    for (int l = 0; l < LANES; l++) {
        value[l] += weight * v[l];
        slope[l] += weight * s[l];
        curvature[l] += weight * c[l];
    }
}

/* E softplus(m + t z) = E (m - x + t z)_+ over x of that density; y t - softplus(t) = -(1 - y) softplus(t) - y softplus(-t) */
static void wide_softplus(const integral *q, double m, double t, double y, double *value, double *slope,
                          double *curvature) {
    double sign = q->link->softplus, up = sign > 0.0 ? 1.0 : y - 1.0, down = sign > 0.0 ? 0.0 : -y;
    *value = *slope = *curvature = 0.0;
    for (ptrdiff_t k = 0; k < q->wide_size; k++) {
        double u = (m - q->wide_nodes[k]) / t, w = q->wide_weights[k], pdf = ROOT_TWO_PI_INVERSE * exp(-0.5 * u * u);
        double below = 0.5 * erfc(-0.7071067811865476 * u), above = 0.5 * erfc(0.7071067811865476 * u);
        *value += w * t * (up * (pdf + u * below) + down * (pdf - u * above));
        *slope += w * (up * below - down * above);
        *curvature += w * (up + down) * pdf / t;
    }
}

#define STEP 0.05 /* in s: normal densities within 10 sd of the centre are a tenth wide there, or wider */
#define FAR 10.0  /* standard deviations from the centre, beyond which no singularity matters */
#define CUT 9.0   /* standard deviations that are integrated over */

/* Rows (up to 64) that are all wide, each with its own nodes and weights. */
static void wide_any(const integral *q, ptrdiff_t n, const double *m, const double *t, const double *y, double *value,
                     double *slope, double *curvature) {
    double centre[LANES], x[LANES], w[LANES], v[LANES], s[LANES], c[LANES], first = 0.0, last = 0.0;
    for (ptrdiff_t l = 0; l < n; l++) {
        centre[l] = q->link->centre == NULL ? 0.0 : q->link->centre(y[l], q->p);
        double low = asinh((m[l] - CUT * t[l] - centre[l]) / q->pole), high = asinh((m[l] + CUT * t[l] - centre[l]) / q->pole);
        first = l == 0 ? low : fmin(first, low), last = l == 0 ? high : fmax(last, high);
        value[l] = slope[l] = curvature[l] = 0.0;
    }
    for (ptrdiff_t k = (ptrdiff_t)floor(first / STEP); k <= (ptrdiff_t)ceil(last / STEP); k++) {
        double reach = q->pole * sinh(k * STEP), stretch = STEP * ROOT_TWO_PI_INVERSE * q->pole * cosh(k * STEP);
        for (ptrdiff_t l = 0; l < n; l++) {
            double z = (centre[l] + reach - m[l]) / t[l];
            int inside = fabs(z) <= CUT + 1.0;
            x[l] = inside ? centre[l] + reach : m[l];
            w[l] = inside ? stretch / t[l] * exp(-0.5 * z * z) : 0.0;
        }
        q->link->sweep(n, x, 0.0, y, q->p, v, s, c);
        for (ptrdiff_t l = 0; l < n; l++) value[l] += w[l] * v[l], slope[l] += w[l] * s[l], curvature[l] += w[l] * c[l];
    }
}

/* The rows of a tile that are wider than the trapezoid rule serves. */
static void wide_rows(const integral *q, double limit, const double *m, const double *t, const double *y, double *value,
                      double *slope, double *curvature) {
    double mm[LANES], tt[LANES], yy[LANES], v[LANES], s[LANES], c[LANES];
    ptrdiff_t row[LANES], n = 0;
    for (int l = 0; l < LANES; l++) {
        if (!(t[l] > limit)) continue;
        double centre = q->link->centre == NULL ? 0.0 : q->link->centre(y[l], q->p);
        if (q->link->softplus != 0.0)
            wide_softplus(q, m[l], t[l], y[l], value + l, slope + l, curvature + l);
        else if (fabs(m[l] - centre) > FAR * t[l] || !isfinite(t[l]))
            continue; /* the trapezoid rule in z was exact: phi is smooth wherever there is mass */
        else
            mm[n] = m[l], tt[n] = t[l], yy[n] = y[l], row[n++] = l;
    }
    if (n > 0) wide_any(q, n, mm, tt, yy, v, s, c);
    for (ptrdiff_t i = 0; i < n; i++) value[row[i]] = v[i], slope[row[i]] = s[i], curvature[row[i]] = c[i];
}

/* E phi, E phi' and E phi'' of 64 rows, by the cheapest rule that is exact to rounding for their largest t. */
static void integrate_numerically(const integral *q, const double *m, const double *t, const double *y, double *value,
                                  double *slope, double *curvature) {
    double widest = 0.0, limit = q->link->softplus != 0.0 ? q->wide : q->widest * q->pole;
    ptrdiff_t rule = 0, first = 0;
    for (int l = 0; l < LANES; l++) widest = fmax(widest, t[l]);
    while (rule < q->rules && widest > q->reach[rule] * q->pole) first += (ptrdiff_t)q->sizes[rule++];
    memset(value, 0, LANES * sizeof(double));
    memset(slope, 0, LANES * sizeof(double));
    memset(curvature, 0, LANES * sizeof(double));
    if (rule < q->rules) {
        for (ptrdiff_t k = first; k < first + (ptrdiff_t)q->sizes[rule]; k++)
            add_node(q, m, t, y, q->nodes[k], q->weights[k], value, slope, curvature);
        return;
    }
    /* |z| <= 8.4 leaves 5e-17 of the mass */
    double h = fmin(0.7, 0.4 * q->pole / (3.141592653589793 * fmin(widest, limit)));
    for (ptrdiff_t k = -(ptrdiff_t)ceil(8.4 / h); k <= (ptrdiff_t)ceil(8.4 / h); k++)
        add_node(q, m, t, y, k * h, h * exp(-0.5 * (k * h) * (k * h)) * ROOT_TWO_PI_INVERSE, value, slope, curvature);
    if (widest > limit) wide_rows(q, limit, m, t, y, value, slope, curvature);
}

/* The same in closed form, by these rules, or in part by either. */
static void integrate_tile(const integral *q, const double *m, const double *t, const double *y, double *value,
                           double *slope, double *curvature) {
    double one[LANES], v[LANES], s[LANES], c[LANES];
    if (q->link->closed == NULL)
        integrate_numerically(q, m, t, y, value, slope, curvature);
    else
        q->link->closed(LANES, m, t, y, q->p, value, slope, curvature);
    if (!q->link->mixed) return;
    for (int l = 0; l < LANES; l++) one[l] = 1.0;
    integrate_numerically(q, m, t, one, v, s, c);
    for (int l = 0; l < LANES; l++) {
        value[l] += y[l] * v[l];
        slope[l] += y[l] * s[l];
        curvature[l] += y[l] * c[l];
    }
}
