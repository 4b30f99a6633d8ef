"""Pictures of a Gaussian-Bernoulli RBM; matplotlib is needed for these alone.

Each function draws on given or new axes and returns them.
"""

from __future__ import annotations

import numpy as np

from sbpfast import _checks

__all__ = ["chains", "free_energy_map", "likelihood_curve", "receptive_fields"]


def _axes(axes, **figure):
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained", **figure)[1] if axes is None else axes


def _image_grid(images, columns, gap=1):
    """Images (n, rows, columns) side by side in one array, NaN between them."""
    n, height, width = images.shape
    columns = min(columns, n)
    lines = -(-n // columns)
    grid = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for k, image in enumerate(images):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def _image_shape(rbm, image_shape):
    """(rows, columns) of an image, for a machine with as many features as pixels."""
    features = rbm._model().n_visible
    if len(image_shape) != 2 or image_shape[0] * image_shape[1] != features:
        raise ValueError(f"image_shape must have {features} pixels, got {tuple(image_shape)}")
    return image_shape


def receptive_fields(rbm, image_shape, *, n=100, columns=10, order="norm", axes=None):
    """The columns of the weights as images, each scaled by its own largest absolute value.

    Parameters
    ----------
    rbm : GaussianBernoulliRBM
    image_shape : (int, int)
        Rows and columns of an image; their product is the number of features.
    n : int
        How many units at most.
    order : {"norm", "index"}
        The longest weight vectors first, or as they come.
    """
    _checks.choice("order", order, ("norm", "index"))
    n, columns = _checks.count("n", n), _checks.count("columns", columns)
    image_shape, w = _image_shape(rbm, image_shape), np.asarray(rbm.weights_, dtype=np.float64)
    units = np.argsort(-np.linalg.norm(w, axis=0), kind="stable") if order == "norm" else np.arange(w.shape[1])
    fields = w[:, units[:n]].T
    fields = fields / np.maximum(np.abs(fields).max(axis=1, keepdims=True), 1e-300)
    axes = _axes(axes, figsize=(6, 6))
    axes.imshow(_image_grid(fields.reshape(-1, *image_shape), columns), cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_axis_off()
    axes.set_title("receptive fields (columns of W)")
    return axes


def chains(
    rbm, image_shape, *, n_chains=8, times=(0, 1, 10, 100, 1000), method="gibbs", start=None, rng=None, axes=None
):
    """States of Markov chains as images: a row a chain, a column a number of steps."""
    image_shape, times = _image_shape(rbm, image_shape), sorted(times)
    rng = np.random.default_rng(rng)  # one that all the pieces of the chains advance
    v, columns, done = start, [], 0
    for time in times:
        v = rbm.sample(n_chains, method=method, n_steps=time - done, start=v, rng=rng)
        columns.append(v)
        done = time
    images = np.stack(columns, axis=1).reshape(-1, *image_shape)
    axes = _axes(axes, figsize=(1.1 * len(times), 1.1 * n_chains))
    axes.imshow(_image_grid(images, len(times)), cmap="gray_r")
    width = image_shape[1] + 1
    axes.set_xticks([k * width + image_shape[1] / 2 for k in range(len(times))], [str(t) for t in times])
    axes.set_yticks([])
    axes.set(xlabel=f"steps ({method})", title="chains")
    return axes


def free_energy_map(rbm, *, data=None, limits=None, points=200, axes=None):
    """Filled contours of F over the plane (two features), with the data on top."""
    features = rbm._model().n_visible
    if features != 2:
        raise ValueError(f"free_energy_map needs a machine with 2 features, got {features}")
    if limits is None:
        cloud = np.asarray(data) if data is not None else rbm.sample(1000, rng=0)
        margin = 0.15 * np.ptp(cloud, axis=0)
        limits = np.stack([cloud.min(0) - margin, cloud.max(0) + margin], axis=1)
    x, y = (np.linspace(low, high, points) for low, high in limits)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    energy = rbm.free_energy(grid.reshape(-1, 2)).reshape(points, points)
    axes = _axes(axes, figsize=(5.5, 4.5))
    relative = np.minimum(energy - energy.min(), 30.0)  # beyond, the density is below 1e-13 of its peak
    filled = axes.contourf(x, y, relative, levels=np.linspace(0.0, 30.0, 31), cmap="viridis_r")
    axes.figure.colorbar(filled, ax=axes, label="F - min F (cut at 30)")
    if data is not None:
        axes.scatter(*np.asarray(data)[:2000].T, s=2, color="k", alpha=0.25, linewidths=0)
    axes.set(title="free energy", xlabel="$v_1$", ylabel="$v_2$", xlim=limits[0], ylim=limits[1])
    return axes


def likelihood_curve(rbm, *, axes=None):
    """The curves of `history_`: mean log likelihood where it was worked out, and reconstruction error."""
    history = getattr(rbm, "history_", None)
    if history is None:
        raise ValueError("likelihood_curve needs a machine trained by fit or partial_fit: this one has no history_")
    epochs = np.arange(1, len(history["reconstruction_error"]) + 1)
    axes = _axes(axes, figsize=(6, 3.5))
    likelihood = np.asarray(history["log_likelihood"])
    if np.isfinite(likelihood).any():
        axes.plot(epochs, likelihood, color="C0")
        axes.set_ylabel("mean log P(v)", color="C0")
        # early epochs can be far below: show from the tenth percentile on
        low, high = np.nanpercentile(likelihood, 10), np.nanmax(likelihood)
        axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
        second = axes.twinx()
    else:
        second = axes
    second.plot(epochs, history["reconstruction_error"], color="C1")
    second.set_ylabel("reconstruction error", color="C1")
    axes.set(xlabel="epoch", title="learning")
    return axes
