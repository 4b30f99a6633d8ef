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
        assert sb.Fit.load("fit.npz").summary().names == ["age", "dose", "intercept"]
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize("model", ["logistic", "probit", "poisson", "linear", "negative_binomial"])
def test_fit_of_every_model_shows_its_table_and_saves(folder, capsys, model):
    assert main([*FIT, model, "--standardize", "--out", "fit.npz"]) == 0
    shown = capsys.readouterr().out
    assert "dose" in shown and "k-hat" in shown and "ELBO" in shown
    assert sb.Fit.load("fit.npz").converged


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
        ("age,ill\n1,0\n2\n", "line 3 has 1 fields"),
        ("age,ill\n1,0\n2,3\n", "0 and 1"),
        ("age,cured\n1,0\n2,1\n", "no column 'ill'"),
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
    monkeypatch.setattr(table, "_columns", lambda *_: pytest.fail("field by field"))
    read = table.read_table("table.csv")
    assert list(read.columns) == ["age", "dose", "ill"]
    np.testing.assert_array_equal(np.stack(list(read.columns.values())), [*ROWS.T, LABELS])


# -- tables as people have them ---------------------------------------------------------------------------------------

R = np.random.default_rng(3)
SEX, DIET = R.choice(["f", "m"], 60), R.choice(["low", "mid", "high"], 60)
PEOPLE = {"age": ROWS[:, 0], "sex": SEX, "diet": DIET, "ill": np.where(LABELS == 1, "yes", "no")}


def people(path="people.csv", index=False, **more):
    columns = {**({"": np.arange(60)} if index else {}), **PEOPLE, **more}
    lines = [",".join(columns), *(",".join(str(value) for value in row) for row in zip(*columns.values()))]
    Path(path).write_text("\n".join(lines) + "\n")
    return ["fit", path, "--response", "ill", "--model"]


def rows_of(text):
    """The table's rows: name to numbers."""
    body = text.split("psis sd\n")[1].splitlines()
    return {line.rsplit(None, 8)[0]: [float(cell) for cell in line.rsplit(None, 8)[1:]] for line in body}


def test_fit_takes_text_as_categories_like_the_estimator(folder, capsys):
    assert main([*people(), "logistic"]) == 0
    shown = capsys.readouterr().out
    assert "logistic regression of 'ill' = 'yes' on 4 columns, 60 rows" in shown
    X = np.column_stack([ROWS[:, 0], SEX == "m", DIET == "low", DIET == "mid"])
    want = sb.BayesianLogisticRegression(random_state=0).fit(X, PEOPLE["ill"])
    rows = rows_of(shown)
    assert list(rows) == ["age", "sex[m]", "diet[low]", "diet[mid]", "intercept"]
    np.testing.assert_allclose([row[0] for row in rows.values()], [*want.coef_[0], *want.intercept_], rtol=1e-4)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_fit_leaves_out_an_index(folder, capsys, name):
    people(index=True)
    text = Path("people.csv").read_text()
    Path("people.csv").write_text(name + text)
    assert main(["fit", "people.csv", "--response", "ill", "--model", "probit"]) == 0
    assert "on 4 columns" in capsys.readouterr().out


def test_fit_reads_standard_input_and_chosen_columns(folder, capsys, monkeypatch):
    people(**{"a, b": ROWS[:, 1]})
    Path("people.csv").write_text(Path("people.csv").read_text().replace("a, b", '"a, b"'))
    with open("people.csv", "rb") as file:
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": file}))
        columns = ["--columns", 'age, "a, b"', "--level", "0.8"]
        assert main(["fit", "-", "--response", "ill", "--model", "logistic", *columns]) == 0
    shown = capsys.readouterr().out
    assert list(rows_of(shown)) == ["age", "a, b", "intercept"] and " 10% " in shown and " 90% " in shown


def test_fit_drops_rows_with_gaps_where_asked(folder, capsys):
    gaps = [("" if i % 7 == 3 else f"{x:.17g}") for i, x in enumerate(ROWS[:, 1])]
    command = [*people(dose=gaps, noted=[""] * 60), "logistic", "--columns", "age,dose"]
    assert main(command) == 2
    assert "the value of 'dose' on line 5 is missing; " in capsys.readouterr().err
    assert main([*command, "--drop-missing"]) == 0
    shown = capsys.readouterr().out
    keep = np.arange(60) % 7 != 3
    want = sb.BayesianLogisticRegression(random_state=0).fit(ROWS[keep], LABELS[keep])
    assert f"{keep.sum()} rows ({60 - keep.sum()} with missing values left out)" in shown
    np.testing.assert_allclose([rows_of(shown)[name][0] for name in ("age", "dose")], want.coef_[0], rtol=1e-4)


