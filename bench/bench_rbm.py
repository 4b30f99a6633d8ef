"""Speed of the Gaussian-Bernoulli RBM beside torch, scikit-learn and dense NumPy, all in one run.

    python bench/bench_rbm.py [--out bench/results] [--repeat 7]

Three workloads: a CD-1 epoch (10000 x 784, 500 hidden, batches of 100, float32), the free energy of 10000 x 784 points
under 500 hidden units (float32), and the exact log Z of 24 hidden units.  Each is the least of several repetitions,
taken in turn so that a busy moment hits every contestant alike.  Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path

import numpy as np

import sbpfast as sb

ROWS, VISIBLE, HIDDEN, BATCH = 10_000, 784, 500, 100


def optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def least_times(contestants, repeat):
    """Seconds of the fastest call of each function, after one call to warm up."""
    best = dict.fromkeys(contestants, np.inf)
    for function in contestants.values():
        function()
    for _ in range(repeat):
        for name, function in contestants.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def data():
    r = np.random.default_rng(0)
    return r.standard_normal((ROWS, VISIBLE)).astype(np.float32)


# -- a CD-1 epoch ---------------------------------------------------------------------------------------------------


def cd_epoch(x):
    contestants = {}
    for optimizer in ("momentum", "adam"):
        rbm = sb.GaussianBernoulliRBM(
            HIDDEN, method="cd", optimizer=optimizer, batch_size=BATCH, learning_rate=1e-3, rng=0, n_epochs=1
        )
        rbm.partial_fit(x)
        trainer = rbm._trainer  # the epoch alone, without the curves that fit follows after it
        contestants[f"sbpfast, {optimizer}"] = lambda trainer=trainer: trainer.run_epoch(x, 1e-3)
    contestants["five matrix products alone"] = products_epoch(x)
    contestants["numpy"] = numpy_epoch(x)
    if torch := optional("torch"):
        contestants["torch"] = torch_epoch(x, torch)
    if neural := optional("sklearn.neural_network"):
        unit = (x - x.min()) / (x.max() - x.min())  # scikit-learn's visible units are binary
        contestants["scikit-learn BernoulliRBM"] = sklearn_epoch(unit, neural)
    return contestants


def products_epoch(x):
    w = np.random.default_rng(1).standard_normal((VISIBLE, HIDDEN)).astype(np.float32)
    v, h = x[:BATCH].copy(), x[:BATCH, :HIDDEN].copy()
    out = np.empty_like(w)

    def run():
        for _ in range(ROWS // BATCH):
            v @ w
            h @ w.T
            v @ w
            np.matmul(v.T, h, out=out)
            np.matmul(v.T, h, out=out)

    return run


def numpy_epoch(x):
    r = np.random.default_rng(1)
    w = 0.01 * r.standard_normal((VISIBLE, HIDDEN), dtype=np.float32)
    b, c, step = np.zeros(VISIBLE, np.float32), np.zeros(HIDDEN, np.float32), np.zeros_like(w)

    def run():
        nonlocal step
        for start in range(0, ROWS, BATCH):
            v = x[start : start + BATCH]
            p = 1 / (1 + np.exp(-(v @ w + c)))
            h = (r.random(p.shape, dtype=np.float32) < p).astype(np.float32)
            v1 = b + h @ w.T + r.standard_normal(v.shape, dtype=np.float32)
            p1 = 1 / (1 + np.exp(-(v1 @ w + c)))
            step = 0.9 * step + np.float32(1e-3 / BATCH) * (v.T @ p - v1.T @ p1)
            w[:] += step
            b[:] += 1e-3 * (v - v1).mean(0)
            c[:] += 1e-3 * (p - p1).mean(0)

    return run


def torch_epoch(x, torch):
    xt = torch.from_numpy(x)
    w = 0.01 * torch.randn(VISIBLE, HIDDEN)
    b, c, step = torch.zeros(VISIBLE), torch.zeros(HIDDEN), torch.zeros(VISIBLE, HIDDEN)

    @torch.no_grad()
    def run():
        for start in range(0, ROWS, BATCH):
            v = xt[start : start + BATCH]
            p = torch.sigmoid(torch.addmm(c, v, w))
            h = torch.bernoulli(p)
            v1 = torch.addmm(b, h, w.T) + torch.randn_like(v)
            p1 = torch.sigmoid(torch.addmm(c, v1, w))
            grad = torch.mm(v.T, p)
            grad.addmm_(v1.T, p1, alpha=-1)
            step.mul_(0.9).add_(grad, alpha=1e-3 / BATCH)
            w.add_(step)
            b.add_((v - v1).mean(0), alpha=1e-3)
            c.add_((p - p1).mean(0), alpha=1e-3)

    return run


def sklearn_epoch(unit, neural):
    rbm = neural.BernoulliRBM(HIDDEN, batch_size=BATCH, n_iter=1, learning_rate=1e-3, random_state=0)
    rbm.partial_fit(unit[:BATCH])

    def run():
        for start in range(0, ROWS, BATCH):
            rbm.partial_fit(unit[start : start + BATCH])

    return run


# -- the free energy ------------------------------------------------------------------------------------------------


def free_energy(x):
    r = np.random.default_rng(1)
    w = (0.05 * r.standard_normal((VISIBLE, HIDDEN))).astype(np.float32)
    b, c, s = (r.standard_normal(k).astype(np.float32) for k in (VISIBLE, HIDDEN, VISIBLE))
    s = np.exp(0.1 * s)
    rbm = sb.GaussianBernoulliRBM.from_params(w, b, c, s)
    contestants = {
        "sbpfast": lambda: rbm.free_energy(x),
        "numpy": lambda: 0.5 * (((x - b) / s) ** 2).sum(1) - np.logaddexp(0, (x / s) @ w + c).sum(1),
        "the matrix product alone": lambda: x @ w,
    }
    if torch := optional("torch"):
        xt, wt, bt, ct, st = map(torch.from_numpy, (x, w, b, c, s))
        softplus = torch.nn.functional.softplus

        @torch.no_grad()
        def run():
            z = (xt - bt) / st
            return 0.5 * (z * z).sum(1) - softplus(torch.addmm(ct, xt / st, wt)).sum(1)

        contestants["torch"] = run
        assert np.allclose(rbm.free_energy(x), run().numpy(), rtol=1e-4)
    return contestants


# -- log Z ----------------------------------------------------------------------------------------------------------


def log_partition(states):
    """Seconds, and states a second: ours at 24 hidden units, dense enumeration at 18, where its matrix still fits."""
    machines = {}
    for units in (18, 24):
        r = np.random.default_rng(units)
        machines[units] = sb.GaussianBernoulliRBM.from_params(
            0.5 * r.standard_normal((20, units)), r.standard_normal(20), r.standard_normal(units), np.ones(20)
        )

    def dense(units=18):
        rbm = machines[units]
        w, gram = rbm.weights_, rbm.weights_.T @ rbm.weights_
        h = (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(np.float64)
        e = h @ (rbm.hidden_bias_ + w.T @ rbm.visible_bias_) + 0.5 * ((h @ gram) * h).sum(1)
        top = e.max()
        return top + np.log(np.exp(e - top).sum()) + 10 * np.log(2 * np.pi)

    assert abs(dense() - machines[18].log_partition()) < 1e-9
    contestants = {
        "sbpfast": lambda: machines[24].log_partition(),
        "sbpfast, with moments and all derivatives": lambda: machines[24].moments(),
        "numpy, dense": dense,
    }
    states.update({"sbpfast": 2**24, "sbpfast, with moments and all derivatives": 2**24, "numpy, dense": 2**18})
    return contestants


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    x, states = data(), {}
    results = {
        "CD-1 epoch": least_times(cd_epoch(x), args.repeat),
        "free energy": least_times(free_energy(x), args.repeat),
        "log Z": least_times(log_partition(states), args.repeat),
    }
    for workload, times in results.items():
        print(workload)
        for name, seconds in times.items():
            rate = f"   {1e9 * seconds / states[name]:8.3f} ns a state" if workload == "log Z" else ""
            print(f"    {name:44s} {1e3 * seconds:10.2f} ms{rate}")
    record = {"threads": sb._core.effective_threads(), "isa": sb._core.ISA, "seconds": results, "states": states}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "rbm.json").write_text(json.dumps(record, indent=1) + "\n")
    if plt := optional("matplotlib.pyplot"):
        draw(plt, results, states, args.out / "rbm.png")


def draw(plt, results, states, path):
    figure, axes = plt.subplots(1, 3, figsize=(14, 3.4), layout="constrained")
    for axis, (workload, times) in zip(axes, results.items()):
        per_state = workload == "log Z"
        values = [1e9 * t / states[k] if per_state else 1e3 * t for k, t in times.items()]
        bars = axis.barh(list(times), values, color=["#c44" if k.startswith("sbpfast") else "#889" for k in times])
        axis.bar_label(bars, fmt="%.3g", padding=3)
        axis.set(title=workload, xlabel="ns a state" if per_state else "ms", xscale="log" if per_state else "linear")
        axis.margins(x=0.2)
        axis.invert_yaxis()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
