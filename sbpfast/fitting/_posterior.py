"""A fit in the terms of the model it came from: draws, a table, ArviZ's groups, and where a sampler should start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbpfast import _checks, _core
from sbpfast._config import __version__
from sbpfast._streams import stream_key
from sbpfast.fitting._importance import GOOD, USABLE, FitWarning
from sbpfast.fitting._psis import shape_error, smooth
from sbpfast.fitting._table import Summary

TABLE_DRAWS, MOST_TABLE_DRAWS = 4096, 32768  # behind the rows of a table
FEW = 0.5  # of n, an effective sample size below which a table takes more draws
MOVED, UNSETTLED = 0.2, 0.4  # of log sd by the weights, and relative error of a variance, from which a table warns
MOST_NAMED = 3  # rows in that warning
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
    corrected = fit._sample().trusted
    x, ratios, smoothed = _table_draws(fit, corrected)
    draws = table.constrain(np.ascontiguousarray(x))
    rows = [row for variable in table.variables for row in variable.rows(table.coords)]
    values = np.concatenate([draws[v.name].reshape(len(x), -1) for v in table.variables], axis=1)
    equal = np.full(len(x), 1.0 / len(x))
    weights = np.exp(smoothed.log_weights) if corrected else equal
    mean, sd = _weighted_moments(values, weights)
    q_mean, q_sd = _weighted_moments(values, equal)
    low, high = _weighted_quantiles(values, weights, (0.5 - 0.5 * level, 0.5 + 0.5 * level))
    columns = {
        "mean": mean, "sd": sd, "low": low, "high": high, "P(>0)": weights @ (values > 0.0),
        "mean error": _error_of_mean(values, mean, weights), "q mean": q_mean, "q sd": q_sd,
    }  # fmt: skip
    lines = [fit._headline(), f"On the model's scale, {len(x)} draws, {_how(smoothed, len(x))}"]
    for text in _doubts(rows, values, ratios, smoothed, columns) if corrected else ():
        _checks.warn(text, FitWarning)
        lines.append(text)
    return Summary(rows, columns, level, "\n".join(lines))


def _table_draws(fit, weighted):
    """Draws, log ratios and smoothed weights: more draws where few of the weights count, twice what the fit took."""
    more = min(MOST_TABLE_DRAWS, max(TABLE_DRAWS, 2 * fit._spent)) // 2 * 2
    ratios, smoothed = np.zeros(0), None
    for n in (TABLE_DRAWS, more):
        x = fit.q._draw(fit._key ^ SALT, 0, n, True, _core.effective_threads()).x
        if not weighted:
            break
        ratios = np.concatenate([ratios, _log_ratios(fit, x[len(ratios) :])])
        smoothed = smooth(ratios)
        if smoothed.khat <= GOOD or smoothed.ess > FEW * n:
            break
    return x, ratios, smoothed


def _how(smoothed, n):
    if smoothed is None:
        return "from q alone: k-hat is too high for importance weights"
    if smoothed.khat <= GOOD or smoothed.ess > FEW * n:
        return "weighted by importance"
    return (
        f"weighted by importance: their k-hat is {_shape_text(smoothed.khat, n)}, effective sample size "
        f"{smoothed.ess:.0f}; errors may exceed those given"
    )


def _shape_text(k, n):
    return f"{k:.2f} +- {shape_error(k, n):.2f}"


def _error_of_mean(values, mean, weights):
    """Standard error of a weighted mean of antithetic pairs."""
    pairs = (weights[:, None] * (values - mean)).reshape(len(values) // 2, 2, -1).sum(axis=1)
    return np.sqrt((pairs * pairs).sum(axis=0))


def _doubts(rows, values, ratios, smoothed, columns):
    """What more draws than the fit took say against the table, in words."""
    n = len(values)
    if smoothed.khat - shape_error(smoothed.khat, n) > USABLE:
        yield (
            f"Pareto k-hat is {_shape_text(smoothed.khat, n)} by the {n} draws behind the table, above {USABLE}: sds "
            "and intervals may be too narrow. Transform the parameters or run Markov chain Monte Carlo (nuts_init)."
        )
    if open_rows := _unsettled(rows, values, ratios, columns):
        named = ", ".join(open_rows[:MOST_NAMED])
        others = f" and {len(open_rows) - MOST_NAMED} more" if len(open_rows) > MOST_NAMED else ""
        yield (
            f"The importance weights leave the spread of {named}{others} open: they move it by more than a fifth, and "
            "their tail is too long to say how far. The sd may be much larger."
        )


def _unsettled(rows, values, ratios, columns) -> list[str]:
    """Rows whose sd the weights have moved away from q's, and draws further out could move as much again.

    The weighted squares of n deviations, whose tail has the Pareto shape k, have a mean that is off by n^(k - 1): the
    error from which the threshold of k-hat for n weights is derived in Vehtari et al. (2024).
    """
    n, found = len(values), []
    for i in np.flatnonzero(np.abs(np.log(columns["sd"] / columns["q sd"])) > MOVED):
        with np.errstate(divide="ignore"):
            squares = 2.0 * np.log(np.abs(values[:, i] - columns["mean"][i]))
        if n ** (smooth(ratios + squares).khat - 1.0) > UNSETTLED:
            found.append(rows[i])
    return found


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
