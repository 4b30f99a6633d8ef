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

from sbpfast._improper import ImproperDensity, dependent_columns, refuse_improper
from sbpfast._low_rank import LowRankCovariance
from sbpfast._newton import affordable, newton_direction
from sbpfast._whitened import Moments, Sampler, refactored, solved, try_at, upper_factor
from sbpfast.gaussian import CholeskyGaussian, Gaussian
from sbpfast.targets import NonFiniteTarget

ROUGH = 0.1  # residual of the diagonal fit that a low-rank one starts from
START_STEPS = 40  # Newton steps towards a mode
NEAR_MODE = 0.1  # squared standard deviations left, where the fit takes over from the search for a mode
SHORTEST = 2.0**-12  # the smallest rate tried
TOO_WIDE = 100.0  # times the variance a direction should have, where the whole of q is narrowed before the first step
ROUNDING = 1e-5  # a residual that rounding may not let fall further
SLOW = 0.2  # ratio of successive residuals above which exact fits turn to Newton's method
LOOK = 20  # steps after which a fit asks whether the density is improper, and again after as many more
MOST_WORK = 10**9  # multiplications to find out whether flat priors leave the density proper
LEAST_DRAWS = 128
NEAR = 0.05  # a residual below which halving it is as good as a higher ELBO
WORST_ERROR = 0.25  # Monte Carlo error of a residual above which nothing has converged


# -- covariance structures --------------------------------------------------------------------------------------------


class FullCovariance:
    """cov = L L^T."""

    def __init__(self, chol):
        self.chol = chol

    def moments(self, source, mean) -> Moments:
        return source.at(mean, self.chol)

    def residual(self, gradient, precision) -> float:
        return float(np.linalg.norm(gradient) + np.linalg.norm(np.eye(len(gradient)) - precision))

    def residual_error(self, gradient_error, precision_error) -> float:
        return float(np.linalg.norm(gradient_error) + np.linalg.norm(precision_error))

    def widest(self, precision) -> float:
        """The largest precision, 1 at the optimum."""
        return float(np.diagonal(precision).max())

    def towards(self, precision):
        return FullCovariance(refactored(self.chol, upper_factor(precision)))

    def newton_directions(self, source, mean, here):
        """The Newton step; None, which stands for a natural gradient, where there is none."""
        yield newton_direction(source.target, mean, self.chol, here.gradient, here.precision, source.n_threads)

    def along(self, mean, direction, rate):
        """Mean and covariance a part of the way along a Newton step; None where that would not be a factor."""
        delta, a = direction
        root = np.eye(len(delta)) + rate * a
        if not (np.diagonal(root) > 0.0).all():
            return None
        return mean + rate * (self.chol @ delta), FullCovariance(self.chol @ root)

    def scaled_by(self, factor):
        return FullCovariance(factor * self.chol)

    def directions(self):
        """The principal axes, (d, d)."""
        return np.linalg.svd(self.chol)[0].T * np.linalg.svd(self.chol)[1][:, None]

    def arrays(self):
        return {"chol": self.chol}

    def gaussian(self, mean):
        try:
            return Gaussian(mean, self.chol @ self.chol.T)
        except ValueError:  # so nearly singular that rounding its matrix loses definiteness: the factor does not
            return CholeskyGaussian(mean, self.chol)


# -- where to begin ---------------------------------------------------------------------------------------------------


def find_start(moments, mean):
    """A mean near a mode and the factor of the Laplace approximation there, by Newton's method with backtracking.

    Directions of negative or no curvature get the absolute value of the curvature, at least a quarter in the
    coordinates at hand.
    """
    chol = np.diag(first_scales(moments, mean))
    here = try_at(moments.at_point, mean, chol)
    if here is None:
        raise NonFiniteTarget(
            "f or a derivative is not finite at the zero vector, where the fit starts; pass q0 to start elsewhere"
        )
    if moments.exact:
        _check_collinear(here.precision)
    for _ in range(START_STEPS):
        upper, newton = _definite_factor(here.precision)
        step = solved(upper, here.gradient)
        gain = float(here.gradient @ step)
        there = refactored(chol, upper)
        if newton and gain <= NEAR_MODE:
            break
        rate = 1.0
        while rate > SHORTEST**4:
            new_mean = mean + rate * (chol @ step)
            ahead = try_at(moments.at_point, new_mean, there)
            if ahead is not None and ahead.elbo >= here.elbo + 1e-4 * rate * gain:
                break
            rate *= 0.5
        else:
            break
        mean, chol, here = new_mean, there, ahead
    return mean, FullCovariance(there)


