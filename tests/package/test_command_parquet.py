"""python -m sbpfast fit of Parquet files: the answers of rows in memory, and more rows than the memory allowed."""

import os
import subprocess
import sys

import numpy as np
import pytest

import sbpfast as sb
from sbpfast.__main__ import main
from sbpfast._means import BLOCK_ROWS

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
pytest.importorskip("formulae")
pd = pytest.importorskip("pandas")
N = BLOCK_ROWS + 4000


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=N), rng.integers(1, 4, N)
    colour = np.array(["red", "blue", "green"])[rng.integers(0, 3, N)]
    answer = np.where(x + 0.3 * z - 1.0 + rng.logistic(size=N) > 0.0, "yes", "no")
    columns = {"x": x, "z": z, "colour": colour, "answer": answer, "count": rng.poisson(np.exp(0.3 * x))}
    return pd.DataFrame(columns | {"time": rng.uniform(0.5, 2.0, N), "w": rng.integers(1, 3, N)})


@pytest.fixture(scope="module")
def folder(frame, tmp_path_factory):
    """The rows in two files, texts as dictionaries."""
    path = tmp_path_factory.mktemp("rows")
    table = pa.table({name: pa.array(frame[name].to_numpy()) for name in frame})
    table = table.set_column(2, "colour", table["colour"].dictionary_encode())
    pq.write_table(table.slice(0, 30_000), path / "a.parquet")
    pq.write_table(table.slice(30_000), path / "b.parquet")
    return path


def fitted(folder, tmp_path, *options):
    out = tmp_path / "fit.npz"
    assert main(["fit", str(folder), *options, "--out", str(out)]) == 0
    return sb.Fit.load(out)


@pytest.mark.parametrize(
    ("formula", "family"),
    [
        ("answer ~ x + C(z)*x + colour + np.exp(x)", "logistic"),
        ('answer["yes"] ~ x:colour', "logistic"),
        ("count ~ x + offset(np.log(time))", "poisson"),
        ("np.log(time) ~ 0 + x + C(z)", "linear"),
    ],
)
def test_a_formula_is_that_of_the_frame(frame, folder, tmp_path, formula, family, capsys):
    model = {
        "logistic": sb.BayesianLogisticRegression,
        "poisson": sb.BayesianPoissonRegression,
        "linear": sb.BayesianLinearRegression,
    }[family]
    whole = model.from_formula(formula, frame, sample_weight="w", random_state=0)
    streamed = fitted(folder, tmp_path, "--formula", formula, "--family", family, "--weights", "w")
    np.testing.assert_array_equal(streamed.q.mean, whole.fit_.q.mean)
    np.testing.assert_array_equal(streamed.q.cov, whole.fit_.q.cov)
    assert streamed.names == whole.fit_.names
    assert f"{family} regression of {formula!r}, {N} rows" in capsys.readouterr().out


def test_columns_are_those_of_rows(frame, folder, tmp_path, capsys):
    options = ["--response", "answer", "--model", "logistic", "--columns", "x,colour", "--weights", "w"]
    streamed = fitted(folder, tmp_path, *options)
    X = np.column_stack([frame["x"], frame["colour"] == "green", frame["colour"] == "red"])
    whole = sb.BayesianLogisticRegression(random_state=0).fit(X, frame["answer"], sample_weight=frame["w"])
    np.testing.assert_array_equal(streamed.q.mean, whole.fit_.q.mean)
    assert streamed.names == ["x", "colour[green]", "colour[red]", "intercept"]
    assert f"logistic regression of 'answer' = 'yes' on 3 columns, {N} rows" in capsys.readouterr().out


