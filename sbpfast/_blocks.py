"""One run of an estimator: blocks of draws, cut into the groups whose spread gives the standard errors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy

from sbpfast._means import BLOCK, RunningMean, group_mean, group_sizes

GROUPS = 64  # least number of groups behind a standard error, where there are as many draws
REPLICATES = 16  # independent scrambles of a Sobol sequence
COUNTING = 64  # where draws are counts: most replicates of 16 may agree, and the few that do not say too little
PROBE = 256  # independent draws that tell whether replicates that agree are exact, and a baseline


Sampling = Literal["mc", "antithetic", "sobol"]


# what draws beside those of a run are for
CONTROL, CHOICE, RESOLUTION, BASELINE = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63], dtype=np.uint64
)


def other_key(key, purpose) -> np.ndarray:
    """Of draws that are independent of those of the key."""
    return key ^ purpose


class Block:
    """A block of draws in groups of m, and the target's values and gradients there, evaluated when first needed."""

    def __init__(self, draws, m, target, n_threads):
        self.draws, self.m, self._target, self._n_threads = draws, m, target, n_threads

    @cached_property
    def f(self) -> np.ndarray:
        """Values (n,); NaN where the target has none."""
        if "_both" in self.__dict__ or not self._target._has("value") or self._target._value_brings_grad:
            return self._both[0]
        return self._target._value(self.draws.x, self._n_threads)

    @cached_property
    def _both(self):
        return self._target._value_and_grad(self.draws.x, self._n_threads)

    @property
    def grad(self) -> np.ndarray:
        """Gradients (n, d); the values come with them."""
        return self._both[1]

    def mean(self, a) -> np.ndarray:
        """Group means of something that has one entry a draw."""
        return group_mean(a, self.m)


