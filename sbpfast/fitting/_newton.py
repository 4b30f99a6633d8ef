"""Newton's method for the ELBO of a ridge target, where natural gradients converge slowly.

A natural gradient step ignores how E[-Hess f] changes with the mean and the covariance.  With much data that change is
small; with little, or where the data nearly separate, the steps crawl or overshoot.  Here the whole second derivative
is used, in the coordinates delta, A of mean + L delta and L (I + A), A lower triangular, in which the ELBO of a
log-concave f is concave (Challis & Barber 2013).  For a ridge target with forms F = a L, of length t, and
z' = F z / t it is

    sum w [c0 (F delta)^2 + 2 c1 (F delta) s + (c2 - c0) s^2 + c0 |A^T F|^2] - sum A_ii^2,   s = F A F^T / t,

with c_k = E[phi''(m + t z') z'^k]: one-dimensional integrals again.  Conjugate gradients solve for the step.
"""

from __future__ import annotations

import math

import numpy as np

from sbpfast.targets._expectations import curvature_moments

FORCING = 1e-2  # relative accuracy of a step; the last ones are solved to the square root of what is left
MOST_PRODUCTS = 300


def newton_direction(target, mean, chol, gradient, precision, n_threads):
    """The Newton step (delta, A), or None where the ELBO is not concave."""
    d = len(mean)
    parts = target.kept(CurvaturePart, mean, chol, n_threads)

    def product(delta, a):
        """Minus the second derivative times (delta, A)."""
        out, out_delta = precision @ a + np.diag(np.diagonal(a)), precision @ delta
        for part_delta, part in parts.results(CurvaturePart.product, delta, a):
            out_delta, out = out_delta - part_delta, out - part
        return out_delta, np.tril(out)

    ascent = np.tril(np.eye(d) - precision)
    scale = np.ones((d, d))
    scale[np.diag_indices(d)] = 0.5  # of the second derivative at a Gaussian target, |delta|^2 + |A|^2 + sum A_ii^2
    step, concave = conjugate_gradients(product, gradient, ascent, lambda delta, a: (delta, scale * a), FORCING)
    return step if concave else None


class CurvaturePart:
    """Of some of the rows: the forms F and the integrals c0, c1, c2, weighted."""

    def __init__(self, part, mean, chol, n_threads):
        self.forms = part.design.dot(chol)
        t = np.sqrt((self.forms * self.forms).sum(axis=1))
        m = part.design.dot(mean) + part.offset
        self.c0, self.c1, self.c2 = (part.weights * c for c in curvature_moments(part, m, t, n_threads))
        self.lengths = np.where(t > 0.0, t, 1.0)  # a row of zeros takes no part

    def product(self, delta, a):
        """What the rows subtract from the product's two parts."""
        s = np.einsum("ij,ij->i", self.forms @ a, self.forms) / self.lengths
        weights = (self.c1 * (self.forms @ delta) + (self.c2 - self.c0) * s) / self.lengths
        return self.forms.T @ (self.c1 * s), self.forms.T @ (weights[:, None] * self.forms)


def conjugate_gradients(product, delta_rhs, a_rhs, precondition, forcing):
    """The solution of product(x) = rhs, and True; where the product is not positive, the way so far and False."""
    x = [np.zeros_like(delta_rhs), np.zeros_like(a_rhs)]
    r = [delta_rhs.copy(), a_rhs.copy()]
    z = precondition(*r)
    p = [z[0].copy(), z[1].copy()]
    rz = first = _inner(r, z)
    goal = first * min(forcing, math.sqrt(first)) ** 2
    for i in range(MOST_PRODUCTS):
        if rz <= goal:
            break
        hp = product(*p)
        curvature = _inner(p, hp)
        if curvature <= 0.0:
            return (x if i else p), False
        step = rz / curvature
        x = [x[i] + step * p[i] for i in (0, 1)]
        r = [r[i] - step * hp[i] for i in (0, 1)]
        z = precondition(*r)
        rz, before = _inner(r, z), rz
        p = [z[i] + rz / before * p[i] for i in (0, 1)]
    return x, True


def _inner(u, v):
    return float(u[0] @ v[0] + (u[1] * v[1]).sum())
