"""Formulas as text, with what they have learned of a frame: trees of plain values, arrays and formulae's own objects.

Reading makes nothing but these and runs nothing: classes are those of formulae, functions those that NumPy calls
ufuncs and formulae's own.
"""

from __future__ import annotations

import importlib
import json
import operator
from typing import Any

import numpy as np

from sbpfast.regression._formula import Formula, _environment, _formulae

PARTS = ("text", "response", "_common", "_groups", "names", "slope_names")
PLAIN = (type(None), bool, int, float, str)
NUMBERS = "biufU"


class NotStorable(Exception):
    """A formula that holds something else."""


def written(formula) -> str:
    """A formula as JSON; NotStorable where it cannot be read again."""
    return json.dumps({name: _down(getattr(formula, name)) for name in PARTS})


def read(text) -> Formula:
    """What `written` wrote."""
    parts = json.loads(text)
    return Formula(*(_up(parts[name]) for name in PARTS))


def _down(value) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, list | tuple | set):
        return {type(value).__name__: [_down(v) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[_down(k), _down(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in NUMBERS:
        return {"array": [value.dtype.str, value.tolist(), isinstance(value, np.ndarray)]}
    kind = type(value)
    name = getattr(value, "__name__", "")
    if name and getattr(operator, name, None) is value:
        return {"operator": name}
    if not kind.__module__.startswith("formulae."):
        raise NotStorable(f"{kind.__module__}.{kind.__qualname__}")
    if kind.__name__ == "Environment":
        return {"environment": None}
    _check_callee(vars(value))
    return {"object": [kind.__module__, kind.__qualname__, _down(vars(value))]}


def _up(value) -> Any:
    if type(value) in PLAIN:
        return value
    ((tag, held),) = value.items()
    if tag in ("list", "tuple", "set"):
        return {"list": list, "tuple": tuple, "set": set}[tag](_up(v) for v in held)
    if tag == "dict":
        return {_up(k): _up(v) for k, v in held}
    if tag == "array":
        array = np.array(held[1], dtype=held[0])
        return array if held[2] else array[()]
    if tag == "operator":
        return getattr(operator, held)
    if tag == "environment":
        return _environment().with_outer_namespace(_functions())
    return _object(*held)


def _object(module, name, state):
    """An object of formulae's, without its constructor."""
    if not module.startswith("formulae."):
        raise ValueError(f"a formula holds objects of formulae alone, got {module}.{name}")
    _formulae()
    kind = getattr(importlib.import_module(module), name)
    made = kind.__new__(kind)
    vars(made).update(_up(state))
    _check_callee(vars(made))
    return made


def _check_callee(state):
    """Refuse the call of anything but formulae's own functions and NumPy's ufuncs."""
    callee = state.get("callee")
    if callee is None:
        return
    known = _functions()
    module, _, name = callee.rpartition(".")
    if not (callee in known if not module else module == "np" and isinstance(getattr(np, name, None), np.ufunc)):
        raise NotStorable(f"the function {callee!r}")


def _functions() -> dict[str, Any]:
    """formulae's own, by name."""
    return {**_formulae("formulae.transforms").TRANSFORMS, **_formulae("formulae.categorical").ENCODINGS}
