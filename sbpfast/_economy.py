"""The best full Gaussian for any log density, from as few evaluations as the answer needs.

With e = L^T grad f + z for x = mean + L z, the optimum has E[e] = 0 and E[z e^T] = 0.  Three stages:

1. A mode and the Laplace approximation there (`_economy_mode.py`); or N(0, I), where that has the higher ELBO.
2. Natural gradients (Khan & Rue 2023; Lin, Schmidt & Khan 2020) on one fixed set of draws, accelerated by Anderson's
   method until the step left is within the noise of the set.  The differences of successive steps, which have no noise
   since the draws are the same, are secants: they span the directions in which natural gradients are slow.
3. Fresh sets, one Newton step through the secants each, at rates that make the result the average over all sets
   (Polyak & Juditsky 1992): every evaluation counts.  Their spread is the error bar, and the sets grow to what
   it asks for.

Lengths of steps are in sqrt(2 KL): |r|^2 / 2 is the KL divergence that a small step r makes, |r|^2 = |dm|^2 + |dP|^2/2
in coordinates where q is N(0, I).
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from sbpfast._economy_draws import Look, Points, least_pairs
from sbpfast._economy_mode import find_mode
from sbpfast._improper import refuse_improper
from sbpfast._natural import FullCovariance
from sbpfast._whitened import refactored, upper_factor
from sbpfast.targets import NonFiniteTarget

FIXED, FRESH = 0, 1  # stages
DEPTH = 8  # secants kept
CLOSE = 3.0  # length of a step below which secants are used
RIDGE, NOISY_RIDGE = 1e-5, 1e-3  # of their normal equations
LEAST_PRECISION = 0.05  # of a direction after a step, relative to before
DEFINITE = 0.1  # a precision below which the step is that of Lin, Schmidt & Khan
SLACK = 0.02  # nats that an accelerated step may lose
SHORTEST = 2.0**-10
PATIENCE = 25  # steps on one set, after which a larger one is taken
SHARE = 0.2  # of tol, or of the noise of a set, that the fixed set is solved to
SLOWEST = 0.97
MOST_SLOW_NOISE = 0.02
WILD = 2.0  # times as much noise, with which a larger set must first be solved
LONGEST = 1.0  # step on a fresh set
MOST_NOISE = 0.25  # KL that one set may be wrong by
LEAST_SETS = 3
MANY_SETS = 24  # sets still wanted, from which they are made larger
RECENT = 12  # steps whose spread is the error bar
CHECKS = 4  # further steps on the first fresh set
PILOT, PILOT_PAIRS = 2**40, 16  # number and size of the set that compares starts
FITTING = 0.1  # E |L^T grad f + z|^2 a dimension, below which a start is not to be bettered
NARROWER, LEAST_SCALE = 0.7, 1e-3
NEAR = 0.1  # KL divergence left where a set that no step improves counts as solved
TOL = 0.005  # the default
BUDGET, BUDGET_A_DIMENSION = 20000, 200  # most evaluations, at this tol
LOOK = 20  # steps after which the density may be improper, and again after as many more


def find_sampled_start(points: Points, x):
    """Mean and factor to start from: the Laplace approximation, narrowed, or N(x, I), whichever has the higher ELBO."""
    eye = np.eye(len(x))
    mode = find_mode(points, x, eye)
    half = points.half_set(PILOT, PILOT_PAIRS)

    def elbo(mean, chol):
        look = points.look(mean, chol, half)
        return -math.inf if look is None else look.elbo

    first = points.look(mode.mean, mode.chol, half)
    if first is not None and first.misfit < FITTING * len(x):
        return mode.mean, mode.chol
    best, scale = -math.inf if first is None else first.elbo, 1.0
    while scale > LEAST_SCALE and (narrow := elbo(mode.mean, NARROWER * scale * mode.chol)) >= best:
        best, scale = narrow, NARROWER * scale
    return (x, eye) if elbo(x, eye) > best else (mode.mean, scale * mode.chol)


class SampledFit:
    """The state of a fit and the loop over its steps; the state after k steps determines all later ones."""

    COUNTERS = ("n", "n_iter", "stage", "number", "steps", "halvings", "weight", "checked")
    exact = False

    def __init__(self, points: Points, mean, chol, tol, max_draws):
        d = len(mean)
        self.source, self.tol, self.max_draws = points, tol, max_draws
        self.origin, self.frame = mean, chol  # x = origin + frame u, q = N(a, root root^T) in u
        self.a, self.root = np.zeros(d), np.eye(d)
        self.n = 2 * max(1, min(least_pairs(d), max_draws // 2))
        self.n_iter = self.stage = self.number = self.steps = self.halvings = self.weight = self.checked = 0
        self.secants: list[tuple] = []  # changes of mean, precision, and the steps of both, in u
        self.spread: list[np.ndarray] = []  # steps on fresh sets, as one pair would take them
        self.elbo_trace: list[float] = []
        self.residual_trace: list[float] = []
        self.converged, self.message, self.left = False, "", math.inf
        self.last: Look

    @property
    def mean(self) -> np.ndarray:
        return self.origin + self.frame @ self.a

    @property
    def shape(self) -> FullCovariance:
        return FullCovariance(np.tril(self.frame @ self.root))

    # the state as arrays, for saving and resuming

    def state(self) -> dict:
        arrays = {
            "mean": self.mean, "shape_chol": self.shape.chol, "origin": self.origin, "frame": self.frame, "a": self.a,
            "root": self.root, "counters": np.array([getattr(self, name) for name in self.COUNTERS]),
            "elbo_trace": np.array(self.elbo_trace), "residual_trace": np.array(self.residual_trace),
        }  # fmt: skip
        if self.spread:
            arrays["spread"] = np.array(self.spread)
        if self.secants:
            arrays |= {f"secant_{i}": np.array(part) for i, part in enumerate(zip(*self.secants))}
        return arrays

    def restore(self, state) -> None:
        for name, value in zip(self.COUNTERS, state["counters"]):
            setattr(self, name, int(value))
        self.origin, self.frame, self.a, self.root = (state[name].copy() for name in ("origin", "frame", "a", "root"))
        self.elbo_trace, self.residual_trace = list(state["elbo_trace"]), list(state["residual_trace"])
        self.spread = list(state.get("spread", ()))
        if "secant_0" in state:
            self.secants = list(zip(*(state[f"secant_{i}"] for i in range(4))))

    # coordinates: steps (dm, dP) where q is N(0, I), and in u

    def _outwards(self, dm, dp):
        half = scipy.linalg.solve_triangular(self.root, dp, trans="T", lower=True, check_finite=False)
        full = scipy.linalg.solve_triangular(self.root, half.T, trans="T", lower=True, check_finite=False)
        return self.root @ dm, 0.5 * (full + full.T)

    def _inwards(self, da, db):
        dm = scipy.linalg.solve_triangular(self.root, da, lower=True, check_finite=False)
        return dm, self.root.T @ db @ self.root

    def _moved(self, dm, dp, rate):
        """Mean and root after a part of a step; None where it would leave the positive definite matrices."""
        precision = np.eye(len(dm)) + rate * dp
        if not np.isfinite(precision).all() or np.linalg.eigvalsh(precision)[0] < LEAST_PRECISION:
            return None
        return self.a + rate * (self.root @ dm), refactored(self.root, upper_factor(precision))

    # moments and steps

    def _look(self, half, a, root, directions=None) -> Look | None:
        return self.source.look(self.origin + self.frame @ a, np.tril(self.frame @ root), half, directions)

    def _newton(self, dm, dp, ridge):
        """The step through the secants: of all their combinations the one that the images change least along."""
        if not self.secants:
            return dm, dp
        r = _vector(dm, dp)
        changes = np.array([_vector(*self._inwards(*secant[:2])) for secant in self.secants])
        bends = np.array([_vector(*self._inwards(*secant[2:])) for secant in self.secants])
        size = np.linalg.norm(bends, axis=1, keepdims=True)
        changes, bends = changes / size, bends / size
        weights = np.linalg.solve(bends @ bends.T + ridge * np.eye(len(bends)), bends @ r)
        return _matrices(r - weights @ (changes + bends), len(dm))

    def _remember(self, before, after):
        """A secant: from the place and outward step before a move to those after it."""
        secant = tuple(new - old for old, new in zip(before, after))
        self.secants = [*self.secants, secant][-DEPTH:]

    def _place(self, dm, dp):
        """Mean, precision, and a step, in u."""
        return self.a, self._outwards(dm, np.eye(len(dm)))[1], *self._outwards(dm, dp)

    # the loop

    def run(self, max_iter, watch) -> None:
        """Step until the KL divergence still left is within tol, or max_iter or the budget is reached."""
        here = self.first() if self.stage == FIXED else None
        while not self.message:
            if self.n_iter >= max_iter or self.evaluations >= self._budget():
                self._give_up("steps" if self.n_iter >= max_iter else "evaluations")
                break
            before = self.n_iter
            here = self._on_the_fixed_set(here) if self.stage == FIXED else self._on_a_fresh_set()
            if self.n_iter > before:
                if self.n_iter % LOOK == 0:
                    self._refuse_improper()
                if watch(self, self.last):
                    self.message = f"stopped by the callback with {self._error_text()}"
            if not self.message and self.stage == FIXED and here is None:
                here = self.first()

    @property
    def evaluations(self) -> int:
        return self.source.counts["values"]

    def _budget(self):
        return (BUDGET + BUDGET_A_DIMENSION * len(self.a)) * max(1.0, TOL / self.tol)

    def _give_up(self, limit):
        self._refuse_improper()
        count = self.n_iter if limit == "steps" else self.evaluations
        self.message = f"not converged: {count} {limit} left {self._error_text()}"

    def _refuse_improper(self):
        refuse_improper(self.source.target, self.mean, self.shape.directions())

    def first(self) -> Look:
        """The moments by the fixed set at hand, q shrunk until they are finite."""
        half = self._half()
        for _ in range(60):
            look = self._look(half, self.a, self.root)
            if look is not None:
                if not self.elbo_trace:
                    self._record(look, float(np.linalg.norm(_vector(*self._natural(look)))))
                return look
            self.root = 0.5 * self.root
        self._refuse_improper()
        raise NonFiniteTarget("the log density is not finite around the point where the fit starts; pass another q0")

    def _half(self):
        return self.source.half_set(self.number, self.n // 2)

    def _record(self, look, length):
        self.elbo_trace.append(look.elbo)
        self.residual_trace.append(length)
        self.last = look

    # one fixed set

    def _natural(self, look):
        """The natural gradient step of rate 1, shortened where a precision would become small or negative."""
        values, vectors = np.linalg.eigh(look.precision)
        fall = 1.0 - values
        rate = np.where(values < DEFINITE, 1.0 / np.maximum(1.0, fall), 1.0)
        precision = np.where(values < DEFINITE, 1.0 - rate * fall + 0.5 * (rate * fall) ** 2, values)
        dm = vectors @ (rate * (vectors.T @ look.gradient) / precision)
        return dm, (vectors * (precision - 1.0)) @ vectors.T

    def _on_the_fixed_set(self, here) -> Look | None:
        """One step; None where the set is left."""
        natural = self._natural(here)
        close = len(self.secants) >= 2 and np.linalg.norm(_vector(*natural)) < CLOSE
        newton = self._newton(*natural, RIDGE) if close else natural
        left = 0.5 * float(np.linalg.norm(_vector(*newton))) ** 2
        if left < SHARE * max(self.tol, min(here.noise, MOST_NOISE)) and (close or self.steps == 0):
            self._turn_to_fresh_sets()
            return None
        if self.steps >= PATIENCE:
            return self._enlarge(4)
        tries = [(*newton, 1.0)] if close else []
        tries += [(*natural, 2.0**-i) for i in range(self.halvings, 11)]
        half, before = self._half(), self._place(*natural)
        for dm, dp, rate in tries:
            moved = self._moved(dm, dp, rate)
            ahead = None if moved is None else self._look(half, *moved)
            if ahead is not None and ahead.elbo > here.elbo - SLACK:
                break
        else:
            return self._turn_to_fresh_sets() if left < NEAR else self._enlarge(4)
        self.a, self.root = moved
        self.halvings = max(0, round(-math.log2(rate)) - 1)
        step = self._natural(ahead)
        self._remember(before, self._place(*step))
        self.steps, self.n_iter = self.steps + 1, self.n_iter + 1
        self._record(ahead, float(np.linalg.norm(_vector(*step))))
        return ahead

    def _turn_to_fresh_sets(self):
        self.stage, self.weight, self.spread = FRESH, self.n // 2, []
        changes = np.array([_vector(*self._inwards(*secant[:2])) for secant in self.secants]).reshape(-1, len(self.a) * (1 + len(self.a)))
        changes /= np.linalg.norm(changes, axis=1, keepdims=True)
        left, size, right = np.linalg.svd(changes, full_matrices=False)
        self.slow = right[size > 1e-3]
        self.response, self.seen = np.zeros((len(self.slow), len(self.slow))), 0

    def _enlarge(self, factor):
        """Another fixed set, larger where that is allowed."""
        if self.n >= self.max_draws and self.steps == 0:
            self._refuse_improper()
            self.message = f"not converged: no step raises the ELBO any more, with {self._error_text()}"
            return
        self.n = max(self.n, min(self.n * factor, self.max_draws // 2 * 2))
        self.stage, self.steps, self.halvings, self.number = FIXED, 0, 0, self.number + 1
        self.spread = []

    # fresh sets

    def _on_a_fresh_set(self) -> None:
        """One Newton step on new draws, as long as their share of all draws."""
        self.number += 1
        pairs = self.n // 2
        look = self._look(self._half(), self.a, self.root, self._slow_directions())
        if look is None:  # beyond where f is finite: the next fixed set finds out
            self.stage, self.steps = FIXED, 0
            return None
        self.response = self.response + pairs * look.response if look.response is not None else self.response
        self.seen += pairs
        step = self._amplified(look.gradient, look.precision - np.eye(len(self.a)))
        whole = _vector(*step)
        self.spread = [*self.spread, whole / math.sqrt(1.0 / pairs + 1.0 / self.weight)][-RECENT:]
        excess = 0.5 * max(self._variance() / MOST_NOISE, self._variance(self.slow) / MOST_SLOW_NOISE) / pairs
        if excess > 1.0 and self.n < self.max_draws:
            more = 1 << min(3, math.ceil(math.log2(1.5 * excess)))
            if excess > WILD:
                return self._enlarge(more)
            self.n, self.spread = min(self.n * more, self.max_draws // 2 * 2), []
        rate = min(pairs / (self.weight + pairs), LONGEST / float(np.linalg.norm(whole)))
        while (moved := self._moved(*step, rate)) is None:
            rate *= 0.5
        self.a, self.root = moved
        self.weight, self.n_iter = self.weight + pairs, self.n_iter + 1
        self._record(look, float(np.linalg.norm(whole)))
        self._judge()

    def _slow_directions(self):
        """Of the secants, in coordinates where q is N(0, I)."""
        if not len(self.slow):
            return None
        d = len(self.a)
        return self.slow[:, :d], math.sqrt(2.0) * self.slow[:, d:].reshape(-1, d, d)

    def _amplified(self, dm, dp):
        """A natural gradient made Newton's along the slow directions."""
        if not len(self.slow):
            return dm, dp
        r = _vector(dm, dp)
        m = self.response / self.seen
        values, vectors = np.linalg.eigh(0.5 * (m + m.T))
        gain = 1.0 / (1.0 - np.clip(values, -1.0, SLOWEST)) - 1.0
        return _matrices(r + self.slow.T @ (vectors @ (gain * (vectors.T @ (self.slow @ r)))), len(dm))

    def _variance(self, onto=None) -> float:
        """Of the step that one pair asks for; of its part along the slow directions, where those are given."""
        y = np.array(self.spread)
        return float((y * y).sum() if onto is None else ((y @ onto.T) ** 2).sum()) / len(y)

    def _drift(self) -> float:
        """Squared length of the mean step along slow directions, as far as it exceeds chance."""
        y = np.array(self.spread) @ self.slow.T
        return max(0.0, float((y.mean(axis=0) ** 2).sum()) - self._variance(self.slow) / len(y))

    def _judge(self):
        """Stop where the divergence that is left is small; larger sets where many more would be needed."""
        count, pairs = len(self.spread), self.n // 2
        if not count:
            return
        variance = self._variance()
        self.left = 0.5 * variance / self.weight + 0.5 * self._drift() / pairs
        if count < LEAST_SETS:
            return
        if self.left < self.tol:
            self.converged, self.message = True, f"converged: {self._error_text()}"
        elif (wanted := (0.5 * variance / self.tol - self.weight) / pairs) > MANY_SETS:
            more = 1 << max(1, math.floor(math.log2(2.0 * wanted / MANY_SETS)))
            self.n = max(self.n, min(self.n * more, self.max_draws // 2 * 2))

    def _worst_mean(self) -> float:
        """Standard error of the worst mean, in standard deviations."""
        d = len(self.a)
        steps = np.array(self.spread)[:, :d] @ self.root.T
        return float(np.sqrt((steps**2).mean(axis=0) / (self.root**2).sum(axis=1) / self.weight).max())

    def _error_text(self):
        if not self.spread:
            return f"a step of {self.residual_trace[-1]:.2g} (sqrt(2 KL))"
        return f"a KL divergence of about {self.left:.2g} from the best Gaussian, {self._worst_mean():.2g} sd in the worst mean"


def _vector(dm, dp):
    """A step as one vector, whose squared length is twice a KL divergence."""
    return np.concatenate([dm, dp.ravel() / math.sqrt(2.0)])


def _matrices(vector, d):
    return vector[:d], math.sqrt(2.0) * vector[d:].reshape(d, d)
