"""Draws, Dirichlet gradients and maximum likelihood of the exponential families, beside numpy, scipy, torch and JAX."""

from __future__ import annotations

import numpy as np
import scipy.stats

from peers import optional, present
from sbpfast import expfam
from sbpfast._streams import stream_key
from workload import Workload

CONCENTRATION = np.array([0.3, 1.0, 2.0, 0.7, 5.0, 3.0, 1.5, 10.0])
LINES = {
    "gamma draws, shape 2.5": (expfam.Gamma(2.5, 1.0), lambda r, n: r.standard_gamma(2.5, n)),
    "gamma draws, shape 0.3": (expfam.Gamma(0.3, 1.0), lambda r, n: r.gamma(0.3, 1.0, n)),
    "beta draws": (expfam.Beta(1.4, 3.1), lambda r, n: r.beta(1.4, 3.1, n)),
    "von Mises draws": (expfam.VonMises(0.3, 2.1), lambda r, n: r.vonmises(0.3, 2.1, n)),
    "Poisson draws": (expfam.Poisson(3.3), lambda r, n: r.poisson(3.3, n)),
}


def draws(name, n):
    family, numpys = LINES[name]
    generator = np.random.default_rng(0)
    calls = {
        "sbpfast": lambda: family.sample(n, rng=0),
        "sbpfast, one thread": lambda: family.sample(n, rng=0, n_threads=1),
        "NumPy": lambda: numpys(generator, n),
    }
    if name == "gamma draws, shape 2.5" and (torch := optional("torch")):
        shape = torch.full((n,), 2.5, dtype=torch.float64)
        calls["torch"] = lambda: torch._standard_gamma(shape)
    return calls


def jax_gamma(n):
    """JAX takes microseconds a draw: fewer of them."""
    family = expfam.Gamma(2.5, 1.0)
    calls = {"sbpfast": lambda: family.sample(n, rng=0)}
    if jax := optional("jax"):
        key = jax.random.key(0)
        draw = jax.jit(lambda key: jax.random.gamma(key, 2.5, (n,), dtype="float64"))
        calls["JAX"] = lambda: jax.block_until_ready(draw(key))
    return calls


def dirichlet(n):
    """Draws of Dirichlet(8) and their gradients in the concentrations for a given gradient in x."""
    key, family = stream_key(0), expfam.Dirichlet(CONCENTRATION)
    grad = np.random.default_rng(0).standard_normal((n, len(CONCENTRATION)))

    def ours():
        blocks = [slice(i, min(i + 4096, n)) for i in range(0, n, 4096)]
        return [family._pathwise_terms(family._draw(key, b.start, b.stop), grad[b]) for b in blocks]

    return present({"sbpfast": ours, "torch": torch_dirichlet(grad)})


def torch_dirichlet(grad):
    torch = optional("torch")
    if torch is None:
        return None
    shape = torch.from_numpy(np.broadcast_to(CONCENTRATION, grad.shape).copy()).requires_grad_()
    given = torch.from_numpy(grad)

    def theirs():
        shape.grad = None
        torch.distributions.Dirichlet(shape, validate_args=False).rsample().backward(given)

    return theirs


def likelihood(n):
    """Gamma maximum likelihood."""
    x = np.random.default_rng(0).gamma(2.4, 1 / 1.3, (n, 1))
    return {
        "sbpfast": lambda: expfam.Gamma.fit(x),
        "SciPy": lambda: scipy.stats.gamma.fit(x[:, 0], floc=0),
    }


WORKLOADS = [
    *(Workload(name, draws, {"name": name, "n": 1_000_000}, {"name": name, "n": 1000}, per="n draw") for name in LINES),
    Workload("gamma draws, shape 2.5, few", jax_gamma, {"n": 10_000}, {"n": 100}, per="n draw"),
    Workload("Dirichlet(8), draws and gradients", dirichlet, {"n": 100_000}, {"n": 1000}),
    Workload("gamma maximum likelihood", likelihood, {"n": 10_000_000}, {"n": 1000}),
]
