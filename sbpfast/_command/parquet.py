"""Parquet files and folders of them, perhaps larger than memory: what `fit` of the command does with them."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from sbpfast import regression
from sbpfast._command.table import TableError
from sbpfast.regression._formula import columns_of_formula
from sbpfast.regression._formula_rows import StreamedFormula
from sbpfast.regression._input import MOST_IN_MEMORY
from sbpfast.targets._parquet import ParquetColumns
from sbpfast.targets._rows import Rows

MAGIC = b"PAR1"


def is_parquet(path) -> bool:
    """Whether it is a Parquet file, by its first bytes, or a folder."""
    if os.path.isdir(path):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def of_columns(options, columns, model):
    """The model fitted to a response and columns, what it is about, and the seconds the fit took."""
    _refuse(options, ("standardize", "drop_missing"))
    try:
        start = time.perf_counter()
        rows = Rows.from_parquet(
            options.file, options.response, columns or None, options.weights, options.offset, False, options.trials
        )
        for taken in ("intercept", *(["log sigma"] if options.model == "linear" else [])):
            if taken in (rows.names or ()):
                raise TableError(f"the name {taken!r} is that of another parameter; rename the column")
        model.fit(rows)
    except (ImportError, TypeError) as error:
        raise TableError(str(error)) from None
    seconds = time.perf_counter() - start
    about = f"{options.response!r}{_meaning(model)} on {rows.dim} columns, {rows.n_rows} rows"
    return model, about, seconds


def of_formula(options, make, settings):
    """The same by a formula; one with groups reads the columns that it names into memory.

    make: the class of the model.  settings: of its constructor.
    """
    _refuse(options, ("drop_missing",))
    try:
        used, groups = columns_of_formula(options.formula)
        file = ParquetColumns(options.file)
        unknown = sorted(name for name in used if name not in file.names)
        if unknown:
            raise TableError(f"there is no column {unknown[0]!r}; the columns are {', '.join(file.names)}")
        wanted = sorted({*used, *([options.weights] if options.weights else [])})
        start = time.perf_counter()
        if groups:
            data = _whole(file, wanted)
            model = make.from_formula(options.formula, data, sample_weight=options.weights, **settings)
        else:
            formula = StreamedFormula(options.formula, lambda: file.batches(wanted), options.weights)
            model = make(fit_intercept=formula.read.intercept, **settings).fit(formula.rows())
            model.formula_ = formula.read
    except (ImportError, TypeError) as error:
        raise TableError(str(error)) from None
    return model, f"{options.formula!r}, {file.n_rows} rows", time.perf_counter() - start


def _refuse(options, names):
    for name in names:
        if getattr(options, name):
            raise TableError(f"--{name.replace('_', '-')} is not for Parquet files, whose rows are read as they are")


def _whole(file, names) -> dict[str, Any]:
    if file.n_rows * len(names) > MOST_IN_MEMORY:
        raise TableError(
            f"a regression with groups needs its rows in memory, at most {MOST_IN_MEMORY} numbers, and these are "
            f"{file.n_rows} rows of {len(names)} columns"
        )
    parts = list(file.batches(names))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _meaning(model) -> str:
    """In words what it means that the response is 1."""
    classes = getattr(model, "classes_", None)
    if classes is None or isinstance(model, regression.BayesianMixedRegression):
        return ""
    if len(classes) > 2:
        return f", one of {len(classes)} classes,"
    return "" if classes.tolist() == [0, 1] else f" = {classes[1]!r}"
