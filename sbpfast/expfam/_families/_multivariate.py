"""Multivariate families: Dirichlet, Wishart, categorical.

A transport weight is a velocity field, one for each element of the parameter: ``transport(x)[name]`` has shape
(n, dim, *parameter.shape), and sum_i V_i df/dx_i is the pathwise contribution.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy import linalg, special

from sbpfast import _checks, _core
from sbpfast._likelihood import MLE, MLEDoesNotExist, clean_data, given_statistics
from sbpfast.expfam import _statistics, _weights
from sbpfast.expfam._base import POSITIVE, REAL, Distribution, Domain, Formulas, MeanAndVariance, Parameter
from sbpfast.expfam._families._gamma_beta import (
    dirichlet_entropy,
    dirichlet_kl,
    dirichlet_log_density,
    dirichlet_means,
    dirichlet_solve,
    solve_dirichlet,
)
from sbpfast.expfam._functions import (
    bregman,
    exp_gap,
    gamma_entropy,
    log_gamma_density,
    log_gamma_remainder,
    log_gamma_rise,
    log_gap,
    log_minus_digamma,
    log_multigamma,
    trigamma_minus_inverse,
)
from sbpfast.expfam._points import Points
from sbpfast.expfam._statistics import Gap, Solution, log_divergence, newton_scalar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class MultivariateFamily(Distribution):
    """A family of vectors, with one vector of statistics."""

    _gap: ClassVar[Gap | None] = None
    _squares = False

    def natural(self) -> np.ndarray:
        """Natural parameters eta, (k,)."""
        raise NotImplementedError

    def mean_params(self) -> np.ndarray:
        """Mean parameters grad A(eta) = E[u(x)], (k,)."""
        raise NotImplementedError

    def fisher(self) -> np.ndarray:
        """Fisher information in eta, the Hessian of A and the covariance of u, (k, k)."""
        raise NotImplementedError

    def log_partition(self) -> float:
        """A(eta)."""
        raise NotImplementedError

    @classmethod
    def from_natural(cls, eta: ArrayLike) -> Self:
        """The distribution with natural parameters eta (k,)."""
        raise NotImplementedError

    def sufficient(self, x: ArrayLike) -> np.ndarray:
        """Sufficient statistics u(x), (n, k)."""
        return np.concatenate(self._u(self._points(x), self._p), axis=1)

    def log_base(self, x: ArrayLike) -> np.ndarray:
        """log h(x) = 0, (n,)."""
        return np.zeros(self._points(x).n)

    @staticmethod
    def _u(t, p) -> list:
        raise NotImplementedError

    @staticmethod
    def _averaged_base(t, p):
        return 0.0

    def _score(self, t) -> dict:
        raise NotImplementedError

    def score(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Derivatives of the log density by parameter name, (n, *parameter.shape)."""
        return self._score(self._points(x))

    def entropy(self) -> float:
        """-E[log p(x)]."""
        raise NotImplementedError

    def moments(self) -> MeanAndVariance:
        """Mean and variance of each coordinate, or element of a matrix, shaped as the parameter.

        Raises
        ------
        ValueError
            There are none: the points are names of categories.
        """
        return MeanAndVariance(*self._moments())

    def _moments(self):
        raise NotImplementedError

    def mode(self) -> Any:
        """The point of largest density or probability, shaped as the mean.

        Raises
        ------
        ValueError
            The density is largest at the boundary.
        """
        return self._mode()

    def _mode(self):
        raise NotImplementedError

    def kl(self, other: Distribution) -> float:
        """Kullback-Leibler divergence to another of the same family, the Bregman divergence of A."""
        if type(other) is not type(self):
            raise TypeError(f"other must be a {type(self).__name__}, got {type(other).__name__}")
        if other.dim != self.dim or other.natural().shape != self.natural().shape:
            raise ValueError(f"other must have the shape of {self!r}, got {other!r}")
        with np.errstate(over="ignore"):
            return float(self._kl(other))

    def _kl(self, other):
        raise NotImplementedError

    _refused: tuple[str, ...] = ()

    def _integrates(self, target) -> bool:
        """Whether `_exact` serves this target."""
        return "exact" in self._estimators and target._has("value")

    def _score_terms(self, draws, names=None) -> dict:
        """name -> (n, ...) d log p / d parameter."""
        score = self._score(draws)
        return {k: score[k] for k in (self._names if names is None else names)}

    # maximum likelihood

    @classmethod
    def _constants(cls, constants, shape):
        if constants:
            raise TypeError(f"{cls.__name__} has no constants, got {sorted(constants)}")
        return {}

    @classmethod
    def _make(cls, source, constants, scalar):
        return cls(**source)

    @classmethod
    def _averages(cls, t, c) -> list:
        return cls._u(t, c)

    @classmethod
    def _from_means(cls, m, c) -> list:
        return m if cls._gap is None else cls._gap.from_means(m)

    @classmethod
    def _collapsed(cls, equal) -> np.ndarray:
        """One constant coordinate is no obstacle; `_solve` knows what is."""
        return np.zeros(1, dtype=bool)

    @classmethod
    def statistics(cls, x: ArrayLike, weights: ArrayLike | None = None) -> _statistics.Statistics:
        """Mean statistics of data (n, dim), mergeable with ``+``."""
        return _statistics.statistics(cls, x, weights, {})

    @classmethod
    def fit(
        cls,
        x: ArrayLike | _statistics.Statistics,
        weights: ArrayLike | None = None,
        prior: tuple[float, ArrayLike] | None = None,
    ) -> MLE:
        """Maximum likelihood, or the maximum a posteriori under a conjugate prior.

        Parameters
        ----------
        x : array_like (n, dim), or Statistics
        weights : array_like (n,), optional
            Non-negative numbers.
        prior : (nu, m0), optional
            nu pseudo-observations with mean statistics m0 (k,).

        Raises
        ------
        MLEDoesNotExist
            The mean statistics lie on the boundary of their set, so the likelihood has no maximum.
        """
        given_statistics(cls, x, weights)
        return _statistics.maximum_likelihood(
            cls, x if isinstance(x, _statistics.Statistics) else cls.statistics(x, weights), prior
        )

    @classmethod
    def from_mean_params(cls, m: ArrayLike) -> Self:
        """The distribution whose mean parameters E[u(x)] are m (k,)."""
        columns, _ = cls._columns("m", m)
        try:
            with np.errstate(all="ignore"):
                return cls(**cls._solve(cls._from_means(columns, {}), {}).source)
        except ValueError:
            raise ValueError(f"m must lie inside the set of means of {cls.__name__}, got {m!r}") from None

    @classmethod
    def _columns(cls, name, m):
        """Mean parameters (k,) as the summary of data."""
        return [_checks.real_array(name, m, ndim=1)], False

    @classmethod
    def _solve(cls, s, c) -> Solution:
        raise NotImplementedError

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base) -> float:
        raise NotImplementedError


