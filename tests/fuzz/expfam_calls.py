"""Calls of the families: every method at parameters and points from tame to extreme, and with bad arguments."""

from __future__ import annotations

import numpy as np
from fuzzer import Call, Discard, generator
from values import argument, number, size

from sbpfast import expfam, special
from sbpfast.expfam import FAMILIES


def parameter(r, q, wild) -> float:
    """A value that a parameter's domain may hold."""
    text = q.domain.text
    if text == "finite":
        return number(r, wild)
    if text.startswith("a number"):
        return float(r.choice([-np.inf, np.inf])) if r.random() < 0.25 else number(r, wild)
    if text.startswith("inside"):
        return float(r.random()) if not wild else float(r.choice([1e-300, 1e-17, 1e-9, 0.5, 1 - 1e-9, 1 - 2.0**-53]))
    if text.startswith("a positive whole"):
        return float(r.integers(1, 40)) if not wild else float(np.floor(max(size(r, True), 1.0)))
    return size(r, wild)


def distribution(r, family=None):
    """A family at parameters that are all tame, partly wild or all wild."""
    family = family or FAMILIES[str(r.choice(list(FAMILIES)))]
    mood = r.random()
    chance = 0.0 if mood < 0.3 else 0.5 if mood < 0.7 else 1.0
    d = int(r.integers(1, 4)) if r.random() < 0.3 else 0

    def wild():
        return bool(r.random() < chance)

    if family is expfam.Dirichlet:
        given = {"concentration": [size(r, wild()) for _ in range(int(r.integers(2, 5)))]}
    elif family is expfam.Categorical:
        given = {"logits": [number(r, wild()) for _ in range(int(r.integers(2, 5)))]}
    elif family is expfam.Wishart:
        order = int(r.integers(1, 4))
        a = r.standard_normal((order, order))
        given = {"df": order - 1 + size(r, wild()), "scale": (a @ a.T + 0.1 * np.eye(order)) * size(r, wild())}
    else:
        given = {
            q.name: [parameter(r, q, wild()) for _ in range(d)] if d and r.random() < 0.7 else parameter(r, q, wild())
            for q in (*family.parameters, *family.constants)
        }
        if family is expfam.TruncatedNormal and d == 0 and given["low"] > given["high"]:
            given["low"], given["high"] = given["high"], given["low"]
    return family(**given)


def points(r, p):
    """Points (n, d) in or at the ends of the support, or near it."""
    n = int(r.integers(0, 5)) if r.random() < 0.1 else int(r.integers(1, 5))
    wild = r.random() < 0.6
    if isinstance(p, expfam.Wishart):
        a = r.standard_normal((n, p.order, p.order))
        return (a @ a.swapaxes(1, 2) + 0.1 * np.eye(p.order)) * size(r, wild)
    if isinstance(p, expfam.Dirichlet):
        x = r.random((n, p.dim)) ** (1.0 if not wild else r.choice([1.0, 30.0, 300.0]))
        if wild and n:
            x[0, 0] = 0.0
        return x / x.sum(axis=1, keepdims=True)
    if isinstance(p, expfam.Categorical):
        return r.integers(0, len(p.logits), size=(n, 1)).astype(float)
    if r.random() < 0.15:
        return p.sample(n, rng=int(r.integers(2**31)))
    x = np.array([[number(r, wild) for _ in range(p.dim)] for _ in range(n)]).reshape(n, p.dim)
    if r.random() < 0.85:
        low, high = (np.broadcast_to(v, p.dim) for v in p._support(p._p))
        x = np.where(x < low, -x, x) if not np.isfinite(high).any() else x
        with np.errstate(all="ignore"):
            x = np.clip(x, low, high)
        if hasattr(p, "_cdf") and hasattr(p, "_width"):
            x = np.floor(x)
    return np.nan_to_num(x, posinf=1.7e308, neginf=-1.7e308)


def _register(name, method, with_points=False, nan_allowed=False):
    @generator(f"expfam.{name}")
    def make(r):
        p = distribution(r)
        if not hasattr(type(p), method):
            raise Discard
        args = (points(r, p),) if with_points else ()
        text = f"{p!r}.{method}({', '.join(np.array2string(a, separator=', ') for a in args)})"
        return Call(getattr(p, method), args, text=text.replace("\n", ""), nan_allowed=nan_allowed)


