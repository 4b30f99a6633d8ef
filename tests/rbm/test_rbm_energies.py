"""Energies and derivatives of the Boltzmann machine: definitions, precision, extremes, the target."""

import mpmath
import numpy as np
import pytest
from rbm_cases import machine

import sbpfast as sb


def test_energy_against_sums_in_mpmath():
    rbm = machine(3, 4)
    r = np.random.default_rng(1)
    v, h = r.standard_normal((2, 3)), (r.random((2, 4)) < 0.5).astype(float)
    for row in range(2):
        want = mpmath.mpf(0)
        for i in range(3):
            want += (mpmath.mpf(v[row, i]) - rbm.visible_bias_[i]) ** 2 / (2 * mpmath.mpf(rbm.sigma_[i]) ** 2)
            for j in range(4):
                want -= mpmath.mpf(v[row, i]) / rbm.sigma_[i] * rbm.weights_[i, j] * h[row, j]
        want -= sum(mpmath.mpf(h[row, j]) * rbm.hidden_bias_[j] for j in range(4))
        assert rbm.energy(v[row : row + 1], h[row : row + 1])[0] == pytest.approx(float(want), rel=1e-13)


@pytest.mark.parametrize("n_visible,n_hidden", [(1, 1), (3, 5), (70, 130), (5, 1)])
def test_free_energy_and_derivatives_in_mpmath_and_by_definition(n_visible, n_hidden):
    rbm = machine(n_visible, n_hidden, seed=n_hidden)
    v = 2 * np.random.default_rng(1).standard_normal((3, n_visible))
    a = rbm.weights_ / rbm.sigma_[:, None]
    t = v @ a + rbm.hidden_bias_
    soft = [[float(mpmath.log1p(mpmath.exp(x))) for x in row] for row in t]
    want = 0.5 * (((v - rbm.visible_bias_) / rbm.sigma_) ** 2).sum(1) - np.sum(soft, axis=1)
    np.testing.assert_allclose(rbm.free_energy(v), want, rtol=1e-12)
    s = 1 / (1 + np.exp(-t))
    np.testing.assert_allclose(
        rbm.free_energy_grad(v), (v - rbm.visible_bias_) / rbm.sigma_**2 - s @ a.T, rtol=1e-10, atol=1e-12
    )
    hess = np.diag(rbm.sigma_**-2) - np.einsum("ij,nj,kj->nik", a, s * (1 - s), a)
    np.testing.assert_allclose(rbm.free_energy_hess(v), hess, rtol=1e-10, atol=1e-12)
    u = np.random.default_rng(2).standard_normal(v.shape)
    np.testing.assert_allclose(rbm.free_energy_hvp(v, u), np.einsum("nij,nj->ni", hess, u), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(rbm.free_energy_hvp(v, u[0]), np.einsum("nij,j->ni", hess, u[0]), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(rbm.free_energy_trace(v), np.trace(hess, axis1=1, axis2=2), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(rbm.transform(v), s, rtol=1e-12)


def test_float32_stays_float32_and_close():
    rbm, low = machine(50, 60), machine(50, 60, dtype=np.float32)
    v = np.random.default_rng(0).standard_normal((2100, 50)).astype(np.float32)
    for name in ("free_energy", "free_energy_grad", "transform", "free_energy_trace"):
        got, want = getattr(low, name)(v), getattr(rbm, name)(v.astype(np.float64))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=3e-5, atol=3e-5)
    assert low.free_energy_hess(v[:2]).dtype == np.float32


def test_energy_of_float32_is_summed_in_float64():
    """4000 visible units; as accurate as a float32 can say, and of the type of v, as the free energy is."""
    rbm = machine(4000, 30, scale=0.05)
    r = np.random.default_rng(0)
    v, h = r.standard_normal((5, 4000)).astype(np.float32), r.random((5, 30)) < 0.5
    got, want = rbm.energy(v, h), rbm.energy(v.astype(np.float64), h)
    assert got.dtype == np.float32 == rbm.free_energy(v).dtype and want.dtype == np.float64
    np.testing.assert_array_equal(got, want.astype(np.float32))
    low = sb.GaussianBernoulliRBM.from_params(*(p.astype(np.float32) for p in rbm._model().parameters()))
    high = sb.GaussianBernoulliRBM.from_params(*(p.astype(np.float64) for p in low._model().parameters()))
    np.testing.assert_array_equal(low.energy(v, h), high.energy(v.astype(np.float64), h).astype(np.float32))


@pytest.mark.parametrize("sigma", [1e-18, 1e25])
def test_float32_with_a_sigma_whose_square_is_no_float32(sigma):
    rbm = sb.GaussianBernoulliRBM.from_params(np.ones((2, 2)), np.zeros(2), np.zeros(2), np.full(2, sigma))
    v = np.array([[sigma, -2 * sigma]])
    for got, want in (
        (rbm.free_energy_grad(v.astype(np.float32)), rbm.free_energy_grad(v)),
        (rbm.free_energy_hvp(v.astype(np.float32), v), rbm.free_energy_hvp(v, v)),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_strided_fortran_and_read_only_input():
    rbm = machine(4, 3)
    v = np.random.default_rng(0).standard_normal((6, 8))
    want = rbm.free_energy(v[:, ::2].copy())
    frozen = v[:, ::2].copy()
    frozen.setflags(write=False)
    for other in (v[:, ::2], np.asfortranarray(v[:, ::2]), frozen):
        np.testing.assert_array_equal(rbm.free_energy(other), want)


def test_nothing_overflows():
    rbm = machine(3, 5, scale=1e4)
    v = np.array([[1e6, -1e6, 1e6], [0.0, 0.0, 0.0]])
    for value in (rbm.free_energy(v), rbm.free_energy_grad(v), rbm.free_energy_hess(v), rbm.log_prob(v)):
        assert np.isfinite(value).all()
    assert np.isfinite(rbm.moments().cov).all()
    huge = sb.GaussianBernoulliRBM.from_params([[1e160, 3.0], [1e160, 4.0]], np.zeros(2), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(huge.free_energy_trace([[1.0, -0.75]]), 2.0 - 25.0 / 4)


def test_the_target_is_the_free_energy():
    rbm = machine(4, 7)
    f = sb.targets.gaussian_bernoulli_free_energy(rbm)
    v = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_allclose(f.value(v), rbm.free_energy(v), rtol=1e-12)
    np.testing.assert_allclose(f.grad(v), rbm.free_energy_grad(v), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(f.hess(v), rbm.free_energy_hess(v), rtol=1e-11, atol=1e-12)


def test_gaussian_bound_on_log_partition_is_absolute():
    """KL(N || P) = -1/2 logdet(2 pi e S) + E F + log Z >= 0, and 0 where P is Gaussian."""
    for scale in (0.0, 0.8):
        rbm = machine(3, 4, scale=scale)
        m = rbm.moments()
        f = sb.targets.gaussian_bernoulli_free_energy(rbm)
        mean_energy = sb.expectation_grad(f, sb.Gaussian(m.mean, m.cov), estimator="exact").value
        kl = -0.5 * np.linalg.slogdet(2 * np.pi * np.e * m.cov)[1] + mean_energy + rbm.log_partition()
        assert kl > -1e-11
        assert (abs(kl) < 1e-11) == (scale == 0.0)


def test_empty_batches_of_points():
    rbm = machine(3, 4)
    v = np.empty((0, 3))
    assert rbm.free_energy(v).shape == (0,) and rbm.free_energy_grad(v).shape == (0, 3)
    assert rbm.free_energy_hess(v).shape == (0, 3, 3) and rbm.transform(v).shape == (0, 4)
    assert rbm.free_energy_trace(v).shape == (0,)
