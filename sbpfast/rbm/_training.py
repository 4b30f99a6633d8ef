"""Learning a Gaussian-Bernoulli RBM.

Training works on x = (v - m) / sigma, m the mean of the data, with hidden units centred at their mean activity lambda
(Montavon & Mueller 2012; Melchior, Fischer & Wiskott 2016):

    E(x, h) = |x - alpha|^2 / 2 - gamma.h - x^T W (h - lambda),    P(v) = P(x) / prod sigma.

There the visible noise has unit variance and the normaliser does not depend on sigma, so the gradient in log sigma is
an average over the data alone, E[x_i (x_i - alpha_i - (W (s - lambda))_i)] - 1: nothing in it is sampled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sbpfast import _core
from sbpfast.rbm._draws import Draws
from sbpfast.rbm._model import PARAMETERS, Model
from sbpfast.rbm._partition import Path, exact_log_partition
from sbpfast.rbm._sampling import Ladder
from sbpfast.rbm._settings import Settings

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
LONGEST_STEP = 0.1  # length of a column's step in one update with momentum, in units of sigma

JUMP_INTERVAL, JUMP_RAREST = 5, 1000  # minibatches between tempered transitions of the persistent chains
AFFORDABLE_SUM = 20  # hidden units up to which the true likelihood is worked out after every epoch
SETTLED = 100  # rows from which partial_fit knows the scale of the data
SNAPSHOT = ("identity", "key", "counts", "curves", "kept", *(f"kept_{name}" for name in PARAMETERS))
MONITORED = 2000  # rows on which the reconstruction and the likelihood are followed


class TrainingDiverged(ArithmeticError):
    """The parameters stopped being finite or the reconstruction got far worse; the last good ones are kept."""


@dataclass(frozen=True)
class Scale:
    """Where the data are and how wide: mean and standard deviation, that of a constant feature being a typical one."""

    mean: np.ndarray
    std: np.ndarray
    varying: np.ndarray  # which features are no constants

    @classmethod
    def of_data(cls, x, sigma_floor) -> Scale:
        limits = np.finfo(x.dtype)
        peak = np.maximum(x.max(0), -x.min(0)).astype(np.float64)
        unit = np.where(peak > 0.0, peak, 1.0)  # the squares of x itself might overflow
        z = x / unit
        mean, deviation = unit * z.mean(0), unit * z.std(0)
        varying = deviation > 8 * limits.eps * np.abs(mean)
        std = np.where(varying, deviation, np.median(deviation[varying]) if varying.any() else 1.0)
        if not (sigma_floor * std.min() >= limits.tiny and peak.max() <= limits.max / 4):
            raise ValueError(
                f"X must be rescaled: numbers up to {peak.max():.3g}, with standard deviations from "
                f"{std.min():.3g} to {std.max():.3g}, leave the range of {limits.dtype}"
            )
        return cls(mean, std, varying)

    @classmethod
    def of_model(cls, model: Model, activity) -> Scale:
        """Mean and standard deviation of v where the hidden units are on independently, with these probabilities."""
        std = model.sigma * np.sqrt(1.0 + model.weights**2 @ (activity * (1.0 - activity)))
        return cls(model.visible_bias + model.sigma * (model.weights @ activity), std, np.ones(len(std), bool))

    def complaint(self) -> str | None:
        """What is wrong with the scale of the data, or None."""
        mean, std = self.mean[self.varying], self.std[self.varying]
        with np.errstate(over="ignore"):
            spread = std.max(initial=0.0) / std.min(initial=np.inf)
            shift = (np.abs(mean) / std).max(initial=0.0)
        if spread > 100.0:
            return f"the features' standard deviations differ by a factor of {spread:.3g}"
        if shift > 100.0:
            return f"a feature's mean is {shift:.3g} times its standard deviation"
        return None


class Adam:
    """Adam for the weights (by kernel) and the three vectors; `rate` is the length of a weight column's step."""

    def __init__(self, shape, dtype):
        v, h = shape
        self.arrays = {"first": np.zeros(shape, dtype), "second": np.zeros(shape, dtype)}
        for name, size in (("alpha", v), ("gamma", h), ("log_sigma", v)):
            self.arrays[f"{name}_first"], self.arrays[f"{name}_second"] = np.zeros(size), np.zeros(size)
        self.root = np.sqrt(v)

    def begin(self, step):
        """The corrections of step 1, 2, ... for the zeros that the averages start from."""
        self.epsilon = EPSILON * np.sqrt(1 - BETA2**step)
        self.correction = np.sqrt(1 - BETA2**step) / (1 - BETA1**step)

    def weights(self, w, positive, negative, scale, decay, rate, dots, threads):
        _core.rbm.adam_step(
            w,
            positive,
            negative,
            self.arrays["first"],
            self.arrays["second"],
            scale,
            decay,
            rate / self.root * self.correction,
            BETA1,
            BETA2,
            self.epsilon,
            dots,
            threads,
        )

    def vector(self, name, value, grad, rate):
        first, second = self.arrays[f"{name}_first"], self.arrays[f"{name}_second"]
        first += (1 - BETA1) * (grad - first)
        second += (1 - BETA2) * (grad * grad - second)
        value += rate * self.correction * first / (np.sqrt(second) + self.epsilon)


