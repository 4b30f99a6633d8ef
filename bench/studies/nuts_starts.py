"""What NUTS saves when it begins at a draw of the fit and in the fit's metric: PyMC's, nutpie's and NumPyro's.

Of every model: the sampler as it comes (1000 steps of warm-up), and begun by ``fit.nuts_init()`` with 150 steps that
adapt the step size alone (NumPyro sees PyMC's density translated to JAX; nutpie takes the mean only and adapts its
metric as ever, in 300).  Seconds are the processor's, those of the fit included; gradients are leapfrog steps of the
warm-up and of the draws; the smallest bulk effective sample size, the largest R-hat and the divergences are of 4 chains
of 500 draws.
"""

from __future__ import annotations

import os
import warnings

import numpy as np

import peers
import sbpfast as sb
from peers.models import translated
from studies.models import SEED, built, seconds_spent

MODELS = ("schools", "radon", "item_response", "negative_binomial")
CHAINS, WARM_UP, SHORT, SHORT_NUTPIE = 4, 1000, 150, 300


def pymc(pm, model, init, draws):
    """A trace, and the leapfrog steps of the warm-up."""
    ours = {} if init is None else {"initvals": init.initvals, "step": pm.NUTS(potential=init.potential(), model=model)}
    with model:
        trace = pm.sample(
            draws, tune=WARM_UP if init is None else SHORT, chains=CHAINS, cores=1, random_seed=SEED,
            progressbar=False, compute_convergence_checks=False, discard_tuned_samples=False, **ours,
        )  # fmt: skip
    return trace, int(trace.warmup_sample_stats["n_steps"].sum())


def nutpie(pm, model, init, draws):
    module = peers.optional("nutpie")
    ours = {} if init is None else {"init_mean": init.mean}
    trace = module.sample(
        module.compile_pymc_model(model), draws=draws, tune=400 if init is None else SHORT_NUTPIE, chains=CHAINS,
        cores=1, seed=SEED, progress_bar=False, save_warmup=True, **ours,
    )  # fmt: skip
    return trace, int(trace.warmup_sample_stats["n_steps"].sum())


def numpyro(pm, model, init, draws):
    """NumPyro's sampler on PyMC's density translated to JAX, chain after chain; a trace of the flat parameters."""
    modules = peers.all_of("jax", "numpyro", "numpyro.infer", "arviz")
    jax, _, infer, arviz = modules
    logp, origin, by_variable = translated(model)
    ours = {} if init is None else {"inverse_mass_matrix": jax.numpy.asarray(init.inverse_mass_matrix)}
    ours |= {} if init is None else {"dense_mass": True, "adapt_mass_matrix": False}
    kernel = infer.NUTS(potential_fn=lambda x: -logp(x), **ours)
    tune = WARM_UP if init is None else SHORT
    chains = infer.MCMC(
        kernel, num_warmup=tune, num_samples=draws, num_chains=CHAINS, chain_method="sequential", progress_bar=False
    )
    wiggle = np.random.default_rng(SEED).uniform(-1, 1, (CHAINS, len(origin)))  # what PyMC starts from
    chains.warmup(
        jax.random.PRNGKey(SEED), init_params=origin + wiggle if init is None else init.points,
        extra_fields=("num_steps",), collect_warmup=True,
    )  # fmt: skip
    warm_up = int(np.sum(chains.get_extra_fields()["num_steps"]))
    chains.run(jax.random.PRNGKey(SEED + 1), extra_fields=("num_steps", "diverging"))
    points = np.asarray(chains.get_samples())
    posterior = {name: v.reshape(CHAINS, draws, *v.shape[1:]) for name, v in by_variable(points).items()}
    stats = chains.get_extra_fields(group_by_chain=True)
    stats = {"n_steps": np.asarray(stats["num_steps"]), "diverging": np.asarray(stats["diverging"])}
    return arviz.from_dict(posterior=posterior, sample_stats=stats), warm_up


SAMPLERS = {"PyMC": pymc, "nutpie": nutpie, "NumPyro": numpyro}


def run(sampler, pm, name, begun, draws):
    """Cost and quality of one way to sample one model."""
    model, start, init = built(pm, name), seconds_spent(), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if begun:
            init = sb.fit(model, rng=SEED).nuts_init(CHAINS, rng=SEED)
        fitted = seconds_spent()
        trace, warm_up = SAMPLERS[sampler](pm, model, init, draws)
    arviz = peers.optional("arviz")
    names = [v.name for v in model.free_RVs]
    ess, rhat = (f(trace, var_names=names) for f in (arviz.ess, arviz.rhat))
    return {
        "seconds": seconds_spent() - start, "seconds of the fit": fitted - start, "warm-up gradients": warm_up,
        "gradients": int(trace.sample_stats["n_steps"].sum()),
        "divergences": int(trace.sample_stats["diverging"].sum()),
        "smallest ESS": float(min(np.min(ess[n].values) for n in names)),
        "largest R-hat": float(max(np.max(rhat[n].values) for n in names)),
    }  # fmt: skip


def study(quick):
    """By model and sampler: as it comes, and begun by the fit."""
    if peers.all_of("pymc", "arviz") is None:
        return {}
    pm = peers.optional("pymc")
    results: dict = {}
    for name in os.environ.get("MODELS", "schools" if quick else ",".join(MODELS)).split(","):
        for sampler in SAMPLERS:
            if sampler != "PyMC" and peers.optional(sampler.lower()) is None:
                continue
            for how, begun in (("as it comes", False), ("begun by the fit", True)):
                found = run(sampler, pm, name, begun, 50 if quick else 500)
                results.setdefault(name, {})[f"{sampler}, {how}"] = found
                print(f"  {name:18s} {sampler}, {how}: {line(found)}", flush=True)
    return results


def line(found):
    return ", ".join(f"{k} {v:.4g}" for k, v in found.items())
