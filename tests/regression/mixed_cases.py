"""Small regressions with groups, and their posteriors by dense algebra and by quadrature."""

import numpy as np
import scipy

import sbpfast as sb
from sbpfast.fitting._mixed import MixedModel
from sbpfast.fitting._mixed_likelihood import FAMILIES, Likelihood
from sbpfast.fitting._mixed_rows import Group, Rows
from sbpfast.fitting._mixed_scales import Layout, Profile
from sbpfast.targets._design import as_design

FAMILY_VALUES = {
    "logistic": (),
    "probit": (),
    "poisson": (),
    "linear": (0.8,),
    "student_t": (0.7, 5.0),
    "negative_binomial": (2.5,),
    "gamma": (3.0,),
}
KINDS = [name for name in FAMILY_VALUES if name in FAMILIES]


def response(family, eta, values, r):
    if family == "logistic":
        return (r.random(len(eta)) < scipy.special.expit(eta)).astype(float)
    if family == "probit":
        return (r.random(len(eta)) < scipy.special.ndtr(eta)).astype(float)
    if family == "poisson":
        return r.poisson(np.exp(eta)).astype(float)
    if family == "linear":
        return eta + values[0] * r.standard_normal(len(eta))
    if family == "student_t":
        return eta + values[0] * r.standard_t(values[1], len(eta))
    noisy = np.exp(eta) * r.standard_gamma(values[0], len(eta)) / values[0]
    return noisy if family == "gamma" else r.poisson(noisy).astype(float)


def log_density(family, y, eta, values):
    """log p(y | eta) by SciPy."""
    if family == "logistic":
        return -np.log1p(np.exp((1.0 - 2.0 * y) * eta))
    if family == "probit":
        return scipy.special.log_ndtr((2.0 * y - 1.0) * eta)
    if family == "poisson":
        return scipy.stats.poisson.logpmf(y, np.exp(eta))
    if family == "linear":
        return scipy.stats.norm.logpdf(y, eta, values[0])
    if family == "student_t":
        return scipy.stats.t.logpdf(y, values[1], eta, values[0])
    if family == "gamma":
        return scipy.stats.gamma.logpdf(y, values[0], scale=np.exp(eta) / values[0])
    return scipy.stats.nbinom.logpmf(y, values[0], values[0] / (values[0] + np.exp(eta)))


class Case:
    """Rows in several groups, with slopes where asked for; the design by hand, too."""

    def __init__(self, family, sizes=(6,), slopes=(0,), n=60, seed=0):
        self.family, self.values = family, FAMILY_VALUES[family]
        r = np.random.default_rng(seed)
        self.X = np.column_stack([r.standard_normal((n, 1)), np.ones(n)])
        self.offset, self.weights = 0.3 * r.standard_normal(n), r.integers(1, 3, n).astype(float)
        self.groups = []
        for size, count in zip(sizes, slopes):
            index = np.concatenate([np.arange(size), r.integers(size, size=n - size)])
            basis = np.column_stack([np.ones(n), r.standard_normal((n, count))]) if count else None
            self.groups.append(Group(index, size, basis))
        eta = self.X @ [0.5, 0.2] + self.offset
        for group in self.groups:
            basis = np.ones((n, 1)) if group.basis is None else group.basis
            eta = eta + (basis * (0.7 * r.standard_normal((group.n_levels, group.width)))[group.index]).sum(axis=1)
        self.y = response(family, eta, self.values, r)

    def factors(self, seed=1):
        r = np.random.default_rng(seed)
        return [
            np.tril(0.3 * r.standard_normal((g.width, g.width)), -1) + np.diag(0.5 + 0.4 * r.random(g.width))
            for g in self.groups
        ]

    def model(self, precision=0.25):
        family = FAMILIES[self.family]
        likelihood = Likelihood(family, as_design("X", self.X), self.y, self.offset, self.weights)
        return MixedModel(Rows(self.X, self.groups), likelihood, np.full(2, precision))

    def layout(self, scale_prior=1.0):
        return Layout(
            tuple(g.width for g in self.groups), tuple(g.n_levels for g in self.groups),
            tuple(np.ones(g.width) for g in self.groups), FAMILIES[self.family].parameters, 1.0, scale_prior,
        )  # fmt: skip

    def profile(self, density=False, scale_prior=1.0):
        return Profile(self.model(), self.layout(scale_prior), density)

    def theta(self):
        layout, parts = self.layout(), []
        for (row, col, _), factor in zip(layout.blocks(), self.factors()):
            parts.append(np.where(row == col, np.log(np.where(row == col, factor[row, col], 1.0)), factor[row, col]))
        return np.concatenate([*parts, np.log(np.array(self.values, dtype=float))])

    def dense(self, factors):
        """The design of fixed and whitened effects, (N, d)."""
        columns = [self.X]
        for group, factor in zip(self.groups, factors):
            z = (np.ones((len(self.y), 1)) if group.basis is None else group.basis) @ factor
            block = np.zeros((len(self.y), group.n_levels, group.width))
            block[np.arange(len(self.y)), group.index] = z
            columns.append(block.reshape(len(self.y), -1))
        return np.hstack(columns)

    def dense_fit(self, factors):
        """sbpfast.fit of the same posterior with nothing known of its structure."""
        a = self.dense(factors)
        scale = np.ones(a.shape[1])
        scale[:2] = 2.0
        named = {p.name: v for p, v in zip(FAMILIES[self.family].parameters, self.values)}
        target = getattr(sb.targets, FAMILIES[self.family].target)
        return sb.fit(target(a, self.y, prior_scale=scale, offset=self.offset, weights=self.weights, **named), tol=1e-9)
