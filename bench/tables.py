"""The tables of docs/benchmarks.md, made of the files in results/: python bench/run.py --tables.

A table stands between `<!-- NAME -->` and `<!-- end -->`.  Rows whose file is not there are left out and said to be.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from timing import OURS
from workload import text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


@cache
def saved(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def results(folder: Path, name: str) -> dict:
    return saved(folder, name)["results"]


def figure(t: dict) -> float:
    """The median, or the least where only that was kept."""
    return t.get("median", t.get("least"))


def ratios(found: dict) -> list[str]:
    """One line a workload: our time, and how many times ours the others take."""
    rows = []
    for title, entry in found.items():
        ours = entry["seconds"][OURS]
        others = (f"{name} x {t['ratio to ours']:.2g}" for name, t in entry["seconds"].items() if name != OURS)
        rows.append(f"{title}: {text(figure(ours), ours.get('items', 1))}; {', '.join(others)}")
    return rows


# -- speed ------------------------------------------------------------------------------------------------------------

SUM = {"parallel sum of the same bytes": "a parallel sum of the bytes"}
PRODUCTS = {"five matrix products alone": "the matrix products alone", "the matrix product alone": "the product alone"}
PROGRAMS = {"scikit-learn BernoulliRBM": "scikit-learn", "NumPy, dense": "dense NumPy"}
METHODS = {"NumPyro NUTS": "NUTS", "JAX Price, autodiff Hessian": "JAX Hessian"}
NAMES = SUM | PRODUCTS | PROGRAMS | METHODS

SPEED = (  # what stands in the first column, file, workload, fact in brackets
    ("one Price estimate, logistic N = 10000, d = 50, 64 draws", "price", "logistic N=10000 d=50 n=64", ""),
    ("the same, N = 3000, d = 4, 1024 draws", "price", "logistic N=3000 d=4 n=1024", ""),
    ("the same, N = 569, d = 31, 256 draws", "price", "logistic N=569 d=31 n=256", ""),
    ("standard normals", "normals", "standard normals", ""),
    ("mean of 20000 Hessians 32 x 32", "contract", "mean of Hessians", "GB/s"),
    ("1/2 tr(H dSigma) per sample, p = 10", "contract", "1/2 tr(H dSigma) per sample", ""),
    ("fit, breast cancer 569 x 31 (worst error of a mean)", "fit", "breast cancer, 569 x 31", "worst mean error, sd"),
    ("fit, logistic N = 100000, d = 50", "fit", "logistic, N = 100000, d = 50", ""),
    ("the same, N = 1000000, d = 20", "fit", "logistic, N = 1000000, d = 20", ""),
    ("fit of a callable to KL 1e-3, d = 10, with and without Hessian", "fit_callables", "d = 10", ""),
    ("the same, d = 50", "fit_callables", "d = 50", ""),
    ("gamma shape weights (worst relative error)", "weights", "gamma shape weights", "worst relative error"),
    ("beta weights, a pair (likewise)", "weights", "beta weights", "worst relative error"),
    ("gamma draws", "expfam", "gamma draws, shape 2.5", ""),
    ("beta draws, which carry log x and log(1 - x)", "expfam", "beta draws", ""),
    ("Dirichlet(8), 100000 draws and gradients", "expfam", "Dirichlet(8), draws and gradients", ""),
    ("gamma maximum likelihood, 10 million points", "expfam", "gamma maximum likelihood", ""),
    ("RBM, a CD-1 epoch of 10000 x 784 x 500, float32", "rbm", "CD-1 epoch", ""),
    ("RBM, 10000 free energies, 784 x 500, float32", "rbm", "free energy", ""),
    ("exact log Z, 24 hidden units, a state", "rbm", "log Z", ""),
)


FACTS = {"GB/s": "{:.0f} GB/s", "worst mean error, sd": "{:.1g} sd"}


def timed(t: dict, fact: str) -> str:
    """A figure, with what else is known of it in brackets."""
    known = f" ({FACTS.get(fact, '{:.1g}').format(t[fact])})" if fact in t else ""
    return text(figure(t), t.get("items", 1)) + known


def times_row(label: str, entry: dict, fact: str) -> str:
    """Ours, and every peer; our own variants stay in the file."""
    peers = {name: t for name, t in entry["seconds"].items() if not name.startswith(OURS)}
    cells = ", ".join(f"{NAMES.get(name, name)} {timed(t, fact)}" for name, t in peers.items())
    ours = entry["seconds"][OURS]
    rule = "" if "median" in ours else " (least)"
    return f"| {label}{rule} | {timed(ours, fact)} | {cells} |"


def until_near_row(label: str, methods: dict, fact: str) -> str:
    """Seconds until a fit through callables is near, or how far off it stays."""
    until = {name: r["seconds until KL 1e-3"] for name, r in methods.items()}
    said = {name: text(t) if t else f"never (KL {methods[name]['least KL']:.1g})" for name, t in until.items()}
    ours = ", ".join(said.pop(f"{OURS}, {word} Hessian") for word in ("with", "without"))
    return f"| {label} | {ours} | {', '.join(f'{name} {time}' for name, time in said.items())} |"


def processors(folder: Path, files: set[str]) -> str:
    """What the files were measured on: processor, instruction set, threads."""
    machines = [saved(folder, file)["machine"] for file in sorted(files)]
    kinds = {(m["processor"], m["instruction set"].split()[0].upper(), m["threads"].split()[0]) for m in machines}
    return "; ".join(f"{name} with {isa}, {threads} threads" for name, isa, threads in sorted(kinds))


def speed(folder: Path) -> list[str]:
    rows = ["| workload | sbpfast | peers |", "| --- | --- | --- |"]
    for label, file, title, fact in SPEED:
        if not (folder / f"{file}.json").exists():
            print(f"({file}.json is not there: no row {label!r})")
            continue
        row = until_near_row if file == "fit_callables" else times_row
        rows.append(row(label, results(folder, file)[title], fact))
    there = {file for _, file, _, _ in SPEED if (folder / f"{file}.json").exists()}
    return [*rows, "", f"Measured on {processors(folder, there)}."]


# -- images -----------------------------------------------------------------------------------------------------------

MODELS = (
    (r"GB-RBM, (\d+) hidden, pcd", r"**RBM, \1 hidden units**"),
    (r"GB-RBM, (\d+) hidden, exact", r"**RBM, \1 hidden units** (exact)"),
    (r"mixture of (\d+) diagonal Gaussians.*", r"\1 diagonal Gaussians, mixed"),
    (r"factor analysis.*", "factor analysis"),
)


def ranked(folder: Path, name: str) -> list[str]:
    """Cells of models and their held-out nats, best first; of two ways to train the same machine, the better."""
    scores = results(folder, name)["log_likelihood"]
    machines = [key for key in scores if key.startswith("GB-RBM")]
    worse = {k for k in machines for other in machines if k[:12] == other[:12] and scores[k] < scores[other]}
    cells = []
    for model, nats in sorted(scores.items(), key=lambda item: -item[1]):
        if model not in worse:
            for pattern, said in MODELS:
                model = re.sub(pattern, said, model)
            cells.append(f"{model} | {float(f'{nats:.3g}'):g}")
    return cells


def images(folder: Path) -> list[str]:
    rows = ["| digits, 8 x 8 | | Fashion-MNIST, 14 x 14 | |", "| --- | --- | --- | --- |"]
    pairs = zip(ranked(folder, "rbm_digits"), ranked(folder, "rbm_fashion"), strict=True)
    return rows + [f"| {first} | {second} |" for first, second in pairs]


# -- mixed models -----------------------------------------------------------------------------------------------------

INTEGRATED, BOOST = f"{OURS}, scales integrated out", "GPBoost, Laplace"


def mixed(folder: Path) -> list[str]:
    """Times, and what was found beside what is published."""
    rows = [
        "| data | maximise | integrate | GPBoost | found by maximising | GPBoost's sds | reference |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for title, entry in results(folder, "mixed").items():
        seconds = entry["seconds"]
        times = [text(figure(seconds[k])) if k in seconds else "" for k in (OURS, INTEGRATED, BOOST)]
        ours, known = seconds[OURS], entry["facts"]
        wanted = [key.removeprefix("reference, ") for key in known]
        wanted += [key for key in ours if key.startswith(("sd", "peak")) and key not in wanted]
        found = ", ".join(f"{key} {_digits(ours[key])}" for key in wanted)
        boost = ", ".join(_digits(v) for key, v in seconds.get(BOOST, {}).items() if key.startswith("sd"))
        published = ", ".join(_digits(value) for value in known.values())
        rows.append(f"| {title} | {' | '.join(times)} | {found} | {boost} | {published} |")
    return [*rows, "", f"Measured on {processors(folder, {'mixed'})}."]


def _digits(value) -> str:
    return value if isinstance(value, str) else f"{value:.2f}" if abs(value) >= 100 else f"{value:.3f}"


def coverage(folder: Path) -> list[str]:
    """Bias and coverage, in per cent, by method; a column for each setting."""
    found = results(folder, "mixed_coverage")
    repeats = max(row["answered"] for rows in found.values() for row in rows.values())
    out = []
    for what in ("sd", "slope"):
        out.append(f"| {what}: bias (covered, %) | " + " | ".join(found) + " |")
        out.append("| --- |" + " --- |" * len(found))
        for name in next(iter(found.values())):
            cells = (_cell(rows[name], what) for rows in found.values())
            out.append(f"| {name} | " + " | ".join(cells) + " |")
        out.append("")
    half = 196.0 * (0.95 * 0.05 / repeats) ** 0.5
    low, high = 95.0 - half, 95.0 + half
    return [*out, f"Of {repeats} intervals of 95 %, {low:.0f} to {high:.0f} % cover by chance."]


def _cell(row: dict, what: str) -> str:
    covered = row.get(f"{what} coverage")
    return f"{row[f'{what} bias']:+.2f}" + (f" ({100.0 * covered:.0f})" if covered is not None else "")


# -- machines ---------------------------------------------------------------------------------------------------------


def machines(folder: Path) -> list[str]:
    """What each file of results was measured on, and with."""
    rows = ["| file | processor | instruction set | threads | version |", "| --- | --- | --- | --- | --- |"]
    for path in sorted(folder.glob("*.json")):
        m = saved(folder, path.stem)["machine"]
        cells = (m.get(key, "not recorded") for key in ("processor", "instruction set", "threads", "sbpfast"))
        rows.append(f"| {path.name} | {' | '.join(cells)} |")
    return rows


TABLES = {"speed": speed, "images": images, "mixed": mixed, "coverage": coverage, "machines": machines}


def filled(page: str, folder: Path) -> str:
    """The page with its tables made anew."""
    for name, table in TABLES.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not (mark and end):
            raise ValueError(f"{PAGE.name} has no place for the table {name!r}")
        page = before + mark + "\n".join(["", *table(folder), "", ""]) + end + after
    return page


def write(folder: Path) -> None:
    PAGE.write_text(filled(PAGE.read_text(), folder))
