"""Transport weights: 24-digit tables, NumPy twins, elementwise purity, the peers' failure points, limits."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.special as sp
import scipy.stats as st

from sbpfast import _core
from sbpfast._reference import weights as twin

ISAS = _core.AVAILABLE_ISAS
TABLES = Path(__file__).parents[1] / "tables"
WEIGHTS = json.loads((TABLES / "weights.json").read_text())
DERIVATIVES = json.loads((TABLES / "weight_derivatives.json").read_text())
# outputs and inputs of every kernel of the topic
KERNELS = {
    "gamma_weight": 1,
    "beta_weight": 2,
    "student_t_weight": 1,
    "von_mises_weight": 1,
    "inverse_gaussian_weight": 2,
    "truncated_normal_weight": 4,
    "continuous_bernoulli_weight": 1,
    "gamma_weight_derivatives": 2,
    "beta_weight_derivatives": 3,
}


def run(name, *inputs, isa=_core.ISA, n_threads=1):
    inputs = [np.ascontiguousarray(v, dtype=float) for v in np.broadcast_arrays(*inputs)]
    out = [np.full(inputs[0].size, 7.0) for _ in range(KERNELS[name])]
    getattr(_core.load("weights", isa), name)(*inputs, *out, n_threads)
    return out[0] if len(out) == 1 else tuple(out)


def log_of(x, y):
    """log x, from whichever of x and y = 1 - x is small."""
    return np.where(x < 0.5, np.log(x), np.log1p(-np.minimum(y, 0.5)))


def beta_inputs(a, b, x, y):
    return a, b, x, y, log_of(x, y), log_of(y, x)


def table_columns(rows):
    return np.array([[np.nan if v is None else float(v) for v in row] for row in rows]).T


def gamma_B(a, x, isa):
    return (x * run("gamma_weight", a, x, np.log(x), isa=isa),)


def beta_B(a, b, x, isa):
    y = 1 - x
    wa, wb = run("beta_weight", *beta_inputs(a, b, x, y), isa=isa)
    return x * y * wa, -x * y * wb


def truncated_B(loc, scale, low, high, x, isa):
    ends = (low - loc) / scale, (high - loc) / scale, (x - low) / scale, (high - x) / scale
    return run("truncated_normal_weight", (x - loc) / scale, *ends, isa=isa)


TRANSPORT = {
    "gamma": gamma_B,
    "beta": beta_B,
    "student_t": lambda df, t, isa: (run("student_t_weight", df, t, isa=isa),),
    "von_mises": lambda k, x, isa: (run("von_mises_weight", k, x, isa=isa),),
    "inverse_gaussian": lambda m, c, x, isa: run("inverse_gaussian_weight", m, c, x, isa=isa),
    "truncated_normal": truncated_B,
    "continuous_bernoulli": lambda e, x, isa: (run("continuous_bernoulli_weight", e, x, isa=isa),),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("family", WEIGHTS)
def test_weights_match_the_table(family, isa):
    columns = table_columns(WEIGHTS[family])
    arguments = len(columns) - {"beta": 2, "inverse_gaussian": 2, "truncated_normal": 4}.get(family, 1)
    got = TRANSPORT[family](*columns[:arguments], isa)
    for value, want in zip(got, columns[arguments:]):
        there = ~np.isnan(want)  # an infinite end has no weight
        np.testing.assert_allclose(value[there], want[there], rtol=3e-13, atol=1e-290)


@pytest.mark.parametrize("isa", ISAS)
def test_second_derivatives_match_the_table(isa):
    a, x, *want = table_columns(DERIVATIVES["gamma"])
    slope, by_shape = run("gamma_weight_derivatives", a, x, np.log(x), isa=isa)
    np.testing.assert_allclose((slope, x * by_shape), want, rtol=3e-12)
    a, b, x, *want = table_columns(DERIVATIVES["beta"])
    slope, by_a, by_b = run("beta_weight_derivatives", *beta_inputs(a, b, x, 1 - x)[:5], isa=isa)
    np.testing.assert_allclose((slope, x * (1 - x) * by_a, x * (1 - x) * by_b), want, rtol=3e-12)


def random_inputs(name, n=400):
    """Ordinary parameters, points from the law itself: where the twins' quadrature is good to 1e-9."""
    rng = np.random.default_rng(len(name))
    positive = lambda low, high: np.exp(rng.uniform(np.log(low), np.log(high), n))
    if name.startswith("gamma"):
        a = positive(0.05, 300)
        x = np.maximum(rng.gamma(a), 1e-200)
        return a, x, np.log(x)
    if name.startswith("beta"):
        a, b = positive(0.05, 300), positive(0.05, 300)
        x, y = np.maximum(rng.gamma(a), 1e-200), np.maximum(rng.gamma(b), 1e-200)
        inputs = beta_inputs(a, b, x / (x + y), y / (x + y))
        return inputs if name == "beta_weight" else inputs[:5]
    if name == "student_t_weight":
        df = positive(0.5, 40)
        return df, rng.standard_t(df)
    if name == "von_mises_weight":
        kappa = positive(1e-2, 500)
        return kappa, rng.vonmises(0, kappa)
    if name == "inverse_gaussian_weight":
        return positive(0.1, 10), positive(0.1, 10), positive(0.1, 10)
    if name == "truncated_normal_weight":
        low, width, u = rng.uniform(-6, 12, n), positive(1e-3, 10), rng.uniform(0.01, 0.99, n)
        width = np.where(low > 2, np.minimum(width, 5 / np.abs(low)), width)
        return low + u * width, low, low + width, u * width, (1 - u) * width
    assert name == "continuous_bernoulli_weight"
    return rng.uniform(-20, 20, n), rng.uniform(0, 1, n)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_match_their_twins(name, isa):
    inputs = random_inputs(name)
    want = getattr(twin, name)(*inputs)
    got = run(name, *inputs, isa=isa)
    for g, w in zip(got, want) if isinstance(got, tuple) else [(got, want)]:
        np.testing.assert_allclose(g, w, rtol=1e-8, atol=1e-12 * np.abs(w).max())


