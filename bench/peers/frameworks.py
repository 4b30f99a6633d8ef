"""The same draws and gradients by torch.distributions, its covariance-form Gaussian, and jax.random."""

from __future__ import annotations

import importlib

import numpy as np

import peers

MODULES = {"sbpfast": "sbpfast.torch", "torch": "torch.distributions"}


def kept(candidates, made):
    """{name: call}, ours alone where peers are to be left out: torch and JAX are the ground of ours, too."""
    return {name: made(what) for name, what in candidates.items() if name == "sbpfast" or not peers.LEFT_OUT}


def torch_gradients(family, parameters, constants=()):
    """{name: call} of rsample and backward with weights 1: the draw and the gradient by each parameter."""
    import torch

    def call(module):
        leaves = [torch.from_numpy(p).requires_grad_() for p in parameters]
        x = getattr(module, family)(*leaves, *constants, validate_args=False).rsample()
        x.backward(torch.ones_like(x))
        return [t.detach().numpy() for t in (x, *(leaf.grad for leaf in leaves))]

    modules = {name: importlib.import_module(module) for name, module in MODULES.items()}
    return kept(modules, lambda module: lambda: call(module))


def jax_gradients(shape):
    """{name: call} of the jitted value and gradient of the sum of gamma draws."""
    import jax

    import sbpfast.jax as sbj

    jax.config.update("jax_enable_x64", True)

    key, a = jax.random.key(0), jax.numpy.asarray(shape)

    def made(draw):
        compiled = jax.jit(jax.value_and_grad(lambda a: draw(key, a).sum()))
        compiled.lower(a).compile()
        return lambda: np.asarray(jax.block_until_ready(compiled(a))[1])

    return kept({"sbpfast": sbj.gamma, "JAX": jax.random.gamma}, made)


def posterior_steps(batch, d, dtype):
    """{name: call} of one rsample, divergence from N(0, I) and backward of rank-one posteriors."""
    import torch
    import torch.distributions as td

    import sbpfast.torch as sbt

    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)
    loc, diag, factor = normal(batch, d), 0.5 + normal(batch, d).abs(), 0.3 * normal(batch, d, 1)
    zero, one = torch.zeros(d, dtype=dtype), torch.ones(d, dtype=dtype)

    def ours(loc, diag, factor):
        q = sbt.LowRankPrecisionNormal(loc, diag, factor, validate_args=False)
        return q, td.Independent(td.Normal(zero, one, validate_args=False), 1, validate_args=False)

    def covariance_form(loc, diag, factor):
        q = td.LowRankMultivariateNormal(loc, factor, diag, validate_args=False)
        return q, td.LowRankMultivariateNormal(zero, torch.zeros(d, 1, dtype=dtype), one, validate_args=False)

    def call(make):
        leaves = [p.clone().requires_grad_() for p in (loc, diag, factor)]
        q, prior = make(*leaves)
        (q.rsample().square().sum() + td.kl_divergence(q, prior).sum()).backward()
        return [leaf.grad for leaf in leaves]

    return kept({"sbpfast": ours, "torch, covariance form": covariance_form}, lambda make: lambda: call(make))
