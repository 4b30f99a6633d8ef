"""Calls of the bridges that need no other package: C functions, and what looks like a model of Stan."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
from fuzzer import Call, generator
from values import argument, array

import sbpfast as sb

_DOUBLES = ctypes.POINTER(ctypes.c_double)
VALUE = ctypes.CFUNCTYPE(ctypes.c_double, _DOUBLES, ctypes.c_ssize_t, ctypes.c_void_p)
ARRAY = ctypes.CFUNCTYPE(None, _DOUBLES, ctypes.c_ssize_t, _DOUBLES, ctypes.c_void_p)
PAIR = ctypes.CFUNCTYPE(ctypes.c_int, _DOUBLES, ctypes.c_ssize_t, _DOUBLES, _DOUBLES, ctypes.c_void_p)
STAN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool, _DOUBLES, _DOUBLES, _DOUBLES, ctypes.c_void_p
)
_OTHERS = (
    ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double),
    ctypes.CFUNCTYPE(ctypes.c_int),
    ctypes.CFUNCTYPE(ctypes.c_double, _DOUBLES, ctypes.c_int, ctypes.c_void_p),
)


def _square(x, d, out, data):
    for i in range(d):
        out[i] = -x[i]


def _pair(x, d, value, grad, data):
    value[0] = -0.5 * sum(x[i] * x[i] for i in range(d))
    _square(x, d, grad, data)
    return 0 if x[0] < 3.0 else 1


FUNCTIONS = {
    "value": VALUE(lambda x, d, data: -0.5 * sum(x[i] * x[i] for i in range(d))),
    "grad": ARRAY(_square),
    "value_and_grad": PAIR(_pair),
}


def _functions(r) -> dict:
    """Some of the functions; now and then one of another signature, or no function at all."""
    given = {name: f for name, f in FUNCTIONS.items() if r.random() < 0.6}
    if r.random() < 0.3:
        name = str(r.choice([*FUNCTIONS, "hess"]))
        signature = _OTHERS[int(r.integers(len(_OTHERS)))]
        given[name] = signature(lambda *_: 0) if r.random() < 0.5 else argument(r)
    return given


@generator("bridges.from_cfunc")
def _from_cfunc(r):
    given, d = _functions(r), int(r.integers(1, 4))
    dim = argument(r) if r.random() < 0.1 else d
    method, x = str(r.choice(["value", "grad", "hess", "hvp"])), array(r, (int(r.integers(1, 4)), d), 0.4)
    args = (x, array(r, d)) if method == "hvp" else (x,)

    def call():
        with np.errstate(all="ignore"):
            return getattr(sb.Target.from_cfunc(**given, dim=dim), method)(*args)

    return Call(call, text=f"Target.from_cfunc({list(given)}, dim={dim!r}).{method}{args!r}".replace("\n", ""))


def _stan_model(d):
    """A standard normal with the methods of bridgestan.StanModel."""

    def density(model, propto, jacobian, x, value, grad, error):
        return _pair(x, d, value, grad, None)

    names = [f"x.{i + 1}" for i in range(d)]
    return SimpleNamespace(
        stanlib=SimpleNamespace(bs_log_density_gradient=STAN(density)),
        model=1,
        model_info=lambda: "STAN_THREADS=false",
        param_unc_num=lambda: d,
        param_unc_names=lambda: names,
        param_names=lambda include_tp=False, include_gq=False: names,
        param_constrain=lambda x, include_tp=False, include_gq=False: np.array(x),
    )


@generator("bridges.from_bridgestan")
def _from_bridgestan(r):
    """What is taken, with a part left out in a third of the calls."""
    d = int(r.integers(0, 4))
    model, missing = _stan_model(d), None
    if r.random() < 0.3:
        missing = str(r.choice(list(vars(model))))
        delattr(model, missing)
    what, x = str(r.choice(["value", "grad", "fit"])), array(r, (2, d))

    def call():
        f = sb.Target.from_bridgestan(model)
        if what != "fit":
            return getattr(f, what)(x)
        fit = sb.fit(f, max_iter=5, rng=0, n_threads=1)
        return fit.q.mean, fit.posterior(3, rng=0), str(fit.summary())

    return Call(call, text=f"from_bridgestan(a normal of {d} dimensions without {missing}), {what}")


@generator("bridges.models of no kind")
def _of_no_kind(r):
    value, name = argument(r), str(r.choice(["from_bridgestan", "fit"]))
    function = sb.fit if name == "fit" else sb.Target.from_bridgestan
    return Call(lambda: function(value).dim, text=f"{name}({value!r})")
