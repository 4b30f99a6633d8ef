"""The distributions of sbpfast.torch: torch's own formulas where it has them, SciPy's, closed forms, and refusals."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from statistics_helpers import FALSE_ALARM, assert_law, assert_unbiased

torch = pytest.importorskip("torch")
sbt = pytest.importorskip("sbpfast.torch")
td = torch.distributions

F64 = torch.float64

# torch's own forward mode still uses what torch has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def tensor(values, dtype=F64):
    return torch.tensor(values, dtype=dtype)


SHARED = {
    "Gamma": (tensor([0.4, 2.0]), tensor(1.5)),
    "Chi2": (tensor([0.7, 3.0]),),
    "InverseGamma": (tensor([2.5, 4.0]), tensor(1.5)),
    "Beta": (tensor([0.6, 3.0]), tensor(2.0)),
    "Dirichlet": (tensor([[0.6, 3.0, 1.0], [2.0, 5.0, 0.5]]),),
    "StudentT": (tensor([2.7, 9.0]), tensor(0.3), tensor(1.2)),
    "VonMises": (tensor([0.3, -2.0]), tensor([0.6, 12.0])),
    "ContinuousBernoulli": (tensor([0.2, 0.9]),),
    "Wishart": (tensor([4.5, 7.0]), tensor([[0.6, 0.2], [0.2, 0.4]])),
}

SCIPY = {
    "Gamma": lambda a, b: scipy.stats.gamma(a, scale=1 / b),
    "Chi2": lambda k: scipy.stats.chi2(k),
    "InverseGamma": lambda a, b: scipy.stats.invgamma(a, scale=b),
    "Beta": lambda a, b: scipy.stats.beta(a, b),
    "StudentT": lambda df, loc, scale: scipy.stats.t(df, loc, scale),
    "VonMises": lambda loc, k: scipy.stats.vonmises(k, loc=loc),
    "InverseGaussian": lambda m, c: scipy.stats.invgauss(m / c, scale=c),
    "TruncatedNormal": lambda m, s, a, b: scipy.stats.truncnorm((a - m) / s, (b - m) / s, m, s),
}

CASES = SHARED | {
    "InverseGaussian": (tensor([0.7, 3.0]), tensor(2.0)),
    "TruncatedNormal": (tensor([0.3, -4.0]), tensor(1.2), tensor([-0.5, 0.0]), tensor([2.0, math.inf])),
}


def made(name, module=sbt, **options):
    return getattr(module, name)(*CASES[name], **options)


@pytest.mark.parametrize("name", SHARED)
def test_they_are_torchs_own_with_other_draws(name):
    ours, theirs = made(name), made(name, td)
    assert isinstance(ours, type(theirs)) and ours.has_rsample
    x = ours.sample((20,))
    tolerance = {"VonMises": 1e-6, "ContinuousBernoulli": 1e-9}.get(name, 1e-12)  # torch's own approximations
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=tolerance, atol=tolerance)
    for moment in ("mean", "variance"):
        torch.testing.assert_close(getattr(ours, moment), getattr(theirs, moment), rtol=tolerance, atol=tolerance)
    if name != "VonMises":  # which torch gives no entropy
        torch.testing.assert_close(ours.entropy(), theirs.entropy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SCIPY)
def test_densities_moments_and_draws_are_scipys(name):
    torch.manual_seed(11)
    ours = made(name)
    x = ours.sample((20_000,)).numpy()
    for i in range(2):
        reference = SCIPY[name](*(p.expand(2)[i].item() for p in CASES[name]))
        values = x[:, i]
        if name == "VonMises":  # SciPy's is cut opposite to its mean
            assert (values >= -np.pi).all() and (values < np.pi).all()
            loc = CASES[name][0][i].item()
            values = loc + np.remainder(values - loc + np.pi, 2 * np.pi) - np.pi
        np.testing.assert_allclose(ours.log_prob(torch.from_numpy(x))[:50, i], reference.logpdf(values[:50]), rtol=1e-9)
        if name != "TruncatedNormal":
            entropy = reference.entropy()
        else:  # SciPy's is NaN on a half-line
            low, high = reference.ppf([1e-14, 1 - 1e-14])
            entropy, _ = scipy.integrate.quad(lambda v, r: -r.pdf(v) * r.logpdf(v), low, high, args=(reference,))
        np.testing.assert_allclose(ours.entropy()[i], entropy, rtol=1e-6)
        assert_law(values, reference.cdf)
        if name != "VonMises":
            np.testing.assert_allclose(ours.mean[i], reference.mean(), rtol=1e-9)
            np.testing.assert_allclose(ours.variance[i], reference.var(), rtol=1e-8)


@pytest.mark.parametrize("name", ["Gamma", "Beta", "InverseGaussian", "ContinuousBernoulli"])
def test_distribution_functions_invert_their_inverses(name):
    q = made(name)
    u = tensor([[0.01], [0.4], [0.99]]).expand(3, 2)
    if name in ("InverseGaussian",):
        x = q.sample((7,))
        np.testing.assert_allclose(q.cdf(x)[:, 0], SCIPY[name](0.7, 2.0).cdf(x[:, 0].numpy()), rtol=1e-12)
    else:
        torch.testing.assert_close(q.cdf(q.icdf(u)), u, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_expand_keeps_the_class_the_law_and_the_gradients(name):
    q = made(name)
    wide = q.expand((3, *q.batch_shape))
    assert type(wide) is type(q) and wide.batch_shape == (3, *q.batch_shape) and wide.event_shape == q.event_shape
    x = wide.rsample((4,))
    assert x.shape == (4, 3, *q.batch_shape, *q.event_shape)
    torch.testing.assert_close(wide.log_prob(x), q.log_prob(x))
    torch.manual_seed(2)
    first = q.sample((3,))
    torch.manual_seed(2)
    torch.testing.assert_close(q.sample((3,)), first, rtol=0, atol=0)
    assert not torch.equal(q.sample((3,)), first)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"StudentT", "Chi2"}))
def test_divergences_are_integrals(name):
    """Against the mean log ratio over draws from p; torch has none for Student's t, chi-square's is the gamma's."""
    torch.manual_seed(4)
    other = {"Wishart": (tensor([5.5, 6.0]), tensor([[0.5, -0.1], [-0.1, 0.6]]))}.get(
        name, tuple(0.7 * p + 0.2 if i < 2 else p for i, p in enumerate(CASES[name]))
    )
    p, q = made(name), getattr(sbt, name)(*other)
    x = p.sample((20_000,))
    ratio = p.log_prob(x) - q.log_prob(x)
    error = ratio.std(0) / math.sqrt(len(x))
    assert_unbiased(ratio.mean(0), td.kl_divergence(p, q).detach(), error, freedom=1000)
    torch.testing.assert_close(td.kl_divergence(p, p).detach(), torch.zeros(2, dtype=F64), rtol=0, atol=1e-12)


