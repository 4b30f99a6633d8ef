"""Forms: which part of a symmetric matrix a covariance structure needs.

``FullForm`` is the matrix itself (d, d), ``DiagonalForm`` its diagonal (d,), and ``LowRankForm(W)``, W (d, k), its
diagonal beside its product with W, stacked to (d, 1 + k).  A matrix in a form is an array, so forms add, scale and
average like any others, with or without leading batch axes.
"""

from __future__ import annotations

import numpy as np

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
            np.einsum("...ii->...i", form)[...] -= p  # a view of the diagonal in every memory order

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
    def of_factored(design, c, n_threads):
        """A^T diag(c) A for a design A (N, d), c (N,)."""
        return design.weighted_gram(c, n_threads)


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
    def of_factored(design, c, n_threads):
        return design.weighted_squares(c, n_threads)


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

    def of_factored(self, design, c, n_threads):
        return _beside(design.weighted_squares(c, n_threads), design.weighted_gram_dot(c, self.w, n_threads))


def _beside(diagonal, product):
    return np.concatenate([diagonal[..., None], product], axis=-1)
