"""python -m sbpfast, and the data set it runs on."""

import os
import subprocess
import sys

import numpy as np
import pytest

from sbpfast.__main__ import main, problem
from sbpfast.data import load_breast_cancer


def test_the_data():
    X, y, names = load_breast_cancer()
    assert X.shape == (569, 31) and y.shape == (569,) and len(names) == 31
    assert y.sum() == 357
    np.testing.assert_allclose(X[:, :-1].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X[:, :-1].std(axis=0), 1)
    assert (X[:, -1] == 1).all()
    raw = load_breast_cancer(standardize=False)[0]
    assert raw[0, 0] == 17.99 and raw[-1, 29] == 0.07039


def test_the_main_job():
    run = subprocess.run([sys.executable, "-m", "sbpfast"], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    for word in (
        "sbpfast",
        "instruction set",
        "569 cases, 31 coefficients",
        "price",
        "pathwise",
        "score",
        "combined",
        "exact",
    ):
        assert word in run.stdout
    rows = {tuple(line.split()[:2]): line.split() for line in run.stdout.splitlines() if " ms " in line}
    assert len(rows) == 9
    assert 0 < float(rows["price", "mc"][2].rstrip("%")) < 5
    assert float(rows["exact", "none"][2].rstrip("%")) == 0


def test_the_point_is_near_the_optimum():
    target, q = problem()
    _, g, hessian = target._exact(q, q._form(), 1)
    residual = np.linalg.norm(q._chol.T @ g) + np.linalg.norm(np.eye(31) + q._chol.T @ hessian @ q._chol)
    assert residual < 5.0


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["--n-samples", "256", "--plot", str(tmp_path / "error.png")]) == 0
    assert os.path.getsize(tmp_path / "error.png") > 10_000


@pytest.mark.parametrize("arguments", [["--n-samples", "0"], ["--n-samples", "x"], ["--seed", "-1"], ["--nothing"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err