def first_scales(moments, mean):
    """Standard deviations from the second derivatives along the coordinates."""
    try:
        curvature = moments.diagonal_curvature(mean)
    except NonFiniteTarget as error:
        raise NonFiniteTarget(f"{error}; the fit starts at the zero vector, pass q0 to start elsewhere") from None
    if (curvature == 0.0).any() and moments.exact:
        raise ImproperDensity(
            f"the log density does not depend on parameter {int(np.argmax(curvature == 0.0))}, so it cannot be "
            "normalised"
        )
    usable = np.isfinite(curvature) & (curvature != 0.0)
    return 1.0 / np.sqrt(np.where(usable, np.abs(curvature), 1.0))


def check_rank(source, mean, std):
    """Refuse flat priors on more parameters than the rows determine, unless finding out would be much work."""
    target = source.target
    flat = int((target._quad.precision == 0.0).sum()) if target._quad.precision.ndim == 1 else 0
    if flat > target._rows:
        raise ImproperDensity(
            f"{flat} parameters have a flat prior but there are only {target._rows} rows of data, so the log density "
            "cannot be normalised; give a finite prior_scale"
        )
    if flat and target._rows * target.dim**2 <= MOST_WORK:
        here = try_at(source.at_point, mean, np.diag(std))
        if here is not None:
            _check_collinear(here.precision)


def find_low_rank_start(source, mean, std, rank):
    """Mean and covariance near the best diagonal one, with the `rank` columns that help it most."""
    shape = LowRankCovariance(std, np.zeros((len(mean), 0)))
    if rank == 0:
        return mean, shape
    rough = NaturalFit(source, mean, shape, ROUGH, 1)
    rough.run(START_STEPS, lambda *_: False)
    return rough.mean, rough.shape.with_columns(rough._draws, rough.mean, rank)


def _check_collinear(precision):
    """Refuse a singular matrix with unit diagonal: a flat prior and columns that are linearly dependent."""
    if _positive_definite(precision - 1e-12 * np.eye(len(precision))):
        return
    values, vectors = np.linalg.eigh(precision)
    if abs(values[0]) <= 4e-16 * len(values):
        raise dependent_columns(vectors[:, 0])


def _positive_definite(matrix) -> bool:
    try:
        upper_factor(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def _definite_factor(precision):
    """The upper factor of a matrix, and True, where it is positive definite.

    Else of the matrix with the absolute values of its eigenvalues, at least 1/4, and False.
    """
    try:
        return upper_factor(precision), True
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(precision)
        return upper_factor(
            (vectors * np.maximum(np.abs(values), max(0.25, 1e-12 * np.abs(values).max()))) @ vectors.T
        ), False


# -- the loop ---------------------------------------------------------------------------------------------------------


class NaturalFit:
    """The state of a fit and the loop over its steps; the state after k steps determines all later ones."""

    def __init__(self, source, mean, shape, tol, max_draws):
        self.source = source
        self.mean, self.shape = mean, shape
        self.tol, self.max_draws = tol, max_draws
        self.exact = not isinstance(source, Sampler)
        self.n = 0 if self.exact else max(LEAST_DRAWS, 1 << (4 * len(mean) - 1).bit_length())
        self.n_iter = self.stalled = self.caution = 0
        self.newton = int(isinstance(shape, LowRankCovariance))
        self.elbo_trace: list[float] = []
        self.residual_trace: list[float] = []
        self.converged = False
        self.message = ""
        self.last: Moments

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
        return self.source if self.exact else self.source.draws(self.n)

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
            cautious = direction is not None or _positive_definite(here.precision)
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
        if self.exact and isinstance(self.shape, LowRankCovariance):
            return
        if self.exact and affordable(self.source.target):
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
        """Step until the residual is small, is inside its error, or max_iter is reached."""
        here = self.first()
        if not self.elbo_trace:
            self._record(here)
        while True:
            self.last = here
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
        refuse_improper(self.source.target, self.mean, self.shape.directions())

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
    if _positive_definite(full):
        return full
    d = eye - precision
    rate = rate / max(1.0, float(np.linalg.eigvalsh(d)[-1]))
    return eye - rate * d + 0.5 * rate**2 * (d @ d)
