"""GaussianBernoulliRBM: the model with scikit-learn's protocol, and its exact and sampled quantities."""

from __future__ import annotations

import copy
import os
from numbers import Real
from typing import Any

import numpy as np

from sbpfast import _checks
from sbpfast._files import read_written_by, write_npz
from sbpfast._protocol import Transformer, column_names, dense_matrix, refuse_empty
from sbpfast._streams import stream_key
from sbpfast.rbm import _partition, _sampling
from sbpfast.rbm._draws import Draws
from sbpfast.rbm._exact import exact_fit
from sbpfast.rbm._model import BOTH, PARAMETERS, Model
from sbpfast.rbm._run import Run
from sbpfast.rbm._settings import Settings
from sbpfast.rbm._training import MONITORED, SETTLED, SNAPSHOT, Trainer

AIS_CHAINS, AIS_BETAS = 200, 2000  # for the log Z of score_samples beyond 32 hidden units


class GaussianBernoulliRBM(Transformer):
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
        is then the largest number of iterations, and there is no `checkpoint`.
    n_gibbs : int
        Gibbs sweeps of the chains for each minibatch.
    learning_rate : float
        For "adam" the length of one step of a unit's weight vector, in units of sigma; for "momentum" the
        factor on the gradient. Too large a rate shows as a likelihood that falls again late in training, when the
        chains no longer keep up with the parameters. `fit` keeps the rate for half its epochs, then lowers it linearly
        to a hundredth.
    batch_size, n_epochs : int
        Rows are dealt to minibatches of like size, `batch_size` on average or near it.
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
        Share of the rows kept out of training and used for the curves of `history_`: the last ones, so shuffle rows
        that are sorted.
    patience : int, optional
        Stop after so many epochs without a better log likelihood (reconstruction error beyond 20 units).
    checkpoint : path, optional
        File rewritten after every epoch, for ``fit(X, resume=path)``, which gives the bits of an uninterrupted fit. Not
        for "exact".
    rng : None, int, SeedSequence or Generator
        See SPEC 7.
    random_state : None, int, RandomState or what `rng` takes
        scikit-learn's name for `rng`; at most one of the two is given.
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
        The epoch whose parameters are kept, however `fit` ended: that of the highest log likelihood where it is known,
        else the last one. "exact" without validation rows, and `partial_fit`, keep the last. 0: where `fit` started.
    converged_ : bool or None
        For "exact", whether L-BFGS converged; None for the other methods.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where the training data were a data frame.

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
    converged_: bool | None
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
        random_state=None,
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
        self.random_state = random_state
        self.progress = progress
        self.n_threads = n_threads

    def __setstate__(self, state):
        vars(self).update({"random_state": None} | state)  # pickles of version 0.1 have no random_state

    @classmethod
    def from_params(cls, weights, visible_bias, hidden_bias, sigma, **settings) -> GaussianBernoulliRBM:
        """A machine with given parameters (V, H), (V,), (H,), (V,).

        Raises
        ------
        TypeError, ValueError
            Not real, wrong shapes, not finite, sigma not positive; a setting that there is not.
        """
        model = Model.checked(weights, visible_bias, hidden_bias, sigma)
        rbm = cls(n_components=model.n_hidden, **settings)
        rbm._set_model(model.copy())
        return rbm

    # -- learning ----------------------------------------------------------------------------------------------------

    def fit(self, X, y=None, *, resume=None) -> GaussianBernoulliRBM:
        """Learn from the rows of X (n, V).

        Parameters
        ----------
        X : array_like
            Finite numbers; float32 is trained in float32.
        y : ignored
        resume : path, optional
            A checkpoint of an earlier fit with the same data and settings (n_epochs, patience, n_threads, checkpoint
            and progress may differ); goes on to `n_epochs`, with its stream of random numbers, whatever `rng` is.

        Raises
        ------
        ValueError, TypeError
            X is not a non-empty matrix of finite numbers; a parameter is out of its domain; `resume` is no checkpoint,
            or one of other data or settings.
        TrainingDiverged
            The error rose without bounds or a number overflowed; the parameters of the best epoch, where likelihoods
            are known, or of the last good one are kept.
        """
        x, settings = self._training_data(X), Settings.checked(self)
        held_out = settings.held_out(len(x))
        x, watched = (x[:-held_out], x[-held_out:]) if held_out else (x, x)
        state = None if resume is None else self._checkpoint(resume)
        trainer = Trainer(x, settings, self._key() if state is None else state["key"])
        if len(watched) > MONITORED:  # drawn before the state is restored: the same rows for a resumed fit
            watched = watched[trainer.draws.permutation(len(watched))[:MONITORED]]
        if state is not None:
            trainer.restore(state)
        self._keep_names(column_names(X))
        self._warn_of_scale(trainer)
        exact = settings.method == "exact"
        with np.errstate(all="ignore"), Run(self, trainer, watched, keep_best=not exact or held_out > 0) as run:
            if exact:
                self._fit_exact(run, x)
            while not exact and trainer.epoch < settings.n_epochs and not run.stalled():
                trainer.run_epoch(x, settings.rate(trainer.epoch))
                run.after_epoch()
        return self

    def partial_fit(self, X, y=None) -> GaussianBernoulliRBM:
        """One pass over the rows of X, going on from the machine's parameters, wherever they are from.

        The data's means and standard deviations are those of the first call's rows or, where these are fewer, of the
        first hundred. Chains and the optimizer's memory go on from the last call, unless parameters, `method` or
        `optimizer` were changed since then.
        """
        x, settings = self._training_data(X), Settings.checked(self)
        if settings.method == "exact":
            raise ValueError("partial_fit needs method 'cd', 'pcd' or 'tempered', got 'exact'")
        trainer = self._going_on(X, x, settings)
        x = x.astype(trainer.dtype, copy=False)
        with np.errstate(all="ignore"), Run(self, trainer, x[:MONITORED], keep_best=False) as run:
            trainer.run_epoch(x, settings.learning_rate, centre_weight=min(1.0, len(x) / 1000))
            run.after_epoch()
        return self

    def _going_on(self, X, x, settings) -> Trainer:
        """A trainer at this machine's parameters, if it has any, with the memory of the last call where that fits."""
        model = self._model() if self.__sklearn_is_fitted__() else None
        if model is None:
            self._keep_names(column_names(X))
        else:
            self._check_features(column_names(X), x.shape[1], model.n_visible)
            x = x.astype(model.weights.dtype, copy=False)
            if settings.n_components != model.n_hidden:
                raise ValueError(
                    f"n_components must stay {model.n_hidden}, as the machine has it, got {settings.n_components}; "
                    "fit starts anew"
                )
        last: Trainer | None = getattr(self, "_trainer", None)
        if last is None:
            trainer = Trainer(x, settings, self._key())
            trainer.few = x[:0] if len(x) < SETTLED else None
        else:
            trainer = copy.deepcopy(last)  # a copy of the machine may share it
        unsettled = last is None or last.few is not None
        if model is not None:
            trainer.go_on(settings, model, x)
        trainer.see(x)
        if unsettled and trainer.few is None:
            self._warn_of_scale(trainer)
        return trainer

    def _training_data(self, X) -> np.ndarray:
        x = dense_matrix(X, BOTH)
        refuse_empty(x)
        return x

    def _key(self) -> np.ndarray:
        """Of the random streams, by either name."""
        if self.random_state is None:
            return stream_key(self.rng)
        if self.rng is not None:
            raise ValueError(f"rng and random_state are one thing: got {self.rng!r} and {self.random_state!r}")
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = int(seed.randint(2**63, dtype=np.uint64))
        return stream_key(seed, "random_state")

    def _checkpoint(self, path) -> dict[str, np.ndarray]:
        if self.method == "exact":
            raise ValueError("resume is not for method 'exact': L-BFGS cannot be stopped and resumed")
        state = read_written_by("a fit with checkpoint", path, SNAPSHOT)
        if state["key"].dtype != np.uint64 or state["key"].shape != (4,):
            raise ValueError("resume must be a whole checkpoint, got one with other key")
        return state

    def _warn_of_scale(self, trainer):
        if complaint := trainer.scale.complaint():
            _checks.warn(f"{complaint}: standardise X for faster and more accurate learning", UserWarning)

    def _fit_exact(self, run, x):
        result = exact_fit(run.trainer, x, run.after_iteration)
        run.converged = bool(result.success)
        if not run.converged and not run.stalled():
            reason = str(result.message).lower()
            _checks.warn(f"L-BFGS has not converged: {reason}; raise n_epochs", RuntimeWarning)

    # -- the model ---------------------------------------------------------------------------------------------------

    def _set_model(self, model: Model):
        self.weights_, self.visible_bias_ = model.weights, model.visible_bias
        self.hidden_bias_, self.sigma_ = model.hidden_bias, model.sigma
        self.n_features_in_ = model.n_visible

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "weights_")

    def _model(self) -> Model:
        """The parameters, checked at every use because their attributes are public."""
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise _checks.not_fitted(f"this {name} is not fitted yet: call fit, partial_fit or from_params first")
        return Model.checked(self.weights_, self.visible_bias_, self.hidden_bias_, self.sigma_)

    def _model_and_rows(self, X) -> tuple[Model, np.ndarray]:
        model, x = self._model(), dense_matrix(X, BOTH)
        self._check_features(column_names(X), x.shape[1], model.n_visible)
        return model, x

    def energy(self, v, h) -> np.ndarray:
        """E(v, h) (n,) of rows v (n, V) and h (n, H), zeros and ones; one row of either goes with all of the other."""
        return _number("E(v, h)", self._model().energy, v, h)

    def free_energy(self, v) -> np.ndarray:
        """F(v) = -log sum_h exp(-E(v, h)), (n,) for v (n, V).

        No exponential overflows, at any weight, and F is inf where the squares of (v - b) / sigma do; a ValueError
        says where weights and v are so large that F is a difference of infinities.
        """
        model = self._model()
        return _number("F(v)", model.free_energy, model.points("v", v), self.n_threads)

    def free_energy_grad(self, v) -> np.ndarray:
        """grad F = D^-2 (v - b) - A s(v), (n, V), with A = D^-1 W and s = sigmoid(c + A^T v)."""
        model = self._model()
        return _number("grad F(v)", model.free_energy_grad, model.points("v", v), self.n_threads)

    def free_energy_hess(self, v) -> np.ndarray:
        """Hess F = D^-2 - A diag(s (1 - s)) A^T, (n, V, V): symmetric, in general indefinite."""
        model = self._model()
        return _number("Hess F(v)", model.free_energy_hess, model.points("v", v), self.n_threads)

    def free_energy_hvp(self, v, u) -> np.ndarray:
        """Hess F(v_i) u_i for each row, (n, V), without the Hessians; u may be one row for all."""
        model = self._model()
        v, u = model.points("v", v), model.points("u", u if _checks.dimensions(u) > 1 else [u])
        if len(u) not in (1, len(v)):
            raise ValueError(f"u must have 1 or {len(v)} rows, as many as v, got {len(u)}")
        return _number("Hess F(v) u", model.free_energy_hvp, v, np.broadcast_to(u, v.shape), self.n_threads)

    def free_energy_trace(self, v) -> np.ndarray:
        """The trace of Hess F, (n,), without the Hessians."""
        model = self._model()
        return _number("the trace of Hess F(v)", model.free_energy_trace, model.points("v", v), self.n_threads)

    def transform(self, X) -> np.ndarray:
        """P(h_j = 1 | v), (n, H)."""
        model, x = self._model_and_rows(X)
        probability = _number("P(h | v)", model.hidden_probability, x, self.n_threads)
        return self._contained(probability, X, self.get_feature_names_out())

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        return np.array([f"{type(self).__name__.lower()}{j}" for j in range(self._model().n_hidden)], dtype=object)

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
            method="exact" beyond 32 hidden units; weights so large that log Z leaves the range of float64.
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
        chains, 2000 temperatures and a fixed key, and a RuntimeWarning with its bracket says when that is not to be
        trusted; `log_partition(method="ais")` takes more of either.
        """
        model = self._model()
        v = model.points("v", v)
        free_energy = _number("F(v)", model.free_energy, v, self.n_threads)
        return (-free_energy - self._log_partition(model)).astype(v.dtype, copy=False)

    def score_samples(self, X) -> np.ndarray:
        """log P(v) of each row, see `log_prob`."""
        return self.log_prob(self._model_and_rows(X)[1])

    def score(self, X, y=None) -> float:
        """Mean log P(v) of at least one row."""
        log_prob = self.score_samples(X)
        if len(log_prob) == 0:
            raise ValueError("X must have at least one row to be scored, got none")
        return float(log_prob.mean(dtype=np.float64))

    def _log_partition(self, model: Model) -> float:
        # kept for the parameters it belongs to: the arrays are public, so they are compared, not trusted
        cached = getattr(self, "_log_partition_cache", None)
        if cached is None or not cached[0].same_as(model):
            if model.n_hidden <= _partition.LARGEST_SUM:
                log_z, doubt = _partition.exact_log_partition(model, self.n_threads), None
            else:
                ais = _partition.ais_log_partition(model, stream_key(0), AIS_CHAINS, AIS_BETAS, self.n_threads)
                log_z, doubt = ais.value, ais.doubt()
            cached = self._log_partition_cache = (model.copy(), log_z, doubt)
        _, log_z, doubt = cached
        if doubt is not None:
            _checks.warn(doubt, RuntimeWarning)
        return log_z

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
            start = _checks.real_array("start", start, shape=(n, model.n_visible)).copy()
        draws = Draws(stream_key(rng), self.n_threads)
        with np.errstate(all="ignore"):
            v = _sampling.run(model, n, method, n_steps, start, n_temperatures, draws)
        if not np.isfinite(v).all():
            raise ValueError("the chains leave the range of float64: weights, biases or sigma are too large")
        return v

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, path):
        """Write parameters and settings to a file in NumPy's npz format, of this very name."""
        model = self._model()
        arrays: dict[str, Any] = {name: getattr(model, name) for name in PARAMETERS}
        for name, value in self.get_params().items():
            if isinstance(value, (Real, np.bool_, str)):
                arrays[f"setting_{name}"] = np.array(value)
        write_npz(path, arrays)

    @classmethod
    def load(cls, path) -> GaussianBernoulliRBM:
        """A machine written by `save`; a ValueError says what is wrong with any other file."""
        arrays = read_written_by("GaussianBernoulliRBM.save", path, PARAMETERS)
        try:
            settings = {k[8:]: v.item() for k, v in arrays.items() if k.startswith("setting_")}
            settings.pop("n_components", None)
            return cls.from_params(*(arrays[k] for k in PARAMETERS), **settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)!r} holds no machine: {error}") from None


def _number(what, function, *arguments) -> np.ndarray:
    """function(*arguments), which may be infinite but must not be NaN."""
    with np.errstate(all="ignore"):
        value = function(*arguments)
    missing = np.isnan(value)
    if missing.any():
        raise ValueError(
            f"{what} is beyond {value.dtype} in row {np.argwhere(missing)[0][0]}: weights, 1/sigma and v are too large "
            "together"
        )
    return value
