"""An importance sample from a fitted Gaussian q: how far from the density it is, and what its moments should be."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sbpfast import _core
from sbpfast._means import BLOCK
from sbpfast.fitting import _psis
from sbpfast.targets._ridge import Ridge

DRAWS = 2048
SECOND_LOOK = 32768  # draws before a k-hat above GOOD is believed
MOST_WORK = 2 * 10**9  # evaluations of a link function for them
COLUMNS = 500  # of a design matrix, whose product takes as long as a link function
GOOD, USABLE = 0.5, 0.7  # k-hat; above the second, weights cannot repair the moments (Vehtari et al. 2024)


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

    @property
    def trusted(self) -> bool:
        """k-hat is low, or the weights are so equal that a tail of finite mean is of no consequence."""
        return self.khat <= USABLE or (self.khat < 1.0 and self.ess > 0.99 * self.n)

    @property
    def verdict(self) -> str:
        if self.khat <= GOOD:
            return "good"
        if self.khat <= USABLE:
            return "fair"
        return "of no weight" if self.trusted else "not to be trusted"


def importance_sample(q, target, n, key) -> ImportanceSample:
    """From draws 0..n-1 of q with this key, a block at a time."""
    threads = _core.effective_threads()
    blocks = [(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]

    def draws(start, stop):
        return q._draw(key, start, stop, False, threads)

    ratios = np.concatenate([target._value(d.x) - q._log_prob_of(d) for d in (draws(*block) for block in blocks)])
    smoothed = _psis.smooth(ratios)
    weights = np.exp(smoothed.log_weights)
    first, second = np.zeros(q.dim), np.zeros(q.dim)
    for start, stop in blocks:  # drawn again rather than kept: (n, d) may be large
        deviation = draws(start, stop).x - q.mean
        weighted = weights[start:stop, None] * deviation
        first += weighted.sum(axis=0)
        second += (weighted * deviation).sum(axis=0)
    return ImportanceSample(
        n, smoothed.khat, smoothed.ess, smoothed.log_mean, smoothed.log_mean_error,
        float(ratios.mean()), float(ratios.std(ddof=1) / math.sqrt(n)),
        q.mean + first, np.sqrt(second - first**2), weights,
    )  # fmt: skip


def work(target: Ridge) -> int:
    """What a value costs, in evaluations of a link function."""
    return max(target.n_rows, 1) * max(1, target.dim // COLUMNS)


def second_look(target, evaluations) -> int:
    """Draws for a closer look, in proportion to what the fit cost."""
    if isinstance(target, Ridge):
        return min(SECOND_LOOK, MOST_WORK // work(target))
    return min(SECOND_LOOK, max(4 * DRAWS, 2 * evaluations))


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
