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
import scipy

from sbpfast._forms import DiagonalForm, FullForm, LowRankForm
from sbpfast._means import RunningMean, group_cross, group_mean, group_sizes
from sbpfast._newton import conjugate_gradients, curvature_moments
from sbpfast._streams import FACTOR_NOISE, NOISE, normal_rows
from sbpfast._whitened import BLOCK, ExactMoments, Moments, SampledMoments, link_means
from sbpfast.gaussian import DiagonalGaussian, LowRankGaussian
from sbpfast.gaussian._draws import LOG_2PI
from sbpfast.targets import NonFiniteTarget

LEAST_SHRINK = 0.01  # of a standard deviation in one step: the best diagonal may have elements of 0 (Heywood cases)
LEAST_STD = 1e-5  # of the standard deviation of its coordinate: below it the diagonal does not go
MANY = 50  # rows a parameter from which P is formed, and held fixed during a step
FEW = 256  # draws that stand for all in a second derivative
DIFFERENCE = 1e-5  # step of the differences that stand for a second derivative
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
        return _exact_moments(source, mean, self) if source.exact else _sampled_moments(source, mean, self)

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
        change = (_exact_change if source.exact else _sampled_change)(source, mean, self, here)
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


# -- ridge targets ----------------------------------------------------------------------------------------------------


def _forms(target, mean, shape):
    """Means and standard deviations of the linear forms, and A U."""
    au = np.asarray(target._a @ shape.factor)
    t = np.sqrt(_squares_dot(target._a, shape.std**2) + (au * au).sum(axis=1))
    return target._a @ mean + target._offset, t, au


def _squares_dot(a, v):
    """(A * A) v, a few rows at a time."""
    if scipy.sparse.issparse(a):
        return (a * a) @ v
    out, step = np.empty(len(a)), max(1, 2**17 // a.shape[1])
    for start in range(0, len(a), step):
        rows = a[start : start + step]
        out[start : start + step] = (rows * rows) @ v
    return out


def _exact_moments(source: ExactMoments, mean, shape) -> Moments:
    source.counts["passes"] += 1
    target = source.target
    m, t, _ = _forms(target, mean, shape)
    link = np.empty((3, len(m)))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(m), BLOCK):
            rows = slice(start, start + BLOCK)
            of_rows = m[rows], t[rows], target._y[rows]
            link[:, rows] = link_means(*of_rows, n_threads=source.n_threads, **source.link_rules())
        value, slope, bend = target._weights * link
        constant, quad_gradient = target._quad.expectation(LowRankGaussian(mean, shape.std**2, shape.factor))
        gradient = target._transposed_dot(slope, source.n_threads) + quad_gradient
        many = target._rows > MANY * target.dim
        h = target._from_curvature(FullForm if many else LowRankForm(shape.factor), bend, source.n_threads)
    elbo = constant + float(value.sum()) + shape.entropy()
    uphill = shape.uphill(-_low_rank_form(h, shape.factor) if many else -h)
    return Moments(elbo, shape.own_gradient(gradient), uphill, hessian=h if many else None)


def _low_rank_form(h, factor):
    """The diagonals of (..., d, d) beside the products with U."""
    return np.concatenate([np.diagonal(h, axis1=-2, axis2=-1)[..., None], h @ factor], axis=-1)


def _exact_change(source, mean, shape, here):
    """How E[grad f], diag(P) and P U change with the mean, half of D and U."""
    if here.hessian is not None:
        return _fixed_change(-here.hessian)
    target, a, quad = source.target, source.target._a, source.target._quad
    m, t, au = _forms(target, mean, shape)
    c0, c1, c2 = (target._weights * c for c in curvature_moments(target, m, t, source.n_threads))
    inverse_t = 1.0 / np.maximum(t, 1e-100)
    slope, bend = 0.5 * c1 * inverse_t, 0.5 * (c2 - c0) * inverse_t**2

    def change(d_mean, d_diag, d_factor):
        source.counts["passes"] += 1
        moved = np.asarray(a @ np.column_stack([d_mean, d_factor]))
        d_variance = 2.0 * (_squares_dot(a, d_diag) + (au * moved[:, 1:]).sum(axis=1))
        d_slope = c0 * moved[:, 0] + slope * d_variance
        d_bend = 2.0 * slope * moved[:, 0] + bend * d_variance
        inner = np.column_stack([d_slope, d_bend[:, None] * au + c0[:, None] * moved[:, 1:]])
        back = np.asarray(a.T @ inner)
        d_diagonal = DiagonalForm.of_factored(a, d_bend, source.n_threads)
        return back[:, 0] - quad.apply(d_mean), -d_diagonal, quad.apply(d_factor.T).T - back[:, 1:]

    return change


