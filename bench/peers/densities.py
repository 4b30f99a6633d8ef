"""Peers that fit a log density of JAX: NumPyro's full-rank SVI and NUTS, BlackJAX's full-rank VI and Pathfinder.

Each is a call (f of one point, d, seed) to (mean, covariance, points evaluated), in float64, without its compilation
being told apart; None, after a line that says so, where its package is not installed.  SciPy's Laplace approximation
takes value and gradient in NumPy.
"""

from __future__ import annotations

import numpy as np
import scipy

from peers import all_of


def laplace(value, grad, d):
    """BFGS from 0, then central differences of the gradient; the covariance is None where they are not definite."""
    count = [0]

    def both(x):
        count[0] += 1
        return -value(x[None])[0], -grad(x[None])[0]

    mode = scipy.optimize.minimize(both, np.zeros(d), jac=True, method="BFGS", options={"maxiter": 2000}).x
    steps = np.diag(1e-5 * np.maximum(1.0, np.abs(mode)))
    precision = (grad(mode - steps) - grad(mode + steps)) / (2.0 * np.diagonal(steps)[:, None])
    precision = 0.5 * (precision + precision.T)
    definite = np.linalg.eigvalsh(precision)[0] > 0.0
    return mode, np.linalg.inv(precision) if definite else None, count[0] + 2 * d


def svi(steps, rate=1e-2):
    """AutoMultivariateNormal from 0, one draw a step, Adam with a rate that falls a hundredfold."""
    modules = all_of("jax", "numpyro", "numpyro.infer", "numpyro.distributions", "optax")
    if modules is None:
        return None
    jax, numpyro, infer, dist, optax = modules

    def call(f, d, seed):
        def model():
            numpyro.factor("f", f(numpyro.sample("x", dist.ImproperUniform(dist.constraints.real_vector, (), (d,)))))

        start = infer.init_to_value(values={"x": jax.numpy.zeros(d)})
        guide = infer.autoguide.AutoMultivariateNormal(model, init_loc_fn=start)
        adam = optax.adam(optax.exponential_decay(rate, steps, 0.01))
        run = infer.SVI(model, guide, adam, infer.Trace_ELBO()).run(jax.random.PRNGKey(seed), steps, progress_bar=False)
        chol = np.asarray(run.params["auto_scale_tril"])
        return np.asarray(run.params["auto_loc"]), chol @ chol.T, steps

    return call


def nuts(draws):
    """One chain as long as its warm-up; its mean and covariance are those of the posterior, not of a best Gaussian."""
    modules = all_of("jax", "numpyro.infer")
    if modules is None:
        return None
    jax, infer = modules

    def call(f, d, seed):
        chain = infer.MCMC(
            infer.NUTS(potential_fn=lambda x: -f(x)), num_warmup=draws, num_samples=draws, progress_bar=False
        )
        start = 0.3 * jax.random.normal(jax.random.PRNGKey(seed), (d,))
        chain.warmup(jax.random.PRNGKey(seed), init_params=start, extra_fields=("num_steps",), collect_warmup=True)
        points = int(chain.get_extra_fields()["num_steps"].sum())
        chain.run(jax.random.PRNGKey(seed + 1), extra_fields=("num_steps",))
        points += int(chain.get_extra_fields()["num_steps"].sum())
        x = np.asarray(chain.get_samples())
        return x.mean(axis=0), np.cov(x.T), points

    return call


def fullrank(steps, draws=10, rate=1e-2):
    """BlackJAX's full-rank VI from 0, Adam with a constant rate."""
    modules = all_of("jax", "blackjax", "optax")
    if modules is None:
        return None
    jax, blackjax, optax = modules

    def call(f, d, seed):
        vi = blackjax.fullrank_vi(f, optax.adam(rate), draws)
        step = jax.jit(lambda s, keys: jax.lax.scan(lambda s, key: (vi.step(key, s)[0], None), s, keys)[0])
        state, keys = vi.init(jax.numpy.zeros(d)), jax.random.split(jax.random.PRNGKey(seed), steps)
        state = step(step(state, keys[:1]), keys[1:])
        packed, chol = np.asarray(state.chol_params), np.zeros((d, d))
        chol[np.diag_indices(d)], chol[np.tril_indices(d, -1)] = np.exp(packed[:d]), packed[d:]
        return np.asarray(state.mu), chol @ chol.T, steps * draws

    return call


def pathfinder(draws=20000):
    """BlackJAX's Pathfinder by its defaults, mean and covariance of so many draws of its approximation."""
    modules = all_of("jax", "blackjax.vi.pathfinder")
    if modules is None:
        return None
    jax, module = modules

    def call(f, d, seed):
        start = 0.1 * jax.random.normal(jax.random.PRNGKey(seed), (d,))
        state, info = jax.jit(lambda key, x: module.approximate(key, f, x))(jax.random.PRNGKey(seed + 1), start)
        used = int(np.isfinite(np.asarray(info.path.elbo)).sum())
        x = np.asarray(module.sample(jax.random.PRNGKey(2), state, draws)[0])
        return x.mean(axis=0), np.cov(x.T), 201 * used  # 200 draws an ELBO, and a gradient at least

    return call
