"""What the coordinates of x mean in the model they come from: names, shapes, and the way back to the model's scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

import numpy as np


class Variable(NamedTuple):
    """One of a model's variables, on the model's own scale."""

    name: str
    shape: tuple[int, ...] = ()
    dims: tuple[str | None, ...] | None = None  # names of the axes

    def rows(self, coords: Mapping[str, Sequence]) -> list[str]:
        """A name for each element: ``beta[treated]`` where the axis has coordinates, else ``beta[0]``."""
        axes = [
            [str(label) for label in coords[dim]] if dim is not None and dim in coords else [str(i) for i in range(n)]
            for n, dim in zip(self.shape, self.dims or (None,) * len(self.shape))
        ]
        return [f"{self.name}[{', '.join(labels)}]" if labels else self.name for labels in product(*axes)]


@dataclass(frozen=True)
class Parameters:
    """The table of a model's parameters.

    Attributes
    ----------
    variables : tuple of Variable
        What a posterior has, transformed parameters and deterministic quantities among them.
    pieces : tuple of Variable
        The coordinates of x, in order: the parameters on the unconstrained scale.
    constrain : callable
        x (n, d) to a dict, name of a variable to its values (n, *shape).
    coords : dict
        Name of an axis to its labels.
    free : tuple of str
        Names of the variables that are parameters: what a sampler takes as starting values.
    start : numpy.ndarray (d,), optional
        Where the model itself would start.
    observed_data, constant_data : dict
        Arrays by name.
    log_likelihood : callable, optional
        x (n, d) to a dict, name of an observed variable to its pointwise log likelihoods (n, *shape).
    assemble : callable
        From the dict of draws to what the model's own users expect.
    """

    variables: tuple[Variable, ...]
    pieces: tuple[Variable, ...]
    constrain: Callable[[np.ndarray], dict[str, np.ndarray]]
    coords: dict[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    start: np.ndarray | None = None
    observed_data: dict[str, np.ndarray] = field(default_factory=dict)
    constant_data: dict[str, np.ndarray] = field(default_factory=dict)
    log_likelihood: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None
    assemble: Callable[[dict[str, np.ndarray]], Any] = lambda draws: draws

    @property
    def labels(self) -> list[str]:
        """A name for each coordinate of x."""
        return [row for piece in self.pieces for row in piece.rows(self.coords)]

    def split(self, x) -> dict[str, np.ndarray]:
        """The coordinates of x (n, d) by piece, (n, *shape) each."""
        ends = np.cumsum([int(np.prod(piece.shape)) for piece in self.pieces])
        parts = np.split(x, ends[:-1], axis=1)
        return {piece.name: part.reshape(len(x), *piece.shape) for piece, part in zip(self.pieces, parts)}