class Run:
    """One call: the target, the distribution and the blocks of draws, which can be replayed.

    Draws come in groups of m: of `group` where it is given, else of at least `least`, and so many that there are
    GROUPS of them.
    """

    def __init__(self, target, distribution, n_samples, sampling, key, n_threads, least=1, wrt=None, group=None):
        self.target, self.q, self.sampling, self.n_threads = target, distribution, sampling, n_threads
        self.wrt, self.key, self._least = wrt, key, least
        # every group, and every part of one, is a multiple of this: where an estimator has a baseline (least > 1), two
        # independent draws, which are two pairs of antithetic ones
        pair = (2 if sampling == "antithetic" else 1) * (2 if least > 1 and sampling != "sobol" else 1)
        if sampling == "sobol":
            least_m = 4 if least > 1 else 1
            counts = "difference" in distribution._estimators and n_samples >= least_m * COUNTING
            self.replicates = COUNTING if counts else REPLICATES
            self.m = max(least_m, _power_of_two_above(-(-n_samples // self.replicates)))
            self.n = self.replicates * self.m
        else:
            self.n = -(-n_samples // pair) * pair if sampling == "antithetic" else n_samples - n_samples % pair
            for_errors = min(BLOCK, _power_of_two_below(self.n // GROUPS))
            self.m = group or max(pair, min(least, _power_of_two_below(self.n // 2)), for_errors)
        self.pair = pair

    @cached_property
    def baseline(self) -> float:
        """The mean of f over a few draws that are independent of all others."""
        draws = self.q._draw(other_key(self.key, BASELINE), 0, min(PROBE, self.n), False, self.n_threads)
        return float(self.target._value(draws.x, self.n_threads).mean())

    def blocks(self, cost) -> Iterator[tuple[Any, bool]]:
        """Blocks of draws, and whether a block holds whole groups or is one part of a group.

        `cost` is the number of doubles a draw occupies while a rule works on it.
        """
        size = max(self.pair, min(BLOCK, _power_of_two_below(2**22 // cost)))
        if self.sampling == "sobol":
            size = min(size, self.m)
            draws = self._sobol(size)
        else:
            antithetic = self.sampling == "antithetic"
            starts = range(0, self.n, size)
            draws = (self.q._draw(self.key, i, min(i + size, self.n), antithetic, self.n_threads) for i in starts)
        for block in draws:
            yield block, size >= self.m

    def _sobol(self, size):
        """Independent scrambles of a Sobol sequence (scipy's direction numbers), one replicate a group."""
        dims = sum(self.q._noise_dims())
        seed = [*map(int, self.key)]
        ends = _Ends(dims, self.m, self.replicates, np.random.default_rng([*seed, self.replicates]))
        for replicate in range(self.replicates):
            sequence = scipy.stats.qmc.Sobol(dims, scramble=True, rng=np.random.default_rng([*seed, replicate]))
            for _ in range(0, self.m, size):
                u = sequence.random(size) + 2.0**-31  # the points are multiples of 2^-30: to the middle of their cells
                yield self.q._draw_from(scipy.special.ndtri(ends.spread(u, replicate)), self.n_threads)

    def groups(self, rule, cost) -> Iterator[tuple[dict, np.ndarray]]:
        """What a rule makes of every block: group means by name, (groups, ...), and the sizes of the groups."""
        sums: dict = {}  # of the group that is being drawn in parts
        count = 0
        for draws, whole in self.blocks(cost):
            if whole:
                yield rule(Block(draws, self.m, self.target, self.n_threads)), group_sizes(draws.n, self.m)
                continue
            for name, mean in rule(Block(draws, draws.n, self.target, self.n_threads)).items():
                sums[name] = draws.n * mean + (sums[name] if count else 0.0)
            count += draws.n
            if count == self.m:
                yield {name: total / count for name, total in sums.items()}, np.array([count])
                sums, count = {}, 0
        if count:
            yield {name: total / count for name, total in sums.items()}, np.array([count])

    def collect(self, rule, cost) -> dict[str, RunningMean]:
        """Running means, by name, of what a rule makes of every block."""
        statistics: dict[str, RunningMean] = defaultdict(RunningMean)
        for means, sizes in self.groups(rule, cost):
            for name, mean in means.items():
                statistics[name].add(mean, sizes)
        return statistics

    def resolved(self, rule, cost, means, errors) -> dict[str, Any]:
        """The errors, none smaller than Sobol replicates can resolve.

        Replicates of m points that agree to rounding either integrate exactly, or count so coarsely that none of them
        happens to show the difference.  A few independent draws tell: if they vary, by sd, one point of m may have
        changed sides, which moves a mean by about 2 sd / m, with a chance that replicates which all agree leave below
        3 / replicates with 95 % (the rule of three): half of that bound counts as the error.
        """
        agree = {key: (mean != 0) & (errors[key] <= 1e-12 * np.abs(mean)) for key, mean in means.items()}
        if self.sampling != "sobol" or not any(map(np.any, agree.values())):
            return errors
        probe = Run(
            self.target, self.q, PROBE, "mc", other_key(self.key, RESOLUTION), self.n_threads, self._least, self.wrt
        )
        spread = probe.collect(rule, cost)
        scale = 3.0 / self.replicates * math.sqrt(probe.n) / self.m
        return {
            key: np.where(agree[key], np.maximum(errors[key], scale * spread[key].standard_error()), errors[key])[()]
            for key in means
        }


class _Ends:
    """Stratifies, over the replicates, the points next to 0 and to 1 in every coordinate.

    A replicate of m points has one point in [0, 1/m) and one in [1 - 1/m, 1).  Where f or a weight grows without bound
    these carry most of what is left of the variance, rarely: most of the time independent replicates would show none of
    it, and their spread would be too small.  Here each replicate puts its point into another of equal parts of the
    cell, at random, separately among those of even and of odd number: these are the folds of a mix, to be independent.
    Every replicate remains a scrambled net and unbiased; the ends are negatively dependent, so the error is smaller
    than the spread of the replicates says.
    """

    def __init__(self, dims, m, replicates, rng):
        self.m, self.parts = m, replicates // 2
        order = np.tile(np.arange(self.parts), (2, 2, dims, 1))  # of the folds, for both ends
        self.part = rng.permuted(order, axis=-1)

    def spread(self, u, replicate) -> np.ndarray:
        """The points u (n, dims) of a replicate, those at the ends moved within their cells."""
        if self.m < 8:  # the ends are all there is
            return u
        low, high = self.part[replicate % 2, :, :, replicate // 2]
        for part, mirrored in ((low, False), (high, True)):
            v = (1.0 - u if mirrored else u) * self.m
            v = np.where(v < 1.0, (part + v) / self.parts, v) / self.m
            u = 1.0 - v if mirrored else v
        return u


def _power_of_two_below(n):
    return 1 << (max(1, n).bit_length() - 1)


def _power_of_two_above(n):
    return 1 << (n - 1).bit_length()
