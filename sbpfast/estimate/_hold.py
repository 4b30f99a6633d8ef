"""Price held against a first-order part: second derivatives that contradict the first are found out."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy import special

from sbpfast._means import RunningMean

FALSE_ALARM = 1e-6  # chance that a correct Hessian is thrown out
ROUNDING = 1e-5  # relative; what Hessians in single precision may be off

KINKS = (
    "the target's Hessian contradicts its gradient: E[Hess f] and E[cov^-1 (x - mean) grad f^T] differ by more than "
    "their errors allow, so Price is left out. Where f has kinks or jumps (relu, abs, max, sort), the Hessians beside "
    "them do not see them; elsewhere check hess with finite differences of grad"
)


class Hold:
    """Running means of the gap between two estimates of the same thing from the same draws."""

    def __init__(self):
        self._gaps: dict[str, RunningMean] = defaultdict(RunningMean)
        self._first: dict[str, RunningMean] = defaultdict(RunningMean)

    def add(self, key, price, first, sizes) -> None:
        """Add group means of both, (groups, ...)."""
        self._gaps[key].add(first - price, sizes)
        self._first[key].add(first, sizes)

    def broken(self) -> bool:
        """Whether some entry's gap is more than its error allows, in a t-test of all entries together."""
        entries = sum(np.size(gap.mean) for gap in self._gaps.values())
        for key, gap in self._gaps.items():
            if gap.groups < 2:
                return False
            quantile = -special.stdtrit(gap.groups - 1, FALSE_ALARM / (2 * entries))
            slack = ROUNDING * np.abs(self._first[key].mean).max(initial=0.0)
            if (np.abs(gap.mean) > quantile * gap.standard_error() + slack).any():
                return True
        return False
