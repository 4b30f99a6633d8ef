"""Targets from JAX functions of pytrees: names, shapes and the way back."""

import numpy as np
import pytest
from statistics_helpers import assert_unbiased

import sbpfast as sb

jax = pytest.importorskip("jax")
jnp = jax.numpy
pytestmark = pytest.mark.filterwarnings("default")

SD = {"loc": 0.5, "scale": np.array([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3]])}
MEAN = {"loc": 2.0, "scale": np.arange(6.0).reshape(2, 3)}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def like():
    return {"a": {"loc": jnp.zeros(())}, "scale": jnp.zeros((2, 3))}


def density(tree):
    """Independent normals with constants."""
    z = (tree["a"]["loc"] - MEAN["loc"]) / SD["loc"], (tree["scale"] - MEAN["scale"]) / SD["scale"]
    constant = 3.5 * np.log(2 * np.pi) + np.log(SD["loc"]) + np.log(SD["scale"]).sum()
    return -0.5 * (z[0] ** 2 + (z[1] ** 2).sum()) - constant


def test_a_tree_gives_dimension_and_names():
    target = sb.Target.from_jax(density, like=like())
    assert target.dim == 7
    assert target.model_parameters.labels == ["a.loc", *(f"scale[{i}, {j}]" for i in range(2) for j in range(3))]


def test_derivatives_are_those_of_the_flat_function():
    target = sb.Target.from_jax(density, like=like())
    x = np.random.default_rng(0).standard_normal((70, 7))
    mean = np.concatenate([[MEAN["loc"]], MEAN["scale"].ravel()])
    sd = np.concatenate([[SD["loc"]], SD["scale"].ravel()])
    z = (x - mean) / sd
    value = -0.5 * (z**2).sum(axis=1) - 3.5 * np.log(2 * np.pi) - np.log(sd).sum()
    for f, g in ((target.value(x), target.grad(x)), target._value_and_grad(x)):
        np.testing.assert_allclose(f, value, rtol=1e-13)
        np.testing.assert_allclose(g, -z / sd, rtol=1e-12)
    np.testing.assert_allclose(target.hvp(x, np.ones(7)), np.broadcast_to(-1 / sd**2, x.shape), rtol=1e-12)


def test_a_posterior_comes_back_as_the_tree():
    fit = sb.fit(sb.Target.from_jax(density, like=like()), rng=0)
    draws = fit.posterior(4000, rng=0)
    assert draws["a"]["loc"].shape == (4000,) and draws["scale"].shape == (4000, 2, 3)
    assert_unbiased(draws["scale"].mean(axis=0), MEAN["scale"], SD["scale"] / np.sqrt(4000), freedom=np.inf)
    summary = fit.summary()
    assert summary.names == fit.model_parameters.labels
    np.testing.assert_allclose(summary["mean"][0], MEAN["loc"], atol=0.02)
    np.testing.assert_allclose(fit.log_evidence, 0.0, atol=0.01)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1024, 1500])
def test_blocks_of_few_sizes_give_every_point(n):
    x = np.random.default_rng(1).standard_normal((n, 2))
    target = sb.Target.from_jax(lambda x: jnp.sin(x[0]) * x[1], dim=2)
    value, grad = target._value_and_grad(x)
    np.testing.assert_allclose(value, np.sin(x[:, 0]) * x[:, 1], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(grad[:, 1], np.sin(x[:, 0]), rtol=1e-13, atol=1e-15)
    assert target.value(x).shape == (n,)


def test_other_trees():
    target = sb.Target.from_jax(lambda t: -(t[0] ** 2).sum() - t[1] ** 2, like=(jnp.zeros(2), jnp.zeros(())))
    assert target.model_parameters.labels == ["0[0]", "0[1]", "1"]
    first, second = sb.fit(target, rng=0).posterior(3, rng=0)
    assert first.shape == (3, 2) and second.shape == (3,)
    assert sb.Target.from_jax(lambda x: -(x**2).sum(), like=jnp.zeros(2)).model_parameters.labels == ["x[0]", "x[1]"]


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({}, TypeError, "got neither"),
        ({"dim": 7, "like": {"a": np.zeros(7)}}, TypeError, "got both"),
        ({"like": {"a": np.zeros(2, dtype=int)}}, TypeError, "'a' is of dtype int"),
        ({"like": {}}, ValueError, "at least one leaf"),
        ({"like": {"a": np.zeros(0)}}, ValueError, "at least one number"),
    ],
)
def test_wrong_trees_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        sb.Target.from_jax(density, **arguments)
