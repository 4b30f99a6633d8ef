"""Formulas: design, response, groups and slopes against columns made by hand; new rows; pickles; what is refused."""

import pickle
import sys

import numpy as np
import pytest

import sbpfast as sb
from sbpfast.regression._formula import parse_formula

pandas = pytest.importorskip("pandas")
pytest.importorskip("formulae")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation:sbpfast.FitWarning"),
    pytest.mark.filterwarnings("ignore:The data say little:sbpfast.FitWarning"),
]

N = 60
r = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "x": r.standard_normal(N),
        "kind": r.choice(["a", "b", "c"], N),
        "flag": r.random(N) < 0.5,
        "site": np.tile(["p", "q", "r", "s"], N // 4),
        "year": np.repeat([2001, 2002, 2003], N // 3),
        "size": r.integers(4, 9, N),
    }
)
FRAME["grade"] = pandas.Categorical(r.choice(["low", "high"], N), categories=["low", "middle", "high"])
FRAME["log e"] = r.random(N)
FRAME["successes"] = r.binomial(FRAME["size"], 1.0 / (1.0 + np.exp(-FRAME["x"])))
FRAME["yes"] = FRAME["successes"] > 2
FRAME["count"] = r.poisson(np.exp(0.5 * FRAME["x"] + FRAME["log e"]))
FRAME["real"] = FRAME["x"] + (FRAME["kind"] == "b") + 0.1 * r.standard_normal(N)


def frames():
    polars = pytest.importorskip("polars")
    made = polars.DataFrame({name: FRAME[name].to_list() for name in FRAME})
    made = made.with_columns(grade=polars.col("grade").cast(polars.Enum(["low", "middle", "high"])))
    return {"pandas": FRAME, "polars": made, "dict": {name: FRAME[name] for name in FRAME}}


@pytest.mark.parametrize("kind", ["pandas", "polars", "dict"])
def test_columns_are_those_made_by_hand(kind):
    text = "count ~ x + kind + flag + grade + C(year) + x:kind + np.exp(x) + offset(`log e`)"
    formula, rows = parse_formula(text, frames()[kind])
    is_ = {name: (FRAME["kind"] == name).to_numpy(float) for name in "abc"}
    x = FRAME["x"].to_numpy()
    want = {
        "x": x, "kind[b]": is_["b"], "kind[c]": is_["c"], "flag[True]": FRAME["flag"],
        "grade[high]": FRAME["grade"] == "high", "C(year)[2002]": FRAME["year"] == 2002,
        "C(year)[2003]": FRAME["year"] == 2003,
        "x:kind[b]": x * is_["b"], "x:kind[c]": x * is_["c"], "np.exp(x)": np.exp(x),
    }  # fmt: skip
    assert formula.names == list(want) and formula.intercept and rows.trials is None
    np.testing.assert_allclose(rows.X, np.column_stack([np.asarray(v, dtype=float) for v in want.values()]))
    np.testing.assert_array_equal(rows.y, FRAME["count"])
    np.testing.assert_array_equal(rows.offset, FRAME["log e"])
    assert rows.groups == {} and rows.slopes == {} and formula.group_intercepts == {}


def test_without_an_intercept_every_level_has_a_column():
    formula, rows = parse_formula("real ~ 0 + kind + x", FRAME)
    assert not formula.intercept and formula.names == ["kind[a]", "kind[b]", "kind[c]", "x"]
    np.testing.assert_array_equal(rows.X[:, :3].sum(1), 1.0)


