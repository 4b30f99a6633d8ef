"""Threads: how many, the same bits, forks, concurrent callers."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import sbpfast as sb
from sbpfast import _core


def problem(rows=3000, d=8):
    r = np.random.default_rng(0)
    X = r.standard_normal((rows, d))
    y = (r.random(rows) < 0.5).astype(float)
    return sb.targets.logistic_regression(X, y, prior_scale=1.0), sb.Gaussian(np.zeros(d), np.eye(d))


def answer(target, q, n_threads=None):
    return sb.expectation_grad(target, q, estimator="price", n_samples=2000, rng=1, n_threads=n_threads).grad["cov"]


def test_effective_threads():
    usable = len(os.sched_getaffinity(0))
    assert 1 <= _core.effective_threads() <= usable
    if _core.OPENMP:
        assert _core.effective_threads(7) == 7
    for bad in (0, -1):
        with pytest.raises(ValueError, match="n_threads"):
            _core.effective_threads(bad)
    for bad in (1.5, "2", True):
        with pytest.raises(TypeError, match="n_threads"):
            _core.effective_threads(bad)


def test_the_environment_is_obeyed():
    code = "from sbpfast import _core; print(_core.effective_threads())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.strip() == "1"


def test_same_bits_whatever_the_environment_says():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_threads import *\n"
        "print(answer(*problem()).tobytes().hex())"
    )
    here = os.path.dirname(__file__)
    runs = {
        subprocess.run(
            [sys.executable, "-c", code, here],
            env=os.environ | {"OMP_NUM_THREADS": k},
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
        for k in ("1", "2", "3")
    }
    assert len(runs) == 1 and len(runs.pop()) > 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_works():
    """The parent's threads are gone in the child, which must not wait for them: it starts its own, or runs serially."""
    target, q = problem()
    want = answer(target, q, 2)
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12+ warns of forks in a threaded process
        child = os.fork()
    if child == 0:
        try:
            threads = 2 if _core.OWN_THREADS else 1
            same = np.array_equal(answer(target, q, 2), want) and _core.effective_threads(2) == threads
            os.write(write, b"y" if same else b"n")
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"y"
    assert os.waitpid(child, 0)[1] == 0


def test_concurrent_callers():
    """Python threads that share a target and a generator: right answers, and distinct draws from the generator."""
    target, q = problem(500)
    want = answer(target, q, 1)
    generator = np.random.default_rng(0)
    wrong, draws = [], []

    def work():
        for _ in range(10):
            if not np.array_equal(answer(target, q, 2), want):
                wrong.append(1)
            draws.append(q.sample(1, rng=generator)[0, 0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert len(set(draws)) == 40


def test_fork_while_the_threads_work():
    """Another thread's loop is under way when the process forks: the child's threads know nothing of it."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    target, q = problem()
    want, done = answer(target, q, 1), threading.Event()

    def work():
        while not done.is_set():
            answer(target, q, 2)

    thread = threading.Thread(target=work)
    thread.start()
    statuses = []
    try:
        for _ in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                child = os.fork()
            if child == 0:
                same = all(_answers(want, target, q) for _ in range(3))
                os._exit(0 if same else 1)
            statuses.append(os.waitpid(child, 0)[1])
    finally:
        done.set()
        thread.join()
    assert statuses == [0] * 5


def _answers(want, target, q):
    return np.array_equal(answer(target, q, 2), want)


def test_every_loop_is_guided():
    """The package's own threads hand out these alone: a static loop is cut for threads that may not come."""
    loops = []
    for source in Path(_core.__file__).parent.glob("*.p[xy][xi]"):
        loops += re.findall(r"in prange\((.*?)\):\n", source.read_text(), re.DOTALL)
    assert all('schedule="guided"' in loop for loop in loops)


def test_signals_come_to_python():
    """The package's threads take no signals, so that Python's handlers run at once."""
    if not _core.OWN_THREADS or not os.path.isdir("/proc/self/task"):
        pytest.skip("needs the package's own threads, and /proc")
    before = set(os.listdir("/proc/self/task"))
    answer(*problem(), 5)
    started = set(os.listdir("/proc/self/task")) - before
    for task in started:
        with open(f"/proc/self/task/{task}/status") as file:
            blocked = next(line for line in file if line.startswith("SigBlk"))
        assert int(blocked.split()[1], 16) & (1 << (signal.SIGINT - 1))


@pytest.mark.skipif(_core.effective_threads() < 2 or not _core.OWN_THREADS, reason="needs two cores")
def test_an_absent_thread_holds_up_nothing():
    """After a pause and beside a busy process, two threads take about as long as one: no sleeping thread is awaited."""
    target, q = problem(569, 31)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])

    def seconds(n_threads):
        times = []
        for _ in range(40):
            time.sleep(0.002)
            start = time.perf_counter()
            sb.expectation_grad(target, q, estimator="price", n_samples=256, rng=0, n_threads=n_threads)
            times.append(time.perf_counter() - start)
        return np.median(times)

    try:
        one, two = seconds(1), seconds(2)
    finally:
        busy.kill()
        busy.wait()
    assert two < 4 * one  # 20 to 30 times where the end of a loop waits for every thread


def test_the_gil_is_released():
    """A counting thread keeps running while a kernel works."""
    if _core.effective_threads() < 2:
        pytest.skip("needs two cores")
    target, q = problem(20_000, 40)
    done, count = threading.Event(), [0]

    def counter():
        while not done.is_set():
            count[0] += 1

    thread = threading.Thread(target=counter)
    thread.start()
    before = count[0]
    _core.ridge.weighted_product(
        target.design.matrix, target.weights, target.design.matrix, True, np.empty((40, 40)), 1
    )
    for _ in range(20):
        sb.expectation_grad(target, q, estimator="price", n_samples=256, rng=0, n_threads=1)
    after = count[0]
    done.set()
    thread.join()
    assert after - before > 1000


@pytest.mark.parametrize(
    "first,second",
    [
        ("torch", "sbpfast"),
        ("sbpfast", "torch"),
        ("sklearn.linear_model", "sbpfast"),
        ("sbpfast", "sklearn.linear_model"),
    ],
)
def test_beside_another_openmp_runtime(first, second):
    """Two OpenMP runtimes in one process have given wrong numbers."""
    pytest.importorskip("torch" if "torch" in (first, second) else "sklearn")
    code = (
        f"import {first}, {second}, sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\nfrom test_threads import *\n"
        "t, q = problem(); assert np.array_equal(answer(t, q, 2), answer(t, q, 1))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, os.path.dirname(__file__)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
