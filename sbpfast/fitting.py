"""fit: the best Gaussian approximation of a log density, when to stop, and whether to trust it.

The steps are natural gradients from Bonnet's and Price's theorems (`_natural.py`), from one-dimensional integrals or
antithetic draws (`_whitened.py`); `Fit` holds the answer and judges it by importance sampling (`_psis.py`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from sbpfast import _checks, _core
from sbpfast._files import read_npz, write_npz
from sbpfast._importance import (
    DRAWS,
    GOOD,
    USABLE,
    ImportanceSample,
    importance_sample,
    second_look,
    slopes_along_rays,
    unusable,
    work,
)
from sbpfast._improper import ImproperDensity
from sbpfast._low_rank import LowRankCovariance
from sbpfast._natural import FullCovariance, NaturalFit, check_rank, find_low_rank_start, find_start, first_scales
from sbpfast._streams import stream_key
from sbpfast._unknown_noise import UnknownNoise, UnknownNoiseMoments
from sbpfast._whitened import ExactMoments, Sampler
from sbpfast.gaussian import CholeskyGaussian, DiagonalGaussian, Gaussian, GaussianBase, LowRankGaussian
from sbpfast.targets import NonFiniteTarget, Ridge, Target

__all__ = ["Fit", "FitStep", "FitWarning", "ImproperDensity", "fit"]

STRUCTURES = {"full": FullCovariance, "diagonal": LowRankCovariance, "low_rank": LowRankCovariance}
ESTIMATORS = ("auto", "exact", "price", "stein")
CHEAP = 4 * 10**6  # evaluations of a link function that are spent on the diagnostics without being asked
SUBSAMPLE_ROWS = 40000  # a ridge target with more rows starts from a sixteenth of them
LONG = 50  # steps from a mode without convergence, after which another start is tried
VERSION = 1  # of the saved format


class FitWarning(UserWarning):
    """A fit that did not converge, or whose Gaussian is a poor approximation."""


class FitStep(NamedTuple):
    """What a callback sees after each step."""

    n_iter: int
    elbo: float
    residual: float
    n_samples: int  # draws behind the step; 0 for exact moments
    mean: np.ndarray


def fit(
    target: Target,
    q0=None,
    *,
    structure: str = "full",
    rank: int | None = None,
    estimator: str = "auto",
    tol: float | None = None,
    max_iter: int = 200,
    max_samples: int = 65536,
    rng=None,
    n_threads: int | None = None,
    progress: bool = False,
    callback: Callable[[FitStep], object] | None = None,
) -> Fit:
    """The Gaussian q that maximises the ELBO E_q[f] + entropy(q), for a log density f.

    There is no learning rate.  Each step takes the precision to E[-Hess f] and the mean by cov E[grad f] (a natural
    gradient step of rate 1), shorter or in the form of Lin, Schmidt & Khan (2020) where that would lower the ELBO or
    leave the positive definite matrices.  The result does not depend on how the parameters are scaled or correlated.
    Diagonal and low-rank covariances take Newton's steps in their own parameters, to their own optimum.

    Parameters
    ----------
    target : Target
        f, up to a constant, with a value and a gradient.  With a Hessian fewer draws are needed; ridge targets
        (the regressions) need none.
    q0 : Gaussian, Fit or None
        Where to start.  None: the Laplace approximation at a mode, searched for from the zero vector; where 50 steps
        with draws have not converged from there, also the standard normal, and the higher ELBO is kept.  A `Fit` (of
        the same target and settings) is continued, bit for bit as if it had never stopped.
    structure : {"full", "diagonal", "low_rank"}
        Of the covariance.  The last two form nothing larger than the data and (d, rank), but for a target's Hessians.
    rank : int, optional
        Columns k of U in diag + U U^T, for "low_rank"; 5 by default, or d if that is less.
    estimator : {"auto", "exact", "price", "stein"}
        "exact": one-dimensional integrals, for ridge targets, or for linear regression with unknown noise its closed
        form, for full covariances.  "price": E[Hess f] from draws.  "stein": from gradients alone, E[-Hess f] = cov^-1
        - E of an expression that vanishes at the optimum.  "auto": the first that applies.
    tol : float, optional
        Of the residual r = |L^T E[grad f]| + |I - L^T E[-Hess f] L|_F, cov = L L^T, in which the KL divergence from the
        optimum is about r^2/6 to r^2/2.  With M = cov^-1 - E[-Hess f] the second term of a structure D + U U^T is
        |(D diag(M), L^T M U)|_F, which is 0 at its own optimum; the mean can be further from that than r says where
        the posterior is much more correlated than the structure.  Default 1e-8 for exact moments, else 0.02: draws are
        added until the standard error of r falls below it.
    max_iter : int
        Most steps.
    max_samples : int
        Most draws a step.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Source of the draws, see SPEC 7.
    n_threads : int, optional
        None means all usable cores.
    progress : bool
        Show the steps: with tqdm where it is installed, else as lines on standard error.
    callback : callable, optional
        Called with a `FitStep` after each step; a true result stops the fit.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        Wrong kinds or dimensions; a target without value or gradient.
    ImproperDensity
        A ValueError: f has no best Gaussian because it cannot be normalised.
    NonFiniteTarget
        f or a derivative is not finite where the fit starts.

    Warns
    -----
    FitWarning
        The fit did not converge, or k-hat is above 0.7.

    References
    ----------
    Khan & Rue (2023), The Bayesian learning rule, JMLR 24.  Lin, Schmidt & Khan (2020), Handling the positive-definite
    constraint in the Bayesian learning rule, ICML.  Opper & Archambeau (2009), The variational Gaussian approximation
    revisited, Neural Computation 21.

    Examples
    --------
    >>> import numpy as np, sbpfast as sb
    >>> X, y = np.array([[1.0, -1.0], [1.0, 0.5], [1.0, 2.0]]), np.array([0.0, 1.0, 1.0])
    >>> sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0)).q.mean.round(4)
    array([0.1794, 0.5741])
    """
    exact = _check_target(target, estimator, structure)
    _checks.choice("structure", structure, STRUCTURES)
    rank = _checked_rank(rank, structure, target.dim)
    tol = (1e-8 if exact else 0.02) if tol is None else _checks.scalar("tol", tol, above=0.0)
    max_iter, max_samples = _checks.count("max_iter", max_iter, 0), _checks.count("max_samples", max_samples)
    n_threads = _core.effective_threads(n_threads)
    key = stream_key(rng)
    hessian = estimator != "stein" and target._has("hess")
    source: ExactMoments | UnknownNoiseMoments | Sampler
    if exact and isinstance(target, Ridge):
        source = ExactMoments(target, n_threads)
    elif exact and isinstance(target, UnknownNoise):
        source = UnknownNoiseMoments(target, n_threads)
    else:
        source = Sampler(target, hessian, key, n_threads)
    if isinstance(q0, Fit):
        key, loop = q0._key, q0._continued(source, structure, tol, max_samples)
    else:
        loop = _new_loop(source, q0, structure, rank, tol, max_samples)
    with _Watch(progress, callback) as watch:
        loop.run(max_iter, watch)
        if q0 is None and not (exact or loop.converged or watch.stopped) and loop.n_iter >= LONG:
            loop = _from_elsewhere(loop, structure, rank, max_iter, watch)
    result = Fit._of(loop, structure, target, key)
    if not loop.converged and not watch.stopped:
        warnings.warn(f"{loop.message[0].upper()}{loop.message[1:]}.", FitWarning, stacklevel=2)
    if not isinstance(target, Ridge) or work(target) * DRAWS <= CHEAP:
        result._diagnose(stacklevel=3)
    if not isinstance(target, Ridge | UnknownNoise):  # whose gradients are ours
        result._check_gradient(stacklevel=3)
    return result


def _new_loop(source, q0, structure, rank, tol, max_samples) -> NaturalFit:
    mean, shape = _start(source, q0) if structure == "full" else _low_rank_start(source, q0, rank or 0)
    return NaturalFit(source, mean, shape, tol, max_samples)


def _from_elsewhere(loop, structure, rank, max_iter, watch) -> NaturalFit:
    """The better of a fit that did not converge from the mode, which may lie in a spike, and one from N(0, I)."""
    d = len(loop.mean)
    unit = DiagonalGaussian(np.zeros(d), np.ones(d))
    try:
        other = _new_loop(loop.source, unit, structure, rank, loop.tol, loop.max_draws)
        other.run(max_iter, watch)
    except (NonFiniteTarget, ImproperDensity):
        return loop
    return other if other.last.elbo > loop.last.elbo else loop


def _check_target(target, estimator, structure):
    """Whether the moments will be exact."""
    if not isinstance(target, Target):
        raise TypeError(f"target must be a sbpfast.Target, got {type(target).__name__}")
    _checks.choice("estimator", estimator, ESTIMATORS)
    missing = [name for name in ("value", "grad") if not target._has(name)]
    if missing:
        raise ValueError(f"fit needs {' and '.join(missing)} of the target, which has none")
    exact = isinstance(target, Ridge) or (isinstance(target, UnknownNoise) and structure == "full")
    if estimator == "exact" and not exact:
        raise ValueError(
            "estimator 'exact' needs a ridge target (sbpfast.targets.ridge, quadratic or a regression), or linear "
            "regression with unknown noise and a full covariance"
        )
    if estimator == "price" and not target._has("hess"):
        raise ValueError("estimator 'price' needs hess or hvp of the target, which has none")
    return exact and estimator in ("auto", "exact")


def _checked_rank(rank, structure, d):
    if structure != "low_rank":
        if rank is not None:
            raise ValueError(f"rank belongs to structure 'low_rank', got structure {structure!r}")
        return None
    rank = min(5, d) if rank is None else _checks.count("rank", rank)
    if rank > d:
        raise ValueError(f"rank must be at most the dimension {d}, got {rank}")
    return rank


def _check_start(q0, target):
    if not isinstance(q0, GaussianBase):
        raise TypeError(f"q0 must be a Gaussian of sbpfast, a Fit or None, got {type(q0).__name__}")
    if q0.dim != target.dim:
        raise ValueError(f"q0 must have the dimension of the target, {target.dim}, got {q0.dim}")


def _start(source, q0):
    """Mean and full covariance to start from."""
    if q0 is not None:
        _check_start(q0, source.target)
        return np.array(q0.mean), FullCovariance(np.array(q0.to_cholesky().chol))
    if isinstance(source, UnknownNoiseMoments):
        mean, chol = source.start()
        return mean, FullCovariance(chol)
    zero = np.zeros(source.target.dim)
    return find_start(source.draws(1) if isinstance(source, Sampler) else _coarse(source), zero)


def _coarse(source):
    """A cheap stand-in where the rows are many."""
    rows = source.target._rows
    return source.every(16) if rows >= SUBSAMPLE_ROWS and rows >= 400 * source.dim else source


def _low_rank_start(source, q0, rank):
    """Mean and covariance to start from, of a diagonal and `rank` columns."""
    if isinstance(q0, LowRankGaussian) and q0.rank == rank and q0.dim == source.target.dim:
        return np.array(q0.mean), LowRankCovariance(np.sqrt(q0.diag), np.array(q0.factor))
    if q0 is not None:
        _check_start(q0, source.target)
        return find_low_rank_start(source, np.array(q0.mean), np.sqrt(q0._variances()), rank)
    mean = np.zeros(source.target.dim)
    if isinstance(source, Sampler):
        return find_low_rank_start(source, mean, first_scales(source.draws(1), mean), rank)
    std = first_scales(source, mean)
    check_rank(source, mean, std)
    return find_low_rank_start(_coarse(source), mean, std, rank)


class _Watch:
    """Progress and callback: called after each step, true to stop."""

    def __init__(self, progress, callback):
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        self.progress, self.callback, self.stopped, self._bar = progress, callback, False, None

    def __enter__(self):
        if self.progress:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                pass
            else:
                self._bar = tqdm(desc="fit", unit=" steps")
        return self

    def __exit__(self, *exception):
        if self._bar is not None:
            self._bar.close()

    def __call__(self, loop, here):
        step = FitStep(loop.n_iter, here.elbo, loop.residual_trace[-1], loop.n, loop.mean.copy())
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix_str(f"ELBO {step.elbo:.6g}, residual {step.residual:.1e}")
        elif self.progress:
            print(f"fit: step {step.n_iter}, ELBO {step.elbo:.6g}, residual {step.residual:.1e}", file=sys.stderr)
        self.stopped = self.callback is not None and bool(self.callback(step))
        return self.stopped


class Fit:
    """A Gaussian fitted to a log density, and how well it fits.

    Attributes
    ----------
    q : Gaussian, DiagonalGaussian or LowRankGaussian
    elbo, elbo_stderr : float
        The evidence lower bound at q, and its standard error (0 where it is exact).
    elbo_trace, residual_trace : numpy.ndarray
        At the start and after every step.
    converged : bool
    n_iter : int
        Steps taken.
    message : str
        Why the fit stopped, in words.
    n_samples : int
        Draws behind the last step; 0 for exact moments.
    counts : dict of str to int
        Evaluations of the target by kind: "passes" over the data for exact moments, else "values", "gradients" and
        "hessians", one a point.  The importance sampling is not in it: a value for each of its draws.
    names : list of str or None
        Of the parameters, where a table or picture is not given others; may be set, and is saved.

    Notes
    -----
    ``khat``, ``ess``, ``log_evidence``, ``kl_gap`` and the ``psis_`` moments come from one importance sample from q,
    drawn when the first of them is asked for (already by `fit` where it costs little).
    """

    def __init__(self, *, q, structure, elbo, elbo_stderr, converged, message, counts, key, state, target=None):
        self.q, self.structure = q, structure
        self.elbo, self.elbo_stderr = float(elbo), float(elbo_stderr)
        self.converged, self.message, self.counts = bool(converged), str(message), dict(counts)
        self._key, self._state, self._target = key, state, target
        self.names: list[str] | None = None
        self._importance: ImportanceSample | None = None

    @classmethod
    def _of(cls, loop, structure, target, key):
        here = loop.last
        return cls(
            q=loop.shape.gaussian(loop.mean), structure=structure, elbo=here.elbo, elbo_stderr=here.elbo_error,
            converged=loop.converged, message=loop.message, counts=loop.source.counts, key=key, state=loop.state(),
            target=target,
        )  # fmt: skip

    def _continued(self, source, structure, tol, max_samples):
        """The loop this fit came from, in the state it stopped in."""
        if structure != self.structure:
            raise ValueError(f"a fit continues in its own structure, {self.structure!r}, got {structure!r}")
        if source.target.dim != self.q.dim:
            raise ValueError(f"q0 must have the dimension of the target, {source.target.dim}, got {self.q.dim}")
        arrays = {name[6:]: array for name, array in self._state.items() if name.startswith("shape_")}
        loop = NaturalFit(source, self._state["mean"], STRUCTURES[structure](**arrays), tol, max_samples)
        loop.restore(self._state)
        if isinstance(source, Sampler):
            source.key = self._key
        for name in self.counts.keys() & source.counts.keys():
            source.counts[name] = self.counts[name]
        return loop

    @property
    def elbo_trace(self) -> np.ndarray:
        return self._state["elbo_trace"].copy()

    @property
    def residual_trace(self) -> np.ndarray:
        return self._state["residual_trace"].copy()

    @property
    def n_iter(self) -> int:
        return int(self._state["counters"][NaturalFit.COUNTERS.index("n_iter")])

    @property
    def n_samples(self) -> int:
        return int(self._state["counters"][NaturalFit.COUNTERS.index("n")])

    # importance sampling

    def _diagnose(self, n_samples=None, key=None, stacklevel=2):
        if self._target is None:
            raise ValueError("this fit was loaded without its diagnostics and has no target; call diagnose(target=...)")
        key = self._key ^ np.uint64(0x9E3779B97F4A7C15) if key is None else key  # draws the fit has not seen
        try:
            self._importance = importance_sample(self.q, self._target, n_samples or DRAWS, key)
            if n_samples is None and self._importance.khat > GOOD:
                # few draws can mistake the edge of a plateau for a tail, or not reach into one
                more = second_look(self._target, self.n_iter * self.n_samples)
                self._importance = importance_sample(self.q, self._target, max(more, DRAWS), key)
        except NonFiniteTarget as error:
            self._importance = unusable(self.q.dim)
            text = f"The fit cannot be checked by importance sampling: {error}."
            warnings.warn(text, FitWarning, stacklevel=stacklevel)
            return
        if self.n_samples and self.n_samples < self._importance.n:
            self.elbo, self.elbo_stderr = self._importance.elbo, self._importance.elbo_stderr
        if not self._importance.trusted:
            warnings.warn(
                f"The Gaussian is a poor approximation: Pareto k-hat is {self._importance.khat:.2f}, above {USABLE}, "
                "so its moments may be wrong and importance weights cannot repair them. Transform the parameters "
                "(logarithms of scales, non-centred effects), use more data or a tighter prior, or run Markov chain "
                "Monte Carlo.",
                FitWarning,
                stacklevel=stacklevel,
            )

    def _check_gradient(self, stacklevel):
        """Warn where a user's gradient is not that of the value."""
        try:
            differences, given = slopes_along_rays(self._target, self.q, self._key)
        except NonFiniteTarget:  # of which the diagnostics have warned
            return
        wrong = np.abs(differences - given) > 0.1 * np.maximum(np.abs(differences), np.abs(given))
        if wrong.sum() > len(wrong) // 2:
            warnings.warn(
                "The gradient of the target disagrees with its value: at a draw from q, f changes along a line at a "
                f"rate of {differences[wrong][0]:.4g}, its gradient says {given[wrong][0]:.4g}. Check grad.",
                FitWarning,
                stacklevel=stacklevel,
            )

    def diagnose(self, n_samples: int = 4096, *, rng=None, target: Target | None = None) -> Fit:
        """Draw the importance sample anew; returns self.

        Parameters
        ----------
        n_samples : int
            More draws make k-hat and the PSIS moments more precise.
        rng : None, int, SeedSequence, BitGenerator or Generator
        target : Target, optional
            The log density, for a fit that was loaded from a file.
        """
        n_samples = _checks.count("n_samples", n_samples, 25)
        if target is not None:
            if not isinstance(target, Target) or target.dim != self.q.dim:
                raise ValueError(f"target must be a Target of dimension {self.q.dim}")
            self._target = target
        self._diagnose(n_samples, stream_key(rng), stacklevel=3)
        return self

    def _sample(self) -> ImportanceSample:
        if self._importance is None:
            self._diagnose(stacklevel=4)
        assert self._importance is not None
        return self._importance

    @property
    def khat(self) -> float:
        """The Pareto shape of the importance ratios exp(f)/q: below 0.5 good, above 0.7 not to be trusted."""
        return self._sample().khat

    @property
    def ess(self) -> float:
        """Effective sample size of the importance sample."""
        return self._sample().ess

    @property
    def log_evidence(self) -> float:
        """log of the integral of exp(f), by importance sampling."""
        return self._sample().log_evidence

    @property
    def log_evidence_stderr(self) -> float:
        """Standard error of ``log_evidence``; not to be trusted where k-hat is above 0.7."""
        return self._sample().log_evidence_stderr

    @property
    def kl_gap(self) -> float:
        """KL(q || p) = log_evidence - elbo."""
        return self.log_evidence - self.elbo

    @property
    def psis_mean(self) -> np.ndarray:
        """Mean of x, corrected by Pareto smoothed importance sampling, (d,)."""
        return self._sample().mean

    @property
    def psis_sd(self) -> np.ndarray:
        """Standard deviations of x, corrected by Pareto smoothed importance sampling, (d,)."""
        return self._sample().sd

    @property
    def importance_weights(self) -> np.ndarray:
        """Pareto smoothed importance weights of the draws from q behind the diagnostics; they sum to 1."""
        return self._sample().weights

    # reading and showing

    def sample(self, n: int, *, rng=None) -> np.ndarray:
        """Draw n points from q, (n, d)."""
        return self.q.sample(n, rng=rng)

    def summary(self, names=None, *, level: float = 0.95) -> Summary:
        """A table: for each parameter mean, sd, interval, probability of being positive, PSIS-corrected mean and sd.

        Parameters
        ----------
        names : sequence of str, optional
            The attribute ``names``, or x[0], x[1], ..., by default.
        level : float
            Probability of the central interval.
        """
        names = self._names(names)
        if not 0.0 < _checks.scalar("level", level) < 1.0:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        mean, sd = self.q.mean, np.sqrt(self.q._variances())
        half = scipy.special.ndtri(0.5 + 0.5 * level) * sd
        columns = {
            "mean": mean, "sd": sd, "low": mean - half, "high": mean + half, "P(>0)": scipy.special.ndtr(mean / sd),
            "psis mean": self.psis_mean, "psis sd": self.psis_sd,
        }  # fmt: skip
        return Summary(names, columns, level, self._headline())

    def _headline(self):
        error = f" +- {self.elbo_stderr:.2g}" if self.elbo_stderr else ""
        lines = [
            f"Gaussian fit ({self.structure} covariance), {self.n_iter} steps; {self.message}",
            f"ELBO {self.elbo:.6g}{error}",
        ]
        if (sample := self._importance) is not None:
            lines[1] += (
                f", log evidence {sample.log_evidence:.6g} +- {sample.log_evidence_stderr:.2g}; "
                f"Pareto k-hat {sample.khat:.2f} ({sample.verdict}), "
                f"effective sample size {sample.ess:.0f} of {sample.n}"
            )
        return "\n".join(lines)

    def __repr__(self):
        return self._headline()

    def _names(self, names):
        names = self.names if names is None else names
        if names is None:
            return [f"x[{i}]" for i in range(self.q.dim)]
        names = [str(name) for name in names]
        if len(names) != self.q.dim:
            raise ValueError(f"names must have {self.q.dim} entries, one a parameter, got {len(names)}")
        return names

    def to_arviz(self, names=None, *, n_samples: int = 4000, rng=None):
        """Draws from q as an ArviZ ``InferenceData`` (or ``DataTree``), one variable a name; needs arviz."""
        import arviz

        n_samples = _checks.count("n_samples", n_samples)
        chains = 4 if n_samples % 4 == 0 else 1  # the draws are independent, but its diagnostics compare chains
        x = self.sample(n_samples, rng=rng).reshape(chains, -1, self.q.dim)
        if names is None and self.names is None:
            posterior = {"x": x}
        else:
            names = self._names(names)
            if len(set(names)) < len(names):
                raise ValueError(f"names must differ from one another, got {names}")
            posterior = {name: x[:, :, i] for i, name in enumerate(names)}
        if int(arviz.__version__.split(".")[0]) >= 1:
            return arviz.from_dict({"posterior": posterior})
        return arviz.from_dict(posterior=posterior)

    def plot(self, path=None, names=None):
        """A page with the ELBO trace, the marginals and k-hat, as a matplotlib figure; saved where a path is given."""
        from sbpfast._fit_page import draw

        return draw(self, path, self._names(names))

    # files

    def save(self, path) -> None:
        """Save to an .npz file; diagnostics not computed yet are computed first."""
        if self._importance is None and self._target is not None:
            self._diagnose(stacklevel=3)
        arrays = {f"state_{name}": array for name, array in self._state.items()}
        arrays |= {f"q_{name}": np.asarray(value) for name, value in self.q._parameters().items()}
        if self._importance is not None:
            arrays |= {f"importance_{name}": np.asarray(value) for name, value in self._importance._asdict().items()}
        if self.names is not None:
            arrays["names"] = np.array(self._names(None))
        arrays |= {f"count_{name}": np.asarray(value) for name, value in self.counts.items()}
        arrays |= {
            "version": VERSION, "family": type(self.q).__name__, "structure": self.structure, "elbo": self.elbo,
            "elbo_stderr": self.elbo_stderr, "converged": self.converged, "message": self.message, "key": self._key,
        }  # fmt: skip
        write_npz(path, arrays)

    @classmethod
    def load(cls, path) -> Fit:
        """Read a fit that was saved; it can be continued by passing it to `fit` as q0."""
        saved = read_npz(path)
        if "version" not in saved or "family" not in saved:
            raise ValueError(f"{path} does not hold a saved fit")
        if int(saved["version"]) > VERSION:
            raise ValueError(f"{path} was saved by a newer version of sbpfast")

        def part(prefix):
            return {name[len(prefix) :]: array for name, array in saved.items() if name.startswith(prefix)}

        result = cls(
            q=FAMILIES[str(saved["family"])](**part("q_")), structure=str(saved["structure"]), elbo=saved["elbo"],
            elbo_stderr=saved["elbo_stderr"], converged=saved["converged"], message=saved["message"], key=saved["key"],
            counts={name: int(value) for name, value in part("count_").items()}, state=part("state_"),
        )  # fmt: skip
        if "names" in saved:
            result.names = saved["names"].tolist()
        importance = part("importance_")
        if importance:
            result._importance = ImportanceSample(**{k: v if v.ndim else v.item() for k, v in importance.items()})
        return result


FAMILIES = {family.__name__: family for family in (Gaussian, CholeskyGaussian, DiagonalGaussian, LowRankGaussian)}


class Summary:
    """A table of parameters; ``names``, ``columns`` (a dict of arrays) and a text form."""

    def __init__(self, names, columns, level, headline):
        self.names, self.columns, self.level, self.headline = names, columns, level, headline

    def __getitem__(self, column) -> np.ndarray:
        return self.columns[column]

    def __str__(self):
        width = max(9, *(len(name) for name in self.names))
        titles = {"low": f"{50 * (1 - self.level):.3g}%", "high": f"{50 * (1 + self.level):.3g}%"}
        head = " " * width + "".join(f"{titles.get(title, title):>12}" for title in self.columns)
        rows = [
            f"{name:<{width}}"
            + "".join(
                f"{column[i]:12.3f}" if title == "P(>0)" else f"{column[i]:12.5g}"
                for title, column in self.columns.items()
            )
            for i, name in enumerate(self.names)
        ]
        return "\n".join([self.headline, head, *rows])

    __repr__ = __str__
