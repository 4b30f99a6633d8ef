"""Discrete families on 0, 1, 2, ..."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import special

from sbpfast.expfam._base import COUNT, POSITIVE, PROBABILITY, REAL, Formulas, Parameter
from sbpfast.expfam._discrete import Discrete
from sbpfast.expfam._exponential import ExponentialFamily
from sbpfast.expfam._functions import (
    beta_distribution,
    exp_gap,
    log_gamma_density,
    log_poisson_density,
    log_poisson_mode,
    log_ratio,
)
from sbpfast.expfam._points import Points
from sbpfast.expfam._statistics import Gap, Solution, count_divergence, require

_NOT_DEFINED = "not defined for a discrete family; the difference estimator takes its place"


class _Counts(ExponentialFamily, Discrete):
    """What the discrete exponential families with u(x) = x share."""

    @staticmethod
    def _u(t, p):
        return [t.x]

    @classmethod
    def _mean_value(cls, p):
        return cls._mean(p)[0]

    @classmethod
    def _moments(cls, p):
        return cls._mean(p)[0], cls._hessian(p)[0][0]

    @classmethod
    def _features(cls, x, c):
        bad = (x < 0) | (x != np.floor(x))
        if bad.any():
            raise ValueError(f"x must hold whole numbers 0, 1, 2, ... for {cls.__name__}, got {x[bad].flat[0]}")
        return Points(x)

    def entropy(self) -> float:
        """-E[log p(x)] in nats, summed over the components, by summation.

        Raises
        ------
        ValueError
            A component is so wide that the sum would have more than 1e7 terms.
        """
        total = 0.0
        for j in range(self.dim):
            one = self._component(j)
            total += float(-one._expectation(lambda t, one=one: one._log_prob(t, one._p))[0])
        return total


class Bernoulli(_Counts):
    """Bernoulli distribution by its logit."""

    parameters = (Parameter("logit", REAL, "log(p / (1 - p)), p the probability of 1."),)
    formulas = Formulas(
        support="x = 0 or 1", density="p^x (1 - p)^(1 - x)",
        eta="logit", u="x", h="1", A="log(1 + exp(eta))", product=_NOT_DEFINED,
    )  # fmt: skip
    example: ClassVar = {"logit": 0.4}

    @staticmethod
    def _support(p):
        return np.zeros_like(p.logit), np.ones_like(p.logit)

    @staticmethod
    def _eta(p):
        return [p.logit]

    @staticmethod
    def _source(eta, c):
        return {"logit": eta[0]}

    @staticmethod
    def _partition(p):
        return np.logaddexp(0.0, p.logit)

    @staticmethod
    def _mean(p):
        return [special.expit(p.logit)]

    @staticmethod
    def _hessian(p):
        return [[special.expit(p.logit) * special.expit(-p.logit)]]

    @staticmethod
    def _log_prob(t, p):
        return -np.logaddexp(0.0, np.where(t.x > 0.5, -p.logit, p.logit))

    @staticmethod
    def _score(t, p):
        return {"logit": np.where(t.x > 0.5, special.expit(-p.logit), -special.expit(p.logit))}

    @staticmethod
    def _transport(t, p):
        return {"logit": special.expit(p.logit) * (1.0 - t.x)}

    @classmethod
    def _ppf(cls, u, p):
        return (u > special.expit(-p.logit)).astype(np.float64)

    def _difference_terms(self, draws, target, names=None):
        """p (1 - p) (f(x with x_j = 1) - f(x with x_j = 0)): averaged over x_j, which B leaves random."""
        x = draws.x
        f = target._value(x)
        differences = np.empty(x.shape)
        for j in range(self.dim):
            moved = x.copy()
            moved[:, j] = 1.0 - moved[:, j]
            differences[:, j] = (1.0 - 2.0 * x[:, j]) * (target._value(moved) - f)
        spread = special.expit(self._p.logit) * special.expit(-self._p.logit)
        return {k: self._shaped(k, spread * differences) for k in self._chosen(names)}

    def entropy(self) -> float:
        """-E[log p(x)] in nats, summed over the components."""
        logit = self._p.logit
        one, zero = special.expit(logit), special.expit(-logit)
        return float(np.sum(one * np.logaddexp(0.0, -logit) + zero * np.logaddexp(0.0, logit)))

    @classmethod
    def _features(cls, x, c):
        if ((x != 0) & (x != 1)).any():
            raise ValueError(f"x must hold 0 and 1 only for {cls.__name__}, got {x[(x != 0) & (x != 1)].flat[0]}")
        return Points(x)

    @classmethod
    def _solve(cls, s, c):
        require((s[0] > 0) & (s[0] < 1), cls.__name__, "the mean must lie inside (0, 1): all observations are equal")
        return Solution({"logit": special.logit(s[0])})

    @classmethod
    def _cdf(cls, k, p):
        return np.where(k < 1.0, special.expit(-p.logit), 1.0)

    @staticmethod
    def _mode(p):
        return np.where(p.logit > 0, 1.0, 0.0)


class Binomial(_Counts):
    """Binomial distribution by its logit, with a known number of trials."""

    parameters = (Parameter("logit", REAL, "log(p / (1 - p)), p the probability of success."),)
    constants = (Parameter("n", COUNT, "Number of trials, known."),)
    formulas = Formulas(
        support="x = 0, 1, ..., n", density="C(n, x) p^x (1 - p)^(n - x)",
        eta="logit", u="x", h="C(n, x)", A="n log(1 + exp(eta))", product=_NOT_DEFINED,
    )  # fmt: skip
    example: ClassVar = {"logit": 0.4, "n": 9}
    _gap = Gap(lambda t, c: np.stack([t.x, c.n - t.x]), lambda y, c: count_divergence(y, c).sum(axis=0))

    @staticmethod
    def _support(p):
        return np.zeros_like(p.n), p.n

    @staticmethod
    def _eta(p):
        return [p.logit]

    @staticmethod
    def _source(eta, c):
        return {"logit": eta[0]}

    @staticmethod
    def _partition(p):
        return p.n * np.logaddexp(0.0, p.logit)

    @staticmethod
    def _mean(p):
        return [p.n * special.expit(p.logit)]

    @staticmethod
    def _hessian(p):
        return [[p.n * special.expit(p.logit) * special.expit(-p.logit)]]

    @staticmethod
    def _log_base(t, p):
        return -np.log1p(p.n) - special.betaln(p.n - t.x + 1.0, t.x + 1.0)

    @classmethod
    def _log_prob(cls, t, p):
        """Two Poisson counts, given their sum."""
        log_n = np.log(p.n)
        success, failure = (
            log_poisson_density(k, p.n * special.expit(logit), log_n + special.log_expit(logit))
            for k, logit in ((t.x, p.logit), (p.n - t.x, -p.logit))
        )
        return success + failure - log_poisson_density(p.n, p.n, log_n)

    @classmethod
    def _averaged_base(cls, t, c):
        return log_poisson_mode(t.x) + log_poisson_mode(c.n - t.x) - log_poisson_mode(c.n)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        means = p.n * special.expit(np.stack([p.logit, -p.logit]))
        return log_base - s[1] - cls._gap.divergence(s[0], means)

    @classmethod
    def _from_means(cls, m, c):
        return [np.stack([m[0], c["n"] - m[0]]), np.zeros_like(m[0])]

    @staticmethod
    def _score(t, p):
        return {"logit": t.x * special.expit(-p.logit) - (p.n - t.x) * special.expit(p.logit)}

    @classmethod
    def _kl(cls, p, q):
        return p.n * Bernoulli._kl(p, q)

    @staticmethod
    def _transport(t, p):
        return {"logit": special.expit(p.logit) * (p.n - t.x)}

    @classmethod
    def _cdf(cls, k, p):
        inside = np.minimum(k, p.n - 1.0)
        failure, success = special.expit(-p.logit), special.expit(p.logit)
        return np.where(k >= p.n, 1.0, beta_distribution(p.n - inside, inside + 1.0, failure, success))

    @classmethod
    def _features(cls, x, c):
        if (x > c["n"]).any():
            raise ValueError(f"x must not exceed n for {cls.__name__}, got {x.max()}")
        return super()._features(x, c)

    @classmethod
    def _solve(cls, s, c):
        share = s[0][0] / c["n"]
        require(
            (share > 0) & (share < 1),
            cls.__name__,
            "the mean must lie inside (0, n): all observations are 0, or all are n",
        )
        return Solution({"logit": special.logit(share)})

    @staticmethod
    def _mode(p):
        return np.clip(np.ceil((p.n + 1.0) * special.expit(p.logit)) - 1.0, 0.0, p.n)


class Poisson(_Counts):
    """Poisson distribution."""

    parameters = (Parameter("rate", POSITIVE, "Mean lam."),)
    formulas = Formulas(
        support="x = 0, 1, 2, ...", density="lam^x exp(-lam) / x!",
        eta="log lam", u="x", h="1 / x!", A="exp(eta)", product=_NOT_DEFINED,
    )  # fmt: skip
    example: ClassVar = {"rate": 3.3}
    _gap = Gap(lambda t, c: t.x, count_divergence, lambda m: [m[0], np.zeros_like(m[0])])

    @staticmethod
    def _support(p):
        return np.zeros_like(p.rate), np.full_like(p.rate, np.inf)

    @staticmethod
    def _eta(p):
        return [np.log(p.rate)]

    @staticmethod
    def _source(eta, c):
        return {"rate": np.exp(eta[0])}

    @staticmethod
    def _partition(p):
        return p.rate

    @staticmethod
    def _mean(p):
        return [p.rate]

    @staticmethod
    def _hessian(p):
        return [[p.rate]]

    @staticmethod
    def _log_base(t, p):
        return -special.gammaln(t.x + 1.0)

    @staticmethod
    def _log_prob(t, p):
        return log_poisson_density(t.x, p.rate, np.log(p.rate))

    @classmethod
    def _averaged_base(cls, t, c):
        return log_poisson_mode(t.x)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        return log_base - s[1] - count_divergence(s[0], p.rate)

    @staticmethod
    def _score(t, p):
        return {"rate": (t.x - p.rate) / p.rate}

    @staticmethod
    def _transport(t, p):
        return {"rate": np.ones_like(t.x)}

    @classmethod
    def _cdf(cls, k, p):
        return special.gammaincc(k + 1.0, p.rate)

    @classmethod
    def _kl(cls, p, q):
        return p.rate * exp_gap(log_ratio(q.rate, p.rate))

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean must be positive: all counts are 0")
        return Solution({"rate": s[0]})

    @staticmethod
    def _mode(p):
        return np.maximum(np.ceil(p.rate) - 1.0, 0.0)


class Geometric(_Counts):
    """Geometric distribution: failures before the first success."""

    parameters = (Parameter("prob", PROBABILITY, "Probability p of success."),)
    formulas = Formulas(
        support="x = 0, 1, 2, ...", density="p (1 - p)^x",
        eta="log(1 - p)", u="x", h="1", A="-log(1 - exp(eta))", product=_NOT_DEFINED,
    )  # fmt: skip
    example: ClassVar = {"prob": 0.3}

    @staticmethod
    def _support(p):
        return np.zeros_like(p.prob), np.full_like(p.prob, np.inf)

    @staticmethod
    def _eta(p):
        return [np.log1p(-p.prob)]

    @staticmethod
    def _source(eta, c):
        return {"prob": -np.expm1(eta[0])}

    @staticmethod
    def _partition(p):
        return -np.log(p.prob)

    @staticmethod
    def _mean(p):
        return [(1.0 - p.prob) / p.prob]

    @staticmethod
    def _hessian(p):
        return [[(1.0 - p.prob) / p.prob**2]]

    @staticmethod
    def _log_prob(t, p):
        return np.log(p.prob) + t.x * np.log1p(-p.prob)

    @staticmethod
    def _score(t, p):
        return {"prob": 1.0 / p.prob - t.x / (1.0 - p.prob)}

    @staticmethod
    def _transport(t, p):
        return {"prob": -(t.x + 1.0) / p.prob}

    def entropy(self) -> float:
        """-E[log p(x)] in nats, summed over the components."""
        p = self._p.prob
        return float(np.sum(-np.log(p) - (1.0 - p) / p * np.log1p(-p)))

    @classmethod
    def _cdf(cls, k, p):
        return -np.expm1((k + 1.0) * np.log1p(-p.prob))

    @classmethod
    def _ppf(cls, u, p):
        return np.maximum(np.ceil(np.log1p(-u) / np.log1p(-p.prob)) - 1.0, 0.0)

    @classmethod
    def _kl(cls, p, q):
        fail = np.log1p((p.prob - q.prob) / (1.0 - p.prob))  # log of the ratio of 1 - prob
        return exp_gap(log_ratio(q.prob, p.prob)) + (1.0 - p.prob) / p.prob * exp_gap(fail)

    @classmethod
    def _solve(cls, s, c):
        require(s[0] > 0, cls.__name__, "the mean must be positive: all counts are 0")
        return Solution({"prob": 1.0 / (1.0 + s[0])})

    @staticmethod
    def _mode(p):
        return np.zeros_like(p.prob)


class NegativeBinomial(_Counts):
    """Negative binomial distribution: failures before the r-th success, r known."""

    parameters = (
        Parameter("logit", REAL, "log(p / (1 - p)), p the probability of success (the failures are counted)."),
    )
    constants = (Parameter("r", POSITIVE, "Number of successes, any positive number, known."),)
    formulas = Formulas(
        support="x = 0, 1, 2, ...", density="Gamma(x + r) / (Gamma(r) x!) p^r (1 - p)^x",
        eta="log(1 - p)", u="x", h="Gamma(x + r) / (Gamma(r) x!)", A="-r log(1 - exp(eta))", product=_NOT_DEFINED,
    )  # fmt: skip
    example: ClassVar = {"logit": 0.4, "r": 2.7}
    _gap = Gap(
        lambda t, c: np.stack([t.x, t.x + c.r]),
        lambda y, c: count_divergence(y[0], c[0]) - count_divergence(y[1], c[1]),
    )

    @staticmethod
    def _support(p):
        return np.zeros_like(p.logit), np.full_like(p.logit, np.inf)

    @staticmethod
    def _eta(p):
        return [-np.logaddexp(0.0, p.logit)]

    @staticmethod
    def _source(eta, c):
        return {"logit": np.log(-np.expm1(eta[0])) - eta[0]}

    @staticmethod
    def _partition(p):
        return p.r * np.logaddexp(0.0, -p.logit)

    @staticmethod
    def _mean(p):
        return [p.r * np.exp(-p.logit)]

    @staticmethod
    def _hessian(p):
        return [[p.r * np.exp(-p.logit) / special.expit(p.logit)]]

    @staticmethod
    def _log_base(t, p):
        return -special.betaln(t.x + 1.0, p.r) - np.log(t.x + p.r)

    @classmethod
    def _log_prob(cls, t, p):
        """A gamma variable of shape r and a Poisson count, given their sum."""
        n = t.x + p.r
        log_n = np.log(n)
        waiting = log_gamma_density(p.r, n * special.expit(p.logit), log_n + special.log_expit(p.logit))
        failures = log_poisson_density(t.x, n * special.expit(-p.logit), log_n + special.log_expit(-p.logit))
        return waiting + failures - log_gamma_density(n, n, log_n)

    @classmethod
    def _averaged_base(cls, t, c):
        n = t.x + c.r
        waiting = log_gamma_density(c.r, c.r, np.log(c.r)) - log_gamma_density(n, n, np.log(n))
        return waiting + log_poisson_mode(t.x)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        mean = p.r * np.exp(-p.logit)
        return log_base - s[1] - cls._gap.divergence(s[0], np.stack([mean, mean + p.r]))

    @classmethod
    def _from_means(cls, m, c):
        return [np.stack([m[0], m[0] + c["r"]]), np.zeros_like(m[0])]

    @classmethod
    def _kl(cls, p, q):
        return p.r / special.expit(p.logit) * Bernoulli._kl(p, q)

    @staticmethod
    def _score(t, p):
        return {"logit": p.r * special.expit(-p.logit) - t.x * special.expit(p.logit)}

    @staticmethod
    def _transport(t, p):
        return {"logit": -special.expit(-p.logit) * (t.x + p.r)}

    @classmethod
    def _cdf(cls, k, p):
        return beta_distribution(p.r, k + 1.0, special.expit(p.logit), special.expit(-p.logit))

    @classmethod
    def _solve(cls, s, c):
        mean, _ = s[0]
        require(mean > 0, cls.__name__, "the mean must be positive: all counts are 0")
        return Solution({"logit": np.log(c["r"] / mean)})

    @staticmethod
    def _mode(p):
        return np.maximum(np.ceil((p.r - 1.0) * np.exp(-p.logit)) - 1.0, 0.0)
