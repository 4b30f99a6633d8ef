"""Small groups: how far the standard deviation and the slope of a mixed model are off, and whether intervals cover.

Responses are binary, with a random intercept and one covariate: J groups of 3 to 5 rows, standard deviations of 0.5, 1
and 2, the same data for all.  Ours integrates the scales out (half-normal priors of scale 2.5, and of scale 1, the
default), or maximises over them with flat priors, as GPBoost's Laplace approximation does; statsmodels takes the mode
or a mean field, with a standard normal prior of the logarithm of the standard deviation; NUTS samples the model with
the half-normal of 2.5 on the first ten data sets of each setting, beside ours on the same ten.  Intervals are central
ones of 95 %: ours as reported, NUTS' of draws, the others' mean +- 1.96 standard errors, of the logarithm of a standard
deviation; where a method gives none, coverage is missing.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

import sbpfast as sb
from peers import mixed as theirs
from peers import present

LEVELS, DEVIATIONS = (50, 100), (0.5, 1.0, 2.0)
SLOPE, INTERCEPT = 0.7, -0.5
REPEATS, CHAINED = 200, 10
WIDE = 2.5  # scale of the half-normal prior


class Answer(NamedTuple):
    """Estimates of the standard deviation and the slope, and their intervals (low, high), NaN where there are none."""

    sd: float
    sd_interval: tuple[float, float]
    slope: float
    slope_interval: tuple[float, float]


class Data(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    index: np.ndarray


def simulated(levels, sd, seed) -> Data:
    r = np.random.default_rng([levels, round(100 * sd), seed])
    index = np.repeat(np.arange(levels), r.integers(3, 6, levels))
    x = r.standard_normal(len(index))
    eta = INTERCEPT + SLOPE * x + sd * r.standard_normal(levels)[index]
    return Data(x[:, None], (r.random(len(index)) < scipy.special.expit(eta)).astype(float), index)


def ours(**settings) -> Callable[..., tuple]:
    def call(X, y, index):
        m = sb.BayesianMixedRegression(**settings).fit(X, y, {"g": index})
        scale, fixed = m.scales_["g"], m.summary().fixed
        at = fixed.names.index("x0")
        interval = float(fixed["low"][at]), float(fixed["high"][at])
        return scale.sd, (scale.low, scale.high), float(m.coef_[0]), interval

    return call


def candidates() -> dict[str, Callable[..., tuple]]:
    flat = {"scales": "maximise", "scale_prior": np.inf, "prior_scale": np.inf, "intercept_prior_scale": np.inf}
    calls = {
        "sbpfast, integrate": ours(scale_prior=WIDE),
        "sbpfast, integrate, default prior": ours(),
        "sbpfast, maximise": ours(**flat),
        "GPBoost, Laplace": theirs.gpboost_laplace(),
        "statsmodels, mode": theirs.statsmodels_fit("fit_map"),
        "statsmodels, mean field": theirs.statsmodels_fit("fit_vb"),
    }
    return present(calls)


def figures(answers, sd, seconds) -> dict[str, float]:
    """Bias, root mean square error and coverage of both estimates, over the repeats that a method answered."""
    out: dict[str, float] = {"answered": len(answers), "seconds": seconds}
    for name, truth in (("sd", sd), ("slope", SLOPE)):
        error = np.array([getattr(a, name) for a in answers]) - truth
        ends = np.array([getattr(a, f"{name}_interval") for a in answers])
        out |= {
            f"{name} bias": float(error.mean()),
            f"{name} bias error": float(error.std(ddof=1) / np.sqrt(len(error))),
            f"{name} rmse": float(np.sqrt((error**2).mean())),
        }
        if np.isfinite(ends).all():
            out[f"{name} coverage"] = float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())
    return out


def run(call, data, sd) -> dict[str, float]:
    """A method's figures over data sets; one that it refuses does not count."""
    answers, seconds = [], []
    for each in data:
        start = time.perf_counter()
        try:
            answers.append(Answer(*call(*each)))
        except (ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
            print(f"  ({type(error).__name__}: {error})")
        seconds.append(time.perf_counter() - start)
    return figures(answers, sd, float(np.median(seconds)))


def study(quick: bool = False) -> dict:
    out = {}
    for levels in (20,) if quick else LEVELS:
        for sd in DEVIATIONS[1:2] if quick else DEVIATIONS:
            data = [simulated(levels, sd, seed) for seed in range(3 if quick else REPEATS)]
            few = data[: 2 if quick else CHAINED]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = {name: run(call, data, sd) for name, call in candidates().items()}
                chain = theirs.nuts_of_groups(WIDE, 50 if quick else 500)
                if chain is not None:
                    rows["NUTS, ten of them"] = run(chain, few, sd)
                    rows["sbpfast, integrate, the same ten"] = run(ours(scale_prior=WIDE), few, sd)
            out[f"{levels} groups, sd {sd:g}"] = rows
            print(f"{levels} groups, sd {sd:g}", *(_line(*row) for row in rows.items()), sep="\n", flush=True)
    return out


def _line(name, r) -> str:
    shown = {key: r.get(key, float("nan")) for key in ("sd bias", "sd coverage", "slope bias", "slope coverage")}
    return f"  {name:34s}" + "".join(f"   {key} {value:6.3f}" for key, value in shown.items())


# -- the picture ------------------------------------------------------------------------------------------------------

PANELS = ("sd bias", "slope bias", "sd coverage", "slope coverage")
COLOURS = ("tab:blue", "tab:cyan", "tab:green", "tab:orange", "tab:red", "tab:purple")


def draw(plt, results, folder) -> None:
    """Bias with two standard errors, and coverage with what 200 repeats of 95 % would give, by method and setting."""
    names = [name for name in next(iter(results.values())) if "ten" not in name.split()]
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), layout="constrained")
    for panel, what in zip(axes.flat, PANELS):
        for i, name in enumerate(names):
            at = np.arange(len(results)) + 0.12 * (i - 0.5 * (len(names) - 1))
            y = [rows[name].get(what, np.nan) for rows in results.values()]
            error = [2.0 * rows[name].get(f"{what} error", 0.0) for rows in results.values()]
            panel.errorbar(at, y, error, fmt="o", markersize=4, color=COLOURS[i % len(COLOURS)], label=name)
        _finish(panel, what, results)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(folder / "mixed_coverage.png", dpi=130)


def _finish(panel, what, results):
    panel.set_title(what, loc="left", fontsize=10)
    panel.set_xticks(range(len(results)), [title.replace(" groups, ", "\n") for title in results], fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.axhline(0.95 if "coverage" in what else 0.0, color="0.4", linewidth=0.8)
    if "coverage" in what:
        n = max(row["answered"] for rows in results.values() for row in rows.values())
        low, high = scipy.stats.binom.interval(0.95, n, 0.95)
        panel.axhspan(low / n, high / n, color="0.9", zorder=0)
