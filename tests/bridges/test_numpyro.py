"""NumPyro's models as targets, against NumPyro's own potential and closed forms."""

import numpy as np
import pytest

import sbpfast as sb

jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")
dist, jnp = numpyro.distributions, jax.numpy
pytestmark = pytest.mark.filterwarnings("default")

Y = np.array([1.0, 2.0, 0.5, 1.5])
PRECISION = len(Y) + 0.25


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def conjugate(y, scale=1.0):
    """x ~ N(0, 2^2), y_i ~ N(x, 1): x | y is N(sum y / (n + 1/4), 1 / (n + 1/4))."""
    x = numpyro.sample("x", dist.Normal(0.0, 2.0))
    numpyro.deterministic("twice", 2.0 * x)
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(x, scale), obs=y)


def hierarchy(y, group):
    with numpyro.plate("group", 3):
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0))
        share = numpyro.sample("share", dist.Dirichlet(jnp.array([30.0, 20.0])))
    sd = numpyro.sample("sd", dist.LogNormal(0.0, 0.3))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(effect[group] + share[group, 0], sd), obs=y)


def test_the_density_is_numpyros():
    args = (Y, jnp.array([0, 1, 2, 0]))
    target = sb.Target.from_numpyro(hierarchy, *args)
    labels = target.model_parameters.labels
    assert labels == ["effect[0]", "effect[1]", "effect[2]", "sd", "share[0, 0]", "share[1, 0]", "share[2, 0]"]
    x = np.random.default_rng(0).standard_normal((70, 7))
    info = numpyro.infer.util.initialize_model(jax.random.PRNGKey(1), hierarchy, model_args=args)
    for point in x[:5]:
        z = {"effect": point[:3], "sd": point[3], "share": point[4:].reshape(3, 1)}
        value, grad = jax.value_and_grad(info.potential_fn)(z)
        f, g = target._value_and_grad(point[None])
        assert f[0] == pytest.approx(-float(value), rel=1e-12)
        np.testing.assert_allclose(g[0], -np.concatenate([np.ravel(grad[k]) for k in sorted(grad)]), rtol=1e-11)
    # with every constant and the Jacobians
    draws = target.model_parameters.constrain(x[:1])
    want = numpyro.infer.util.log_density(hierarchy, args, {}, {k: v[0] for k, v in draws.items()})[0]
    jacobian = x[0, 3]
    for piece in x[0, 4:]:
        jacobian += -np.log1p(np.exp(-piece)) - np.log1p(np.exp(piece))
    assert target.value(x[:1])[0] == pytest.approx(float(want) + jacobian, rel=1e-10)


def test_names_plates_and_data():
    target = sb.Target.from_numpyro(hierarchy, Y, jnp.array([0, 1, 2, 0]))
    table = target.model_parameters
    assert {v.name: (v.shape, v.dims) for v in table.variables} == {
        "effect": ((3,), ("group",)), "sd": ((), ()), "share": ((3, 2), ("group", None))
    }  # fmt: skip
    np.testing.assert_array_equal(table.observed_data["y"], Y)
    x = np.random.default_rng(0).standard_normal((5, 7))
    draws, terms = table.constrain(x), table.log_likelihood(x)["y"]
    np.testing.assert_allclose(draws["share"].sum(axis=-1), 1.0, rtol=1e-13)
    mean = draws["effect"][:, [0, 1, 2, 0]] + draws["share"][:, [0, 1, 2, 0], 0]
    z = (Y - mean) / draws["sd"][:, None]
    np.testing.assert_allclose(terms, -0.5 * z**2 - np.log(draws["sd"][:, None]) - 0.5 * np.log(2 * np.pi), rtol=1e-11)


def test_a_conjugate_model():
    fit = sb.fit(sb.Target.from_numpyro(conjugate, Y, scale=1.0), rng=0)
    summary = fit.summary()
    assert summary.names == ["x", "twice"]
    np.testing.assert_allclose(summary["mean"], np.array([1, 2]) * Y.sum() / PRECISION, atol=0.01)
    np.testing.assert_allclose(summary["sd"], np.array([1, 2]) * PRECISION**-0.5, rtol=0.05)
    cov = np.eye(len(Y)) + 4.0
    evidence = -0.5 * (Y @ np.linalg.solve(cov, Y) + np.linalg.slogdet(2 * np.pi * cov)[1])
    assert fit.log_evidence == pytest.approx(evidence, abs=0.01)
    draws = fit.posterior(100, rng=0)
    np.testing.assert_allclose(draws["twice"], 2 * draws["x"], rtol=1e-14)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_float32_is_refused_with_the_remedy():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"numpyro\.enable_x64\(\)"):
        sb.Target.from_numpyro(conjugate, Y)


def discrete(y):
    numpyro.sample("x", dist.Normal(numpyro.sample("count", dist.Poisson(3.0)), 1.0))


def nothing_latent(y):
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def minibatches(y):
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", len(y), subsample_size=2) as rows:
        numpyro.sample("y", dist.Normal(x, 1.0), obs=y[rows])


def outside(y):
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("wall", jnp.where(x > 1.0, 0.0, -jnp.inf))


@pytest.mark.parametrize(
    "model, y, error, text",
    [
        (discrete, Y, ValueError, "discrete latent sites, 'count'"),
        (nothing_latent, Y, ValueError, "no latent sites"),
        (conjugate, np.array([1.0, np.nan]), ValueError, "observed values of 'y' hold NaN"),
        (minibatches, jnp.asarray(Y), ValueError, "'row' draws minibatches"),
        (outside, Y, sb.NonFiniteTarget, r"log p\(wall\) = -inf where x = 0"),
        ({}, Y, TypeError, "must be a model function of NumPyro, got dict"),
    ],
)
def test_what_cannot_be_fitted_is_named(model, y, error, text):
    with pytest.raises(error, match=text):
        sb.Target.from_numpyro(model, y)


def test_what_a_model_raises_reaches_the_caller():
    def broken(y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sb.Target.from_numpyro(broken, Y)