def test_every_kernel_has_a_twin_of_its_name():
    kernels = {name for name, value in vars(_core.weights).items() if callable(value) and not name.startswith("_")}
    assert kernels == set(KERNELS) == set(twin.__all__)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", KERNELS)
def test_an_element_depends_on_itself_alone(name, isa):
    inputs = random_inputs(name, 2500)
    first = np.atleast_2d(run(name, *inputs, isa=isa))
    order = np.random.default_rng(0).permutation(2500)
    shuffled = np.atleast_2d(run(name, *(v[order] for v in inputs), isa=isa, n_threads=3))
    np.testing.assert_array_equal(shuffled, first[:, order])
    for i in (0, 1, 777):
        single = np.atleast_2d(run(name, *(v[i : i + 1] for v in inputs), isa=isa))
        np.testing.assert_array_equal(single[:, 0], first[:, i])


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets_agree(isa):
    for name in KERNELS:
        inputs = random_inputs(name)
        got, want = np.atleast_2d(run(name, *inputs, isa=isa)), np.atleast_2d(run(name, *inputs, isa="baseline"))
        np.testing.assert_allclose(got, want, rtol=2e-12, atol=1e-14 * np.abs(want).max())


@pytest.mark.parametrize("isa", ISAS)
def test_regions_join_without_a_step(isa):
    # next to every threshold of the regions, two recipes answer; w is smooth there
    a = np.repeat([0.3, 2.999, 3.0, 5.999, 6.0, 11.999, 12.0, 29.999, 30.0, 99.99, 100.0, 999.9, 1000.0], 9)
    edge = np.exp(1.6)
    x = np.concatenate([[0.5, 4.05, v + 2, v + 3, 0.2 * v, v / edge, v * edge, v, 5 * v] for v in a[::9]])
    eps = 1e-9
    low, high = (run("gamma_weight", a, x * (1 + s), np.log(x * (1 + s)), isa=isa) for s in (-eps, eps))
    np.testing.assert_allclose(low, high, rtol=1e-8)
    slope = run("gamma_weight_derivatives", a, x, np.log(x), isa=isa)[0] - run("gamma_weight", a, x, np.log(x), isa=isa)
    np.testing.assert_allclose(high - low, 2 * eps * slope, atol=1e-12 * np.abs(high).max())
    below, above = (run("gamma_weight", a * (1 + s), x, np.log(x), isa=isa) for s in (-1e-9, 1e-9))
    np.testing.assert_allclose(below, above, rtol=1e-8)


