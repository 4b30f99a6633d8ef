"""Value and gradient in one evaluation: the callable of `Target`, and C functions by their calling conventions."""

import ctypes

import numpy as np
import pytest
import scipy
from c_sources import compiled

import sbpfast as sb

pointer = ctypes.POINTER(ctypes.c_double)
SCALE = np.arange(1.0, 4.0)


def value(x):
    return (np.cos(x) * SCALE).sum(axis=1)


def grad(x):
    return -np.sin(x) * SCALE


def points(n=200):
    return np.random.default_rng(0).standard_normal((n, 3))


class Counted:
    """A pair of value and gradient that counts its points."""

    def __init__(self):
        self.n = 0

    def __call__(self, x):
        self.n += len(x)
        return value(x), grad(x)


# -- the callable -----------------------------------------------------------------------------------------------------


def test_a_pair_alone_gives_value_and_gradient():
    target, x = sb.Target(value_and_grad=Counted(), dim=3), points()
    np.testing.assert_array_equal(target.value(x), value(x))
    np.testing.assert_array_equal(target.grad(x), grad(x))
    assert "value_and_grad" in repr(target)


@pytest.mark.parametrize("estimator", ["pathwise", "score", "combined", "stein"])
def test_estimators_evaluate_a_pair_once_at_a_point(estimator):
    q, pair = sb.Gaussian(np.zeros(3), 0.5 * np.eye(3)), Counted()
    got = sb.expectation_grad(sb.Target(value_and_grad=pair, dim=3), q, estimator=estimator, n_samples=512, rng=0)
    want = sb.expectation_grad(sb.Target(value, grad, dim=3), q, estimator=estimator, n_samples=512, rng=0)
    for name in want.grad:
        np.testing.assert_array_equal(got.grad[name], want.grad[name])
    pilot = {"combined": 2, "stein": 2}.get(estimator, 1)
    assert pair.n <= pilot * 512


def test_a_fit_evaluates_a_pair_where_both_are_wanted_and_the_value_where_it_alone_is():
    pair, alone = Counted(), {"n": 0}

    def log_density(x):
        alone["n"] += len(x)
        return -np.log(np.cosh(x)).sum(axis=1)

    def both(x):
        pair.n += len(x)
        return -np.log(np.cosh(x)).sum(axis=1), -np.tanh(x)

    fit = sb.fit(sb.Target(log_density, value_and_grad=both, dim=3), rng=0)
    plain = sb.fit(sb.Target(log_density, lambda x: -np.tanh(x), dim=3), rng=0)
    np.testing.assert_array_equal(fit.q.mean, plain.q.mean)
    assert pair.n > 0 and alone["n"] > 0


@pytest.mark.parametrize(
    "wrong, error, text",
    [
        (lambda x: value(x), TypeError, "must return a pair"),
        (lambda x: (value(x), grad(x)[:, :2]), ValueError, r"grad must return shape \(200, 3\)"),
        (lambda x: (grad(x), grad(x)), ValueError, r"value must return shape \(200,\)"),
        (lambda x: (np.full(len(x), np.nan), grad(x)), sb.NonFiniteTarget, "f is not finite at 200 of 200"),
        (lambda x: (value(x), np.full_like(x, np.inf)), sb.NonFiniteTarget, "gradient of f is not finite"),
    ],
)
def test_a_wrong_pair_is_named(wrong, error, text):
    with pytest.raises(error, match=text):
        sb.Target(value_and_grad=wrong, dim=3)._value_and_grad(points())


def test_what_a_pair_raises_reaches_the_caller():
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sb.fit(sb.Target(value_and_grad=broken, dim=3))
    with pytest.raises(TypeError, match="value_and_grad must be callable, got int"):
        sb.Target(value_and_grad=3, dim=3)


# -- C functions ------------------------------------------------------------------------------------------------------