def test_groups_are_read_into_memory(frame, tmp_path, capsys):
    few = frame.head(2000)
    pq.write_table(
        pa.table({name: few[name].to_numpy() for name in ("x", "colour", "count")}), tmp_path / "few.parquet"
    )
    assert (
        main(["fit", str(tmp_path / "few.parquet"), "--formula", "count ~ x + (1 | colour)", "--family", "poisson"])
        == 0
    )
    assert "poisson regression of 'count ~ x + (1 | colour)', 2000 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--formula", "answer ~ scale(x)"], "scale(...) needs its whole column at once"),
        (["--formula", "answer ~ I(x - np.mean(x))"], "makes numbers of a row that depend on other rows"),
        (["--formula", "answer ~ age"], "there is no column 'age'; the columns are x, z, colour"),
        (["--formula", "answer ~ C(x)"], "column 'x' has more than 1000 different values, too many for categories"),
        (["--formula", "answer ~ 1"], "must have a column beside the intercept"),
        (["--formula", "answer ~ x", "--drop-missing"], "--drop-missing is not for Parquet files"),
        (["--response", "answer", "--standardize"], "--standardize is not for Parquet files"),
        (["--response", "x"], "Unknown label type: continuous"),
        (["--response", "age"], "has no column 'age'"),
    ],
)
def test_what_cannot_be_streamed_is_said(folder, options, message, capsys):
    assert main(["fit", str(folder), "--model", "logistic", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_value_names_its_row(frame, tmp_path, capsys):
    x = frame["x"].to_numpy().copy()
    x[BLOCK_ROWS + 77] = np.nan
    pq.write_table(pa.table({"x": x, "y": frame["answer"].to_numpy()}), tmp_path / "gap.parquet")
    command = ["fit", str(tmp_path / "gap.parquet"), "--model", "logistic"]
    assert main([*command, "--formula", "y ~ x"]) == 2
    assert f"column 'x' is missing a value in row {BLOCK_ROWS + 77}" in capsys.readouterr().err
    assert main([*command, "--response", "y"]) == 2
    assert f"X must be finite, got nan in row {BLOCK_ROWS + 77}, column 'x'" in capsys.readouterr().err


CHILD = """
import re, resource, sys
import numpy, pandas, pyarrow, pyarrow.compute, pyarrow.parquet, formulae, formulae.transforms
from sbpfast.__main__ import main
from sbpfast.targets._parquet import ParquetColumns

room, path, *command = sys.argv[1:]
with open("/proc/self/status") as file:
    limit = 1024 * int(re.search(r"VmData:\\s+(\\d+)", file.read())[1]) + int(room)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
if command:
    sys.exit(main(["fit", path, *command]))
columns = ParquetColumns(path)
parts = [numpy.column_stack([*batch.values()]) for batch in columns.batches(columns.names)]
print(numpy.concatenate(parts).shape)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
def test_more_rows_than_the_memory_allowed(tmp_path):
    """Less memory is allowed than the rows need: held whole they fail, streamed they do not."""
    rng = np.random.default_rng(0)
    n, d, room = 2_800_000, 6, 144 * 2**20
    X = np.tile(rng.normal(size=(n // 20, d)), (20, 1))
    y = (X[:, 0] + rng.logistic(size=n) > 0.0).astype(float)
    path = tmp_path / "big.parquet"
    columns = {f"x{i}": X[:, i] for i in range(d)} | {"y": y}
    pq.write_table(pa.table(columns), path, row_group_size=BLOCK_ROWS, compression="none", use_dictionary=False)
    assert n * (d + 1) * 8 > room
    one = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "2",
    }

    def run(*command):
        arguments = [sys.executable, "-c", CHILD, str(room), str(path), *command]
        return subprocess.run(arguments, env=os.environ | one, capture_output=True, text=True, timeout=300)

    whole = run()
    assert whole.returncode != 0 and "MemoryError" in whole.stderr
    for command in (["--formula", "y ~ x0 + x1"], ["--response", "y"]):
        streamed = run(*command, "--family", "logistic")
        assert streamed.returncode == 0, streamed.stderr
        assert f"{n} rows" in streamed.stdout and "converged" in streamed.stdout
