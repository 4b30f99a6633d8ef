"""What an estimator asks of a distribution.

Gaussians and families meet nowhere but here.  A Gaussian hands its gradients on by a chain rule from (g, G), the
derivatives of E[f] with respect to mean and covariance; a family states the terms of each estimator draw by draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np


class Drawn(Protocol):
    """A block of draws."""

    @property
    def x(self) -> np.ndarray:
        """Points as rows (n, d), C-contiguous."""

    @property
    def n(self) -> int:
        """Their number."""


class Distribution(Protocol):
    """Of x in E[f(x)]."""

    @property
    def dim(self) -> int:
        """The number of coordinates d."""

    @property
    def _names(self) -> tuple[str, ...]:
        """Of the parameters, in the order of the constructor."""

    @property
    def _estimators(self) -> tuple[str, ...]:
        """Names of the estimators that are defined for its kind."""

    @property
    def _refused(self) -> tuple[str, ...]:
        """Those among them that this very distribution cannot serve for all its parameters."""

    def _parameters(self) -> dict[str, Any]:
        """The parameters by name, as the user shaped them."""

    def _noise_dims(self) -> tuple[int, ...]:
        """How many standard normals a draw is made of, stream by stream."""

    def _draw(self, key, start, stop, antithetic, n_threads) -> Any:
        """Draws start..stop-1 of the stream that the key names, as `Drawn`."""

    def _draw_from(self, normals, n_threads) -> Any:
        """Draws from given standard normals (n, all noise dimensions), as `Drawn`."""

    def _integrates(self, target) -> bool:
        """Whether E[f] and its gradients come from deterministic integrals."""

    def _rare_ends(self, n, names) -> str:
        """A warning of parameters whose gradients rest where next to none of n draws come; "" where there are none."""

    def _natural_grad(self, grad) -> dict[str, np.ndarray]:
        """Inverse Fisher information times the gradients, by name."""


class Chained(Distribution, Protocol):
    """A Gaussian: g = dE[f]/dmean and G = dE[f]/dcov give every gradient."""

    mean: np.ndarray

    def _form(self) -> Any:
        """The form (see `_forms.py`) of G that the chain rule needs."""

    def _chain(self, g, big_g) -> dict[str, np.ndarray]:
        """Gradients by name, with or without leading batch axes."""


class Termwise(Distribution, Protocol):
    """A family: terms (n, *parameter.shape) by name whose means over the draws are the gradients.

    Only those estimators are asked for terms that `_estimators` names.
    """

    def _pathwise_terms(self, draws, grad, names: Sequence[str] | None) -> dict[str, np.ndarray]:
        """B grad f."""

    def _score_terms(self, draws, names: Sequence[str] | None) -> dict[str, np.ndarray]:
        """d log p / d parameter."""

    def _product_terms(self, draws, f, grad, target, names: Sequence[str] | None) -> dict[str, np.ndarray]:
        """-d/dx (Btilde f) and the boundary terms."""

    def _difference_terms(self, draws, target, names: Sequence[str] | None) -> dict[str, np.ndarray]:
        """B times the differences of f."""

    def _exact(self, target, names: Sequence[str] | None) -> tuple[float, dict[str, np.ndarray]]:
        """E[f] and its gradients by quadrature or summation."""


def is_chained(q: Any) -> TypeGuard[Chained]:
    """Whether gradients come by the chain rule."""
    return hasattr(q, "_chain")


def is_distribution(q: Any) -> bool:
    """Whether q is one of the package's distributions: an instance, not a class of them."""
    return hasattr(q, "_estimators") and not isinstance(q, type)
