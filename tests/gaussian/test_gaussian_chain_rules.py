"""Gradients of expectations by the parameters of every structure: theory, differences, pullback."""

import numpy as np
import pytest
from gaussian_cases import CASES, STRUCTURES, build, case, regression, table_of_theory

import sbpfast as sb


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
