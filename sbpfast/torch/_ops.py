"""The operators behind the distributions: NumPy's arrays inside, everything that torch asks of an operator outside.

For each law of `sbpfast.expfam.elementwise` there are ``sbpfast::<name>(key, *parameters)``, the draw, whose gradients
are the transport weights, and ``sbpfast::<name>_velocity(x, *parameters)``, the weights themselves, which have
gradients in turn where the law has slopes.  The key is an int64 tensor (4,): an operator is a function of its inputs,
so it can be traced, batched and checked.
"""

from __future__ import annotations

import numpy as np
import torch

from sbpfast.expfam import elementwise
from sbpfast.expfam.elementwise import LAWS, SIMPLEX_LAWS
from sbpfast.gaussian import _precision_rows

_TYPES = (torch.float32, torch.float64)


def require_supported(owner: str, name: str, tensor: torch.Tensor) -> None:
    """TypeError for a dtype other than float32 and float64, ValueError for a device other than the CPU."""
    if tensor.dtype not in _TYPES:
        raise TypeError(f"{owner}: {name} must be float32 or float64, got {tensor.dtype}; use {name}.float()")
    if tensor.device.type != "cpu":
        raise ValueError(f"{owner}: {name} must be on the CPU, got a tensor on {tensor.device}; use {name}.cpu()")


def new_key() -> torch.Tensor:
    """A key (4,) from torch's global generator, so that torch.manual_seed rules the draws."""
    return torch.randint(-(2**63), 2**63 - 1, (4,), dtype=torch.int64)


def _arrays(tensors):
    return [t.detach().contiguous().numpy() for t in tensors]


def _tensor(array):
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _fresh(like, shape=None):
    return torch.empty(like.shape if shape is None else shape, dtype=like.dtype, device=like.device)


def _to_front(batch, tensors, in_dims):
    """Every tensor with the batch axis in front."""
    return [
        t.movedim(d, 0) if d is not None else t.unsqueeze(0).expand(batch, *t.shape) for t, d in zip(tensors, in_dims)
    ]


def _operator(name, function, n_in, n_out, fake, *, key=False):
    """A CPU operator of tensors with a rule for vmap: all its arguments batched along their first axis."""
    first = "key" if key else "x"
    arguments = ", ".join([f"Tensor {first}", *(f"Tensor p{i}" for i in range(n_in - 1))])
    results = "Tensor" if n_out == 1 else "(" + ", ".join(["Tensor"] * n_out) + ")"

    def compute(*tensors):
        out = function(*_arrays(tensors))
        return _tensor(out) if n_out == 1 else tuple(_tensor(a) for a in out)

    op = torch.library.custom_op(
        f"sbpfast::{name}", compute, mutates_args=(), device_types="cpu", schema=f"({arguments}) -> {results}"
    )
    op.register_fake(fake)

    def batched(info, in_dims, *tensors):
        out = op(*_to_front(info.batch_size, tensors, in_dims))
        return out, 0 if n_out == 1 else (0,) * n_out

    op.register_vmap(batched)
    return op


def _save_inputs_and_output(ctx, inputs, output):
    ctx.save_for_backward(output, *inputs[1:])


def _save_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _first_only(function):
    return lambda *arrays: function(*arrays)[0]


def _velocity_operator(name, law):
    n = len(law.parameters)
    function = _first_only(law.velocity) if n == 1 else law.velocity
    fake = (lambda x, *p: _fresh(x)) if n == 1 else (lambda x, *p: tuple(_fresh(x) for _ in p))
    op = _operator(f"{name}_velocity", function, n + 1, n, fake)
    if law.slopes is None:
        return op
    slopes = _operator(
        f"{name}_slopes", law.slopes, n + 1, n * (n + 1), lambda x, *p: tuple(_fresh(x) for _ in range(n * (n + 1)))
    )

    def backward(ctx, *grads):
        by = slopes(*ctx.saved_tensors)
        return tuple(sum(g * by[i * (n + 1) + j] for i, g in enumerate(grads)) for j in range(n + 1))

    op.register_autograd(backward, setup_context=_save_inputs)
    return op


