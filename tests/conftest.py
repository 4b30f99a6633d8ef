"""Options of the test run: ``--slow`` adds the tests marked slow; and what many tests need."""

import os
import signal
import threading
import time

import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


@pytest.fixture
def interrupts():
    """SIGINT raises KeyboardInterrupt, also where the run was told to ignore it (nohup, the background of a script)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def answer_to_interrupt(interrupts):
    """Runs a call, presses Ctrl-C in the middle of it, and says after how many seconds it was answered."""

    def seconds(call, wait=0.2):
        sent = []

        def press():
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(wait, press)
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                call()
            return time.perf_counter() - sent[0]
        finally:
            timer.cancel()
            timer.join()

    return seconds
