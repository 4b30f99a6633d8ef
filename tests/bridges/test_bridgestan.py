"""Stan models: a C shim with BridgeStan's symbols and a class with the methods of its StanModel."""

import ctypes

import numpy as np
import pytest
import scipy
from c_sources import compiled

import sbpfast as sb

SOURCE = r"""
/* BridgeStan's C interface for one small model, as a stand-in for a compiled Stan program:

   parameters { real mu; real<lower=0> tau; matrix[2, 3] z; }
   transformed parameters { matrix[2, 3] theta = mu + tau * z; }
   model { mu ~ normal(0, 5); tau ~ exponential(1); to_vector(z) ~ std_normal(); } */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define D 8
typedef struct { double wall; } bs_model;

bs_model *bs_model_construct(double wall) {
    bs_model *m = malloc(sizeof *m);
    m->wall = wall;
    return m;
}

void bs_model_destruct(bs_model *m) { free(m); }

int bs_log_density_gradient(const bs_model *m, bool propto, bool jacobian, const double *theta, double *val,
                            double *grad, char **error_msg) {
    const double mu = theta[0], log_tau = theta[1], tau = exp(log_tau), half_log_2pi = 0.91893853320467274178;
    if (mu > m->wall) {  /* reject() */
        if (error_msg) *error_msg = strdup("rejected");
        return -1;
    }
    double lp = -0.5 * mu * mu / 25.0 - tau;
    if (!propto) lp -= log(5.0) + 7.0 * half_log_2pi;
    if (jacobian) lp += log_tau;
    grad[0] = -mu / 25.0;
    grad[1] = -tau + (jacobian ? 1.0 : 0.0);
    for (int i = 2; i < D; i++) {
        lp -= 0.5 * theta[i] * theta[i];
        grad[i] = -theta[i];
    }
    *val = lp;
    return 0;
}

int bs_param_constrain(const bs_model *m, bool include_tp, bool include_gq, const double *theta, double *out,
                       void *rng, char **error_msg) {
    (void)m; (void)include_gq; (void)rng; (void)error_msg;
    memcpy(out, theta, D * sizeof *out);
    out[1] = exp(theta[1]);
    if (include_tp)
        for (int i = 0; i < 6; i++) out[D + i] = theta[0] + out[1] * theta[2 + i];
    return 0;
}
"""
D = 8


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("stan"), SOURCE)


class StanModel:
    """The methods of bridgestan.StanModel that a target needs."""

    def __init__(self, path, wall=np.inf, threads=True):
        self.stanlib = ctypes.CDLL(path)
        self.threads = threads
        construct = self.stanlib.bs_model_construct
        construct.restype, construct.argtypes = ctypes.c_void_p, [ctypes.c_double]
        self.model = construct(wall)

    def __del__(self):
        self.stanlib.bs_model_destruct(ctypes.c_void_p(self.model))

    def model_info(self):
        return f"STAN_THREADS={str(self.threads).lower()}"

    def param_unc_num(self):
        return D

    def param_unc_names(self):
        return ["mu", "tau", *(f"z.{i}.{j}" for j in (1, 2, 3) for i in (1, 2))]

    def param_names(self, *, include_tp=False, include_gq=False):
        theta = [f"theta.{i}.{j}" for j in (1, 2, 3) for i in (1, 2)]
        return self.param_unc_names() + (theta if include_tp else [])

    def param_constrain(self, theta, *, include_tp=False, include_gq=False):
        theta, out = np.ascontiguousarray(theta), np.empty(D + 6 * include_tp)
        pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)
        self.stanlib.bs_param_constrain(
            ctypes.c_void_p(self.model), include_tp, include_gq, pointer(theta), pointer(out), None, None
        )
        return out

    def log_density_gradient(self, theta, *, propto=True, jacobian=True):
        raise AssertionError("the C symbol is called, not this")


