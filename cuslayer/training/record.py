"""What a checkpoint says of its run: the configuration, the statistics, and which recordings it has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cuslayer import check
from cuslayer.network.notation import rows_first
from cuslayer.training.config import Config
from cuslayer.training.folder import CONFIG, METRICS
from cuslayer.training.read_config import load_config
from cuslayer.training.stats import EpochStats, load_stats
from cuslayer.training.sums import check_fields, is_number

# Keys that say where files are, and how often a checkpoint is written: they change nothing that is computed.
PATHS = ("training.path", "training.checkpoint")
_FREE = ("training.path.out", "training.checkpoint")
# Keys without which the weights and the optimizer's state mean something else.
NETWORK = ("layer", "neuron", "simulation.Ts")
ALL = ("layer", "neuron", "simulation", "training")
_FIXED = ("training.optimizer.type", "training.optimizer.amsgrad", "training.optimizer.relative")
# Keys that are used before the first step alone.
_BEGUN = ("training.seed", "training.initialization", "training.firingRate")
# Keys that decide what is in the batches of an epoch, and what is summed over them.
_OF_AN_EPOCH = ("training.batch", "training.seed", "training.error", "training.parallel", "simulation.tSample")


@dataclass(frozen=True)
class Record:
    """The configuration, the statistics and the recordings of a run at a checkpoint.

    Attributes:
        config: the configuration as the document of a YAML file, with text as keys.
        rows: the statistics of the completed epochs.
        digests: of the configuration file, the SHA-256 of each text that it may have: a run that is resumed with other
            options writes its checkpoint before the file.
        recordings: what `described` says of those for training and for the test; None where an earlier version wrote
            the checkpoint.
    """

    config: Mapping[str, Any]
    rows: tuple[EpochStats, ...]
    digests: tuple[str, ...]
    recordings: Mapping[str, str] | None = None

    @classmethod
    def of(cls, config: Config, rows: list[EpochStats], recordings: Mapping[str, str] | None = None) -> Record:
        """Return the record of a run."""
        return cls(document(config), tuple(rows), (sha256(config.to_yaml().encode()),), recordings)

    def with_rows(self, rows: list[EpochStats], before: tuple[str, ...]) -> Record:
        """Return the record at other statistics; `before` has digests of what the configuration file may still be."""
        return replace(self, rows=tuple(rows), digests=(self.digests[0], *(d for d in before if d != self.digests[0])))

    @classmethod
    def of_json(cls, given: Any, epoch: int) -> Record:
        """Return what `json` returned, for a number of completed epochs.

        Raises:
            ValueError: it is none.
        """
        check_fields("run", given, ("config", "statistics", "digests", "recordings"))
        rows = given["statistics"]
        if not isinstance(rows, list) or len(rows) != epoch:
            count = len(rows) if isinstance(rows, list) else 0
            raise ValueError(f"load_state: epoch must be the number of rows of statistics, {count}, got {epoch}")
        statistics = tuple(_row(row, number) for number, row in enumerate(rows, start=1))
        digests, recordings = given["digests"], given["recordings"]
        if not isinstance(digests, list) or not all(isinstance(each, str) for each in digests):
            raise ValueError(f"load_state: the digests must be a list of texts, got {check.one_line(digests)}")
        if recordings is not None:
            check_fields("recordings", recordings, ("training", "test"))
        if not isinstance(given["config"], dict):
            raise ValueError(f"load_state: the configuration must be a mapping, got {check.one_line(given['config'])}")
        found = cls(given["config"], statistics, tuple(digests), recordings)
        # What is no configuration, however deep, ends here.
        found.settings()
        return found

    def json(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        statistics = [list(astuple(row)) for row in self.rows]
        digests, recordings = list(self.digests), None if self.recordings is None else dict(self.recordings)
        return {"config": self.config, "statistics": statistics, "digests": digests, "recordings": recordings}

    def settings(self) -> Config:
        """Return the configuration.

        Raises:
            ValueError: it is none.
            TypeError: a value in it is of the wrong type.
        """
        return load_config(self.config)

    def check_config(self, op: str, folder: Path, *, free: tuple[str, ...] = _FREE, of: tuple[str, ...] = ALL) -> None:
        """Compare the configuration file of a run with the checkpoint.

        Args:
            op: the operation that begins messages.
            folder: the folder of the run.
            free: keys of the configuration, or beginnings of them, that may differ.
            of: keys of the configuration that may not.

        Raises:
            ValueError: the configuration was changed since the checkpoint.
        """
        path = folder / CONFIG
        if path.is_file() and sha256(path.read_bytes()) not in self.digests:
            found = changes(self.config, document(load_config(path)))
            wrong = [each for each in found if each.among(of) and not each.among(free)]
            if wrong:
                advice = "write it back, or change it by options or another file"
                raise ValueError(f"{op}: {path} was changed since the checkpoint: {_listed(wrong)}; {advice}")

    def check_recordings(self, out: Path, found: Mapping[str, str]) -> None:
        """Compare the recordings of a run with those that it is to be resumed with, as `described` says.

        Raises:
            ValueError: they are others.
        """
        for name, was in (self.recordings or {}).items():
            if found[name] != was:
                raise ValueError(
                    f"train: the recordings of a resumed run cannot change, {out} has for {name} {was}, got "
                    f"{found[name]}; give it its own by --data, or begin a new run"
                )

    def check_resumed(self, config: Config, out: Path, *, within_epoch: bool) -> list[str]:
        """Compare the configuration of a run with one that it is to be resumed by.

        Args:
            config: the configuration.
            out: the folder of the run.
            within_epoch: whether the checkpoint is in the middle of an epoch.

        Returns:
            A line for each key that differs.

        Raises:
            ValueError: a key differs that cannot change.
        """
        before = self.settings()
        if before.layers != config.layers:
            was, given = ("-".join(rows_first(word).text for word in c.layers) for c in (before, config))
            got = f"{given} with other options of its layers" if was == given else given
            raise ValueError(f"train: the network of a resumed run cannot change: that of {out} is {was}, got {got}")
        found = [each for each in changes(self.config, document(config)) if not each.among(_FREE)]
        for each in found:
            if within_epoch and each.among(_OF_AN_EPOCH):
                raise ValueError(
                    f"train: {each.key} cannot change in the middle of an epoch, {out} has {each.was}, got {each.now}"
                )
            if each.among((*NETWORK, *_FIXED, *_BEGUN)):
                raise ValueError(
                    f"train: {each.key} of a resumed run cannot change, {out} has {each.was}, got {each.now}"
                )
        return [f"warning: {each}" for each in found]


def completed(op: str, folder: Path, epochs: int) -> list[EpochStats]:
    """Return the rows of the completed epochs of a run in its metrics.csv, which may have one more.

    Args:
        op: the operation that begins messages.
        folder: the folder of the run.
        epochs: the number of epochs of the checkpoint.

    Raises:
        ValueError: the file is missing or damaged, or has fewer rows.
    """
    path = folder / METRICS
    if epochs and not path.is_file():
        raise ValueError(f"{op}: {path} is missing, the checkpoint has {epochs} epochs")
    rows = load_stats(path)[:epochs] if epochs else []
    if len(rows) < epochs:
        raise ValueError(f"{op}: {path} has {len(rows)} epochs, the checkpoint has {epochs}")
    return rows


@dataclass(frozen=True)
class Change:
    """A key of a configuration with two values, as text."""

    key: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} is {self.now}, was {self.was}"

    def among(self, keys: tuple[str, ...]) -> bool:
        """Return whether the key is one of some keys, or within one of them."""
        return any(self.key == key or self.key.startswith((f"{key}.", f"{key}[")) for key in keys)


def document(config: Config) -> dict[str, Any]:
    """Return a configuration as the document of a YAML file, with text as keys."""
    found = _with_text_keys(yaml.safe_load(config.to_yaml()))
    return dict(found)


def _with_text_keys(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(key).lower() if isinstance(key, bool) else str(key): _with_text_keys(v) for key, v in x.items()}
    return [_with_text_keys(each) for each in x] if isinstance(x, list) else x


def changes(before: Any, now: Any) -> list[Change]:
    """Return the keys of two documents whose values differ."""
    was, given = dict(_items(before)), dict(_items(now))
    keys = [*was, *(key for key in given if key not in was)]
    none = object()
    return [
        Change(key, *(check.one_line(values[key]) if key in values else "missing" for values in (was, given)))
        for key in keys
        if was.get(key, none) != given.get(key, none)
    ]


def _items(x: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of everything in a document that is neither a mapping nor a list."""
    if isinstance(x, dict):
        for key, value in x.items():
            yield from _items(value, f"{path}.{key}" if path else str(key))
    elif isinstance(x, list):
        for number, value in enumerate(x):
            yield from _items(value, f"{path}[{number}]")
    else:
        yield path, x


def _listed(found: list[Change]) -> str:
    return ", ".join(map(str, found[:3])) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _row(row: Any, epoch: int) -> EpochStats:
    """Return the statistics of an epoch."""
    sound = isinstance(row, list) and len(row) == 6 and type(row[0]) is int and row[0] == epoch
    if sound:
        needed, optional = (row[1], row[5]), row[2:5]
        sound = all(map(_is_any_number, needed)) and all(x is None or _is_any_number(x) for x in optional)
    if not sound:
        raise ValueError(f"load_state: the statistics of epoch {epoch} must be 6 numbers, got {check.one_line(row)}")
    return EpochStats(*row)


def _is_any_number(x: Any) -> bool:
    return type(x) is float or is_number(x)
