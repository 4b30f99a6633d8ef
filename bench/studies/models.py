"""Models as their users write them, through PyMC: seconds, evaluations and errors beside what else is on offer.

Twelve models written from their mathematics on data drawn here (eight schools on its own).  The reference is a second
run of PyMC's NUTS, four times as long as the one that is timed, which can be off by 0.4 in the log sd of a scale whose
tail is long; errors are in its standard deviations, over the free variables on the model's own scale: of the Gaussian's
draws and after importance weighting.  A fit or its table ought to warn where the table, weighted as far as k-hat
allows, is off by more than 0.2 in a mean or 0.3 in the logarithm of an sd, and only there.  Every method is compiled
anew and its seconds include that; ours are also given for a second fit of the same target.  Seconds are the
processor's, the compiler's among them, so that neighbours on the machine do not count; give everybody one thread.
Run as

    OMP_NUM_THREADS=1 python bench/run.py models   all models and peers, about an hour
    MODELS=schools,radon PEERS=0 python bench/run.py models      two, beside NUTS alone
"""

from __future__ import annotations

import importlib
import os
import resource
import warnings

import numpy as np

import peers
import sbpfast as sb

SEED = 20
MEAN_ERROR, SD_ERROR = 0.2, 0.3  # beyond which a fit ought to have warned


def seconds_spent():
    """Processor time of this process and of the compilers and samplers it started."""
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(part.ru_utime + part.ru_stime for part in used)


def schools(pm, r):
    sd = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
    z = pm.Normal("z", 0, 1, shape=8)
    pm.Normal("y", mu + tau * z, sd, observed=np.array([28.0, 8, -3, 7, -1, 1, 18, 12]))


def schools_centred(pm, r):
    sd = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
    pm.Normal("y", pm.Normal("theta", mu, tau, shape=8), sd, observed=np.array([28.0, 8, -3, 7, -1, 1, 18, 12]))


def radon(pm, r):
    counties, n = 85, 919
    county, floor, uranium = r.integers(0, counties, n), r.integers(0, 2, n), r.normal(size=counties)
    y = (1.3 + 0.4 * uranium + 0.3 * r.normal(size=counties))[county] - 0.6 * floor + 0.75 * r.normal(size=n)
    level, slope, basement = (pm.Normal(name, 0, 10) for name in ("level", "slope", "basement"))
    between, within = pm.HalfNormal("between", 1), pm.HalfNormal("within", 1)
    effect = pm.Normal("effect", 0, 1, shape=counties)
    pm.Normal("y", (level + slope * uranium + between * effect)[county] + basement * floor, within, observed=y)


def item_response(pm, r):
    people, items = 60, 12
    ability, difficulty = r.normal(size=(people, 1)), r.normal(size=items)
    y = r.random((people, items)) < 1 / (1 + np.exp(difficulty - ability))
    a, b = pm.Normal("ability", 0, 1, shape=(people, 1)), pm.Normal("difficulty", 0, 2, shape=items)
    discrimination = pm.LogNormal("discrimination", 0, 0.5, shape=items)
    pm.Bernoulli("y", logit_p=discrimination * (a - b), observed=y.astype(int))


def overdispersed_poisson(pm, r):
    n = 100
    X = r.normal(size=(n, 3))
    y = r.poisson(np.exp(1 + X @ [0.5, -0.3, 0.0] + 0.5 * r.normal(size=n)))
    level, beta = pm.Normal("level", 0, 5), pm.Normal("beta", 0, 1, shape=3)
    spread, noise = pm.HalfNormal("spread", 1), pm.Normal("noise", 0, 1, shape=n)
    pm.Poisson("y", pm.math.exp(level + pm.math.dot(X, beta) + spread * noise), observed=y)


def stochastic_volatility(pm, r):
    n = 150
    y = r.standard_t(8, size=n) * np.exp(-4 + np.cumsum(0.1 * r.normal(size=n)))
    step, df = pm.Exponential("step", 10.0), pm.Gamma("df", 2.0, 0.1)
    shocks, level = pm.Normal("shocks", 0, 1, shape=n), pm.Normal("level", -4, 2)
    pm.StudentT("y", nu=df, mu=0, sigma=pm.math.exp(level + step * pm.math.cumsum(shocks)), observed=y)


