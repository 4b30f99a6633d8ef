"""Learning: likelihoods that are reached, stationarity, the epoch that is kept, divergence."""

import warnings

import numpy as np
import pytest
from rbm_cases import three_gaussians

import sbpfast as sb
from sbpfast.rbm import _estimator, _partition, _training
from sbpfast.rbm._model import Model


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


def test_training_does_not_depend_on_the_number_of_threads():
    x = np.random.default_rng(0).standard_normal((200, 30)).astype(np.float32)
    fits = [sb.GaussianBernoulliRBM(20, n_epochs=2, rng=0, n_threads=n).fit(x) for n in (1, 2, 5)]
    for other in fits[1:]:
        np.testing.assert_array_equal(other.weights_, fits[0].weights_)


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
