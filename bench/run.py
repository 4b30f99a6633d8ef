"""Everything that is measured: python bench/run.py [NAME ...]

A name is a file of workloads/ (times beside the peers, by the one rule of timing.py) or of studies/ (what is not a
time: errors, variances, likelihoods); without names, all of them.  Results go to results/NAME.json, with the machine
and the versions they belong to, and pictures beside them; a table with ratios ends the run.  Peers that are not
installed are left out and said to be.

A new workload is a row of WORKLOADS in a file of workloads/, a peer's code goes to peers/.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

import peers
import sbpfast as sb
import tables
import timing
import workload

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (HERE / folder).glob("[!_]*.py"))


NAMES = {name: f"{folder}.{name}" for folder in ("workloads", "studies") for name in names(folder)}


def parsed(arguments):
    parser = argparse.ArgumentParser(prog="python bench/run.py", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one round: does everything run?")
    parser.add_argument("--no-peers", action="store_true", help="leave all peers out")
    parser.add_argument("--out", type=Path, help="folder of results (default bench/results; with --quick, a new one)")
    parser.add_argument(
        "--tables", action="store_true", help="only write the tables of docs/benchmarks.md from bench/results"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return options


def measure(module, quick: bool) -> dict:
    """The results of one file."""
    if not hasattr(module, "WORKLOADS"):
        return module.study(quick)
    rule = timing.QUICK if quick else timing.Rule()
    results = {}
    for row in module.WORKLOADS:
        results[row.title] = row.measure(rule, quick)
        print(*workload.lines(row.title, results[row.title]), sep="\n", flush=True)
    return results


def save(name: str, results: dict, folder: Path) -> None:
    """Write the figures of a file, with the machine they were taken on."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": timing.machine(), "results": results}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")


def pyplot():
    """matplotlib.pyplot without a screen, or None and a line that says why there is no picture."""
    try:
        import matplotlib
    except ImportError:
        print("(matplotlib is not installed: no pictures)")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def main(arguments=None) -> int:
    options = parsed(arguments)
    if options.tables:
        tables.write(RESULTS)
        return 0
    peers.LEFT_OUT = options.no_peers
    folder = options.out or (Path(tempfile.mkdtemp(prefix="bench-")) if options.quick else RESULTS)
    warnings.simplefilter("ignore", sb.FitWarning)
    plt, table = pyplot(), []
    for name in options.names or NAMES:
        print(f"\n== {name}")
        module = importlib.import_module(NAMES[name])
        results = measure(module, options.quick)
        if not results:
            continue
        save(name, results, folder)
        if hasattr(module, "WORKLOADS"):
            table += [f"{name}: {line}" for line in tables.ratios(results)]
        if plt and hasattr(module, "draw"):
            module.draw(plt, results, folder)
    print("\n== times, and how many times ours the peers take", *table, f"\nwritten to {folder}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