def density(x):
    """Normal and exponential log densities by SciPy, with the Jacobian of tau = exp(x)."""
    norm, tau = scipy.stats.norm.logpdf, np.exp(x[:, 1])
    return norm(x[:, 0], 0, 5) + scipy.stats.expon.logpdf(tau) + x[:, 1] + norm(x[:, 2:]).sum(axis=1)


@pytest.mark.parametrize("threads", [True, False])
def test_the_density_has_every_constant_and_the_jacobian(library, threads):
    target = sb.Target.from_bridgestan(StanModel(library, threads=threads))
    x = np.random.default_rng(0).standard_normal((3000, D))
    value, grad = target._value_and_grad(x)
    np.testing.assert_allclose(value, density(x), rtol=1e-13)
    step = 1e-5 * np.eye(D)
    for i in range(D):
        slope = (density(x[:50] + step[i]) - density(x[:50] - step[i])) / 2e-5
        np.testing.assert_allclose(grad[:50, i], slope, rtol=1e-7, atol=1e-7)


def test_names_shapes_and_scale_are_stans(library):
    table = sb.Target.from_bridgestan(StanModel(library)).model_parameters
    assert table.labels[:4] == ["mu", "tau", "z[1,1]", "z[2,1]"]
    assert {v.name: v.shape for v in table.variables} == {"mu": (), "tau": (), "z": (2, 3), "theta": (2, 3)}
    assert table.variables[2].rows(table.coords)[:4] == ["z[1, 1]", "z[1, 2]", "z[1, 3]", "z[2, 1]"]
    x = np.random.default_rng(0).standard_normal((4, D))
    draws = table.constrain(x)
    np.testing.assert_allclose(draws["tau"], np.exp(x[:, 1]), rtol=1e-15)
    np.testing.assert_array_equal(draws["z"][:, 1, 2], x[:, 7])  # column-major: the last is row 2, column 3
    np.testing.assert_allclose(draws["theta"], x[:, :1, None] + draws["tau"][:, None, None] * draws["z"], rtol=1e-14)
    assert table.constrain(x[:0])["theta"].shape == (0, 2, 3)


@pytest.mark.filterwarnings("ignore:The Gaussian is a poor:sbpfast.FitWarning")  # log tau has an exponential tail
def test_a_stan_model_is_fitted_in_one_line(library):
    fit = sb.fit(StanModel(library), rng=0)
    summary = fit.summary()
    assert summary.names[:3] == ["mu", "tau", "z[1, 1]"] and len(summary.names) == 14
    np.testing.assert_allclose(summary["mean"][0], 0.0, atol=0.3)
    assert fit.log_evidence == pytest.approx(0.0, abs=5 * fit.log_evidence_stderr + 0.01)
    assert set(fit.nuts_init(2, rng=0).initvals[0]) == {"mu", "tau", "z"}


def test_a_point_that_stan_rejects_is_not_finite(library):
    target = sb.Target.from_bridgestan(StanModel(library, wall=3.0))
    with pytest.raises(sb.NonFiniteTarget, match="1 of 2 points"):
        target.value(np.array([[4.0, *[0.0] * 7], [0.0] * 8]))
    with pytest.raises(sb.NonFiniteTarget, match="not finite at the start, where mu = tau = z"):
        sb.Target.from_bridgestan(StanModel(library, wall=-1.0))


def test_what_is_not_a_stan_model_is_named(library):
    with pytest.raises(TypeError, match="got dict without param_unc_num"):
        sb.Target.from_bridgestan({})
    model = StanModel(library)
    symbols, model.stanlib = model.stanlib, ctypes.CDLL(None)
    with pytest.raises(TypeError, match=r"without stanlib\.bs_log_density_gradient"):
        sb.Target.from_bridgestan(model)
    model.stanlib = symbols
    model.param_unc_num = lambda: 0
    with pytest.raises(ValueError, match="no parameters"):
        sb.Target.from_bridgestan(model)
