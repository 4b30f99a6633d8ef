"""Regressions of rows that are streamed have the bits of the same rows in memory, and refuse what they refuse."""

import numpy as np
import pytest

import sbpfast as sb
from sbpfast._means import BLOCK_ROWS

pytestmark = pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning")
N = BLOCK_ROWS + 5000
FAR = BLOCK_ROWS + 321


@pytest.fixture(scope="module")
def data():
    """X of other units than 1, weights, offset, and responses of every kind."""
    rng = np.random.default_rng(8)
    X = np.column_stack([3.0 + 2.0 * rng.normal(size=N), 0.1 * rng.normal(size=N)])
    weights, offset = rng.integers(0, 4, N).astype(float), 0.2 * rng.normal(size=N)
    eta = 0.3 * X[:, 0] - X[:, 1] - 1.0 + offset
    responses = {
        "two": np.where(rng.random(N) < 1.0 / (1.0 + np.exp(-eta)), "yes", "no"),
        "three": rng.integers(0, 2, N) + (eta > 0.3),
        "counts": rng.poisson(np.exp(eta)).astype(float),
        "positive": np.exp(eta) * rng.gamma(2.0, 0.5, N),
        "real": 10.0 * eta + rng.standard_t(4.0, N),
    }
    return X, responses, weights, offset


MODELS = {
    "logistic": (sb.BayesianLogisticRegression, {}, "two"),
    "balanced": (sb.BayesianLogisticRegression, {"class_weight": "balanced"}, "two"),
    "absolute": (sb.BayesianLogisticRegression, {"autoscale": False, "fit_intercept": False}, "two"),
    "learned": (sb.BayesianLogisticRegression, {"prior_scale": "auto"}, "two"),
    "multinomial": (sb.BayesianLogisticRegression, {}, "three"),
    "probit": (sb.BayesianProbitRegression, {}, "two"),
    "poisson": (sb.BayesianPoissonRegression, {}, "counts"),
    "linear": (sb.BayesianLinearRegression, {}, "real"),
    "student_t": (sb.BayesianStudentTRegression, {"scale": 2.0}, "real"),
    "robust": (sb.BayesianStudentTRegression, {}, "real"),
    "negative_binomial": (sb.BayesianNegativeBinomialRegression, {}, "counts"),
    "gamma": (sb.BayesianGammaRegression, {}, "positive"),
}


def same_posterior(one, other):
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.intercept_, other.intercept_)
    np.testing.assert_array_equal(one.coef_cov_, other.coef_cov_)
    np.testing.assert_array_equal(one.prior_scale_, other.prior_scale_)
    assert one.elbo_ == other.elbo_ and one.learned_ == other.learned_
    if hasattr(one, "classes_"):
        np.testing.assert_array_equal(one.classes_, other.classes_)


def batches(size, **columns):
    return lambda: ({k: v[i : i + size] for k, v in columns.items()} for i in range(0, N, size))


@pytest.mark.parametrize("name", MODELS)
def test_bits_of_memory(data, name):
    X, responses, weights, offset = data
    model, settings, kind = MODELS[name]
    y, more = responses[kind], {} if kind == "three" else {"offset": offset}
    memory = model(random_state=0, **settings).fit(X, y, sample_weight=weights, **more)
    arrays = sb.Rows.from_arrays(X, y, weights, **more)
    same_posterior(memory, model(random_state=0, **settings).fit(arrays))
    if name in ("logistic", "multinomial", "linear"):
        rows = sb.Rows.from_batches(batches(9_999, X=X, y=y, weights=weights, **more), dim=2)
        same_posterior(memory, model(random_state=0, **settings).fit(rows))
        np.testing.assert_array_equal(memory.predict(X[:9]), model(**settings).fit(rows).predict(X[:9]))


@pytest.mark.parametrize("name", ["logistic", "balanced", "multinomial", "linear", "gamma"])
def test_bits_of_memory_on_dask(data, name):
    da = pytest.importorskip("dask.array")
    X, responses, weights, _ = data
    model, settings, kind = MODELS[name]
    y = responses[kind]
    memory = model(random_state=0, **settings).fit(X, y, sample_weight=weights)
    dX, dy, dw = da.from_array(X, chunks=(17_000, 1)), da.from_array(y, chunks=9_000), da.from_array(weights)
    same_posterior(memory, model(random_state=0, **settings).fit(dX, dy, sample_weight=dw))


def test_collections_of_dask_are_never_loaded(data, monkeypatch):
    da = pytest.importorskip("dask.array")
    X, responses, _, _ = data
    dX, dy = da.from_array(X, chunks=9_000), da.from_array(responses["counts"], chunks=9_000)
    monkeypatch.setattr(da.Array, "__array__", lambda *_, **__: pytest.fail("loaded as a whole"))
    sb.BayesianPoissonRegression().fit(dX, dy)
    with pytest.raises(TypeError, match="collections of dask are taken by fit: predict chunk by chunk"):
        sb.BayesianPoissonRegression().fit(X, responses["counts"]).predict(dX)
    with pytest.raises(TypeError, match="y is a collection of dask but X is in memory"):
        sb.BayesianPoissonRegression().fit(X, dy)


