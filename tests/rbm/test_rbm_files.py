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
