"""PyMC models as targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from sbpfast.bridges._pytensor import Call, array_of, fastest, ways_for_draws, ways_for_pairs, with_constant_data
from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._parameters import Parameters, Variable

FIT, DRAWS = 20_000, 4_000  # points at which a fit evaluates a density, and draws that are brought to the model's scale
TRIAL, SPREAD = 64, 0.1  # points around the start for the trial of the ways to evaluate


def target(model) -> Target:
    """The log density of the unconstrained parameters of a `pymc.Model`, see `Target.from_pymc`."""
    import pymc

    if not isinstance(model, pymc.Model):
        raise TypeError(f"model must be a pymc.Model, got {type(model).__name__}")
    _check_variables(model)
    return _Reader(model).target()


def _check_variables(model):
    discrete = [v.name for v in model.discrete_value_vars]
    if discrete:
        raise ValueError(
            f"the model has discrete free variables, {', '.join(map(repr, discrete))}: sum them out, for example by "
            "pm.Mixture"
        )
    if not model.free_RVs:
        raise ValueError("the model has no free variables")
    names = {rv.name for rv in model.observed_RVs}
    for free in model.free_RVs:
        name = free.name.removesuffix("_unobserved")
        if name != free.name and f"{name}_observed" in names:
            raise ValueError(
                f"the observed values of {name!r} hold NaN, which PyMC has made the parameters {free.name!r}: leave "
                "the rows out, or give the missing values a variable of their own"
            )
    for rv in model.observed_RVs:
        if np.isnan(np.asarray(array_of(model.rvs_to_values[rv]), dtype=np.float64)).any():
            raise ValueError(f"the observed values of {rv.name!r} hold NaN")


class _Reader:
    """What a target needs of a model."""

    def __init__(self, model):
        self.model = model
        self.values = [model.rvs_to_values[rv] for rv in model.free_RVs]
        self.initial = model.initial_point()
        self.start = np.concatenate([np.ravel(self.initial[v.name]) for v in self.values]).astype(np.float64)
        noise = np.random.default_rng(0).standard_normal((TRIAL, len(self.start)))
        self.trial = self.start + SPREAD * noise

    def _join(self, outputs):
        """The outputs as functions of one flat vector, with the data as they are now, and that vector."""
        from pymc.pytensorf import join_nonshared_inputs

        outputs, x = join_nonshared_inputs(self.initial, outputs, self.values)
        return with_constant_data(outputs), x

    def target(self) -> Target:
        import pytensor

        (density,), x = self._join([self.model.logp()])
        _check_deterministic(density)
        pair = fastest(x, [density, pytensor.grad(density, x)], self.trial, FIT, ways_for_pairs())
        value, grad = pair(self.start[None])
        if not (np.isfinite(value).all() and np.isfinite(grad).all()):
            raise NonFiniteTarget(self._why_not_finite(value[0], grad[0]))
        target = Target(value_and_grad=pair, dim=len(self.start))
        target.model_parameters = self._parameters()
        return target

    def _why_not_finite(self, value, grad):
        """The variables that are at fault at the start, and their values."""
        at = {v.name: self.initial[v.name] for v in self.values}
        point = ", ".join(f"{name} = {_short(value)}" for name, value in at.items())
        if np.isfinite(value):
            labels = [row for piece in self._pieces() for row in piece.rows(self._coords())]
            bad = int(np.argmax(~np.isfinite(grad)))
            return f"the gradient of the log density by {labels[bad]!r} is {grad[bad]} at the start, {point}"
        terms = self.model.point_logps(self.initial)
        bad_terms = [f"log p({name}) = {term}" for name, term in terms.items() if not np.isfinite(term)]
        return f"the log density is {value} at the start: {', '.join(bad_terms)} where {point}"

    # the table of the parameters

    def _parameters(self) -> Parameters:
        from pymc.util import get_default_varnames

        model = self.model
        outputs = get_default_varnames(model.unobserved_value_vars, include_transformed=False)
        names = [v.name for v in outputs]
        graphs, x = self._join(outputs)
        draws = self._draws(x, graphs)
        at_start = draws(self.start[None])
        variables = tuple(Variable(name, out.shape[1:], self._dims(name)) for name, out in zip(names, at_start))
        return Parameters(
            variables=variables,
            pieces=self._pieces(),
            constrain=lambda points: dict(zip(names, draws(points))),
            coords=self._coords(),
            free=tuple(rv.name for rv in model.free_RVs),
            start=self.start,
            observed_data={rv.name: array_of(model.rvs_to_values[rv]) for rv in model.observed_RVs},
            constant_data=self._constants(),
            log_likelihood=self._log_likelihood() if model.observed_RVs else None,
        )

    def _draws(self, x, graphs):
        return fastest(x, graphs, self.trial, DRAWS, ways_for_draws())

    def _pieces(self):
        """The value variables; those of the shape of their variable have its dims."""
        pieces = []
        for rv, value in zip(self.model.free_RVs, self.values):
            shape = np.shape(self.initial[value.name])
            dims = self._dims(rv.name)
            same = dims is not None and shape == tuple(len(self._coords().get(dim, ())) for dim in dims)
            pieces.append(Variable(value.name, shape, dims if same else None))
        return tuple(pieces)

    def _dims(self, name):
        return self.model.named_vars_to_dims.get(name)

    def _coords(self) -> dict[str, Any]:
        lengths = {dim: int(length.eval()) for dim, length in self.model.dim_lengths.items()}
        given = self.model.coords
        return {
            dim: np.asarray(given[dim]) if given.get(dim) is not None else np.arange(n) for dim, n in lengths.items()
        }

    def _constants(self):
        """The data that are not observed values."""
        values = set(self.model.rvs_to_values.values())
        return {v.name: array_of(v) for v in self.model.data_vars if v not in values}

    def _log_likelihood(self):
        """Pointwise, compiled when first asked for."""
        names = [rv.name for rv in self.model.observed_RVs]
        ready: list[Call] = []

        def call(points):
            if not ready:
                terms, x = self._join(self.model.logp(self.model.observed_RVs, sum=False))
                ready.append(self._draws(x, terms))
            return dict(zip(names, ready[0](points)))

        return call


def _check_deterministic(density):
    from pytensor.graph.traversal import graph_inputs
    from pytensor.tensor.random.type import RandomType

    if any(isinstance(v.type, RandomType) for v in graph_inputs([density])):
        raise ValueError("the log density of the model draws random numbers: minibatches are not taken")


def _short(value):
    return np.array2string(np.asarray(value), precision=4, threshold=8)
