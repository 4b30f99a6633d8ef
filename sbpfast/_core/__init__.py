"""The compiled kernels, in the best instruction set this processor has.

Every topic (``random``, ``contract``, ``ridge``, ...) is one source file, ``<topic>.pxi``, compiled once for each
instruction set.  ``SBPFAST_ISA=baseline|avx2|avx512`` forces one; a set that is missing from the build or from the
processor is an error, never a silent fall-back.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from sbpfast._core._platform import OPENMP, OWN_THREADS, effective_threads, processor_isas

if TYPE_CHECKING:
    from sbpfast._core import contract_baseline as contract  # noqa: F401
    from sbpfast._core import draws_baseline as draws  # noqa: F401
    from sbpfast._core import elementary_baseline as elementary  # noqa: F401
    from sbpfast._core import fit_baseline as fit  # noqa: F401
    from sbpfast._core import lowrank_baseline as lowrank  # noqa: F401
    from sbpfast._core import random_baseline as random  # noqa: F401
    from sbpfast._core import rbm_baseline as rbm  # noqa: F401
    from sbpfast._core import ridge_baseline as ridge  # noqa: F401
    from sbpfast._core import softmax_baseline as softmax  # noqa: F401
    from sbpfast._core import special_baseline as special  # noqa: F401
    from sbpfast._core import statistics_baseline as statistics  # noqa: F401
    from sbpfast._core import weights_baseline as weights  # noqa: F401

TOPICS = tuple(sorted(m.name.removesuffix("_baseline") for m in iter_modules(__path__) if m.name.endswith("_baseline")))
"""What was built: the baseline of every ``<topic>.pxi``."""

__all__ = ["AVAILABLE_ISAS", "ISA", "OPENMP", "OWN_THREADS", "TOPICS", "effective_threads", "load", "processor_isas"]


def _available():
    return tuple(isa for isa in processor_isas() if find_spec(f"sbpfast._core.random_{isa}") is not None)


def _chosen(available):
    wanted = os.environ.get("SBPFAST_ISA")
    if wanted is None:
        return available[-1]
    if wanted not in available:
        raise ImportError(
            f"SBPFAST_ISA={wanted} asks for an instruction set that is not there; available: {', '.join(available)}"
        )
    return wanted


AVAILABLE_ISAS = _available()
ISA = _chosen(AVAILABLE_ISAS)


def load(topic: str, isa: str = ISA) -> Any:
    """The module of one topic's kernels for one instruction set."""
    return import_module(f"sbpfast._core.{topic}_{isa}")


def __getattr__(topic: str) -> Any:
    """`_core.ridge` and its like are loaded when first used."""
    if topic not in TOPICS:
        raise AttributeError(f"module {__name__!r} has no attribute {topic!r}")
    module = globals()[topic] = load(topic)
    return module
