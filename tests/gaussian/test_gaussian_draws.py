"""Draws of every covariance structure: moments, streams and generators."""

import numpy as np
import pytest
import scipy.stats
from gaussian_cases import CASES, STRUCTURES, case, parameters
from statistics_helpers import assert_law, assert_standard_normal, assert_unbiased

import sbpfast as sb
from sbpfast._streams import NOISE, normal_rows, stream_key


@pytest.mark.parametrize("structure, d, k", [(s, d, k) for s, d, k in CASES if d in (1, 3, 7)])
def test_draws_have_the_moments(structure, d, k):
    n = 20_000
    q, _, mean, cov = case(structure, d, k)
    x = q.sample(n, rng=3)
    assert x.shape == (n, d) and x.dtype == np.float64
    z = np.linalg.solve(np.linalg.cholesky(cov), (x - mean).T).T
    assert_unbiased(z.mean(axis=0), 0.0, 1 / np.sqrt(n), freedom=n)
    assert_unbiased(z.T @ z / n, np.eye(d), np.sqrt((1 + np.eye(d)) / n), freedom=n)
    assert_standard_normal(z)
    # neighbouring draws are independent: the lag-one products have mean 0 and variance 1
    for lag in (1, 32, 64):
        assert_unbiased((z[lag:] * z[:-lag]).mean(axis=0), 0.0, 1 / np.sqrt(n - lag), freedom=n)


@pytest.mark.parametrize("structure", ("diagonal", "low_rank", "precision"))
def test_long_draws_have_the_moments(structure):
    d, n = 1500, 40  # another storage layout from 1024 coordinates on
    q, _, mean, cov = case(structure, d, 2)
    z = np.linalg.solve(np.linalg.cholesky(cov), (q.sample(n, rng=8) - mean).T).T
    assert_standard_normal(z)
    mahalanobis = (z * z).sum(axis=1)
    assert_law(mahalanobis, scipy.stats.chi2(d).cdf)


@pytest.mark.parametrize(
    "structure, d, k",
    [(s, d, 2) for s in STRUCTURES for d in (1, 5)]
    + [("full", 1100, 0), ("low_rank", 1024, 3), ("precision", 1500, 1)],
)
def test_the_first_draws_do_not_depend_on_n_or_threads(structure, d, k):
    q = case(structure, d, k)[0]
    x = q.sample(131, rng=5)
    for n in (1, 2, 63, 64, 65, 128, 130):
        np.testing.assert_array_equal(q.sample(n, rng=5), x[:n])
    for threads in (1, 2, 3, 8):
        np.testing.assert_array_equal(q.sample(131, rng=5, n_threads=threads), x)
    assert len(np.unique(x)) == x.size


def test_rng_of_every_kind():
    q = case("full", 4, 0)[0]
    x = q.sample(9, rng=12)
    np.testing.assert_array_equal(q.sample(9, rng=12), x)
    np.testing.assert_array_equal(q.sample(9, rng=np.int64(12)), x)
    np.testing.assert_array_equal(q.sample(9, rng=np.random.SeedSequence(12)), x)
    assert not np.array_equal(q.sample(9, rng=13), x)
    sequence = np.random.SeedSequence(12)
    q.sample(3, rng=sequence)
    assert sequence.n_children_spawned == 0
    np.testing.assert_array_equal(q.sample(9, rng=sequence), x)
    for make in (np.random.default_rng, np.random.PCG64):
        one, two = make(4), make(4)
        first, second = q.sample(9, rng=one), q.sample(9, rng=one)
        assert not np.array_equal(first, second)  # a generator moves on
        np.testing.assert_array_equal(q.sample(9, rng=two), first)
        np.testing.assert_array_equal(q.sample(9, rng=two), second)
    assert not np.array_equal(q.sample(9), q.sample(9))
    assert not np.array_equal(q.sample(9, rng=2**200), x)  # big integers are seeds too


@pytest.mark.parametrize(
    "bad, error",
    [(-1, ValueError), (1.5, TypeError), ("7", TypeError), (True, TypeError), (np.random.RandomState(0), TypeError)],
)
def test_rng_of_no_kind(bad, error):
    with pytest.raises(error, match="rng"):
        case("full", 2, 0)[0].sample(3, rng=bad)


def test_structures_draw_the_same_normals():
    """Two distributions of one law are driven by the same noise where their square roots agree."""
    chol = parameters("chol", 6, 0)
    x = sb.CholeskyGaussian(**chol).sample(70, rng=1)
    np.testing.assert_allclose(
        sb.Gaussian(chol["mean"], chol["chol"] @ chol["chol"].T).sample(70, rng=1), x, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("structure, d, k", [(s, d, 2) for s in STRUCTURES for d in (1, 5, 33, 70)])
def test_rows_are_the_mapped_normals(structure, d, k):
    """What `sample` writes in one pass are the draws that estimators see, bit for bit."""
    q = case(structure, d, k)[0]
    x = q.sample(131, rng=5)
    np.testing.assert_array_equal(x, q._draw(stream_key(5), 0, 131, False, 2).x)


@pytest.mark.parametrize("structure, d, k", [(s, d, 2) for s in STRUCTURES for d in (1, 5, 70, 1100)])
def test_single_precision_and_given_arrays(structure, d, k):
    q = case(structure, d, k)[0]
    x = q.sample(131, rng=5)
    single = q.sample(131, rng=5, dtype="float32")
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, x.astype(np.float32))
    for threads in (1, 2, 5):
        out = np.full((131, d), np.nan)
        assert q.sample(131, rng=5, out=out, n_threads=threads) is out
        np.testing.assert_array_equal(out, x)
    wide = np.full((131, 2 * d), np.nan, np.float32)
    q.sample(131, rng=5, out=wide[:, ::2])
    np.testing.assert_array_equal(wide[:, ::2], single)
    assert np.isnan(wide[:, 1::2]).all()


def test_batches_write_rows_too():
    r = np.random.default_rng(0)
    for members, d in ((3, 4), (40, 30)):
        q = sb.DiagonalGaussian(r.standard_normal((members, d)), 0.1 + r.random((members, d)))
        x = q.sample(70, rng=2)
        z = normal_rows(stream_key(2), NOISE, 0, 70, members * d, False, 1).reshape(x.shape)
        np.testing.assert_array_equal(x, q.mean + q.std * z)
        out = np.empty((70, members, d), np.float32)
        assert q.sample(70, rng=2, out=out) is out
        np.testing.assert_array_equal(out, x.astype(np.float32))


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"dtype": "int64"}, TypeError, "dtype must be float64 or float32"),
        ({"dtype": "what"}, TypeError, "dtype must be float64 or float32"),
        ({"out": [[0.0, 0.0]] * 3}, TypeError, "out must be a NumPy array"),
        ({"out": np.empty((3, 2), int)}, TypeError, "out must hold float64 or float32"),
        ({"out": np.empty((3, 2)), "dtype": np.float32}, TypeError, "out must hold float32"),
        ({"out": np.empty((2, 3))}, ValueError, r"out must have shape \(3, 2\)"),
        ({"out": np.broadcast_to(0.0, (3, 2))}, ValueError, "out must be writeable"),
    ],
)
@pytest.mark.parametrize("q", [case("diagonal", 2, 0)[0], sb.expfam.Gamma([1.0, 2.0], 3.0)])
def test_arrays_that_cannot_take_draws(q, options, error, text):
    with pytest.raises(error, match=text):
        q.sample(3, rng=0, **options)
