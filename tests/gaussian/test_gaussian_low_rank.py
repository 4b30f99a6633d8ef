"""Low-rank Gaussians: stable for every size of the factor, and never a (d, d) array."""

import tracemalloc
from pathlib import Path

import mpmath
import numpy as np
import pytest
from gaussian_cases import CLASSES, build, parameters
from peak_memory import printed_by
from statistics_helpers import assert_standard_normal, assert_unbiased

import sbpfast as sb


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
from test_gaussian_low_rank import low_rank_work
low_rank_work({structure!r}, 1_000_000, 5, everything=False)
print(resident_peak())
"""
    kilobytes = printed_by(program, Path(__file__).parent)
    assert kilobytes < 2**20, f"{kilobytes / 1024:.0f} MB"
