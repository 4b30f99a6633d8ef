"""expectation_grad: estimators recomputed from recorded draws, unbiased, and what an estimate offers."""

import numpy as np
import pytest
from estimate_cases import ESTIMATORS, SAMPLINGS, freedom, separable, smooth
from gaussian_cases import STRUCTURES, case, table_of_theory
from statistics_helpers import assert_unbiased, assert_unbiased_over_runs

import sbpfast as sb

SIZES = (1, 2, 3, 5, 63, 64, 65, 1025, 4097)


def case_low_rank(d):
    r = np.random.default_rng(d)
    p = {"mean": r.standard_normal(d), "diag": 0.5 + r.random(d), "factor": r.standard_normal((d, 2)) / np.sqrt(d)}
    return sb.LowRankGaussian(**p), p, p["mean"], None


class Recorder:
    """A target that remembers every point its value was asked at, in order."""

    def __init__(self, target):
        self.points = []

        def value(x):
            self.points.append(x.copy())
            return target.value(x)

        callables = {"value": value, "grad": target.grad}
        if target._has("hess"):
            callables["hess"] = target.hess
        self.target = sb.Target(**callables, dim=target.dim)

    @property
    def x(self):
        return np.concatenate(self.points)


# -- the formulas, recomputed from the points the target was asked at -------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_estimates_are_means_over_the_points_drawn(structure, n, sampling):
    d = 3
    q, p, mean, cov = case(structure, d, 2)
    precision = np.linalg.inv(cov)
    f, _ = smooth(d)
    for estimator in ("price", "pathwise"):
        recorder = Recorder(f)
        est = sb.expectation_grad(recorder.target, q, estimator=estimator, n_samples=n, sampling=sampling, rng=4)
        x = recorder.x
        assert est.n_samples == len(x) >= n and est.estimator == estimator
        assert est.value == pytest.approx(f.value(x).mean(), rel=1e-11, abs=1e-13)
        g = f.grad(x)
        outer = np.einsum("ni,nj->ij", g, (x - mean) @ precision) / len(x)
        big_g = 0.5 * f.hess(x).mean(axis=0) if estimator == "price" else 0.25 * (outer + outer.T)
        for name, want in table_of_theory(structure, p, g.mean(axis=0), big_g).items():
            np.testing.assert_allclose(est.grad[name], want, rtol=1e-9, atol=1e-11, err_msg=name)
        if sampling == "antithetic":
            assert len(x) == n + n % 2
            np.testing.assert_allclose(x[1::2] - mean, mean - x[0::2], rtol=1e-9, atol=1e-12)
        elif sampling == "mc":
            assert len(x) == n
            np.testing.assert_allclose(x, q.sample(n, rng=4), rtol=1e-12, atol=1e-13)
        else:
            assert len(x) & (len(x) - 1) == 0 and len(x) <= max(2 * n, 16)


@pytest.mark.parametrize("n", [1, 2, 3, 65, 1025, 4097])
def test_ridge_price_is_the_mean_over_the_points_drawn(n):
    """The fused kernels of ridge targets against plain means, for every structure."""
    d = 5
    r = np.random.default_rng(0)
    f = sb.targets.logistic_regression(r.standard_normal((40, d)), r.integers(0, 2, 40), prior_scale=1.5)
    for structure in STRUCTURES:
        q, p, _, _ = case(structure, d, 2)
        x = q.sample(n, rng=9)
        est = sb.expectation_grad(f, q, estimator="price", n_samples=n, rng=9)
        want = table_of_theory(structure, p, f.grad(x).mean(axis=0), 0.5 * f.hess_mean(x))
        for name, array in want.items():
            np.testing.assert_allclose(est.grad[name], array, rtol=1e-9, atol=1e-11, err_msg=f"{structure} {name}")
        assert est.value == pytest.approx(f.value(x).mean(), rel=1e-12)


