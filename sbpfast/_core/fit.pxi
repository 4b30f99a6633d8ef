"""The exact step of a Gaussian fit to a ridge target, in the coordinates z of the Gaussian itself, x = mean + L z.

Working in z keeps every product well scaled: at the optimum the Hessian's mean is minus the identity, however badly
scaled or correlated x is.  One pass over A does everything: 64 rows are projected to forms F = A L, their means m and
standard deviations t = |F_j| give one-dimensional integrals, and those go back into L^T E[grad] and L^T E[Hess] L
while F is still in the cache.  Rows are cut into groups whose number depends on the shapes alone and whose sums are
added in order, so the bits do not depend on the number of threads.
"""

include "common.pxi"

from cython.parallel cimport threadid
from libc.math cimport M_PI, NAN, ceil, erfc, exp, fmax, fmin, sqrt
from libc.string cimport memset

cdef extern from "links.h" nogil:
    ctypedef void (*link_sweep_fn)(Py_ssize_t n, const double *t, double shift, const double *y, const double *params,
                                   double *value, double *slope, double *curvature)
    link_sweep_fn link_sweep(int link)

cdef extern from "transpose.h" nogil:
    void transpose(Py_ssize_t n, Py_ssize_t d, const double *a, Py_ssize_t a_stride, double *out, Py_ssize_t out_stride)


cdef struct Links:
    link_sweep_fn sweep
    const double *params
    double pole
    double lift                # links e^t: E phi(x) = phi(m + t^2/2) up to lift * y t^2/2
    bint exponential
    const Py_ssize_t *sizes    # nodes of each Gauss-Hermite rule, smallest first
    const double *reach        # largest t / pole each rule serves
    const double *nodes        # of all rules, one after another, then their weights
    const double *node_weights
    Py_ssize_t rules
    double sign                # of softplus in the link: 1 softplus, -1 logistic, 0 any other
    const double *wide_nodes   # Gauss rule of the logistic density
    const double *wide_weights
    Py_ssize_t wide_size
    double wide                # t beyond which it serves
    double widest              # t / pole beyond which nothing does


