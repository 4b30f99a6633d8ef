"""A fit in the terms of the model it came from: draws, a table, ArviZ's groups, and where a sampler should start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbpfast import _core
from sbpfast._config import __version__
from sbpfast._streams import stream_key
from sbpfast.fitting._psis import smooth
from sbpfast.fitting._table import Summary

TABLE_DRAWS = 4096  # behind the rows of a table
POOL, LEAST_POOL = 4, 4096  # draws for each one that is kept, and the least number of them
SALT = np.uint64(0xD1B54A32D192ED03)  # of the key of a table's draws


# -- draws ------------------------------------------------------------------------------------------------------------


def resampled(fit, n, rng):
    """n of several times as many draws from q, picked by their importance weights, and k-hat of those weights."""
    key = stream_key(rng)
    x = fit.q._draw(key, 0, max(POOL * n, LEAST_POOL), False, _core.effective_threads()).x
    smoothed = smooth(_log_ratios(fit, x))
    generator = np.random.default_rng([int(word) for word in key])
    ends = np.cumsum(np.exp(smoothed.log_weights))
    picked = np.searchsorted(ends / ends[-1], (np.arange(n) + generator.random()) / n)  # systematic resampling
    return x[generator.permutation(picked)], smoothed.khat


def _log_ratios(fit, x):
    if fit._target is None:
        raise ValueError("this fit was loaded from a file and has no target; call diagnose(target=...)")
    return fit._target._value(np.ascontiguousarray(x)) - fit.q.log_prob(x)


def by_name(fit, x, names=None) -> dict[str, np.ndarray]:
    """Points (n, d) as draws of the model's variables, of the parameters that have names, or of x."""
    if (table := fit.model_parameters) is not None and names is None:
        return table.constrain(np.ascontiguousarray(x))
    if names is None and fit.names is None:
        return {"x": x}
    names = fit._names(names)
    if len(set(names)) < len(names):
        raise ValueError(f"names must differ from one another, got {names}")
    return {name: x[:, i] for i, name in enumerate(names)}


# -- the table --------------------------------------------------------------------------------------------------------


def model_summary(fit, level) -> Summary:
    """Means, standard deviations and quantiles of the model's variables on the model's scale.

    From antithetic draws from q; weighted by importance where k-hat allows, with what q says beside it.
    """
    table = fit.model_parameters
    x = fit.q._draw(fit._key ^ SALT, 0, TABLE_DRAWS, True, _core.effective_threads()).x
    draws = table.constrain(np.ascontiguousarray(x))
    rows = [row for variable in table.variables for row in variable.rows(table.coords)]
    values = np.concatenate([draws[v.name].reshape(len(x), -1) for v in table.variables], axis=1)
    equal = np.full(len(x), 1.0 / len(x))
    corrected = fit._sample().trusted
    weights = np.exp(smooth(_log_ratios(fit, x)).log_weights) if corrected else equal
    mean, sd = _weighted_moments(values, weights)
    q_mean, q_sd = _weighted_moments(values, equal)
    low, high = _weighted_quantiles(values, weights, (0.5 - 0.5 * level, 0.5 + 0.5 * level))
    columns = {
        "mean": mean, "sd": sd, "low": low, "high": high, "P(>0)": weights @ (values > 0.0), "q mean": q_mean,
        "q sd": q_sd,
    }  # fmt: skip
    how = "weighted by importance" if corrected else "from q alone: k-hat is too high for importance weights"
    return Summary(rows, columns, level, f"{fit._headline()}\nOn the model's scale, {len(x)} draws, {how}")


def _weighted_moments(values, weights):
    centre = values.mean(axis=0)
    deviation = values - centre
    shift = weights @ deviation
    return centre + shift, np.sqrt(np.maximum(weights @ deviation**2 - shift**2, 0.0))


def _weighted_quantiles(values, weights, levels):
    order = np.argsort(values, axis=0)
    ends = np.cumsum(weights[order], axis=0)
    ranks = [np.minimum((ends < level * ends[-1]).sum(axis=0), len(values) - 1) for level in levels]
    columns = np.arange(values.shape[1])
    return [values[order[rank, columns], columns] for rank in ranks]


# -- ArviZ ------------------------------------------------------------------------------------------------------------


def to_arviz(fit, names, n, rng):
    """Groups of labelled arrays, for the ArviZ that is installed: InferenceData before version 1, then a DataTree."""
    import arviz
    import xarray

    x = fit.q.sample(n, rng=rng)
    groups = _groups(fit, x, names)
    attributes = {"inference_library": "sbpfast", "inference_library_version": __version__}
    datasets = {group: xarray.Dataset(arrays, coords, attributes) for group, (arrays, coords) in groups.items()}
    if int(arviz.__version__.split(".")[0]) >= 1:
        return xarray.DataTree.from_dict(datasets)
    return arviz.InferenceData(warn_on_custom_groups=False, **datasets)