def gaussian_process_classifier(pm, r):
    n = 50
    x = np.linspace(0, 1, n)[:, None]
    y = (r.random(n) < 1 / (1 + np.exp(-3 * np.sin(6 * x[:, 0])))).astype(int)
    length, scale = pm.InverseGamma("length", 5, 1), pm.HalfNormal("scale", 2)
    squared = (x - x.T) ** 2
    cov = scale**2 * pm.math.exp(-0.5 * squared / length**2) + 1e-6 * np.eye(n)
    z = pm.Normal("z", 0, 1, shape=n)
    pm.Bernoulli(
        "y", logit_p=pm.math.dot(importlib.import_module("pytensor.tensor").linalg.cholesky(cov), z), observed=y
    )


def negative_binomial(pm, r):
    X = r.normal(size=(200, 4))
    mean = np.exp(1 + X @ [0.4, -0.2, 0.1, 0.0])
    level, beta, size = pm.Normal("level", 0, 5), pm.Normal("beta", 0, 1, shape=4), pm.Exponential("size", 0.5)
    y = r.negative_binomial(2.0, 2.0 / (2.0 + mean))
    pm.NegativeBinomial("y", mu=pm.math.exp(level + pm.math.dot(X, beta)), alpha=size, observed=y)


def ordinal(pm, r):
    X = r.normal(size=(200, 3))
    y = np.digitize(X @ [1.0, -0.5, 0.2] + r.logistic(size=200), [-1.0, 0.5, 2.0])
    ordered = pm.distributions.transforms.ordered
    cuts = pm.Normal("cuts", 0, 3, shape=3, transform=ordered, initval=np.array([-1.0, 0.0, 1.0]))
    pm.OrderedLogistic("y", eta=pm.math.dot(X, pm.Normal("beta", 0, 1, shape=3)), cutpoints=cuts, observed=y)


def change_point(pm, r):
    year = np.arange(60.0)
    y = r.poisson(np.where(year < 35, 3.0, 1.0))
    early, late = pm.Exponential("early", 0.5), pm.Exponential("late", 0.5)
    change, sharpness = pm.Uniform("change", 0, 60), 2.0
    weight = pm.math.sigmoid(sharpness * (year - change))
    pm.Poisson("y", early * (1 - weight) + late * weight, observed=y)


def survival(pm, r):
    X = r.normal(size=(150, 3))
    died = r.weibull(1.5, size=150) * np.exp(X @ [0.5, 0.0, -0.5])
    y, seen = np.minimum(died, 2.0), died < 2.0
    level, beta, shape = pm.Normal("level", 0, 2), pm.Normal("beta", 0, 1, shape=3), pm.Gamma("shape", 4.0, 2.0)
    scale = pm.math.exp(level + pm.math.dot(X, beta))
    hazard = pm.math.log(shape) - pm.math.log(scale) + (shape - 1) * (np.log(y) - pm.math.log(scale))
    pm.Potential("survival", (seen * hazard - (y / scale) ** shape).sum())


def neural_net(pm, r):
    X = r.normal(size=(120, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    inner, outer = pm.Normal("inner", 0, 1, shape=(2, 5)), pm.Normal("outer", 0, 1, shape=5)
    pm.Bernoulli("y", logit_p=pm.math.dot(pm.math.tanh(pm.math.dot(X, inner)), outer), observed=y)


MODELS = {
    function.__name__: function
    for function in (
        schools, schools_centred, radon, item_response, overdispersed_poisson, stochastic_volatility,
        gaussian_process_classifier, negative_binomial, ordinal, change_point, survival, neural_net,
    )
}  # fmt: skip


def built(pm, name):
    with pm.Model() as model:
        MODELS[name](pm, np.random.default_rng(SEED))
    return model


def columns(draws, names):
    return np.concatenate([np.asarray(draws[name]).reshape(len(draws[name]), -1) for name in names], axis=1)


def errors(mean, sd, reference):
    """Largest and median error of the means in reference sds, and of the sds as logarithms of ratios."""
    wanted, spread = reference.mean(axis=0), reference.std(axis=0)
    off, ratio = np.abs(mean - wanted) / spread, np.abs(np.log(np.maximum(sd, 1e-300) / spread))
    return {
        "worst mean": float(off.max()), "median mean": float(np.median(off)),
        "worst log sd": float(ratio.max()), "median log sd": float(np.median(ratio)),
    }  # fmt: skip


def ours(model, names, reference):
    start = seconds_spent()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = sb.fit(model, rng=SEED)
        seconds = seconds_spent() - start
        start = seconds_spent()
        table, variables = fit.summary(), fit.model_parameters.variables
        reading = seconds_spent() - start
    start = seconds_spent()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sb.fit(fit._target, rng=SEED)
    again = seconds_spent() - start
    ends = np.cumsum([int(np.prod(v.shape)) for v in variables])
    place = {v.name: np.arange(end - int(np.prod(v.shape)), end) for v, end in zip(variables, ends)}
    kept = np.concatenate([place[name] for name in names])
    gaussian = errors(table["q mean"][kept], table["q sd"][kept], reference)
    weighted = errors(table["mean"][kept], table["sd"][kept], reference)
    wrong = weighted["worst mean"] > MEAN_ERROR or weighted["worst log sd"] > SD_ERROR
    warned = any(issubclass(w.category, sb.FitWarning) for w in caught)
    return {
        "seconds": seconds, "seconds, compiled": again, "seconds of the table": reading,
        "evaluations": fit.n_evaluations, "khat": fit.khat, "converged": fit.converged,
        "warned": warned, "table is wrong": wrong, "warning is right": warned == wrong,
        "errors": gaussian, "errors, weighted": weighted,
    }  # fmt: skip


def theirs(call, model, names, reference):
    """Seconds and errors of a peer; what it raised, where it did not end."""
    start = seconds_spent()
    try:
        draws = call(model, SEED)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:200]}
    seconds = seconds_spent() - start
    if draws is None:
        return None
    found = columns(draws, names)
    return {"seconds": seconds, "errors": errors(found.mean(axis=0), found.std(axis=0), reference)}