@pytest.mark.parametrize("text", ["successes / size ~ x", "proportion(successes, size) ~ x", "successes / 9 ~ x"])
def test_proportions_are_successes_and_trials(text):
    _, rows = parse_formula(text, FRAME)
    np.testing.assert_array_equal(rows.y, FRAME["successes"])
    np.testing.assert_array_equal(rows.trials, 9.0 if "9" in text else FRAME["size"])


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_groups_and_slopes(kind):
    text = "real ~ 1 + (1 + x + kind | site) + (0 + x | year) + (1 | site:year)"
    formula, rows = parse_formula(text, frames()[kind])
    assert formula.group_intercepts == {"site": True, "year": False, "site:year": True}
    assert formula.slope_names == {"site": ["x", "kind[b]", "kind[c]"], "year": ["x"]}
    assert set(rows.slopes) == {"site", "year"} and rows.X.shape == (N, 0)
    np.testing.assert_array_equal(rows.groups["site"], FRAME["site"])
    np.testing.assert_array_equal(rows.groups["year"], FRAME["year"])
    assert rows.groups["site:year"][[0, -1]].tolist() == ["p:2001", "s:2003"]
    np.testing.assert_array_equal(rows.slopes["year"][:, 0], FRAME["x"])
    np.testing.assert_array_equal(rows.slopes["site"][:, 1], FRAME["kind"] == "b")
    nested = parse_formula("real ~ x + (1 | site/year)", FRAME)[1]
    assert list(nested.groups) == ["site", "site:year"]


def test_a_million_labels_are_no_matrix():
    many = pandas.DataFrame({"y": np.zeros(200_000), "g": np.arange(200_000)})
    _, rows = parse_formula("y ~ (1 | g)", many)
    np.testing.assert_array_equal(rows.groups["g"], many["g"])


def test_new_rows_know_levels_and_transforms_and_hold_no_data():
    text = "real ~ scale(x) + poly(x, 2) + kind:flag + offset(`log e`) + (1 + center(x) | site)"
    formula, rows = parse_formula(text, FRAME)
    data = pickle.dumps(formula)
    again = pickle.loads(data)
    assert FRAME["x"].to_numpy()[:4].tobytes() not in data
    some = FRAME.iloc[[3, 17, 40]]
    for f in (formula, again):
        new = f.rows(some)
        np.testing.assert_allclose(new.X, rows.X[[3, 17, 40]])
        np.testing.assert_allclose(new.offset, rows.offset[[3, 17, 40]])
        np.testing.assert_allclose(new.slopes["site"], rows.slopes["site"][[3, 17, 40]])
        assert new.y is None and new.groups["site"].tolist() == some["site"].tolist()


def broken(**columns):
    return FRAME.assign(**columns)


@pytest.mark.parametrize(
    "text, data, error, message",
    [
        (3, FRAME, TypeError, "formula must be a str"),
        ("real ~ x +", FRAME, ValueError, "formula 'real ~ x \\+' cannot be read"),
        ("x + kind", FRAME, ValueError, "must have a response"),
        ("real ~ height", FRAME, ValueError, "no column 'height' in data; its columns are x, kind"),
        ("real ~ np.nope(x)", FRAME, ValueError, "cannot be evaluated: .*nope"),
        ("real ~ np.log(x)", FRAME, ValueError, "'np.log\\(x\\)' is not finite in [0-9]+ of 60 rows"),
        ("real ~ x + (1 | np.log(size))", FRAME, ValueError, "a column, or columns joined by ':'"),
        ("size / successes ~ x", FRAME, ValueError, "'successes' cannot be greater"),
        ('kind["z"] ~ x', FRAME, ValueError, "no value of 'kind' equals 'z'"),
        ("offset(x) ~ kind", FRAME, ValueError, "cannot be a response"),
        ("real ~ x", np.zeros((3, 2)), TypeError, "data frame or a dict of columns, got ndarray"),
        ("real ~ x", FRAME[:0], ValueError, "at least one row"),
        ("real ~ when", broken(when=pandas.Timestamp("2020-01-01")), TypeError, "'when' must hold numbers.*datetime64"),
        ("real ~ mixed", broken(mixed=[1, "a"] * 30), TypeError, "'mixed' must hold numbers.*int and str"),
        (
            "real ~ x + kind",
            broken(x=FRAME["x"].where(FRAME["x"] > 9), kind=FRAME["kind"].where(FRAME.index > 1)),
            ValueError,
            "missing values, 2 in 'kind', 60 in 'x'",
        ),
    ],
)
def test_what_is_refused(text, data, error, message):
    with pytest.raises(error, match=message):
        parse_formula(text, data)


