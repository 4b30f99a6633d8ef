"""What is done with a PyMC model elsewhere: PyMC's NUTS and ADVI, pymc-extras, NumPyro's guides, BlackJAX.

Each takes a model and returns draws by variable, (n, *shape), on the model's own scale; None where its package is
missing.  All at their default settings; NumPyro and BlackJAX see the model's density translated to JAX.
"""

from __future__ import annotations

import numpy as np

import peers

DRAWS = 4000


def _flat(dataset, names):
    """(n, *shape) of every variable from chains and draws."""
    return {name: dataset[name].values.reshape(-1, *dataset[name].shape[2:]) for name in names}


def free(model):
    return [rv.name for rv in model.free_RVs]


def nuts(model, draws, seed, tune=None):
    """Four chains of PyMC's sampler, and its divergences."""
    import pymc

    with model:
        trace = pymc.sample(
            draws, tune=tune or draws, chains=4, cores=1, random_seed=seed, progressbar=False,
            compute_convergence_checks=False,
        )  # fmt: skip
    return _flat(trace.posterior, free(model)), int(trace.sample_stats["diverging"].sum())


def advi(method):
    def fit(model, seed):
        import pymc

        with model:
            found = pymc.fit(method=method, random_seed=seed, progressbar=False)
        return _flat(found.sample(DRAWS, random_seed=seed).posterior, free(model))

    return fit


def extras(name):
    """pymc-extras' fit_laplace or fit_pathfinder."""

    def fit(model, seed):
        pmx = peers.optional("pymc_extras")
        if pmx is None:
            return None
        settings = {"num_draws": DRAWS} if name == "fit_pathfinder" else {"draws": DRAWS}
        with model:
            found = getattr(pmx, name)(random_seed=seed, progressbar=False, **settings)
        return _flat(found.posterior, free(model))

    return fit


def translated(model):
    """The density of one flat point as a function of JAX, where it starts, and points (n, d) as draws by variable."""
    from pymc.sampling.jax import get_jaxified_graph

    from sbpfast.bridges._pymc import _Reader

    reader = _Reader(model)
    (density,), x = reader._join([model.logp()])
    logp = get_jaxified_graph([x], [density])

    def by_variable(points):
        draws = reader._parameters().constrain(np.asarray(points, dtype=np.float64))
        return {name: draws[name] for name in free(model)}

    return (lambda point: logp(point)[0]), reader.start, by_variable


def guide(name, steps=20_000, rate=1e-2):
    """One of NumPyro's automatic guides, by Adam whose rate falls to a hundredth."""

    def fit(model, seed):
        modules = peers.all_of("jax", "numpyro", "numpyro.infer", "numpyro.infer.autoguide", "numpyro.optim")
        if modules is None:
            return None
        jax, numpyro, infer, autoguide, optim = modules
        logp, origin, by_variable = translated(model)
        law = numpyro.distributions

        def program():
            flat = law.ImproperUniform(law.constraints.real_vector, (), origin.shape)
            numpyro.factor("density", logp(numpyro.sample("x", flat)))

        start = infer.init_to_value(values={"x": origin})
        approximation = getattr(autoguide, name)(program, init_loc_fn=start)
        falling = optim.Adam(lambda i: rate * 0.01 ** (i / steps))
        svi = infer.SVI(program, approximation, falling, infer.Trace_ELBO())
        params = svi.run(jax.random.PRNGKey(seed), steps, progress_bar=False).params
        key = jax.random.PRNGKey(seed + 1)
        return by_variable(approximation.sample_posterior(key, params, sample_shape=(DRAWS,))["x"])

    return fit


def blackjax_vi(name, steps=2_000, rate=1e-2):
    """BlackJAX's Gaussians, by Adam of the same kind; its 100 draws a step allow a tenth of NumPyro's steps."""

    def fit(model, seed):
        modules = peers.all_of("jax", "blackjax", "optax")
        if modules is None:
            return None
        jax, blackjax, optax = modules
        logp, origin, by_variable = translated(model)
        falling = optax.adam(lambda i: rate * 0.01 ** (i / steps))
        algorithm = getattr(blackjax, name)(logp, falling)

        def step(state, key):
            return algorithm.step(key, state)[0], None

        keys = jax.random.split(jax.random.PRNGKey(seed), steps + 1)
        state, _ = jax.jit(lambda state: jax.lax.scan(step, state, keys[1:]))(algorithm.init(jax.numpy.asarray(origin)))
        return by_variable(algorithm.sample(keys[0], state, DRAWS))

    return fit


def blackjax_pathfinder(model, seed):
    modules = peers.all_of("jax", "blackjax")
    if modules is None:
        return None
    jax, blackjax = modules
    logp, origin, by_variable = translated(model)
    keys = jax.random.split(jax.random.PRNGKey(seed))
    state, _ = blackjax.vi.pathfinder.approximate(keys[0], logp, jax.numpy.asarray(origin))
    points = blackjax.vi.pathfinder.sample(keys[1], state, DRAWS)
    return by_variable(points[0] if isinstance(points, tuple) else points)


APPROXIMATIONS = {
    "pm.fit, mean field": advi("advi"),
    "pm.fit, full rank": advi("fullrank_advi"),
    "pmx.fit_laplace": extras("fit_laplace"),
    "pmx.fit_pathfinder": extras("fit_pathfinder"),
    "NumPyro AutoMultivariateNormal": guide("AutoMultivariateNormal"),
    "NumPyro AutoLaplaceApproximation": guide("AutoLaplaceApproximation"),
    "BlackJAX mean field": blackjax_vi("meanfield_vi"),
    "BlackJAX full rank": blackjax_vi("fullrank_vi"),
    "BlackJAX pathfinder": blackjax_pathfinder,
}
