"""Draws, Dirichlet gradients and maximum likelihood of the exponential families, beside numpy, scipy, torch and JAX."""

from __future__ import annotations

import numpy as np
import scipy.stats
from timing import compare, optional, report, save

from sbpfast import expfam
from sbpfast._streams import stream_key

DRAWS = 1_000_000
POINTS = 10_000_000
CONCENTRATION = np.array([0.3, 1.0, 2.0, 0.7, 5.0, 3.0, 1.5, 10.0])


def draws(name, ours, generator_call, peers):
    """Nanoseconds a draw."""
    result = compare({"sbpfast": lambda: ours.sample(DRAWS, rng=0)}
                     | {"sbpfast, one thread": lambda: ours.sample(DRAWS, rng=0, n_threads=1), "numpy": generator_call}
                     | peers)  # fmt: skip
    report(f"{name}, ns a draw", result, 1e9 / DRAWS, "ns")
    return result


def gamma_peers(torch, jax):
    peers = {}
    if torch:
        shape = torch.full((DRAWS,), 2.5, dtype=torch.float64)
        peers["torch"] = lambda: torch._standard_gamma(shape)
    if jax:
        key = jax.random.key(0)
        draw = jax.jit(lambda key: jax.random.gamma(key, 2.5, (DRAWS // 100,), dtype="float64"))
        peers["JAX, a hundredth of the draws"] = lambda: jax.block_until_ready(draw(key))
    return peers


def dirichlet(torch):
    """1e5 draws of Dirichlet(8) and their gradients in the concentrations for a given gradient in x."""
    n, key = 100_000, stream_key(0)
    grad = np.random.default_rng(0).standard_normal((n, len(CONCENTRATION)))
    family = expfam.Dirichlet(CONCENTRATION)

    def ours():
        blocks = [slice(i, min(i + 4096, n)) for i in range(0, n, 4096)]
        return [family._pathwise_terms(family._draw(key, b.start, b.stop), grad[b]) for b in blocks]

    candidates = {"sbpfast": ours}
    if torch:
        shape = torch.from_numpy(np.broadcast_to(CONCENTRATION, grad.shape).copy()).requires_grad_()
        given = torch.from_numpy(grad)

        def theirs():
            shape.grad = None
            torch.distributions.Dirichlet(shape, validate_args=False).rsample().backward(given)

        candidates["torch"] = theirs
    result = compare(candidates)
    report("Dirichlet(8), 1e5 draws and gradients", result)
    return result


def likelihood():
    """Gamma maximum likelihood."""
    x = np.random.default_rng(0).gamma(2.4, 1 / 1.3, (POINTS, 1))
    column = x[:, 0]
    result = compare(
        {
            "sbpfast": lambda: expfam.Gamma.fit(x),
            "scipy.stats.gamma.fit, floc=0": lambda: scipy.stats.gamma.fit(column, floc=0),
        },
        rounds=7,
    )
    report("gamma maximum likelihood, 1e7 points", result)
    return result


def main():
    torch, jax = optional("torch"), optional("jax")
    if jax:
        jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    results = {
        "gamma draws, shape 2.5": draws(
            "gamma 2.5", expfam.Gamma(2.5, 1.0), lambda: rng.standard_gamma(2.5, DRAWS), gamma_peers(torch, jax)
        ),
        "gamma draws, shape 0.3": draws("gamma 0.3", expfam.Gamma(0.3, 1.0), lambda: rng.gamma(0.3, 1.0, DRAWS), {}),
        "beta draws": draws("beta", expfam.Beta(1.4, 3.1), lambda: rng.beta(1.4, 3.1, DRAWS), {}),
        "von Mises draws": draws("von Mises", expfam.VonMises(0.3, 2.1), lambda: rng.vonmises(0.3, 2.1, DRAWS), {}),
        "Poisson draws": draws("Poisson", expfam.Poisson(3.3), lambda: rng.poisson(3.3, DRAWS), {}),
        "Dirichlet": dirichlet(torch),
        "gamma maximum likelihood": likelihood(),
    }
    save("expfam", results)


if __name__ == "__main__":
    main()
