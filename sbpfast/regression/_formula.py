"""Model formulas over data frames, read by the package formulae: response, columns of X, groups and slopes.

Columns of text, booleans and categories are categories, in the order of the frame's own categories where it has one,
else sorted; missing values are refused.  What new rows need is kept without the data.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, NamedTuple

import numpy as np

NAME = r"(`[^`]+`|[^\W\d][\w.]*)"
SHARE = re.compile(rf"\s*{NAME}\s*/\s*({NAME[1:-1]}|\d+)\s*")
SHOWN = 10  # names of columns in an error


class FormulaRows(NamedTuple):
    """What a formula makes of a frame of N rows.

    groups: labels (N,) of any kind by the name of the group, "a:b" texts for a crossing of columns.
    slopes: columns Z (N, r) whose effects vary with the group, for groups that have any.
    y and trials are None for new rows; y holds the response as it is, text too.
    """

    X: np.ndarray
    offset: np.ndarray | None
    groups: dict[str, np.ndarray]
    slopes: dict[str, np.ndarray]
    y: Any = None
    trials: np.ndarray | None = None


class Formula:
    """A formula and what it has learned of a frame: levels, and the state of transforms such as ``scale(x)``.

    Attributes
    ----------
    text, response : str
    intercept : bool
    names : list of str
        Of the columns of X, the intercept apart.
    slope_names : dict of str to list of str
        Of the columns of Z, for groups that have any.
    group_intercepts : dict of str to bool
        Whether the intercept varies with the group: False for ``(0 + x | g)``.
    """

    def __init__(self, text, response, common, groups, names, slope_names):
        self.text, self.response = text, response
        self._common, self._groups = common, groups
        self.intercept = any(term.name == "Intercept" for term in common)
        self.names, self.slope_names = names, slope_names
        self.group_intercepts = {
            name: any(term.name == "Intercept" for term in terms) for name, (_, terms) in groups.items()
        }

    def __repr__(self):
        return f"Formula({self.text!r})"

    def rows(self, data) -> FormulaRows:
        """Rows to predict: X, offset, groups and slopes of a frame, whose response is not looked at."""
        terms = [*self._common, *(term for _, terms in self._groups.values() for term in terms)]
        names = set().union(*(term.var_names for term in terms), *(columns for columns, _ in self._groups.values()))
        frame = _frame(data, names)
        X, offset = _columns(self._common, frame, new=True)
        labels = {name: _labels(frame, columns) for name, (columns, _) in self._groups.items()}
        slopes = {name: _columns(terms, frame, new=True)[0] for name, (_, terms) in self._groups.items()}
        return FormulaRows(X, offset, labels, {name: Z for name, Z in slopes.items() if Z.shape[1]})


def parse_formula(text, data) -> tuple[Formula, FormulaRows]:
    """Read a formula over a frame.

    Parameters
    ----------
    text : str
        ``"y ~ x + C(z) + x:z + offset(log_exposure) + (1 + x | g)"``; the response may be ``successes / size``, or
        ``y["level"]`` for one level against the others.  Functions are formulae's own (``C center scale poly bs ...``)
        and those of NumPy, as ``np.log(x)``.
    data : pandas or polars DataFrame, or dict of columns

    Raises
    ------
    ImportError
        formulae is not installed.
    TypeError, ValueError
        Not a text or a frame; a formula that cannot be read, or has no response; names that are no columns; columns of
        other kinds; missing values, with the columns and their numbers.
    """
    if not isinstance(text, str):
        raise TypeError(f"formula must be a str such as 'y ~ x + C(z)', got {type(text).__name__}")
    model = _description(text)
    if model.response is None:
        raise ValueError(f"formula must have a response before a ~, such as 'y ~ x', got {text!r}")
    groups = _grouped(model.group_terms)
    names = set(model.var_names).union(*(columns for columns, _ in groups.values()))
    frame = _frame(data, names)
    try:
        y, trials = _response(model.response.term.components[0], frame)
        common = _evaluated(model.common_terms, frame)
        X, offset = _columns(common, frame, new=False)
        groups = {name: (columns, _evaluated(terms, frame)) for name, (columns, terms) in groups.items()}
        slopes = {name: _columns(terms, frame, new=False)[0] for name, (_, terms) in groups.items()}
        labels = {name: _labels(frame, columns) for name, (columns, _) in groups.items()}
    except Exception as error:  # of whatever a formula may call
        raise ValueError(f"formula {text!r} cannot be evaluated: {error}") from error
    slope_names = {name: _names(terms) for name, (_, terms) in groups.items() if _names(terms)}
    formula = Formula(text, model.response.term.name, common, groups, _names(common), slope_names)
    for terms in (common, *(terms for _, terms in groups.values())):
        _forget_data(terms)
    return formula, FormulaRows(X, offset, labels, {k: Z for k, Z in slopes.items() if Z.shape[1]}, y, trials)


def columns_of_formula(text) -> tuple[set[str], bool]:
    """The names that a formula uses, and whether it has groups."""
    model = _description(text)
    groups = _grouped(model.group_terms)
    return set(model.var_names).union(*(columns for columns, _ in groups.values())) - {""}, bool(groups)


def as_whole(values) -> np.ndarray:
    """Numbers that are all whole as integers, so that levels made of them are written without a point."""
    if values.dtype.kind == "f" and (values == np.floor(values)).all() and (np.abs(values) < 2.0**53).all():
        return values.astype(np.int64)
    return values


def column(argument, name, data) -> np.ndarray:
    """A column of numbers that an argument names."""
    frame = _frame(data, {name})
    if frame[name].dtype.kind not in "if":
        raise TypeError(f"{argument} must name a column of numbers, got {name!r}")
    return np.asarray(frame[name], dtype=np.float64)


# -- reading the text --------------------------------------------------------------------------------------------------


def _formulae(module="formulae"):
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError("formulas need the package formulae: pip install 'sbpfast[formula]'") from None


def _description(text):
    """formulae's model of the text, ``a / b`` before the ~ written as a proportion."""
    left, tilde, right = text.partition("~")
    share = SHARE.fullmatch(left)
    written = f"proportion({share[1]}, {share[2]}) ~{right}" if share and tilde else text
    read = _formulae("formulae.model_description").model_description
    try:
        return read(written)
    except Exception as error:  # formulae raises many kinds
        raise ValueError(f"formula {text!r} cannot be read: {error}") from None


