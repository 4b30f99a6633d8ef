"""The Gaussian-Bernoulli RBM on images, beside the models it must beat.

Held-out log-likelihood against a Gaussian with full covariance, a mixture of diagonal Gaussians with as many
parameters and factor analysis with as many factors as gain; then the hidden units as features for logistic regression,
beside the same pipeline with scikit-learn's BernoulliRBM.

The grey levels are whole numbers: uniform noise of one level is added (dequantisation), so that a density is a fair
score and no model can win by narrowing onto the grid.  Everything is chosen on the training part alone.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sbpfast as sb
from sbpfast.rbm import plots

RATES = 0.01, 0.003


def split(x, y, levels, seed=0):
    """Dequantised, in units of the whole range; a fifth held out."""
    r = np.random.default_rng(seed)
    order = r.permutation(len(x))
    x = ((x + r.random(x.shape)) / levels)[order]
    cut = len(x) * 4 // 5
    return x[:cut], x[cut:], y[order][:cut], y[order][cut:]


def gaussian(train, test):
    """Full covariance with the ridge that a fifth of the training rows likes best."""
    cut = len(train) * 4 // 5

    def score(fit, held, ridge):
        cov = np.cov(fit.T) + ridge * np.eye(fit.shape[1])
        d = held - fit.mean(0)
        quadratic = (d * np.linalg.solve(cov, d.T).T).sum(1)
        return float(-0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * cov)[1]).mean())

    ridge = max(10.0 ** np.arange(-7, -1), key=lambda e: score(train[:cut], train[cut:], e))
    return score(train, test, ridge)


def best_on_part(make, sizes, train):
    """The size whose model, fitted to four fifths of the training rows, scores the rest best."""
    cut = len(train) * 4 // 5
    return max(sizes, key=lambda k: make(k).fit(train[:cut]).score(train[cut:]))


def machine(train, h, method, epochs):
    """Trained at the rate that suits a tenth of the training rows best: too large a rate loses likelihood late."""
    rates = (0.01,) if method == "exact" else RATES
    settings = {"n_epochs": epochs, "rng": 0, "validation_fraction": 0.1}
    machines = [sb.GaussianBernoulliRBM(h, method=method, learning_rate=rate, **settings).fit(train) for rate in rates]
    return max(machines, key=lambda rbm: rbm.score(train[-len(train) // 10 :]))


def likelihoods(train, test, units, epochs):
    v = train.shape[1]
    results, machines = {}, {}
    results["Gaussian, full covariance"] = gaussian(train, test)
    k = best_on_part(lambda k: FactorAnalysis(k, random_state=0), [k for k in (5, 10, 20, 30, 40) if k < v], train)
    results[f"factor analysis, {k} factors"] = float(FactorAnalysis(k, random_state=0).fit(train).score(test))
    for h, method in [(units["enumerable"], "exact"), (units["enumerable"], "pcd"), (units["large"], "pcd")]:
        start = time.perf_counter()
        rbm = machine(train, h, method, epochs[method])
        seconds = time.perf_counter() - start
        if h <= 32:
            log_z, note = rbm.log_partition(), "exact log Z"
        else:
            ais = rbm.log_partition(method="ais", n_chains=200, n_betas=5000, rng=0)
            log_z, note = (
                float(ais),
                f"AIS, log Z in [{ais.lower:.2f}, {ais.upper:.2f}], ess {ais.ess_forward:.0f}/{ais.ess_reverse:.0f}",
            )
        name = f"GB-RBM, {h} hidden, {method}"
        results[name] = float(-rbm.free_energy(test).mean() - log_z)
        machines[name] = rbm
        print(f"  {name}: {results[name]:.2f} ({note}; trained in {seconds:.1f} s)", flush=True)
    for h in sorted({units["enumerable"], units["large"]}):
        components = max(1, round((v * h + 2 * v + h) / (2 * v + 1)))
        mixture = GaussianMixture(components, covariance_type="diag", reg_covar=1e-4, random_state=0, max_iter=100).fit(
            train
        )
        results[f"mixture of {components} diagonal Gaussians (parameters of {h} hidden)"] = float(mixture.score(test))
    return results, machines


def features(train, test, y_train, y_test, epochs, hidden=100):
    """Accuracy of logistic regression on pixels and on hidden probabilities."""
    unit = (train - train.min()) / np.ptp(train), np.clip((test - train.min()) / np.ptp(train), 0, 1)
    logistic = lambda: LogisticRegression(max_iter=2000, C=10.0)
    ours = make_pipeline(StandardScaler(), sb.GaussianBernoulliRBM(hidden, n_epochs=epochs, rng=0), logistic())
    theirs = make_pipeline(
        BernoulliRBM(hidden, n_iter=epochs, learning_rate=0.05, batch_size=20, random_state=0), logistic()
    )
    return {
        "logistic regression on pixels": float(
            make_pipeline(StandardScaler(), logistic()).fit(train, y_train).score(test, y_test)
        ),
        "GaussianBernoulliRBM features": float(ours.fit(train, y_train).score(test, y_test)),
        "scikit-learn BernoulliRBM features": float(theirs.fit(unit[0], y_train).score(unit[1], y_test)),
    }


MACHINES = {}
"""The largest machine of each study, kept for its picture."""


def compare(name, x, y, levels, units, epochs):
    """Scores and accuracies, as they are written to the file of results."""
    train, test, y_train, y_test = split(x, y, levels)
    print(f"{name}: {len(train)} + {len(test)} images of {x.shape[1]} pixels")
    scores, machines = likelihoods(train, test, units, epochs)
    print("held-out mean log-likelihood, nats:")
    for model, value in sorted(scores.items(), key=lambda item: -item[1]):
        print(f"  {value:9.2f}  {model}")
    accuracy = features(train, test, y_train, y_test, epochs["features"])
    print("accuracy held out:")
    for model, value in accuracy.items():
        print(f"  {value:.4f}  {model}")
    MACHINES[name] = list(machines.values())[-1]
    return {"log_likelihood": scores, "accuracy": accuracy}


def pictures(plt, rbm, shape, title, path):
    figure, axes = plt.subplots(
        1, 3, figsize=(15, 5.4), layout="constrained", gridspec_kw={"width_ratios": [1.0, 0.7, 0.95]}
    )
    plots.receptive_fields(rbm, shape, n=64, columns=8, axes=axes[0])
    plots.chains(rbm, shape, n_chains=8, times=(0, 1, 10, 100, 1000), rng=0, axes=axes[1])
    plots.likelihood_curve(rbm, axes=axes[2])
    figure.suptitle(title, fontsize=14)
    figure.savefig(path, dpi=120)
