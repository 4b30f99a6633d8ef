"""The bits depend on the seed alone, and memory does not grow with the number of draws."""

import tracemalloc

import numpy as np
import pytest
from estimate_cases import ESTIMATORS, SAMPLINGS, separable, smooth
from gaussian_cases import STRUCTURES, case
from peak_memory import printed_by

import sbpfast as sb
from sbpfast._blocks import Run
from sbpfast._streams import stream_key


def assert_same_bits(one, two):
    np.testing.assert_array_equal(one.value, two.value)
    assert one.n_samples == two.n_samples and one.estimator == two.estimator
    for name in one.grad:
        np.testing.assert_array_equal(one.grad[name], two.grad[name])
        np.testing.assert_array_equal(one.stderr[name], two.stderr[name])


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("estimator", [*ESTIMATORS, "exact"])
def test_the_bits_do_not_depend_on_threads(estimator, sampling):
    r = np.random.default_rng(0)
    f = sb.targets.logistic_regression(r.standard_normal((500, 9)), r.integers(0, 2, 500), prior_scale=1.0)
    g, _ = smooth(9)
    for structure in ("full", "precision", "diagonal") if sampling == "mc" else ("natural", "low_rank"):
        q = case(structure, 9, 2)[0]
        for target in (f,) if estimator == "exact" else (f, g):
            runs = [
                sb.expectation_grad(
                    target, q, estimator=estimator, sampling=sampling, n_samples=2001, rng=42, n_threads=threads
                )
                for threads in (1, 2, 3, 5, 8)
            ]
            for other in runs[1:]:
                assert_same_bits(other, runs[0])


def test_an_estimate_can_be_repeated_and_does_not_touch_its_inputs():
    f, _ = smooth(3)
    for structure in STRUCTURES:
        q, p, *_ = case(structure, 3, 2)
        kept = {name: value.copy() for name, value in p.items()}
        for estimator in ESTIMATORS:
            one, two = (sb.expectation_grad(f, q, estimator=estimator, n_samples=200, rng=8) for _ in range(2))
            assert_same_bits(one, two)
            other = sb.expectation_grad(f, q, estimator=estimator, n_samples=200, rng=9)
            assert not np.array_equal(other.grad[q._names[0]], one.grad[q._names[0]])
        for name in p:
            np.testing.assert_array_equal(p[name], kept[name])


def test_the_errors_of_an_estimate_do_not_depend_on_when_they_are_asked_for():
    """Errors are computed when first asked for; a generator that has moved on must not matter."""
    r = np.random.default_rng(0)
    f = sb.targets.logistic_regression(r.standard_normal((50, 3)), r.integers(0, 2, 50), prior_scale=1.0)
    q = case("full", 3, 0)[0]
    one, two = (
        sb.expectation_grad(f, q, estimator="price", n_samples=500, rng=np.random.default_rng(5)) for _ in range(2)
    )
    first = one.stderr["cov"].copy()
    sb.expectation_grad(f, q, estimator="price", n_samples=77, rng=1)
    np.testing.assert_array_equal(two.stderr["cov"], first)
    moving = np.random.default_rng(5)
    runs = [sb.expectation_grad(f, q, estimator="price", n_samples=500, rng=moving) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].stderr["cov"], first)
    assert not np.array_equal(runs[1].grad["cov"], runs[0].grad["cov"])


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "estimator, n",
    [("price", 3_000_000), ("pathwise", 300_000), ("stein", 300_000), ("score", 300_000), ("combined", 300_000)],
)
def test_memory_does_not_grow_with_the_number_of_draws(estimator, n):
    d = 20
    r = np.random.default_rng(0)
    f = sb.targets.logistic_regression(r.standard_normal((10, d)), r.integers(0, 2, 10), prior_scale=1.0)
    q = sb.Gaussian(np.zeros(d), np.eye(d))

    def work(n):
        sb.expectation_grad(f, q, estimator=estimator, n_samples=n, rng=0).grad["mean"]

    small = peak_of(lambda: work(20_000))
    assert peak_of(lambda: work(n)) < small + (8 << 20)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_parts_of_a_group_are_added_up_as_they_come(sampling):
    """A group larger than a block (long draws, large Hessians) comes in parts, which must not pile up."""
    f, q = separable(1, True), sb.DiagonalGaussian([0.3], [1.0])
    n = 2**14
    run = Run(f, q, n, sampling, stream_key(3), 1)
    assert run.m >= 256

    def rule(block):
        return {
            "x": block.mean(block.draws.x),
            "wide": np.broadcast_to(block.mean(block.draws.x)[:, :, None], (1, 1, 50_000)).copy(),
        }

    def narrow(block):
        return {"x": block.mean(block.draws.x)}

    got = []

    def work():
        for means, sizes in run.groups(rule, 2**20):
            got.append((means["x"].item(), sizes.item()))

    peak = peak_of(work)
    want = [(float(x), int(m)) for means, sizes in run.groups(narrow, 1) for x, m in zip(means["x"][:, 0], sizes)]
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert peak < 20 * 50_000 * 8  # a group has 64 parts


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_resident_memory_over_three_million_draws(sampling):
    program = f"""
import numpy as np, sbpfast as sb
r = np.random.default_rng(0)
f = sb.targets.logistic_regression(r.standard_normal((50, 20)), r.integers(0, 2, 50), prior_scale=1.0)
q = sb.Gaussian(np.zeros(20), np.eye(20))
peaks = []
for n in (10_000, 3_000_000):
    sb.expectation_grad(f, q, estimator="price", n_samples=n, sampling={sampling!r}, rng=0).stderr
    peaks.append(resident_peak())
print(peaks[1] - peaks[0])
"""
    assert printed_by(program) < 50 * 1024  # kilobytes


def test_many_rows_of_data_are_streamed():
    """(draws, N) is never whole for sparse designs: 4096 draws of 100,000 rows would be 3.3 GB."""
    import scipy.sparse

    rows, d = 100_000, 5
    X = scipy.sparse.random_array((rows, d), density=0.02, rng=np.random.default_rng(0), format="csr")
    f = sb.targets.logistic_regression(X, np.arange(rows) % 2, prior_scale=1.0)
    q = sb.DiagonalGaussian(np.zeros(d), np.full(d, 0.1))
    assert peak_of(lambda: sb.expectation_grad(f, q, estimator="price", n_samples=256, rng=0)) < 100 << 20