def whitened_moments(const double[:, ::1] a, const double[::1] offset, const double[::1] y, const double[::1] weights,
                     int link, const double[::1] params, double pole, bint exponential, double lift,
                     const Py_ssize_t[::1] sizes, const double[::1] reach, const double[::1] nodes,
                     const double[::1] node_weights, double sign, const double[::1] wide_nodes,
                     const double[::1] wide_weights, double wide, double widest, const double[::1] mean,
                     const double[:, ::1] factor, double spread,
                     double[::1] gradient, double[:, ::1] curvature, int n_threads):
    """The ridge part of E f, L^T E[grad f] and L^T E[Hess f] L under N(mean, spread^2 L L^T), L lower triangular.

    `spread` is 1, or 0 for the values at the mean itself (L only sets the coordinates then).  Returns E f.
    """
    cdef Py_ssize_t rows = a.shape[0], d = a.shape[1], padded = ceil_div(d, 8) * 8
    # at most 64 groups of whole panels, and partial sums of at most 64 MB
    cdef Py_ssize_t most = max(1, min(64, (1 << 23) // (d * padded)))
    cdef Py_ssize_t group = max(LANES, ceil_div(ceil_div(rows, most), LANES) * LANES), groups = ceil_div(rows, group)
    cdef Py_ssize_t i, j, g, size = d * padded + padded
    gradient[:] = 0.0
    curvature[:, :] = 0.0
    if rows == 0:
        return 0.0
    cdef Links links = Links(link_sweep(link), &params[0], pole, lift, exponential, &sizes[0], &reach[0], &nodes[0],
                             &node_weights[0], sizes.shape[0], sign, &wide_nodes[0], &wide_weights[0],
                             wide_nodes.shape[0], wide, widest)
    cdef double[:, ::1] partial = np.zeros((groups, size))
    cdef double[::1] values = np.zeros(groups)
    cdef int threads = threads_for(rows * d * (d + 20.0) / 32.0, n_threads)  # alone below half a millisecond
    cdef double[:, ::1] scratch = np.zeros((threads, 4 * LANES * padded))
    cdef double value = 0.0
    cdef Py_ssize_t step = stretch_of(rows * d * (d + 20.0), groups, threads), part
    for part in range(ceil_div(groups, step)):
        for g in prange(part * step, end_of(part, step, groups), nogil=True, num_threads=threads, schedule="dynamic"):
            _whitened_group(a, offset, y, weights, &links, mean, factor, spread, g * group, min(rows, (g + 1) * group),
                            &scratch[threadid(), 0], &values[g], &partial[g, 0])
        PyErr_CheckSignals()
    with nogil:
        for g in range(groups):
            value += values[g]
            for i in range(d):
                gradient[i] += partial[g, d * padded + i]
                for j in range(i, d):
                    curvature[i, j] += partial[g, i * padded + j]
        for i in range(d):
            for j in range(i):
                curvature[i, j] = curvature[j, i]
    return value


cdef void _whitened_group(const double[:, ::1] a, const double[::1] offset, const double[::1] y,
                          const double[::1] weights, const Links *links, const double[::1] mean,
                          const double[:, ::1] factor, double spread, Py_ssize_t start, Py_ssize_t stop,
                          double *scratch, double *value, double *out) noexcept nogil:
    cdef Py_ssize_t d = a.shape[1], padded = ceil_div(d, 8) * 8, tile, j, i, l, lanes, first
    cdef double *panel = scratch                    # A^T of 64 rows, (d, 64)
    cdef double *forms = scratch + LANES * padded   # F^T, (d, 64)
    cdef double *rows = forms + LANES * padded      # F, (64, padded)
    cdef double *scaled = rows + LANES * padded     # diag(w E phi'') F, transposed
    cdef double[LANES] m, t, yy, w, v, s, c
    for tile in range(ceil_div(stop - start, LANES)):
        j = start + tile * LANES
        lanes = min(LANES, stop - j)
        for l in range(LANES):
            # lanes beyond the last row repeat it with weight 0
            first = j + min(l, lanes - 1)
            yy[l] = y[first]
            m[l] = offset[first]
            w[l] = weights[first] if l < lanes else 0.0
        transpose(lanes, d, &a[j, 0], d, panel, LANES)
        for l in range(lanes, LANES):
            for i in range(d):
                panel[i * LANES + l] = a[stop - 1, i]
        panel_product(1, LANES, d, &mean[0], 0, 1, panel, LANES, m, LANES, 1)
        memset(t, 0, sizeof(t))
        for i in range(0, d, 4):  # a column of the factor starts at its diagonal
            panel_product(min(4, d - i), LANES, d - i, &factor[i, i], 1, d, panel + i * LANES, LANES,
                          forms + i * LANES, LANES, 0)
        for i in range(d):
            for l in range(LANES):
                t[l] += forms[i * LANES + l] * forms[i * LANES + l]
        for l in range(LANES):
            t[l] = spread * sqrt(t[l])
        _expectations(links, m, t, yy, v, s, c)
        for l in range(LANES):
            c[l] *= w[l]
            v[l] *= w[l]
            s[l] *= w[l]
        value[0] += total(LANES, v)
        for i in range(d):
            for l in range(LANES):
                scaled[i * LANES + l] = c[l] * forms[i * LANES + l]
            out[d * padded + i] += _dot(s, forms + i * LANES)
        transpose(d, LANES, forms, LANES, rows, padded)
        for i in range(0, d, 4):
            first = (i // 8) * 8
            panel_product(min(4, d - i), padded - first, LANES, scaled + i * LANES, LANES, 1, rows + first, padded,
                          out + i * padded + first, padded, 1)


cdef inline double _dot(const double *s, const double *forms) noexcept nogil:
    cdef double[LANES] product
    cdef Py_ssize_t l
    for l in range(LANES):
        product[l] = s[l] * forms[l]
    return total(LANES, product)


cdef void _expectations(const Links *links, const double *m, const double *t, const double *y, double *value,
                        double *slope, double *curvature) noexcept nogil:
    """E phi, E phi', E phi'' of 64 rows by the cheapest rule that is exact to rounding for their largest t."""
    cdef double widest = 0.0
    cdef Py_ssize_t l, rule = 0, first = 0
    cdef double[LANES] x
    for l in range(LANES):
        widest = fmax(widest, t[l])
    if links.exponential:
        for l in range(LANES):
            x[l] = m[l] + 0.5 * t[l] * t[l]
        links.sweep(LANES, x, 0.0, y, links.params, value, slope, curvature)
        for l in range(LANES):
            value[l] -= links.lift * y[l] * 0.5 * t[l] * t[l]
        return
    while rule < links.rules and widest > links.reach[rule] * links.pole:
        first += links.sizes[rule]
        rule += 1
    memset(value, 0, LANES * sizeof(double))
    memset(slope, 0, LANES * sizeof(double))
    memset(curvature, 0, LANES * sizeof(double))
    if rule < links.rules:
        for l in range(links.sizes[rule]):
            _add_node(links, m, t, y, links.nodes[first + l], links.node_weights[first + l], value, slope, curvature)
        return
    # the trapezoid rule in z converges geometrically, 45 t/pole nodes; |z| <= 8.4 leaves 5e-17 of the mass
    cdef double limit = links.wide if links.sign != 0.0 else links.widest * links.pole
    cdef double h = fmin(0.7, 0.4 * links.pole / (M_PI * fmin(widest, limit))), z
    cdef Py_ssize_t half = <Py_ssize_t> ceil(8.4 / h)
    for l in range(-half, half + 1):
        z = l * h
        _add_node(links, m, t, y, z, h * exp(-0.5 * z * z) * 0.3989422804014327, value, slope, curvature)
    for l in range(LANES):
        if t[l] > limit:
            if links.sign != 0.0:
                _wide_softplus(links, m[l], t[l], y[l], value + l, slope + l, curvature + l)
            else:
                value[l] = slope[l] = curvature[l] = NAN


cdef void _wide_softplus(const Links *links, double m, double t, double y, double *value, double *slope,
                         double *curvature) noexcept nogil:
    """softplus is (x)_+ smoothed by the logistic density: E softplus(m + t z) = E (m - x + t z)_+ over logistic x."""
    cdef double e = 0.0, s = 0.0, c = 0.0, u, cdf, pdf
    cdef Py_ssize_t k
    for k in range(links.wide_size):
        u = (m - links.wide_nodes[k]) / t
        pdf = 0.3989422804014327 * exp(-0.5 * u * u)
        cdf = 0.5 * erfc(-0.7071067811865476 * u)
        e += links.wide_weights[k] * t * (u * cdf + pdf)
        s += links.wide_weights[k] * cdf
        c += links.wide_weights[k] * pdf / t
    cdef double linear = y if links.sign < 0.0 else 0.0
    value[0] = links.sign * e + linear * m
    slope[0] = links.sign * s + linear
    curvature[0] = links.sign * c


cdef inline void _add_node(const Links *links, const double *m, const double *t, const double *y, double z,
                           double weight, double *value, double *slope, double *curvature) noexcept nogil:
    cdef double[LANES] x, v, s, c
    cdef Py_ssize_t l
    for l in range(LANES):
        x[l] = m[l] + t[l] * z
    links.sweep(LANES, x, 0.0, y, links.params, v, s, c)
    for l in range(LANES):
        value[l] += weight * v[l]
        slope[l] += weight * s[l]
        curvature[l] += weight * c[l]
