"""The command `python -m sbpfast fit FILE.csv`: a Bayesian regression of anyone's table, shown as a table."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
import time
import warnings
from typing import Any

import numpy as np

from sbpfast import regression, targets
from sbpfast._command import parquet
from sbpfast._command.table import Design, TableError, design, levels, read_table
from sbpfast.data import load_breast_cancer
from sbpfast.fitting import Fit, FitWarning, fit
from sbpfast.regression._formula import as_whole, columns_of_formula

MODELS = {
    "logistic": regression.BayesianLogisticRegression,
    "probit": regression.BayesianProbitRegression,
    "poisson": regression.BayesianPoissonRegression,
    "linear": regression.BayesianLinearRegression,
    "student_t": regression.BayesianStudentTRegression,
    "negative_binomial": regression.BayesianNegativeBinomialRegression,
    "gamma": regression.BayesianGammaRegression,
}
DOMAINS = {  # of responses that are numbers
    "negative_binomial": (lambda y: (y >= 0) & (y == np.floor(y)), "whole numbers, not negative"),
    "gamma": (lambda y: y > 0, "positive numbers"),
}
LEAST_SCALE, LARGEST = 1e-100, 1e100  # of a prior, and of a number: their squares are still numbers


def add_arguments(parser, *, seed=0, plot=None) -> None:
    """Add the command's arguments to an argparse parser; defaults of two of them, which the parser above may have."""
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        help="a table with a header line, comma, semicolon or tab between; - is standard input; or a Parquet file or a "
        "folder of them, which may be larger than memory: the rows are read at every pass (needs pyarrow)",
    )
    add("--response", metavar="COLUMN", help="the column to explain")
    add(
        "--formula",
        metavar="FORMULA",
        help='instead of --response: "y ~ x + C(z) + x:z + offset(log_e) + (1 | g)", the response of a binomial model '
        '"successes / trials"; text is categories (needs the package formulae)',
    )
    add(
        "--model",
        "--family",
        choices=MODELS,
        required=True,
        help="logistic explains two values, numbers 0 and 1 or texts, or three texts and more; probit two; poisson and "
        "negative_binomial counts; gamma positive numbers; linear has unknown noise, as a last parameter log sigma; "
        "student_t is linear with heavy tails",
    )
    add(
        "--columns",
        metavar="A,B,...",
        help="the explaining columns (all others); a column of text counts as categories, with one parameter for each "
        "level but the first",
    )
    add("--weights", metavar="COLUMN", help="what each row counts for")
    add("--offset", metavar="COLUMN", help="a known part of the linear predictor, such as a log exposure")
    add("--trials", metavar="COLUMN", help="numbers of trials, of which the response counts the successes (logistic)")
    add("--drop-missing", action="store_true", help="leave out rows in which a value is missing")
    add(
        "--prior-scale",
        metavar="S",
        type=_scale,
        default=2.5,
        help="sd of the normal prior of every coefficient, in units of 1/sd(column), or sd(response)/sd(column) for "
        "linear and student_t (2.5; inf is flat, whose mean is still not the maximum likelihood estimate; auto is the "
        "one of the highest ELBO)",
    )
    add("--no-autoscale", dest="autoscale", action="store_false", help="take S as it is, whatever the units")
    add("--df", metavar="DF", type=float, default=4.0, help="degrees of freedom of student_t (4)")
    add("--standardize", action="store_true", help="bring every column to mean 0 and sd 1 first")
    add("--level", type=float, default=0.95, help="probability of the intervals (0.95)")
    add("--plot", metavar="FILE", default=plot, help="draw ELBO trace, marginals and k-hat (needs matplotlib)")
    add("--out", metavar="FILE.npz", help="save the fit, to be read by sbpfast.Fit.load")
    add("--seed", type=int, default=seed, help="of the draws (0)")


