"""Fitted regressions with groups as files of arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import scipy

from sbpfast import _checks
from sbpfast._files import names_in, read_written_by, write_npz
from sbpfast.fitting import FitWarning
from sbpfast.fitting._mixed_arrow import Arrow, Effects
from sbpfast.fitting._mixed_likelihood import FAMILIES
from sbpfast.fitting._mixed_posterior import Component, Judgement, MixedPosterior
from sbpfast.fitting._mixed_rows import Shape
from sbpfast.fitting._mixed_scales import Layout
from sbpfast.regression import _formula_files
from sbpfast.regression._mixed_data import Grouping

WRITER = "BayesianMixedRegression.save"
ARROW = ("roots", "b_fixed", "border_factor", "cov")
WITH_CROSSED, ALONE = ("fixed_images", "level_crossed"), ("root",)


def write(model, path) -> None:
    posterior = model._posterior
    shape, layout, parts = posterior.shape, posterior.layout, posterior.components
    settings = {
        "params": {name: _plain(value) for name, value in model.get_params().items()},
        "shape": shape._asdict(), "scale_prior": layout.scale_prior, "spread": layout.spread,
        "groups": [[g.name, list(g.effects), g.intercept] for g in model._known],
        "judged": list(model._judgement), "message": model.message_, "n_iter": model.n_iter_, "n_rows": model.n_rows_,
        "log_total": posterior.log_total, "intercept_prior_scale": model.intercept_prior_scale_,
        "formula": _formula(model),
    }  # fmt: skip
    arrays: dict[str, Any] = {"settings": np.array(json.dumps(settings)), "prior_scale": model.prior_scale_}
    arrays |= {f"levels_{k}": g.levels for k, g in enumerate(model._known)}
    arrays |= {f"units_{k}": unit for k, unit in enumerate(layout.units)}
    for name in ("weight", "theta", "elbo"):
        arrays[name] = np.stack([np.asarray(getattr(c, name)) for c in parts])
    for name in ("fixed", "crossed", "main"):
        arrays[f"mean_{name}"] = np.stack([getattr(c.mean, name) for c in parts])
    for name in (*ARROW, *(WITH_CROSSED if shape.n_crossed else ALONE)):
        arrays[f"arrow_{name}"] = np.stack([getattr(c.arrow, name) for c in parts])
    if shape.n_crossed:
        arrays["b_data"] = np.stack([c.arrow.b_crossed.data for c in parts])
        arrays["b_indices"], arrays["b_indptr"] = parts[0].arrow.b_crossed.indices, parts[0].arrow.b_crossed.indptr
    for name in ("classes_", "feature_names_in_"):
        if hasattr(model, name):
            arrays[name] = np.array(getattr(model, name).tolist())
    write_npz(path, arrays)


def _formula(model) -> str | None:
    """The formula as text; None, and a word, where it calls what a file does not keep."""
    if not hasattr(model, "formula_"):
        return None
    try:
        return _formula_files.written(model.formula_)
    except _formula_files.NotStorable as error:
        text = f"The file leaves the formula out, which holds {error}: what is read predicts from arrays, not frames."
        _checks.warn(text, FitWarning)
        return None


def _with_formula(model, text) -> None:
    """Set the formula; left out, with a word, where formulae is not installed."""
    try:
        model.formula_ = _formula_files.read(text)
    except ImportError:
        text = "The file's formula needs the package formulae: without it the model predicts from arrays, not frames."
        _checks.warn(text, FitWarning)


def holds_one(path) -> bool:
    return {"settings", "arrow_roots"} <= names_in(path)


def _plain(value):
    return np.asarray(value).tolist() if isinstance(value, np.ndarray | np.generic) else value


def read(cls, path):
    """The model in a file."""
    arrays = read_written_by(WRITER, path, ("settings", "weight", "theta", "mean_fixed", "arrow_roots"))
    settings = json.loads(str(arrays["settings"]))
    model = cls(**settings["params"])
    sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["shape"].items()}
    shape = Shape(**sizes)
    known = [
        Grouping(name, arrays[f"levels_{k}"], tuple(effects), intercept)
        for k, (name, effects, intercept) in enumerate(settings["groups"])
    ]
    layout = Layout(
        shape.widths, shape.n_levels, tuple(arrays[f"units_{k}"] for k in range(len(known))),
        FAMILIES[model.family].parameters, settings["spread"], settings["scale_prior"],
    )  # fmt: skip
    components = [_component(arrays, shape, i) for i in range(len(arrays["weight"]))]
    posterior = MixedPosterior(layout, components, settings["log_total"])
    for name in ("classes_", "feature_names_in_"):
        if name in arrays:
            setattr(model, name, arrays[name].astype(object) if name == "feature_names_in_" else arrays[name])
    scale = np.append(arrays["prior_scale"], settings["intercept_prior_scale"])
    model._keep(posterior, known, len(arrays["prior_scale"]), scale, settings["message"])
    model._judged, model.n_iter_, model.n_rows_ = Judgement(*settings["judged"]), settings["n_iter"], settings["n_rows"]
    if settings.get("formula") is not None:
        _with_formula(model, settings["formula"])
    return model


def _component(arrays, shape, i) -> Component:
    arrow = Arrow.__new__(Arrow)
    arrow.shape, arrow.joins, arrow.crossed_blocks = shape, [], []
    for name in (*ARROW, *(WITH_CROSSED if shape.n_crossed else ALONE)):
        setattr(arrow, name, arrays[f"arrow_{name}"][i])
    if shape.n_crossed:
        size = shape.n_levels[shape.main] * shape.widths[shape.main]
        arrow.b_crossed = scipy.sparse.csr_array(
            (arrays["b_data"][i], arrays["b_indices"], arrays["b_indptr"]), shape=(shape.n_crossed, size)
        )
    mean = Effects(*(arrays[f"mean_{name}"][i] for name in ("fixed", "crossed", "main")))
    return Component(float(arrays["weight"][i]), arrays["theta"][i], float(arrays["elbo"][i]), mean, arrow)
