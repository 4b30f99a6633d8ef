"""The operators of sbpfast.torch: gradients at 22-digit tables, torch's own checkers, transforms and compilers."""

import subprocess
import sys

import numpy as np
import pytest
from statistics_helpers import assert_unbiased
from weight_tables import ROWS, weight_table

torch = pytest.importorskip("torch")
sbt = pytest.importorskip("sbpfast.torch")
td = torch.distributions

from sbpfast.expfam.elementwise import LAWS, SIMPLEX_LAWS  # noqa: E402
from sbpfast.torch import _ops  # noqa: E402

F64 = torch.float64


def tensor(values, dtype=F64, grad=False):
    return torch.tensor(values, dtype=dtype, requires_grad=grad)


def parameters_of(name, dtype=F64, shape=(5, 3)):
    """Leaves of one shape inside the domain of a law."""
    generator = torch.Generator().manual_seed(len(name))
    count = len((LAWS | SIMPLEX_LAWS)[name].parameters)
    out = [0.4 + 2.0 * torch.rand(shape, generator=generator, dtype=F64) for _ in range(count)]
    if name == "truncated_normal":
        out[2] = -out[2]
    return [p.to(dtype).requires_grad_() for p in out]


@pytest.mark.parametrize("family", ROWS)
def test_velocities_match_the_tables_to_1e_12(family):
    x, parameters, want = weight_table(family)
    op = getattr(torch.ops.sbpfast, f"{family}_velocity")
    got = op(torch.from_numpy(x), *map(torch.from_numpy, parameters))
    for value, truth in zip(got if isinstance(got, tuple) else (got,), want):
        there = ~np.isnan(truth)
        np.testing.assert_allclose(value.numpy()[there], truth[there], rtol=1e-12, atol=1e-290)


@pytest.mark.parametrize("family", sorted(set(ROWS) - {"truncated_normal"}))
def test_float32_velocities_are_those_at_the_float32_draw(family):
    x, parameters, _ = weight_table(family)
    single = [torch.from_numpy(np.asarray(v, np.float32)) for v in (x, *parameters)]
    if family == "beta":
        inside = (single[0] > 1e-37) & (single[0] < 1 - 1e-7)
        single = [v[inside] for v in single]
    op = getattr(torch.ops.sbpfast, f"{family}_velocity")
    got, want = op(*single), op(*(v.double() for v in single))
    for g, w in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, want))):
        assert g.dtype == torch.float32
        np.testing.assert_allclose(g.double().numpy(), w.numpy(), rtol=2e-7, atol=1e-37)


@pytest.mark.parametrize("name", ["gamma", "beta", "student_t", "von_mises", "inverse_gaussian"])
def test_the_gradient_of_a_draw_is_the_weight_at_that_draw(name):
    leaves = parameters_of(name, shape=(50,))
    x = _ops.draw(name, *leaves)
    g = torch.linspace(0.5, 2.0, 50, dtype=F64)
    got = torch.autograd.grad((g * x).sum(), leaves)
    want = LAWS[name].velocity(x.detach().numpy(), *(p.detach().numpy() for p in leaves))
    for value, velocity in zip(got, want):
        np.testing.assert_array_equal(value, g * torch.from_numpy(velocity))


@pytest.mark.parametrize("name", LAWS | SIMPLEX_LAWS)
def test_opcheck(name):
    leaves = parameters_of(name)
    torch.library.opcheck(_ops.DRAWS[name].op, (_ops.new_key(), *leaves))
    velocity = getattr(torch.ops.sbpfast, f"{name}_velocity").default
    x = _ops.DRAWS[name](_ops.new_key(), *leaves).detach()
    torch.library.opcheck(velocity, (x, *(p.detach() for p in leaves)))


def test_opcheck_of_the_other_operators():
    mean, diag = torch.randn(3, 4, dtype=F64, requires_grad=True), parameters_of("gamma", shape=(3, 4))[0]
    factor, eps = torch.randn(3, 4, 2, dtype=F64, requires_grad=True), torch.randn(5, 3, 4, dtype=F64)
    torch.library.opcheck(_ops.low_rank_sample.op, (mean, diag, factor, eps))
    torch.library.opcheck(_ops.low_rank_moments.op, (diag, factor))
    torch.library.opcheck(_ops.low_rank_kl.op, (mean, diag, factor, torch.zeros_like(mean), torch.ones_like(mean)))
    leaves = parameters_of("truncated_normal")
    torch.library.opcheck(_ops.truncated_normal_moments.op, tuple(leaves))
    torch.library.opcheck(_ops.truncated_normal_log_integral.op, tuple(leaves))
    torch.library.opcheck(_ops.gamma_quantile.op, (torch.rand(5, 3, dtype=F64, requires_grad=True), leaves[1]))


