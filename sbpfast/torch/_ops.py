"""The operators behind the distributions: NumPy's arrays inside, everything that torch asks of an operator outside.

For each law of `sbpfast.expfam.elementwise` there are ``sbpfast::<name>(key, *parameters)``, the draw, whose gradients
are the transport weights, and ``sbpfast::<name>_velocity(x, *parameters)``, the weights themselves, which have
gradients in turn where the law has slopes.  The key is an int64 tensor (4,): an operator is a function of its inputs,
so it can be traced, batched and checked.
"""

from __future__ import annotations

import torch

from sbpfast.expfam import elementwise
from sbpfast.expfam.elementwise import LAWS, SIMPLEX_LAWS
from sbpfast.gaussian import _precision_rows
from sbpfast.torch._operator import Operator, fresh, to_front

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


def _save_inputs_and_output(ctx, inputs, output):
    ctx.save_for_backward(output, *inputs[1:])


def _save_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _first_only(function):
    return lambda *arrays: function(*arrays)[0]


def _velocity_operator(name, law):
    n = len(law.parameters)
    function = _first_only(law.velocity) if n == 1 else law.velocity
    fake = (lambda x, *p: fresh(x)) if n == 1 else (lambda x, *p: tuple(fresh(x) for _ in p))
    op = Operator(f"{name}_velocity", function, n + 1, n, fake)
    if law.slopes is None:
        return op
    slopes = Operator(
        f"{name}_slopes", law.slopes, n + 1, n * (n + 1), lambda x, *p: tuple(fresh(x) for _ in range(n * (n + 1)))
    )

    def backward(call, ctx, *grads):
        by = call(slopes)(*ctx.saved_tensors)
        return tuple(sum(g * by[i * (n + 1) + j] for i, g in enumerate(grads)) for j in range(n + 1))

    op.differentiate(backward, _save_inputs)
    return op


def _draw_operator(name, law):
    """Elementwise: the gradient by a parameter is the incoming one times the velocity."""
    n = len(law.parameters)
    op = Operator(name, law.draw, n + 1, 1, lambda key, *p: fresh(p[-1]), first="key")
    velocity = VELOCITIES[name]

    def backward(call, ctx, grad):
        by = call(velocity)(*ctx.saved_tensors)
        return None, *(grad * v for v in ((by,) if n == 1 else by))

    op.differentiate(backward, _save_inputs_and_output)
    return op


def _simplex_pull_back(x, c, grad):
    """sum_i g_i (delta_ij - x_i) c_j."""
    return c * (grad - (grad * x).sum(-1, keepdim=True))


def _log_simplex_pull_back(log_x, w, grad):
    """sum_i g_i (delta_ij - x_j) w_j."""
    return w * (grad - log_x.exp() * grad.sum(-1, keepdim=True))


def _simplex_operator(name, law, pull_back):
    op = Operator(name, law.draw, 2, 1, lambda key, p: fresh(p), first="key")
    velocity = VELOCITIES[name]

    def backward(call, ctx, grad):
        x, concentration = ctx.saved_tensors
        return None, pull_back(x, call(velocity)(x, concentration), grad)

    op.differentiate(backward, _save_inputs_and_output)
    return op


VELOCITIES = {name: _velocity_operator(name, law) for name, law in (LAWS | SIMPLEX_LAWS).items()}
"""name -> the operator (x, *parameters) -> the velocities of x by the parameters."""

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
    op = Operator(f"{name}_cdf", function, 1 + len(LAWS[name].parameters), 1, lambda x, *p: fresh(x))
    velocity = VELOCITIES[name]

    def backward(call, ctx, grad):
        by = call(velocity)(*ctx.saved_tensors)
        flow = grad * density(*ctx.saved_tensors)
        return flow, *(-flow * v for v in (by if isinstance(by, tuple) else (by,)))

    op.differentiate(backward, _save_inputs)
    return op


def _quantile_operator(name, function, density):
    """dx = du / p + B dparameter."""
    op = Operator(f"{name}_quantile", function, 1 + len(LAWS[name].parameters), 1, lambda u, *p: fresh(u))
    velocity = VELOCITIES[name]

    def backward(call, ctx, grad):
        by = call(velocity)(*ctx.saved_tensors)
        return grad / density(*ctx.saved_tensors), *(grad * v for v in (by if isinstance(by, tuple) else (by,)))

    op.differentiate(backward, _save_inputs_and_output)
    return op


gamma_cdf = _cdf_operator("gamma", elementwise.gamma_cdf, _gamma_density)
gamma_quantile = _quantile_operator("gamma", elementwise.gamma_quantile, _gamma_density)
beta_cdf = _cdf_operator("beta", elementwise.beta_cdf, _beta_density)
beta_quantile = _quantile_operator("beta", elementwise.beta_quantile, _beta_density)


# -- the truncated normal ---------------------------------------------------------------------------------------------

