"""Calls of the command: its arguments, and tables from good to nonsense."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile

import numpy as np
from fuzzer import Call, generator

from sbpfast.__main__ import main

_CELLS = [
    "",
    " ",
    "NA",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1e308",
    "text",
    "0",
    "1",
    "-1",
    "2.5",
    '"a,b"',
    "é",
    "\x00",
    "1,5",
    "'",
]
_OPTIONS = {
    "--model": ["logistic", "probit", "poisson", "linear", "student_t", "nonsense"],
    "--response": ["y", "x0", "nowhere", ""],
    "--columns": ["x0", "x0,x1", "x0,x0", "nowhere", '"x0', ",", "y"],
    "--weights": ["x1", "x0", "nowhere"],
    "--offset": ["x1", "x0", "nowhere"],
    "--trials": ["x1", "nowhere"],
    "--prior-scale": ["1", "inf", "0", "-1", "nan", "1e-320", "1e300", "text"],
    "--df": ["4", "0", "-1", "nan", "inf", "1e300"],
    "--level": ["0.5", "0", "1", "2", "nan", "-1"],
    "--seed": ["1", "-1", "99999999999999999999999", "1.5"],
    "--drop-missing": [None],
    "--no-autoscale": [None],
    "--standardize": [None],
    "--unknown": [None],
    "--n-samples": ["3"],
}


def _table(r) -> str:
    """A table of a response and some columns, with strange cells here and there."""
    n, d, separator = int(r.integers(0, 12)), int(r.integers(0, 4)), str(r.choice([",", ";", "\t"], p=[0.8, 0.1, 0.1]))
    strange = float(r.choice([0.0, 0.0, 0.05, 0.5]))
    rows = [["y", *(f"x{j}" for j in range(d))]]
    for _ in range(n):
        cells = [f"{v:.3g}" for v in r.standard_normal(d)]
        rows.append([str(int(r.integers(2))), *cells])
    for row in rows:
        for j in range(len(row)):
            if r.random() < strange:
                row[j] = str(r.choice(_CELLS))
        if r.random() < 0.1 * strange:
            row.append("more")
    return str(r.choice(["\n", "\r\n"])).join(separator.join(row) for row in rows) + "\n" * int(r.integers(2))


def _arguments(r) -> list[str]:
    given = {"--response": "y", "--model": str(r.choice(_OPTIONS["--model"][:5]))}
    while r.random() < 0.6:
        name = str(r.choice(list(_OPTIONS)))
        given[name] = _OPTIONS[name][int(r.integers(len(_OPTIONS[name])))]
    return [word for name, value in given.items() for word in (name, value) if word is not None]


@generator("command.fit")
def _fit(r):
    table, arguments = _table(r), _arguments(r)
    data = table.encode("utf-8" if r.random() < 0.9 else "utf-16")

    def call():
        handle, path = tempfile.mkstemp(suffix=".csv")
        out, err = io.StringIO(), io.StringIO()
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = _status(["fit", path, *arguments])
        finally:
            os.unlink(path)
        if status == 2 and "error:" not in err.getvalue():
            raise AssertionError("refused without a word")
        if status not in (0, 2) or (status == 0 and not out.getvalue()):
            raise AssertionError(f"status {status}")
        return np.zeros(0)

    return Call(call, text=f"fit {table!r} {' '.join(map(repr, arguments))}")


def _status(arguments) -> int:
    """What the command leaves with; argparse leaves by SystemExit."""
    try:
        return main(arguments)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
