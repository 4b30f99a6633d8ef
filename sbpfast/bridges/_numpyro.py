"""NumPyro models as targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._foreign import in_blocks, of_jax
from sbpfast.targets._parameters import Parameters, Variable


def target(model, *args, **kwargs) -> Target:
    """The log density of the unconstrained parameters of a NumPyro model, see `Target.from_numpyro`."""
    import jax

    if not callable(model):
        raise TypeError(f"model must be a model function of NumPyro, got {type(model).__name__}")
    if jax.numpy.zeros(0).dtype != np.float64:
        raise ValueError(
            "JAX computes in float32: switch float64 on before anything else, by numpyro.enable_x64() or "
            'jax.config.update("jax_enable_x64", True)'
        )
    return _Reader(model, args, kwargs).target()


class _Reader:
    """What a target needs of a model and its arguments."""

    def __init__(self, model, args, kwargs):
        import jax
        from jax.flatten_util import ravel_pytree
        from numpyro.infer.util import initialize_model

        self.model, self.args, self.kwargs = model, args, kwargs
        self.trace = self._trace_at_zero()
        _check_sites(self.trace)
        _check_start(self.trace)
        info = initialize_model(
            jax.random.PRNGKey(0), model, init_strategy=_at_zero(), model_args=args, model_kwargs=kwargs
        )
        self.potential, self.postprocess = info.potential_fn, info.postprocess_fn
        flat, self.unravel = ravel_pytree(info.param_info.z)
        self.dim, self.shapes = len(flat), {name: np.shape(z) for name, z in sorted(info.param_info.z.items())}

    def _trace_at_zero(self):
        """The model's sites where every unconstrained parameter is 0."""
        from jax.random import PRNGKey
        from numpyro.handlers import seed, substitute, trace

        placed = substitute(seed(self.model, PRNGKey(0)), substitute_fn=_at_zero())
        return trace(placed).get_trace(*self.args, **self.kwargs)

    def target(self) -> Target:
        target = Target(**of_jax(lambda x: -self.potential(self.unravel(x))), dim=self.dim)
        target.model_parameters = self._parameters()
        return target

    def _parameters(self) -> Parameters:
        latent = list(self.shapes)
        constrain = self._constrained()
        at_zero = constrain(np.zeros((1, self.dim)))
        names = list(at_zero)
        dims = {name: _dims(self.trace[name], at_zero[name].ndim - 1) for name in names}
        plates = {site["name"]: np.arange(site["args"][0]) for site in self.trace.values() if site["type"] == "plate"}
        observed = {name: np.asarray(site["value"]) for name, site in self.trace.items() if _is_observed(site)}
        return Parameters(
            variables=tuple(Variable(name, at_zero[name].shape[1:], dims[name]) for name in names),
            pieces=tuple(
                Variable(name, shape, dims[name] if shape == at_zero[name].shape[1:] else None)
                for name, shape in self.shapes.items()
            ),
            constrain=constrain,
            coords=plates,
            free=tuple(latent),
            observed_data=observed,
            log_likelihood=self._log_likelihood if observed else None,
        )

    def _constrained(self):
        """x (n, d) to the sites on the model's scale, deterministic ones included."""
        import jax

        def on_its_scale(x):
            return self.postprocess(self.unravel(x))

        one = jax.jit(jax.vmap(on_its_scale))
        found = jax.eval_shape(on_its_scale, np.zeros(self.dim))
        names = [*self.shapes, *(name for name in self.trace if name in found and name not in self.shapes)]

        def call(x):
            return dict(zip(names, in_blocks(lambda block: [np.asarray(one(block)[name]) for name in names], x)))

        return call

    def _log_likelihood(self, x):
        from numpyro.infer.util import log_likelihood

        draws = {name: values for name, values in self._constrained()(x).items() if name in self.shapes}
        sites = log_likelihood(self.model, draws, *self.args, **self.kwargs)
        return {name: np.asarray(terms) for name, terms in sites.items()}


def _at_zero() -> Any:
    from numpyro.infer.initialization import init_to_uniform

    return init_to_uniform(radius=0.0)


def _is_observed(site):
    return site["type"] == "sample" and site["is_observed"]


def _check_sites(trace):
    """Refuse what has no density of continuous parameters."""
    samples = {name: site for name, site in trace.items() if site["type"] == "sample"}
    latent = {name: site for name, site in samples.items() if not site["is_observed"]}
    discrete = [name for name, site in latent.items() if site["fn"].support.is_discrete]
    if discrete:
        raise ValueError(f"the model has discrete latent sites, {', '.join(map(repr, discrete))}: sum them out")
    if not latent:
        raise ValueError("the model has no latent sites")
    for name, site in samples.items():
        if site["is_observed"] and np.isnan(np.asarray(site["value"], dtype=np.float64)).any():
            raise ValueError(f"the observed values of {name!r} hold NaN")
    for name, site in trace.items():
        if site["type"] == "plate" and len(site["value"]) < site["args"][0]:
            raise ValueError(f"the plate {name!r} draws minibatches, which are not taken")


def _check_start(trace):
    """Name the sites that are at fault where every unconstrained parameter is 0."""
    samples = {name: site for name, site in trace.items() if site["type"] == "sample"}
    terms = {name: float(np.sum(site["fn"].log_prob(site["value"]))) for name, site in samples.items()}
    faults = [f"log p({name}) = {term}" for name, term in terms.items() if not np.isfinite(term)]
    if faults:
        values = [
            f"{name} = {np.array2string(np.asarray(site['value']), precision=4, threshold=8)}"
            for name, site in samples.items()
            if not site["is_observed"]
        ]
        raise NonFiniteTarget(
            f"the log density is not finite at the start: {', '.join(faults)} where {', '.join(values)}"
        )


def _dims(site, ndim):
    """Names of the axes of a site: its plates', where it has them."""
    if site["type"] != "sample":
        return None
    batch = ndim - site["fn"].event_dim
    axes: list[str | None] = [None] * ndim
    for frame in site["cond_indep_stack"]:
        axes[batch + frame.dim] = frame.name
    return tuple(axes)
