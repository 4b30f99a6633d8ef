"""Every kernel against its NumPy twin: instruction sets, dtypes, shapes at the edges of tiles, thread counts."""

import numpy as np
import pytest

from sbpfast import _core
from sbpfast._reference import contract, random, ridge
from sbpfast._streams import to_panels, to_rows
from sbpfast.targets import LINKS
from sbpfast.targets._expectations import RULES
from sbpfast.targets._links import link_record

ISAS = _core.AVAILABLE_ISAS
THREADS = (1, 2, 3, 5)
PARAMETERS = {"student_t": (4.0, 0.7), "negative_binomial": (2.5,)}


def kernel(topic, name, isa):
    return getattr(_core.load(topic, isa), name)


def close(got, want, tolerance=1e-12):
    got, want = np.asarray(got), np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1.0, np.abs(want).max(initial=0.0)))


def same_for_all_threads(run):
    """The outputs of a call, once they are seen to have the same bits for every thread count."""
    first = run(1)
    for n_threads in THREADS[1:]:
        for a, b in zip(first, run(n_threads)):
            np.testing.assert_array_equal(a, b)
    return first


# -- random -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d,k", [(1, 1), (3, 3), (5, 2), (9, 9), (33, 33), (70, 70)])
def test_affine_panels(d, k, isa):
    r = np.random.default_rng(d)
    factor, mean, z = r.standard_normal((d, k)), r.standard_normal(d), r.standard_normal((130, k))
    panels = to_panels(z)
    lower = np.tril(factor) if d == k else factor

    def run(n_threads, matrix=factor, flag=False):
        out = np.empty((len(panels), d, 64))
        kernel("random", "affine_panels", isa)(matrix, mean, panels, out, flag, n_threads)
        return [to_rows(out, 130)]

    close(same_for_all_threads(run)[0], random.affine_panels(factor, mean, z))
    if d == k:
        close(run(1, lower, True)[0], random.affine_panels(lower, mean, z))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d", [1, 2, 5, 8, 31, 66])
def test_solve_transposed_panels(d, isa):
    r = np.random.default_rng(d)
    factor = np.tril(r.standard_normal((d, d)) / d) + np.eye(d)
    z = r.standard_normal((200, d))
    panels = to_panels(z)

    def run(n_threads):
        out = np.empty_like(panels)
        kernel("random", "solve_transposed_panels", isa)(factor, panels, out, n_threads)
        return [to_rows(out, 200)]

    close(same_for_all_threads(run)[0], random.solve_transposed_panels(factor, z))


# -- contract ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n,m", [(1, 1), (3, 5), (64, 7), (65, 8), (1000, 33), (5, 2000)])
def test_weighted_sums(n, m, dtype, isa):
    r = np.random.default_rng(n + m)
    x, w = r.standard_normal((n, m)).astype(dtype), r.random(n)
    for weights in (None, w):

        def run(n_threads, weights=weights):
            out = np.empty(m)
            kernel("contract", "weighted_sum", isa)(x, weights, out, n_threads)
            return [out]

        close(same_for_all_threads(run)[0], contract.weighted_sum(x, weights))
    if dtype == np.float64:
        out = np.empty(m)
        kernel("contract", "weighted_sum_of_squares", isa)(x, w, out, 2)
        close(out, contract.weighted_sum_of_squares(x, w))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n,m,p", [(1, 1, 1), (5, 3, 2), (7, 9, 8), (130, 49, 10), (6, 1500, 17)])
def test_products_with_jacobians(n, m, p, dtype, isa):
    r = np.random.default_rng(n + m + p)
    x, each = r.standard_normal((n, m)).astype(dtype), r.standard_normal((n, m, p)).astype(dtype)
    shared, start = r.standard_normal((m, p)), r.standard_normal((n, p))

    def run_each(n_threads):
        out = start.copy()
        kernel("contract", "per_sample", isa)(x, each, 0.5, out, n_threads)
        return [out]

    def run_shared(n_threads):
        out = start.copy()
        kernel("contract", "per_sample_shared", isa)(x, shared, 0.5, out, n_threads)
        return [out]

    close(same_for_all_threads(run_each)[0], start + contract.per_sample(x, each, 0.5))
    close(same_for_all_threads(run_shared)[0], start + contract.per_sample_shared(x, shared, 0.5))


# -- ridge ------------------------------------------------------------------------------------------------------------


def terms(link, rows, d, n, seed=0):
    """The arrays of a ridge target and some points."""
    r = np.random.default_rng(seed)
    y = (r.random(rows) < 0.5).astype(float)
    a, offset, weights = r.standard_normal((rows, d)) / np.sqrt(d), r.standard_normal(rows), r.standard_normal(rows)
    return a, offset, y, weights, LINKS[link].code, np.array(PARAMETERS.get(link, (0.0,))), r.standard_normal((n, d))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("link", list(LINKS))
def test_links(link, isa):
    r = np.random.default_rng(1)
    t = np.concatenate([r.uniform(-35, 35, 500), r.standard_normal(500), [0.0, -0.0]])[None]
    y = (r.random(t.shape[1]) < 0.5).astype(float)
    out = np.empty((3, *t.shape))
    parameters = PARAMETERS.get(link, ())
    kernel("ridge", "link_derivatives", isa)(t, y, LINKS[link].code, np.array(parameters or (0.0,)), *out, 1)
    for got, want in zip(out[:, 0], ridge.link_derivatives(t[0], y, link, parameters)):
        # the twin's probit curvature cancels like t^2 in its left tail
        np.testing.assert_allclose(got, want, rtol=1e-12 if link == "probit" else 1e-13, atol=3e-16)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("link", ["softplus", "logistic", "student_t"])
