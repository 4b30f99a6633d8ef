"""The Gaussian-Bernoulli RBM: identities, bounds, samplers that stay, learning that reaches known likelihoods."""

import copy
import itertools
import pickle
import signal
import subprocess
import sys
import warnings

import mpmath
import numpy as np
import pytest
import scipy
from scipy.special import logsumexp

import sbpfast as sb
from sbpfast import _streams
from sbpfast.rbm import _estimator, _partition, _sampling, _settings, _training
from sbpfast.rbm._draws import Draws
from sbpfast.rbm._model import Model


def machine(n_visible, n_hidden, seed=0, scale=0.8, dtype=np.float64):
    r = np.random.default_rng(seed)
    parts = (
        scale * r.standard_normal((n_visible, n_hidden)),
        r.standard_normal(n_visible),
        r.standard_normal(n_hidden),
        0.5 + r.random(n_visible),
    )
    return sb.GaussianBernoulliRBM.from_params(*(p.astype(dtype) for p in parts))


def as_mixture(rbm):
    """States h, component means, log weights and log Z from the definition, by listing."""
    w, b, c, s = rbm.weights_, rbm.visible_bias_, rbm.hidden_bias_, rbm.sigma_
    h = np.array(list(itertools.product([0.0, 1.0], repeat=w.shape[1])))
    means = b + s * (h @ w.T)
    exponent = h @ c + 0.5 * (((means / s) ** 2).sum(1) - ((b / s) ** 2).sum())
    total = logsumexp(exponent)
    return h, means, exponent - total, 0.5 * len(b) * np.log(2 * np.pi) + np.log(s).sum() + total


def three_gaussians(seed=0, n=2000):
    r = np.random.default_rng(seed)
    means = np.array([[-5.0, -5.0], [5.0, -5.0], [0.0, 5.0]])
    return means[r.choice(3, size=n, p=[0.33, 0.33, 0.34])] + r.standard_normal((n, 2))


# -- energies -------------------------------------------------------------------------------------------------------


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


# -- log Z ----------------------------------------------------------------------------------------------------------


def test_golden_model():
    """PyDeep's published two-dimensional model: log Z and the probabilities of the silent and the one-unit states."""
    w = np.array(
        [[-2.13559806, -0.71220501, 0.64841691, 2.17880554], [0.75840129, -2.13979672, 2.09910978, -0.64721076]]
    )
    sigma = np.array([0.74241256, 0.73101419])
    c = np.array([-7.87792514, -7.60603139, -7.73935758, -7.722771])
    rbm = sb.GaussianBernoulliRBM.from_params(w / sigma[:, None], np.zeros(2), c, sigma)
    assert rbm.log_partition() == pytest.approx(1.40422867, abs=1e-8)
    p = _partition.hidden_probabilities(rbm._model())
    np.testing.assert_allclose(
        p[[0, 1, 2, 4, 8]], [0.83734074, 0.03404849, 0.04786942, 0.0329518, 0.04068302], atol=1e-8
    )


def test_log_partition_of_one_visible_unit_by_quadrature():
    rbm = machine(1, 9, seed=3)
    x = np.linspace(-60, 60, 400_001)[:, None]
    quadrature = logsumexp(-rbm.free_energy(x)) + np.log(x[1, 0] - x[0, 0])
    assert rbm.log_partition() == pytest.approx(quadrature, rel=1e-12)


def test_orthogonal_columns_have_a_closed_form_at_24_units():
    r = np.random.default_rng(0)
    w = np.linalg.qr(r.standard_normal((30, 24)))[0] * (0.5 + r.random(24))
    b, c, s = r.standard_normal(30), r.standard_normal(24), 0.5 + r.random(30)
    on = c + w.T @ (b / s) + 0.5 * (w**2).sum(0)
    want = 15 * np.log(2 * np.pi) + np.log(s).sum() + np.logaddexp(0, on).sum()
    rbm = sb.GaussianBernoulliRBM.from_params(w, b, c, s)
    assert rbm.log_partition() == pytest.approx(want, rel=1e-14)
    np.testing.assert_allclose(rbm.moments().hidden_mean, 1 / (1 + np.exp(-on)), rtol=1e-12)


