"""expectation_grad: gradients of E[f(x)] with respect to the parameters of the distribution of x.

`_expectation_grad.py` is the verb, `_estimators.py` and `_parts.py` its rules, `_distribution.py` what they ask of a
distribution, `_choice.py` what "auto" does, `_hold.py` how Price is held against the first order, `_result.py` what is
handed back.
"""

from sbpfast.estimate._expectation_grad import expectation_grad
from sbpfast.estimate._result import Estimate, EstimateWarning

__all__ = ["Estimate", "EstimateWarning", "expectation_grad"]
