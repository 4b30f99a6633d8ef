"""Pictures of the Boltzmann machine."""

import numpy as np
import pytest
from rbm_cases import machine, three_gaussians

import sbpfast as sb


def test_pictures():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    from sbpfast.rbm import plots

    x = three_gaussians(n=300)
    rbm = sb.GaussianBernoulliRBM(5, n_epochs=3, rng=0).fit(x)
    assert plots.free_energy_map(rbm, data=x).get_title() == "Free energy"
    assert plots.likelihood_curve(rbm).lines[0].get_label() == "mean log P(v)"
    image = sb.GaussianBernoulliRBM(4, n_epochs=1, rng=0).fit(np.random.default_rng(0).standard_normal((50, 12)))
    fields = plots.receptive_fields(image, (3, 4))
    assert fields.images[0].get_array().shape == (3, 4 * 4 + 3)
    assert plots.chains(image, (3, 4), n_chains=2, times=(0, 5), rng=0).images[0].get_array().shape == (7, 9)
    with pytest.raises(ValueError, match="12 pixels"):
        plots.receptive_fields(image, (3, 3))
    with pytest.raises(ValueError, match="2 features"):
        plots.free_energy_map(image)
    assert plots.chains(image, (3, 4), n_chains=2, times=(0, 1), rng=np.random.default_rng(0)).images
    with pytest.raises(ValueError, match="12 pixels"):
        plots.chains(image, (3, 3))
    with pytest.raises(ValueError, match="n must be at least 1"):
        plots.receptive_fields(image, (3, 4), n=0)
    with pytest.raises(ValueError, match="no history_"):
        plots.likelihood_curve(machine(2, 3))
    for draw in (plots.free_energy_map, lambda rbm: plots.receptive_fields(rbm, (1, 2))):
        with pytest.raises(ValueError, match="not fitted"):
            draw(sb.GaussianBernoulliRBM(2))
    pyplot.close("all")


def test_fields_are_what_units_add_on_one_scale():
    """D W, whose longest column comes first, though a pixel without variance has the largest weights."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    w, sigma = np.array([[1.0, 2.0, 0.1], [0.0, 3.0, 50.0]]), np.array([1.0, 1e-3])
    rbm = sb.GaussianBernoulliRBM.from_params(w, np.zeros(2), np.zeros(3), sigma)
    axes = sb.rbm.plots.receptive_fields(rbm, (1, 2), columns=3)
    image = axes.images[0]
    want = [2.0, 0.003, 0.0, 1.0, 0.0, 0.0, 0.1, 0.05]
    np.testing.assert_allclose(image.get_array(), [want], rtol=1e-14)
    assert image.norm.vmin == -image.norm.vmax and 1.9 < image.norm.vmax <= 2.0
    assert axes.get_title() == "What 3 of 3 hidden units add to an image"
    by_index = sb.rbm.plots.receptive_fields(rbm, (1, 2), n=1, order="index").images[0].get_array()
    np.testing.assert_allclose(by_index, [[1.0, 0.0]])
    pyplot.close("all")


def test_curves_have_a_legend():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    rbm = sb.GaussianBernoulliRBM(3, n_epochs=6, learning_rate=0.3, rng=0).fit(three_gaussians(n=100))
    rbm.best_epoch_ = 2
    texts = [t.get_text() for t in sb.rbm.plots.likelihood_curve(rbm).get_legend().get_texts()]
    assert texts == ["mean log P(v)", "reconstruction error", "epoch 2, which is kept"]
    pyplot.close("all")


def test_pictures_of_nonsense_are_refused():
    pytest.importorskip("matplotlib.pyplot").switch_backend("agg")
    plots, rbm = sb.rbm.plots, machine(2, 3)
    for call, error, text in (
        (lambda: plots.receptive_fields(rbm, 2), ValueError, "image_shape must be two numbers"),
        (lambda: plots.receptive_fields(rbm, (0.5, 4)), TypeError, "image_shape must be an integer"),
        (lambda: plots.receptive_fields(rbm, [1, [2]]), TypeError, "image_shape must be an integer"),
        (lambda: plots.chains(rbm, (1, 2), times=[1, [2]]), TypeError, "times must be an integer"),
        (lambda: plots.receptive_fields(rbm, (1, 2), order=[]), ValueError, "order must be one of"),
        (lambda: plots.chains(rbm, (1, 2), times=()), ValueError, "times must hold at least one"),
        (lambda: plots.chains(rbm, (1, 2), times=(-1,)), ValueError, "times must be at least 0"),
        (lambda: plots.free_energy_map(rbm, data=np.zeros(3)), ValueError, "data must have shape"),
        (lambda: plots.free_energy_map(rbm, limits=3), ValueError, "limits must have shape"),
        (lambda: plots.free_energy_map(rbm, points=1), ValueError, "points must be at least 2"),
    ):
        with pytest.raises(error, match=text):
            call()