def _groups(fit, x, names):
    """Name of a group to its labelled arrays and the coordinates of their axes."""
    chains = 4 if len(x) % 4 == 0 else 1  # the draws are independent, but diagnostics compare chains
    table = fit.model_parameters if names is None else None
    coords = {} if table is None else table.coords
    dims = {} if table is None else {v.name: v.dims for v in (*table.variables, *table.pieces)}

    def of_draws(arrays):
        shaped = {name: a.reshape(chains, -1, *a.shape[1:]) for name, a in arrays.items()}
        return _labelled(shaped, dims, coords, ("chain", "draw"))

    groups = {"posterior": of_draws(by_name(fit, x, names)), "sample_stats": of_draws(_sample_stats(fit, x))}
    labels = fit._names(names)
    moments = {"mean_vector": (("rows",), fit.q.mean), "covariance_matrix": (("rows", "columns"), fit.q.cov)}
    groups["fit"] = (moments, {"rows": labels, "columns": labels})
    if table is not None:
        groups["unconstrained_posterior"] = of_draws(table.split(x))
        for group in ("observed_data", "constant_data"):
            if arrays := getattr(table, group):
                groups[group] = _labelled(arrays, dims, coords)
        if table.log_likelihood is not None and table.observed_data:
            groups["log_likelihood"] = of_draws(table.log_likelihood(np.ascontiguousarray(x)))
    return groups


def _labelled(arrays, dims, coords, leading=()):
    """Arrays with names for their axes; an axis without one is called as ArviZ calls it."""
    labelled, used = {}, {}
    for name, array in arrays.items():
        array = np.asarray(array)
        own = array.ndim - len(leading)
        given = dims.get(name) or (None,) * own
        axes = [dim or f"{name}_dim_{k}" for k, dim in enumerate(given)]
        labelled[name] = ((*leading, *axes), array)
        for axis, length in zip((*leading, *axes), array.shape):
            labels = coords.get(axis, ())
            used[axis] = np.asarray(labels) if len(labels) == length else np.arange(length)
    return labelled, used


def _sample_stats(fit, x):
    """lp and log_q at the draws, and log_weight: smoothed, normalised to sum to 1 in exp."""
    log_q = fit.q.log_prob(x)
    if fit._target is None:
        return {"log_q": log_q}
    lp = fit._target._value(np.ascontiguousarray(x))
    enough = len(x) >= 25
    weights = smooth(lp - log_q).log_weights if enough else np.full(len(x), -math.log(len(x)))
    return {"lp": lp, "log_q": log_q, "log_weight": weights}


# -- a sampler's start ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NutsInit:
    """Where Hamiltonian Monte Carlo should start, and in which metric.

    Attributes
    ----------
    points : numpy.ndarray (chains, d)
        Draws from the fit on the unconstrained scale.
    mean : numpy.ndarray (d,)
        Of the fit; ``nutpie.sample(compiled, init_mean=init.mean)``.
    inverse_mass_matrix : numpy.ndarray (d, d), or (d,) for a diagonal fit
        The covariance of the fit; ``numpyro.infer.NUTS(model, inverse_mass_matrix=init.inverse_mass_matrix,
        dense_mass=True)``.
    initvals : list of dict
        The same points on the model's scale, a dict a chain; ``pm.sample(initvals=init.initvals,
        step=pm.NUTS(potential=init.potential()))``.
    init_params : dict
        The same points by unconstrained variable, without an axis for the chains where there is only one;
        ``mcmc.run(key, init_params=init.init_params)``.
    """

    points: np.ndarray
    mean: np.ndarray
    inverse_mass_matrix: np.ndarray
    initvals: list[dict[str, np.ndarray]]
    init_params: dict[str, np.ndarray]

    def potential(self) -> Any:
        """PyMC's quadratic potential with the inverse mass matrix."""
        from pymc.step_methods.hmc import quadpotential

        dense = self.inverse_mass_matrix.ndim == 2
        return (quadpotential.QuadPotentialFull if dense else quadpotential.QuadPotentialDiag)(self.inverse_mass_matrix)


def nuts_init(fit, chains, rng) -> NutsInit:
    x = fit.q.sample(chains, rng=rng)
    draws, table = by_name(fit, x), fit.model_parameters
    free = draws if table is None else {name: draws[name] for name in table.free}
    pieces = draws if table is None else table.split(x)
    metric = np.asarray(fit.q._variances() if fit.structure == "diagonal" else fit.q.cov)
    return NutsInit(
        points=x, mean=np.array(fit.q.mean), inverse_mass_matrix=np.array(metric),
        initvals=[{name: values[i] for name, values in free.items()} for i in range(chains)],
        init_params=pieces if chains > 1 else {name: values[0] for name, values in pieces.items()},
    )  # fmt: skip
