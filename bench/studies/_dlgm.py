"""The deep latent Gaussian model of Rezende, Mohamed & Wierstra (2014) in torch, its posteriors and its scores.

Latent layers xi_l ~ N(0, I); h_L = G_L xi_L, h_l = T_l(h_{l+1}) + G_l xi_l; pixels are Bernoulli with logits T_0(h_1).
The recognition network maps an image to the posterior of every layer: diagonal, with precision diag + u u^T (the
paper's), or full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributions as td
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

import sbpfast.torch as sbt

KINDS = ("diagonal", "rank-one precision", "full")


@dataclass(frozen=True)
class Shape:
    """Sizes: pixels, latent layers from the image up, and the width of the deterministic layers (0: linear)."""

    pixels: int
    latent: tuple[int, ...] = (50, 20)
    width: int = 200


def perceptron(inputs, width, outputs):
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))


class Model(nn.Module):
    """The generative network and the recognition network of one kind of posterior."""

    def __init__(self, shape: Shape, kind: str):
        super().__init__()
        self.kind, self.latent, width = kind, shape.latent, shape.width
        below = (shape.pixels, *shape.latent[:-1])
        if width:
            self.down = nn.ModuleList(perceptron(k, width, p) for p, k in zip(below, shape.latent))
            self.trunk: nn.Module = nn.Sequential(nn.Linear(shape.pixels, width), nn.ReLU())
        else:
            self.down = nn.ModuleList(nn.Linear(k, p) for p, k in zip(below, shape.latent))
            self.trunk = nn.Identity()
        self.noise = nn.ModuleList(nn.Linear(k, k, bias=False) for k in shape.latent)
        self.heads = nn.ModuleList(nn.Linear(width or shape.pixels, self._outputs(k)) for k in shape.latent)

    def _outputs(self, k):
        return {"diagonal": 2 * k, "rank-one precision": 3 * k, "full": 2 * k + k * (k - 1) // 2}[self.kind]

    def posteriors(self, v):
        """q(xi_l | v) for every layer."""
        hidden = self.trunk(v)
        return [self._posterior(head(hidden), k) for head, k in zip(self.heads, self.latent)]

    def _posterior(self, out, k):
        mean, spread = out[:, :k], softplus(out[:, k : 2 * k] + 0.5) + 1e-3
        if self.kind == "diagonal":
            return td.Independent(td.Normal(mean, spread, validate_args=False), 1, validate_args=False)
        if self.kind == "rank-one precision":
            return sbt.LowRankPrecisionNormal(mean, spread, out[:, 2 * k :].unsqueeze(-1), validate_args=False)
        lower = torch.diag_embed(spread)
        rows, columns = torch.tril_indices(k, k, -1)
        lower[:, rows, columns] = 0.1 * out[:, 2 * k :]
        return td.MultivariateNormal(mean, scale_tril=lower, validate_args=False)

    def logits(self, latent):
        """Pixel logits of latent layers [(..., k_1), ..., (..., k_L)]."""
        h = self.noise[-1](latent[-1])
        for noise, down, xi in reversed(list(zip(self.noise[:-1], self.down[1:], latent[:-1]))):
            h = down(h) + noise(xi)
        return self.down[0](h)

    def divergence(self, posteriors):
        """sum_l KL(q(xi_l | v) || N(0, I)), (n,)."""
        return sum(td.kl_divergence(q, self._prior(k)) for q, k in zip(posteriors, self.latent))

    def _prior(self, k):
        if self.kind == "full":
            return td.MultivariateNormal(torch.zeros(k), scale_tril=torch.eye(k), validate_args=False)
        return td.Independent(td.Normal(torch.zeros(k), torch.ones(k), validate_args=False), 1, validate_args=False)

    def log_pixels(self, v, latent):
        """log p(v | latent), (..., n)."""
        logits = self.logits(latent)
        return -binary_cross_entropy_with_logits(logits, v.expand(logits.shape), reduction="none").sum(-1)

    def bound(self, v):
        """One-draw estimates (n,) of the evidence lower bounds."""
        posteriors = self.posteriors(v)
        return self.log_pixels(v, [q.rsample() for q in posteriors]) - self.divergence(posteriors)


def epoch(model, optimiser, images, generator, batch=100):
    """One pass over the images; the mean bound in nats, one draw each."""
    order, total = torch.randperm(len(images), generator=generator), 0.0
    for part in order.split(batch):
        loss = -model.bound(images[part]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total -= loss.item() * len(part)
    return total / len(images)


@torch.no_grad()
def log_likelihood(model, images, draws=5000, block=500):
    """Importance-weighted log p(v), (n,), and its standard errors by the spread of the weights."""
    values, errors = [], []
    for v in images:
        posteriors = model.posteriors(v[None])
        weights = torch.cat([_log_weights(model, v, posteriors, m) for m in _blocks(draws, block)]).double()
        top = weights.max()
        w = (weights - top).exp()
        values.append((top + w.mean().log()).item())
        errors.append((w.std() / w.mean() / math.sqrt(draws)).item())
    return np.array(values), np.array(errors)


def _blocks(draws, block):
    return [min(block, draws - start) for start in range(0, draws, block)]


def _log_weights(model, v, posteriors, m):
    latent = [q.sample((m,)) for q in posteriors]
    prior = sum((-0.5 * (xi * xi + math.log(2.0 * math.pi))).sum((-1, -2)) for xi in latent)
    proposal = sum(q.log_prob(xi).sum(-1) for q, xi in zip(posteriors, latent))
    return model.log_pixels(v, latent).reshape(m, -1).sum(-1) + prior - proposal


@torch.no_grad()
def imputed(model, images, missing, steps=60, generator=None):
    """Pixel probabilities after alternating draws of the latent layers and of the missing pixels (the paper's E.1)."""
    filled = torch.where(missing, torch.rand(images.shape, generator=generator).round(), images)
    mean, kept = torch.zeros_like(images), steps // 2
    for step in range(steps):
        latent = [q.sample() for q in model.posteriors(filled)]
        probabilities = torch.sigmoid(model.logits(latent))
        if step >= steps - kept:
            mean += probabilities / kept
        draws = (torch.rand(images.shape, generator=generator) < probabilities).to(images)
        filled = torch.where(missing, draws, images)
    return mean


def log_joint(model, v):
    """log p(v, xi) of one image as value and gradient of points (n, sum k), for `sbpfast.Target`."""
    sizes = list(model.latent)
    network = model.double()
    image = v.double()

    def value_and_grad(x):
        points = torch.from_numpy(np.array(x)).requires_grad_()
        latent = list(points.split(sizes, dim=-1))
        prior = (-0.5 * (points * points + math.log(2.0 * math.pi))).sum(-1)
        values = network.log_pixels(image, latent) + prior
        (gradients,) = torch.autograd.grad(values.sum(), points)
        return values.detach().numpy(), gradients.numpy()

    return value_and_grad
