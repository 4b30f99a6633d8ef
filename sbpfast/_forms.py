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
    def entries(d):
        return d * d

    @staticmethod
    def zeros(d):
        return np.zeros((d, d))

    @staticmethod
    def subtract(form, p):
        """Subtract, in place, a matrix given in full or by its diagonal."""
        if p.ndim == 2:
            form -= p
        else:
            np.einsum("ii->i", form)[...] -= p  # a view of the diagonal in every memory order

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
    def entries(d):
        return d

    @staticmethod
    def zeros(d):
        return np.zeros(d)

    @staticmethod
    def subtract(form, p):
        form -= p if p.ndim == 1 else np.diagonal(p)

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

    def entries(self, d):
        return d * (1 + self.w.shape[1])

    def zeros(self, d):
        return np.zeros((d, 1 + self.w.shape[1]))

    def subtract(self, form, p):
        DiagonalForm.subtract(form[:, 0], p)
        form[:, 1:] -= p @ self.w if p.ndim == 2 else p[:, None] * self.w

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
