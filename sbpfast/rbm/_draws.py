"""Random sweeps: every call uses the next block of a counter-based stream, so a run can stop and go on bit for bit."""

from __future__ import annotations

import numpy as np

from sbpfast import _core

# stream numbers: what a draw is for
HIDDEN, VISIBLE, UNIFORM = 16, 17, 18


class Draws:
    """A key, the number of sweeps made so far, and the number of threads (which changes no bits)."""

    def __init__(self, key, n_threads=None, block=0):
        self.key, self.threads, self.block = key, _core.effective_threads(n_threads), block

    def _next(self) -> int:
        self.block += 1
        return self.block

    def hidden(self, t, offset, slope=1.0, centre=None, probability=None, out=None) -> np.ndarray:
        """Bernoulli(sigmoid(slope t + offset)) - centre; `probability` takes the sigmoid less the centre."""
        out = np.empty_like(t) if out is None else out
        centre = np.zeros_like(offset) if centre is None else centre
        _core.rbm.hidden_rows(t, offset, slope, centre, self.key, HIDDEN, self._next(), probability, out, self.threads)
        return out

    def visible(self, u, shift, gain, scale, out=None) -> np.ndarray:
        """shift + gain u + scale N(0, 1)."""
        out = np.empty_like(u) if out is None else out
        _core.rbm.visible_rows(u, shift, gain, scale, self.key, VISIBLE, self._next(), out, self.threads)
        return out

    def uniform(self, n) -> np.ndarray:
        """n uniforms on (0, 1)."""
        out = np.empty((1, -(-n // 64), 64))
        _core.random.fill_uniform(self.key, UNIFORM, self._next(), out, self.threads)
        return out.reshape(-1)[:n]

    def permutation(self, n) -> np.ndarray:
        return np.argsort(self.uniform(n), kind="stable")
