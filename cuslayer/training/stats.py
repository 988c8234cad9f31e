"""The log of a training: one row per epoch, for printing, plotting, and saving as CSV."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuslayer._base import check
from cuslayer._base.files import read_table, read_text, write_table, write_text
from cuslayer.plot import learning_curves
from cuslayer.training.score import Score, Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class EpochStats:
    """One row of the log; missing values are None.

    Attributes:
        epoch: the number of the epoch, from 1.
        train_loss: mean loss per training sample, during training.
        train_accuracy: fraction of training samples classified correctly, during training.
        test_loss: mean loss per test sample after the epoch; in a run of `train`, only the best epoch has it.
        test_accuracy: fraction of test samples classified correctly after the epoch.
        seconds: duration of training only, unless you passed the scores of validation and test to `Stats`.
        validation_loss: mean loss per validation sample after the epoch.
        validation_accuracy: fraction of validation samples classified correctly after the epoch.
        lr: the optimizer's learning rate after the epoch, `Optimizer.lr`; in logs of `Trainer.fit` and `train`.
        train_score, validation_score, test_score: the mean of a score of one's own per sample; see `Trainer`.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    lr: float | None = None
    train_score: float | None = None
    validation_score: float | None = None
    test_score: float | None = None

    @property
    def scores(self) -> tuple[float | None, float]:
        """The score of one's own, or the accuracy, and the loss: of validation or, without it, of training."""
        if self.validation_loss is None:
            return self.train_accuracy if self.train_score is None else self.train_score, self.train_loss
        own = self.validation_score
        return self.validation_accuracy if own is None else own, self.validation_loss

    def __str__(self) -> str:
        return f"{self.text(*_PARTS)} | {self.seconds:.2f} s"

    def text(self, *parts: str) -> str:
        """Return the existing scores of parts, "train", "validation" or "test", in a line."""
        text = f"epoch {self.epoch:3d}"
        for name in parts:
            loss, accuracy, score = (getattr(self, f"{name}_{value}") for value in ("loss", "accuracy", "score"))
            if loss is not None:
                text += f" | {name} loss {loss:.4g}" + ("" if accuracy is None else f", accuracy {accuracy:.2%}")
                text += "" if score is None else f", score {score:.4g}"
        return text


_MOST_EPOCHS = 100_000
_PARTS = ("train", "validation", "test")
_COLUMNS = ["epoch", *(f"{part}_{value}" for part in _PARTS for value in ("loss", "accuracy")), "lr", "seconds"]
# The first version had no validation, the next no lr.
_WITHOUT_LR = [name for name in _COLUMNS if name != "lr"]
_FIRST = [name for name in _WITHOUT_LR if not name.startswith("validation")]
# Only a log with a score of one's own has these columns.
_WITH_SCORES = [*_COLUMNS, *(f"{part}_score" for part in _PARTS)]
_HEADERS = [_COLUMNS, _WITH_SCORES, _WITHOUT_LR, _FIRST]


def _rank(row: EpochStats) -> tuple[float, float]:
    """Return a key that is larger for a better epoch: by accuracy, then by loss."""
    accuracy, loss = row.scores
    known = accuracy is not None and not math.isnan(accuracy)
    return accuracy if known else -math.inf, -math.inf if math.isnan(loss) else -loss  # type: ignore[return-value]


def plateaus(rows: Sequence[EpochStats], every: int) -> int:
    """Return how often `every` consecutive epochs had no better score than the epochs before."""
    best, since, found = (-math.inf, -math.inf), 0, 0
    for row in rows:
        better = _rank(row) > best
        best, since = (_rank(row), 0) if better else (best, since + 1)
        if since == every:
            since, found = 0, found + 1
    return found


