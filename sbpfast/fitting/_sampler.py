"""Moments of any log density from antithetic draws, for covariances of a diagonal and a few columns."""

from __future__ import annotations

import numpy as np

from sbpfast._means import BLOCK
from sbpfast.targets import Target


class SampledMoments:
    """From n antithetic draws, the same standard normals whatever mean and covariance."""

    exact = False

    def __init__(self, target: Target, hessian: bool, key, n: int, n_threads: int, counts: dict):
        self.target, self.hessian, self.n, self.n_threads, self.counts = target, hessian, n, n_threads, counts
        self.key = key

    @property
    def dim(self) -> int:
        return self.target.dim

    def fewer(self, n) -> SampledMoments:
        """From the first n of the draws, by gradients alone."""
        return SampledMoments(self.target, False, self.key, min(n, self.n), self.n_threads, self.counts)

    def counted(self, block) -> np.ndarray:
        """The gradients at a block of draws, which bring the values and count with them."""
        for kind in ("values", "gradients", *(("hessians",) if self.hessian else ())):
            self.counts[kind] += block.draws.n
        return block.grad

    def value_and_grad(self, x):
        self.counts["values"] += len(x)
        self.counts["gradients"] += len(x)
        return self.target._value_and_grad(np.ascontiguousarray(x))

    def diagonal_curvature(self, mean) -> np.ndarray:
        """The diagonal of -Hess f at a point, which sets the scale of the first coordinates."""
        if self.hessian:
            self.counts["hessians"] += 1
            return -np.diagonal(self.target._hess(np.ascontiguousarray(mean[None]))[0])
        steps = 1e-4 * np.maximum(1.0, np.abs(mean))
        out = np.empty(self.dim)
        for start in range(0, self.dim, BLOCK):
            i = np.arange(start, min(start + BLOCK, self.dim))
            shift = np.zeros((len(i), self.dim))
            shift[i - start, i] = steps[i]
            _, gradients = self.value_and_grad(np.concatenate([mean + shift, mean - shift]))
            below, above = gradients[len(i) :], gradients[: len(i)]
            out[i] = (below[i - start, i] - above[i - start, i]) / (2.0 * steps[i])
        return out


class Sampler:
    """Makes `SampledMoments` of any size; every size has its own independent draws."""

    exact = newton = False

    def __init__(self, target: Target, hessian: bool, key, n_threads: int):
        self.target, self.hessian, self.key, self.n_threads = target, hessian, key, n_threads
        self.counts = {"values": 0, "gradients": 0, "hessians": 0}
        self.looked_at = 0

    def draws(self, n) -> SampledMoments:
        key = self.key.copy()
        key[0] ^= np.uint64(n)
        return SampledMoments(self.target, self.hessian, key, n, self.n_threads, self.counts)

    def coarse(self) -> Sampler:
        return self

    def start(self) -> None:
        return None
