"""fit: the best Gaussian approximation of a log density, when to stop, and whether to trust it.

`_fit.py` is the verb and `_result.py` the answer.  `_start.py` finds where to begin, `_natural.py` is the loop with its
stopping rule; a covariance structure (`_full.py`, `_low_rank.py`) knows its residual and its steps (`_newton.py` where
natural gradients are slow), a source of moments the density: `_source.py` says what a fit asks of one, `_moments.py`,
`_unknown_noise.py` and `_softmax.py` integrate, `_sampler.py` draws.  Full covariances of any other density have a loop
of their own, `_sampled.py`, over sets of draws (`_sets.py`), from a mode (`_mode.py`).  `_importance.py` and `_psis.py`
judge, `_improper.py` says why there is no answer, `_table.py` and `_page.py` show one.  `_mixed*.py` fit regressions
with groups.
"""

from sbpfast.fitting._fit import fit
from sbpfast.fitting._improper import ImproperDensity
from sbpfast.fitting._result import Fit, FitStep, FitWarning
from sbpfast.fitting._table import Summary

__all__ = ["Fit", "FitStep", "FitWarning", "ImproperDensity", "Summary", "fit"]
