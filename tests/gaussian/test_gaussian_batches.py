"""Batches: every member is the single Gaussian of its parameters."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from statistics_helpers import assert_unbiased

import sbpfast as sb


def parameters(kind, batch, d=3, k=2, seed=0):
    r = np.random.default_rng(seed)
    spread = 0.4 + np.abs(r.standard_normal((*batch, d)))
    mean = r.standard_normal((*batch, d))
    return (mean, spread) if kind is sb.DiagonalGaussian else (mean, spread, r.standard_normal((*batch, d, k)))


KINDS = [sb.DiagonalGaussian, sb.LowRankPrecisionGaussian]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(1,), (4,), (2, 3)])
def test_every_member_is_a_single_gaussian(kind, batch):
    given = parameters(kind, batch)
    q = kind(*given)
    assert isinstance(q, kind) and q.batch_shape == batch and q.dim == 3
    x = q.sample(5, rng=1)
    assert x.shape == (5, *batch, 3) and q.log_prob(x).shape == (5, *batch) and q.entropy().shape == batch
    other = kind(*parameters(kind, batch, seed=1))
    for i in itertools.product(*map(range, batch)):
        single = kind(*(p[i] for p in given))
        np.testing.assert_allclose(q.log_prob(x)[:, *i], single.log_prob(x[:, *i]), rtol=1e-12)
        np.testing.assert_allclose(q.entropy()[i], single.entropy(), rtol=1e-12)
        np.testing.assert_allclose(q.cov[i], single.cov, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(q.kl(other)[i], single.kl(other[i]), rtol=1e-10)
        np.testing.assert_allclose(q[i].cov, single.cov, rtol=1e-12)
        assert type(q[i]) is kind


def test_divergences_between_structures_and_with_single_ones():
    diagonal, precision = (kind(*parameters(kind, (4,))) for kind in KINDS)
    for p, q in ((diagonal, precision), (precision, diagonal)):
        want = [p[i].kl(q[i]) for i in range(4)]
        np.testing.assert_allclose(p.kl(q), want, rtol=1e-10)
        np.testing.assert_allclose(p.kl(q[2]), [p[i].kl(q[2]) for i in range(4)], rtol=1e-10)
        np.testing.assert_allclose(q[2].kl(p), [q[2].kl(p[i]) for i in range(4)], rtol=1e-10)
        np.testing.assert_allclose(p.kl(p), np.zeros(4), atol=1e-14)
    with pytest.raises(TypeError, match="between DiagonalGaussian and LowRankPrecisionGaussian"):
        diagonal.kl(sb.Gaussian(np.zeros(3), np.eye(3)))
    with pytest.raises(ValueError, match="dimension 3"):
        diagonal.kl(sb.DiagonalGaussian(np.zeros(2), np.ones(2)))


def test_a_member_of_precision_draws_as_the_single_one_with_one_column():
    q = sb.LowRankPrecisionGaussian(*parameters(sb.LowRankPrecisionGaussian, (1,), k=1))
    np.testing.assert_allclose(q.sample(7, rng=3)[:, 0], q[0].sample(7, rng=3), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_their_moments(kind):
    q = kind(*parameters(kind, (3,)))
    x = q.sample(20_000, rng=5)
    for i in range(3):
        z = np.linalg.solve(np.linalg.cholesky(q.cov[i]), (x[:, i] - q.mean[i]).T)
        assert_unbiased(z @ z.T / 20_000, np.eye(3), np.sqrt(2.0 / 20_000), freedom=10_000)
        assert_unbiased(z.mean(axis=1), np.zeros(3), np.sqrt(1.0 / 20_000), freedom=10_000)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_depend_neither_on_threads_nor_on_their_number(kind):
    q = kind(*parameters(kind, (300,), d=40))
    x = q.sample(30, rng=2, n_threads=1)
    np.testing.assert_array_equal(q.sample(30, rng=2, n_threads=3), x)
    np.testing.assert_array_equal(q.sample(7, rng=2), x[:7])


def test_parameters_broadcast_and_are_kept_read_only():
    q = sb.DiagonalGaussian(np.zeros((5, 3)), np.ones(3))
    assert q.std.shape == (5, 3) and not q.mean.flags.writeable
    q = sb.LowRankPrecisionGaussian(np.zeros((1, 3)), np.ones(3), np.ones((5, 3, 1)))
    assert q.batch_shape == (5,) and q.rank == 1 and q[1:3].batch_shape == (2,)
    assert "batch_shape=(5,), dim=3" in repr(q)
    for clone in (copy.copy(q), pickle.loads(pickle.dumps(q))):
        np.testing.assert_array_equal(clone.factor, q.factor)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sb.DiagonalGaussian(np.zeros((4, 3)), np.ones((5, 3))), "must broadcast"),
        (lambda: sb.DiagonalGaussian(np.zeros((4, 3)), np.ones((4, 1))), "with one d"),
        (lambda: sb.DiagonalGaussian(np.zeros(3), np.eye(3)), "std must have shape"),
        (lambda: sb.DiagonalGaussian(np.zeros((4, 3)), -np.ones((4, 3))), "std must be positive"),
        (lambda: sb.DiagonalGaussian(np.zeros((4, 0)), np.ones((4, 0))), "d > 0"),
        (lambda: sb.LowRankPrecisionGaussian(np.zeros((4, 3)), np.ones(3), np.ones(3)), "factor must have at least 2"),
        (
            lambda: sb.LowRankPrecisionGaussian(np.zeros((4, 3)), np.ones(3), np.full((3, 1), np.nan)),
            "factor must be finite",
        ),
        (lambda: sb.DiagonalGaussian(np.zeros((4, 3)), np.ones(3)).log_prob(np.zeros((2, 3))), "x must have shape"),
        (lambda: sb.DiagonalGaussian(np.zeros((4, 3)), np.ones(3)).to_cholesky(), "take a member"),
        (
            lambda: sb.expectation_grad(
                sb.targets.quadratic(np.eye(3), np.zeros(3)), sb.DiagonalGaussian(np.zeros((4, 3)), np.ones(3))
            ),
            "pass a member",
        ),
        (
            lambda: sb.fit(
                sb.targets.quadratic(-np.eye(3), np.zeros(3)), sb.DiagonalGaussian(np.zeros((4, 3)), np.ones(3))
            ),
            "pass a member",
        ),
    ],
)
def test_refusals_are_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_only_leading_axes_are_indexed():
    q = sb.DiagonalGaussian(np.zeros((4, 3)), np.ones(3))
    for index in ((0, 0), "a", 1.5, None):
        with pytest.raises(IndexError):
            q[index]
