"""The command `python -m sbpfast fit FILE.csv`: a Bayesian regression of anyone's table, shown as a table."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings

import numpy as np

from sbpfast import targets
from sbpfast._command.table import TableError, read_table
from sbpfast.data import load_breast_cancer
from sbpfast.fitting import Fit, FitWarning, fit
from sbpfast.targets._unknown_noise import linear_regression_unknown_noise

MODELS = ("logistic", "probit", "poisson", "linear")
LEAST_SCALE, LARGEST = 1e-100, 1e100  # of a prior, and of a number: their squares are still numbers


def add_arguments(parser, *, seed=0, plot=None) -> None:
    """Add the command's arguments to an argparse parser; defaults of two of them, which the parser above may have."""
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
    parser.add_argument(
        "--plot", metavar="FILE", default=plot, help="draw ELBO trace, marginals and k-hat (needs matplotlib)"
    )
    parser.add_argument("--out", metavar="FILE.npz", help="save the fit, to be read by sbpfast.Fit.load")
    parser.add_argument("--seed", type=int, default=seed, help="of the draws (0)")


def run(options) -> int:
    """Run the command; 0, or 2 after a message about the table or the options."""
    try:
        _check_outputs(options)
        columns, X, y = read_table(options.file, options.response)
        names, target = _problem(columns, X, y, options)
        with _warnings_as_lines():
            result, seconds = _fitted(target, options.seed)
            result.names = names
            summary = result.summary()
        print(
            f"{options.model} regression of {options.response!r} on {len(columns)} columns, {len(y)} rows "
            f"({1e3 * seconds:.3g} ms)"
        )
        print(summary)
        if options.out:
            result.save(options.out)
            print(f"saved: {options.out}")
        if options.plot:
            result.plot(options.plot)
            print(f"picture: {options.plot}")
    except (TableError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check_outputs(options):
    """Refuse, before any work, what could not be written after it."""
    for option, path in (("--out", options.out), ("--plot", options.plot)):
        if path is None:
            continue
        folder = os.path.dirname(path) or "."
        if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
            raise TableError(f"{option}: cannot write {path}")
        if os.path.exists(path) and os.path.exists(options.file) and os.path.samefile(path, options.file):
            raise TableError(f"{option} would overwrite the table, {path}")
    if options.plot:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise TableError("--plot needs matplotlib: pip install 'sbpfast[plot]'") from None
        kinds = Figure().canvas.get_supported_filetypes()
        kind = os.path.splitext(options.plot)[1].removeprefix(".").lower()
        if kind not in kinds:
            raise TableError(f"--plot: the name must end in one of .{', .'.join(sorted(kinds))}; got {options.plot}")


@contextlib.contextmanager
def _warnings_as_lines():
    """Show what the fit warns of as lines on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        yield
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)


def breast_cancer_fit(seed=0) -> tuple[Fit, list[str], float]:
    """Fit the breast cancer posterior, prior N(0, 1): the fit, the names of its parameters and the seconds it took."""
    X, y, names = load_breast_cancer()
    target = targets.logistic_regression(X, y, prior_scale=1.0)
    with _warnings_as_lines():
        result, seconds = _fitted(target, seed)
    return result, names, seconds


def _fitted(target, seed):
    start = time.perf_counter()
    result = fit(target, rng=seed)
    return result, time.perf_counter() - start


def _problem(columns, X, y, options):
    """Names of the parameters and the target."""
    if not options.prior_scale >= LEAST_SCALE:
        raise TableError(f"--prior-scale must be positive, at least {LEAST_SCALE}, got {options.prior_scale}")
    low, high = X.min(axis=0), X.max(axis=0)
    if (low == high).any():
        constant = columns[int(np.argmax(low == high))]
        raise TableError(f"column {constant!r} is constant; an intercept is there already, drop the column")
    large = np.maximum(np.abs(low), np.abs(high))
    if (large > LARGEST).any() and not options.standardize:
        raise TableError(
            f"column {columns[int(np.argmax(large))]!r} has values of {large.max():.2g}; use --standardize"
        )
    if np.abs(y).max() > LARGEST:
        raise TableError(f"the response has values of {np.abs(y).max():.2g}; give it another unit")
    if options.standardize:
        X = X / large  # so that no square overflows
        X -= X.mean(axis=0)
        X /= X.std(axis=0)
    design, names = np.column_stack([np.ones(len(y)), X]), ["intercept", *columns]
    more = ["log sigma"] if options.model == "linear" else []
    for taken in ("intercept", *more):
        if taken in columns:
            raise TableError(f"the name {taken!r} is that of another parameter; rename the column")
    if np.isinf(options.prior_scale):
        _check_independent(design, names)
    scale = np.full(len(names), options.prior_scale)
    scale[0] = np.inf  # the intercept carries the units of the response
    if options.model in ("logistic", "probit"):
        if not np.isin(y, (0.0, 1.0)).all():
            raise TableError(f"the {options.model} model needs a response of 0 and 1, got {np.unique(y)[:5].tolist()}")
        if y.min() == y.max():
            raise TableError(f"the response has one value only, {y[0]:g}; the {options.model} model needs both 0 and 1")
        build = targets.logistic_regression if options.model == "logistic" else targets.probit_regression
        return names, build(design, y, prior_scale=scale)
    if options.model == "poisson":
        if ((y < 0) | (y != np.floor(y))).any():
            raise TableError("the poisson model needs a response of whole numbers, not negative")
        return names, targets.poisson_regression(design, y, prior_scale=scale)
    return [*names, *more], linear_regression_unknown_noise(design, y, prior_scale=scale)


def _check_independent(design, names):
    """Refuse columns of which one is a combination of others: without a prior nothing tells them apart."""
    largest = np.abs(design).max(axis=0)
    _, values, vectors = np.linalg.svd(np.linalg.qr(design / largest, mode="r"))
    if len(design) < len(names) or values[-1] <= 1e-15 * len(names) * values[0]:
        combined = [name for name, part in zip(names, vectors[-1]) if abs(part) > 1e-6]
        raise TableError(
            f"the columns {', '.join(map(repr, combined))} are linearly dependent: drop one, or give a finite "
            "--prior-scale"
        )
