"""How accurate the transport weights are where: relative error against mpmath over shapes and quantiles, torch beside.

The exact values come from the definitions in tests/tables/generate_weights.py, which share nothing with the kernels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import scipy.stats as st

import sbpfast as sb
from peers import optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "tables"))
from generate_weights import beta_pair, gamma_shape, settled

QUANTILES = (1e-6, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 0.999, 1 - 1e-6)
GAMMA_SHAPES = np.logspace(-3, 6, 28)
BETA_FIRST, BETA_SECOND = np.logspace(-2, 4, 19), 2.5


def relative(got, want):
    return float(abs(got - float(want)) / max(abs(float(want)), 1e-300))


def gamma_errors(torch, quantiles):
    """Relative errors (shapes, quantiles), ours and torch's; NaN where x underflows."""
    errors = np.full((2, len(GAMMA_SHAPES), len(quantiles)), np.nan)
    for i, a in enumerate(GAMMA_SHAPES):
        for j, q in enumerate(quantiles):
            x = float(st.gamma.ppf(q, a))
            if x < 1e-290:
                continue
            want = settled(lambda a=a, x=x: (gamma_shape(float(a), x),))[0]
            errors[0, i, j] = relative(sb.expfam.Gamma(a, 1.0).transport([[x]])["shape"][0, 0], want)
            if torch:
                shape, point = (torch.tensor(float(v), dtype=torch.float64) for v in (a, x))
                errors[1, i, j] = relative(float(torch._standard_gamma_grad(shape, point)), want)
    return errors


def beta_errors(torch, quantiles):
    """The same for d/da of Beta(a, 2.5)."""
    errors = np.full((2, len(BETA_FIRST), len(quantiles)), np.nan)
    for i, a in enumerate(BETA_FIRST):
        for j, q in enumerate(quantiles):
            x = float(st.beta.ppf(q, a, BETA_SECOND))
            if not 1e-290 < x < 1:
                continue
            want = settled(lambda a=a, x=x: beta_pair(float(a), BETA_SECOND, x))[0]
            errors[0, i, j] = relative(sb.expfam.Beta(a, BETA_SECOND).transport([[x]])["a"][0, 0], want)
            if torch:
                point, first, total = (torch.tensor(float(v), dtype=torch.float64) for v in (x, a, a + BETA_SECOND))
                # the Dirichlet gradient is dx_i/da_i / (1 - x_i) in torch's convention
                errors[1, i, j] = relative(float(torch._dirichlet_grad(point, first, total)) * (1 - x), want)
    return errors


def study(quick):
    torch, quantiles = optional("torch"), QUANTILES[5:6] if quick else QUANTILES
    results = {"gamma": gamma_errors(torch, quantiles), "beta": beta_errors(torch, quantiles)}
    for name, errors in results.items():
        for who, e in zip(("sbpfast", "torch"), errors):
            if np.isfinite(e).any():
                print(f"{name}: {who}: largest relative error {np.nanmax(e):.2g}, median {np.nanmedian(e):.2g}")
    return {name: errors.tolist() for name, errors in results.items()}


def draw(plt, results, folder):
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), layout="constrained", sharey=True)
    panels = (("gamma", GAMMA_SHAPES, "shape"), ("beta", BETA_FIRST, f"a (b = {BETA_SECOND})"))
    for row, (name, sizes, label) in zip(axes, panels):
        for ax, who, errors in zip(row, ("sbpfast", "PyTorch"), results[name]):
            exponent = np.log10(np.maximum(np.transpose(errors), 1e-17))
            image = ax.pcolormesh(np.log10(sizes), range(len(exponent)), exponent, vmin=-16, vmax=0, cmap="viridis")
            ax.set_title(f"{name}: {who}, float64", fontsize=10)
            ax.set_xlabel(f"log10 {label}")
            ax.set_yticks(range(len(exponent)), [f"{q:.6g}" for q in QUANTILES][: len(exponent)], fontsize=7)
        row[0].set_ylabel("quantile of x")
    figure.colorbar(image, ax=axes, label="log10 of the relative error of the transport weight (white: x underflows)")
    figure.savefig(folder / "weights_error_map.png", dpi=120)
