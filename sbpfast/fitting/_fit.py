"""The verb: check what came, begin, run the loop, judge the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from sbpfast import _checks, _core
from sbpfast._streams import stream_key
from sbpfast.fitting._importance import (
    DRAWS,
    work,
)
from sbpfast.fitting._improper import ImproperDensity
from sbpfast.fitting._moments import ExactMoments, Sampler
from sbpfast.fitting._natural import NaturalFit
from sbpfast.fitting._result import STRUCTURES, Fit, FitStep, FitWarning
from sbpfast.fitting._start import full_start, low_rank_start
from sbpfast.fitting._unknown_noise import UnknownNoiseMoments
from sbpfast.gaussian import DiagonalGaussian
from sbpfast.gaussian._full import GaussianBase
from sbpfast.targets import NonFiniteTarget, Target
from sbpfast.targets._bridges import BRIDGES, bridged
from sbpfast.targets._ridge import Ridge
from sbpfast.targets._unknown_noise import UnknownNoise

ESTIMATORS = ("auto", "exact", "price", "stein")
CHEAP = 4 * 10**6  # evaluations of a link function that are spent on the diagnostics without being asked
LONG = 50  # steps from a mode without convergence, after which another start is tried


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
    Diagonal and low-rank covariances take Newton's steps in their own parameters, to their own optimum.

    Parameters
    ----------
    target : Target, pymc.Model or bridgestan.StanModel
        f, up to a constant, with a value and a gradient; models are taken as by `Target.from_pymc` and
        `Target.from_bridgestan`.  With a Hessian fewer draws are needed; ridge targets (the regressions) need none.
    q0 : Gaussian, Fit or None
        Where to start.  None: the Laplace approximation at a mode, searched for from the zero vector or the start of
        the model; where 50 steps with draws have not converged from there, also the standard normal, and the higher
        ELBO is kept.  A `Fit` (of the same target and settings) is continued, bit for bit as if it had never stopped.
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
        The fit did not converge, or k-hat is above 0.7.  Ctrl-C ends a fit after its last whole step: what there is is
        returned, and ``q0=`` goes on from it.

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
    target = _as_target(target)
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
    with Watch(progress, callback) as watch:
        loop.run(max_iter, watch)
        ended = watch.stopped or loop.interrupted
        if q0 is None and not (exact or loop.converged or ended) and loop.n_iter >= LONG:
            loop = _from_elsewhere(loop, structure, rank, max_iter, watch)
    result = Fit._of(loop, structure, target, key)
    if not loop.converged and not watch.stopped:
        _checks.warn(f"{loop.message[0].upper()}{loop.message[1:]}.", FitWarning)
    if loop.interrupted:
        return result  # at once; what is left out is worked out when it is asked for
    if not isinstance(target, Ridge) or work(target) * DRAWS <= CHEAP:
        result._diagnose()
    if not isinstance(target, Ridge | UnknownNoise):  # whose gradients are ours
        result._check_gradient()
    return result


def _new_loop(source, q0, structure, rank, tol, max_samples) -> NaturalFit:
    mean, shape = full_start(source, q0) if structure == "full" else low_rank_start(source, q0, rank or 0)
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


class Watch:
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
