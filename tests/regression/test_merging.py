"""Posteriors of shards, merged, beside the posterior of all rows."""

import numpy as np
import pytest

import sbpfast as sb

r = np.random.default_rng(12)
X = r.normal(size=(4000, 3))
ETA = X @ [0.8, -0.5, 0.2] - 0.3
BINARY = np.where(r.random(4000) < 1.0 / (1.0 + np.exp(-ETA)), "yes", "no")
COUNTS = r.poisson(np.exp(0.5 * ETA))


def shards(model, y, n_shards, **settings):
    """Fits of every n-th row, and of all."""
    make = lambda: model(autoscale=False, random_state=0, **settings)
    return [make().fit(X[i::n_shards], y[i::n_shards]) for i in range(n_shards)], make().fit(X, y)


def test_gaussian_likelihoods_merge_exactly():
    """Student's t of so many degrees of freedom is normal noise: the likelihood of a shard is Gaussian but for them."""
    y = ETA + 0.5 * r.normal(size=4000)
    parts, whole = shards(sb.BayesianStudentTRegression, y, 8, df=1e13, scale=0.5)
    merged = sb.regression.merge(parts)
    sd = np.sqrt(np.diagonal(whole.fit_.q.cov))
    assert np.abs((merged.mean - whole.fit_.q.mean) / sd).max() < 1e-6
    np.testing.assert_allclose(merged.cov, whole.fit_.q.cov, rtol=1e-6, atol=1e-6 * sd.min() ** 2)


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (sb.BayesianLogisticRegression, BINARY),
        (sb.BayesianProbitRegression, BINARY),
        (sb.BayesianPoissonRegression, COUNTS),
    ],
)
def test_others_merge_to_within_a_part_of_a_standard_deviation(model, y):
    parts, whole = shards(model, y, 8)
    merged, q = sb.regression.merge(parts), whole.fit_.q
    sd = np.sqrt(np.diagonal(q.cov))
    error = np.abs((merged.mean - q.mean) / sd).max(), np.abs(np.sqrt(np.diagonal(merged.cov)) / sd - 1.0).max()
    assert error[0] < 0.2 and error[1] < 0.02


def test_one_fit_is_itself_and_the_prior_counts_once():
    (only,), _ = shards(sb.BayesianLogisticRegression, BINARY, 1, prior_scale=0.05)
    merged = sb.regression.merge([only])
    np.testing.assert_allclose(merged.mean, only.fit_.q.mean, rtol=1e-10)
    np.testing.assert_allclose(merged.cov, only.fit_.q.cov, rtol=1e-9)
    parts, whole = shards(sb.BayesianLogisticRegression, BINARY, 8, prior_scale=0.5)
    sd = np.sqrt(np.diagonal(whole.fit_.q.cov))
    assert np.abs((sb.regression.merge(parts).mean - whole.fit_.q.mean) / sd).max() < 0.3


def test_what_cannot_be_merged_is_said():
    parts, _ = shards(sb.BayesianLogisticRegression, BINARY, 2)
    with pytest.raises(ValueError, match="at least one fitted regression, got none"):
        sb.regression.merge([])
    with pytest.raises(TypeError, match="must be of one class"):
        sb.regression.merge([parts[0], sb.BayesianProbitRegression(autoscale=False).fit(X, BINARY)])
    with pytest.raises(TypeError, match="must hold fitted regressions"):
        sb.regression.merge([sb.BayesianLogisticRegression()])
    with pytest.raises(ValueError, match=r"the same prior_scale_, got .* fit them with autoscale=False"):
        sb.regression.merge([sb.BayesianLogisticRegression().fit(X[i::2], BINARY[i::2]) for i in (0, 1)])
    with pytest.raises(ValueError, match="the same features"):
        sb.regression.merge([parts[0], sb.BayesianLogisticRegression(autoscale=False).fit(X[:, :2], BINARY)])
    with pytest.raises(ValueError, match="the same classes"):
        sb.regression.merge([parts[0], sb.BayesianLogisticRegression(autoscale=False).fit(X, BINARY == "yes")])
    with pytest.raises(ValueError, match="parameters beside the coefficients"):
        sb.regression.merge([sb.BayesianLinearRegression(autoscale=False).fit(X, ETA + r.normal(size=4000))])


@pytest.mark.filterwarnings("ignore:The data say little")
def test_shards_that_say_less_than_their_prior_are_refused_in_words():
    def outlier():
        model = sb.BayesianStudentTRegression(df=2.0, scale=1.0, prior_scale=1.0, fit_intercept=False, autoscale=False)
        return model.fit(np.ones((1, 1)), np.array([4.0]))

    with pytest.raises(ValueError, match="say less than their prior"):
        sb.regression.merge([outlier() for _ in range(30)])
