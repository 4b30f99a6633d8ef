"""One call of fit or partial_fit: what follows an epoch, and what is left behind however the call ends."""

from __future__ import annotations

import numpy as np

from sbpfast._files import write_npz
from sbpfast._progress import Progress
from sbpfast.rbm._training import Trainer, TrainingDiverged


class Run:
    """A context in which a trainer works for a machine: curves, patience, checkpoints, progress.

    Leaving it by any way, an error and an interrupt too, hands the trainer's kept parameters to the machine.
    """

    def __init__(self, rbm, trainer: Trainer, watched, *, keep_best):
        self.rbm, self.trainer, self.watched, self.keep_best = rbm, trainer, watched, keep_best
        self.settings = trainer.settings
        self.converged: bool | None = None
        self.progress: Progress

    def __enter__(self):
        total, shown = self.settings.n_epochs, self.settings.progress
        self.progress = Progress("GaussianBernoulliRBM", "epoch", shown=shown, total=total, done=self.trainer.epoch)
        return self

    def __exit__(self, kind, error, traceback):
        self.progress.close()
        trainer, rbm, kept = self.trainer, self.rbm, self.trainer.kept
        rbm._set_model(kept.model)
        errors, likelihoods = zip(*trainer.curves) if trainer.curves else ((), ())
        rbm.history_ = {"reconstruction_error": list(errors), "log_likelihood": list(likelihoods)}
        rbm.n_iter_, rbm.best_epoch_, rbm.converged_ = trainer.epoch, kept.epoch, self.converged
        rbm._trainer = trainer
        if kind is TrainingDiverged:
            advice = "more weight_decay"
            if self.settings.method != "exact":
                advice = f"a smaller learning_rate (now {self.settings.learning_rate:g})"
            raise TrainingDiverged(
                f"training diverged in epoch {trainer.epoch + 1}: {error}; the parameters of "
                f"{f'epoch {kept.epoch}' if kept.epoch else 'the start'} are kept. Try {advice} or standardised data"
            ) from None
        return False

    def after_epoch(self):
        """Follow the curves, keep the parameters, write the checkpoint."""
        trainer = self.trainer
        trainer.monitor(self.watched, self.keep_best)
        if self.settings.checkpoint is not None:
            write_npz(self.settings.checkpoint, trainer.snapshot())
        error, value = trainer.curves[-1]
        known = f", log_likelihood {value:.4f}" if np.isfinite(value) else ""
        self.progress.step(f"reconstruction {error:.4f}{known}")

    def after_iteration(self):
        """After one of L-BFGS, which a StopIteration stops."""
        self.after_epoch()
        if self.stalled():
            raise StopIteration

    def stalled(self) -> bool:
        """Whether `patience` epochs have passed without a better likelihood or, where unknown, reconstruction."""
        patience = self.settings.patience
        if patience is None or len(self.trainer.curves) <= patience:
            return False
        error, likelihood = np.array(self.trainer.curves).T
        curve = likelihood if np.isfinite(likelihood).any() else -error
        return curve[-patience:].max() <= curve[:-patience].max()
