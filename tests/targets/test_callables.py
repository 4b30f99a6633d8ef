"""Targets of the user's callables: checked, never trusted, errors that name the culprit."""

import numpy as np
import pytest

import sbpfast as sb

Q = sb.DiagonalGaussian(np.zeros(2), np.ones(2))


def good_value(x):
    return np.sin(x).sum(axis=1)


def good_grad(x):
    return np.cos(x)


def good_hess(x):
    return -np.sin(x)[:, :, None] * np.eye(2)


def run(estimator="price", q=Q, **callables):
    callables = {"value": good_value, "grad": good_grad, "hess": good_hess} | callables
    return sb.expectation_grad(sb.Target(**callables, dim=2), q, estimator=estimator, n_samples=200, rng=0)


@pytest.mark.parametrize(
    "name, bad",
    [
        ("value", lambda x: np.zeros((len(x), 1))),
        ("value", lambda x: 0.0),
        ("value", lambda x: np.zeros(len(x) + 1)),
        ("grad", lambda x: np.zeros(len(x))),
        ("grad", lambda x: np.zeros((2, len(x)))),
        ("hess", lambda x: np.zeros((len(x), 2))),
        ("hess", lambda x: np.eye(2)),
    ],
)
def test_a_wrong_shape_is_told(name, bad):
    with pytest.raises(ValueError, match=rf"{name} must return shape .*got"):
        run(**{name: bad})


@pytest.mark.parametrize("name, shape", [("value", ()), ("grad", (2,)), ("hess", (2, 2))])
def test_a_wrong_dtype_is_told(name, shape):
    for dtype in (complex, object, "U3"):
        with pytest.raises(TypeError, match=f"{name} must return real numbers"):
            run(**{name: lambda x, dtype=dtype: np.zeros((len(x), *shape), dtype=dtype)})
    for dtype in (np.float32, np.int64, bool):  # these are real
        run(**{name: lambda x, dtype=dtype: np.zeros((len(x), *shape), dtype=dtype)})
    run(**{name: lambda x: np.zeros((len(x), *shape)).tolist()})


@pytest.mark.parametrize("name", ["value", "grad", "hess"])
def test_what_a_callable_raises_reaches_the_caller(name):
    error = ZeroDivisionError("mine")

    def bad(x):
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        run(**{name: bad})
    assert caught.value is error


@pytest.mark.parametrize("trouble", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name, what", [("value", "f is not finite"), ("grad", "gradient"), ("hess", "Hessian")])
@pytest.mark.parametrize("q", [Q, sb.Gaussian(np.zeros(2), np.eye(2))])
def test_a_point_that_is_not_finite_is_named(name, what, trouble, q):
    good, where = {"value": good_value, "grad": good_grad, "hess": good_hess}[name], []

    def bad(x):
        out = good(x)
        hit = np.flatnonzero(x[:, 0] > 1.5)
        out.reshape(len(x), -1)[hit, -1] = trouble
        if len(hit) and not where:
            where.append(x[hit[0]].copy())
        return out

    with pytest.raises(sb.NonFiniteTarget, match=what) as caught:
        run(q=q, **{name: bad})
    assert issubclass(sb.NonFiniteTarget, ValueError)
    for coordinate in where[0]:
        assert f"{coordinate:.6g}" in str(caught.value)


@pytest.mark.parametrize("estimator", ["price", "pathwise", "score", "combined", "auto"])
@pytest.mark.parametrize("q", [sb.Gaussian([0.0], [[1e6]]), sb.DiagonalGaussian([800.0], [1.0])])
def test_a_ridge_target_that_overflows_names_the_point(estimator, q):
    f = sb.targets.ridge([[1.0]], 0.0, "exp")
    with pytest.raises(sb.NonFiniteTarget):
        sb.expectation_grad(f, q, estimator=estimator, n_samples=100, rng=0)


def test_missing_derivatives_are_named():
    value_only, grad_only = sb.Target(value=good_value, dim=2), sb.Target(grad=good_grad, dim=2)
    hess_only = sb.Target(hess=good_hess, dim=2)
    for f, estimator, missing in [
        (value_only, "price", "grad and hess"),
        (value_only, "pathwise", "grad"),
        (value_only, "stein", "grad"),
        (grad_only, "score", "value"),
        (grad_only, "price", "hess"),
        (hess_only, "price", "grad"),
        (hess_only, "score", "value"),
    ]:
        with pytest.raises(ValueError, match=f"{estimator}.*{missing}"):
            sb.expectation_grad(f, Q, estimator=estimator, n_samples=4)
    for estimator in ("auto", "combined"):
        with pytest.raises(ValueError, match=r"derivatives|needs|no grad"):
            sb.expectation_grad(hess_only, Q, estimator=estimator, n_samples=10)
    with pytest.raises(ValueError, match="ridge"):
        sb.expectation_grad(value_only, Q, estimator="exact")
    x = np.zeros((3, 2))
    for method in ("value", "grad"):
        with pytest.raises(ValueError, match=f"no {method}"):
            getattr(hess_only, method)(x)
    for method in (lambda f: f.hess(x), lambda f: f.hvp(x, x), lambda f: f.hess_mean(x)):
        with pytest.raises(ValueError, match=r"no hess|no hvp"):
            method(value_only)


def test_callables_get_rows_they_may_keep():
    """C-contiguous float64 rows, at most a block at a time; keeping a reference is safe."""
    seen = []

    def value(x):
        assert x.dtype == np.float64 and x.flags.c_contiguous and x.ndim == 2 and x.shape[1] == 2
        seen.append((x, x.copy()))
        return good_value(x)

    run(estimator="score", value=value)
    sb.Target(value=value, dim=2).value(np.asfortranarray(np.ones((5, 2), np.float32)))
    for x, copy in seen:
        np.testing.assert_array_equal(x, copy)


def test_hessians_from_products():
    both = sb.Target(value=good_value, grad=good_grad, hess=good_hess, dim=2)
    hvp = sb.Target(value=good_value, grad=good_grad, hvp=lambda x, v: -np.sin(x) * v, dim=2)
    x = np.random.default_rng(0).standard_normal((7, 2))
    np.testing.assert_array_equal(hvp.hess(x), both.hess(x))
    np.testing.assert_allclose(both.hvp(x, x), hvp.hvp(x, x), rtol=1e-14)
    np.testing.assert_array_equal(hvp.hess_mean(x), both.hess_mean(x))
    with pytest.raises(ValueError, match="hvp must return shape"):
        sb.Target(hvp=lambda x, v: v[0], dim=2).hess(x)
    with pytest.raises(sb.NonFiniteTarget, match="Hessian"):
        sb.Target(hvp=lambda x, v: v * np.nan, dim=2).hess(x)
