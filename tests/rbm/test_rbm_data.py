"""Data in any units: scales, constants, few rows, the floor of sigma."""

import numpy as np
import pytest
from rbm_cases import three_gaussians

import sbpfast as sb


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_of_the_data_do_not_matter(scale):
    """Training is the same in any units (up to rounding), log P shifts by the Jacobian."""
    x = three_gaussians(n=500)
    base = sb.GaussianBernoulliRBM(6, n_epochs=5, rng=0).fit(x)
    other = sb.GaussianBernoulliRBM(6, n_epochs=5, rng=0).fit(scale * x)
    np.testing.assert_allclose(other.weights_, base.weights_, rtol=1e-5, atol=1e-6)
    assert other.score(scale * x) == pytest.approx(base.score(x) - 2 * np.log(scale), rel=1e-6)


def test_badly_scaled_data_are_learned_with_a_warning():
    x = three_gaussians(n=500) * [1.0, 1e4]
    with pytest.warns(UserWarning, match="standardise"):
        rbm = sb.GaussianBernoulliRBM(6, n_epochs=5, rng=0).fit(x)
    assert np.isfinite(rbm.score(x))
    with pytest.warns(UserWarning, match="standardise"):
        sb.GaussianBernoulliRBM(6, n_epochs=1, rng=0).fit(three_gaussians(n=500) + 1e4)


def test_a_feature_far_from_zero_is_not_a_constant():
    """Time stamps: the mean is 1.7e8 standard deviations."""
    r = np.random.default_rng(0)
    z = r.standard_normal((500, 2))
    with pytest.warns(UserWarning, match=r"mean is 1\.\d+e\+08 times its standard deviation"):
        rbm = sb.GaussianBernoulliRBM(3, n_epochs=20, rng=0).fit(z * [10.0, 1.0] + [1.7e9, 0.0])
    np.testing.assert_allclose(rbm.sigma_, [10.0, 1.0], rtol=0.15)
    constant = np.column_stack([z[:, 0], np.full(500, 1000.0)])
    sb.GaussianBernoulliRBM(3, n_epochs=1, rng=0).fit(constant)  # the mean of a constant is no reason to warn


@pytest.mark.parametrize(
    "dtype,inside,beyond", [(np.float64, (1e-290, 1e290), (1e-308, 5e307)), (np.float32, (1e-30, 1e30), (1e-38, 1e38))]
)
def test_extreme_units(dtype, inside, beyond):
    z = np.random.default_rng(0).standard_normal((100, 2))
    want = sb.GaussianBernoulliRBM(3, n_epochs=3, rng=0).fit(z.astype(dtype))
    for scale in inside:
        rbm = sb.GaussianBernoulliRBM(3, n_epochs=3, rng=0).fit((scale * z).astype(dtype))
        np.testing.assert_allclose(rbm.sigma_ / scale, want.sigma_, rtol=1e-3)
        assert np.isfinite(rbm.free_energy((scale * z).astype(dtype))).all()
    for scale in beyond:
        unfitted = sb.GaussianBernoulliRBM(3, n_epochs=3, rng=0)
        with pytest.raises(ValueError, match="X must be rescaled"):
            unfitted.fit((scale * z).astype(dtype))
        assert not hasattr(unfitted, "sigma_")


def test_constant_features_and_few_rows():
    x = np.random.default_rng(0).standard_normal((30, 4))
    x[:, 2] = 3.0
    rbm = sb.GaussianBernoulliRBM(5, n_epochs=20, rng=0).fit(x)
    assert np.isfinite(rbm.score_samples(x)).all() and (rbm.sigma_ > 0).all()
    one = sb.GaussianBernoulliRBM(5, n_epochs=3, rng=0).fit(x[:1])
    assert np.isfinite(one.weights_).all()


def test_sigma_stays_positive_and_above_its_floor():
    """Negative sigma and inf are the standing complaint about other implementations: data on two points."""
    x = np.repeat([[-1.0, 0.0], [1.0, 2.0]], 100, axis=0)
    for method in ("pcd", "exact"):
        rbm = sb.GaussianBernoulliRBM(3, method=method, n_epochs=200, sigma_rate=1.0, learning_rate=0.05, rng=0).fit(x)
        assert (rbm.sigma_ >= 0.05 * x.std(0) * (1 - 1e-12)).all()
        assert np.isfinite(rbm.weights_).all()


def test_sigma_can_be_held():
    x = three_gaussians(n=300)
    rbm = sb.GaussianBernoulliRBM(3, n_epochs=3, learn_sigma=False, rng=0).fit(x)
    np.testing.assert_allclose(rbm.sigma_, x.std(0), rtol=1e-12)
