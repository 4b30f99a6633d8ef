"""Ridge targets of rows that lie elsewhere: the same sums over parts, each made of a block when it has been read."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from sbpfast import _checks
from sbpfast.targets._dask import DaskRows, is_dask
from sbpfast.targets._design import DenseDesign
from sbpfast.targets._quadratic import Quadratic, normal_prior
from sbpfast.targets._ridge import Ridge, quadratic_part
from sbpfast.targets._ridge import ridge as plain_ridge
from sbpfast.targets._row_block import Block
from sbpfast.targets._rows import Rows

MOST_IN_MEMORY = 2**24  # elements of rows that are brought together where a question needs all of them


class PartOf:
    """Makes the ridge target of a block by the function that makes targets in memory: without a prior by default."""

    def __init__(self, model: Callable, options: dict):
        self.model, self.options = model, options

    def __call__(self, block: Block, prior_scale: float | None = None) -> Ridge:
        columns: dict[str, Any] = block.columns()
        design = DenseDesign(block.X)
        if self.model is ridge:
            return plain_ridge(design, **columns, **self.options)
        function = inspect.unwrap(self.model)
        return function(design, columns.pop("y", None), prior_scale=prior_scale, **columns, **self.options)

    def constants(self, block: Block) -> tuple[float, float, str, np.ndarray]:
        """What the rows add to the constant, the sum of the weights of their terms, and the link."""
        part = self(block, prior_scale=math.inf)
        return part.quadratic.constant, float(part.weights.sum()), part.link_name, part.link_record


class StreamedRidge(Ridge):
    """A ridge target whose rows are read at every pass."""

    streamed = True
    design: Rows

    def __init__(self, rows: Rows, part_of: PartOf, prior: Quadratic):
        constants = rows.checked(part_of.constants)
        self.design, self._part_of, self.remote = rows, part_of, rows.remote
        self.n_rows, self.dim = rows.n_rows, rows.dim
        _, _, self.link_name, self.link_record = constants[0]
        self._weight_sum = float(np.sum([weight for _, weight, _, _ in constants]))
        self.quadratic = prior._replace(constant=float(np.sum([c for c, _, _, _ in constants])) + prior.constant)

    def __repr__(self):
        return f"Ridge(dim={self.dim}, rows={self.n_rows}, link={self.link_name!r}, of {self.design!r})"

    @property
    def weight_sum(self):
        return self._weight_sum

    def over_parts(self, function, *arguments):
        return self.design.over_parts(self._part_of, function, *arguments)

    def every(self, stride) -> Ridge:
        block = self.design.every_block(stride)
        part = self._part_of(block)
        part.quadratic = self.quadratic
        part.terms[2] *= self.weight_sum / part.weight_sum
        return part

    def _in_memory(self) -> Ridge | None:
        return None if self.remote or self.n_rows * self.dim > MOST_IN_MEMORY else self.every(1)


def takes_rows(model):
    """Let a regression of X and y take rows that are streamed, in place of both."""
    parameters = inspect.signature(model).parameters

    @wraps(model)
    def regression(X, y=None, **options):
        for name, value in options.items():
            if name == "prior_scale" and value is None:
                raise TypeError("prior_scale must be a number, got None")
        rows = as_rows(X, y, options)
        if rows is None:
            if y is None:
                raise TypeError("y must be given with X; only Rows bring it with them")
            return model(X, y, **options)
        prior = {name: options.pop(name) for name in ("prior_scale", "prior_mean") if name in options}
        require_parameters(parameters, rows)
        if "rates" in parameters and options.get("rates") is None:
            options["rates"] = rows.fractions
        return StreamedRidge(rows, PartOf(regression, options), normal_prior(rows.dim, **prior))

    return regression


@wraps(plain_ridge)
def ridge(a, offset=0.0, link="", weights=1.0, y=None, quadratic=None, **parameters) -> Ridge:
    rows = as_rows(a, y, {"offset": offset} | ({} if _is(weights, 1.0) else {"weights": weights}))
    if rows is None:
        return plain_ridge(a, offset, link, weights, y, quadratic, **parameters)
    return StreamedRidge(rows, PartOf(ridge, {"link": link} | parameters), quadratic_part(quadratic, rows.dim))


def _is(value, number) -> bool:
    """Whether an argument was left at its default, a number."""
    return _checks.dimensions(value) == 0 and value == number


def as_rows(X, y, options) -> Rows | None:
    """The rows that stand for X and y, or None where those are in memory; takes out of the options what rows bring."""
    brought = {name: options.pop(name) for name in ("weights", "offset", "trials") if name in options}
    if isinstance(X, Rows):
        for name, value in {"y": y, **brought}.items():
            if value is not None and not _is(value, 0.0):
                raise ValueError(f"{name} must not be given beside Rows, which bring theirs with them")
        return X
    if is_dask(X):
        if y is None:
            raise TypeError("y must be given with X; only Rows bring it with them")
        brought = {name: value for name, value in brought.items() if not _is(value, 0.0)}
        return DaskRows(X, y, **brought)
    options.update(brought)
    return None


def require_parameters(parameters, rows):
    """Refuse rows without y, or with what a model does not take, where that is known before they are read."""
    known = rows._source.columns
    for name in () if known is None else known:
        if name not in parameters:
            raise ValueError(f"the rows have {name}, which this model does not take")
    if known is not None and "y" not in known:
        raise ValueError("the rows must have y")
