"""Every workload and study of bench/ runs, and the figures of docs/benchmarks.md are those of its files of results."""

import json
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import sbpfast

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(sbpfast.__file__).parents[1])}


def run(*arguments):
    command = [sys.executable, "bench/run.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The folder of a run at tiny sizes, and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    done = run("--quick", "--no-peers", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def files(folder):
    return {path.stem for path in (ROOT / "bench" / folder).glob("[!_]*.py")}


def workloads():
    """Those that can run here: what ours gives PyTorch and JAX needs both."""
    return files("workloads") - (set() if find_spec("torch") and find_spec("jax") else {"frameworks"})


def test_everything_runs_and_names_its_machine(quick):
    folder, printed = quick
    of_peers_models = {"models", "nuts_starts", "laplace_of_scales"}
    without_peers = workloads() | files("studies") - {"rbm_digits", "rbm_fashion", "dlgm"} - of_peers_models
    assert {path.stem for path in folder.glob("*.json")} == without_peers
    for path in folder.glob("*.json"):
        machine = json.loads(path.read_text())["machine"]
        assert machine["processor"] and machine["instruction set"] and machine["commit"], path
    assert "how many times ours" in printed


def test_workloads_time_us_and_somebody_else_by_one_rule(quick):
    rows = [row for name in workloads() for row in result(name, quick[0]).values()]
    for entry in rows:
        for name, t in entry["seconds"].items():
            assert 0 < t["least"] <= t["median"], name
        assert entry["seconds"]["sbpfast"]["ratio to ours"] == 1.0
    assert len(rows) > 40


def test_what_takes_long_is_called_once(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import timing

    calls = {"sbpfast": 0, "slow": 0}

    def call(name, pause):
        calls[name] += 1
        time.sleep(pause)

    rule = timing.Rule(rounds=3, fill=0.0, pause=0.0, once=0.03)
    found = rule.compare({"sbpfast": lambda: call("sbpfast", 0.001), "slow": lambda: call("slow", 0.04)})
    assert calls["slow"] == 1 and calls["sbpfast"] > 3
    assert found["slow"]["median"] == found["slow"]["least"] >= 0.04
    assert found["slow"]["ratio to ours"] == pytest.approx(found["slow"]["median"] / found["sbpfast"]["median"])


def test_a_name_that_is_not_there_is_refused():
    done = run("spead")
    assert done.returncode == 2 and "there is no spead" in done.stderr


def test_the_tables_are_made_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import tables

    assert tables.filled(PAGE, RESULTS) == PAGE


def result(name, folder=RESULTS):
    return json.loads((folder / f"{name}.json").read_text())["results"]


def test_every_file_of_results_names_its_machine():
    for path in RESULTS.glob("*.json"):
        assert json.loads(path.read_text())["machine"]["processor"], path


def test_the_accuracies_of_the_weights():
    gamma, beta = (np.nanmax(result("weights_error_map")[name], axis=(1, 2)) for name in ("gamma", "beta"))
    ours = f"Largest here: {gamma[0]:.0e} (gamma), {beta[0]:.0e} (beta)"
    theirs = f"PyTorch's float64: {gamma[1]:.0e} and {beta[1]:.0e}"
    for text in (ours, theirs):
        assert text.replace("e-0", "e-") in PAGE, text


def test_the_accuracies_of_the_hidden_units_as_features():
    prose = " ".join(PAGE.split())
    digits, fashion = (result(name)["accuracy"] for name in ("rbm_digits", "rbm_fashion"))
    for model, text in (
        ("GaussianBernoulliRBM features", "right on {:.1f} % of the digits and {:.1f} % of the clothes"),
        ("scikit-learn BernoulliRBM features", "BernoulliRBM on {:.1f} and {:.1f} %"),
        ("logistic regression on pixels", "the pixels themselves on {:.1f} and {:.1f} %"),
    ):
        assert text.format(100 * digits[model], 100 * fashion[model]) in prose, model


def test_the_peers_compilation():
    peers = [r for methods in result("fit_callables").values() for r in methods.values() if "setting" in r]
    seconds = [r["compilation, seconds"] for r in peers]
    assert f"their compilation ({max(seconds):.1f} s)" in PAGE


def test_the_pictures_exist():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", PAGE)
    assert len(pictures) >= 4 and all((ROOT / "docs" / path).is_file() for path in pictures)
