"""A page for every family of the registry, and the table of them all: its formulas, weights and errors."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import matplotlib
import numpy as np

import sbpfast as sb
from sbpfast import expfam

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TABLE = Path(__file__).parents[1] / "tests" / "tables" / "weights.json"
ROWS = (  # of a page: what stands before the formula, and its name in the registry
    ("support", "support"),
    ("density", "density"),
    ("eta", "eta"),
    ("u(x)", "u"),
    ("h(x)", "h"),
    ("A", "A"),
    ("product rule", "product"),
)


# -- errors against the 22-digit table --------------------------------------------------------------------------------


def gamma(a, x):
    return expfam.Gamma(a, 1.0).transport(x)["shape"]


def pair(family, *names):
    return lambda *columns: [family(*columns[:-1]).transport(columns[-1])[name] for name in names]


ERRORS = {  # family: table, number of arguments, weights of an example row as the package gives them
    "Gamma": ("gamma", 2, lambda a, x: [gamma(a, x)]),
    "ChiSquare": ("gamma", 2, lambda a, x: [expfam.ChiSquare(2 * a).transport(2 * x)["df"]]),
    "Beta": ("beta", 3, pair(expfam.Beta, "a", "b")),
    "StudentT": ("student_t", 2, lambda df, t: [expfam.StudentT(df, 0 * df, 0 * df + 1).transport(t)["df"]]),
    "VonMises": ("von_mises", 2, lambda k, x: [expfam.VonMises(0 * k, k).transport(x)["concentration"]]),
    "InverseGaussian": ("inverse_gaussian", 3, pair(expfam.InverseGaussian, "mean", "concentration")),
    "TruncatedNormal": ("truncated_normal", 5, pair(expfam.TruncatedNormal, "loc", "scale", "low", "high")),
    "ContinuousBernoulli": ("continuous_bernoulli", 2, pair(expfam.ContinuousBernoulli, "logit")),
}


def errors(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The first argument of each row of the table, and the largest relative error of its weights."""
    table, arguments, weights = ERRORS[name]
    rows = json.loads(TABLE.read_text())[table]
    columns = np.array([[np.nan if v is None else float(v) for v in row] for row in rows]).T
    got = np.array([w[0] for w in weights(*columns[: arguments - 1], columns[arguments - 1][None, :])])
    want = columns[arguments:]
    small = np.abs(want) < 1e-290
    relative = np.where(small, 0.0, np.abs(got - want) / np.where(small, 1.0, np.abs(want)))
    return columns[0], np.nanmax(relative, axis=0)


# -- pictures ---------------------------------------------------------------------------------------------------------


def one_dimensional(p) -> bool:
    return hasattr(p, "ppf") and getattr(p, "dim", 0) == 1


def draw(name: str, p, path: Path) -> None:
    """Density or probabilities, transport weights, and errors where there is a table."""
    panels = 2 + (name in ERRORS)
    figure, axes = plt.subplots(1, panels, figsize=(3.6 * panels, 3.2), layout="constrained")
    low, high = np.ravel(p.ppf(0.002))[0], np.ravel(p.ppf(0.995))[0]
    if "pathwise" in p._estimators:
        x = np.linspace(low, high, 400)[:, None]
        axes[0].plot(x, np.exp(p.log_prob(x)))
    else:
        x = np.arange(low, high + 1)[:, None]
        axes[0].bar(x[:, 0], np.exp(p.log_prob(x)))
    for parameter, weight in p.transport(x).items():
        axes[1].plot(x, weight, "-" if "pathwise" in p._estimators else "o-", label=parameter)
    axes[0].set(title=repr(p) if len(repr(p)) < 40 else name, xlabel="x", ylabel="p(x)")
    axes[1].set(title="transport weights B(x)", xlabel="x")
    axes[1].legend()
    if name in ERRORS:
        first, worst = errors(name)
        axes[2].loglog(np.abs(first) + 1e-300, np.maximum(worst, 1e-17), ".", ms=3)
        axes[2].set(
            title="relative error of the weights", xlabel=f"{p.parameters[0].name if first.min() > 0 else '|first|'}"
        )
    figure.savefig(path, dpi=110)
    plt.close(figure)


# -- text -------------------------------------------------------------------------------------------------------------


def shown(family) -> str:
    """The example of the registry as a call."""
    return f"sb.expfam.{family.__name__}({', '.join(f'{k}={v}' for k, v in family.example.items())})"


def accuracy(name: str) -> str:
    if name not in ERRORS:
        return ""
    rows, worst = errors(name)
    return (
        f"The third panel is the error map: relative errors against {len(rows)} rows of a 22-digit table made with "
        f"mpmath from the definition. The largest is {worst.max():.0e}, the median {np.median(worst):.0e}.\n"
    )


def page(name: str, family, folder: Path) -> str:
    p = family(**family.example)
    lines = [f"# {name}", "", f"`sb.expfam.{name}{inspect.signature(family)}`".replace(" -> None", ""), ""]
    lines += [f"- **{q.name}**: {q.meaning} Must be {q.domain.text}." for q in (*family.parameters, *family.constants)]
    lines += ["", "| | |", "| --- | --- |"]
    for label, field in ROWS:
        text = getattr(family.formulas, field)
        if text:
            escaped = text.replace("|", "\\|")
            lines.append(f"| {label} | {escaped if field in ('support', 'product') else f'`{escaped}`'} |")
    lines += [f"| estimators | {', '.join(f'`{e}`' for e in family._estimators)} |", ""]
    if one_dimensional(p):
        draw(name, p, folder / f"{name}.png")
        lines += [f"![Density and transport weights of {name}]({name}.png)", "", accuracy(name), ""]
    lines += ["```python", "import sbpfast as sb", "", f"p = {shown(family)}", "p.sample(5, rng=0)"]
    lines += ["p.entropy()"] if hasattr(p, "entropy") else []
    lines += ["```", "", "The methods are those of every family: see {doc}`index`.", ""]
    return "\n".join(lines)


def index() -> str:
    lines = [
        "# The families", "",
        "Twenty-four exponential families and three others, each made from its row of the registry",
        "`sb.expfam.FAMILIES`; these pages are made from the same rows. What holds for all of them is in",
        "{doc}`../theory/families`; {doc}`../howto/own_family` makes others.", "",
        "| family | support | eta | u(x) |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, family in sb.expfam.FAMILIES.items():
        f = family.formulas
        cells = [f.support, f"`{f.eta or '-'}`", f"`{f.u or '-'}`"]
        lines.append("| " + " | ".join([f"[{name}]({name}.md)", *(c.replace("|", "\\|") for c in cells)]) + " |")
    toctree = ["", "```{toctree}", ":hidden:", "", *sb.expfam.FAMILIES, "```", ""]
    return "\n".join(lines + toctree)


def write(folder: Path) -> None:
    """All pages; those that have not changed are left alone."""
    folder.mkdir(exist_ok=True)
    pages = {name: page(name, family, folder) for name, family in sb.expfam.FAMILIES.items()}
    for name, text in {**pages, "index": index()}.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
