"""The verb: check what came, begin, run the loop, judge the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from sbpfast import _checks, _core
from sbpfast._progress import Progress
from sbpfast._streams import stream_key
from sbpfast.fitting._importance import DRAWS
from sbpfast.fitting._improper import ImproperDensity
from sbpfast.fitting._moments import ExactMoments, ExactSource
from sbpfast.fitting._natural import NaturalFit
from sbpfast.fitting._result import STRUCTURES, Fit, FitStep, FitWarning
from sbpfast.fitting._sampled import MOST_TOL, TOL, TOL_A_DIMENSION, SampledFit, sampled_starts
from sbpfast.fitting._sampler import Sampler
from sbpfast.fitting._sets import Points
from sbpfast.fitting._softmax import SoftmaxMoments
from sbpfast.fitting._start import check_start, full_start, low_rank_start
from sbpfast.fitting._unknown_noise import UnknownNoiseMoments
from sbpfast.gaussian import DiagonalGaussian
from sbpfast.gaussian._full import GaussianBase
from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._bridges import BRIDGES, bridged

ESTIMATORS = ("auto", "exact", "price", "stein")
EXACT: tuple[type[ExactSource], ...] = (ExactMoments, UnknownNoiseMoments, SoftmaxMoments)
CHEAP = 4 * 10**6  # evaluations of a link function that are spent on the diagnostics without being asked
LONG, LONG_SAMPLED = 50, 10  # steps without convergence, after which another start is tried


def fit(
    target: Any,
    q0: GaussianBase | Fit | None = None,
    *,
    structure: Literal["full", "diagonal", "low_rank"] = "full",
    rank: int | None = None,
    estimator: Literal["auto", "exact", "price", "stein"] = "auto",
    tol: float | None = None,
    max_iter: int = 200,
    max_samples: int = 65536,
    rng: Any = None,
    n_threads: int | None = None,
    progress: bool = False,
    callback: Callable[[FitStep], object] | None = None,
) -> Fit:
    """The Gaussian q that maximises the ELBO E_q[f] + entropy(q), for a log density f.

    There is no learning rate.  Each step takes the precision to E[-Hess f] and the mean by cov E[grad f] (a natural
    gradient step of rate 1), shorter or in the form of Lin, Schmidt & Khan (2020) where that would lower the ELBO or
    leave the positive definite matrices.  The result does not depend on how the parameters are scaled or correlated.

    - Ridge targets (the regressions) and linear regression with unknown noise: exact moments, natural gradients, and
      Newton's method where those are slow.  Multinomial regression with a full covariance: the same with a fixed rule
      for the integrals over the K - 1 linear predictors of each row.
    - Any other target, full covariance: from gradients at few draws.  A mode by L-BFGS with the Laplace approximation
      there, or N(0, I) where its ELBO is higher; natural gradients on one fixed set of some 1.25 d whitened antithetic
      pairs, accelerated by Anderson's method and solved closely, since slow modes show late; then fresh sets, one step
      each through the slow directions found, whose average is the answer and whose spread says how far it is from the
      best Gaussian.  A thousand evaluations in few dimensions, about 100 d in many, more where tails are heavy or the
      mode is far away; a Gaussian density takes a few d.
    - Any other target, diagonal and low-rank covariances: Newton's steps in their own parameters, from ever more draws.

    Parameters
    ----------
    target : Target, pymc.Model or bridgestan.StanModel
        f, up to a constant, with a value and a gradient; models are taken as by `Target.from_pymc` and
        `Target.from_bridgestan`.
    q0 : Gaussian, Fit or None
        Where to start.  None: the Laplace approximation at a mode, searched for from the zero vector or the start of
        the model; with draws also a standard normal there, where that has the higher ELBO or the other does not
        converge.  A `Fit` (of the same target and settings) is continued, bit for bit as if it had never stopped.
    structure : {"full", "diagonal", "low_rank"}
        Of the covariance.  The last two form nothing larger than the data and (d, rank), but for a target's Hessians.
    rank : int, optional
        Columns k of U in diag + U U^T, for "low_rank"; 5 by default, or d if that is less.
    estimator : {"auto", "exact", "price", "stein"}
        "exact": one-dimensional integrals, for ridge targets, or for linear regression with unknown noise its closed
        form, for full covariances.  "price": E[Hess f] from draws.  "stein": from gradients alone, E[-Hess f] = cov^-1
        - E of an expression that vanishes at the optimum.  "auto": exact where it applies, else, for full covariances,
        gradients alone, since a Hessian costs about d of them and spares fewer; else Price where there is a Hessian.
    tol : float, optional
        For full covariances from draws: the KL divergence from the best Gaussian that may be left, by default 0.005,
        or 0.0001 d where that is more, but at most 0.01 (it is spread over d^2 / 2 entries of the precision).  It is
        estimated from the spread of the last steps, half their variance over the number of draws, plus what they have
        in common along slow directions: an expectation.  The true divergence is of that size, and varies as the square
        of a normal error in as many directions as matter.  The message tells what was reached, also in standard
        deviations of the worst mean.  Where scales vary with other parameters the estimate can be too small: of 64 fits
        of Neal's funnel in 2 to 20 dimensions, at seeds that had no part in the choice of settings, 58 converged, two
        of them at 0.034 and 0.078 where 0.005 was asked; and it is k-hat that tells.
        Otherwise of the residual `r = |L^T E[grad f]| + |I - L^T E[-Hess f] L|_F`, cov = L L^T, in which the KL
        divergence from the optimum is about r^2/6 to r^2/2.  With M = cov^-1 - E[-Hess f] the second term of a
        structure D + U U^T is `|(D diag(M), L^T M U)|_F`, which is 0 at its own optimum; the mean can be further from
        that than r says where the posterior is much more correlated than the structure.  Default 1e-8 for exact
        moments, else 0.02: draws are added until the standard error of r falls below it.
    max_iter : int
        Most steps.
    max_samples : int
        Most draws a step.  Full covariances from draws also give up after 20000 + 200 d evaluations, times 0.005 / tol
        where tol is smaller.
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
        The fit did not converge, k-hat is above 0.7, the gradient is not that of the value, or f has another mode.
        Ctrl-C ends a fit after its last whole step: what there is is returned, and ``q0=`` goes on from it.

    References
    ----------
    Anderson (1965), Iterative procedures for nonlinear integral equations, J. ACM 12.  Giordano, Broderick & Jordan
    (2018), Covariances, robustness, and variational Bayes, JMLR 19 (linear response).  Khan & Rue (2023), The Bayesian
    learning rule, JMLR 24.  Lin, Schmidt & Khan (2020), Handling the positive-definite
    constraint in the Bayesian learning rule, ICML.  Opper & Archambeau (2009), The variational Gaussian approximation
    revisited, Neural Computation 21.  Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging,
    SIAM J. Control Optim. 30.

    Examples
    --------
    >>> import numpy as np, sbpfast as sb
    >>> X, y = np.array([[1.0, -1.0], [1.0, 0.5], [1.0, 2.0]]), np.array([0.0, 1.0, 1.0])
    >>> sb.fit(sb.targets.logistic_regression(X, y, prior_scale=1.0)).q.mean.round(4)
    array([0.1975, 0.9323])
    """
    target = _as_target(target)
    _checks.choice("structure", structure, STRUCTURES)
    exact = _check_target(target, estimator, structure)
    rank = _checked_rank(rank, structure, target.dim)
    tol = _default_tol(exact, structure, target.dim) if tol is None else _checks.scalar("tol", tol, above=0.0)
    max_iter, max_samples = _checks.count("max_iter", max_iter, 0), _checks.count("max_samples", max_samples)
    n_threads = _core.effective_threads(n_threads)
    key = stream_key(rng)
    if isinstance(q0, Fit):
        key = q0._key
    begin: Callable[..., NaturalFit | SampledFit] = _natural_fit
    source: Any
    if exact:
        source = exact_source(target, structure, n_threads)
    elif structure == "full":
        source, begin = Points(target, estimator == "price", key, n_threads), _sampled_fit
    else:
        source = Sampler(target, estimator != "stein" and target._has("hess"), key, n_threads)
    with np.errstate(all="ignore"):  # a step too far is found in its moments and undone; what overflows is refused
        with Watch(progress, callback) as watch:
            if isinstance(q0, Fit):
                loop = q0._continued(source, structure, tol, max_samples)
                loop.run(max_iter, watch)
            else:
                loop = begin(source, q0, structure, rank, tol, max_samples, max_iter, watch)
        result = Fit._of(loop, structure, target, key)
        if not loop.converged and not watch.stopped:
            _checks.warn(f"{loop.message[0].upper()}{loop.message[1:]}.", FitWarning)
        if loop.interrupted:
            return result  # at once; what is left out is worked out when it is asked for
        if (target._link_work or 0) * DRAWS <= CHEAP:
            result._diagnose()
        if not target._ours:
            result._check_gradient()
            result._look_for_other_modes(n_threads)
        return result


def _default_tol(exact, structure, d):
    if exact:
        return 1e-8
    return min(max(TOL, TOL_A_DIMENSION * d), MOST_TOL) if structure == "full" else 0.02


def exact_source(target, structure, n_threads) -> ExactSource | None:
    """The moments of a target without draws, where its kind and the structure have them."""
    for kind in EXACT:
        if isinstance(target, kind.of) and structure in kind.structures:
            return kind(target, n_threads)
    return None


def _natural_fit(source, q0, structure, rank, tol, max_samples, max_iter, watch) -> NaturalFit:
    """From the start asked for; from another, too, where draws led nowhere."""
    loop = _new_loop(source, q0, structure, rank, tol, max_samples)
    loop.run(max_iter, watch)
    ended = source.exact or loop.converged or watch.stopped or loop.interrupted
    if q0 is None and not ended and loop.n_iter >= LONG:
        return _from_elsewhere(loop, structure, rank, max_iter, watch)
    return loop


def _new_loop(source, q0, structure, rank, tol, max_samples) -> NaturalFit:
    mean, shape = full_start(source, q0) if structure == "full" else low_rank_start(source, q0, rank or 0)
    return NaturalFit(source, mean, shape, tol, max_samples)


def _sampled_fit(source, q0, structure, rank, tol, max_samples, max_iter, watch) -> SampledFit:
    """The first fit that converges, of those from several starts; else that with the highest ELBO."""
    if q0 is None:
        starts = sampled_starts(source, source.target._first_point())
    else:
        check_start(q0, source.target)
        starts = [(np.array(q0.mean), np.array(q0.to_cholesky().chol))]
    loops: list[SampledFit] = []
    for mean, chol in starts:
        try:
            loop = SampledFit(source, mean, chol, tol, max_samples)
            loop.run(max_iter, watch)
        except (NonFiniteTarget, ImproperDensity):
            if not loops:
                raise
            break
        loops.append(loop)
        short = loop.n_iter < LONG_SAMPLED or loop.n_iter >= max_iter
        if loop.converged or watch.stopped or loop.interrupted or short:
            break
    return next((loop for loop in loops if loop.converged), max(loops, key=lambda loop: loop.last.elbo))


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


def _as_target(target) -> Target:
    """The target itself, or that of a model of another program."""
    if isinstance(target, Target):
        return target
    made = bridged(target)
    if made is None:
        kinds = ", ".join(["a sbpfast.Target", *(bridge.kind for bridge in BRIDGES.values())])
        raise TypeError(f"target must be one of {kinds}; got {type(target).__name__}")
    return made


def _check_target(target, estimator, structure):
    """Whether the moments will be exact."""
    _checks.choice("estimator", estimator, ESTIMATORS)
    missing = [name for name in ("value", "grad") if not target._has(name)]
    if missing:
        raise ValueError(f"fit needs {' and '.join(missing)} of the target, which has none")
    exact = exact_source(target, structure, 1) is not None
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


class Watch:
    """Progress and callback: called after each step, true to stop."""

    def __init__(self, progress, callback):
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        _checks.flag("progress", progress)
        self.callback, self.stopped = callback, False
        self._progress = Progress("fit", "step", shown=progress)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._progress.close()

    def __call__(self, loop, here):
        step = FitStep(loop.n_iter, here.elbo, loop.residual_trace[-1], loop.n, loop.mean.copy())
        self._progress.done = step.n_iter - 1  # another start begins anew
        self._progress.step(f"ELBO {step.elbo:.6g}, residual {step.residual:.1e}")
        self.stopped = self.callback is not None and bool(self.callback(step))
        return self.stopped