def test_a_level_that_was_not_there():
    formula, _ = parse_formula("real ~ kind", FRAME)
    with pytest.raises(ValueError, match="'kind' cannot be evaluated: The levels \\(z\\)"):
        formula.rows(pandas.DataFrame({"kind": ["a", "z"]}))


def test_formulae_is_asked_for_only_when_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "formulae.model_description", None)
    with pytest.raises(ImportError, match=r"pip install 'sbpfast\[formula\]'"):
        sb.BayesianLinearRegression.from_formula("real ~ x", FRAME)


# -- in the estimators -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, text, made",
    [
        (sb.BayesianLogisticRegression, "successes / size ~ x + kind", {"y": "successes", "trials": "size"}),
        (sb.BayesianProbitRegression, "yes ~ x + kind", {"y": "yes"}),
        (sb.BayesianPoissonRegression, "count ~ x + kind + offset(`log e`)", {"y": "count", "offset": "log e"}),
        (sb.BayesianLinearRegression, "real ~ x + kind", {"y": "real"}),
        (sb.BayesianStudentTRegression, "real ~ x + kind", {"y": "real"}),
    ],
)
def test_a_formula_is_the_same_as_its_columns(model, text, made):
    fitted = model.from_formula(text, FRAME, sample_weight="size", random_state=0)
    X = np.column_stack([FRAME["x"], FRAME["kind"] == "b", FRAME["kind"] == "c"]).astype(float)
    arrays = {name: FRAME[column].to_numpy() for name, column in made.items()}
    plain = model(random_state=0).fit(X, sample_weight=FRAME["size"].to_numpy(), **arrays)
    np.testing.assert_array_equal(fitted.coef_, plain.coef_)
    assert "kind[c]" in str(fitted.summary()) and fitted.feature_names_in_.tolist() == ["x", "kind[b]", "kind[c]"]
    offset = arrays.get("offset")
    np.testing.assert_array_equal(fitted.predict(FRAME), plain.predict(X, offset=offset))
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(frames()["polars"]), fitted.predict(FRAME))
    twice = None if offset is None else offset[:5]
    np.testing.assert_array_equal(
        again.predict(FRAME[:5], offset=np.ones(5)), plain.predict(X[:5], offset=1.0 if twice is None else 1.0 + twice)
    )
    assert fitted.fit(X, sample_weight=FRAME["size"].to_numpy(), **arrays) is fitted and not hasattr(fitted, "formula_")


def test_what_an_estimator_refuses():
    for text, model, error, message in (
        ("real ~ x + (1 | site)", sb.BayesianLinearRegression, ValueError, "has no groups, got \\('site'\\)"),
        ("successes / size ~ x", sb.BayesianPoissonRegression, ValueError, "takes no proportions"),
        ("kind ~ x", sb.BayesianPoissonRegression, ValueError, "y must hold real numbers"),
    ):
        with pytest.raises(error, match=message):
            model.from_formula(text, FRAME)
    with pytest.raises(TypeError, match="write 0 \\+ to leave it out"):
        sb.BayesianLinearRegression.from_formula("real ~ x", FRAME, fit_intercept=False)
    with pytest.raises(ValueError, match="no column 'heft'"):
        sb.BayesianLinearRegression.from_formula("real ~ x", FRAME, sample_weight="heft")
    with pytest.raises(TypeError, match="sample_weight must name a column of numbers"):
        sb.BayesianLinearRegression.from_formula("real ~ x", FRAME, sample_weight="kind")
    assert sb.BayesianLinearRegression.from_formula("real ~ 0 + x", FRAME).intercept_ == 0.0
