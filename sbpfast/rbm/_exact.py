"""Exact maximum likelihood: L-BFGS on the true log likelihood, summed over all hidden states."""

from __future__ import annotations

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from sbpfast.rbm._model import Model, blocks
from sbpfast.rbm._partition import exact_moments
from sbpfast.rbm._training import Trainer, TrainingDiverged


class Loss:
    """Minus the mean log likelihood of x = (v - m) / sigma, penalty included, as a function of one vector.

    The vector holds W, alpha, gamma and log sigma, with biases that are not centred.
    """

    def __init__(self, trainer: Trainer, x):
        self.settings, self.threads = trainer.settings, trainer.draws.threads
        self.x = x.astype(np.float64, copy=False) - trainer.scale.mean
        self.shape = v, h = trainer.arrays["weights"].shape
        self.cuts = np.cumsum([v * h, v, h])

    def unpack(self, theta):
        w, alpha, gamma, log_sigma = np.split(theta, self.cuts)
        return np.ascontiguousarray(w.reshape(self.shape)), alpha, gamma, log_sigma

    def __call__(self, theta):
        """Value and gradient."""
        w, alpha, gamma, log_sigma = self.unpack(theta)
        model, decay = Model(w, alpha, gamma, np.ones_like(alpha)), self.settings.weight_decay
        try:
            moments = exact_moments(model, self.threads)
        except ValueError as error:
            raise TrainingDiverged(str(error)) from None
        free_energy, positive, active, mean, square = self._data_means(model, np.exp(-log_sigma))
        grads = (
            positive - moments.grad["weights"] - decay * w,
            mean - alpha - w @ moments.hidden_mean,
            active - moments.hidden_mean,
            (square - alpha * mean - (w * positive).sum(1) - 1.0) * self.settings.learn_sigma,
        )
        value = free_energy + moments.log_partition + log_sigma.sum() + 0.5 * decay * (w**2).sum()
        return value, -np.concatenate([g.ravel() for g in grads])

    def _data_means(self, model: Model, inverse_sigma):
        """Means over the data of F, z s^T, s, z and z^2, with z = (v - m) / sigma and s the hidden probabilities."""
        n, (v, h) = len(self.x), self.shape
        free_energy, positive, active, mean, square = 0.0, np.zeros((v, h)), np.zeros(h), np.zeros(v), np.zeros(v)
        for rows in blocks(n):
            z = self.x[rows] * inverse_sigma
            s = model.hidden_probability(z, self.threads)
            free_energy += model.free_energy(z, self.threads).sum() / n
            positive += z.T @ s / n
            active += s.sum(0) / n
            mean += z.sum(0) / n
            square += (z * z).sum(0) / n
        return free_energy, positive, active, mean, square


def exact_fit(trainer: Trainer, x, after_iteration) -> OptimizeResult:
    """Maximise from the trainer's parameters; `after_iteration` may stop it by a StopIteration."""
    a, settings, loss = trainer.arrays, trainer.settings, Loss(trainer, x)
    start = a["weights"].astype(np.float64), a["alpha"] - a["weights"] @ a["centre"], a["gamma"], a["log_sigma"]
    theta = np.concatenate([p.ravel() for p in start])
    bounds = np.full((len(theta), 2), (-np.inf, np.inf))
    bounds[loss.cuts[-1] :, 0] = np.log(settings.sigma_floor * trainer.scale.std)

    def store(theta):
        w, alpha, gamma, log_sigma = loss.unpack(theta)
        a["weights"], a["gamma"], a["log_sigma"] = w.astype(trainer.dtype), gamma.copy(), log_sigma.copy()
        a["alpha"] = alpha + w @ a["centre"]
        after_iteration()

    options = {"maxiter": settings.n_epochs, "maxcor": 30}
    result = minimize(loss, theta, jac=True, method="L-BFGS-B", bounds=bounds, callback=store, options=options)
    if not np.isfinite(result.fun):
        raise TrainingDiverged("the log likelihood is no longer finite")
    return result