_truncated_normal_log_integral_slopes = Operator(
    "truncated_normal_log_integral_slopes",
    elementwise.truncated_normal_log_integral_slopes,
    4,
    4,
    lambda *p: tuple(fresh(p[0]) for _ in p),
)
truncated_normal_log_integral = Operator(
    "truncated_normal_log_integral", elementwise.truncated_normal_log_integral, 4, 1, lambda *p: fresh(p[0])
)
truncated_normal_log_integral.differentiate(
    lambda call, ctx, g: tuple(g * s for s in call(_truncated_normal_log_integral_slopes)(*ctx.saved_tensors)),
    _save_inputs,
)
_truncated_normal_moment_slopes = Operator(
    "truncated_normal_moment_slopes", elementwise.truncated_normal_moment_slopes, 4, 12,
    lambda *p: tuple(fresh(p[0]) for _ in range(12)),
)  # fmt: skip
truncated_normal_moments = Operator(
    "truncated_normal_moments", elementwise.truncated_normal_moments, 4, 3,
    lambda *p: tuple(fresh(p[0]) for _ in range(3)),
)  # fmt: skip


def _moments_backward(call, ctx, *grads):
    by = call(_truncated_normal_moment_slopes)(*ctx.saved_tensors)
    return tuple(sum(g * by[4 * i + j] for i, g in enumerate(grads)) for j in range(4))


truncated_normal_moments.differentiate(_moments_backward, _save_inputs)


# -- the inverse Gaussian's entropy ------------------------------------------------------------------------------------

scaled_exponential_integral = Operator(
    "scaled_exponential_integral", elementwise.scaled_exponential_integral, 1, 1, fresh
)
"""e^s E1(s), whose derivative is itself less 1/s."""

scaled_exponential_integral.differentiate(
    lambda call, ctx, g: g * (ctx.saved_tensors[0] - 1.0 / ctx.saved_tensors[1]),
    lambda ctx, inputs, output: ctx.save_for_backward(output, *inputs),
)


# -- precision diag + U U^T -------------------------------------------------------------------------------------------


def _noise_behind(first_noise):
    """vmap where the noise's batch axis stands after its own leading axes, (n, batch, ..., d)."""

    def batch(info, in_dims, tensors):
        fronted = to_front(info.batch_size, tensors, in_dims)
        samples = fronted[first_noise].dim() - fronted[0].dim()
        moved = [t.movedim(0, samples) if i >= first_noise else t for i, t in enumerate(fronted)]
        return moved, samples if first_noise == 3 else 0  # draws have the noise's axes, gradients the parameters'

    return batch


low_rank_sample_backward = Operator(
    "low_rank_sample_backward", _precision_rows.low_rank_sample_backward, 4, 3,
    lambda diag, factor, eps, grad: (fresh(diag), fresh(diag), fresh(factor)), batch=_noise_behind(2),
)  # fmt: skip
low_rank_sample = Operator(
    "low_rank_sample", _precision_rows.low_rank_sample, 4, 1,
    lambda mean, diag, factor, eps: fresh(eps), batch=_noise_behind(3),
)  # fmt: skip
low_rank_moments_backward = Operator(
    "low_rank_moments_backward", _precision_rows.low_rank_moments_backward, 4, 2,
    lambda diag, factor, by_variance, by_log_det: (fresh(diag), fresh(factor)),
)  # fmt: skip
low_rank_moments = Operator(
    "low_rank_moments", _precision_rows.low_rank_moments, 2, 2,
    lambda diag, factor: (fresh(diag), fresh(diag, diag.shape[:-1])),
)  # fmt: skip


low_rank_kl_backward = Operator(
    "low_rank_kl_backward", _precision_rows.low_rank_kl_backward, 6, 3,
    lambda mean, diag, factor, centre, std, grad: (fresh(diag), fresh(diag), fresh(factor)),
)  # fmt: skip
low_rank_kl = Operator(
    "low_rank_kl", _precision_rows.low_rank_kl, 5, 1,
    lambda mean, diag, factor, centre, std: fresh(diag, diag.shape[:-1]),
)  # fmt: skip


def _kl_backward(call, ctx, grad):
    mean, diag, factor, centre, std = ctx.saved_tensors
    by_mean, by_diag, by_factor = call(low_rank_kl_backward)(mean, diag, factor, centre, std, grad)
    by_std = None
    if ctx.needs_input_grad[4]:
        variance, _ = call(low_rank_moments)(diag, factor)
        by_std = grad.unsqueeze(-1) * (1.0 - (variance + (mean - centre) ** 2) / std**2) / std
    return by_mean, by_diag, by_factor, -by_mean, by_std


def _sample_backward(call, ctx, grad):
    _, diag, factor, eps = ctx.saved_tensors
    return *call(low_rank_sample_backward)(diag, factor, eps, grad), None


def _low_rank_moments_pull_back(call, ctx, by_variance, by_log_det):
    return call(low_rank_moments_backward)(*ctx.saved_tensors, by_variance, by_log_det)


low_rank_sample.differentiate(_sample_backward, _save_inputs)
low_rank_moments.differentiate(_low_rank_moments_pull_back, _save_inputs)
low_rank_kl.differentiate(_kl_backward, _save_inputs)
