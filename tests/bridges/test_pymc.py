"""PyMC's models as targets, against PyMC's own densities and closed forms."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from statistics_helpers import assert_unbiased

import sbpfast as sb
from sbpfast.bridges import _pytensor

pm = pytest.importorskip("pymc")
models = pytest.importorskip("pymc_models")
pytestmark = pytest.mark.filterwarnings("default")


def reference(model, x):
    """Value and gradient of PyMC's own functions, one point after another."""
    value, grad = model.compile_logp(mode="FAST_COMPILE"), model.compile_dlogp(mode="FAST_COMPILE")
    start = model.initial_point()
    out = []
    for point in x:
        at, first = {}, 0
        for v in model.value_vars:
            size = np.size(start[v.name])
            at[v.name] = point[first : first + size].reshape(np.shape(start[v.name]))
            first += size
        out.append((value(at), grad(at)))
    return np.array([v for v, _ in out]), np.array([g for _, g in out])


def check_against_pymc(model, target, n=20, rtol=1e-10):
    x = target._first_point() + 0.5 * np.random.default_rng(0).standard_normal((n, target.dim))
    value, grad = reference(model, x)
    for f, g in ((target.value(x), target.grad(x)), target._value_and_grad(x)):
        np.testing.assert_allclose(f, value, rtol=rtol)
        np.testing.assert_allclose(g, grad, rtol=10 * rtol, atol=10 * rtol)


@pytest.fixture(scope="module")
def schools():
    model = models.eight_schools()
    return model, sb.Target.from_pymc(model)


@pytest.fixture(scope="module")
def of_every_transform():
    model = models.transforms()
    return model, sb.Target.from_pymc(model)


def test_the_density_is_pymcs(schools, of_every_transform):
    check_against_pymc(*schools)
    check_against_pymc(*of_every_transform)
    model = models.matrices()
    target = sb.Target.from_pymc(model)
    check_against_pymc(model, target, rtol=1e-6)  # PyMC casts the prior of the scales to float32
    table = target.model_parameters
    assert table.labels[:2] == ["cut_ordered__[0]", "cut_ordered__[1]"] and table.labels[-1] == "beta[b]"
    assert table.constant_data["X"].shape == (3, 2) and table.observed_data["y"].tolist() == [0, 1, 2]
    draws = table.constrain(np.random.default_rng(0).standard_normal((9, target.dim)))
    assert (np.diff(draws["cut"]) > 0).all() and draws["chol_corr"].shape == (9, 2, 2)
    with model:
        pm.set_data({"X": np.zeros((3, 2))})
    with pytest.raises(AssertionError):
        check_against_pymc(model, target, rtol=1e-6)  # the data are those of the time it was made


@pytest.mark.parametrize("way", [_pytensor.by_jax, _pytensor.by_numpy, _pytensor.by_numba, _pytensor.by_point])
def test_every_way_to_evaluate_gives_the_same(way, monkeypatch):
    pytest.importorskip({"by_jax": "jax", "by_numba": "numba"}.get(way.__name__, "pymc"))
    model, _ = models.conjugate_normal()
    only = [_pytensor.Way(way, 1.0)]
    monkeypatch.setattr("sbpfast.bridges._pymc.ways_for_pairs", lambda: only)
    target = sb.Target.from_pymc(model)
    check_against_pymc(model, target)
    assert target.value(np.zeros((0, 3))).shape == (0,) and target.grad(np.zeros((0, 3))).shape == (0, 3)


def test_the_quickest_way_is_chosen():
    def way(seconds, compilation=0.0, fails=False):
        def make(x, outputs, dim):
            if fails:
                raise NotImplementedError("cannot translate")

            def call(points):
                time.sleep(seconds * len(points))
                return seconds

            return call

        return _pytensor.Way(make, compilation)

    x = np.zeros((8, 1))
    chosen = lambda ways, points=1000: _pytensor.fastest(None, [], x, points, ways)(x[:0])
    assert chosen([way(1e-2), way(1e-3), way(5e-3)]) == 1e-3
    assert chosen([way(1e-2), way(1e-3, compilation=60.0)]) == 1e-2
    assert chosen([way(0.0, fails=True), way(1e-3), way(1e-4, fails=True)]) == 1e-3
    with pytest.raises(NotImplementedError, match="cannot translate"):
        chosen([way(0.0, fails=True)])


def test_order_names_and_coordinates_are_the_models(schools):
    model, target = schools
    table = target.model_parameters
    assert table.labels[:3] == ["mu", "tau_log__", "z[Choate]"] and len(table.labels) == 10
    assert [v.name for v in model.value_vars] == [piece.name for piece in table.pieces]
    assert {v.name: (v.shape, v.dims) for v in table.variables} == {
        "mu": ((), None), "z": ((8,), ("school",)), "tau": ((), None), "theta": ((8,), ("school",))
    }  # fmt: skip
    assert table.coords["school"].tolist() == models.SCHOOLS
    np.testing.assert_array_equal(table.observed_data["y"], models.Y)


def test_draws_come_back_on_the_models_scale(schools):
    _, target = schools
    x = np.random.default_rng(0).standard_normal((5, 10))
    draws = target.model_parameters.constrain(x)
    np.testing.assert_allclose(draws["tau"], np.exp(x[:, 1]), rtol=1e-13)
    np.testing.assert_allclose(draws["theta"], x[:, :1] + np.exp(x[:, 1:2]) * x[:, 2:], rtol=1e-12)


