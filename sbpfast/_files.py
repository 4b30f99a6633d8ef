"""Files of arrays: written whole or not at all, and read with an error that says what the file is not."""

from __future__ import annotations

import contextlib
import os
import zipfile

import numpy as np


def write_npz(path, arrays):
    """Replace the file at once, so that an interruption leaves the old one whole and nothing beside it."""
    path = os.fsdecode(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:  # an open file, because to a name NumPy would append .npz
            np.savez(file, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from None  # not the name of the temporary file
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def read_npz(path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; none where it is a file of another kind, or a damaged one."""
    with open(path, "rb") as stream:
        # in damaged files zipfile, zlib and NumPy meet what they raise almost every kind of error for
        try:
            with zipfile.ZipFile(stream) as archive:
                if archive.testzip() is not None:  # checksums first: a wrong shape would ask for any amount of memory
                    return {}
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                return dict(file)
        except Exception:
            return {}


def names_in(path) -> set[str]:
    """The names of the arrays of an .npz file, none of which is read; none where it is a file of another kind."""
    with open(path, "rb") as stream, contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(stream) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}
    return set()


def read_written_by(writer, path, needed) -> dict[str, np.ndarray]:
    """The arrays of a file that `writer` wrote: those `needed` must be in it."""
    arrays = read_npz(path)
    if not set(needed) <= set(arrays):
        raise ValueError(f"{os.fspath(path)!r} is not a file written by {writer}, or a damaged one")
    return arrays
