"""Consecutive rows with what belongs to each, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

COLUMNS = ("y", "weights", "offset", "trials")  # what a row may have beside x


class Block(NamedTuple):
    """Consecutive rows in memory; what they do not have is None."""

    X: np.ndarray
    y: np.ndarray | None = None
    weights: np.ndarray | None = None
    offset: np.ndarray | None = None
    trials: np.ndarray | None = None
    start: int = 0  # the number of the first

    def take(self, rows: slice) -> Block:
        """Some of the rows."""
        columns: dict[str, Any] = {name: column[rows] for name, column in self.columns().items()}
        return Block(self.X[rows], **columns, start=self.start + (rows.start or 0))

    def columns(self) -> dict[str, Any]:
        """What there is beside x, by name."""
        return {name: getattr(self, name) for name in COLUMNS if getattr(self, name) is not None}


class Source(Protocol):
    """Where rows come from."""

    @property
    def dim(self) -> int:
        """d."""

    @property
    def n_rows(self) -> int | None:
        """None: not known before they are read."""

    @property
    def names(self) -> list[str] | None:
        """Of the columns of X."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Which of COLUMNS there are; None: not known before rows are read."""

    @property
    def kind(self) -> str:
        """In words."""

    def batches(self) -> Iterator[Block]:
        """All rows in their order, in batches of any size."""
