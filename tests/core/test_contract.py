"""The bare contractions against einsum in float64."""

import numpy as np
import pytest
from statistics_helpers import assert_unbiased_over_runs

import sbpfast as sb

C = sb.contract
SHAPES = [
    (1, 1, 1),
    (1, 5, 7),
    (2, 3, 8),
    (63, 4, 9),
    (64, 1, 17),
    (65, 7, 1),
    (257, 6, 8),
    (1000, 3, 3),
    (5, 40, 17),
    (130, 33, 2),
]
DTYPES = [np.float64, np.float32]


def inputs(n, d, p, dtype=np.float64, seed=0):
    r = np.random.default_rng([seed, n, d, p])
    h = r.standard_normal((n, d, d))
    return {
        "g": r.standard_normal((n, d)).astype(dtype),
        "H": (h + h.transpose(0, 2, 1)).astype(dtype),
        "diagonal": r.standard_normal((n, d)).astype(dtype),
        "jac_mean": r.standard_normal((d, p)).astype(dtype),
        "jac_means": r.standard_normal((n, d, p)).astype(dtype),
        "jac_cov": r.standard_normal((d, d, p)).astype(dtype),  # not symmetric: what is contracted is all of it
        "jac_covs": r.standard_normal((n, d, d, p)).astype(dtype),
        "weights": r.random(n).astype(dtype) + np.array(0.1, dtype),
        "A": r.standard_normal((d + 3, d)).astype(dtype),
        "w": r.standard_normal((n, d + 3)).astype(dtype),
    }


def wide(a):
    return np.asarray(a, dtype=np.float64)


def close(got, want, terms=1.0):
    """Sums are float64 whatever the input: 1e-13 of the size of the terms for float32 input too."""
    assert got.dtype == np.float64
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13 * terms)


def averages(x, weights):
    x = wide(x)
    return x.mean(axis=0) if weights is None else np.tensordot(wide(weights), x, axes=1) / wide(weights).sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, d, p", SHAPES)
def test_means_are_those_of_einsum(n, d, p, dtype, weighted):
    a = inputs(n, d, p, dtype)
    w = a["weights"] if weighted else None
    size = 10.0 * d
    g, h, diagonal = wide(a["g"]), wide(a["H"]), wide(a["diagonal"])
    close(C.bonnet(a["g"], weights=w), averages(g, w))
    close(C.bonnet(a["g"], a["jac_mean"], w), averages(np.einsum("ni,ip->np", g, wide(a["jac_mean"])), w), size)
    close(C.bonnet(a["g"], a["jac_means"], w), averages(np.einsum("ni,nip->np", g, wide(a["jac_means"])), w), size)
    close(C.price(a["H"], weights=w), 0.5 * averages(h, w))
    close(
        C.price(a["H"], a["jac_cov"], w), 0.5 * averages(np.einsum("nij,ijp->np", h, wide(a["jac_cov"])), w), size * d
    )
    close(
        C.price(a["H"], a["jac_covs"], w),
        0.5 * averages(np.einsum("nij,nijp->np", h, wide(a["jac_covs"])), w),
        size * d,
    )
    close(C.price(a["diagonal"], weights=w), 0.5 * averages(diagonal, w))
    close(
        C.price(a["diagonal"], a["jac_mean"], w),
        0.5 * averages(np.einsum("ni,ip->np", diagonal, wide(a["jac_mean"])), w),
        size,
    )
    close(
        C.price(a["diagonal"], a["jac_means"], w),
        0.5 * averages(np.einsum("ni,nip->np", diagonal, wide(a["jac_means"])), w),
        size,
    )
    factored = np.einsum("ki,nk,kj->nij", wide(a["A"]), wide(a["w"]), wide(a["A"]))
    close(C.price((a["A"], a["w"]), weights=w), 0.5 * averages(factored, w), size)
    close(
        C.price((a["A"], a["w"]), a["jac_cov"], w),
        0.5 * averages(np.einsum("nij,ijp->np", factored, wide(a["jac_cov"])), w),
        size * d,
    )


