"""Where the classes that pickles of version 0.1 name by their old modules are now."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

MOVED = {
    "sbpfast._estimators": ("sbpfast.estimate._result",),
    "sbpfast._importance": ("sbpfast.fitting._importance",),
    "sbpfast._unknown_noise": ("sbpfast.targets._unknown_noise",),
    "sbpfast.expfam.bounded": ("sbpfast.expfam._families._bounded",),
    "sbpfast.expfam.discrete": ("sbpfast.expfam._families._discrete",),
    "sbpfast.expfam.gamma_beta": ("sbpfast.expfam._families._gamma_beta",),
    "sbpfast.expfam.location_scale": ("sbpfast.expfam._families._location_scale",),
    "sbpfast.expfam.mle": ("sbpfast.expfam._statistics", "sbpfast._likelihood", "sbpfast.gaussian._likelihood"),
    "sbpfast.expfam.multivariate": ("sbpfast.expfam._families._multivariate",),
    "sbpfast.expfam.numeric": ("sbpfast.expfam._univariate",),
    "sbpfast.expfam.points": ("sbpfast.expfam._points",),
    "sbpfast.expfam.truncation": ("sbpfast.expfam._truncation",),
    "sbpfast.expfam.univariate": ("sbpfast.expfam._families._elementary",),
}
"""The old module, and those that share what it held."""


class _Moved(ModuleType):
    """Stands in for a module that is gone: what it held is looked up, when asked for, where it is now."""

    def __getattr__(self, name):
        if not name.startswith("__"):
            for module in map(import_module, MOVED[self.__name__]):
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


sys.modules.update({name: _Moved(name) for name in MOVED})
