"""What comes into a regression with groups: labels and slopes of the rows, checked and coded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sbpfast import _checks
from sbpfast._protocol import column_names, floats
from sbpfast.fitting import FitWarning
from sbpfast.fitting._mixed_rows import Group
from sbpfast.regression._input import refuse_missing_labels

SHOWN = 5


class Grouping(NamedTuple):
    """What is known of a group without the rows."""

    name: str
    levels: np.ndarray  # (J,), sorted
    effects: tuple[str, ...]  # names of what varies with the level
    intercept: bool  # whether the intercept does

    @property
    def title(self) -> str:
        """As in a formula: (1 + x | herd)."""
        terms = ["1" if name == "intercept" else name for name in self.effects]
        return f"({' + '.join(terms)} | {self.name})"


def labels_of(name, labels, rows) -> np.ndarray:
    """Labels of one kind, one a row, none of them missing."""
    unused = _unused(getattr(labels, "cat", labels))
    array = _checks.rectangular(f"groups[{name!r}]", labels)
    if array.shape != (rows,):
        raise ValueError(f"groups[{name!r}] must hold one label for each of the {rows} rows, got shape {array.shape}")
    refuse_missing_labels(f"groups[{name!r}]", array)
    if array.dtype.kind == "O":
        array = np.array(array.tolist()) if len({type(label) for label in array}) == 1 else array
    if array.dtype.kind not in "biufUSO":
        raise TypeError(f"groups[{name!r}] must hold numbers or texts, got dtype {array.dtype}")
    if unused:
        _checks.warn(
            f"groups[{name!r}] has {len(unused)} levels without rows ({', '.join(map(str, unused[:SHOWN]))}"
            f"{', ...' if len(unused) > SHOWN else ''}): they are left out, and predicted as new ones",
            FitWarning,
        )
    return array


def _unused(labels):
    """Categories of pandas that no row has."""
    categories = getattr(labels, "categories", None)
    if categories is None:
        return []
    used = set(np.unique(labels.codes).tolist())
    return [c for i, c in enumerate(categories) if i not in used]


def as_groups(groups) -> dict[str, Any]:
    """Labels by name; a bare array is one group called "group"."""
    if groups is None:
        raise ValueError("groups must name at least one grouping, such as {'herd': labels}, got None")
    if not isinstance(groups, Mapping):
        return {"group": groups}
    if not groups:
        raise ValueError("groups must name at least one grouping, such as {'herd': labels}, got {}")
    for name in groups:
        if not isinstance(name, str):
            raise TypeError(f"groups must have texts as keys, got {name!r}")
    return dict(groups)


def as_slopes(slopes, groups) -> dict[str, Any]:
    """Columns by the name of a group."""
    if slopes is None:
        return {}
    if not isinstance(slopes, Mapping):
        raise TypeError(f"slopes must be a dict from names of groups to columns, got {type(slopes).__name__}")
    unknown = [name for name in slopes if name not in groups]
    if unknown:
        raise ValueError(f"slopes must have names of groups as keys ({', '.join(groups)}), got {unknown[0]!r}")
    return dict(slopes)


def slope_columns(name, columns, rows) -> tuple[np.ndarray, list[str]]:
    """Columns (N, r) of numbers and their names."""
    found = column_names(columns)
    names = None if found is None else list(found)
    if hasattr(columns, "toarray"):
        raise TypeError(f"slopes[{name!r}] must be dense, sparse arrays are not taken: use .toarray()")
    array = floats(f"slopes[{name!r}]", columns)
    if array.ndim == 1:
        given = getattr(columns, "name", None)
        names = [given] if isinstance(given, str) else None
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"slopes[{name!r}] must be one column or have 2 dimensions, got shape {array.shape}")
    if array.shape[0] != rows or array.shape[1] == 0:
        raise ValueError(f"slopes[{name!r}] must have {rows} rows and at least one column, got shape {array.shape}")
    return array, names if names is not None else [f"slope{i}" for i in range(array.shape[1])]


def coded(groups, slopes, rows, intercepts) -> tuple[list[Grouping], list[Group]]:
    """Groups of training rows; `intercepts` says of some groups that only their slopes vary."""
    known, out = [], []
    groups = as_groups(groups)
    slopes = as_slopes(slopes, groups)
    for name, given in groups.items():
        levels, index = np.unique(_sortable(labels_of(name, given, rows)), return_inverse=True)
        if len(levels) < 2:
            raise ValueError(f"groups[{name!r}] must have at least two levels, got one: {levels[0]!r}")
        basis, names = None, list[str]()
        intercept = bool(intercepts.get(name, True))
        if name in slopes:
            basis, names = slope_columns(name, slopes[name], rows)
            if intercept:
                basis = np.column_stack([np.ones(rows), basis])
        known.append(Grouping(name, levels, (*(["intercept"] if intercept else []), *names), intercept))
        out.append(Group(index.astype(np.int32 if len(levels) < 2**31 else np.int64), len(levels), basis))
    return known, out


def _sortable(labels):
    """Labels of several kinds as their texts."""
    return np.array([str(label) for label in labels]) if labels.dtype.kind == "O" else labels


def recoded(known, groups, slopes, rows) -> tuple[list[Group], list[np.ndarray]]:
    """Groups of new rows, and where their levels are known; a group that is not given has new levels alone."""
    given = {} if groups is None else as_groups(groups)
    if len(known) == 1 and not isinstance(groups, Mapping) and groups is not None:
        given = {known[0].name: groups}
    names = [group.name for group in known]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"groups must have the names of fit as keys ({', '.join(names)}), got {unknown[0]!r}")
    slopes = as_slopes(slopes, names)
    out, seen = [], []
    for group in known:
        index, present = np.zeros(rows, dtype=np.intp), np.zeros(rows, dtype=bool)
        if group.name in given:
            index, present = _found(group, labels_of(group.name, given[group.name], rows))
        out.append(Group(index, len(group.levels), _new_basis(group, slopes, rows)))
        seen.append(present)
    return out, seen


def _found(group, labels):
    """Codes of labels, and which of them are levels of fit."""
    labels, levels = _sortable(labels), group.levels
    if (labels.dtype.kind in "US") != (levels.dtype.kind in "US"):
        raise TypeError(f"groups[{group.name!r}] must hold labels as in fit ({levels.dtype}), got {labels.dtype}")
    index = np.minimum(np.searchsorted(levels, labels), len(levels) - 1)
    present = levels[index] == labels
    return np.where(present, index, 0), present


def _new_basis(group, slopes, rows):
    n_slopes = len(group.effects) - group.intercept
    if not n_slopes:
        if group.name in slopes:
            raise ValueError(f"slopes[{group.name!r}]: the group had none in fit")
        return None
    if group.name not in slopes:
        raise ValueError(f"slopes[{group.name!r}] must be given: the group's effects of {group.title} vary with it")
    basis, _ = slope_columns(group.name, slopes[group.name], rows)
    if basis.shape[1] != n_slopes:
        raise ValueError(f"slopes[{group.name!r}] must have {n_slopes} columns, got {basis.shape[1]}")
    return np.column_stack([np.ones(rows), basis]) if group.intercept else basis