for _method in ("log_prob", "score", "transport", "sufficient", "log_base"):
    _register(_method, _method, with_points=True)
_register("product_weight", "product_weight", with_points=True, nan_allowed=True)
for _method in ("natural", "mean_params", "fisher", "log_partition", "entropy", "mode", "variance", "moments"):
    _register(_method, _method)


@generator("expfam.mean")
def _mean(r):
    p = distribution(r)
    if any(q.name == "mean" for q in p.parameters) or not hasattr(p, "mean"):
        raise Discard
    return Call(p.mean, text=f"{p!r}.mean()")


@generator("expfam.construct")
def _construct(r):
    family = FAMILIES[str(r.choice(list(FAMILIES)))]
    given = {q.name: parameter(r, q, True) for q in family.parameters + family.constants}
    if family in (expfam.Dirichlet, expfam.Categorical, expfam.Wishart):
        raise Discard
    return Call(lambda: family(**given), text=f"{family.__name__}({given})")


@generator("expfam.construct badly")
def _construct_badly(r):
    family = FAMILIES[str(r.choice(list(FAMILIES)))]
    given = {
        q.name: argument(r) if r.random() < 0.5 else parameter(r, q, True) for q in family.parameters + family.constants
    }
    return Call(lambda: family(**given), text=f"{family.__name__}({given})".replace("\n", ""))


@generator("expfam.sample")
def _sample(r):
    p = distribution(r)
    n = int(r.integers(0, 200))
    return Call(lambda: p.sample(n, rng=1), text=f"{p!r}.sample({n}, rng=1)")


@generator("expfam.kl")
def _kl(r):
    p = distribution(r)
    q = distribution(r, type(p))
    if not hasattr(p, "kl"):
        raise Discard
    constants = {c.name: getattr(p, c.name) for c in (p._fixed() if hasattr(p, "_fixed") else ())}
    if constants:
        q = type(p)(**{s.name: constants.get(s.name, getattr(q, s.name)) for s in (*p.parameters, *p.constants)})
    return Call(lambda: p.kl(q), text=f"{p!r}.kl({q!r})")


@generator("expfam.cdf")
def _cdf(r):
    p = distribution(r)
    if not hasattr(p, "cdf") or isinstance(p, expfam.Wishart | expfam.Dirichlet | expfam.Categorical):
        raise Discard
    x = points(r, p)
    return Call(p.cdf, (x,), text=f"{p!r}.cdf({x.tolist()})")


@generator("expfam.ppf")
def _ppf(r):
    p = distribution(r)
    if not hasattr(p, "ppf"):
        raise Discard
    u = r.choice([0.0, 1e-300, 1e-20, 1e-5, 0.1, 0.5, 0.9, 1 - 1e-9, 1 - 2.0**-53, 1.0], size=(3, p.dim))
    return Call(p.ppf, (u,), text=f"{p!r}.ppf({u.tolist()})")


@generator("expfam.from_natural")
def _from_natural(r):
    p = distribution(r)
    if not hasattr(p, "from_natural"):
        raise Discard
    eta = np.array(
        [number(r, r.random() < 0.7) for _ in range(getattr(p, "_k", np.size(getattr(p, "logits", [0, 0])) - 1))]
    )
    constants = {c.name: getattr(p, c.name) for c in (p._fixed() if hasattr(p, "_fixed") else ())}
    if any(np.ndim(v) for v in constants.values()):
        raise Discard
    which = str(r.choice(["from_natural", "from_mean_params"]))
    return Call(
        lambda: getattr(type(p), which)(eta, **constants), text=f"{type(p).__name__}.{which}({eta}, **{constants})"
    )


