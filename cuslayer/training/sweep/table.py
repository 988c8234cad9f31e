"""The results of a sweep: what became of each run, as a table and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuslayer.training.folder import METRICS
from cuslayer.training.stats import EpochStats, Stats, load_stats

FAILED, DONE, STARTED, WAITING = "failed", "done", "started", "waiting"


@dataclass(frozen=True)
class Result:
    """A run of a sweep.

    Attributes:
        number: the number of the run, from 1; its folder is the number in three digits or more.
        point: the values of the keys.
        status: "done", "failed", "started" or "waiting".
        best: the best epoch, see `Stats.best`; None before the first.
        error: the last line of what a failed run said.
    """

    number: int
    point: tuple[Any, ...]
    status: str
    best: EpochStats | None = None
    error: str = ""

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the best epoch: of the test, or of training without one."""
        if self.best is None:
            return None
        return self.best.train_accuracy if self.best.test_loss is None else self.best.test_accuracy

    @property
    def loss(self) -> float | None:
        """The loss of the best epoch."""
        if self.best is None:
            return None
        return self.best.train_loss if self.best.test_loss is None else self.best.test_loss


def read_result(number: int, point: tuple[Any, ...], folder: Path, epochs: int, error: str | None) -> Result:
    """Return the result of a run by its folder.

    Args:
        number: the number of the run.
        point: its values.
        folder: its folder.
        epochs: the number of its epochs.
        error: what it said if it has failed.
    """
    rows = load_stats(folder / METRICS) if (folder / METRICS).is_file() else []
    best = Stats(rows).best
    if len(rows) >= epochs:
        return Result(number, point, DONE, best)
    if error is not None:
        return Result(number, point, FAILED, best, error)
    return Result(number, point, STARTED if rows else WAITING, best)


def table(keys: tuple[str, ...], results: list[Result]) -> str:
    """Return the results as a table, the best run first."""
    header = ["run", *keys, "accuracy", "loss", "epoch", ""]
    rows = [header]
    for result in sorted(results, key=_rank):
        numbers = ["" if x is None else f"{x:.4g}" for x in (result.accuracy, result.loss)]
        epoch = "" if result.best is None else str(result.best.epoch)
        said = "" if result.status == DONE else f"{result.status}{result.error and ': ' + result.error}"
        rows.append([str(result.number), *map(shown, result.point), *numbers, epoch, said])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "  ".join(c.rjust(w) for c, w in zip(r[:-1], widths, strict=False)) + f"  {r[-1]}".rstrip() for r in rows
    )


def table_csv(keys: tuple[str, ...], results: list[Result]) -> bytes:
    """Return the results as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", *keys, "status", "accuracy", "loss", "epoch", "error"])
    for r in results:
        values = ("" if x is None else f"{x:.10g}" for x in (r.accuracy, r.loss))
        writer.writerow([r.number, *r.point, r.status, *values, "" if r.best is None else r.best.epoch, r.error])
    return text.getvalue().encode()


def _rank(result: Result) -> tuple[float, float, int]:
    accuracy, loss = result.accuracy, result.loss
    worst = float("inf")
    return worst if accuracy is None else -accuracy, worst if loss is None else loss, result.number


def shown(value: Any) -> str:
    """Return a value of a key for display."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
