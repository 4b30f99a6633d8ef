"""What an estimator hands back, and the estimate made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sbpfast import _checks
from sbpfast.estimate._distribution import Distribution


class EstimateWarning(UserWarning):
    """An estimate, or a part of it, is not to be trusted; the text says why."""


class Result(NamedTuple):
    """What an estimator hands back: gradients by parameter name, and (g, G) as "mean" and "cov" where known.

    `errors` may be a function, which is called when the errors are first asked for; `doubts` are texts of warnings.
    """

    value: float
    value_error: float
    grads: dict
    errors: dict | Callable[[], dict]
    moments: dict
    n: int
    name: str
    doubts: tuple[str, ...] = ()


class Estimate:
    """A value, its gradients by parameter name, and their standard errors.

    Attributes
    ----------
    value : float
        E[f]; NaN where the target has no value.
    grad : dict of str to numpy.ndarray
        Gradient of E[f] by parameter name, each shaped like its parameter.
    stderr : dict of str to numpy.ndarray or float
        Standard errors of "value" and of each gradient: zeros where the estimate is exact, NaN from a single draw.
        They come from the spread of at least 64 groups of draws (fewer where there are fewer draws), computed when
        first asked for.
    n_samples : int
        Draws used; 0 for an exact estimate.
    estimator : str
        The estimator used.
    """

    value: float
    grad: dict[str, np.ndarray]
    n_samples: int
    estimator: str

    def __init__(self, result: Result, wrt: tuple[str, ...], distribution: Distribution):
        self.value = float(result.value)
        self.n_samples = result.n
        self.estimator = result.name
        self.grad: dict[str, np.ndarray] = {name: self._shaped(distribution, name, result.grads[name]) for name in wrt}
        self._result = result
        self._distribution = distribution
        for name, grad in self.grad.items():
            if not np.isfinite(grad).all():
                raise ValueError(f"the gradient with respect to {name} overflows double precision")
        if math.isinf(self.value):
            raise ValueError("the mean of f overflows double precision")

    @staticmethod
    def _shaped(distribution, name, array):
        return np.asarray(array, dtype=np.float64).reshape(np.shape(distribution._parameters()[name]))

    @cached_property
    def stderr(self) -> dict[str, Any]:
        errors = self._result.errors
        with np.errstate(all="ignore"):
            errors = errors() if callable(errors) else errors
        gradients = {name: self._shaped(self._distribution, name, errors[name]) for name in self.grad}
        return {"value": float(self._result.value_error)} | gradients

    def __getstate__(self) -> dict[str, Any]:
        """The state that pickles and copies hold: the errors themselves instead of the draws they would come from."""
        return self.__dict__ | {"stderr": self.stderr, "_result": self._result._replace(errors={})}

    def pullback(self, **jacobians: Any) -> np.ndarray:
        """The chain rule to any parameters theta that the distribution's parameters depend on.

        Parameters
        ----------
        **jacobians : array_like
            By parameter name, d(parameter)/dtheta of shape (*parameter.shape, p).  Gaussians with a full covariance,
            whatever their parameters, also take ``mean`` (d, p) and ``cov`` (d, d, p).

        Returns
        -------
        numpy.ndarray (p,)
            dE[f]/dtheta = sum over the names of <gradient, Jacobian>; for ``mean`` and ``cov`` it is
            E[g^T dmean/dtheta + 1/2 tr(H dcov/dtheta)].

        Raises
        ------
        ValueError
            No Jacobian, an unknown name, a wrong shape, or a sum that overflows double precision.
        """
        if not jacobians:
            raise ValueError("pullback needs at least one Jacobian, by parameter name")
        grads = self._result.moments | self.grad
        total, p = np.zeros(()), None
        for name, jacobian in jacobians.items():
            if name not in grads:
                raise ValueError(f"pullback knows the parameters {sorted(grads)}, got {name!r}")
            grad = np.asarray(grads[name])
            jacobian = _checks.real_array(name, jacobian, shape=(*grad.shape, p))
            p = jacobian.shape[-1]
            with np.errstate(over="ignore", invalid="ignore"):
                total = total + np.tensordot(grad, jacobian, axes=grad.ndim)
        if not np.isfinite(total).all():
            raise ValueError(f"the products of the gradients and {', '.join(jacobians)} overflow double precision")
        return total

    def natural_grad(self) -> dict[str, np.ndarray]:
        """Natural gradients by parameter name: the inverse Fisher information times the gradient.

        Raises
        ------
        ValueError
            The estimate holds only some of the parameters (``wrt`` was given), or a natural gradient overflows double
            precision.
        """
        missing = set(self._distribution._parameters()) - set(self.grad)
        if missing:
            raise ValueError(
                f"the natural gradient needs every parameter; ask for {sorted(missing)} as well (wrt=None)"
            )
        with np.errstate(all="ignore"):
            natural = self._distribution._natural_grad(self.grad)
        for name, grad in natural.items():
            if not np.isfinite(grad).all():
                raise ValueError(f"the natural gradient with respect to {name} overflows double precision")
        return natural

    def __repr__(self) -> str:
        lines = [f"Estimate of E[f] by {self.estimator!r}" + (f", {self.n_samples} draws" if self.n_samples else "")]
        lines.append(f"  value {self.value:.6g} +- {float(self.stderr['value']):.2g}")
        for name, grad in self.grad.items():
            with np.errstate(over="ignore"):
                norm = float(np.linalg.norm(grad))
                error = float(np.linalg.norm(self.stderr[name])) / max(np.size(grad), 1) ** 0.5
            lines.append(
                f"  d/d{name} {np.shape(grad)}, norm {norm:.6g}, standard error {error:.2g} (root mean square)"
            )
        return "\n".join(lines)
