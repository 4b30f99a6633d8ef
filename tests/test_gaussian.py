"""The six covariance structures against dense formulas, scipy and finite differences."""

import subprocess
import sys
import tracemalloc

import mpmath
import numpy as np
import pytest
import scipy.stats
from statistics_helpers import FALSE_ALARM, assert_standard_normal, assert_unbiased

import sbpfast as sb

# -- an independent definition of every structure ---------------------------------------------------------------------

STRUCTURES = ("full", "chol", "natural", "diagonal", "low_rank", "precision")
CASES = [(s, d, 0) for s in STRUCTURES[:4] for d in (1, 2, 7, 30)]
CASES += [(s, d, k) for s in STRUCTURES[4:] for d, k in ((1, 1), (2, 1), (5, 0), (7, 1), (7, 2), (30, 5), (3, 5))]
CLASSES = {
    "full": sb.Gaussian,
    "chol": sb.CholeskyGaussian,
    "natural": sb.NaturalGaussian,
    "diagonal": sb.DiagonalGaussian,
    "low_rank": sb.LowRankGaussian,
    "precision": sb.LowRankPrecisionGaussian,
}


def dense(structure, parameters):
    """Mean and covariance by the formula in the class's name, with inv and nothing clever."""
    p = parameters
    if structure == "full":
        return p["mean"], p["cov"]
    if structure == "chol":
        return p["mean"], p["chol"] @ p["chol"].T
    if structure == "natural":
        cov = np.linalg.inv(-(p["eta2"] + p["eta2"].T))
        return cov @ p["eta1"], cov
    if structure == "diagonal":
        return p["mean"], np.diag(p["std"] ** 2)
    whole = np.diag(p["diag"]) + p["factor"] @ p["factor"].T
    return p["mean"], whole if structure == "low_rank" else np.linalg.inv(whole)


def parameters(structure, d, k, seed=0):
    r = np.random.default_rng([seed, d, k, STRUCTURES.index(structure)])
    mean, chol = (
        r.standard_normal(d),
        np.tril(r.standard_normal((d, d)) / (2 * np.sqrt(d))) + np.diag(0.5 + r.random(d)),
    )
    if structure == "full":
        return {"mean": mean, "cov": chol @ chol.T}
    if structure == "chol":
        return {"mean": mean, "chol": chol}
    if structure == "natural":
        precision = np.linalg.inv(chol @ chol.T)
        precision = 0.5 * (precision + precision.T)
        return {"eta1": precision @ mean, "eta2": -0.5 * precision}
    if structure == "diagonal":
        return {"mean": mean, "std": 0.3 + r.random(d)}
    return {"mean": mean, "diag": np.exp(r.standard_normal(d)), "factor": r.standard_normal((d, k)) / 2}


def build(structure, p):
    return CLASSES[structure](*p.values())


def case(structure, d, k, seed=0):
    p = parameters(structure, d, k, seed)
    return build(structure, p), p, *dense(structure, p)


def dense_kl(mean, cov, mean2, cov2):
    precision, r = np.linalg.inv(cov2), mean - mean2
    logdets = np.linalg.slogdet(cov2)[1] - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.trace(precision @ cov) + r @ precision @ r - len(r) + logdets)


