"""Where a fit begins: near a mode, with the Laplace approximation there."""

from __future__ import annotations

import numpy as np

from sbpfast.fitting._factors import definite_factor, is_positive_definite, refactored, solved
from sbpfast.fitting._full import FullCovariance
from sbpfast.fitting._improper import ImproperDensity, dependent_columns
from sbpfast.fitting._low_rank import LowRankCovariance
from sbpfast.fitting._natural import SHORTEST, NaturalFit
from sbpfast.fitting._source import try_at
from sbpfast.gaussian import LowRankGaussian
from sbpfast.gaussian._full import GaussianBase
from sbpfast.targets import NonFiniteTarget

ROUGH = 0.1  # residual of the diagonal fit that a low-rank one starts from
START_STEPS = 40  # Newton steps towards a mode
NEAR_MODE = 0.1  # squared standard deviations left, where the fit takes over from the search for a mode
MOST_WORK = 10**9  # multiplications to find out whether flat priors leave the density proper


def find_start(moments, mean):
    """A mean near a mode and the factor of the Laplace approximation there, by Newton's method with backtracking.

    Directions of negative or no curvature get the absolute value of the curvature, at least a quarter in the
    coordinates at hand.
    """
    chol = np.diag(first_scales(moments, mean))
    here = try_at(moments.at_point, mean, chol)
    if here is None:
        raise NonFiniteTarget(
            f"f or a derivative is not finite at {place(mean)}, where the fit starts; pass q0 to start elsewhere"
        )
    _check_collinear(here.precision)
    for _ in range(START_STEPS):
        upper, newton = definite_factor(here.precision)
        step = solved(upper, here.gradient)
        gain = float(here.gradient @ step)
        there = refactored(chol, upper)
        if newton and gain <= NEAR_MODE:
            break
        rate = 1.0
        while rate > SHORTEST**4:
            new_mean = mean + rate * (chol @ step)
            ahead = try_at(moments.at_point, new_mean, there)
            if ahead is not None and ahead.elbo >= here.elbo + 1e-4 * rate * gain:
                break
            rate *= 0.5
        else:
            break
        mean, chol, here = new_mean, there, ahead
    return mean, FullCovariance(there)


def first_scales(moments, mean):
    """Standard deviations from the second derivatives along the coordinates."""
    try:
        curvature = moments.diagonal_curvature(mean)
    except NonFiniteTarget as error:
        raise NonFiniteTarget(f"{error}; the fit starts at {place(mean)}, pass q0 to start elsewhere") from None
    if (curvature == 0.0).any() and moments.exact:
        raise ImproperDensity(
            f"the log density does not depend on parameter {int(np.argmax(curvature == 0.0))}, so it cannot be "
            "normalised"
        )
    usable = np.isfinite(curvature) & (curvature != 0.0)
    return 1.0 / np.sqrt(np.where(usable, np.abs(curvature), 1.0))


def place(mean):
    return "the model's own start" if mean.any() else "the zero vector"


def check_rank(source, mean, std):
    """Refuse flat priors on more parameters than the rows determine, unless finding out would be much work."""
    target = source.target
    flat = int((target.quadratic.precision == 0.0).sum()) if target.quadratic.precision.ndim == 1 else 0
    if flat > target.n_rows:
        raise ImproperDensity(
            f"{flat} parameters have a flat prior but there are only {target.n_rows} rows of data, so the log density "
            "cannot be normalised; give a finite prior_scale"
        )
    if flat and target.n_rows * target.dim**2 <= MOST_WORK:
        here = try_at(source.at_point, mean, np.diag(std))
        if here is not None:
            _check_collinear(here.precision)


def find_low_rank_start(source, mean, std, rank):
    """Mean and covariance near the best diagonal one, with the `rank` columns that help it most."""
    shape = LowRankCovariance(std, np.zeros((len(mean), 0)))
    if rank == 0:
        return mean, shape
    rough = NaturalFit(source, mean, shape, ROUGH, 1)
    rough.run(START_STEPS, lambda *_: False)
    return rough.mean, rough.shape.with_columns(rough._draws, rough.mean, rank)


def _check_collinear(precision):
    """Refuse a singular matrix with unit diagonal: a flat prior and columns that are linearly dependent."""
    if is_positive_definite(precision - 1e-12 * np.eye(len(precision))):
        return
    values, vectors = np.linalg.eigh(precision)
    if abs(values[0]) <= 4e-16 * len(values):
        raise dependent_columns(vectors[:, 0])


def check_start(q0, target):
    if not isinstance(q0, GaussianBase):
        raise TypeError(f"q0 must be a Gaussian of sbpfast, a Fit or None, got {type(q0).__name__}")
    if q0.batch_shape:
        raise ValueError(f"q0 must be one Gaussian, got a batch of shape {q0.batch_shape}: pass a member")
    if q0.dim != target.dim:
        raise ValueError(f"q0 must have the dimension of the target, {target.dim}, got {q0.dim}")


def full_start(source, q0):
    """Mean and full covariance to start from."""
    if q0 is not None:
        check_start(q0, source.target)
        return np.array(q0.mean), FullCovariance(np.array(q0.to_cholesky().chol))
    if (known := source.start()) is not None:
        return known[0], FullCovariance(known[1])
    return find_start(source.coarse(), source.target._first_point())


def low_rank_start(source, q0, rank):
    """Mean and covariance to start from, of a diagonal and `rank` columns."""
    if isinstance(q0, LowRankGaussian) and q0.rank == rank and q0.dim == source.target.dim:
        return np.array(q0.mean), LowRankCovariance(np.sqrt(q0.diag), np.array(q0.factor))
    if q0 is not None:
        check_start(q0, source.target)
        return find_low_rank_start(source, np.array(q0.mean), np.sqrt(q0._variances()), rank)
    mean = source.target._first_point()
    std = first_scales(source.draws(1), mean)
    if source.exact:
        check_rank(source, mean, std)
    return find_low_rank_start(source.coarse(), mean, std, rank)
