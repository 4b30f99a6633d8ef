"""The peers of regressions with groups: statsmodels' mode and mean field, GPBoost's Laplace approximation, NUTS.

Scales of statsmodels have a normal prior of their logarithm, ours a half-normal one; GPBoost has none.  Answers are
(sd, (low, high), slope, (low, high)) of the intercepts of one group and the first coefficient, NaN where there is none.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from peers import all_of, optional

NONE = (math.nan, math.nan)
HALF = 1.959964


def normal(mean, sd):
    """The central interval of 95 %."""
    return float(mean - HALF * sd), float(mean + HALF * sd)


def of_logarithm(mean, sd):
    low, high = normal(mean, sd)
    return math.exp(low), math.exp(high)


def with_intercept(X):
    return np.column_stack([X, np.ones(len(X))])


def indicators(index):
    rows = len(index)
    return scipy.sparse.csr_matrix((np.ones(rows), (np.arange(rows), index)), shape=(rows, int(index.max()) + 1))


def statsmodels_fit(method):
    """A call of (X, y, index) by `fit_map` or `fit_vb`."""
    module = optional("statsmodels.genmod.bayes_mixed_glm")
    if module is None:
        return None

    def call(X, y, index):
        z = indicators(index)
        model = module.BinomialBayesMixedGLM(y, with_intercept(X), z, np.zeros(z.shape[1], int), vcp_p=1.0, fe_p=2.5)
        result = getattr(model, method)()
        log_sd, spread = float(result.vcp_mean[0]), float(result.vcp_sd[0])
        slope = float(result.fe_mean[0])
        return math.exp(log_sd), of_logarithm(log_sd, spread), slope, normal(slope, float(result.fe_sd[0]))

    return call


def statsmodels_variational(X, y, index):
    """A call that returns the slope and the standard deviation of the intercepts."""
    fit = statsmodels_fit("fit_vb")
    if fit is None:
        return None

    def call():
        sd, _, slope, _ = fit(X, y, index)
        return slope, sd

    return call


def gpboost_laplace(likelihood="bernoulli_logit"):
    """A call of (X, y, index or indices (N, k)); the deviations of the groups are `call.deviations` of it."""
    gpboost = optional("gpboost")
    if gpboost is None:
        return None

    def call(X, y, index):
        model = gpboost.GPModel(group_data=index, likelihood=likelihood)
        model.fit(y=y, X=with_intercept(X))
        variances = np.asarray(model.get_cov_pars(std_err=True))
        coefficients = np.asarray(model.get_coef(std_err=True))
        call.deviations = np.sqrt(variances[0])
        (variance, error), slope = variances[:, 0], float(coefficients[0, 0])
        interval = of_logarithm(0.5 * math.log(variance), 0.5 * error / variance) if variance > 0.0 else NONE
        return math.sqrt(variance), interval, slope, normal(slope, coefficients[1, 0])

    return call


def nuts_of_groups(scale_prior, n_draws, seed=0):
    """A call of (X, y, index) that samples the non-centred model by NumPyro, with our priors."""
    modules = all_of("jax", "numpyro", "numpyro.infer", "numpyro.distributions")
    if modules is None:
        return None
    jax, numpyro, infer, dist = modules

    def model(X, y, index, levels):
        coef = numpyro.sample("coef", dist.Normal(0.0, 2.5).expand((X.shape[1],)))
        intercept = numpyro.sample("intercept", dist.Normal(0.0, 10.0))
        sd = numpyro.sample("sd", dist.HalfNormal(scale_prior))
        v = numpyro.sample("v", dist.Normal().expand((levels,)))
        numpyro.sample("y", dist.Bernoulli(logits=X @ coef + intercept + sd * v[index]), obs=y)

    def call(X, y, index):
        jax.clear_caches()  # every data set has a shape of its own
        chain = infer.MCMC(infer.NUTS(model), num_warmup=n_draws, num_samples=2 * n_draws, progress_bar=False)
        chain.run(jax.random.PRNGKey(seed), X / X.std(axis=0), y, index, int(index.max()) + 1)
        draws = {name: np.asarray(value) for name, value in chain.get_samples().items()}
        sd, slope = draws["sd"], draws["coef"][:, 0] / X[:, 0].std()
        ends = (tuple(map(float, np.quantile(v, (0.025, 0.975)))) for v in (sd, slope))
        return float(sd.mean()), next(ends), float(slope.mean()), next(ends)

    return call
