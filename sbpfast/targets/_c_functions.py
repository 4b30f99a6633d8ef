"""Callables for `Target` from C functions, whose signatures are checked before anything is called.

A signature is a tuple of kinds, the result's first: "double", "word" (an integer of 8 bytes), "int", "bool", "void",
"double *", "char **", and "void *", which passes for any pointer.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sbpfast import _core
from sbpfast._core import _cfunc

SCALAR = ("double", "double *", "word", "void *")
ARRAY = ("void", "double *", "word", "double *", "void *")
PLAIN = ("int", "double *", "word", "double *", "double *", "void *")
NUTPIE = ("word", "word", "double *", "double *", "double *", "void *")
STAN = ("int", "void *", "bool", "bool", "double *", "double *", "double *", "char **")
CONVENTIONS = {PLAIN: "plain", NUTPIE: "nutpie", STAN: "stan"}
IN_WORDS = {
    SCALAR: "double (const double *x, intptr_t d, void *user_data)",
    ARRAY: "void (const double *x, intptr_t d, double *out, void *user_data)",
    PLAIN: "int (const double *x, intptr_t d, double *value, double *grad, void *user_data)",
    NUTPIE: "int64_t (uint64_t d, double *x, double *grad, double *value, void *user_data)",
    STAN: "int (const bs_model *user_data, bool, bool, const double *x, double *value, double *grad, char **)",
}
ALLOWED = {"value": (SCALAR,), "grad": (ARRAY,), "hess": (ARRAY,), "value_and_grad": (PLAIN, NUTPIE, STAN)}
LONGEST = 0.1  # seconds of one call of a kernel, so that an interrupt is seen soon
FIRST = 16  # points of the first call
FUNCTION: Any = ctypes.CFUNCTYPE(None).__base__  # the class of every function of ctypes


class CFunction(NamedTuple):
    """A function of one of the signatures above, and what it is called with."""

    signature: tuple[str, ...]
    address: int
    user_data: int = 0
    keep_alive: object = None
    most_threads: int | None = None  # where more at once would not be safe


def of_cfunc(**functions) -> dict[str, Callable]:
    """Vectorised callables from C functions by name (a key of `ALLOWED`); those that are None stay out."""
    makers = {"value": _scalars, "grad": _arrays, "hess": _matrices, "value_and_grad": pairs}
    return {name: makers[name](_checked(name, f)) for name, f in functions.items() if f is not None}


def _scalars(f: CFunction):
    def call(x):
        out = np.empty(len(x))
        _in_short_calls(
            lambda part, threads: _cfunc.call_scalar(f.address, f.user_data, x[part], out[part], threads), len(x), f
        )
        return out

    return call


def _arrays(f: CFunction, width=lambda d: d):
    def call(x):
        out = np.empty((len(x), width(x.shape[1])))
        _in_short_calls(
            lambda part, threads: _cfunc.call_array(f.address, f.user_data, x[part], out[part], threads), len(x), f
        )
        return out

    return call


def _matrices(f: CFunction):
    rows = _arrays(f, width=lambda d: d * d)
    return lambda x: rows(x).reshape(len(x), x.shape[1], x.shape[1])


def pairs(f: CFunction):
    """x (n, d) to values (n,) and gradients (n, d), NaN where the function's status is not 0."""
    convention = CONVENTIONS[f.signature]

    def call(x):
        value, grad = np.empty(len(x)), np.empty(x.shape)

        def on(part, threads):
            _cfunc.call_pair(convention, f.address, f.user_data, x[part], value[part], grad[part], threads)

        _in_short_calls(on, len(x), f)
        return value, grad

    return call


def _in_short_calls(on, n, f: CFunction):
    """`on(slice, threads)` for all of n points, so many at a time that a call is short."""
    threads = _core.effective_threads(f.most_threads)
    start, size = 0, FIRST
    while start < n:
        began = time.perf_counter()
        on(slice(start, start + size), threads)
        start += size
        if time.perf_counter() - began < 0.25 * LONGEST:
            size *= 4


# -- signatures -------------------------------------------------------------------------------------------------------


