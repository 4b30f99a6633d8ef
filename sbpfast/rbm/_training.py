"""Learning a Gaussian-Bernoulli RBM.

Training works on x = (v - m) / sigma, m the mean of the data, with hidden units centred at their mean activity lambda
(Montavon & Mueller 2012; Melchior, Fischer & Wiskott 2016):

    E(x, h) = |x - alpha|^2 / 2 - gamma.h - x^T W (h - lambda),    P(v) = P(x) / prod sigma.

There the visible noise has unit variance and the normaliser does not depend on sigma, so the gradient in log sigma is
an average over the data alone, E[x_i (x_i - alpha_i - (W (s - lambda))_i)] - 1: nothing in it is sampled.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from sbpfast import _core
from sbpfast.rbm._draws import Draws
from sbpfast.rbm._model import Model, blocks
from sbpfast.rbm._partition import Path, exact_log_partition, exact_moments
from sbpfast.rbm._sampling import Ladder

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
LONGEST_STEP = 0.1  # length of a column's step in one update with momentum, in units of sigma

JUMP_INTERVAL, JUMP_RAREST = 5, 1000  # minibatches between tempered transitions of the persistent chains
PARAMETERS = ("weights", "visible_bias", "hidden_bias", "sigma")
AFFORDABLE_SUM = 20  # hidden units up to which the true likelihood is worked out after every epoch


class TrainingDiverged(ArithmeticError):
    """The parameters stopped being finite or the reconstruction got far worse; the last good ones are kept."""


class Scale:
    """Where the data are and how wide: m, the initial sigma and its floor."""

    def __init__(self, x, floor):
        x64 = x.astype(np.float64, copy=False)
        self.mean = x64.mean(0)
        deviation = x64.std(0)
        varying = deviation > 1e-7 * np.abs(self.mean) + 1e-300
        self.typical = float(np.median(deviation[varying])) if varying.any() else 1.0
        self.std = np.where(varying, deviation, self.typical)
        self.floor = floor * self.std

    def complaint(self):
        """What is wrong with the scale of the data, or None."""
        spread, shift = self.std.max() / self.std.min(), (np.abs(self.mean) / self.std).max()
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

    def weights(self, w, positive, negative, scale, decay, rate, step, dots, threads):
        self.epsilon = EPSILON * np.sqrt(1 - BETA2**step)
        self.correction = np.sqrt(1 - BETA2**step) / (1 - BETA1**step)
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

    def weights(self, w, positive, negative, scale, decay, rate, step, dots, threads):
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


class Trainer:
    """The state of a training run, one method a phase: minibatch, epoch, snapshot and restore."""

    SCALARS = ("step", "epoch", "interval", "next_jump", "parity")

    def __init__(self, x, settings, key):
        self.settings, self.dtype = settings, x.dtype
        self.scale = Scale(x, settings.sigma_floor)
        v, h = x.shape[1], settings.n_components
        self.draws = Draws(key, settings.n_threads)
        spread = 0.1 / np.sqrt(v)
        normals = self.draws.visible(np.zeros((1, v * h)), np.zeros(v * h), np.ones(v * h), np.full(v * h, spread))
        tau = settings.initial_activation
        w = normals.reshape(v, h).astype(self.dtype)
        self.arrays = {
            "weights": w,
            "alpha": w.astype(np.float64) @ np.full(h, tau),
            "gamma": np.log(tau) - 0.5 * (w.astype(np.float64) ** 2).sum(0),
            "log_sigma": np.log(self.scale.std),
            "centre": np.full(h, tau),
        }
        if settings.optimizer == "adam":
            self.optimizer: Adam | Momentum = Adam((v, h), self.dtype)
        else:
            self.optimizer = Momentum((v, h), self.dtype, settings.momentum)
        self.step, self.epoch = 0, 0
        self.interval, self.next_jump = JUMP_INTERVAL, JUMP_INTERVAL
        self.parity = 0
        self.scratch: dict[str, np.ndarray] = {}
        self.history: dict[str, list[float]] = {"reconstruction_error": [], "log_likelihood": []}
        self.best: dict[str, np.ndarray] = {}  # parameters, epoch and log likelihood of the best epoch

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
        dots = np.empty(x.shape[1])
        self.optimizer.weights(
            a["weights"], positive, negative, 1.0 / n, s.weight_decay, rate, self.step, dots, self.draws.threads
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
            np.maximum(a["log_sigma"], np.log(self.scale.floor), out=a["log_sigma"])
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
        """Every row once, in minibatches in random order; then the hidden centres move towards the mean activity."""
        order = self.draws.permutation(len(x))
        self.activity, self.rows_in_epoch = np.zeros(self.settings.n_components), len(x)
        for start in range(0, len(x), self.settings.batch_size):
            self.minibatch(x, order[start : start + self.settings.batch_size], rate)
        a = self.arrays
        shift = centre_weight * (self.activity - a["centre"])
        a["alpha"] += a["weights"] @ shift  # the same model, written about the new centre
        if "chains" in a:
            a["chains"] -= shift.astype(self.dtype)
        a["centre"] = a["centre"] + shift
        self.epoch += 1

    def monitor(self, x):
        """Reconstruction error, as a share of the data's variance, and log likelihood where states can be summed."""
        model = self.model().astype(np.float64)
        x = x.astype(np.float64, copy=False)
        s = model.hidden_probability(x, self.draws.threads)
        rebuilt = model.visible_bias + model.sigma * (s @ model.weights.T)
        error = float((((x - rebuilt) / self.scale.std) ** 2).mean())
        self.history["reconstruction_error"].append(error)
        value = np.nan
        if self.settings.n_components <= AFFORDABLE_SUM:
            value = -model.free_energy(x, self.draws.threads).mean() - exact_log_partition(model, self.draws.threads)
        self.history["log_likelihood"].append(float(value))
        if not error < 1e4:
            raise TrainingDiverged(f"the reconstruction error rose to {error:.3g} times the variance of the data")
        if np.isfinite(value) and value > self.best.get("log_likelihood", -np.inf):
            self.best = {k: getattr(model, k) for k in PARAMETERS}
            self.best |= {"log_likelihood": np.array(value), "epoch": np.array(self.epoch)}
        return error, float(value)

    # -- stopping and going on ---------------------------------------------------------------------------------------

    def snapshot(self):
        """Everything that the next epoch depends on, as arrays."""
        state = {f"array_{k}": v.copy() for k, v in self.arrays.items()}
        state |= {f"optimizer_{k}": v.copy() for k, v in self.optimizer.arrays.items()}
        state |= {f"scalar_{k}": np.array(getattr(self, k)) for k in self.SCALARS}
        state |= {f"history_{k}": np.array(v) for k, v in self.history.items()}
        state |= {f"best_{k}": v for k, v in self.best.items()}
        return state | {
            "key": self.draws.key.copy(),
            "block": np.array(self.draws.block),
            "mean": self.scale.mean,
            "std": self.scale.std,
            "floor": self.scale.floor,
        }

    def restore(self, state):
        self.arrays = {k[6:]: np.array(v) for k, v in state.items() if k.startswith("array_")}
        self.optimizer.arrays = {k[10:]: np.array(v) for k, v in state.items() if k.startswith("optimizer_")}
        for k in self.SCALARS:
            setattr(self, k, int(state[f"scalar_{k}"]))
        self.history = {k[8:]: list(map(float, v)) for k, v in state.items() if k.startswith("history_")}
        self.best = {k[5:]: np.array(v) for k, v in state.items() if k.startswith("best_")}
        self.draws = Draws(np.array(state["key"]), self.settings.n_threads, int(state["block"]))
        self.scale.mean, self.scale.std, self.scale.floor = (np.array(state[k]) for k in ("mean", "std", "floor"))


