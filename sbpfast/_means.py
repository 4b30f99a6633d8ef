"""Means over groups of draws, and the running statistics that turn them into standard errors."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

BLOCK = 1024  # draws, or points, worked on at a time
BLOCK_ROWS = 65536  # rows whose sums are one partial sum: where a pass over the data is cut depends on nothing else


def group_sizes(n, m) -> np.ndarray:
    """Sizes of the groups of m draws that n draws make; the last may be short."""
    sizes = np.full(-(-n // m), m)
    sizes[-1] = n - m * (len(sizes) - 1)
    return sizes


def group_mean(a, m) -> np.ndarray:
    """Means over consecutive groups of m along the first axis, (n, ...) to (ceil(n/m), ...)."""
    n = len(a)
    if m == 1:
        return np.asarray(a, dtype=np.float64)
    if n % m == 0:
        return a.reshape(n // m, m, *a.shape[1:]).mean(axis=1, dtype=np.float64)
    whole = n - n % m
    parts = [group_mean(a[:whole], m)] if whole else []
    return np.concatenate([*parts, a[whole:].mean(axis=0, keepdims=True, dtype=np.float64)])


def group_cross(a, b, m) -> np.ndarray:
    """Group means of the outer products a_s b_s^T: (n, p), (n, q) to (ceil(n/m), p, q)."""
    n = len(a)
    whole = n - n % m
    parts = []
    if whole:
        left = a[:whole].reshape(whole // m, m, a.shape[1]).transpose(0, 2, 1)
        parts.append(left @ b[:whole].reshape(whole // m, m, b.shape[1]) / m)
    if n > whole:
        parts.append((a[whole:].T @ b[whole:] / (n - whole))[None])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class RunningMean:
    """Weighted mean and its standard error from group means that arrive in blocks (Chan, Golub & LeVeque 1983).

    A group of n_b draws has variance sigma^2 / n_b, so the error of the mean over n draws is
    sqrt(sum_b n_b (x_b - mean)^2 / (B - 1) / n).
    """

    def __init__(self):
        self.groups = 0
        self.count = 0
        self.mean: Any = 0.0
        self._m2: Any = 0.0

    def add(self, x, sizes) -> None:
        """Add group means x (groups, ...) of groups of these sizes."""
        n = int(sizes.sum())
        total = self.count + n
        with np.errstate(over="ignore", invalid="ignore"):  # an error may be infinite
            if len(sizes) == 1:
                mean, m2 = x[0], 0.0
            else:
                weights = sizes.reshape((-1,) + (1,) * (x.ndim - 1))
                mean = (weights * x).sum(axis=0) / n
                m2 = (weights * (x - mean) ** 2).sum(axis=0)
            shift = mean - self.mean
            self._m2 = self._m2 + m2 + shift * shift * (self.count * n / total)
            self.mean = self.mean + shift * (n / total)
        self.count = total
        self.groups += len(sizes)

    def standard_error(self):
        """Of the mean; NaN from a single group."""
        if self.groups < 2:
            return np.full(np.shape(self.mean), math.nan)[()]
        return np.sqrt(np.maximum(self._m2, 0.0) / ((self.groups - 1) * self.count))


class RunningMix:
    """Means and covariances, element by element, of K estimates of one thing; the convex mix of least variance.

    Groups of even and of odd number make two folds.  Each fold is mixed with the weights that the covariances of the
    *other* fold ask for, so the weights are independent of what they multiply and the mix stays unbiased.
    """

    def __init__(self):
        self._groups = 0
        self._folds: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    def add(self, parts, sizes) -> None:
        """Add group means of the K estimates, each (groups, ...), of groups of these sizes."""
        stack = np.stack(parts)
        for fold in (0, 1):
            take = slice((fold + self._groups) % 2, None, 2)
            if len(sizes[take]):
                weights = sizes[take].astype(np.float64)
                _merge(self._folds[fold], _moments(stack[:, take], weights))
        self._groups += len(sizes)

    def result(self, kept=None):
        """The mix of the estimates whose numbers are kept (all by default), and its standard error."""
        folds = [_selected(fold, kept) for fold in self._folds if fold]
        weights = self._weights(folds)
        if weights is None:
            first: dict[str, Any] = {}
            for fold in folds:
                _merge(first, _selected(fold, [0]))
            return first["mean"][0], _standard_error(first, first["cross"][0, 0])
        total = sum(fold["n"] for fold in folds)
        mean, variance = 0.0, 0.0
        for fold, w in zip(folds, weights):
            share = fold["n"] / total
            mean = mean + share * (w * fold["mean"]).sum(axis=0)
            spread = np.einsum("i...,ij...,j...->...", w, fold["cross"], w)
            variance = variance + (share * _standard_error(fold, spread)) ** 2
        return mean, np.sqrt(variance)

    def mixed(self, parts, kept=None):
        """Other values of the estimates that are kept, each (groups, ...), mixed as in the result."""
        folds = [_selected(fold, kept) for fold in self._folds if fold]
        weights = self._weights(folds)
        if weights is None:
            return parts[0]
        return (np.mean(weights, axis=0)[:, None] * np.stack(parts)).sum(axis=0)

    def _weights(self, folds):
        """Of each fold, from the other; None where there are too few groups: the first estimate stands alone."""
        if self._groups < 2 * len(folds[0]["mean"]) + 6:
            return None
        even, odd = folds
        return least_variance_weights(odd["cross"]), least_variance_weights(even["cross"])


def _moments(x, weights) -> dict[str, Any]:
    """Of group means x (K, groups, ...): weighted means (K, ...) and centred cross products (K, K, ...)."""
    n = weights.sum()
    mean = (weights.reshape((-1,) + (1,) * (x.ndim - 2)) * x).sum(axis=1) / n
    r = x - mean[:, None]
    cross = np.einsum("g,ig...,jg...->ij...", weights, r, r)
    return {"n": n, "groups": len(weights), "mean": mean, "cross": cross}


def _merge(moments, more) -> None:
    """Add other moments to moments, as in RunningMean; {} stands for none."""
    if not moments:
        moments.update(more)
        return
    total = moments["n"] + more["n"]
    shift = more["mean"] - moments["mean"]
    moved = shift[:, None] * shift[None] * (moments["n"] * more["n"] / total)
    moments["cross"] = moments["cross"] + more["cross"] + moved
    moments["mean"] = moments["mean"] + shift * (more["n"] / total)
    moments["n"] = total
    moments["groups"] += more["groups"]


def _selected(moments, kept) -> dict[str, Any]:
    """The moments of some of the K estimates."""
    if kept is None:
        return moments
    return moments | {"mean": moments["mean"][kept], "cross": moments["cross"][kept][:, kept]}


def _standard_error(moments, spread):
    """Of a mean whose weighted sum of squares is `spread`; NaN from a single group."""
    if moments["groups"] < 2:
        return np.full(np.shape(spread), math.nan)[()]
    return np.sqrt(np.maximum(spread, 0.0) / ((moments["groups"] - 1) * moments["n"]))


def least_variance_weights(covariance) -> np.ndarray:
    """Weights (K, ...), none negative, of sum 1, that minimise w^T C w for covariances (K, K, ...), by element.

    Negative weights play estimates off against each other by covariances that are themselves estimates: with heavy
    tails, which few groups show, the mix would be worse than its best part.  Correlations are shrunk by 1e-6, so that
    estimates that agree to rounding share the weight evenly; an estimate without any variance takes all of it.
    """
    c = np.moveaxis(covariance, (0, 1), (-2, -1))
    k = c.shape[-1]
    sd = np.sqrt(np.maximum(np.diagonal(c, axis1=-2, axis2=-1), 0.0))
    largest = sd.max(axis=-1, keepdims=True)
    sd = np.maximum(sd, np.where(largest > 0, 1e-9 * largest, 1.0))
    correlation = c / (sd[..., :, None] * sd[..., None, :])
    correlation[..., range(k), range(k)] = 1.0 + 1e-6
    v = _face_weights(correlation, sd, range(k))
    outside = (v < 0).any(axis=-1)
    if outside.any():
        v[outside] = _best_face_weights(correlation[outside], sd[outside])
    return np.moveaxis(v / v.sum(axis=-1, keepdims=True), -1, 0)


def _face_weights(correlation, sd, face):
    """Of least variance with these estimates alone, (..., K), up to a factor: some may be negative."""
    i = list(face)
    v = np.zeros(sd.shape)
    v[..., i] = np.linalg.solve(correlation[..., i, :][..., i], (1.0 / sd[..., i])[..., None])[..., 0] / sd[..., i]
    return v


def _best_face_weights(correlation, sd):
    """Of least variance (n, K) among those of all faces of the simplex that are not negative: the optimum is one."""
    k = sd.shape[-1]
    best, least = np.zeros(sd.shape), np.full(len(sd), np.inf)
    for size in range(1, k):
        for face in combinations(range(k), size):
            v = _face_weights(correlation, sd, face)
            scaled = v * sd / v.sum(axis=-1, keepdims=True)
            variance = np.einsum("ni,nij,nj->n", scaled, correlation, scaled)
            better = (v >= 0).all(axis=-1) & (variance < least)
            best[better], least[better] = v[better], variance[better]
    return best
