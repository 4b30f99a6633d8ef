"""The settings of a training run: checked once, then fixed for its length."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields

from sbpfast import _checks
from sbpfast.rbm._partition import LARGEST_SUM

OWN_TO_A_CALL = ("n_epochs", "patience", "checkpoint", "progress", "n_threads")  # a resumed fit may differ in these
OWN_TO_THE_MEMORY = ("method", "optimizer", "momentum", "n_chains", "n_temperatures")


@dataclass(frozen=True)
class Settings:
    """The constructor's arguments of a GaussianBernoulliRBM, but for rng."""

    n_components: int
    method: str
    n_gibbs: int
    learning_rate: float
    batch_size: int
    n_epochs: int
    learn_sigma: bool
    sigma_rate: float
    sigma_floor: float
    optimizer: str
    momentum: float
    weight_decay: float
    initial_activation: float
    n_chains: int | None
    n_temperatures: int
    validation_fraction: float
    patience: int | None
    checkpoint: str | None
    progress: bool
    n_threads: int | None

    @classmethod
    def checked(cls, rbm) -> Settings:
        """The attributes of `rbm`, or a TypeError or ValueError that names the one that is wrong."""
        s = {field.name: getattr(rbm, field.name) for field in fields(cls)}
        _checks.choice("method", s["method"], ("pcd", "cd", "tempered", "exact"))
        _checks.choice("optimizer", s["optimizer"], ("adam", "momentum"))
        for name in ("n_components", "n_gibbs", "batch_size", "n_epochs", "n_temperatures"):
            s[name] = _checks.count(name, s[name])
        for name in ("n_chains", "patience"):
            s[name] = None if s[name] is None else _checks.count(name, s[name])
        for name in ("learning_rate", "sigma_rate", "sigma_floor"):
            s[name] = _checks.scalar(name, s[name], above=0.0)
        for name in ("momentum", "validation_fraction"):
            s[name] = _checks.scalar(name, s[name], least=0.0, below=1.0)
        s["initial_activation"] = _checks.scalar("initial_activation", s["initial_activation"], above=0.0, below=1.0)
        s["weight_decay"] = _checks.scalar("weight_decay", s["weight_decay"], least=0.0)
        for name in ("learn_sigma", "progress"):
            s[name] = _checks.flag(name, s[name])
        if s["checkpoint"] is not None:
            s["checkpoint"] = os.fsdecode(s["checkpoint"])
            folder = os.path.dirname(os.path.abspath(s["checkpoint"]))
            if not os.path.isdir(folder):
                raise ValueError(f"checkpoint must lie in a folder that exists, got {s['checkpoint']!r}")
        if s["method"] == "exact":
            cls._check_exact(s)
        return cls(**s)

    @staticmethod
    def _check_exact(s):
        if s["n_components"] > LARGEST_SUM:
            raise ValueError(
                f"method 'exact' sums 2^n_components states and stops at {LARGEST_SUM}, got "
                f"n_components={s['n_components']}; use 'pcd' or 'tempered'"
            )
        if s["checkpoint"] is not None:
            raise ValueError("method 'exact' has no checkpoint: L-BFGS cannot be stopped and resumed; pass None")

    def held_out(self, n) -> int:
        """How many of n rows are kept out of training."""
        count = round(n * self.validation_fraction)
        if count >= n:
            raise ValueError(f"validation_fraction={self.validation_fraction} leaves none of {n} rows to learn from")
        return count

    def rate(self, epoch) -> float:
        """The learning rate: whole for half the epochs, then falling linearly to a hundredth."""
        left = 2.0 * (1.0 - epoch / self.n_epochs)
        return self.learning_rate * min(1.0, max(left, 0.01))

    def lasting(self) -> dict:
        """What must not change between a checkpoint and the fit that goes on from it."""
        return {name: value for name, value in asdict(self).items() if name not in OWN_TO_A_CALL}

    def shares_memory_with(self, other: Settings) -> bool:
        """Whether chains and optimizer made under the other settings can go on under these."""
        return all(getattr(self, name) == getattr(other, name) for name in OWN_TO_THE_MEMORY)