def _draw_operator(name, law):
    """Elementwise: the gradient by a parameter is the incoming one times the velocity."""
    n = len(law.parameters)
    op = _operator(name, law.draw, n + 1, 1, lambda key, *p: _fresh(p[-1]), key=True)
    velocity = _velocity_operator(name, law)

    def backward(ctx, grad):
        by = velocity(*ctx.saved_tensors)
        return None, *(grad * v for v in ((by,) if n == 1 else by))

    op.register_autograd(backward, setup_context=_save_inputs_and_output)
    return op


def _simplex_pull_back(x, c, grad):
    """sum_i g_i (delta_ij - x_i) c_j."""
    return c * (grad - (grad * x).sum(-1, keepdim=True))


def _log_simplex_pull_back(log_x, w, grad):
    """sum_i g_i (delta_ij - x_j) w_j."""
    return w * (grad - log_x.exp() * grad.sum(-1, keepdim=True))


def _simplex_operator(name, law, pull_back):
    op = _operator(name, law.draw, 2, 1, lambda key, p: _fresh(p), key=True)
    velocity = _velocity_operator(name, law)

    def backward(ctx, grad):
        x, concentration = ctx.saved_tensors
        return None, pull_back(x, velocity(x, concentration), grad)

    op.register_autograd(backward, setup_context=_save_inputs_and_output)
    return op


DRAWS = {name: _draw_operator(name, law) for name, law in LAWS.items()} | {
    name: _simplex_operator(name, SIMPLEX_LAWS[name], pull_back)
    for name, pull_back in (("dirichlet", _simplex_pull_back), ("logdirichlet", _log_simplex_pull_back))
}
"""name -> the operator (key, *parameters) -> x, parameters of one shape and dtype."""


def draw(name: str, *parameters: torch.Tensor) -> torch.Tensor:
    """Draws of a law with a new key; the parameters have the shape of the result."""
    return DRAWS[name](new_key(), *parameters)


# -- distribution functions and quantiles -----------------------------------------------------------------------------


def _gamma_density(x, shape):
    return (torch.xlogy(shape - 1.0, x) - x - torch.lgamma(shape)).exp()


def _beta_density(x, a, b):
    constant = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    return (torch.xlogy(a - 1.0, x) + torch.special.xlog1py(b - 1.0, -x) + constant).exp()


def _cdf_operator(name, function, density):
    """dF = p dx - p B dparameter."""
    op = _operator(f"{name}_cdf", function, 1 + len(LAWS[name].parameters), 1, lambda x, *p: _fresh(x))
    velocity = getattr(torch.ops.sbpfast, f"{name}_velocity")

    def backward(ctx, grad):
        by = velocity(*ctx.saved_tensors)
        flow = grad * density(*ctx.saved_tensors)
        return flow, *(-flow * v for v in (by if isinstance(by, tuple) else (by,)))

    op.register_autograd(backward, setup_context=_save_inputs)
    return op


def _quantile_operator(name, function, density):
    """dx = du / p + B dparameter."""
    op = _operator(f"{name}_quantile", function, 1 + len(LAWS[name].parameters), 1, lambda u, *p: _fresh(u))
    velocity = getattr(torch.ops.sbpfast, f"{name}_velocity")

    def backward(ctx, grad):
        by = velocity(*ctx.saved_tensors)
        return grad / density(*ctx.saved_tensors), *(grad * v for v in (by if isinstance(by, tuple) else (by,)))

    op.register_autograd(backward, setup_context=_save_inputs_and_output)
    return op


gamma_cdf = _cdf_operator("gamma", elementwise.gamma_cdf, _gamma_density)
gamma_quantile = _quantile_operator("gamma", elementwise.gamma_quantile, _gamma_density)
beta_cdf = _cdf_operator("beta", elementwise.beta_cdf, _beta_density)
beta_quantile = _quantile_operator("beta", elementwise.beta_quantile, _beta_density)


# -- the truncated normal ---------------------------------------------------------------------------------------------

