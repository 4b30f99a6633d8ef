"""Models that other programs hold, as targets with the model's own names, shapes and scale.

A bridge reads a model and hands back a `Target` whose ``model_parameters`` say what its coordinates mean.  The programs
are imported when a model of theirs is given, never before.  `_pymc.py` reads PyMC's models, `_pytensor.py` makes their
graphs into functions of many points; `_numpyro.py` and `_bridgestan.py` read the others.
"""

import sys
from importlib import import_module

from sbpfast.targets._bridges import BRIDGES, Bridge


def _is_pymc_model(thing) -> bool:
    pymc = sys.modules.get("pymc")
    return pymc is not None and isinstance(thing, pymc.Model)


def _is_stan_model(thing) -> bool:
    return all(hasattr(thing, name) for name in ("param_unc_num", "param_constrain", "log_density_gradient"))


def _later(module):
    return lambda *args, **kwargs: import_module(f"sbpfast.bridges.{module}").target(*args, **kwargs)


BRIDGES |= {
    "pymc": Bridge("a pymc.Model", _is_pymc_model, _later("_pymc")),
    "bridgestan": Bridge("a bridgestan.StanModel", _is_stan_model, _later("_bridgestan")),
    # a model of NumPyro is any function, and comes with its arguments
    "numpyro": Bridge("a NumPyro model through Target.from_numpyro", lambda thing: False, _later("_numpyro")),
}
