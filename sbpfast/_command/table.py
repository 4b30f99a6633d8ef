"""A table of numbers with a header line, read from a text file."""

from __future__ import annotations

import csv
import math
import warnings

import numpy as np


class TableError(Exception):
    """Something is wrong with the user's table; the text says what and where."""


def read_table(path, response) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names and values (N, d) of the explaining columns, and the response (N,), all numbers and none missing."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, table = _read(file, path)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeError:
        raise TableError(f"{path} is not a text file in UTF-8") from None
    if response not in header:
        raise TableError(f"there is no column {response!r} in {path}; its columns are {', '.join(header)}")
    i = header.index(response)
    return header[:i] + header[i + 1 :], np.delete(table, i, axis=1), table[:, i]


def _read(file, path):
    """The header's names and the table of numbers."""
    first = next((line for line in file if line.strip()), "")
    file.seek(0)
    reader = csv.reader(file)
    try:
        mark = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        reader = csv.reader(file, delimiter=mark)
        header = _header(next(filter(None, reader), []), path)
        table = _quickly_parsed(file, mark, len(header))
        if table is None:
            file.seek(0)
            reader = csv.reader(file, delimiter=mark)
            lines = filter(None, reader)
            next(lines, None)  # the header
            rows = [_numbers(row, header, reader.line_num) for row in lines]
            table = np.array(rows).reshape(len(rows), len(header))
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: {error}") from None
    if len(table) == 0:
        raise TableError(f"{path} needs a header line and at least one row of numbers")
    return header, table


def _header(row, path):
    names = [name.strip() for name in row]
    if "" in names:
        raise TableError(f"column {names.index('') + 1} of {path} has no name; does its header end in a separator?")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TableError(f"{path} has two columns named {twice!r}")
    return names


def _quickly_parsed(lines, mark, width):
    """The table by NumPy's parser, or None where anything is wrong: `_numbers` then says what and where."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a table without rows
        try:
            table = np.loadtxt(lines, delimiter=mark, quotechar='"', comments=None, ndmin=2)
        except ValueError:
            return None
    return table if table.shape[1] == width and np.isfinite(table).all() else None


def _numbers(row, header, line):
    if len(row) != len(header):
        raise TableError(f"line {line} has {len(row)} fields, the header has {len(header)}")
    return [_number(text, name, line) for name, text in zip(header, row)]


def _number(text, name, line):
    where = f"the value of {name!r} on line {line}"
    if text.strip().lower() in ("", "na", "nan", "n/a", "null", "none", "?"):
        raise TableError(f"{where} is missing; drop the row or fill the value")
    try:
        number = float("text" if "_" in text else text)
    except ValueError:
        advice = (
            "write decimals with a point and thousands without marks" if "," in text else "code categories as numbers"
        )
        raise TableError(f"{where} is text, {text!r}; {advice}") from None
    if not math.isfinite(number):
        raise TableError(f"{where} is not finite: {text!r}")
    return number