_truncated_normal_log_integral_slopes = _operator(
    "truncated_normal_log_integral_slopes",
    elementwise.truncated_normal_log_integral_slopes,
    4,
    4,
    lambda *p: tuple(_fresh(p[0]) for _ in p),
)
truncated_normal_log_integral = _operator(
    "truncated_normal_log_integral", elementwise.truncated_normal_log_integral, 4, 1, lambda *p: _fresh(p[0])
)
truncated_normal_log_integral.register_autograd(
    lambda ctx, g: tuple(g * s for s in _truncated_normal_log_integral_slopes(*ctx.saved_tensors)),
    setup_context=_save_inputs,
)
_truncated_normal_moment_slopes = _operator(
    "truncated_normal_moment_slopes", elementwise.truncated_normal_moment_slopes, 4, 12,
    lambda *p: tuple(_fresh(p[0]) for _ in range(12)),
)  # fmt: skip
truncated_normal_moments = _operator(
    "truncated_normal_moments", elementwise.truncated_normal_moments, 4, 3,
    lambda *p: tuple(_fresh(p[0]) for _ in range(3)),
)  # fmt: skip


def _moments_backward(ctx, *grads):
    by = _truncated_normal_moment_slopes(*ctx.saved_tensors)
    return tuple(sum(g * by[4 * i + j] for i, g in enumerate(grads)) for j in range(4))


truncated_normal_moments.register_autograd(_moments_backward, setup_context=_save_inputs)


# -- the inverse Gaussian's entropy ------------------------------------------------------------------------------------

scaled_exponential_integral = _operator(
    "scaled_exponential_integral", elementwise.scaled_exponential_integral, 1, 1, _fresh
)
"""e^s E1(s), whose derivative is itself less 1/s."""

scaled_exponential_integral.register_autograd(
    lambda ctx, g: g * (ctx.saved_tensors[0] - 1.0 / ctx.saved_tensors[1]),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(output, *inputs),
)


# -- precision diag + U U^T -------------------------------------------------------------------------------------------


def _with_types(function):
    """Results in the dtype of the first array."""

    def wrapped(*arrays):
        out = function(*arrays)
        dtype = arrays[0].dtype
        return tuple(a.astype(dtype, copy=False) for a in out) if isinstance(out, tuple) else out.astype(dtype)

    return wrapped


low_rank_sample_backward = _operator(
    "low_rank_sample_backward", _with_types(_precision_rows.low_rank_sample_backward), 4, 3,
    lambda diag, factor, eps, grad: (_fresh(diag), _fresh(diag), _fresh(factor)),
)  # fmt: skip
low_rank_sample = _operator(
    "low_rank_sample", _with_types(_precision_rows.low_rank_sample), 4, 1, lambda mean, diag, factor, eps: _fresh(eps)
)
low_rank_moments_backward = _operator(
    "low_rank_moments_backward", _with_types(_precision_rows.low_rank_moments_backward), 4, 2,
    lambda diag, factor, by_variance, by_log_det: (_fresh(diag), _fresh(factor)),
)  # fmt: skip
low_rank_moments = _operator(
    "low_rank_moments", _with_types(_precision_rows.low_rank_moments), 2, 2,
    lambda diag, factor: (_fresh(diag), _fresh(diag, diag.shape[:-1])),
)  # fmt: skip


def _noise_batched(op, first_noise, n_out):
    """vmap where the noise's batch axis stands after its own leading axes, (n, batch, ..., d)."""

    def batched(info, in_dims, *tensors):
        fronted = _to_front(info.batch_size, tensors, in_dims)
        samples = fronted[first_noise].dim() - fronted[0].dim()
        moved = [t.movedim(0, samples) if i >= first_noise else t for i, t in enumerate(fronted)]
        out = op(*moved)
        return out, samples if n_out == 1 else (0,) * n_out

    op.register_vmap(batched)


_noise_batched(low_rank_sample, 3, 1)
_noise_batched(low_rank_sample_backward, 2, 3)


def _sample_backward(ctx, grad):
    _, diag, factor, eps = ctx.saved_tensors
    return *low_rank_sample_backward(diag, factor, eps, grad), None


def _low_rank_moments_pull_back(ctx, by_variance, by_log_det):
    return low_rank_moments_backward(*ctx.saved_tensors, by_variance, by_log_det)


low_rank_sample.register_autograd(_sample_backward, setup_context=_save_inputs)
low_rank_moments.register_autograd(_low_rank_moments_pull_back, setup_context=_save_inputs)
