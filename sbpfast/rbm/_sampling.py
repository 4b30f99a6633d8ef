"""Markov chains on P(v): each kernel leaves P(v) invariant from its first step."""

from __future__ import annotations

import numpy as np

from sbpfast.rbm._draws import Draws
from sbpfast.rbm._model import Model, product
from sbpfast.rbm._partition import LARGEST_TABLE, Path, exact_draws, pilot_path

METHODS = ("gibbs", "gibbs-langevin", "tempering", "parallel-tempering", "exact")


def run(model: Model, n, method, n_steps, start, n_temperatures, draws: Draws) -> np.ndarray:
    """n points of P(v), or n chains moved n_steps from `start`."""
    model = model.astype(np.float64)
    if method == "exact":
        return exact_draws(model, n, draws)
    path = Path(model, model.visible_bias, model.sigma, np.zeros_like(model.hidden_bias))
    v = path.base_draws(n, draws) if start is None else start
    if method == "gibbs":
        for _ in range(n_steps):
            v = path.gibbs(product(v, path.factor), 1.0, draws)
    elif method == "gibbs-langevin":
        v = gibbs_langevin(path, v, n_steps, draws)
    elif method == "tempering":
        v = tempering(model, v, n_steps, n_temperatures, draws)
    else:
        ladder = Ladder.started(pilot_path(model, draws), v, n_temperatures, draws)
        for _ in range(n_steps):
            ladder.step(draws)
        v = ladder.v[-1]
    return v


def gibbs_langevin(path: Path, v, n_steps, draws: Draws) -> np.ndarray:
    """A Gibbs sweep, then one Metropolis-adjusted Langevin move on F, preconditioned by D^2; n_steps times.

    The proposal is v' = v - (eps^2 / 2) D^2 grad F(v) + eps D N(0, 1); accepting it with probability
    min(1, exp(F(v) - F(v')) q(v | v') / q(v' | v)) makes the move reversible with respect to P(v).  The step eps is
    a function of the parameters alone: V^(-1/6) over the root of the Lipschitz constant of D grad F D.
    """
    model = path.model
    norm = min(float(np.linalg.norm(model.weights, 2)), 1e150)  # whose square is a number
    lipschitz = max(1.0, 0.25 * norm**2)
    eps = len(model.sigma) ** (-1 / 6) / np.sqrt(lipschitz)
    zero, one, scale = np.zeros_like(model.sigma), np.ones_like(model.sigma), eps * model.sigma

    def drift(v):
        return v - 0.5 * eps**2 * model.sigma * (model.sigma * model.free_energy_grad(v, draws.threads))

    def log_proposal(to, mean):
        return -0.5 * (((to - mean) / scale) ** 2).sum(1)

    for _ in range(n_steps):
        v = path.gibbs(product(v, path.factor), 1.0, draws)
        mean = drift(v)
        proposal = draws.visible(mean, zero, one, scale)
        log_ratio = model.free_energy(v, draws.threads) - model.free_energy(proposal, draws.threads)
        log_ratio += log_proposal(v, drift(proposal)) - log_proposal(proposal, mean)
        v = np.where((np.log(draws.uniform(len(v))) < log_ratio)[:, None], proposal, v)
    return v


def tempering(model: Model, v, n_steps, n_temperatures, draws: Draws) -> np.ndarray:
    """A Gibbs sweep, then a tempered transition through the factorised base; n_steps times."""
    path = pilot_path(model, draws)
    betas = np.linspace(0.0, 1.0, n_temperatures + 1)
    for _ in range(n_steps):
        v = path.gibbs(product(v, path.factor), 1.0, draws)
        v, _ = path.tempered_transition(v, betas, draws)
    return v


class Ladder:
    """Parallel tempering: one replica of every chain at each inverse temperature 0 = beta_0 < ... < beta_K = 1.

    A step is a Gibbs sweep of every replica, then swaps of neighbours, even pairs and odd pairs in turn, accepted with
    probability min(1, p_k(v_l) p_l(v_k) / (p_k(v_k) p_l(v_l))).  The product of the tempered laws is invariant; the law
    of one replica is, once the others are in theirs.
    """

    def __init__(self, path: Path, betas, v, parity=0):
        self.path, self.betas, self.v, self.parity = path, betas, v, parity

    @classmethod
    def started(cls, path: Path, v, n_temperatures, draws: Draws, n_relax=50) -> Ladder:
        """Replicas below 1 start in their exact laws where states can be listed, else from short Gibbs chains."""
        betas = np.linspace(0.0, 1.0, n_temperatures + 1)
        replicas = []
        for beta in betas[:-1]:
            rung = tempered_model(path, beta)
            if rung.n_hidden <= LARGEST_TABLE:
                replicas.append(exact_draws(rung, len(v), draws))
                continue
            x = path.base_draws(len(v), draws)
            for _ in range(n_relax):
                x = path.gibbs(product(x, path.factor), beta, draws)
            replicas.append(x)
        return cls(path, betas, np.stack([*replicas, v]))

    def step(self, draws: Draws):
        path, v, betas = self.path, self.v, self.betas
        for k, beta in enumerate(betas):
            v[k] = path.gibbs(product(v[k], path.factor), beta, draws)
        pairs = range(self.parity, len(betas) - 1, 2)
        self.parity = 1 - self.parity
        for k in pairs:
            self._swap(k, draws)

    def _swap(self, k, draws: Draws):
        path, v, low, high = self.path, self.v, self.betas[k], self.betas[k + 1]
        gain = []  # log p_high(v) - log p_low(v) of either replica
        for x in (v[k], v[k + 1]):
            t = product(x, path.factor)
            linked = path.linked(t, high, draws) - path.linked(t, low, draws)
            gain.append(linked - (high - low) * path.squares(x, draws))
        swap = np.log(draws.uniform(v.shape[1])) < gain[0] - gain[1]
        v[k, swap], v[k + 1, swap] = v[k + 1, swap], v[k, swap]


def tempered_model(path: Path, beta) -> Model:
    """The GB-RBM that the path passes at `beta`."""
    shift, gain, scale = path.visible_law(beta)
    # v | h = shift + gain (A h): gain A = scale W_beta, and b_beta / scale^2 + ... leaves the visible bias at shift
    weights = (gain / scale)[:, None] * path.factor
    return Model(weights, shift, path.offset(beta), scale)
