"""What the tables of links say in C and in Python is the same."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from c_sources import compiled

import sbpfast
from sbpfast.targets._expectations import curvature_moments
from sbpfast.targets._links import LINKS

PARAMETERS = {"student_t": (4.0, 0.7), "negative_binomial": (2.5,)}
SOURCE = """
#include <math.h>
#include "{header}"
double closed(int k) {{ return link_at(k)->closed != NULL; }}
double softplus(int k) {{ return link_at(k)->softplus; }}
double density(int k) {{ return link_at(k)->density; }}
double mixed(int k) {{ return link_at(k)->mixed; }}
double centre(int k, double y, const double *p) {{ return link_at(k)->centre ? link_at(k)->centre(y, p) : 0.0; }}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    header = Path(__file__).parents[2] / "sbpfast" / "_core" / "links.h"
    library = ctypes.CDLL(compiled(tmp_path_factory.mktemp("links"), SOURCE.format(header=header)))
    for name in ("closed", "softplus", "density", "mixed"):
        getattr(library, name).restype, getattr(library, name).argtypes = ctypes.c_double, [ctypes.c_int]
    library.centre.restype = ctypes.c_double
    library.centre.argtypes = [ctypes.c_int, ctypes.c_double, ctypes.c_void_p]
    return library


@pytest.mark.parametrize("name", LINKS)
def test_rows_agree(name, rows):
    link, parameters = LINKS[name], PARAMETERS.get(name, ())
    p = np.array([*parameters, 0.0])
    assert rows.softplus(link.code) == link.softplus and rows.closed(link.code) == (link.closed is not None)
    assert rows.density(link.code) == link.density and rows.mixed(link.code) == link.mixed
    for y in (0.0, 1.0):
        here = float(np.broadcast_to(link.centre(np.array([y]), *parameters), 1)[0])
        assert rows.centre(link.code, y, p.ctypes.data) == pytest.approx(here, rel=1e-15)


@pytest.mark.parametrize("name", LINKS)
def test_curvature_moments_against_a_fine_sum(name):
    """E[phi'' z^k] as Newton's method takes it, for narrow and wide Gaussians."""
    y = np.array([1.0, 1.0, 1.0, 1.0 if name == "probit" else 0.4])
    m, t = np.array([0.3, -1.0, 2.0, -0.5]), np.array([0.01, 1.0, 3.0, 0.7])
    if LINKS[name].closed is None or name == "cloglog":  # no e^(m + t^2/2) that the sum would have to reach
        m, t, y = np.append(m, 5.0), np.append(t, 40.0), np.append(y, 1.0)
    if name == "negative_binomial":
        y = np.ceil(y)
    parameters = dict(zip(LINKS[name].parameters, PARAMETERS.get(name, ())))
    f = sbpfast.targets.ridge(np.ones((len(m), 1)), 0.0, name, y=y, **parameters)
    z, h = np.linspace(-14.0, 14.0, 140_001, retstep=True)
    density = h * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    got = np.array(curvature_moments(f, m, t, 1))
    for j in range(len(m)):
        at = sbpfast.targets.ridge(np.ones((1, 1)), 0.0, name, y=y[j : j + 1], **parameters)
        w = at.hvp((m[j] + t[j] * z)[:, None], np.ones(1))[:, 0] * density
        np.testing.assert_allclose(got[:, j], [w.sum(), w @ z, w @ z**2], rtol=1e-5, atol=1e-6)