@pytest.mark.parametrize("hessian", ["H", "diagonal"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, d, p", SHAPES)
def test_the_chain_rule_of_gaussians(n, d, p, dtype, hessian):
    a = inputs(n, d, p, dtype)
    full = hessian == "H"
    shared_cov, own_cov = (a["jac_cov"], a["jac_covs"]) if full else (a["jac_mean"] * 2, a["jac_means"] * 2)
    for jac_mean in (a["jac_mean"], a["jac_means"]):
        for jac_cov in (shared_cov, own_cov):
            first = np.einsum("ni,nip->np", wide(a["g"]), np.broadcast_to(wide(jac_mean), (n, d, p)))
            lead = (
                wide(jac_cov) if len(jac_cov.shape) == 3 + full else np.broadcast_to(wide(jac_cov), (n, *jac_cov.shape))
            )
            second = 0.5 * np.einsum("nm,nmp->np", wide(a[hessian]).reshape(n, -1), lead.reshape(n, -1, p))
            each = first + second
            close(C.gaussian(a["g"], a[hessian], jac_mean, jac_cov, per_sample=True), each, 10.0 * d * d)
            close(C.gaussian(a["g"], a[hessian], jac_mean, jac_cov), each.mean(axis=0), 10.0 * d * d)
            close(
                C.gaussian(a["g"], a[hessian], jac_mean, jac_cov, a["weights"]),
                averages(each, a["weights"]),
                10.0 * d * d,
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, d, p", SHAPES)
def test_transport_and_product_weights(n, d, p, dtype):
    a, r = inputs(n, d, p, dtype), np.random.default_rng(1)
    each, fields = wide(a["g"]) * wide(a["diagonal"]), np.einsum("ni,nip->np", wide(a["g"]), wide(a["jac_means"]))
    close(C.expfam(a["g"], a["diagonal"], per_sample=True), each)
    close(C.expfam(a["g"], a["diagonal"]), each.mean(axis=0))
    close(C.expfam(a["g"], a["diagonal"], a["weights"]), averages(each, a["weights"]))
    close(C.expfam(a["g"], a["jac_means"], per_sample=True), fields, 10.0 * d)
    close(C.expfam(a["g"], a["jac_means"]), fields.mean(axis=0), 10.0 * d)
    f, b, db, boundary = (
        r.standard_normal(n).astype(dtype),
        a["diagonal"],
        r.standard_normal((n, d)).astype(dtype),
        r.standard_normal(d),
    )
    each = -(wide(b) * wide(a["g"]) + wide(db) * wide(f)[:, None])
    close(C.product(f, a["g"], b, db, per_sample=True), each)
    close(C.product(f, a["g"], b, db), each.mean(axis=0))
    close(C.product(f, a["g"], b, db, boundary=0.7), each.mean(axis=0) + 0.7)
    close(C.product(f, a["g"], b, db, boundary), each.mean(axis=0) + boundary)
    close(C.product(f, a["g"], b, db, boundary, per_sample=True), each + boundary)


def test_the_product_rule_is_a_gradient():
    """Exponential(lam): Btilde = x/lam - 1/lam^2 and the boundary term f(0)/lam give d/dlam E f, here for sin."""
    lam, n = 1.3, 400_000
    x = np.random.default_rng(0).exponential(1 / lam, n)[:, None]
    each = C.product(
        np.sin(x[:, 0]) + 2.0, np.cos(x), x / lam - 1 / lam**2, np.full_like(x, 1 / lam), 2.0 / lam, per_sample=True
    )
    # E sin = lam/(1 + lam^2)
    exact = (1 - lam**2) / (1 + lam**2) ** 2
    assert_unbiased_over_runs(np.ravel(each), exact)


def test_a_single_sample_is_itself():
    a = inputs(1, 4, 3)
    np.testing.assert_array_equal(C.bonnet(a["g"]), a["g"][0])
    np.testing.assert_array_equal(C.price(a["H"]), a["H"][0] / 2)
    np.testing.assert_allclose(C.bonnet(a["g"], weights=[1e-3]), a["g"][0], rtol=1e-15)


def test_weights_are_self_normalised():
    a = inputs(50, 3, 2)
    w = a["weights"]
    for scale in (1e-200, 1e200):
        np.testing.assert_allclose(
            C.price(a["H"], a["jac_cov"], w * scale), C.price(a["H"], a["jac_cov"], w), rtol=1e-12
        )
    np.testing.assert_allclose(C.bonnet(a["g"], weights=np.ones(50)), C.bonnet(a["g"]), rtol=1e-13, atol=1e-15)
    picked = np.zeros(50)
    picked[17] = 3.0
    np.testing.assert_array_equal(C.bonnet(a["g"], weights=picked), a["g"][17])
    np.testing.assert_array_equal(C.bonnet(a["g"], weights=picked > 0), a["g"][17])


def test_single_precision_is_summed_in_double():
    """100,000 times 1 + 1e-4 in float32: a float32 sum is off by 1e-5 or more."""
    n = 100_000
    x = np.full((n, 3), 1.0001, np.float32)
    np.testing.assert_allclose(C.bonnet(x), np.full(3, np.float64(np.float32(1.0001))), rtol=1e-13)
    big = np.full((2, 2), 3e38, np.float32)  # their sum is beyond float32
    np.testing.assert_allclose(C.bonnet(big), np.float64(np.float32(3e38)), rtol=1e-15)
    np.testing.assert_allclose(C.expfam(big, big), np.float64(np.float32(3e38)) ** 2, rtol=1e-15)
    mixed = inputs(9, 3, 2)
    single = mixed["jac_means"].astype(np.float32)
    close(C.bonnet(mixed["g"], single), np.einsum("ni,nip->p", mixed["g"], wide(single)) / 9)


def layouts(a):
    """The same numbers in other memory orders, all read-only."""
    strided = np.repeat(np.repeat(a, 2, axis=0), 2, axis=-1)[::2, ..., ::2]
    moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0)
    for b in (np.asfortranarray(a), strided, moved, a[::-1].copy()[::-1], a.astype(a.dtype.newbyteorder())):
        b.setflags(write=False)
        yield b


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_layouts(dtype):
    a = inputs(33, 5, 3, dtype)
    factors = (a["A"], a["w"])
    base = [
        C.bonnet(a["g"]),
        C.price(a["H"], a["jac_covs"]),
        C.gaussian(a["g"], a["H"], a["jac_mean"], a["jac_covs"]),
        C.price(factors),
    ]
    for g, h, jm, jcs, big_a, w in zip(*(layouts(a[k]) for k in ("g", "H", "jac_mean", "jac_covs", "A", "w"))):
        for got, want in zip((C.bonnet(g), C.price(h, jcs), C.gaussian(g, h, jm, jcs), C.price((big_a, w))), base):
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(C.bonnet(a["g"].tolist()), C.bonnet(a["g"].astype(float)))
    integers = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(C.bonnet(integers), integers.mean(axis=0))
    np.testing.assert_array_equal(
        C.bonnet(a["g"].astype(np.float16)), C.bonnet(a["g"].astype(np.float16).astype(float))
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_do_not_depend_on_threads(dtype):
    a = inputs(3001, 24, 5, dtype)
    factors = (a["A"], a["w"])
    calls = {
        "bonnet": lambda t: C.bonnet(a["g"], weights=a["weights"], n_threads=t),
        "price": lambda t: C.price(a["H"], n_threads=t),
        "price weights": lambda t: C.price(a["H"], a["jac_cov"], a["weights"], n_threads=t),
        "price factored": lambda t: C.price(factors, n_threads=t),
        "price own": lambda t: C.price(a["H"], a["jac_covs"], n_threads=t),
        "gaussian": lambda t: C.gaussian(a["g"], a["H"], a["jac_mean"], a["jac_cov"], per_sample=True, n_threads=t),
        "gaussian own": lambda t: C.gaussian(a["g"], a["H"], a["jac_means"], a["jac_covs"], n_threads=t),
        "expfam": lambda t: C.expfam(a["g"], a["jac_means"], n_threads=t),
        "product": lambda t: C.product(a["g"][:, 0], a["g"], a["diagonal"], a["diagonal"], n_threads=t),
    }
    for name, call in calls.items():
        one = call(1)
        for threads in (2, 3, 5, 8):
            np.testing.assert_array_equal(call(threads), one, err_msg=name)


def test_inputs_are_not_modified():
    a = inputs(20, 3, 2)
    kept = {name: value.copy() for name, value in a.items()}
    C.bonnet(a["g"], a["jac_mean"], a["weights"])
    C.price(a["H"], a["jac_covs"], a["weights"])
    C.price((a["A"], a["w"]), a["jac_cov"], a["weights"])
    C.gaussian(a["g"], a["H"], a["jac_means"], a["jac_cov"], per_sample=True)
    result = C.expfam(a["g"], a["diagonal"], per_sample=True)
    result[:] = 0
    C.product(a["g"][:, 0], a["g"], a["diagonal"], a["diagonal"], a["jac_mean"][:, 0], per_sample=True)[:] = 0
    one = inputs(1, 3, 2)
    C.bonnet(one["g"])[:] = 7.0
    np.testing.assert_array_equal(one["g"], inputs(1, 3, 2)["g"])
    for name in a:
        np.testing.assert_array_equal(a[name], kept[name])


CALLS = {
    "bonnet": (C.bonnet, ("g",)),
    "bonnet jac": (C.bonnet, ("g", "jac_mean")),
    "bonnet jacs": (C.bonnet, ("g", "jac_means")),
    "price": (C.price, ("H",)),
    "price jac": (C.price, ("H", "jac_cov")),
    "price jacs": (C.price, ("H", "jac_covs")),
    "gaussian": (C.gaussian, ("g", "H", "jac_mean", "jac_cov")),
    "gaussian own": (C.gaussian, ("g", "H", "jac_means", "jac_covs")),
    "expfam": (C.expfam, ("g", "diagonal")),
    "expfam fields": (C.expfam, ("g", "jac_means")),
}
NAMES = {"jac_means": "jac_mean", "jac_covs": "jac_cov"}


@pytest.mark.parametrize("trouble", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_finite_is_refused(name, trouble):
    call, arguments = CALLS[name]
    for bad in arguments:
        a = inputs(6, 3, 2)
        a[bad] = a[bad].copy()
        a[bad].flat[-1] = trouble
        wanted = NAMES.get(bad, bad) if call is not C.expfam else "grad_f" if bad == "g" else "B"
        with pytest.raises(ValueError, match=rf"{wanted} must be finite"), np.errstate(all="ignore"):
            call(*(a[k] for k in arguments))
        if call in (C.gaussian, C.expfam):
            with pytest.raises(ValueError, match=rf"{wanted} must be finite"), np.errstate(all="ignore"):
                call(*(a[k] for k in arguments), per_sample=True)
    a = inputs(6, 3, 2)
    with pytest.raises(ValueError, match="weights must be finite"):
        call(*(a[k] for k in arguments), weights=np.array([1, 2, 3, trouble, 5, 6]))


def test_what_is_not_finite_cannot_hide_behind_a_zero():
    """0 times infinity: a weight, a derivative or a Jacobian of 0 must not let it through."""
    g = np.ones((4, 2))
    g[2, 1] = np.inf
    with np.errstate(all="ignore"):
        for call in (
            lambda: C.bonnet(g, weights=[1, 1, 0, 1]),
            lambda: C.bonnet(g, np.zeros((2, 3))),
            lambda: C.bonnet(g, np.zeros((4, 2, 3))),
            lambda: C.expfam(g, np.zeros((4, 2))),
            lambda: C.gaussian(g, np.ones((4, 2, 2)), np.zeros((2, 3)), np.zeros((2, 2, 3)), per_sample=True),
        ):
            with pytest.raises(ValueError, match="finite"):
                call()
        for call in (
            lambda w: C.price((np.ones((3, 2)), w)),
            lambda w: C.price((np.ones((3, 2)), w), np.zeros((2, 2, 1))),
        ):
            w = np.zeros((4, 3))
            w[1, 1] = np.nan
            with pytest.raises(ValueError, match=r"w must be finite"):
                call(w)
        for arguments in range(4):
            values = [np.ones(3), np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 2))]
            values[arguments].flat[1] = np.nan
            with pytest.raises(ValueError, match=f"{('f', 'grad_f', 'Btilde', 'dBtilde')[arguments]} must be finite"):
                C.product(*values)


A = inputs(6, 3, 2)
BAD = [
    (lambda: C.bonnet(A["g"][0]), ValueError, r"g must have 2 dimension"),
    (lambda: C.bonnet(A["g"][:0]), ValueError, r"g must hold at least one sample"),
    (
        lambda: C.bonnet(A["g"], A["jac_mean"].T),
        ValueError,
        r"jac_mean must have shape \(3, p\) or \(6, 3, p\), got \(2, 3\)",
    ),
    (lambda: C.bonnet(A["g"], A["jac_means"][:5]), ValueError, r"jac_mean must have shape"),
    (lambda: C.bonnet(A["g"], A["jac_mean"][:, 0]), ValueError, r"jac_mean must have"),
    (lambda: C.bonnet(A["g"], weights=A["weights"][:5]), ValueError, r"weights must have shape \(6,\), got \(5,\)"),
    (lambda: C.bonnet(A["g"], weights=-A["weights"]), ValueError, r"weights must not be negative"),
    (lambda: C.bonnet(A["g"], weights=np.zeros(6)), ValueError, r"weights .* positive"),
    (lambda: C.bonnet(A["g"] * 1j), TypeError, r"g must hold real numbers"),
    (lambda: C.bonnet("abc"), TypeError, r"g must hold real numbers"),
    (lambda: C.bonnet([[1.0, 2.0], [3.0]]), ValueError, r"g is not a rectangular array"),
    (lambda: C.bonnet(A["g"], n_threads=0), ValueError, r"n_threads must be at least 1"),
    (lambda: C.bonnet(A["g"], n_threads=1.5), TypeError, r"n_threads must be"),
    (lambda: C.price(A["H"][:, :2]), ValueError, r"H must have shape \(n, d, d\) or \(n, d\), got \(6, 2, 3\)"),
    (lambda: C.price(A["H"][0, 0]), ValueError, r"H must have 2 or 3 dimension"),
    (lambda: C.price(A["H"], A["jac_cov"][:2]), ValueError, r"jac_cov must have shape"),
    (lambda: C.price(A["H"], A["jac_covs"][:5]), ValueError, r"jac_cov must have shape"),
    (lambda: C.price(A["H"], A["jac_mean"]), ValueError, r"jac_cov must have"),
    (lambda: C.price((A["A"],)), ValueError, r"factored .* pair"),
    (lambda: C.price((A["A"], A["w"][:, 1:])), ValueError, r"w must have shape \(n, 6\), got \(6, 5\)"),
    (
        lambda: C.gaussian(A["g"], A["H"][:5], A["jac_mean"], A["jac_cov"]),
        ValueError,
        r"H must have shape \(6, 3, 3\) or \(6, 3\)",
    ),
    (lambda: C.gaussian(A["g"], A["H"], A["jac_mean"], A["jac_cov"][..., :1]), ValueError, r"same p"),
    (
        lambda: C.gaussian(A["g"], A["H"], A["jac_mean"], A["jac_cov"], A["weights"], per_sample=True),
        ValueError,
        r"weights",
    ),
    (lambda: C.expfam(A["g"], A["diagonal"][:5]), ValueError, r"B must have shape"),
    (lambda: C.expfam(A["g"], A["g"][:, 0]), ValueError, r"B must have shape \("),
    (lambda: C.product(A["g"], A["g"], A["g"], A["g"]), ValueError, r"f must have shape \(6,\)"),
    (lambda: C.product(A["weights"], A["g"], A["g"][:, :2], A["g"]), ValueError, r"Btilde must have shape"),
    (lambda: C.product(A["weights"], A["g"], A["g"], A["g"][:2]), ValueError, r"dBtilde must have shape"),
    (
        lambda: C.product(A["weights"], A["g"], A["g"], A["g"], boundary=np.ones(2)),
        ValueError,
        r"boundary must have shape \(3,\), got \(2,\)",
    ),
    (lambda: C.product(A["weights"], A["g"], A["g"], A["g"], boundary=np.nan), ValueError, r"boundary must be finite"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_input_is_named(number):
    call, error, text = BAD[number]
    with pytest.raises(error, match=text):
        call()
