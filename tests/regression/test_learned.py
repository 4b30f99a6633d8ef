"""What is learned by the highest ELBO: against searches that know nothing of slopes, and what is said of it."""

import numpy as np
import pytest
import scipy

import sbpfast as sb

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning"),
    pytest.mark.filterwarnings("ignore:The data say little:sbpfast.FitWarning"),
]
r = np.random.default_rng(0)
X = r.standard_normal((150, 3))
ETA = X @ [0.8, -0.5, 0.3] + 0.5
RESPONSES = {
    sb.BayesianLogisticRegression: (r.random(150) < scipy.special.expit(ETA)).astype(int),
    sb.BayesianProbitRegression: (r.random(150) < scipy.special.ndtr(ETA)).astype(int),
    sb.BayesianPoissonRegression: r.poisson(np.exp(ETA)),
    sb.BayesianNegativeBinomialRegression: r.negative_binomial(2.0, 2.0 / (2.0 + np.exp(ETA))),
    sb.BayesianGammaRegression: r.gamma(3.0, np.exp(ETA) / 3.0),
    sb.BayesianLinearRegression: ETA + 0.5 * r.standard_normal(150),
    sb.BayesianStudentTRegression: ETA + 0.3 * r.standard_t(4.0, 150),
}
CLASSES = np.array(["p", "q", "r"])[(X @ r.standard_normal((3, 3)) + r.gumbel(size=(150, 3))).argmax(axis=1)]


def highest(elbo, start, width=0.7):
    """Where a smooth function of a logarithm is highest, by golden sections."""
    ends = np.log(start) + np.array([-width, width])
    found = scipy.optimize.minimize_scalar(lambda u: -elbo(np.exp(u)), bounds=ends, method="bounded")
    return np.exp(found.x)


@pytest.mark.parametrize("model", [sb.BayesianNegativeBinomialRegression, sb.BayesianGammaRegression])
def test_dispersion_and_shape_are_where_the_elbo_is_highest(model):
    name = {sb.BayesianNegativeBinomialRegression: "dispersion", sb.BayesianGammaRegression: "shape"}[model]
    m, y = model(random_state=0).fit(X, RESPONSES[model]), RESPONSES[model]
    got = getattr(m, f"{name}_")
    best = highest(lambda value: model(random_state=0, **{name: value}).fit(X, y).elbo_, got)
    assert got == pytest.approx(best, rel=1e-4) and m.learned_[name].value == got
    u, h = np.log(got), 0.1  # the second difference of the ELBO itself
    elbos = [model(random_state=0, **{name: np.exp(v)}).fit(X, y).elbo_ for v in (u - h, u, u + h)]
    assert m.learned_[name].log_sd == pytest.approx((-(elbos[0] - 2 * elbos[1] + elbos[2]) / h**2) ** -0.5, rel=0.03)
    low, high = m.learned_[name].interval(0.95)
    assert low < {"dispersion": 2.0, "shape": 3.0}[name] < high
    assert f"{name} {got:.5g} (95 %: {low:.4g} to {high:.4g})" in str(m.summary())
    known = model(random_state=0, **{name: 2.0}).fit(X, y)
    assert getattr(known, f"{name}_") == 2.0 and known.learned_ == {} and name not in str(known.summary())


@pytest.mark.parametrize("model", RESPONSES)
def test_the_scale_of_the_prior_is_where_the_elbo_is_highest(model):
    y = RESPONSES[model]
    m = model(prior_scale="auto", autoscale=False, random_state=0).fit(X, y)
    assert m.prior_scale == "auto" and m.prior_scale_.shape == (3,) and (m.prior_scale_ == m.prior_scale_[0]).all()
    assert m.prior_scale_[0] == m.learned_["prior_scale"].value
    given = {"dispersion": "dispersion_", "shape": "shape_", "scale": "scale_"}
    known = {name: getattr(m, attribute) for name, attribute in given.items() if hasattr(m, attribute)}
    elbo = lambda s: model(prior_scale=s, autoscale=False, random_state=0, **known).fit(X, y).elbo_
    assert m.elbo_ == pytest.approx(elbo(m.prior_scale_[0]), abs=1e-7)
    assert m.prior_scale_[0] == pytest.approx(highest(elbo, m.prior_scale_[0]), rel=1e-3)
    assert "prior_scale" in str(m.summary())