@pytest.mark.parametrize("isa", ISAS)
def test_small_shapes_do_not_underflow(isa):
    # half of all gamma draws of shape 1e-3 are below 5e-302: x = 0 with a finite log x is an ordinary argument
    a, log_x = np.array([1e-3, 1e-3, 0.01]), np.array([-700.0, -2.0e5, -1e6])
    want = (sp.digamma(a + 1) - log_x) / a
    np.testing.assert_allclose(run("gamma_weight", a, np.exp(log_x), log_x, isa=isa), want, rtol=1e-14)
    wa, wb = run("beta_weight", a, 2.0, np.exp(log_x), 1.0, log_x, -np.exp(log_x), isa=isa)
    np.testing.assert_allclose(wa, (sp.digamma(a + 1) - sp.digamma(a + 2) - log_x) / a, rtol=1e-14)
    np.testing.assert_allclose(wb, (sp.digamma(a + 2) - sp.digamma(2.0)) / a, rtol=1e-13)
    # y = 1 - x below the spacing of doubles near 1: the mirror image
    mirrored = run("beta_weight", 2.0, a, 1.0, np.exp(log_x), -np.exp(log_x), log_x, isa=isa)
    np.testing.assert_array_equal(mirrored, (wb, wa))


@pytest.mark.parametrize("isa", ISAS)
def test_shapes_where_peers_fail(isa):
    # torch: infinite for a in 65540..66576 and b = 1.5, NaN for concentrations 1.5e4 and 7.9e4
    a = np.linspace(65000.0, 67000.0, 501)
    x = st.beta(a, 1.5).ppf(0.3)
    y = st.beta(1.5, a).isf(0.3)
    wa, wb = run("beta_weight", *beta_inputs(a, 1.5, x, y), isa=isa)
    np.testing.assert_allclose((wa[::100], wb[::100]), twin.beta_weight(*(
        v[::100] for v in np.broadcast_arrays(*beta_inputs(a, 1.5, x, y)))), rtol=1e-8)  # fmt: skip
    assert np.all(np.diff(wa) < 0) and np.abs(np.diff(np.log(wb))).max() < 1e-3
    for c in (1.5e4, 7.9e4):
        w = run("beta_weight", *beta_inputs(c, 2 * c, np.array([1 / 3]), np.array([2 / 3])), isa=isa)
        assert np.all(np.isfinite(w)) and np.all(np.array(w) > 0)
    # gamma at a = x = 1e4 and 1e6: B = 1 + 1/(12 a) - ... at the mean, from the expansion of the mean's own quantile
    for c in (1e4, 1e6):
        w = run("gamma_weight", c, np.array([c]), np.log([c]), isa=isa)
        np.testing.assert_allclose(c * w, 1 + 1 / (6 * c), rtol=1e-9)


def test_sign_change_of_the_variance_of_a_dirichlet_component():
    # Dirichlet(a, a, 1): x_3 ~ Beta(1, 2a), d Var/da = (1 - 2a - 4a^2) / ((1+a)^2 (1+2a)^3), zero at (sqrt 5 - 1)/4
    node, weight = np.polynomial.legendre.leggauss(200)
    u = (node + 1) / 2
    for a in (0.1, (np.sqrt(5) - 1) / 4, 0.7, 2.0):
        y = u ** (1 / (2 * a))  # the upper tail of Beta(1, 2a) is y^2a
        x = -np.expm1(np.log(u) / (2 * a))
        by_b = -x * y * run("beta_weight", *beta_inputs(1.0, 2 * a, x, y))[1]
        derivative = 2 * np.sum(weight / 2 * 2 * (x - 1 / (1 + 2 * a)) * by_b)
        want = (1 - 2 * a - 4 * a**2) / ((1 + a) ** 2 * (1 + 2 * a) ** 3)
        assert derivative == pytest.approx(want, rel=1e-6, abs=1e-6)


def test_beta_weight_is_the_averaged_gamma_weight():
    # B_a(x; a, b) = (1 - x) E_S[B_gamma(x S; a) / S], S ~ Gamma(a + b)
    node, weight = sp.roots_genlaguerre(60, 2.3 + 1.9 - 1)
    for x in (0.05, 0.4, 0.93):
        v = x * node
        inner = v * run("gamma_weight", 2.3, v, np.log(v)) / node
        mean = (1 - x) * np.sum(weight * inner) / np.sum(weight)
        got = x * (1 - x) * run("beta_weight", *beta_inputs(2.3, 1.9, np.array([x]), np.array([1 - x])))[0]
        assert got[0] == pytest.approx(mean, rel=1e-6)


