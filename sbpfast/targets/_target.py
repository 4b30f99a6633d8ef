"""Target: vectorised callables with whatever derivatives the user has, checked and never trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sbpfast import _checks
from sbpfast.targets import _c_functions, _foreign
from sbpfast.targets._bridges import BRIDGES
from sbpfast.targets._parameters import Parameters

if TYPE_CHECKING:
    from sbpfast.targets._ridge import Ridge

PER_COORDINATE = 16.0  # multiplications that an f of unknown make takes for each: one elementary function


class NonFiniteTarget(ValueError):
    """f, its gradient or its Hessian is not finite at a point that was drawn; the text names the point."""


def point_text(x):
    shown = ", ".join(f"{v:.6g}" for v in x[:8])
    return f"[{shown}{', ...' if len(x) > 8 else ''}]"


def require_finite(what, result, x):
    if not np.isfinite(result).all():
        bad = ~np.isfinite(result.reshape(len(result), -1)).all(axis=1)
        first = int(np.argmax(bad))
        raise NonFiniteTarget(
            f"{what} is not finite at {int(bad.sum())} of {len(x)} points, first at x = {point_text(x[first])}"
        )
    return result


def _result(name, result, shape, x):
    """What a callable returned, as a float64 array of the wanted shape, finite."""
    try:
        result = np.asarray(result)
    except ValueError:
        raise TypeError(f"{name} must return an array, got a {type(result).__name__} that is not rectangular") from None
    if result.dtype.kind not in "biuf":
        raise TypeError(f"{name} must return real numbers, got dtype {result.dtype}")
    if result.shape != shape:
        raise ValueError(f"{name} must return shape {shape} for x of shape {x.shape}, got {result.shape}")
    what = {"value": "f", "grad": "the gradient of f"}.get(name, "the Hessian of f")
    return require_finite(what, np.ascontiguousarray(result, dtype=np.float64), x)


class Target:
    """A function of R^d with the derivatives the user has, all vectorised over points.

    Parameters
    ----------
    value : callable, optional
        x (n, d) to f (n,).
    grad : callable, optional
        x (n, d) to the gradients (n, d).
    hess : callable, optional
        x (n, d) to the Hessians (n, d, d).
    hvp : callable, optional
        x (n, d), v (n, d) to the Hessian-vector products (n, d).
    value_and_grad : callable, optional
        x (n, d) to the pair of f (n,) and the gradients (n, d), in one evaluation: used wherever both are wanted, and
        for either where ``value`` or ``grad`` is not given.
    dim : int
        d.

    Raises
    ------
    TypeError
        Something given is not callable; a result is not real.
    ValueError
        No callable at all; a result has the wrong shape.
    NonFiniteTarget
        A result is not finite; the text names the first such point.

    Notes
    -----
    Each callable gets a C-contiguous float64 array and may be called several times, on blocks of points.  What it
    raises reaches the caller unchanged.
    """

    model_parameters: Parameters | None = None  # what the coordinates mean in the model they come from
    _value_brings_grad = False  # f alone is not cheaper than f with its gradient

    def __init__(
        self,
        value: Callable | None = None,
        grad: Callable | None = None,
        hess: Callable | None = None,
        hvp: Callable | None = None,
        value_and_grad: Callable | None = None,
        *,
        dim: int,
    ):
        self._callables = {
            "value": value, "grad": grad, "hess": hess, "hvp": hvp, "value_and_grad": value_and_grad
        }  # fmt: skip
        for name, function in self._callables.items():
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be callable, got {type(function).__name__}")
        if all(function is None for function in self._callables.values()):
            raise ValueError("a Target needs at least one of value, grad, hess, hvp and value_and_grad")
        self.dim = _checks.count("dim", dim)
        self._value_brings_grad = value is None and value_and_grad is not None

    @classmethod
    def from_jax(cls, f, *, dim: int | None = None, like=None) -> Target:
        """A target from a JAX function of one point to a scalar; JAX differentiates it.

        Parameters
        ----------
        f : callable
            Of an array (dim,), or where ``like`` is given of a pytree.
        dim : int, optional
            d, where f takes an array.
        like : pytree of floating-point arrays, optional
            Of the structure and shapes that f takes.  It gives d and the names of the coordinates, and
            ``fit.posterior`` returns such trees.

        Raises
        ------
        TypeError, ValueError
            Neither or both of dim and like; a leaf that is not of floating point; a tree without numbers.

        Notes
        -----
        JAX computes in float32 unless ``jax_enable_x64`` is set.  Blocks come in a few sizes; each is compiled once.
        """
        if dim is not None and like is None:
            return cls(**_foreign.of_jax(f), dim=dim)
        if like is None or dim is not None:
            got = "neither" if dim is None else "both"
            raise TypeError(f"from_jax takes dim, or like for a function of a pytree; got {got}")
        functions, table = _foreign.of_jax_tree(f, like)
        target = cls(**functions, dim=len(table.labels))
        target.model_parameters = table
        return target

    @classmethod
    def from_torch(cls, f, *, dim: int) -> Target:
        """A target from a PyTorch function of one point (dim,), float64, to a scalar; torch.func differentiates it."""
        return cls(**_foreign.of_torch(f), dim=dim)

    @classmethod
    def from_cfunc(cls, value=None, grad=None, hess=None, value_and_grad=None, *, dim: int) -> Target:
        """A target from C functions, called without the GIL from several threads at once.

        Parameters
        ----------
        value : scipy.LowLevelCallable, numba cfunc or ctypes function, optional
            ``double value(const double *x, intptr_t d, void *user_data)``.
        grad, hess : the same kinds, optional
            ``void grad(const double *x, intptr_t d, double *out, void *user_data)``, out (d,) or (d, d).
        value_and_grad : the same kinds, optional
            ``int f(const double *x, intptr_t d, double *value, double *grad, void *user_data)``, both in one call; a
            result other than 0 says that they are not finite at x.  Also taken: the order of nutpie's compiled models,
            ``int64_t f(uint64_t d, double *x, double *grad, double *value, void *user_data)``, and BridgeStan's
            ``bs_log_density_gradient``, with the model as user data.
        dim : int

        Raises
        ------
        TypeError
            Not one of these kinds, or of another signature: the ``_sig`` of numba functions, ``argtypes`` and
            ``restype`` of ctypes functions and the signature of a LowLevelCallable are compared with those above.
        """
        functions = {"value": value, "grad": grad, "hess": hess, "value_and_grad": value_and_grad}
        return cls(**_c_functions.of_cfunc(**functions), dim=dim)

    @classmethod
    def from_pymc(cls, model) -> Target:
        """The log density of a PyMC model's unconstrained parameters, with its gradient.

        Parameters
        ----------
        model : pymc.Model
            Of continuous free variables, 5 or 6; its data are taken as they are now.

        Returns
        -------
        Target
            With ``model_parameters``: the model's names, shapes, dims and coords, and the way back to its own scale.
            The density includes every constant and the Jacobians of the transforms.  How it is evaluated (JAX where
            that is installed, NumPy, numba, PyMC's own functions) is chosen by a short trial.

        Raises
        ------
        TypeError, ValueError
            Not a model; discrete free variables, none at all, observed values that are NaN, or a density that is not
            finite at the model's initial point, with the variable and its value.
        """
        return BRIDGES["pymc"].target(model)

    @classmethod
    def from_numpyro(cls, model, *args, **kwargs) -> Target:
        """The log density of a NumPyro model's unconstrained parameters, with its derivatives by JAX.

        Parameters
        ----------
        model : callable
            A model of continuous latent sites.
        *args, **kwargs
            Its arguments, the data among them.

        Returns
        -------
        Target
            With ``model_parameters``, as from `from_pymc`; names of plates are dims.

        Raises
        ------
        TypeError, ValueError
            Not a function; JAX is not set to float64; discrete latent sites, none at all, observed values that are NaN,
            minibatches, or a density that is not finite where the unconstrained parameters are 0.
        """
        return BRIDGES["numpyro"].target(model, *args, **kwargs)

    @classmethod
    def from_bridgestan(cls, model) -> Target:
        """The log density of a Stan model's unconstrained parameters, with its gradient, called without the GIL.

        Parameters
        ----------
        model : bridgestan.StanModel
            Or anything with its methods, ``model.model`` and the C symbol ``model.stanlib.bs_log_density_gradient``.
            Several threads call it where it was compiled with STAN_THREADS.

        Returns
        -------
        Target
            With ``model_parameters``, as from `from_pymc`.

        Raises
        ------
        TypeError, ValueError
            What is missing of a StanModel; no parameters, or a density that is not finite where they are 0.
        """
        return BRIDGES["bridgestan"].target(model)

    def __repr__(self):
        have = [name for name, function in self._callables.items() if function is not None]
        return f"{type(self).__name__}(dim={self.dim}, with {', '.join(have)})"

    # public: checked input

    def value(self, x) -> np.ndarray:
        """f at the points x (n, d), (n,)."""
        return self._value(_checks.points("x", x, self.dim))

    def grad(self, x) -> np.ndarray:
        """Gradients at the points x (n, d), (n, d)."""
        x = _checks.points("x", x, self.dim)
        return require_finite("the gradient of f", self._grad(x), x)

    def hess(self, x) -> np.ndarray:
        """Hessians at the points x (n, d), (n, d, d)."""
        x = _checks.points("x", x, self.dim)
        return require_finite("the Hessian of f", self._hess(x), x)

    def hvp(self, x, v) -> np.ndarray:
        """Hessian-vector products at x (n, d) with v (n, d) or (d,), (n, d)."""
        x = _checks.points("x", x, self.dim)
        v = _checks.real_array("v", v)
        if v.shape not in (x.shape, (self.dim,)):
            raise ValueError(f"v must have shape {x.shape} or ({self.dim},), got {v.shape}")
        return require_finite("the product of Hessian and v", self._hvp(x, np.broadcast_to(v, x.shape).copy()), x)

    def hess_mean(self, x) -> np.ndarray:
        """Mean of the Hessians over the points x (n, d), (d, d)."""
        x = _checks.points("x", x, self.dim)
        if len(x) == 0:
            raise ValueError("x must hold at least one point")
        mean = self._hess_mean(x)
        if not np.isfinite(mean).all():
            raise NonFiniteTarget("the mean of the Hessians of f at the points x is not finite")
        return mean

    def _hess_mean(self, x):
        block = max(1, 2**22 // self.dim**2)
        total = np.zeros((self.dim, self.dim))
        for start in range(0, len(x), block):
            total += self._hess(x[start : start + block]).sum(axis=0)
        return total / len(x)

    # what estimators and fits ask a target of itself: here the answers that hold for any function

    _ours = False  # value and derivatives are this package's: nobody need doubt that they belong together
    _factored = False  # the Hessian is A^T diag(w) A: it is averaged over draws before it is formed

    @property
    def _link_work(self) -> int | None:
        """Evaluations of a link function that a value costs; None where the cost is not known beforehand."""
        return None

    @property
    def _multiplications(self) -> float:
        """About as many as a value takes."""
        return PER_COORDINATE * self.dim

    def _in_memory(self) -> Ridge | None:
        """The same as a ridge target with all rows at hand; None where it is none, or has too many rows for that."""
        return None

    def _group_derivatives(self, block, form, n_threads):
        """Group means of the gradient and of the Hessian, in the given form, at a block of draws."""
        return block.mean(block.grad), self._hess_means(block.draws.x, block.m, form)

    # internal: x is C-contiguous float64 and finite

    def _first_point(self) -> np.ndarray:
        """Where a fit starts: the model's own start, or zeros."""
        table = self.model_parameters
        return np.zeros(self.dim) if table is None or table.start is None else table.start.copy()

    def _has(self, name) -> bool:
        given = self._callables
        if name in ("value", "grad"):
            return given[name] is not None or given["value_and_grad"] is not None
        if name == "hess":
            return given["hess"] is not None or given["hvp"] is not None
        return given[name] is not None

    def _call(self, name, shape, x, *more):
        function = self._callables[name]
        if function is None:
            raise ValueError(f"this target has no {name}")
        return _result(name, function(x, *more), shape, x)

    def _pair(self, x):
        """What value_and_grad returns, unchecked."""
        function = self._callables["value_and_grad"]
        assert function is not None
        pair = function(x)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"value_and_grad must return a pair, f and its gradient, got {type(pair).__name__}")
        return pair

    def _value(self, x, n_threads=None):
        if self._value_brings_grad:
            return _result("value", self._pair(x)[0], (len(x),), x)
        return self._call("value", (len(x),), x)

    def _grad(self, x):
        if self._callables["grad"] is None and self._has("grad"):
            return _result("grad", self._pair(x)[1], x.shape, x)
        return self._call("grad", x.shape, x)

    def _value_and_grad(self, x, n_threads=None):
        if self._callables["value_and_grad"] is not None:
            value, grad = self._pair(x)
            return _result("value", value, (len(x),), x), _result("grad", grad, x.shape, x)
        value = self._value(x) if self._has("value") else np.full(len(x), math.nan)
        return value, self._grad(x)

    def _hess(self, x):
        if self._callables["hess"] is None and self._callables["hvp"] is not None:
            columns = [self._hvp(x, np.broadcast_to(e, x.shape).copy()) for e in np.eye(self.dim)]
            return np.stack(columns, axis=-1)
        return self._call("hess", (len(x), self.dim, self.dim), x)

    def _hvp(self, x, v):
        if self._callables["hvp"] is not None:
            return self._call("hvp", x.shape, x, v)
        return np.einsum("nij,nj->ni", self._hess(x), v)

    def _hess_means(self, x, m, form):
        """Group means of the Hessian in the form a covariance structure needs."""
        return form.of_hessians(self._hess(x), m)