def test_a_truncated_normal_is_infinitely_far_from_one_that_ends_inside_it():
    wide, narrow = sbt.TruncatedNormal(0.0, 1.0, -1.0, 2.0), sbt.TruncatedNormal(0.0, 1.0, -1.0, 1.0)
    assert td.kl_divergence(wide, narrow) == math.inf
    assert 0.0 < td.kl_divergence(narrow, wide) < 1.0


def groups_of_gradients(q, leaves, f, n=256):
    """Gradients of the mean of f over n draws, for 64 groups: name -> (64, ...)."""
    out = []
    for _ in range(64):
        out.append(torch.autograd.grad(f(q().rsample((n,))).mean(0).sum(), leaves))
    return [torch.stack(g).numpy() for g in zip(*out)]


def leaf(values):
    return tensor(values).requires_grad_()


def assert_gradients(q, leaves, f, truths):
    torch.manual_seed(8)
    for groups, truth in zip(groups_of_gradients(q, leaves, f), truths):
        assert_unbiased(groups.mean(axis=0), truth, groups.std(axis=0, ddof=1) / 8.0)


def test_gradients_of_expectations_are_unbiased():
    a, b = leaf([0.3, 2.5]), leaf(1.7)
    mean = [0.3 / 1.7, 2.5 / 1.7]
    assert_gradients(lambda: sbt.Gamma(a, b), (a, b), lambda x: x, ([1 / 1.7] * 2, -sum(mean) / 1.7))
    assert_gradients(lambda: sbt.Chi2(a), (a,), torch.square, ([2 * 0.3 + 2, 2 * 2.5 + 2],))
    c, d = leaf([3.5, 6.0]), leaf(1.7)
    assert_gradients(
        lambda: sbt.InverseGamma(c, d), (c, d), lambda x: x, ([-1.7 / 2.5**2, -1.7 / 25.0], 1 / 2.5 + 1 / 5.0)
    )
    assert_gradients(lambda: sbt.Beta(a, b), (a,), lambda x: x, ([1.7 / 2.0**2, 1.7 / 4.2**2],))
    df = leaf([5.0, 9.0])
    assert_gradients(lambda: sbt.StudentT(df), (df,), torch.square, ([-2 / 9.0, -2 / 49.0],))
    loc, kappa = leaf([0.5, -1.0]), leaf([0.8, 9.0])
    ratio = lambda k: scipy.special.i1(k) / scipy.special.i0(k)
    truth = [1 - ratio(k) / k - ratio(k) ** 2 for k in (0.8, 9.0)]
    means = [-ratio(k) * math.sin(m) for m, k in ((0.5, 0.8), (-1.0, 9.0))]
    assert_gradients(
        lambda: sbt.VonMises(loc, kappa),
        (loc, kappa),
        torch.cos,
        (means, [truth[0] * math.cos(0.5), truth[1] * math.cos(1.0)]),
    )
    m, lam = leaf([0.7, 3.0]), leaf([2.0, 1.0])
    assert_gradients(
        lambda: sbt.InverseGaussian(m, lam), (m, lam), lambda x: 1 / x, ([-1 / 0.49, -1 / 9.0], [-1 / 4.0, -1.0])
    )


