"""Ctrl-C ends a fit after its last whole step; what there is is returned, and the fit can go on from it."""

import signal

import numpy as np
import pytest

import sbpfast as sb


def exact():
    r = np.random.default_rng(0)
    X = r.standard_normal((30, 2))
    return sb.targets.logistic_regression(X, (X[:, 0] > 0).astype(float), prior_scale=1.0), {"tol": 1e-9}


def drawn():
    """The same density without its closed forms."""
    f, _ = exact()
    return sb.Target(value=f.value, grad=f.grad, hess=f.hess, dim=2), {"tol": 0.05, "max_samples": 4096, "rng": 0}


@pytest.mark.parametrize("structure", ["full", "diagonal", "low_rank"])
@pytest.mark.parametrize("make", [exact, drawn])
@pytest.mark.filterwarnings("ignore:The Gaussian is a poor approximation")
def test_the_last_whole_step_is_returned(make, structure, interrupts):
    f, settings = make()
    whole = sb.fit(f, structure=structure, **settings)
    assert whole.n_iter >= 2

    def press(step):
        if step.n_iter == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(sb.FitWarning, match="Interrupted after 1 steps, at a residual of"):
        part = sb.fit(f, structure=structure, callback=press, **settings)
    assert part.n_iter == 1 and not part.converged  # the step that was cut off is undone
    np.testing.assert_array_equal(part.elbo_trace, whole.elbo_trace[:2])
    rest = sb.fit(f, q0=part, structure=structure, **settings)
    np.testing.assert_array_equal(rest.q.mean, whole.q.mean)
    np.testing.assert_array_equal(rest.elbo_trace, whole.elbo_trace)


def test_an_interrupt_before_the_first_moments_is_an_interrupt(interrupts):
    def value(x):
        signal.raise_signal(signal.SIGINT)
        return -0.5 * (x**2).sum(1)

    with pytest.raises(KeyboardInterrupt):
        sb.fit(sb.Target(value=value, grad=lambda x: -x, dim=2), rng=0)
