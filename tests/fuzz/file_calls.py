"""Files that were saved and then damaged: bytes flipped, ends cut, arrays exchanged."""

from __future__ import annotations

import io
import os
import pathlib
import tempfile

import numpy as np
from fit_calls import fitted
from fuzzer import Call, generator
from values import spoiled

import sbpfast as sb

_SAVED: list = []


def saved():
    """What may be loaded: a name, the bytes of its file, how it is read and used."""
    if not _SAVED:
        rbm = sb.GaussianBernoulliRBM(3, n_epochs=1, rng=0).fit(np.random.default_rng(0).standard_normal((30, 2)))
        things = [
            (fit, sb.Fit.load, lambda fit: [fit.q.mean, fit.sample(3, rng=0), str(fit.summary())]) for fit in fitted()
        ]
        things.append((rbm, sb.GaussianBernoulliRBM.load, lambda m: [m.weights_, m.transform(np.zeros((1, 2)))]))
        for thing, load, use in things:
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "file.npz"
                thing.save(path)
                _SAVED.append((path.read_bytes(), load, use))
    return _SAVED


def _damaged(r, data: bytes) -> bytes:
    """The bytes of a file after an accident."""
    kind, where = int(r.integers(5)), int(r.integers(len(data)))
    if kind == 0:
        return data[:where]
    if kind == 1:
        return data[:where] + bytes([data[where] ^ (1 << int(r.integers(8)))]) + data[where + 1 :]
    if kind == 2:
        return data[:where] + bytes(r.integers(0, 256, int(r.integers(1, 40)), dtype=np.uint8)) + data[where:]
    arrays = dict(np.load(io.BytesIO(data)))
    name = str(r.choice(list(arrays)))
    if kind == 3:
        del arrays[name]
    else:
        value = spoiled(r, arrays[name]) if arrays[name].dtype.kind == "f" else r.choice(["text", "{}", "[1]", "null"])
        try:
            arrays[name] = np.asarray(value)
        except ValueError:
            arrays[name] = np.zeros(0)
    out = io.BytesIO()
    np.savez(out, **{key: a for key, a in arrays.items() if a.dtype.kind != "O"})
    return out.getvalue()


@generator("files.load")
def _load(r):
    number = int(r.integers(len(saved())))
    data, load, use = saved()[number]
    bad = _damaged(r, data)

    def call():
        handle, path = tempfile.mkstemp(suffix=".npz")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(bad)
            return use(load(path))
        finally:
            os.unlink(path)

    return Call(call, text=f"{load.__qualname__} of file {number}, damaged")
