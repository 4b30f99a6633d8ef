"""Diagonal and low-rank-plus-diagonal covariances of a fit: cov = diag(std^2) + U U^T, no columns in U for a diagonal.

Nothing here is larger than the data, or (d, k), or a user's Hessian.  A fit sees the ELBO through its derivatives along
mean + sd * delta, std * (1 + a) and U + sd * B, sd^2 = diag(cov), which no scaling of the coordinates alters; with
P = E[-Hess f] and C = cov^-1 they are

    sd * E[grad f],      std^2 * diag(C - P),      sd * (C - P) U.

Newton's method takes the steps, its equations solved by conjugate gradients from products with the second derivative:
the whole of it for ridge targets, by one-dimensional integrals; where data are many, and for other targets, P is held
fixed in it, as natural gradients do.
"""

from __future__ import annotations

import numpy as np

from sbpfast.fitting._low_rank_moments import exact_change, exact_moments, sampled_change, sampled_moments
from sbpfast.fitting._newton import conjugate_gradients
from sbpfast.fitting._source import Moments
from sbpfast.gaussian import DiagonalGaussian, LowRankGaussian
from sbpfast.gaussian._draws import LOG_2PI
from sbpfast.targets import NonFiniteTarget

LEAST_SHRINK = 0.01  # of a standard deviation in one step: the best diagonal may have elements of 0 (Heywood cases)
LEAST_STD = 1e-5  # of the standard deviation of its coordinate: below it the diagonal does not go
FORCING, FINE_FORCING = 0.1, 1e-4  # relative accuracy of a step; where products cost little
# times the residual, added to the second derivative, which rotations of U leave singular; the others where that fails
DAMPING = np.array([0.1, 1.0, 10.0, 100.0])
MOST_AXES = 256  # coordinates along which a density is looked at where a fit fails
KRYLOV = 8  # products for the first columns of U
WEAKEST, STRONGEST = 0.99, 0.01  # precisions, where the diagonal has 1, that the first columns of U stand for


