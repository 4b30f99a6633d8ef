"""Odd shapes, flags and sizes: errors that name the argument, never NumPy's own, and no warning."""

import numpy as np
import pytest

import sbpfast as sb

ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    "call",
    [
        lambda: sb.contract.price(np.zeros((3, 0, 0))),
        lambda: sb.contract.bonnet(np.zeros((3, 0))),
        lambda: sb.contract.expfam(np.zeros((3, 0)), np.zeros((3, 0, 4))),
        lambda: sb.contract.expfam(ONES, ONES, per_sample=np.zeros(2)),
        lambda: sb.contract.product(np.ones(3), ONES, ONES, ONES, per_sample=[]),
        lambda: sb.contract.gaussian(ONES, ONES, np.ones((2, 1)), np.ones((2, 1)), per_sample="no"),
        lambda: sb.contract.price(ONES, [[1.0], [1.0, 2.0]]),
        lambda: sb.contract.expfam(1e200 * ONES, 1e200 * ONES),
        lambda: sb.contract.bonnet(1e200 * ONES, 1e200 * np.ones((2, 1))),
        lambda: sb.contract.bonnet(np.ma.array(ONES, mask=np.eye(3, 2))),
    ],
)
def test_contractions_refuse_by_name(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert type(caught.value) in (TypeError, ValueError)
    text = str(caught.value)
    assert "reshape" not in text and "truth value" not in text and "broadcast" not in text


def test_jacobians_of_no_parameters_are_empty():
    assert sb.contract.bonnet(ONES, np.zeros((2, 0))).shape == (0,)
    assert sb.contract.price(ONES, np.zeros((2, 0))).shape == (0,)


F = sb.Target(value=lambda x: np.sin(x).sum(axis=1), grad=np.cos, dim=2)
Q = sb.DiagonalGaussian(np.zeros(2), np.ones(2))


@pytest.mark.parametrize(
    "options", [{"estimator": []}, {"sampling": np.zeros(2)}, {"wrt": [None]}, {"wrt": [["mean"]]}]
)
def test_choices_of_odd_kinds_are_refused(options):
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        sb.expectation_grad(F, Q, **options)


def test_nothing_to_mix_is_said():
    blind = sb.Target(grad=lambda x: x, dim=1)
    with pytest.raises(ValueError, match="nothing to mix"):
        sb.expectation_grad(blind, sb.expfam.Geometric(0.3), estimator="combined")


def test_an_estimate_of_no_parameters_is_shown():
    assert "value" in repr(sb.expectation_grad(F, Q, wrt=(), estimator="score", n_samples=64, rng=0))


def test_gradients_that_overflow_are_errors():
    huge = sb.Target(value=lambda x: 1e300 * x[:, 0], grad=lambda x: np.full(x.shape, 1e300), dim=2)
    q = sb.Gaussian(np.zeros(2), 1e-200 * np.eye(2))
    with pytest.raises(ValueError, match="overflows double precision"):
        sb.expectation_grad(huge, q, estimator="pathwise", n_samples=64, rng=0)
    steep = sb.Target(value=lambda x: 1e308 * np.sign(x[:, 0]), dim=1)
    with pytest.raises(ValueError, match="the mean of f overflows double precision"):
        sb.expectation_grad(steep, sb.DiagonalGaussian([0.0], [1.0]), estimator="score", wrt=(), n_samples=512, rng=0)


def test_natural_gradients_and_pullbacks_that_overflow_are_errors():
    steep = sb.Target(value=lambda x: 1e200 * x[:, 0], grad=lambda x: 1e200 + 0.0 * x, dim=1)
    estimate = sb.expectation_grad(steep, sb.Gaussian([0.0], [[1e140]]), estimator="pathwise", n_samples=64, rng=0)
    with pytest.raises(ValueError, match=r"natural gradient with respect to .* overflows"):
        estimate.natural_grad()
    with pytest.raises(ValueError, match="products of the gradients and mean overflow"):
        estimate.pullback(mean=[[1e200]])


@pytest.mark.parametrize("method", ["value", "grad", "hess", "hess_mean"])
def test_targets_that_overflow_name_the_point(method):
    f = sb.targets.quadratic(1e200 * np.eye(2), np.zeros(2))
    points = np.array([[1.0, 2.0], [1e200, 0.0]])
    if method in ("value", "grad"):
        with pytest.raises(sb.NonFiniteTarget, match="not finite"):
            getattr(f, method)(points)
    robust = sb.targets.ridge(np.eye(2), 0.0, "student_t", df=1e-300, scale=1e-200)
    with pytest.raises(sb.NonFiniteTarget, match="not finite"):
        getattr(robust, method)(points)


def test_functions_that_return_no_rectangle_are_named():
    with pytest.raises(TypeError, match="grad must return an array, got a list that is not rectangular"):
        sb.Target(grad=lambda x: [1, [2]], dim=1).grad([[0.5]])