def u_and(*leaves):
    u = torch.linspace(0.03, 0.97, leaves[0].numel(), dtype=F64).reshape(leaves[0].shape)
    return u.requires_grad_(), *leaves


def test_gamma_and_beta_pass_gradcheck_and_gradgradcheck():
    (shape,), (a, b) = parameters_of("gamma"), parameters_of("beta")
    for op, inputs in ((_ops.gamma_quantile, u_and(shape)), (_ops.beta_quantile, u_and(a, b))):
        assert torch.autograd.gradcheck(op, inputs)
        assert torch.autograd.gradgradcheck(op, inputs)
    for op, inputs in ((_ops.gamma_cdf, u_and(shape)), (_ops.beta_cdf, u_and(a, b))):
        assert torch.autograd.gradcheck(op, inputs)
        assert torch.autograd.gradgradcheck(op, inputs)
    log_x = u_and(shape)[0].detach().log().requires_grad_()
    for name, inputs in (("gamma", u_and(shape)), ("loggamma", (log_x, shape)), ("beta", u_and(a, b))):
        assert torch.autograd.gradcheck(_ops.VELOCITIES[name], inputs)


@pytest.mark.parametrize("name", ["truncated_normal", "continuous_bernoulli"])
def test_draws_by_inversion_pass_gradcheck(name):
    key = _ops.new_key()
    assert torch.autograd.gradcheck(lambda *p: _ops.DRAWS[name](key, *p), parameters_of(name))


def test_truncated_normal_functions_pass_gradcheck():
    leaves = parameters_of("truncated_normal", shape=(4,))
    x = (0.5 * (leaves[2] + leaves[3])).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *p: sbt.TruncatedNormal(*p).log_prob(x), (x, *leaves))
    shifted = [leaves[0] - 5.0, *leaves[1:]]  # loc below low
    assert torch.autograd.gradcheck(lambda x, *p: sbt.TruncatedNormal(*p).log_prob(x), (x, *shifted))
    for parameters in (leaves, shifted):
        assert torch.autograd.gradcheck(_ops.truncated_normal_moments, parameters)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_precision_normals_pass_gradcheck(k):
    generator = torch.Generator().manual_seed(k)
    leaf = lambda *shape: torch.randn(*shape, generator=generator, dtype=F64)
    mean, factor, eps = leaf(2, 4).requires_grad_(), leaf(2, 4, k).requires_grad_(), leaf(3, 2, 4)
    diag = (0.3 + leaf(2, 4).abs()).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, d, u: _ops.low_rank_sample(m, d, u, eps), (mean, diag, factor))
    assert torch.autograd.gradcheck(_ops.low_rank_moments, (diag, factor))


def second_derivative(draw, parameter, f):
    """Of the mean of f over 64 groups of draws: their second derivatives by a scalar parameter, (64,)."""
    out = []
    for _ in range(64):
        (g,) = torch.autograd.grad(f(draw()).mean(), parameter, create_graph=True)
        out.append(torch.autograd.grad(g, parameter)[0].item())
    return np.array(out)


@pytest.mark.parametrize("shape", [0.4, 3.0])
def test_second_derivatives_of_expectations_are_exact(shape):
    torch.manual_seed(1)
    a, b = tensor(shape, grad=True), tensor(1.4)
    beta = second_derivative(lambda: sbt.Beta(a.expand(600), b.expand(600)).rsample(), a, lambda x: x)
    assert_unbiased(beta.mean(), -2.0 * 1.4 / (shape + 1.4) ** 3, beta.std(ddof=1) / 8.0)  # E x = a / (a + b)
    gamma = second_derivative(lambda: sbt.Gamma(a.expand(600), 1.0).rsample(), a, torch.square)
    assert_unbiased(gamma.mean(), 2.0, gamma.std(ddof=1) / 8.0)  # E x^2 = a (a + 1)