def test_frames_of_dask_have_names_and_text_labels(data):
    dd, pd = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
    X, responses, _, _ = data
    whole = pd.DataFrame(X, columns=["age", "dose"]).assign(y=responses["two"])
    frame = dd.from_pandas(whole, npartitions=4)
    memory = sb.BayesianLogisticRegression(random_state=0).fit(whole[["age", "dose"]], whole["y"])
    model = sb.BayesianLogisticRegression(random_state=0).fit(frame[["age", "dose"]], frame["y"])
    same_posterior(memory, model)
    assert list(model.feature_names_in_) == ["age", "dose"] and model.fit_.names == ["age", "dose", "intercept"]


def test_parquet_with_text(data, tmp_path):
    """The intercept of the rows is the model's; labels and categories are found in passes of their own."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    X, responses, weights, _ = data
    colour = np.array(["red", "blue", "green"], dtype=object)[np.arange(N) % 3]
    table = pa.table({"a": X[:, 0], "colour": colour, "y": responses["two"], "w": weights})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=20_000)
    whole = np.column_stack([X[:, 0], colour == "green", colour == "red"])
    memory = sb.BayesianLogisticRegression(random_state=0).fit(whole, responses["two"], sample_weight=weights)
    for intercept in (True, False):
        rows = sb.Rows.from_parquet(tmp_path, weights="w", intercept=intercept)
        model = sb.BayesianLogisticRegression(random_state=0).fit(rows)
        same_posterior(memory, model)
        assert list(model.feature_names_in_) == ["a", "colour[green]", "colour[red]"] and model.n_features_in_ == 3


def test_trials_and_rates(data):
    X, responses, weights, _ = data
    trials = weights + responses["counts"] + 1.0
    memory = sb.BayesianLogisticRegression(random_state=0).fit(X, responses["counts"], trials=trials)
    rows = sb.Rows.from_arrays(X, responses["counts"], trials=trials)
    same_posterior(memory, sb.BayesianLogisticRegression(random_state=0).fit(rows))
    rates, exposure = responses["counts"] / (weights + 1.0), weights + 1.0
    memory = sb.BayesianPoissonRegression(random_state=0).fit(X, rates, sample_weight=exposure)
    rows = sb.Rows.from_arrays(X, rates, exposure)
    same_posterior(memory, sb.BayesianPoissonRegression(random_state=0).fit(rows))
    with pytest.raises(ValueError, match="the rows have trials, which this model does not take"):
        sb.BayesianPoissonRegression().fit(sb.Rows.from_arrays(X, rates, trials=exposure))


def test_groups_read_the_rows_into_memory(data):
    X, responses, _, _ = data
    few = slice(0, 3000)
    herd = np.arange(3000) % 12
    for kind in ("two", "counts"):
        family = {"two": "logistic", "counts": "poisson"}[kind]
        y = responses[kind][few]
        memory = sb.BayesianMixedRegression(family).fit(X[few], y, {"herd": herd})
        rows = sb.Rows.from_arrays(X[few], y)
        model = sb.BayesianMixedRegression(family).fit(rows, groups={"herd": herd})
        np.testing.assert_array_equal(memory.coef_, model.coef_)
    many = sb.Rows.from_arrays(np.broadcast_to(1.0, (2**26, 3)), np.broadcast_to(1.0, 2**26))
    with pytest.raises(ValueError, match="a regression with groups needs its rows in memory"):
        sb.BayesianMixedRegression("poisson").fit(many, groups={"herd": herd})


def test_what_is_wrong_is_said(data):
    X, responses, weights, offset = data
    y = responses["two"].astype(object)
    fit = sb.BayesianLogisticRegression().fit
    with pytest.raises(ValueError, match="sample_weight must not be given beside Rows"):
        fit(sb.Rows.from_arrays(X, y), sample_weight=weights)
    with pytest.raises(ValueError, match="the target y is None"):
        fit(X)
    y[FAR] = None
    with pytest.raises(ValueError, match=f"y must hold no missing labels, got None in row {FAR}"):
        fit(sb.Rows.from_arrays(X, y))
    with pytest.raises(ValueError, match="at least two classes, got 1 class"):
        fit(sb.Rows.from_arrays(X, np.full(N, "yes")))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        fit(sb.Rows.from_arrays(X, responses["real"]))
    with pytest.raises(ValueError, match="got more than 10000 different values"):
        fit(sb.Rows.from_arrays(X, np.arange(N)))
    with pytest.raises(ValueError, match="an offset belongs to the linear predictor of two classes, y has 3"):
        fit(sb.Rows.from_arrays(X, responses["three"], offset=offset))
    negative = weights.copy()
    negative[FAR] = -1.0
    with pytest.raises(ValueError, match=f"row {FAR}: weights must not be negative, got -1"):
        fit(sb.Rows.from_arrays(X, responses["two"], negative))
    with pytest.raises(ValueError, match="sample_weight must not be zero for every row"):
        fit(sb.Rows.from_arrays(X, responses["two"], 0.0 * weights))
    counts = responses["counts"].copy()
    counts[FAR] = -1.0
    with pytest.raises(ValueError, match=rf"row {FAR}: y must be not negative, got -1\.0"):
        sb.BayesianPoissonRegression().fit(sb.Rows.from_arrays(X, counts))
    once = iter([{"X": X, "y": responses["two"]}])
    with pytest.raises(ValueError, match="an iterator that is used up after one pass"):
        fit(sb.Rows.from_batches(lambda: once, dim=2))
    with pytest.raises(TypeError, match="Rows are taken by fit: predict block by block"):
        fit(X[:100], responses["two"][:100]).predict(sb.Rows.from_arrays(X, y))
