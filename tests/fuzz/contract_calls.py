"""Calls of the bare contractions."""

from __future__ import annotations

import numpy as np
from fuzzer import Call, generator
from values import array, some_spoiled, words

from sbpfast import contract


def _more(r, n, per_sample=True):
    given = {}
    if r.random() < 0.3:
        given["weights"] = np.abs(array(r, n))
    if per_sample and r.random() < 0.3:
        given["per_sample"] = True
    if r.random() < 0.2:
        given["n_threads"] = 1
    return given


def _shape(r, n, *lead):
    """Of a Jacobian, shared or one a sample."""
    p = int(r.integers(0, 4))
    return (*lead, p) if r.random() < 0.6 else (n, *lead, p)


def _hessians(r, n, d, factored=True):
    """Hessians and the leading axes of the Jacobian that fits them."""
    kind = int(r.integers(3 if factored else 2))
    if kind == 2:
        rows = int(r.integers(1, 5))
        return (array(r, (rows, d)), array(r, (n, rows))), (d, d)
    return (array(r, (n, d, d)), (d, d)) if kind else (array(r, (n, d)), (d,))


def _bonnet(r, n, d):
    return {"g": array(r, (n, d)), "jac_mean": array(r, _shape(r, n, d)) if r.random() < 0.7 else None}


def _price(r, n, d):
    h, lead = _hessians(r, n, d)
    return {"H": h, "jac_cov": array(r, _shape(r, n, *lead)) if r.random() < 0.7 else None}


def _gaussian(r, n, d):
    h, lead = _hessians(r, n, d, factored=False)
    p = int(r.integers(0, 4))
    return {"g": array(r, (n, d)), "H": h, "jac_mean": array(r, (d, p)), "jac_cov": array(r, (*lead, p))}


def _expfam(r, n, d):
    more = tuple(r.integers(0, 3, size=int(r.integers(0, 3))))
    return {"grad_f": array(r, (n, d)), "B": array(r, (n, d, *more))}


def _product(r, n, d):
    given = {"f": array(r, n)} | {name: array(r, (n, d)) for name in ("grad_f", "Btilde", "dBtilde")}
    return given | ({"boundary": array(r, d) if r.random() < 0.5 else 1.5} if r.random() < 0.5 else {})


GIVEN = {"bonnet": _bonnet, "price": _price, "gaussian": _gaussian, "expfam": _expfam, "product": _product}


def _register(name):
    @generator(f"contract.{name}")
    def make(r):
        n, d = int(r.integers(0, 5)), int(r.integers(0, 4))
        given = GIVEN[name](r, n, d) | _more(r, n, per_sample=name not in ("bonnet", "price"))
        given = some_spoiled(r, given)
        return Call(getattr(contract, name), kwargs=given, text=f"contract.{name}({words(given)})")


for _name in GIVEN:
    _register(_name)
