"""Moments of any log density under a Gaussian, from few draws: whitened antithetic sets.

A set is n pairs z, -z whose second moment is I exactly.  With e = L^T grad f + z, which is 0 for q itself, the gradient
E[e] and the precision I - sym E[z e^T] are then free of noise for every f of degree 3, and their noise is that of e
otherwise: Stein's identity less the Gaussian's own score.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy

from sbpfast._forms import FullForm
from sbpfast._means import BLOCK
from sbpfast._streams import NOISE, normal_rows
from sbpfast.gaussian._draws import LOG_2PI
from sbpfast.targets import NonFiniteTarget, Target

SOBOL = 50  # dimensions below which Sobol points are more even than independent ones
LEAST_PAIRS = 32


def least_pairs(d) -> int:
    """The fewest pairs of a set: enough beyond d to tell noise from signal, a power of 2 for Sobol points."""
    n = max(LEAST_PAIRS, math.ceil(1.25 * d))
    return 1 << (n - 1).bit_length() if d < SOBOL else n


def half_set(key, number, pairs, d, n_threads) -> np.ndarray:
    """The pairs of set `number`, z (pairs, d) with z^T z = pairs I, where there are at least d pairs."""
    key = key.copy()
    key[1] ^= np.uint64(number)
    if d < SOBOL and pairs & (pairs - 1) == 0:
        sequence = scipy.stats.qmc.Sobol(d, scramble=True, rng=np.random.default_rng([int(word) for word in key]))
        z = scipy.special.ndtri(np.clip(sequence.random(pairs), 1e-12, 1.0 - 1e-12))
    else:
        z = normal_rows(key, NOISE, 0, pairs, d, False, n_threads)
    if pairs < d:
        return z
    return scipy.linalg.solve_triangular(np.linalg.cholesky(z.T @ z / pairs), z.T, lower=True, check_finite=False).T


class Look(NamedTuple):
    """f under N(mean, L L^T), as a set of draws sees it."""

    ratios: np.ndarray  # f - log q for each pair: their mean is the ELBO
    gradient: np.ndarray  # E[e], L^T E[grad f]
    precision: np.ndarray  # L^T E[-Hess f] L
    misfit: float  # E |e|^2, which bounds |gradient|^2 + |precision - I|_F^2
    noise: float  # KL divergence that the noise of gradient and precision is worth
    response: np.ndarray  # by how much gradient and precision follow a move along given directions

    @property
    def elbo(self) -> float:
        return float(self.ratios.mean())

    @property
    def elbo_error(self) -> float:
        return float(self.ratios.std(ddof=1) / math.sqrt(len(self.ratios)))


class Points:
    """f and its derivatives at points, counted."""

    exact = False

    def __init__(self, target: Target, hessian: bool, key, n_threads: int):
        self.target, self.hessian, self.key, self.n_threads = target, hessian, key, n_threads
        self.counts = {"values": 0, "gradients": 0, "hessians": 0}
        self.looked_at = 0

    @property
    def dim(self) -> int:
        return self.target.dim

    def value_and_grad(self, x):
        self.counts["values"] += len(x)
        self.counts["gradients"] += len(x)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a step too far is found out and undone
            return self.target._value_and_grad(np.ascontiguousarray(x))

    def half_set(self, number, pairs) -> np.ndarray:
        return half_set(self.key, number, pairs, self.dim, self.n_threads)

    def look(self, mean, chol, half, directions=None) -> Look | None:
        """The moments under N(mean, L L^T) by the pairs z, -z of a half set; None where they or f are not finite.

        With directions (dm, dP), (r, d) and (r, d, d), also their linear response: a move along v changes log q by
        S_v = dm . z - (z^T dP z - tr dP) / 2, and so the part of E[e] and -E[z e^T] along u by E[T_u S_v],
        T_u = dm . e - z^T dP e / 2.  It is given as E[S_u S_v], which is I, beside E[(S_u - T_u) S_v].
        """
        d, pairs = self.dim, len(half)
        gradient, cross, hessian, values = np.zeros(d), np.zeros((d, d)), np.zeros((d, d)), []
        even = odd = 0.0
        response = np.zeros((2, 0, 0) if directions is None else (2, *(len(directions[0]),) * 2))
        try:
            for start in range(0, pairs, BLOCK // 2):
                z = half[start : start + BLOCK // 2]
                z = np.concatenate([z, -z])
                x = z @ chol.T + mean
                f, g = self.value_and_grad(x)
                e = g @ chol + z
                values.append(0.5 * f.reshape(2, -1).sum(axis=0))
                gradient += e.sum(axis=0)
                sums, differences = e[: len(e) // 2] + e[len(e) // 2 :], e[: len(e) // 2] - e[len(e) // 2 :]
                even, odd = even + float((sums * sums).sum()), odd + float((differences * differences).sum())
                cross += z.T @ e
                if directions is not None:
                    response += _response(z, e, *directions)
                if self.hessian:
                    self.counts["hessians"] += len(x)
                    hessian += self.target._hess_means(x, len(x), FullForm)[0] * len(x)
        except NonFiniteTarget:
            return None
        n = 2 * pairs
        gradient, cross, even, odd = gradient / n, cross / n, even / (4 * pairs), odd / (4 * pairs)
        noise = 0.5 * max(0.0, even - float(gradient @ gradient)) / pairs
        if self.hessian:
            precision = -(chol.T @ hessian @ chol) / n
        else:
            precision = np.eye(d) - 0.5 * (cross + cross.T)
            unexplained = max(0.0, odd - float((cross * cross).sum())) / max(1.0 - d / pairs, 0.1)
            noise += 0.125 * (d + 1) * unexplained / pairs
        if not (np.isfinite(precision).all() and np.isfinite(gradient).all()):
            return None
        log_normaliser = 0.5 * d * LOG_2PI + float(np.log(np.abs(np.diagonal(chol))).sum())
        ratios = np.concatenate(values) + 0.5 * (half * half).sum(axis=1) + log_normaliser
        return Look(ratios, gradient, 0.5 * (precision + precision.T), even + odd, noise, response / n)


def _response(z, e, means, precisions):
    """Sums of S_v S_u and of (S_u - T_u) S_v, which has less noise than T_u S_v where they are nearly the same."""
    moved = np.einsum("ni,rij->rnj", z, precisions, optimize=True)
    scores = means @ z.T - 0.5 * ((moved * z).sum(axis=2) - np.trace(precisions, axis1=1, axis2=2)[:, None])
    follows = means @ e.T - 0.5 * (moved * e).sum(axis=2)
    return np.array([scores @ scores.T, (scores - follows) @ scores.T])
