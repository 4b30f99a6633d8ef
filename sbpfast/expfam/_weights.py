"""Transport weights with special functions: arrays of any shape for the compiled, elementwise kernels."""

from __future__ import annotations

import numpy as np

from sbpfast import _core


def _call(kernel, arguments, n_out, n_threads) -> list[np.ndarray]:
    """Broadcast the arguments, flatten them, and run a kernel that fills n_out arrays of the same length."""
    arrays = np.broadcast_arrays(*arguments)
    flat = [np.ascontiguousarray(a, dtype=np.float64).reshape(-1) for a in arrays]
    out = [np.empty(flat[0].size) for _ in range(n_out)]
    kernel(*flat, *out, n_threads)
    return [a.reshape(arrays[0].shape) for a in out]


def scaled(x, w) -> np.ndarray:
    """x w, and 0 where x is 0: the limit of the transport weight at a fixed end of the support, where w is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(x == 0.0, 0.0, x * w)


def gamma_weight(shape, x, log_x, n_threads) -> np.ndarray:
    """w, the velocity of log x under the shape: dx/dshape = x w at fixed F, x ~ Gamma(shape, 1)."""
    return _call(_core.weights.gamma_weight, (shape, x, log_x), 1, n_threads)[0]


def beta_weight(a, b, x, y, log_x, log_y, n_threads) -> list[np.ndarray]:
    """w_a and w_b, velocities of logit x: dx/da = x y w_a, dx/db = -x y w_b at fixed F, x ~ Beta(a, b), y = 1 - x."""
    return _call(_core.weights.beta_weight, (a, b, x, y, log_x, log_y), 2, n_threads)


def gamma_weight_derivatives(shape, x, log_x, n_threads) -> list[np.ndarray]:
    """dB/dx and dw/dshape of B = x w."""
    return _call(_core.weights.gamma_weight_derivatives, (shape, x, log_x), 2, n_threads)


def beta_weight_derivatives(a, b, x, y, log_x, n_threads) -> list[np.ndarray]:
    """dB_a/dx, dw_a/da and dw_a/db of B_a = x y w_a."""
    return _call(_core.weights.beta_weight_derivatives, (a, b, x, y, log_x), 3, n_threads)


def student_t_weight(df, t, n_threads) -> np.ndarray:
    """dt/ddf at fixed F, standard Student t."""
    return _call(_core.weights.student_t_weight, (df, t), 1, n_threads)[0]


def von_mises_weight(kappa, x, n_threads) -> np.ndarray:
    """dx/dkappa at fixed F, von Mises with mean 0, x in [-pi, pi]."""
    return _call(_core.weights.von_mises_weight, (kappa, x), 1, n_threads)[0]


def inverse_gaussian_weight(mean, concentration, x, n_threads) -> list[np.ndarray]:
    """dx/dmean and dx/dconcentration at fixed F."""
    return _call(_core.weights.inverse_gaussian_weight, (mean, concentration, x), 2, n_threads)


def truncated_normal_weight(z, low, high, above, below, n_threads) -> list[np.ndarray]:
    """dz by loc, scale, low and high at fixed F, a standard normal truncated to [low, high].

    above = z - low and below = high - z come from the caller, who knows them to more digits.
    """
    return _call(_core.weights.truncated_normal_weight, (z, low, high, above, below), 4, n_threads)


def continuous_bernoulli_weight(eta, x, n_threads) -> np.ndarray:
    """dx/deta at fixed F, density proportional to e^(eta x) on (0, 1)."""
    return _call(_core.weights.continuous_bernoulli_weight, (eta, x), 1, n_threads)[0]
