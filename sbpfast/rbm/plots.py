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


def _image_grid(images, columns, gap=1, between=np.nan):
    """Images (n, rows, columns) side by side in one array."""
    n, height, width = images.shape
    columns = min(columns, n)
    lines = -(-n // columns)
    grid = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap), between)
    for k, image in enumerate(images):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def _image_shape(rbm, image_shape):
    """(rows, columns) of an image, for a machine with as many features as pixels."""
    features = rbm._model().n_visible
    if _checks.dimensions(image_shape) != 1 or len(image_shape) != 2:
        raise ValueError(f"image_shape must be two numbers, rows and columns, got {image_shape!r}")
    shape = tuple(_checks.count("image_shape", k) for k in image_shape)
    if shape[0] * shape[1] != features:
        raise ValueError(f"image_shape must have {features} pixels, got {shape}")
    return shape


def receptive_fields(rbm, image_shape, *, n=100, columns=10, order="norm", axes=None):
    """What each hidden unit adds to the mean of v when it is on, the columns of D W, as images on one scale.

    In the units of the data, so that pixels without variance, where sigma is next to nothing, do not drown the rest.

    Parameters
    ----------
    rbm : GaussianBernoulliRBM
    image_shape : (int, int)
        Rows and columns of an image; their product is the number of features.
    n : int
        How many units at most.
    columns : int
        Fields in a line.
    order : {"norm", "index"}
        The units that add most first, or as they come.
    axes : matplotlib Axes, optional
    """
    _checks.choice("order", order, ("norm", "index"))
    n, columns = _checks.count("n", n), _checks.count("columns", columns)
    image_shape, model = _image_shape(rbm, image_shape), rbm._model().astype(np.float64)
    fields = model.sigma[:, None] * model.weights
    size = np.linalg.norm(fields, axis=0)
    units = np.argsort(-size, kind="stable") if order == "norm" else np.arange(len(size))
    fields = fields[:, units[:n]].T.reshape(-1, *image_shape)
    limit = max(float(np.quantile(np.abs(fields), 0.995)), 1e-300)  # a few pixels may be off the scale
    axes = _axes(axes, figsize=(6.5, 6))
    grid = _image_grid(fields, columns, between=0.0)
    drawn = axes.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="bicubic")
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02, extend="both")
    bar.set_label("added to the mean of a pixel")
    for edge, extent, line in zip(image_shape, grid.shape[::-1], (axes.hlines, axes.vlines)):
        line(np.arange(edge, max(grid.shape), edge + 1), -0.5, extent - 0.5, color="0.8", linewidth=0.8)
    axes.set(xlim=(-0.5, grid.shape[1] - 0.5), ylim=(grid.shape[0] - 0.5, -0.5))
    axes.set_axis_off()
    axes.set_title(f"What {len(fields)} of {len(size)} hidden units add to an image")
    return axes


def chains(
    rbm, image_shape, *, n_chains=8, times=(0, 1, 10, 100, 1000), method="gibbs", start=None, rng=None, axes=None
):
    """States of Markov chains as images: a row a chain, a column a number of steps.

    Parameters
    ----------
    rbm : GaussianBernoulliRBM
    image_shape : (int, int)
    n_chains : int
    times : sequence of int
        The numbers of steps after which the chains are shown.
    method, start
        As for `GaussianBernoulliRBM.sample`.
    rng : None, int, SeedSequence or Generator
    axes : matplotlib Axes, optional
    """
    image_shape = _image_shape(rbm, image_shape)
    times = sorted(_checks.count("times", t, 0) for t in (times if _checks.dimensions(times) else [times]))
    if not times:
        raise ValueError("times must hold at least one number of steps")
    rng = np.random.default_rng(rng)  # one that all the pieces of the chains advance
    v, columns, done = start, [], 0
    for time in times:
        v = rbm.sample(n_chains, method=method, n_steps=time - done, start=v, rng=rng)
        columns.append(v)
        done = time
    images = np.stack(columns, axis=1).reshape(-1, *image_shape)
    low, high = np.quantile(columns[-1], [0.02, 0.98])  # the noise of a few pixels would take the contrast of all
    axes = _axes(axes, figsize=(1.1 * len(times) + 0.6, 1.1 * n_chains + 0.6))
    axes.imshow(_image_grid(images, len(times)), cmap="gray_r", vmin=low, vmax=max(high, low + 1e-300))
    width = image_shape[1] + 1
    axes.set_xticks([k * width + (image_shape[1] - 1) / 2 for k in range(len(times))], [str(t) for t in times])
    axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set(xlabel=f"steps of the chain ({method})", title=f"{n_chains} chains, one a row")
    return axes


