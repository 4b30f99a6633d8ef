"""The RBM on scikit-learn's 8 x 8 digits, beside the models it must beat."""

from __future__ import annotations

from peers import optional

EPOCHS = {"exact": 500, "pcd": 1000, "features": 30}


def study(quick):
    """Held-out log-likelihoods and accuracies; nothing without scikit-learn."""
    datasets = optional("sklearn.datasets")
    if datasets is None:
        return {}
    from studies._images import compare

    x, y = datasets.load_digits(return_X_y=True)
    if quick:
        return compare("digits", x[:200], y[:200], 17.0, {"enumerable": 2, "large": 3}, dict.fromkeys(EPOCHS, 1))
    return compare("digits", x, y, 17.0, {"enumerable": 16, "large": 100}, EPOCHS)


def draw(plt, results, folder):
    from studies._images import MACHINES, pictures

    title = "A Gaussian-Bernoulli RBM of 100 hidden units, trained on 1437 images of 8 x 8 pixels (digits)"
    pictures(plt, MACHINES["digits"], (8, 8), title, folder / "rbm_digits.png")
