"""The writer of a run's files.

A run can die at any time, and resume with the bits of an uninterrupted run. So a checkpoint contains the complete
state, each file is written atomically, and only while this process still has the folder's lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from cuslayer._base import check
from cuslayer._base.files import NotWritten, write_text
from cuslayer.training.checkpoint import Checkpoint, FileRecord, Place, load_checkpoint
from cuslayer.training.config import Config
from cuslayer.training.run_folder import BEST, CHECKPOINT, CONFIG, GRADIENTS, METRICS
from cuslayer.training.score import Score, Tally
from cuslayer.training.stats import EpochStats, save_stats
from cuslayer.training.trainer import Callback, Trainer


class Stopped(Exception):
    """A run has stopped on request.

    Attributes:
        folder: the folder of the run.
        epoch: the number of completed epochs in its checkpoint.
        batches: the number of batches after them in its checkpoint.
        saved: whether there is a checkpoint.
    """

    def __init__(self, folder: Path, checkpoint: tuple[int, int] | None) -> None:
        self.folder = folder
        self.saved = checkpoint is not None
        self.epoch, self.batches = checkpoint or (0, 0)
        super().__init__(f"train: {folder} is stopped, {_described(checkpoint)}")


class Saver(Callback):
    """Writes the files of a run, so that it can resume after a death at any time.

    The first file of a run is a checkpoint: without it, files with these names belong to the user. After an epoch,
    `metrics.csv` is written before the checkpoint, and has at least its epochs; the best checkpoint is written after
    it, and again by a resumed run. The test score, from the end of the run, is in the row of its epoch. The
    configuration is written after the checkpoint, which has digests of it and of the one before.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        batches: int,
        stop: Callable[[], bool],
        recordings: Mapping[str, str],
        resumed: Checkpoint | None,
        *,
        writes: bool = True,
    ) -> None:
        self._out = out
        self._config = config
        self._stop = stop
        self._batches = batches
        self._writes = writes
        self._record = FileRecord.of(config, [], recordings)
        self._saved = None if resumed is None else (resumed.epoch, resumed.batches)
        # Digests of valid configuration files until this run has written its own.
        self._digests = () if resumed is None or resumed.record is None else resumed.record.digests
        self._written = False
        # The training part of an epoch, when it is complete.
        self._trained = None if resumed is None else resumed.place
        self._steps = 0
        self._time = self._before = time.monotonic()

    def check_stop(self, enough: bool = False) -> None:
        """Raise Stopped if the run should stop, without saving it."""
        if enough or self._stop():
            raise Stopped(self._out, self._saved)

    def after_step(self, trainer: Trainer, score: Tally) -> None:
        """Save the run if it is time to, or if it is to stop."""
        self._steps += 1
        last = score.batches == self._batches
        stop = self._stop()
        if last or stop or self._is_due():
            trainer.check_finite()
            self._trained = Place(self._batches, score.state(), trainer.gradients.state())
            # After the last step the epoch itself is saved soon.
            if stop or not last:
                self._save(trainer, self._trained)
        if stop:
            raise Stopped(self._out, self._saved)

    def after_test_step(self, trainer: Trainer, score: Tally) -> None:
        """Save the run if it is time to, or if it is to stop."""
        stop = self._stop()
        if self._trained is not None and (stop or self._is_due()):
            trained = self._trained
            self._save(trainer, Place(trained.of, trained.trained, trained.gradients, score.state()))
        if stop:
            raise Stopped(self._out, self._saved)

    def after_epoch(self, trainer: Trainer) -> None:
        """Save a complete epoch, the last row of the statistics."""
        whole = self._trained
        self._trained = None
        rows = trainer.stats.epochs
        if self._writes and whole is not None and self._saved is None:
            # The first checkpoint of the run, before metrics.csv.
            self._write_checkpoint(self._checkpoint(trainer, whole, rows[:-1]))
        self._save(trainer)
        if self._writes and trainer.stats.best is rows[-1]:
            self._write(BEST, self._checkpoint(trainer, None, rows).save)

    def after_test(self, trainer: Trainer, score: Score) -> None:
        """Save the score of the best epoch on the test set."""
        best = cast(EpochStats, trainer.stats.best)
        trainer.stats.epochs[best.epoch - 1] = replace(best, test_loss=score.loss, test_accuracy=score.accuracy)
        self._save(trainer)

    def forget_recordings(self) -> None:
        """Let the checkpoint continue with other recordings than before."""
        if not self._writes or self._saved is None:
            return
        # The run's own error matters, not this one.
        with suppress(ValueError):
            checkpoint = load_checkpoint(self._out / CHECKPOINT)
            if checkpoint.record is not None:
                record = replace(checkpoint.record, recordings=None)
                self._write(CHECKPOINT, replace(checkpoint, record=record).save)

    def _is_due(self) -> bool:
        """Return whether to write a checkpoint: another step like this one would exceed the interval."""
        if not self._writes:
            return False
        steps = self._config.checkpoint_steps
        now = time.monotonic()
        step = now - self._before
        self._before = now
        late = now + step - self._time > 60 * self._config.checkpoint_minutes
        return late or (steps is not None and self._steps >= steps)

    def _checkpoint(self, trainer: Trainer, place: Place | None, rows: list[EpochStats]) -> Checkpoint:
        record = self._record.with_rows(rows, self._digests)
        return Checkpoint.of(len(rows), trainer.net, trainer.optimizer, place=place, record=record)

    def _save(self, trainer: Trainer, place: Place | None = None) -> None:
        """Write a checkpoint, after the files that it needs."""
        rows = trainer.stats.epochs
        if not self._writes:
            self._saved = len(rows), 0 if place is None else place.batches
            return
        checkpoint = self._checkpoint(trainer, place, rows)
        if place is None:
            self._write(METRICS, lambda path: save_stats(path, rows, durable=True))
            self._write(GRADIENTS, lambda path: trainer.gradients.save(path, durable=True))
        self._write_checkpoint(checkpoint)
        self._steps = 0
        self._time = self._before = time.monotonic()

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and, after the first one, the configuration."""
        self._write(CHECKPOINT, checkpoint.save)
        self._saved = checkpoint.epoch, checkpoint.batches
        if not self._written:
            self._write(CONFIG, lambda path: write_text(path, self._config.to_yaml(), durable=True))
            self._written = True
            self._digests = ()

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        try:
            write(self._out / name)
        except NotWritten as problem:
            raise NotWritten(f"{check.reason(problem)}; {_described(self._saved)}", problem) from None


def _described(checkpoint: tuple[int, int] | None) -> str:
    """Return the place of a run's checkpoint in words."""
    if checkpoint is None:
        return "it has no checkpoint yet"
    epoch, batches = checkpoint
    within = f" and {batches} batch{'' if batches == 1 else 'es'} of the next" if batches else ""
    return f"its checkpoint has {epoch} epoch{'' if epoch == 1 else 's'}{within}, --resume goes on from there"