SOURCE = """
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

static int density(intptr_t d, const double *x, double factor, double *value, double *grad) {
    double sum = 0;
    for (intptr_t i = 0; i < d; i++) {
        if (x[i] > 100) return 1;
        sum += factor * cos(x[i]) * (i + 1);
        grad[i] = -factor * sin(x[i]) * (i + 1);
    }
    *value = sum;
    return 0;
}
int plain(const double *x, intptr_t d, double *value, double *grad, void *user) {
    return density(d, x, user ? *(double *)user : 1.0, value, grad);
}
int64_t nutpie(uint64_t d, double *x, double *grad, double *value, void *user) {
    return -density((intptr_t)d, x, user ? *(double *)user : 1.0, value, grad);
}
typedef struct { int d; double factor; } model;
int stan(const model *m, bool propto, bool jacobian, const double *x, double *value, double *grad, char **error) {
    if (propto || !jacobian) return -1;
    return -density(m->d, x, m->factor, value, grad);
}
double scalar(double x) { return x; }
"""


class Model(ctypes.Structure):
    _fields_ = [("d", ctypes.c_int), ("factor", ctypes.c_double)]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    lib = ctypes.CDLL(compiled(tmp_path_factory.mktemp("c"), SOURCE))
    lib.plain.restype = ctypes.c_int
    lib.plain.argtypes = [pointer, ctypes.c_ssize_t, pointer, pointer, ctypes.c_void_p]
    lib.nutpie.restype = ctypes.c_int64
    lib.nutpie.argtypes = [ctypes.c_uint64, pointer, pointer, pointer, ctypes.c_void_p]
    lib.stan.restype = ctypes.c_int
    lib.stan.argtypes = [
        ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool, pointer, pointer, pointer, ctypes.POINTER(ctypes.c_char_p)
    ]  # fmt: skip
    lib.scalar.restype, lib.scalar.argtypes = ctypes.c_double, [ctypes.c_double]
    return lib