def test_gradients_of_truncated_normals_and_continuous_bernoullis_are_unbiased():
    leaves = [leaf(v) for v in (0.3, 1.2, -0.5, 2.0)]
    mean = sbt.TruncatedNormal(*leaves).mean
    truth = [g.item() for g in torch.autograd.grad(mean, leaves)]
    differences = []
    for i in range(4):
        ends = []
        for step in (1e-5, -1e-5):
            m, s, low, high = (v.item() + step * (i == j) for j, v in enumerate(leaves))
            ends.append(scipy.stats.truncnorm((low - m) / s, (high - m) / s, m, s).mean())
        differences.append((ends[0] - ends[1]) / 2e-5)
    np.testing.assert_allclose(truth, differences, rtol=1e-6)
    assert_gradients(lambda: sbt.TruncatedNormal(*leaves), leaves, lambda x: x, truth)
    logits = leaf([-1.3, 0.0, 1e-3, 4.0])
    q = sbt.ContinuousBernoulli(logits=logits)
    assert_gradients(lambda: sbt.ContinuousBernoulli(logits=logits), (logits,), lambda x: x, (q.variance.detach(),))


def test_the_continuous_bernoulli_is_exact_through_one_half():
    eta = tensor([-30.0, -1.0, -1e-8, 0.0, 1e-4, 0.999, 1.001, 40.0])
    q = sbt.ContinuousBernoulli(logits=eta)
    for i, e in enumerate(eta.tolist()):
        moments = [
            scipy.integrate.quad(lambda x, k, e: x**k * math.exp(e * (x - (e > 0))), 0, 1, args=(k, e), epsabs=1e-15)[0]
            for k in range(3)
        ]
        mean = moments[1] / moments[0]
        np.testing.assert_allclose(q.mean[i], mean, rtol=1e-10)
        np.testing.assert_allclose(q.variance[i], moments[2] / moments[0] - mean**2, rtol=1e-7)
        log_mass = math.log(moments[0]) + max(e, 0.0)
        np.testing.assert_allclose(q.log_prob(tensor(0.3))[i], 0.3 * e - log_mass, rtol=1e-11, atol=1e-14)


