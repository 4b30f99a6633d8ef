"""expectation_grad: gradients of E[f(x)] with respect to the parameters of the distribution of x.

The path of the data: *draw* a block of points, *evaluate* the target on it, *contract* derivatives with the weights of
the estimator, add the means of its groups of draws to running statistics, and hand back an *estimate*.  Every estimator
is a rule from one block to the means over its groups; blocks come from counter-based streams, so nothing depends on how
many there are or which thread works on them, and memory does not grow with the number of draws.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy

from sbpfast import _checks, _core
from sbpfast._forms import FullForm
from sbpfast._means import RunningMean, group_mean, group_sizes
from sbpfast._streams import stream_key
from sbpfast.gaussian import Draws
from sbpfast.targets import Ridge, Target

__all__ = ["Estimate", "expectation_grad"]

ESTIMATORS = ("price", "pathwise", "score", "exact", "auto")
SAMPLINGS = ("mc", "antithetic", "sobol")
BLOCK = 1024  # draws evaluated at a time
GROUPS = 64  # least number of groups behind a standard error, where there are as many draws
REPLICATES = 16  # independent scrambles of a Sobol sequence


class Estimate:
    """A value, its gradients by parameter name, and their standard errors.

    Attributes
    ----------
    value : float
        E[f]; NaN where the target has no value.
    grad : dict of str to numpy.ndarray
        Gradient of E[f] by parameter name, each shaped like its parameter.
    stderr : dict of str to numpy.ndarray or float
        Standard errors of "value" and of each gradient: zeros where the estimate is exact, NaN from a single draw.
        They come from the spread of at least 64 groups of draws (fewer where there are fewer draws) and are computed when
        first asked for.
    n_samples : int
        Draws used; 0 for an exact estimate.
    estimator : str
        The estimator used.
    """

    def __init__(self, value, grad, stderr, n_samples, estimator, distribution, moments):
        self.value = float(value)
        self.grad = grad
        self.n_samples = n_samples
        self.estimator = estimator
        self._stderr = stderr
        self._distribution = distribution
        self._moments = moments

    @property
    def stderr(self) -> dict:
        if callable(self._stderr):
            self._stderr = self._stderr()
        return self._stderr

    def pullback(self, **jacobians) -> np.ndarray:
        """The chain rule to any parameters theta that the distribution's parameters depend on.

        Parameters
        ----------
        **jacobians : array_like
            By parameter name, d(parameter)/dtheta of shape (*parameter.shape, p).  Gaussians with a full covariance,
            whatever their parameters, also take ``mean`` (d, p) and ``cov`` (d, d, p).

        Returns
        -------
        numpy.ndarray (p,)
            dE[f]/dtheta = sum over the names of <gradient, Jacobian>; for ``mean`` and ``cov`` it is
            E[g^T dmean/dtheta + 1/2 tr(H dcov/dtheta)].

        Raises
        ------
        ValueError
            No Jacobian, an unknown name, or a wrong shape.
        """
        if not jacobians:
            raise ValueError("pullback needs at least one Jacobian, by parameter name")
        grads = self._moments | self.grad
        total, p = 0.0, None
        for name, jacobian in jacobians.items():
            if name not in grads:
                raise ValueError(f"pullback knows the parameters {sorted(grads)}, got {name!r}")
            grad = np.asarray(grads[name])
            jacobian = _checks.real_array(name, jacobian, shape=(*grad.shape, p))
            p = jacobian.shape[-1]
            total = total + np.tensordot(grad, jacobian, axes=grad.ndim)
        return total

    def natural_grad(self) -> dict:
        """Natural gradients by parameter name: the inverse Fisher information times the gradient.

        Raises
        ------
        ValueError
            The estimate holds only some of the parameters (``wrt`` was given).
        """
        missing = set(self._distribution._parameters()) - set(self.grad)
        if missing:
            raise ValueError(f"the natural gradient needs every parameter; ask for {sorted(missing)} as well (wrt=None)")
        return self._distribution._natural_grad(self.grad)

    def __repr__(self):
        lines = [f"Estimate of E[f] by {self.estimator!r}" + (f", {self.n_samples} draws" if self.n_samples else "")]
        lines.append(f"  value {self.value:.6g} +- {float(self.stderr['value']):.2g}")
        for name, grad in self.grad.items():
            error = float(np.sqrt(np.mean(np.square(self.stderr[name]))))
            lines.append(f"  d/d{name} {np.shape(grad)}, norm {float(np.linalg.norm(grad)):.6g}, standard error {error:.2g} (root mean square)")
        return "\n".join(lines)


def expectation_grad(
    target: Target,
    distribution,
    *,
    wrt=None,
    estimator: str = "auto",
    n_samples: int = 4096,
    sampling: str = "mc",
    rng=None,
    n_threads: int | None = None,
) -> Estimate:
    """Value and gradients of E[f(x)], x from a distribution, with respect to the distribution's parameters.

    Parameters
    ----------
    target : Target
        f.
    distribution
        A Gaussian of `sbpfast` or a family of `sbpfast.expfam`.
    wrt : sequence of str, optional
        Parameter names; None means all.
    estimator : str
        "price" (gradient and Hessian of f, Gaussians): Bonnet E[grad f] and Price 1/2 E[Hess f].
        "pathwise" (gradient): E[B(x) grad f]; for Gaussians 1/2 sym E[cov^-1 (x - mean) grad^T].
        "score" (value): E[(f - leave-one-out baseline) d log p].
        "exact": deterministic integrals, standard errors 0.
        "auto": exact where possible, else the one with the least expected error for the derivatives f has.
    n_samples : int
        Draws; antithetic pairs and Sobol points round it up (see ``Estimate.n_samples``).
    sampling : str
        "mc", "antithetic" (pairs mirrored at the mean) or "sobol" (16 independent scrambled Sobol sequences).
    rng : None, int, SeedSequence, BitGenerator or Generator
        See SPEC 7.  An int gives the same bits for every number of threads.
    n_threads : int, optional
        None means all usable cores.

    Returns
    -------
    Estimate

    Raises
    ------
    TypeError, ValueError
        Wrong kinds, dimensions that do not match, n_samples < 1, an unknown estimator, sampling or parameter, or an
        estimator whose derivatives the target lacks.
    NonFiniteTarget
        f or a derivative is not finite at a drawn point.

    References
    ----------
    Rezende, Mohamed & Wierstra (2014), Stochastic backpropagation and approximate inference in deep generative models.
    Mohamed, Rosca, Figurnov & Mnih (2020), Monte Carlo gradient estimation in machine learning, JMLR 21.
    """
    if not isinstance(target, Target):
        raise TypeError(f"target must be a sbpfast.Target, got {type(target).__name__}")
    if not hasattr(distribution, "_estimators"):
        raise TypeError(f"distribution must be one of sbpfast's, got {type(distribution).__name__}")
    if target.dim != distribution.dim:
        raise ValueError(f"target has dimension {target.dim}, but distribution has dimension {distribution.dim}")
    _checks.choice("estimator", estimator, ESTIMATORS)
    _checks.choice("sampling", sampling, SAMPLINGS)
    n_samples = _checks.count("n_samples", n_samples)
    wrt = _wanted(wrt, distribution)
    n_threads = _core.effective_threads(n_threads)
    if estimator == "auto":
        estimator = _automatic(target, distribution)
    _require(estimator, target, distribution, n_samples)
    if estimator == "exact":
        return _exact(target, distribution, wrt, n_threads)
    run = _Run(target, distribution, wrt, n_samples, sampling, rng, n_threads, least=8 if estimator == "score" else 1)
    return RULES[estimator](run)


def _wanted(wrt, distribution):
    names = distribution._names
    if wrt is None:
        return names
    wrt = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    for name in wrt:
        if name not in names:
            raise ValueError(f"wrt must name parameters among {', '.join(names)}; got {name!r}")
    return wrt


NEEDS = {"price": ("grad", "hess"), "pathwise": ("grad",), "score": ("value",), "exact": ()}


def _require(estimator, target, distribution, n_samples):
    """Refuse an estimator the distribution or the target cannot serve, saying what is missing."""
    if estimator not in distribution._estimators:
        raise ValueError(f"estimator {estimator!r} is not defined for {type(distribution).__name__}; use one of {', '.join(distribution._estimators)}")
    missing = [name for name in NEEDS[estimator] if not target._has(name)]
    if missing:
        raise ValueError(f"estimator {estimator!r} needs {' and '.join(missing)} of the target, which has none")
    if estimator == "score" and n_samples < 2:
        raise ValueError(f"estimator 'score' needs n_samples of at least 2 for its leave-one-out baseline, got {n_samples}")
    if estimator == "exact" and not isinstance(target, Ridge):
        raise ValueError("estimator 'exact' needs a ridge target (sbpfast.targets.ridge, quadratic or a regression) under a Gaussian")


def _automatic(target, distribution):
    if isinstance(target, Ridge) and "exact" in distribution._estimators:
        return "exact"
    for name in ("price", "pathwise", "score"):
        if name in distribution._estimators and all(target._has(need) for need in NEEDS[name]):
            return name
    raise ValueError(f"the target has none of the derivatives that the estimators of {type(distribution).__name__} need")


# -- the run: blocks of draws and their groups ------------------------------------------------------------------------


class _Block(NamedTuple):
    draws: Draws
    m: int  # draws in a group
    whole: bool  # False: the block is one part of a single group


class _Run:
    """One call: the target, the distribution and the blocks of draws, which can be replayed."""

    def __init__(self, target, distribution, wrt, n_samples, sampling, rng, n_threads, least):
        self.target, self.q, self.wrt, self.sampling, self.n_threads = target, distribution, wrt, sampling, n_threads
        self.key = stream_key(rng)
        pair = 2 if sampling == "antithetic" or least > 1 else 1  # every group and every part of one is a multiple of it
        if sampling == "sobol":
            self.m = max(pair, _power_of_two_above(-(-n_samples // REPLICATES)))
            self.n = REPLICATES * self.m
        else:
            self.n = n_samples + n_samples % 2 if sampling == "antithetic" else n_samples - n_samples % pair
            self.m = max(pair, min(least, _power_of_two_below(self.n)), min(BLOCK, _power_of_two_below(self.n // GROUPS)))
        self.pair = pair

    def blocks(self, cost) -> Iterator[_Block]:
        """Blocks of draws; `cost` is the number of doubles a draw occupies while a rule works on it."""
        size = max(self.pair, min(BLOCK, _power_of_two_below(2**22 // cost)))
        if self.sampling == "sobol":
            size = min(size, self.m)
            draws = self._sobol(size)
        else:
            antithetic = self.sampling == "antithetic"
            starts = range(0, self.n, size)
            draws = (self.q._draw(self.key, i, min(i + size, self.n), antithetic, self.n_threads) for i in starts)
        for block in draws:
            yield _Block(block, self.m, size >= self.m)

    def _sobol(self, size):
        """Independent scrambles of a Sobol sequence (scipy's direction numbers), one replicate a group."""
        dims = sum(self.q._noise_dims())
        for replicate in range(REPLICATES):
            seed = np.random.default_rng([*map(int, self.key), replicate])
            sequence = scipy.stats.qmc.Sobol(dims, scramble=True, rng=seed)
            for _ in range(0, self.m, size):
                u = sequence.random(size) + 2.0**-31  # the points are multiples of 2^-30: to the middle of their cells
                yield self.q._draw_from(scipy.special.ndtri(u), self.n_threads)

    def collect(self, rule, cost) -> dict[str, RunningMean]:
        """Running means of what a rule makes of every block: by name, group means (groups, ...)."""
        statistics: dict[str, RunningMean] = defaultdict(RunningMean)
        parts: list[tuple[int, dict]] = []
        held = 0
        for draws, m, whole in self.blocks(cost):
            if whole:
                sizes = group_sizes(draws.n, m)
                for name, means in rule(draws, m).items():
                    statistics[name].add(means, sizes)
                continue
            parts.append((draws.n, rule(draws, draws.n)))
            held += draws.n
            if held == m:
                _join(statistics, parts)
                parts, held = [], 0
        if parts:
            _join(statistics, parts)
        return statistics

    def estimate(self, name, statistics, lazy_errors=None) -> Estimate:
        """The estimate that running means make; `lazy_errors` replaces the standard errors of the gradients."""
        grad = {key: self._shaped(key, statistics[key].mean) for key in self.wrt}
        moments = {key[1:]: statistics[key].mean for key in ("_mean", "_cov") if key in statistics}
        errors = {"value": float(statistics["value"].standard_error())}

        def stderr():
            source = statistics if lazy_errors is None else lazy_errors()
            return errors | {key: self._shaped(key, source[key].standard_error()) for key in self.wrt}

        return Estimate(statistics["value"].mean, grad, stderr, self.n, name, self.q, moments)

    def _shaped(self, key, array):
        return np.asarray(array).reshape(np.shape(self.q._parameters()[key]))


def _power_of_two_below(n):
    return 1 << (max(1, n).bit_length() - 1)


def _power_of_two_above(n):
    return 1 << (n - 1).bit_length()


def _join(statistics, parts):
    """Add one group that came in several blocks."""
    total = sum(n for n, _ in parts)
    for name in parts[0][1]:
        statistics[name].add(sum(n / total * part[name] for n, part in parts), np.array([total]))


# -- the rules --------------------------------------------------------------------------------------------------------


def _gradients(q, g, big_g):
    """The chain rule, and (g, G) itself for the pullback where G is a full matrix."""
    grads = q._chain(g, big_g)
    return grads | {"_mean": g, "_cov": big_g} if q._form() is FullForm else grads


def _price(run):
    if isinstance(run.target, Ridge):
        return _price_of_ridge(run)
    form = run.q._form()

    def rule(draws, m):
        f, g = run.target._value_and_grad(draws.x)
        hessian = run.target._hess_means(draws.x, m, form)
        return {"value": group_mean(f, m)} | _gradients(run.q, group_mean(g, m), 0.5 * hessian)

    return run.estimate("price", run.collect(rule, cost=run.target.dim**2))


def _price_of_ridge(run):
    """Slopes and curvatures are averaged over all draws before the products with A.

    Standard errors need those products for every group of draws, so they replay the streams, when first asked for.
    """
    target, q, form = run.target, run.q, run.q._form()
    sums = target._no_sums()

    def rule(draws, m):
        f = target._add_link_sums(sums, draws, run.n_threads)
        return {"value": group_mean(f, m)}

    def rule_of_groups(draws, m):
        g, hessian = target._group_derivatives(draws.x, m, form, run.n_threads)
        return q._chain(g, 0.5 * hessian)

    statistics = run.collect(rule, cost=target.dim)
    g, hessian = target._mean_derivatives(*(total / run.n for total in sums), form, run.n_threads)
    for name, mean in _gradients(q, g, 0.5 * hessian).items():
        statistics[name].mean = mean
    return run.estimate("price", statistics, lambda: run.collect(rule_of_groups, cost=target._rows + target.dim**2))


def _pathwise(run):
    def rule(draws, m):
        f, g = run.target._value_and_grad(draws.x)
        return {"value": group_mean(f, m)} | _gradients(run.q, *run.q._pathwise_moments(draws, g, m))

    return run.estimate("pathwise", run.collect(rule, cost=run.target.dim))


def _score(run):
    def rule(draws, m):
        f = run.target._value(draws.x)
        return {"value": group_mean(f, m)} | _gradients(run.q, *run.q._score_moments(draws, leave_one_out(f, m), m))

    return run.estimate("score", run.collect(rule, cost=run.target.dim))


def leave_one_out(f, m) -> np.ndarray:
    """f less the mean of f over the other draws of its group, (n,): the deviation from the group's mean, times m/(m - 1)."""
    sizes = group_sizes(len(f), m)
    own = np.repeat(sizes, sizes)
    return (f - np.repeat(group_mean(f, m), sizes)) * (own / (own - 1))


def _exact(target, q, wrt, n_threads):
    value, g, hessian = target._exact(q, q._form(), n_threads)
    grads = _gradients(q, g, 0.5 * hessian)
    errors = {"value": 0.0} | {key: np.zeros_like(grads[key]) for key in wrt}
    moments = {key[1:]: grads[key] for key in ("_mean", "_cov") if key in grads}
    return Estimate(value, {key: grads[key] for key in wrt}, errors, 0, "exact", q, moments)


RULES = {"price": _price, "pathwise": _pathwise, "score": _score}
