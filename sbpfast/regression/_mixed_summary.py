"""The tables of a regression with groups, in the order of lme4's summary."""

from __future__ import annotations

import math
from html import escape

import numpy as np
import scipy

from sbpfast import _checks
from sbpfast.fitting import Summary
from sbpfast.fitting._importance import verdict


class MixedSummary:
    """How the fit went, the groups' scales, and the fixed effects; text, and tables in notebooks.

    Attributes
    ----------
    headline : str
    random, fixed : Summary
        Standard deviations, correlations and the likelihood's parameters; coefficients.
    """

    def __init__(self, headline, random, fixed):
        self.headline, self.random, self.fixed = headline, random, fixed

    def __str__(self):
        return f"{self.headline}\n\n{self.random}\n\n{self.fixed}"

    __repr__ = __str__

    def _repr_html_(self):
        head = escape(self.headline).replace("\n", "<br>")
        return f"<p>{head}</p>{self.random._repr_html_()}{self.fixed._repr_html_()}"


def summary(model, level) -> MixedSummary:
    level = _checks.scalar("level", level, above=0.0, below=1.0)
    return MixedSummary(_headline(model), _random(model, level), _fixed(model, level))


def _headline(model):
    judged, rows = model._judgement, model.n_rows_
    kind = "scales integrated out" if model.scales == "integrate" else "scales of largest evidence"
    what = f": {model.formula_.text}" if hasattr(model, "formula_") else ""
    outer = model._posterior.layout.dim
    count = len(model._coefficient_names()) + outer
    deviance = -2.0 * judged.log_likelihood
    return "\n".join(
        [
            f"Mixed {model.family.replace('_', ' ')} regression, {kind}{what}",
            model.message_[0].upper() + model.message_[1:],
            f"AIC {deviance + 2 * count:.1f}, BIC {deviance + count * math.log(rows):.1f}, log likelihood "
            f"{judged.log_likelihood:.2f} at the means, deviance {deviance:.2f}, residual df {rows - count}",
            f"log evidence {judged.log_evidence:.6g} +- {judged.log_evidence_stderr:.2g}, of which the ELBO "
            f"{model.elbo_:.6g} leaves {judged.log_evidence - model.elbo_:.3g}; "
            f"Pareto k-hat {judged.khat:.2f} ({verdict(judged.khat, judged.ess, judged.n)})",
            f"{rows} rows; groups: " + ", ".join(f"{g.name} {len(g.levels)}" for g in model._known),
        ]
    )


def _random(model, level):
    posterior, names, rows = model._posterior, [], []
    for k, group in enumerate(model._known):
        sd, corr = posterior.deviations(k)
        for a, effect in enumerate(group.effects):
            names.append(f"{group.title} sd {effect}")
            rows.append(_row(posterior, sd[:, a], level, True))
            for b in range(a):
                names.append(f"{group.title} corr {group.effects[b]} {effect}")
                rows.append(_row(posterior, corr[:, a, b], level, False))
    for i, parameter in enumerate(posterior.layout.parameters):
        names.append(parameter.name)
        rows.append(_row(posterior, posterior.parameters()[:, i], level, True))
    columns = dict(zip(("mean", "sd", "low", "high"), np.array(rows).T))
    if model.scales == "maximise":
        columns = {"value": columns["mean"]}
    return Summary(
        names, columns, level, "Scales of the groups" + (" and noise" if posterior.layout.parameters else "")
    )


def _row(posterior, values, level, positive):
    """Mean, standard deviation and interval of a number known at every component."""
    weights = posterior.weights
    mean = float(weights @ values)
    sd = math.sqrt(float(weights @ (values - mean) ** 2))
    if positive:
        return mean, sd, *posterior.interval(values, level)
    half = float(scipy.special.ndtri(0.5 + 0.5 * level)) * sd
    return mean, sd, max(mean - half, -1.0), min(mean + half, 1.0)


def _fixed(model, level):
    mean = np.append(model.coef_, model.intercept_) if model.fit_intercept else model.coef_
    sd = np.sqrt(np.diagonal(model._fixed_cov))
    low, high = (model._posterior.fixed_quantiles(p) for p in (0.5 - 0.5 * level, 0.5 + 0.5 * level))
    columns = {"mean": mean, "sd": sd, "low": low, "high": high, "P(>0)": model._posterior.fixed_above()}
    order = [len(mean) - 1, *range(len(mean) - 1)] if model.fit_intercept else list(range(len(mean)))
    names = model._coefficient_names()
    columns = {name: column[order] for name, column in columns.items()}
    return Summary([names[i] for i in order], columns, level, "Fixed effects")
