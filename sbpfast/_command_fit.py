"""The command `python -m sbpfast fit FILE.csv`: a Bayesian regression of anyone's table, shown as a table."""

from __future__ import annotations

import csv
import math
import sys
import time
import warnings

import numpy as np

from sbpfast import targets
from sbpfast.data import load_breast_cancer
from sbpfast.fitting import Fit, FitWarning, fit
from sbpfast.regression import linear_regression_unknown_noise

MODELS = ("logistic", "probit", "poisson", "linear")


class TableError(Exception):
    """Something is wrong with the user's table; the text says what and where."""


def add_arguments(parser) -> None:
    """Add the command's arguments to an argparse parser."""
    parser.add_argument(
        "file", metavar="FILE.csv", help="a table with a header line; every column but the response is used"
    )
    parser.add_argument("--response", metavar="COLUMN", required=True, help="the column to explain")
    parser.add_argument(
        "--model", choices=MODELS, required=True, help="linear has unknown noise, as a last parameter log sigma"
    )
    parser.add_argument(
        "--prior-scale",
        metavar="S",
        type=float,
        default=2.5,
        help="sd of the normal prior of every coefficient but the intercept, whose prior is flat (2.5; inf is flat)",
    )
    parser.add_argument("--standardize", action="store_true", help="bring every column to mean 0 and sd 1 first")
    parser.add_argument("--plot", metavar="FILE", help="draw ELBO trace, marginals and k-hat (needs matplotlib)")
    parser.add_argument("--out", metavar="FILE.npz", help="save the fit, to be read by sbpfast.Fit.load")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")


def run(options) -> int:
    """Run the command; 0, or 2 after a message about the table."""
    try:
        columns, X, y = read_table(options.file, options.response)
        names, target = _problem(columns, X, y, options)
        result, seconds = _fitted(target, options.seed)
    except (TableError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{options.model} regression of {options.response!r} on {len(columns)} columns, {len(y)} rows "
        f"({1e3 * seconds:.3g} ms)"
    )
    print(result.summary(names))
    return _keep(result, names, options)


def _keep(result, names, options):
    if options.out:
        result.save(options.out)
        print(f"saved: {options.out}")
    if options.plot:
        try:
            result.plot(options.plot, names)
        except ImportError:
            print("--plot needs matplotlib: pip install 'sbpfast[plot]'", file=sys.stderr)
            return 1
        print(f"picture: {options.plot}")
    return 0


def breast_cancer_fit(seed=0) -> tuple[Fit, list[str], float]:
    """Fit the breast cancer posterior, prior N(0, 1): the fit, the names of its parameters and the seconds it took."""
    X, y, names = load_breast_cancer()
    target = targets.logistic_regression(X, y, prior_scale=1.0)
    result, seconds = _fitted(target, seed)
    return result, names, seconds


def _fitted(target, seed):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        start = time.perf_counter()
        result = fit(target, rng=seed)
        seconds = time.perf_counter() - start
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    return result, seconds


# -- the table --------------------------------------------------------------------------------------------------------


def read_table(path, response) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names and values (N, d) of the explaining columns, and the response (N,), all numbers and none missing."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TableError(f"{path} is not a text file in UTF-8") from None
    if len(rows) < 2:
        raise TableError(f"{path} needs a header line and at least one row of numbers")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise TableError(f"{path} has two columns named {twice!r}")
    if response not in header:
        raise TableError(f"there is no column {response!r} in {path}; its columns are {', '.join(header)}")
    table = np.array([_numbers(row, header, line) for line, row in enumerate(rows[1:], start=2)])
    i = header.index(response)
    return header[:i] + header[i + 1 :], np.delete(table, i, axis=1), table[:, i]


def _numbers(row, header, line):
    if len(row) != len(header):
        raise TableError(f"line {line} has {len(row)} fields, the header has {len(header)}")
    out = []
    for name, text in zip(header, row):
        if text.strip().lower() in ("", "na", "nan", "n/a", "null", "none", "?"):
            raise TableError(f"the value of {name!r} on line {line} is missing; drop the row or fill the value")
        try:
            number = float(text)
        except ValueError:
            raise TableError(
                f"the value of {name!r} on line {line} is text, {text!r}; code categories as numbers"
            ) from None
        if not math.isfinite(number):
            raise TableError(f"the value of {name!r} on line {line} is not finite: {text!r}")
        out.append(number)
    return out


def _problem(columns, X, y, options):
    """Names of the parameters and the target."""
    if not options.prior_scale > 0:
        raise TableError(f"--prior-scale must be positive, got {options.prior_scale}")
    sd = X.std(axis=0)
    if (sd == 0).any():
        raise TableError(
            f"column {columns[int(np.argmax(sd == 0))]!r} is constant; an intercept is there already, drop the column"
        )
    if options.standardize:
        X = (X - X.mean(axis=0)) / sd
    design, names = np.column_stack([np.ones(len(y)), X]), ["intercept", *columns]
    scale = np.full(len(names), options.prior_scale)
    scale[0] = np.inf  # the intercept carries the units of the response
    if options.model in ("logistic", "probit"):
        if not np.isin(y, (0.0, 1.0)).all():
            raise TableError(f"the {options.model} model needs a response of 0 and 1, got {np.unique(y)[:5].tolist()}")
        build = targets.logistic_regression if options.model == "logistic" else targets.probit_regression
        return names, build(design, y, prior_scale=scale)
    if options.model == "poisson":
        if ((y < 0) | (y != np.floor(y))).any():
            raise TableError("the poisson model needs a response of whole numbers, not negative")
        return names, targets.poisson_regression(design, y, prior_scale=scale)
    return [*names, "log sigma"], linear_regression_unknown_noise(design, y, prior_scale=scale)