@pytest.mark.parametrize(
    "structure, d, n, hessian",
    [
        ("full", 300, 200, True),
        ("diagonal", 300, 130, True),
        ("low_rank", 300, 130, True),
        ("diagonal", 3000, 2100, False),
        ("low_rank", 3000, 2100, False),
        ("precision", 1100, 70, False),
        ("full", 1030, 20, False),
    ],
)
@pytest.mark.parametrize("sampling", ["mc", "antithetic"])
def test_blocks_of_fewer_draws_than_a_panel(structure, d, n, hessian, sampling):
    """Long draws and large Hessians come a few at a time: starts off a multiple of 64 must continue the stream."""
    r = np.random.default_rng(d)
    if structure == "full":
        mean, cov = r.standard_normal(d), np.diag(0.5 + r.random(d)) + 0.01
        q, p = sb.Gaussian(mean, cov), {"mean": mean, "cov": cov}
    elif structure == "diagonal":
        mean, std = r.standard_normal(d), 0.5 + r.random(d)
        q, cov, p = sb.DiagonalGaussian(mean, std), None, {"mean": mean, "std": std}
    else:
        q, p, mean, cov = case(structure, d, 2) if d < 2000 else (*case_low_rank(d),)
    recorder = Recorder(separable(d, hessian))
    estimator = "price" if hessian else "pathwise"
    est = sb.expectation_grad(recorder.target, q, estimator=estimator, n_samples=n, sampling=sampling, rng=2)
    x = recorder.x
    assert len(x) == n + n % 2 * (sampling == "antithetic")
    assert max(map(len, recorder.points)) < 64 or not hessian
    if sampling == "mc":
        np.testing.assert_allclose(x, q.sample(n, rng=2), rtol=1e-11, atol=1e-12)
    else:
        np.testing.assert_allclose(x[1::2] - mean, mean - x[0::2], rtol=1e-8, atol=1e-10)
    assert len(np.unique(x[:, 0])) == len(x)
    assert est.value == pytest.approx(np.sin(x).sum(axis=1).mean(), rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(est.grad["mean"], np.cos(x).mean(axis=0), rtol=1e-9, atol=1e-11)
    if structure == "diagonal":
        terms = -np.sin(x) * p["std"] if hessian else np.cos(x) * (x - mean) / p["std"]
        np.testing.assert_allclose(est.grad["std"], terms.mean(axis=0), rtol=1e-9, atol=1e-11)
        assert_unbiased(est.grad["std"], -p["std"] * np.sin(mean) * np.exp(-0.5 * p["std"] ** 2), est.stderr["std"])


# -- unbiased ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_estimator_is_unbiased(structure, estimator, sampling):
    """Against closed forms, for a user's target and for a ridge target."""
    d = 3
    q, p, mean, cov = case(structure, d, 2)
    f, expectation = smooth(d)
    value, g, big_g = expectation(mean, cov)
    r = np.random.default_rng(1)
    ridge = sb.targets.logistic_regression(r.standard_normal((20, d)), r.integers(0, 2, 20), prior_scale=1.5)
    exact = sb.expectation_grad(ridge, q, estimator="exact")
    for target, want_value, want in (
        (f, value, table_of_theory(structure, p, g, big_g)),
        (ridge, exact.value, exact.grad),
    ):
        est = sb.expectation_grad(target, q, estimator=estimator, sampling=sampling, n_samples=8192, rng=17)
        assert_unbiased(est.value, want_value, est.stderr["value"], freedom(sampling))
        for name in want:
            assert_unbiased(est.grad[name], want[name], est.stderr[name], freedom(sampling))
            assert est.grad[name].shape == np.shape(est.stderr[name]) == np.shape(p[name])
        for name in ("cov", "eta2"):
            if name in want:
                np.testing.assert_allclose(est.grad[name], est.grad[name].T, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", [2, 3, 5, 9, 17, 70])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_few_draws_are_unbiased(estimator, n):
    """No baseline, pilot or mixing weight may use the draws it multiplies: means over many short runs."""
    q, _, mean, cov = case("full", 2, 0)
    f, expectation = smooth(2)
    value, g, big_g = expectation(mean, cov)
    for sampling in ("mc", "antithetic"):
        runs = [
            sb.expectation_grad(f, q, estimator=estimator, sampling=sampling, n_samples=n, rng=i) for i in range(250)
        ]
        assert_unbiased_over_runs([e.value for e in runs], value)
        assert_unbiased_over_runs([e.grad["mean"] for e in runs], g)
        assert_unbiased_over_runs([e.grad["cov"] for e in runs], big_g)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_any_number_of_draws_works(estimator, sampling):
    f, _ = smooth(3)
    for structure in ("full", "diagonal", "precision"):
        q = case(structure, 3, 1)[0]
        for n in SIZES:
            if n == 1 and estimator in ("score", "combined"):
                with pytest.raises(ValueError, match="n_samples"):
                    sb.expectation_grad(f, q, estimator=estimator, n_samples=1, sampling=sampling)
                continue
            est = sb.expectation_grad(f, q, estimator=estimator, n_samples=n, sampling=sampling, rng=1)
            assert np.isfinite(est.value) and all(np.isfinite(v).all() for v in est.grad.values())
            assert est.n_samples >= n - 1
            for error in est.stderr.values():
                assert np.isfinite(error).all() or n <= 3, f"no standard error from {n} draws"
                assert not (np.asarray(error) < 0).any()
            if n == 1 and sampling == "mc":
                assert np.isnan(est.stderr["value"]) and np.isnan(est.stderr["mean"]).all()
            repr(est)


def test_unknown_errors_are_nan_not_zero():
    f = separable(1, True)
    est = sb.expectation_grad(f, sb.DiagonalGaussian([0.0], [1.0]), estimator="price", n_samples=1)
    assert np.isnan(est.stderr["value"]) and np.isnan(est.stderr["std"][0])


def test_rounding_of_the_number_of_draws():
    f, q = separable(2, True), sb.DiagonalGaussian([0.0, 0.0], [1.0, 1.0])
    used = {
        (s, n): sb.expectation_grad(f, q, estimator="price", n_samples=n, sampling=s).n_samples
        for s in SAMPLINGS
        for n in (1, 7, 16, 17, 1000)
    }
    assert [used["mc", n] for n in (1, 7, 16, 17, 1000)] == [1, 7, 16, 17, 1000]
    assert [used["antithetic", n] for n in (1, 7, 16, 17, 1000)] == [2, 8, 16, 18, 1000]
    assert [used["sobol", n] for n in (1, 7, 16, 17, 1000)] == [16, 16, 16, 32, 1024]
    for n in (2, 3, 9, 100, 101):
        assert n - 1 <= sb.expectation_grad(f, q, estimator="score", n_samples=n).n_samples <= n
        # a baseline needs a second pair that is independent of the first
        assert (
            sb.expectation_grad(f, q, estimator="score", n_samples=n, sampling="antithetic").n_samples == -(-n // 4) * 4
        )


# -- combined, stein, auto --------------------------------------------------------------------------------------------


def rough(scale):
    """One coordinate, from smooth to rough: Price is the best part, then pathwise, then the score."""
    return sb.Target(
        value=lambda x: np.sin(scale * x[:, 0]) + 0.3 * x[:, 0],
        grad=lambda x: scale * np.cos(scale * x) + 0.3,
        hess=lambda x: -(scale**2) * np.sin(scale * x)[:, :, None],
        dim=1,
    )


@pytest.mark.parametrize("scale", [0.2, 1.0, 2.0, 8.0])
def test_combined_is_never_worse_than_its_best_part(scale):
    q, runs, n = sb.DiagonalGaussian([0.3], [1.2]), 150, 2048
    f, spread, reported = rough(scale), {}, {}
    for estimator in ("price", "pathwise", "score", "combined"):
        ests = [sb.expectation_grad(f, q, estimator=estimator, n_samples=n, rng=i) for i in range(runs)]
        for name in ("mean", "std"):
            values = np.array([e.grad[name][0] for e in ests])
            spread[estimator, name] = values.var(ddof=1)
            reported[estimator, name] = np.mean([e.stderr[name][0] ** 2 for e in ests])
    for name in ("mean", "std"):
        best = min(spread[e, name] for e in ("price", "pathwise", "score"))
        # variances over 150 runs scatter by 12 %; the same draws drive all parts, so the ratio scatters less
        assert spread["combined", name] <= 1.35 * best + 1e-25, (scale, name)
        assert (
            reported["combined", name] <= 1.15 * min(reported[e, name] for e in ("price", "pathwise", "score")) + 1e-25
        )


def test_combined_takes_the_exact_part_of_a_quadratic():
    """Price has no variance in the covariance of a quadratic: the mix must not add any."""
    f = sb.targets.quadratic(np.diag([1.0, 3.0]) + 0.2, [0.3, -0.1])
    plain = sb.Target(value=f.value, grad=f.grad, hess=f.hess, dim=2)
    est = sb.expectation_grad(
        plain, sb.Gaussian([1.0, 2.0], [[1.0, 0.2], [0.2, 0.7]]), estimator="combined", n_samples=2000, rng=0
    )
    np.testing.assert_allclose(est.grad["cov"], -0.5 * (np.diag([1.0, 3.0]) + 0.2), rtol=1e-7)
    assert (est.stderr["cov"] < 1e-7).all()


def test_combined_uses_what_the_target_has():
    q, f = sb.DiagonalGaussian([0.3], [1.2]), rough(1.0)
    for given in (("value",), ("value", "grad"), ("value", "grad", "hess")):
        est = sb.expectation_grad(
            sb.Target(**{k: getattr(f, k) for k in given}, dim=1), q, estimator="combined", n_samples=20_000, rng=0
        )
        want = 1.2 * -np.sin(0.3) * np.exp(-0.72)
        assert_unbiased(est.grad["std"][0], want, est.stderr["std"][0])
    one = sb.expectation_grad(sb.Target(value=f.value, dim=1), q, estimator="combined", n_samples=5000, rng=0)
    two = sb.expectation_grad(f, q, estimator="score", n_samples=5000, rng=0)
    np.testing.assert_allclose(one.grad["std"], two.grad["std"], rtol=1e-9)


def test_stein_is_exact_for_quadratics_and_far_better_than_pathwise():
    r = np.random.default_rng(0)
    f = sb.targets.quadratic(np.eye(6) * 2 + 0.3, r.standard_normal(6))
    plain = sb.Target(value=f.value, grad=f.grad, dim=6)
    for structure in ("full", "chol", "natural"):
        q = case(structure, 6, 0)[0]
        est = sb.expectation_grad(plain, q, estimator="stein", n_samples=500, rng=0)
        exact = sb.expectation_grad(f, q, estimator="exact")
        name = q._names[1]
        if structure != "natural":  # its second gradient holds the noise of E[grad f] too
            np.testing.assert_allclose(est.grad[name], exact.grad[name], rtol=1e-8, atol=1e-9)
            assert (est.stderr[name] < 1e-9).all()
        assert_unbiased(est.grad[name], exact.grad[name], est.stderr[name])
    X = r.standard_normal((200, 4))
    logistic = sb.targets.logistic_regression(X, r.random(200) < 0.5, prior_scale=1.0)
    q = sb.Gaussian(np.zeros(4), np.linalg.inv(X.T @ X / 4 + np.eye(4)))
    error = {
        e: np.mean(
            sb.expectation_grad(logistic, q, estimator=e, n_samples=2000, sampling="antithetic", rng=1).stderr["cov"]
            ** 2
        )
        for e in ("stein", "pathwise", "price")
    }
    assert error["stein"] < error["pathwise"] / 100
    assert error["stein"] < 30 * error["price"]


def test_auto_chooses_what_the_target_allows():
    q = sb.Gaussian(np.zeros(2), np.eye(2))
    r = np.random.default_rng(0)
    ridge = sb.targets.logistic_regression(r.standard_normal((9, 2)), [0, 1, 1] * 3, prior_scale=1.0)
    assert sb.expectation_grad(ridge, q).estimator == "exact"
    f = separable(2, True)
    for given, n, allowed in [
        (("value",), 100, {"score"}),
        (("value",), 10_000, {"score"}),
        (("value", "grad"), 100, {"stein"}),
        (("value", "grad"), 10_000, {"stein", "pathwise", "score"}),
        (("value", "grad", "hess"), 100, {"price"}),
        (("value", "grad", "hess"), 10_000, {"price", "stein", "pathwise"}),
        (("grad",), 100, {"stein", "pathwise"}),
        (("grad", "hess"), 5000, {"price", "stein", "pathwise"}),
    ]:
        est = sb.expectation_grad(sb.Target(**{k: getattr(f, k) for k in given}, dim=2), q, n_samples=n, rng=0)
        assert est.estimator in allowed, (given, n, est.estimator)
        assert_unbiased(est.grad["mean"], np.exp(-0.5), est.stderr["mean"])
        assert np.isnan(est.value) == ("value" not in given)
    # Price is hopeless on a rough function, and a pilot shows it
    assert (
        sb.expectation_grad(rough(30.0), sb.DiagonalGaussian([0.0], [1.0]), n_samples=20_000, rng=0).estimator
        != "price"
    )


@pytest.mark.parametrize("n", [1, 2, 100, 3000])
def test_auto_works_for_any_number_of_draws(n):
    for f in (separable(2, True), separable(2, False), sb.targets.quadratic(1.0, np.zeros(2))):
        est = sb.expectation_grad(f, sb.Gaussian(np.zeros(2), np.eye(2)), n_samples=n, rng=0)
        assert np.isfinite(est.grad["mean"]).all()


# -- what an estimate offers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_subset_of_the_parameters(structure):
    q = case(structure, 3, 2)[0]
    f, _ = smooth(3)
    for estimator in ESTIMATORS:
        options = {"estimator": estimator, "n_samples": 300, "rng": 3}
        whole = sb.expectation_grad(f, q, **options)
        for wrt in (*q._names, [q._names[0]], q._names[::-1], []):
            part = sb.expectation_grad(f, q, wrt=wrt, **options)
            names = [wrt] if isinstance(wrt, str) else list(wrt)
            assert list(part.grad) == names and list(part.stderr) == ["value", *names]
            assert part.value == whole.value
            for name in names:
                np.testing.assert_array_equal(part.grad[name], whole.grad[name])
                np.testing.assert_array_equal(part.stderr[name], whole.stderr[name])
            if set(names) != set(q._names):
                with pytest.raises(ValueError, match=r"every parameter|wrt"):
                    part.natural_grad()
    with pytest.raises(ValueError, match="wrt"):
        sb.expectation_grad(f, q, wrt="covariance", estimator="price")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_natural_gradients_and_pullbacks_of_sampled_estimates(estimator):
    q, _, _, cov = case("full", 3, 0)
    f, _ = smooth(3)
    est = sb.expectation_grad(f, q, estimator=estimator, n_samples=300, rng=3)
    natural = est.natural_grad()
    np.testing.assert_allclose(natural["mean"], cov @ est.grad["mean"], rtol=1e-11)
    np.testing.assert_allclose(natural["cov"], 2 * cov @ est.grad["cov"] @ cov, rtol=1e-10)
    r = np.random.default_rng(0)
    jac_mean, jac_cov = r.standard_normal((3, 2)), r.standard_normal((3, 3, 2))
    jac_cov = jac_cov + jac_cov.transpose(1, 0, 2)
    want = est.grad["mean"] @ jac_mean + np.einsum("ij,ijp->p", est.grad["cov"], jac_cov)
    np.testing.assert_allclose(est.pullback(mean=jac_mean, cov=jac_cov), want, rtol=1e-12)
    # the same draws and the same law: (mean, cov) pulled back through another structure agree
    chol = sb.expectation_grad(f, q.to_cholesky(), estimator=estimator, n_samples=300, rng=3)
    np.testing.assert_allclose(chol.pullback(mean=jac_mean, cov=jac_cov), want, rtol=1e-7)


def test_hessians_by_products_serve_price():
    f, _ = smooth(3)
    products = sb.Target(value=f.value, grad=f.grad, hvp=f.hvp, dim=3)
    for structure in STRUCTURES:
        q = case(structure, 3, 2)[0]
        for estimator in ("price", "combined"):
            one, two = (sb.expectation_grad(t, q, estimator=estimator, n_samples=300, rng=3) for t in (f, products))
            for name in one.grad:
                np.testing.assert_allclose(one.grad[name], two.grad[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("estimator", ["price", "pathwise", "stein"])
def test_targets_without_a_value_have_gradients(estimator):
    f, expectation = smooth(3)
    q, _, mean, cov = case("full", 3, 0)
    blind = sb.Target(grad=f.grad, hess=f.hess, dim=3)
    one, two = (sb.expectation_grad(t, q, estimator=estimator, n_samples=900, rng=3) for t in (f, blind))
    assert np.isnan(two.value) and np.isnan(two.stderr["value"])
    for name in one.grad:
        np.testing.assert_array_equal(one.grad[name], two.grad[name])
        np.testing.assert_array_equal(one.stderr[name], two.stderr[name])
    combined = sb.expectation_grad(blind, q, estimator="combined", n_samples=900, rng=3)
    assert_unbiased(combined.grad["cov"], expectation(mean, cov)[2], combined.stderr["cov"])
