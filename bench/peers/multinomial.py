"""The peers of multinomial regression: NumPyro's NUTS, and scikit-learn's mode.

All have one model: the coefficients of every class are N(0, scale^2 / 2), so that those of any two classes differ by a
standard deviation of `scale`.  Answers are means of the differences from the first class, ((K - 1) d,).
"""

from __future__ import annotations

import numpy as np

from peers import all_of, optional


def numpyro_nuts(X, y, n_classes, scale, draws):
    """A call that returns means, and standard deviations, of one chain after a quarter as long a warm-up.

    What it found last is its attribute `answer`: it need not run again to be asked.
    """
    modules = all_of("jax", "numpyro", "numpyro.infer")
    if modules is None:
        return None
    jax, numpyro, infer = modules
    shape = (n_classes, X.shape[1])

    def model():
        prior = numpyro.distributions.Normal(0, scale / np.sqrt(2)).expand(shape).to_event(2)
        numpyro.sample("y", numpyro.distributions.Categorical(logits=X @ numpyro.sample("b", prior).T), obs=y)

    def call():
        chain = infer.MCMC(infer.NUTS(model), num_warmup=draws // 4, num_samples=draws, progress_bar=False)
        chain.run(jax.random.PRNGKey(0))
        b = np.asarray(chain.get_samples()["b"])
        later = (b[:, 1:] - b[:, :1]).reshape(draws, -1)
        call.answer = later.mean(axis=0), later.std(axis=0)
        return call.answer

    return call


def scikit_learn(X, y, scale):
    """A call that returns the mode."""
    linear_model = optional("sklearn.linear_model")
    if linear_model is None:
        return None

    def call():
        model = linear_model.LogisticRegression(C=0.5 * scale**2, fit_intercept=False, tol=1e-8, max_iter=1000)
        coef = model.fit(X, y).coef_
        return (coef[1:] - coef[:1]).ravel()

    return call
