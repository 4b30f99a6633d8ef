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


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "a,b,x",
    [
        (1e-200, 3e-275, 1e-27), (1e-30, 2e-28, 0.7), (1e-19, 1e-21, 0.5), (2e-15, 3e-41, 0.2), (1e-21, 3.0, 0.2),
        (3.0, 1e-40, 0.4), (1e-26, 1e-3, 0.99), (0.5, 1e-27, 0.9),
    ],
)  # fmt: skip
def test_betainc_of_tiny_shapes(a, b, x, isa):
    """The oracle is Gauss's series, at enough digits for a difference between neighbours that are almost equal."""
    module = _core.load("special", isa)

    def series(a, b):
        return x_**a * (1 - x_) ** b / (a * mp.beta(a, b)) * mp.hyp2f1(a + b, 1, a + 1, x_)

    with mp.workdps(700):
        a_, b_, x_ = mp.mpf(a), mp.mpf(b), mp.mpf(x)
        h, k = a_ * mp.mpf(10) ** -30, b_ * mp.mpf(10) ** -30
        by_a = float((series(a_ + h, b_) - series(a_ - h, b_)) / (2 * h))
        by_b = float((series(a_, b_ + k) - series(a_, b_ - k)) / (2 * k))
    assert module.betainc_da(a, b, x) == pytest.approx(by_a, rel=2e-13, abs=0.0)
    assert module.betainc_db(a, b, x) == pytest.approx(by_b, rel=2e-13, abs=0.0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "a,b,x",
    [
        (4.9e-184, 8e307, 9.3e-307), (1.5, 1e150, 2e-150), (20.0, 1e200, 2.1e-199), (0.3, 3e101, 1e-104),
        (5.0, 1e99, 3e-99), (300.0, 1e307, 2.5e-305),
    ],
)  # fmt: skip
def test_betainc_of_a_huge_shape_is_the_gamma_function(a, b, x, isa):
    module = _core.load("special", isa)
    with mp.workdps(300):
        t, least = mp.mpf(b) * mp.mpf(x), mp.mpf(max(a, 1e-100))  # less changes nothing but the derivative in b
        by_a = mp.diff(lambda s: mp.gammainc(s, 0, t, regularized=True), least, h=least * mp.mpf(10) ** -30)
        by_b = mp.exp(-t + least * mp.log(t) - mp.loggamma(least)) / mp.mpf(b) * (mp.mpf(a) / least)
    assert module.betainc_da(a, b, x) == pytest.approx(float(by_a), rel=1e-12, abs=0.0)
    assert module.betainc_db(a, b, x) == pytest.approx(float(by_b), rel=1e-12, abs=1e-322)


@pytest.mark.parametrize("isa", ISAS)
def test_betainc_is_a_number_for_shapes_of_every_size(isa):
    """Beyond the range of numbers it is infinite, which only a + b below 1e-308 can do."""
    r, module = np.random.default_rng(0), _core.load("special", isa)
    a, b = 10.0 ** r.uniform(-323, 307.9, (2, 100_000))
    x = np.where(r.random(a.size) < 0.5, 10.0 ** r.uniform(-323, 0, a.size), r.random(a.size))
    with np.errstate(over="ignore"):
        x = np.where(r.random(a.size) < 0.3, np.clip(10.0 ** r.uniform(-3, 4, a.size) / b, 0.0, 1.0), x)
        for name, sign in (("betainc_da", -1.0), ("betainc_db", 1.0)):
            found = sign * getattr(module, name)(a, b, x)
            assert (found >= 0.0).all()
            assert np.isfinite(found[a + b > 1e-308]).all()
    assert np.isnan(module.betainc_da(1.0, 1e200, [1.5, -1.0, np.nan])).all()
