"""What other programs ask of the estimators: pickles, metadata routing, class weights, trials, rates, shapes."""

import pickle
import warnings

import numpy as np
import pytest
import scipy

import sbpfast as sb

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")
r = np.random.default_rng(0)
X = r.standard_normal((300, 3))
ETA = X @ [1.0, -0.5, 0.3] + 0.2
BINARY = (r.random(300) < scipy.special.expit(ETA)).astype(int)
COUNTS = r.poisson(np.exp(ETA))
REAL = ETA + 0.3 * r.standard_t(4.0, 300)
MODELS = {
    sb.BayesianLogisticRegression: BINARY,
    sb.BayesianProbitRegression: BINARY,
    sb.BayesianPoissonRegression: COUNTS,
    sb.BayesianStudentTRegression: REAL,
    sb.BayesianLinearRegression: REAL,
    sb.BayesianNegativeBinomialRegression: COUNTS,
    sb.BayesianGammaRegression: np.exp(REAL),
}


@pytest.mark.parametrize("model", MODELS)
def test_pickles_are_small_and_predict_the_same(model):
    many = np.random.default_rng(1).standard_normal((4000, 3))
    y = {"classifier": (many[:, 0] > 0.1 * many[:, 1] ** 2).astype(int)}.get(
        model._estimator_type, np.abs(many[:, 0]).round() + (model is sb.BayesianGammaRegression)
    )
    m = model(random_state=0).fit(many, y)
    data = pickle.dumps(m)
    again = pickle.loads(data)
    assert len(data) < 50_000 and many[:8].tobytes()[:64] not in data
    np.testing.assert_array_equal(again.predict(X), m.predict(X))
    np.testing.assert_array_equal(again.sample_params(3, rng=0), m.sample_params(3, rng=0))
    assert again.get_params() == m.get_params() and str(again.summary()) == str(m.summary())


def test_a_regression_of_version_0_1_is_read(monkeypatch):
    m = sb.BayesianLogisticRegression(autoscale=False, random_state=0).fit(X, BINARY)
    old = {k: v for k, v in vars(m).items() if k not in ("autoscale", "class_weight", "prior_scale_")}
    old |= {"coef_": m.coef_[0], "intercept_": float(m.intercept_[0])}  # the shapes it had
    again = sb.BayesianLogisticRegression.__new__(sb.BayesianLogisticRegression)
    again.__setstate__(old)
    assert again.coef_.shape == (1, 3) and again.intercept_.shape == (1,) and again.autoscale is False
    np.testing.assert_array_equal(again.predict_proba(X), m.predict_proba(X))


def test_routing():
    sklearn = pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    offset, weights = np.where(BINARY == 1, 9.0, -9.0), np.ones(300)
    with pytest.raises(RuntimeError, match="routing is enabled"):
        sb.BayesianLogisticRegression().set_fit_request(offset=True)
    with sklearn.config_context(enable_metadata_routing=True):
        ours, theirs = sb.BayesianLogisticRegression(), LogisticRegression().set_fit_request(sample_weight=True)
        theirs_asked = theirs.get_metadata_routing()._serialize()
        asked = ours.set_fit_request(sample_weight=True).get_metadata_routing()._serialize()
        assert asked["fit"]["sample_weight"] == theirs_asked["fit"]["sample_weight"] is True
        assert set(asked["predict_proba"]) == {"offset"} and set(asked["score"]) == {
            "sample_weight",
            "offset",
            "trials",
        }
        with pytest.raises(TypeError, match="Unexpected args"):
            ours.set_score_request(nothing=True)
        ours.set_score_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), ours)
        assert np.isfinite(cross_val_score(model, X, BINARY, params={"sample_weight": weights})).all()
        assert np.isfinite(cross_val_score(model, X, BINARY)).all()
        ours.set_fit_request(offset=True, sample_weight=None).set_predict_request(offset=True).set_score_request(
            offset=True
        )
        np.testing.assert_array_equal(cross_val_score(model, X, BINARY, params={"offset": offset}), 1.0)
        fitted = model.fit(X, BINARY, offset=offset)
        np.testing.assert_array_equal(fitted.predict(X, offset=offset), BINARY)
        search = GridSearchCV(model, {"bayesianlogisticregression__prior_scale": [1.0, 2.5]}, cv=3)
        assert search.fit(X, BINARY, offset=offset).best_score_ == 1.0
        assert sklearn.base.clone(ours).get_metadata_routing()._serialize() == ours.get_metadata_routing()._serialize()


