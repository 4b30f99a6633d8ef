"""Draws for JAX under the names of `jax.random`, with the exact gradients of `sbpfast.expfam`.

The functions have the arguments of their namesakes and work under jit, vmap, grad, jacfwd and jacrev; those of the
gamma and beta families differentiate twice.  They call NumPy on the host (`jax.pure_callback`), so that they run where
the host is, in float32 and float64.  With jax_enable_x64 off everything is float32, and derivatives are good to 2e-7;
with it on, to 1e-12.

>>> import jax, sbpfast.jax as sbj
>>> f = lambda a: sbj.gamma(jax.random.key(0), a, (1000,)).mean()
>>> slope = jax.grad(f)(2.5)                          # about 1, as E x = a
"""

from sbpfast.jax._random import (
    beta,
    chisquare,
    dirichlet,
    gamma,
    loggamma,
    lowrank_precision_normal,
    t,
    truncated_normal,
    vonmises,
    wald,
)

__all__ = [
    "beta",
    "chisquare",
    "dirichlet",
    "gamma",
    "loggamma",
    "lowrank_precision_normal",
    "t",
    "truncated_normal",
    "vonmises",
    "wald",
]
