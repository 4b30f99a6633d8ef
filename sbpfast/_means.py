"""Means over groups of draws, and the running statistics that turn them into standard errors."""

from __future__ import annotations

import math

import numpy as np


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
        left = a[:whole].reshape(-1, m, a.shape[1]).transpose(0, 2, 1)
        parts.append(left @ b[:whole].reshape(-1, m, b.shape[1]) / m)
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
        self.mean: np.ndarray | float = 0.0
        self._m2: np.ndarray | float = 0.0

    def add(self, x, sizes) -> None:
        """Add group means x (groups, ...) of groups of these sizes."""
        n = int(sizes.sum())
        shape = (-1,) + (1,) * (x.ndim - 1)
        if len(sizes) == 1:
            mean, m2 = x[0], 0.0
        else:
            weights = sizes.reshape(shape)
            mean = (weights * x).sum(axis=0) / n
            m2 = (weights * (x - mean) ** 2).sum(axis=0)
        shift = mean - self.mean
        total = self.count + n
        self._m2 = self._m2 + m2 + shift * shift * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total
        self.groups += len(sizes)

    def standard_error(self):
        """Of the mean; NaN from a single group."""
        if self.groups < 2:
            return np.full(np.shape(self.mean), math.nan)[()]
        return np.sqrt(np.maximum(self._m2, 0.0) / ((self.groups - 1) * self.count))
