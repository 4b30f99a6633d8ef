"""The tests of random numbers, written once.

Every test has a fixed false-alarm rate: a correct estimator fails one fresh seed in a million (Bonferroni over the
entries of an array).  Seeds are fixed, so a test that passes keeps passing.
"""

import numpy as np
import scipy.stats

FALSE_ALARM = 1e-6
MC_FREEDOM = 63  # standard errors come from at least 64 groups of draws, where there are as many
SOBOL_FREEDOM = 15  # and from 16 scrambles


def assert_unbiased(estimate, exact, error, freedom=MC_FREEDOM, rounding=1e-11):
    """A t-test of every entry of an estimate by its own standard error; `rounding` is relative to the largest entry."""
    estimate, exact, error = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (estimate, exact, error)))
    assert np.isfinite(estimate).all() and np.isfinite(error).all() and (error >= 0).all()
    quantile = scipy.stats.t.isf(FALSE_ALARM / (2 * max(estimate.size, 1)), freedom)
    allowed = quantile * error + rounding * max(1.0, np.abs(exact).max(initial=0.0))
    gap = np.abs(estimate - exact)
    worst = np.unravel_index(np.argmax(gap / allowed), gap.shape)
    assert (gap <= allowed).all(), (
        f"off by {gap[worst]:.3g} at {worst}: {estimate[worst]:.6g} for {exact[worst]:.6g}, "
        f"that is {gap[worst] / max(error[worst], 1e-300):.1f} standard errors ({quantile:.1f} allowed)"
    )


def assert_unbiased_over_runs(estimates, exact, rounding=1e-11):
    """A t-test of the mean over independent runs (runs, ...), by the spread of the runs."""
    estimates = np.asarray(estimates)
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert_unbiased(estimates.mean(axis=0), exact, error, len(estimates) - 1, rounding)


def assert_law(x, cdf):
    """Independent numbers against a distribution function, or the name of one of SciPy's (Kolmogorov-Smirnov)."""
    p = scipy.stats.kstest(np.ravel(x), cdf).pvalue
    assert p > FALSE_ALARM, f"draws of this law, or more unlikely ones, have probability {p:.2g}"


def assert_counts(counts, expected=None):
    """Counts of independent draws against what they are expected to be, all alike by default (chi-square)."""
    p = scipy.stats.chisquare(counts, expected).pvalue
    assert p > FALSE_ALARM, f"such counts, or more unlikely ones, have probability {p:.2g}"


def assert_standard_normal(z):
    """Moments 1 to 4 and the distribution (Kolmogorov-Smirnov) of independent scores against N(0, 1)."""
    z = np.ravel(z)
    n = len(z)
    quantile = scipy.stats.norm.isf(FALSE_ALARM / 10)
    for power, mean, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        off = ((z**power).mean() - mean) / np.sqrt(variance / n)
        assert abs(off) <= quantile * (1.0 if power < 3 else 1.5), f"moment {power} is {off:.1f} standard errors off"
    assert_law(z, "norm")


def assert_calibrated(estimates, errors, exact, freedom=MC_FREEDOM, slack=0.0):
    """Do independent runs' z-scores follow Student's t, so that the errors they report are the true ones?

    Looks at the sum of squares (chi-square; `slack` widens its bounds for group means that are not normal) and at the
    whole distribution (Kolmogorov-Smirnov).  `estimates` and `errors` are (runs,), or (runs, entries), entry by entry.
    """
    z = (np.asarray(estimates) - exact) / np.asarray(errors)
    assert np.isfinite(z).all()
    z = z.reshape(len(z), -1)
    runs, entries = z.shape
    scores = scipy.stats.norm.isf(scipy.stats.t.sf(z, freedom))
    rate = FALSE_ALARM / (2 * entries)
    low, high = scipy.stats.chi2.ppf(rate, runs) / runs, scipy.stats.chi2.isf(rate, runs) / runs
    spread = (scores**2).mean(axis=0)
    assert (spread >= low * (1.0 - slack)).all() and (spread <= high * (1.0 + slack)).all(), (
        f"variance of the z-scores {spread.min():.3f} to {spread.max():.3f}, allowed {low:.3f} to {high:.3f}"
    )
    for column in scores.T:
        assert scipy.stats.kstest(column, "norm").pvalue > rate
