"""Natural-gradient fits of a Gaussian to a log density, with a stopping rule that knows its own noise.

Maximise ELBO(mean, cov) = E_q[f] + entropy(q).  In the coordinates of q = N(mean, L L^T) the natural gradient step of
rate rho (Khan & Rue) takes the precision I to (1 - rho) I + rho G and the mean by rho times its inverse times g, with
g = L^T E[grad f] and G = L^T E[-Hess f] L.  At the optimum g = 0 and G = I, so r = |g| + |I - G|_F is a residual that
no affine change of the parameters alters.  A step must not lower the ELBO; where the full step leaves the positive
definite cone, the update of Lin, Schmidt & Khan (2020), which cannot, takes its place.

A covariance *structure* knows its moments, its residual, and where a step takes it; diagonal and low-rank ones are in
`_low_rank.py`.
"""

from __future__ import annotations

import math

import numpy as np

from sbpfast.fitting._factors import is_positive_definite, solved, upper_factor
from sbpfast.fitting._improper import refuse_improper
from sbpfast.fitting._source import Moments, Source, try_at
from sbpfast.targets import NonFiniteTarget

SHORTEST = 2.0**-12  # the smallest rate tried
TOO_WIDE = 100.0  # times the variance a direction should have, where the whole of q is narrowed before the first step
ROUNDING = 1e-5  # a residual that rounding may not let fall further
SLOW = 0.2  # ratio of successive residuals above which exact fits turn to Newton's method
LOOK = 20  # steps after which a fit asks whether the density is improper, and again after as many more
LEAST_DRAWS = 128
NEAR = 0.05  # a residual below which halving it is as good as a higher ELBO
WORST_ERROR = 0.25  # Monte Carlo error of a residual above which nothing has converged


