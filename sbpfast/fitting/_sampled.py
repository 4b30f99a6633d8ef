"""The best full Gaussian for any log density, from as few evaluations as the answer needs.

With e = L^T grad f + z for x = mean + L z, the optimum has E[e] = 0 and E[z e^T] = 0.  Three stages:

1. A mode and the Laplace approximation there (`_mode.py`), narrowed, or N(0, I): whichever has the higher ELBO.
2. Natural gradients (Khan & Rue 2023; Lin, Schmidt & Khan 2020) on one fixed set of draws (`_sets.py`), accelerated by
   Anderson's method (1965), until the step left is well within the noise of the set.
3. Fresh sets, one step each, at rates that make the result the average over all sets (Polyak & Juditsky 1992): every
   evaluation counts.  The steps are Newton's along the directions in which natural gradients are slow: these are
   the secants of stage 2, and how the moments follow a move along them is an average over the same draws (linear
   response).  The spread of the steps is the error bar, and the sets grow to what it asks for.

Lengths of steps are in sqrt(2 KL): |r|^2 / 2 is the KL divergence that a small step r makes, |r|^2 = |dm|^2 + |dP|^2/2
in coordinates where q is N(0, I).
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast.fitting._factors import refactored, upper_factor
from sbpfast.fitting._full import FullCovariance
from sbpfast.fitting._improper import refuse_improper
from sbpfast.fitting._mode import find_mode
from sbpfast.fitting._sets import Look, Points, least_pairs
from sbpfast.targets import NonFiniteTarget

TOL, TOL_A_DIMENSION, MOST_TOL = 0.005, 1e-4, 0.01  # KL divergence from the best Gaussian
FIXED, FRESH = 0, 1  # stages
PILOT, PILOT_PAIRS = 2**40, 16  # number and size of the set that compares starts
FITTING = 0.1  # E |e|^2 a dimension, below which a start is not to be bettered
NARROWER, LEAST_SCALE = 0.7, 1e-3
SPIKE = 5.0  # nats a dimension by which a start that is no maximum of f must be better
DEPTH = 10  # secants kept
CLOSE = 3.0  # length of a step below which secants are used
RIDGE = 1e-5  # of their normal equations
LEAST_PRECISION = 0.05  # of a direction after a step, relative to before
DEFINITE = 0.1  # a precision below which the step is that of Lin, Schmidt & Khan
SLACK = 0.02  # nats that an accelerated step may lose
HALVINGS = 10
PATIENCE = 40  # steps on one set, after which a larger one is taken where it is far from solved
FITS = 0.2  # of tol, at most which a start may lack to be the answer
SOLVED = 1e-4  # of tol, or of the noise of a set, that the fixed set is solved to: slow modes are seen late
NEAR = 0.1  # KL divergence left where a set that no step improves counts as solved
INDEPENDENT = 1e-3  # of the largest singular value, below which secants span no direction
LEAST_SPEED = 0.005  # part of a slow direction that a natural gradient step is taken to go
MOST_NOISE, MOST_SLOW_NOISE = 0.25, 0.02  # KL that one set may be wrong by, in all and along slow directions
MOST_DOUBLINGS = 2  # of the sets at a time
WILD = 16.0  # times as much, with which a larger set is first solved
LONGEST = 1.0  # step on a fresh set
LEAST_SETS = 3
MANY_SETS = 24  # sets still wanted, from which they are made larger
RECENT = 12  # steps whose spread is the error bar
BUDGET, BUDGET_A_DIMENSION = 20000, 200  # most evaluations, at the default tol
LOOK = 20  # steps after which the density may be improper, and again after as many more


def sampled_starts(points: Points, x) -> list[tuple]:
    """Means and factors to start from, the better first: the Laplace approximation, narrowed, and N(x, I).

    That with the higher ELBO is better; but a climb that found no maximum may have ended in a spike.
    """
    eye = np.eye(len(x))
    mode = find_mode(points, x, eye)
    half = points.half_set(PILOT, PILOT_PAIRS)

    def elbo(mean, chol):
        look = points.look(mean, chol, half)
        return -math.inf if look is None else look.elbo

    first = points.look(mode.mean, mode.chol, half)
    if mode.proper and first is not None and first.misfit < FITTING * len(x):
        return [(mode.mean, mode.chol)]
    best, scale = -math.inf if first is None else first.elbo, 1.0
    while scale > LEAST_SCALE and (narrow := elbo(mode.mean, NARROWER * scale * mode.chol)) >= best:
        best, scale = narrow, NARROWER * scale
    starts = [(mode.mean, scale * mode.chol), (x, eye)]
    margin = 0.0 if mode.proper else SPIKE * len(x)
    return starts[::-1] if elbo(x, eye) > best - margin else starts


class SampledFit:
    """The state of a fit and the loop over its steps; the state after k steps determines all later ones."""

    COUNTERS = ("n", "n_iter", "stage", "number", "steps", "halvings", "weight", "seen", "spent")
    ARRAYS = ("origin", "frame", "a", "root", "slow", "response")
    exact = False

    def __init__(self, points: Points, mean, chol, tol, max_draws):
        d = len(mean)
        self.source, self.tol, self.max_draws = points, tol, max_draws // 2 * 2 or 2
        self.origin, self.frame = mean, chol  # x = origin + frame u, q = N(a, root root^T) in u
        self.a, self.root = np.zeros(d), np.eye(d)
        self.n = min(2 * least_pairs(d), self.max_draws)
        self.n_iter = self.stage = self.number = self.steps = self.halvings = self.weight = self.seen = 0
        self.spent = points.counts["values"]  # evaluations, but for those that a fit which is continued does again
        self.secants: list[tuple] = []  # changes of mean, precision, and of the steps of both, in u
        self.slow, self.response = np.zeros((0, d + d * d)), np.zeros((2, 0, 0))  # directions, and what follows a move
        self.spread: list[np.ndarray] = []  # steps on fresh sets, as one pair would take them
        self.elbo_trace: list[float] = []
        self.residual_trace: list[float] = []
        self.converged = self.interrupted = False
        self.message, self.left = "", math.inf
        self._whole: dict | None = None  # the state after the last whole step
        self.last: Look

    @property
    def mean(self) -> np.ndarray:
        return self.origin + self.frame @ self.a

    @property
    def shape(self) -> FullCovariance:
        return FullCovariance(np.tril(self.frame @ self.root))

    # the state as arrays, for saving and resuming

    def state(self) -> dict:
        arrays = {name: getattr(self, name) for name in self.ARRAYS}
        arrays |= {"mean": self.mean, "shape_chol": self.shape.chol, "left": np.array(self.left)}
        arrays["ratios"] = self.last.ratios
        arrays |= {"counters": np.array([getattr(self, name) for name in self.COUNTERS])}
        arrays |= {name: np.array(getattr(self, name)) for name in ("elbo_trace", "residual_trace")}
        if self.spread:
            arrays["spread"] = np.array(self.spread)
        return arrays | {f"secant_{i}": np.array(part) for i, part in enumerate(zip(*self.secants))}

    def restore(self, state) -> None:
        for name, value in zip(self.COUNTERS, state["counters"]):
            setattr(self, name, int(value))
        for name in self.ARRAYS:
            setattr(self, name, state[name].copy())
        self.left = float(state["left"])
        nothing = np.zeros((0, 0))
        self.last = Look(state["ratios"], nothing, nothing, math.nan, math.nan, nothing)
        self.elbo_trace, self.residual_trace = list(state["elbo_trace"]), list(state["residual_trace"])
        self.spread = list(state.get("spread", ()))
        if "secant_0" in state:
            self.secants = list(zip(*(state[f"secant_{i}"] for i in range(4))))

    # coordinates: steps (dm, dP) where q is N(0, I), and in u

    def _outwards(self, dm, dp):
        half = np.linalg.solve(self.root.T, dp)
        full = np.linalg.solve(self.root.T, half.T)
        return self.root @ dm, 0.5 * (full + full.T)

    def _inwards(self, da, db):
        return np.linalg.solve(self.root, da), self.root.T @ db @ self.root

    def _place(self, dm, dp):
        """Mean, precision, and a step, in u."""
        return self.a, self._outwards(dm, np.eye(len(dm)))[1], *self._outwards(dm, dp)

    def _moved(self, dm, dp, rate):
        """Mean and root after a part of a step; None where it would leave the positive definite matrices."""
        precision = np.eye(len(dm)) + rate * dp
        if not np.isfinite(precision).all() or np.linalg.eigvalsh(precision)[0] < LEAST_PRECISION:
            return None
        try:
            upper = upper_factor(precision)
        except np.linalg.LinAlgError:  # eigenvalues are rounded in units of the largest
            return None
        return self.a + rate * (self.root @ dm), refactored(self.root, upper)

    def _look(self, half, a, root, directions=None) -> Look | None:
        return self.source.look(self.origin + self.frame @ a, np.tril(self.frame @ root), half, directions)

    def _half(self):
        return self.source.half_set(self.number, self.n // 2)

    def _record(self, look, length):
        self.elbo_trace.append(look.elbo)
        self.residual_trace.append(length)
        self.last = look

    # the loop

    def run(self, max_iter, watch) -> None:
        """Step until the KL divergence still left is within tol, or max_iter or the budget is reached; or Ctrl-C.

        An interrupt leaves the state after the last whole step; before the first moments there is none to leave.
        """
        try:
            self._run(max_iter, watch)
        except KeyboardInterrupt:
            if self._whole is None:
                raise
            self.restore(self._whole)
            self.interrupted = True
            self.message = f"interrupted after {self.n_iter} steps, at a residual of {self.residual_trace[-1]:.2g}"

    def _run(self, max_iter, watch) -> None:
        if not self.elbo_trace and self._fits_already():
            return
        again = bool(self.elbo_trace)
        if self.left < self.tol and (self.n_iter == 0 or len(self.spread) >= LEAST_SETS):
            self._converge()
        here = self.first() if self.stage == FIXED else None
        counted = self._evaluations if again else self.spent
        while not self.message:
            self.spent, counted = self.spent + self._evaluations - counted, self._evaluations
            self._whole = self.state()
            if self.n_iter >= max_iter or self.spent >= self._budget:
                self._give_up("steps" if self.n_iter >= max_iter else "evaluations")
                break
            before = self.n_iter
            if here is not None:
                here = self._on_the_fixed_set(here)
            else:
                self._on_a_fresh_set()
            if self.n_iter > before:
                if self.n_iter % LOOK == 0 and not self.converged:
                    self._refuse_improper()
                if watch(self, self.last) and not self.message:
                    self.message = f"stopped by the callback with {self._error_text()}"
            if not self.message and self.stage == FIXED and here is None:
                here = self.first()
        self.spent += self._evaluations - counted

    def _fits_already(self) -> bool:
        """Whether a few draws find nothing of f that q does not have: a Gaussian density, or one that is nearly so."""
        look = self._look(self.source.half_set(PILOT, PILOT_PAIRS), self.a, self.root)
        if look is None or 0.5 * look.misfit > FITS * self.tol:
            return False
        self.left = 0.5 * look.misfit
        self._record(look, math.sqrt(look.misfit))
        self._converge()
        return True

    @property
    def _evaluations(self) -> int:
        return self.source.counts["values"]

    @property
    def _budget(self) -> float:
        return (BUDGET + BUDGET_A_DIMENSION * len(self.a)) * max(1.0, TOL / self.tol)

    def _give_up(self, limit):
        self._refuse_improper()
        count = self.n_iter if limit == "steps" else self.spent
        self.message = f"not converged: {count} {limit} left {self._error_text()}"

    def _refuse_improper(self):
        self.source.looked_at += refuse_improper(self.source.target, self.mean, self.shape.directions())

    def first(self) -> Look:
        """The moments by the fixed set at hand, q shrunk until they are finite."""
        half = self._half()
        for _ in range(60):
            look = self._look(half, self.a, self.root)
            if look is not None:
                self.last = look
                if not self.elbo_trace:
                    self._record(look, _length(*self._natural(look)))
                return look
            self.root = 0.5 * self.root
        self._refuse_improper()
        raise NonFiniteTarget("the log density is not finite around the point where the fit starts; pass another q0")

    # one fixed set

    def _natural(self, look):
        """The natural gradient step of rate 1, shorter in directions of small or negative precision."""
        values, vectors = np.linalg.eigh(look.precision)
        fall = 1.0 - values
        rate = np.where(values < DEFINITE, 1.0 / np.maximum(1.0, fall), 1.0)
        precision = np.where(values < DEFINITE, 1.0 - rate * fall + 0.5 * (rate * fall) ** 2, values)
        dm = vectors @ (rate * (vectors.T @ look.gradient) / precision)
        return dm, (vectors * (precision - 1.0)) @ vectors.T

    def _accelerated(self, dm, dp):
        """Anderson's step: that of the combination of the last places at which the step is smallest."""
        r = _vector(dm, dp)
        changes = np.array([_vector(*self._inwards(*secant[:2])) for secant in self.secants])
        bends = np.array([_vector(*self._inwards(*secant[2:])) for secant in self.secants])
        size = np.linalg.norm(bends, axis=1, keepdims=True)
        changes, bends = changes / size, bends / size
        weights = np.linalg.solve(bends @ bends.T + RIDGE * np.eye(len(bends)), bends @ r)
        return _matrices(r - weights @ (changes + bends), len(dm))

    def _on_the_fixed_set(self, here) -> Look | None:
        """One step; None where the set is left."""
        natural = self._natural(here)
        close = len(self.secants) >= 2 and _length(*natural) < CLOSE
        fast = self._accelerated(*natural) if close else natural
        left = 0.5 * _length(*fast) ** 2
        if left < SOLVED * max(self.tol, min(here.noise, MOST_NOISE)) and (close or self.steps == 0):
            self._turn_to_fresh_sets()
            return None
        if self.steps >= PATIENCE:
            self._leave_the_fixed_set(left)
            return None
        tries = [(*fast, 1.0)] if close else []
        tries += [(*natural, 2.0**-i) for i in range(self.halvings, HALVINGS + 1)]
        half, before = self._half(), self._place(*natural)
        for dm, dp, rate in tries:
            moved = self._moved(dm, dp, rate)
            ahead = None if moved is None else self._look(half, *moved)
            if moved is not None and ahead is not None and ahead.elbo > here.elbo - SLACK:
                break
        else:
            self._leave_the_fixed_set(left)
            return None
        self.a, self.root = moved
        self.halvings = max(0, round(-math.log2(rate)) - 1)
        step = self._natural(ahead)
        secant = tuple(new - old for old, new in zip(before, self._place(*step)))
        self.secants = [*self.secants, secant][-DEPTH:]
        self.steps, self.n_iter = self.steps + 1, self.n_iter + 1
        self._record(ahead, _length(*step))
        return ahead

    def _leave_the_fixed_set(self, left) -> None:
        """For fresh sets where little is left to gain on it, else for a larger one."""
        if left < NEAR:
            self._turn_to_fresh_sets()
        else:
            self._enlarge(4)

    def _enlarge(self, factor) -> None:
        """Another fixed set, larger where that is allowed."""
        if self.n >= self.max_draws and self.steps == 0:
            self._refuse_improper()
            self.message = f"not converged: no step raises the ELBO any more, with {self._error_text()}"
            return
        self.n = max(self.n, min(self.n * factor, self.max_draws))
        self.stage, self.steps, self.halvings, self.number = FIXED, 0, 0, self.number + 1
        self.spread, self.left = [], math.inf

    # fresh sets

    def _turn_to_fresh_sets(self) -> None:
        self.stage, self.weight, self.spread, self.seen = FRESH, self.n // 2, [], 0
        self.slow = np.zeros((0, len(self.a) * (1 + len(self.a))))
        if self.secants:
            changes = np.array([_vector(*self._inwards(*secant[:2])) for secant in self.secants])
            changes /= np.linalg.norm(changes, axis=1, keepdims=True)
            _, size, span = np.linalg.svd(changes, full_matrices=False)
            self.slow = span[size > INDEPENDENT * size[0]]
        self.response = np.zeros((2, len(self.slow), len(self.slow)))

    def _on_a_fresh_set(self) -> None:
        """One step on new draws, as long as their share of all draws."""
        self.number += 1
        pairs = self.n // 2
        look = self._look(self._half(), self.a, self.root, _all_matrices(self.slow, len(self.a)))
        if look is None:  # beyond where f is finite: the next fixed set finds out
            self._enlarge(1)
            return
        self.response, self.seen = self.response + pairs * look.response, self.seen + pairs
        step = self._amplified(look.gradient, look.precision - np.eye(len(self.a)))
        whole = _vector(*step)
        self.spread = [*self.spread, whole / math.sqrt(1.0 / pairs + 1.0 / self.weight)][-RECENT:]
        excess = 0.5 * max(self._variance() / MOST_NOISE, self._variance(self.slow) / MOST_SLOW_NOISE) / pairs
        if excess > 1.0 and self.n < self.max_draws:
            more = 1 << min(MOST_DOUBLINGS, math.ceil(math.log2(1.5 * excess)))
            if excess > WILD:
                self._enlarge(more)
                return
            self.n, self.spread = min(self.n * more, self.max_draws), []
        rate = min(pairs / (self.weight + pairs), LONGEST / max(LONGEST, float(np.linalg.norm(whole))))
        while (moved := self._moved(step[0], step[1], rate)) is None:
            rate *= 0.5
        self.a, self.root = moved
        self.weight, self.n_iter = self.weight + pairs, self.n_iter + 1
        self._record(look, float(np.linalg.norm(whole)))
        self._judge()

    def _amplified(self, dm, dp):
        """A natural gradient made Newton's along the slow directions, where a step leaves most of the way."""
        if len(self.slow) == 0:
            return dm, dp
        r = _vector(dm, dp)
        gram, stays = self.response
        values, vectors = scipy.linalg.eigh(0.5 * (stays + stays.T), gram)
        vectors /= np.sqrt((vectors * vectors).sum(axis=0))
        gain = 1.0 / np.clip(values, LEAST_SPEED, 2.0) - 1.0
        return _matrices(r + self.slow.T @ (vectors @ (gain * np.linalg.solve(vectors, self.slow @ r))), len(dm))

    def _variance(self, onto=None) -> float:
        """Of the step that one pair asks for; of its part along the slow directions, where those are given."""
        y = np.array(self.spread)
        return float((y * y).sum() if onto is None else ((y @ onto.T) ** 2).sum()) / len(y)

    def _drift(self) -> float:
        """Squared length of the mean step along slow directions, as far as it exceeds chance."""
        y = np.array(self.spread) @ self.slow.T
        return max(0.0, float((y.mean(axis=0) ** 2).sum()) - self._variance(self.slow) / len(y))

    def _judge(self) -> None:
        """Stop where the divergence that is left is small; larger sets where many more would be needed."""
        count, pairs = len(self.spread), self.n // 2
        if count == 0:
            return
        variance = self._variance()
        self.left = 0.5 * variance / self.weight + 0.5 * self._drift() / pairs
        if count < LEAST_SETS:
            return
        if self.left < self.tol:
            self._converge()
        elif (wanted := (0.5 * variance / self.tol - self.weight) / pairs) > MANY_SETS:
            more = 1 << max(1, math.floor(math.log2(2.0 * wanted / MANY_SETS)))
            self.n = max(self.n, min(self.n * more, self.max_draws))

    def _converge(self) -> None:
        self.converged, self.message = True, f"converged: {self._error_text()}"

    def _error_text(self) -> str:
        if self.n_iter == 0 and self.left < self.tol:
            return f"a KL divergence of at most {self.left:.2g} from the best Gaussian"
        if not self.spread or not math.isfinite(self.left):
            return f"a KL divergence of about {0.5 * self.residual_trace[-1] ** 2:.2g} to go in one step"
        d = len(self.a)
        steps = np.array(self.spread)[:, :d] @ self.root.T
        worst = np.sqrt((steps**2).mean(axis=0) / (self.root**2).sum(axis=1) / self.weight).max()
        return f"a KL divergence of about {self.left:.2g} from the best Gaussian, {worst:.2g} sd in the worst mean"


def _vector(dm, dp):
    """A step as one vector, whose squared length is twice a KL divergence."""
    return np.concatenate([dm, dp.ravel() / math.sqrt(2.0)])


def _length(dm, dp) -> float:
    return float(np.linalg.norm(_vector(dm, dp)))


def _matrices(vector, d):
    return vector[:d], math.sqrt(2.0) * vector[d:].reshape(d, d)


def _all_matrices(vectors, d):
    return vectors[:, :d], math.sqrt(2.0) * vectors[:, d:].reshape(-1, d, d)
