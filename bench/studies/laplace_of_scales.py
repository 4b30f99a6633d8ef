"""A standard deviation by pymc-extras' fit_laplace, which leaves out two things, beside what it should be.

y_i ~ N(0, s^2), s^2 ~ InverseGamma(a, b): the posterior of s^2 is InverseGamma(a + n/2, b + sum y^2 / 2), in closed
form.  On log s^2 the log density is the model's plus the Jacobian of the transform, and its Hessian gives the variance;
fit_laplace climbs the density without the Jacobian, and takes for the covariance the running matrix of BFGS.  Beside
it: the exact moments of log s^2, the Laplace approximation with the Jacobian and without it by the Hessian at the mode,
and the fit.

The running matrix alone is judged where there is no transform and nothing to approximate: 20 correlated normals, whose
sds are all 1.  It is good to 2 % there: what hurts on scales is the Jacobian.
"""

from __future__ import annotations

import warnings

import numpy as np
import scipy

import peers
import sbpfast as sb

SEED, SHAPE, SCALE = 20, 1.0, 1.0
SIZES = (3, 10, 100)


def built(pm, y):
    with pm.Model() as model:
        variance = pm.InverseGamma("variance", SHAPE, SCALE)
        pm.Normal("y", 0.0, pm.math.sqrt(variance), observed=y)
    return model


def moments(draws):
    """Of log s^2, whose moments always exist."""
    logs = np.log(draws)
    return {"mean": float(logs.mean()), "sd": float(logs.std())}


def exact(a, b):
    """Mean and sd of log s^2 where s^2 ~ InverseGamma(a, b)."""
    return {"mean": float(np.log(b) - scipy.special.digamma(a)), "sd": float(np.sqrt(scipy.special.polygamma(1, a)))}


def laplace(a, b):
    """On t = log s^2 with the Jacobian: -a t - b exp(-t) is highest at log(b / a), and of curvature a there."""
    return {"mean": float(np.log(b / a)), "sd": float(a**-0.5)}


def without_the_jacobian(a, b):
    """The same of -(a + 1) t - b exp(-t)."""
    return laplace(a + 1.0, b)


def extras(model):
    pmx = peers.optional("pymc_extras")
    if pmx is None:
        return {}
    found = {}
    for method in ("BFGS", "L-BFGS-B"):
        with model:
            draws = pmx.fit_laplace(random_seed=SEED, progressbar=False, draws=4000, optimize_method=method)
        found[f"pmx.fit_laplace, {method}"] = moments(np.ravel(draws.posterior["variance"]))
    return found


def normals(pm, d=20):
    """Smallest and largest sd of normals whose sds are 1, correlated by 0.9 with their neighbours."""
    steps = np.arange(d)
    with pm.Model() as model:
        pm.MvNormal("x", np.zeros(d), cov=0.9 ** np.abs(steps[:, None] - steps), initval=np.ones(d) + steps)
    found = {"sbpfast": np.sqrt(np.diag(sb.fit(model, rng=SEED).q.cov))}
    pmx = peers.optional("pymc_extras")
    if pmx is not None:
        initvals = {"x": np.ones(d) + steps}
        with pm.Model() as model:
            pm.MvNormal("x", np.zeros(d), cov=0.9 ** np.abs(steps[:, None] - steps))
            draws = pmx.fit_laplace(random_seed=SEED, progressbar=False, draws=4000, initvals=initvals)
        found["pmx.fit_laplace, BFGS"] = draws.posterior["x"].values.reshape(-1, d).std(axis=0)
    return {name: {"smallest sd": float(sd.min()), "largest sd": float(sd.max())} for name, sd in found.items()}


def study(quick):
    """By number of observations: mean and sd of log s^2, exact and by each method."""
    pm = peers.optional("pymc")
    if pm is None:
        return {}
    results = {}
    for n in SIZES[:1] if quick else SIZES:
        y = np.random.default_rng(SEED).normal(size=n)
        a, b = SHAPE + 0.5 * n, SCALE + 0.5 * float(y @ y)
        model = built(pm, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = sb.fit(model, rng=SEED)
            found = {
                "exact": exact(a, b), "Laplace, with the Jacobian": laplace(a, b),
                "Laplace, without the Jacobian": without_the_jacobian(a, b), **extras(model),
                "sbpfast, the Gaussian": {"mean": float(fit.q.mean[0]), "sd": float(np.sqrt(fit.q.cov[0, 0]))},
                "sbpfast, weighted": moments(fit.posterior(4000, rng=SEED, resample=True)["variance"]),
            }  # fmt: skip
        results[f"{n} observations"] = found
        for method, m in found.items():
            print(f"  n = {n:4d}  {method:32s} mean {m['mean']:8.4f}  sd {m['sd']:.4f}", flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results["20 normals of sd 1"] = normals(pm)
    for method, m in results["20 normals of sd 1"].items():
        print(f"  20 normals  {method:30s} sds {m['smallest sd']:.3f} to {m['largest sd']:.3f}", flush=True)
    return results
