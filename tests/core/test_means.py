"""Group means, running means and the mix of least variance, against the textbook on the whole data."""

import numpy as np
import pytest
import scipy.optimize
from statistics_helpers import assert_calibrated, assert_unbiased_over_runs

from sbpfast._means import RunningMean, RunningMix, group_cross, group_mean, group_sizes, least_variance_weights


@pytest.mark.parametrize("n, m", [(1, 1), (7, 1), (7, 2), (8, 4), (9, 8), (3, 8), (130, 64), (64, 64)])
def test_groups(n, m):
    r = np.random.default_rng(0)
    a, b = r.standard_normal((n, 3)), r.standard_normal((n, 2))
    groups = [slice(i, i + m) for i in range(0, n, m)]
    sizes = group_sizes(n, m)
    assert sizes.tolist() == [len(a[g]) for g in groups] and sizes.sum() == n
    np.testing.assert_allclose(group_mean(a, m), [a[g].mean(axis=0) for g in groups], rtol=1e-13)
    np.testing.assert_allclose(group_mean(a[:, 0], m), [a[g, 0].mean() for g in groups], rtol=1e-13)
    np.testing.assert_allclose(
        group_cross(a, b, m), [a[g].T @ b[g] / len(a[g]) for g in groups], rtol=1e-12, atol=1e-14
    )


def fed(statistic, x, m, cuts):
    """A running statistic given the groups of x (n, ...) in the blocks that `cuts` makes, counted in groups."""
    means, sizes = group_mean(x, m), group_sizes(len(x), m)
    for i, j in zip((0, *cuts), (*cuts, len(sizes))):
        statistic.add([means[i:j], 2 * means[i:j]] if isinstance(statistic, RunningMix) else means[i:j], sizes[i:j])
    return statistic


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("n, m", [(64, 1), (100, 7), (129, 64), (4096, 64)])
def test_running_mean_is_the_weighted_mean_whatever_the_blocks(n, m, offset):
    x = np.random.default_rng(0).standard_normal((n, 2, 3)) + offset
    means, sizes = group_mean(x, m), group_sizes(n, m)
    mean = x.mean(axis=0)
    weighted = (sizes[:, None, None] * (means - mean) ** 2).sum(axis=0)
    error = np.sqrt(weighted / (len(sizes) - 1) / n)
    for cuts in ((), (1,), (1, 2), tuple(range(1, len(sizes)))):
        running = fed(RunningMean(), x, m, [c for c in cuts if c < len(sizes)])
        np.testing.assert_allclose(running.mean, mean, rtol=1e-14, atol=1e-14 * max(1, offset))
        np.testing.assert_allclose(running.standard_error(), error, rtol=1e-11 if offset == 0 else 1e-6)
        assert running.count == n and running.groups == len(sizes)


def test_one_group_has_no_error_and_equal_groups_none_to_report():
    running = fed(RunningMean(), np.ones((5, 2)), 8, ())
    assert np.isnan(running.standard_error()).all() and running.standard_error().shape == (2,)
    assert not fed(RunningMean(), np.ones((50, 2)), 8, ()).standard_error().any()


def on_the_simplex(c):
    """The least w^T C w over weights that are not negative and sum to 1, by a general optimiser from every corner."""
    k = len(c)
    c = c / np.abs(c).max()
    starts = [np.full(k, 1 / k), *(0.9 * np.eye(k) + 0.1 / k)]
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1.0}
    found = [
        scipy.optimize.minimize(
            lambda w: w @ c @ w, w, jac=lambda w: 2 * c @ w, bounds=[(0, 1)] * k, constraints=constraint,
            method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        ).x
        for w in starts
    ]  # fmt: skip
    return min(found, key=lambda w: w @ c @ w)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_weights_have_the_least_variance_of_all_that_are_not_negative(k):
    r = np.random.default_rng(k)
    half = r.standard_normal((k, k + 1, 30)) * np.exp(r.standard_normal((k + 1, 1)))
    covariance = np.einsum("ika,jka->ija", half, half)
    weights = least_variance_weights(covariance)
    assert (weights >= 0).all() and (weights == 0).any()
    for c, w in zip(np.moveaxis(covariance, -1, 0), weights.T):
        best = on_the_simplex(c)
        assert w @ c @ w <= (best @ c @ best) * (1 + 1e-5)