def test_the_scale_of_a_prior_over_many_classes():
    m = sb.BayesianLogisticRegression(prior_scale="auto", autoscale=False, random_state=0).fit(X, CLASSES)
    elbo = lambda s: sb.BayesianLogisticRegression(prior_scale=s, autoscale=False, random_state=0).fit(X, CLASSES).elbo_
    assert m.prior_scale_[0] == pytest.approx(highest(elbo, m.prior_scale_[0]), rel=1e-3)


def test_units_do_not_matter():
    plain = sb.BayesianPoissonRegression(prior_scale="auto", random_state=0).fit(
        X, RESPONSES[sb.BayesianPoissonRegression]
    )
    scaled = sb.BayesianPoissonRegression(prior_scale="auto", random_state=0)
    scaled.fit(X * [1e3, 1.0, 1e-4], RESPONSES[sb.BayesianPoissonRegression])
    np.testing.assert_allclose(scaled.prior_scale_ * [1e3, 1.0, 1e-4], plain.prior_scale_, rtol=1e-4)
    np.testing.assert_allclose(scaled.coef_ * [1e3, 1.0, 1e-4], plain.coef_, rtol=1e-4)


def test_nothing_to_learn_is_an_answer():
    noise = np.random.default_rng(5).standard_normal(150)
    m = sb.BayesianLinearRegression(prior_scale="auto", random_state=0).fit(X, noise)
    assert m.learned_["prior_scale"].at_end and np.abs(m.coef_).max() < 1e-3
    assert "to the end of the range" in str(m.summary())


def test_what_is_refused():
    y = RESPONSES[sb.BayesianPoissonRegression]
    with pytest.raises(ValueError, match=r"prior_scale must be .*auto.*got 'wide'"):
        sb.BayesianPoissonRegression(prior_scale="wide").fit(X, y)
    for model, wrong, message in (
        (sb.BayesianGammaRegression, y - 0.5, "y must be positive, got -0.5"),
        (sb.BayesianGammaRegression(shape=2.0), y * 0.0, "y must be positive, got 0.0"),
        (sb.BayesianNegativeBinomialRegression, y - 1.0, "y must be not negative, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            (model() if isinstance(model, type) else model).fit(X, wrong)
    with pytest.raises(ValueError, match="dispersion must be"):
        sb.BayesianNegativeBinomialRegression(dispersion=-1.0).fit(X, y)
    with pytest.raises(ValueError, match="shape must be"):
        sb.BayesianGammaRegression(shape=0.0).fit(X, y + 1.0)


@pytest.mark.parametrize("model", [sb.BayesianNegativeBinomialRegression, sb.BayesianGammaRegression])
def test_intervals_hold_what_the_predictive_draws_say(model):
    m = model(random_state=0).fit(X, RESPONSES[model])
    draws = m.sample_predictive(X[:4], 20000, rng=0)
    low, high = m.predict_interval(X[:4], 0.9).T
    below, above = (draws < low).mean(axis=0), (draws > high).mean(axis=0)
    slack = 4.0 * np.sqrt(0.05 * 0.95 / 20000)
    assert (below <= 0.05 + slack).all() and (above <= 0.05 + slack).all()
    if model is sb.BayesianGammaRegression:
        assert (below >= 0.05 - slack).all() and (above >= 0.05 - slack).all()
    mean = np.exp(np.column_stack([X[:4], np.ones(4)]) @ m.sample_params(40000, rng=1).T).mean(axis=1)
    np.testing.assert_allclose(m.predict(X[:4]), mean, rtol=0.01)
