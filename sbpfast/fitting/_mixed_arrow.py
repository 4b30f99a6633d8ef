"""The precision of a regression with groups as an arrow: a block for each level of the main group, a dense border.

With the blocks H_g (r, r), the border's own part K and the parts F_g (r, border) that join them, B_g = H_g^-1 F_g,

    Schur complement  S = K - sum_g F_g^T B_g,       C = S^-1 = covariance of the border,
    cov(v_g) = H_g^-1 + B_g C B_g^T,                 cov(v_g, border) = -B_g C,

and a row with border part x and main part z has the variance (x - B_g^T z)^T C (x - B_g^T z) + z^T H_g^-1 z.  Nothing
larger than a border times a border, or than the rows, is formed.
"""

from __future__ import annotations

import copy

import numpy as np
import scipy

from sbpfast import _core
from sbpfast.targets._design import DenseDesign

MOST_DENSE = 2**22  # numbers of a dense piece of the border by main levels


class Effects:
    """Coefficients by their kind: b (p,), crossed (q,) of the other groups, and main (J, r)."""

    def __init__(self, fixed, crossed, main):
        self.fixed, self.crossed, self.main = fixed, crossed, main

    def plus(self, step, rate=1.0) -> Effects:
        return Effects(self.fixed + rate * step.fixed, self.crossed + rate * step.crossed, self.main + rate * step.main)

    def times(self, factor) -> Effects:
        return Effects(factor * self.fixed, factor * self.crossed, factor * self.main)

    def dot(self, other) -> float:
        return float(self.fixed @ other.fixed + self.crossed @ other.crossed + np.vdot(self.main, other.main))


