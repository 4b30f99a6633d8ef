"""The survey's experiment: variance of each gradient estimator along the training of a Bayesian logistic regression.

Mohamed, Rosca, Figurnov & Mnih (2020), Monte Carlo gradient estimation in machine learning, section 8.2: breast cancer
data, a diagonal Gaussian posterior trained by gradient ascent on the ELBO.  The picture shows the total variance of one
draw's gradient with respect to the means and to the standard deviations.  The trajectory is that of the exact gradient
(Adam), so that every estimator is measured at the same points.
"""

from __future__ import annotations

import numpy as np

import sbpfast as sb
from sbpfast.data import load_breast_cancer

ESTIMATORS = (
    ("score", "mc"),
    ("pathwise", "mc"),
    ("stein", "mc"),
    ("price", "mc"),
    ("price", "antithetic"),
    ("combined", "mc"),
)
RATE = 0.02


def train(target, steps, every):
    """Yield (step, distribution) along Adam on the exact ELBO in (mean, log std)."""
    d = target.dim
    theta, first, second = np.concatenate([np.zeros(d), np.zeros(d)]), np.zeros(2 * d), np.zeros(2 * d)
    for step in range(steps + 1):
        q = sb.DiagonalGaussian(theta[:d], np.exp(theta[d:]))
        if step % every == 0:
            yield step, q
        est = sb.expectation_grad(target, q, estimator="exact")
        gradient = np.concatenate([est.grad["mean"], est.grad["std"] * q.std + 1.0])  # + the entropy's
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        theta = theta + RATE * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)


def study(quick):
    steps, every, n_samples = (2, 1, 64) if quick else (1000, 50, 4096)
    X, y, _ = load_breast_cancer()
    target = sb.targets.logistic_regression(X, y, prior_scale=1.0)
    rows = []
    for step, q in train(target, steps, every):
        elbo = sb.expectation_grad(target, q, estimator="exact").value + q.entropy()
        row = {"step": step, "elbo": elbo}
        for estimator, sampling in ESTIMATORS:
            est = sb.expectation_grad(target, q, estimator=estimator, sampling=sampling, n_samples=n_samples, rng=step)
            for key in ("mean", "std"):
                row[f"{estimator}, {sampling}, {key}"] = float(np.sum(est.stderr[key] ** 2)) * est.n_samples
        rows.append(row)
        print(
            f"step {step:5d}  ELBO {elbo:10.3f}  "
            + "  ".join(f"{k}: {v:.3g}" for k, v in row.items() if k.endswith("std"))
        )
    return rows


def draw(plt, rows, folder):
    steps = [row["step"] for row in rows]
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.5), layout="constrained")
    for ax, key, title in zip(axes, ("mean", "std"), ("d/dmean (price is pathwise here)", "d/dstd")):
        for estimator, sampling in ESTIMATORS:
            label = estimator + ("" if sampling == "mc" else f", {sampling}")
            variances = [row[f"{estimator}, {sampling}, {key}"] for row in rows]
            ax.semilogy(steps, [v if v > 1e-9 else np.nan for v in variances], label=label)
        ax.set_title(f"variance of one draw's gradient, {title}", fontsize=9)
        ax.set_xlabel("training step")
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    axes[2].plot(steps, [row["elbo"] for row in rows], color="black")
    axes[2].set_title("ELBO", fontsize=9)
    axes[2].set_xlabel("training step")
    axes[2].grid(alpha=0.3)
    figure.savefig(folder / "survey.png", dpi=130)