def test_mixed_partial_derivatives_commute():
    # x(F; a, b) has d2x/da db = dB_a/db + B_b dB_a/dx = dB_b/da + B_a dB_b/dx
    a, b, x, y, log_x = random_inputs("beta_weight_derivatives")
    log_y = log_of(y, x)
    wa, wb = run("beta_weight", a, b, x, y, log_x, log_y)
    ax, _, ab = run("beta_weight_derivatives", a, b, x, y, log_x)
    bx, _, ba = run("beta_weight_derivatives", b, a, y, x, log_y)
    one, other = ab - wb * ax, -ba + wa * bx
    assert np.all(np.abs(one - other) <= 1e-9 * np.abs(one) + 1e-11 * np.abs(wb * ax))


def test_normal_limits():
    # no bounds: B_loc = 1 and B_scale = z; a far bound changes nothing
    z = np.linspace(-8, 8, 33)
    free = run("truncated_normal_weight", z, -np.inf, np.inf, np.inf, np.inf)
    np.testing.assert_allclose(free, (np.ones(33), z, 0 * z, 0 * z), rtol=1e-14, atol=1e-14)
    wide = run("truncated_normal_weight", z, -50.0, np.inf, z + 50, np.inf)
    np.testing.assert_allclose(wide, free, rtol=1e-13, atol=1e-14)
    # Student t at large df: -(t^3 + t) / (4 df^2)
    np.testing.assert_allclose(run("student_t_weight", 1e9, z), -(z**3 + z) / 4e18, rtol=1e-7)
    # von Mises at kappa = 0, and its zeros
    np.testing.assert_allclose(run("von_mises_weight", 0.0, z / 3), -np.sin(z / 3), rtol=1e-14, atol=1e-15)
    assert run("von_mises_weight", 3.0, np.array([0.0]))[0] == 0.0
    # the weight of a bound at that bound is 1
    at_low = run("truncated_normal_weight", np.array([30.0]), 30.0, np.inf, 0.0, np.inf)
    np.testing.assert_allclose(at_low, [[0.0], [0.0], [1.0], [0.0]], atol=1e-15)


@pytest.mark.parametrize("isa", ISAS)
def test_outside_the_domain_is_nan(isa):
    bad = np.array([-1.0, 0.0, np.inf, np.nan])
    assert np.isnan(run("gamma_weight", bad, 1.0, 0.0, isa=isa)).all()
    assert np.isnan(run("gamma_weight", 1.0, np.array([-1.0, np.inf, np.nan]), 0.0, isa=isa)).all()
    assert np.isnan(run("gamma_weight_derivatives", bad, 1.0, 0.0, isa=isa)).all()
    assert np.isnan(run("beta_weight", bad, 1.0, 0.5, 0.5, -0.7, -0.7, isa=isa)).all()
    assert np.isnan(run("beta_weight", 1.0, bad, 0.5, 0.5, -0.7, -0.7, isa=isa)).all()
    assert np.isnan(run("beta_weight_derivatives", bad, 1.0, 0.5, 0.5, -0.7, isa=isa)).all()
    assert np.isnan(run("student_t_weight", bad, 1.0, isa=isa)).all()
    assert np.isnan(run("student_t_weight", 3.0, np.array([np.inf, np.nan]), isa=isa)).all()
    assert np.isnan(run("von_mises_weight", bad[[0, 2, 3]], 1.0, isa=isa)).all()
    assert np.isnan(run("von_mises_weight", 1.0, np.array([3.2, -4.0, np.nan]), isa=isa)).all()
    assert np.isnan(run("inverse_gaussian_weight", bad, 1.0, 1.0, isa=isa)).all()
    assert np.isnan(run("truncated_normal_weight", np.array([0.0, np.nan]), 1.0, 2.0, -1.0, 2.0, isa=isa)).all()
    assert np.isnan(run("continuous_bernoulli_weight", 1.0, np.array([-0.1, 1.1, np.nan]), isa=isa)).all()


def test_nothing_to_do():
    for name, outputs in KERNELS.items():
        inputs = len(random_inputs(name, 1))
        getattr(_core.weights, name)(*([np.empty(0)] * (inputs + outputs)), 2)