def test_pointwise_log_likelihoods_add_up(schools):
    _, target = schools
    x = np.random.default_rng(0).standard_normal((5, 10))
    draws, terms = target.model_parameters.constrain(x), target.model_parameters.log_likelihood(x)["y"]
    z = (models.Y - draws["theta"]) / models.SIGMA
    np.testing.assert_allclose(terms, -0.5 * z**2 - np.log(models.SIGMA) - 0.5 * np.log(2 * np.pi), rtol=1e-11)


def test_a_conjugate_model_in_one_line():
    model, y = models.conjugate_normal()
    fit = sb.fit(model, rng=0)
    precision = len(y) + 0.25
    summary = fit.summary()
    assert summary.names == ["beta[control]", "beta[treated]", "x"]
    np.testing.assert_allclose(summary["mean"], [0.0, 10.0, y.sum() / precision], atol=0.02)
    np.testing.assert_allclose(summary["sd"], [1.0, 2.0, precision**-0.5], rtol=0.06)
    cov = np.eye(len(y)) + 4.0
    evidence = -0.5 * (y @ np.linalg.solve(cov, y) + np.linalg.slogdet(2 * np.pi * cov)[1])
    assert fit.log_evidence == pytest.approx(evidence, abs=0.01)
    assert fit.names == fit.model_parameters.labels


def test_constrained_moments_against_closed_forms(of_every_transform):
    _, target = of_every_transform
    fit = sb.fit(target, rng=0)
    assert fit.khat < 0.7
    draws = fit.posterior(20_000, rng=1, resample=True)
    closed = {
        "rate": (0.5, 20**0.5 / 40), "share": (0.6, (0.6 * 0.4 / 51) ** 0.5), "place": (1.0, 4 / 12**0.5),
        "size": (2.0, 30**0.5 / 15),
        "parts": (np.array([4, 3, 2]) / 9, np.sqrt(np.array([4 * 5, 3 * 6, 2 * 7]) / 81 / 91)),
    }  # fmt: skip
    for name, (mean, sd) in closed.items():
        error = sd / np.sqrt(min(fit.ess, 5000))
        assert_unbiased(draws[name].mean(axis=0), mean, error, freedom=np.inf)
        np.testing.assert_allclose(draws[name].std(axis=0), np.broadcast_to(sd, draws[name].shape[1:]), rtol=0.1)
    np.testing.assert_allclose(draws["parts"].sum(axis=1), 1.0, rtol=1e-12)
    assert_unbiased(fit.log_evidence, 0.0, fit.log_evidence_stderr, freedom=np.inf, rounding=0.01)


def test_the_example_of_the_readme():
    page = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = [b for b in re.findall(r"```py\n(.*?)```", page, re.DOTALL) if "pymc" in b]
    namespace: dict = {}
    exec(compile(block, "README.md", "exec"), namespace)
    assert "theta[Choate]" in namespace["fit"].summary().names
    assert namespace["draws"]["theta"].shape == (4000, 8) and len(namespace["start"].initvals) == 4


# -- bad input --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_fitted_is_named():
    with pm.Model() as discrete:
        pm.Poisson("count", 3.0)
        pm.Normal("x")
    with pytest.raises(ValueError, match="discrete free variables, 'count'"):
        sb.Target.from_pymc(discrete)
    with pm.Model() as empty:
        pm.Normal("y", 0, 1, observed=[1.0])
    with pytest.raises(ValueError, match="no free variables"):
        sb.fit(empty)
    with pm.Model() as exchanged:
        y = pm.Data("data", np.array([1.0, 2.0]))
        pm.Normal("y", pm.Normal("x"), 1, observed=y)
    y.set_value(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="observed values of 'y' hold NaN"):
        sb.Target.from_pymc(exchanged)
    with pm.Model() as imputed:
        pm.Normal("y", pm.Normal("x"), 1, observed=np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"observed values of 'y' hold NaN, which PyMC has made .*'y_unobserved'"):
        sb.fit(imputed)
    with pytest.raises(TypeError, match=r"must be a pymc\.Model, got dict"):
        sb.Target.from_pymc({})
    with pytest.raises(TypeError, match=r"one of a sbpfast\.Target, a pymc\.Model, .*; got dict"):
        sb.fit({})


def test_a_density_that_is_not_finite_at_the_start_is_named():
    with pm.Model() as model:
        x = pm.Normal("x", 0, 1, initval=2.5)
        pm.Uniform("y", 0, x, observed=[1.0, 3.0])
    with pytest.raises(sb.NonFiniteTarget, match=r"log p\(y\) = -inf where x = 2\.5"):
        sb.Target.from_pymc(model)


def test_minibatches_are_refused():
    with pm.Model() as model:
        batch = pm.Minibatch(np.arange(100.0), batch_size=10)
        pm.Normal("y", pm.Normal("x"), 1, observed=batch, total_size=100)
    with pytest.raises(ValueError, match="minibatches are not taken"):
        sb.Target.from_pymc(model)


def test_what_a_model_raises_reaches_the_caller():
    import pytensor.tensor as pt
    from pytensor.graph.op import Op

    class Broken(Op):
        """Has a gradient, and no value."""

        itypes, otypes = [pt.dscalar], [pt.dscalar]

        def perform(self, node, inputs, outputs):
            raise ZeroDivisionError("mine")

        def pullback(self, inputs, outputs, cotangents):
            return cotangents

        L_op = pullback

    with pm.Model() as model:
        pm.Potential("p", Broken()(pm.Normal("x")))
    with pytest.raises(ZeroDivisionError, match="mine"):
        sb.Target.from_pymc(model)
