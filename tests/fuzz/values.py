"""Numbers, arrays and arguments from tame to impossible, of which the calls are made."""

from __future__ import annotations

import numpy as np

_SIZES = [
    0.0, 5e-324, 1e-320, 2.3e-308, 1e-300, 1e-154, 1e-100, 1e-30, 1e-16, 1e-8, 0.01, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0,
    30.0, 100.0, 1e4, 1e8, 2.0**53, 6e15, 1e17, 1e25, 1e100, 1e154, 1e200, 1e306, 1.7e308,
]  # fmt: skip


def size(r, wild) -> float:
    """A non-negative number, from tame to extreme."""
    if not wild:
        return float(np.exp(r.normal()))
    return float(r.choice(_SIZES)) if r.random() < 0.6 else float(10.0 ** r.uniform(-320, 308.2))


def number(r, wild) -> float:
    """A number of either sign."""
    return float(r.choice([-1.0, 1.0]) * size(r, wild))


def argument(r):
    """Something that a user might hand over by mistake."""
    choices = [
        None, "text", "1.0", b"x", [], {}, {"a": 1}, [[]], [1, [2]], [None], [1j], object(), np.nan, np.inf, -np.inf,
        10**400, -(10**400), [10**30], True, [True, False], np.float32(2.5), np.float16(1.0), np.longdouble(1) / 3,
        np.array("a"), np.array([1, "a"], dtype=object), np.datetime64("2020-01-01"), np.ones((2, 2, 2)),
        np.ones((0, 1)), np.ma.array([1.0, 2.0, 3.0], mask=[0, 0, 1]), np.ma.masked, np.ones(3)[::-1],
        np.frombuffer(bytes(25), "f8", 3, 1), np.asfortranarray(np.ones((3, 2))), np.ones(3, dtype=">f8"),
        np.array([2, 3], dtype=np.uint8), range(3), iter([1.0]), {1.0, 2.0}, lambda x: x, int, 2.5, -3.0, [0.2, 0.8],
        [[0.2, 0.8]], np.ones((1, 1)), (0.5,), np.array(1.5),
    ]  # fmt: skip
    return choices[int(r.integers(len(choices)))]


def array(r, shape, wild=0.2) -> np.ndarray:
    """An array of normals; with probability `wild`, one of numbers of every size, or with one such number."""
    x = r.standard_normal(shape)
    if r.random() < wild and x.size:
        if r.random() < 0.5:
            x *= size(r, True)
        else:
            x.flat[int(r.integers(x.size))] = number(r, True)
    return x


def matrix(r, d, wild=0.2) -> np.ndarray:
    """A positive definite matrix (d, d), or next to one."""
    a = r.standard_normal((d, d))
    cov = a @ a.T + 10.0 ** r.uniform(-3, 1) * np.eye(d)
    if r.random() < wild:
        scale = np.array([size(r, r.random() < 0.5) for _ in range(d)])
        with np.errstate(all="ignore"):
            cov = cov * scale[:, None] * scale
    return cov


def spoiled(r, value):
    """A value that is wrong, odd or only inconvenient in place of a good one."""
    if not isinstance(value, np.ndarray) or not value.ndim or r.random() < 0.3:
        return argument(r)
    x = value.astype(np.float64)
    with np.errstate(all="ignore"):
        changes = [
            lambda: _with(r, x, r.choice([np.nan, np.inf, -np.inf, 1.7e308, -1e200, 5e-324, 0.0])),
            lambda: x * r.choice([-1.0, 0.0, 1e-300, 1e150, 1e300]),
            lambda: x[:-1],
            lambda: x[:0],
            lambda: x[None],
            lambda: x[..., None],
            lambda: np.concatenate([x, x]),
            lambda: x.astype(np.float32),
            lambda: x.astype(np.int64),
            lambda: x.astype(">f8"),
            lambda: x.astype(complex),
            lambda: x.astype(object),
            lambda: x.tolist(),
            lambda: np.asfortranarray(np.repeat(x, 2, axis=0))[::2],
            lambda: np.ma.masked_greater(x, 0.5),
            lambda: np.frombuffer(b"0" + x.tobytes(), "f8", x.size, 1).reshape(x.shape),
        ]
        return changes[int(r.integers(len(changes)))]()


def _with(r, x, value):
    if x.size:
        x.flat[int(r.integers(x.size))] = value
    return x


def some_spoiled(r, given, chance=0.5) -> dict:
    """Arguments by name, some of which are spoiled."""
    given = dict(given)
    while given and r.random() < chance:
        name = str(r.choice(list(given)))
        given[name] = spoiled(r, given[name])
    return given


def words(given) -> str:
    """Arguments by name, as they might be typed."""
    return ", ".join(f"{name}={_word(value)}" for name, value in given.items())


def _word(value):
    return f"array({value.tolist()!r})" if isinstance(value, np.ndarray) else repr(value)


# random responses of n rows, by family
RESPONSES = {
    "logistic": lambda r, n: r.integers(0, 2, n).astype(float),
    "probit": lambda r, n: r.integers(0, 2, n).astype(float),
    "poisson": lambda r, n: r.poisson(2.0, n).astype(float),
    "linear": array,
    "student_t": array,
    "negative_binomial": lambda r, n: r.poisson(2.0, n).astype(float),
    "gamma": lambda r, n: np.abs(array(r, n)) + 1e-3,
}
