"""Rows that are streamed give the bits of the same rows in memory, wherever they lie and however they arrive."""

import numpy as np
import pytest

import sbpfast as sb
from sbpfast._means import BLOCK_ROWS

N, D = 2 * BLOCK_ROWS + 12345, 4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    X = np.column_stack([rng.normal(size=(N, D - 1)), np.ones(N)])
    eta = X @ [0.4, -0.8, 0.2, 0.3]
    return (
        X,
        (rng.random(N) < 1.0 / (1.0 + np.exp(-eta))).astype(float),
        rng.integers(1, 4, N),
        0.1 * rng.normal(size=N),
    )


def batches_of(sizes, **columns):
    """Batches of these sizes, over and over."""

    def make():
        start, i = 0, 0
        while start < len(columns["X"]):
            size = sizes[i % len(sizes)]
            yield {name: column[start : start + size] for name, column in columns.items()}
            start, i = start + size, i + 1

    return make


def same_fit(one, other):
    np.testing.assert_array_equal(one.q.mean, other.q.mean)
    np.testing.assert_array_equal(one.q.cov, other.q.cov)
    np.testing.assert_array_equal(one.elbo_trace, other.elbo_trace)


def sources(data, folder):
    """The same rows in every source that needs nothing but NumPy."""
    X, y, weights, offset = data
    for name, array in {"X": X, "y": y}.items():
        np.save(folder / f"{name}.npy", array)
    columns = {"X": X, "y": y, "weights": weights, "offset": offset}
    yield sb.Rows.from_arrays(*columns.values())
    yield sb.Rows.from_arrays(
        np.load(folder / "X.npy", mmap_mode="r"), np.load(folder / "y.npy", mmap_mode="r"), weights, offset
    )
    yield sb.Rows.from_batches(batches_of([BLOCK_ROWS], **columns), dim=D)
    yield sb.Rows.from_batches(batches_of([1000, 0, 100_001, 7], **columns), dim=D)
    yield sb.Rows.from_batches(batches_of([N], **columns), dim=D)


def test_every_source_gives_the_bits_of_memory(data, tmp_path):
    X, y, weights, offset = data
    memory = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0, weights=weights, offset=offset), rng=0)
    assert memory.converged
    for rows in sources(data, tmp_path):
        same_fit(memory, sb.fit(sb.targets.logistic_regression(rows, prior_scale=1.0), rng=0))
        assert rows.shape == (N, D)


@pytest.mark.parametrize("structure", ["diagonal", "low_rank"])
def test_other_structures(data, structure):
    X, y, _, _ = data
    memory = sb.fit(sb.targets.probit_regression(X, y, prior_scale=1.0), structure=structure, rng=0)
    rows = sb.Rows.from_batches(batches_of([70_000], X=X, y=y), dim=D)
    same_fit(memory, sb.fit(sb.targets.probit_regression(rows, prior_scale=1.0), structure=structure, rng=0))


