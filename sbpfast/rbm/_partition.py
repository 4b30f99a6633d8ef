"""log Z of a Gaussian-Bernoulli RBM: exactly by enumeration, and between two bounds by annealed importance sampling.

Summing out v leaves a Boltzmann machine on the hidden units, P(h) proportional to exp(beta.h + h^T G h / 2) with
beta = c + W^T (b / sigma) and G = W^T W, so log Z needs 2^H terms whatever the number of visible units.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from sbpfast import _core
from sbpfast.rbm._draws import Draws
from sbpfast.rbm._model import Model, product

LARGEST_SUM = 32  # hidden units whose 2^H states are summed
MOST_ROUNDING = 0.01  # nats, of log Z by annealed importance sampling
LARGEST_TABLE = 20  # hidden units whose 2^H probabilities are held in memory, for exact draws


@dataclass(frozen=True)
class Moments:
    """Exact moments of P(v, h), and the derivatives of log Z, from one pass over the hidden states.

    Attributes
    ----------
    mean, cov : ndarray (V,), (V, V)
        E v = b + D W E h and Cov v = D^2 + D W Cov(h) W^T D.
    hidden_mean, hidden_second : ndarray (H,), (H, H)
        E h and E h h^T.
    log_partition : float
        log Z.
    grad : dict
        Derivatives of log Z by ``weights``, ``visible_bias``, ``hidden_bias`` and ``sigma``, shaped like these.
    """

    mean: np.ndarray
    cov: np.ndarray
    hidden_mean: np.ndarray
    hidden_second: np.ndarray
    log_partition: float
    grad: dict[str, np.ndarray]


@dataclass(frozen=True)
class LogPartition:
    """log Z by annealed importance sampling from both ends.

    Attributes
    ----------
    value : float
        Bennett's acceptance ratio (1976), the minimum-variance combination of the two runs.
    forward, reverse : float
        log Z from chains annealed from the Gaussian to the model, and from the model back.  By Jensen's inequality
        the first is too small on average and the second, from true samples of the model, too large.
    lower, upper : float
        The smaller of the two less two of its standard errors, the larger plus two of its own.
    ess_forward, ess_reverse : float
        Effective sample sizes (sum w)^2 / sum w^2 of the two sets of weights; near 1 means: do not trust it.
    exact_start : bool
        Whether the reverse run started from exact samples (up to 20 hidden units) or from the forward run's
        resampled and further relaxed end points, in which case `upper` is no bound where modes were missed.
    """

    value: float
    lower: float
    upper: float
    forward: float
    reverse: float
    ess_forward: float
    ess_reverse: float
    exact_start: bool
    log_weights_forward: np.ndarray = field(repr=False)
    log_weights_reverse: np.ndarray = field(repr=False)

    def __float__(self) -> float:
        return self.value

    def doubt(self) -> str | None:
        """Why the value should not be trusted: few effective samples, or a bracket wider than 1."""
        ess, chains = min(self.ess_forward, self.ess_reverse), len(self.log_weights_forward)
        if ess >= 0.1 * chains and self.upper - self.lower <= 1.0:
            return None
        return (
            f"log Z by annealed importance sampling is not reliable: between {self.lower:.6g} and {self.upper:.6g}, "
            f"with {ess:.1f} effective samples of {chains}"
        )


# -- exactly --------------------------------------------------------------------------------------------------------


def hidden_machine(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """bias (H,) and coupling (H, H) of log P(h) + const = bias . h + sum_{j<k} h_j h_k coupling_jk.

    ValueError where such a sum may be beyond float64.
    """
    w = model.weights.astype(np.float64)
    with np.errstate(all="ignore"):
        gram = np.ascontiguousarray(w.T @ w)
        shift = model.visible_bias.astype(np.float64) / model.sigma
        bias = model.hidden_bias + w.T @ shift + 0.5 * np.diagonal(gram)
        largest = np.abs(bias).sum() + np.abs(gram).sum()
    if not np.isfinite(largest):
        raise ValueError(
            f"log P(h) leaves the range of float64: weights reach {np.abs(w).max():.3g} and visible_bias / sigma "
            f"{np.abs(shift).max():.3g}"
        )
    return np.ascontiguousarray(bias), gram


def _gaussian_constant(sigma) -> float:
    return 0.5 * len(sigma) * np.log(2 * np.pi) + np.log(sigma.astype(np.float64)).sum()


def _check_size(model: Model):
    if model.n_hidden > LARGEST_SUM:
        raise ValueError(
            f"exact sums run over 2^n_components states and stop at n_components = {LARGEST_SUM}, got "
            f"{model.n_hidden}; use annealed importance sampling instead: log_partition(method='ais')"
        )


def exact_log_partition(model: Model, n_threads) -> float:
    _check_size(model)
    log_sum, _ = _core.rbm.sum_states(*hidden_machine(model), False, _core.effective_threads(n_threads))
    return _gaussian_constant(model.sigma) + log_sum


def exact_moments(model: Model, n_threads) -> Moments:
    _check_size(model)
    log_sum, second = _core.rbm.sum_states(*hidden_machine(model), True, _core.effective_threads(n_threads))
    with np.errstate(all="ignore"):
        moments = _moments(model.astype(np.float64), log_sum, second)
    if not all(np.isfinite(array).all() for array in (moments.mean, moments.cov, *moments.grad.values())):
        raise ValueError("the moments leave the range of float64: weights, biases or sigma are too large or too small")
    return moments


def _moments(model: Model, log_sum, second) -> Moments:
    """All moments from those of the hidden units."""
    w, b, sigma = model.weights, model.visible_bias, model.sigma
    hidden = np.diagonal(second).copy()
    mean_shift = w @ hidden
    hidden_cov = second - np.outer(hidden, hidden)
    hidden_cov[np.diag_indices_from(hidden_cov)] = hidden * (1.0 - hidden)
    scaled = sigma[:, None] * w
    return Moments(
        mean=b + sigma * mean_shift,
        cov=np.diag(sigma**2) + scaled @ hidden_cov @ scaled.T,
        hidden_mean=hidden,
        hidden_second=second,
        log_partition=_gaussian_constant(sigma) + log_sum,
        grad={
            "weights": np.outer(b / sigma, hidden) + w @ second,
            "visible_bias": mean_shift / sigma,
            "hidden_bias": hidden.copy(),
            "sigma": (1.0 - b / sigma * mean_shift) / sigma,
        },
    )


def hidden_probabilities(model: Model) -> np.ndarray:
    """P(h) of all 2^H states, bit j of the index being h_j; H <= 20."""
    bias, coupling = hidden_machine(model)
    exponent = np.zeros(1)
    for j in range(model.n_hidden):
        linear = np.zeros(1)  # the coupling of unit j to the states of the units before it
        for k in range(j):
            linear = np.concatenate([linear, linear + coupling[j, k]])
        exponent = np.concatenate([exponent, exponent + (bias[j] + linear)])
    return np.exp(exponent - logsumexp(exponent))


def exact_draws(model: Model, n, draws: Draws) -> np.ndarray:
    """n independent points of P(v): the hidden state from the table of its probabilities, then v given h."""
    cumulative = np.cumsum(hidden_probabilities(model))
    state = np.searchsorted(cumulative, draws.uniform(n) * cumulative[-1])
    h = (state[:, None] >> np.arange(model.n_hidden) & 1).astype(np.float64)
    model = model.astype(np.float64)
    return draws.visible(product(h, model.weights.T), model.visible_bias, model.sigma, model.sigma)


# -- by annealing ---------------------------------------------------------------------------------------------------


class Path:
    """The geometric path exp(-(1 - beta) F_0 - beta F) in (v, h) from a factorised base to the model.

    The base has v ~ N(mean, std^2) and h ~ Bernoulli(sigmoid(hidden_bias)), independent; all terms of the model,
    biases too, are tempered alike.  Every point of the path is a GB-RBM, so its Gibbs conditionals are known:
    P(h_j | v) = sigmoid((1 - beta) c0_j + beta (c + A^T v)_j) and v | h Gaussian with the precision
    (1 - beta) / std^2 + beta / sigma^2.
    """

    def __init__(self, model: Model, mean, std, hidden_bias):
        self.model, dtype = model, model.weights.dtype
        self.mean, self.std, self.base_bias = (np.ascontiguousarray(p, dtype) for p in (mean, std, hidden_bias))
        self.factor = np.ascontiguousarray(model.factor(dtype))
        self.factor_t = self.factor.T

    @property
    def base_log_partition(self) -> float:
        return _gaussian_constant(self.std) + np.logaddexp(0.0, self.base_bias.astype(np.float64)).sum()

    def base_draws(self, n, draws: Draws) -> np.ndarray:
        return draws.visible(np.zeros((n, len(self.mean)), self.mean.dtype), self.mean, self.std, self.std)

    def offset(self, beta):
        return ((1.0 - beta) * self.base_bias + beta * self.model.hidden_bias).astype(self.mean.dtype, copy=False)

    def linked(self, t, beta, draws: Draws) -> np.ndarray:
        """sum_j softplus of the tempered linear forms, t = v @ A."""
        out = np.empty(len(t))
        _core.rbm.softplus_rows(t, self.offset(beta), beta, out, draws.threads)
        return out

    def squares(self, v, draws: Draws):
        """Quadratic part of the model's free energy less that of the base's."""
        model, base = np.empty(len(v)), np.empty(len(v))
        _core.rbm.half_square_rows(v, self.model.visible_bias, 1.0 / self.model.sigma, model, draws.threads)
        _core.rbm.half_square_rows(v, self.mean, 1.0 / self.std, base, draws.threads)
        return model - base

    def visible_law(self, beta):
        """shift, gain and scale of v | h = shift + gain (A h) + scale N(0, 1)."""
        base, own = (1.0 - beta) / self.std**2, beta / self.model.sigma**2
        variance = 1.0 / (base + own)
        shift = variance * (base * self.mean + own * self.model.visible_bias)
        return tuple(p.astype(self.mean.dtype, copy=False) for p in (shift, beta * variance, np.sqrt(variance)))

    def gibbs(self, t, beta, draws: Draws) -> np.ndarray:
        """One sweep v -> h -> v at `beta`, from t = v @ A; reversible with respect to the tempered P(v)."""
        h = draws.hidden(t, self.offset(beta), beta)
        return draws.visible(product(h, self.factor_t), *self.visible_law(beta))

    def anneal(self, v, betas, draws: Draws):
        """Follow `betas` from v; returns the end point and log prod_k p_{k+1}(v_k) / p_k(v_k)."""
        log_weight = np.zeros(len(v))
        for k, (here, there) in enumerate(itertools.pairwise(betas)):
            t = product(v, self.factor)
            log_weight += self.linked(t, there, draws) - self.linked(t, here, draws)
            log_weight -= (there - here) * self.squares(v, draws)
            if k < len(betas) - 2:
                v = self.gibbs(t, there, draws)
        return v, log_weight

    def tempered_transition(self, v, betas, draws: Draws):
        """Neal's tempered transition (1996) of every point; returns the points and which of them moved.

        Up the path to the base, a fresh draw there, down again, then accept or stay.  Detailed balance holds with
        respect to the model, because every step of the way is reversible with respect to its own rung and the
        acceptance probability is the product of the ratios met on the way.
        """
        _, up = self.anneal(v, betas[::-1], draws)
        proposal, down = self.anneal(self.base_draws(len(v), draws), betas, draws)
        accepted = np.log(draws.uniform(len(v))) < up + down
        return np.where(accepted[:, None], proposal, v), accepted


def pilot_path(model: Model, draws: Draws, n_chains=100, n_steps=50) -> Path:
    """A path whose base has the means and variances that short Gibbs chains find."""
    path = Path(model, model.visible_bias, model.sigma, np.zeros_like(model.hidden_bias))
    h = (draws.uniform(n_chains * model.n_hidden).reshape(n_chains, -1) < 0.5).astype(model.weights.dtype)
    v = draws.visible(product(h, path.factor_t), *path.visible_law(1.0))
    activity = np.zeros(model.n_hidden)
    for _ in range(n_steps):
        h = draws.hidden(product(v, path.factor), path.offset(1.0))
        v = draws.visible(product(h, path.factor_t), *path.visible_law(1.0))
        activity += h.mean(0) / n_steps
    std = np.sqrt(np.maximum(v.var(0), model.sigma**2))
    activity = np.clip(activity, 0.01, 0.99)
    return Path(model, v.mean(0), std, np.log(activity / (1.0 - activity)))


def _log_mean(log_weights):
    """log mean w, its standard error and the effective sample size."""
    n = len(log_weights)
    total = logsumexp(log_weights)
    ess = float(np.exp(2 * total - logsumexp(2 * log_weights)))
    return float(total - np.log(n)), float(np.sqrt(max(1.0 / ess - 1.0 / n, 0.0))), ess


def _bennett(forward, reverse):
    """log(Z_1 / Z_0) from log weights of both directions (equal numbers): Bennett (1976)."""

    def balance(c):
        return expit(forward - c).sum() - expit(reverse + c).sum()

    ends = np.concatenate([forward, -reverse])
    low, high = ends.min() - 1.0, ends.max() + 1.0
    return float(brentq(balance, low, high, xtol=1e-12, maxiter=5000))  # the ends may be any doubles


def _relaxed_ends(path: Path, v, log_weights, betas, draws: Draws, n_steps=100):
    """Chains for the reverse run where exact draws cannot be had: resample the forward run, then relax it."""
    weights = np.exp(log_weights - logsumexp(log_weights))
    grid = (np.arange(len(v)) + draws.uniform(1)[0]) / len(v)
    v = v[np.minimum(np.searchsorted(np.cumsum(weights), grid), len(v) - 1)]
    for _ in range(n_steps):
        v = path.gibbs(product(v, path.factor), 1.0, draws)
    return v


def _refuse_rounding(model: Model, n_betas):
    """Raise where log P(h) is so large that the rounding of the weights would hide log Z, or leaves float64."""
    bias, coupling = hidden_machine(model)
    largest = float(np.abs(bias).sum() + np.abs(coupling).sum() + np.abs(model.visible_bias / model.sigma).sum())
    if np.finfo(np.float64).eps * (1.0 + math.sqrt(n_betas)) * largest > MOST_ROUNDING:
        raise ValueError(
            f"log P(v, h) reaches {largest:.3g}: rounding would hide what annealed importance sampling finds; weights, "
            "biases or sigma are too large or too small"
        )


def ais_log_partition(model: Model, key, n_chains, n_betas, n_threads) -> LogPartition:
    model = model.astype(np.float64)
    _refuse_rounding(model, n_betas)
    draws = Draws(key, n_threads)
    betas, exact_start = np.linspace(0.0, 1.0, n_betas + 1), model.n_hidden <= LARGEST_TABLE
    with np.errstate(all="ignore"):
        path = pilot_path(model, draws)
        ends, forward = path.anneal(path.base_draws(n_chains, draws), betas, draws)
        start = exact_draws(model, n_chains, draws) if exact_start else _relaxed_ends(path, ends, forward, betas, draws)
        _, reverse = path.anneal(start, betas[::-1], draws)
    base = path.base_log_partition
    if not (np.isfinite(forward).all() and np.isfinite(reverse).all() and np.isfinite(base)):
        raise ValueError("the weights of annealed importance sampling leave the range of float64")
    low, low_error, ess_forward = _log_mean(forward)
    high, high_error, ess_reverse = _log_mean(reverse)
    estimates = sorted([(base + low, low_error), (base - high, high_error)])
    return LogPartition(
        value=float(base + _bennett(forward, reverse)),
        lower=float(estimates[0][0] - 2 * estimates[0][1]),
        upper=float(estimates[1][0] + 2 * estimates[1][1]),
        forward=float(base + low),
        reverse=float(base - high),
        ess_forward=ess_forward,
        ess_reverse=ess_reverse,
        exact_start=exact_start,
        log_weights_forward=forward,
        log_weights_reverse=reverse,
    )
