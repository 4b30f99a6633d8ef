"""GaussianBernoulliRBM: the model with scikit-learn's protocol, and its exact and sampled quantities."""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
import warnings
from typing import Any

import numpy as np

from sbpfast import _checks
from sbpfast._streams import stream_key
from sbpfast.rbm import _partition, _sampling
from sbpfast.rbm._draws import Draws
from sbpfast.rbm._model import BOTH, Model
from sbpfast.rbm._training import PARAMETERS, Trainer, TrainingDiverged, exact_fit

MONITORED = 2000  # rows on which the reconstruction and the likelihood are followed
AIS_CHAINS, AIS_BETAS = 200, 2000  # for the log Z of score_samples beyond 32 hidden units


class GaussianBernoulliRBM:
    """Gaussian-Bernoulli restricted Boltzmann machine.

    E(v, h) = sum_i (v_i - b_i)^2 / (2 sigma_i^2) - sum_j c_j h_j - sum_ij (v_i / sigma_i) W_ij h_j with real v and
    binary h, P(v) = sum_h exp(-E(v, h)) / Z = exp(-F(v)) / Z: a mixture of 2^H Gaussians that share their means.

    Parameters
    ----------
    n_components : int
        Hidden units H.
    method : {"pcd", "cd", "tempered", "exact"}
        How the model's side of the gradient is found. "cd": chains start anew at the data (biased). "pcd": persistent
        chains, with a tempered transition from time to time, as often as it pays, so that no mode keeps them.
        "tempered": persistent chains at `n_temperatures` more temperatures that exchange their states. "exact": no
        chains but the sum over all hidden states, maximised by L-BFGS (n_components <= 32, better <= 20); `n_epochs`
        is then the largest number of iterations.
    n_gibbs : int
        Gibbs sweeps of the chains for each minibatch.
    learning_rate : float
        For "adam" the length of one step of a unit's weight vector, in units of sigma; for "momentum" the
        factor on the gradient. Too large a rate shows as a likelihood that falls again late in training, when the
        chains no longer keep up with the parameters. `fit` keeps the rate for half its epochs, then lowers it linearly
        to a hundredth.
    batch_size, n_epochs : int
    learn_sigma : bool
        Whether sigma is learned (as log sigma) or stays at the standard deviations of the data.
    sigma_rate : float
        The rate of log sigma as a share of the learning rate. Its gradient is free of sampling noise here, so it may be
        larger than the tenth that is usual.
    sigma_floor : float
        Least sigma, as a share of the feature's standard deviation. The likelihood of data on a grid has no maximum
        without one.
    optimizer : {"adam", "momentum"}
    momentum : float
        For "momentum" alone.
    weight_decay : float
        L2 penalty: adds -weight_decay W to the gradient.
    initial_activation : float
        About the probability with which each unit is on at first.
    n_chains : int, optional
        Chains of "pcd" and "tempered"; `batch_size` of them if None.
    n_temperatures : int
        Steps between the factorised Gaussian and the model, for "tempered" and for the tempered transitions of "pcd".
    validation_fraction : float
        Share of the rows (the last ones) kept out of training and used for the curves of `history_`.
    patience : int, optional
        Stop after so many epochs without a better log likelihood (reconstruction error beyond 20 units).
    checkpoint : path, optional
        File rewritten after every epoch, for ``fit(X, resume=path)``, which gives the bits of an uninterrupted fit.
    rng : None, int, SeedSequence or Generator
        See SPEC 7.
    progress : bool
        A progress bar (tqdm where installed, else a line an epoch on stderr).
    n_threads : int, optional
        None means all usable cores. The random draws and the kernels do not depend on it.

    Attributes
    ----------
    weights_, visible_bias_, hidden_bias_, sigma_ : ndarray (V, H), (V,), (H,), (V,)
    history_ : dict
        ``reconstruction_error`` (share of the data's variance) and ``log_likelihood`` (mean log P(v), NaN where the sum
        over states is not worked out) after each epoch, on at most 2000 rows.
    n_iter_ : int
        Epochs done.
    best_epoch_ : int
        The epoch whose parameters are kept: that of the highest log likelihood where it is known, else the last.

    Notes
    -----
    float32 data are trained in float32. Data in any units are safe, because training runs on (v - mean) / sigma, but
    where the features' scales differ by more than 100 a warning asks to standardise.

    References
    ----------
    Hinton & Salakhutdinov (2006) for the model; Cho, Ilin & Raiko (2011) for sigma; Melchior, Fischer & Wiskott (2016)
    for the centred gradient; Tieleman (2008) for persistent chains; Neal (1996) for tempered transitions.
    """

    history_: dict[str, list[float]]
    n_iter_: int
    best_epoch_: int
    _trainer: Trainer

    def __init__(
        self,
        n_components=256,
        *,
        method="pcd",
        n_gibbs=1,
        learning_rate=0.01,
        batch_size=100,
        n_epochs=50,
        learn_sigma=True,
        sigma_rate=0.3,
        sigma_floor=0.05,
        optimizer="adam",
        momentum=0.9,
        weight_decay=0.0,
        initial_activation=0.05,
        n_chains=None,
        n_temperatures=10,
        validation_fraction=0.0,
        patience=None,
        checkpoint=None,
        rng=None,
        progress=False,
        n_threads=None,
    ):
        self.n_components = n_components
        self.method = method
        self.n_gibbs = n_gibbs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.learn_sigma = learn_sigma
        self.sigma_rate = sigma_rate
        self.sigma_floor = sigma_floor
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.initial_activation = initial_activation
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.checkpoint = checkpoint
        self.rng = rng
        self.progress = progress
        self.n_threads = n_threads

    @classmethod
    def from_params(cls, weights, visible_bias, hidden_bias, sigma, **settings) -> GaussianBernoulliRBM:
        """A machine with given parameters (V, H), (V,), (H,), (V,).

        Raises
        ------
        TypeError, ValueError
            Not real, wrong shapes, not finite, sigma not positive.
        """
        model = Model.checked(weights, visible_bias, hidden_bias, sigma)
        rbm = cls(n_components=model.n_hidden, **settings)
        rbm._set_model(model)
        return rbm

    # -- scikit-learn's protocol -------------------------------------------------------------------------------------

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep=True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params) -> GaussianBernoulliRBM:
        """Change constructor arguments; ValueError for a name that is none."""
        unknown = set(params) - set(self._names())
        if unknown:
            raise ValueError(f"{sorted(unknown)} are no parameters of GaussianBernoulliRBM; those are {self._names()}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        signature = inspect.signature(type(self).__init__).parameters
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if v is not signature[k].default]
        return f"GaussianBernoulliRBM({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "weights_")

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
        )

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        return np.array([f"gaussianbernoullirbm{j}" for j in range(self._model().n_hidden)], dtype=object)

    # -- learning ----------------------------------------------------------------------------------------------------

    def fit(self, X, y=None, *, resume=None) -> GaussianBernoulliRBM:
        """Learn from the rows of X (n, V).

        Parameters
        ----------
        X : array_like
            Finite numbers; float32 is trained in float32.
        y : ignored
        resume : path, optional
            A checkpoint of an earlier fit with the same settings and data; goes on to `n_epochs`.

        Raises
        ------
        ValueError, TypeError
            X is not a non-empty matrix of finite numbers; a parameter is out of its domain.
        TrainingDiverged
            The error rose without bounds or a number overflowed; the parameters of the last good epoch are kept.
        """
        x = self._training_data(X)
        self._check_settings(x)
        held_out = round(len(x) * self.validation_fraction)
        x, watched = (x[:-held_out], x[-held_out:]) if held_out else (x, x)
        trainer = self._new_trainer(x)
        if resume is not None:
            with np.load(resume) as state:
                self._check_checkpoint(state, trainer)
                trainer.restore(state)
        if complaint := trainer.scale.complaint():
            warnings.warn(f"{complaint}: standardise X for faster and more accurate learning", stacklevel=2)
        watched = watched[trainer.draws.permutation(len(watched))[:MONITORED]] if len(watched) > MONITORED else watched
        run = _Run(self, trainer, watched)
        with run:
            if self.method == "exact":
                self._fit_exact(run, x)
            else:
                while trainer.epoch < self.n_epochs and not run.stalled():
                    trainer.run_epoch(x, self._rate(trainer.epoch))
                    run.after_epoch()
        return self

    def partial_fit(self, X, y=None) -> GaussianBernoulliRBM:
        """One pass over the rows of X, going on from where the last `fit` or `partial_fit` stopped.

        The first call takes the data's means and standard deviations from its X.
        """
        x = self._training_data(X)
        self._check_settings(x)
        if self.method == "exact":
            raise ValueError("partial_fit needs method 'cd', 'pcd' or 'tempered', got 'exact'")
        trainer = getattr(self, "_trainer", None)
        if trainer is None:
            trainer = self._new_trainer(x)
        elif x.shape[1] != self.n_features_in_:
            raise ValueError(f"X must have {self.n_features_in_} features, got {x.shape[1]}")
        x = x.astype(trainer.dtype, copy=False)
        with _Run(self, trainer, x[:MONITORED], keep_best=False) as run:
            trainer.run_epoch(x, self._rate(0), centre_weight=min(1.0, len(x) / 1000))
            run.after_epoch()
        return self

    def _training_data(self, X) -> np.ndarray:
        x = _checks.real_array("X", X, ndim=2, dtypes=BOTH)
        if 0 in x.shape:
            raise ValueError(f"X must have at least one row and one column, got shape {x.shape}")
        return x

    def _check_settings(self, x):
        for name in ("n_components", "n_gibbs", "batch_size", "n_epochs", "n_temperatures"):
            _checks.count(name, getattr(self, name))
        for name in ("n_chains", "patience"):
            if getattr(self, name) is not None:
                _checks.count(name, getattr(self, name))
        _checks.choice("method", self.method, ("pcd", "cd", "tempered", "exact"))
        _checks.choice("optimizer", self.optimizer, ("adam", "momentum"))
        for name in ("learning_rate", "sigma_rate", "sigma_floor", "initial_activation"):
            _checks.scalar(name, getattr(self, name), above=0.0)
        for name, value in (
            ("momentum", self.momentum),
            ("validation_fraction", self.validation_fraction),
            ("initial_activation", self.initial_activation),
        ):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {value}")
        if not self.weight_decay >= 0.0:
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay}")
        if self.method == "exact" and self.n_components > _partition.LARGEST_SUM:
            raise ValueError(
                f"method 'exact' sums 2^n_components states and stops at {_partition.LARGEST_SUM}, got "
                f"n_components={self.n_components}; use 'pcd' or 'tempered'"
            )
        if round(len(x) * self.validation_fraction) >= len(x):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} leaves none of {len(x)} rows to learn from"
            )

    def _check_checkpoint(self, state, trainer):
        want = trainer.arrays["weights"].shape
        if "array_weights" not in state or state["array_weights"].shape != want:
            raise ValueError(f"resume must be a checkpoint of a machine of shape {want}")

    def _new_trainer(self, x) -> Trainer:
        return Trainer(x, self, stream_key(self.rng))

    def _rate(self, epoch) -> float:
        left = 2.0 * (1.0 - epoch / self.n_epochs)
        return self.learning_rate * min(1.0, max(left, 0.01))

    def _fit_exact(self, run, x):
        trainer = run.trainer
        result = exact_fit(trainer, x, self.n_epochs, run.after_epoch)
        self.converged_ = bool(result.success)

    # -- the model ---------------------------------------------------------------------------------------------------

    def _set_model(self, model: Model):
        self.weights_, self.visible_bias_ = model.weights, model.visible_bias
        self.hidden_bias_, self.sigma_ = model.hidden_bias, model.sigma
        self.n_features_in_ = model.n_visible

    def _model(self) -> Model:
        if not hasattr(self, "weights_"):
            raise ValueError("this GaussianBernoulliRBM is not fitted yet: call fit, partial_fit or from_params first")
        return Model(self.weights_, self.visible_bias_, self.hidden_bias_, self.sigma_)

    def energy(self, v, h) -> np.ndarray:
        """E(v, h) (n,) of rows v (n, V) and h (n, H); one row of either goes with every row of the other."""
        return self._model().energy(v, h)

    def free_energy(self, v) -> np.ndarray:
        """F(v) = -log sum_h exp(-E(v, h)), (n,) for v (n, V); finite at any weight."""
        model = self._model()
        return model.free_energy(model.points("v", v), self.n_threads)

    def free_energy_grad(self, v) -> np.ndarray:
        """grad F = D^-2 (v - b) - A s(v), (n, V), with A = D^-1 W and s = sigmoid(c + A^T v)."""
        model = self._model()
        return model.free_energy_grad(model.points("v", v), self.n_threads)

    def free_energy_hess(self, v) -> np.ndarray:
        """Hess F = D^-2 - A diag(s (1 - s)) A^T, (n, V, V): symmetric, in general indefinite."""
        model = self._model()
        return model.free_energy_hess(model.points("v", v), self.n_threads)

    def free_energy_hvp(self, v, u) -> np.ndarray:
        """Hess F(v_i) u_i for each row, (n, V), without the Hessians; u may be one row for all."""
        model = self._model()
        v, u = model.points("v", v), model.points("u", np.atleast_2d(u))
        if len(u) not in (1, len(v)):
            raise ValueError(f"u must have 1 or {len(v)} rows, as many as v, got {len(u)}")
        return model.free_energy_hvp(v, np.broadcast_to(u, v.shape), self.n_threads)

    def free_energy_trace(self, v) -> np.ndarray:
        """The trace of Hess F, (n,), without the Hessians."""
        model = self._model()
        return model.free_energy_trace(model.points("v", v), self.n_threads)

    def transform(self, X) -> np.ndarray:
        """P(h_j = 1 | v), (n, H)."""
        model = self._model()
        return model.hidden_probability(model.points("X", X), self.n_threads)

    def fit_transform(self, X, y=None) -> np.ndarray:
        return self.fit(X).transform(X)

    def log_partition(self, method="exact", *, n_chains=200, n_betas=1000, rng=None):
        """log Z.

        Parameters
        ----------
        method : {"exact", "ais"}
            The sum over the 2^H hidden states (a float), or annealed importance sampling from both ends
            (a `LogPartition` with ``value``, ``lower`` and ``upper``).
        n_chains, n_betas : int
            Chains and temperatures of each of the two runs.
        rng : None, int, SeedSequence or Generator

        Raises
        ------
        ValueError
            method="exact" beyond 32 hidden units.
        """
        _checks.choice("method", method, ("exact", "ais"))
        if method == "exact":
            return _partition.exact_log_partition(self._model(), self.n_threads)
        n_chains, n_betas = _checks.count("n_chains", n_chains, 2), _checks.count("n_betas", n_betas)
        return _partition.ais_log_partition(self._model(), stream_key(rng), n_chains, n_betas, self.n_threads)

    def moments(self) -> _partition.Moments:
        """Exact mean and covariance of v, moments of h, log Z and its gradient (up to 32 hidden units)."""
        return _partition.exact_moments(self._model(), self.n_threads)

    def log_prob(self, v) -> np.ndarray:
        """log P(v) = -F(v) - log Z, (n,).

        log Z is exact up to 32 hidden units. Beyond, it is the estimate of annealed importance sampling with 200
        chains, 2000 temperatures and a fixed key; `log_partition(method="ais")` tells how far to trust it.
        """
        model = self._model()
        v = model.points("v", v)
        return (-model.free_energy(v, self.n_threads) - self._log_partition(model)).astype(v.dtype, copy=False)

    def score_samples(self, X) -> np.ndarray:
        """log P(v) of each row, see `log_prob`."""
        return self.log_prob(X)

    def score(self, X, y=None) -> float:
        """Mean log P(v)."""
        return float(self.log_prob(X).mean(dtype=np.float64))

    def _log_partition(self, model: Model) -> float:
        # kept for the parameters it belongs to: the arrays are public, so they are compared, not trusted
        parts = (model.weights, model.visible_bias, model.hidden_bias, model.sigma)
        cached = getattr(self, "_log_partition_cache", None)
        if cached is None or not all(map(np.array_equal, cached[0], parts)):
            if model.n_hidden <= _partition.LARGEST_SUM:
                value = _partition.exact_log_partition(model, self.n_threads)
            else:
                value = _partition.ais_log_partition(model, stream_key(0), AIS_CHAINS, AIS_BETAS, self.n_threads).value
            cached = self._log_partition_cache = (tuple(p.copy() for p in parts), value)
        return cached[1]

    def sample(self, n, method="gibbs", n_steps=1000, *, start=None, n_temperatures=20, rng=None) -> np.ndarray:
        """Draws of P(v), (n, V): the ends of n independent Markov chains.

        Parameters
        ----------
        n : int
        method : {"gibbs", "gibbs-langevin", "tempering", "parallel-tempering", "exact"}
            "gibbs": h | v, then v | h. "gibbs-langevin": a Gibbs sweep, then a Metropolis-adjusted Langevin move on F.
            "tempering": a Gibbs sweep, then a tempered transition (Neal 1996) through a factorised Gaussian. Each of
            these is reversible step by step with respect to P(v), so chains started in P(v) stay in it.
            "parallel-tempering": replicas at `n_temperatures` more temperatures that exchange states; P(v) is the law
            of the last once all are in theirs. "exact": independent draws from the table of P(h), to 20 hidden units.
        n_steps : int
        start : array_like (n, V), optional
            Where the chains start; draws of N(b, D^2) if None.
        n_temperatures : int
            Steps of the path from the Gaussian to the model, for both kinds of tempering.
        rng : None, int, SeedSequence or Generator
            The same bits for every number of threads.
        """
        model, n = self._model(), _checks.count("n", n)
        _checks.choice("method", method, _sampling.METHODS)
        n_steps, n_temperatures = _checks.count("n_steps", n_steps, 0), _checks.count("n_temperatures", n_temperatures)
        if method == "exact" and model.n_hidden > _partition.LARGEST_TABLE:
            raise ValueError(
                f"method 'exact' needs the 2^n_components probabilities of the hidden states and stops at "
                f"n_components = {_partition.LARGEST_TABLE}, got {model.n_hidden}; use 'tempering' or 'gibbs'"
            )
        if start is not None:
            start = _checks.real_array("start", start, shape=(n, model.n_visible))
        return _sampling.run(model, n, method, n_steps, start, n_temperatures, Draws(stream_key(rng), self.n_threads))

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, path):
        """Write parameters and settings to an .npz file."""
        model = self._model()
        arrays: dict[str, Any] = {name: getattr(model, name) for name in PARAMETERS}
        for name, value in self.get_params().items():
            if isinstance(value, (bool, int, float, str)):
                arrays[f"setting_{name}"] = np.array(value)
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path) -> GaussianBernoulliRBM:
        """A machine written by `save`."""
        with np.load(path) as file:
            settings = {k[8:]: file[k].item() for k in file.files if k.startswith("setting_")}
            settings.pop("n_components", None)
            return cls.from_params(*(file[k] for k in PARAMETERS), **settings)


