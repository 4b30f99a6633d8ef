"""The small real data set that the main job runs on."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

__all__ = ["load_breast_cancer"]


def load_breast_cancer(standardize: bool = True) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Breast Cancer Wisconsin (Diagnostic): 569 cases, 30 features and a constant.

    Parameters
    ----------
    standardize : bool
        Bring every feature to mean 0 and standard deviation 1.

    Returns
    -------
    X : numpy.ndarray (569, 31)
        The features and, last, a column of ones.
    y : numpy.ndarray (569,)
        1 for benign, 0 for malignant.
    names : list of str
        Names of the columns of X.

    Notes
    -----
    Source and licence (CC BY 4.0) are in ``sbpfast/data/SOURCE.txt``.
    """
    path = files(__package__) / "breast_cancer.csv"
    with path.open() as file:
        names = file.readline().strip().split(",")[1:]
        table = np.loadtxt(file, delimiter=",")
    y, X = table[:, 0].copy(), table[:, 1:]
    if standardize:
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.column_stack([X, np.ones(len(X))]), y, [*names, "constant"]