class LowRankCovariance:
    """cov = D + U U^T with D = diag(std^2).

    With V = D^-1/2 U and [I; V] = Q R it has the inverse C = D^-1/2 (I - B B^T) D^-1/2, where B is the lower part of Q
    and T the upper, and C U = D^-1/2 B T^T.  That keeps its accuracy however small elements of D become.
    """

    always_newton = True  # a natural gradient leaves the structure

    def __init__(self, std, factor):
        self.std, self.factor = std, factor
        k = factor.shape[1]
        q, r = np.linalg.qr(np.concatenate([np.eye(k), factor / std[:, None]]))
        self.top, self.bottom = q[:k], q[k:]
        self.log_det = 2.0 * float(np.log(std).sum() + np.log(np.abs(np.diagonal(r))).sum())
        self.spread = np.sqrt(std**2 + (factor**2).sum(axis=1))  # standard deviations of the coordinates
        self.shares = 1.0 - (self.bottom**2).sum(axis=1)  # std^2 diag(C)
        self.scaled_image = self.bottom @ self.top.T  # std C U

    def scaled_inverse(self, v):
        """std C std v for v (d, j)."""
        return v - self.bottom @ (self.bottom.T @ v)

    def entropy(self) -> float:
        return 0.5 * (self.log_det + len(self.std) * (1.0 + LOG_2PI))

    def arrays(self):
        return {"std": self.std, "factor": self.factor}

    def gaussian(self, mean):
        return LowRankGaussian(mean, self.std**2, self.factor) if self.factor.size else DiagonalGaussian(mean, self.std)

    # what a fit sees

    def moments(self, source, mean) -> Moments:
        return exact_moments(source, mean, self) if source.exact else sampled_moments(source, mean, self)

    def own_gradient(self, g):
        """g in coordinates (std, U) whose norm is that of L^T g."""
        return np.concatenate([self.std * g, g @ self.factor], axis=-1)

    def own_uphill(self, first, rest):
        """std^2 diag(C - P) beside (C - P) U, given as std (C - P) U, in the same coordinates: (..., d + k, 1 + k)."""
        below = (self.factor / self.std[:, None]).T @ rest
        out = np.concatenate([np.zeros((*rest.shape[:-1], 1)), rest], axis=-1)
        out[..., 0] = first
        return np.concatenate([out, np.concatenate([np.zeros((*below.shape[:-1], 1)), below], axis=-1)], axis=-2)

    def uphill(self, p):
        """The same from P in the low-rank form."""
        return self.own_uphill(
            self.shares - self.std**2 * p[..., 0], self.scaled_image - self.std[:, None] * p[..., 1:]
        )

    def residual(self, gradient, precision) -> float:
        with np.errstate(over="ignore"):  # far from the optimum it may be infinite
            return float(np.linalg.norm(gradient) + np.linalg.norm(precision))

    residual_error = residual

    def widest(self, precision) -> float:
        """The largest element of std^2 diag(P)."""
        return float((self.shares - precision[: len(self.std), 0]).max())

    def directions(self):
        """The columns of U and the first coordinates, a standard deviation long, (m, d)."""
        d = len(self.std)
        return np.concatenate([self.factor.T, np.eye(min(d, MOST_AXES), d) * self.spread])

    # where it goes

    def scaled_by(self, factor):
        return LowRankCovariance(factor * self.std, factor * self.factor)

    def moved(self, step):
        """After a step (a, B), (d, 1 + k).

        Every coordinate gets the standard deviation that the step promises it to first order: variance can pass from
        the diagonal to U or back in long steps, which would otherwise leave their valley.
        """
        std, factor = self._straight(step)
        promised = self.std**2 * step[:, 0] / self.spread + (self.factor * step[:, 1:]).sum(axis=1)
        promised = np.maximum(self.spread + promised, LEAST_SHRINK * self.spread)
        stretch = promised / np.sqrt(std**2 + (factor**2).sum(axis=1))
        return LowRankCovariance(np.maximum(stretch * std, LEAST_STD * promised), stretch[:, None] * factor)

    def _straight(self, step):
        std = self.std * np.maximum(1.0 + step[:, 0], LEAST_SHRINK)
        return std, self.factor + self.spread[:, None] * step[:, 1:]

    def along(self, mean, direction, rate):
        """Mean and covariance a part of the way along a step; None where they overflow."""
        delta, step = direction
        mean, step = mean + rate * self.spread * delta, rate * step
        return (mean, self.moved(step)) if np.isfinite(mean).all() and np.isfinite(step).all() else None

    def newton_directions(self, source, mean, here):
        """Steps (delta, (a, B)), ever shorter: by conjugate gradients, which the covariance itself preconditions."""
        d, k = self.factor.shape
        left = np.eye(k) - self.top @ self.top.T  # U^T C U
        mix = np.linalg.inv(left + 0.1 * np.eye(k))
        scale = 1.0 / (np.abs(self.shares - here.precision[:d, 0]) + self.shares**2)
        diagonal, columns = ((self.std / self.spread) ** 2)[:, None], self.factor / self.spread[:, None]

        def times_cov(v):
            return diagonal * v + columns @ (columns.T @ v)

        def precondition(delta, step):
            return (
                times_cov(delta[:, None])[:, 0],
                np.column_stack([scale * step[:, 0], times_cov(step[:, 1:]) @ mix]),
            )

        slopes = self.slopes(here)
        forcing = FORCING if here.hessian is None else FINE_FORCING
        try:
            product = self._product(source, mean, here)
            for damping in DAMPING * min(1.0, self.residual(here.gradient, here.precision)):

                def damped(delta, step, damping=damping):
                    of_delta, of_step = product(delta, step)
                    return of_delta, of_step + damping * step  # the mean's part is never singular

                yield conjugate_gradients(damped, slopes[0], slopes[1], precondition, forcing)[0]
        except NonFiniteTarget:
            yield precondition(*slopes)

    def slopes(self, here):
        """The derivatives of the ELBO along delta and (a, B)."""
        d, stretch = len(self.std), self.spread / self.std
        first, rest = here.precision[:d, :1], here.precision[:d, 1:]
        return stretch * here.gradient[:d], np.concatenate([first, stretch[:, None] * rest], axis=1)

    def _product(self, source, mean, here):
        """The product of minus the second derivative with (delta, (a, B))."""
        change = (exact_change if source.exact else sampled_change)(source, mean, self, here)
        std, spread, bottom, image = self.std, self.spread, self.bottom, self.scaled_image
        left = np.eye(len(self.top)) - self.top @ self.top.T  # U^T C U
        uphill = here.precision[: len(std), 0]

        def product(delta, step):
            d_factor = spread[:, None] * step[:, 1:]
            d_gradient, d_diagonal, d_rest = change(spread * delta, std**2 * step[:, 0], d_factor)
            # C changes by -C dM C, where dM = diag(D e) + d_factor U^T + U d_factor^T
            e, scaled = 2.0 * step[:, 0], d_factor / std[:, None]
            cf = self.scaled_inverse(scaled)
            inner = bottom.T @ (e[:, None] * bottom)
            first = e * (1.0 - 2.0 * (bottom**2).sum(axis=1)) + ((bottom @ inner) * bottom).sum(axis=1)
            first += 2.0 * (cf * image).sum(axis=1) + std**2 * d_diagonal - step[:, 0] * uphill
            rest = self.scaled_inverse(e[:, None] * image) + cf @ left + image @ (scaled.T @ image) - cf
            rest = spread[:, None] * (rest / std[:, None] + d_rest)
            return -spread * d_gradient, np.column_stack([first, rest])

        return product

    def with_columns(self, source, mean, rank):
        """The same diagonal with the best U for it: along the least precisions in coordinates where it is 1.

        They come from a block Krylov space, which need not be exact: this is where a fit starts.
        """
        product, d = self._product(source, mean, self.moments(source, mean)), len(self.std)

        def images(columns):
            return np.column_stack([product(column, np.zeros((d, 1)))[0] for column in columns.T])

        basis = np.linalg.qr(np.random.default_rng(0).standard_normal((d, rank)))[0]
        image = images(basis)
        for _ in range(KRYLOV):
            new = image[:, -rank:] - basis @ (basis.T @ image[:, -rank:])
            new = np.linalg.qr(new - basis @ (basis.T @ new))[0][:, : d - basis.shape[1]]
            if new.shape[1] == 0:
                break
            basis, image = np.column_stack([basis, new]), np.column_stack([image, images(new)])
        small = basis.T @ image
        values, vectors = np.linalg.eigh(0.5 * (small + small.T))
        size = np.sqrt(1.0 / np.clip(values[:rank], STRONGEST, WEAKEST) - 1.0)
        return LowRankCovariance(self.std, self.std[:, None] * (basis @ vectors[:, :rank]) * size)
