"""sbpfast.jax under JAX's transforms, against closed forms, SciPy's laws, and reports that stand open."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from statistics_helpers import assert_law, assert_unbiased

jax = pytest.importorskip("jax")
sbj = pytest.importorskip("sbpfast.jax")

import jax.numpy as jnp  # noqa: E402

from sbpfast.expfam.elementwise import LAWS  # noqa: E402

KEY = jax.random.key(7)


def with_x64(on):
    """For every thread: callbacks have threads of their own, and other libraries switch x64 on when imported."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", on)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def x64():
    yield from with_x64(True)


@pytest.fixture
def x32():
    yield from with_x64(False)


DRAWS = {
    "gamma": (sbj.gamma, (1.7,), scipy.stats.gamma(1.7)),
    "beta": (sbj.beta, (0.6, 2.0), scipy.stats.beta(0.6, 2.0)),
    "t": (sbj.t, (3.5,), scipy.stats.t(3.5)),
    "chisquare": (sbj.chisquare, (0.9,), scipy.stats.chi2(0.9)),
    "vonmises": (sbj.vonmises, (0.4, 2.0), scipy.stats.vonmises(2.0, loc=0.4)),
    "truncated_normal": (sbj.truncated_normal, (-0.5, 2.0), scipy.stats.truncnorm(-0.5, 2.0)),
    "wald": (sbj.wald, (1.3,), scipy.stats.invgauss(1.3)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_follow_their_law(name, x64):
    draw, parameters, law = DRAWS[name]
    x = np.asarray(draw(KEY, *parameters, (20_000,)))
    assert x.dtype == np.float64 and x.shape == (20_000,)
    if name == "vonmises":
        x = 0.4 + np.remainder(x - 0.4 + np.pi, 2 * np.pi) - np.pi
    assert_law(x, law.cdf)


def test_log_gammas_are_logarithms(x64):
    np.testing.assert_allclose(np.exp(sbj.loggamma(KEY, 1.7, (50,))), sbj.gamma(KEY, 1.7, (50,)), rtol=1e-13)
    assert np.isfinite(sbj.loggamma(KEY, 1e-5, (50,))).all()


GRADIENTS = {
    "gamma": (sbj.gamma, "gamma", (jnp.linspace(0.2, 9.0, 20),)),
    "loggamma": (sbj.loggamma, "loggamma", (jnp.linspace(0.01, 9.0, 20),)),
    "beta": (sbj.beta, "beta", (jnp.linspace(0.2, 9.0, 20), jnp.linspace(7.0, 0.3, 20))),
    "t": (sbj.t, "student_t", (jnp.linspace(0.7, 40.0, 20),)),
    "wald": (lambda k, m: sbj.wald(k, m), "inverse_gaussian", (jnp.linspace(0.2, 9.0, 20),)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_the_weights_at_the_draw(name, x64):
    draw, law, parameters = GRADIENTS[name]
    parameters = [np.asarray(p, np.float64) for p in parameters]
    x = np.asarray(draw(KEY, *parameters))
    got = jax.grad(lambda *p: draw(KEY, *p).sum(), argnums=tuple(range(len(parameters))))(*parameters)
    rest = [np.ones_like(x)] if name == "wald" else []
    want = LAWS[law].velocity(x, *parameters, *rest)
    for value, velocity in zip(got, want):
        np.testing.assert_array_equal(value, velocity)


@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_single_precision_without_x64(name, x32):
    draw, law, parameters = GRADIENTS[name]
    parameters = [np.asarray(p, np.float32) for p in parameters]
    x = draw(KEY, *parameters)
    assert x.dtype == jnp.float32
    got = jax.grad(lambda *p: draw(KEY, *p).sum(), argnums=tuple(range(len(parameters))))(*parameters)
    want = LAWS[law].velocity(*(np.asarray(v, np.float64) for v in (x, *parameters)))
    for value, velocity in zip(got, want):
        np.testing.assert_allclose(value, velocity, rtol=2e-7)


def slopes(f, parameters, groups=64):
    keys = jax.random.split(KEY, groups)
    numbers = tuple(range(1, 1 + len(parameters)))
    return jax.jit(jax.vmap(jax.grad(f, argnums=numbers), in_axes=(0, *(None for _ in numbers))))(keys, *parameters)


def assert_gradients(f, parameters, truths):
    """f(key, *parameters), the mean over a few hundred draws, has these gradients in expectation."""
    for groups, truth in zip(slopes(f, [np.asarray(p, np.float64) for p in parameters]), truths):
        groups = np.asarray(groups)
        assert_unbiased(groups.mean(axis=0), truth, groups.std(axis=0, ddof=1) / math.sqrt(len(groups)))


def test_gradients_of_expectations_are_unbiased_under_jit_and_vmap(x64):
    n = (256,)
    assert_gradients(lambda k, a: sbj.gamma(k, a, n).mean(), [0.4], [1.0])
    assert_gradients(lambda k, a: sbj.loggamma(k, a, n).mean(), [0.4], [scipy.special.polygamma(1, 0.4)])
    assert_gradients(lambda k, a, b: sbj.beta(k, a, b, n).mean(), [0.4, 1.5], [1.5 / 1.9**2, -0.4 / 1.9**2])
    assert_gradients(lambda k, v: (sbj.t(k, v, n) ** 2).mean(), [6.0], [-2.0 / 16.0])
    assert_gradients(lambda k, v: (sbj.chisquare(k, v, n) ** 2).mean(), [1.4], [2 * 1.4 + 2.0])
    assert_gradients(lambda k, m: (1.0 / sbj.wald(k, m, n)).mean(), [0.8], [-1.0 / 0.64])
    ratio = scipy.special.i1(2.0) / scipy.special.i0(2.0)
    slope = 1.0 - ratio / 2.0 - ratio**2
    truths = [-ratio * math.sin(0.4), slope * math.cos(0.4)]
    assert_gradients(lambda k, m, c: jnp.cos(sbj.vonmises(k, m, c, n)).mean(), [0.4, 2.0], truths)
    low, high = -0.5, 2.0
    step = 1e-5
    mean = lambda a, b: scipy.stats.truncnorm(a, b).mean()
    truths = [
        (mean(low + step, high) - mean(low - step, high)) / (2 * step),
        (mean(low, high + step) - mean(low, high - step)) / (2 * step),
    ]
    assert_gradients(lambda k, a, b: sbj.truncated_normal(k, a, b, n).mean(), [low, high], truths)


def test_gradients_of_dirichlet_expectations_are_unbiased(x64):
    a = np.array([0.2, 1.5, 4.0])
    total = a.sum()
    truth = (2 * a + 1) / (total * (total + 1)) - (a * (a + 1)).sum() * (2 * total + 1) / (total * (total + 1)) ** 2
    assert_gradients(lambda k, a: (sbj.dirichlet(k, a, (256,)) ** 2).sum(-1).mean(), [a], [truth])


def test_hessians_are_unbiased(x64):
    keys = jax.random.split(KEY, 64)
    point = np.array([0.7, 2.0])
    hessian = jax.jit(jax.vmap(jax.hessian(lambda p, k: sbj.beta(k, p[0], p[1], (256,)).mean()), in_axes=(None, 0)))
    groups = np.asarray(hessian(point, keys))
    a, b = point
    truth = np.array([[-2 * b, a - b], [a - b, 2 * a]]) / (a + b) ** 3
    assert_unbiased(groups.mean(axis=0), truth, groups.std(axis=0, ddof=1) / 8.0)
    second = jax.jit(
        jax.vmap(jax.grad(jax.grad(lambda a, k: (sbj.gamma(k, a, (256,)) ** 2).mean())), in_axes=(None, 0))
    )
    groups = np.asarray(second(0.7, keys))
    assert_unbiased(groups.mean(), 2.0, groups.std(ddof=1) / 8.0)


def test_transforms_agree(x64):
    a = jnp.array([0.5, 2.0, 3.0])
    for f in (lambda a: sbj.dirichlet(KEY, a), lambda a: sbj.gamma(KEY, a), lambda a: sbj.beta(KEY, a, a[::-1])):
        forward, reverse = jax.jacfwd(f)(a), jax.jacrev(f)(a)
        np.testing.assert_allclose(forward, reverse, rtol=1e-12)
        np.testing.assert_array_equal(jax.jit(f)(a), f(a))
    keys, rows = jax.random.split(KEY, 5), jnp.linspace(0.3, 4.0, 15).reshape(5, 3)
    for f in (sbj.gamma, sbj.dirichlet, sbj.t, lambda k, a: sbj.vonmises(k, a, a)):
        looped = np.stack([f(k, a) for k, a in zip(keys, rows)])
        np.testing.assert_array_equal(jax.vmap(f)(keys, rows), looped)
        same = np.stack([f(KEY, a) for a in rows])
        np.testing.assert_array_equal(jax.vmap(lambda a, f=f: f(KEY, a))(rows), same)


def test_where_there_is_no_second_derivative_jax_says_so(x64):
    with pytest.raises(ValueError, match="Pure callbacks do not support JVP"):
        jax.grad(jax.grad(lambda v: sbj.t(KEY, v)))(3.0)


def test_keys_of_either_kind_and_shapes_of_jax_random():
    old = jax.random.PRNGKey(3)
    np.testing.assert_array_equal(sbj.gamma(old, 2.0, (4,)), sbj.gamma(jax.random.wrap_key_data(old), 2.0, (4,)))
    ones = np.ones(3)
    for name, parameters, shape in (
        ("gamma", (ones,), (5, 2, 3)),
        ("beta", (ones, 2.0), (5, 3)),
        ("t", (3.0,), (5,)),
        ("chisquare", (np.ones((2, 1)),), (2, 3)),
        ("wald", (ones,), (5, 3)),
        ("truncated_normal", (-1.0, ones), (5, 3)),
        ("dirichlet", (np.ones((2, 3)),), (4, 2)),
    ):
        for wanted in (None, shape):
            ours, theirs = (
                jax.eval_shape(lambda k, m=module, n=name, p=parameters, w=wanted: getattr(m, n)(k, *p, w), KEY)
                for module in (sbj, jax.random)
            )
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert not jnp.array_equal(sbj.gamma(KEY, 2.0), sbj.gamma(jax.random.key(8), 2.0))


def test_refusals_are_in_words():
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got float16"):
        sbj.gamma(KEY, 1.0, dtype=jnp.float16)
    with pytest.raises(ValueError, match="out_sharding must be None"):
        sbj.gamma(KEY, 1.0, out_sharding="x")
    with pytest.raises(ValueError, match=r"shape \(2,\) does not hold"):
        sbj.gamma(KEY, jnp.ones((3, 2)), (2,))
    with pytest.raises(ValueError, match="broadcast"):
        sbj.beta(KEY, jnp.ones(3), jnp.ones(2))
    with pytest.raises(TypeError, match="a must be real"):
        sbj.gamma(KEY, 1j)
    with pytest.raises(ValueError, match="at least one dimension"):
        sbj.dirichlet(KEY, 1.0)
    with pytest.raises(ValueError, match="must be"):
        sbj.lowrank_precision_normal(KEY, jnp.ones(2), jnp.ones(2), jnp.ones(2))
    assert jnp.isnan(sbj.gamma(KEY, -1.0)) and jnp.isnan(sbj.vonmises(KEY, 0.0, -1.0))


@pytest.mark.parametrize("k", [1, 3])
def test_precision_normals(k, x64):
    r = np.random.default_rng(k)
    mean, diag, factor = (
        r.standard_normal((2, 4)),
        0.3 + np.abs(r.standard_normal((2, 4))),
        r.standard_normal((2, 4, k)),
    )
    x = np.asarray(sbj.lowrank_precision_normal(KEY, mean, diag, factor, (20_000, 2)))
    for b in range(2):
        precision = np.diag(diag[b]) + factor[b] @ factor[b].T
        z = (x[:, b] - mean[b]) @ np.linalg.cholesky(precision)
        assert_unbiased(z.T @ z / 20_000, np.eye(4), math.sqrt(2.0 / 20_000), freedom=10_000)
    covariance = lambda d, u: jnp.trace(jnp.linalg.inv(jnp.diag(d) + u @ u.T))
    truths = [2 * mean[0], *jax.grad(covariance, argnums=(0, 1))(diag[0], factor[0])]
    draw = lambda key, m, d, u: (sbj.lowrank_precision_normal(key, m, d, u, (256,)) ** 2).sum(-1).mean()
    assert_gradients(draw, [mean[0], diag[0], factor[0]], truths)


# -- reports that stand open ------------------------------------------------------------------------------------------


def test_dirichlet_gradient_at_a_tiny_concentration():
    """jax 18129: float32, key 0, one concentration of 2.5e-37; JAX gives NaN for its gradient."""
    alpha = jnp.array(
        [[2.4587069e-37, 2.3883429e00, 3.9916661e00, 7.5055346e-02, 4.4362344e-02, 3.1457476e-02]], dtype=jnp.float32
    )
    f = lambda a, key: jnp.sum(sbj.dirichlet(key, a) ** 2)
    assert np.isfinite(jax.grad(f)(alpha, jax.random.key(0))).all()
    a = np.asarray(alpha, np.float64)[0]
    total = a.sum()
    truth = (2 * a + 1) / (total * (total + 1)) - (a * (a + 1)).sum() * (2 * total + 1) / (total * (total + 1)) ** 2
    mean = lambda key, a: f(jnp.tile(a, (256, 1)), key) / 256.0
    groups = np.asarray(jax.vmap(jax.grad(mean, argnums=1), in_axes=(0, None))(jax.random.split(KEY, 64), alpha[0]))
    # coordinate 0 is 0 in float32, so that its own share of the slope, 1/(t (t + 1)), is out of reach: not compared
    error = groups.std(axis=0, ddof=1) / 8.0
    assert_unbiased(groups.mean(axis=0)[1:], truth[1:], error[1:], rounding=1e-6)
    assert np.isfinite(groups).all()


def test_dirichlet_gradient_that_hung():
    """jax 21352: concentrations near 1 in rows of twelve (the first four rows of the report) under grad and jit."""
    alpha = jnp.array(
        [
            [1.0031196e+00, 1.0657588e+00, 1.0015138e+00, 9.6887946e-01, 1.0072964e+00, 9.9730104e-01,
             9.8444152e-01, 1.0215390e+00, 9.9271071e-01, 9.6725780e-01, 1.0160147e+00, 9.9990100e-01],
            [1.0190175e+00, 1.0119619e+00, 1.0658907e+00, 1.0210572e+00, 9.9823701e-01, 1.0059961e+00,
             1.0150868e+00, 9.1839767e-01, 9.7111833e-01, 9.5713389e-01, 1.0254700e+00, 9.3788880e-01],
            [9.6162099e-01, 9.9599779e-01, 1.0572764e+00, 1.0106628e+00, 1.0098387e+00, 1.0022438e+00,
             9.7249472e-01, 9.9937338e-01, 1.0402182e+00, 1.0575043e+00, 1.0217358e+00, 1.0250369e+00],
            [1.0484207e+00, 9.8520476e-01, 1.0237277e+00, 1.0169791e+00, 1.0115385e+00, 1.0200191e+00,
             1.0063468e+00, 1.0190374e+00, 1.0228696e+00, 1.0135293e+00, 1.0109347e+00, 9.8110938e-01],
        ]
    )  # fmt: skip
    f = lambda a, key: (sbj.dirichlet(key, a, (256, 4)) ** 2).sum(-1).mean(0).sum()
    groups = np.asarray(jax.jit(jax.vmap(jax.grad(f), in_axes=(None, 0)))(alpha, jax.random.split(KEY, 64)))
    a = np.asarray(alpha, np.float64)
    total = a.sum(axis=1, keepdims=True)
    squares = (a * (a + 1)).sum(axis=1, keepdims=True)
    truth = (2 * a + 1) / (total * (total + 1)) - squares * (2 * total + 1) / (total * (total + 1)) ** 2
    assert_unbiased(groups.mean(axis=0), truth, groups.std(axis=0, ddof=1) / 8.0, rounding=1e-6)


# -- NumPyro ----------------------------------------------------------------------------------------------------------


def trained(model, guide, optimiser, steps, particles=4):
    numpyro = pytest.importorskip("numpyro")
    elbo = numpyro.infer.Trace_ELBO(num_particles=particles)
    svi = numpyro.infer.SVI(model, guide, optimiser, elbo)
    result = svi.run(jax.random.key(1), steps, progress_bar=False)
    return result.params, -np.asarray(elbo.loss(jax.random.key(2), result.params, model, guide))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_numpyro_model_with_a_beta_guide_trains(x64):
    numpyro = pytest.importorskip("numpyro")
    dist = numpyro.distributions

    class Beta(dist.Beta):
        def sample(self, key, sample_shape=()):
            return sbj.beta(key, self.concentration1, self.concentration0, (*sample_shape, *self.batch_shape))

    data = jnp.array([1.0] * 7 + [0.0] * 3)

    def model():
        p = numpyro.sample("p", Beta(2.0, 2.0))
        numpyro.sample("y", dist.Bernoulli(p).expand([10]), obs=data)

    def guide():
        a = numpyro.param("a", 1.0, constraint=dist.constraints.positive)
        b = numpyro.param("b", 1.0, constraint=dist.constraints.positive)
        numpyro.sample("p", Beta(a, b))

    decay = lambda step: 0.1 / (1.0 + step / 50.0)
    parameters, elbo = trained(model, guide, numpyro.optim.Adam(decay), 800)
    # conjugate: the posterior is Beta(9, 5), and the bound is then the evidence
    np.testing.assert_allclose([parameters["a"], parameters["b"]], [9.0, 5.0], rtol=0.1)
    evidence = scipy.special.betaln(9.0, 5.0) - scipy.special.betaln(2.0, 2.0)
    np.testing.assert_allclose(elbo, evidence, atol=0.05)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_numpyro_model_with_a_von_mises_guide_trains(x64):
    numpyro = pytest.importorskip("numpyro")
    dist = numpyro.distributions

    class VonMises(dist.VonMises):
        reparametrized_params = ["loc", "concentration"]  # noqa: RUF012

        def sample(self, key, sample_shape=()):
            return sbj.vonmises(key, self.loc, self.concentration, (*sample_shape, *self.batch_shape))

    data = jnp.array([0.3, 0.9, 1.4, -0.2])

    def model():
        m = numpyro.sample("m", dist.VonMises(0.0, 1.0))
        numpyro.sample("y", dist.VonMises(m, 2.0).expand([4]), obs=data)

    def guide():
        loc = numpyro.param("loc", 0.0)
        concentration = numpyro.param("concentration", 1.0, constraint=dist.constraints.positive)
        numpyro.sample("m", VonMises(loc, concentration))

    decay = lambda step: 0.1 / (1.0 + step / 50.0)
    parameters, _ = trained(model, guide, numpyro.optim.Adam(decay), 800)
    resultant = 1.0 + 2.0 * np.exp(1j * np.asarray(data)).sum()  # conjugate
    np.testing.assert_allclose(parameters["loc"], np.angle(resultant), atol=0.05)
    np.testing.assert_allclose(parameters["concentration"], np.abs(resultant), rtol=0.15)
