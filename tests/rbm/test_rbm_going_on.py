"""Learning that stops and goes on: checkpoints, interrupts, partial_fit."""

import copy
import signal

import numpy as np
import pytest
from rbm_cases import three_gaussians

import sbpfast as sb
from sbpfast.rbm import _estimator, _settings, _training


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


def test_interrupting_leaves_the_last_good_parameters(monkeypatch, interrupts):
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


def test_interrupting_the_exact_sum_leaves_the_last_iterate(answer_to_interrupt):
    """In the middle of a sum over 2^26 states: two iterations or more take seconds."""
    x = three_gaussians(n=50)
    rbm = sb.GaussianBernoulliRBM(26, method="exact", n_epochs=1000, rng=0)
    assert answer_to_interrupt(lambda: rbm.fit(x), wait=0.5) < 1.0
    assert rbm.n_iter_ == rbm.best_epoch_ == len(rbm.history_["log_likelihood"])
    assert np.isfinite(rbm.free_energy(x)).all() and rbm.converged_ is None


def test_interrupting_partial_fit_leaves_the_last_pass(monkeypatch, interrupts):
    x = three_gaussians(n=300)
    rbm, other = (sb.GaussianBernoulliRBM(5, rng=0).partial_fit(x) for _ in range(2))
    minibatch = _training.Trainer.minibatch

    def signalled(self, *args):
        minibatch(self, *args)
        if self.step == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_training.Trainer, "minibatch", signalled)
    with pytest.raises(KeyboardInterrupt):
        rbm.partial_fit(x)
    monkeypatch.undo()
    assert rbm.n_iter_ == 1
    np.testing.assert_array_equal(rbm.weights_, other.weights_)
    rbm.partial_fit(x)
    assert rbm.n_iter_ == 2 and np.isfinite(rbm.score(x))


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
