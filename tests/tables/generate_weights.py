"""Writes weights.json and weight_derivatives.json: 25-digit values of the transport weights, by definitions in mpmath.

Run it (mpmath and scipy are needed; a minute or two): python tests/tables/generate_weights.py

Arguments are exact doubles.  Nothing here is a recipe of the kernels: gamma and beta sum the power series of dF/dshape
with as many digits as its cancellation costs, Student t and von Mises integrate the score over the nearer tail, the
truncated normal, the inverse Gaussian and the continuous Bernoulli are differences of closed forms.  Each value is
computed at two precisions that must agree.  A row is [parameters..., x, weights...].
"""

import json
from pathlib import Path

import mpmath as mp
import numpy as np
import scipy.special as sp
import scipy.stats as st

DIGITS = 24


def settled(function, digits=50):
    """The tuple function() at a precision that one half as high again confirms to DIGITS digits."""
    with mp.workdps(digits):
        previous = function()
    while digits < 8000:
        digits = digits * 3 // 2
        with mp.workdps(digits):
            value = function()
            if all(abs(v - p) <= abs(v) * mp.mpf(10) ** -DIGITS for v, p in zip(value, previous)):
                return value
        previous = value
    raise RuntimeError("the two precisions do not agree")


def summed(ratio, rest):
    """sum_k t_k r_k, t_0 = 1, t_k = t_(k-1) ratio(k), with r_k = rest(k) called in order; ratios fall below 1."""
    total, t, k, small = mp.mpf(0), mp.mpf(1), 0, mp.mpf(10) ** (-mp.mp.dps - 5)
    while True:
        term = t * rest(k)
        total += term
        q = ratio(k + 1)
        if q < 1 and abs(term) < small * abs(total) * (1 - q):
            return total
        t, k = t * q, k + 1


def running(start, step):
    """rest(k) = start + step(1) + ... + step(k)."""
    state = [start]

    def rest(k):
        if k > 0:
            state[0] += step(k)
        return state[0]

    return rest


def gamma_shape(a, x):
    """B = (x/a) sum_k x^k / (a+1)_k (psi(a+1+k) - log x)."""
    a, x = mp.mpf(a), mp.mpf(x)
    return x / a * summed(lambda k: x / (a + k), running(mp.digamma(a + 1) - mp.log(x), lambda k: 1 / (a + k)))


def beta_first(a, b, x, y):
    """B_a: its power series in x for x <= 1/2, in y = 1 - x otherwise."""
    n = a + b
    if x <= y:
        steps = running(mp.digamma(a + 1) - mp.digamma(n) - mp.log(x), lambda k: 1 / (a + k) - 1 / (n + k - 1))
        return x * y / a * summed(lambda k: (n + k - 1) * x / (a + k), steps)
    steps = running(mp.log(x) + mp.digamma(n) - mp.digamma(a), lambda k: 1 / (n + k - 1))
    return x * y / b * summed(lambda k: (n + k - 1) * y / (b + k), steps)


def beta_pair(a, b, x):
    a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    return beta_first(a, b, x, 1 - x), -beta_first(b, a, 1 - x, x)


def student_t(df, t):
    """B = int_|t|^inf (score of df) p / p(t), odd in t."""
    df, size, sign = mp.mpf(df), abs(mp.mpf(t)), 1 if t > 0 else -1
    constant = (mp.digamma((df + 1) / 2) - mp.digamma(df / 2) - 1 / df) / 2

    def integrand(u):  # at v = |t| / u
        v = size / u
        log_ratio = -(df + 1) / 2 * (mp.log1p(v * v / df) - mp.log1p(size * size / df))
        score = constant - mp.log1p(v * v / df) / 2 + (df + 1) / 2 * v * v / df / (df + v * v)
        return score * mp.exp(log_ratio) * v / u

    # the integrand lives on a scale of 1/(1 + t^2) next to u = 1 when df is large
    cuts = [mp.mpf(0), *(1 - 1 / (1 + mp.mpf(2) ** -k * (1 + size * size)) for k in range(12, -1, -2)), mp.mpf(1)]
    return sign * mp.quad(integrand, sorted({mp.mpf(0), *[c for c in cuts if 0 <= c <= 1]}))