class Momentum:
    """Gradient ascent with momentum; no column of the weights, nor any bias, moves more than LONGEST_STEP at once."""

    def __init__(self, shape, dtype, momentum):
        v, h = shape
        self.arrays = {
            "weights": np.zeros(shape, dtype),
            "alpha": np.zeros(v),
            "gamma": np.zeros(h),
            "log_sigma": np.zeros(v),
        }
        self.momentum = momentum

    def begin(self, step):
        """All steps are alike."""

    def weights(self, w, positive, negative, scale, decay, rate, dots, threads):
        _core.rbm.momentum_step(
            w,
            positive,
            negative,
            self.arrays["weights"],
            scale,
            decay,
            rate,
            self.momentum,
            LONGEST_STEP,
            dots,
            threads,
        )

    def vector(self, name, value, grad, rate):
        velocity = self.arrays[name]
        velocity *= self.momentum
        velocity += rate * grad
        np.clip(velocity, -LONGEST_STEP, LONGEST_STEP, out=velocity)
        value += velocity


class Kept(NamedTuple):
    """The parameters to hand out, the epoch they are of (0: before the first) and their log likelihood."""

    model: Model
    epoch: int
    log_likelihood: float


class Trainer:
    """The state of a training run, one method a phase: minibatch, epoch, snapshot and restore."""

    def __init__(self, x, settings: Settings, key):
        self.settings, self.shape, self.dtype = settings, x.shape, x.dtype
        self.scale = Scale.of_data(x, settings.sigma_floor)
        self.few: np.ndarray | None = None  # the rows that partial_fit saw, while too few to know the scale by
        self.draws = Draws(key, settings.n_threads)
        self.curves: list[tuple[float, float]] = []  # reconstruction error and log likelihood of every epoch
        self.scratch: dict[str, np.ndarray] = {}
        v, h, tau = x.shape[1], settings.n_components, settings.initial_activation
        zero, one = np.zeros(v * h), np.ones(v * h)
        w = self.draws.visible(zero[None], zero, one, 0.1 / np.sqrt(v) * one).reshape(v, h)
        log_sigma = np.log(self.scale.std)
        self._start(w, w @ np.full(h, tau), np.log(tau) - 0.5 * (w**2).sum(0), log_sigma, np.full(h, tau))

    def _start(self, weights, alpha, gamma, log_sigma, centre):
        """These parameters, and no memory of earlier steps: neither the optimizer's nor chains."""
        self.arrays = {
            "weights": np.ascontiguousarray(weights, self.dtype),
            "alpha": alpha,
            "gamma": gamma,
            "log_sigma": log_sigma,
            "centre": centre,
        }
        if self.settings.optimizer == "adam":
            self.optimizer: Adam | Momentum = Adam(weights.shape, self.dtype)
        else:
            self.optimizer = Momentum(weights.shape, self.dtype, self.settings.momentum)
        self.step, self.parity = 0, 0
        self.interval, self.next_jump = JUMP_INTERVAL, JUMP_INTERVAL
        self.kept = Kept(self.model(), self.epoch, -np.inf)

    def go_on(self, settings: Settings, model: Model, x):
        """Take up changed settings and parameters; memory that does not belong to them is dropped."""
        with np.errstate(all="ignore"):  # the last run may have diverged
            same = settings.shares_memory_with(self.settings) and self.model().same_as(model)
        self.settings, self.draws.threads = settings, _core.effective_threads(settings.n_threads)
        if same:
            return
        model = model.astype(np.float64)
        centre = model.hidden_probability(x[:MONITORED], settings.n_threads).mean(0, dtype=np.float64)
        if self.few is not None:
            self.scale, self.few = Scale.of_model(model, centre), None
        w, mean, sigma = model.weights, self.scale.mean, model.sigma
        alpha = (model.visible_bias - mean) / sigma + w @ centre
        self._start(w, alpha, model.hidden_bias + w.T @ (mean / sigma), np.log(sigma), centre)

    def see(self, x):
        """While the rows are few, take the scale from all of them; what is learned in units of sigma stays."""
        if self.few is not None:
            self.few = np.concatenate([self.few, x])
            before, self.scale = self.scale, Scale.of_data(self.few, self.settings.sigma_floor)
            self.arrays["log_sigma"] += np.log(self.scale.std / before.std)
            self.few = self.few if len(self.few) < SETTLED else None

    @property
    def epoch(self) -> int:
        """Epochs done and followed."""
        return len(self.curves)

    def __getstate__(self):
        return self.__dict__ | {"scratch": {}}

    # -- what is learned ---------------------------------------------------------------------------------------------

    def model(self) -> Model:
        """The parameters in the units of the data."""
        a = self.arrays
        w, sigma = a["weights"].astype(np.float64), np.exp(a["log_sigma"])
        alpha = a["alpha"] - w @ a["centre"]
        hidden = a["gamma"] - w.T @ (self.scale.mean / sigma)
        return Model(*(p.astype(self.dtype) for p in (w, self.scale.mean + sigma * alpha, hidden, sigma)))

    def path(self) -> Path:
        """From the independent Gaussian and Bernoulli laws with the data's variances and activities, in units of x."""
        a = self.arrays
        sigma, centre = np.exp(a["log_sigma"]), np.clip(a["centre"], 0.01, 0.99)
        alpha = a["alpha"] - a["weights"] @ a["centre"]
        parameters = (p.astype(self.dtype) for p in (a["weights"], alpha, a["gamma"], np.ones_like(alpha)))
        return Path(Model(*parameters), np.zeros_like(alpha), self.scale.std / sigma, np.log(centre / (1 - centre)))

    # -- one minibatch -----------------------------------------------------------------------------------------------

    def minibatch(self, x, rows, rate):
        """One step of ascent on the likelihood of x[rows]."""
        a, s, n = self.arrays, self.settings, len(rows)
        low = {name: a[name].astype(self.dtype) for name in ("alpha", "gamma", "centre")}
        one = np.ones_like(low["alpha"])
        data = np.empty((n, x.shape[1]), self.dtype)
        inverse_sigma = np.exp(-a["log_sigma"]).astype(self.dtype)
        _core.rbm.standardise_rows(x, rows, self.scale.mean.astype(self.dtype), inverse_sigma, data, self.draws.threads)
        t = data @ a["weights"]
        active, on = np.empty_like(t), None
        if s.method == "cd":
            on = self.draws.hidden(t, low["gamma"], centre=low["centre"], probability=active)
        else:
            _core.rbm.probability_rows(t, low["gamma"], 1.0, low["centre"], active, self.draws.threads)
        model_v, model_active = self._negative(on, active, low, one)
        positive, negative = self._products(data, active, model_v, model_active)
        self.step += 1
        self.optimizer.begin(self.step)
        dots = np.empty(x.shape[1])
        self.optimizer.weights(
            a["weights"], positive, negative, 1.0 / n, s.weight_decay, rate, dots, self.draws.threads
        )
        data_mean = data.mean(0, dtype=np.float64)
        data_square = np.einsum("ni,ni->i", data, data, dtype=np.float64) / n
        self.activity += (active.sum(0, dtype=np.float64) + n * a["centre"]) / self.rows_in_epoch
        self.optimizer.vector(
            "gamma", a["gamma"], active.mean(0, dtype=np.float64) - model_active.mean(0, dtype=np.float64), rate
        )
        if s.learn_sigma:
            grad = data_square - a["alpha"] * data_mean - dots / n - 1.0
            self.optimizer.vector("log_sigma", a["log_sigma"], grad, s.sigma_rate * rate)
            np.maximum(a["log_sigma"], np.log(s.sigma_floor * self.scale.std), out=a["log_sigma"])
        self.optimizer.vector("alpha", a["alpha"], data_mean - model_v.mean(0, dtype=np.float64), rate)
        if not (np.isfinite(dots).all() and np.isfinite(a["gamma"]).all() and np.isfinite(a["alpha"]).all()):
            raise TrainingDiverged("a parameter is no longer finite")

    def _products(self, data, active, model_v, model_active):
        """x^T (s - lambda) over the data and, scaled to as many rows, over the chains."""
        a = self.arrays
        positive, negative = self._scratch("positive", a["weights"]), self._scratch("negative", a["weights"])
        np.matmul(data.T, active, out=positive)
        if len(model_v) != len(data):
            model_active = model_active * self.dtype.type(len(data) / len(model_v))
        np.matmul(model_v.T, model_active, out=negative)
        return positive, negative

    def _scratch(self, name, like):
        if name not in self.scratch:
            self.scratch[name] = np.empty_like(like)
        return self.scratch[name]

    # -- samples of the model ----------------------------------------------------------------------------------------

    def _negative(self, on, active, low, one):
        """Visible points of the model's chains and their hidden probabilities, less the centres."""
        if self.settings.method == "cd":
            return self._gibbs(on, low, one)
        if self.settings.method == "pcd":
            return self._persistent(active, low, one)
        return self._tempered(low)

    def _gibbs(self, on, low, one, jump=False):
        """n_gibbs sweeps from centred hidden states, which are left where the last probabilities put them."""
        w, k = self.arrays["weights"], self.settings.n_gibbs
        for sweep in range(k):
            v = self.draws.visible(on @ w.T, low["alpha"], one, one)
            if jump and sweep == k - 1:
                v = self._jump(v)
            t = v @ w
            probability = np.empty_like(t)
            self.draws.hidden(t, low["gamma"], centre=low["centre"], probability=probability, out=on)
        return v, probability

    def _persistent(self, active, low, one):
        if "chains" not in self.arrays:
            n = self.settings.n_chains or self.settings.batch_size
            start = np.resize(active + low["centre"], (n, active.shape[1]))  # as active as the first batch
            self.arrays["chains"] = (self.draws.uniform(start.size).reshape(start.shape) < start).astype(
                self.dtype
            ) - low["centre"]
        return self._gibbs(self.arrays["chains"], low, one, jump=self.step >= self.next_jump)

    def _jump(self, v):
        """A tempered transition of every chain; rarer while few are accepted, to cost little where it is no use."""
        betas = np.linspace(0.0, 1.0, self.settings.n_temperatures + 1)
        v, accepted = self.path().tempered_transition(v, betas, self.draws)
        share = accepted.mean()
        if share > 0.05:
            self.interval = max(JUMP_INTERVAL, self.interval // 2)
        elif share < 0.02:
            self.interval = min(JUMP_RAREST, 2 * self.interval)
        self.next_jump = self.step + self.interval
        return v

    def _tempered(self, low):
        path, k = self.path(), self.settings.n_temperatures
        if "ladder" not in self.arrays:
            n = self.settings.n_chains or self.settings.batch_size
            self.arrays["ladder"] = np.stack([path.base_draws(n, self.draws) for _ in range(k + 1)])
        ladder = Ladder(path, np.linspace(0.0, 1.0, k + 1), self.arrays["ladder"], self.parity)
        for _ in range(self.settings.n_gibbs):
            ladder.step(self.draws)
        self.parity = ladder.parity
        v = ladder.v[-1]
        probability = v @ self.arrays["weights"]
        _core.rbm.probability_rows(probability, low["gamma"], 1.0, low["centre"], probability, self.draws.threads)
        return v.copy(), probability

    # -- one epoch ---------------------------------------------------------------------------------------------------

    def run_epoch(self, x, rate, centre_weight=1.0):
        """Every row once, in random order and minibatches of like size; then the centres move to the mean activity."""
        order = self.draws.permutation(len(x))
        self.activity, self.rows_in_epoch = np.zeros(self.settings.n_components), len(x)
        for rows in np.array_split(order, max(1, round(len(x) / self.settings.batch_size))):
            self.minibatch(x, rows, rate)
        a = self.arrays
        shift = centre_weight * (self.activity - a["centre"])
        a["alpha"] += a["weights"] @ shift  # the same model, written about the new centre
        if "chains" in a:
            a["chains"] -= shift.astype(self.dtype)
        a["centre"] = a["centre"] + shift

    def monitor(self, x, keep_best):
        """End the epoch: follow the curves, and keep these parameters or, of those with a likelihood, the best.

        The reconstruction error is a share of the data's variance; the log likelihood is NaN beyond AFFORDABLE_SUM.
        """
        kept = self.model()
        model, x = kept.astype(np.float64), x.astype(np.float64, copy=False)
        s = model.hidden_probability(x, self.draws.threads)
        rebuilt = model.visible_bias + model.sigma * (s @ model.weights.T)
        error = float((((x - rebuilt) / self.scale.std) ** 2).mean())
        if not error < 1e4:
            raise TrainingDiverged(f"the reconstruction error rose to {error:.3g} times the variance of the data")
        known, value = self.settings.n_components <= AFFORDABLE_SUM, np.nan
        if known:
            try:
                log_z = exact_log_partition(model, self.draws.threads)
            except ValueError as error:
                raise TrainingDiverged(str(error)) from None
            value = float(-model.free_energy(x, self.draws.threads).mean() - log_z)
        self.curves.append((error, value))
        if not (known and keep_best) or value > self.kept.log_likelihood:
            self.kept = Kept(kept, self.epoch, value)

    # -- stopping and going on ---------------------------------------------------------------------------------------

    def identity(self) -> dict:
        """What a checkpoint and the fit that goes on from it must have in common."""
        return self.settings.lasting() | {
            "dtype of X": self.dtype.name,
            "rows of X": self.shape[0],
            "columns of X": self.shape[1],
        }

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything that the next epoch depends on, as arrays."""
        state = {f"array_{k}": v for k, v in self.arrays.items()}
        state |= {f"optimizer_{k}": v for k, v in self.optimizer.arrays.items()}
        state |= {f"kept_{k}": getattr(self.kept.model, k) for k in PARAMETERS}
        return state | {
            "identity": np.array(json.dumps(self.identity())),
            "key": self.draws.key,
            "counts": np.array([self.step, self.parity, self.interval, self.next_jump, self.draws.block]),
            "curves": np.array(self.curves),
            "kept": np.array([self.kept.epoch, self.kept.log_likelihood]),
        }

    def restore(self, state):
        """Take up a snapshot, which has all of `SNAPSHOT`; ValueError where it is of other data or settings."""
        try:
            theirs = dict(json.loads(str(state["identity"])))
        except (TypeError, ValueError):
            raise ValueError("resume must be a checkpoint, got a file whose identity is unreadable") from None
        differences = [f"{k} {theirs.get(k)!r} (now {v!r})" for k, v in self.identity().items() if theirs.get(k) != v]
        if differences:
            raise ValueError(f"resume must be a checkpoint of the same settings and data, got {', '.join(differences)}")
        self._refuse_other_arrays(state)
        self.arrays = {k[6:]: v for k, v in state.items() if k.startswith("array_")}
        self.optimizer.arrays = {k[10:]: v for k, v in state.items() if k.startswith("optimizer_")}
        self.step, self.parity, self.interval, self.next_jump, self.draws.block = state["counts"].tolist()
        self.curves = [(error, value) for error, value in state["curves"].tolist()]
        epoch, value = state["kept"].tolist()
        self.kept = Kept(Model(*(state[f"kept_{k}"] for k in PARAMETERS)), int(epoch), value)

    def _refuse_other_arrays(self, state):
        """The arrays of a snapshot must be those of this trainer, beside chains, which it may not have yet."""
        mine = self.snapshot()
        wrong = [k for k, v in mine.items() if k != "curves" and not _alike(state.get(k), v)]
        curves = state["curves"]
        if curves.dtype != np.float64 or curves.ndim != 2 or curves.shape[1] != 2:
            wrong.append("curves")
        if wrong:
            raise ValueError(f"resume must be a whole checkpoint, got one with other {', '.join(sorted(wrong))}")


def _alike(array, other) -> bool:
    """Whether two arrays have one shape and one type; texts may differ in length."""
    return array is not None and array.shape == other.shape and (array.dtype == other.dtype or array.dtype.kind == "U")
