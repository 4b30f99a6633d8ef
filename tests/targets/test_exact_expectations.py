"""Exact Gaussian expectations of links, narrow and wide, against quadrature and series."""

import mpmath
import numpy as np
import pytest
import scipy.sparse
import scipy.special
import scipy.stats
from link_cases import LINKS, NEGATIVE_BINOMIAL, STUDENT, mp_link, one_link

import sbpfast as sb
from sbpfast._reference import ridge as reference


def quadrature(name, y, m, t):
    """E phi, E phi', E phi'' under N(m, t^2): Gauss-Legendre on panels narrower than the link is sharp."""
    with np.errstate(over="ignore"):
        width = min(0.5, 1.0 / t)
        cuts = np.linspace(-13, 13, 2 * round(13 / width) + 1)
        nodes, w = np.polynomial.legendre.leggauss(24)
        z = (0.5 * (cuts[1:] + cuts[:-1])[:, None] + 0.5 * np.diff(cuts)[:, None] * nodes).ravel()
        w = (0.5 * np.diff(cuts)[:, None] * w).ravel() * scipy.stats.norm.pdf(z)
        a = m + t * z
        if name in ("softplus", "logistic"):
            s, c = scipy.special.expit(a), scipy.special.expit(a) * scipy.special.expit(-a)
            phi = (np.logaddexp(0, a), s, c) if name == "softplus" else (y * a - np.logaddexp(0, a), y - s, -c)
        elif name == "probit":
            sign = 2 * y - 1
            u = sign * a
            ratio = np.sqrt(2 / np.pi) / scipy.special.erfcx(-u / np.sqrt(2))  # pdf/cdf
            # u + ratio cancels far to the left: where the Gaussian reaches there, by Stein's identity instead
            phi = (scipy.special.log_ndtr(u), sign * ratio, -ratio * (u + ratio) if t < 3 else sign * ratio * z / t)
        elif name == "student_t":
            df, scale = STUDENT["df"], STUDENT["scale"]
            u = (a - y) / scale
            phi = (
                -(df + 1) / 2 * np.log1p(u * u / df),
                -(df + 1) * u / (df + u * u) / scale,
                -(df + 1) * (df - u * u) / (df + u * u) ** 2 / scale**2,
            )
        elif name == "negative_binomial":
            r = NEGATIVE_BINOMIAL["dispersion"]
            p, q = scipy.special.expit(a - np.log(r)), scipy.special.expit(np.log(r) - a)
            value = -y * np.logaddexp(0, np.log(r) - a) - r * np.logaddexp(0, a - np.log(r))
            phi = (value, y - (y + r) * p, -(y + r) * p * q)
        elif name == "gamma":
            phi = (-a - y * np.exp(-a), y * np.exp(-a) - 1, -y * np.exp(-a))
        elif name == "cloglog":
            phi = reference.link_derivatives(a, y, "cloglog")
        elif name == "log_cosh":
            phi = (
                np.abs(a) + np.log1p(np.exp(-2 * np.abs(a))) - np.log(2),
                np.tanh(a),
                4 * scipy.special.expit(2 * a) * scipy.special.expit(-2 * a),
            )
        elif name == "square":
            phi = ((a - y) ** 2, 2 * (a - y), np.full_like(a, 2.0))
        else:
            phi = (np.exp(a),) * 3 if name == "exp" else (y * a - np.exp(a), y - np.exp(a), -np.exp(a))
    return [(w * p).sum() for p in phi]


@pytest.mark.parametrize("name, y", LINKS)
def test_exact_expectations_for_narrow_and_wide_gaussians(name, y):
    wide = (
        (1e-3, 0.1, 0.5, 0.8, 2.0)
        if name in ("exp", "poisson", "gamma") or (name == "cloglog" and y < 1)
        else (1e-3, 0.03, 0.3, 0.64, 0.7, 1.0, 3.0, 10.0, 100.0, 1000.0)
    )
    f = one_link(name, y)
    for m in (-8.0, -1.0, 0.0, 0.4, 6.0, 20.0):
        for t in wide:
            value, slope, curvature = quadrature(name, y, m, t)
            est = sb.expectation_grad(f, sb.Gaussian([m], [[t * t]]), estimator="exact")
            # y t cancels in E[y t - ...], and 2 t z in the oracle of the square
            size = abs(y) * abs(m) + (abs(y) if name == "poisson" else 0.0) + (200 * t if name == "square" else 0.0)
            size += abs(m) + t if name == "gamma" else 0.0
            assert est.value == pytest.approx(value, rel=2e-13, abs=2e-14 * size + 1e-15), (m, t)
            assert est.grad["mean"][0] == pytest.approx(slope, rel=1e-12, abs=2e-15 + 2e-15 * size), (m, t)
            assert 2 * est.grad["cov"][0, 0] == pytest.approx(curvature, rel=2e-12, abs=2e-15), (m, t)
            assert est.stderr["value"] == 0 and not est.stderr["mean"].any() and est.n_samples == 0