def von_mises(kappa, x):
    kappa, size, sign = mp.mpf(kappa), abs(mp.mpf(x)), 1 if x > 0 else -1
    ratio = mp.besseli(1, kappa) / mp.besseli(0, kappa)
    f = lambda t: mp.exp(kappa * (mp.cos(t) - mp.cos(size))) * (mp.cos(t) - ratio)
    if mp.cos(size) > ratio:
        return -sign * mp.quad(f, mp.linspace(0, size, 5))
    cuts, step = [size], 1 / (4 * (kappa * mp.sin(size) + mp.sqrt(kappa) + 1))
    while cuts[-1] < mp.pi:
        cuts, step = [*cuts, min(mp.pi, cuts[-1] + step)], 2 * step
    return sign * mp.quad(f, cuts)


def upper_tail(z):
    return mp.erfc(z / mp.sqrt(2)) / 2


def inverse_gaussian(mean, c, x):
    """-dF / p from F = Phi(r (x/m - 1)) + e^(2c/m) Phi(-r (x/m + 1)), r = sqrt(c/x), differentiated by hand."""
    m, c, x = mp.mpf(mean), mp.mpf(c), mp.mpf(x)
    r, e = mp.sqrt(c / x), mp.exp(2 * c / m)
    u, v = r * (x / m - 1), r * (x / m + 1)
    phi = lambda z: mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)
    density = mp.sqrt(c / (2 * mp.pi * x**3)) * mp.exp(-c * (x - m) ** 2 / (2 * m * m * x))
    by_mean = -phi(u) * r * x / m**2 - 2 * c / m**2 * e * upper_tail(v) + e * phi(v) * r * x / m**2
    by_c = phi(u) * u / (2 * c) + 2 / m * e * upper_tail(v) - e * phi(v) * v / (2 * c)
    return -by_mean / density, -by_c / density


def truncated_normal(loc, scale, low, high, x):
    """-dF / p with the four parameters, F = (Phi(z) - Phi(al)) / (Phi(be) - Phi(al)); None for an infinite end."""
    loc, scale, low, high, x = (mp.mpf(v) for v in (loc, scale, low, high, x))
    z, al, be = (x - loc) / scale, (low - loc) / scale, (high - loc) / scale
    phi = lambda t: mp.exp(-t * t / 2) / mp.sqrt(2 * mp.pi) if mp.isfinite(t) else mp.mpf(0)
    tail = lambda t: upper_tail(t) if mp.isfinite(t) else mp.mpf(0 if t > 0 else 1)
    if al + be < 0:  # differences of upper tails lose digits on the far left
        total, left = upper_tail(-be) if mp.isfinite(be) else mp.mpf(1), tail(-al)
        below, total = tail(-z) - left, total - left
    else:
        below, total = tail(al) - tail(z), tail(al) - tail(be)
    f = below / total
    ends = (1 - f) * phi(al) / phi(z), f * phi(be) / phi(z)
    moved = sum((e * t for e, t in zip(ends, (al, be)) if mp.isfinite(t)), mp.mpf(0))
    return (1 - sum(ends), z - moved, *(e if mp.isfinite(t) else None for e, t in zip(ends, (al, be))))


def continuous_bernoulli(eta, x):
    eta, x = mp.mpf(eta), mp.mpf(x)
    return x * (1 - x) / 2 if eta == 0 else (mp.expm1(-eta * x) / mp.expm1(-eta) - x) / eta


# -- which rows -------------------------------------------------------------------------------------------------------


def levels(rng, n):
    """Probabilities from 1e-12 to 1 - 1e-12, as logits."""
    return rng.uniform(-27, 27, n)


def quantiles(distribution, logit):
    return np.where(logit < 0, distribution.ppf(sp.expit(logit)), distribution.isf(sp.expit(-logit)))


def log_uniform(rng, low, high, n):
    return np.exp(rng.uniform(np.log(low), np.log(high), n))


def gamma_arguments(rng, n, low, high):
    a = log_uniform(rng, low, high, n)
    x = quantiles(st.gamma(a), levels(rng, n))
    return [(p, q) for p, q in zip(a.tolist(), x.tolist()) if q > 1e-280]


def beta_arguments(rng, n, low, high):
    a, b = log_uniform(rng, low, high, n), log_uniform(rng, low, high, n)
    x = quantiles(st.beta(a, b), levels(rng, n))
    return [row for row in zip(a.tolist(), b.tolist(), x.tolist()) if 1e-280 < row[2] < 1]


