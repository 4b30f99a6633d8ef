"""The compiled kernels, in the best instruction set this processor has.

Every topic (``random``, ``contract``, ``ridge``, ...) is one source file, ``<topic>.pxi``, compiled once for each
instruction set.  ``SBPFAST_ISA=baseline|avx2|avx512`` forces one; a set that is missing from the build or from the
processor is an error, never a silent fall-back.
"""

import os
from importlib import import_module
from importlib.util import find_spec

from sbpfast._core._platform import OPENMP, effective_threads, processor_isas

__all__ = [
    "AVAILABLE_ISAS", "ISA", "OPENMP", "contract", "draws", "effective_threads", "random", "ridge", "special", "statistics",
    "weights",
]  # fmt: skip


def _available():
    return tuple(isa for isa in processor_isas() if find_spec(f"sbpfast._core.random_{isa}") is not None)


def _chosen(available):
    wanted = os.environ.get("SBPFAST_ISA")
    if wanted is None:
        return available[-1]
    if wanted not in available:
        raise ImportError(f"SBPFAST_ISA={wanted} asks for an instruction set that is not there; available: {', '.join(available)}")
    return wanted


AVAILABLE_ISAS = _available()
ISA = _chosen(AVAILABLE_ISAS)


def load(topic, isa=ISA):
    """The module of one topic's kernels for one instruction set."""
    return import_module(f"sbpfast._core.{topic}_{isa}")


random = load("random")
contract = load("contract")
ridge = load("ridge")
special = load("special")
weights = load("weights")
draws = load("draws")
statistics = load("statistics")
