"""What a public method does where a result leaves the range of double precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def within_doubles(method: Callable[P, R]) -> Callable[P, R]:
    """A method whose overflows are silent, and that raises ValueError where its result would be NaN.

    Infinities that are limits (the log density of a point whose density is 0, say) stay; differences and quotients of
    them are an error.
    """

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with np.errstate(all="ignore"):
                result = method(*args, **kwargs)
        except (np.linalg.LinAlgError, OverflowError, ZeroDivisionError):
            raise _error(method.__name__, args) from None
        for array in _arrays(result):
            if np.isnan(array).any():
                raise _error(method.__name__, args, array)
        return result

    return guarded


def guard(cls: type, names: frozenset[str]) -> None:
    """Put `within_doubles` around those of a class's own methods that are named."""
    for name in names.intersection(vars(cls)):
        method = vars(cls)[name]
        by_class = isinstance(method, classmethod)
        guarded = within_doubles(method.__func__ if by_class else method)
        setattr(cls, name, classmethod(guarded) if by_class else guarded)


def _arrays(result) -> Iterator[np.ndarray]:
    """The arrays in a result: one, or dictionaries and tuples of them."""
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple):
        for part in result:
            yield from _arrays(part)
    elif isinstance(result, np.ndarray | float):
        yield np.asarray(result)


def _error(name, args: tuple[Any, ...], array=None) -> ValueError:
    owner = args[0].__name__ if isinstance(args[0], type) else repr(args[0])
    where = ""
    if array is not None and array.ndim and len(args) > 1 and isinstance(args[1], np.ndarray | list | tuple):
        row = int(np.argwhere(np.isnan(array))[0, 0])
        if len(args[1]) == len(array):
            where = f" at x[{row}] = {args[1][row]}"
    return ValueError(f"{name} of {owner}{where} cannot be computed in double precision: it overflows or underflows")