# -- densities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure, d, k", CASES)
def test_moments_density_and_entropy(structure, d, k):
    q, p, mean, cov = case(structure, d, k)
    assert q.dim == d
    np.testing.assert_allclose(q.mean, mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(q.cov, cov, rtol=1e-11, atol=1e-12)
    for name, value in p.items():
        np.testing.assert_array_equal(getattr(q, name), value)
    x = mean + 3 * np.random.default_rng(1).standard_normal((11, d))
    oracle = scipy.stats.multivariate_normal(mean, cov)
    np.testing.assert_allclose(q.log_prob(x), np.reshape(oracle.logpdf(x), 11), rtol=1e-10)
    assert q.entropy() == pytest.approx(oracle.entropy(), rel=1e-11)
    assert q.log_prob(x[:0]).shape == (0,)
    with pytest.raises(ValueError, match="x must have shape"):
        q.log_prob(x[0])


@pytest.mark.parametrize("d", [1, 6])
@pytest.mark.parametrize("left", STRUCTURES)
def test_kl_between_all_pairs(left, d):
    q, _, mean, cov = case(left, d, 2)
    for right in STRUCTURES:
        q2, _, mean2, cov2 = case(right, d, 3 if d > 1 else 1, seed=1)
        assert q.kl(q2) == pytest.approx(dense_kl(mean, cov, mean2, cov2), rel=1e-10), right
    assert q.kl(q) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("structure, d, k", CASES)
def test_conversions_keep_the_distribution(structure, d, k):
    q, _, mean, cov = case(structure, d, k)
    for other, kind in (
        (q.to_cholesky(), sb.CholeskyGaussian),
        (q.to_full(), sb.Gaussian),
        (q.to_natural(), sb.NaturalGaussian),
    ):
        assert type(other) is kind
        np.testing.assert_allclose(other.mean, mean, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(other.cov, cov, rtol=1e-10, atol=1e-11)
    chol = q.to_cholesky().chol
    assert not np.triu(chol, 1).any() and (np.diagonal(chol) > 0).all()
    natural = q.to_natural()
    np.testing.assert_allclose(-2 * natural.eta2 @ cov, np.eye(d), atol=1e-9)
    np.testing.assert_allclose(cov @ natural.eta1, mean, rtol=1e-9, atol=1e-10)


# -- draws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure, d, k", [(s, d, k) for s, d, k in CASES if d in (1, 3, 7)])
def test_draws_have_the_moments(structure, d, k):
    n = 20_000
    q, _, mean, cov = case(structure, d, k)
    x = q.sample(n, rng=3)
    assert x.shape == (n, d) and x.dtype == np.float64
    z = np.linalg.solve(np.linalg.cholesky(cov), (x - mean).T).T
    assert_unbiased(z.mean(axis=0), 0.0, 1 / np.sqrt(n), freedom=n)
    assert_unbiased(z.T @ z / n, np.eye(d), np.sqrt((1 + np.eye(d)) / n), freedom=n)
    assert_standard_normal(z)
    # neighbouring draws are independent: the lag-one products have mean 0 and variance 1
    for lag in (1, 32, 64):
        assert_unbiased((z[lag:] * z[:-lag]).mean(axis=0), 0.0, 1 / np.sqrt(n - lag), freedom=n)


@pytest.mark.parametrize("structure", ("diagonal", "low_rank", "precision"))
def test_long_draws_have_the_moments(structure):
    d, n = 1500, 40  # another storage layout from 1024 coordinates on
    q, _, mean, cov = case(structure, d, 2)
    z = np.linalg.solve(np.linalg.cholesky(cov), (q.sample(n, rng=8) - mean).T).T
    assert_standard_normal(z)
    mahalanobis = (z * z).sum(axis=1)
    assert scipy.stats.kstest(mahalanobis, scipy.stats.chi2(d).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    "structure, d, k",
    [(s, d, 2) for s in STRUCTURES for d in (1, 5)]
    + [("full", 1100, 0), ("low_rank", 1024, 3), ("precision", 1500, 1)],
)
def test_the_first_draws_do_not_depend_on_n_or_threads(structure, d, k):
    q = case(structure, d, k)[0]
    x = q.sample(131, rng=5)
    for n in (1, 2, 63, 64, 65, 128, 130):
        np.testing.assert_array_equal(q.sample(n, rng=5), x[:n])
    for threads in (1, 2, 3, 8):
        np.testing.assert_array_equal(q.sample(131, rng=5, n_threads=threads), x)
    assert len(np.unique(x)) == x.size


def test_rng_of_every_kind():
    q = case("full", 4, 0)[0]
    x = q.sample(9, rng=12)
    np.testing.assert_array_equal(q.sample(9, rng=12), x)
    np.testing.assert_array_equal(q.sample(9, rng=np.int64(12)), x)
    np.testing.assert_array_equal(q.sample(9, rng=np.random.SeedSequence(12)), x)
    assert not np.array_equal(q.sample(9, rng=13), x)
    sequence = np.random.SeedSequence(12)
    q.sample(3, rng=sequence)
    assert sequence.n_children_spawned == 0
    np.testing.assert_array_equal(q.sample(9, rng=sequence), x)
    for make in (np.random.default_rng, np.random.PCG64):
        one, two = make(4), make(4)
        first, second = q.sample(9, rng=one), q.sample(9, rng=one)
        assert not np.array_equal(first, second)  # a generator moves on
        np.testing.assert_array_equal(q.sample(9, rng=two), first)
        np.testing.assert_array_equal(q.sample(9, rng=two), second)
    assert not np.array_equal(q.sample(9), q.sample(9))
    assert not np.array_equal(q.sample(9, rng=2**200), x)  # big integers are seeds too


@pytest.mark.parametrize(
    "bad, error",
    [(-1, ValueError), (1.5, TypeError), ("7", TypeError), (True, TypeError), (np.random.RandomState(0), TypeError)],
)
def test_rng_of_no_kind(bad, error):
    with pytest.raises(error, match="rng"):
        case("full", 2, 0)[0].sample(3, rng=bad)


def test_structures_draw_the_same_normals():
    """Two distributions of one law are driven by the same noise where their square roots agree."""
    chol = parameters("chol", 6, 0)
    x = sb.CholeskyGaussian(**chol).sample(70, rng=1)
    np.testing.assert_allclose(
        sb.Gaussian(chol["mean"], chol["chol"] @ chol["chol"].T).sample(70, rng=1), x, rtol=1e-10, atol=1e-12
    )


# -- chain rules ------------------------------------------------------------------------------------------------------


def regression(d, seed=0, n=25):
    r = np.random.default_rng([seed, d])
    return sb.targets.logistic_regression(
        r.standard_normal((n, d)), r.integers(0, 2, n), prior_scale=1.3, prior_mean=0.2
    )


def table_of_theory(structure, p, g, big_g):
    """Gradients by the dense matrix formulas, g = E[grad f], G = 1/2 E[Hess f]."""
    mean, cov = dense(structure, p)
    cgc = cov @ big_g @ cov
    if structure == "full":
        return {"mean": g, "cov": big_g}
    if structure == "chol":
        return {"mean": g, "chol": np.tril(2 * big_g @ p["chol"])}
    if structure == "diagonal":
        return {"mean": g, "std": 2 * p["std"] * np.diagonal(big_g)}
    if structure == "low_rank":
        return {"mean": g, "diag": np.diagonal(big_g), "factor": 2 * big_g @ p["factor"]}
    if structure == "precision":
        return {"mean": g, "diag": -np.diagonal(cgc), "factor": -2 * cgc @ p["factor"]}
    cross = np.outer(cov @ g, mean)
    return {"eta1": cov @ g, "eta2": 2 * cgc + cross + cross.T}


def tangent(name, value, rng):
    """A random direction in which the parameter may move."""
    v = rng.standard_normal(value.shape)
    if name in ("cov", "eta2"):
        v = v + v.T
    return np.tril(v) if name == "chol" else v


@pytest.mark.parametrize("structure, d, k", CASES)
def test_gradients_are_those_of_the_table(structure, d, k):
    q, p, mean, cov = case(structure, d, k)
    r = np.random.default_rng(d)
    precision = r.standard_normal((d, d))
    precision = precision + precision.T  # indefinite
    centre = r.standard_normal(d)
    est = sb.expectation_grad(sb.targets.quadratic(precision, centre, 0.7), q, estimator="exact")
    want = table_of_theory(structure, p, -precision @ (mean - centre), -0.5 * precision)
    assert list(est.grad) == list(want)
    for name in want:
        scale = np.abs(want[name]).max(initial=1e-300)
        np.testing.assert_allclose(est.grad[name], want[name], rtol=1e-9, atol=1e-10 * scale)
        assert est.grad[name].shape == p[name].shape
    value = 0.7 - 0.5 * ((mean - centre) @ precision @ (mean - centre) + np.trace(precision @ cov))
    assert est.value == pytest.approx(value, rel=1e-11)


@pytest.mark.parametrize("structure, d, k", [(s, d, k) for s, d, k in CASES if d < 10])
def test_gradients_are_differences_of_expectations(structure, d, k):
    q, p, *_ = case(structure, d, k)
    f, rng, h = regression(d), np.random.default_rng(2), 1e-5
    est = sb.expectation_grad(f, q, estimator="exact")
    for name, value in p.items():
        if value.size == 0:
            continue
        v = tangent(name, value, rng)
        v *= min(1.0, np.abs(value).max()) / np.linalg.norm(v)
        up, down = (
            sb.expectation_grad(f, build(structure, p | {name: value + s * h * v}), estimator="exact").value
            for s in (1, -1)
        )
        slope = (up - down) / (2 * h)
        assert np.sum(est.grad[name] * v) == pytest.approx(
            slope, rel=1e-6, abs=1e-8 * np.linalg.norm(est.grad[name]) + 1e-9
        ), name


@pytest.mark.parametrize("structure", STRUCTURES[:3])
def test_pullback_is_the_chain_rule_to_any_parameters(structure):
    """theta -> (mean, cov) pulled back, against differences of the expectation as a function of theta."""
    d, size, h = 4, 3, 1e-5
    q, p, mean, cov = case(structure, d, 0)
    r, f = np.random.default_rng(5), regression(d)
    jac_mean, half = r.standard_normal((d, size)), r.standard_normal((d, d, size)) / 10
    jac_cov = half + half.transpose(1, 0, 2)
    est = sb.expectation_grad(f, q, estimator="exact")
    for estimate in (est, sb.expectation_grad(f, q, estimator="exact", wrt=[])):
        got = estimate.pullback(mean=jac_mean, cov=jac_cov)
        for i in range(size):
            up, down = (
                sb.expectation_grad(
                    f, sb.Gaussian(mean + s * jac_mean[..., i], cov + s * jac_cov[..., i]), estimator="exact"
                ).value
                for s in (h, -h)
            )
            assert got[i] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-8)
    own = {name: r.standard_normal((*value.shape, size)) for name, value in p.items()}
    want = sum(np.tensordot(est.grad[name], own[name], axes=p[name].ndim) for name in p)
    np.testing.assert_allclose(est.pullback(**own), want, rtol=1e-12)
    with pytest.raises(ValueError, match="nothing"):
        est.pullback(nothing=jac_mean)
    with pytest.raises(ValueError, match="mean must have shape"):
        est.pullback(mean=jac_mean.T)
    with pytest.raises(ValueError, match=r"mean must have shape|cov must have shape"):
        est.pullback(mean=jac_mean, cov=jac_cov[..., :1])
    with pytest.raises(ValueError, match="at least one"):
        est.pullback()


# -- natural gradients ------------------------------------------------------------------------------------------------


def tangent_basis(p):
    """Unit vectors of the free entries of all parameters: [(name, array)]."""
    for name, value in p.items():
        for index in np.ndindex(value.shape):
            if name == "chol" and index[1] > index[0]:
                continue
            e = np.zeros(value.shape)
            if name in ("cov", "eta2") and index[0] != index[1]:
                if index[1] > index[0]:
                    continue
                e[index] = e[index[::-1]] = np.sqrt(0.5)
            else:
                e[index] = 1.0
            yield name, e


def fisher(structure, p):
    """The Fisher information in an orthonormal basis of the parameters, from differences of (mean, cov)."""
    _, cov = dense(structure, p)
    precision = np.linalg.inv(cov)
    h, columns = 1e-4, []
    for name, e in tangent_basis(p):
        ends = [dense(structure, p | {name: p[name] + s * e}) for s in (h, -h, h / 2, -h / 2)]
        wide, narrow = (
            [(a - b) / (2 * step) for a, b in zip(ends[i], ends[i + 1])] for i, step in ((0, h), (2, h / 2))
        )
        columns.append([(4 * n - w) / 3 for n, w in zip(narrow, wide)])  # Richardson
    means, covs = np.array([m for m, _ in columns]), np.array([c for _, c in columns])
    half = precision @ covs
    return means @ precision @ means.T + 0.5 * np.einsum("aij,bji->ab", half, half)


@pytest.mark.parametrize(
    "structure, d, k", [(s, d, k) for s, d, k in CASES if d < 8] + [("low_rank", 9, 3), ("precision", 9, 3)]
)
def test_natural_gradient_is_the_least_norm_solution(structure, d, k):
    q, p, *_ = case(structure, d, k)
    est = sb.expectation_grad(regression(d), q, estimator="exact")
    basis, information = list(tangent_basis(p)), fisher(structure, p)
    gradient = np.array([np.sum(est.grad[name] * e) for name, e in basis])
    solution = np.linalg.pinv(information, rcond=1e-9, hermitian=True) @ gradient
    natural = est.natural_grad()
    assert list(natural) == list(p)
    got = np.array([np.sum(natural[name] * e) for name, e in basis])
    scale = np.abs(solution).max()
    np.testing.assert_allclose(
        information @ got, gradient, atol=1e-6 * np.abs(gradient).max(), err_msg="not a solution"
    )
    if (d - k) ** 2 >= d + k:  # else more than rotations of the factor is undetermined, and any solution will do
        np.testing.assert_allclose(got, solution, atol=1e-6 * scale, err_msg="not the one of least norm")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_kl_of_a_small_step_is_its_fisher_length(structure):
    p, rng, h = parameters(structure, 4, 2), np.random.default_rng(0), 1e-3
    information, basis = fisher(structure, p), list(tangent_basis(p))
    v = rng.standard_normal(len(basis)) / 10

    def moved(s):
        return build(
            structure,
            {name: value + s * sum(c * e for c, (n, e) in zip(v, basis) if n == name) for name, value in p.items()},
        )

    q = build(structure, p)
    curvature = (q.kl(moved(h)) + q.kl(moved(-h))) / h**2
    assert curvature == pytest.approx(v @ information @ v, rel=1e-5)


def test_natural_gradient_of_a_quadratic_is_a_newton_step():
    """In expectation parameters, adding the natural gradient of E f + entropy in one unit step lands on the target."""
    p, f = parameters("natural", 5, 0), regression(5)
    est = sb.expectation_grad(f, sb.NaturalGaussian(**p), estimator="exact")
    mean, cov = dense("natural", p)
    full = sb.expectation_grad(f, sb.Gaussian(mean, cov), estimator="exact")
    g, big_g = full.grad["mean"], full.grad["cov"]
    natural = est.natural_grad()
    np.testing.assert_allclose(natural["eta1"], g - 2 * big_g @ mean, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(natural["eta2"], big_g, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("structure", ["low_rank", "precision"])
@pytest.mark.parametrize("spread", [1e-6, 1e6])
def test_natural_gradient_of_badly_scaled_low_rank(structure, spread):
    d, k = 8, 2
    p = parameters(structure, d, k)
    p["diag"] = p["diag"] * np.where(np.arange(d) % 2, 1.0, spread)
    p["factor"] = p["factor"] * np.sqrt(p["diag"])[:, None]
    est = sb.expectation_grad(regression(d), build(structure, p), estimator="exact")
    natural = est.natural_grad()
    cov = dense(structure, p)[1]
    whole = np.diag(p["diag"]) + p["factor"] @ p["factor"].T
    inverse = np.linalg.inv(whole)
    change = np.diag(natural["diag"]) + natural["factor"] @ p["factor"].T + p["factor"] @ natural["factor"].T
    metric = 0.5 * inverse @ change @ inverse  # the Fisher information times the step, as a symmetric matrix
    np.testing.assert_allclose(natural["mean"], cov @ est.grad["mean"], rtol=1e-8)
    np.testing.assert_allclose(
        np.diagonal(metric) * p["diag"],
        est.grad["diag"] * p["diag"],
        rtol=1e-5,
        atol=1e-7 * np.abs(est.grad["diag"] * p["diag"]).max(),
    )
    scale = np.sqrt(p["diag"])[:, None]
    np.testing.assert_allclose(
        2 * metric @ p["factor"] * scale,
        est.grad["factor"] * scale,
        atol=1e-6 * np.abs(est.grad["factor"] * scale).max(),
    )


# -- low rank: stable, and never a (d, d) array -----------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["low_rank", "precision"])
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("size", [0.0, 1e-200, 1e-160, 1e-20, 1e-8, 1e-3, 1.0, 1e2, 1e4])
def test_low_rank_is_stable_for_every_size_of_the_factor(structure, k, size):
    """Everything against 120-digit arithmetic; relative errors, so that nothing may vanish or cancel."""
    d = 4
    p = parameters(structure, d, k)
    p["factor"] = size * p["factor"]
    q = build(structure, p)
    r = np.random.default_rng(1)
    precision = r.standard_normal((d, d))
    precision = precision @ precision.T + np.eye(d)
    est = sb.expectation_grad(sb.targets.quadratic(precision, np.zeros(d)), q, estimator="exact")
    x = p["mean"] + r.standard_normal((3, d))
    with mpmath.workdps(120):
        u = mpmath.matrix(p["factor"].tolist())
        whole = mpmath.diag(p["diag"].tolist()) + u * u.T
        cov = whole if structure == "low_rank" else whole**-1
        big_g = -mpmath.matrix(precision.tolist()) / 2
        if structure == "low_rank":
            want = {"diag": [big_g[i, i] for i in range(d)], "factor": 2 * big_g * u}
        else:
            cgc = cov * big_g * cov
            want = {"diag": [-cgc[i, i] for i in range(d)], "factor": -2 * cgc * u}
        log_det = float(mpmath.log(mpmath.det(cov)))
        rows = [mpmath.matrix((xi - p["mean"]).tolist()) for xi in x]
        inverse = cov**-1
        log_prob = [
            float(-((v.T * inverse * v)[0] + mpmath.log(mpmath.det(cov)) + d * mpmath.log(2 * mpmath.pi)) / 2)
            for v in rows
        ]
        cov = np.array([[float(cov[i, j]) for j in range(d)] for i in range(d)])
        # scaled before the conversion, so that products of tiny numbers stay in range
        want = {
            "diag": np.array([float(v) for v in want["diag"]]),
            "factor": np.array([[float(want["factor"][i, j]) for j in range(k)] for i in range(d)]),
        }
    tolerance = 1e-12 if size <= 1.0 else 1e-15 * size**2 + 1e-11
    assert q.entropy() == pytest.approx(0.5 * (log_det + d * (1 + np.log(2 * np.pi))), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(q.log_prob(x), log_prob, rtol=tolerance)
    np.testing.assert_allclose(q.cov, cov, rtol=tolerance, atol=tolerance * np.abs(cov).max())
    for name, value in want.items():
        np.testing.assert_allclose(
            est.grad[name], value, rtol=tolerance, atol=max(tolerance, 1e-12) * np.abs(value).max(initial=0.0)
        )
    z = q.sample(2000, rng=0) - p["mean"]
    white = np.linalg.solve(np.linalg.cholesky(cov), z.T).T if size <= 1e3 else None
    if white is not None:
        assert_unbiased(white.T @ white / 2000, np.eye(d), np.sqrt((1 + np.eye(d)) / 2000), freedom=2000)
    assert q.kl(q.to_full()) == pytest.approx(0.0, abs=max(1e-10, tolerance))


@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e2, 1e4])
def test_precision_with_a_large_factor_in_one_dimension(factor):
    """precision 1 + u^2: the variance is 1 - u^2/(1 + u^2), so its relative error may reach u^2 roundings."""
    lost = 1e-12 + 1e-15 * factor**2
    q = sb.LowRankPrecisionGaussian([0.3], [1.0], [[factor]])
    variance = 1 / (1 + factor**2)
    assert q.cov[0, 0] == pytest.approx(variance, rel=lost, abs=0)
    assert q.entropy() == pytest.approx(0.5 * np.log(2 * np.pi * np.e * variance), rel=1e-12)
    reference = sb.DiagonalGaussian([0.3], [np.sqrt(variance)])
    assert q.kl(reference) == pytest.approx(0.0, abs=lost)
    assert reference.kl(q) == pytest.approx(0.0, abs=lost)
    est = sb.expectation_grad(sb.targets.quadratic(1.0, [0.0]), q, estimator="exact")
    assert est.value == pytest.approx(-0.5 * (0.09 + variance), rel=1e-12)
    assert est.grad["factor"][0, 0] == pytest.approx(variance**2 * factor, rel=10 * lost, abs=0)
    assert est.grad["diag"][0] == pytest.approx(
        0.5 * variance**2, rel=1e-12, abs=1e-15
    )  # of 1/diag^2: cov G cov cancels twice
    z = (q.sample(4000, rng=0) - 0.3) / np.sqrt(variance)
    assert_standard_normal(z)


@pytest.mark.parametrize("factor", [1e3, 1e6, 1e9])
def test_the_density_of_a_very_wide_low_rank_gaussian(factor):
    """A squared distance is a sum of squares: it must not come out negative where one direction is very wide."""
    d, noise = 4, np.random.default_rng(0).standard_normal((5, 4))
    u = factor * np.array([[1.0], [-2.0], [0.5], [0.0]])
    q, along = sb.LowRankGaussian(np.zeros(d), np.ones(d), u), np.linspace(-2, 2, 5)
    x = noise + along[:, None] * u.T
    with mpmath.workdps(60):
        cov = mpmath.eye(d) + mpmath.matrix(u.tolist()) * mpmath.matrix(u.tolist()).T
        inverse, log_det = cov**-1, mpmath.log(mpmath.det(cov))
        want = []
        for row in x:
            v = mpmath.matrix(row.tolist())
            want.append(float(-((v.T * inverse * v)[0] + log_det + d * mpmath.log(2 * mpmath.pi)) / 2))
    np.testing.assert_allclose(q.log_prob(x), want, rtol=1e-13 + 1e-15 * factor)


def low_rank_work(structure, d, k, everything=True):
    """What a user does with a low-rank Gaussian; `everything` adds what needs the most room."""
    r = np.random.default_rng(0)
    diag, factor = 0.5 + r.random(d), r.standard_normal((d, k)) / np.sqrt(d)
    q = (
        sb.DiagonalGaussian(np.zeros(d), diag)
        if structure == "diagonal"
        else CLASSES[structure](np.zeros(d), diag, factor)
    )
    x = q.sample(3, rng=0)
    assert np.isfinite(q.log_prob(x)).all() and np.isfinite(q.entropy())
    assert q.kl(q) == pytest.approx(0.0, abs=1e-6)
    f = sb.targets.quadratic(r.random(d), r.standard_normal(d))
    custom = sb.Target(value=lambda x: np.cos(x).sum(axis=1), grad=lambda x: -np.sin(x), dim=d)
    for target, estimator in ((custom, "pathwise"), (custom, "score"), (f, "pathwise"), (custom, "stein"))[
        : 3 + everything
    ]:
        est = sb.expectation_grad(target, q, estimator=estimator, n_samples=16, rng=0)
        assert all(np.isfinite(grad).all() for grad in est.grad.values())
        del est
    exact = sb.expectation_grad(f, q, estimator="exact")
    price = sb.expectation_grad(f, q, estimator="price", n_samples=8, rng=0)
    for name in exact.grad:
        if name != "mean":  # the Hessian is constant, so Price has no variance
            np.testing.assert_allclose(price.grad[name], exact.grad[name], rtol=1e-9, atol=1e-12)
    del price
    assert not everything or all(np.isfinite(v).all() for v in exact.natural_grad().values())


@pytest.mark.parametrize("structure", ["diagonal", "low_rank", "precision"])
def test_no_square_array_is_ever_formed(structure):
    d, k = 16_000, 3
    low_rank_work(structure, 100, k)
    tracemalloc.start()
    try:
        low_rank_work(structure, d, k)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < d * d * 8 / 4, f"{peak / 2**20:.0f} MB"  # blocks of draws take some 200 MB whatever d is


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["low_rank", "precision"])
def test_a_million_dimensions_under_a_gigabyte(structure):
    program = f"""
import resource, sys
sys.path.insert(0, {str(__file__).rsplit("/", 1)[0]!r})
from test_gaussian import low_rank_work
low_rank_work({structure!r}, 1_000_000, 5, everything=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2**20, f"{int(done.stdout) / 1024:.0f} MB"  # in kilobytes


def test_rounding_does_not_make_a_divergence_negative():
    r = np.random.default_rng(0)
    for d in range(1, 40):
        a = r.standard_normal((d, d))
        q = sb.Gaussian(r.standard_normal(d), a @ a.T + np.eye(d))
        assert 0.0 <= q.kl(q.to_cholesky()) < 1e-11
