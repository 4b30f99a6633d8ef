"""The RBM on Fashion-MNIST, 14 x 14, beside the models it must beat."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from peers import optional

EPOCHS = {"exact": 500, "pcd": 600, "features": 30}
FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist


def images():
    """The first 12500 images for training, 2 x 2 pixels averaged: enough to tell the models apart in minutes."""
    with gzip.open(FOLDER / "train-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 14, 2, 14, 2)[:12_500]
    with gzip.open(FOLDER / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)[:12_500]
    return x.mean((2, 4)).reshape(-1, 196), y


def study(quick):
    """Held-out log-likelihoods and accuracies; nothing without scikit-learn or the images."""
    if optional("sklearn") is None:
        return {}
    if not FOLDER.is_dir():
        print(f"  ({FOLDER} is not there: install Debian's package dataset-fashion-mnist)")
        return {}
    from studies._images import compare

    x, y = images()
    if quick:
        return compare("fashion", x[:300], y[:300], 256.0, {"enumerable": 2, "large": 3}, dict.fromkeys(EPOCHS, 1))
    return compare("fashion", x, y, 256.0, {"enumerable": 16, "large": 200}, EPOCHS)


def draw(plt, results, folder):
    from studies._images import MACHINES, pictures

    title = "A Gaussian-Bernoulli RBM of 200 hidden units, trained on 10000 images of 14 x 14 pixels (Fashion-MNIST)"
    pictures(plt, MACHINES["fashion"], (14, 14), title, folder / "rbm_fashion.png")