class Dirichlet(MultivariateFamily):
    """Dirichlet distribution on the simplex."""

    parameters = (Parameter("concentration", POSITIVE, "Concentrations alpha (K,), K >= 2."),)
    formulas = Formulas(
        support="x_i >= 0, sum of x_i = 1", density="prod x_i^(alpha_i - 1) / Beta(alpha), in K - 1 coordinates",
        eta="alpha - 1", u="log x", h="1", A="sum log Gamma(alpha_i) - log Gamma(sum alpha)",
        product="not defined in more than one dimension",
    )  # fmt: skip
    example: ClassVar = {"concentration": [0.8, 2.1, 3.3]}
    _estimators = ("pathwise", "score", "combined", "auto")
    _gap = Gap(lambda t, c: t.x, log_divergence, lambda m: dirichlet_means(m[0]), compiled=True)

    concentration: np.ndarray

    def __init__(self, concentration: ArrayLike) -> None:
        concentration = _checks.real_array("concentration", concentration, ndim=1, finite=False)
        if len(concentration) < 2:
            raise ValueError(f"concentration must have at least 2 elements, got shape {concentration.shape}")
        inside = POSITIVE.contains(concentration)
        if not inside.all():
            raise ValueError(f"concentration must be {POSITIVE.text}, got {concentration[~inside][0]}")
        self.__dict__["concentration"] = _checks.frozen(concentration)
        self.dim = len(concentration)
        self._p = SimpleNamespace(concentration=self.concentration)

    def natural(self) -> np.ndarray:
        return self.concentration - 1.0

    def mean_params(self) -> np.ndarray:
        return special.digamma(self.concentration) - special.digamma(self.concentration.sum())

    def fisher(self) -> np.ndarray:
        return np.diag(special.polygamma(1, self.concentration)) - special.polygamma(1, self.concentration.sum())

    def log_partition(self) -> float:
        return float(special.gammaln(self.concentration).sum() - special.gammaln(self.concentration.sum()))

    @classmethod
    def from_natural(cls, eta: ArrayLike) -> Self:
        """The distribution with natural parameters eta = alpha - 1, (K,)."""
        return cls(_checks.real_array("eta", eta, ndim=1) + 1.0)

    @staticmethod
    def _u(t, p):
        return [t.log_x]

    def _points(self, x):
        if isinstance(x, Points):
            return x
        return simplex_points("x", _checks.points("x", x, self.dim))

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """Log density (n,) at points x (n, K) of the simplex."""
        t = self._points(x)
        return dirichlet_log_density(self.concentration, t.x, t.log_x)

    def entropy(self) -> float:
        return float(dirichlet_entropy(self.concentration))

    def _kl(self, other):
        return dirichlet_kl(self.concentration, other.concentration)

    def _score(self, t):
        return {"concentration": t.log_x - self.mean_params()}

    def _relative(self, t) -> np.ndarray:
        """x_j w_j, w_j the velocity of logit x_j under alpha_j, (n, K)."""
        a = self.concentration
        w, _ = _weights.beta_weight(a, a.sum() - a, t.x, t.y, t.log_x, t.log_y, t.n_threads)
        return _weights.scaled(t.x, np.where(t.y == 0.0, 0.0, w))  # at a vertex nothing moves

    def transport(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Velocities V (n, K, K) of x_i under concentration_j: (delta_ij - x_i) B_a(x_j; alpha_j, rest) / (1 - x_j).

        With it the i-th coordinate keeps its share of what the j-th takes or gives; the field solves the continuity
        equation dp/dalpha_j + div(p V_j) = 0 on the simplex.
        """
        t = self._points(x)
        relative = self._relative(t)
        field = -t.x[:, :, None] * relative[:, None, :]
        i = np.arange(self.dim)
        field[:, i, i] = t.y * relative
        return {"concentration": field}

    def _pathwise_terms(self, draws, grad, names=None):
        """name -> (n, K) grad . V_j."""
        inner = (grad * draws.x).sum(axis=1, keepdims=True)
        return {"concentration": self._relative(draws) * (grad - inner)}

    @classmethod
    def _draw_points(cls, streams, p):
        return streams.simplex(p.concentration, len(p.concentration))

    def _natural_grad(self, grads):
        return {"concentration": dirichlet_solve(self.concentration, grads["concentration"])}

    @classmethod
    def statistics(cls, x: ArrayLike, weights: ArrayLike | None = None) -> _statistics.Statistics:
        """Mean statistics of points of the simplex, rows (n, K), mergeable with ``+``."""
        x = _checks.real_array("x", x, ndim=2)
        require_simplex("x", x)
        return super().statistics(x, weights)

    @classmethod
    def _features(cls, x, c):
        if (x <= 0).any():
            raise MLEDoesNotExist(
                f"{cls.__name__}: an observation has a coordinate 0, on the boundary, so the likelihood has no maximum"
            )
        return Points(x)

    @classmethod
    def _solve(cls, s, c):
        concentration, iterations, gap = solve_dirichlet(s[0], s[1], cls.__name__)
        return Solution({"concentration": concentration}, iterations, gap)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        a = p.concentration
        centre = s[0] / s[0].sum()
        return float(dirichlet_log_density(a, centre, np.log(centre)) - (a - 1.0) @ s[1])

    def _moments(self):
        total = self.concentration.sum()
        mean = self.concentration / total
        return mean, mean * ((total - self.concentration) / total) / (total + 1.0)

    def _mode(self):
        if not (self.concentration > 1.0).all():
            raise ValueError("Dirichlet has a mode inside the simplex only where every concentration is above 1")
        return (self.concentration - 1.0) / (self.concentration - 1.0).sum()


def require_simplex(name, x) -> None:
    """Raise where a row is not a point of the simplex."""
    if (x < 0).any():
        raise ValueError(f"{name} must be non-negative, got {x.min()}")
    error = np.abs(x.sum(axis=1) - 1.0).max(initial=0.0)
    if error > 1e-8:
        raise ValueError(f"the rows of {name} must sum to 1, but are off by up to {error:.3g}")


def simplex_points(name, x) -> Points:
    """Points of a simplex that a user gives: 1 - x as the sum of the others where x is above 1/2."""
    require_simplex(name, x)
    others = np.where(np.arange(x.shape[1]) == x.argmax(axis=1)[:, None], 0.0, x).sum(axis=1, keepdims=True)
    large = x > 0.5
    y = np.where(large, others, 1.0 - x)
    with np.errstate(divide="ignore"):
        log_y = np.where(large, np.log(y), np.log1p(-np.where(large, 0.0, x)))
    return Points(x, y=y, log_y=log_y, n_threads=_core.effective_threads(None))


# -- symmetric matrices as vectors ------------------------------------------------------------------------------------


def svec(matrix: ArrayLike) -> np.ndarray:
    """Symmetric matrices (..., d, d) as vectors (..., d (d + 1) / 2).

    The upper triangle by rows, off-diagonals times sqrt 2, so that tr(A B) = svec(A) . svec(B).
    """
    matrix = _checks.real_array("matrix", matrix, finite=False)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix must have shape (..., d, d), got {matrix.shape}")
    i, j = np.triu_indices(matrix.shape[-1])
    with np.errstate(over="ignore"):
        return matrix[..., i, j] * np.where(i == j, 1.0, np.sqrt(2.0))


def smat(vector: ArrayLike) -> np.ndarray:
    """The inverse of `svec`: (..., d (d + 1) / 2) to (..., d, d)."""
    vector = _checks.real_array("vector", vector, finite=False)
    if vector.ndim < 1:
        raise ValueError("vector must have shape (..., d (d + 1) / 2), got ()")
    d = matrix_order(vector.shape[-1])
    i, j = np.triu_indices(d)
    values = vector * np.where(i == j, 1.0, np.sqrt(0.5))
    out = np.empty((*vector.shape[:-1], d, d))
    out[..., i, j] = values
    out[..., j, i] = values
    return out


def matrix_order(length) -> int:
    """d from d (d + 1) / 2."""
    d = int((np.sqrt(8.0 * length + 1.0) - 1.0) / 2.0 + 0.5)
    if d < 1 or d * (d + 1) // 2 != length:
        raise ValueError(f"a half-vectorised matrix must have d (d + 1) / 2 elements, got {length}")
    return d


def log_det(matrix) -> np.ndarray:
    """log of the determinants of symmetric positive definite matrices (..., d, d)."""
    diagonal = np.diagonal(np.linalg.cholesky(matrix), axis1=-2, axis2=-1)
    return 2.0 * np.log(diagonal).sum(axis=-1)


def determinant_divergence(y, c) -> np.ndarray:
    """tr C^-1 W - d - log|C^-1 W|, (..., 1), of rows y = svec(W) and c = svec(C): that of phi = -log|W|."""
    w, centre = smat(np.reshape(y, (-1, np.shape(y)[-1]))), smat(np.reshape(c, -1))
    excess = relative_eigenvalues(w - centre, np.linalg.cholesky(centre))
    out = log_gap(np.maximum(excess, -0.5)).sum(axis=-1)
    far = (excess < -0.5).any(axis=-1)  # 1 + excess is of few digits, so that the determinant comes from W itself
    out[far] = excess[far].sum(axis=-1) - (log_det(w[far]) - log_det(centre))
    return out.reshape(*np.shape(y)[:-1], 1)


def relative_eigenvalues(matrix, factor) -> np.ndarray:
    """Eigenvalues (..., d) of L^-1 M L^-T, for symmetric M (..., d, d) and lower triangular L."""
    inverse = linalg.solve_triangular(factor, np.eye(len(factor)), lower=True)
    return np.linalg.eigvalsh(inverse @ matrix @ inverse.T)


_DEFINITE = Domain("symmetric positive definite", lambda v: v)


class Wishart(MultivariateFamily):
    """Wishart distribution of symmetric positive definite matrices.

    A point is a row: the matrix half-vectorised by `svec` (off-diagonals times sqrt 2), d (d + 1) / 2 numbers, so that
    gradients are those of the matrix in the same coordinates; methods that take points also take matrices (n, d, d).

    As df falls to d - 1 the draws approach singular matrices, and rounding their entries to double precision loses the
    smallest eigenvalue.  The estimators work from Bartlett's factor and keep it; `log_prob`, `score`, `transport` and
    `fit` know the matrix only, and refuse one that is not positive definite as it stands.
    """

    parameters = (
        Parameter("df", POSITIVE, "Degrees of freedom nu > d - 1."),
        Parameter("scale", _DEFINITE, "Scale matrix V (d, d); E W = nu V."),
    )
    formulas = Formulas(
        support="symmetric positive definite matrices",
        density=(
            "|W|^((nu - d - 1)/2) exp(-tr(V^-1 W)/2) / (2^(nu d/2) |V|^(nu/2) Gamma_d(nu/2)), "
            "with respect to the upper triangle"
        ),
        eta="(svec(-V^-1/2), (nu - d - 1)/2)", u="(svec(W), log|W|)", h="1",
        A="(nu/2) log|V| + log Gamma_d(nu/2) + (nu d/2) log 2",
        product="not defined in more than one dimension",
    )  # fmt: skip
    example: ClassVar = {"df": 4.5, "scale": [[0.6, 0.2], [0.2, 0.4]]}
    _estimators = ("pathwise", "score", "combined", "auto")
    _gap = Gap(lambda t, c: t.x, determinant_divergence, lambda m: [m[0], log_det(smat(m[0])) - m[1]])

    df: float
    scale: np.ndarray

    def __init__(self, df: float, scale: ArrayLike) -> None:
        scale = _checks.real_array("scale", scale, ndim=2)
        scale = _checks.symmetric("scale", scale)
        self._chol = _checks.cholesky("scale", scale)
        self.order = len(scale)
        self.__dict__["df"] = float(_checks.real_array("df", df, ndim=0))
        if not self.df > self.order - 1:
            raise ValueError(f"df must be above d - 1 = {self.order - 1}, got {self.df}")
        self.__dict__["scale"] = _checks.frozen(scale)
        self.dim = self.order * (self.order + 1) // 2
        self._p = SimpleNamespace(df=self.df, scale=self.scale)

    @property
    def _halves(self):
        """(nu - i)/2, i = 0..d-1: the shapes of the squared diagonal of Bartlett's factor."""
        return 0.5 * (self.df - np.arange(self.order))

    def _inverse(self):
        return linalg.cho_solve((self._chol, True), np.eye(self.order))

    def _log_det(self):
        return 2.0 * np.log(np.diagonal(self._chol)).sum()

    def natural(self) -> np.ndarray:
        return np.append(svec(-0.5 * self._inverse()), 0.5 * (self.df - self.order - 1.0))

    def mean_params(self) -> np.ndarray:
        log_det = special.digamma(self._halves).sum() + self.order * np.log(2.0) + self._log_det()
        return np.append(self.df * svec(self.scale), log_det)

    def fisher(self) -> np.ndarray:
        basis = smat(np.eye(self.dim))
        out = np.empty((self.dim + 1, self.dim + 1))
        out[:-1, :-1] = 2.0 * self.df * svec(self.scale @ basis @ self.scale)
        out[:-1, -1] = out[-1, :-1] = 2.0 * svec(self.scale)
        out[-1, -1] = special.polygamma(1, self._halves).sum()
        return out

    def log_partition(self) -> float:
        return 0.5 * self.df * (self._log_det() + self.order * np.log(2.0)) + log_multigamma(0.5 * self.df, self.order)

    @classmethod
    def from_natural(cls, eta: ArrayLike) -> Self:
        """The distribution with natural parameters (svec(-V^-1/2), (nu - d - 1)/2)."""
        eta = _checks.real_array("eta", eta, ndim=1)
        precision = smat(-2.0 * eta[:-1])
        factor = _checks.cholesky("-2 smat(eta[:-1])", precision)
        scale = linalg.cho_solve((factor, True), np.eye(len(precision)))
        return cls(2.0 * eta[-1] + len(precision) + 1.0, 0.5 * (scale + scale.T))

    @staticmethod
    def _u(t, p):
        return [t.x, t.log_det]

    def _points(self, x):
        if isinstance(x, Points):
            return x
        return matrix_points(x, self.order)

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """Log density (n,), at rows svec(W) or matrices."""
        t = self._points(x)
        return self._log_density(t.x, t.log_det[:, 0])

    def _log_density(self, x, log_det):
        """Gamma densities of shape nu/2 of half the eigenvalues of V^-1 W, and a Jacobian."""
        h, halves, d = 0.5 * self.df, self._halves, self.order
        e = 0.5 * relative_eigenvalues(smat(x), self._chol)
        with np.errstate(divide="ignore", invalid="ignore"):
            gammas = log_gamma_density(h, e, np.log(e)).sum(axis=-1)
        constant = log_gamma_rise(halves, 0.5 * np.arange(d)).sum() - 0.25 * d * (d - 1) * np.log(np.pi)
        return gammas + constant - 0.5 * (d + 1.0) * log_det

    def entropy(self) -> float:
        i = np.arange(self.order)
        halves, d = self._halves, self.order
        parts = gamma_entropy(halves) + 0.5 * i + 0.5 * (d - 1.0 - i) * special.digamma(halves)
        log_volume = self._log_det() + d * np.log(2.0)
        return float(parts.sum() + 0.25 * d * (d - 1) * np.log(np.pi) + 0.5 * (d + 1.0) * log_volume)

    def _kl(self, other):
        """By the means nu V, then between Wisharts of one mean, as of gammas."""
        i, h, to = 0.5 * np.arange(self.order), 0.5 * self.df, 0.5 * other.df
        mean, other_mean = svec(self.df * self.scale), svec(other.df * other.scale)
        spread = bregman(
            lambda h: log_gamma_remainder(h - i).sum() + ((h - i) * np.log1p(-i / h) - i * np.log(h) + i).sum(),
            lambda h: -(log_minus_digamma(h - i) - np.log1p(-i / h)).sum(),
            lambda h: (trigamma_minus_inverse(h - i) + i / (h * (h - i))).sum(),
            h,
            to - h,
        )
        return to * determinant_divergence(mean, other_mean)[0] + spread

    def _score(self, t):
        inverse = self._inverse()
        excess = smat(t.x) - self.df * self.scale
        return {
            "df": 0.5 * (t.log_det[:, 0] - self.mean_params()[-1]),
            "scale": 0.5 * inverse @ excess @ inverse,
        }

    def _bartlett(self, t):
        """C with W = L C C^T L^T."""
        if hasattr(t, "bartlett"):
            return t.bartlett
        return linalg.solve_triangular(self._chol, np.linalg.cholesky(smat(t.x)), lower=True)

    def _diagonal_velocity(self, t, c):
        """d C_ii / d nu, (n, d): C_ii^2 / 2 is gamma distributed with shape (nu - i)/2."""
        diagonal = np.einsum("nii->ni", c)
        log_half_square = t.log_halves if hasattr(t, "log_halves") else 2.0 * np.log(diagonal) - np.log(2.0)
        w = _weights.gamma_weight(self._halves, np.exp(log_half_square), log_half_square, t.n_threads)
        return 0.25 * diagonal * w

    def transport(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Velocities of svec(W): under df (n, dim), through Bartlett's factor; under scale (n, dim, d, d).

        The latter is dW = M W + W M^T with M = dV V^-1/2, as the symmetric matrix T (for each n and coordinate) with
        dx = tr(T dV).
        """
        t = self._points(x)
        c = self._bartlett(t)
        change = self._diagonal_velocity(t, c)[:, None, :] * c  # C dC^T
        df = svec(self._chol @ (change + change.swapaxes(1, 2)) @ self._chol.T)
        ratio = np.linalg.solve(self.scale, smat(t.x))  # V^-1 W
        basis = smat(np.eye(self.dim))
        scale = ratio[:, None] @ basis
        return {"df": df, "scale": 0.5 * (scale + scale.swapaxes(-1, -2))}

    def _pathwise_terms(self, draws, grad, names=None):
        """name -> (n, ...) the gradient along the velocities."""
        g = smat(grad)
        terms = {}
        for name in self._names if names is None else names:
            if name == "df":
                terms[name] = self._df_terms(draws, g)
            else:
                product = np.linalg.solve(self.scale, smat(draws.x)) @ g
                terms[name] = 0.5 * (product + product.swapaxes(1, 2))
        return terms

    def _df_terms(self, draws, g):
        """tr(G dW) = 2 sum_i dC_ii (C^T L^T G L)_ii."""
        c = self._bartlett(draws)
        rows = c.swapaxes(1, 2) @ (self._chol.T @ g @ self._chol)
        return 2.0 * (self._diagonal_velocity(draws, c) * np.einsum("nii->ni", rows)).sum(axis=1)

    def _draw_points(self, streams, p):
        d, n = self.order, streams.n
        halves, log_halves = streams.gammas(self._halves)
        c = np.zeros((n, d, d))
        i = np.arange(d)
        c[:, i, i] = np.sqrt(2.0 * halves)
        if d > 1:
            rows, columns = np.tril_indices(d, -1)
            c[:, rows, columns] = streams.normals(1, len(rows))
        factor = self._chol @ c
        log_det = self._log_det() + d * np.log(2.0) + log_halves.sum(axis=1, keepdims=True)
        x = svec(factor @ factor.swapaxes(1, 2))
        return Points(x, bartlett=c, log_halves=log_halves, log_det=log_det, n_threads=streams.n_threads)

    def _natural_grad(self, grads):
        g = np.asarray(grads["scale"])
        curvature = 0.25 * special.polygamma(1, self._halves).sum() - 0.5 * self.order / self.df
        df = (float(grads["df"]) - np.trace(g @ self.scale) / self.df) / curvature
        return {"df": np.float64(df), "scale": 2.0 / self.df * (self.scale @ g @ self.scale - 0.5 * df * self.scale)}

    @classmethod
    def statistics(cls, x: ArrayLike, weights: ArrayLike | None = None) -> _statistics.Statistics:
        """Mean statistics of matrices, rows svec(W) or (n, d, d), mergeable with ``+``."""
        x = _checks.real_array("x", x, ndim=(2, 3))
        return super().statistics(svec(x) if x.ndim == 3 else x, weights)

    @classmethod
    def _features(cls, x, c):
        return matrix_points(x, matrix_order(x.shape[1]))

    @classmethod
    def _columns(cls, name, m):
        m = _checks.real_array(name, m, ndim=1)
        return [m[:-1], m[-1:]], False

    @classmethod
    def _solve(cls, s, c):
        """V = mean W / nu, and sum_i psi((nu - i)/2) - d log(nu/2) = mean log|W| - log|mean W|, increasing in nu."""
        mean, gap = smat(s[0]), float(s[1][0])
        d = len(mean)
        if not gap > 0:
            raise MLEDoesNotExist(f"{cls.__name__}: the matrices are all equal: the likelihood has no maximum")
        i = 0.5 * np.arange(d)

        def gradient(h):  # half the degrees of freedom
            h = h[0]
            return np.array([gap - (log_minus_digamma(h - i) - np.log1p(-i / h)).sum()])

        def slope(h):
            h = h[0]
            return np.array([(trigamma_minus_inverse(h - i) + i / (h * (h - i))).sum()])

        low = 0.5 * (d - 1)
        start = low + 0.25 * d * (d + 1) / gap
        half, iterations, decrement = newton_scalar(gradient, slope, np.array([start]), low, np.inf)
        df = 2.0 * float(half[0])
        return Solution({"df": np.array(df), "scale": mean / df}, iterations, decrement)

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        q = cls(p.df, p.scale)
        return float(q._log_density(s[0], log_det(smat(s[0]))) - 0.5 * (q.df - q.order - 1.0) * s[1][0])

    def _moments(self):
        diagonal = np.diagonal(self.scale)
        return self.df * self.scale, self.df * (self.scale**2 + np.outer(diagonal, diagonal))

    def _mode(self):
        if self.df < self.order + 1.0:
            raise ValueError(f"Wishart has a mode for df from d + 1 = {self.order + 1} on, got df = {self.df}")
        return (self.df - self.order - 1.0) * self.scale


def matrix_points(x, d) -> Points:
    """Rows svec(W) (n, dim) or matrices (n, d, d), with their log determinants."""
    x = _checks.real_array("x", x, finite=False)
    if x.ndim == 3:
        x = svec(_checks.real_array("x", x, shape=(None, d, d)))
    x = _checks.real_array("x", x, shape=(None, d * (d + 1) // 2))
    matrices = smat(x)
    try:
        factors = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        worst = int(np.argmin(np.linalg.eigvalsh(matrices)[:, 0]))
        raise ValueError(
            f"x must hold symmetric positive definite matrices, but row {worst} is not in double precision: it has an "
            f"eigenvalue {np.linalg.eigvalsh(matrices[worst])[0]:.3g}"
        ) from None
    log_det = 2.0 * np.log(np.einsum("nii->ni", factors)).sum(axis=1, keepdims=True)
    return Points(x, log_det=log_det, n_threads=_core.effective_threads(None))


class Categorical(MultivariateFamily):
    """Categorical distribution; a point is the number of a category, 0, 1, ..., K - 1, as one coordinate."""

    parameters = (Parameter("logits", REAL, "Log probabilities (K,) up to a common constant."),)
    formulas = Formulas(
        support="x = 0, 1, ..., K - 1", density="pi_x = exp(logits_x) / sum exp(logits)",
        eta="log(pi_i / pi_K), i < K", u="(1 if x = i else 0), i < K", h="1", A="log(1 + sum exp(eta))",
        product="not defined for a discrete family; the difference estimator takes its place",
    )  # fmt: skip
    example: ClassVar = {"logits": [0.3, -0.5, 0.8, 0.0]}
    _estimators = ("score", "difference", "exact", "combined", "auto")

    logits: np.ndarray
    dim = 1

    def __init__(self, logits: ArrayLike) -> None:
        logits = _checks.real_array("logits", logits, ndim=1)
        if len(logits) < 2:
            raise ValueError(f"logits must have at least 2 elements, got shape {logits.shape}")
        self.__dict__["logits"] = _checks.frozen(logits)
        self._p = SimpleNamespace(logits=self.logits)

    @property
    def probs(self) -> np.ndarray:
        """The probabilities (K,)."""
        return special.softmax(self.logits)

    def natural(self) -> np.ndarray:
        return self.logits[:-1] - self.logits[-1]

    def mean_params(self) -> np.ndarray:
        return self.probs[:-1]

    def fisher(self) -> np.ndarray:
        m = self.mean_params()
        return np.diag(m) - np.outer(m, m)

    def log_partition(self) -> float:
        return float(special.logsumexp(self.logits - self.logits[-1]))

    @classmethod
    def from_natural(cls, eta: ArrayLike) -> Self:
        """The distribution with natural parameters eta (K - 1,); the last logit is 0."""
        return cls(np.append(_checks.real_array("eta", eta, ndim=1), 0.0))

    @staticmethod
    def _u(t, p):
        return [(t.x == np.arange(len(p.logits) - 1)).astype(np.float64)]

    def _points(self, x):
        if isinstance(x, Points):
            return x
        x = _checks.real_array("x", x, ndim=(1, 2)).reshape(-1, 1)
        if ((x < 0) | (x >= len(self.logits)) | (x != np.floor(x))).any():
            raise ValueError(f"x must hold whole numbers from 0 to {len(self.logits) - 1}")
        return Points(x)

    def _index(self, t):
        return t.x[:, 0].astype(np.intp)

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """Log probability (n,) of the categories x (n, 1)."""
        return special.log_softmax(self.logits)[self._index(self._points(x))]

    def _score(self, t):
        return {"logits": np.eye(len(self.logits))[self._index(t)] - self.probs}

    def entropy(self) -> float:
        log_probs = special.log_softmax(self.logits)
        return float(-(np.exp(log_probs) * log_probs).sum())

    def _kl(self, other):
        ratio = other.logits - self.logits
        level = self.probs @ np.expm1(ratio)
        shift = np.log1p(level) if abs(level) < 0.5 else special.logsumexp(ratio, b=self.probs)
        return self.probs @ exp_gap(ratio - shift)

    @classmethod
    def _quantiles(cls, u, p):
        cumulative = np.cumsum(special.softmax(p.logits))[:-1]
        return Points(np.searchsorted(cumulative, u, side="left").astype(np.float64))

    def transport(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Not to be had: ``ValueError``, as the categories have no order."""
        raise ValueError("Categorical has no transport weight, as its categories have no order: use 'difference'")

    def _values(self, target):
        return target._value(np.arange(len(self.logits), dtype=np.float64)[:, None])

    def _difference_terms(self, draws, target, names=None):
        """pi_i (f_i - E f), the same for every draw: all categories are visited."""
        _, grads = self._exact(target)
        return {"logits": np.broadcast_to(grads["logits"], (draws.n, len(self.logits)))}

    def _exact(self, target, names=None):
        f, probs = self._values(target), self.probs
        value = float(probs @ f)
        return value, {"logits": probs * (f - value)}

    def _natural_grad(self, grads):
        """The solution of least size: probabilities do not change along (1, ..., 1)."""
        probs = self.probs
        return {"logits": np.linalg.pinv(np.diag(probs) - np.outer(probs, probs), hermitian=True) @ grads["logits"]}

    @classmethod
    def statistics(
        cls, x: ArrayLike, weights: ArrayLike | None = None, *, n_categories: int | None = None
    ) -> _statistics.Statistics:
        """Shares of the categories, mergeable with ``+``.

        Parameters
        ----------
        x : array_like (n,) or (n, 1)
        weights : array_like (n,), optional
        n_categories : int, optional
            K; by default the largest category and one more.
        """
        data, w, _ = clean_data("x", x, weights)
        if data.shape[1] != 1 or (data < 0).any() or (data != np.floor(data)).any():
            raise ValueError("x must hold whole numbers 0, 1, 2, ... in one column")
        k = int(data.max()) + 1 if n_categories is None else _checks.count("n_categories", n_categories, least=2)
        if data.max() >= k:
            raise ValueError(f"x must be below n_categories = {k}, got {data.max()}")
        counts = np.bincount(data[:, 0].astype(np.intp), weights=np.ones(len(data)) if w is None else w, minlength=k)
        total = counts.sum()
        return _statistics.Statistics(
            cls, {"n_categories": k}, False, total, [counts / total], data.min(axis=0), data.max(axis=0), np.zeros(1)
        )

    @classmethod
    def fit(
        cls, x: ArrayLike | _statistics.Statistics, weights: ArrayLike | None = None,
        prior: tuple[float, ArrayLike] | None = None, *, n_categories: int | None = None,
    ) -> MLE:  # fmt: skip
        """Maximum likelihood: the shares of the categories, every one of which must occur.

        See `Gamma.fit` for the arguments; m0 of a prior holds the K - 1 first mean shares.
        """
        given_statistics(cls, x, weights, n_categories is not None)
        stats = x if isinstance(x, _statistics.Statistics) else cls.statistics(x, weights, n_categories=n_categories)
        return _statistics.maximum_likelihood(cls, stats, prior)

    @classmethod
    def _constants(cls, constants, shape):
        return {}

    @classmethod
    def _columns(cls, name, m):
        m = _checks.real_array(name, m, ndim=1)
        return [np.append(m, 1.0 - m.sum())], False

    @classmethod
    def _solve(cls, s, c):
        if not (s[0] > 0).all():
            raise MLEDoesNotExist(
                f"{cls.__name__}: category {int(np.argmin(s[0]))} has no observation, so the likelihood has no maximum"
            )
        return Solution({"logits": np.log(s[0])})

    @classmethod
    def _mean_log_likelihood(cls, p, s, log_base):
        return float(special.log_softmax(p.logits) @ s[0])

    def _moments(self):
        raise ValueError("Categorical has no mean and no variance, as its categories have no order")

    def _mode(self):
        return np.float64(np.argmax(self.logits))
