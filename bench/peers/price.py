"""The regression of the Price workloads, and the same estimate by each peer."""

from __future__ import annotations

import numpy as np

import sbpfast as sb
from peers import optional


def regression(rows, d, seed=0):
    """Data of a logistic regression, and a Gaussian to take expectations under."""
    r = np.random.default_rng(seed)
    X = r.standard_normal((rows, d)) / np.sqrt(d)
    y = (r.random(rows) < 1 / (1 + np.exp(-X @ r.standard_normal(d)))).astype(float)
    chol = np.tril(0.1 * r.standard_normal((d, d)) / np.sqrt(d)) + 0.3 * np.eye(d)
    return X, y, 0.1 * r.standard_normal(d), chol


def ours(X, y, mean, chol, n, estimator="price", **options):
    target = sb.targets.logistic_regression(X, y, prior_scale=1.0)
    q = sb.Gaussian(mean, chol @ chol.T)
    return lambda: sb.expectation_grad(target, q, estimator=estimator, n_samples=n, rng=0, **options).grad


def by_hand(X, y, mean, chol, n):
    """Price in NumPy as one would write it: one matrix product, the curvatures averaged before A^T diag(w) A."""
    generator = np.random.default_rng(0)

    def call():
        x = mean + generator.standard_normal((n, len(mean))) @ chol.T
        t = x @ X.T
        p = 1 / (1 + np.exp(-t))
        value = (t * y - np.logaddexp(0, t)).sum(axis=1) - 0.5 * (x * x).sum(axis=1)
        g = (y - p).mean(axis=0) @ X - x.mean(axis=0)
        hessian = -X.T @ ((p * (1 - p)).mean(axis=0)[:, None] * X) - np.eye(len(mean))
        return value.mean(), g, 0.5 * hessian

    return call


def torch_pathwise(X, y, mean, chol, n):
    torch = optional("torch")
    if torch is None:
        return None
    Xt, yt = torch.from_numpy(X), torch.from_numpy(y)

    def call():
        m = torch.from_numpy(mean).requires_grad_()
        L = torch.from_numpy(chol).requires_grad_()
        x = m + torch.randn(n, len(mean), dtype=torch.float64) @ L.T
        t = x @ Xt.T
        value = (t * yt - torch.nn.functional.softplus(t)).sum(1) - 0.5 * (x * x).sum(1)
        value.mean().backward()
        return value.mean().detach(), m.grad, L.grad

    return call


def jax_peers(X, y, mean, chol, n):
    """JAX: pathwise, and Price with the Hessians of its own automatic differentiation."""
    jax = optional("jax")
    if jax is None:
        return {}
    jnp = jax.numpy

    def f(x):
        t = X @ x
        return (t * y - jax.nn.softplus(t)).sum() - 0.5 * (x * x).sum()

    def draws(m, L, key):
        return m + jax.random.normal(key, (n, len(mean)), dtype=jnp.float64) @ L.T

    @jax.jit
    def pathwise(m, L, key):
        return jax.value_and_grad(lambda m, L: jax.vmap(f)(draws(m, L, key)).mean(), argnums=(0, 1))(m, L)

    @jax.jit
    def price(m, L, key):
        x = draws(m, L, key)
        value, g = jax.vmap(jax.value_and_grad(f))(x)
        return value.mean(), g.mean(0), 0.5 * jax.lax.map(jax.hessian(f), x, batch_size=8).mean(0)

    def ready(function):
        state = [jax.random.key(0)]

        def call():
            state[0], key = jax.random.split(state[0])
            return jax.block_until_ready(function(mean, chol, key))

        return call

    return {"JAX pathwise": ready(pathwise), "JAX Price, autodiff Hessian": ready(price)}
