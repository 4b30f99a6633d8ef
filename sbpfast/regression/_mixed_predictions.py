"""Predictions, draws and log likelihoods of the families of regressions with groups."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from sbpfast.fitting import _psis
from sbpfast.regression._predictive import mean_logistic

LARGEST = 1e18  # mean of a count that is drawn


def mean_response(family, moments) -> np.ndarray:
    """E of the response (of the second class), where the linear predictor is a mixture of normals, (N,)."""
    with np.errstate(over="ignore"):
        return moments.weights @ np.stack([_mean(family, m, t) for m, t in zip(moments.m, moments.t)])


def _mean(family, m, t):
    if family == "logistic":
        return mean_logistic(m, t)
    if family == "probit":
        return scipy.special.ndtr(m / np.sqrt(1.0 + t * t))
    return m if family in ("linear", "student_t") else np.exp(m + 0.5 * t * t)


def drawn(family, eta, values, trials, generator) -> np.ndarray:
    """Responses for linear predictors (n, N) and the likelihood's parameters (n, p); 0 and 1 for two classes."""
    if family in ("logistic", "probit"):
        p = scipy.special.expit(eta) if family == "logistic" else scipy.special.ndtr(eta)
        return generator.binomial(1 if trials is None else trials.astype(np.int64), p)
    if family == "linear":
        return eta + values[:, :1] * generator.standard_normal(eta.shape)
    if family == "student_t":
        return eta + values[:, :1] * generator.standard_t(values[:, 1:2], eta.shape)
    mean = np.exp(np.minimum(eta, math.log(LARGEST)))
    if family == "poisson":
        return generator.poisson(mean)
    gamma = generator.standard_gamma(values[:, :1], eta.shape) / values[:, :1] * mean
    return gamma if family == "gamma" else generator.poisson(np.minimum(gamma, LARGEST))


def log_likelihood(family, y, eta, values, trials) -> np.ndarray:
    """Of every row and draw, (n, N)."""
    if family == "logistic":
        n = 1.0 if trials is None else trials
        ways = scipy.special.gammaln(n + 1.0) - scipy.special.gammaln(y + 1.0) - scipy.special.gammaln(n - y + 1.0)
        return y * eta - n * np.logaddexp(0.0, eta) + ways
    if family == "probit":
        return scipy.special.log_ndtr((2.0 * y - 1.0) * eta)
    if family == "linear":
        return scipy.stats.norm.logpdf(y, eta, values[:, :1])
    if family == "student_t":
        return scipy.stats.t.logpdf(y, values[:, 1:2], eta, values[:, :1])
    if family == "poisson":
        return y * eta - np.exp(eta) - scipy.special.gammaln(y + 1.0)
    if family == "gamma":
        return scipy.stats.gamma.logpdf(y, values[:, :1], scale=np.exp(eta) / values[:, :1])
    r = values[:, :1]
    ways = scipy.special.gammaln(y + r) - scipy.special.gammaln(r) - scipy.special.gammaln(y + 1.0)
    return ways + y * (eta - np.log(r)) - (y + r) * np.logaddexp(0.0, eta - np.log(r))


def loo(likelihood) -> dict[str, Any]:
    """From log likelihoods (n, N) of draws."""
    n, rows = likelihood.shape
    pointwise, khat = np.empty(rows), np.empty(rows)
    for j in range(rows):
        smoothed = _psis.smooth(-likelihood[:, j])
        pointwise[j] = scipy.special.logsumexp(smoothed.log_weights + likelihood[:, j])
        khat[j] = smoothed.khat
    full = scipy.special.logsumexp(likelihood, axis=0) - math.log(n)
    return {
        "elpd": float(pointwise.sum()), "se": float(math.sqrt(rows) * pointwise.std()),
        "p_loo": float((full - pointwise).sum()), "pointwise": pointwise, "khat": khat,
    }  # fmt: skip


# -- the outer parameters ----------------------------------------------------------------------------------------------


def scale_names(known) -> list[str]:
    """Of the columns of `outer`, the likelihood's parameters apart."""
    names = []
    for group in known:
        names += [f"sd {group.name} {effect}" for effect in group.effects]
        for i in range(len(group.effects)):
            names += [f"corr {group.name} {group.effects[i]} {group.effects[j]}" for j in range(i)]
    return names


def outer(posterior) -> np.ndarray:
    """Standard deviations and correlations by group, and the likelihood's parameters, by component, (K, n)."""
    columns = []
    for k in range(len(posterior.shape.n_levels)):
        sd, corr = posterior.deviations(k)
        columns += [sd, corr[:, *np.tril_indices(sd.shape[1], -1)]]
    return np.column_stack([*columns, posterior.parameters()])


def inference_data(model, params, effects, likelihood) -> Any:
    """The groups that can be made of draws and, where there are, of the data."""
    import arviz

    n, d = len(params), model.n_features_in_
    names = model.parameter_names_
    posterior = {"coef": params[:, :d]} | {name: params[:, d + i] for i, name in enumerate(names[d:])}
    coords: dict[str, Any] = {"feature": np.array(names[:d])}
    dims = {"coef": ["feature"]}
    for group in model._known:
        posterior[f"effects {group.name}"] = effects[group.name]
        coords[f"level {group.name}"] = group.levels
        dims[f"effects {group.name}"] = [f"level {group.name}"]
        if len(group.effects) > 1:
            coords[f"effect {group.name}"] = np.array(group.effects)
            dims[f"effects {group.name}"].append(f"effect {group.name}")
    groups: dict[str, Any] = {"posterior": posterior}
    if likelihood is not None:
        logs, responses, _ = likelihood
        coords["row"], dims["y"] = np.arange(logs.shape[1]), ["row"]
        groups |= {"log_likelihood": {"y": logs}, "posterior_predictive": {"y": responses}}
    chains = 4 if n % 4 == 0 else 1  # the draws are independent, but ArviZ's diagnostics compare chains
    groups = {
        group: {name: np.reshape(v, (chains, n // chains, *np.shape(v)[1:])) for name, v in values.items()}
        for group, values in groups.items()
    }
    if likelihood is not None:
        groups["observed_data"] = {"y": likelihood[2]}
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(groups, coords=coords, dims=dims)
    return arviz.from_dict(**(groups | {"coords": coords, "dims": dims}))
