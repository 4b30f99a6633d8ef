"""The links and their derivatives against mpmath, at every scale."""

import mpmath
import numpy as np
import pytest
from link_cases import LINKS, mp_link, one_link

import sbpfast as sb


def test_every_link_is_covered():
    assert {name for name, _ in LINKS} == set(sb.targets.LINKS)


@pytest.mark.parametrize("name, y", LINKS)
def test_links_at_every_scale(name, y):
    t = np.concatenate([[0.0], *(s * np.logspace(-12, 4, 33) for s in (1, -1)), np.linspace(-40, 40, 33)])
    if name in ("exp", "poisson", "gamma", "cloglog"):
        t = t[np.abs(t) < 700]
    f, x = one_link(name, y), t[:, None]
    with mpmath.workdps(40):
        want = np.array([[float(v) for v in mp_link(name, ti, y)] for ti in t])
    value, slope = f.value(x), f.grad(x)[:, 0]
    curvature, product = f.hess(x)[:, 0, 0], f.hvp(x, np.ones(1))[:, 0]
    # y t - e^t and y - s(t) cancel at their zeros: relative to the larger of the terms
    signed = name in ("logistic", "poisson", "negative_binomial")
    size = np.abs(y) * np.abs(t) if signed else 0.0
    # the square in exp(-t^2/2) rounds to half an ulp of t^2/2
    ulps = 1e-14 + (2e-16 * np.minimum(t, 40.0) ** 2 if name == "probit" else 0.0)
    # and t - log r to half an ulp of t
    ulps = ulps + (3e-16 * np.abs(t) if name == "negative_binomial" else 0.0)
    assert (np.abs(value - want[:, 0]) <= ulps * (np.abs(want[:, 0]) + size) + 1e-307).all()
    slope_size = (abs(y) + (np.exp(t) if name == "poisson" else 0.0)) if signed else 0.0
    if name == "gamma":  # 1 and y e^-t
        size, slope_size = np.abs(t), 1.0
    if name == "cloglog":  # the parts of either y have different signs; e^-w loses the digits of w = e^t
        w = np.exp(np.minimum(t, 7.0))
        size, slope_size, ulps = 2.0 * np.abs(t), 2.0, ulps + 3e-16 * w
    assert (np.abs(slope - want[:, 1]) <= ulps * (np.abs(want[:, 1]) + slope_size) + 1e-307).all()
    for got in (curvature, product):
        zero = 1e-14 if name == "student_t" else 0.0  # (df - u^2) vanishes
        assert (np.abs(got - want[:, 2]) <= 3 * ulps * np.abs(want[:, 2]) + zero + 1e-307).all()


def test_probit_tails_by_name():
    f = one_link("probit", 1.0)
    for t in (-1e4, -300.0, -38.0, -5.0, 5.0, 37.0):
        with mpmath.workdps(60):
            tail = mpmath.erfc(abs(mpmath.mpf(t)) / mpmath.sqrt(2)) / 2
            want = mpmath.log(tail) if t < 0 else mpmath.log1p(-tail)
        assert f.value([[t]])[0] == pytest.approx(float(want), rel=1e-14 + 2e-16 * max(t, 0.0) ** 2, abs=0)
