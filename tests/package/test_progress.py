"""How far a long loop is: a bar, or a line a step where tqdm is not installed."""

import sys

import pytest

from sbpfast._progress import Progress


def run(**settings):
    progress = Progress("loop", "epoch", **settings)
    for k in range(2):
        progress.step(f"error {k}")
    progress.close()


def test_lines(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    run(shown=True, total=5, done=3)
    run(shown=True)
    lines = "loop: epoch 4/5, error 0\nloop: epoch 5/5, error 1\nloop: epoch 1, error 0\nloop: epoch 2, error 1\n"
    assert capsys.readouterr() == ("", lines)


def test_a_bar(capsys):
    pytest.importorskip("tqdm")
    run(shown=True, total=5, done=3)
    text = capsys.readouterr().err
    assert "loop" in text and "5/5" in text and "error 1" in text and "epochs" in text


@pytest.mark.parametrize("installed", [True, False])
def test_nothing(capsys, monkeypatch, installed):
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    run(shown=False, total=5)
    assert capsys.readouterr() == ("", "")