def run(options) -> int:
    """Run the command; 0, or 2 after a message about the table or the options."""
    try:
        _check_options(options)
        fitted = _of_formula if options.formula else _of_columns
        with _warnings_as_lines():
            model, about, seconds = fitted(options)
            summary = model.summary(level=options.level)
        print(f"{options.model} regression of {about} ({1e3 * seconds:.3g} ms)")
        if options.model == "student_t" and hasattr(model, "scale_"):
            print(f"noise: Student's t of {options.df:g} degrees of freedom, scale {model.scale_:.5g} (highest ELBO)")
        print(summary)
        if options.out:
            getattr(model, "fit_", model).save(options.out)
            print(f"saved: {options.out}")
        if options.plot:
            getattr(model, "fit_", model).plot(options.plot)
            print(f"picture: {options.plot}")
    except (TableError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _of_columns(options):
    """The model fitted to a response and columns, what it is about, and the seconds the fit took."""
    if parquet.is_parquet(options.file):
        return parquet.of_columns(options, _named(options.columns), _model(options))
    rows, y, meaning = _problem(options)
    start = time.perf_counter()
    model = _model(options).fit(rows.design, y, **rows.more)
    seconds = time.perf_counter() - start
    about = f"{options.response!r}{meaning} on {len(rows.design.columns)} columns, {len(y)} rows{rows.dropped}"
    return model, about, seconds


def _of_formula(options):
    """The same by a formula; one with groups is a mixed regression."""
    given = [name for name in ("response", "columns", "offset", "trials", "standardize") if getattr(options, name)]
    if given:
        raise TableError(f"--{given[0]} does not go with --formula, which says it")
    try:
        used, groups = columns_of_formula(options.formula)
        make: Any = regression.BayesianMixedRegression if groups else MODELS[options.model]
        settings = _settings(options) | ({"family": options.model} if groups else _noise(options))
        if parquet.is_parquet(options.file):
            return parquet.of_formula(options, make, settings)
        table = read_table(options.file)
        wanted = [name for name in table.columns if name in used or name == options.weights]
        rows = table.complete(wanted, options.drop_missing)
        weights = rows.numbers(options.weights) if options.weights else None
        data = {name: as_whole(rows[name]) for name in wanted}
        start = time.perf_counter()
        model = make.from_formula(options.formula, data, sample_weight=weights, **settings)
    except (ImportError, TypeError) as error:
        raise TableError(str(error)) from None
    gone = len(table.lines) - len(rows.lines)
    dropped = f" ({gone} with missing values left out)" if gone else ""
    return model, f"{options.formula!r}, {len(rows.lines)} rows{dropped}", time.perf_counter() - start


def _scale(text):
    return text if text == "auto" else float(text)


def _check_options(options):
    """Refuse, before any work, what cannot be meant, and what could not be written after it."""
    if not options.response and not options.formula:
        raise TableError("say what to explain: --response COLUMN, or --formula 'y ~ x'")
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
    if options.prior_scale != "auto" and not options.prior_scale >= LEAST_SCALE:
        raise TableError(f"--prior-scale must be positive, at least {LEAST_SCALE}, got {options.prior_scale}")
    if not 0.0 < options.level < 1.0:
        raise TableError(f"--level must lie between 0 and 1, got {options.level}")
    if options.trials and options.model != "logistic":
        raise TableError("--trials belongs to --model logistic")
    if options.seed < 0:
        raise TableError(f"--seed must be non-negative, got {options.seed}")


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
        start = time.perf_counter()
        result = fit(target, rng=seed)
        return result, names, time.perf_counter() - start


# -- from the table to the model ---------------------------------------------------------------------------------------


class _Rows:
    """The rows that are used: the design, and what else `fit` of the model takes."""

    def __init__(self, table, options):
        special = {"sample_weight": options.weights, "offset": options.offset, "trials": options.trials}
        special = {name: column for name, column in special.items() if column}
        taken = [options.response, *special.values()]
        columns = _named(options.columns) or [name for name in table.columns if name not in taken]
        for name in taken:
            if name in columns:
                raise TableError(f"column {name!r} cannot explain: it is the response, or weights, offset or trials")
        used = table.complete([*dict.fromkeys([*taken, *columns])], options.drop_missing)
        gone = len(table.lines) - len(used.lines)
        self.table, self.dropped = used, f" ({gone} with missing values left out)" if gone else ""
        self.more = {name: used.numbers(column) for name, column in special.items()}
        self.design = _checked(design(used, columns), options)


def _problem(options):
    """The rows, the response, and in words what it means that it is 1."""
    rows = _Rows(read_table(options.file), options)
    y, meaning = _response(rows, options)
    if options.prior_scale == np.inf:
        _check_independent(rows.design)
    return rows, y, meaning


def _named(columns):
    """The names in an option that lists columns; one with a comma is quoted."""
    return [name.strip() for name in next(csv.reader([columns], skipinitialspace=True))] if columns else []


def _model(options):
    return MODELS[options.model](**_settings(options), **_noise(options))


def _noise(options):
    return {"df": options.df} if options.model == "student_t" else {}


def _settings(options):
    return {"prior_scale": options.prior_scale, "autoscale": options.autoscale, "random_state": options.seed}


def _response(rows, options):
    y, name = rows.table[options.response], options.response
    if y.dtype == object:
        if options.model not in ("logistic", "probit") or options.trials:
            raise TableError(f"the {options.model} model needs a response of numbers, {name!r} is text")
        two = levels(rows.table, name)
        if len(two) > 2 and options.model == "logistic":
            return y, f", one of {len(two)} classes,"
        if len(two) != 2:
            raise TableError(f"the {options.model} model needs a response of two values, {name!r} has {len(two)}")
        return (y == two[1]).astype(np.float64), f" = {two[1]!r}"
    if np.abs(y).max() > LARGEST:
        raise TableError(f"the response has values of {np.abs(y).max():.2g}; give it another unit")
    if options.model in ("logistic", "probit") and not options.trials:
        if not np.isin(y, (0.0, 1.0)).all():
            raise TableError(f"the {options.model} model needs a response of 0 and 1, got {np.unique(y)[:5].tolist()}")
        if y.min() == y.max():
            raise TableError(f"the response has one value only, {y[0]:g}; the {options.model} model needs both 0 and 1")
    if options.model in DOMAINS:
        allowed, wanted = DOMAINS[options.model]
        if not allowed(y).all():
            raise TableError(f"the {options.model} model needs a response of {wanted}, got {y[~allowed(y)][0]:g}")
    if options.model == "poisson" and ((y < 0) | ((y != np.floor(y)) & (options.weights is None))).any():
        raise TableError(
            "the poisson model needs a response of whole numbers, not negative, or of rates with their exposures as "
            "--weights"
        )
    return y, ""


def _checked(rows, options):
    """The design, standardised where that is wanted, without columns that are constant or too large."""
    X, columns = rows.values, rows.columns
    low, high = X.min(axis=0), X.max(axis=0)
    if (low == high).any():
        constant = columns[int(np.argmax(low == high))]
        raise TableError(f"column {constant!r} is constant; an intercept is there already, drop the column")
    for taken in ("intercept", *(["log sigma"] if options.model == "linear" else [])):
        if taken in columns:
            raise TableError(f"the name {taken!r} is that of another parameter; rename the column")
    large = np.maximum(np.abs(low), np.abs(high))
    if (large > LARGEST).any() and not options.standardize:
        raise TableError(
            f"column {columns[int(np.argmax(large))]!r} has values of {large.max():.2g}; use --standardize"
        )
    if options.standardize:
        X = X / large  # so that no square overflows
        X -= X.mean(axis=0)
        X /= X.std(axis=0)
    return Design(X, columns)


def _check_independent(rows):
    """Refuse columns of which one is a combination of others: without a prior nothing tells them apart."""
    X, names = np.column_stack([np.ones(len(rows.values)), rows.values]), ["intercept", *rows.columns]
    _, values, vectors = np.linalg.svd(np.linalg.qr(X / np.abs(X).max(axis=0), mode="r"))
    if len(X) < len(names) or values[-1] <= 1e-15 * len(names) * values[0]:
        combined = [name for name, part in zip(names, vectors[-1]) if abs(part) > 1e-6]
        raise TableError(
            f"the columns {', '.join(map(repr, combined))} are linearly dependent: drop one, or give a finite "
            "--prior-scale"
        )