def study(quick):
    """By model: NUTS's seconds, and seconds and errors of every approximation."""
    pm = peers.optional("pymc")
    if pm is None:
        return {}
    from peers.models import APPROXIMATIONS, nuts

    chosen = os.environ.get("MODELS", "schools" if quick else ",".join(MODELS)).split(",")
    results = {}
    for name in chosen:
        model, draws = built(pm, name), 100 if quick else 1000
        start = seconds_spent()
        timed, divergences = nuts(model, draws, SEED)
        seconds = seconds_spent() - start
        names = [v.name for v in model.free_RVs]
        reference, timed = columns(nuts(model, 4 * draws, SEED + 1, tune=draws)[0], names), columns(timed, names)
        here = {
            "NUTS": {
                "seconds": seconds, "divergences": divergences,
                "errors": errors(timed.mean(axis=0), timed.std(axis=0), reference),
            },
            "sbpfast": ours(model, names, reference),
        }  # fmt: skip
        alone = quick or os.environ.get("PEERS") == "0"
        for peer, call in ({} if alone else APPROXIMATIONS).items():
            here[peer] = theirs(call, built(pm, name), names, reference)
        results[name] = {"dimension": reference.shape[1], "methods": {k: r for k, r in here.items() if r is not None}}
        say(name, results[name])
    return results


def say(name, result):
    print(f"\n{name}, {result['dimension']} parameters", flush=True)
    for method, r in result["methods"].items():
        if "failed" in r:
            print(f"  {method:34s} {r['failed']}")
            continue
        text = f"  {method:34s} {r['seconds']:7.1f} s"
        if "errors" in r:
            text += (
                f"   worst mean {r['errors']['worst mean']:6.3f} sd, worst log sd {r['errors']['worst log sd']:6.3f}"
            )
        if "khat" in r:
            text += (
                f"; weighted {r['errors, weighted']['worst mean']:.3f}, {r['errors, weighted']['worst log sd']:.3f}; "
                f"compiled {r['seconds, compiled']:.1f} s, {r['evaluations']} evaluations, k-hat {r['khat']:.2f}, "
                f"warning {'right' if r['warning is right'] else 'WRONG'}"
            )
        print(text, flush=True)


def draw(plt, results, folder):
    """Error against seconds, a panel a model."""
    side = -(-len(results) // 3)
    figure, grid = plt.subplots(side, 3, figsize=(12, 3.1 * side), layout="constrained", squeeze=False)
    methods = list(dict.fromkeys(m for result in results.values() for m in result["methods"]))
    for axes, (name, result) in zip(grid.ravel(), results.items()):
        for i, method in enumerate(methods):
            r = result["methods"].get(method, {})
            if "errors" in r:
                axes.loglog(r["seconds"], r["errors"]["worst mean"], "o", color=f"C{i}", label=method)
            elif "seconds" in r:
                axes.axvline(r["seconds"], color=f"C{i}", linewidth=0.9, linestyle=":", label=method)
        axes.set_title(f"{name.replace('_', ' ')}, {result['dimension']} parameters", fontsize=9)
        axes.grid(alpha=0.25)
    for axes in grid.ravel()[len(results) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("seconds of one core, with compilation")
    for axes in grid[:, 0]:
        axes.set_ylabel("worst mean, in NUTS's sds")
    seen = {label: line for axes in grid.ravel() for line, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(folder / "models.png", dpi=130)