def truncated_arguments(rng, n):
    rows = []
    for _ in range(n):
        kind, loc, scale = rng.integers(5), rng.uniform(-3, 3), np.exp(rng.uniform(-2, 2))
        start = (rng.uniform(-6, 2), rng.uniform(2, 40), rng.uniform(40, 800))[rng.integers(3)]
        width = np.exp(rng.uniform(np.log(1e-4), np.log(8.0))) if kind < 3 else np.inf
        layer = min(width, 3.0 / (abs(start) + 1.0))
        low, x = loc + scale * start, loc + scale * (start + layer * rng.uniform(0.001, 0.99))
        high = low + scale * width
        if kind in (1, 4):  # the mirror image
            low, high, x = -high, -low, -x
            loc = -loc
        if low < x < high:
            rows.append(tuple(float(v) for v in (loc, scale, low, high, x)))
    return rows


def tables():
    rng = np.random.default_rng(20261122)
    one = lambda function: lambda *args: (function(*args),)
    odd = lambda n, low, high, draw: list(zip((k := log_uniform(rng, low, high, n)).tolist(), draw(k).tolist()))
    t_points = lambda df: quantiles(st.t(df), rng.uniform(-20, 20, len(df)))
    turn = lambda k: np.where(rng.random(len(k)) < 0.5, rng.uniform(-np.pi, np.pi, len(k)), rng.vonmises(0, k))
    ig = log_uniform(rng, 0.1, 20, 40), log_uniform(rng, 0.02, 1e4, 40)
    ig_x = quantiles(st.invgauss(ig[0] / ig[1], scale=ig[1]), rng.uniform(-18, 18, 40))
    return {
        "gamma": (one(gamma_shape), [*gamma_arguments(rng, 120, 1e-3, 1e4), *gamma_arguments(rng, 8, 1e4, 1e6)]),
        "beta": (beta_pair, [*beta_arguments(rng, 130, 1e-2, 1e4), *beta_arguments(rng, 60, 0.05, 20)]),
        "student_t": (one(student_t), odd(50, 0.5, 1e4, t_points)),
        "von_mises": (one(von_mises), odd(60, 1e-3, 1e4, turn)),
        "inverse_gaussian": (inverse_gaussian, list(zip(ig[0].tolist(), ig[1].tolist(), ig_x.tolist()))),
        "truncated_normal": (truncated_normal, truncated_arguments(rng, 80)),
        "continuous_bernoulli": (one(continuous_bernoulli), list(zip(
            [*rng.uniform(-3, 3, 20).tolist(), *rng.uniform(-40, 40, 15).tolist(), *rng.normal(0, 1e-4, 5).tolist()],
            rng.uniform(0, 1, 40).tolist()))),
    }  # fmt: skip


def gamma_slopes(a, x):
    """dB/dx and dB/da, by differentiating the series numerically at twice the digits."""
    a, x = mp.mpf(a), mp.mpf(x)
    return mp.diff(lambda t: gamma_shape(a, t), x), mp.diff(lambda t: gamma_shape(t, x), a)


def beta_slopes(a, b, x):
    """dB_a/dx, dB_a/da, dB_a/db."""
    a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    value = lambda a, b, x: beta_first(a, b, x, 1 - x)
    return tuple(mp.diff(value, (a, b, x), tuple(int(i == j) for i in range(3))) for j in (2, 0, 1))


def derivative_tables():
    rng = np.random.default_rng(20261123)
    inside = lambda rows: [r for r in rows if r[-1] > 1e-30]
    return {
        "gamma": (gamma_slopes, inside(gamma_arguments(rng, 60, 1e-2, 3e3))),
        "beta": (beta_slopes, inside(beta_arguments(rng, 90, 2e-2, 1e3))),
    }


def write(name, plan):
    table = {}
    for family, (function, arguments) in plan.items():
        rows = []
        for row in arguments:
            finite = settled(lambda: tuple(v for v in function(*row) if v is not None))  # noqa: B023
            with mp.workdps(30):
                full = iter([mp.nstr(v, DIGITS) for v in finite])
                pattern = function(*row) if family == "truncated_normal" else finite
            rows.append([*map(repr, row), *(next(full) if v is not None else None for v in pattern)])
        table[family] = rows
        print(name, family, len(rows), flush=True)
    lines = [f'"{family}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for family, rows in table.items()]
    Path(__file__).with_name(name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write("weights.json", tables())
    write("weight_derivatives.json", derivative_tables())
