"""Predictions of regressions with groups, cross-validation, and draws as an ArviZ data set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from sbpfast.fitting import _psis
from sbpfast.regression._arviz import as_arviz


def mean_response(law, moments) -> np.ndarray:
    """E of the response (of the second class), where the linear predictor is a mixture of normals, (N,)."""
    with np.errstate(over="ignore"):
        return moments.weights @ np.stack([law.mean(m, t) for m, t in zip(moments.m, moments.t)])


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
    d = model.n_features_in_
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
    observed = None if likelihood is None else likelihood[2]
    return as_arviz(groups, observed, coords, dims)
