"""What NUTS saves when it begins at a draw of the fit and in the fit's metric: PyMC's, nutpie's and NumPyro's.

Of every model: the sampler as it comes (1000 steps of warm-up), and begun by ``fit.nuts_init()`` with 150 steps that
adapt the step size alone (nutpie takes the mean only and adapts its metric as ever, in 300).  Seconds are the
processor's, those of the fit included; gradients are leapfrog steps of the warm-up and of the draws; the smallest bulk
effective sample size, the largest R-hat and the divergences are of 4 chains of 500 draws.
"""

from __future__ import annotations

import warnings

import numpy as np

import peers
import sbpfast as sb
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


SAMPLERS = {"PyMC": pymc, "nutpie": nutpie}


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
    for name in MODELS[:1] if quick else MODELS:
        for sampler in SAMPLERS:
            if sampler == "nutpie" and peers.optional("nutpie") is None:
                continue
            for how, begun in (("as it comes", False), ("begun by the fit", True)):
                found = run(sampler, pm, name, begun, 50 if quick else 500)
                results.setdefault(name, {})[f"{sampler}, {how}"] = found
                print(f"  {name:18s} {sampler}, {how}: {line(found)}", flush=True)
    return results


def line(found):
    return ", ".join(f"{k} {v:.4g}" for k, v in found.items())
