"""What a run to resume has, and which keys of its configuration may change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from cuslayer._base import check
from cuslayer._base.files import write_whole
from cuslayer.network.notation import rows_first
from cuslayer.training.checkpoint import Checkpoint, FileRecord, read_summary
from cuslayer.training.config import Config, load_config
from cuslayer.training.run_folder import BEST, CHECKPOINT, CONFIG, METRICS
from cuslayer.training.stats import EpochStats, Stats, load_stats

# Keys for the locations of files and the intervals of checkpoints: they do not affect results.
PATHS = ("training.path", "training.checkpoint")
_FREE = ("training.path.out", "training.checkpoint")
# Keys that give the weights, their input and the optimizer's state their meaning.
NETWORK = ("layer", "neuron", "simulation.Ts", "sound")
ALL = ("layer", "neuron", "simulation", "sound", "training")
_FIXED = ("training.optimizer.type", "training.optimizer.amsgrad", "training.optimizer.relative")
# Keys that only matter before the first step.
_BEGUN = (
    "training.seed",
    "training.initialization",
    "training.firingRate",
    "training.validation",
    "training.path.dataset",
)
# Keys that determine the batches of an epoch, and the sums over them.
_OF_AN_EPOCH = ("training.batch", "training.seed", "training.error", "training.parallel", "simulation.tSample")


class Change(NamedTuple):
    """A key of a configuration with two values, as text."""

    key: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} is {self.now}, was {self.was}"

    def among(self, keys: tuple[str, ...]) -> bool:
        """Return whether the key is one of some keys, or within one."""
        return any(self.key == key or self.key.startswith((f"{key}.", f"{key}[")) for key in keys)


def changes(before: object, now: object) -> list[Change]:
    """Return the keys whose values differ between two documents."""
    was, given, none = dict(_items(before)), dict(_items(now)), object()
    return [
        Change(key, *(check.one_line(values[key]) if key in values else "missing" for values in (was, given)))
        for key in {**was, **given}
        if was.get(key, none) != given.get(key, none)
    ]


def _items(x: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and the value of each item in a document that is neither a mapping nor a list."""
    if isinstance(x, dict):
        for key, value in x.items():
            yield from _items(value, f"{path}.{key}" if path else str(key))
    elif isinstance(x, list):
        for number, value in enumerate(x):
            yield from _items(value, f"{path}[{number}]")
    else:
        yield path, x


def check_config(record: FileRecord, folder: Path, *, free: tuple[str, ...] = _FREE, of: tuple[str, ...] = ALL) -> None:
    """Raise ValueError if the configuration file of a run has changed since a checkpoint."""
    path = folder / CONFIG
    if path.is_file() and sha256(path.read_bytes()).hexdigest() not in record.digests:
        found = changes(record.settings().document(), load_config(path).document())
        wrong = [each for each in found if each.among(of) and not each.among(free)]
        if wrong:
            listed = ", ".join(map(str, wrong[:3])) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            advice = "write it back, or change it by options or another file"
            raise ValueError(f"{path} was changed since the checkpoint: {listed}; {advice}")


def check_resumed(record: FileRecord, config: Config, out: Path, *, within_epoch: bool) -> list[str]:
    """Return a line for each key that differs in a resumed run; raise ValueError if it must not change."""
    before = record.settings()
    if before.layers != config.layers:
        was, given = ("-".join(rows_first(word).text for word in c.layers) for c in (before, config))
        got = f"{given} with other options of its layers" if was == given else given
        raise ValueError(f"the network of a resumed run cannot change: {out} has {was}, got {got}")
    found = [each for each in changes(before.document(), config.document()) if not each.among(_FREE)]
    for each in found:
        got = f"{out} has {each.was}, got {each.now}"
        if within_epoch and each.among(_OF_AN_EPOCH):
            raise ValueError(f"{each.key} cannot change in the middle of an epoch, {got}")
        if each.among((*NETWORK, *_FIXED, *_BEGUN)):
            raise ValueError(f"{each.key} of a resumed run cannot change, {got}")
    return [f"warning: {each}" for each in found]


def earlier(config: Config, out: Path) -> tuple[list[EpochStats], list[str]]:
    """Compare a run to resume with its files and a configuration; write its best checkpoint if it is missing."""
    summary = read_summary(out / CHECKPOINT)
    record, rows = summary.record, completed(out, summary.epoch)
    if record is None:
        record = FileRecord.of(load_config(out / CONFIG), rows)
    else:
        check_config(record, out)
        rows = list(record.rows)
    lines, stats = check_resumed(record, config, out, within_epoch=summary.batches > 0), Stats(rows)
    if summary.batches and (option := goes_on_by(config, stats)):
        raise ValueError(f"{out} stands in the middle of epoch {summary.epoch + 1}; to go on, give {option}")
    _repair_best(out, summary, stats)
    return rows, lines


def goes_on_by(config: Config, stats: Stats) -> str | None:
    """Return the option that would continue a run without remaining epochs; None if epochs remain."""
    if len(stats.epochs) >= config.epochs:
        return f"--epochs N, N above {len(stats.epochs)}"
    if config.patience is not None and stats.waited >= config.patience:
        return f"--patience N, N above {stats.waited}"
    return None


def config_of_run(folder: Path) -> Config:
    """Return the configuration of a run to resume, from its checkpoint.

    The file may have the options from before the last resumption, if the run died then.
    """
    record = read_summary(folder / CHECKPOINT).record
    return load_config(folder / CONFIG) if record is None else record.settings()


def completed(folder: Path, epochs: int) -> list[EpochStats]:
    """Return the rows of a run's completed epochs in its metrics.csv, which may have one more."""
    path = folder / METRICS
    if epochs and not path.is_file():
        raise ValueError(f"{path} is missing, the checkpoint has {epochs} epochs")
    rows = load_stats(path)[:epochs] if epochs else []
    if len(rows) < epochs:
        raise ValueError(f"{path} has {len(rows)} epochs, the checkpoint has {epochs}")
    return rows


def _repair_best(out: Path, summary: Checkpoint, stats: Stats) -> None:
    """Write the missing best checkpoint of a run that died: the last checkpoint, if it is the best."""
    best = stats.best
    if best is None or summary.batches or best.epoch != summary.epoch:
        return
    with suppress(ValueError):
        if read_summary(out / BEST).epoch == summary.epoch:
            return
    content = (out / CHECKPOINT).read_bytes()
    write_whole(out / BEST, lambda file: file.write(content), durable=True)
