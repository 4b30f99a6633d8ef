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
    assert plots.free_energy_map(rbm, data=x).get_title() == "free energy"
    assert len(plots.likelihood_curve(rbm).lines) == 1
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