def _grouped(terms):
    """The terms ``(expr | factor)`` by group: name to the columns that make the labels and the exprs."""
    groups: dict[str, tuple[list[str], list]] = {}
    for term in terms:
        name = term.factor.name
        if name not in groups:
            groups[name] = [_column_of(component) for component in term.factor.components], []
        groups[name][1].append(term.expr)
    return groups


def _column_of(component):
    """The column of a grouping factor, ``g`` or ``C(g)``."""
    call = getattr(component, "call", None)
    if call is None:
        return component.name
    if call.callee == "C" and len(component.var_names) == 1:
        return next(iter(component.var_names))
    raise ValueError(f"a column, or columns joined by ':' or '/', is wanted, got {component.name!r}")


# -- the frame ---------------------------------------------------------------------------------------------------------


def _frame(data, names):
    """The columns that a formula names, as a pandas frame of numbers and ordered categories without gaps."""
    pandas = _formulae("pandas")
    known = list(data) if isinstance(data, dict) else getattr(data, "columns", None)
    names = set(names) - {""}  # of literals
    if known is None:
        raise TypeError(f"data must be a pandas or polars data frame or a dict of columns, got {type(data).__name__}")
    used = sorted(name for name in names if name in known)
    unknown = sorted(str(name) for name in names if name not in known)
    if unknown:
        shown = ", ".join(map(str, list(known)[:SHOWN])) + (", ..." if len(known) > SHOWN else "")
        raise ValueError(f"there is no column {', '.join(map(repr, unknown))} in data; its columns are {shown}")
    columns = {name: _series(pandas, data[name]) for name in used}
    gaps = {name: int(column.isna().sum()) for name, column in columns.items()}
    if any(gaps.values()):
        found = ", ".join(f"{count} in {name!r}" for name, count in gaps.items() if count)
        raise ValueError(f"data has missing values, {found}; fill them, or leave such rows out")
    frame = pandas.DataFrame({name: _kind(pandas, name, column) for name, column in columns.items()})
    if used and not len(frame):
        raise ValueError("data must have at least one row")
    if not used:  # y ~ 1 of new rows
        frame = pandas.DataFrame(index=range(len(data)))
    return frame


def _series(pandas, column):
    """A column of pandas, of polars or anything else, as a pandas series numbered from 0."""
    if isinstance(column, pandas.Series):
        return column.reset_index(drop=True)
    kind: Any = getattr(column, "dtype", None)
    if type(kind).__name__ == "Enum":  # of polars
        return pandas.Series(pandas.Categorical(column.to_list(), categories=kind.categories.to_list()))
    return pandas.Series(column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column))


