"""Fits and divergences beyond the exponential families: Student's t, and a Weibull of unknown shape."""

import numpy as np
import pytest
import scipy.stats as st
from scipy import integrate, special

from sbpfast import MLEDoesNotExist, expfam

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("df", [0.7, 2.0, 5.0, 20.0])
@pytest.mark.parametrize("n", [200, 20_000])
def test_student_t_fits_are_stationary_points(df, n):
    x = st.t(df, loc=100.0, scale=3.0).rvs(n, random_state=1)
    result = expfam.StudentT.fit(x)
    q = result.distribution
    assert result.converged and result.log_likelihood == pytest.approx(
        st.t.logpdf(x, q.df, q.loc, q.scale).sum(), rel=1e-12
    )
    for name, score in q.score(x).items():
        assert abs(score.mean()) < 1e-9 * np.abs(score).mean(), name
    for values in (
        (1.02 * q.df, q.loc, q.scale),
        (q.df, q.loc + 0.02 * q.scale, q.scale),
        (q.df, q.loc, 1.02 * q.scale),
    ):
        assert expfam.StudentT(*values).log_prob(x).sum() < result.log_likelihood


def test_student_t_fits_find_what_made_the_data():
    x = st.t(3.0, loc=-2.0, scale=0.5).rvs(100_000, random_state=3)
    q = expfam.StudentT.fit(x).distribution
    assert abs(q.df - 3.0) < 0.2 and abs(q.loc + 2.0) < 0.02 and abs(q.scale - 0.5) < 0.01


def test_student_t_with_known_df():
    """Against the fixed point of the weights (nu + 1)/(nu + z^2)."""
    x = RNG.normal(size=(60, 2)) ** 3
    q = expfam.StudentT.fit(x, df=4.0).distribution
    z = (x - q.loc) / q.scale
    w = 5.0 / (4.0 + z * z)
    np.testing.assert_allclose((w * x).sum(axis=0) / w.sum(axis=0), q.loc, rtol=1e-10)
    np.testing.assert_allclose((w * z * z).mean(axis=0), 1.0, rtol=1e-10)
    np.testing.assert_array_equal(q.df, [4.0, 4.0])


def test_weights_are_repetitions():
    x, w = RNG.standard_t(3.0, size=40), RNG.integers(0, 4, size=40)
    for family, data in ((expfam.StudentT, x), (expfam.Weibull, np.exp(x))):
        a, b = family.fit(data, weights=w), family.fit(np.repeat(data, w))
        assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-12)
        assert a.distribution.scale == pytest.approx(b.distribution.scale, rel=1e-9)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: expfam.StudentT.fit(np.linspace(-1.0, 1.0, 500)), "rises towards the normal"),
        (lambda: expfam.StudentT.fit([1.0, 1.0, 1.0, 1.0, 2.0, 3.0]), "half of the observations are equal"),
        (lambda: expfam.StudentT.fit([2.0, 2.0]), "equal"),
        (lambda: expfam.Weibull.fit([2.0, 2.0, 2.0]), "equal"),
        (lambda: expfam.Weibull.fit([0.0, 1.0, 2.0]), "an observation is 0"),
    ],
)
def test_fits_that_do_not_exist(call, text):
    with pytest.raises(MLEDoesNotExist, match=text):
        call()


def test_what_fits_refuse():
    with pytest.raises(ValueError, match="df must be finite and above 0"):
        expfam.StudentT.fit([1.0, 2.0, 3.0], df=-1.0)
    with pytest.raises(TypeError, match="prior needs a known shape"):
        expfam.Weibull.fit([1.0, 2.0], prior=(1.0, [1.0]))
    with pytest.raises(ValueError, match="positive for Weibull"):
        expfam.Weibull.fit([-1.0, 2.0])


@pytest.mark.parametrize("shape", [0.05, 0.5, 3.0, 400.0])
def test_weibull_shapes_are_estimated(shape):
    x = 2.0 * RNG.weibull(shape, size=(300, 1))
    x = x[x > 0]
    result = expfam.Weibull.fit(x)
    q = result.distribution
    ref = st.weibull_min.fit(x, floc=0) if shape > 0.1 else (q.shape, 0.0, q.scale)
    assert q.shape == pytest.approx(ref[0], rel=1e-3) and q.scale == pytest.approx(ref[2], rel=1e-3)
    assert result.converged and result.log_likelihood == pytest.approx(
        st.weibull_min.logpdf(x, q.shape, scale=q.scale).sum()
    )
    r = np.log(x / q.scale)
    powers = np.exp(q.shape * r)
    assert powers.mean() == pytest.approx(1.0, rel=1e-10)
    assert (powers * r).mean() - r.mean() == pytest.approx(1.0 / q.shape, rel=1e-8)


def test_a_known_shape_is_kept():
    x = RNG.weibull(2.0, size=50)
    assert expfam.Weibull.fit(x, shape=1.7).distribution.shape == 1.7
    chunks = sum(expfam.Weibull.statistics(part, shape=1.7) for part in (x[:20], x[20:]))
    assert expfam.Weibull.fit(chunks).log_likelihood == pytest.approx(expfam.Weibull.fit(x, shape=1.7).log_likelihood)
    two = expfam.Weibull.fit(np.column_stack([x, x**2])).distribution
    np.testing.assert_allclose(two.shape[0], 2.0 * two.shape[1], rtol=1e-10)


@pytest.mark.parametrize(
    "p, q",
    [((4.5, 0.3, 1.2), (3.0, 0.1, 2.0)), ((1.0, 0.0, 1.0), (30.0, 2.0, 0.5)), ((50.0, 0.0, 1.0), (2.0, 0.0, 1.0))],
)
def test_divergences_of_student_t(p, q):
    def integrand(x):
        return st.t.pdf(x, *p) * (st.t.logpdf(x, *p) - st.t.logpdf(x, *q))

    want = sum(integrate.quad(integrand, a, b, epsabs=1e-12, limit=200)[0] for a, b in ((-np.inf, 0.0), (0.0, np.inf)))
    assert expfam.StudentT(*p).kl(expfam.StudentT(*q)) == pytest.approx(want, rel=1e-7)


def test_divergences_of_student_t_to_neighbours_are_half_the_information():
    p, d = expfam.StudentT(4.5, 0.3, 1.2), 1e-7
    q = expfam.StudentT(4.5, 0.3, 1.2 * (1.0 + d))
    assert p.kl(q) == pytest.approx(0.5 * d * d * 2.0 * 4.5 / 7.5, rel=1e-5)
    assert p.kl(p) == 0.0


def test_divergences_of_gumbel_and_logistic():
    g, h = expfam.Gumbel(0.3, 1.2), expfam.Gumbel(0.1, 2.0)
    want = np.log(2.0 / 1.2) + np.euler_gamma * (1.2 / 2.0 - 1.0) + 0.1 + np.exp(-0.1) * special.gamma(1.6) - 1.0
    assert g.kl(h) == pytest.approx(want, rel=1e-12)
    p, q = expfam.Logistic([0.3, 1.0], 1.2), expfam.Logistic([0.1, 1.0], 2.0)
    single = [expfam.Logistic(a, 1.2).kl(expfam.Logistic(b, 2.0)) for a, b in ((0.3, 0.1), (1.0, 1.0))]
    assert p.kl(q) == pytest.approx(sum(single), rel=1e-13)
    with pytest.raises(TypeError, match="other must be a Logistic"):
        p.kl(g)
    with pytest.raises(ValueError, match="dimension 2"):
        p.kl(expfam.Logistic(0.0, 1.0))
