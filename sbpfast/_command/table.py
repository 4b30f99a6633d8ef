"""A table with a header line, read from a text file: columns of numbers, columns of text, and what is missing."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MISSING = {"", "na", "nan", "n/a", "null", "none", "?"}
INDEX = {"", "Unnamed: 0"}  # what pandas and R call the column of row names
MOST_LEVELS = 50  # of a column of text


class TableError(Exception):
    """Something is wrong with the user's table; the text says what and where."""


@dataclass(frozen=True)
class Table:
    """Columns by name, of numbers (NaN where missing) or of text (None where missing), and the line of each row."""

    name: str
    columns: dict[str, np.ndarray]
    lines: np.ndarray

    def __getitem__(self, column) -> np.ndarray:
        if column not in self.columns:
            raise TableError(f"there is no column {column!r} in {self.name}; its columns are {', '.join(self.columns)}")
        return self.columns[column]

    def numbers(self, column) -> np.ndarray:
        """A column that must be of numbers."""
        values = self[column]
        if values.dtype == object:
            text = next(value for value in values if value is not None)
            raise TableError(f"column {column!r} must hold numbers, got text: {text!r}")
        return values

    def complete(self, columns, drop) -> Table:
        """The rows of which nothing is missing in these columns; TableError where that needs `drop` and it is False."""
        missing = {column: _missing(self[column]) for column in columns}
        gaps = np.any(list(missing.values()), axis=0)
        if gaps.any() and not drop:
            row = int(np.argmax(gaps))
            column = next(column for column in columns if missing[column][row])
            raise TableError(
                f"the value of {column!r} on line {self.lines[row]} is missing; fill the value, or leave such rows out "
                "with --drop-missing"
            )
        if gaps.all():
            raise TableError(f"every row of {self.name} misses a value")
        return Table(self.name, {name: v[~gaps] for name, v in self.columns.items()}, self.lines[~gaps])


class Design(NamedTuple):
    """Rows with the names of their columns, as a data frame has them."""

    values: np.ndarray
    columns: list[str]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


def design(table, columns) -> Design:
    """The explaining columns as numbers: one of text becomes one of 0 and 1 for each of its levels but the first."""
    names: list[str] = []
    values: list[np.ndarray] = []
    for column in columns:
        if table[column].dtype != object:
            names.append(column)
            values.append(table[column])
            continue
        for level in levels(table, column)[1:]:
            names.append(f"{column}[{level}]")
            values.append((table[column] == level).astype(np.float64))
    if not names:
        raise TableError(f"{table.name} has no column to explain the response with")
    return Design(np.column_stack(values), names)


def levels(table, column) -> list[str]:
    """The sorted texts of a column; TableError where they are too many to be categories."""
    found = sorted(set(table[column]))
    if len(found) < 2:
        raise TableError(f"column {column!r} is constant, {found[0]!r}; an intercept is there already, drop the column")
    if len(found) > MOST_LEVELS or 2 * len(found) > max(len(table.lines), 6):
        raise TableError(
            f"column {column!r} has {len(found)} different texts in {len(table.lines)} rows, too many for categories; "
            "name the columns to use with --columns"
        )
    return found


def read_table(path) -> Table:
    """The table of a file, or of standard input for "-"; a first column without a name is an index and left out."""
    try:
        if path == "-":
            name, data = "standard input", sys.stdin.buffer.read()
        else:
            name = path
            with open(path, "rb") as file:
                data = file.read()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeError:
        raise TableError(f"{name} is not a text file in UTF-8") from None
    return _parsed(text, name)


def _parsed(text, name):
    file = io.StringIO(text, newline="")
    first = next((line for line in file if line.strip()), "")
    file.seek(0)
    reader = csv.reader(file)
    try:
        mark = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        reader = csv.reader(file, delimiter=mark)
        header = _header(next(filter(None, reader), []), name)
        quick = _quickly_parsed(file, mark, len(header))
        if quick is not None:
            columns, lines = dict(zip(header, quick.T)), np.arange(2, len(quick) + 2)
        else:
            file.seek(0)
            reader = csv.reader(file, delimiter=mark)
            columns, lines = _columns(reader, header)
    except csv.Error as error:
        raise TableError(f"{name}, line {reader.line_num}: {error}") from None
    if len(lines) == 0:
        raise TableError(f"{name} needs a header line and at least one row")
    if header and header[0] in INDEX:
        del columns[header[0]]
    return Table(name, columns, lines)


def _header(row, name):
    names = [title.strip() for title in row]
    if "" in names[1:]:
        place = names.index("", 1) + 1
        raise TableError(f"column {place} of {name} has no name; does its header end in a separator?")
    if len(set(names)) < len(names):
        twice = next(title for title in names if names.count(title) > 1)
        raise TableError(f"{name} has two columns named {twice!r}")
    return names


def _quickly_parsed(lines, mark, width):
    """The table by NumPy's parser, or None where not all is numbers: `_columns` then looks at each field."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a table without rows
        try:
            table = np.loadtxt(lines, delimiter=mark, quotechar='"', comments=None, ndmin=2)
        except ValueError:
            return None
    return table if table.shape[1] == width and np.isfinite(table).all() else None


def _columns(reader, header):
    """The columns of the rest of a table, and the lines of its rows."""
    lines = filter(None, reader)
    next(lines, None)  # the header
    rows, numbers = [], []
    for row in lines:
        if len(row) != len(header):
            raise TableError(f"line {reader.line_num} has {len(row)} fields, the header has {len(header)}")
        rows.append([field.strip() for field in row])
        numbers.append(reader.line_num)
    fields = zip(*rows) if rows else ((),) * len(header)
    return {name: _column(name, column, numbers) for name, column in zip(header, fields)}, np.array(numbers)


def _column(name, fields, lines):
    """A column as numbers, or as text where most of it is no number."""
    given = [field.lower() not in MISSING for field in fields]
    values = [_number(field) if there else math.nan for field, there in zip(fields, given)]
    text = [i for i, value in enumerate(values) if value is None]
    if text and 2 * len(text) > sum(given) and not any(_like_a_number(fields[i]) for i in text):
        column = np.array(fields, dtype=object)
        column[~np.array(given)] = None
        return column
    if text:
        field, line = fields[text[0]], lines[text[0]]
        advice = (
            "write decimals with a point and thousands without marks"
            if _like_a_number(field)
            else "others of the column are numbers"
        )
        raise TableError(f"the value of {name!r} on line {line} is text, {field!r}; {advice}")
    column = np.array(values, dtype=np.float64)
    if np.isinf(column).any():
        where = int(np.argmax(np.isinf(column)))
        raise TableError(f"the value of {name!r} on line {lines[where]} is not finite: {fields[where]!r}")
    return column


def _number(field) -> float | None:
    try:
        return float("text" if "_" in field else field)
    except ValueError:
        return None


def _like_a_number(field) -> bool:
    """Whether a field is a number but for its marks, such as 0,5 or 1 000."""
    return re.fullmatch(r"[-+]?\d[\d ,._']*", field) is not None


def _missing(column):
    if column.dtype == object:
        return np.array([value is None for value in column])
    return np.isnan(column)
