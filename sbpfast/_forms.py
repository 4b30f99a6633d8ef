"""Forms: which part of a symmetric matrix a covariance structure needs.

``FullForm`` is the matrix itself (d, d), ``DiagonalForm`` its diagonal (d,), and ``LowRankForm(W)``, W (d, k), its
diagonal beside its product with W, stacked to (d, 1 + k).  A matrix in a form is an array, so forms add, scale and
average like any others, with or without leading batch axes.
"""

from __future__ import annotations

import numpy as np
import scipy

from sbpfast import _core
from sbpfast._means import group_cross, group_mean



class FullForm:
    """The whole matrix, (d, d)."""

    @staticmethod
    def of_matrix(p, d):
        """Of a constant matrix given as a scalar, a diagonal (d,) or in full."""
        return np.diag(np.broadcast_to(p, d)) if np.ndim(p) < 2 else p

    @staticmethod
    def of_hessians(h, m):
        """Group means of Hessians (n, d, d)."""
        return group_mean(h, m)

    @staticmethod
    def of_outer(a, b, m):
        """Group means of the symmetric part of a_s b_s^T."""
        cross = group_cross(a, b, m)
        return 0.5 * (cross + cross.swapaxes(-1, -2))

    @staticmethod
    def of_factored(a, c, n_threads):
        """A^T diag(c) A for A (N, d), c (N,)."""
        if scipy.sparse.issparse(a):
            return (a.T @ scale_rows(a, c)).toarray()
        out = np.empty((a.shape[1], a.shape[1]))
        _core.ridge.weighted_product(a, c, a, True, out, n_threads)
        return out


class DiagonalForm:
    """The diagonal, (d,)."""

    @staticmethod
    def of_matrix(p, d):
        return np.broadcast_to(p, d) if np.ndim(p) < 2 else np.diagonal(p)

    @staticmethod
    def of_hessians(h, m):
        return group_mean(np.einsum("nii->ni", h), m)

    @staticmethod
    def of_outer(a, b, m):
        return group_mean(a * b, m)

    @staticmethod
    def of_factored(a, c, n_threads):
        return _squares(a, c, n_threads)


class LowRankForm:
    """The diagonal beside the product with W (d, k), stacked to (d, 1 + k)."""

    def __init__(self, w):
        self.w = w

    def of_matrix(self, p, d):
        product = p @ self.w if np.ndim(p) == 2 else np.broadcast_to(p, d)[:, None] * self.w
        return np.column_stack([DiagonalForm.of_matrix(p, d), product])

    def of_hessians(self, h, m):
        return _beside(DiagonalForm.of_hessians(h, m), group_mean(h @ self.w, m))

    def of_outer(self, a, b, m):
        product = 0.5 * (group_cross(a, b @ self.w, m) + group_cross(b, a @ self.w, m))
        return _beside(DiagonalForm.of_outer(a, b, m), product)

    def of_factored(self, a, c, n_threads):
        aw = np.ascontiguousarray(a @ self.w)
        if scipy.sparse.issparse(a):
            return np.column_stack([_squares(a, c, n_threads), a.T @ (c[:, None] * aw)])
        product = np.empty((self.w.shape[1], a.shape[1]))
        _core.ridge.weighted_product(aw, c, a, False, product, n_threads)
        return np.column_stack([_squares(a, c, n_threads), product.T])


def scale_rows(a, c):
    """diag(c) A for a sparse A."""
    return scipy.sparse.diags_array(c) @ a


def _squares(a, c, n_threads):
    """sum_j c_j a_j^2, elementwise in the columns."""
    if scipy.sparse.issparse(a):
        return (a * a).T @ c
    out = np.empty(a.shape[1])
    _core.contract.weighted_sum_of_squares(a, c, out, n_threads)
    return out


def _beside(diagonal, product):
    return np.concatenate([diagonal[..., None], product], axis=-1)
