"""log Z and the exact moments: published numbers, closed forms, derivatives, annealing."""

import numpy as np
import pytest
from rbm_cases import as_mixture, machine
from scipy.special import logsumexp
from statistics_helpers import assert_unbiased_over_runs

import sbpfast as sb
from sbpfast import _streams
from sbpfast.rbm import _estimator, _partition
from sbpfast.rbm._draws import Draws
from sbpfast.rbm._partition import _bennett


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
        assert_unbiased_over_runs(ratio, 1.0)


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


def test_the_cached_log_partition_follows_the_parameters():
    rbm = machine(3, 4)
    v = np.zeros((1, 3))
    before = rbm.score_samples(v)
    rbm.hidden_bias_ = rbm.hidden_bias_ + 1.0
    after = rbm.score_samples(v)
    assert after != before
    assert after[0] == pytest.approx(-rbm.free_energy(v)[0] - rbm.log_partition(), rel=1e-14)


@pytest.mark.parametrize("ratio", [-3e200, -7e93, 0.3, 1e150])
def test_the_ratio_of_both_directions_is_found_at_any_size(ratio):
    """Forward log weights scatter about it, reverse ones about minus it, evenly: it is the balance by symmetry."""
    scatter = np.linspace(-1.0, 1.0, 9) * max(1.0, 1e-3 * abs(ratio))
    assert _bennett(ratio + scatter, -ratio + scatter) == pytest.approx(ratio, rel=1e-9)


@pytest.mark.parametrize("which", ["visible_bias", "hidden_bias", "weights"])
@pytest.mark.parametrize("size", [3e93, 1e20, 1e8, 1e4])
def test_annealing_refuses_where_rounding_would_hide_the_sum(which, size):
    """Otherwise it is right to within its own bounds, however large log Z is."""
    given = {"weights": np.full((2, 3), 0.3), "visible_bias": np.zeros(2), "hidden_bias": np.zeros(3)}
    given[which].flat[0] = size
    rbm = sb.GaussianBernoulliRBM.from_params(**given, sigma=np.ones(2))
    exact = rbm.log_partition()
    if size > 1e13 or (which == "weights" and size > 1e6):
        with pytest.raises(ValueError, match="rounding would hide"):
            rbm.log_partition("ais", n_chains=50, n_betas=200, rng=0)
    else:
        found = rbm.log_partition("ais", n_chains=50, n_betas=200, rng=0)
        assert abs(found.value - exact) < 0.05
        assert found.lower - 0.01 < exact < found.upper + 0.01
