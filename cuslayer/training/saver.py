"""When a run writes its files, and in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cuslayer.files import NotWritten, write_whole
from cuslayer.training.checkpoint import Checkpoint, Summary, load_checkpoint, read_summary
from cuslayer.training.config import Config
from cuslayer.training.folder import BEST, CHECKPOINT, CONFIG, GRADIENTS, METRICS
from cuslayer.training.place import Place
from cuslayer.training.record import Record
from cuslayer.training.score import Tally
from cuslayer.training.stats import EpochStats, Stats, save_stats
from cuslayer.training.trainer import Trainer


class Stopped(Exception):
    """A run was asked to stop, and has stopped.

    Attributes:
        folder: the folder of the run.
        epoch: the number of completed epochs in its checkpoint.
        batches: the number of batches after them in its checkpoint.
        saved: whether there is a checkpoint.
    """

    def __init__(self, folder: Path, checkpoint: tuple[int, int] | None) -> None:
        self.folder, self.saved = folder, checkpoint is not None
        self.epoch, self.batches = checkpoint or (0, 0)
        super().__init__(f"train: {folder} is stopped, {_described(checkpoint)}")


class Saver:
    """Writes the files of a run, so that it can go on after a death at any time.

    A checkpoint holds all that decides what follows. The first file of a run is one: without it, files of these names
    are the user's. Of an epoch that is complete, `metrics.csv` is written before the checkpoint and has at least its
    epochs; the best checkpoint is written after it, and anew by a run that is resumed. A configuration is written after
    the checkpoint, which knows it and the one before.

    Args:
        out: the folder.
        config: the configuration of the run.
        trainer: the trainer.
        stats: the statistics of the completed epochs.
        batches: the number of training batches of an epoch.
        stop: called after each step; the run is saved and stops if it returns True.
        recordings: what `described` says of the recordings for training and for the test.
        resumed: the checkpoint that the run was resumed from; None for a new run.
        writes: whether this process writes; of several, one does.

    Attributes:
        place: where the run was resumed within an epoch; None after that epoch.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        trainer: Trainer,
        stats: Stats,
        batches: int,
        stop: Callable[[], bool],
        recordings: Mapping[str, str],
        resumed: Checkpoint | None,
        *,
        writes: bool = True,
    ) -> None:
        self._out, self._config, self._trainer, self._stats, self._stop = out, config, trainer, stats, stop
        self._batches, self._writes = batches, writes
        self._record = Record.of(config, [], recordings)
        self._saved = None if resumed is None else (resumed.epoch, resumed.batches)
        # What the configuration file may be until this run has written it.
        self._digests = () if resumed is None or resumed.record is None else resumed.record.digests
        self._written = False
        self.place = None if resumed is None else resumed.place
        # The training part of an epoch, once it is complete.
        self._trained = self.place
        self._steps, self._time = 0, time.monotonic()
        self._before = self._time

    def check_stop(self) -> None:
        """Raise Stopped if the run is to stop, without saving it."""
        if self._stop():
            raise Stopped(self._out, self._saved)

    def after_training_step(self, score: Tally) -> None:
        """Save the run if it is time to, or if it is to stop."""
        self._steps += 1
        last = score.batches == self._batches
        stop = self._stop()
        if last or stop or self._is_due():
            self._trainer.check_finite()
            self._trained = Place(self._batches, score.state(), self._trainer.gradients.state())
            # After the last step the epoch itself is saved soon.
            if stop or not last:
                self._save(self._trained)
        if stop:
            raise Stopped(self._out, self._saved)

    def after_test_step(self, score: Tally) -> None:
        """Save the run if it is time to, or if it is to stop."""
        stop = self._stop()
        if self._trained is not None and (stop or self._is_due()):
            trained = self._trained
            self._save(Place(trained.of, trained.trained, trained.gradients, score.state()))
        if stop:
            raise Stopped(self._out, self._saved)

    def after_epoch(self) -> None:
        """Save an epoch that is complete, whose row is the last of the statistics."""
        whole, self.place, self._trained = self._trained, None, None
        if self._writes and whole is not None and self._saved is None:
            # The first checkpoint of the run, before metrics.csv.
            self._write_checkpoint(self._checkpoint(whole, self._stats.epochs[:-1]))
        self._save(None)
        if self._writes and self._stats.best is self._stats.epochs[-1]:
            self._write(BEST, self._checkpoint(None, self._stats.epochs).save)

    def forget_recordings(self) -> None:
        """Let the checkpoint go on with other recordings than those that it notes."""
        if not self._writes or self._saved is None:
            return
        # What is said is why the run fails.
        with suppress(ValueError):
            checkpoint = load_checkpoint(self._out / CHECKPOINT)
            if checkpoint.record is not None:
                record = replace(checkpoint.record, recordings=None)
                self._write(CHECKPOINT, replace(checkpoint, record=record).save)

    def _is_due(self) -> bool:
        """Return whether a checkpoint is to be written: a step like this one would end after the time is over."""
        if not self._writes:
            return False
        minutes, steps = self._config.checkpoint_minutes, self._config.checkpoint_steps
        now = time.monotonic()
        step, self._before = now - self._before, now
        return now + step - self._time > 60 * minutes or (steps is not None and self._steps >= steps)

    def _checkpoint(self, place: Place | None, epochs: list[EpochStats]) -> Checkpoint:
        trainer = self._trainer
        record = self._record.with_rows(epochs, self._digests)
        return Checkpoint.of(len(epochs), trainer.net, trainer.optimizer, place=place, record=record)

    def _save(self, place: Place | None) -> None:
        """Write a checkpoint, and before it what it needs."""
        if not self._writes:
            self._saved = len(self._stats.epochs), 0 if place is None else place.batches
            return
        checkpoint = self._checkpoint(place, self._stats.epochs)
        if place is None:
            self._write(METRICS, lambda path: save_stats(path, self._stats.epochs, durable=True))
            self._write(GRADIENTS, lambda path: self._trainer.gradients.save(path, durable=True))
        self._write_checkpoint(checkpoint)
        self._steps, self._time = 0, time.monotonic()
        self._before = self._time

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and after the first one the configuration."""
        self._write(CHECKPOINT, checkpoint.save)
        self._saved = checkpoint.epoch, checkpoint.batches
        if not self._written:
            self._write_config()

    def _write_config(self) -> None:
        text = self._config.to_yaml().encode()
        self._write(CONFIG, lambda path: write_whole(path, lambda file: file.write(text), durable=True))
        self._written, self._digests = True, ()

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        try:
            write(self._out / name)
        except NotWritten as problem:
            raise NotWritten(f"train: {problem}; {_described(self._saved)}", problem) from None


def repair_best(out: Path, summary: Summary, stats: Stats) -> None:
    """Write the best checkpoint of a run if the process died before it could: the last one, if its epoch is the best.

    Args:
        out: the folder of the run.
        summary: what its checkpoint says.
        stats: the statistics of its completed epochs.

    Raises:
        NotWritten: the file cannot be written.
    """
    best = stats.best
    if best is None or summary.batches or best.epoch != summary.epoch:
        return
    with suppress(ValueError):
        if read_summary(out / BEST).epoch == summary.epoch:
            return
    content = (out / CHECKPOINT).read_bytes()
    write_whole(out / BEST, lambda file: file.write(content), op="train", durable=True)


def _described(checkpoint: tuple[int, int] | None) -> str:
    """Return the place of the checkpoint of a run in words."""
    if checkpoint is None:
        return "it has no checkpoint yet"
    epoch, batches = checkpoint
    within = f" and {batches} batch{'' if batches == 1 else 'es'} of the next" if batches else ""
    return f"its checkpoint has {epoch} epoch{'' if epoch == 1 else 's'}{within}, --resume goes on from there"
