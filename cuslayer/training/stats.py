"""The log of a run: a row an epoch, as it is written to metrics.csv."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path

from cuslayer.training.table import read_table, write_table


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
