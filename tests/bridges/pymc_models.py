"""Small PyMC models of known answers, written from their mathematics."""

import numpy as np
import pymc as pm

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
SCHOOLS = ["Choate", "Deerfield", "Andover", "Exeter", "Hotchkiss", "Lawrenceville", "St. Paul's", "Mt. Hermon"]


def eight_schools():
    with pm.Model(coords={"school": SCHOOLS}) as model:
        mu = pm.Normal("mu", 0, 5)
        tau = pm.HalfCauchy("tau", 5)
        z = pm.Normal("z", 0, 1, dims="school")
        theta = pm.Deterministic("theta", mu + tau * z, dims="school")
        pm.Normal("y", theta, SIGMA, observed=Y, dims="school")
    return model


def conjugate_normal():
    """x ~ N(0, 2^2), y_i ~ N(x, 1): x | y is N(sum y / (n + 1/4), 1 / (n + 1/4))."""
    y = np.array([1.0, 2.0, 0.5, 1.5])
    with pm.Model(coords={"arm": ["control", "treated"]}) as model:
        pm.Normal("beta", [0.0, 10.0], [1.0, 2.0], dims="arm")
        x = pm.Normal("x", 0, 2)
        pm.Normal("y", x, 1.0, observed=y)
    return model, y


def transforms():
    """One variable a transform; nothing observed, so the moments are those of the prior."""
    with pm.Model() as model:
        pm.Gamma("rate", 20.0, 40.0)
        pm.Beta("share", 30.0, 20.0)
        pm.Uniform("place", -1.0, 3.0)
        pm.Dirichlet("parts", np.array([40.0, 30.0, 20.0]))
        pm.Gamma("size", 30.0, 15.0, shape=(2, 2))
    return model


def matrices():
    """Ordered, correlated and unit-simplex parameters, and data that may be exchanged."""
    ordered = pm.distributions.transforms.ordered
    with pm.Model(coords={"column": ["a", "b"]}) as model:
        X = pm.Data("X", np.arange(6.0).reshape(3, 2))
        cut = pm.Normal("cut", 0, 1, shape=2, transform=ordered, initval=[-0.5, 0.5])
        chol, _, _ = pm.LKJCholeskyCov("chol", n=2, eta=2.0, sd_dist=pm.Exponential.dist(1.0, shape=2))
        beta = pm.MvNormal("beta", np.zeros(2), chol=chol, dims="column")
        pm.OrderedLogistic("y", eta=X @ beta, cutpoints=cut, observed=[0, 1, 2])
    return model
