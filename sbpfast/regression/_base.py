"""What all regressions share: parameters, fitting, and the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sbpfast import _checks
from sbpfast._protocol import column_names
from sbpfast.fitting import Fit, fit
from sbpfast.regression._arviz import inference_data
from sbpfast.regression._input import (
    Columns,
    Data,
    feature_names,
    floats,
    matrix,
    response,
    sample_weights,
    streamed_rows,
)
from sbpfast.regression._laws import Law
from sbpfast.regression._learned import PRIOR, Evidence, Learned, Scalar, maximised
from sbpfast.regression._priors import (
    DEFAULT,
    coefficient_scales,
    in_units,
    intercept_scale,
    is_auto,
    warn_of_silent_data,
)
from sbpfast.regression._regression import Regression
from sbpfast.targets import Target

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sbpfast.fitting import Summary
    from sbpfast.targets._rows import Rows

ROWS = 8192  # rows of X whose predictions are worked on at a time


class BayesianRegression(Regression):
    """Parameters, fitting and the posterior; a model says its target and its predictions."""

    _law: Law
    _binomial = False  # whether there may be trials

    fit_: Fit
    coef_: np.ndarray
    coef_cov_: np.ndarray
    prior_scale_: np.ndarray
    intercept_prior_scale_: float
    learned_: dict[str, Learned]

    def __init__(
        self, *, prior_scale: ArrayLike = 2.5, intercept_prior_scale: float = 10.0, autoscale: bool = True,
        fit_intercept: bool = True, tol: float | None = None, max_iter: int = 200, random_state: Any = None,
    ):  # fmt: skip
        self.prior_scale, self.intercept_prior_scale, self.autoscale = prior_scale, intercept_prior_scale, autoscale
        self.fit_intercept, self.tol, self.max_iter, self.random_state = fit_intercept, tol, max_iter, random_state

    # what a model says

    def _encoded(self, y) -> tuple[np.ndarray, dict[str, Any]]:
        """The response as numbers, and fitted attributes that it determines."""
        return floats("y", y), {}

    def _streamed(self, rows: Rows) -> tuple[Data, dict[str, Any]]:
        """Rows that are streamed as the data of the fit, and fitted attributes that their responses determine."""
        return Data(rows), {}

    def _numbers(self, y) -> np.ndarray:
        """The response as the numbers of the fit."""
        return floats("y", y)

    def _units(self, data: Data) -> tuple[float, float]:
        """Where the linear predictor lies and how far it spreads, in the units of its own."""
        return 0.0, 1.0

    def _target(self, data: Data, scale, **learned) -> Target:
        """The log joint density of the model; of what has been learned, where it is not to be looked up."""
        raise NotImplementedError

    def _scalars(self, data: Data, scale) -> list[Scalar]:
        """What is to be learned beside the prior's scale."""
        return []

    def _prior_unit(self, data: Data, scale, d) -> tuple[Any, Any]:
        """The precision of the coefficients' prior for these scales, and which of the parameters they are."""
        return 1.0 / scale[:d] ** 2, slice(0, d)

    def _fitted(self, data: Data, scale, rng, values: dict[str, float]) -> tuple[Fit, dict[str, Any]]:
        """The fit, and fitted attributes beside it."""
        target = self._target(data, scale, **values)
        attributes = {f"{name}_": value for name, value in values.items()}
        return fit(target, tol=self.tol, max_iter=self.max_iter, rng=rng), attributes

    def _of_law(self, params) -> tuple:
        """The parameters of the response's law, numbers or columns (n, 1), for draws of all parameters (n, p)."""
        return ()

    def _log_likelihood(self, y, eta, params, trials) -> np.ndarray:
        """Of every row, (n, N), for draws of the linear predictor eta (n, N) and of all parameters (n, p)."""
        return self._law.log_likelihood(y, eta, self._of_law(params), trials)

    def _drawn(self, eta, params, trials, generator) -> np.ndarray:
        """Draws of the response, (n, N)."""
        return self._law.drawn(eta, self._of_law(params), trials, generator)

    # scikit-learn's protocol

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fit_")

    def set_fit_request(self, **requests: bool | str | None) -> Self:
        """Which of `fit`'s arguments scikit-learn's pipelines and searches shall pass on (metadata routing)."""
        return self._set_request("fit", requests)

    def set_predict_request(self, **requests: bool | str | None) -> Self:
        """The same of `predict`."""
        return self._set_request("predict", requests)

    def set_score_request(self, **requests: bool | str | None) -> Self:
        """The same of `score`."""
        return self._set_request("score", requests)

    def __setstate__(self, state):
        """Of a pickle, perhaps of version 0.1, which knew neither these parameters nor scales from the data."""
        defaults = {name: p for name, p in self._defaults().items() if name != "autoscale"}
        vars(self).update(defaults | {"autoscale": False} | state)

    # fitting

    def fit(
        self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:  # fmt: skip
        """Fit the posterior; returns self.

        Parameters
        ----------
        X : array_like, data frame or scipy.sparse array (N, d), Rows, dask array or data frame
            `Rows` bring y, weights and offset with them.  They and collections of dask are read at every pass and never
            held as a whole: a pass finds the units of the priors (and one over y the classes), the others are those
            of `sbpfast.fit`.
        y : array_like (N,)
        sample_weight : array_like (N,), optional
            Non-negative; multiplies each row's log likelihood.
        offset : array_like (N,), optional
            Known part of the linear predictor (log exposure, for counts).

        Warns
        -----
        FitWarning
            The fit did not converge, its Gaussian is a poor approximation, or the data say next to nothing about a
            coefficient: its posterior is as wide as its prior.
        """
        return self._fit(X, y, sample_weight, offset, None)

    @classmethod
    def from_formula(cls, formula: str, data: Any, *, sample_weight: Any = None, **settings: Any) -> Self:
        """Make an estimator and fit it to a data frame by a formula; needs the package formulae.

        Parameters
        ----------
        formula : str
            ``"y ~ x + C(z) + x:z + offset(log_exposure)"``: columns of text, booleans and categories are categories, by
            one coefficient for each level but the first; ``0 +`` leaves out the intercept.  Functions are formulae's
            (``C center scale poly bs ...``) and NumPy's, as ``np.log(x)``.  The response of a binomial model is
            ``successes / trials``.
        data : pandas or polars DataFrame, or dict of columns
        sample_weight : array_like (N,) or the name of a column, optional
        **settings
            Of the constructor.

        Returns
        -------
        estimator
            Fitted.  Its predictions take data frames with the columns that the formula names, and add its offset.

        Raises
        ------
        TypeError, ValueError
            A formula that cannot be read, names that are no columns, missing values, groups ``(1 | g)``, and what `fit`
            refuses.
        """
        read, rows, weights = cls._parsed(formula, data, sample_weight, settings)
        if rows.groups:
            raise ValueError(f"{cls.__name__} has no groups, got ({next(iter(rows.groups))!r}) in {formula!r}")
        more = {} if rows.trials is None else {"trials": rows.trials}
        if more and not cls._binomial:
            raise ValueError(f"{cls.__name__} takes no proportions, got the response {read.response!r}")
        model = cls(fit_intercept=read.intercept, **settings)
        model.fit(Columns(rows.X, read.names), rows.y, sample_weight=weights, offset=rows.offset, **more)
        model.formula_ = read
        return model

    def _fit(self, X, y, sample_weight, offset, trials) -> Self:
        _checks.flag("fit_intercept", self.fit_intercept)
        rows = streamed_rows(X, y, sample_weight=sample_weight, offset=offset, trials=trials)
        if rows is None:
            names, X = column_names(X), matrix(X)
            d = X.shape[1]
        else:
            names, rows = feature_names(rows), rows.with_intercept(self.fit_intercept)
            d = rows.dim - rows.intercept
        with np.errstate(all="ignore"):  # what overflows is found in the fit, and said
            if rows is None:
                data, attributes = self._data(X, y, sample_weight, offset, trials, self._encoded)
            else:
                data, attributes = self._streamed(rows)
            scale = self._prior_scales(d, data)
            rng = self.random_state
            if isinstance(rng, np.random.RandomState):
                rng = int(rng.randint(2**63, dtype=np.uint64))
            learned = self._learn(data, scale, d)
            values = {name: number.value for name, number in learned.items()}
            scale = _with_factor(scale, d, values.pop(PRIOR, 1.0))
            result, more = self._fitted(data, scale, rng, values)
        # nothing is changed before all has gone well
        self._keep_names(names)
        self.__dict__.pop("formula_", None)
        vars(self).update(attributes | more | {"learned_": learned})
        self._keep(result, d, scale)
        return self

    def _learn(self, data, scale, d) -> dict[str, Learned]:
        """The numbers of the highest ELBO that the user has not given."""
        auto = is_auto(self.prior_scale)
        scalars = [Scalar(PRIOR, 1.0, 1e-4, 1e4)] if auto else []
        scalars += self._scalars(data, _with_factor(scale, d, DEFAULT) if auto else scale)
        if not scalars:
            return {}

        def make(values):
            return self._target(data, _with_factor(scale, d, values.pop(PRIOR, 1.0)), **values)

        return maximised(Evidence(make, scalars, self._prior_unit(data, scale, d)))

    def _data(self, X, y, sample_weight, offset, trials, encoded):
        """Checked rows, and the attributes that `encoded` makes of y."""
        rows = X.shape[0]
        y, attributes = encoded(response(y, rows))
        weights = sample_weights(sample_weight, rows)
        offset = 0.0 if offset is None else _checks.vector("offset", floats("offset", offset), rows)
        trials = None if trials is None else _checks.vector("trials", floats("trials", trials), rows)
        return Data(self._design(X), y, weights, offset, trials), attributes

    def _prior_scales(self, d, data):
        """Prior standard deviations of the coefficients and, last, of the intercept; for "auto" those of scale 1."""
        auto = is_auto(self.prior_scale)
        scale = coefficient_scales(DEFAULT if auto else self.prior_scale, d)
        intercept = intercept_scale(self.intercept_prior_scale)
        if _checks.flag("autoscale", self.autoscale):
            columns = data.survey.columns
            scale, intercept = in_units(columns.mean[:d], columns.sd[:d], scale, intercept, *self._units(data))
        scale = scale / DEFAULT if auto else scale
        return np.append(scale, intercept) if self.fit_intercept else scale

    def _keep(self, result: Fit, d, scale):
        mean, cov = np.asarray(result.q.mean), np.asarray(result.q.cov)
        self.fit_, self.n_features_in_ = result, d
        self.coef_, self.coef_cov_ = self._shaped(mean[:d].copy()), cov[:d, :d].copy()
        self.intercept_ = self._shaped(float(mean[d]) if self.fit_intercept else 0.0)
        self.prior_scale_, self.intercept_prior_scale_ = scale[:d].copy(), float(scale[-1])
        self.n_iter_, self.elbo_ = max(1, result.n_iter), result.elbo  # finding the start is a step, too
        result.names = self._parameter_names()
        self._silent(result, d)

    def _silent(self, result: Fit, d):
        """Warn of coefficients of which the data say nothing."""
        warn_of_silent_data(result.names, np.sqrt(np.diagonal(self.coef_cov_)), self.prior_scale_)

    def _shaped(self, value):
        """A coefficient vector or an intercept in the shape that scikit-learn gives it."""
        return value

    # the posterior

    @property
    def khat_(self) -> float:
        """The Pareto k-hat of the fit: below 0.5 good, above 0.7 not to be trusted."""
        self._posterior("khat_")
        return self.fit_.khat

    @property
    def log_evidence_(self) -> float:
        """The logarithm of the marginal likelihood, by importance sampling."""
        self._posterior("log_evidence_")
        return self.fit_.log_evidence

    def sample_coef(self, n: int = 1, *, rng: Any = None) -> np.ndarray:
        """Draw n coefficient vectors from the posterior, (n, d): Thompson sampling takes one a decision."""
        return self._posterior("sample_coef").sample(n, rng=rng)[:, : self.n_features_in_]

    def sample_params(self, n: int = 1, *, rng: Any = None) -> np.ndarray:
        """Draw n vectors of coefficients and, after them, whatever else the model has (intercept, log sigma)."""
        return self._posterior("sample_params").sample(n, rng=rng)

    def sample_predictive(
        self, X: Any, n: int = 1, *, offset: ArrayLike | None = None, trials: ArrayLike | None = None, rng: Any = None
    ) -> np.ndarray:
        """Draw n responses of every row from the posterior predictive distribution, (n, N).

        Parameters
        ----------
        X : array_like, data frame or scipy.sparse array (N, d)
        n : int
        offset : array_like (N,), optional
        trials : array_like (N,), optional
            Of a binomial model.
        rng : None, int, SeedSequence, BitGenerator or Generator
        """
        self._posterior("sample_predictive")
        generator = np.random.default_rng(rng)
        design, offset = self._new_rows(X, offset)
        params = self.sample_params(n, rng=generator)
        trials = self._trials(trials, design.shape[0])
        return self._drawn(self._predictors(design, offset, params), params, trials, generator)

    def summary(self, *, level: float = 0.95) -> Summary:
        """A table of the posterior, see `Fit.summary`."""
        self._posterior("summary")
        level = _checks.scalar("level", level, above=0.0, below=1.0)
        table = self.fit_.summary(level=level)
        lines = [number.text(name, level) for name, number in getattr(self, "learned_", {}).items()]
        table.headline = "\n".join([table.headline, *lines])
        return table

    def plot(self, path: Any = None) -> Any:
        """A page with the ELBO trace, the marginals and k-hat, see `Fit.plot`."""
        self._posterior("plot")
        return self.fit_.plot(path)

    def to_arviz(
        self, X: Any = None, y: ArrayLike | None = None, *, n_samples: int = 4000,
        sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None, trials: ArrayLike | None = None,
        rng: Any = None,
    ) -> Any:  # fmt: skip
        """Draws from the posterior as an ArviZ ``InferenceData`` (or ``DataTree``); needs arviz.

        Parameters
        ----------
        X, y : optional
            The data, which a fitted estimator does not keep: with them come the groups log_likelihood, observed_data
            and posterior_predictive, and in sample_stats the log joint density (lp) and the importance weights
            (log_weight) beside the log density of the Gaussian (log_q).
        n_samples : int
            Draws; in four chains where they can be divided by four.
        sample_weight, offset, trials : array_like (N,), optional
            As for `fit`.
        rng : None, int, SeedSequence, BitGenerator or Generator
        """
        self._posterior("to_arviz")
        if self._many:
            if X is not None or y is not None:
                raise ValueError("with more than two classes to_arviz takes no data")
            return self.fit_.to_arviz(n=n_samples, rng=rng)
        if (X is None) != (y is None):
            raise ValueError("X and y belong together: give both or neither")
        generator = np.random.default_rng(rng)
        params = self.sample_params(_checks.count("n_samples", n_samples), rng=generator)
        if X is None:
            return inference_data(self, params)
        X, offset = self._checked(X, offset)
        data, _ = self._data(X, y, sample_weight, offset, trials, lambda y: (self._numbers(y), {}))
        scale = np.append(self.prior_scale_, self.intercept_prior_scale_) if self.fit_intercept else self.prior_scale_
        eta = self._predictors(data.design, data.offset, params)
        likelihood = self._log_likelihood(data.y, eta, params, data.trials)
        drawn = self._drawn(eta, params, data.trials, generator)
        return inference_data(self, params, data, self._target(data, scale).value(params), likelihood, drawn, y)

    @property
    def _many(self) -> bool:
        """Whether there are more than two classes, and so several linear predictors."""
        return False

    def _parameter_names(self):
        return self._coefficient_names()

    def _posterior(self, method):
        if not hasattr(self, "fit_"):
            raise _checks.not_fitted(f"this {type(self).__name__} is not fitted: call fit before {method}")
        return self.fit_.q

    # predictions

    def _checked(self, X, offset):
        """X with the features of fit, and the offset; of a data frame, what the formula makes of it."""
        rows, offset = self._rows_of(X, offset)
        if rows is not None:
            X = Columns(rows.X, self.formula_.names)
        names, X = column_names(X), matrix(X)
        self._check_features(names, X.shape[1], self.n_features_in_)
        return X, offset

    def _new_rows(self, X, offset):
        """Design and offset of rows to predict."""
        X, offset = self._checked(X, offset)
        design = self._design(X)
        if offset is None:
            return design, 0.0
        return design, _checks.vector("offset", floats("offset", offset), design.shape[0])

    def _predictors(self, design, offset, params):
        """The linear predictors of every draw, (n, N)."""
        return np.ascontiguousarray((design @ params[:, : design.shape[1]].T).T) + offset

    def _trials(self, trials, rows):
        if trials is not None:
            raise ValueError(f"trials are those of a binomial model, which {type(self).__name__} is not")

    def _predictor(self, X, offset, method):
        """Mean and standard deviation of the linear predictor of every row, under the posterior."""
        q = self._posterior(method)
        design, offset = self._new_rows(X, offset)
        p = design.shape[1]
        chol = q.to_cholesky().chol[:p]  # rows beyond the design's columns belong to other parameters
        m, t = np.empty(design.shape[0]), np.empty(design.shape[0])
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, design.shape[0], ROWS):
                rows = design[start : start + ROWS]
                m[start : start + ROWS] = rows @ q.mean[:p]
                t[start : start + ROWS] = np.linalg.norm(rows @ chol, axis=1)
            m += offset
        lost = ~(np.isfinite(m) & np.isfinite(t))
        if lost.any():
            raise ValueError(f"the linear predictor of row {int(np.argmax(lost))} of X overflows double precision")
        return m, t


def _with_factor(scale, d, factor):
    """The scales, those of the d coefficients times a factor."""
    return np.append(scale[:d] * factor, scale[d:])


def interval_ends(level) -> tuple[float, float]:
    """The probabilities below the ends of a central interval."""
    level = _checks.scalar("level", level, above=0.0, below=1.0)
    return 0.5 - 0.5 * level, 0.5 + 0.5 * level
