"""The answer of a fit: a Gaussian, how it was found, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import scipy

from sbpfast import _checks
from sbpfast._files import read_npz, write_npz
from sbpfast._streams import stream_key
from sbpfast.fitting import _posterior
from sbpfast.fitting._full import FullCovariance
from sbpfast.fitting._importance import (
    DRAWS,
    GOOD,
    USABLE,
    FitWarning,
    ImportanceSample,
    first_look,
    importance_sample,
    most_climbing,
    second_look,
    slopes_along_rays,
    unusable,
)
from sbpfast.fitting._low_rank import LowRankCovariance
from sbpfast.fitting._mode import WIDER, FarPoints, other_modes
from sbpfast.fitting._natural import NaturalFit
from sbpfast.fitting._sampled import SampledFit
from sbpfast.fitting._saved import require_whole
from sbpfast.fitting._table import Summary
from sbpfast.gaussian import CholeskyGaussian, DiagonalGaussian, Gaussian, LowRankGaussian
from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._parameters import Parameters
from sbpfast.targets._target import point_text

STRUCTURES = {"full": FullCovariance, "diagonal": LowRankCovariance, "low_rank": LowRankCovariance}
VERSION = 1  # of the saved format


class FitStep(NamedTuple):
    """What a callback sees after each step."""

    n_iter: int
    elbo: float
    residual: float
    n_samples: int  # draws behind the step; 0 for exact moments
    mean: np.ndarray


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
        "hessians", one a point.  The diagnostics are not in it.
    n_evaluations : int
        Points at which f was evaluated, with or without its gradient, diagnostics included.
    other_modes : numpy.ndarray
        Modes that q does not reach, (k, d), of those that climbs from a few overdispersed points found.
    names : list of str or None
        Of the parameters, where a table or picture is not given others; may be set, and is saved.

    Notes
    -----
    ``khat``, ``ess``, ``log_evidence``, ``kl_gap`` and the ``psis_`` moments come from one importance sample from q,
    drawn when the first of them is asked for (already by `fit` where it costs little).
    """

    _evaluated = 0  # points, after the fit itself; here and below what fits of older versions have
    other_modes = np.zeros((0, 0))

    def __init__(self, *, q, structure, elbo, elbo_stderr, converged, message, counts, key, state, target=None):
        self.q, self.structure = q, structure
        self.elbo, self.elbo_stderr = float(elbo), float(elbo_stderr)
        self.converged, self.message, self.counts = bool(converged), str(message), dict(counts)
        self._key, self._state, self._target = key, state, target
        self.names: list[str] | None = None if self.model_parameters is None else self.model_parameters.labels
        self.other_modes = np.zeros((0, q.dim))
        self._importance: ImportanceSample | None = None

    @classmethod
    def _of(cls, loop, structure, target, key):
        here = loop.last
        fit = cls(
            q=loop.shape.gaussian(loop.mean), structure=structure, elbo=here.elbo, elbo_stderr=here.elbo_error,
            converged=loop.converged, message=loop.message, counts=loop.source.counts, key=key, state=loop.state(),
            target=target,
        )  # fmt: skip
        fit._evaluated = loop.source.looked_at
        return fit

    def _continued(self, source, structure, tol, max_samples):
        """The loop this fit came from, in the state it stopped in."""
        if structure != self.structure:
            raise ValueError(f"a fit continues in its own structure, {self.structure!r}, got {structure!r}")
        if source.target.dim != self.q.dim:
            raise ValueError(f"q0 must have the dimension of the target, {source.target.dim}, got {self.q.dim}")
        loop: NaturalFit | SampledFit
        if structure == "full" and not source.exact:
            if "frame" not in self._state:
                raise ValueError("q0 is a fit that another version of sbpfast began; start from its q instead")
            loop = SampledFit(source, self._state["origin"], self._state["frame"], tol, max_samples)
        else:
            arrays = {name[6:]: array for name, array in self._state.items() if name.startswith("shape_")}
            loop = NaturalFit(source, self._state["mean"], STRUCTURES[structure](**arrays), tol, max_samples)
        loop.restore(self._state)
        for name in self.counts.keys() & source.counts.keys():
            source.counts[name] = self.counts[name]
        return loop

    @property
    def model_parameters(self) -> Parameters | None:
        """What the coordinates mean in the model the target came from; None for a target without names."""
        return None if self._target is None else self._target.model_parameters

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

    @property
    def _spent(self) -> int:
        """Evaluations of the fit, the same for one that was continued."""
        if "slow" not in self._state:
            return self.n_iter * self.n_samples
        return int(self._state["counters"][SampledFit.COUNTERS.index("spent")])

    @property
    def n_evaluations(self) -> int:
        """Points at which f was evaluated, with or without its gradient; those of the diagnostics are among them."""
        return self.counts.get("values", 0) + self._evaluated

    # importance sampling

    def _diagnose(self, n_samples=None, key=None):
        if self._target is None:
            raise ValueError(
                "this fit comes from a file or a pickle, which do not hold the target: call diagnose(target=...)"
            )
        key = self._key ^ np.uint64(0x9E3779B97F4A7C15) if key is None else key  # draws the fit has not seen
        try:
            n = n_samples or first_look(self._target, self._spent)
            self._importance = importance_sample(self.q, self._target, n, key)
            cheap = self._target._link_work is not None
            doubtful = self._importance.khat > GOOD and (cheap or not self._importance.all_but_equal)
            if n_samples is None and doubtful:
                n = max(n, second_look(self._target, self._spent))
                self._importance = importance_sample(self.q, self._target, n, key, self._importance.ratios)
            self._evaluated += n
            self._importance = self._importance._replace(ratios=np.zeros(0))
        except NonFiniteTarget as error:
            self._importance = unusable(self.q.dim)
            _checks.warn(f"The fit cannot be checked by importance sampling: {error}.", FitWarning)
            return
        if self.n_samples and self.n_samples < self._importance.n:
            self.elbo, self.elbo_stderr = self._importance.elbo, self._importance.elbo_stderr
        if not self._importance.trusted:
            _checks.warn(
                f"The Gaussian is a poor approximation: Pareto k-hat is {self._importance.khat:.2f}, above {USABLE}, "
                "so its moments may be wrong and importance weights cannot repair them. Transform the parameters "
                "(logarithms of scales, non-centred effects), use more data or a tighter prior, or run Markov chain "
                "Monte Carlo.",
                FitWarning,
            )

    def _check_gradient(self):
        """Warn where a user's gradient is not that of the value."""
        try:
            differences, given = slopes_along_rays(self._target, self.q, self._key)
        except NonFiniteTarget:  # of which the diagnostics have warned
            return
        self._evaluated += 3 * len(given)
        wrong = np.abs(differences - given) > 0.1 * np.maximum(np.abs(differences), np.abs(given))
        if wrong.sum() > len(wrong) // 2:
            _checks.warn(
                "The gradient of the target disagrees with its value: at a draw from q, f changes along a line at a "
                f"rate of {differences[wrong][0]:.4g}, its gradient says {given[wrong][0]:.4g}. Check grad.",
                FitWarning,
            )

    def _look_for_other_modes(self, n_threads):
        """Warn of modes that q does not reach."""
        assert self._target is not None
        points = FarPoints(self._target, False, self._key ^ np.uint64(0xD1B54A32D192ED03), n_threads)
        deviation = self.q._draw(points.key, 0, len(WIDER), False, n_threads).x - self.q.mean
        frame = self._frame()
        draws, most = np.linalg.solve(frame, deviation.T).T, most_climbing(self._spent)
        self.other_modes = other_modes(points, self.q.mean, frame, draws, most)
        self._evaluated += points.counts["values"]
        if len(self.other_modes):
            _checks.warn(
                f"The density has another mode, near x = {point_text(self.other_modes[0])}, which this Gaussian does "
                "not reach and k-hat does not see. A fit from there (q0) tells which mode has the higher ELBO; a "
                "mixture or Markov chain Monte Carlo describes both.",
                FitWarning,
            )

    def _frame(self):
        """A square root of the covariance; of its diagonal for the structures that form no matrix."""
        return (
            np.diag(np.sqrt(self.q._variances())) if self.structure != "full" else np.array(self.q.to_cholesky().chol)
        )

    def diagnose(self, n_samples: int = 4096, *, rng=None, target: Target | None = None) -> Fit:
        """Draw the importance sample anew; returns self.

        Parameters
        ----------
        n_samples : int
            More draws make k-hat and the PSIS moments more precise.
        rng : None, int, SeedSequence, BitGenerator or Generator
        target : Target, optional
            The log density, for a fit that was loaded from a file or a pickle.
        """
        n_samples = _checks.count("n_samples", n_samples, 25)
        if target is not None:
            if not isinstance(target, Target) or target.dim != self.q.dim:
                raise ValueError(f"target must be a Target of dimension {self.q.dim}")
            self._target = target
        self._diagnose(n_samples, stream_key(rng))
        return self

    def _sample(self) -> ImportanceSample:
        if self._importance is None:
            self._diagnose()
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
    def psis_mean_stderr(self) -> np.ndarray:
        """Standard errors of ``psis_mean``, (d,): 0 where the weights are equal; too small where k-hat is above 0.7."""
        return np.broadcast_to(self._sample().mean_stderr, (self.q.dim,)).copy()

    @property
    def psis_sd(self) -> np.ndarray:
        """Standard deviations of x, corrected by Pareto smoothed importance sampling, (d,)."""
        return self._sample().sd

    @property
    def importance_weights(self) -> np.ndarray:
        """Pareto smoothed importance weights of the draws from q behind the diagnostics; they sum to 1."""
        sample = self._sample()
        if len(sample.weights) < sample.n:
            raise ValueError("a pickle does not hold the weights of so many draws: call diagnose(target=...)")
        return sample.weights

    # reading and showing

    def sample(self, n: int, *, rng=None) -> np.ndarray:
        """Draw n points from q, (n, d)."""
        return self.q.sample(n, rng=rng)

    def posterior(self, n: int, *, rng=None, resample: bool = False) -> Any:
        """Draws under the model's own names and on its own scale.

        Parameters
        ----------
        n : int
            How many.
        rng : None, int, SeedSequence, BitGenerator or Generator
            Source of the draws, see SPEC 7.
        resample : bool
            False: draws from q.  True: drawn by their importance weights from several times as many, which corrects
            the Gaussian where k-hat is below 0.7.

        Returns
        -------
        dict of numpy.ndarray
            Name of a variable, deterministic ones included, to its draws (n, *shape); for a target from a JAX pytree a
            tree of that structure; ``{"x": (n, d)}`` where there are no names.

        Warns
        -----
        FitWarning
            k-hat of the draws to be resampled is above 0.7.
        """
        n, resample = _checks.count("n", n), _checks.flag("resample", resample)
        if resample:
            x, khat = _posterior.resampled(self, n, rng)
            if khat > USABLE:
                text = f"Pareto k-hat is {khat:.2f}, above {USABLE}: importance weights cannot repair these draws."
                _checks.warn(text, FitWarning)
        else:
            x = self.sample(n, rng=rng)
        draws = _posterior.by_name(self, x)
        return draws if self.model_parameters is None else self.model_parameters.assemble(draws)

    def nuts_init(self, chains: int = 4, *, rng=None) -> _posterior.NutsInit:
        """Starting points drawn from q and the inverse mass matrix, for PyMC, nutpie and NumPyro's NUTS.

        Parameters
        ----------
        chains : int
        rng : None, int, SeedSequence, BitGenerator or Generator
        """
        return _posterior.nuts_init(self, _checks.count("chains", chains), rng)

    def summary(self, names=None, *, level: float = 0.95) -> Summary:
        """A table: for each parameter mean, sd, interval, probability of being positive, PSIS-corrected mean and sd.

        A fit of another program's model has the rows of the model's variables on the model's own scale: mean, sd and
        interval from draws, weighted by importance where k-hat allows, with the Monte Carlo error of the mean, and with
        mean and sd under q beside them.

        Parameters
        ----------
        names : sequence of str, optional
            Of the coordinates of x, which then are the rows; the attribute ``names``, or x[0], x[1], ..., by default.
        level : float
            Probability of the central interval.

        Warns
        -----
        FitWarning
            The density has so long a tail along a model's variable that importance weights leave its sd open.
        """
        level = _checks.scalar("level", level, above=0.0, below=1.0)
        if names is None and self.model_parameters is not None:
            return _posterior.model_summary(self, level)
        names = self._names(names)
        mean, sd = self.q.mean, np.sqrt(self.q._variances())
        half = scipy.special.ndtri(0.5 + 0.5 * level) * sd
        with np.errstate(over="ignore", divide="ignore"):  # the probability is then 0 or 1
            above = scipy.special.ndtr(mean / sd)
        columns = {
            "mean": mean, "sd": sd, "low": mean - half, "high": mean + half, "P(>0)": above,
            "psis mean": self.psis_mean, "its error": self.psis_mean_stderr, "psis sd": self.psis_sd,
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
                f"Pareto k-hat {sample.khat_text}, "
                f"effective sample size {sample.ess:.0f} of {sample.n}"
            )
        if len(self.other_modes):
            lines.append(f"another mode near x = {point_text(self.other_modes[0])} is not part of it")
        return "\n".join(lines)

    def __repr__(self):
        return self._headline()

    def _names(self, names):
        names = self.names if names is None else names
        if names is None:
            return [f"x[{i}]" for i in range(self.q.dim)]
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise TypeError(f"names must be a sequence of strings, got {names!r}")
        names = [str(name) for name in names]
        if len(names) != self.q.dim:
            raise ValueError(f"names must have {self.q.dim} entries, one a parameter, got {len(names)}")
        return names

    def to_arviz(self, names=None, *, n: int = 2000, rng=None, n_samples: int | None = None):
        """Draws from q as an ArviZ ``InferenceData`` (or ``DataTree``, from ArviZ 1); needs arviz.

        Parameters
        ----------
        names : sequence of str, optional
            Of the coordinates of x, a variable each; the model's own variables by default.
        n : int
            Draws, in four chains where 4 divides n.
        rng : None, int, SeedSequence, BitGenerator or Generator
        n_samples : int, optional
            Another name of n.

        Returns
        -------
        arviz.InferenceData or xarray.DataTree
            Groups ``posterior``; ``sample_stats`` with ``lp``, ``log_q`` and the smoothed ``log_weight``; ``fit`` with
            ``mean_vector`` and ``covariance_matrix``; of a model also ``unconstrained_posterior``, ``observed_data``,
            ``constant_data`` and ``log_likelihood``.
        """
        n = _checks.count("n", n) if n_samples is None else _checks.count("n_samples", n_samples)
        return _posterior.to_arviz(self, names, n, rng)

    def plot(self, path=None, names=None):
        """A page with the ELBO trace, the marginals and k-hat, as a matplotlib figure; saved where a path is given."""
        from sbpfast.fitting._page import draw

        return draw(self, path, self._names(names))

    # files

    def __getstate__(self):
        """What `save` writes, without the target and so without its data, and without the weights of many draws."""
        if self._importance is None and self._target is not None:
            self._diagnose()
        sample = self._importance
        if sample is not None and sample.n > DRAWS:
            sample = sample._replace(weights=np.zeros(0))
        return vars(self) | {"_target": None, "_importance": sample}

    def save(self, path) -> None:
        """Save to an .npz file; diagnostics not computed yet are computed first."""
        if self._importance is None and self._target is not None:
            self._diagnose()
        arrays = {f"state_{name}": array for name, array in self._state.items()}
        arrays |= {f"q_{name}": np.asarray(value) for name, value in self.q._parameters().items()}
        if self._importance is not None:
            arrays |= {f"importance_{name}": np.asarray(value) for name, value in self._importance._asdict().items()}
        if self.names is not None:
            arrays["names"] = np.array(self._names(None))
        arrays |= {f"count_{name}": np.asarray(value) for name, value in self.counts.items()}
        arrays |= {"other_modes": self.other_modes, "evaluated": self._evaluated}
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
        try:
            if int(saved["version"]) <= VERSION:
                return cls._from_arrays(saved)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds a damaged fit: {error}") from error
        raise ValueError(f"{path} was saved by a newer version of sbpfast")

    @classmethod
    def _from_arrays(cls, saved) -> Fit:
        """The fit of which these arrays were saved."""

        require_whole(saved)

        def part(prefix):
            return {name[len(prefix) :]: array for name, array in saved.items() if name.startswith(prefix)}

        result = cls(
            q=FAMILIES[str(saved["family"])](**part("q_")), structure=str(saved["structure"]), elbo=saved["elbo"],
            elbo_stderr=saved["elbo_stderr"], converged=saved["converged"], message=saved["message"], key=saved["key"],
            counts={name: int(value) for name, value in part("count_").items()}, state=part("state_"),
        )  # fmt: skip
        result.other_modes = saved.get("other_modes", result.other_modes)
        result._evaluated = int(saved.get("evaluated", 0))
        if "names" in saved:
            result.names = saved["names"].tolist()
        importance = part("importance_")
        if importance:
            result._importance = ImportanceSample(**{k: v if v.ndim else v.item() for k, v in importance.items()})
        return result


FAMILIES = {family.__name__: family for family in (Gaussian, CholeskyGaussian, DiagonalGaussian, LowRankGaussian)}
