"""Independent counterparts of the registry's families, from SciPy, and the parameters the tests use."""

import numpy as np
import scipy.stats as st
from scipy import special
from statistics_helpers import assert_unbiased

import sbpfast as sb
from sbpfast import expfam


class _ContinuousBernoulli(st.rv_continuous):
    """Straight from its definition, for moderate logits."""

    def _argcheck(self, logit):
        return logit != 0

    def _pdf(self, x, logit):
        return logit * np.exp(logit * x) / np.expm1(logit)

    def _cdf(self, x, logit):
        return np.expm1(logit * x) / np.expm1(logit)


_CONTINUOUS_BERNOULLI = _ContinuousBernoulli(a=0.0, b=1.0, shapes="logit")


def _laplace(p):
    return st.laplace(p["loc"], p["scale"])


def _truncated(p):
    a, b = (p["low"] - p["loc"]) / p["scale"], (p["high"] - p["loc"]) / p["scale"]
    return st.truncnorm(a, b, p["loc"], p["scale"])


SCIPY = {
    "Normal": lambda p: st.norm(p["mean"], p["std"]),
    "LogNormal": lambda p: st.lognorm(p["std"], scale=np.exp(p["mean"])),
    "Exponential": lambda p: st.expon(scale=1 / p["rate"]),
    "Gamma": lambda p: st.gamma(p["shape"], scale=1 / p["rate"]),
    "InverseGamma": lambda p: st.invgamma(p["shape"], scale=p["scale"]),
    "ChiSquare": lambda p: st.chi2(p["df"]),
    "Beta": lambda p: st.beta(p["a"], p["b"]),
    "InverseGaussian": lambda p: st.invgauss(p["mean"] / p["concentration"], scale=p["concentration"]),
    "Weibull": lambda p: st.weibull_min(p["shape"], scale=p["scale"]),
    "Pareto": lambda p: st.pareto(p["tail"], scale=p["minimum"]),
    "Laplace": _laplace,
    "Rayleigh": lambda p: st.rayleigh(scale=p["scale"]),
    "HalfNormal": lambda p: st.halfnorm(scale=p["scale"]),
    "VonMises": lambda p: st.vonmises(p["concentration"], loc=p["mean"]),
    "TruncatedNormal": _truncated,
    "ContinuousBernoulli": lambda p: _CONTINUOUS_BERNOULLI(p["logit"]),
    "Bernoulli": lambda p: st.bernoulli(special.expit(p["logit"])),
    "Binomial": lambda p: st.binom(p["n"], special.expit(p["logit"])),
    "Poisson": lambda p: st.poisson(p["rate"]),
    "Geometric": lambda p: st.geom(p["prob"], loc=-1),
    "NegativeBinomial": lambda p: st.nbinom(p["r"], special.expit(p["logit"])),
    "StudentT": lambda p: st.t(p["df"], p["loc"], p["scale"]),
    "Logistic": lambda p: st.logistic(p["loc"], p["scale"]),
    "Gumbel": lambda p: st.gumbel_r(p["loc"], p["scale"]),
}

MORE = {
    "Normal": [{"mean": -2.0, "std": 0.2}],
    "LogNormal": [{"mean": -0.3, "std": 1.0}],
    "Exponential": [{"rate": 0.2}],
    "Gamma": [{"shape": 0.4, "rate": 0.8}, {"shape": 60.0, "rate": 20.0}],
    "InverseGamma": [{"shape": 30.0, "scale": 40.0}],
    "ChiSquare": [{"df": 0.9}, {"df": 40.0}],
    "Beta": [{"a": 0.4, "b": 1.8}, {"a": 30.0, "b": 50.0}],
    "InverseGaussian": [{"mean": 0.7, "concentration": 30.0}],
    "Weibull": [{"scale": 0.6, "shape": 0.7}],
    "Pareto": [{"tail": 5.5, "minimum": 0.3}],
    "Laplace": [{"scale": 0.4, "loc": -1.0}],
    "Rayleigh": [{"scale": 0.3}],
    "HalfNormal": [{"scale": 0.3}],
    "VonMises": [{"mean": -0.9, "concentration": 0.3}, {"mean": 0.1, "concentration": 40.0}],
    "TruncatedNormal": [
        {"loc": 0.3, "scale": 1.2, "low": 2.0, "high": np.inf},
        {"loc": 1.0, "scale": 0.8, "low": -np.inf, "high": 0.2},
    ],
    "ContinuousBernoulli": [{"logit": -6.0}],
    "Bernoulli": [{"logit": -2.0}],
    "Binomial": [{"logit": -1.0, "n": 40}],
    "Poisson": [{"rate": 0.3}, {"rate": 50.0}],
    "Geometric": [{"prob": 0.05}],
    "NegativeBinomial": [{"logit": -1.0, "r": 12.0}],
    "StudentT": [{"df": 1.5, "loc": -1.0, "scale": 0.4}, {"df": 40.0, "loc": 0.0, "scale": 1.0}],
    "Logistic": [{"loc": -1.0, "scale": 0.3}],
    "Gumbel": [{"loc": -1.0, "scale": 0.3}],
    "Dirichlet": [{"concentration": [30.0, 4.0]}],
    "Wishart": [
        {"df": 5.1, "scale": [[1.0, 0.1, 0.2], [0.1, 0.5, 0.0], [0.2, 0.0, 2.0]]},
        {"df": 1.4, "scale": [[0.7]]},
    ],
    "Categorical": [{"logits": [0.0, 1.0]}],
}

CASES = [(name, params) for name, family in expfam.FAMILIES.items() for params in (dict(family.example), *MORE[name])]


def cases(condition=lambda family: True):
    """Parameters of a test: (family, parameters) of the families that meet a condition."""
    return [c for c in CASES if condition(expfam.FAMILIES[c[0]])]


def identifier(case):
    """The name of a case in the report."""
    return (
        case
        if isinstance(case, str)
        else ",".join(f"{v}" for v in case.values())
        if isinstance(case, dict)
        else str(case)
    )


def reference(name, params):
    """SciPy's distribution."""
    return SCIPY[name](params)


def quantiles(name, params, n=25, tail=0.02):
    """Points (n, 1) of the support: quantiles, angles wrapped to [-pi, pi)."""
    q = np.linspace(tail, 1.0 - tail, n)
    x = reference(name, params).ppf(q)
    if name == "VonMises":
        x = (x + np.pi) % (2 * np.pi) - np.pi
    if name in ("Bernoulli", "Binomial", "Poisson", "Geometric", "NegativeBinomial"):
        x = np.unique(x)
    return x[:, None]


def wave(dim=1):
    """A smooth, periodic, bounded function of the sum of the coordinates."""
    return sb.Target(
        value=lambda x: np.sin(x.sum(axis=1) + 0.3),
        grad=lambda x: np.repeat(np.cos(x.sum(axis=1) + 0.3)[:, None], dim, axis=1),
        dim=dim,
    )


def assert_agrees(estimate, exact, names=None):
    """The estimate's value and gradients are the exact ones, as far as its errors tell."""
    for key in exact.grad if names is None else names:
        assert_unbiased(estimate.grad[key], exact.grad[key], estimate.stderr[key])
    assert_unbiased(estimate.value, exact.value, estimate.stderr["value"])