@pytest.mark.parametrize(
    "name, y",
    [
        row
        for row in LINKS
        if row[0] not in ("exp", "poisson", "square", "gamma") and row[0:2] not in (("cloglog", 0.0), ("cloglog", 0.3))
    ],
)
def test_exact_expectations_of_very_wide_gaussians(name, y):
    """Against mpmath's quadrature in x, cut where the link bends and at powers of ten from there."""
    f, centre = one_link(name, y), {"student_t": y, "negative_binomial": np.log(2.5)}.get(name, 0.0)
    for m, t in ((-2e7, 1e7), (3e12, 1e12)):
        est = sb.expectation_grad(f, sb.Gaussian([m], [[t * t]]), estimator="exact")
        reach = [mpmath.mpf(10) ** k for k in range(-1, int(np.log10(t)) + 2)]
        cuts = sorted(
            {centre + s * r for r in reach for s in (-1, 1)} | {mpmath.mpf(m + k * t) for k in range(-10, 11)}
        )
        cuts = [c for c in cuts if abs(c - m) <= 10 * t]

        def weighted(x, i, m=m, t=t):
            z = (x - m) / t
            return mp_link(name, x, y)[i] * mpmath.exp(-z * z / 2) / (t * mpmath.sqrt(2 * mpmath.pi))

        with mpmath.workdps(55 if name == "probit" else 25):  # exp(-x^2/2) takes the digits of x^2
            value, slope = (float(mpmath.quad(lambda x, i=i: weighted(x, i), cuts, maxdegree=8)) for i in (0, 1))
        assert est.value == pytest.approx(value, rel=1e-12)
        assert est.grad["mean"][0] == pytest.approx(slope, rel=1e-10, abs=1e-13 * (1 + abs(y)))


def test_integrals_cost_no_more_for_the_widest_gaussians():
    f = sb.targets.ridge(np.ones((4, 1)), 0.0, "student_t", df=4.0, scale=1e-7)
    for t in (1e7, 1e100):
        assert np.isfinite(sb.expectation_grad(f, sb.Gaussian([0.0], [[t * t]]), estimator="exact").value)


PUBLISHED = [
    (0, 1, 0.80605918334744),
    (1, 1, 1.40685628308753),
    (-2, 3, 0.617524065800372),
    (0, 10, 4.05431303117115),
    (5, 10, 7.03538839735489),
    (0, 30, 11.9901149808086),
    (3, 100, 41.4187377271743),
    (0, 0.1, 0.694395623240810),
]


def test_softplus_expectations_by_a_series():
    """The erfcx series with alternating terms summed by mpmath, and the published values."""
    f = one_link("softplus", 0.0)
    for m, t, published in PUBLISHED:
        with mpmath.workdps(30):
            m_, t_ = mpmath.mpf(m), mpmath.mpf(str(t))
            z = m_ / t_

            def half(x, z=z):
                return mpmath.exp((x * x - z * z) / 2) * mpmath.erfc(x / mpmath.sqrt(2))

            def term(k, t=t_, z=z, half=half):
                return (-1) ** (int(k) - 1) / k * (half(k * t + z) + half(k * t - z))

            series = mpmath.nsum(term, [1, mpmath.inf], method="a")
            want = float(t_ * mpmath.npdf(z) + m_ * mpmath.ncdf(z) + series / 2)
        assert want == pytest.approx(published, rel=1e-13)
        assert sb.expectation_grad(f, sb.Gaussian([m], [[t * t]]), estimator="exact").value == pytest.approx(
            want, rel=1e-13
        )


def test_exact_expectation_of_many_rows_of_mixed_widths():
    """64 rows share a step: the widest must not spoil the narrowest, nor the reverse."""
    r = np.random.default_rng(0)
    scales = np.logspace(-3, 2, 130)
    r.shuffle(scales)
    f = sb.targets.ridge(scales[:, None], r.standard_normal(130), "softplus", r.standard_normal(130))
    est = sb.expectation_grad(f, sb.DiagonalGaussian([0.5], [1.0]), estimator="exact")
    parts = np.array([quadrature("softplus", 0.0, 0.5 * s + c, s) for s, c in zip(scales, f.offset)])
    w = f.weights
    assert est.value == pytest.approx(w @ parts[:, 0], rel=1e-12)
    assert est.grad["mean"][0] == pytest.approx((w * scales) @ parts[:, 1], rel=1e-12)
    assert est.grad["std"][0] == pytest.approx((w * scales**2) @ parts[:, 2], rel=1e-11)


def test_exact_of_a_degenerate_direction():
    """A row of zeros has no spread: phi at its offset."""
    f = sb.targets.ridge(np.zeros((2, 3)), [0.3, -2.0], "log_cosh")
    est = sb.expectation_grad(f, sb.Gaussian(np.ones(3), np.eye(3)), estimator="exact")
    assert est.value == pytest.approx(np.log(np.cosh([0.3, -2.0])).sum(), rel=1e-13)
    assert not est.grad["mean"].any() and not est.grad["cov"].any()


def test_an_expectation_that_overflows_is_refused():
    f = one_link("exp", 0.0)
    with pytest.raises(sb.NonFiniteTarget, match="overflow"):
        sb.expectation_grad(f, sb.Gaussian([0.0], [[1e6]]), estimator="exact")