def test_third_derivatives_and_second_ones_elsewhere_are_refused_in_words():
    for name in ("student_t", "von_mises", "dirichlet"):
        leaves = parameters_of(name)
        (g,) = torch.autograd.grad(_ops.draw(name, *leaves).square().sum(), leaves, create_graph=True)
        with pytest.raises(RuntimeError, match="no autograd formula"):
            torch.autograd.grad(g.sum(), leaves)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_vmap_is_a_loop(dtype):
    key = torch.stack([_ops.new_key() for _ in range(4)])
    for name, op in _ops.DRAWS.items():
        leaves = [p.detach() for p in parameters_of(name, dtype, shape=(4, 3))]
        both = torch.func.vmap(op)(key, *leaves)
        torch.testing.assert_close(both, torch.stack([op(k, *p) for k, *p in zip(key, *leaves)]), rtol=0, atol=0)
        same = torch.func.vmap(op, in_dims=(None, *(1,) * len(leaves)))(key[0], *leaves)
        loop = torch.stack([op(key[0], *(p[:, i] for p in leaves)) for i in range(3)])
        torch.testing.assert_close(same, loop, rtol=0, atol=0)


def test_torch_func_grad_and_its_vmap():
    key, leaves = _ops.new_key(), [p.detach() for p in parameters_of("beta", shape=(4, 3))]
    gradient = torch.func.grad(lambda a, b: _ops.DRAWS["beta"](key, a, b).square().sum(), argnums=(0, 1))
    got = torch.func.vmap(gradient)(*leaves)
    for i in range(4):
        for value, want in zip(got, gradient(*(p[i] for p in leaves))):
            torch.testing.assert_close(value[i], want, rtol=0, atol=0)
    slope = torch.func.grad(lambda a: sbt.Gamma(a, 1.0, validate_args=False).rsample())
    assert torch.func.vmap(slope, randomness="different")(leaves[0][0]).shape == (3,)


def test_gradients_pass_through_vmap():
    key, (a, b) = _ops.new_key(), parameters_of("beta", shape=(4, 3))
    x = torch.func.vmap(lambda a, b: _ops.DRAWS["beta"](key, a, b))(a, b)
    got = torch.autograd.grad(x.square().sum(), (a, b))
    want = torch.autograd.grad(
        sum(_ops.DRAWS["beta"](key, a[i], b[i]).square().sum() for i in range(4)), (a, b)
    )  # fmt: skip
    for value, truth in zip(got, want):
        torch.testing.assert_close(value, truth, rtol=0, atol=0)


def test_batched_gradients_are_a_jacobian():
    key, (shape,) = _ops.new_key(), parameters_of("gamma", shape=(4,))
    x = _ops.DRAWS["gamma"](key, shape)
    (jacobian,) = torch.autograd.grad(x, shape, torch.eye(4, dtype=F64), is_grads_batched=True, retain_graph=True)
    velocity = torch.ops.sbpfast.gamma_velocity(x.detach(), shape.detach())
    torch.testing.assert_close(jacobian, torch.diag(velocity), rtol=0, atol=0)


def test_vmap_of_precision_normals():
    generator = torch.Generator().manual_seed(5)
    leaf = lambda *shape: torch.randn(*shape, generator=generator, dtype=F64)
    mean, factor, eps = leaf(4, 2, 3).requires_grad_(), leaf(4, 2, 3, 2).requires_grad_(), leaf(4, 5, 2, 3)
    diag = (0.2 + leaf(4, 2, 3).abs()).requires_grad_()

    def loss(m, d, u, z):
        return (_ops.low_rank_sample(m, d, u, z) ** 2).sum() + _ops.low_rank_moments(d, u)[0].sum()

    batched = torch.func.vmap(loss)(mean, diag, factor, eps)
    loop = torch.stack([loss(mean[i], diag[i], factor[i], eps[i]) for i in range(4)])
    torch.testing.assert_close(batched, loop)
    leaves = mean, diag, factor
    for value, truth in zip(torch.autograd.grad(batched.sum(), leaves), torch.autograd.grad(loop.sum(), leaves)):
        torch.testing.assert_close(value, truth)


def distributions_of_one(c):
    return [
        sbt.Gamma(c, c, validate_args=False),
        sbt.Beta(c, 2.0 * c, validate_args=False),
        sbt.Dirichlet(c, validate_args=False),
        sbt.VonMises(c, c, validate_args=False),
        sbt.TruncatedNormal(c, c, -c, c, validate_args=False),
    ]


def test_torch_compile_in_one_graph():
    def loss(c):
        return sum(q.rsample((2,)).sum() + q.log_prob(q.rsample()).sum() for q in distributions_of_one(c))

    c = (torch.rand(6, dtype=F64) + 0.5).requires_grad_()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.manual_seed(3)
    want = torch.autograd.grad(loss(c), c)[0]
    torch.manual_seed(3)
    torch.testing.assert_close(torch.autograd.grad(compiled(c), c)[0], want)


def test_importing_sbpfast_imports_no_framework():
    code = "import sbpfast, sbpfast.expfam, sys; assert not {'torch', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
