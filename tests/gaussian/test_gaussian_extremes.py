"""Large factors, nearly singular information and scales at the ends of doubles: an answer, or an error."""

import mpmath
import numpy as np
import pytest

import sbpfast as sb


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9])
def test_large_factors_keep_their_density(scale):
    """Against 60 digits; the capacitance I + U^T D^-1 U loses its I in doubles."""
    r = np.random.default_rng(0)
    factor, x = scale * r.standard_normal((4, 2)), r.standard_normal((3, 4))
    q = sb.LowRankGaussian(np.zeros(4), np.ones(4), factor)
    x = np.concatenate([x, q.sample(2, rng=0)])
    with mpmath.workdps(60):
        u = mpmath.matrix(factor.tolist())
        cov = mpmath.eye(4) + u * u.T
        log_det = mpmath.log(mpmath.det(cov))
        for point, got in zip(x, q.log_prob(x)):
            v = mpmath.matrix(point.tolist())
            wanted = -0.5 * ((v.T * cov**-1 * v)[0] + log_det + 4 * mpmath.log(2 * mpmath.pi))
            assert got == pytest.approx(float(wanted), rel=1e-6)


def test_parallel_columns_are_a_valid_covariance():
    q = sb.LowRankGaussian([0.0, 0.0], [1.0, 1.0], [[1e9, 1e9], [1e9, 1e9]])
    assert q.log_prob([[0.0, 0.0]])[0] == pytest.approx(-np.log(2 * np.pi) - 0.5 * np.log(1 + 4e18), rel=1e-9)


@pytest.mark.parametrize("k", [3, 4, 5])
@pytest.mark.parametrize("structure", [sb.LowRankGaussian, sb.LowRankPrecisionGaussian])
def test_natural_gradients_of_nearly_singular_information(structure, k):
    """Rounding takes the gradient out of the range; the result still solves the equation as far as that goes."""
    f = sb.Target(value=lambda x: np.sin(x).sum(axis=1), dim=5)
    for seed in range(6):
        lower = np.tril(np.random.default_rng(seed).standard_normal((5, 5)))
        q = structure(np.zeros(5), np.ones(5), 1e3 * lower[:, :k])
        est = sb.expectation_grad(f, q, estimator="score", n_samples=64, rng=seed)
        natural = est.natural_grad()
        assert all(np.isfinite(g).all() for g in natural.values())
        diag, factor = q._metric_dot(natural["diag"], natural["factor"])
        scale = q._metric_scale()
        root = scale[:, None] ** 0.5
        gap = np.column_stack([scale * (diag - est.grad["diag"]), root * (factor - est.grad["factor"])])
        size = np.column_stack([scale * est.grad["diag"], root * est.grad["factor"]])
        assert np.linalg.norm(gap) <= 1e-2 * np.linalg.norm(size)  # the information is singular to 1e-12


@pytest.mark.parametrize(
    "make",
    [
        lambda: sb.DiagonalGaussian([0.0], [1e200]),
        lambda: sb.DiagonalGaussian([0.0], [1e-200]),
        lambda: sb.CholeskyGaussian([0.0], [[1e200]]),
        lambda: sb.LowRankGaussian([0.0], [1.0], [[1e200]]),
        lambda: sb.LowRankGaussian([0.0], [1e-310], [[1.0]]),
        lambda: sb.DiagonalGaussian([[0.0], [1.0]], [[1.0], [1e200]]),
        lambda: sb.Gaussian.fit([[1e140], [-1e140]], weights=[1e100, 1e100]),
        lambda: sb.Gaussian.fit([[0.0], [-1.0], [0.0]], weights=[1.0, 1.0, 1e306]),
    ],
)
def test_what_leaves_double_precision_is_refused(make):
    with pytest.raises(ValueError, match="overflow"):
        make()


def test_far_points_have_a_log_density():
    q = sb.DiagonalGaussian([0.0], [1e-100])
    assert q.log_prob([[1e100]])[0] == -np.inf
    assert sb.DiagonalGaussian([1e150], [1.0]).kl(sb.DiagonalGaussian([0.0], [1e-100])) == np.inf
    assert sb.CholeskyGaussian(np.zeros(2), np.eye(2)).log_prob([[1.7e308, 1.7e308]])[0] == -np.inf
    batch = sb.LowRankPrecisionGaussian(np.zeros((2, 1)), np.ones((2, 1)), np.ones((2, 1, 1)))
    assert (batch.log_prob([[[1e200], [1e308]]]) == -np.inf).all()


def test_batches_refuse_factors_that_hide_the_identity():
    with pytest.raises(ValueError, match="single Gaussians take them"):
        sb.LowRankPrecisionGaussian(np.zeros((2, 1)), np.ones((2, 1)), np.full((2, 1, 3), 1e20))


def test_lists_that_are_not_rectangular_are_named():
    for make in (sb.DiagonalGaussian, lambda mean, diag: sb.LowRankPrecisionGaussian(mean, diag, np.zeros((2, 1)))):
        with pytest.raises(ValueError, match="mean is not a rectangular array"):
            make([1, [2]], np.ones(2))