def test_dirichlet_gradients_are_unbiased():
    a = leaf([0.2, 1.5, 4.0])
    total = 5.7
    # E x_i^2 = a_i (a_i + 1) / (t (t + 1))
    values = a.detach().numpy()
    bound = (values * (values + 1)).sum()
    truth = (2 * values + 1) / (total * (total + 1)) - bound * (2 * total + 1) / (total * (total + 1)) ** 2
    assert_gradients(lambda: sbt.Dirichlet(a), (a,), lambda x: x.square().sum(-1), (truth,))
    digamma, trigamma = scipy.special.digamma, lambda v: scipy.special.polygamma(1, v)
    assert abs(digamma(0.2)) > 1  # E log x_1 = digamma(a_1) - digamma(t)
    log_truth = np.array([trigamma(0.2), 0.0, 0.0]) - trigamma(total)
    torch.manual_seed(8)
    groups = np.stack(
        [torch.autograd.grad(sbt.Dirichlet(a).log_rsample((256,))[:, 0].mean(), a)[0].numpy() for _ in range(64)]
    )
    assert_unbiased(groups.mean(axis=0), log_truth, groups.std(axis=0, ddof=1) / 8.0)


@pytest.mark.parametrize("a0", [0.2, (math.sqrt(5.0) - 1.0) / 4.0, 0.5])
def test_the_sign_of_a_variances_derivative_changes_where_it_should(a0):
    # Var x_3 of Dirichlet(a, a, 1) has derivative (1 - 2a - 4a^2) / ((1 + a)^2 (1 + 2a)^3), 0 at a = (sqrt 5 - 1) / 4
    a = leaf(a0)
    truth = (1 - 2 * a0 - 4 * a0**2) / ((1 + a0) ** 2 * (1 + 2 * a0) ** 3)
    q = lambda: sbt.Dirichlet(torch.stack([a, a, torch.ones((), dtype=F64)]))
    mean = 1 / (1 + 2 * a0)
    assert_gradients(q, (a,), lambda x: (x[:, 2] - mean) ** 2, (truth,))


def test_wishart_gradients_are_unbiased():
    df, scale = leaf(4.5), leaf([[0.6, 0.2], [0.2, 0.4]])
    factor = torch.linalg.cholesky(scale.detach()).requires_grad_()
    q = lambda: sbt.Wishart(df, scale_tril=factor)
    trace = lambda w: w.diagonal(dim1=-2, dim2=-1).sum(-1)
    lower = factor.detach().numpy()
    assert_gradients(q, (df, factor), trace, (1.0, 9.0 * np.tril(lower)))
    log_det = lambda t: 2.0 * t.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    torch.manual_seed(8)
    groups = np.array(
        [torch.autograd.grad(log_det(q().rsample_factor((256,))).mean(), df)[0].item() for _ in range(64)]
    )
    truth = 0.5 * sum(scipy.special.polygamma(1, 0.5 * (4.5 - i)) for i in range(2))
    assert_unbiased(groups.mean(), truth, groups.std(ddof=1) / 8.0)


def test_log_draws_are_finite_where_draws_underflow():
    for dtype in (torch.float32, F64):
        a = tensor([1e-3, 1e-5], dtype).requires_grad_()
        for q in (sbt.Gamma(a, 1.0), sbt.Beta(a, a), sbt.Dirichlet(a), sbt.InverseGamma(a, 1.0)):
            log_x = q.log_rsample((500,))
            assert torch.isfinite(log_x).all()
            (g,) = torch.autograd.grad(log_x.mean(0).sum(), a)
            assert torch.isfinite(g).all() and (g != 0).all()
    # d E log x / d a = trigamma(a), for the gamma
    a = leaf(0.01)
    torch.manual_seed(6)
    groups = np.array(
        [torch.autograd.grad(sbt.Gamma(a, 1.0).log_rsample((256,)).mean(), a)[0].item() for _ in range(64)]
    )
    assert_unbiased(groups.mean(), scipy.special.polygamma(1, 0.01), groups.std(ddof=1) / 8.0)


