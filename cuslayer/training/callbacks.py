"""Callbacks that several trainings need."""

from __future__ import annotations

from cuslayer._base import check
from cuslayer.training.trainer import Callback, Trainer


class Log(Callback):
    """Logs one line per epoch, by `Trainer.log`."""

    def after_epoch(self, trainer: Trainer) -> None:
        trainer.log(str(trainer.stats.epochs[-1]))


@check.named
class EarlyStopping(Callback):
    """Ends the training after a number of epochs without a better score; see `Stats.best`.

    Args:
        patience: the number of epochs.

    Raises:
        ValueError: patience is less than 1, or `Trainer.fit` has no validation batches.
        TypeError: patience is not an integer.
    """

    def __init__(self, patience: int) -> None:
        self.patience = check.integer("patience", patience, least=1)

    def goes_on(self, trainer: Trainer) -> bool:
        last = trainer.stats.epochs[-1] if trainer.stats.epochs else None
        if last is not None and last.train_accuracy is not None and last.validation_loss is None:
            raise ValueError("validation batches are needed, got none")
        if trainer.stats.waited < self.patience:
            return True
        best = len(trainer.stats.epochs) - trainer.stats.waited
        trainer.log(f"the run ends, as {trainer.stats.waited} epochs had no better validation score than epoch {best}")
        return False