def test_least_variance_weights():
    """Against Lagrange, w = C^-1 1 / (1^T C^-1 1), where that is positive, and the corner cases without an inverse."""
    r = np.random.default_rng(0)
    half = 0.3 * r.standard_normal((3, 3, 2, 4)) + np.eye(3)[:, :, None, None]
    covariance = np.einsum("ikab,jkab->ijab", half, half)
    w = least_variance_weights(covariance)
    np.testing.assert_allclose(w.sum(axis=0), 1.0, rtol=1e-13)
    inside = 0
    for a in range(2):
        for b in range(4):
            c = covariance[:, :, a, b] * (1 + 1e-6 * np.eye(3))
            v = np.linalg.solve(c, np.ones(3))
            if (v > 0).all():
                np.testing.assert_allclose(w[:, a, b], v / v.sum(), rtol=1e-7, atol=1e-9)
                inside += 1
    assert inside >= 4
    np.testing.assert_allclose(least_variance_weights(np.ones((2, 2))), [0.5, 0.5])  # two names for one estimate
    np.testing.assert_allclose(least_variance_weights(np.zeros((3, 3))), np.full(3, 1 / 3))
    np.testing.assert_allclose(least_variance_weights(np.diag([1.0, 0.0])), [0.0, 1.0], atol=1e-12)
    for scale in (1e-200, 1e200):
        np.testing.assert_allclose(least_variance_weights(covariance * scale**0.5), w, rtol=1e-6)


def correlated(runs, groups, seed=0):
    """Three estimates of the means (1, -2), heavily skewed and strongly correlated: (runs, groups, 3, 2)."""
    r = np.random.default_rng(seed)
    base, own = r.exponential(size=(runs, groups, 1, 2)) - 1, r.standard_normal((runs, groups, 3, 2))
    return np.array([1.0, -2.0]) + base * np.array([1.0, 2.0, -0.5])[:, None] + own * np.array([0.2, 1.0, 0.5])[:, None]


@pytest.mark.parametrize("groups", [2, 5, 11, 12, 13, 64])
def test_the_mix_is_unbiased_and_calibrated(groups):
    x = correlated(600, groups)
    results = []
    for run in x:
        mix = RunningMix()
        half = groups // 2
        for part in (run[:half], run[half:]):
            if len(part):
                mix.add(list(part.transpose(1, 0, 2)), np.full(len(part), 4))
        results.append(mix.result())
    means, errors = np.array([m for m, _ in results]), np.array([e for _, e in results])
    assert np.isfinite(errors).all() and (errors > 0).all()
    assert_unbiased_over_runs(means, [1.0, -2.0])
    if groups >= 64:
        assert_calibrated(means, errors, np.array([1.0, -2.0]), groups - 2, slack=0.15)
        v, own = np.array([1.0, 2.0, -0.5]), np.array([0.2, 1.0, 0.5])
        c = np.outer(v, v) + np.diag(own**2)
        w = on_the_simplex(c)
        best = w @ c @ w / groups
        assert means.var(axis=0) == pytest.approx(best, rel=0.35)


def test_a_mix_of_few_groups_is_the_first_estimate():
    x = correlated(1, 7)[0]
    mix, first = RunningMix(), RunningMean()
    for part in (x[:3], x[3:]):
        mix.add(list(part.transpose(1, 0, 2)), np.full(len(part), 2))
        first.add(part[:, 0], np.full(len(part), 2))
    mean, error = mix.result()
    np.testing.assert_allclose(mean, first.mean, rtol=1e-14)
    np.testing.assert_allclose(error, first.standard_error(), rtol=1e-14)


def test_a_mix_can_leave_an_estimate_out():
    x = correlated(1, 40)[0]
    x[:, 0] = 3.0  # without variance: it would take all the weight
    whole, part = RunningMix(), RunningMix()
    whole.add(list(x.transpose(1, 0, 2)), np.full(40, 2))
    part.add(list(x[:, 1:].transpose(1, 0, 2)), np.full(40, 2))
    np.testing.assert_allclose(whole.result()[0], 3.0, rtol=1e-6)
    for got, wanted in zip(whole.result([1, 2]), part.result()):
        np.testing.assert_allclose(got, wanted, rtol=1e-14)


def test_the_folds_of_a_mix_do_not_depend_on_the_blocks():
    x = np.random.default_rng(0).standard_normal((131, 2, 3))

    def mixed(cuts):
        mix = RunningMix()
        for i, j in zip((0, *cuts), (*cuts, len(x))):
            mix.add([x[i:j, 0], x[i:j, 1]], np.full(j - i, 4))
        return mix.result()

    mean, error = mixed(())
    for cuts in ((1,), (64, 65, 66), tuple(range(1, 131))):
        np.testing.assert_allclose(mixed(cuts)[0], mean, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(mixed(cuts)[1], error, rtol=1e-10)