def check_pair(target, factor=1.0, n=200):
    x = points(n)
    for f, g in ((target.value(x), target.grad(x)), target._value_and_grad(x)):
        np.testing.assert_allclose(f, factor * value(x), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(g, factor * grad(x), rtol=1e-13, atol=1e-14)


def with_data(function, data, signature=None):
    address = ctypes.cast(ctypes.pointer(data), ctypes.c_void_p)
    return scipy.LowLevelCallable(function, address, signature=signature)


def test_every_calling_convention(library):
    factor, model = ctypes.c_double(2.5), Model(3, -0.5)
    check_pair(sb.Target.from_cfunc(value_and_grad=library.plain, dim=3))
    check_pair(sb.Target.from_cfunc(value_and_grad=library.nutpie, dim=3), n=10_000)
    check_pair(sb.Target.from_cfunc(value_and_grad=with_data(library.plain, factor), dim=3), factor=2.5)
    check_pair(sb.Target.from_cfunc(value_and_grad=with_data(library.nutpie, factor), dim=3), factor=2.5)
    signature = "int (const model *, bool, bool, const double *, double *, double *, char **)"
    check_pair(sb.Target.from_cfunc(value_and_grad=with_data(library.stan, model, signature), dim=3), factor=-0.5)


@pytest.mark.parametrize("convention", ["plain", "nutpie"])
def test_a_status_is_a_point_that_is_not_finite(library, convention):
    target = sb.Target.from_cfunc(value_and_grad=getattr(library, convention), dim=3)
    x = points()
    x[[7, 100], 1] = 200.0
    with pytest.raises(sb.NonFiniteTarget, match=r"f is not finite at 2 of 200 points, first at x = \[.*, 200, "):
        target.value(x)
    with pytest.raises(sb.NonFiniteTarget, match="2 of 200 points"):
        target._value_and_grad(x)


@pytest.mark.filterwarnings("ignore:The density has another mode:sbpfast.FitWarning")  # a sum of cosines has many
def test_a_c_function_is_fitted(library):
    target = sb.Target.from_cfunc(value_and_grad=with_data(library.plain, ctypes.c_double(30.0)), dim=3)
    fit, want = sb.fit(target, rng=0), sb.fit(sb.Target(lambda x: 30 * value(x), lambda x: 30 * grad(x), dim=3), rng=0)
    np.testing.assert_allclose(fit.q.cov, want.q.cov, rtol=1e-9)


def test_numba_functions_of_both_orders():
    numba = pytest.importorskip("numba")
    t = numba.types
    double_pointer = t.CPointer(t.float64)

    @numba.cfunc(t.intc(double_pointer, t.intp, double_pointer, double_pointer, t.voidptr))
    def plain(x, d, value, grad, user):
        value[0] = 0.0
        for i in range(d):
            value[0] += np.cos(x[i]) * (i + 1)
            grad[i] = -np.sin(x[i]) * (i + 1)
        return 0

    @numba.cfunc(t.int64(t.uint64, double_pointer, double_pointer, double_pointer, t.voidptr))
    def nutpie(d, x, grad, value, user):
        value[0] = 0.0
        for i in range(d):
            value[0] += np.cos(x[i]) * (i + 1)
            grad[i] = -np.sin(x[i]) * (i + 1)
        return 0

    for f in (plain, nutpie, nutpie.ctypes, scipy.LowLevelCallable(plain.ctypes)):
        check_pair(sb.Target.from_cfunc(value_and_grad=f, dim=3))


# -- signatures -------------------------------------------------------------------------------------------------------


def refuses(match="must have one of the signatures", **function):
    with pytest.raises(TypeError, match=match):
        sb.Target.from_cfunc(**function, dim=3)


def test_numba_functions_of_another_signature_are_refused():
    numba = pytest.importorskip("numba")
    t = numba.types
    p = t.CPointer(t.float64)
    signatures = [
        t.void(p, t.intp, p, t.voidptr),
        t.float64(t.float64),
        t.float64(p, t.int32, t.voidptr),
        t.float64(t.CPointer(t.float32), t.intp, t.voidptr),
        t.float32(p, t.intp, t.voidptr),
        t.int64(t.uint64, p, p, p),
    ]
    functions = [
        numba.cfunc(signatures[0])(lambda x, d, o, u: None),
        numba.cfunc(signatures[1])(lambda x: x),
        numba.cfunc(signatures[2])(lambda x, d, u: 1.0),
        numba.cfunc(signatures[3])(lambda x, d, u: 1.0),
        numba.cfunc(signatures[4])(lambda x, d, u: 1.0),
        numba.cfunc(signatures[5])(lambda d, x, g, f: 0),
    ]
    for f in functions:
        refuses(value=f)
        refuses(value_and_grad=f)
    for f in functions[1:]:
        refuses(grad=f)


def test_ctypes_functions_of_another_signature_are_refused(library):
    refuses(value=library.scalar)
    refuses(grad=library.plain)
    refuses(value=library.plain)
    refuses(value_and_grad=library.scalar)
    untyped = ctypes.CDLL(library._name).plain
    refuses("set its argtypes and restype", value_and_grad=untyped)
    untyped.argtypes = [pointer, ctypes.c_ssize_t, pointer, pointer, ctypes.c_void_p]
    sb.Target.from_cfunc(value_and_grad=untyped, dim=3)  # int is ctypes' own default
    untyped.restype = ctypes.c_double
    refuses(value_and_grad=untyped)
    singles = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.POINTER(ctypes.c_float), ctypes.c_ssize_t, ctypes.c_void_p)
    refuses(value=singles(lambda x, d, user: 0.0))
    short = ctypes.CFUNCTYPE(ctypes.c_double, pointer, ctypes.c_int, ctypes.c_void_p)
    refuses(value=short(lambda x, d, user: 0.0))


def test_low_level_callables_of_another_signature_are_refused(library):
    refuses(value=scipy.LowLevelCallable(library.scalar))
    refuses(value_and_grad=scipy.LowLevelCallable(library.plain, signature="double (double *, intptr_t, void *)"))
    refuses(value=scipy.LowLevelCallable(library.plain))
    refuses(value=scipy.LowLevelCallable(library.plain, signature="nonsense"))
    refuses("needs the model as user data", value_and_grad=library.stan)


def test_functions_of_python_are_taken_from_ctypes():
    kind = ctypes.CFUNCTYPE(ctypes.c_double, pointer, ctypes.c_ssize_t, ctypes.c_void_p)
    array = np.ctypeslib.ndpointer(dtype=np.float64)
    f = kind(lambda x, d, user: sum(np.cos(x[i]) * (i + 1) for i in range(d)))
    np.testing.assert_allclose(sb.Target.from_cfunc(value=f, dim=3).value(points()), value(points()), rtol=1e-13)
    f.argtypes = [array, ctypes.c_long, ctypes.c_void_p]
    sb.Target.from_cfunc(value=f, dim=3)