def _checked(name, function) -> CFunction:
    """Address, user data and signature of what a user passed."""
    if isinstance(function, tuple) and hasattr(function, "function"):  # scipy.LowLevelCallable
        address, user_data, text = _cfunc.capsule_addresses(tuple.__getitem__(function, 0))
        if text is None:
            raise TypeError(f"{name} is a LowLevelCallable without a signature: give it one")
        got, signature = text, _of_text(text)
    elif hasattr(function, "address") and hasattr(function, "_sig"):  # numba.cfunc
        address, user_data = function.address, 0
        got, signature = str(function._sig), _of_numba(function._sig)
    elif isinstance(function, FUNCTION):
        if function.argtypes is None:
            raise TypeError(f"{name} is a ctypes function without argtypes: set its argtypes and restype")
        address, user_data = ctypes.cast(function, ctypes.c_void_p).value or 0, 0
        got = f"restype {_ctypes_name(function.restype)}, argtypes {[_ctypes_name(a) for a in function.argtypes]}"
        signature = tuple(_of_ctypes(t) for t in (function.restype, *function.argtypes))
    else:
        raise TypeError(
            f"{name} must be a scipy.LowLevelCallable, a numba cfunc or a ctypes function, "
            f"got {type(function).__name__}"
        )
    for allowed in ALLOWED[name]:
        if _agree(signature, allowed):
            if allowed is STAN and not user_data:
                raise TypeError(f"{name} needs the model as user data: wrap it in a scipy.LowLevelCallable")
            return CFunction(allowed, address, user_data, function)
    wanted = ", ".join(repr(IN_WORDS[allowed]) for allowed in ALLOWED[name])
    raise TypeError(f"{name} must have one of the signatures {wanted}; got {got!r}")


def _agree(signature, allowed):
    """The same kinds; a pointer to anything passes for any pointer."""
    return len(signature) == len(allowed) and all(
        got == want or (got.endswith("*") and want.endswith("*") and "void *" in (got, want))
        for got, want in zip(signature, allowed)
    )


KINDS = {
    "double": "double|float64",
    "word": r"u?int64(_t)?|u?intptr(_t)?|s?size_t|(u|unsigned )?long( ?long)?|Py_ssize_t|npy_intp|ptrdiff_t",
    "int": r"int|int32(_t)?",
    "bool": "bool|_Bool|boolean",
    "void": "void|none",
    "float": "float|float32",
    "char": r"u?char|u?int8(_t)?",
    "short": r"u?short|u?int16(_t)?",
    "unsigned": r"uint|uint32(_t)?|unsigned( int)?",
}


def _kind(text):
    """The kind of a type from its name in C or numba; a pointer to a type that is not known is "void *"."""
    text = re.sub(r"\b(const|struct)\b|(?<=\*)\s+", "", text).strip()
    base, stars = text.rstrip("*").strip(), text.count("*")
    known = next((kind for kind, names in KINDS.items() if re.fullmatch(names, base)), None)
    if stars:
        return f"{known or 'void'} {'*' * stars}"
    return known or base


def _of_text(text):
    """Of "result (argument, argument)"; names of arguments are not part of it."""
    match = re.fullmatch(r"\s*([^(]+?)\s*\((.*)\)\s*", text)
    if match is None:
        return (text,)
    arguments = [a for a in match[2].split(",") if a.strip() and a.strip() != "void"]
    return (_kind(match[1]), *map(_kind, arguments))


def _of_numba(sig):
    return (_kind(str(sig.return_type)), *(_kind(str(t)) for t in sig.args))


def _of_ctypes(t: Any):
    if t is None:
        return "void"
    if hasattr(t, "_dtype_"):  # numpy.ctypeslib.ndpointer
        return _kind(f"{t._dtype_ or 'double'} *")
    if t in (ctypes.c_void_p, ctypes.c_char_p):
        return "void *"
    if issubclass(t, ctypes._Pointer):
        pointed: Any = t._type_
        if pointed in (ctypes.c_void_p, ctypes.c_char_p) or issubclass(pointed, ctypes._Pointer):
            return "char **"
        return _kind(f"{_ctypes_name(pointed)} *")
    if t is not ctypes.c_double and issubclass(t, ctypes._SimpleCData) and ctypes.sizeof(t) == 8:
        return "word"
    return _kind(_ctypes_name(t))


def _ctypes_name(t):
    return getattr(t, "__name__", str(t)).removeprefix("c_")
