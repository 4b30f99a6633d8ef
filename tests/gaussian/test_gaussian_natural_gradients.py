"""Natural gradients against the Fisher information of every structure."""

import numpy as np
import pytest
from gaussian_cases import CASES, STRUCTURES, build, case, dense, parameters, regression

import sbpfast as sb


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
