"""Machines in files and pickles."""

import pickle

import numpy as np
import pytest
from rbm_cases import three_gaussians

import sbpfast as sb


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


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A machine's file and a checkpoint, with the data and the settings of the fit."""
    folder, x = tmp_path_factory.mktemp("rbm"), three_gaussians(n=60)
    settings = {"n_components": 3, "n_epochs": 2, "rng": 0}
    sb.GaussianBernoulliRBM(**settings, checkpoint=folder / "state").fit(x).save(folder / "machine")
    return folder, x, settings


@pytest.mark.parametrize("kind", ["machine", "state"])
def test_damaged_files_are_refused_or_harmless(files, kind):
    """A flipped byte anywhere, and an end cut off anywhere."""
    folder, x, settings = files
    whole, bad = (folder / kind).read_bytes(), folder / "bad"

    def load(path):
        if kind == "machine":
            return sb.GaussianBernoulliRBM.load(path)
        return sb.GaussianBernoulliRBM(**settings).fit(x, resume=path)

    want, r, refused = load(folder / kind), np.random.default_rng(0), 0
    for i in r.integers(len(whole), size=400):
        flipped = bytes([whole[i] ^ int(r.integers(1, 256))]) + whole[i + 1 :]
        bad.write_bytes(whole[:i] + (flipped if i % 4 else b""))
        try:
            got = load(bad)
        except ValueError:
            refused += 1
        else:
            np.testing.assert_array_equal(got.weights_, want.weights_)
    assert refused > 200


def test_files_of_other_arrays_are_refused(files, tmp_path):
    folder, x, settings = files
    machine, state = dict(np.load(folder / "machine")), dict(np.load(folder / "state"))
    path = tmp_path / "other.npz"
    for name, value, text in (
        ("weights", np.ones(3), "holds no machine: weights must have 2"),
        ("sigma", -machine["sigma"], "sigma must be positive"),
        ("setting_n_units", np.array(3), "n_units"),
        ("setting_n_epochs", np.ones(2), "holds no machine"),
    ):
        np.savez(path, **(machine | {name: value}))
        with pytest.raises(ValueError, match=text):
            sb.GaussianBernoulliRBM.load(path)
    for name, value, text in (
        ("identity", np.array("{"), "identity is unreadable"),
        ("identity", np.array("3"), "identity is unreadable"),
        ("counts", np.ones(2), "with other counts"),
        ("curves", np.ones(3), "with other curves"),
        ("array_weights", np.ones((3, 2)), "with other array_weights"),
        ("kept", np.ones(3), "with other kept"),
        ("key", np.ones(4), "with other key"),
    ):
        np.savez(path, **(state | {name: value}))
        with pytest.raises(ValueError, match=text):
            sb.GaussianBernoulliRBM(**settings).fit(x, resume=path)
    for missing in ("counts", "kept_sigma", "array_gamma", "optimizer_first"):
        np.savez(path, **{k: v for k, v in state.items() if k != missing})
        with pytest.raises(ValueError, match=r"is not a file written by|whole checkpoint"):
            sb.GaussianBernoulliRBM(**settings).fit(x, resume=path)
