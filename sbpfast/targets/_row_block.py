"""Consecutive rows with what belongs to each, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

COLUMNS = ("y", "weights", "offset", "trials")  # what a row may have beside x
SHOWN = 5  # classes in an error


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


class Labels(NamedTuple):
    """How y is read that holds labels: as it is, or as places among known classes, whose factors multiply weights."""

    classes: np.ndarray | None = None
    factors: np.ndarray | None = None

    def coded(self, block: Block) -> Block:
        """With places for labels; an error names the row."""
        if self.classes is None or block.y is None:
            return block
        places = {label: float(i) for i, label in enumerate(self.classes.tolist())}
        codes = [places.get(label) for label in np.asarray(block.y).tolist()]
        if None in codes:
            row = codes.index(None)
            known = ", ".join(map(repr, self.classes.tolist()[:SHOWN])) + ", ..." * (len(self.classes) > SHOWN)
            raise ValueError(f"row {block.start + row}: y must be one of the classes {known}, got {block.y[row]!r}")
        return block._replace(y=np.array(codes))

    def weighted(self, block: Block) -> Block:
        """With the weights of coded rows times the factors of their classes."""
        if self.factors is None or block.y is None:
            return block
        factors = self.factors[block.y.astype(int)]
        return block._replace(weights=factors if block.weights is None else block.weights * factors)


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

    def without_x(self) -> Source:
        """The same of no column of X: what there is beside it, at less cost."""
