"""The logs of a run as CSV files: a header that says what they are, and a row an epoch.

The log of a training in a loop of one's own: counted, printed, plotted, saved, read again.

The log of a run: a row an epoch, as it is written to metrics.csv.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from cuslayer import check
from cuslayer.files import write_whole
from cuslayer.plot import learning_curves
from cuslayer.training.score import Tally


def write_table(path: str | Path, header: list[str], rows: Iterable[Iterable[float | None]]) -> None:
    """Write rows of numbers, what is None being left empty, whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow("" if value is None else f"{value:.10g}" for value in row)
    write_whole(Path(path), lambda file: file.write(text.getvalue().encode()))


def read_table(op: str, path: str | Path, header: list[str]) -> list[list[str]]:
    """Return the rows of a file that `write_table` wrote, as text.

    Raises:
        ValueError: the file is missing, is no CSV, or has another header.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            first, *rows = list(csv.reader(file)) or [[]]
    except OSError:
        raise ValueError(f"{op}: {path} is no file") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{op}: {path} is no CSV") from None
    if first != header:
        raise ValueError(f"{op}: {path} does not begin with {','.join(header)}")
    return rows


class Stats:
    """The log of a training: what is counted in an epoch, and a row for each that has ended.

    ::

        stats = cs.Stats()
        for epoch in range(100):
            for x, labels in train_batches:
                ...
                stats.training.add(spikes, labels, value)
            for x, labels in test_batches:
                ...
                stats.test.add(spikes, labels, loss(spikes, labels))
            print(stats.end_epoch())
            if stats.epochs[-1] is stats.best:
                ...  # keep the weights
        stats.save("metrics.csv")

    Args:
        epochs: rows that a log goes on from.

    Attributes:
        epochs: a row for each epoch that has ended; what was not measured in it is None.
        training: the score of the training samples of this epoch.
        test: the score of its test samples; there need not be any.

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
        self.training, self.test = Tally(), Tally()

    def end_epoch(self, *, seconds: float | None = None) -> EpochStats:
        """Close the epoch: append its row, begin the next, and return the row.

        Args:
            seconds: of training; by default from the end of the epoch before, or from this log's beginning, to the
                last training sample.

        Raises:
            ValueError: no training sample was counted, or seconds is negative.
        """
        if self.training.samples == 0:
            raise ValueError("Stats: an epoch must have a training sample, got none")
        if seconds is None:
            seconds = self.training.last - self.training.start
        trained, tested = self.training.score(), self.test.score() if self.test.samples else None
        row = EpochStats(
            epoch=len(self.epochs) + 1,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            test_loss=None if tested is None else tested.loss,
            test_accuracy=None if tested is None else tested.accuracy,
            seconds=check.not_negative("Stats", "seconds", seconds),
        )
        self.epochs.append(row)
        self.training, self.test = Tally(), Tally()
        return row

    @property
    def best(self) -> EpochStats | None:
        """The epoch of the highest accuracy, among equals of the lowest loss, among equals the first.

        It is that of the test samples if any epoch had some, and else of the training samples; where there are no
        classes, the loss alone counts. None before the first epoch has ended.
        """
        tested = [row for row in self.epochs if row.test_loss is not None]

        def rank(row: EpochStats) -> tuple[float, float]:
            loss, accuracy = row.train_loss, row.train_accuracy
            if row.test_loss is not None:
                loss, accuracy = row.test_loss, row.test_accuracy
            return -math.inf if accuracy is None else accuracy, -math.inf if math.isnan(loss) else -loss

        return max(tested or self.epochs, key=rank, default=None)

    def __str__(self) -> str:
        best = self.best
        if best is None:
            return "no epoch yet"
        return "\n".join([*map(str, self.epochs), f"best: epoch {best.epoch}"])

    def plot(self, ax: Any = None, *, value: str = "loss") -> Any:
        """Draw the curves of training and test over the epochs, and return the axes; see `plot.learning_curves`.

        Args:
            ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
            value: "loss" or "accuracy".

        Raises:
            ValueError: value is an unknown word.
            TypeError: ax is no Axes.
        """
        return learning_curves(self, ax, value=value)

    def save(self, path: str | Path) -> None:
        """Write the epochs as CSV, whole: a header and a row an epoch, as `cuslayer train` writes its metrics.csv."""
        save_stats(path, self.epochs)

    @classmethod
    def load(cls, path: str | Path) -> Stats:
        """Read a log that `save` or `cuslayer train` wrote; the next epoch follows its last.

        Raises:
            ValueError: the file is missing or is no such log.
        """
        return cls(load_stats(path))


@dataclass(frozen=True)
class EpochStats:
    """One epoch; what was not measured is None.

    Attributes:
        epoch: from 1.
        train_loss: mean loss of a sample while training.
        train_accuracy: part of the samples classified right while training.
        test_loss: mean loss of a test sample after the epoch.
        test_accuracy: part of the test samples classified right after the epoch.
        seconds: of training, testing not counted.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    seconds: float

    def __str__(self) -> str:
        def part(name: str, loss: float | None, accuracy: float | None) -> str:
            if loss is None:
                return ""
            return f" | {name} loss {loss:.4g}" + ("" if accuracy is None else f", accuracy {accuracy:.2%}")

        train = part("train", self.train_loss, self.train_accuracy)
        return f"epoch {self.epoch:3d}{train}{part('test', self.test_loss, self.test_accuracy)} | {self.seconds:.2f} s"


_NAMES = [field.name for field in fields(EpochStats)]


def save_stats(path: str | Path, rows: list[EpochStats]) -> None:
    """Write the log as CSV, whole."""
    write_table(path, _NAMES, map(astuple, rows))


def load_stats(path: str | Path) -> list[EpochStats]:
    """Read a log that `save_stats` wrote.

    Raises:
        ValueError: the file is missing or is no such log.
    """
    found = []
    for line, row in enumerate(read_table("load_stats", path, _NAMES), start=2):
        try:
            epoch, train_loss, *rest, seconds = row
            optional = [float(value) if value else None for value in rest]
            train_accuracy, test_loss, test_accuracy = optional
            stats = EpochStats(int(epoch), float(train_loss), train_accuracy, test_loss, test_accuracy, float(seconds))
        except ValueError:
            raise ValueError(f"load_stats: {path} line {line} is no row of {len(_NAMES)} numbers") from None
        found.append(stats)
    return found
