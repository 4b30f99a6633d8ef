"""Every distribution has what the estimators ask for, and the table of estimators is the one place they stand in."""

from typing import get_args

import numpy as np
import pytest
from gaussian_cases import STRUCTURES, case
from user_types import errors_of, strictly_checked

import sbpfast as sb
from sbpfast.estimate._distribution import Chained, Distribution, Termwise, is_chained, is_distribution
from sbpfast.estimate._estimators import ESTIMATORS, EstimatorName
from sbpfast.expfam._base import FAMILIES


def members(protocol):
    """Names that a protocol and those it extends ask for."""
    classes = [c for c in protocol.__mro__ if getattr(c, "_is_protocol", False)]
    return {n for c in classes for n in (*vars(c), *getattr(c, "__annotations__", {})) if not n.startswith("__")} - {
        "_is_protocol", "_is_runtime_protocol", "_abc_impl",
    }  # fmt: skip


DISTRIBUTIONS = [
    *(pytest.param(case(s, 3, 2)[0], id=s) for s in STRUCTURES),
    *(pytest.param(f(**f.example), id=name) for name, f in FAMILIES.items()),
    pytest.param(sb.expfam.Univariate(lambda x: -(x**2), 0.5, np.sin), id="Univariate"),
]
TERMS = {
    "pathwise": "_pathwise_terms", "score": "_score_terms", "product": "_product_terms",
    "difference": "_difference_terms", "exact": "_exact",
}  # fmt: skip


@pytest.mark.parametrize("q", DISTRIBUTIONS)
def test_distributions_have_what_is_asked_for(q):
    assert is_distribution(q) and not is_distribution(type(q))
    asked = members(Distribution) | (members(Chained) if is_chained(q) else set())
    assert {"_draw", "_estimators", "_natural_grad", "dim"} <= asked
    for name in asked:
        assert hasattr(q, name), name
    assert set(q._estimators) <= set(get_args(EstimatorName))
    if not is_chained(q):
        assert set(TERMS.values()) == members(Termwise) - members(Distribution)
        for estimator in set(q._estimators) & set(TERMS):
            assert hasattr(q, TERMS[estimator]), estimator


def test_the_table_holds_every_estimator():
    assert {*ESTIMATORS, "auto"} == set(get_args(EstimatorName))
    for name, row in ESTIMATORS.items():
        assert callable(row.rule) and set(row.needs) <= {"value", "grad", "hess"}, name


SCRIPT = """
import numpy as np
import sbpfast as sb

f = sb.Target(value=lambda x: x.sum(axis=1), grad=np.ones_like, dim=2)
q = sb.Gaussian([0.0, 0.0], np.eye(2))
est = sb.expectation_grad(f, q, estimator="pathwise", sampling="sobol", n_samples=64, rng=0, wrt=["mean"])
gradient: np.ndarray = est.grad["mean"]
family = sb.expfam.Gamma(2.0, 1.0)
other: float = sb.expectation_grad(sb.Target(value=lambda x: x[:, 0], dim=1), family).value
natural: dict[str, np.ndarray] = sb.expectation_grad(f, q).natural_grad()
low = sb.LowRankGaussian([0.0, 0.0], [1.0, 1.0], [[1.0], [1.0]])
many: np.ndarray = sb.expectation_grad(f, low, rng=np.random.default_rng(0)).grad["factor"]
"""
MISSPELT = SCRIPT.replace('"pathwise"', '"pathwize"').replace('"sobol"', '"sobolev"')


@pytest.mark.parametrize("program, errors", [(SCRIPT, 0), (MISSPELT, 2)], ids=["right", "misspelt"])
def test_a_users_script_is_typed(tmp_path, program, errors):
    output, _ = strictly_checked(tmp_path, program)
    assert len(errors_of(output)) == errors, output
