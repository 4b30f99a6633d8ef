"""Dask collections as rows: the bits of memory for any chunks, on threads, processes, and when a worker dies."""

import contextlib
import os

import numpy as np
import pytest

import sbpfast as sb
from sbpfast._means import BLOCK_ROWS

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")

N, D = BLOCK_ROWS + 20_000, 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(N, D))
    return X, (rng.random(N) < 1.0 / (1.0 + np.exp(-X[:, 0]))).astype(float), rng.integers(1, 3, N)


@pytest.fixture(scope="module")
def memory(data):
    X, y, weights = data
    return sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0, weights=weights), rng=0)


@contextlib.contextmanager
def processes(n_workers):
    """The client of a cluster of worker processes."""
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": ":0", "processes": True}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def chunked(data):
    return tuple(da.from_array(a, chunks=25_000) for a in data)


def same_fit(one, other):
    np.testing.assert_array_equal(one.q.mean, other.q.mean)
    np.testing.assert_array_equal(one.q.cov, other.q.cov)
    np.testing.assert_array_equal(one.elbo_trace, other.elbo_trace)


@pytest.mark.parametrize("chunks", [(10_000, 7_000, 90_000), (BLOCK_ROWS, BLOCK_ROWS, BLOCK_ROWS), (N, 5_000, N)])
def test_any_chunks_give_the_bits_of_memory(data, memory, chunks):
    X, y, weights = (da.from_array(a, chunks=c) for a, c in zip(data, chunks))
    target = sb.targets.logistic_regression(X.rechunk({1: 2}), y, prior_scale=1.0, weights=weights)
    same_fit(memory, sb.fit(target, rng=0))


def test_chunks_of_unknown_size(data, memory):
    X, y, weights = (da.from_array(a, chunks=30_000) for a in data)
    everything = X[:, 0] > -np.inf  # a mask whose count dask cannot know
    assert np.isnan(X[everything].chunks[0]).all()
    target = sb.targets.logistic_regression(X[everything], y, prior_scale=1.0, weights=weights[everything])
    same_fit(memory, sb.fit(target, rng=0))


def test_data_frames(data, memory):
    dd, pd = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
    X, y, weights = data
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y, w=weights), npartitions=5)
    target = sb.targets.logistic_regression(frame[["a", "b", "c"]], frame["y"], prior_scale=1.0, weights=frame["w"])
    same_fit(memory, sb.fit(target, rng=0))
    empty = dd.concat([frame[frame["a"] > np.inf], frame])
    target = sb.targets.logistic_regression(empty[["a", "b", "c"]], empty["y"], prior_scale=1.0, weights=empty["w"])
    same_fit(memory, sb.fit(target, rng=0))
    with pytest.raises(TypeError, match="column 'a' of X must hold numbers"):
        sb.targets.logistic_regression(frame.assign(a=frame["a"].astype(str))[["a"]], frame["y"], prior_scale=1.0)


def test_what_is_wrong_is_said(data):
    X, y, _ = data
    dX, dy = da.from_array(X, chunks=30_000), da.from_array(y, chunks=30_000)
    bad = X.copy()
    bad[70_001, 2] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got nan in row 70001, column 2"):
        sb.targets.logistic_regression(da.from_array(bad, chunks=9_000), dy, prior_scale=1.0)
    worse = y.copy()
    worse[70_002] = 3.0
    with pytest.raises(ValueError, match=r"row 70002: y must be 0 or 1, got 3\.0"):
        sb.targets.logistic_regression(dX, da.from_array(worse, chunks=9_000), prior_scale=1.0)
    with pytest.raises(ValueError, match=f"y must have one entry for each of the {N} rows of X, got {N - 5}"):
        sb.targets.logistic_regression(dX, dy[5:], prior_scale=1.0)
    with pytest.raises(TypeError, match="y must be given with X"):
        sb.targets.logistic_regression(dX, prior_scale=1.0)

    def broken(block):
        raise RuntimeError("this chunk cannot be made")

    with pytest.raises(RuntimeError, match="this chunk cannot be made"):
        sb.targets.logistic_regression(dX.map_blocks(broken, meta=np.zeros((0, 0))), dy, prior_scale=1.0)


def test_estimators_of_expectations(data):
    X, y, _ = data
    q = sb.Gaussian(np.full(D, 0.1), 0.01 * np.eye(D))
    targets = (
        sb.targets.logistic_regression(X, y, prior_scale=1.0),
        sb.targets.logistic_regression(
            da.from_array(X, chunks=40_000), da.from_array(y, chunks=9_000), prior_scale=1.0
        ),
    )
    for estimator in ("exact", "price"):
        one, other = (sb.expectation_grad(t, q, estimator=estimator, n_samples=64, rng=3) for t in targets)
        assert one.value == other.value
        np.testing.assert_array_equal(one.grad["cov"], other.grad["cov"])


@pytest.mark.filterwarnings("ignore")  # of distributed's own making
def test_a_cluster_of_processes(data, memory, chunked):
    X, y, weights = chunked
    with processes(2):
        same_fit(memory, sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0, weights=weights), rng=0))
        few = sb.targets.logistic_regression(X[:500, :], y[:500], prior_scale=1.0)
        same_fit(sb.fit(sb.targets.logistic_regression(data[0][:500], data[1][:500], prior_scale=1.0)), sb.fit(few))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_dies_changes_no_bit(memory, chunked):
    X, y, weights = chunked
    steps = []
    with processes(2) as client:

        def kill(step):
            steps.append(step)
            if len(steps) == 2:
                pid = next(iter(client.cluster.workers.values())).process.process.pid
                os.kill(pid, 9)

        target = sb.targets.logistic_regression(X, y, prior_scale=1.0, weights=weights)
        same_fit(memory, sb.fit(target, rng=0, callback=kill))
        assert len(steps) >= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_lost_scheduler_leaves_the_last_step(memory, chunked):
    X, y, weights = chunked
    with processes(1) as client:
        target = sb.targets.logistic_regression(X, y, prior_scale=1.0, weights=weights)
        stopped = sb.fit(target, rng=0, callback=lambda step: client.close() if step.n_iter == 2 else None)
    assert not stopped.converged and stopped.n_iter == 2 and "the scheduler of the cluster is gone" in stopped.message
    resumed = sb.fit(target, stopped)  # on threads, as there is no client any more
    np.testing.assert_array_equal(resumed.q.mean, memory.q.mean)