@check.named
class Stats:
    """The log of a training: the scores of the current epoch, and one row for each completed epoch.

    ::

        stats = cs.training.Stats()
        for epoch in range(100):
            for x, labels in train_batches:
                ...
                stats.training.add(*loss.scored(spikes, labels), value)
            for x, labels in validation_batches:
                ...
                stats.validation.add(*loss.scored(spikes, labels), loss(spikes, labels))
            print(stats.end_epoch())
            if stats.epochs[-1] is stats.best:
                ...  # keep the weights
        stats.save("metrics.csv")

    Args:
        epochs: rows of an earlier log to continue.

    Attributes:
        epochs: one row for each completed epoch.
        training: the score of the training samples in the current epoch.
        validation: the score of the validation samples in the current epoch, which determines `best`; optional.
        test: the score of the test samples in the current epoch; optional.

    >>> import numpy as np
    >>> stats, spikes = Stats(), np.array([[[True, False], [True, False]]])
    >>> stats.training.add(spikes, [0, 1], 3.0)
    >>> row = stats.end_epoch(seconds=1.0)
    >>> print(stats)
    epoch   1 | train loss 1.5, accuracy 50.00% | 1.00 s
    best: epoch 1
    """

    def __init__(self, epochs: Iterable[EpochStats] = ()) -> None:
        self.epochs = list(epochs)
        self.training, self.validation, self.test = Tally(), Tally(), Tally()

    def end_epoch(
        self,
        training: Score | None = None,
        *,
        validation: Score | None = None,
        test: Score | None = None,
        seconds: float | None = None,
        lr: float | None = None,
    ) -> EpochStats:
        """End the epoch: append its row to `epochs`, and return it.

        Args:
            training: a score, such as `Trainer.train` returns; by default the score of the samples added.
            validation: the same for validation.
            test: the same for test.
            seconds: duration of training; by default from the end of the previous epoch, or from the creation of this
                log, to the last training batch added; with a score for training, to this call.
            lr: the learning rate, such as ``optimizer.lr``, for the log.

        Raises:
            ValueError: no training sample was added, or seconds is negative.
        """
        last = self.training.last if training is None else time.perf_counter()
        seconds = check.not_negative("seconds", last - self.training.start if seconds is None else seconds)
        if training is None and self.training.samples == 0:
            raise ValueError("an epoch must have a training sample, got none")
        values: dict[str, Any] = {}
        for part, score, tally in (
            ("train", training, self.training),
            ("validation", validation, self.validation),
            ("test", test, self.test),
        ):
            if score is None and tally.samples:
                score = tally.score()
            loss, accuracy, own = (None, None, None) if score is None else score
            values |= {f"{part}_loss": loss, f"{part}_accuracy": accuracy, f"{part}_score": own}
        row = EpochStats(epoch=len(self.epochs) + 1, seconds=seconds, lr=lr, **values)
        self.epochs.append(row)
        self.training, self.validation, self.test = Tally(), Tally(), Tally()
        return row

    @property
    def best(self) -> EpochStats | None:
        """The epoch with the highest validation accuracy, or score of one's own; ties are broken by the loss.

        Without classes, it is the epoch with the lowest loss, of validation or else of training. With classes but
        without validation, it is the last epoch: the test set must not choose. None before the end of the first epoch.
        """
        validated = [row for row in self.epochs if row.validation_loss is not None]
        if not validated and self.epochs and self.epochs[-1].scores[0] is not None:
            return self.epochs[-1]
        return max(validated or self.epochs, key=_rank, default=None)

    @property
    def waited(self) -> int:
        """The number of epochs after the best one."""
        return 0 if self.best is None else len(self.epochs) - self.best.epoch

    def __str__(self) -> str:
        best = self.best
        if best is None:
            return "no epoch yet"
        return "\n".join([*map(str, self.epochs), f"best: epoch {best.epoch}"])

    def plot(self, ax: Axes | None = None, *, value: str = "loss") -> Any:
        """Draw the scores of each part over the epochs, and return the axes; see `plot.learning_curves`.

        Args:
            ax: the matplotlib axes; by default the axes of a new figure.
            value: "loss", "accuracy" or "score", of one's own.

        Raises:
            ValueError: value is unknown.
            TypeError: ax is not Axes.
        """
        return learning_curves(self, ax, value=value)

    def save(self, path: str | Path) -> None:
        """Write the epochs as CSV, one row per epoch, as in the metrics.csv of `cuslayer train`."""
        save_stats(path, self.epochs)

    @classmethod
    def load(cls, path: str | Path) -> Stats:
        """Read a log of `save` or `cuslayer train`, to continue it.

        Raises:
            ValueError: the file is missing or is not such a log.
        """
        return cls(_read_log(path, least=-math.inf))

    def save_slayer(self, prefix: str | Path = "") -> None:
        """Write the epochs as SLAYER-PyTorch's ``stats.save(prefix)``: the files PREFIXloss.txt and PREFIXaccuracy.txt.

        Each has a row for an epoch, with the values of training and of test, after the header ``# Train Test``. Missing
        values are nan. Without classes, the second file has only the header.

        Args:
            prefix: a folder with a slash at its end, the start of the names, or both.
        """
        losses = [(row.train_loss, row.test_loss) for row in self.epochs]
        accuracies = [(row.train_accuracy, row.test_accuracy) for row in self.epochs]
        if all(value is None for pair in accuracies for value in pair):
            accuracies = []
        for name, pairs in (("loss", losses), ("accuracy", accuracies)):
            rows = [[math.nan if value is None else value for value in pair] for pair in pairs]
            lines = [f"#{'Train':>11} {'Test':>11}\r\n", *(f"{a:12.6g} {b:12.6g} \r\n" for a, b in rows)]
            write_text(f"{prefix}{name}.txt", "".join(lines))

    @classmethod
    def load_slayer(cls, prefix: str | Path = "") -> Stats:
        """Read a log of SLAYER-PyTorch or `save_slayer`, to continue it; its epochs have nan seconds.

        Raises:
            ValueError: a file is missing or is not such a log, or the files have different numbers of epochs.
        """
        losses, accuracies = (_read_slayer(f"{prefix}{name}.txt") for name in ("loss", "accuracy"))
        if not accuracies:
            accuracies = [(None, None)] * len(losses)
        if len(losses) != len(accuracies):
            raise ValueError(f"{prefix}loss.txt has {len(losses)} epochs, {prefix}accuracy.txt has {len(accuracies)}")
        return cls(
            EpochStats(number, math.nan if train is None else train, right, test, test_right, math.nan)
            for number, ((train, test), (right, test_right)) in enumerate(zip(losses, accuracies, strict=True), start=1)
        )


