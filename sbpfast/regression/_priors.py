"""Priors that know the units of the data, as those of rstanarm and bambi do."""

from __future__ import annotations

import numpy as np

from sbpfast import _checks, _core
from sbpfast.fitting import FitWarning
from sbpfast.regression._survey import design_of, moments_of, survey_of
from sbpfast.targets._row_block import Block

ALIKE = 0.9  # of a prior's sd, above which a posterior's says that the data have not spoken
SHOWN = 5  # names in a warning
DEFAULT = 2.5  # scale of the coefficients' prior, in units of the data


def is_auto(prior_scale) -> bool:
    """Whether the scale is to be learned."""
    if isinstance(prior_scale, str):
        _checks.choice("prior_scale", prior_scale, ("auto",))
        return True
    return False


def coefficient_scales(prior_scale, d) -> np.ndarray:
    """The prior's standard deviations as the user gave them, (d,)."""
    scale = _checks.real_array("prior_scale", prior_scale, ndim=(0, 1), finite=False)
    if scale.ndim == 1 and len(scale) != d:
        raise ValueError(
            f"prior_scale must be a scalar or have one entry for each of the {d} features, got shape {scale.shape}"
        )
    return np.broadcast_to(scale, d).astype(np.float64)


def intercept_scale(prior_scale) -> float:
    """That of the intercept: positive, infinite for a flat prior."""
    scale = _checks.real_array("intercept_prior_scale", prior_scale, ndim=0, finite=False)
    if not scale > 0:
        raise ValueError(f"intercept_prior_scale must be positive, got {scale}")
    return float(scale)


def column_moments(X, shares):
    """Mean of every column of X, and its standard deviation, 1 for a column that is constant."""
    moments = moments_of(design_of(X), shares, _core.effective_threads())
    return moments.mean, moments.sd


def units_of_numbers(y, offset, shares) -> tuple[float, float]:
    """Where a linear predictor that is the mean of y lies and how far it spreads."""
    return _survey(y, offset, shares).units_of_numbers()


def units_of_logarithms(y, offset, shares) -> tuple[float, float]:
    """The same of one that is the logarithm of the mean."""
    return _survey(y, offset, shares).units_of_logarithms()


def _survey(y, offset, shares):
    return survey_of(Block(np.empty((len(y), 0)), y, shares, np.broadcast_to(offset, y.shape)))


def in_units_of(X, shares, scale, intercept_scale, location, unit):
    """The scales times unit / sd(x_j), and the intercept's times the size of what it has to balance.

    That is the root of unit^2 + location^2 + sum (scale_j mean_j)^2: the intercept is the prediction at X = 0, which
    may be far from the data.
    """
    mean, sd = column_moments(X, shares)
    return in_units(mean, sd, scale, intercept_scale, location, unit)


def in_units(mean, sd, scale, intercept_scale, location, unit):
    """The same for columns of these means and standard deviations."""
    scale = scale * (unit / sd)
    away = mean != 0.0
    balanced = np.array([unit, location, *(scale[away] * mean[away])])
    return scale, intercept_scale * float(np.linalg.norm(balanced))


def warn_of_silent_data(names, sd, prior_sd) -> None:
    """Say which coefficients are as uncertain after the data as before."""
    alike = np.flatnonzero(sd > ALIKE * prior_sd)
    if len(alike):
        shown = ", ".join(str(names[i]) for i in alike[:SHOWN])
        more = f" and {len(alike) - SHOWN} more" if len(alike) > SHOWN else ""
        _checks.warn(
            f"The data say little about {shown}{more}: posterior and prior standard deviations are alike. If the prior "
            "should not decide, widen prior_scale, or look whether it is in the units you think.",
            FitWarning,
        )