@pytest.mark.parametrize("bad", [torch.int64, torch.float16, torch.bfloat16])
def test_other_dtypes_are_refused_in_words(bad):
    c = torch.tensor([1, 2], dtype=bad)
    for make in (lambda: sbt.Gamma(c, c), lambda: sbt.Dirichlet(c), lambda: sbt.VonMises(c, c), lambda: sbt.Beta(c, c)):
        with pytest.raises(TypeError, match="must be float32 or float64, got torch"):
            make()


def test_other_devices_are_refused_in_words():
    c = torch.ones(2, device="meta")
    for make in (lambda: sbt.Gamma(c, c, validate_args=False), lambda: sbt.Dirichlet(c, validate_args=False)):
        with pytest.raises(ValueError, match="must be on the CPU, got a tensor on meta"):
            make()


@pytest.fixture
def validated():
    """torch.compile switches validation off for the whole process when it is first used."""
    before = td.Distribution._validate_args
    td.Distribution.set_default_validate_args(True)
    yield
    td.Distribution.set_default_validate_args(before)


def test_parameters_outside_their_domain_are_refused_as_torch_does(validated):
    for make in (
        lambda: sbt.Gamma(tensor(-1.0), 1.0),
        lambda: sbt.InverseGaussian(tensor(-1.0), 1.0),
        lambda: sbt.Beta(tensor(1.0), tensor(-1.0)),
        lambda: sbt.StudentT(tensor(0.0)),
        lambda: sbt.TruncatedNormal(0.0, -1.0, 0.0, 1.0),
        lambda: sbt.TruncatedNormal(0.0, 1.0, 1.0, 1.0),
        lambda: sbt.Gamma(tensor(1.0), 1.0).log_prob(tensor(-1.0)),
        lambda: sbt.LowRankPrecisionNormal(torch.zeros(2), torch.tensor([1.0, -1.0]), torch.zeros(2, 1)),
        lambda: sbt.LowRankPrecisionNormal(torch.zeros(2), torch.ones(3), torch.zeros(2, 1)),
        lambda: sbt.LowRankPrecisionNormal(torch.zeros(2), torch.ones(2), torch.zeros(2)),
    ):
        with pytest.raises(ValueError):
            make()
    assert torch.isnan(sbt.Gamma(tensor(-1.0), 1.0, validate_args=False).rsample())
    assert torch.isnan(sbt.VonMises(tensor(0.0), tensor(-1.0), validate_args=False).rsample())