def _fixed_change(p):
    """The same with P (d, d) held fixed, as natural gradients do: the more data, the less it changes."""
    return lambda d_mean, d_diag, d_factor: (-p @ d_mean, 0.0, p @ d_factor)


# -- any target -------------------------------------------------------------------------------------------------------


def _sampled_moments(source: SampledMoments, mean, shape) -> Moments:
    """From antithetic draws; with u = C (x - mean), (C - P) V = E[(grad f + u) u^T] V, whose noise is the misfit's."""
    std, factor = shape.std, shape.factor
    d, k = factor.shape
    n = source.n
    block = min(BLOCK, max(128, 1 << (2**22 // (d * (1 + k))).bit_length()))
    m = min(block, max(2, 1 << ((n // 64).bit_length() - 1))) if n >= 128 else 2
    gradient, uphill, hessian, ratios = RunningMean(), RunningMean(), RunningMean(), []
    log_normaliser = 0.5 * (d * LOG_2PI + shape.log_det)
    for start in range(0, n, block):
        r = _deviations(source, shape, start, min(start + block, n))
        v = shape.scaled_inverse((r / std).T).T  # std u
        x = r + mean
        f, g = source.value_and_grad(x)
        sizes = group_sizes(len(x), m)
        gradient.add(group_mean(shape.own_gradient(g), m), sizes)
        if source.hessian:
            source.counts["hessians"] += len(x)
            h = source.target._hess_means(x, m, FullForm)
            uphill.add(shape.uphill(-_low_rank_form(h, factor)), sizes)
            hessian.add(h, sizes)
        else:
            e = std * g + v
            rest = group_cross(e, v @ (factor / std[:, None]), m)
            uphill.add(shape.own_uphill(group_mean(e * v, m), rest), sizes)
        ratios.append(group_mean(f + 0.5 * (r / std * v).sum(axis=1) + log_normaliser, m))
    groups = np.concatenate(ratios)
    return Moments(
        float(groups.mean()), gradient.mean, uphill.mean, gradient.standard_error(), uphill.standard_error(), groups,
        hessian.mean if source.hessian else None,
    )  # fmt: skip


def _deviations(source, shape, start, stop):
    """Draws start..stop - 1, less the mean."""
    r = shape.std * normal_rows(source.key, NOISE, start, stop, len(shape.std), True, source.n_threads)
    k = shape.factor.shape[1]
    if k:
        r += normal_rows(source.key, FACTOR_NOISE, start, stop, k, True, source.n_threads) @ shape.factor.T
    return r


def _sampled_change(source: SampledMoments, mean, shape, here):
    """How E[grad f] and P U change with the mean and U, P held fixed.

    Without Hessians the product with P is a difference of gradients, under a few of the draws: an error here slows the
    steps down but does not move where they lead.
    """
    if here.hessian is not None:
        return _fixed_change(-here.hessian)
    few = source.fewer(FEW)
    x = mean + _deviations(few, shape, 0, few.n)
    here_gradient = few.value_and_grad(x)[1].mean(axis=0)

    def times_p(v):
        if not v.any():
            return np.zeros_like(v)
        h = DIFFERENCE / np.abs(v / shape.spread).max()
        return (here_gradient - few.value_and_grad(x + h * v)[1].mean(axis=0)) / h

    def change(d_mean, d_diag, d_factor):
        columns = [times_p(v) for v in d_factor.T]
        return -times_p(d_mean), 0.0, np.stack(columns, axis=1) if columns else np.zeros_like(d_factor)

    return change