def test_fit_takes_weights_offsets_trials_and_students_t(folder, capsys):
    n = R.integers(1, 5, 60)
    y, w, offset, t = R.binomial(n, 0.4), R.integers(0, 3, 60), R.standard_normal(60), ROWS[:, 0] + R.standard_t(4, 60)
    write([*ROWS.T, y, n, w, offset, t], names="age,dose,y,n,w,offset,t")
    for options, want in (
        (["y", "--model", "logistic", "--trials", "n", "--weights", "w"],
         sb.BayesianLogisticRegression(random_state=0).fit(ROWS, y, w, trials=n)),
        (["y", "--model", "poisson", "--offset", "offset", "--no-autoscale", "--prior-scale", "0.3"],
         sb.BayesianPoissonRegression(random_state=0, autoscale=False, prior_scale=0.3).fit(ROWS, y, offset=offset)),
        (["t", "--model", "student_t", "--df", "3"],
         sb.BayesianStudentTRegression(df=3.0, random_state=0).fit(ROWS, t)),
    ):  # fmt: skip
        assert main(["fit", "table.csv", "--columns", "age,dose", "--response", *options]) == 0
        rows = rows_of(capsys.readouterr().out)
        np.testing.assert_allclose([rows[name][0] for name in ("age", "dose")], want.coef_.ravel(), rtol=1e-4)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--columns", "age,nothing"], "there is no column 'nothing' in people.csv; its columns are age, sex"),
        (["--columns", "age,ill"], "column 'ill' cannot explain"),
        (["--weights", "sex"], "column 'sex' must hold numbers, got text"),
        (["--level", "95"], "--level must lie between 0 and 1"),
        (["--columns", "name"], "'name' has 60 different texts in 60 rows"),
    ],
)
def test_fit_says_which_column_is_wrong(folder, capsys, options, message):
    assert main([*people(name=[f"n{i}" for i in range(60)]), "logistic", *options]) == 2
    assert message in capsys.readouterr().err


def test_fit_says_what_a_model_needs(folder, capsys):
    for model, message in (("linear", "needs a response of numbers"), ("poisson", "needs a response of numbers")):
        assert main([*people(), model]) == 2
        assert message in capsys.readouterr().err
    command = [*people(), "probit"]
    command[command.index("ill")] = "diet"
    assert main(command) == 2
    assert "two values, 'diet' has 3" in capsys.readouterr().err
    command[-1] = "logistic"
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "'diet', one of 3 classes, on 3 columns" in shown and "age[mid]" in shown
    for model, message in (("gamma", "positive numbers, got 0"), ("negative_binomial", "whole numbers, not negative")):
        write([ROWS[:, 0], np.where(LABELS == 1, 0.0, -1.5 if "whole" in message else 2.0)], names="age,y")
        assert main(["fit", "table.csv", "--response", "y", "--model", model]) == 2
        assert message in capsys.readouterr().err


def test_fit_by_a_formula(folder, capsys):
    pytest.importorskip("formulae")
    command = people(year=np.tile([2001, 2002, 2003], 20), n=np.full(60, 7), k=np.arange(60) % 5, gap=["", *"1" * 59])
    formula = ["fit", "people.csv", "--seed", "0", "--formula"]
    assert main([*formula, "ill ~ age + sex + C(year) + age:sex", "--family", "logistic", "--prior-scale", "auto"]) == 0
    shown = capsys.readouterr().out
    assert "logistic regression of 'ill ~ age" in shown and "60 rows" in shown and "prior_scale" in shown
    assert list(rows_of(shown)) == ["age", "sex[m]", "C(year)[2002]", "C(year)[2003]", "age:sex[m]", "intercept"]
    assert main([*formula, "k / n ~ age + diet", "--model", "logistic", "--weights", "n", "--out", "f.npz"]) == 0
    assert sb.Fit.load("f.npz").names == ["age", "diet[low]", "diet[mid]", "intercept"]
    assert main([*formula, "k ~ age + gap", "--family", "poisson", "--drop-missing"]) == 0
    assert "59 rows (1 with missing values left out)" in capsys.readouterr().out
    capsys.readouterr()
    mixed = ["k / n ~ age + (1 | diet)", "--family", "logistic", "--out", "mixed.npz"]
    assert main([*formula, *mixed]) == 0
    shown = capsys.readouterr().out
    assert "logistic regression of 'k / n ~ age + (1 | diet)', 60 rows" in shown and "diet" in shown.split("rows")[1]
    assert sb.load("mixed.npz").coef_.shape == (1,)
    for options, message in (
        (["k ~ age + gap", "--family", "poisson"], "the value of 'gap' on line 2 is missing"),
        (["k ~ height", "--family", "poisson"], "no column 'height'"),
        (["k ~ age +", "--family", "poisson"], "cannot be read"),
        (["k ~ age", "--family", "poisson", "--response", "k"], "--response does not go with --formula"),
        (["k ~ age", "--family", "poisson", "--columns", "age"], "--columns does not go with --formula"),
        (["k / n ~ age", "--family", "gamma"], "takes no proportions"),
        (["diet ~ age", "--family", "poisson"], "y must hold real numbers"),
    ):
        assert main([*formula, *options]) == 2
        assert message in capsys.readouterr().err
    assert main([*command[:2], "--model", "logistic"]) == 2
    assert "--response COLUMN, or --formula" in capsys.readouterr().err


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"sbpfast {sb.__version__}\n"
