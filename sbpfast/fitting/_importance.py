"""An importance sample from a fitted Gaussian q: how far from the density it is, and what its moments should be."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sbpfast import _core
from sbpfast._means import BLOCK
from sbpfast.fitting import _psis

DRAWS, LEAST_DRAWS = 2048, 128
SECOND_LOOK = 32768  # draws before a k-hat above GOOD is believed
CLIMBING = 500  # evaluations in search of other modes that are never too many
MOST_WORK = 2 * 10**9  # evaluations of a link function for them
EQUAL = 0.99  # of n, the effective sample size of weights so equal that their tail is of no consequence
FAIR, UNTRUSTED = "fair", "not to be trusted"
GOOD, USABLE = 0.5, 0.7  # k-hat; above the second, weights cannot repair the moments (Vehtari et al. 2024)


class FitWarning(UserWarning):
    """A fit that did not converge, or whose Gaussian is a poor approximation."""


class ImportanceSample(NamedTuple):
    """What n draws from q, weighted by exp(f)/q, say."""

    n: int
    khat: float
    ess: float
    log_evidence: float
    log_evidence_stderr: float
    elbo: float  # from draws that the fit has not seen
    elbo_stderr: float
    mean: np.ndarray
    sd: np.ndarray
    weights: np.ndarray
    mean_stderr: np.ndarray | float = math.nan
    ratios: np.ndarray = np.zeros(0)  # log of exp(f)/q

    @property
    def all_but_equal(self) -> bool:
        """Weights whose tail, whatever its shape, is of no consequence for moments."""
        return self.ess > EQUAL * self.n

    @property
    def trusted(self) -> bool:
        """k-hat is low, or the weights are so equal that a tail of finite mean is of no consequence."""
        return self.verdict != UNTRUSTED

    @property
    def verdict(self) -> str:
        return verdict(self.khat, self.ess, self.n)

    @property
    def khat_text(self) -> str:
        """k-hat and what it says, with its standard error where that may decide."""
        if self.verdict != FAIR:
            return f"{self.khat:.2f} ({self.verdict})"
        return f"{self.khat:.2f} +- {_psis.shape_error(self.khat, self.n):.2f} ({self.verdict})"


def verdict(khat, ess, n) -> str:
    """What k-hat says of n weights of a given effective sample size, in words."""
    if khat <= GOOD:
        return "good"
    if khat <= USABLE:
        return FAIR
    return "of no weight" if khat < 1.0 and ess > EQUAL * n else UNTRUSTED


def importance_sample(q, target, n, key, ratios=()) -> ImportanceSample:
    """From draws 0..n-1 of q with this key, a block at a time; the log ratios of the first may be known already.

    The moments are q's own plus differences of weighted and plain means: equal weights leave them exactly alone.
    """
    threads = _core.effective_threads()

    def draws(start, stop):
        return q._draw(key, start, stop, False, threads)

    ratios = list(ratios)
    for start in range(len(ratios), n, BLOCK):
        block = draws(start, min(start + BLOCK, n))
        ratios.extend(target._value(block.x) - q._log_prob_of(block))
    ratios = np.array(ratios)
    smoothed = _psis.smooth(ratios)
    weights = np.exp(smoothed.log_weights)
    weights *= 1.0 / weights.sum()
    first, second, square, cross = np.zeros((4, q.dim))
    for start in range(0, n, BLOCK):  # drawn again rather than kept: (n, d) may be large
        stop = min(start + BLOCK, n)
        deviation, w = draws(start, stop).x - q.mean, weights[start:stop, None]
        difference = (w - 1.0 / n) * deviation
        first += difference.sum(axis=0)
        second += (difference * deviation).sum(axis=0)
        square += (difference * difference).sum(axis=0)
        cross += (w * difference).sum(axis=0)
    # the error of the mean is that of the sum of w (deviation - first) - deviation / n
    stderr = np.sqrt(np.maximum(square - 2.0 * first * cross + first**2 * float(weights @ weights), 0.0))
    return ImportanceSample(
        n, smoothed.khat, smoothed.ess, smoothed.log_mean, smoothed.log_mean_error,
        float(ratios.mean()), float(ratios.std(ddof=1) / math.sqrt(n)),
        q.mean + first, _weighted_sd(q, first, second), weights, stderr, ratios,
    )  # fmt: skip


def _weighted_sd(q, first, second):
    """From q's variances and differences of the first two moments; q's own where noise leaves less than nothing."""
    variances = q._variances()
    weighted = variances + second - first**2
    return np.sqrt(np.where(weighted > 0.0, weighted, variances))


def first_look(target, evaluations) -> int:
    """Draws that judge a fit which took so many evaluations: a quarter as many for densities that may be costly."""
    return DRAWS if target._link_work else min(DRAWS // 2, max(LEAST_DRAWS, evaluations // 4))


def second_look(target, evaluations) -> int:
    """Draws where the first leave k-hat near a threshold, at which few mistake the edge of a plateau for a tail."""
    if target._link_work:
        return min(SECOND_LOOK, MOST_WORK // target._link_work)
    return min(SECOND_LOOK, max(DRAWS // 2, evaluations // 8))


def most_climbing(evaluations) -> int:
    """Evaluations in search of other modes, after which no further climb begins."""
    return max(CLIMBING, evaluations // 16)


def unusable(d) -> ImportanceSample:
    """Where the density is not finite at a draw."""
    nan = np.full(d, math.nan)
    return ImportanceSample(0, math.inf, 0.0, math.nan, math.nan, math.nan, math.nan, nan, nan, np.zeros(0))


def slopes_along_rays(target, q, key) -> tuple[np.ndarray, np.ndarray]:
    """Of f along the lines through the mean and 8 draws, at the draws: by differences of f, and from its gradient."""
    x = q._draw(key, 0, 8, False, 1).x
    ray, step = x - q.mean, 0.02
    _, grad = target._value_and_grad(x)
    ahead, behind = target._value(x + step * ray), target._value(x - step * ray)
    return (ahead - behind) / (2.0 * step), (grad * ray).sum(axis=1)
