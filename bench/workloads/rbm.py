"""The Gaussian-Bernoulli RBM, float32: a CD-1 epoch and free energies; and the exact log Z."""

from __future__ import annotations

import numpy as np

import sbpfast as sb
from peers import present
from peers.rbm import dense_log_partition, numpy_epoch, products_epoch, sklearn_epoch, torch_epoch, torch_free_energy
from workload import Workload

DENSE = "NumPy, dense"


def data(rows, visible):
    return np.random.default_rng(0).standard_normal((rows, visible)).astype(np.float32)


def our_epoch(x, hidden, batch, optimizer):
    settings = {"method": "cd", "optimizer": optimizer, "batch_size": batch, "learning_rate": 1e-3, "n_epochs": 1}
    rbm = sb.GaussianBernoulliRBM(hidden, rng=0, **settings)
    rbm.partial_fit(x)
    trainer = rbm._trainer  # the epoch alone, without the curves that fit follows after it
    return lambda: trainer.run_epoch(x, 1e-3)


def cd_epoch(rows, visible, hidden, batch):
    x = data(rows, visible)
    return present(
        {
            "sbpfast": our_epoch(x, hidden, batch, "momentum"),
            "sbpfast, adam": our_epoch(x, hidden, batch, "adam"),
            "five matrix products alone": products_epoch(x, hidden, batch),
            "NumPy": numpy_epoch(x, hidden, batch),
            "torch": torch_epoch(x, hidden, batch),
            "scikit-learn BernoulliRBM": sklearn_epoch(x, hidden, batch),
        }
    )


def free_energy(rows, visible, hidden):
    x, r = data(rows, visible), np.random.default_rng(1)
    w = (0.05 * r.standard_normal((visible, hidden))).astype(np.float32)
    b, c, s = (r.standard_normal(k).astype(np.float32) for k in (visible, hidden, visible))
    s = np.exp(0.1 * s)
    rbm = sb.GaussianBernoulliRBM.from_params(w, b, c, s)
    return present(
        {
            "sbpfast": lambda: rbm.free_energy(x),
            "NumPy": lambda: 0.5 * (((x - b) / s) ** 2).sum(1) - np.logaddexp(0, (x / s) @ w + c).sum(1),
            "the matrix product alone": lambda: x @ w,
            "torch": torch_free_energy(x, w, b, c, s),
        }
    )


def log_partition(units, dense_units):
    """Ours, and dense enumeration of as many units as its matrix has room for."""
    machines = {}
    for k in (units, dense_units):
        r = np.random.default_rng(k)
        machines[k] = sb.GaussianBernoulliRBM.from_params(
            0.5 * r.standard_normal((20, k)), r.standard_normal(20), r.standard_normal(k), np.ones(20)
        )
    return {
        "sbpfast": lambda: machines[units].log_partition(),
        "sbpfast, with moments and all derivatives": lambda: machines[units].moments(),
        DENSE: dense_log_partition(machines[dense_units]),
    }


def states(calls, times, units, dense_units):
    return {name: {"items": 2 ** (dense_units if name == DENSE else units)} for name in calls}


SIZES, QUICK = {"rows": 10_000, "visible": 784, "hidden": 500}, {"rows": 20, "visible": 6, "hidden": 4}
WORKLOADS = [
    Workload("CD-1 epoch", cd_epoch, SIZES | {"batch": 100}, QUICK | {"batch": 10}),
    Workload("free energy", free_energy, SIZES, QUICK),
    Workload(
        "log Z", log_partition, {"units": 24, "dense_units": 18}, {"units": 6, "dense_units": 4}, " state", states
    ),
]


def draw(plt, results, folder):
    figure, axes = plt.subplots(1, len(results), figsize=(14, 3.4), layout="constrained")
    for axis, (title, entry) in zip(axes, results.items()):
        scale, unit = (1e9, f"ns a {entry['item']}") if entry["item"] else (1e3, "ms")
        times = entry["seconds"]
        values = [scale * t["median"] / t.get("items", 1) for t in times.values()]
        colours = ["#c44" if name.startswith("sbpfast") else "#889" for name in times]
        bars = axis.barh(list(times), values, color=colours)
        axis.bar_label(bars, fmt="%.3g", padding=3)
        axis.set(title=title, xlabel=unit, xscale="log" if entry["item"] else "linear")
        axis.margins(x=0.2)
        axis.invert_yaxis()
    figure.savefig(folder / "rbm.png", dpi=120)