def test_derivatives_of_log_partition():
    rbm = machine(3, 5)
    grad = rbm.moments().grad
    parts = {
        "weights": rbm.weights_,
        "visible_bias": rbm.visible_bias_,
        "hidden_bias": rbm.hidden_bias_,
        "sigma": rbm.sigma_,
    }
    for name, value in parts.items():
        for index in np.ndindex(value.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {k: v.copy() for k, v in parts.items()}
                moved[name][index] += step
                ends.append(sb.GaussianBernoulliRBM.from_params(**moved).log_partition())
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(grad[name][index], rel=1e-7, abs=1e-8)


def test_moments_against_the_mixture():
    rbm = machine(4, 11, seed=5)
    h, means, log_weight, log_z = as_mixture(rbm)
    p, m = np.exp(log_weight), rbm.moments()
    assert m.log_partition == pytest.approx(log_z, rel=1e-13)
    np.testing.assert_allclose(m.hidden_mean, p @ h, rtol=1e-12)
    np.testing.assert_allclose(m.mean, p @ means, rtol=1e-11, atol=1e-12)
    centred = means - p @ means
    np.testing.assert_allclose(
        m.cov, np.diag(rbm.sigma_**2) + centred.T @ (p[:, None] * centred), rtol=1e-10, atol=1e-11
    )


def test_too_many_units_for_a_sum_points_to_annealing():
    rbm = machine(3, 33)
    for call in (rbm.log_partition, rbm.moments):
        with pytest.raises(ValueError, match="method='ais'"):
            call()
    with pytest.raises(ValueError, match="n_components = 20"):
        rbm.sample(3, method="exact")


def test_annealing_agrees_with_the_sum():
    for seed in range(3):
        rbm = machine(6, 10, seed=seed)
        ais = rbm.log_partition(method="ais", n_chains=200, n_betas=500, rng=seed)
        truth = rbm.log_partition()
        assert ais.lower <= truth <= ais.upper
        assert abs(float(ais) - truth) < 0.05
        assert 1 <= ais.ess_forward <= 200 and 1 <= ais.ess_reverse <= 200 and ais.exact_start


def test_annealing_is_unbiased():
    """E exp(log weight) = Z / Z_base, with ten steps and far from the end of the bias of its logarithm: a z-test."""
    rbm = machine(3, 5, seed=2)
    draws = Draws(_streams.stream_key(0))
    path = _partition.pilot_path(rbm._model(), draws)
    betas = np.linspace(0, 1, 11)
    base = path.base_log_partition - rbm.log_partition()
    _, forward = path.anneal(path.base_draws(20_000, draws), betas, draws)
    _, reverse = path.anneal(_partition.exact_draws(rbm._model(), 20_000, draws), betas[::-1], draws)
    for log_weight in (forward + base, reverse - base):
        ratio = np.exp(log_weight)
        assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


def test_annealing_beyond_enumeration_and_score_samples():
    """40 orthogonal units: the truth is known, and score_samples goes by the estimate."""
    r = np.random.default_rng(0)
    w = np.linalg.qr(r.standard_normal((60, 40)))[0] * (0.5 + r.random(40))
    b, c, s = r.standard_normal(60), r.standard_normal(40), 0.5 + r.random(60)
    rbm = sb.GaussianBernoulliRBM.from_params(w, b, c, s)
    log_z = 30 * np.log(2 * np.pi) + np.log(s).sum() + np.logaddexp(0, c + w.T @ (b / s) + 0.5 * (w**2).sum(0)).sum()
    ais = rbm.log_partition(method="ais", n_chains=100, n_betas=300, rng=0)
    assert not ais.exact_start
    assert ais.lower <= log_z <= ais.upper
    v = r.standard_normal((4, 60))
    np.testing.assert_allclose(rbm.score_samples(v), -rbm.free_energy(v) - log_z, atol=0.05)
    np.testing.assert_array_equal(rbm.score_samples(v), rbm.log_prob(v))


def test_a_log_partition_that_is_not_to_be_trusted_is_said_so(monkeypatch):
    """40 orthogonal units 40 sigma long: too few chains reach what carries the mass."""
    monkeypatch.setattr(_estimator, "AIS_BETAS", 50)
    w = 40 * np.linalg.qr(np.random.default_rng(0).standard_normal((60, 40)))[0]
    rbm = sb.GaussianBernoulliRBM.from_params(w, np.zeros(60), -0.5 * (w**2).sum(0), np.ones(60))
    v = np.zeros((1, 60))
    for _ in range(2):  # from the cache, too
        with pytest.warns(RuntimeWarning, match=r"not reliable: between .* effective samples of 200"):
            rbm.score_samples(v)


# -- samplers -------------------------------------------------------------------------------------------------------


def z_scores(x, mean, cov):
    """Of the means and of the second moments of independent rows."""
    d = x - mean
    first = d.mean(0) / np.sqrt(np.diag(cov) / len(x))
    products = np.einsum("ni,nj->nij", d, d)
    second = (products.mean(0) - cov) / (products.std(0) / np.sqrt(len(x)))
    return np.concatenate([first, second[np.triu_indices(len(mean))]])


@pytest.mark.parametrize("method", ["gibbs", "gibbs-langevin", "tempering", "parallel-tempering"])
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_samplers_do_not_drift(method, scale):
    rbm = machine(3, 5, seed=7, scale=scale)
    m = rbm.moments()
    start = rbm.sample(20_000, method="exact", rng=3)
    assert np.abs(z_scores(start, m.mean, m.cov)).max() < 5
    for steps in (1, 4):
        x = rbm.sample(20_000, method=method, n_steps=steps, start=start, n_temperatures=5, rng=steps)
        assert np.abs(z_scores(x, m.mean, m.cov)).max() < 5
        assert not np.array_equal(x, start)


def test_tempered_models_are_the_path():
    """Every point of the path is a GB-RBM: F differs from the path's energy by a constant."""
    draws = Draws(_streams.stream_key(1))
    path = _partition.pilot_path(machine(3, 4)._model(), draws)
    v = np.random.default_rng(0).standard_normal((6, 3))
    for beta in (0.0, 0.3, 1.0):
        rung = _sampling.tempered_model(path, beta)
        t = v @ path.factor
        energy = (1 - beta) * 0.5 * (((v - path.mean) / path.std) ** 2).sum(1) - path.linked(t, beta, draws)
        energy += beta * 0.5 * (((v - path.model.visible_bias) / path.model.sigma) ** 2).sum(1)
        gap = rung.free_energy(v, 1) - energy
        np.testing.assert_allclose(gap, gap[0], rtol=0, atol=1e-11)


def test_tempering_crosses_gaps_that_gibbs_does_not():
    """Two modes 12 sigma apart, all chains started in one: half of them belong in the other."""
    w = np.array([[12.0]])
    rbm = sb.GaussianBernoulliRBM.from_params(w, np.array([-6.0]), np.array([0.0]), np.array([1.0]))
    assert rbm.moments().hidden_mean[0] == pytest.approx(0.5)
    start = np.full((2000, 1), -6.0)
    gibbs = rbm.sample(2000, method="gibbs", n_steps=30, start=start, rng=0)
    jumps = rbm.sample(2000, method="tempering", n_steps=30, start=start, rng=0)
    assert (gibbs > 0).mean() < 0.01
    assert abs((jumps > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)


def test_samples_do_not_depend_on_the_number_of_threads():
    outputs = []
    for threads in (1, 2, 5):
        rbm = machine(40, 30).set_params(n_threads=threads)
        outputs.append([rbm.sample(300, method=m, n_steps=2, rng=4) for m in ("gibbs", "gibbs-langevin", "tempering")])
    for other in outputs[1:]:
        for x, y in zip(outputs[0], other):
            np.testing.assert_array_equal(x, y)


def test_same_rng_same_sample():
    rbm = machine(3, 4)
    a, b = (rbm.sample(10, n_steps=3, rng=np.random.SeedSequence(1)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, rbm.sample(10, n_steps=3, rng=2))


# -- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_three_gaussians_with_default_settings(seed):
    """The best possible mean log-likelihood is -3.936; chains that stay in a mode end at -5 to -9."""
    x = three_gaussians(seed)
    rbm = sb.GaussianBernoulliRBM(n_components=8, n_epochs=200, rng=seed).fit(x)
    assert rbm.score(x) > -4.05
    np.testing.assert_allclose(rbm.sigma_, 1.0, atol=0.3)


@pytest.mark.parametrize(
    "settings,least",
    [
        ({"method": "exact", "n_epochs": 1000}, -3.96),
        ({"method": "tempered", "n_epochs": 60}, -4.2),
        ({"optimizer": "momentum", "learning_rate": 0.03, "n_epochs": 150}, -4.5),
    ],
)
def test_other_ways_to_learn(settings, least):
    x = three_gaussians()
    assert sb.GaussianBernoulliRBM(n_components=8, rng=0, **settings).fit(x).score(x) > least


def test_contrastive_divergence_beats_the_gaussian_on_overlapping_clusters():
    x = three_gaussians() * [0.4, 0.4] + 0.5 * np.random.default_rng(3).standard_normal((2000, 2))
    gaussian = -0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.cov(x.T))[1]
    rbm = sb.GaussianBernoulliRBM(n_components=8, method="cd", n_gibbs=5, n_epochs=60, rng=0).fit(x)
    assert rbm.score(x) > gaussian + 0.1


def test_exact_learning_is_stationary():
    """At the maximum the model's E v, E s and E[x s] are the data's."""
    x = three_gaussians(n=500)
    rbm = sb.GaussianBernoulliRBM(n_components=4, method="exact", n_epochs=2000, rng=0).fit(x)
    m = rbm.moments()
    np.testing.assert_allclose(m.mean, x.mean(0), atol=2e-3)
    np.testing.assert_allclose(m.hidden_mean, rbm.transform(x).mean(0), atol=1e-3)
    np.testing.assert_allclose(m.cov, np.cov(x.T, ddof=0), rtol=0.02, atol=0.05)


def test_the_gradient_in_log_sigma_needs_no_samples():
    """In log sigma, where it is free of sampling: against differences of the exact mean log likelihood."""
    x = three_gaussians(n=400)
    with pytest.warns(RuntimeWarning, match="not converged"):
        rbm = sb.GaussianBernoulliRBM(n_components=4, method="exact", n_epochs=3, rng=0).fit(x)
    trainer = rbm._trainer
    trainer.arrays["log_sigma"] += [0.3, -0.2]  # away from where L-BFGS has already made the slope vanish
    z = (x - trainer.scale.mean) / np.exp(trainer.arrays["log_sigma"])
    a = trainer.arrays
    alpha = a["alpha"] - a["weights"] @ a["centre"]
    s = 1 / (1 + np.exp(-(z @ a["weights"] + a["gamma"])))
    grad = (z * (z - alpha - s @ a["weights"].T)).mean(0) - 1.0

    def mean_log_likelihood(log_sigma):
        scaled = (x - trainer.scale.mean) / np.exp(log_sigma)
        model = Model(a["weights"], alpha, a["gamma"], np.ones(2))
        return -model.free_energy(scaled, 1).mean() - _partition.exact_log_partition(model, 1) - log_sigma.sum()

    for i in range(2):
        step = 1e-5 * np.eye(2)[i]
        slope = (mean_log_likelihood(a["log_sigma"] + step) - mean_log_likelihood(a["log_sigma"] - step)) / 2e-5
        assert slope == pytest.approx(grad[i], rel=1e-6)
    assert mean_log_likelihood(a["log_sigma"]) == pytest.approx(
        -trainer.model().free_energy(x, 1).mean() - _partition.exact_log_partition(trainer.model(), 1), rel=1e-12
    )


@pytest.mark.parametrize("method", ["cd", "pcd", "tempered"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_resuming_gives_the_same_bits(method, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(_estimator, "MONITORED", 100)  # fewer than there are rows: those watched are drawn
    x = three_gaussians(n=300).astype(dtype)
    path = tmp_path / "state.npz"

    def make(**more):
        return sb.GaussianBernoulliRBM(5, method=method, batch_size=50, n_epochs=8, rng=3, **more)

    whole = make().fit(x)

    class Stop(Exception):
        pass

    half = make(checkpoint=path)
    original = _training.Trainer.run_epoch

    def interrupted(self, *args, **kwargs):
        if self.epoch == 4:
            raise Stop
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(_training.Trainer, "run_epoch", interrupted)
        with pytest.raises(Stop):
            half.fit(x)
    assert half.n_iter_ == 4
    rest = make().fit(x, resume=path)
    assert whole.weights_.dtype == dtype
    for name in ("weights_", "visible_bias_", "hidden_bias_", "sigma_"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(whole, name))
    assert rest.history_ == whole.history_


def test_resume_names_what_differs(tmp_path):
    x = three_gaussians(n=100)
    path = tmp_path / "state.npz"
    sb.GaussianBernoulliRBM(5, n_epochs=1, checkpoint=path, rng=0).fit(x)
    for changed, text in (
        ({"n_components": 6}, r"n_components 5 \(now 6\)"),
        ({"optimizer": "momentum"}, r"optimizer 'adam' \(now 'momentum'\)"),
        ({"method": "tempered"}, r"method 'pcd' \(now 'tempered'\)"),
    ):
        with pytest.raises(ValueError, match=text):
            sb.GaussianBernoulliRBM(**({"n_components": 5, "n_epochs": 2} | changed)).fit(x, resume=path)
    rbm = sb.GaussianBernoulliRBM(5, n_epochs=2)
    with pytest.raises(ValueError, match=r"dtype of X 'float64' \(now 'float32'\)"):
        rbm.fit(x.astype(np.float32), resume=path)
    with pytest.raises(ValueError, match=r"rows of X 100 \(now 99\)"):
        rbm.fit(x[:99], resume=path)
    assert rbm.fit(x, resume=path).n_iter_ == 2
    rbm.save(path)
    (tmp_path / "junk").write_text("junk")
    for other in (path, tmp_path / "junk"):
        with pytest.raises(ValueError, match="is not a file written by a fit with checkpoint"):
            rbm.fit(x, resume=other)
    with pytest.raises(FileNotFoundError):
        rbm.fit(x, resume=tmp_path / "none")


def test_exact_learning_is_not_resumed(tmp_path):
    """L-BFGS has a memory of its own, so a resumed run took other steps than a whole one."""
    x, path = three_gaussians(n=50), tmp_path / "state.npz"
    with pytest.raises(ValueError, match="'exact' has no checkpoint"):
        sb.GaussianBernoulliRBM(2, method="exact", checkpoint=path).fit(x)
    sb.GaussianBernoulliRBM(2, n_epochs=1, checkpoint=path, rng=0).fit(x)
    with pytest.raises(ValueError, match="resume is not for method 'exact'"):
        sb.GaussianBernoulliRBM(2, method="exact").fit(x, resume=path)


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    x, path = three_gaussians(n=50), tmp_path / "state.npz"
    sb.GaussianBernoulliRBM(2, n_epochs=1, checkpoint=path, rng=0).fit(x)
    before = path.read_bytes()
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sb.GaussianBernoulliRBM(2, n_epochs=1, checkpoint=path, rng=1).fit(x)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [other, path]
    with pytest.raises(ValueError, match="checkpoint must lie in a folder that exists"):
        sb.GaussianBernoulliRBM(2, checkpoint=tmp_path / "none" / "state.npz").fit(x)


def test_training_does_not_depend_on_the_number_of_threads():
    x = np.random.default_rng(0).standard_normal((200, 30)).astype(np.float32)
    fits = [sb.GaussianBernoulliRBM(20, n_epochs=2, rng=0, n_threads=n).fit(x) for n in (1, 2, 5)]
    for other in fits[1:]:
        np.testing.assert_array_equal(other.weights_, fits[0].weights_)


def test_interrupting_leaves_the_last_good_parameters(monkeypatch):
    """A true SIGINT in the middle of the fourth epoch."""
    x = three_gaussians()
    rbm = sb.GaussianBernoulliRBM(8, n_epochs=100_000, rng=0)
    minibatch = _training.Trainer.minibatch

    def signalled(self, *args):
        minibatch(self, *args)
        if self.step == 3 * 20 + 7:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_training.Trainer, "minibatch", signalled)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(x)
    monkeypatch.undo()
    assert rbm.n_iter_ == 3
    assert np.isfinite(rbm.score(x))
    again = sb.GaussianBernoulliRBM(8, n_epochs=100_000, rng=0)

    def rate_until(self, epoch):
        if epoch == rbm.n_iter_:
            raise KeyboardInterrupt
        return 0.01

    monkeypatch.setattr(_settings.Settings, "rate", rate_until)
    with pytest.raises(KeyboardInterrupt):
        again.fit(x)
    np.testing.assert_array_equal(again.weights_, rbm.weights_)


def test_the_kept_epoch_is_the_best_however_fit_ends(monkeypatch):
    """Steps so long that late epochs are worse than early ones, and an interrupt while an epoch is judged."""
    x = three_gaussians(n=500)
    judge, calls = _training.exact_log_partition, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return judge(*args)

    monkeypatch.setattr(_training, "exact_log_partition", interrupted)
    rbm = sb.GaussianBernoulliRBM(8, n_epochs=100, learning_rate=0.3, rng=0)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(x)
    curve = rbm.history_["log_likelihood"]
    assert len(curve) == len(rbm.history_["reconstruction_error"]) == rbm.n_iter_ == 39
    assert rbm.best_epoch_ == int(np.argmax(curve)) + 1 < 39
    assert rbm.score(x) == pytest.approx(max(curve), rel=1e-12)


def test_divergence_stops_and_keeps_the_last_good_parameters():
    """Without a warning of NumPy's, and with the number of the epoch."""
    x = np.random.default_rng(0).standard_normal((300, 5))
    rbm = sb.GaussianBernoulliRBM(4, n_epochs=1, learning_rate=1e200, rng=0)
    with pytest.raises(sb.TrainingDiverged, match=r"in epoch 1: .* of the start are kept.*learning_rate"):
        rbm.fit(x)
    assert np.isfinite(rbm.weights_).all() and (rbm.sigma_ > 0).all()
    assert np.isfinite(rbm.score_samples(x)).all()


def test_the_epoch_that_diverges_is_named_when_its_error_tells(monkeypatch):
    monkeypatch.setattr(_training.Trainer, "model", lambda self: Model(*(np.full(s, 1e9) for s in [(2, 3), 2, 3, 2])))
    with pytest.raises(sb.TrainingDiverged, match=r"in epoch 1: the reconstruction error rose"):
        sb.GaussianBernoulliRBM(3, n_epochs=1, rng=0).fit(three_gaussians(n=50))


def test_exact_divergence_does_not_blame_the_learning_rate(monkeypatch):
    def diverging(*args):
        raise sb.TrainingDiverged("the log likelihood is no longer finite")

    monkeypatch.setattr(_estimator, "exact_fit", diverging)
    with pytest.raises(sb.TrainingDiverged, match="Try more weight_decay or standardised data"):
        sb.GaussianBernoulliRBM(3, method="exact", rng=0).fit(three_gaussians(n=50))


def test_exact_learning_keeps_the_last_iterate(monkeypatch):
    """The rows that the curve follows are a few of those that L-BFGS goes by, and must not choose the iterate."""
    monkeypatch.setattr(_estimator, "MONITORED", 20)
    r = np.random.default_rng(0)
    x = r.standard_t(3, (400, 3)) @ r.standard_normal((3, 3))
    rbm = sb.GaussianBernoulliRBM(3, method="exact", n_epochs=1000, rng=0).fit(x)
    assert rbm.converged_ is True
    assert rbm.best_epoch_ == rbm.n_iter_ > int(np.argmax(rbm.history_["log_likelihood"])) + 1
    np.testing.assert_allclose(rbm.moments().hidden_mean, rbm.transform(x).mean(0), atol=1e-3)
    rbm.set_params(method="cd", n_epochs=1).fit(x)
    assert rbm.converged_ is None


def test_exact_learning_has_patience():
    x = three_gaussians(n=100)
    rbm = sb.GaussianBernoulliRBM(6, method="exact", n_epochs=1000, patience=2, validation_fraction=0.3, rng=0).fit(x)
    assert rbm.n_iter_ == rbm.best_epoch_ + 2 and rbm.converged_ is False


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


def test_visible_noise_is_drawn():
    """A machine without weights samples N(b, sigma^2), noise and all (another implementation drew none)."""
    rbm = machine(3, 2, scale=0.0)
    x = rbm.sample(20_000, method="gibbs", n_steps=2, rng=0)
    assert np.abs(z_scores(x, rbm.visible_bias_, np.diag(rbm.sigma_**2))).max() < 5


def test_partial_fit_goes_on():
    x = three_gaussians(n=1000)
    rbm = sb.GaussianBernoulliRBM(8, rng=0)
    scores = []
    for _ in range(30):
        rbm.partial_fit(x)
        scores.append(rbm.score(x))
    assert rbm.n_iter_ == 30
    assert max(scores[-5:]) > scores[0] + 0.5
    with pytest.raises(ValueError, match="2 features"):
        rbm.partial_fit(x[:, :1])
    with pytest.raises(ValueError, match="'exact'"):
        sb.GaussianBernoulliRBM(3, method="exact").partial_fit(x)


def test_partial_fit_starts_from_given_parameters(tmp_path):
    """Made, loaded, set by hand, or kept after a failure; a step of hardly any length leaves them where they are."""
    x = three_gaussians(n=300)
    good = sb.GaussianBernoulliRBM(5, n_epochs=100, rng=0).fit(x)
    names = ("weights_", "visible_bias_", "hidden_bias_", "sigma_")
    parameters = [getattr(good, name).copy() for name in names]
    tiny = {"learning_rate": 1e-12, "rng": 0}
    good.save(tmp_path / "rbm")
    diverged = sb.GaussianBernoulliRBM.from_params(*parameters, learning_rate=1e200)
    with pytest.raises(sb.TrainingDiverged):
        diverged.partial_fit(x)
    by_hand = sb.GaussianBernoulliRBM(5, rng=0).fit(x)
    for name, value in zip(names, parameters):
        setattr(by_hand, name, value)
    for machine_ in (
        sb.GaussianBernoulliRBM.from_params(*parameters),
        sb.GaussianBernoulliRBM.load(tmp_path / "rbm"),
        diverged,
        by_hand,
        good,
    ):
        machine_.set_params(**tiny).partial_fit(x)
        for name, value in zip(names, parameters):
            np.testing.assert_allclose(getattr(machine_, name), value, rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="2 features"):
        sb.GaussianBernoulliRBM.from_params(np.zeros((5, 2)), np.zeros(5), np.zeros(2), np.ones(5)).partial_fit(x)
    assert good.n_iter_ == 101
    short = sb.GaussianBernoulliRBM(5, n_epochs=2, rng=0).fit(x[:30])
    sigma = short.sigma_
    np.testing.assert_allclose(short.set_params(**tiny).partial_fit(x[30:33]).sigma_, sigma, rtol=1e-8)


def test_partial_fit_keeps_its_memory_while_nothing_is_changed():
    x = three_gaussians(n=300)
    rbm = sb.GaussianBernoulliRBM(5, rng=0).partial_fit(x)
    chains, other = rbm._trainer.arrays["chains"], copy.copy(rbm)
    rbm.set_params(learning_rate=0.005).partial_fit(x)
    assert rbm._trainer.step == 6 and len(rbm.history_["log_likelihood"]) == 2
    other.partial_fit(x)  # does not know of the original's second pass
    assert other.n_iter_ == 2 and other._trainer.step == 6
    np.testing.assert_array_equal(other.set_params(n_threads=2).partial_fit(x)._trainer.draws.threads, 2)
    rbm.set_params(optimizer="momentum").partial_fit(x)
    assert rbm._trainer.step == 3 and "velocity" not in rbm._trainer.arrays
    assert set(rbm._trainer.optimizer.arrays) == {"weights", "alpha", "gamma", "log_sigma"}
    assert rbm._trainer.arrays["chains"].shape == chains.shape
    with pytest.raises(ValueError, match="n_components must stay 5"):
        rbm.set_params(n_components=7).partial_fit(x)


@pytest.mark.parametrize("sizes", [[1] * 120, [1, 99], [2], [5, 5], [20]])
def test_partial_fit_on_a_stream_in_other_units(sizes):
    """The scale is that of the first hundred rows, however they come: one Gaussian of that scale scores -20.1."""
    x = 1e3 * three_gaussians() + 7e3
    rbm, start = sb.GaussianBernoulliRBM(5, rng=0), 0
    for size in [*sizes, *[100] * 18]:
        rbm.partial_fit(x[start : start + size])
        start += size
    assert rbm.score(x) > -20.6
    given = sb.GaussianBernoulliRBM.from_params(rbm.weights_, rbm.visible_bias_, rbm.hidden_bias_, rbm.sigma_, rng=0)
    for row in x[:5, None]:
        given.partial_fit(row)  # the scale is the machine's where the rows are few
    assert given.score(x) > -20.7


def test_partial_fit_warns_of_the_scale():
    x = three_gaussians() * [1.0, 1e4]
    with pytest.warns(UserWarning, match="standardise"):
        rbm = sb.GaussianBernoulliRBM(5, rng=0).partial_fit(x[:100])
    rbm.partial_fit(x[100:200])  # once


def test_minibatches_are_of_like_size(monkeypatch):
    sizes, minibatch = [], _training.Trainer.minibatch

    def counted(self, x, rows, rate):
        sizes.append(len(rows))
        minibatch(self, x, rows, rate)

    monkeypatch.setattr(_training.Trainer, "minibatch", counted)
    for n in (201, 49, 170):
        sb.GaussianBernoulliRBM(3, n_epochs=1, batch_size=100, rng=0).fit(three_gaussians(n=n))
    assert sizes == [101, 100, 49, 85, 85]


def test_early_stop_and_validation():
    x = np.random.default_rng(0).standard_normal((300, 3))
    rbm = sb.GaussianBernoulliRBM(10, n_epochs=500, patience=5, validation_fraction=0.3, rng=0).fit(x)
    assert rbm.n_iter_ < 500
    best = int(np.argmax(rbm.history_["log_likelihood"])) + 1
    assert rbm.best_epoch_ == best == rbm.n_iter_ - 5
    assert rbm.score(x[-90:]) == pytest.approx(rbm.history_["log_likelihood"][best - 1], rel=1e-12)


def test_progress_is_shown(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sb.GaussianBernoulliRBM(3, n_epochs=2, progress=True, rng=0).fit(three_gaussians(n=100))
    text = capsys.readouterr().err
    assert "2/2" in text and "log_likelihood" in text and "reconstruction" in text


def test_saved_and_loaded(tmp_path):
    rbm = sb.GaussianBernoulliRBM(3, n_epochs=2, method="cd", rng=0).fit(three_gaussians(n=100))
    rbm.save(tmp_path / "rbm.npz")
    other = sb.GaussianBernoulliRBM.load(tmp_path / "rbm.npz")
    v = np.zeros((1, 2))
    np.testing.assert_array_equal(other.score_samples(v), rbm.score_samples(v))
    assert other.get_params() == rbm.get_params()
    rbm.set_params(n_epochs=np.int64(7), learning_rate=np.float32(0.25)).save(tmp_path / "rbm")  # of this very name
    other = sb.GaussianBernoulliRBM.load(tmp_path / "rbm")
    assert other.n_epochs == 7 and other.learning_rate == 0.25
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(ValueError, match=r"not a file written by GaussianBernoulliRBM\.save"):
        sb.GaussianBernoulliRBM.load(tmp_path / "junk")


def test_a_pickle_holds_no_scratch():
    x = np.random.default_rng(0).standard_normal((20, 100)).astype(np.float32)
    rbm = sb.GaussianBernoulliRBM(100, method="cd", n_epochs=1, rng=0).fit(x)
    stored = pickle.dumps(rbm)
    assert len(stored) < 4.6 * rbm.weights_.nbytes  # weights twice, and two moments
    again = pickle.loads(stored).partial_fit(x)
    np.testing.assert_array_equal(again.weights_, rbm.partial_fit(x).weights_)


# -- protocol and bad input -----------------------------------------------------------------------------------------


def test_parameters_by_name():
    rbm = sb.GaussianBernoulliRBM(7, method="cd", rng=3)
    assert rbm.get_params()["n_components"] == 7
    assert type(rbm)(**rbm.get_params()).get_params() == rbm.get_params()
    assert rbm.set_params(batch_size=10) is rbm and rbm.batch_size == 10
    assert repr(rbm) == "GaussianBernoulliRBM(n_components=7, method='cd', batch_size=10, rng=3)"
    with pytest.raises(ValueError, match="no parameters"):
        rbm.set_params(n_hidden=3)

    class Other(sb.GaussianBernoulliRBM):
        pass

    assert (
        repr(Other(256, learning_rate=float("0.01"))) == "Other()"
    )  # equal to the default, though not the same object


def test_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = three_gaussians(n=100)
    rbm = sb.GaussianBernoulliRBM(3, n_epochs=2, rng=0)
    pipeline = clone(make_pipeline(StandardScaler(), rbm)).fit(x)
    assert pipeline.transform(x).shape == (100, 3)
    np.testing.assert_array_equal(rbm.fit_transform(x), clone(rbm).fit(x).transform(x))
    assert next(iter(rbm.get_feature_names_out())) == "gaussianbernoullirbm0"
    from sklearn.exceptions import NotFittedError
    from sklearn.utils import get_tags

    assert get_tags(rbm).estimator_type is None
    with pytest.raises(NotFittedError, match="not fitted"):
        clone(rbm).transform(x)


def test_scikit_learn_and_data_frames():
    pytest.importorskip("sklearn")
    pandas = pytest.importorskip("pandas")
    import sklearn
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pandas.DataFrame(three_gaussians(n=100), columns=["a", "b"], index=np.arange(100) + 7)
    rbm = sb.GaussianBernoulliRBM(3, n_epochs=2, rng=0)
    pipeline = make_pipeline(StandardScaler(), rbm).set_output(transform="pandas")
    out = clone(pipeline).fit(frame).transform(frame)
    assert list(out.columns) == [f"gaussianbernoullirbm{j}" for j in range(3)] and out.index[0] == 7
    assert pipeline.set_output(transform="default").fit_transform(frame).shape == (100, 3)
    alone = sb.GaussianBernoulliRBM(3, n_epochs=2, rng=0).fit(frame)
    assert alone.feature_names_in_.tolist() == ["a", "b"]
    with sklearn.config_context(transform_output="pandas"):
        np.testing.assert_array_equal(alone.transform(frame).to_numpy(), alone.transform(frame.to_numpy()))
    with pytest.raises(ValueError, match="feature names should match"):
        alone.transform(frame[["b", "a"]])


class Frame:
    """As much of a data frame as is looked at."""

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_features_are_counted_and_named():
    x = three_gaussians(n=50)
    rbm = sb.GaussianBernoulliRBM(3, n_epochs=1, rng=0).fit(Frame(x, ["a", "b"]))
    assert rbm.feature_names_in_.tolist() == ["a", "b"]
    for call in (rbm.transform, rbm.score_samples, rbm.partial_fit):
        with pytest.raises(ValueError, match="X has 1 features, but GaussianBernoulliRBM is expecting 2 features"):
            call(x[:, :1])
        with pytest.raises(ValueError, match="feature names should match"):
            call(Frame(x, ["b", "a"]))
    assert not hasattr(rbm.fit(x), "feature_names_in_")
    with pytest.raises(TypeError, match="sparse"):
        rbm.fit(scipy.sparse.eye_array(3))
    with pytest.raises(ValueError, match="transform"):
        rbm.set_output(transform="arrow")


def test_parameters_set_by_hand_are_checked():
    rbm = machine(3, 4)
    v = np.zeros((2, 3))
    want = rbm.free_energy(v)
    rbm.hidden_bias_ = rbm.hidden_bias_.tolist()
    np.testing.assert_array_equal(rbm.free_energy(v), want)
    rbm.hidden_bias_ = np.asarray(rbm.hidden_bias_, dtype=np.float32)
    np.testing.assert_allclose(rbm.free_energy(v), want, rtol=1e-6)
    rbm.sigma_ = -rbm.sigma_
    with pytest.raises(ValueError, match="sigma must be positive"):
        rbm.free_energy(v)


def test_given_parameters_are_copied():
    w = np.zeros((3, 2))
    rbm = sb.GaussianBernoulliRBM.from_params(w, np.zeros(3), np.zeros(2), np.ones(3))
    w += 1.0
    assert not rbm.weights_.any()


def test_the_cached_log_partition_follows_the_parameters():
    rbm = machine(3, 4)
    v = np.zeros((1, 3))
    before = rbm.score_samples(v)
    rbm.hidden_bias_ = rbm.hidden_bias_ + 1.0
    after = rbm.score_samples(v)
    assert after != before
    assert after[0] == pytest.approx(-rbm.free_energy(v)[0] - rbm.log_partition(), rel=1e-14)


@pytest.mark.parametrize(
    "bad,error",
    [
        (np.full((5, 2), np.nan), ValueError),
        (np.full((5, 2), np.inf), ValueError),
        (np.zeros(3), ValueError),
        (np.empty((0, 2)), ValueError),
        (np.empty((3, 0)), ValueError),
        (np.zeros((2, 2), complex), TypeError),
        ([["a"]], TypeError),
    ],
)
def test_bad_training_data(bad, error):
    with pytest.raises(error, match="X"):
        sb.GaussianBernoulliRBM(2, n_epochs=1).fit(bad)


@pytest.mark.parametrize(
    "name,value,error",
    [
        ("n_components", 0, ValueError),
        ("n_components", 2.5, TypeError),
        ("n_epochs", 0, ValueError),
        ("batch_size", 0, ValueError),
        ("n_gibbs", 0, ValueError),
        ("method", "ml", ValueError),
        ("optimizer", "sgd", ValueError),
        ("learning_rate", 0.0, ValueError),
        ("learning_rate", np.nan, ValueError),
        ("sigma_floor", 0.0, ValueError),
        ("momentum", 1.0, ValueError),
        ("momentum", "a", TypeError),
        ("weight_decay", -1.0, ValueError),
        ("weight_decay", np.inf, ValueError),
        ("weight_decay", None, TypeError),
        ("validation_fraction", 1.0, ValueError),
        ("validation_fraction", None, TypeError),
        ("learn_sigma", "no", TypeError),
        ("progress", 1, TypeError),
        ("n_chains", 0, ValueError),
        ("initial_activation", 1.0, ValueError),
        ("rng", -1, ValueError),
    ],
)
def test_bad_settings(name, value, error):
    with pytest.raises(error, match=name):
        sb.GaussianBernoulliRBM(**{"n_components": 2, "n_epochs": 1, name: value}).fit(np.eye(3))


def test_bad_parameters_and_points():
    good = {"weights": np.zeros((3, 2)), "visible_bias": np.zeros(3), "hidden_bias": np.zeros(2), "sigma": np.ones(3)}
    for name, bad in (
        ("sigma", [1.0, -1.0, 1.0]),
        ("sigma", [1.0, 0.0, 1.0]),
        ("sigma", np.ones(2)),
        ("weights", np.zeros((2, 3))),
        ("weights", np.zeros(3)),
        ("hidden_bias", [np.nan, 0.0]),
        ("weights", np.zeros((3, 0))),
    ):
        with pytest.raises(ValueError):
            sb.GaussianBernoulliRBM.from_params(**(good | {name: bad}))
    rbm = sb.GaussianBernoulliRBM.from_params(**good)
    for call in (
        lambda: rbm.free_energy(np.zeros((2, 4))),
        lambda: rbm.free_energy(np.zeros(3)),
        lambda: rbm.energy(np.zeros((2, 3)), np.zeros((3, 2))),
        lambda: rbm.free_energy_hvp(np.zeros((2, 3)), np.zeros((3, 3))),
        lambda: rbm.transform([[np.nan] * 3]),
        lambda: rbm.sample(0),
        lambda: rbm.sample(2, start=np.zeros((3, 3))),
        lambda: rbm.sample(2, method="hmc"),
        lambda: rbm.log_partition(method="bridge"),
        lambda: rbm.log_partition(method="ais", n_chains=1),
        lambda: rbm.energy(np.zeros((2, 3)), np.full((2, 2), 0.5)),
        lambda: sb.GaussianBernoulliRBM(2).transform(np.zeros((1, 3))),
        lambda: sb.targets.gaussian_bernoulli_free_energy(sb.GaussianBernoulliRBM(2)),
    ):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(AttributeError, match="not fitted"):
        sb.GaussianBernoulliRBM(2).score(np.zeros((1, 3)))
    with pytest.raises(TypeError, match="rbm must be a GaussianBernoulliRBM, got int"):
        sb.targets.gaussian_bernoulli_free_energy(3)
    start = np.zeros((2, 3))
    assert not np.shares_memory(rbm.sample(2, n_steps=0, start=start), start)


def test_empty_batches_of_points():
    rbm = machine(3, 4)
    v = np.empty((0, 3))
    assert rbm.free_energy(v).shape == (0,) and rbm.free_energy_grad(v).shape == (0, 3)
    assert rbm.free_energy_hess(v).shape == (0, 3, 3) and rbm.transform(v).shape == (0, 4)
    assert rbm.free_energy_trace(v).shape == (0,)


# -- pictures -------------------------------------------------------------------------------------------------------


def test_pictures():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    from sbpfast.rbm import plots

    x = three_gaussians(n=300)
    rbm = sb.GaussianBernoulliRBM(5, n_epochs=3, rng=0).fit(x)
    assert plots.free_energy_map(rbm, data=x).get_title() == "free energy"
    assert len(plots.likelihood_curve(rbm).lines) == 1
    image = sb.GaussianBernoulliRBM(4, n_epochs=1, rng=0).fit(np.random.default_rng(0).standard_normal((50, 12)))
    fields = plots.receptive_fields(image, (3, 4))
    assert fields.images[0].get_array().shape == (3, 4 * 4 + 3)
    assert plots.chains(image, (3, 4), n_chains=2, times=(0, 5), rng=0).images[0].get_array().shape == (7, 9)
    with pytest.raises(ValueError, match="12 pixels"):
        plots.receptive_fields(image, (3, 3))
    with pytest.raises(ValueError, match="2 features"):
        plots.free_energy_map(image)
    assert plots.chains(image, (3, 4), n_chains=2, times=(0, 1), rng=np.random.default_rng(0)).images
    with pytest.raises(ValueError, match="12 pixels"):
        plots.chains(image, (3, 3))
    with pytest.raises(ValueError, match="n must be at least 1"):
        plots.receptive_fields(image, (3, 4), n=0)
    with pytest.raises(ValueError, match="no history_"):
        plots.likelihood_curve(machine(2, 3))
    for draw in (plots.free_energy_map, lambda rbm: plots.receptive_fields(rbm, (1, 2))):
        with pytest.raises(ValueError, match="not fitted"):
            draw(sb.GaussianBernoulliRBM(2))
    pyplot.close("all")


def test_the_package_imports_without_matplotlib_tqdm_and_scikit_learn():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'tqdm', 'sklearn']));"
        "import sbpfast as sb; print(sb.GaussianBernoulliRBM())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "GaussianBernoulliRBM()\n", run.stderr
