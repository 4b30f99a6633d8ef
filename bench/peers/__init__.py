"""What other people's programs, or thirty lines of NumPy, do instead: one file a subject."""

from __future__ import annotations

import importlib
import sys

LEFT_OUT = False
"""Whether to do as if no peer were installed."""


def optional(name: str):
    """A peer's module, JAX in float64; or None, and a line that says it is not installed."""
    if LEFT_OUT:
        return None
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        print(f"  ({error.name} is not installed: left out)")
        return None
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", True)
    return module


def all_of(*names: str):
    """The modules, or None where one is missing."""
    modules = []
    for name in names:
        module = optional(name)
        if module is None:
            return None
        modules.append(module)
    return modules


def present(candidates: dict) -> dict:
    """Those candidates that are there."""
    return {name: call for name, call in candidates.items() if call is not None}
