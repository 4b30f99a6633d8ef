"""Models of other programs as targets: the table that `sbpfast.bridges` fills, so that nothing here imports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Bridge(NamedTuple):
    """How models of one kind become targets."""

    kind: str  # what a model is called in an error
    recognises: Callable[[object], bool]  # whether a thing is such a model; imports nothing
    target: Callable[..., Any]


BRIDGES: dict[str, Bridge] = {}


def bridged(thing):
    """The target of a model of another program; None where no bridge recognises it."""
    for bridge in BRIDGES.values():
        if bridge.recognises(thing):
            return bridge.target(thing)
    return None