def free_energy_map(rbm, *, data=None, limits=None, points=200, axes=None):
    """Filled contours of F over the plane (two features), with the data on top.

    Parameters
    ----------
    rbm : GaussianBernoulliRBM
    data : array_like (n, 2), optional
        Points to show, 2000 of them at most.
    limits : array_like (2, 2), optional
        Ends of the two axes; around the data, or draws of the machine, if None.
    points : int
        Points of the grid along either axis.
    axes : matplotlib Axes, optional
    """
    features = rbm._model().n_visible
    if features != 2:
        raise ValueError(f"free_energy_map needs a machine with 2 features, got {features}")
    data = None if data is None else _checks.points("data", data, 2)
    points = _checks.count("points", points, 2)
    if limits is None:
        cloud = data if data is not None and len(data) else rbm.sample(1000, rng=0)
        margin = 0.15 * np.ptp(cloud, axis=0) + 1e-9
        limits = np.stack([cloud.min(0) - margin, cloud.max(0) + margin], axis=1)
    limits = _checks.real_array("limits", limits, shape=(2, 2))
    x, y = (np.linspace(low, high, points) for low, high in limits)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    energy = rbm.free_energy(grid.reshape(-1, 2)).reshape(points, points)
    axes = _axes(axes, figsize=(5.5, 4.5))
    relative = np.minimum(energy - energy.min(), 30.0)  # beyond, the density is below 1e-13 of its peak
    filled = axes.contourf(x, y, relative, levels=np.linspace(0.0, 30.0, 31), cmap="viridis_r")
    axes.figure.colorbar(filled, ax=axes, label="F - min F (cut at 30)")
    if data is not None:
        axes.scatter(*data[:2000].T, s=2, color="k", alpha=0.25, linewidths=0)
    axes.set(title="Free energy", xlabel="$v_1$", ylabel="$v_2$", xlim=limits[0], ylim=limits[1])
    return axes


def likelihood_curve(rbm, *, axes=None):
    """The curves of `history_`, mean log likelihood where it was worked out and reconstruction error, by epoch.

    Parameters
    ----------
    rbm : GaussianBernoulliRBM
        Trained by `fit` or `partial_fit`.
    axes : matplotlib Axes, optional
    """
    history = getattr(rbm, "history_", None)
    if history is None:
        raise ValueError("likelihood_curve needs a machine trained by fit or partial_fit: this one has no history_")
    epochs = np.arange(1, len(history["reconstruction_error"]) + 1)
    axes = _axes(axes, figsize=(6, 3.5))
    likelihood, error = np.asarray(history["log_likelihood"]), np.asarray(history["reconstruction_error"])
    lines: list = []
    right = axes
    if np.isfinite(likelihood).any():
        lines += axes.plot(epochs, likelihood, color="C0", label="mean log P(v)")
        axes.set_ylabel("mean log P(v) (nats)", color="C0")
        # early epochs can be far below: show from the tenth percentile on
        low, high = np.nanpercentile(likelihood, 10), np.nanmax(likelihood)
        axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
        right = axes.twinx()
    lines += right.plot(epochs, error, color="C1", label="reconstruction error")
    right.set_ylabel("reconstruction error (share of the variance)", color="C1")
    right.set_ylim(bottom=0.0)
    kept = rbm.best_epoch_
    if 1 <= kept < len(epochs):
        lines.append(axes.axvline(kept, color="0.6", linestyle=":", label=f"epoch {kept}, which is kept"))
    axes.grid(alpha=0.3)
    axes.legend(handles=lines, frameon=False, loc="upper right")
    axes.set(xlabel="epoch", title="Learning")
    return axes
