"""What a fit says: warnings at the user's line, errors that name the mistake, tables for people and for programs."""

import pickle

import numpy as np
import pytest

import sbpfast as sb

r = np.random.default_rng(0)
X = r.standard_normal((60, 2))
LOGISTIC = sb.targets.logistic_regression(X, X[:, 0] > 0.3 * r.standard_normal(60), prior_scale=2.0)


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize(
    "value, grad",
    [
        (lambda x: 0.5 * (x * x).sum(1), lambda x: x),
        (lambda x: np.logaddexp(x, -x).sum(1), np.tanh),
        (lambda x: (0.5 * x * x + np.logaddexp(0.0, x)).sum(1), lambda x: x + 0.5 * (1.0 + np.tanh(0.5 * x))),
    ],
)
def test_a_wrong_sign_is_asked_about(dim, value, grad):
    with pytest.raises(sb.ImproperDensity, match=r"did you return -log p\?"):
        sb.fit(sb.Target(value=value, grad=grad, dim=dim), rng=0)


def test_a_constant_that_hides_everything_is_named():
    f = sb.Target(value=lambda x: np.full(len(x), 1e99), grad=lambda x: 0.0 * x, dim=2)
    with pytest.raises(sb.ImproperDensity, match=r"f is 1e\+99 at the zero vector: rounding hides"):
        sb.fit(f, rng=0)


def test_a_missing_prior_is_still_called_that():
    f = sb.Target(value=lambda x: -0.5 * x[:, 0] ** 2, grad=lambda x: x * [-1.0, 0.0], dim=2)
    with pytest.raises(sb.ImproperDensity, match=r"line of parameters 1 .*give every parameter a proper prior"):
        sb.fit(f, rng=0)


def test_warnings_point_at_the_line_that_called():
    rough = sb.targets.student_t_regression(np.eye(3), np.zeros(3), df=2.0, scale=1.0, prior_scale=np.inf)
    m = sb.BayesianLogisticRegression(max_iter=0, random_state=0)
    for call in (
        lambda: sb.fit(LOGISTIC, max_iter=0, rng=0),
        lambda: sb.fit(rough, rng=0).khat,
        lambda: m.fit(X, X[:, 0] > 0),
    ):
        with pytest.warns(sb.FitWarning) as caught:
            call()
        assert {w.filename for w in caught} == {__file__}


def test_a_fit_from_elsewhere_asks_for_its_target(tmp_path):
    fit = sb.fit(LOGISTIC, rng=0)
    fit.save(tmp_path / "f.npz")
    for other in (sb.Fit.load(tmp_path / "f.npz"), pickle.loads(pickle.dumps(fit))):
        assert other.khat == fit.khat and np.array_equal(other.psis_mean, fit.psis_mean)
        with pytest.raises(ValueError, match=r"do not hold the target: call diagnose\(target=...\)"):
            other.diagnose(1000)
        assert other.diagnose(1000, rng=1, target=LOGISTIC).ess > 0


def test_pickles_hold_no_data():
    rows = np.random.default_rng(1).standard_normal((5000, 2))
    f = sb.targets.logistic_regression(rows, rows[:, 0] > 0.5 * rows[:, 1], prior_scale=2.0)
    data = pickle.dumps(sb.fit(f, rng=0))
    assert rows[:8].tobytes()[:64] not in data and len(data) < 300_000


def test_an_unwritable_file_is_named(tmp_path):
    with pytest.raises(OSError) as error:
        sb.fit(LOGISTIC, rng=0).save(tmp_path / "nowhere" / "f.npz")
    assert error.value.filename == str(tmp_path / "nowhere" / "f.npz") and ".tmp" not in str(error.value)


def test_the_table_as_text_frame_and_html():
    fit = sb.fit(LOGISTIC, rng=0)
    table = fit.summary(["a<b", "dose"])
    html = table._repr_html_()
    assert "a&lt;b" in html and "a<b" not in html
    assert html.count("<tr>") == html.count("</tr>") == 3 and "97.5%" in html
    for i, name in enumerate(table.names):
        line = next(line for line in str(table).splitlines() if line.startswith(name))
        assert all(f"<td>{cell}</td>" in html for cell in line.split()[1:])
        assert float(line.split()[1]) == pytest.approx(fit.q.mean[i], rel=1e-4)
    pytest.importorskip("pandas")
    frame = table.to_frame()
    assert list(frame.index) == ["a<b", "dose"] and list(frame.columns) == list(table.columns)
    np.testing.assert_array_equal(frame["mean"], fit.q.mean)
