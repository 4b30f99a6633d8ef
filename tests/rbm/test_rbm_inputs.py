"""What is no machine, no data or no setting is refused, with the name of what is wrong."""

import numpy as np
import pytest
from rbm_cases import machine

import sbpfast as sb
from sbpfast.rbm import _sampling


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


@pytest.mark.parametrize(
    "bad,error",
    [
        (np.full((5, 2), np.nan), ValueError),
        (np.full((5, 2), np.inf), ValueError),
        (np.zeros(3), ValueError),
        (np.empty((0, 2)), ValueError),
        (np.empty((3, 0)), ValueError),
        (np.zeros((2, 2), complex), ValueError),
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


def test_nothing_has_no_score():
    rbm = machine(3, 4)
    with pytest.raises(ValueError, match="at least one row to be scored, got none"):
        rbm.score(np.empty((0, 3)))
    assert rbm.score_samples(np.empty((0, 3))).shape == (0,)


HUGE = (
    {"weights": np.full((3, 2), 1e200)},
    {"weights": np.full((3, 2), 1e154), "hidden_bias": np.full(2, 1e308)},
    {"visible_bias": np.full(3, 1e300), "sigma": np.full(3, 1e-300)},
    {"weights": np.full((3, 2), 1e10), "sigma": np.full(3, 1e-300)},
)


@pytest.mark.parametrize("parts", HUGE)
@pytest.mark.parametrize("hidden", [2, 40])
def test_huge_parameters_are_never_nan(parts, hidden):
    """Every number of such a machine is one, an infinity, or a ValueError."""
    good = {"weights": np.zeros((3, 2)), "visible_bias": np.zeros(3), "hidden_bias": np.zeros(2), "sigma": np.ones(3)}
    parts = good | parts
    for name, shape in (("weights", (3, hidden)), ("hidden_bias", hidden)):
        parts[name] = np.resize(parts[name], shape)
    rbm, v = sb.GaussianBernoulliRBM.from_params(**parts), np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0], [1e300, 0, 0]])
    refused = 0
    for call in (
        lambda: [rbm.log_partition(method="ais", n_chains=5, n_betas=5, rng=0).value],
        lambda: [rbm.log_partition() if hidden < 33 else 0.0],
        lambda: [rbm.moments().cov, rbm.moments().mean] if hidden < 33 else [0.0],
        lambda: [rbm.score_samples(v)],
        lambda: [rbm.free_energy(v)],
        lambda: [rbm.free_energy_grad(v)],
        lambda: [rbm.free_energy_hess(v)],
        lambda: [rbm.free_energy_hvp(v, v)],
        lambda: [rbm.free_energy_trace(v)],
        lambda: [rbm.transform(v)],
        lambda: [rbm.energy(v, np.ones((1, hidden)))],
        *(lambda m=m: [rbm.sample(3, method=m, n_steps=2, n_temperatures=2, rng=0)] for m in _sampling.METHODS),
    ):
        try:
            values = call()
        except ValueError:
            refused += 1
        else:
            assert not any(np.isnan(value).any() for value in values)
    assert refused


def test_far_points_have_no_probability():
    rbm = machine(3, 4)
    far = np.array([[1e200, 0.0, 0.0]])
    assert rbm.free_energy(far) == np.inf and rbm.log_prob(far) == -np.inf and rbm.score(far) == -np.inf


def test_ragged_directions_are_refused_in_words():
    rbm = sb.GaussianBernoulliRBM.from_params(np.ones((3, 2)), np.zeros(3), np.zeros(2), np.ones(3))
    with pytest.raises(ValueError, match="u is not a rectangular array"):
        rbm.free_energy_hvp(np.zeros((2, 3)), [1, [2]])
