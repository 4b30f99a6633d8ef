"""Triangular factors of precisions and covariances, and what a fit asks of them."""

from __future__ import annotations

import numpy as np
import scipy

from sbpfast.gaussian._draws import LOG_2PI

SMALL = 128  # dimensions up to which a triangular system is not worth threads


def entropy(chol) -> float:
    """1/2 log det(2 pi e L L^T)."""
    return 0.5 * len(chol) * (1.0 + LOG_2PI) + float(np.log(np.diagonal(chol)).sum())


def upper_factor(precision) -> np.ndarray:
    """The upper triangular U with P = U U^T; LinAlgError unless P is positive definite."""
    return np.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]


def _triangular_solve(upper, b, transposed=False) -> np.ndarray:
    """U^-1 b, or U^-T b; small ones by NumPy: SciPy's BLAS would wake its own threads, which then stand in our way."""
    if len(upper) <= SMALL:
        return np.linalg.solve(upper.T if transposed else upper, b)
    return scipy.linalg.solve_triangular(upper, b, trans="T" if transposed else "N", check_finite=False)


def solved(upper, v) -> np.ndarray:
    """P^-1 v for P = U U^T."""
    return _triangular_solve(upper, _triangular_solve(upper, v), transposed=True)


def refactored(chol, upper) -> np.ndarray:
    """The lower factor L' = L U^-T, with (L' L'^T)^-1 = L^-T P L^-1 for a precision P = U U^T in L's coordinates."""
    return np.tril(_triangular_solve(upper, chol.T).T)


def is_positive_definite(matrix) -> bool:
    try:
        upper_factor(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def definite_factor(precision):
    """The upper factor of a matrix, and True, where it is positive definite.

    Else of the matrix with the absolute values of its eigenvalues, at least 1/4, and False.
    """
    try:
        return upper_factor(precision), True
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(precision)
        return upper_factor(
            (vectors * np.maximum(np.abs(values), max(0.25, 1e-12 * np.abs(values).max()))) @ vectors.T
        ), False
