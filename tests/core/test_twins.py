"""Every kernel of every topic has a readable twin of its name and a typed signature; twins that have no tests else."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import sbpfast
from sbpfast import _core
from sbpfast._reference import elementary, fit, special
from sbpfast.targets._expectations import RULES
from sbpfast.targets._links import link_record

KINDS = ("cython_function_or_method", "fused_cython_function", "ufunc")
CORE = Path(sbpfast.__file__).parent / "_core"


def kernels(topic):
    module = _core.load(topic)
    return {n for n in dir(module) if not n.startswith("_") and type(getattr(module, n)).__name__ in KINDS}


@pytest.mark.parametrize("topic", _core.TOPICS)
def test_every_kernel_has_a_twin(topic):
    twins = import_module(f"sbpfast._reference.{topic}")
    assert kernels(topic)
    missing = [name for name in kernels(topic) if not inspect.isfunction(getattr(twins, name, None))]
    assert not missing, f"sbpfast/_reference/{topic}.py has no {', '.join(missing)}"


@pytest.mark.parametrize("topic", _core.TOPICS)
def test_every_kernel_has_a_signature(topic):
    """The names and the order of the arguments, as the compiled function has them."""
    typed = {
        n.name: n
        for n in ast.parse((CORE / f"{topic}_baseline.pyi").read_text()).body
        if isinstance(n, ast.FunctionDef)
    }
    module = _core.load(topic)
    functions = {name for name in kernels(topic) if type(getattr(module, name)).__name__ != "ufunc"}
    assert set(typed) == functions
    for name in functions:
        assert [argument.arg for argument in typed[name].args.args] == [
            *inspect.signature(getattr(module, name)).parameters
        ]


@pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
def test_elementary_functions_match_their_twins(isa):
    kernel, x = _core.load("elementary", isa), np.linspace(1e-3, 0.999, 301)
    for name in elementary.FUNCTIONS:
        out = np.empty_like(x)
        kernel.evaluate(name, x, out)
        np.testing.assert_allclose(out, elementary.evaluate(name, x), rtol=1e-14, atol=1e-15)
    bits, out = np.array([0, 1, 2**53 + 1, 2**63 + 1025, 2**64 - 1], dtype=np.uint64), np.empty(5)
    kernel.from_uint64(bits, out)
    np.testing.assert_array_equal(out, elementary.from_uint64(bits))


@pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
def test_derivatives_of_incomplete_functions_match_their_twins(isa):
    kernel, x = _core.load("special", isa), np.linspace(0.05, 0.95, 19)
    a, b = np.repeat([0.3, 2.0, 9.0], 19), np.repeat([1.5, 0.4, 6.0], 19)
    x = np.tile(x, 3)
    np.testing.assert_allclose(kernel.gammainc_da(a, 5 * x), special.gammainc_da(a, 5 * x), rtol=1e-9)
    for name in ("betainc_da", "betainc_db"):
        np.testing.assert_allclose(getattr(kernel, name)(a, b, x), getattr(special, name)(a, b, x), rtol=1e-9)


@pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
@pytest.mark.parametrize("link,parameters", [("logistic", ()), ("poisson", ()), ("student_t", (4.0, 0.7))])
@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_whitened_moments_match_their_twin(link, parameters, spread, isa):
    r = np.random.default_rng(0)
    a, factor, mean = 0.4 * r.standard_normal((70, 5)), np.tril(0.5 * r.standard_normal((5, 5))), r.standard_normal(5)
    offset, weights, y = r.standard_normal(70), r.random(70), (r.random(70) < 0.5).astype(float)
    record, out = link_record(link, *parameters), np.empty((6, 5))
    terms = np.stack([offset, y, weights])
    value = _core.load("fit", isa).whitened_moments(a, terms, record, RULES, mean, factor, spread, out, 1)
    want = fit.whitened_moments(a, offset, y, weights, link, parameters, mean, factor, spread)
    np.testing.assert_allclose(value, want[0], rtol=1e-12)
    np.testing.assert_allclose(out[0], want[1], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(out[1:], want[2], rtol=1e-11, atol=1e-12)
