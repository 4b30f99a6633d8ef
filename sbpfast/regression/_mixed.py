"""Regressions with groups: random intercepts and slopes, crossed or nested, with their scales learned."""

from __future__ import annotations

import math
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from sbpfast import _checks
from sbpfast._protocol import column_names, floats
from sbpfast.fitting import Fit, FitWarning
from sbpfast.fitting._importance import UNTRUSTED, USABLE, verdict
from sbpfast.fitting._improper import dependent_columns, flat_direction, refuse_improper
from sbpfast.fitting._mixed import MixedModel
from sbpfast.fitting._mixed_evidence import judged
from sbpfast.fitting._mixed_integrate import integrated
from sbpfast.fitting._mixed_likelihood import FAMILIES, Likelihood
from sbpfast.fitting._mixed_posterior import Component, Judgement, MixedPosterior
from sbpfast.fitting._mixed_rows import Rows
from sbpfast.fitting._mixed_scales import TOL, Layout, Profile, maximise
from sbpfast.regression import _mixed_files, _mixed_page, _mixed_predictions, _mixed_summary
from sbpfast.regression._input import (
    Columns,
    codes_of_labels,
    in_memory,
    refuse_missing_labels,
    response,
    sample_weights,
    shares_of,
)
from sbpfast.regression._laws import LAWS
from sbpfast.regression._mixed_data import Grouping, coded, recoded
from sbpfast.regression._priors import (
    coefficient_scales,
    column_moments,
    in_units_of,
    intercept_scale,
    units_of_logarithms,
    units_of_numbers,
    warn_of_silent_data,
)
from sbpfast.regression._regression import Regression, r_squared
from sbpfast.targets._design import as_design

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

FLAT = 1e-12  # smallest eigenvalue of the columns' correlations: below it, one is a combination of others
FAR = 30.0  # units, a posterior standard deviation under a flat prior that asks whether there is a posterior
SLOW_BORDER, LARGEST_BORDER = 5000, 20_000  # effects of all crossed groups but the largest: four dense matrices of them
FEW = 500  # draws, from fewer of which k-hat is no reason for a warning
SCALES = ("integrate", "maximise")


