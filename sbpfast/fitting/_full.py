"""A full covariance as a fit sees it."""

from __future__ import annotations

import numpy as np

from sbpfast.fitting._factors import refactored, upper_factor
from sbpfast.fitting._newton import newton_direction
from sbpfast.fitting._source import Moments
from sbpfast.gaussian import CholeskyGaussian, Gaussian


class FullCovariance:
    """cov = L L^T."""

    always_newton = False  # natural gradients lead near the optimum at once

    def __init__(self, chol):
        self.chol = chol

    def moments(self, source, mean) -> Moments:
        return source.at(mean, self.chol)

    def residual(self, gradient, precision) -> float:
        return float(np.linalg.norm(gradient) + np.linalg.norm(np.eye(len(gradient)) - precision))

    def residual_error(self, gradient_error, precision_error) -> float:
        return float(np.linalg.norm(gradient_error) + np.linalg.norm(precision_error))

    def widest(self, precision) -> float:
        """The largest precision, 1 at the optimum."""
        return float(np.diagonal(precision).max())

    def towards(self, precision):
        return FullCovariance(refactored(self.chol, upper_factor(precision)))

    def newton_directions(self, source, mean, here):
        """The Newton step, and None, which stands for a natural gradient, where there is none or it leads nowhere.

        Where the ELBO is just about concave the Newton step is so long that no part of it may do.
        """
        direction = newton_direction(source.target, mean, self.chol, here.gradient, here.precision, source.n_threads)
        if direction is not None:
            yield direction
        yield None

    def along(self, mean, direction, rate):
        """Mean and covariance a part of the way along a Newton step; None where that would not be a factor."""
        delta, a = direction
        root = np.eye(len(delta)) + rate * a
        if not (np.diagonal(root) > 0.0).all():
            return None
        return mean + rate * (self.chol @ delta), FullCovariance(self.chol @ root)

    def scaled_by(self, factor):
        return FullCovariance(factor * self.chol)

    def directions(self):
        """The principal axes, (d, d); those of the coordinates where numbers have overflowed."""
        if not np.isfinite(self.chol).all():
            return np.eye(len(self.chol))
        axes, lengths, _ = np.linalg.svd(self.chol)
        return axes.T * lengths[:, None]

    def arrays(self):
        return {"chol": self.chol}

    def gaussian(self, mean):
        try:
            return Gaussian(mean, self.chol @ self.chol.T)
        except ValueError:  # so nearly singular that rounding its matrix loses definiteness: the factor does not
            return CholeskyGaussian(mean, self.chol)
