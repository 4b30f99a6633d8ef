"""The peer of regressions with groups: statsmodels' mean-field variational fit.

Its scales have a normal prior of their logarithm, ours a half-normal one, both wide beside the data's say.
"""

from __future__ import annotations

import numpy as np
import scipy

from peers import optional


def statsmodels_variational(X, y, index):
    """A call that returns the fixed effects and the standard deviation of the intercepts."""
    module = optional("statsmodels.genmod.bayes_mixed_glm")
    if module is None:
        return None
    levels = int(index.max()) + 1
    design = np.column_stack([X, np.ones(len(y))])
    z = scipy.sparse.csr_matrix((np.ones(len(y)), (np.arange(len(y)), index)), shape=(len(y), levels))

    def call():
        result = module.BinomialBayesMixedGLM(y, design, z, np.zeros(levels, dtype=int), vcp_p=1.0, fe_p=2.5).fit_vb()
        return result.fe_mean, float(np.exp(result.vcp_mean[0]))

    return call