# -- reports that stand open ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("a", [1e-2, 1e-3])
def test_beta_draws_at_small_concentrations(a, dtype):
    """pytorch 15738 (1e-2, 10,000 draws), 84625 and 136532 (1e-3): draws near 0 and 1, none of them at 1/2."""
    torch.manual_seed(0)
    x = sbt.Beta(tensor([a], dtype), tensor([a], dtype)).sample((10_000,)).double().numpy().ravel()
    assert ((x > 0) & (x < 1)).all()
    edges = np.array([0.0, 1e-30, 0.1, 0.4, 0.6, 0.9, 1.0])
    expected = 10_000 * np.diff(scipy.special.betainc(a, a, edges))
    counts = np.histogram(x, edges)[0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert scipy.stats.chi2.sf(statistic, len(counts) - 1) > FALSE_ALARM


def test_one_beta_draw_at_1e_3_and_one_at_1e3():
    """pytorch 84625, as it was reported: numbers, not tensors."""
    torch.manual_seed(0)
    near_an_end = [sbt.Beta(1e-3, 1e-3).sample().item() for _ in range(20)]
    assert all(min(x, 1 - x) < 0.05 for x in near_an_end)  # one in 170 is not; 20 draws of a fixed seed
    assert abs(sbt.Beta(1e3, 1e3).sample().item() - 0.5) < 0.06  # five standard deviations


@pytest.mark.parametrize("concentration", [[1e-2] * 3, [1e-3] * 3, [1e-5] * 4])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_dirichlet_draws_at_small_concentrations(concentration, dtype):
    """pytorch 76030 (1e-2 and 1e-3, three coordinates) and 90663 (1e-5, four): vertices, not the centre."""
    torch.manual_seed(0)
    a, k = concentration[0], len(concentration)
    q = sbt.Dirichlet(tensor(concentration, dtype))
    x = q.sample((4_000,)).double()
    top = x.max(-1).values
    share = torch.bincount(x.argmax(-1), minlength=k) / 4_000
    assert_unbiased(share, np.full(k, 1 / k), math.sqrt((1 / k) * (1 - 1 / k) / 4_000), freedom=10_000)
    # E sum x^2 = (a + 1) / (k a + 1)
    squares = x.square().sum(-1)
    error = max(squares.std().item() / math.sqrt(4_000), 1e-5)
    assert_unbiased(squares.mean(), (a + 1) / (k * a + 1), error)
    assert top.min() > 1 / k
    leaf = tensor(concentration, dtype).requires_grad_()
    (g,) = torch.autograd.grad(sbt.Dirichlet(leaf).rsample((1_000,)).square().sum(-1).mean(), leaf)
    assert torch.isfinite(g).all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_beta_gradients_beyond_2_to_the_16(dtype):
    """pytorch 127387: alpha = 2^16 + 1039, beta = 3/2, 16,384 draws; torch gives inf in float32."""
    torch.manual_seed(0)
    alpha, beta = tensor([2.0**16 + 1039.0], dtype).requires_grad_(), tensor([1.5], dtype)
    x = sbt.Beta(alpha, beta).rsample((16_384,))
    (g,) = torch.autograd.grad(x.mean(), alpha)
    a, b = 2.0**16 + 1039.0, 1.5
    velocity = torch.ops.sbpfast.beta_velocity(x.detach().double(), alpha.detach().double().expand(16_384, 1),
                                               beta.double().expand(16_384, 1))[0]  # fmt: skip
    assert_unbiased(g.item(), b / (a + b) ** 2, velocity.std().item() / 128.0, rounding=1e-16)


def test_dirichlet_gradient_at_large_concentrations():
    """pytorch 57447: NaN on other devices at x = 0.15497829020023346, concentrations 14539.86 and 79369.65."""
    x = tensor([[0.15497829020023346, 0.845021665096283]])
    c = tensor([[14539.8583984375, 79369.6484375]])
    velocity = torch.ops.sbpfast.dirichlet_velocity(x, c)
    weight, _ = torch.ops.sbpfast.beta_velocity(x, c, c.flip(-1))  # B_a of x_j = (1 - x_j) c_j
    torch.testing.assert_close((1 - x) * velocity, weight, rtol=1e-6, atol=0)  # the two coordinates sum to 1 - 4e-8
    a, b, at = c.numpy(), c.flip(-1).numpy(), x.numpy()
    ends = [scipy.special.betainc(a * (1 + s), b, at) for s in (2e-5, -2e-5)]
    np.testing.assert_allclose(
        weight, (ends[1] - ends[0]) / (4e-5 * a) / scipy.stats.beta.pdf(at, a, b), rtol=1e-5
    )  # fmt: skip


# -- precision diag + U U^T -------------------------------------------------------------------------------------------


def precision_case(k=2, batch=(3,), d=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=F64)
    return normal(*batch, d), 0.3 + normal(*batch, d).abs(), normal(*batch, d, k)


def test_precision_normals_are_multivariate_normals():
    loc, diag, factor = precision_case()
    q = sbt.LowRankPrecisionNormal(loc, diag, factor)
    p = td.MultivariateNormal(loc, precision_matrix=torch.diag_embed(diag) + factor @ factor.mT)
    x = p.sample((5,))
    torch.testing.assert_close(q.log_prob(x), p.log_prob(x))
    torch.testing.assert_close(q.entropy(), p.entropy())
    torch.testing.assert_close(q.variance, p.variance)
    torch.testing.assert_close(q.covariance_matrix, p.covariance_matrix)
    torch.testing.assert_close(q.precision_matrix, p.precision_matrix)
    mean, std = 0.1 * loc, 0.5 + diag
    diagonal = td.MultivariateNormal(mean, scale_tril=torch.diag_embed(std))
    for other in (td.Normal(mean, std), td.Independent(td.Normal(mean, std), 1)):
        torch.testing.assert_close(td.kl_divergence(q, other), td.kl_divergence(p, diagonal))
    r = sbt.LowRankPrecisionNormal(*precision_case(seed=1))
    other = td.MultivariateNormal(r.loc, precision_matrix=r.precision_matrix)
    torch.testing.assert_close(td.kl_divergence(q, r), td.kl_divergence(p, other))
    with pytest.raises(NotImplementedError):
        td.kl_divergence(q, td.Independent(td.Laplace(mean, std), 1))


def test_precision_normal_draws_have_their_moments_and_gradients():
    loc, diag, factor = (p.requires_grad_() for p in precision_case(batch=(2,)))
    q = lambda: sbt.LowRankPrecisionNormal(loc, diag, factor)
    torch.manual_seed(1)
    x = q().sample((20_000,))
    z = torch.linalg.cholesky(q().precision_matrix).mT @ (x - loc).unsqueeze(-1)
    assert_unbiased((z @ z.mT).mean(0).detach(), np.eye(4), math.sqrt(2.0 / 20_000), freedom=10_000)
    # E |x|^2 = |loc|^2 + tr C
    truth = torch.autograd.grad(
        (loc**2).sum() + q().covariance_matrix.diagonal(dim1=-2, dim2=-1).sum(), (loc, diag, factor)
    )
    assert_gradients(q, (loc, diag, factor), lambda x: x.square().sum(-1), [t.numpy() for t in truth])


def test_a_variance_that_one_column_all_but_removes_keeps_its_digits():
    import mpmath

    diag, factor = tensor([1e-9, 2.0]), tensor([[3e3], [0.5]])
    got = sbt.LowRankPrecisionNormal(torch.zeros(2, dtype=F64), diag, factor).variance
    with mpmath.workdps(60):
        p = mpmath.diag([mpmath.mpf(v) for v in diag.tolist()])
        u = mpmath.matrix(factor.tolist())
        c = mpmath.inverse(p + u * u.T)
        np.testing.assert_allclose(got, [float(c[0, 0]), float(c[1, 1])], rtol=1e-13)


def test_float32_precision_normals():
    loc, diag, factor = (p.float() for p in precision_case())
    q = sbt.LowRankPrecisionNormal(loc, diag, factor)
    double = sbt.LowRankPrecisionNormal(loc.double(), diag.double(), factor.double())
    assert q.rsample((2,)).dtype == q.variance.dtype == torch.float32
    torch.testing.assert_close(q.variance.double(), double.variance, rtol=2e-7, atol=0)


def test_precision_normals_of_mixed_precision_are_promoted():
    loc, diag, factor = precision_case()
    q = sbt.LowRankPrecisionNormal(loc.float(), diag, factor.float())
    assert q.loc.dtype == q.rsample().dtype == F64
    with pytest.raises(TypeError, match="loc must be float32 or float64"):
        sbt.LowRankPrecisionNormal(loc.half(), diag, factor)
    double = sbt.LowRankPrecisionNormal(loc, diag, factor)
    single = td.Normal(torch.zeros(4), torch.ones(4))
    prior = td.Normal(torch.zeros(4, dtype=F64), torch.ones(4, dtype=F64))
    torch.testing.assert_close(td.kl_divergence(double, single), td.kl_divergence(double, prior), rtol=0, atol=0)


# -- Bonnet and Price -------------------------------------------------------------------------------------------------


def quadratic(d):
    m = torch.from_numpy(np.random.default_rng(d).standard_normal((d, d)))
    return lambda x: 0.5 * ((x @ m) ** 2).sum(-1), m @ m.mT


def test_price_loss_is_exact_on_quadratics():
    f, hessian = quadratic(3)
    mean = leaf([0.3, -1.0, 2.0])
    lower = tensor([[1.0, 0, 0], [0.3, 0.7, 0], [-0.2, 0.4, 0.5]]).requires_grad_()
    cov = (lower.detach() @ lower.detach().mT).requires_grad_()
    std = leaf([0.5, 1.0, 2.0])
    sbt.price_loss(f, td.MultivariateNormal(mean, cov), 5).backward()
    torch.testing.assert_close(cov.grad, 0.5 * hessian)
    sbt.price_loss(f, td.MultivariateNormal(mean, scale_tril=lower), 5).backward()
    torch.testing.assert_close(lower.grad, (hessian @ lower.detach()).tril())
    for q in (td.Normal(mean, std), td.Independent(td.Normal(mean, std), 1)):
        std.grad = None
        sbt.price_loss(f, q, 5).backward()
        torch.testing.assert_close(std.grad, std.detach() * hessian.diagonal())


def test_price_loss_is_bonnet_and_price_of_an_expectation():
    import sbpfast as sb

    a = torch.from_numpy(np.random.default_rng(3).standard_normal((6, 3)))
    f = lambda x: torch.nn.functional.softplus(x @ a.mT).sum(-1)
    mean, cov = leaf([0.3, -1.0, 0.5]), leaf([[1.0, 0.2, 0.0], [0.2, 0.7, -0.1], [0.0, -0.1, 0.4]])
    torch.manual_seed(0)
    groups = []
    for _ in range(64):
        loss = sbt.price_loss(f, td.MultivariateNormal(mean, cov), 64)
        groups.append([loss.detach(), *torch.autograd.grad(loss, (mean, cov))])
    exact = sb.expectation_grad(
        sb.targets.ridge(a.numpy(), 0.0, "softplus"),
        sb.Gaussian(mean.detach().numpy(), cov.detach().numpy()),
        estimator="exact",
    )
    for values, truth in zip(zip(*groups), (exact.value, exact.grad["mean"], exact.grad["cov"])):
        values = torch.stack(values).numpy()
        assert_unbiased(values.mean(axis=0), truth, values.std(axis=0, ddof=1) / 8.0)


def test_price_loss_carries_gradients_to_networks_and_to_f():
    weight = leaf([[0.4, -0.3]])
    mean, std = leaf([0.1, 0.2]), leaf([0.5, 0.6])
    loss = sbt.price_loss(lambda x: (x @ weight.mT)[:, 0] ** 2, td.Normal(mean * 2.0, std.exp()), 400)
    loss.backward()
    torch.testing.assert_close(std.grad, 2.0 * std.detach().mul(2).exp() * 0.5 * (2.0 * weight.detach()[0] ** 2))
    assert torch.isfinite(weight.grad).all() and (weight.grad != 0).all() and torch.isfinite(mean.grad).all()


def test_price_loss_refuses_in_words():
    f = lambda x: x.sum(-1)
    with pytest.raises(TypeError, match="MultivariateNormal"):
        sbt.price_loss(f, td.Laplace(torch.zeros(2), torch.ones(2)), 4)
    with pytest.raises(TypeError, match="batch"):
        sbt.price_loss(f, td.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)), 4)
    with pytest.raises(ValueError, match="at least 1"):
        sbt.price_loss(f, td.Normal(torch.zeros(2), torch.ones(2)), 0)
    with pytest.raises(TypeError, match="integer"):
        sbt.price_loss(f, td.Normal(torch.zeros(2), torch.ones(2)), 4.0)
    with pytest.raises(ValueError, match="f must map"):
        sbt.price_loss(lambda x: x, td.Normal(torch.zeros(2), torch.ones(2)), 4)