class _Run:
    """One call of fit: curves, the best epoch, checkpoints, progress, and what is left behind however it ends."""

    def __init__(self, rbm: GaussianBernoulliRBM, trainer: Trainer, watched, keep_best=True):
        self.rbm, self.trainer, self.watched, self.keep_best = rbm, trainer, watched, keep_best
        self.good = trainer.model()
        self.bar: Any = None

    def __enter__(self):
        if self.rbm.progress:
            try:
                from tqdm import tqdm

                self.bar = tqdm(total=self.rbm.n_epochs, initial=self.trainer.epoch, desc="GaussianBernoulliRBM")
            except ImportError:
                self.bar = _Lines(self.rbm.n_epochs, self.trainer.epoch)
        return self

    def __exit__(self, kind, error, traceback):
        trainer, rbm = self.trainer, self.rbm
        if self.bar is not None:
            self.bar.close()
        best = trainer.best if self.keep_best else {}
        if kind is None and best:
            self.good = Model(*(best[k].astype(trainer.dtype) for k in PARAMETERS))
        rbm._set_model(self.good)
        rbm.history_, rbm.n_iter_ = trainer.history, trainer.epoch
        rbm.best_epoch_ = int(best.get("epoch", trainer.epoch))
        rbm._trainer = trainer
        if kind is TrainingDiverged:
            del rbm._trainer
            raise TrainingDiverged(
                f"training diverged in epoch {trainer.epoch + 1}: {error}; the parameters of the last good epoch are "
                f"kept. Try a smaller learning_rate (now {rbm._rate(0):g}) or standardised data"
            ) from None
        return False

    def after_epoch(self):
        """Follow the curves, remember the parameters, write the checkpoint."""
        trainer = self.trainer
        error, value = trainer.monitor(self.watched)
        self.good = trainer.model()
        if self.rbm.checkpoint is not None:
            write_checkpoint(self.rbm.checkpoint, trainer.snapshot())
        if self.bar is not None:
            known = {"log_likelihood": f"{value:.4f}"} if np.isfinite(value) else {}
            self.bar.set_postfix({"reconstruction": f"{error:.4f}"} | known, refresh=False)
            self.bar.update()

    def stalled(self) -> bool:
        """Whether `patience` epochs have passed without a better likelihood or, where unknown, reconstruction."""
        patience = self.rbm.patience
        if patience is None:
            return False
        likelihood, error = (np.array(self.trainer.history[k]) for k in ("log_likelihood", "reconstruction_error"))
        curve = likelihood if np.isfinite(likelihood).any() else -error
        return len(curve) > patience and curve[-patience:].max() <= curve[:-patience].max()


class _Lines:
    """A line an epoch, where tqdm is not installed."""

    def __init__(self, total, done):
        self.total, self.done, self.text = total, done, ""

    def set_postfix(self, values, refresh):
        self.text = "  ".join(f"{k} {v}" for k, v in values.items())

    def update(self):
        self.done += 1
        print(f"epoch {self.done}/{self.total}  {self.text}", file=sys.stderr)

    def close(self):
        sys.stderr.flush()


def write_checkpoint(path, state):
    """Replace the file at once, so that an interruption never leaves half of it."""
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".npz", delete=False) as file:
        np.savez(file, **state)
    os.replace(file.name, path)