class Arrow:
    """The factorised precision prior + A^T diag(w) A; raises LinAlgError where it is not positive definite.

    Parameters
    ----------
    rows : Rows
    columns : list of list of arrays (N,)
        z by group and effect, see `Group.columns`.
    fixed_precision : array (p,)
        Of the fixed effects' prior; that of the whitened effects is 1.
    w : array (N,)
    """

    def __init__(self, rows, columns, fixed_precision, w):
        self.shape = rows.shape
        joins = self._factor_blocks(rows, columns, w)
        border, self.joins = self._border(rows, columns, w, joins), [_flat(joins).T]
        p = self.shape.n_fixed
        border[np.arange(p), np.arange(p)] += fixed_precision
        if self.shape.n_crossed:
            self._add_crossed(rows, columns, w, border, joins)
        self.border_factor = np.linalg.cholesky(0.5 * (border + border.T))
        self.logdet = 2.0 * float(np.log(np.diagonal(self.border_factor)).sum() - np.log(self._root_diagonals).sum())

    @property
    def _root_diagonals(self):
        return np.diagonal(self.roots, axis1=1, axis2=2)

    def _factor_blocks(self, rows, columns, w):
        """The inverses of the blocks' Cholesky factors, and B; returns the fixed part of F (J, r, p)."""
        k = self.shape.main
        z, sums, r, levels = columns[k], rows.sums[k], self.shape.widths[k], self.shape.n_levels[k]
        h, joins = np.empty((levels, r, r)), np.empty((levels, r, self.shape.n_fixed))
        for a in range(r):
            joins[:, a] = sums.of_rows(rows.X, w, z[a])
            for b in range(a + 1):
                h[:, a, b] = h[:, b, a] = sums.of(w, z[a], z[b]) + (a == b)
        self.roots = _block_roots(h)
        self.b_fixed = self.roots.mT @ (self.roots @ joins)
        return joins

    def _border(self, rows, columns, w, joins):
        """The Schur complement's rows and columns of the fixed effects."""
        p = self.shape.n_fixed
        border = np.zeros((p + self.shape.n_crossed,) * 2)
        border[:p, :p] = -_flat(self.b_fixed).T @ _flat(joins)
        for part in rows.parts:
            these = np.asarray(w[part], dtype=np.float64)
            border[:p, :p] += DenseDesign(rows.X[part]).weighted_gram(these, _core.effective_threads())
        return border

    def invert(self) -> None:
        """The covariance of the border, which variances and draws need and solving does not."""
        if self.shape.n_crossed:
            p, self.cov = self.shape.n_fixed, _inverse(self.border_factor)
            self.fixed_images = (self.b_crossed.T @ self.cov[p:, :p]).reshape(*self.b_fixed.shape)  # of C_fq B_q
        else:
            inverse, _ = scipy.linalg.lapack.dtrtri(self.border_factor, lower=1)
            self.root = inverse.T
            self.cov = self.root @ inverse

    # the other groups

    def _add_crossed(self, rows, columns, w, border, joins):
        """The other groups' rows and columns of the border, and what joins them with the main levels."""
        p, blocks = self.shape.n_fixed, [self._pair_blocks(rows, columns, i, w) for i in range(len(rows.pairs))]
        self._add_own(rows, columns, w, border[p:, p:])
        for e, (i, a) in enumerate(self.shape.effects):
            k = self.shape.others[i]
            part = slice(p + self.shape.starts[i] + a, p + self.shape.starts[i + 1], self.shape.widths[k])
            border[part, :p] = rows.sums[k].of_rows(rows.X, w, _crossed(self.shape, columns)[e])
        self.crossed_blocks = [
            block @ self.roots[pairs.main].mT @ self.roots[pairs.main] for pairs, block in zip(rows.pairs, blocks)
        ]
        self.b_crossed = rows.crossed_array(self.crossed_blocks)  # (q, J r)
        crossed_joins = rows.crossed_array(blocks)
        self.joins.append(crossed_joins)
        border[p:, p:] -= (self.b_crossed @ crossed_joins.T).toarray()
        border[p:, :p] -= self.b_crossed @ _flat(joins)
        border[:p, p:] = border[p:, :p].T

    def _add_own(self, rows, columns, w, own):
        q, at, z = self.shape.n_crossed, rows.crossed_columns, _crossed(self.shape, columns)
        diagonal = np.arange(q)
        own[diagonal, diagonal] += 1.0
        for e in range(len(at)):
            wz = w * z[e]
            own[diagonal, diagonal] += np.bincount(at[e], wz * z[e], q)
            for f in range(e):
                part = np.bincount(at[e] * q + at[f], wz * z[f], q * q).reshape(q, q)
                own += part + part.T

    def _pair_blocks(self, rows, columns, i, w):
        """Sums of w z z^T over the rows of each pair, (pairs, width, r)."""
        pairs, mine, main = rows.pairs[i], columns[self.shape.others[i]], columns[self.shape.main]
        out = np.empty((len(pairs), len(mine), len(main)))
        for a in range(len(mine)):
            for b in range(len(main)):
                out[:, a, b] = np.bincount(pairs.of_row, w * mine[a] * main[b], len(pairs))
        return out

    def images(self, pairs) -> list[np.ndarray]:
        """C_qq B_q at pairs of a level of another group and a main level, (pairs, width, r) by group."""
        if not self.shape.n_crossed:
            return []
        shape, p = self.shape, self.shape.n_fixed
        r, levels = shape.widths[shape.main], shape.n_levels[shape.main]
        out = [np.empty((len(these), shape.widths[k], r)) for these, k in zip(pairs, shape.others)]
        by_main, cross = scipy.sparse.csr_array(self.b_crossed.T), self.cov[p:, p:]
        step = max(1, MOST_DENSE // (shape.n_crossed * r))
        for first in range(0, levels, step):
            last = min(first + step, levels)
            image = (by_main[first * r : last * r] @ cross).reshape(last - first, r, -1)
            for i, a in shape.effects:
                here = np.flatnonzero((pairs[i].main >= first) & (pairs[i].main < last))
                at = shape.starts[i] + pairs[i].level[here] * shape.widths[shape.others[i]] + a
                out[i][here, a] = image[pairs[i].main[here] - first, :, at]
        return out

    def with_images(self, rows) -> list[np.ndarray]:
        """The images of the rows' own pairs; what they add to the covariances of the main levels is kept."""
        images, shape = self.images(rows.pairs), self.shape
        if images:
            r, levels = shape.widths[shape.main], shape.n_levels[shape.main]
            self.level_crossed = np.zeros((levels, r, r))
            for pairs, block, image in zip(rows.pairs, self.crossed_blocks, images):
                products = (block.mT @ image).reshape(len(pairs), -1)
                for i in range(r * r):
                    self.level_crossed[:, i // r, i % r] += np.bincount(pairs.main, products[:, i], levels)
        return images

    def kept(self) -> Arrow:
        """What predictions and draws need, without what belongs to the rows."""
        arrow = copy.copy(self)
        arrow.joins, arrow.crossed_blocks = [], []
        return arrow

    # solving

    def solve(self, g) -> Effects:
        """P^-1 g."""
        p = self.shape.n_fixed
        inner = self._block_solved(g.main)
        border = np.concatenate([g.fixed, g.crossed])
        border -= np.concatenate([joins @ inner.ravel() for joins in self.joins])
        border, _ = scipy.linalg.lapack.dpotrs(self.border_factor, border, lower=1)
        return Effects(border[:p], border[p:], inner - self.main_images(border[None])[0])

    def _block_solved(self, v):
        """H_g^-1 v_g for v (J, r)."""
        return (self.roots.mT @ (self.roots @ v[:, :, None]))[:, :, 0]

    def main_images(self, border):
        """B_g times borders (n, p + q), (n, J, r)."""
        p = self.shape.n_fixed
        images = (_flat(self.b_fixed) @ border[:, :p].T).T
        if self.shape.n_crossed:
            images = images + (self.b_crossed.T @ border[:, p:].T).T
        return images.reshape(-1, *self.b_fixed.shape[:2])

    def draw(self, n, generator) -> Effects:
        """Deviations from the mean: fixed (n, p), crossed (n, q), main (n, J, r)."""
        p = self.shape.n_fixed
        noise = generator.standard_normal((len(self.border_factor), n))
        border = scipy.linalg.solve_triangular(self.border_factor.T, noise, check_finite=False).T
        own = generator.standard_normal((n, *self.b_fixed.shape[:2]))
        main = (self.roots.mT @ own[..., None])[..., 0] - self.main_images(border)
        return Effects(border[:, :p], border[:, p:], main)

    # variances

    def variances(self, rows, columns, images, part) -> np.ndarray:
        """Of the linear predictors of the rows `part`, a slice; `images` are those of the rows' pairs."""
        shape, level = self.shape, rows.groups[self.shape.main].index[part]
        z = [column[part] for column in columns[shape.main]]
        y = rows.X[part] - sum(z[a][:, None] * self.b_fixed[level, a] for a in range(len(z)))
        out = _half_squares(self.roots, level, z)
        if not shape.n_crossed:
            y = y @ self.root
            return out + np.einsum("ij,ij->i", y, y)
        p = shape.n_fixed
        out += np.einsum("ij,ij->i", y @ self.cov[:p, :p], y)
        for a in range(len(z)):
            out -= 2.0 * z[a] * np.einsum("ij,ij->i", y, self.fixed_images[level, a])
            for b in range(len(z)):
                out += z[a] * z[b] * self.level_crossed[level, a, b]
        return self._with_crossed(rows, columns, images, part, z, y, out)

    def _with_crossed(self, rows, columns, images, part, z, y, out):
        p, cov = self.shape.n_fixed, self.cov
        at = [column[part] for column in rows.crossed_columns]
        v = [column[part] for column in _crossed(self.shape, columns)]
        for e, (i, a) in enumerate(self.shape.effects):
            pair = rows.pairs[i].of_row[part]
            out += 2.0 * v[e] * np.einsum("ij,ij->i", y, cov[p + at[e], :p])
            for b in range(len(z)):
                out -= 2.0 * v[e] * z[b] * images[i][pair, a, b]
            for f in range(e + 1):
                out += (1.0 + (f < e)) * v[e] * v[f] * cov[p + at[e], p + at[f]]
        return out

    def covariances(self) -> list[np.ndarray]:
        """cov(v_g) of every level (J, r, r), by group."""
        shape, p = self.shape, self.shape.n_fixed
        out = [self._main_covariances()] * len(shape.n_levels)
        for start, k in zip(shape.starts, shape.others):
            at = p + start + np.arange(shape.n_levels[k] * shape.widths[k]).reshape(-1, shape.widths[k])
            out[k] = self.cov[at[:, :, None], at[:, None, :]]
        return out

    def _main_covariances(self):
        p = self.shape.n_fixed
        out = self.roots.mT @ self.roots
        if not self.shape.n_crossed:
            half = self.b_fixed @ self.root
            return out + half @ half.mT
        out = out + self.b_fixed @ self.cov[:p, :p] @ self.b_fixed.mT + self.level_crossed
        cross = self.b_fixed @ self.fixed_images.mT
        return out + cross + cross.mT

    @property
    def fixed_cov(self) -> np.ndarray:
        return self.cov[: self.shape.n_fixed, : self.shape.n_fixed]


def _inverse(factor):
    """C = (L L^T)^-1."""
    cov, _ = scipy.linalg.lapack.dpotri(factor, lower=1)
    cov = np.tril(cov)
    return cov + np.tril(cov, -1).T


def _crossed(shape, columns):
    """z of the other groups' effects."""
    return [z for k in shape.others for z in columns[k]]


def _half_squares(roots, level, z):
    """z^T H_g^-1 z of rows, for the inverse Cholesky factors of the H_g."""
    out = np.zeros(len(level))
    for a in range(len(z)):
        half = roots[level, a, 0] * z[0]
        for b in range(1, a + 1):
            half += roots[level, a, b] * z[b]
        out += half * half
    return out


def _block_roots(h):
    """The inverses of the Cholesky factors of blocks (J, r, r)."""
    if h.shape[1] > 1:
        return np.linalg.solve(np.linalg.cholesky(h), np.broadcast_to(np.eye(h.shape[1]), h.shape))
    if not (h > 0.0).all():
        raise np.linalg.LinAlgError("a level's block is not positive")
    return 1.0 / np.sqrt(h)


def _flat(v):
    """(J, r, k) as (J r, k)."""
    return v.reshape(-1, v.shape[2])