def _read_slayer(path: str) -> list[tuple[float | None, float | None]]:
    """Return the rows of one of SLAYER's two files; None for nan."""
    found: list[tuple[float | None, float | None]] = []
    for number, line in enumerate(io.StringIO(read_text(path, "text")), start=1):
        _check_epochs(path, len(found) + 1)
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            train, test = (None if math.isnan(value) else value for value in map(float, words))
        except ValueError:
            raise ValueError(f"{path} line {number} is no row of two numbers") from None
        found.append((train, test))
    return found


def _check_epochs(path: str | Path, count: int) -> None:
    """Raise ValueError if a log has more epochs than any training."""
    if count > _MOST_EPOCHS:
        raise ValueError(f"{path} must have at most {_MOST_EPOCHS:,} epochs")


def save_stats(path: str | Path, rows: Sequence[EpochStats], *, durable: bool = False) -> None:
    """Write the log as CSV, atomically; with `durable`, wait until it is on disk."""
    names = _COLUMNS if all(row.train_score is None for row in rows) else _WITH_SCORES
    fields = ([getattr(row, name) for name in names] for row in rows)
    known = ([None if field != field else field for field in row] for row in fields)  # NaN is unknown, too
    write_table(path, names, known, durable=durable)


@check.operation
def load_stats(path: str | Path) -> list[EpochStats]:
    """Read a log of `save_stats`, also of an earlier version, without validation.

    Raises:
        ValueError: the file is missing or is not such a log, or a number in it cannot be an epoch's.
    """
    return _read_log(path, least=0.0)


@check.operation("load_stats")
def _read_log(path: str | Path, least: float) -> list[EpochStats]:
    """Return the rows of a log whose losses are at least a number: of a loss of one's own, any number."""
    names, lines = read_table(path, *_HEADERS)
    rows = list[EpochStats]()
    for line, texts in enumerate(lines, start=2):
        _check_epochs(path, line - 1)
        try:
            if not all(map(str.isascii, texts)):
                raise ValueError("digits of other scripts")
            numbers = {name: float(text) if text else None for name, text in zip(names, texts, strict=True)}
            row = EpochStats(**numbers | {"epoch": int(texts[0])})  # type: ignore[arg-type]
            rows.append(checked_row(row, least))
        except (ValueError, TypeError):
            raise ValueError(f"{path} line {line} is no row of {len(names)} numbers") from None
        if rows[-1].epoch != len(rows):
            raise ValueError(f"{path} line {line} must be epoch {len(rows)}, got {rows[-1].epoch}")
    return rows


def checked_row(row: EpochStats, least: float = 0.0) -> EpochStats:
    """Return a row of a file, with NaN for unknown training; raise an error unless its numbers can be an epoch's."""
    check.integer("epoch", row.epoch, least=1)
    for part, loss, accuracy in (
        ("train", row.train_loss, row.train_accuracy),
        ("validation", row.validation_loss, row.validation_accuracy),
        ("test", row.test_loss, row.test_accuracy),
    ):
        if loss is not None and not least <= loss < math.inf:
            raise ValueError(f"{part}_loss must be finite and at least {least:g}, got {loss:g}")
        if accuracy is not None and not 0 <= accuracy <= 1:
            raise ValueError(f"{part}_accuracy must be from 0 to 1, got {accuracy:g}")
    for name, number in (("seconds", row.seconds), ("lr", row.lr)):
        if number is not None and not 0 <= number < math.inf:
            raise ValueError(f"{name} must be finite and at least 0, got {number:g}")
    if row.train_loss is not None and row.seconds is not None:
        return row
    loss, seconds = (math.nan if number is None else number for number in (row.train_loss, row.seconds))
    return replace(row, train_loss=loss, seconds=seconds)
