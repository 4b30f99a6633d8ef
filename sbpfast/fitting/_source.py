"""What a fit asks of a source of moments of a log density f.

For x = mean + L z a fit sees the gradient L^T E[grad f] and the precision L^T E[-Hess f] L.  Both are invariant to
affine changes of x, well scaled whatever the scale and correlation of x, and equal to 0 and I at the optimum.  Where
they come from only the source knows: from integrals (`_moments.py`, `_unknown_noise.py`, `_softmax.py`) or from draws
(`_sampler.py`).  A source that integrates names the kind of target that it serves, as its row of the table in
`_fit.py`; a target says of itself what it costs and whether its derivatives need checking.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from sbpfast.targets import NonFiniteTarget, Target


class Moments(NamedTuple):
    """Of a log density under N(mean, L L^T); the errors are 0 where the moments are exact."""

    elbo: float  # E f + entropy, or f itself at a point
    gradient: np.ndarray  # L^T E[grad f]
    precision: np.ndarray  # L^T E[-Hess f] L
    gradient_error: np.ndarray | float = 0.0
    precision_error: np.ndarray | float = 0.0
    ratios: np.ndarray | None = None  # group means of f - log q, for paired comparisons and the error of the ELBO
    hessian: np.ndarray | None = None  # E[Hess f] itself, where a low-rank structure can have it
    rounding: float = 0.0  # what rounding may leave of the residual at the optimum, where that is known

    @property
    def elbo_error(self) -> float:
        if self.ratios is None:
            return 0.0
        return float(self.ratios.std(ddof=1) / math.sqrt(len(self.ratios)))

    def finite(self) -> bool:
        return bool(math.isfinite(self.elbo) and np.isfinite(self.gradient).all() and np.isfinite(self.precision).all())


class Source(Protocol):
    """Of the moments of a target under the Gaussians that a fit tries."""

    target: Target
    n_threads: int
    exact: bool
    """Whether the moments are free of noise, so that there are no draws to add."""
    counts: dict[str, int]
    """Evaluations of the target so far, by kind."""
    looked_at: int
    """Points far away at which f was looked at, by which no step is led."""

    @property
    def newton(self) -> bool:
        """Whether the second derivative of the ELBO in mean and covariance is to be had, and is not too much work."""

    def draws(self, n: int) -> Any:
        """What gives moments by n draws, the same whenever asked for; the source itself where it needs none."""

    def coarse(self) -> Source:
        """A cheap stand-in far from the optimum, or the source itself."""

    def start(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and factor of the optimum, but for rounding, where there is a formula."""


def try_at(moments, *where) -> Moments | None:
    """The moments, or None where they are not finite: a step that went too far."""
    try:
        result = moments(*where)
    except NonFiniteTarget:
        return None
    return result if result.finite() else None
