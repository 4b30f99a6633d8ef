"""Rows of Parquet files: the bits of memory, categories, and files that are not alike."""

import numpy as np
import pytest

import sbpfast as sb

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

N = 150_000


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    town = rng.choice(["york", "bath", "hull"], N)
    age, member = rng.normal(40.0, 10.0, N), rng.random(N) < 0.3
    y = (rng.random(N) < 1.0 / (1.0 + np.exp(-(0.02 * (age - 40.0) + 0.5 * (town == "york"))))).astype(np.int8)
    return pa.table({
        "town": pa.array(town).dictionary_encode(), "age": age, "member": member, "y": y, "w": rng.integers(1, 3, N)
    })  # fmt: skip


def in_memory(table):
    """X with the categories in order and an intercept, y, weights."""
    town, age, member, y, w = (np.asarray(table[name].to_numpy(zero_copy_only=False)) for name in table.column_names)
    X = np.column_stack([town == "hull", town == "york", age, member, np.ones(N)]).astype(float)
    return X, y.astype(float), w


def target_of(paths):
    return sb.targets.logistic_regression(sb.Rows.from_parquet(paths, weights="w"), prior_scale=2.0)


def test_one_file_and_a_folder_give_the_bits_of_memory(table, tmp_path):
    X, y, w = in_memory(table)
    memory = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=2.0, weights=w), rng=0)
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, start in enumerate(range(0, N, 40_001)):
        pq.write_table(table.slice(start, 40_001), folder / f"part-{i}.parquet", row_group_size=17_000)
    pq.write_table(table, tmp_path / "whole.parquet")
    for paths in (tmp_path / "whole.parquet", folder, sorted(folder.iterdir())):
        fit = sb.fit(target_of(paths), rng=0)
        np.testing.assert_array_equal(fit.q.mean, memory.q.mean)
        np.testing.assert_array_equal(fit.q.cov, memory.q.cov)
        assert fit.elbo == memory.elbo


def test_names_and_chosen_columns(table, tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    rows = sb.Rows.from_parquet(str(path), weights="w")
    assert rows.names == ["town[hull]", "town[york]", "age", "member", "intercept"]
    assert rows.shape == (N, 5)
    rows = sb.Rows.from_parquet(path, columns=["age"], intercept=False)
    assert rows.names == ["age"] and rows.dim == 1
    plain = table.set_column(0, "town", table["town"].cast(pa.string()))
    pq.write_table(plain, tmp_path / "plain.parquet")
    assert sb.Rows.from_parquet(tmp_path / "plain.parquet", columns=["town"]).names[:2] == ["town[hull]", "town[york]"]


def test_files_that_do_not_fit(table, tmp_path):
    one, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(table, one)
    pq.write_table(table.drop_columns(["age"]), other)
    with pytest.raises(ValueError, match=r"b\.parquet has no column 'age'; its columns are town, member, y, w"):
        sb.Rows.from_parquet([one, other])
    pq.write_table(table.set_column(1, "age", pa.array(["old"] * N)), other)
    with pytest.raises(ValueError, match=r"column 'age' holds text in .*b\.parquet, but numbers in"):
        sb.Rows.from_parquet([one, other])
    with pytest.raises(ValueError, match=r"has no column 'z'"):
        sb.Rows.from_parquet(one, response="z")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        sb.Rows.from_parquet(tmp_path / "c.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no \*\.parquet file"):
        sb.Rows.from_parquet(tmp_path / "empty")
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        sb.Rows.from_parquet(tmp_path / "text.parquet")
    with pytest.raises(TypeError, match="columns must be a list of names"):
        sb.Rows.from_parquet(one, columns="age")


def test_what_is_missing_names_its_row(table, tmp_path):
    age = table["age"].to_pylist()
    age[70_003] = None
    path = tmp_path / "t.parquet"
    pq.write_table(table.set_column(1, "age", pa.array(age)), path)
    with pytest.raises(ValueError, match="column 'age' is missing a value in row 70003"):
        target_of(path)
    age[70_003] = float("nan")
    pq.write_table(table.set_column(1, "age", pa.array(age)), path)
    with pytest.raises(ValueError, match="X must be finite, got nan in row 70003, column 'age'"):
        target_of(path)


def test_a_file_without_rows_beside_others(table, tmp_path):
    empty, full = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(table.slice(0, 0), empty)
    pq.write_table(table, full)
    assert sb.Rows.from_parquet([empty, full]).n_rows == N
    with pytest.raises(ValueError, match="there must be at least one row"):
        sb.Rows.from_parquet(empty)