class NaturalFit:
    """The state of a fit and the loop over its steps; the state after k steps determines all later ones."""

    def __init__(self, source: Source, mean, shape, tol, max_draws):
        self.source = source
        self.mean, self.shape = mean, shape
        self.tol, self.max_draws = tol, max_draws // 2 * 2 or 2
        self.exact = source.exact
        self.n = 0 if self.exact else max(LEAST_DRAWS, 1 << (4 * len(mean) - 1).bit_length())
        self.n_iter = self.stalled = self.caution = 0
        self.newton = int(shape.always_newton)
        self.elbo_trace: list[float] = []
        self.residual_trace: list[float] = []
        self.converged = self.interrupted = False
        self.message = ""
        self.last: Moments
        self._whole: tuple | None = None  # the state after the last whole step

    # the state as arrays, for saving and resuming

    COUNTERS = ("n", "n_iter", "stalled", "newton", "caution")

    def state(self) -> dict:
        return {
            "mean": self.mean,
            "counters": np.array([getattr(self, name) for name in self.COUNTERS]),
            "elbo_trace": np.array(self.elbo_trace),
            "residual_trace": np.array(self.residual_trace),
        } | {f"shape_{name}": array for name, array in self.shape.arrays().items()}

    def restore(self, state) -> None:
        for name, value in zip(self.COUNTERS, state["counters"]):
            setattr(self, name, int(value))
        self.elbo_trace = list(state["elbo_trace"])
        self.residual_trace = list(state["residual_trace"])

    # one step

    @property
    def _draws(self):
        return self.source.draws(self.n)

    def _moments(self, mean, shape) -> Moments | None:
        return try_at(shape.moments, self._draws, mean)

    def first(self) -> Moments:
        """The moments at the start, shrinking q until they are finite, and as long as it is far too wide."""
        here = self._moments(self.mean, self.shape)
        for _ in range(60):
            if here is not None and self.shape.widest(here.precision) < TOO_WIDE:
                return here
            narrow = self.shape.scaled_by(0.5)
            ahead = self._moments(self.mean, narrow)
            if here is not None and (ahead is None or ahead.elbo < here.elbo):
                return here
            self.shape, here = narrow, ahead
        self._refuse_improper()
        raise NonFiniteTarget("the log density is not finite around the point where the fit starts; pass another q0")

    def step(self, here, noisy) -> Moments | None:
        """Take the longest acceptable step; its moments, or None where there is none.

        Inside the noise two lengths are tried: where draws mistake a full step for a loss, so they do all shorter ones.
        """
        directions = self.shape.newton_directions(self._draws, self.mean, here) if self.newton else (None,)
        for direction in directions:
            cautious = direction is not None or is_positive_definite(here.precision)
            rate = 2.0**-self.caution if cautious else 1.0
            shortest = 0.25 * rate if noisy else SHORTEST
            while rate > shortest:
                candidate = self._candidate(here, direction, rate)
                ahead = None if candidate is None else self._moments(*candidate)
                if ahead is not None and self._no_worse(ahead, here, candidate[1]):
                    self._take(*candidate)
                    return ahead
                rate *= 0.5
        return None

    def _candidate(self, here, direction, rate):
        """Mean and covariance a part of the way along a Newton step, or of a natural gradient where that is None."""
        return self._natural(here, rate) if direction is None else self.shape.along(self.mean, direction, rate)

    def _take(self, mean, shape):
        self.mean, self.shape = mean, shape
        self.n_iter += 1

    def _natural(self, here, rate):
        """Mean and covariance after a natural gradient step."""
        precision = _step_precision(here.precision, rate)
        try:
            step = solved(upper_factor(precision), here.gradient)
            mean = self.mean + rate * (self.shape.chol @ step)
            return (mean, self.shape.towards(precision)) if np.isfinite(mean).all() else None
        except np.linalg.LinAlgError:  # definite but for rounding
            return None

    def _adapt(self, before, after):
        """Turn to Newton's method where progress is slow, or to shorter steps where that is not to be had."""
        if self.exact and self.shape.always_newton:
            return
        if self.source.newton:
            self.newton = int(self.newton or after > SLOW * before)
        elif after > before:  # overshooting
            self.caution = min(self.caution + 1, 3)
        elif not 0.4 * before < after < 0.9 * before:  # better than expected, or crawling
            self.caution = max(self.caution - 1, 0)

    def _no_worse(self, ahead, here, shape) -> bool:
        slack = 1e-12 * (1.0 + abs(here.elbo))
        if self.exact:
            if ahead.elbo >= here.elbo - slack:
                return True
            # a sum of huge terms loses the last gains in the ELBO to rounding, when the residual still shows them
            before = self._residual(here)[0]
            return before < NEAR and shape.residual(ahead.gradient, ahead.precision) < 0.5 * before
        difference = ahead.ratios - here.ratios
        return difference.mean() >= -slack - 2.0 * difference.std(ddof=1) / math.sqrt(len(difference))

    # the loop

    def run(self, max_iter, watch):
        """Step until the residual is small, is inside its error, or max_iter is reached.

        Ctrl-C and the loss of the place where the rows lie end it, too: they leave the state after the last whole
        step; before the first moments there is none to leave.
        """
        try:
            self._run(max_iter, watch)
        except (KeyboardInterrupt, ConnectionError) as end:
            if self._whole is None:
                raise
            self.mean, self.shape, self.last, counters, length = self._whole
            for name, value in zip(self.COUNTERS, counters):
                setattr(self, name, value)
            del self.elbo_trace[length:], self.residual_trace[length:]
            self.interrupted = True
            why = f" ({end})" if str(end) else ""
            self.message = f"interrupted after {self.n_iter} steps, at a residual of {self.residual_trace[-1]:.2g}{why}"

    def _run(self, max_iter, watch):
        here = self.first()
        if not self.elbo_trace:
            self._record(here)
        while True:
            self.last = here
            counters = [getattr(self, name) for name in self.COUNTERS]
            self._whole = self.mean, self.shape, here, counters, len(self.elbo_trace)
            residual, error = self._residual(here)
            if self._settled(residual, error):
                if self._finished(residual, error):
                    return
                here = self._with_more_draws(error)
                continue
            if self.n_iter >= max_iter:
                self._refuse_improper()
                self.message = f"not converged: {max_iter} steps left a residual of {residual:.2g}"
                return
            noisy = not self.exact and residual < 3.0 * error
            ahead = self.step(here, noisy)
            if ahead is None and noisy and self._finished(residual, error):
                return  # these draws see no way up, and the residual is within its error
            if ahead is None and not self.exact and self.n < self.max_draws:
                here = self._with_more_draws(error)  # the noise of these draws hides the way up
                continue
            if ahead is None and self.exact and residual < ROUNDING:
                self._finished(residual, error)
                return
            if ahead is None:
                self._refuse_improper()
                self.message = f"not converged: no step raises the ELBO any more, at a residual of {residual:.2g}"
                return
            if self.n_iter % LOOK == 0:
                self._refuse_improper()
            here = ahead
            before = residual
            self._record(here)
            self.stalled = self.stalled + 1 if self.residual_trace[-1] > 0.7 * before else 0
            self._adapt(before, self.residual_trace[-1])
            if watch(self, here):
                self.message = f"stopped by the callback at a residual of {self.residual_trace[-1]:.2g}"
                self.last = here
                return

    def _with_more_draws(self, error) -> Moments:
        """The moments from new draws, as many more as the error calls for, but at most 16 times as many."""
        more = 1 << (math.ceil(min(16.0, (error / self.tol) ** 2)) - 1).bit_length()
        self.n, self.stalled = min(self.n * max(2, more), self.max_draws), 0
        return self.first()

    def _refuse_improper(self):
        self.source.looked_at += refuse_improper(self.source.target, self.mean, self.shape.directions())

    def _record(self, here):
        self.elbo_trace.append(here.elbo)
        self.residual_trace.append(self._residual(here)[0])

    def _residual(self, here):
        residual = self.shape.residual(here.gradient, here.precision)
        if self.exact:
            return residual, here.rounding
        return residual, self.shape.residual_error(here.gradient_error, here.precision_error)

    def _settled(self, residual, error) -> bool:
        """Nothing is left to gain: with the draws at hand, or by further exact steps."""
        if self.exact:
            return residual <= max(self.tol, error) or (residual < ROUNDING and self.stalled >= 3)
        patience = 1 if self.n < self.max_draws else 3
        return residual <= max(0.5 * error, 1e-10) or (residual < 3.0 * error and self.stalled >= patience)

    def _finished(self, residual, error) -> bool:
        """True, with a message, where no more draws are to be taken."""
        if self.exact:
            limit = "" if residual <= self.tol else ", which rounding does not let fall further"
            self.converged, self.message = True, f"converged: the residual is {residual:.2g}{limit}"
            return True
        if error > self.tol and self.n < self.max_draws:
            return False
        if error <= self.tol:
            self.converged, self.message = True, f"converged to within Monte Carlo error {error:.2g}"
            return True
        self._refuse_improper()
        limit = f"stopped at the limit of {self.n} draws a step"
        self.converged = residual <= self.tol + 2.0 * error and error <= WORST_ERROR
        if self.converged:
            self.message = f"{limit}: converged to within Monte Carlo error {error:.3g}, not to tol={self.tol:g}"
        else:
            self.message = (
                f"not converged: {limit}, with a residual of {residual:.2g}, its Monte Carlo error {error:.2g} and "
                f"tol={self.tol:g}"
            )
        return True


def _step_precision(precision, rate):
    """The precision after a step in the coordinates before it: the full step where that is positive definite.

    Otherwise I - r D + r^2/2 D^2 = 1/2 I + 1/2 (I - r D)^2 with D = I - G (Lin, Schmidt & Khan 2020), the rate r
    reduced so that r D <= I: it never shrinks a direction for having negative curvature.
    """
    eye = np.eye(len(precision))
    full = (1.0 - rate) * eye + rate * precision
    if is_positive_definite(full):
        return full
    d = eye - precision
    rate = rate / max(1.0, float(np.linalg.eigvalsh(d)[-1]))
    return eye - rate * d + 0.5 * rate**2 * (d @ d)