def test_few_rows_of_many_columns_take_newtons_steps(data):
    """Those that keep or recompute what a step needs of every row."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 30))
    y = (X[:, 0] + rng.normal(size=400) > 0.0).astype(float)
    rows = sb.Rows.from_arrays(X, y)
    for structure in ("full", "diagonal", "low_rank"):
        memory = sb.fit(sb.targets.logistic_regression(X, y, prior_scale=0.5), structure=structure, rng=0)
        same_fit(memory, sb.fit(sb.targets.logistic_regression(rows, prior_scale=0.5), structure=structure, rng=0))


MODELS = {
    "logistic_regression": {},
    "probit_regression": {},
    "poisson_regression": {},
    "linear_regression": {"noise_scale": 0.7},
    "student_t_regression": {"df": 4.0, "scale": 0.5},
    "negative_binomial_regression": {"dispersion": 3.0},
    "gamma_regression": {"shape": 2.0},
    "cloglog_regression": {},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_regression_and_every_derivative(data, name):
    X, y, weights, offset = data
    if name == "linear_regression":
        y = y + offset
    if name == "gamma_regression":
        y = y + 0.5
    model, rng = getattr(sb.targets, name), np.random.default_rng(2)
    memory = model(X, y, prior_scale=[1.0, 2.0, np.inf, 3.0], weights=weights, offset=offset, **MODELS[name])
    rows = sb.Rows.from_arrays(X, y, weights, offset)
    stream = model(rows, prior_scale=[1.0, 2.0, np.inf, 3.0], **MODELS[name])
    x = 0.1 * rng.normal(size=(3, D))
    assert stream.dim == D and stream.n_rows == N
    for method in ("value", "grad", "hess", "hess_mean"):
        np.testing.assert_array_equal(getattr(memory, method)(x), getattr(stream, method)(x))
    np.testing.assert_array_equal(memory.hvp(x, x), stream.hvp(x, x))


def test_softmax_and_unknown_noise(data):
    X, y, weights, offset = data
    three, rng = y + (X[:, 0] > 1.0), np.random.default_rng(2)
    memory = sb.targets.multinomial_regression(X, three, prior_scale=1.0, weights=weights)
    stream = sb.targets.multinomial_regression(sb.Rows.from_arrays(X, three, weights), prior_scale=1.0)
    x = 0.1 * rng.normal(size=(3, 2 * D))
    for method in ("value", "grad", "hess", "hess_mean"):
        np.testing.assert_array_equal(getattr(memory, method)(x), getattr(stream, method)(x))
    np.testing.assert_array_equal(memory.hvp(x, x), stream.hvp(x, x))
    with pytest.raises(ValueError, match="n_classes must be at least 2 and more than every y, got 2 and a y of 2"):
        sb.targets.multinomial_regression(sb.Rows.from_arrays(X, three), prior_scale=1.0, n_classes=2)
    with pytest.raises(ValueError, match="the rows have offset, which this model does not take"):
        sb.targets.multinomial_regression(sb.Rows.from_arrays(X, three, offset=offset), prior_scale=1.0)
    model = sb.regression.linear_regression_unknown_noise
    memory = model(X, y + offset, prior_scale=1.0, weights=weights, offset=offset)
    stream = model(sb.Rows.from_arrays(X, y + offset, weights, offset), prior_scale=1.0)
    same_fit(sb.fit(memory, rng=0), sb.fit(stream, rng=0))


def test_trials_and_rates(data):
    X, y, weights, _ = data
    memory = sb.targets.logistic_regression(X, y, prior_scale=1.0, trials=weights)
    stream = sb.targets.logistic_regression(sb.Rows.from_arrays(X, y, trials=weights), prior_scale=1.0)
    x = np.zeros((1, D))
    np.testing.assert_array_equal(memory.value(x), stream.value(x))
    rates = y.copy()
    rates[-1] = 0.5  # the blocks before are of whole numbers
    memory = sb.targets.poisson_regression(X, rates, prior_scale=1.0, weights=weights)
    stream = sb.targets.poisson_regression(sb.Rows.from_arrays(X, rates, weights), prior_scale=1.0)
    np.testing.assert_array_equal(memory.value(x), stream.value(x))


@pytest.mark.parametrize("estimator", ["exact", "price", "pathwise", "score", "stein", "combined", "auto"])
def test_estimators_use_the_same_draws(data, estimator):
    X, y, _, _ = data
    q = sb.Gaussian(np.full(D, 0.1), 0.01 * np.eye(D))
    targets = (
        sb.targets.logistic_regression(X, y, prior_scale=1.0),
        sb.targets.logistic_regression(sb.Rows.from_arrays(X, y), prior_scale=1.0),
    )
    one, other = (sb.expectation_grad(t, q, estimator=estimator, n_samples=128, rng=3) for t in targets)
    assert one.value == other.value and one.estimator == other.estimator
    for name in one.grad:
        np.testing.assert_array_equal(one.grad[name], other.grad[name])
        np.testing.assert_array_equal(one.stderr[name], other.stderr[name])


@pytest.fixture
def counted(data):
    """Rows whose passes are counted, and the list that grows by one a pass."""
    X, y, _, _ = data
    passes = []

    def make():
        passes.append(1)
        return batches_of([50_000], X=X, y=y)()

    return sb.Rows.from_batches(make, dim=D), passes


def test_price_reads_the_rows_once(counted):
    rows, passes = counted
    target = sb.targets.logistic_regression(rows, prior_scale=1.0)
    q = sb.Gaussian(np.full(D, 0.1), 0.01 * np.eye(D))
    before = len(passes)
    sb.expectation_grad(target, q, estimator="price", n_samples=4096, rng=3)
    assert len(passes) == before + 1


def test_a_pass_a_step(counted):
    """Beside those of the steps: one to check the rows, one for the subsample from which the fit starts."""
    rows, passes = counted
    fit = sb.fit(sb.targets.logistic_regression(rows, prior_scale=1.0), rng=0)
    assert fit.converged and len(passes) <= fit.n_iter + 3


def test_ridge_takes_the_terms_of_the_rows(data):
    X, y, weights, offset = data
    memory = sb.targets.ridge(X, offset, "log_cosh", -weights, y)
    stream = sb.targets.ridge(sb.Rows.from_arrays(X, y, -weights.astype(float), offset), link="log_cosh")
    x = np.full((2, D), 0.3)
    np.testing.assert_array_equal(memory.value(x), stream.value(x))


def test_contraction_of_factored_hessians(data):
    X, y, _, _ = data
    w = np.random.default_rng(0).normal(size=(3, N))
    np.testing.assert_array_equal(sb.contract.price((X, w)), sb.contract.price((sb.Rows.from_arrays(X, y), w)))


def test_float32_rows(data):
    X, y, _, _ = data
    memory = sb.targets.logistic_regression(X.astype(np.float32), y, prior_scale=1.0)
    stream = sb.targets.logistic_regression(sb.Rows.from_arrays(X.astype(np.float32), y), prior_scale=1.0)
    same_fit(sb.fit(memory, rng=0), sb.fit(stream, rng=0))


def test_reading_keeps_two_blocks_and_runs_one_ahead(data):
    X, y, _, _ = data
    read = []

    def make():
        for batch in batches_of([BLOCK_ROWS], X=X, y=y)():
            read.append(1)
            yield batch

    blocks = sb.Rows.from_batches(make, dim=D).read()
    next(blocks)
    blocks.close()  # which waits for the reader
    assert len(read) == 2