@generator("expfam.fit")
def _fit(r):
    p = distribution(r)
    if not hasattr(p, "fit"):
        raise Discard
    x = p.sample(int(r.integers(1, 30)), rng=1) if r.random() < 0.5 else points(r, p)
    constants = {c.name: getattr(p, c.name) for c in (p._fixed() if hasattr(p, "_fixed") else ())}
    weights = None if r.random() < 0.6 else np.array([size(r, r.random() < 0.3) for _ in range(len(x))])
    prior = (
        None
        if r.random() < 0.8
        else (size(r, r.random() < 0.5), np.array([number(r, r.random() < 0.3)] * r.integers(1, 4)))
    )
    text = f"{type(p).__name__}.fit({np.asarray(x).tolist()}, {weights}, {prior}, **{constants})"
    if isinstance(p, expfam.Weibull) and r.random() < 0.5:
        constants, prior = {}, None
    options = {} if isinstance(p, expfam.StudentT) else {"prior": prior}
    return Call(lambda x, w: type(p).fit(x, w, **options, **constants), (x, weights), text=text.replace("\n", ""))


@generator("expfam.transport_derivatives")
def _derivatives(r):
    p = distribution(r, expfam.Gamma if r.random() < 0.5 else expfam.Beta)
    x = points(r, p)
    return Call(p.transport_derivatives, (x,), text=f"{p!r}.transport_derivatives({x.tolist()})")


@generator("special")
def _special(r):
    name = str(r.choice(special.__all__))
    args = [min(max(size(r, True), 5e-324), 8e307) for _ in range(2 if "beta" in name else 1)] + [
        size(r, True)
    ]  # shapes, then x
    if "beta" in name:
        args[-1] = min(args[-1], 1.0)
    return Call(getattr(special, name), tuple(args), text=f"{name}{tuple(args)}")


@generator("expfam.bad arguments")
def _bad(r):
    p = distribution(r)
    methods = ["log_prob", "score", "transport", "product_weight", "sample", "kl", "fit", "statistics", "from_natural"]
    methods += ["from_mean_params", "sufficient", "log_base", "cdf", "ppf"]
    method = str(r.choice([m for m in methods if hasattr(type(p), m)]))
    args = tuple(argument(r) for _ in range(2 if method == "fit" and r.random() < 0.5 else 1))
    if method == "fit" and r.random() < 0.2 and not isinstance(p, expfam.StudentT):
        args = (*args[:1], None, argument(r))
    kwargs = {}
    if method in ("fit", "statistics", "from_natural", "from_mean_params") and hasattr(p, "_fixed"):
        kwargs = {c.name: argument(r) if r.random() < 0.3 else getattr(p, c.name) for c in p._fixed()}
    if method == "sample" and r.random() < 0.7:
        args, kwargs = (3,), {str(r.choice(["rng", "n_threads"])): argument(r)}
    text = f"{p!r}.{method}(*{args!r}, **{kwargs!r})".replace("\n", "")
    return Call(getattr(p, method), args, kwargs, text=text, nan_allowed=method == "product_weight")


@generator("expfam.svec")
def _svec(r):
    function = expfam.svec if r.random() < 0.5 else expfam.smat
    value = argument(r)
    return Call(function, (value,), text=f"{function.__name__}({value!r})")


@generator("expfam.univariate")
def _univariate(r):
    low, high = sorted(number(r, r.random() < 0.7) if r.random() < 0.7 else s * np.inf for s in (-1.0, 1.0))
    eta = [number(r, r.random() < 0.3), -size(r, r.random() < 0.3)]
    method = str(r.choice(["construct", "sample", "log_prob", "transport", "score", "kl", "entropy", "cdf", "ppf"]))
    x = np.array([[number(r, r.random() < 0.5)] for _ in range(3)])

    def call():
        p = expfam.Univariate(np.zeros_like, eta, lambda x: np.stack([x, x * x], axis=1), (low, high))
        if method == "construct":
            return p.mean_params()
        if method == "sample":
            return p.sample(5, rng=0)
        if method == "kl":
            return p.kl(p)
        if method == "ppf":
            return p.ppf([0.0, 0.3, 1.0])
        return getattr(p, method)(*(() if method == "entropy" else (x,)))

    return Call(call, text=f"Univariate(0, {eta}, (x, x^2), ({low}, {high})).{method} at {x.ravel()}")
