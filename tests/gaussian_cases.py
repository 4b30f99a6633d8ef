"""The six covariance structures by their dense formulas, for tests of Gaussians, estimators and fits."""

import numpy as np

import sbpfast as sb

STRUCTURES = ("full", "chol", "natural", "diagonal", "low_rank", "precision")
CASES = [(s, d, 0) for s in STRUCTURES[:4] for d in (1, 2, 7, 30)]
CASES += [(s, d, k) for s in STRUCTURES[4:] for d, k in ((1, 1), (2, 1), (5, 0), (7, 1), (7, 2), (30, 5), (3, 5))]
CLASSES = {
    "full": sb.Gaussian,
    "chol": sb.CholeskyGaussian,
    "natural": sb.NaturalGaussian,
    "diagonal": sb.DiagonalGaussian,
    "low_rank": sb.LowRankGaussian,
    "precision": sb.LowRankPrecisionGaussian,
}


def dense(structure, parameters):
    """Mean and covariance by the formula in the class's name, with inv and nothing clever."""
    p = parameters
    if structure == "full":
        return p["mean"], p["cov"]
    if structure == "chol":
        return p["mean"], p["chol"] @ p["chol"].T
    if structure == "natural":
        cov = np.linalg.inv(-(p["eta2"] + p["eta2"].T))
        return cov @ p["eta1"], cov
    if structure == "diagonal":
        return p["mean"], np.diag(p["std"] ** 2)
    whole = np.diag(p["diag"]) + p["factor"] @ p["factor"].T
    return p["mean"], whole if structure == "low_rank" else np.linalg.inv(whole)


def parameters(structure, d, k, seed=0):
    r = np.random.default_rng([seed, d, k, STRUCTURES.index(structure)])
    mean, chol = (
        r.standard_normal(d),
        np.tril(r.standard_normal((d, d)) / (2 * np.sqrt(d))) + np.diag(0.5 + r.random(d)),
    )
    if structure == "full":
        return {"mean": mean, "cov": chol @ chol.T}
    if structure == "chol":
        return {"mean": mean, "chol": chol}
    if structure == "natural":
        precision = np.linalg.inv(chol @ chol.T)
        precision = 0.5 * (precision + precision.T)
        return {"eta1": precision @ mean, "eta2": -0.5 * precision}
    if structure == "diagonal":
        return {"mean": mean, "std": 0.3 + r.random(d)}
    return {"mean": mean, "diag": np.exp(r.standard_normal(d)), "factor": r.standard_normal((d, k)) / 2}


def build(structure, p):
    return CLASSES[structure](*p.values())


def case(structure, d, k, seed=0):
    p = parameters(structure, d, k, seed)
    return build(structure, p), p, *dense(structure, p)


def table_of_theory(structure, p, g, big_g):
    """Gradients by the dense matrix formulas, g = E[grad f], G = 1/2 E[Hess f]."""
    mean, cov = dense(structure, p)
    cgc = cov @ big_g @ cov
    if structure == "full":
        return {"mean": g, "cov": big_g}
    if structure == "chol":
        return {"mean": g, "chol": np.tril(2 * big_g @ p["chol"])}
    if structure == "diagonal":
        return {"mean": g, "std": 2 * p["std"] * np.diagonal(big_g)}
    if structure == "low_rank":
        return {"mean": g, "diag": np.diagonal(big_g), "factor": 2 * big_g @ p["factor"]}
    if structure == "precision":
        return {"mean": g, "diag": -np.diagonal(cgc), "factor": -2 * cgc @ p["factor"]}
    cross = np.outer(cov @ g, mean)
    return {"eta1": cov @ g, "eta2": 2 * cgc + cross + cross.T}


def regression(d, seed=0, n=25):
    r = np.random.default_rng([seed, d])
    return sb.targets.logistic_regression(
        r.standard_normal((n, d)), r.integers(0, 2, n), prior_scale=1.3, prior_mean=0.2
    )
