"""Moments, densities, entropies and divergences of every covariance structure, and their conversions."""

import numpy as np
import pytest
import scipy.stats
from gaussian_cases import CASES, STRUCTURES, case

import sbpfast as sb


def dense_kl(mean, cov, mean2, cov2):
    precision, r = np.linalg.inv(cov2), mean - mean2
    logdets = np.linalg.slogdet(cov2)[1] - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.trace(precision @ cov) + r @ precision @ r - len(r) + logdets)


@pytest.mark.parametrize("structure, d, k", CASES)
def test_moments_density_and_entropy(structure, d, k):
    q, p, mean, cov = case(structure, d, k)
    assert q.dim == d
    np.testing.assert_allclose(q.mean, mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(q.cov, cov, rtol=1e-11, atol=1e-12)
    for name, value in p.items():
        np.testing.assert_array_equal(getattr(q, name), value)
    x = mean + 3 * np.random.default_rng(1).standard_normal((11, d))
    oracle = scipy.stats.multivariate_normal(mean, cov)
    np.testing.assert_allclose(q.log_prob(x), np.reshape(oracle.logpdf(x), 11), rtol=1e-10)
    assert q.entropy() == pytest.approx(oracle.entropy(), rel=1e-11)
    assert q.log_prob(x[:0]).shape == (0,)
    with pytest.raises(ValueError, match="x must have shape"):
        q.log_prob(x[0])


@pytest.mark.parametrize("d", [1, 6])
@pytest.mark.parametrize("left", STRUCTURES)
def test_kl_between_all_pairs(left, d):
    q, _, mean, cov = case(left, d, 2)
    for right in STRUCTURES:
        q2, _, mean2, cov2 = case(right, d, 3 if d > 1 else 1, seed=1)
        assert q.kl(q2) == pytest.approx(dense_kl(mean, cov, mean2, cov2), rel=1e-10), right
    assert q.kl(q) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("structure, d, k", CASES)
def test_conversions_keep_the_distribution(structure, d, k):
    q, _, mean, cov = case(structure, d, k)
    for other, kind in (
        (q.to_cholesky(), sb.CholeskyGaussian),
        (q.to_full(), sb.Gaussian),
        (q.to_natural(), sb.NaturalGaussian),
    ):
        assert type(other) is kind
        np.testing.assert_allclose(other.mean, mean, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(other.cov, cov, rtol=1e-10, atol=1e-11)
    chol = q.to_cholesky().chol
    assert not np.triu(chol, 1).any() and (np.diagonal(chol) > 0).all()
    natural = q.to_natural()
    np.testing.assert_allclose(-2 * natural.eta2 @ cov, np.eye(d), atol=1e-9)
    np.testing.assert_allclose(cov @ natural.eta1, mean, rtol=1e-9, atol=1e-10)


def test_rounding_does_not_make_a_divergence_negative():
    r = np.random.default_rng(0)
    for d in range(1, 40):
        a = r.standard_normal((d, d))
        q = sb.Gaussian(r.standard_normal(d), a @ a.T + np.eye(d))
        assert 0.0 <= q.kl(q.to_cholesky()) < 1e-11
