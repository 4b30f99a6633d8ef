"""The links of ridge targets, defined once more with mpmath, and data for each."""

import mpmath

import sbpfast as sb


def mp_link(name, t, y, df=3.0, scale=0.7):
    """phi, phi' and phi'' with mpmath, by differentiating by hand where cancellation would ask for too many digits."""
    t, y = mpmath.mpf(t), mpmath.mpf(y)
    logistic = 1 / (1 + mpmath.exp(-t))
    if name in ("softplus", "logistic"):
        softplus = (mpmath.log1p(mpmath.exp(-abs(t))) + max(t, 0), logistic, logistic / (1 + mpmath.exp(t)))
        return softplus if name == "softplus" else (y * t - softplus[0], y - logistic, -softplus[2])
    if name == "probit":
        sign = 2 * y - 1
        z = sign * t
        cdf, pdf = mpmath.erfc(-z / mpmath.sqrt(2)) / 2, mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi)
        value = mpmath.log(cdf) if z < 0 else mpmath.log1p(-mpmath.erfc(z / mpmath.sqrt(2)) / 2)
        return value, sign * pdf / cdf, -(pdf / cdf) * (z + pdf / cdf)
    if name == "exp":
        return (mpmath.exp(t),) * 3
    if name == "poisson":
        return y * t - mpmath.exp(t), y - mpmath.exp(t), -mpmath.exp(t)
    if name == "square":
        return (t - y) ** 2, 2 * (t - y), mpmath.mpf(2)
    if name == "negative_binomial":
        r = mpmath.mpf(NEGATIVE_BINOMIAL["dispersion"])
        p, q = 1 / (1 + mpmath.exp(-t) * r), 1 / (1 + mpmath.exp(t) / r)
        value = -y * mpmath.log1p(mpmath.exp(-t) * r) - r * mpmath.log1p(mpmath.exp(t) / r)
        return value, y - (y + r) * p, -(y + r) * p * q
    if name == "gamma":
        return -t - y * mpmath.exp(-t), y * mpmath.exp(-t) - 1, -y * mpmath.exp(-t)
    if name == "cloglog":
        w = mpmath.exp(t)
        if t > 10:  # exp(-w) is below 1e-9565
            return (mpmath.mpf(0),) * 3 if y == 1 else (-(1 - y) * w,) * 3
        none = -mpmath.expm1(-w)
        slope = w * mpmath.exp(-w) / none
        bend = 1 - w - slope if w > 1e-6 else -w / 2 - w**2 / 12 + w**4 / 720
        value = mpmath.log(none) if w < 1 else mpmath.log1p(-mpmath.exp(-w))
        return y * value - (1 - y) * w, y * slope - (1 - y) * w, y * slope * bend - (1 - y) * w
    if name == "student_t":
        u2 = ((t - y) / scale) ** 2
        return (
            -(df + 1) / 2 * mpmath.log1p(u2 / df),
            -(df + 1) * (t - y) / (df * scale**2 + (t - y) ** 2),
            -(df + 1) * (df - u2) / ((df + u2) ** 2 * scale**2),
        )
    return abs(t) + mpmath.log1p(mpmath.exp(-2 * abs(t))) - mpmath.log(2), mpmath.tanh(t), mpmath.sech(t) ** 2


DATA = {
    "logistic": (0.0, 1.0, 0.3),
    "probit": (0.0, 1.0),
    "poisson": (0.0, 4.0),
    "square": (0.0, -1.5),
    "student_t": (0.0, 2.5),
    "negative_binomial": (0.0, 4.0),
    "gamma": (0.2, 3.0),
    "cloglog": (0.0, 1.0, 0.3),
}
LINKS = [
    (name, y)
    for name in (
        "softplus",
        "logistic",
        "probit",
        "exp",
        "poisson",
        "square",
        "student_t",
        "log_cosh",
        "negative_binomial",
        "gamma",
        "cloglog",
    )
    for y in DATA.get(name, (0.0,))
]
STUDENT, NEGATIVE_BINOMIAL = {"df": 3.0, "scale": 0.7}, {"dispersion": 2.5}
PARAMETERS = {"student_t": STUDENT, "negative_binomial": NEGATIVE_BINOMIAL}


def one_link(name, y, offset=0.0):
    return sb.targets.ridge([[1.0]], offset, name, y=[y], **PARAMETERS.get(name, {}))
