"""The posterior of a regression as an ArviZ data set."""

from __future__ import annotations

from typing import Any

import numpy as np


def inference_data(model, params, data=None, lp=None, likelihood=None, drawn=None, y=None):
    """The groups that can be made of draws of the parameters and, where there are, of the data."""
    d = model.n_features_in_
    names = model._parameter_names()
    posterior = {"coef": params[:, :d]} | {name: params[:, d + i] for i, name in enumerate(names[d:])}
    stats = {"log_q": model.fit_.q.log_prob(params)}
    coords, dims = {"feature": np.array(names[:d])}, {"coef": ["feature"]}
    groups: dict[str, Any] = {}
    if data is not None:
        stats |= {"lp": lp, "log_weight": lp - stats["log_q"]}
        coords["row"] = np.arange(len(data.y))
        dims["y"] = ["row"]
        groups = {"log_likelihood": {"y": likelihood}, "posterior_predictive": {"y": drawn}}
    groups = {"posterior": posterior, "sample_stats": stats} | groups
    return as_arviz(groups, None if data is None else np.asarray(y).reshape(-1), coords, dims)


def as_arviz(groups, observed, coords, dims):
    """An InferenceData, or a DataTree, of groups of draws by name (n, ...), and of the responses there are."""
    import arviz

    n = len(next(iter(groups["posterior"].values())))
    chains = 4 if n % 4 == 0 else 1  # the draws are independent, but ArviZ's diagnostics compare chains
    groups = {
        group: {name: np.reshape(v, (chains, n // chains, *np.shape(v)[1:])) for name, v in values.items()}
        for group, values in groups.items()
    }
    if observed is not None:
        groups["observed_data"] = {"y": observed}
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(groups, coords=coords, dims=dims)
    return arviz.from_dict(**(groups | {"coords": coords, "dims": dims}))
