"""sb.special: values, edges and the manners of a ufunc."""

import mpmath as mp
import numpy as np
import pytest
import scipy.special as sp

from sbpfast import _core, special

ISAS = _core.AVAILABLE_ISAS


def settled(function):
    """A numerical derivative at two precisions that must agree."""
    with mp.workdps(70):
        first = function()
    with mp.workdps(100):
        second = function()
    assert abs(first - second) <= abs(second) * mp.mpf(10) ** -16
    return float(second)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "a,x", [(0.3, 0.2), (1.0, 1e-5), (1.0, 3.0), (5.0, 4.0), (13.0, 2.0), (150.0, 170.0), (1e-3, 1e-40), (40.0, 200.0)]
)
def test_gammainc_da(a, x, isa):
    want = settled(lambda: mp.diff(lambda s: mp.gammainc(s, 0, x, regularized=True), a))
    assert _core.load("special", isa).gammainc_da(a, x) == pytest.approx(want, rel=2e-13)


@pytest.mark.parametrize("isa", ISAS)
def test_gammainc_da_at_ten_thousand(isa):
    # stan-dev/math 3408; the oracle is minus the density times the power series of the weight
    for a, x in ((1e4, 1e4), (1e4, 9800.0), (12345.0, 12500.0)):
        with mp.workdps(60):
            a_, x_ = mp.mpf(a), mp.mpf(x)
            g, t, total, k = mp.digamma(a_ + 1) - mp.log(x_), mp.mpf(1), mp.mpf(0), 0
            while t > mp.mpf(10) ** -50 or k < 2 * x:
                total += t * g
                k += 1
                t *= x_ / (a_ + k)
                g += 1 / (a_ + k)
            want = float(-total / a_ * mp.exp(a_ * mp.log(x_) - x_ - mp.loggamma(a_)))
        assert _core.load("special", isa).gammainc_da(a, x) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "a,b,x",
    [
        (2.0, 3.0, 0.25), (10.0, 1.0, 0.5), (1.0, 10.0, 0.5),  # stan-dev/math 3409
        (0.4, 7.0, 0.03), (0.01, 3.0, 1e-50), (0.5, 0.5, 1 - 1e-12), (200.0, 300.0, 0.41), (3.0, 0.02, 0.999),
    ],
)  # fmt: skip
def test_betainc(a, b, x, isa):
    module = _core.load("special", isa)
    by_a = settled(lambda: mp.diff(lambda s: mp.betainc(s, b, 0, x, regularized=True), a))
    by_b = settled(lambda: mp.diff(lambda s: mp.betainc(a, s, 0, x, regularized=True), b))
    assert module.betainc_da(a, b, x) == pytest.approx(by_a, rel=2e-13)
    assert module.betainc_db(a, b, x) == pytest.approx(by_b, rel=2e-13)


def test_integrals_over_the_shape_recover_the_function():
    node, weight = np.polynomial.legendre.leggauss(40)
    low, high = 2.0, 9.0
    a = (low + high) / 2 + (high - low) / 2 * node[:, None]
    w = (high - low) / 2 * weight
    x = np.linspace(0.02, 0.98, 25)
    gap = sp.betainc(high, 2.7, x) - sp.betainc(low, 2.7, x)
    np.testing.assert_allclose(w @ special.betainc_da(a, 2.7, x), gap, rtol=1e-12, atol=1e-15)
    gap = sp.betainc(2.7, high, x) - sp.betainc(2.7, low, x)
    np.testing.assert_allclose(w @ special.betainc_db(2.7, a, x), gap, rtol=1e-12, atol=1e-15)
    gap = sp.gammainc(high, 10 * x) - sp.gammainc(low, 10 * x)
    np.testing.assert_allclose(w @ special.gammainc_da(a, 10 * x), gap, rtol=1e-12, atol=1e-15)


def test_edges():
    assert special.gammainc_da(1.0, 0.0) == 0.0
    assert special.gammainc_da(1.0, np.inf) == 0.0
    for f in (special.betainc_da, special.betainc_db):
        np.testing.assert_array_equal(f(2.0, 3.0, [0.0, 1.0]), 0.0)
        assert np.isnan(f([0.0, -1.0, 1.0, 1.0, np.nan, 1.0], [1.0, 1.0, 0.0, np.inf, 1.0, 1.0],
                          [0.5, 0.5, 0.5, 0.5, 0.5, 1.5])).all()  # fmt: skip
    assert np.isnan(special.gammainc_da([0.0, -1.0, np.inf, np.nan, 1.0, 1.0], [1, 1, 1, 1, -1, np.nan])).all()


def test_manners_of_a_ufunc():
    for f, inputs in ((special.gammainc_da, 2), (special.betainc_da, 3), (special.betainc_db, 3)):
        assert isinstance(f, np.ufunc) and f.nin == inputs and f.nout == 1
        assert f.__doc__ and "Parameters" in f.__doc__
    assert special.gammainc_da(np.ones((3, 1)), np.ones(4)).shape == (3, 4)
    rng = np.random.default_rng(0)
    a, x = rng.uniform(0.1, 20, (7, 300)), rng.uniform(0.1, 20, (7, 300))
    want = special.gammainc_da(a, x)
    np.testing.assert_array_equal(special.gammainc_da(np.asfortranarray(a)[:, ::-3], x[:, ::-3]), want[:, ::-3])
    out = np.full_like(a, 5.0)
    where = a > 10
    assert special.gammainc_da(a, x, out=out, where=where) is out
    np.testing.assert_array_equal(out, np.where(where, want, 5.0))
    frozen = a.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(special.gammainc_da(frozen, x), want)
    in_place = x.copy()
    special.gammainc_da(a, in_place, out=in_place)
    np.testing.assert_array_equal(in_place, want)
    single = special.gammainc_da(a.astype(np.float32), x.astype(np.float32))
    assert single.dtype == np.float32
    rounded = (v.astype(np.float32).astype(float) for v in (a, x))
    np.testing.assert_allclose(single, special.gammainc_da(*rounded), rtol=1e-7)
    assert special.gammainc_da(2, 3).dtype == np.float64
    assert special.gammainc_da(np.empty((0, 3)), 1.0).shape == (0, 3)
