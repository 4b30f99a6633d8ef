"""Bonnet's and Price's gradients of E[f] for a torch function f under a torch Gaussian."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributions as td

from sbpfast.torch._ops import require_supported

_ELEMENTS = 1 << 22  # of the Hessians that are held at a time


def price_loss(f: Callable, q: td.Distribution, n: int) -> torch.Tensor:
    """The mean of f over n draws, whose backward pass gives the gradients of Bonnet and Price.

    d/dmean = E[grad f] and d/dcov = 1/2 E[Hess f], carried on to whatever the parameters of q were made from; for a
    diagonal q only the diagonal of the Hessian is formed.  Parameters that f itself depends on get the gradient of
    the mean, as from ``f(x).mean()``.

    Parameters
    ----------
    f : callable
        (n, d) -> (n,) of torch, a row at a time.  Its gradient must be locally Lipschitz: where it jumps (ReLU), the
        Hessian misses what happens there and the gradient by the covariance is wrong.
    q : torch.distributions.MultivariateNormal, Normal or Independent(Normal, 1)
        On R^d, with no batch axes: full, Cholesky (``scale_tril``) or diagonal.
    n : int
        Number of draws.

    Returns
    -------
    Tensor
        A scalar.

    Raises
    ------
    TypeError, ValueError
        q is another distribution or has batch axes; n is not a positive integer; f does not return (n,).

    Notes
    -----
    Price (1958); Bonnet (1964); Rezende, Mohamed & Wierstra (2014), equations 9 and 10.  Hessians are d products
    forward over reverse (`torch.func`).  For scale_tril the gradient is lower triangular.
    """
    mean, spread, diagonal = _moments(q)
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be an integer, got {type(n).__name__}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    x = q.sample((n,))
    values = f(x)
    if not isinstance(values, torch.Tensor) or values.shape != (n,):
        got = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise ValueError(f"f must map {tuple(x.shape)} to ({n},), got {got}")
    gradient, hessian = _derivatives(f, x, diagonal)
    bonnet = (gradient * (mean - mean.detach())).sum()
    price = 0.5 * (hessian * (spread - spread.detach())).sum()
    return values.mean() + bonnet + price


def _moments(q):
    """Mean, covariance (or variances), and whether these are variances."""
    base = q.base_dist if isinstance(q, td.Independent) and q.reinterpreted_batch_ndims == 1 else q
    if isinstance(base, td.Normal) and len(base.batch_shape) == 1:
        moments = base.loc, base.scale**2, True
    elif isinstance(q, td.MultivariateNormal) and not q.batch_shape:
        if "scale_tril" in q.__dict__:
            lower = q.scale_tril.tril()
            moments = q.loc, lower @ lower.mT, False
        else:
            moments = q.loc, q.covariance_matrix, False
    else:
        raise TypeError(
            "q must be a MultivariateNormal without batch axes, or a Normal of batch shape (d,) (or Independent of "
            f"it), got {q}"
        )
    require_supported("price_loss", "the mean of q", moments[0])
    return moments


def _derivatives(f, x, diagonal):
    """Means of the gradient and of the Hessian (d, d), or of its diagonal (d,)."""
    n, d = x.shape
    slope = torch.func.grad(lambda points: f(points).sum())

    def column(unit):
        product = torch.func.jvp(slope, (x,), (unit.expand_as(x),))[1]
        return (product @ unit if diagonal else product).mean(0)

    chunk = max(1, _ELEMENTS // (n * d))
    hessian = torch.func.vmap(column, chunk_size=chunk)(torch.eye(d, dtype=x.dtype))
    return slope(x).mean(0).detach(), hessian.detach()
