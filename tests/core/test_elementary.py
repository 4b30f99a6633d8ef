"""The branch-free elementary functions against mpmath, in every build this machine can run."""

import mpmath as mp
import numpy as np
import pytest

from sbpfast import _core

ISAS = _core.AVAILABLE_ISAS


def spread(low, high, n=400, seed=0):
    """Points of both signs and of every magnitude between low and high."""
    r = np.random.default_rng(seed)
    return np.exp(r.uniform(np.log(low), np.log(high), n))


def mills(a):
    """Phi(-a) / phi(a); by its asymptotic series where that is exact to 24 digits."""
    if a > 1e6:
        return (1 - 1 / a**2 + 3 / a**4) / a
    with mp.workdps(60):
        return mp.sqrt(mp.pi / 2) * mp.erfc(a / mp.sqrt(2)) * mp.exp(a * a / 2)


TINY = [5e-324, 1e-310, 2.2250738585072014e-308, 1e-300]
CASES = {
    # name: (points, exact, bound in ulp)
    "exp": (
        np.concatenate([-spread(1e-20, 745), spread(1e-20, 709.7), [0.0, -0.0, 709.782712893384, -708.5, -745.1]]),
        mp.exp,
        1.1,
    ),
    "log": (
        np.concatenate([spread(1e-300, 1e300), spread(0.5, 2.0), TINY, [1.0, np.nextafter(1, 0), np.nextafter(1, 2)]]),
        mp.log,
        1.1,
    ),
    "log1p": (np.concatenate([spread(1e-20, 1e300), -spread(1e-20, 0.999999)]), mp.log1p, 2.0),
    "expm1": (np.concatenate([spread(1e-20, 709), -spread(1e-20, 700)]), lambda x: mp.exp(x) - 1, 2.5),
    "mills": (np.concatenate([spread(1e-10, 1e10), [0.0]]), mills, 6.0),
    "log1p_unit": (np.concatenate([spread(1e-300, 1.0), [0.0, 1.0]]), mp.log1p, 2.0),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", list(CASES))
def test_relative_error_in_ulp(name, isa):
    x, exact, bound = CASES[name]
    out = np.empty_like(x)
    _core.load("elementary", isa).evaluate(name, x, out)
    worst = 0.0
    with mp.workdps(50):
        for xi, got in zip(x, out):
            want = exact(mp.mpf(float(xi)))
            ulp = mp.mpf(float(np.spacing(abs(float(want))))) if want != 0 else mp.mpf(5e-324)
            worst = max(worst, float(abs(mp.mpf(float(got)) - want) / ulp))
    assert worst <= bound


@pytest.mark.parametrize("isa", ISAS)
def test_sine_and_cosine_of_turns(isa):
    u = np.concatenate([np.random.default_rng(0).random(400), np.arange(8) / 8, [2.0**-53, 1 - 2.0**-53]])
    module = _core.load("elementary", isa)
    with mp.workdps(40):
        for name, exact in (("sin2pi", mp.sin), ("cos2pi", mp.cos)):
            out = np.empty_like(u)
            module.evaluate(name, u, out)
            want = np.array([float(exact(2 * mp.pi * mp.mpf(float(v)))) for v in u])
            np.testing.assert_allclose(out, want, rtol=0, atol=1.7e-16)


@pytest.mark.parametrize("isa", ISAS)
def test_special_values(isa):
    module = _core.load("elementary", isa)

    def at(name, *values):
        out = np.empty(len(values))
        module.evaluate(name, np.array(values), out)
        return out

    inf, nan = np.inf, np.nan
    np.testing.assert_array_equal(at("exp", inf, -inf, 800.0, -800.0, 0.0), [inf, 0.0, inf, 0.0, 1.0])
    np.testing.assert_array_equal(at("log", 0.0, inf, 1.0), [-inf, inf, 0.0])
    np.testing.assert_array_equal(at("log1p", -1.0, inf, 0.0), [-inf, inf, 0.0])
    np.testing.assert_array_equal(at("expm1", -800.0, inf, 0.0), [-1.0, inf, 0.0])
    assert np.isnan(at("log", -1.0, -inf, nan)).all()
    assert (
        np.isnan(at("exp", nan)).all() and np.isnan(at("log1p", -2.0, nan)).all() and np.isnan(at("expm1", nan)).all()
    )


@pytest.mark.parametrize("isa", ISAS)
def test_integers_become_the_nearest_doubles(isa):
    r = np.random.default_rng(0)
    x = np.concatenate(
        [
            r.integers(0, 2**64, 1000, dtype=np.uint64),
            r.integers(0, 2**20, 100, dtype=np.uint64),
            np.array([0, 1, 2**53 + 1, 2**64 - 1], np.uint64),
        ]
    )
    out = np.empty(len(x))
    _core.load("elementary", isa).from_uint64(x, out)
    np.testing.assert_array_equal(out, [float(int(v)) for v in x])
