"""python -m sbpfast, and the data set it runs on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sbpfast as sb
from sbpfast.__main__ import main
from sbpfast._command import fit, table
from sbpfast._command.tour import problem
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--n-samples", "4", "fit", "a.csv", "--response", "y", "--model", "probit"],
        ["--n-samples", "0"],
        ["--n-samples", "x"],
        ["--seed", "-1"],
        ["--nothing"],
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


# -- fit --------------------------------------------------------------------------------------------------------------

ROWS = np.random.default_rng(0).standard_normal((60, 2))
LABELS = (np.random.default_rng(1).random(60) < 1 / (1 + np.exp(-ROWS[:, 0]))).astype(int)
FIT = ("fit", "table.csv", "--response", "ill", "--model")


def write(columns, names="age,dose,ill", mark=","):
    lines = [names.replace(",", mark), *(mark.join(f"{value:.17g}" for value in row) for row in zip(*columns))]
    Path("table.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write([*ROWS.T, LABELS])
    return tmp_path


def test_fit_of_any_delimiter_and_its_names(folder, capsys):
    tables = []
    for mark in ",;\t":
        write([*ROWS.T, LABELS], mark=mark)
        assert main([*FIT, "logistic", "--out", "fit.npz"]) == 0
        tables.append(capsys.readouterr().out.splitlines()[1:])
        assert sb.Fit.load("fit.npz").summary().names == ["intercept", "age", "dose"]
    assert tables[0] == tables[1] == tables[2]


def test_fit_takes_options_before_its_name(folder, capsys):
    pytest.importorskip("matplotlib")
    shown = []
    for before, after in ((["--seed", "5", "--plot", "top.png"], []), ([], ["--seed", "5"]), ([], [])):
        assert main([*before, *FIT, "logistic", *after]) == 0
        shown.append(capsys.readouterr().out.splitlines()[1:-1] if before else capsys.readouterr().out.splitlines()[1:])
    assert shown[0] == shown[1] != shown[2]
    assert os.path.getsize("top.png") > 10_000


@pytest.mark.parametrize(
    "options, message",
    [
        (["--out", "nowhere/o.npz"], "--out: cannot write nowhere/o.npz"),
        (["--out", "."], "cannot write"),
        (["--out", "table.csv"], "would overwrite the table"),
        (["--plot", "nowhere/o.png"], "--plot: cannot write nowhere/o.png"),
        (["--plot", "o.xyz"], "must end in one of"),
        (["--prior-scale", "1e-300"], "at least 1e-100"),
        (["--prior-scale", "nan"], "must be positive"),
        (["--seed", "-1"], "non-negative"),
    ],
)
def test_fit_refuses_options_before_it_works(folder, capsys, monkeypatch, options, message):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(fit.Fit, "summary", lambda *_: pytest.fail("fitted"))
    assert main([*FIT, "logistic", *options]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and not shown.out


@pytest.mark.parametrize(
    "text, message",
    [
        ("age,ill\n1,0\n\n\n2,1\nx,1\n", "the value of 'age' on line 6 is text, 'x'"),
        ('"the\nage",ill\n1,0\n\n,1\n', "on line 5 is missing"),
        ("age,ill\n1,0\n1_000,1\n", "'1_000'"),
        ("age;ill\n0,5;0\n1,5;1\n", "'0,5'; write decimals with a point"),
        ('age,ill\n"1,000",0\n2,1\n', "thousands without marks"),
        ("age,ill,\n1,0,\n2,1,\n", "column 3 of table.csv has no name"),
        ("age,ill\n1,1\n2,1\n", "one value only, 1; the logistic model needs both 0 and 1"),
        ("intercept,ill\n1,0\n2,1\n", "'intercept' is that of another parameter"),
        ("age,ill\n0.1,0\n0.1,1\n0.1,1\n", "'age' is constant"),
        ("age,ill\n1e200,0\n-1e200,1\n", "'age' has values of 1e+200; use --standardize"),
        ("age,ill\n" + "1" * 200_000 + ",0\n", "line 2: field larger than field limit"),
        ("age,ill\n", "at least one row"),
        ("", "at least one row"),
        ("age,ill\n1,0\n1e999,1\n", "not finite"),
        ("age,ill\n1,0\n2,1,3\n", "line 3 has 3 fields"),
    ],
)
def test_fit_says_what_is_wrong_with_a_table(folder, capsys, text, message):
    Path("table.csv").write_text(text)
    assert main([*FIT, "logistic"]) == 2
    assert message in capsys.readouterr().err


def test_fit_of_columns_in_extreme_units(folder, capsys):
    tables = []
    for scale in (1.0, 2.0**600, 2.0**-600):
        write([scale * ROWS[:, 0], ROWS[:, 1], LABELS])
        for model in ("logistic", "linear"):
            assert main([*FIT, model, "--standardize"]) == 0
            tables.append(capsys.readouterr().out.splitlines()[1:])
    assert tables[:2] == tables[2:4] == tables[4:]


def test_fit_names_dependent_columns(folder, capsys):
    write([ROWS[:, 0], 1.0 - 2.0 * ROWS[:, 0], ROWS[:, 1], LABELS], names="age,years,dose,ill")
    for model in ("logistic", "linear"):
        assert main([*FIT, model, "--prior-scale", "inf"]) == 2
        assert "columns 'intercept', 'age', 'years' are linearly dependent" in capsys.readouterr().err
        assert main([*FIT, model]) == 0


def test_fit_reads_a_table_quickly(folder, monkeypatch):
    monkeypatch.setattr(table, "_numbers", lambda *_: pytest.fail("field by field"))
    columns, X, y = table.read_table("table.csv", "ill")
    assert columns == ["age", "dose"]
    np.testing.assert_array_equal(X, ROWS)
    np.testing.assert_array_equal(y, LABELS)
