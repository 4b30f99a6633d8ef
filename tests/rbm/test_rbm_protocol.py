"""scikit-learn's protocol, with and without it."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy
from rbm_cases import three_gaussians

import sbpfast as sb


def test_parameters_by_name():
    rbm = sb.GaussianBernoulliRBM(7, method="cd", rng=3)
    assert rbm.get_params()["n_components"] == 7
    assert type(rbm)(**rbm.get_params()).get_params() == rbm.get_params()
    assert rbm.set_params(batch_size=10) is rbm and rbm.batch_size == 10
    assert repr(rbm) == "GaussianBernoulliRBM(n_components=7, method='cd', batch_size=10, rng=3)"
    with pytest.raises(ValueError, match="no parameter"):
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


def test_the_package_imports_without_matplotlib_tqdm_and_scikit_learn():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'tqdm', 'sklearn']));"
        "import sbpfast as sb; print(sb.GaussianBernoulliRBM())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "GaussianBernoulliRBM()\n", run.stderr


def test_every_check_of_scikit_learn():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks.check_estimator(sb.GaussianBernoulliRBM(n_components=3, n_epochs=2, random_state=0))


def test_routing_of_metadata():
    sklearn = pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    x = three_gaussians(n=120)
    y = (x[:, 0] > 0).astype(int)
    with sklearn.config_context(enable_metadata_routing=True):
        rbm = sb.GaussianBernoulliRBM(3, n_epochs=2, random_state=0)
        classifier = LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        model = make_pipeline(rbm, classifier)
        assert np.isfinite(cross_val_score(model, x, y, params={"sample_weight": np.ones(120)})).all()


def test_random_state_is_rng():
    x = three_gaussians(n=60)

    def weights(**settings):
        return sb.GaussianBernoulliRBM(3, n_epochs=1, **settings).fit(x).weights_

    np.testing.assert_array_equal(weights(random_state=3), weights(rng=3))
    np.testing.assert_array_equal(weights(random_state=np.random.default_rng(3)), weights(rng=np.random.default_rng(3)))
    state = np.random.RandomState(3)
    first = weights(random_state=state)
    np.testing.assert_array_equal(first, weights(random_state=np.random.RandomState(3)))
    assert not np.array_equal(first, weights(random_state=state))
    with pytest.raises(ValueError, match="rng and random_state are one thing: got 1 and 2"):
        weights(rng=1, random_state=2)
    with pytest.raises(TypeError, match="random_state must be None, an int"):
        weights(random_state="a")
    with pytest.raises(ValueError, match="random_state must be a non-negative integer"):
        weights(random_state=-1)
    assert sb.GaussianBernoulliRBM(random_state=np.random.RandomState(0)).fit(x[:5]).partial_fit(x[:5]).n_iter_