@pytest.mark.parametrize("model", [sb.BayesianLogisticRegression, sb.BayesianProbitRegression])
def test_class_weights_are_weights_of_rows(model):
    labels = np.where(BINARY == 1, "yes", "no")
    rows = np.where(BINARY == 1, 3.0, 0.5)
    one = model(class_weight={"yes": 3.0, "no": 0.5}, random_state=0).fit(X, labels)
    np.testing.assert_allclose(one.coef_, model(random_state=0).fit(X, labels, sample_weight=rows).coef_, rtol=1e-9)
    half = 150.0 / np.where(BINARY == 1, BINARY.sum(), 300 - BINARY.sum())
    balanced = model(class_weight="balanced", random_state=0).fit(X, labels)
    np.testing.assert_allclose(
        balanced.coef_, model(random_state=0).fit(X, labels, sample_weight=half).coef_, rtol=1e-9
    )
    for weight, message in (
        ({"maybe": 1.0}, "as keys, got 'maybe'"),
        ("even", "'balanced'"),
        ({"no": -1.0}, "least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model(class_weight=weight).fit(X, labels)


def test_trials_are_repeated_rows():
    n = r.integers(1, 6, 300)
    y = r.binomial(n, scipy.special.expit(ETA))
    m = sb.BayesianLogisticRegression(autoscale=False, random_state=0).fit(X, y, trials=n)
    rows = np.repeat(np.arange(300), n)
    each = np.concatenate([[1] * k + [0] * (t - k) for k, t in zip(y, n)])
    other = sb.BayesianLogisticRegression(autoscale=False, random_state=0).fit(X[rows], each)
    np.testing.assert_allclose(m.coef_, other.coef_, rtol=1e-7)
    constant = scipy.special.gammaln(n + 1) - scipy.special.gammaln(y + 1) - scipy.special.gammaln(n - y + 1)
    assert m.elbo_ == pytest.approx(other.elbo_ + constant.sum(), abs=1e-6)
    assert m.classes_.tolist() == [0, 1] and m.score(X, y, trials=n) == pytest.approx(other.score(X[rows], each))
    assert m.score(X, y, n, trials=n) == pytest.approx(other.score(X[rows], each, n[rows]))
    drawn = m.sample_predictive(X, 400, trials=n, rng=0)
    assert (drawn <= n).all() and drawn.mean() == pytest.approx(y.mean(), rel=0.1)
    with pytest.raises(ValueError, match="between 0 and trials"):
        m.fit(X, y + 6, trials=n)
    with pytest.raises(ValueError, match="not to trials"):
        sb.BayesianLogisticRegression(class_weight="balanced").fit(X, y, trials=n)


def test_rates_are_counts_over_exposures():
    exposure = r.uniform(0.5, 3.0, 300)
    y = r.poisson(exposure * np.exp(ETA))
    counts = sb.BayesianPoissonRegression(autoscale=False, random_state=0).fit(X, y, offset=np.log(exposure))
    rates = sb.BayesianPoissonRegression(autoscale=False, random_state=0).fit(X, y / exposure, sample_weight=exposure)
    np.testing.assert_allclose(rates.coef_, counts.coef_, rtol=1e-7)
    assert rates.elbo_ == pytest.approx(counts.elbo_, abs=1e-6)  # constants included
    zero = sb.BayesianPoissonRegression(autoscale=False, random_state=0)
    zero.fit(np.vstack([X, X]), np.append(y / exposure, y / exposure), sample_weight=np.append(exposure, 0 * exposure))
    np.testing.assert_allclose(zero.coef_, rates.coef_, rtol=1e-7)
    assert zero.elbo_ == pytest.approx(counts.elbo_, abs=1e-6)


def test_shapes_are_those_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    for ours, theirs, y in (
        (sb.BayesianLogisticRegression(), linear_model.LogisticRegression(), BINARY),
        (sb.BayesianLinearRegression(), linear_model.BayesianRidge(), REAL),
    ):
        ours.fit(X, y), theirs.fit(X, y)
        assert np.shape(ours.coef_) == np.shape(theirs.coef_) and np.shape(ours.intercept_) == np.shape(
            theirs.intercept_
        )
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=0.1)
        assert ours.sample_coef(5, rng=0).shape == (5, 3) and ours.coef_cov_.shape == (3, 3)


@pytest.mark.parametrize("model", MODELS)
def test_khat_and_evidence_are_at_hand(model):
    m = model(random_state=0)
    with pytest.raises(AttributeError, match="not fitted"):
        m.khat_  # noqa: B018
    m.fit(X, MODELS[model])
    assert m.khat_ == m.fit_.khat and m.log_evidence_ >= m.elbo_ - 0.5


def test_warnings_point_at_the_line_of_the_user():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sb.BayesianLinearRegression(random_state=0).fit(X, REAL[:, None])
        sb.BayesianLogisticRegression(prior_scale=1e-3).fit(X, BINARY)
    assert len(caught) == 2 and {w.filename for w in caught} == {__file__}
