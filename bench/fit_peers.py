"""The peers of the fit: NumPyro (stochastic variational inference and NUTS), BlackJAX full-rank VI and GSM.

All work in float64, from where they start by default (for BlackJAX and GSM mean 0 and covariance I, the prior of the
regressions here).  Each returns None, after a line that says so, where its package is not
installed.
"""

from __future__ import annotations

import importlib
import time

import numpy as np
import scipy


def _imported(*names):
    """The modules, with JAX in float64, or None and a line that says what is missing."""
    try:
        modules = [importlib.import_module(name) for name in names]
    except ImportError as error:
        print(f"  ({error.name} is not installed: left out)")
        return None
    if "jax" in names:
        modules[names.index("jax")].config.update("jax_enable_x64", True)
    return modules


def _logistic_model(numpyro, X, y):
    def model():
        b = numpyro.sample("b", numpyro.distributions.Normal(0, 1).expand([X.shape[1]]).to_event(1))
        numpyro.sample("y", numpyro.distributions.Bernoulli(logits=X @ b), obs=y)

    return model


def numpyro_svi(X, y, steps=30_000, rate=1e-2):
    """Mean of the full-rank guide of a logistic regression after so many Adam steps, and seconds, with compilation."""
    modules = _imported("jax", "numpyro", "numpyro.infer", "numpyro.optim")
    if modules is None:
        return None
    jax, numpyro, infer, optim = modules
    model = _logistic_model(numpyro, X, y)
    guide = infer.autoguide.AutoMultivariateNormal(model)
    svi = infer.SVI(model, guide, optim.Adam(rate), infer.Trace_ELBO())
    start = time.perf_counter()
    state = svi.run(jax.random.PRNGKey(0), steps, progress_bar=False)
    mean = np.asarray(guide.get_posterior(state.params).mean)
    return {"mean": mean, "seconds": time.perf_counter() - start, "steps": steps, "rate": rate}


def numpyro_nuts(X, y, warmup=1000, draws=2000):
    """Posterior mean, its Monte Carlo error in posterior sd, and seconds, with compilation, of one chain."""
    modules = _imported("jax", "numpyro", "numpyro.infer", "numpyro.diagnostics")
    if modules is None:
        return None
    jax, numpyro, infer, diagnostics = modules
    kernel = infer.NUTS(_logistic_model(numpyro, X, y))
    chain = infer.MCMC(kernel, num_warmup=warmup, num_samples=draws, progress_bar=False)
    start = time.perf_counter()
    chain.run(jax.random.PRNGKey(0))
    b = np.asarray(chain.get_samples()["b"])
    seconds = time.perf_counter() - start
    error = 1.0 / np.sqrt(diagnostics.effective_sample_size(b[None]))
    return {"mean": b.mean(axis=0), "error": error, "seconds": seconds, "warmup": warmup, "draws": draws}


def blackjax_fullrank(X, y, seed, rate, draws, steps, chunk=20):
    """Seconds, mean and lower factor every `chunk` Adam steps of BlackJAX's full-rank VI; and seconds of compiling."""
    modules = _imported("jax", "blackjax", "optax")
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
    modules = _imported("gsmvi.gsm_numpy")
    if modules is None:
        return None
    recorder = _Recorder(checkpoint)
    method = modules[0].GSM(X.shape[1], lp=None, lp_g=lambda b: (y - scipy.special.expit(b @ X.T)) @ X - b)
    method.fit(seed, batch_size=batch, niter=steps, verbose=False, monitor=recorder)
    return recorder.trace, 0.0
