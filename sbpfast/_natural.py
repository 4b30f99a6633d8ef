"""Natural-gradient fits of a Gaussian to a log density, with a stopping rule that knows its own noise.

Maximise ELBO(mean, cov) = E_q[f] + entropy(q).  In the coordinates of q = N(mean, L L^T) the natural gradient step of
rate rho (Khan & Rue) takes the precision I to (1 - rho) I + rho G and the mean by rho times its inverse times g, with
g = L^T E[grad f] and G = L^T E[-Hess f] L.  At the optimum g = 0 and G = I, so r = |g| + |I - G|_F is a residual that
no affine change of the parameters alters.  A step must not lower the ELBO; where the full step leaves the positive
definite cone, the update of Lin, Schmidt & Khan (2020), which cannot, takes its place.

A covariance *structure* knows its factor L, its residual, and where a wanted precision takes it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from sbpfast._newton import affordable, newton_direction
from sbpfast._whitened import Moments, Sampler, entropy, refactored, solved, try_at, upper_factor
from sbpfast.gaussian import CholeskyGaussian, DiagonalGaussian, Gaussian, LowRankGaussian
from sbpfast.targets import NonFiniteTarget

START_STEPS = 40  # Newton steps towards a mode
NEAR_MODE = 0.1  # squared standard deviations left, where the fit takes over from the search for a mode
SHORTEST = 2.0**-12  # the smallest rate tried
TOO_WIDE = 100.0  # times the variance a direction should have, where the whole of q is narrowed before the first step
SLOW = 0.2  # ratio of successive residuals above which exact fits turn to Newton's method
GROWTH_STEPS, GROWTH = 15, 4.0  # nats gained in two such runs of steps, one after the other, mark an improper density
LATE_GROWTH = 0.3  # the same for a fit that is still widening when its steps run out
LEAST_DRAWS = 128
IMPROPER = (
    "the fit {}: the density seems improper, so no Gaussian is best; a proper prior on every parameter helps "
    "(for regressions, a finite prior_scale)"
)


class ImproperDensity(ValueError):
    """The density cannot be normalised, or has no best Gaussian: the ELBO grows without bound."""


# -- covariance structures --------------------------------------------------------------------------------------------


class FullCovariance:
    """cov = L L^T."""

    def __init__(self, chol):
        self.chol = chol

    @classmethod
    def start(cls, chol, rank):
        return cls(chol)

    def residual(self, gradient, precision) -> float:
        return float(np.linalg.norm(gradient) + np.linalg.norm(np.eye(len(gradient)) - precision))

    def residual_error(self, gradient_error, precision_error) -> float:
        return float(np.linalg.norm(gradient_error) + np.linalg.norm(precision_error))

    def towards(self, precision):
        return FullCovariance(refactored(self.chol, upper_factor(precision)))

    def times(self, root):
        """The covariance with factor L root, root lower triangular."""
        return FullCovariance(self.chol @ root)

    def scaled(self, factor):
        return FullCovariance(factor * self.chol)

    def arrays(self):
        return {"chol": self.chol}

    def gaussian(self, mean):
        try:
            return Gaussian(mean, self.chol @ self.chol.T)
        except ValueError:  # so nearly singular that rounding its matrix loses definiteness: the factor does not
            return CholeskyGaussian(mean, self.chol)


class DiagonalCovariance:
    """cov = diag(std^2)."""

    def __init__(self, std):
        self.std = std
        self.chol = np.diag(std)

    @classmethod
    def start(cls, chol, rank):
        inverse = scipy.linalg.solve_triangular(chol, np.eye(len(chol)), lower=True, check_finite=False)
        return cls(1.0 / np.linalg.norm(inverse, axis=0))

    def residual(self, gradient, precision) -> float:
        return float(np.linalg.norm(gradient) + np.linalg.norm(1.0 - np.diagonal(precision)))

    def residual_error(self, gradient_error, precision_error) -> float:
        return float(np.linalg.norm(gradient_error) + np.linalg.norm(np.diagonal(precision_error)))

    def towards(self, precision):
        return DiagonalCovariance(self.std / np.sqrt(np.diagonal(precision)))

    def times(self, root):
        """The covariance with factor L root, root diagonal."""
        return DiagonalCovariance(self.std * np.diagonal(root))

    def scaled(self, factor):
        return DiagonalCovariance(factor * self.std)

    def arrays(self):
        return {"std": self.std}

    def gaussian(self, mean):
        return DiagonalGaussian(mean, self.std)


class LowRankCovariance:
    """cov = diag(diag) + U U^T."""

    def __init__(self, diag, factor):
        self.diag, self.factor = diag, factor
        scale = np.sqrt(diag)
        u = factor / scale[:, None]
        self.chol = scale[:, None] * np.linalg.cholesky(np.eye(len(diag)) + u @ u.T)

    @classmethod
    def start(cls, chol, rank):
        inverse = scipy.linalg.solve_triangular(chol, np.eye(len(chol)), lower=True, check_finite=False)
        diag = 1.0 / (inverse**2).sum(axis=0)
        return cls(*nearest_low_rank(inverse.T @ inverse, diag, rank))

    def residual(self, gradient, precision) -> float:
        """The distance to where a full step would lead, since only part of I - G is a direction of this structure."""
        try:
            ahead = self.towards(precision)
        except np.linalg.LinAlgError:
            return math.inf
        inverse = scipy.linalg.solve_triangular(ahead.chol, self.chol, lower=True, check_finite=False)
        return float(np.linalg.norm(gradient) + np.linalg.norm(np.eye(len(gradient)) - inverse.T @ inverse))

    def residual_error(self, gradient_error, precision_error) -> float:
        d, k = self.factor.shape
        share = math.sqrt(min(1.0, (2 * k + 1) / d))  # of the noise in d (d + 1)/2 directions that falls in d (k + 1)
        return float(np.linalg.norm(gradient_error) + share * np.linalg.norm(precision_error))

    def towards(self, precision):
        np.linalg.cholesky(precision)
        inverse = scipy.linalg.solve_triangular(self.chol, np.eye(len(precision)), lower=True, check_finite=False)
        return LowRankCovariance(*nearest_low_rank(inverse.T @ precision @ inverse, self.diag, self.factor.shape[1]))

    def scaled(self, factor):
        return LowRankCovariance(factor**2 * self.diag, factor * self.factor)

    def arrays(self):
        return {"diag": self.diag, "factor": self.factor}

    def gaussian(self, mean):
        return LowRankGaussian(mean, self.diag, self.factor)


STRUCTURES: dict[str, Any] = {"full": FullCovariance, "diagonal": DiagonalCovariance, "low_rank": LowRankCovariance}


LEAST_LOG_DIAG = (
    -20.0
)  # of diag P_ii: the best diagonal may have elements of 0 (Heywood cases), which no density allows


def nearest_low_rank(precision, diag, rank):
    """diag and factor (d, rank) of the S = diag(D) + U U^T with the least tr(P S) - log det S.

    Given D, the best U is known: with D^1/2 P D^1/2 = V diag(lam) V^T it is D^1/2 V_k (1/lam_k - 1)_+^1/2 for the
    smallest lam.  The remaining function of log D is minimised by L-BFGS from the given diagonal.
    """
    base = 1.0 / np.diagonal(precision)
    scaled = precision * np.sqrt(np.multiply.outer(base, base))

    def smallest(log_d):
        root = np.exp(0.5 * log_d)
        lam, v = scipy.linalg.eigh(
            scaled * np.multiply.outer(root, root), subset_by_index=(0, rank - 1), check_finite=False
        )
        return root, np.minimum(np.maximum(lam, 1e-300), 1.0), v

    def objective(log_d):
        root, lam, v = smallest(log_d)
        traces = root * root * np.diagonal(scaled)
        value = traces.sum() - log_d.sum() + (1.0 - lam + np.log(lam)).sum()
        return value, traces - 1.0 + v**2 @ (1.0 - lam)

    start = np.log(diag / base)
    found = scipy.optimize.minimize(
        objective,
        np.maximum(start, LEAST_LOG_DIAG),
        jac=True,
        method="L-BFGS-B",
        bounds=[(LEAST_LOG_DIAG, None)] * len(start),
        options={"maxiter": 500, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30},
    ).x
    root, lam, v = smallest(found)
    root = root * np.sqrt(base)
    return root**2, root[:, None] * v * np.sqrt(1.0 / lam - 1.0)


# -- where to begin ---------------------------------------------------------------------------------------------------


def find_start(moments, mean):
    """A mean near a mode and the factor of the Laplace approximation there, by Newton's method with backtracking.

    Directions of negative or no curvature get the absolute value of the curvature, at least a quarter in the
    coordinates at hand.
    """
    try:
        curvature = moments.diagonal_curvature(mean)
    except NonFiniteTarget as error:
        raise NonFiniteTarget(f"{error}; the fit starts at the zero vector, pass q0 to start elsewhere") from None
    usable = np.isfinite(curvature) & (curvature != 0.0)
    chol = np.diag(1.0 / np.sqrt(np.where(usable, np.abs(curvature), 1.0)))
    here = try_at(moments.at_point, mean, chol)
    if here is None:
        raise NonFiniteTarget(
            "f or a derivative is not finite at the zero vector, where the fit starts; pass q0 to start elsewhere"
        )
    if (curvature == 0.0).any() and moments.exact:
        raise ImproperDensity(
            f"the log density does not depend on parameter {int(np.argmax(curvature == 0.0))}, so it cannot be "
            "normalised"
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
    return mean, there


def _check_collinear(precision):
    """Refuse a singular matrix with unit diagonal: a flat prior and columns that are linearly dependent."""
    if _positive_definite(precision - 1e-12 * np.eye(len(precision))):
        return
    values, vectors = np.linalg.eigh(precision)
    if abs(values[0]) <= 4e-16 * len(values):
        largest = np.argsort(-np.abs(vectors[:, 0]))[:3]
        raise ImproperDensity(
            "the log density does not change along a line in which parameters "
            f"{', '.join(str(i) for i in sorted(largest.tolist()))} take part, so it cannot be normalised; "
            "drop a column that is "
            "a combination of others, or give a finite prior_scale"
        )


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
        self.n_iter = self.stalled = self.newton = self.caution = 0
        self.entropy_trace: list[float] = []
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
            "entropy_trace": np.array(self.entropy_trace),
            "elbo_trace": np.array(self.elbo_trace),
            "residual_trace": np.array(self.residual_trace),
        } | {f"shape_{name}": array for name, array in self.shape.arrays().items()}

    def restore(self, state) -> None:
        for name, value in zip(self.COUNTERS, state["counters"]):
            setattr(self, name, int(value))
        self.entropy_trace = list(state["entropy_trace"])
        self.elbo_trace = list(state["elbo_trace"])
        self.residual_trace = list(state["residual_trace"])

    # one step

    @property
    def moments(self):
        return self.source if self.exact else self.source.draws(self.n)

    def first(self) -> Moments:
        """The moments at the start, shrinking q until they are finite, and as long as it is far too wide."""
        here = try_at(self.moments.at, self.mean, self.shape.chol)
        for _ in range(60):
            if here is not None and np.diagonal(here.precision).max() < TOO_WIDE:
                return here
            narrow = self.shape.scaled(0.5)
            ahead = try_at(self.moments.at, self.mean, narrow.chol)
            if here is not None and (ahead is None or ahead.elbo < here.elbo):
                return here
            self.shape, here = narrow, ahead
        raise NonFiniteTarget("the log density is not finite around the point where the fit starts; pass another q0")

    def step(self, here) -> Moments | None:
        """Take the longest acceptable step; its moments, or None where there is none."""
        direction = self._newton_direction(here) if self.newton else None
        cautious = direction is None and _positive_definite(here.precision)
        rate = 2.0**-self.caution if cautious else 1.0
        while rate > SHORTEST:
            candidate = self._natural(here, rate) if direction is None else self._along(direction, rate)
            ahead = None if candidate is None else try_at(self.moments.at, candidate[0], candidate[1].chol)
            if ahead is not None and self._no_worse(ahead, here):
                self._take(*candidate)
                return ahead
            rate *= 0.5
        return None

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

    def _newton_direction(self, here):
        diagonal = isinstance(self.shape, DiagonalCovariance)
        source = self.source
        return newton_direction(
            source.target, self.mean, self.shape.chol, here.gradient, here.precision, diagonal, source.n_threads
        )

    def _along(self, direction, rate):
        """Mean and covariance a part of the way along a Newton step."""
        delta, a = direction
        root = np.eye(len(delta)) + rate * a
        if not (np.diagonal(root) > 0.0).all():
            return None
        return self.mean + rate * (self.shape.chol @ delta), self.shape.times(root)

    def _adapt(self, before, after):
        """Turn to Newton's method where progress is slow, or to shorter steps where that is not to be had."""
        if self.exact and not isinstance(self.shape, LowRankCovariance) and affordable(self.source.target):
            self.newton = int(self.newton or after > SLOW * before)
        elif after > before:  # overshooting
            self.caution = min(self.caution + 1, 3)
        elif not 0.4 * before < after < 0.9 * before:  # better than expected, or crawling
            self.caution = max(self.caution - 1, 0)

    def _no_worse(self, ahead, here) -> bool:
        slack = 1e-12 * (1.0 + abs(here.elbo))
        if self.exact:
            return ahead.elbo >= here.elbo - slack
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
                if self._widens(LATE_GROWTH):
                    raise ImproperDensity(IMPROPER.format(f"has not stopped widening in {max_iter} steps"))
                self.message = f"not converged: {max_iter} steps left a residual of {residual:.2g}"
                return
            ahead = self.step(here)
            if ahead is None and not self.exact and self.n < self.max_draws:
                here = self._with_more_draws(error)  # the noise of these draws hides the way up
                continue
            if ahead is None and self.exact and residual < self._rounding():
                self._finished(residual, error)
                return
            if ahead is None:
                self.message = f"not converged: no step raises the ELBO any more, at a residual of {residual:.2g}"
                return
            if self._widens(GROWTH):
                raise ImproperDensity(IMPROPER.format(f"widens step after step, {self.n_iter} so far"))
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

    def _widens(self, least) -> bool:
        """q gained so many nats of entropy in each of the last two runs of steps."""
        trace = self.entropy_trace
        if len(trace) <= 2 * GROWTH_STEPS:
            return False
        middle = trace[-1 - GROWTH_STEPS]
        return min(trace[-1] - middle, middle - trace[-1 - 2 * GROWTH_STEPS]) >= least

    def _record(self, here):
        self.elbo_trace.append(here.elbo)
        self.entropy_trace.append(entropy(self.shape.chol))
        self.residual_trace.append(self._residual(here)[0])

    def _residual(self, here):
        residual = self.shape.residual(here.gradient, here.precision)
        error = 0.0 if self.exact else self.shape.residual_error(here.gradient_error, here.precision_error)
        return residual, error

    def _settled(self, residual, error) -> bool:
        """Nothing is left to gain: with the draws at hand, or by further exact steps."""
        if self.exact:
            return residual <= self.tol or (residual < self._rounding() and self.stalled >= 3)
        return residual <= max(0.5 * error, 1e-10) or (residual < 3.0 * error and self.stalled >= 1)

    def _rounding(self) -> float:
        """A residual that rounding, or the search for a low-rank covariance, may not let fall further."""
        return 1e-4 if isinstance(self.shape, LowRankCovariance) else 1e-5

    def _finished(self, residual, error) -> bool:
        """True, with a message, where no more draws are to be taken."""
        if self.exact:
            limit = "" if residual <= self.tol else ", which rounding does not let fall further"
            self.converged, self.message = True, f"converged: the residual is {residual:.2g}{limit}"
            return True
        if error > self.tol and self.n < self.max_draws:
            return False
        self.converged = residual <= 3.0 * error + 1e-10 and error <= max(self.tol, 0.25)
        if self.converged:
            worth = (
                ""
                if error <= self.tol
                else f" (more than tol={self.tol:g}, at the limit of {self.max_draws} draws a step)"
            )
            self.message = f"converged to within Monte Carlo error {error:.2g}{worth}"
        else:
            self.message = (
                f"not converged: the residual is {residual:.2g}, its Monte Carlo error {error:.2g} "
                f"with {self.n} draws a step"
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
