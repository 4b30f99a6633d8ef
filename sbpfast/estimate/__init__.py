"""expectation_grad: gradients of E[f(x)] with respect to the parameters of the distribution of x.

`_expectation_grad.py` is the verb, `_estimators.py` and `_parts.py` its rules, `_choice.py` what "auto" does,
`_result.py` what is handed back.
"""

from sbpfast.estimate._expectation_grad import expectation_grad
from sbpfast.estimate._result import Estimate

__all__ = ["Estimate", "expectation_grad"]