class Answer(dict):
    """A dict whose keys are attributes, too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


MOST_NATS = 1e13  # of an ELBO, whose rounding hides what there is to gain beyond


def _in_range(method):
    """Of what works with numbers of every size: what overflows is found in the result, and said."""

    @wraps(method)
    def quiet(*args, **kwargs):
        with np.errstate(all="ignore"):
            try:
                return method(*args, **kwargs)
            except (np.linalg.LinAlgError, OverflowError):
                raise _beyond_precision() from None

    return quiet


def _beyond_precision() -> ValueError:
    return ValueError(
        "the posterior cannot be computed in double precision: columns, offset, weights, response or scales of priors "
        "are too large or too small; rescale them"
    )


def _refuse_overflow(*of_rows):
    """Raise where a number (..., N) of some row of X is not finite."""
    for values in of_rows:
        lost = ~np.isfinite(values).all(axis=tuple(range(np.ndim(values) - 1)))
        if lost.any():
            raise ValueError(f"the linear predictor of row {int(np.argmax(lost))} of X overflows double precision")


class BayesianMixedRegression(Regression):
    """Bayesian regression with groups (a mixed, multilevel or hierarchical model).

    g(E y_j) = x_j . b + sum_k z_kj . u_k[level of row j in group k] + offset_j,   u ~ N(0, Sigma_k)

    Given the scales, the Gaussian closest to the posterior of all coefficients is found with exact one-dimensional
    integrals; its ELBO is maximised over the scales, or they are integrated out.

    Parameters
    ----------
    family : {"logistic", "probit", "poisson", "linear", "student_t", "negative_binomial", "gamma"}
        The likelihood; noise, degrees of freedom, dispersion and shape are learned with the scales.
    prior_scale : float or array_like (d,)
        Standard deviations of the normal priors of the coefficients, in units of 1/sd(x_j) where ``autoscale`` is True;
        ``np.inf`` is flat.
    intercept_prior_scale : float
        The same for the intercept, see `BayesianLogisticRegression`.
    scale_prior : float
        Scale of the half-normal prior of every standard deviation of a group, in units of the linear predictor (and of
        1/sd(z) for a slope) where ``autoscale`` is True; ``np.inf`` is flat.  Correlations are uniform.
    scales : {"integrate", "maximise"}
        A mixture of conditional Gaussians over the scales, on a grid (three parameters or fewer) or a central composite
        design, weighted by exp(ELBO) and the prior; or the one at the scales of largest ELBO + log prior (empirical
        Bayes; with flat priors what other packages call restricted maximum likelihood).
    fit_intercept : bool
    autoscale : bool
        Whether the scales of the priors are in units of the data.
    random_state : None or int
        Of the importance sample that judges the fit; the fit itself is deterministic.

    Attributes
    ----------
    coef_ (d,), coef_cov_ (d, d), intercept_
        Posterior means and covariance of the fixed effects.
    scales_ : dict
        By group a dict of ``sd``, a float or (r,) with slopes, ``corr`` (r, r), and their uncertainty under
        "integrate": ``sd_sd``, ``corr_sd``, ``low`` and ``high`` (95 %); NaN under "maximise".  The keys are
        attributes, too.  A standard deviation of 0 is an answer: the levels do not differ, as far as the data show.
    random_effects_ : dict
        By group a dict of ``levels`` (J,), ``mean`` and ``sd``, (J,) or with slopes (J, r), intercept first.
    parameters_ : dict
        By name the likelihood's own parameters that were learned, a dict of ``mean`` and ``sd`` each.
    log_evidence_, khat_, elbo_, log_likelihood_
        The log marginal likelihood by importance sampling of the fit and its Pareto k-hat; the bound below it that the
        fit maximises; the log likelihood at the posterior means with the levels integrated out.  Under "maximise" all
        are at the best scales.  Computed when first asked for, as `summary` does; a k-hat that is not to be trusted is
        a FitWarning then.
    message_ : str
        How the fit went, and which scales are 0.
    classes_, n_features_in_, feature_names_in_, prior_scale_, intercept_prior_scale_, n_iter_, n_rows_

    References
    ----------
    Rue, Martino & Chopin (2009), Approximate Bayesian inference for latent Gaussian models, JRSS B 71.
    """

    coef_: np.ndarray
    coef_cov_: np.ndarray
    intercept_: float
    scales_: dict[str, Answer]
    random_effects_: dict[str, Answer]
    parameters_: dict[str, Answer]
    message_: str
    classes_: np.ndarray
    _sparse = False

    def __init__(
        self, family: str = "logistic", *, prior_scale: ArrayLike = 2.5, intercept_prior_scale: float = 10.0,
        scale_prior: float = 1.0, scales: Literal["integrate", "maximise"] = "integrate", fit_intercept: bool = True,
        autoscale: bool = True, random_state: Any = None,
    ):  # fmt: skip
        self.family, self.prior_scale, self.intercept_prior_scale = family, prior_scale, intercept_prior_scale
        self.scale_prior, self.scales, self.fit_intercept = scale_prior, scales, fit_intercept
        self.autoscale, self.random_state = autoscale, random_state

    # scikit-learn's protocol

    @property
    def _estimator_type(self) -> str:  # type: ignore[override]
        return "classifier" if FAMILIES.get(self.family, FAMILIES["linear"]).classifier else "regressor"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_posterior")

    def __getstate__(self):
        """Without the rows; what is only known with them is computed before."""
        if "_model" in vars(self):
            self._judgement  # noqa: B018
        return {name: value for name, value in vars(self).items() if name != "_model"}

    # fitting

    @classmethod
    def from_formula(
        cls, formula: str, data: Any, *, family: str = "logistic", sample_weight: Any = None, **settings: Any
    ) -> Self:
        """Make an estimator and fit it to a data frame by a formula; needs the package formulae.

        Parameters
        ----------
        formula : str
            ``"y ~ x + C(z) + offset(log_exposure) + (1 + x | g) + (1 | h)"``; the response of a binomial model is
            ``successes / trials``.
        data : pandas or polars DataFrame, or dict of columns
        family : str
        sample_weight : array_like (N,) or the name of a column, optional
        **settings
            Of the constructor.

        Returns
        -------
        estimator
            Fitted.  Its predictions take data frames with the columns that the formula names.
        """
        read, rows, weights = cls._parsed(formula, data, sample_weight, settings)
        if not rows.groups:
            raise ValueError(f"a mixed regression needs a group such as (1 | g), got {formula!r}")
        model = cls(family, fit_intercept=read.intercept, **settings)
        slopes = {name: Columns(Z, read.slope_names[name]) for name, Z in rows.slopes.items()}
        model._fit(
            Columns(rows.X, read.names), rows.y, rows.groups, slopes, rows.trials, rows.offset, weights,
            read.group_intercepts,
        )  # fmt: skip
        model.formula_ = read
        return model

    def fit(
        self, X: Any, y: ArrayLike | None = None, groups: Any = None, slopes: Mapping[str, Any] | None = None, *,
        trials: ArrayLike | None = None, offset: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    ) -> Self:  # fmt: skip
        """Fit the posterior; returns self.

        Parameters
        ----------
        X : array_like or data frame (N, d), Rows, dask array or data frame
            Columns of the fixed effects; there may be none.  `Rows` bring y and what else they have with them.  The
            last three are read into memory, since groups need all rows at hand: at most 2^27 numbers.
        y : array_like (N,)
            Labels of two classes, counts or numbers; with ``trials``, counts of successes.
        groups : dict of array_like (N,)
            Labels of the rows, numbers or texts, by the name of the group.  Groups cross or nest as the labels do.
        slopes : dict of array_like (N, r), optional
            Columns whose effects vary with the levels of a group, correlated with its intercept.
        trials, offset, sample_weight : array_like (N,), optional
            As for the other regressions.

        Raises
        ------
        TypeError, ValueError
            Labels of the wrong length, missing ones, a group of one level, crossed groups with more than 20,000 effects
        beside the largest, and what the other regressions refuse.
        ImproperDensity
            Flat priors and data that separate, or columns that are combinations of others.

        Warns
        -----
        FitWarning
            The fit did not converge, the data say next to nothing of a coefficient, or crossed groups will take long.
        """
        X, y, sample_weight, offset, trials = in_memory(X, y, sample_weight, offset, trials)
        return self._fit(X, y, groups, slopes, trials, offset, sample_weight, {})

    @_in_range
    def _fit(self, X, y, groups, slopes, trials, offset, sample_weight, intercepts) -> Self:
        family = self._checked_settings()
        names, X = column_names(X), self._matrix(X)
        rows = X.shape[0]
        y, classes = self._encoded(response(y, rows), trials)
        weights = sample_weights(sample_weight, rows)
        shares = shares_of(weights, rows)
        offset = 0.0 if offset is None else _checks.vector("offset", floats("offset", offset), rows)
        trials = None if trials is None else _checks.vector("trials", floats("trials", trials), rows)
        known, coded_groups = coded(groups, slopes, rows, intercepts)
        centre, unit = _units(family, y, offset, shares)
        if not (math.isfinite(centre) and math.isfinite(unit)):
            raise _beyond_precision()
        scale = self._prior_scales(X, shares, centre, unit)
        design = self._design(X)
        likelihood = Likelihood(family, as_design("X", design), y, offset, weights, trials)
        layout = self._layout(family, coded_groups, shares, unit)
        del y, shares
        model = MixedModel(Rows(design, coded_groups), likelihood, 1.0 / scale**2)
        _check_border(model.rows.shape, known)
        start = np.zeros(design.shape[1])
        if self.fit_intercept:
            start[-1] = centre
        posterior, message, converged = self._solve(model, layout, start, known)
        if not (math.isfinite(posterior.log_total) and np.isfinite(posterior.fixed()[1]).all()):
            raise _beyond_precision()
        self._refuse_flat(posterior, model, scale, unit)
        # nothing is changed before all has gone well
        self._keep_names(names)
        for name in ("formula_", "classes_", "_judged"):
            self.__dict__.pop(name, None)
        if classes is not None:
            self.classes_ = classes
        self._keep(posterior, known, X.shape[1], scale, message)
        self._model, self.n_iter_, self.n_rows_ = model, max(1, model.steps), rows
        if not converged:
            _checks.warn(message, FitWarning)
        warn_of_silent_data(self._coefficient_names(), np.sqrt(np.diagonal(self.coef_cov_)), self.prior_scale_)
        return self

    def _checked_settings(self):
        family = FAMILIES[_checks.choice("family", self.family, FAMILIES)]
        _checks.choice("scales", self.scales, SCALES)
        _checks.flag("autoscale", self.autoscale)
        _checks.flag("fit_intercept", self.fit_intercept)
        prior = _checks.real_array("scale_prior", self.scale_prior, ndim=0, finite=False)
        if not prior > 0.0:
            raise ValueError(f"scale_prior must be positive (np.inf for a flat prior), got {self.scale_prior}")
        return family

    @staticmethod
    def _matrix(X):
        """X as a dense float64 array; without columns, too."""
        if hasattr(X, "toarray"):
            raise TypeError("X must be dense, sparse arrays are not taken: use .toarray()")
        X = floats("X", X)
        if X.ndim != 2:
            raise ValueError(f"X must have 2 dimensions, got shape {X.shape}")
        if X.shape[0] == 0:
            raise ValueError(f"X has 0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
        return X

    def _encoded(self, y, trials):
        """The response as numbers, and the classes of a classifier."""
        if self._estimator_type != "classifier" or trials is not None:
            if trials is not None and self.family != "logistic":
                raise ValueError(f"trials are those of the family 'logistic', got {self.family!r}")
            return floats("y", y), (np.array([0, 1]) if trials is not None else None)
        refuse_missing_labels("y", y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) != 2:
            raise ValueError(f"y must hold exactly two classes, got {len(classes)}: {classes[:5].tolist()}")
        return codes.astype(np.float64), classes

    def _prior_scales(self, X, shares, centre, unit):
        scale, intercept = coefficient_scales(self.prior_scale, X.shape[1]), intercept_scale(self.intercept_prior_scale)
        if not (scale > 0.0).all():
            raise ValueError("prior_scale must be positive (np.inf for a flat prior)")
        if self.autoscale:
            scale, intercept = in_units_of(X, shares, scale, intercept, centre, unit)
        return np.append(scale, intercept) if self.fit_intercept else scale

    def _layout(self, family, groups, shares, unit) -> Layout:
        units = []
        for group in groups:
            size = np.ones(1) if group.basis is None else column_moments(group.basis, shares)[1]
            units.append(unit / size)
        scale_prior = float(np.asarray(self.scale_prior, dtype=np.float64))
        if not self.autoscale and math.isfinite(scale_prior):
            units = [np.ones_like(u) for u in units]
        return Layout(
            tuple(g.width for g in groups), tuple(g.n_levels for g in groups), tuple(units), family.parameters, unit,
            scale_prior,
        )  # fmt: skip

    def _solve(self, model, layout, start, known):
        """The posterior, how it was found, and whether the search converged."""
        profile, theta = Profile(model, layout, self.scales == "integrate"), layout.start()
        try:
            profile.begin(theta, start)
            if not abs(profile.here.elbo) < MOST_NATS:
                raise _beyond_precision()
            maximum = maximise(profile, theta)
        except np.linalg.LinAlgError:
            self._refuse_dependent(model)
            raise
        keep = lambda fit: (fit.mean, fit.arrow.kept())
        if self.scales == "maximise":
            profile(maximum.theta, TOL)
            here = profile.here
            posterior = MixedPosterior(layout, [Component(1.0, maximum.theta, here.elbo, *keep(here))], here.elbo)
        else:
            points, total = integrated(profile, maximum, keep)
            found = [Component(math.exp(p.log_weight), p.theta, p.elbo, *p.fit) for p in points]
            posterior = MixedPosterior(layout, found, total)
        return posterior, _message(maximum, posterior, profile, known), maximum.converged

    @staticmethod
    def _refuse_dependent(model):
        """Raise where a column of a flat prior is a combination of others."""
        flat = np.flatnonzero(model.fixed_precision == 0.0)
        if not len(flat):
            return
        X = model.rows.X[:, flat]
        size = np.linalg.norm(X, axis=0)
        size[size == 0.0] = 1.0
        values, vectors = np.linalg.eigh((X / size).T @ (X / size))
        if values[0] < FLAT * len(flat):
            direction = np.zeros(len(model.fixed_precision))
            direction[flat] = vectors[:, 0] / size
            raise dependent_columns(direction)

    def _refuse_flat(self, posterior, model, scale, unit):
        """Raise where flat priors leave the fixed effects without a posterior."""
        if np.isfinite(scale).all():
            return
        _, cov = posterior.fixed()
        size = np.sqrt(np.mean(model.rows.X**2, axis=0))
        far = np.isinf(scale) & ~(np.sqrt(np.diagonal(cov)) * size < FAR * unit)
        if far.any():
            self._refuse_dependent(model)
            target = model.likelihood.target(scale)
            if flat_direction(target) is not None:
                refuse_improper(target, posterior.fixed()[0], np.zeros((0, len(scale))))

    def _keep(self, posterior, known, d, scale, message):
        self._posterior, self._known, self.n_features_in_ = posterior, known, d
        mean, cov = posterior.fixed()
        self.coef_, self.coef_cov_ = mean[:d].copy(), cov[:d, :d].copy()
        self._fixed_cov = cov
        self.intercept_ = float(mean[d]) if self.fit_intercept else 0.0
        self.prior_scale_, self.intercept_prior_scale_ = scale[:d].copy(), float(scale[-1])
        self.scales_ = {group.name: self._scale(k) for k, group in enumerate(known)}
        self.random_effects_ = {
            group.name: Answer(levels=group.levels, mean=_squeezed(m), sd=_squeezed(s))
            for group, (m, s) in zip(known, posterior.effects())
        }
        values, weights = posterior.parameters(), posterior.weights
        self.parameters_ = {}
        for i, parameter in enumerate(posterior.layout.parameters):
            centre, spread = _moments(values[:, i], weights)
            self.parameters_[parameter.name] = Answer(mean=float(centre), sd=float(spread))
        self.elbo_, self.message_ = posterior.log_total, message

    def _scale(self, k) -> Answer:
        """Standard deviations and correlations of a group, with their uncertainty."""
        posterior = self._posterior
        sd, corr = posterior.deviations(k)
        (mean, spread), (corr_mean, corr_sd) = (_moments(v, posterior.weights) for v in (sd, corr))
        ends = np.array([posterior.interval(column, 0.95) for column in sd.T])
        if self.scales == "maximise":
            spread, corr_sd = np.full_like(mean, math.nan), np.full_like(corr_mean, math.nan)
        answer = {"sd": mean, "sd_sd": spread, "low": ends[:, 0], "high": ends[:, 1]}
        if len(mean) == 1:
            answer = {name: float(value[0]) for name, value in answer.items()}
        return Answer(answer, corr=corr_mean, corr_sd=corr_sd, effects=self._known[k].effects)

    # the posterior

    def _fitted(self, method) -> MixedPosterior:
        if not hasattr(self, "_posterior"):
            raise _checks.not_fitted(f"this {type(self).__name__} is not fitted: call fit before {method}")
        return self._posterior

    @property
    def _judgement(self) -> Judgement:
        if not hasattr(self, "_judged"):
            key = 0 if self.random_state is None else self.random_state
            self._judged = judged(self._model, self._posterior, key)
            found = self._judged
            if found.n >= FEW and verdict(found.khat, found.ess, found.n) == UNTRUSTED:
                _checks.warn(
                    f"The mixture of Gaussians is a poor approximation: Pareto k-hat is {found.khat:.2f}, above "
                    f"{USABLE}, so its moments may be wrong and the log evidence, too. Use a tighter prior of the "
                    "coefficients or scales, merge groups of next to no rows, or run Markov chain Monte Carlo.",
                    FitWarning,
                )
        return self._judged

    @property
    def log_evidence_(self) -> float:
        """The logarithm of the marginal likelihood, by importance sampling; `elbo_` is a bound below it."""
        self._fitted("log_evidence_")
        return self._judgement.log_evidence

    @property
    def khat_(self) -> float:
        """The Pareto k-hat of the fit: below 0.5 good, above 0.7 not to be trusted."""
        self._fitted("khat_")
        return self._judgement.khat

    @property
    def log_likelihood_(self) -> float:
        """log p(y) at the posterior means of fixed effects and the best scales, the levels integrated out."""
        self._fitted("log_likelihood_")
        return self._judgement.log_likelihood

    @property
    def parameter_names_(self) -> list[str]:
        """Of the columns of `sample_params`."""
        self._fitted("parameter_names_")
        return [*self._coefficient_names(), *_mixed_predictions.scale_names(self._known), *self.parameters_]

    def sample_params(self, n: int = 1, *, rng: Any = None) -> np.ndarray:
        """Draw n vectors of coefficients, intercept, standard deviations and correlations, the likelihood's parameters.

        `parameter_names_` names the columns; `sample_random_effects` with the same ``rng`` gives the levels' effects of
        the same draws.
        """
        posterior = self._fitted("sample_params")
        chosen, effects = posterior.draw(_checks.count("n", n), np.random.default_rng(rng))
        return np.column_stack([effects.fixed, _mixed_predictions.outer(posterior)[chosen]])

    def sample_coef(self, n: int = 1, *, rng: Any = None) -> np.ndarray:
        """Draw n coefficient vectors from the posterior, (n, d)."""
        return self.sample_params(n, rng=rng)[:, : self.n_features_in_]

    def sample_random_effects(self, n: int = 1, *, rng: Any = None) -> dict[str, np.ndarray]:
        """Draw n times the effects of all levels, (n, J) or with slopes (n, J, r), by group."""
        posterior = self._fitted("sample_random_effects")
        drawn = posterior.unwhitened(*posterior.draw(_checks.count("n", n), np.random.default_rng(rng)))
        return {group.name: _squeezed(v) for group, v in zip(self._known, drawn)}

    def summary(self, *, level: float = 0.95) -> _mixed_summary.MixedSummary:
        """How the fit went, scales of the groups, and fixed effects, in the order of lme4's."""
        self._fitted("summary")
        return _mixed_summary.summary(self, _checks.scalar("level", level, above=0.0, below=1.0))

    def plot(self, path: Any = None) -> Any:
        """A page with the fixed effects, the scales and a caterpillar of every group's levels; needs matplotlib.

        Returns the figure; written to a file where a path is given.
        """
        self._fitted("plot")
        return _mixed_page.draw(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read a model that `save` wrote."""
        return _mixed_files.read(cls, path)

    def save(self, path: Any) -> None:
        """Write the fitted model to a file that `sbpfast.load`, or this class's `load`, reads.

        It holds arrays and plain values, not the data.  A formula is kept with what it has learned, if the functions it
        calls are formulae's own and NumPy's ufuncs; else a FitWarning says that it is left out, and pickles keep it.
        """
        self._fitted("save")
        _mixed_files.write(self, path)

    # predictions

    def _new(self, X, groups, slopes, offset):
        """Rows to predict, where their levels are known, and their offset."""
        self._fitted("predict")
        rows, offset = self._rows_of(X, offset)
        if rows is not None:
            X, groups = Columns(rows.X, self.formula_.names), groups if groups is not None else rows.groups
            slopes = slopes if slopes is not None else rows.slopes
        names, X = column_names(X), self._matrix(X)
        self._check_features(names, X.shape[1], self.n_features_in_)
        offset = 0.0 if offset is None else _checks.vector("offset", floats("offset", offset), len(X))
        found, seen = recoded(self._known, groups, slopes, len(X))
        return Rows(self._design(X), found), seen, offset

    @_in_range
    def _predictors(self, X, groups, slopes, offset):
        rows, seen, offset = self._new(X, groups, slopes, offset)
        moments = self._posterior.predictors(rows, seen, offset)
        _refuse_overflow(moments.m, moments.t)
        return moments

    def predict(
        self, X: Any, groups: Any = None, slopes: Mapping[str, Any] | None = None, *, offset: ArrayLike | None = None
    ) -> np.ndarray:
        """The more probable class of every row, or the mean of its response, (N,).

        Parameters
        ----------
        X : array_like or data frame (N, d)
        groups : dict of array_like (N,), optional
            Labels as in fit.  Levels that were not seen there, and groups that are not given, are new levels: their
            effects are integrated out with the groups' spread.
        slopes : dict of array_like (N, r)
            As in fit, where it had any.
        offset : array_like (N,), optional
        """
        moments = self._predictors(X, groups, slopes, offset)
        if self._estimator_type == "classifier":
            p = _mixed_predictions.mean_response(LAWS[self.family], moments)
            return self.classes_[(p > 0.5).astype(int)]
        return _mixed_predictions.mean_response(LAWS[self.family], moments)

    def predict_proba(
        self, X: Any, groups: Any = None, slopes: Mapping[str, Any] | None = None, *, offset: ArrayLike | None = None
    ) -> np.ndarray:
        """Probabilities of the two classes, everything integrated out, (N, 2); arguments as for `predict`."""
        if self._estimator_type != "classifier":
            raise AttributeError(f"predict_proba belongs to the families of two classes, not to {self.family!r}")
        p = _mixed_predictions.mean_response(LAWS[self.family], self._predictors(X, groups, slopes, offset))
        return np.column_stack([1.0 - p, p])

    @_in_range
    def predict_linear(
        self, X: Any, groups: Any = None, slopes: Mapping[str, Any] | None = None, *, offset: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the linear predictor of every row, (N,) each; arguments as for `predict`."""
        weights, m, t = self._predictors(X, groups, slopes, offset)
        mean = weights @ m
        sd = np.sqrt(weights @ (t**2 + (m - mean) ** 2))
        _refuse_overflow(sd)
        return mean, sd

    def score(
        self, X: Any, y: ArrayLike, groups: Any = None, slopes: Mapping[str, Any] | None = None, *,
        offset: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    ) -> float:  # fmt: skip
        """Accuracy of a classifier, else the coefficient of determination R^2 of the predicted means."""
        predicted = self.predict(X, groups, slopes, offset=offset)
        weights = sample_weights(sample_weight, len(predicted))
        y = response(y, len(predicted))
        if self._estimator_type == "classifier":
            return float(np.average(predicted == y, weights=weights))
        return r_squared(floats("y", y), predicted, weights)

    def posterior_predictive(
        self, X: Any, n: int = 1, groups: Any = None, slopes: Mapping[str, Any] | None = None, *,
        offset: ArrayLike | None = None, trials: ArrayLike | None = None, rng: Any = None,
    ) -> np.ndarray:  # fmt: skip
        """Draw n responses of every row from the posterior predictive distribution, (n, N); see `predict`.

        ``trials`` (N,) are those of a binomial model, whose responses are counts.
        """
        eta, chosen, generator = self._drawn_predictors(X, n, groups, slopes, offset, rng)
        trials = None if trials is None else _checks.vector("trials", floats("trials", trials), eta.shape[1])
        drawn = LAWS[self.family].drawn(eta, self._of_law(chosen), trials, generator)
        if trials is None and self._estimator_type == "classifier":
            return self.classes_[drawn]
        return drawn

    def _of_law(self, chosen) -> tuple:
        """The likelihood's parameters of chosen components, columns (n, 1)."""
        return tuple(self._posterior.parameters()[chosen].T[..., None])

    sample_predictive = posterior_predictive

    @_in_range
    def _drawn_predictors(self, X, n, groups, slopes, offset, rng):
        rows, seen, offset = self._new(X, groups, slopes, offset)
        generator = np.random.default_rng(rng)
        chosen, effects = self._posterior.draw(_checks.count("n", n), generator)
        eta = self._posterior.drawn_predictors(rows, seen, offset, chosen, effects, generator)
        _refuse_overflow(eta)
        return eta, chosen, generator

    def loo(
        self, X: Any, y: ArrayLike, groups: Any = None, slopes: Mapping[str, Any] | None = None, *,
        trials: ArrayLike | None = None, offset: ArrayLike | None = None, n_samples: int = 1000, rng: Any = 0,
    ) -> Answer:  # fmt: skip
        """Leave-one-row-out cross-validation by Pareto smoothed importance sampling (Vehtari, Gelman & Gabry 2017).

        Returns
        -------
        dict
            ``elpd``, the sum of log p(y_j | the other rows), its standard error ``se``, ``p_loo``, and by row
            ``pointwise`` and ``khat`` (N,).  Keys are attributes, too.
        """
        likelihood = self._log_likelihoods(X, y, groups, slopes, trials, offset, n_samples, rng)[0]
        return Answer(_mixed_predictions.loo(likelihood))

    def _log_likelihoods(self, X, y, groups, slopes, trials, offset, n, rng):
        eta, chosen, generator = self._drawn_predictors(X, n, groups, slopes, offset, rng)
        y = response(y, eta.shape[1])
        labels = self._estimator_type == "classifier" and trials is None
        numbers = codes_of_labels(y, self.classes_) if labels else floats("y", y)
        trials = None if trials is None else _checks.vector("trials", floats("trials", trials), len(numbers))
        law, parameters = LAWS[self.family], self._of_law(chosen)
        logs = law.log_likelihood(numbers, eta, parameters, trials)
        return logs, law.drawn(eta, parameters, trials, generator), numbers

    def to_arviz(
        self, X: Any = None, y: ArrayLike | None = None, groups: Any = None, slopes: Mapping[str, Any] | None = None, *,
        trials: ArrayLike | None = None, offset: ArrayLike | None = None, n_samples: int = 2000, rng: Any = None,
    ) -> Any:  # fmt: skip
        """Draws from the posterior as an ArviZ ``InferenceData`` (or ``DataTree``); needs arviz.

        With the data, which a fitted estimator does not keep, come the groups log_likelihood, observed_data and
        posterior_predictive.
        """
        self._fitted("to_arviz")
        if (X is None) != (y is None):
            raise ValueError("X and y belong together: give both or neither")
        seed = int(np.random.default_rng(rng).integers(2**63))
        params, effects = self.sample_params(n_samples, rng=seed), self.sample_random_effects(n_samples, rng=seed)
        likelihood = None
        if X is not None:
            likelihood = self._log_likelihoods(X, y, groups, slopes, trials, offset, n_samples, seed)
        return _mixed_predictions.inference_data(self, params, effects, likelihood)


def _check_border(shape, known) -> None:
    """Refuse crossed groups that are too large for a dense matrix of all but the largest group; warn before."""
    size, main = shape.n_crossed, known[shape.main].name
    if size <= SLOW_BORDER:
        return
    what = (
        f"the groups beside {main!r} have {size} effects together, which are held as dense matrices of "
        f"{8e-9 * size**2:.1f} GB each"
    )
    if size > LARGEST_BORDER:
        raise ValueError(f"groups: {what}; {LARGEST_BORDER} are the most. Leave one out, or merge its rare levels")
    text = f"{what[0].upper()}{what[1:]}; the time of a fit grows with the cube of their number."
    _checks.warn(text, FitWarning)


def _units(family, y, offset, shares) -> tuple[float, float]:
    """Where the linear predictor lies and how far it spreads, in units of its own."""
    if family.classifier:
        return 0.0, 1.0
    return (units_of_logarithms if family.log_mean else units_of_numbers)(y, offset, shares)


def _moments(values, weights):
    """Mean and standard deviation over the components, along the first axis."""
    mean = np.tensordot(weights, values, 1)
    return mean, np.sqrt(np.tensordot(weights, (values - mean) ** 2, 1))


def _squeezed(v):
    """Effects (..., J, r), (..., J) where there is one a level."""
    return v[..., 0] if v.shape[-1] == 1 else v


def _message(maximum, posterior, profile, known: list[Grouping]) -> str:
    """How the scales were found, and which of them are 0."""
    how = "converged" if maximum.converged else "not converged: no step raises the ELBO any more"
    text = f"{how} after {profile.n_fits} fits at given scales"
    if len(posterior.components) > 1:
        text += f", {len(posterior.components)} of which are the answer"
    for at, k, a in posterior.layout.diagonal():
        if at in maximum.zero:
            what = f"the standard deviation of {known[k].effects[a]!r} in {known[k].title}"
            if a:
                what = f"the part of {known[k].effects[a]!r} in {known[k].title} that those before it do not explain"
            text += f"; {what} is best at 0"
    return text


def load(path: Any) -> BayesianMixedRegression | Fit:
    """Read what `BayesianMixedRegression.save` or `Fit.save` wrote, whichever it is."""
    return BayesianMixedRegression.load(path) if _mixed_files.holds_one(path) else Fit.load(path)
