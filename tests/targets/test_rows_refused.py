"""Rows that cannot be used are refused with the place of what is wrong."""

import numpy as np
import pytest

import sbpfast as sb
from sbpfast._means import BLOCK_ROWS

N, D = BLOCK_ROWS + 500, 2
FAR = BLOCK_ROWS + 321


def columns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, D))
    return X, (X[:, 0] + rng.normal(size=N) > 0.0).astype(float)


def batches(X, y, size=10_000, **more):
    return lambda: (
        {"X": X[i : i + size], "y": y[i : i + size]} | {k: v[i : i + size] for k, v in more.items()}
        for i in range(0, len(y), size)
    )


def logistic(rows):
    return sb.targets.logistic_regression(rows, prior_scale=1.0)


def test_nan_in_a_far_row_names_it():
    X, y = columns()
    X[FAR, 1] = np.nan
    for rows in (sb.Rows.from_arrays(X, y), sb.Rows.from_batches(batches(X, y), dim=D)):
        with pytest.raises(ValueError, match=f"X must be finite, got nan in row {FAR}, column 1"):
            logistic(rows)


@pytest.mark.parametrize("name", ["y", "weights", "offset"])
def test_nan_beside_x_names_its_row(name):
    X, y = columns()
    vectors = {"y": y, "weights": np.ones(N), "offset": np.zeros(N)}
    vectors[name][FAR] = np.inf
    with pytest.raises(ValueError, match=f"{name} must be finite, got inf in row {FAR}"):
        logistic(sb.Rows.from_arrays(X, **vectors))


def test_a_response_outside_its_domain_names_its_row():
    X, y = columns()
    y[FAR] = 2.0
    with pytest.raises(ValueError, match=rf"row {FAR}: y must be 0 or 1, got 2\.0"):
        logistic(sb.Rows.from_arrays(X, y))


def test_a_negative_weight_names_its_row():
    X, y = columns()
    weights = np.ones(N)
    weights[FAR] = -1.0
    with pytest.raises(ValueError, match=f"row {FAR}: weights must not be negative"):
        logistic(sb.Rows.from_arrays(X, y, weights))


def test_an_iterator_that_is_used_up():
    X, y = columns()
    with pytest.raises(TypeError, match=r"make must be callable .* got generator"):
        sb.Rows.from_batches(batches(X, y)(), dim=D)
    once = batches(X, y)()
    target = logistic(sb.Rows.from_batches(lambda: once, dim=D))
    with pytest.raises(ValueError, match=f"there were {N} at first, then 0; an iterator that is used up"):
        sb.fit(target)


def test_batches_of_other_widths_and_kinds():
    X, y = columns()
    with pytest.raises(ValueError, match="X must have 3 columns in every batch, got 2 in that of row 0"):
        logistic(sb.Rows.from_batches(batches(X, y), dim=3))
    with pytest.raises(TypeError, match="X must hold real numbers, got dtype"):
        logistic(sb.Rows.from_batches(batches(X.astype(str), y), dim=D))
    with pytest.raises(ValueError, match="y must have one entry for each row of X: a batch at row 0 has 10000 rows"):
        logistic(sb.Rows.from_batches(lambda: iter([{"X": X[:10_000], "y": y[:9]}]), dim=D))
    with pytest.raises(ValueError, match=r"every batch must have the same entries beside X, got \['y'\], then"):
        logistic(sb.Rows.from_batches(lambda: iter([{"X": X, "y": y}, {"X": X, "y": y, "weights": np.ones(N)}]), dim=D))
    with pytest.raises(ValueError, match="batch 0 must have X and may have"):
        logistic(sb.Rows.from_batches(lambda: iter([{"x": X, "y": y}]), dim=D))
    with pytest.raises(TypeError, match="batch 0 must be a dict"):
        logistic(sb.Rows.from_batches(lambda: iter([(X, y)]), dim=D))


def test_no_rows_at_all():
    with pytest.raises(ValueError, match="there must be at least one row"):
        logistic(sb.Rows.from_batches(lambda: iter([]), dim=D))
    empty = {"X": np.zeros((0, D)), "y": np.zeros(0)}
    with pytest.raises(ValueError, match="there must be at least one row"):
        logistic(sb.Rows.from_batches(lambda: iter([empty, empty]), dim=D))


def test_an_error_of_the_source_reaches_the_caller():
    X, y = columns()

    def make():
        yield {"X": X, "y": y}
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        logistic(sb.Rows.from_batches(make, dim=D))


def test_what_the_rows_bring_is_not_given_twice():
    X, y = columns()
    rows = sb.Rows.from_arrays(X, y)
    with pytest.raises(ValueError, match="y must not be given beside Rows"):
        sb.targets.logistic_regression(rows, y, prior_scale=1.0)
    with pytest.raises(ValueError, match="weights must not be given beside Rows"):
        sb.targets.logistic_regression(rows, weights=np.ones(N), prior_scale=1.0)
    with pytest.raises(TypeError, match="y must be given with X"):
        sb.targets.logistic_regression(X, prior_scale=1.0)
    with pytest.raises(ValueError, match="the rows have trials, which this model does not take"):
        sb.targets.probit_regression(sb.Rows.from_arrays(X, y, trials=np.ones(N)), prior_scale=1.0)


def test_arrays_that_do_not_fit():
    X, y = columns()
    with pytest.raises(ValueError, match=rf"y must have one entry for each of the {N} rows of X, got shape \(7,\)"):
        sb.Rows.from_arrays(X, y[:7])
    with pytest.raises(ValueError, match="X must have 2 dimension"):
        sb.Rows.from_arrays(X[:, 0], y)


@pytest.mark.parametrize("end", [KeyboardInterrupt, ConnectionError("the store is gone")])
def test_an_interrupt_leaves_the_last_whole_step(end):
    """In the middle of a pass: what there is comes back, and a fit that goes on from it ends where one would."""
    X, y = columns()
    passes = []

    def make():
        passes.append(1)
        for i, batch in enumerate(batches(X, y)()):
            if len(passes) == 5 and i == 3:
                raise end
            yield batch

    target = logistic(sb.Rows.from_batches(make, dim=D))
    with pytest.warns(sb.fitting.FitWarning, match="Interrupted"):
        stopped = sb.fit(target)
    whole = sb.fit(logistic(sb.Rows.from_arrays(X, y)))
    resumed = sb.fit(target, stopped)
    assert not stopped.converged and resumed.converged
    np.testing.assert_array_equal(resumed.q.mean, whole.q.mean)


def test_who_needs_rows_in_memory_says_so():
    X, y = columns()
    rows = sb.Rows.from_arrays(X, y)
    with pytest.raises(TypeError, match="X must be in memory"):
        sb.BayesianLogisticRegression().fit(X, y).predict(rows)


def test_ragged_columns_are_refused_in_words():
    with pytest.raises(ValueError, match="weights is not a rectangular array"):
        sb.Rows.from_arrays(np.ones((2, 1)), np.ones(2), weights=[1, [2]])
    batch = {"X": np.ones((2, 1)), "y": [1, [2]]}
    with pytest.raises(ValueError, match="y is not a rectangular array"):
        sb.targets.logistic_regression(sb.Rows.from_batches(lambda: iter([batch]), dim=1), prior_scale=1.0)
