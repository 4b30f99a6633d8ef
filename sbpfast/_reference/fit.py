"""Twin of the kernel of ``_core.fit``."""

from __future__ import annotations

from sbpfast._reference.ridge import expectations, projected_moments


def whitened_moments(a, offset, y, weights, link, parameters, mean, factor, spread):
    """E f, L^T E[grad f] (d,) and L^T E[Hess f] L (d, d) of the ridge part under N(mean, spread^2 L L^T)."""
    m, t = projected_moments(a, offset, mean, factor)
    value, slope, curvature = expectations(m, spread * t, y, link, parameters)
    forms = a @ factor
    return weights @ value, forms.T @ (weights * slope), forms.T @ ((weights * curvature)[:, None] * forms)
