"""Priors in the units of the data: what they are, that units no longer matter, and the warning where they decide."""

import warnings

import numpy as np
import pytest
import scipy

import sbpfast as sb

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")
r = np.random.default_rng(0)
X = r.standard_normal((100, 2)) * [1.0, 3.0] + [0.0, 5.0]
ETA = X @ [0.5, -0.2] + 0.7
MODELS = {
    sb.BayesianLogisticRegression: (r.random(100) < scipy.special.expit(ETA)).astype(int),
    sb.BayesianProbitRegression: (r.random(100) < scipy.special.ndtr(ETA)).astype(int),
    sb.BayesianPoissonRegression: r.poisson(np.exp(ETA)),
    sb.BayesianStudentTRegression: ETA + r.standard_t(4.0, 100),
    sb.BayesianLinearRegression: ETA + r.standard_normal(100),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_scales_are_those_of_the_data(model, kind):
    w = r.integers(0, 3, 100)
    y = MODELS[model]
    m = model(prior_scale=[2.0, 0.5], intercept_prior_scale=4.0, random_state=0).fit(kind(X), y, sample_weight=w)
    rows = np.repeat(np.arange(100), w)
    unit = y[rows].std() if model in (sb.BayesianStudentTRegression, sb.BayesianLinearRegression) else 1.0
    want = np.array([2.0, 0.5]) * unit / X[rows].std(axis=0)
    np.testing.assert_allclose(m.prior_scale_, want, rtol=1e-12)
    location = y[rows].mean() if unit != 1.0 else 0.0
    if model is sb.BayesianPoissonRegression:
        location = np.log(y[rows].mean())
    balanced = [unit, location, *(want * X[rows].mean(axis=0))]
    assert m.intercept_prior_scale_ == pytest.approx(4.0 * np.linalg.norm(balanced), rel=1e-12)
    absolute = model(prior_scale=[2.0, 0.5], intercept_prior_scale=4.0, autoscale=False, random_state=0).fit(X, y)
    assert absolute.prior_scale_.tolist() == [2.0, 0.5] and absolute.intercept_prior_scale_ == 4.0


@pytest.mark.parametrize("model", [sb.BayesianStudentTRegression, sb.BayesianLinearRegression])
def test_units_do_not_matter(model):
    y = MODELS[model]
    plain = model(random_state=0).fit(X, y)
    other = model(random_state=0).fit(X * [1e-4, 1e6], 1e5 * y)
    np.testing.assert_allclose(other.coef_ * [1e-4, 1e6], 1e5 * plain.coef_, rtol=1e-6)
    np.testing.assert_allclose(other.predict(X * [1e-4, 1e6]), 1e5 * plain.predict(X), rtol=1e-6)
    np.testing.assert_allclose(
        other.predict_interval(X * [1e-4, 1e6]), 1e5 * plain.predict_interval(X), rtol=1e-6, atol=1e-3
    )


def test_constant_columns_and_responses_have_a_scale():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.FitWarning)
        m = sb.BayesianLinearRegression(random_state=0).fit(np.column_stack([X, np.full(100, 0.1)]), np.full(100, 7.0))
    assert m.prior_scale_[2] == 2.5 and np.allclose(m.predict(np.column_stack([X, np.full(100, 0.1)])), 7.0)


def test_flat_priors_stay_flat():
    m = sb.BayesianLogisticRegression(prior_scale=np.inf, random_state=0).fit(X, MODELS[sb.BayesianLogisticRegression])
    assert np.isinf(m.prior_scale_).all() and np.isinf(m.intercept_prior_scale_)
    centred = X - X.mean(axis=0)
    centred -= centred.mean(axis=0)
    assert np.isfinite(
        sb.BayesianLogisticRegression(prior_scale=[np.inf, 1.0], random_state=0)
        .fit(centred, MODELS[sb.BayesianLogisticRegression]).coef_
    ).all()  # fmt: skip


def test_a_prior_that_decides_is_named():
    y = MODELS[sb.BayesianLinearRegression]
    with pytest.warns(sb.FitWarning, match="The data say little about x1: posterior and prior"):
        sb.BayesianLinearRegression(prior_scale=[2.5, 1e-4], random_state=0).fit(X, y)
    with pytest.warns(sb.FitWarning, match="little about x2, x3, x4, x5, x6 and 3 more"):
        sb.BayesianLinearRegression(random_state=0).fit(np.eye(10)[:2], y[:2])


@pytest.mark.parametrize("noise", [0.02, 1.0, 50.0])
def test_the_scale_of_robust_noise_is_found(noise):
    g = np.random.default_rng(2)
    Z = g.standard_normal((4000, 2))
    y = 1000.0 + Z @ [3.0, -2.0] + noise * g.standard_t(4.0, 4000)
    m = sb.BayesianStudentTRegression(random_state=0).fit(Z, y)
    assert m.scale_ == pytest.approx(noise, rel=0.06)
    for factor in (0.98, 1.02):  # the ELBO is lower on either side
        other = sb.BayesianStudentTRegression(scale=factor * m.scale_, random_state=0).fit(Z, y)
        assert other.elbo_ < m.elbo_
    assert sb.BayesianStudentTRegression(scale=2.5, random_state=0).fit(Z, y).scale_ == 2.5