@pytest.mark.parametrize(
    "rows,d,n,m",
    [(1, 1, 1, 1), (20, 5, 16, 4), (33, 3, 64, 64), (31, 7, 130, 1), (70, 9, 1024, 128), (200, 4, 300, 1024)],
)
def test_ridge_moments(link, rows, d, n, m, isa):
    a, offset, y, w, code, parameters, x = terms(link, rows, d, n)
    groups, panels = -(-n // m), to_panels(x)

    def run(n_threads):
        values = np.zeros(len(panels) * 64)
        slopes, curvatures = np.zeros((groups, rows)), np.zeros((groups, rows))
        kernel("ridge", "ridge_moments", isa)(
            a, offset, y, w, code, parameters, panels, n, m, values, slopes, curvatures, n_threads
        )
        return values[:n], slopes, curvatures

    want = ridge.ridge_moments(a, offset, y, w, link, PARAMETERS.get(link, ()), x, m)
    for got, expected in zip(same_for_all_threads(run), want):
        close(got, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows,d,n", [(1, 1, 1), (33, 5, 70), (700, 6, 100), (40, 9, 600)])
def test_ridge_values(rows, d, n, isa):
    a, offset, y, w, code, parameters, x = terms("logistic", rows, d, n)
    panels = to_panels(x)

    def run(n_threads):
        values, grads = np.zeros(len(panels) * 64), np.zeros_like(panels)
        kernel("ridge", "ridge_values", isa)(a, offset, y, w, code, parameters, panels, values, grads, n_threads)
        return values[:n], to_rows(grads, n)

    for got, want in zip(same_for_all_threads(run), ridge.ridge_values(a, offset, y, w, "logistic", (), x)):
        close(got, want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d,n", [(1, 1), (5, 64), (9, 130)])
def test_diagonal_quadratic(d, n, isa):
    r = np.random.default_rng(d)
    x, precision, mean = r.standard_normal((n, d)), r.standard_normal(d), r.standard_normal(d)
    panels = to_panels(x)

    def run(n_threads):
        values, total = np.empty(len(panels) * 64), np.zeros(d)
        kernel("ridge", "diagonal_quadratic", isa)(panels, n, precision, mean, 1.5, values, total, n_threads)
        return values[:n], total

    for got, want in zip(same_for_all_threads(run), ridge.diagonal_quadratic(x, precision, mean, 1.5)):
        close(got, want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows,d", [(1, 1), (63, 4), (65, 9), (300, 33)])
def test_projected_moments(rows, d, isa):
    r = np.random.default_rng(rows)
    a, offset, mean = r.standard_normal((rows, d)), r.standard_normal(rows), r.standard_normal(d)
    for factor, lower in ((np.tril(r.standard_normal((d, d))), True), (r.standard_normal((d, 3)), False)):

        def run(n_threads, factor=factor, lower=lower):
            m, t = np.empty(rows), np.empty(rows)
            kernel("ridge", "projected_moments", isa)(
                a, offset, mean, np.ascontiguousarray(factor), lower, m, t, n_threads
            )
            return m, t

        for got, want in zip(same_for_all_threads(run), ridge.projected_moments(a, offset, mean, factor)):
            close(got, want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("link", [name for name in LINKS if name not in ("exp", "poisson", "gamma", "cloglog")])
def test_expectations(link, isa):
    r = np.random.default_rng(2)
    m, t = r.standard_normal(70) * 3, np.concatenate([np.exp(r.uniform(-6, 3, 69)), [0.0]])
    y = (r.random(70) < 0.5).astype(float)
    parameters = PARAMETERS.get(link, ())

    def run(n_threads):
        out = np.empty((3, 70))
        kernel("ridge", "expectations", isa)(m, t, y, link_record(link, *parameters), RULES, out, n_threads)
        return [out]

    np.testing.assert_allclose(
        same_for_all_threads(run)[0],
        ridge.expectations(m, t, y, link, parameters),
        rtol=2e-12,
        atol=1e-14,
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows,p,d", [(1, 1, 1), (64, 3, 9), (65, 8, 8), (700, 33, 33), (300, 5, 17)])
def test_weighted_product(rows, p, d, isa):
    r = np.random.default_rng(rows)
    b, w, a = r.standard_normal((rows, p)), r.standard_normal(rows), r.standard_normal((rows, d))

    def run(n_threads, left=b, symmetric=False):
        out = np.full((left.shape[1], d), np.nan)
        kernel("ridge", "weighted_product", isa)(left, w, a, symmetric, out, n_threads)
        return [out]

    close(same_for_all_threads(run)[0], ridge.weighted_product(b, w, a))
    symmetric = run(2, a, True)[0]
    close(symmetric, ridge.weighted_product(a, w, a))
    np.testing.assert_array_equal(symmetric, symmetric.T)


def test_instruction_sets_agree_to_the_last_digits():
    a, offset, y, w, code, parameters, x = terms("logistic", 150, 12, 256)
    panels, results = to_panels(x), []
    for isa in ISAS:
        values, slopes, curvatures = np.zeros(256), np.zeros((1, 150)), np.zeros((1, 150))
        kernel("ridge", "ridge_moments", isa)(
            a, offset, y, w, code, parameters, panels, 256, 1024, values, slopes, curvatures, 1
        )
        results.append(np.concatenate([values, slopes[0], curvatures[0]]))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=2e-13, atol=2e-14)
