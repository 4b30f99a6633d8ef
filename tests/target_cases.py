"""One target of each kind, and the log densities that the regressions should be."""

import numpy as np
import scipy.sparse
import scipy.special
import scipy.stats
from link_cases import LINKS, PARAMETERS

import sbpfast as sb
from sbpfast._reference import ridge as reference

N, D = 23, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
OFFSET, WEIGHTS, PRIOR_MEAN = RNG.standard_normal(N), RNG.random(N) * 2, RNG.standard_normal(D)
BINARY, COUNTS, REAL = RNG.integers(0, 2, N), RNG.integers(0, 9, N), RNG.standard_normal(N) * 2
POSITIVE = np.exp(REAL)
TRIALS = COUNTS + RNG.integers(1, 5, N)
POINTS = RNG.standard_normal((9, D))

REGRESSIONS = {
    "logistic": (
        lambda **k: sb.targets.logistic_regression(X, BINARY, **k),
        lambda t: scipy.stats.bernoulli.logpmf(BINARY, scipy.special.expit(t)),
    ),
    "binomial": (
        lambda **k: sb.targets.logistic_regression(X, COUNTS, trials=TRIALS, **k),
        lambda t: scipy.stats.binom.logpmf(COUNTS, TRIALS, scipy.special.expit(t)),
    ),
    "probit": (
        lambda **k: sb.targets.probit_regression(X, BINARY, **k),
        lambda t: scipy.special.log_ndtr((2 * BINARY - 1) * t),
    ),
    "poisson": (
        lambda **k: sb.targets.poisson_regression(X, COUNTS, **k),
        lambda t: scipy.stats.poisson.logpmf(COUNTS, np.exp(t)),
    ),
    "negative_binomial": (
        lambda **k: sb.targets.negative_binomial_regression(X, COUNTS, dispersion=1.3, **k),
        lambda t: scipy.stats.nbinom.logpmf(COUNTS, 1.3, 1.3 / (1.3 + np.exp(t))),
    ),
    "cloglog": (
        lambda **k: sb.targets.cloglog_regression(X, BINARY, **k),
        lambda t: reference.link_derivatives(t, BINARY.astype(float), "cloglog")[0],
    ),
    "binomial cloglog": (
        lambda **k: sb.targets.cloglog_regression(X, COUNTS, trials=TRIALS, **k),
        lambda t: (
            COUNTS * reference.link_derivatives(t, 1.0, "cloglog")[0]
            - (TRIALS - COUNTS) * np.exp(t)
            + np.log(scipy.special.comb(TRIALS, COUNTS))
        ),
    ),
    "gamma": (
        lambda **k: sb.targets.gamma_regression(X, POSITIVE, shape=1.7, **k),
        lambda t: scipy.stats.gamma.logpdf(POSITIVE, 1.7, scale=np.exp(t) / 1.7),
    ),
    "linear": (
        lambda **k: sb.targets.linear_regression(X, REAL, noise_scale=0.6, **k),
        lambda t: scipy.stats.norm.logpdf(REAL, t, 0.6),
    ),
    "student_t": (
        lambda **k: sb.targets.student_t_regression(X, REAL, df=2.5, scale=0.6, **k),
        lambda t: scipy.stats.t.logpdf(REAL, 2.5, loc=t, scale=0.6),
    ),
}


def quadratic_part(d):
    r = np.random.default_rng(d)
    m = r.standard_normal((d, d))
    return sb.targets.quadratic(m + m.T, r.standard_normal(d), 0.3)


def every_target():
    """One target of each kind."""
    targets = {name: make(prior_scale=1.1, offset=OFFSET, weights=WEIGHTS) for name, (make, _) in REGRESSIONS.items()}
    for name, y in LINKS:
        options = PARAMETERS.get(name, {})
        targets[f"ridge {name}"] = sb.targets.ridge(
            X / 2, OFFSET, name, WEIGHTS - 1.0, np.full(N, y), quadratic_part(D), **options
        )
    targets["quadratic"] = quadratic_part(D)
    targets["quadratic diagonal"] = sb.targets.quadratic(np.array([1.0, -2.0, 0.0, 3.0]), PRIOR_MEAN, -1.0)
    targets["quadratic scalar"] = sb.targets.quadratic(2.5, PRIOR_MEAN)
    return targets


TARGETS = every_target()