# -- exact maximum likelihood ---------------------------------------------------------------------------------------


def exact_fit(trainer: Trainer, x, max_iter, report):
    """L-BFGS on the true log likelihood, with x = (v - m) / sigma and uncentred biases; report() every iteration."""
    settings, scale, threads = trainer.settings, trainer.scale, trainer.draws.threads
    x = x.astype(np.float64, copy=False) - scale.mean
    n, (v, h) = len(x), trainer.arrays["weights"].shape
    cuts = np.cumsum([v * h, v, h])

    def unpack(theta):
        w, alpha, gamma, log_sigma = np.split(theta, cuts)
        return np.ascontiguousarray(w.reshape(v, h)), alpha, gamma, log_sigma

    def loss(theta):
        w, alpha, gamma, log_sigma = unpack(theta)
        model = Model(w, alpha, gamma, np.ones(v))
        moments = exact_moments(model, threads)
        value = moments.log_partition + log_sigma.sum() + 0.5 * settings.weight_decay * (w**2).sum()
        positive, mean, square, active = np.zeros((v, h)), np.zeros(v), np.zeros(v), np.zeros(h)
        for rows in blocks(n):
            z = x[rows] * np.exp(-log_sigma)
            s = model.hidden_probability(z, threads)
            value += model.free_energy(z, threads).sum() / n
            positive += z.T @ s / n
            active += s.sum(0) / n
            mean += z.sum(0) / n
            square += (z * z).sum(0) / n
        shift = w @ moments.hidden_mean
        grads = (
            positive - moments.grad["weights"] - settings.weight_decay * w,
            mean - alpha - shift,
            active - moments.hidden_mean,
            (square - alpha * mean - (w * positive).sum(1) - 1.0) * settings.learn_sigma,
        )
        return value, -np.concatenate([g.ravel() for g in grads])

    a = trainer.arrays
    start = a["weights"].astype(np.float64), a["alpha"] - a["weights"] @ a["centre"], a["gamma"], a["log_sigma"]
    theta = np.concatenate([p.ravel() for p in start])
    bounds = np.full((len(theta), 2), (-np.inf, np.inf))
    bounds[cuts[-1] :, 0] = np.log(scale.floor)

    def store(theta):
        w, alpha, gamma, log_sigma = unpack(theta)
        a["weights"], a["gamma"], a["log_sigma"] = w.astype(trainer.dtype), gamma.copy(), log_sigma.copy()
        a["alpha"] = alpha + w @ a["centre"]
        trainer.epoch += 1
        report()

    result = minimize(
        loss,
        theta,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        callback=store,
        options={"maxiter": max_iter, "maxcor": 30},
    )
    if not np.isfinite(result.fun):
        raise TrainingDiverged("the log likelihood is no longer finite")
    return result
