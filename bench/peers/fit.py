"""The peers of the fit: thirty lines of NumPy, NumPyro (SVI and NUTS), BlackJAX full-rank VI and GSM.

All work in float64, from where they start by default (for BlackJAX and GSM mean 0 and covariance I, the prior of the
regressions here).  Each is None, after a line that says so, where its package is not installed.
"""

from __future__ import annotations

import time

import numpy as np
import scipy

from peers import all_of, optional


def gauss_hermite(n):
    """Nodes and weights of expectations under N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def trapezoid(n=401, end=10.0):
    """The same by equal steps, whose error falls faster than any power of n for functions analytic near the line."""
    nodes = np.linspace(-end, end, n)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def thirty_lines(X, y, prior_scale, rule, tol=1e-8, max_steps=50):
    """Mean, covariance and steps of the KL-optimal Gaussian of a logistic regression."""
    n, d = X.shape
    nodes, weights = rule
    prior = np.eye(d) / prior_scale**2
    mean, cov = np.zeros(d), np.linalg.inv(X.T @ X / 4 + prior)
    for step in range(1, max_steps + 1):  # noqa: B007
        m = X @ mean
        t = np.sqrt(np.einsum("ij,ij->i", X @ cov, X))
        slope, curvature = y.copy(), np.zeros(n)
        for z, w in zip(nodes, weights):
            p = scipy.special.expit(m + t * z)
            slope -= w * p
            curvature += w * p * (1 - p)
        precision = (X * curvature[:, None]).T @ X + prior
        gradient = X.T @ slope - mean / prior_scale**2
        chol = np.linalg.cholesky(cov)
        residual = np.linalg.norm(chol.T @ gradient) + np.linalg.norm(np.eye(d) - chol.T @ precision @ chol)
        if residual < tol:
            break
        cov = np.linalg.inv(precision)
        mean = mean + cov @ gradient
    return mean, cov, step


def _logistic_model(numpyro, X, y):
    def model():
        b = numpyro.sample("b", numpyro.distributions.Normal(0, 1).expand([X.shape[1]]).to_event(1))
        numpyro.sample("y", numpyro.distributions.Bernoulli(logits=X @ b), obs=y)

    return model


def numpyro_svi(X, y, steps, rate=1e-2):
    """A call that returns the mean of the full-rank guide after so many Adam steps."""
    modules = all_of("jax", "numpyro", "numpyro.infer", "numpyro.optim")
    if modules is None:
        return None
    jax, numpyro, infer, optim = modules
    model = _logistic_model(numpyro, X, y)

    def call():
        guide = infer.autoguide.AutoMultivariateNormal(model)
        svi = infer.SVI(model, guide, optim.Adam(rate), infer.Trace_ELBO())
        state = svi.run(jax.random.PRNGKey(0), steps, progress_bar=False)
        return np.asarray(guide.get_posterior(state.params).mean)

    return call


def numpyro_nuts(X, y, draws):
    """A call that returns the mean of one chain, half as long again with its warm-up."""
    modules = all_of("jax", "numpyro", "numpyro.infer")
    if modules is None:
        return None
    jax, numpyro, infer = modules

    def call():
        kernel = infer.NUTS(_logistic_model(numpyro, X, y))
        chain = infer.MCMC(kernel, num_warmup=draws // 2, num_samples=draws, progress_bar=False)
        chain.run(jax.random.PRNGKey(0))
        return np.asarray(chain.get_samples()["b"]).mean(axis=0)

    return call


def blackjax_fullrank(X, y, seed, rate, draws, steps, chunk=20):
    """Seconds, mean and lower factor every `chunk` Adam steps of BlackJAX's full-rank VI; and seconds of compiling."""
    modules = all_of("jax", "blackjax", "optax")
    if modules is None:
        return None
    jax, blackjax, optax = modules
    jnp = jax.numpy
    Xj, yj = jnp.asarray(X), jnp.asarray(y)

    def logdensity(b):
        eta = Xj @ b
        return yj @ eta - jnp.logaddexp(0.0, eta).sum() - 0.5 * b @ b

    vi = blackjax.fullrank_vi(logdensity, optax.adam(optax.cosine_decay_schedule(rate, steps)), draws)

    @jax.jit
    def advance(state, key):
        return jax.lax.scan(lambda s, k: (vi.step(k, s)[0], None), state, jax.random.split(key, chunk))[0]

    first = vi.init(jnp.zeros(X.shape[1]))
    keys = list(jax.random.split(jax.random.PRNGKey(seed), -(-steps // chunk)))
    start = time.perf_counter()
    jax.block_until_ready(advance(advance(first, keys[0]), keys[0]))  # twice: the types of the first state are weak
    compiling = time.perf_counter() - start
    states, seconds, state, start = [], [], first, time.perf_counter()
    for key in keys:
        state = jax.block_until_ready(advance(state, key))
        states.append(state)
        seconds.append(time.perf_counter() - start)
    return [(t, *_unpacked(s)) for t, s in zip(seconds, states)], compiling


def _unpacked(state):
    """Mean and lower factor of a BlackJAX state: logarithms of the diagonal, then the rows below it."""
    mean, packed = np.asarray(state.mu), np.asarray(state.chol_params)
    d = len(mean)
    chol = np.zeros((d, d))
    chol[np.tril_indices(d, -1)] = packed[d:]
    chol[np.diag_indices(d)] = np.exp(packed[:d])
    return mean, chol


class _Recorder:
    """What GSM calls every `checkpoint` updates: keeps mean and covariance, and when."""

    def __init__(self, checkpoint):
        self.checkpoint, self.trace, self.start = checkpoint, [], time.perf_counter()

    def __call__(self, i, params, lp, key, nevals):
        if i > 0:
            self.trace.append((time.perf_counter() - self.start, *(np.array(p, dtype=float) for p in params)))


def gsm(X, y, seed, batch, steps, checkpoint=10):
    """Seconds, mean and covariance every few updates of Gaussian score matching (Modi et al. 2023); nothing compiles.

    The package's NumPy version, which is the faster one here.
    """
    gsm_numpy = optional("gsmvi.gsm_numpy")
    if gsm_numpy is None:
        return None
    recorder = _Recorder(checkpoint)
    method = gsm_numpy.GSM(X.shape[1], lp=None, lp_g=lambda b: (y - scipy.special.expit(b @ X.T)) @ X - b)
    method.fit(seed, batch_size=batch, niter=steps, verbose=False, monitor=recorder)
    return recorder.trace, 0.0
