"""The page of a fit: nothing on it lies over anything else, and nothing that matters lies outside."""

import itertools
import pickle

import numpy as np
import pytest

import sbpfast as sb

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("ignore:The (Gaussian is a poor|data say little):sbpfast.FitWarning")


def logistic(names, scale=1.0, rows=200):
    r = np.random.default_rng(0)
    X = r.standard_normal((rows, len(names))) * scale
    m = sb.BayesianLogisticRegression(random_state=0).fit(X, X[:, 0] / scale + r.standard_normal(rows) > 0)
    m.fit_.names = [*names, "intercept"]
    return m.fit_


def far(dim):
    f = sb.Target(
        value=lambda x: 12345678.0 - np.logaddexp(x - 1e6, 1e6 - x).sum(1), grad=lambda x: -np.tanh(x - 1e6), dim=dim
    )
    return sb.fit(f, sb.Gaussian(np.full(dim, 1e6), np.eye(dim)), rng=0)


def linear():
    r = np.random.default_rng(0)
    X = r.standard_normal((50, 3))
    return sb.BayesianLinearRegression(random_state=0).fit(X, X @ [1.0, 2.0, 3.0] + r.standard_normal(50)).fit_


FITS = {
    "ordinary": lambda: logistic(["age", "dose"]),
    "long names": lambda: logistic([f"a very long name of the parameter that has number {i}" * 2 for i in range(7)]),
    "many": lambda: logistic([f"x{i}" for i in range(40)]),
    "small units": lambda: logistic(["a", "b", "c"], 1e7),
    "large units": lambda: logistic(["a", "b", "c"], 1e-7),
    "far from 0": lambda: far(4),
    "a good fit": lambda: logistic(["a", "b", "c"], rows=20_000),
    "no step": linear,
    "one parameter": lambda: far(1),
    "a pickle": lambda: pickle.loads(pickle.dumps(logistic(["a", "b"], rows=12))),
}


@pytest.mark.parametrize("name", FITS)
def test_nothing_collides(name, tmp_path):
    fit = FITS[name]()
    figure = fit.plot(tmp_path / "page.png")
    figure.draw_without_rendering()
    axes = [a for part in figure.subfigs for a in part.axes if a.axison]
    texts = []
    for a in axes:
        shown = [t for t in (a.title, a._left_title) if t.get_text()]
        ticks = [
            t for t in a.get_xticklabels() if t.get_text() and a.get_xlim()[0] <= t.get_position()[0] <= a.get_xlim()[1]
        ]
        assert a.xaxis.get_offset_text().get_text() == a.yaxis.get_offset_text().get_text() == ""
        assert len(ticks) >= 1
        texts += [(t.get_window_extent(), t.get_text()) for t in shown + ticks]
    for (one, what), (other, which) in itertools.combinations(texts, 2):
        assert not one.overlaps(other), (what, which)
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 for box, _ in texts)


@pytest.mark.parametrize("name", ["ordinary", "a good fit", "far from 0"])
def test_the_panels_show_their_points(name):
    figure = FITS[name]().plot()
    trace, weights = figure.subfigs[0].axes
    for a in (trace, weights):
        low, high = a.get_ylim()
        points = np.concatenate([line.get_ydata() for line in a.get_lines()])
        inside = (points >= low) & (points <= high)
        assert inside.mean() > 0.99
        height = np.log(points[inside].max() / points[inside].min()) / np.log(high / low)
        assert height > (0.3 if name != "a good fit" or a is trace else 0.02)
        assert low <= 1.0 <= high or a is trace
