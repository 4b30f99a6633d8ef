"""An epoch of contrastive divergence, free energies and log Z by NumPy, torch and scikit-learn.

Each is None, after a line that says so, where its package is not installed.
"""

from __future__ import annotations

import numpy as np

from peers import optional


def products_epoch(x, hidden, batch):
    w = np.random.default_rng(1).standard_normal((x.shape[1], hidden)).astype(np.float32)
    v, h = x[:batch].copy(), x[:batch, :hidden].copy()
    out = np.empty_like(w)

    def run():
        for _ in range(len(x) // batch):
            v @ w
            h @ w.T
            v @ w
            np.matmul(v.T, h, out=out)
            np.matmul(v.T, h, out=out)

    return run


def numpy_epoch(x, hidden, batch):
    r = np.random.default_rng(1)
    w = 0.01 * r.standard_normal((x.shape[1], hidden), dtype=np.float32)
    b, c, step = np.zeros(x.shape[1], np.float32), np.zeros(hidden, np.float32), np.zeros_like(w)

    def run():
        nonlocal step
        for start in range(0, len(x), batch):
            v = x[start : start + batch]
            p = 1 / (1 + np.exp(-(v @ w + c)))
            h = (r.random(p.shape, dtype=np.float32) < p).astype(np.float32)
            v1 = b + h @ w.T + r.standard_normal(v.shape, dtype=np.float32)
            p1 = 1 / (1 + np.exp(-(v1 @ w + c)))
            step = 0.9 * step + np.float32(1e-3 / batch) * (v.T @ p - v1.T @ p1)
            w[:] += step
            b[:] += 1e-3 * (v - v1).mean(0)
            c[:] += 1e-3 * (p - p1).mean(0)

    return run


def torch_epoch(x, hidden, batch):
    torch = optional("torch")
    if torch is None:
        return None
    xt = torch.from_numpy(x)
    w = 0.01 * torch.randn(x.shape[1], hidden)
    b, c, step = torch.zeros(x.shape[1]), torch.zeros(hidden), torch.zeros(x.shape[1], hidden)

    @torch.no_grad()
    def run():
        for start in range(0, len(x), batch):
            v = xt[start : start + batch]
            p = torch.sigmoid(torch.addmm(c, v, w))
            h = torch.bernoulli(p)
            v1 = torch.addmm(b, h, w.T) + torch.randn_like(v)
            p1 = torch.sigmoid(torch.addmm(c, v1, w))
            grad = torch.mm(v.T, p)
            grad.addmm_(v1.T, p1, alpha=-1)
            step.mul_(0.9).add_(grad, alpha=1e-3 / batch)
            w.add_(step)
            b.add_((v - v1).mean(0), alpha=1e-3)
            c.add_((p - p1).mean(0), alpha=1e-3)

    return run


def sklearn_epoch(x, hidden, batch):
    neural = optional("sklearn.neural_network")
    if neural is None:
        return None
    unit = (x - x.min()) / (x.max() - x.min())  # scikit-learn's visible units are binary
    rbm = neural.BernoulliRBM(hidden, batch_size=batch, n_iter=1, learning_rate=1e-3, random_state=0)
    rbm.partial_fit(unit[:batch])

    def run():
        for start in range(0, len(x), batch):
            rbm.partial_fit(unit[start : start + batch])

    return run


def torch_free_energy(x, w, b, c, s):
    torch = optional("torch")
    if torch is None:
        return None
    xt, wt, bt, ct, st = map(torch.from_numpy, (x, w, b, c, s))
    softplus = torch.nn.functional.softplus

    @torch.no_grad()
    def run():
        z = (xt - bt) / st
        return 0.5 * (z * z).sum(1) - softplus(torch.addmm(ct, xt / st, wt)).sum(1)

    return run


def dense_log_partition(rbm):
    """Every state of the hidden units in one matrix."""
    units, visible = rbm.weights_.shape[::-1]

    def run():
        w, gram = rbm.weights_, rbm.weights_.T @ rbm.weights_
        h = (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(np.float64)
        e = h @ (rbm.hidden_bias_ + w.T @ rbm.visible_bias_) + 0.5 * ((h @ gram) * h).sum(1)
        top = e.max()
        return top + np.log(np.exp(e - top).sum()) + 0.5 * visible * np.log(2 * np.pi)

    return run
