"""A user's program, for type checkers: every family is made, and its methods are called."""

import numpy as np

import sbpfast as sb
from sbpfast import expfam

FAMILIES: list[expfam.Normal | expfam.Gamma | expfam.Poisson] = [
    expfam.Normal(0.4, std=1.3),
    expfam.Gamma([2.3, 1.0], 1.7),
    expfam.Poisson(rate=np.array([3.3])),
]
OTHERS = (
    expfam.LogNormal(0.4, 0.6), expfam.Exponential(1.9), expfam.InverseGamma(3.2, 1.4), expfam.ChiSquare(3.7),
    expfam.Beta(1.4, 3.1), expfam.InverseGaussian(1.2, 2.5), expfam.Weibull(1.8, shape=1.5),
    expfam.Pareto(2.5, minimum=1.2), expfam.Laplace(1.3, loc=0.2), expfam.Rayleigh(1.4), expfam.HalfNormal(1.4),
    expfam.VonMises(0.6, 2.1), expfam.TruncatedNormal(0.3, 1.2, -0.5, 2.5), expfam.ContinuousBernoulli(0.8),
    expfam.Bernoulli(0.4), expfam.Binomial(0.4, n=9), expfam.Geometric(0.3), expfam.NegativeBinomial(0.4, r=2.7),
    expfam.StudentT(4.5, 0.3, 1.2), expfam.Logistic(0.3, 1.2), expfam.Gumbel(0.3, 1.2),
)  # fmt: skip
DIRICHLET = expfam.Dirichlet([0.8, 2.1, 3.3])
WISHART = expfam.Wishart(4.5, [[0.6, 0.2], [0.2, 0.4]])
CATEGORICAL = expfam.Categorical([0.3, -0.5, 0.8, 0.0])


def log_h(x: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.zeros_like(x)
    return out


def square(x: np.ndarray) -> np.ndarray:
    out: np.ndarray = x * x
    return out


OWN = expfam.Univariate(log_h, -0.5, square)


def main() -> float:
    """Call everything."""
    total = 0.0
    for p in (*FAMILIES, *OTHERS, DIRICHLET, WISHART, CATEGORICAL, OWN):
        x: np.ndarray = p.sample(3, rng=0, n_threads=1)
        total += float(p.log_prob(x).sum()) + p.kl(p) if hasattr(p, "kl") else 0.0
        scores: dict[str, np.ndarray] = p.score(x)
        total += sum(float(s.sum()) for s in scores.values())
    q = OTHERS[0]
    total += q.entropy() + q.log_partition() + float(q.natural().sum() + q.mean_params().sum() + q.fisher().sum())
    total += float(q.transport([[1.0]])["mean"][0, 0]) + float(q.product_weight([[1.0]])["std"][0][0, 0])
    total += float(q.cdf(1.0)) + float(q.ppf(0.5)) + float(q.moments().mean) + float(q.variance()) + float(q.mode())
    total += float(q.sufficient([1.0]).sum() + q.log_base([1.0]).sum())
    again: expfam.LogNormal = expfam.LogNormal.from_natural(q.natural())
    same: expfam.Gamma = expfam.Gamma.from_mean_params(expfam.Gamma(2.0, 1.0).mean_params())
    fit = expfam.Gamma.fit([1.0, 2.0, 3.0], weights=[1.0, 2.0, 1.0], prior=(1.0, [0.2, 1.5]))
    merged = expfam.Normal.statistics([1.0, 2.0]) + expfam.Normal.statistics([4.0])
    total += fit.log_likelihood + expfam.Normal.fit(merged).log_likelihood + again.kl(q) + same.entropy()
    total += (
        expfam.StudentT.fit([1.0, 2.0, 2.5, 9.0], df=3.0).log_likelihood + expfam.Weibull.fit([1.0, 2.0]).log_likelihood
    )
    matrix: np.ndarray = expfam.smat(expfam.svec(np.eye(2)))
    return total + float(matrix.sum()) + float(sb.special.gammainc_da(1.0, 2.0))


if __name__ == "__main__":
    print(main())