def _kind(pandas, name, column):
    """Numbers as float64 or int64, all else that is taken as an ordered category."""
    types = pandas.api.types
    if isinstance(column.dtype, pandas.CategoricalDtype):
        return column.cat.remove_unused_categories().cat.as_ordered()
    if not types.is_bool_dtype(column.dtype) and types.is_numeric_dtype(column.dtype):
        if types.is_complex_dtype(column.dtype):
            raise TypeError(f"column {name!r} must hold numbers, text, booleans or categories, got {column.dtype}")
        return column.astype(np.int64 if types.is_integer_dtype(column.dtype) else np.float64)
    values = column.to_numpy(dtype=object)
    if all(isinstance(value, str) for value in values) or all(isinstance(value, bool | np.bool_) for value in values):
        return pandas.Series(pandas.Categorical(values, categories=sorted(set(values)), ordered=True))
    if all(isinstance(value, (int, float, np.number)) for value in values):
        return column.astype(np.float64)
    kind = column.dtype if column.dtype != object else " and ".join(sorted({type(v).__name__ for v in values})[:3])
    raise TypeError(f"column {name!r} must hold numbers, text, booleans or categories, got {kind}")


def _labels(frame, columns):
    """The label of every row: of one column its values, of several their texts joined by ':'."""
    parts = [np.asarray(frame[column]) for column in columns]
    if len(parts) == 1:
        return parts[0]
    return np.array([":".join(map(str, row)) for row in zip(*parts)], dtype=object)


# -- from terms to numbers ---------------------------------------------------------------------------------------------


class _NumPy:
    """NumPy under a name that can be pickled."""

    def __getattr__(self, name):
        return getattr(np, name)


def _environment():
    """What a formula may call beside formulae's own functions."""
    return _formulae("formulae.environment").Environment([{"np": _NumPy()}])


def _evaluated(terms, frame):
    """The terms, evaluated on the frame, with those that a full rank needs."""
    model = _formulae("formulae.terms.terms").Model(*terms)
    with np.errstate(all="ignore"):
        model.eval(frame, _environment())
    return model.common_terms


def _response(component, frame):
    """The response as it is, or the successes of a proportion with their trials."""
    call, reference = getattr(component, "call", None), getattr(component, "reference", None)
    if call is None or call.callee == "C":
        y = np.asarray(frame[_column_of(component)])
        if reference is not None and reference not in y:
            raise ValueError(f"no value of {component.name!r} equals {reference!r}")
        return (y if reference is None else y == reference), None
    component.is_response = True
    component.set_type(frame, _environment())
    if component.kind not in ("numeric", "proportion"):
        raise ValueError(f"{component.name!r} cannot be a response: it is {component.kind}")
    component.set_data()
    value = np.asarray(component.value, dtype=np.float64)
    return (value[:, 0], value[:, 1]) if component.kind == "proportion" else (value, None)


def _columns(terms, frame, new):
    """The columns of the terms, (N, d), intercept and offsets apart, and the sum of the offsets or None."""
    rows, columns, offset = len(frame), [np.zeros((len(frame), 0))], None
    for term in terms:
        if term.name == "Intercept":
            continue
        values = _values(term, frame) if new else np.asarray(term.data, dtype=np.float64)
        if bad := int((~np.isfinite(values.reshape(rows, -1))).any(axis=1).sum()):
            raise ValueError(f"the term {term.name!r} is not finite in {bad} of {rows} rows")
        if term.kind == "offset":
            offset = values.reshape(rows) + (0.0 if offset is None else offset)
        else:
            columns.append(values.reshape(rows, -1))
    return np.ascontiguousarray(np.concatenate(columns, axis=1)), offset


def _values(term, frame):
    """A term of new rows."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(term.eval_new_data(frame), dtype=np.float64)
    except Exception as error:  # of whatever a formula may call
        raise ValueError(f"the term {term.name!r} cannot be evaluated: {error}") from error


def _names(terms) -> list[str]:
    """Of the columns of `_columns`."""
    return [label for term in terms if term.name != "Intercept" and term.kind != "offset" for label in term.labels]


def _forget_data(terms: list[Any]) -> None:
    """Drop the training data that formulae keeps in its terms: new rows need levels, codings and transforms alone."""
    for term in terms:
        term.data = None
        for component in getattr(term, "components", ()):
            component.value = None
            if component.kind == "offset":
                component._intermediate_data.x = None
            else:
                component._intermediate_data = None
