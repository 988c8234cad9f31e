"""The checkpoints of a run: npz files, without pickle, of arrays and a JSON description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.archive import Archive, Refused, check_finite, open_archive, write_archive
from cuslayer._base.files import sync_folder
from cuslayer.backend import Array
from cuslayer.network.network import Sequential
from cuslayer.optim import Optimizer
from cuslayer.training.config import Config, load_config
from cuslayer.training.score import Tally, Wrong, check_fields, is_number
from cuslayer.training.stats import EpochStats

_FORMAT = 4
# The fields of each format. Format 1 has neither a place in an epoch nor a record of the run. Format 2 has no
# recordings in its record, format 3 no validation.
_FIELDS: dict[Any, set[str]] = {1: {"format", "epoch", "generator"}}
_FIELDS[2] = _FIELDS[3] = _FIELDS[_FORMAT] = _FIELDS[1] | {"place", "run"}
# The groups of arrays in a checkpoint, and the words before their names in errors.
_PARTS = {"network": "parameter", "optimizer": "optimizer's"}


@dataclass(frozen=True)
class Place:
    """A place in the middle of an epoch.

    `of` is the number of training batches in the epoch; `trained` and `tested` have the results of `Tally.state` so
    far, for training and validation; `gradients` has the result of `GradientFlow.state`.
    """

    of: int
    trained: dict[str, Any]
    gradients: dict[str, Any]
    tested: dict[str, Any] | None = None

    @property
    def batches(self) -> int:
        """The number of training batches so far."""
        return int(self.trained["batches"])

    @classmethod
    def of_json(cls, given: Any) -> Place:
        """Return the place from its `vars`; raise ValueError if it is not a place."""
        check_fields("place", given, ("of", "trained", "gradients", "tested"))
        for scores in (given["trained"], given["tested"]):
            if scores is not None:
                Tally().load_state(scores)
        check_fields("gradient flow", given["gradients"], ("steps", "squares"))
        whole, batches = given["of"], 0 if given["trained"] is None else given["trained"]["batches"]
        if type(whole) is not int or not 1 <= batches <= whole:
            raise Wrong(f"batches must be from 1 to {check.one_line(whole)}, got {batches}")
        if given["tested"] is not None and batches < whole:
            raise Wrong(f"batches must be {whole} where validation has begun, got {batches}")
        return cls(**given)


@dataclass(frozen=True)
class FileRecord:
    """The configuration, the statistics and the recordings of a run at a checkpoint.

    Attributes:
        config: `Config.document` of the run.
        rows: the statistics of the completed epochs.
        digests: the SHA-256 of each valid text of the configuration file: a run that resumes with other options writes
            its checkpoint before this file.
        recordings: descriptions of the recordings by `described`; None in checkpoints of earlier versions.
    """

    config: Mapping[str, Any]
    rows: tuple[EpochStats, ...]
    digests: tuple[str, ...]
    recordings: Mapping[str, str] | None = None

    @classmethod
    def of(cls, config: Config, rows: list[EpochStats], recordings: Mapping[str, str] | None = None) -> FileRecord:
        """Return the record of a run."""
        digest = sha256(config.to_yaml().encode()).hexdigest()
        return cls(config.document(), tuple(rows), (digest,), recordings)

    def with_rows(self, rows: list[EpochStats], before: tuple[str, ...]) -> FileRecord:
        """Return the record with other statistics; `before` has digests of still valid configuration files."""
        return replace(self, rows=tuple(rows), digests=(self.digests[0], *(d for d in before if d != self.digests[0])))

    @classmethod
    def of_json(cls, given: Any, epoch: int) -> FileRecord:
        """Return the record from a result of `json`, for a number of completed epochs; raise ValueError if invalid."""
        check_fields("run", given, ("config", "statistics", "digests", "recordings"))
        rows, digests, recordings = given["statistics"], given["digests"], given["recordings"]
        if not isinstance(rows, list) or len(rows) != epoch:
            count = len(rows) if isinstance(rows, list) else 0
            raise Wrong(f"epoch must be the number of rows of statistics, {count}, got {epoch}")
        statistics = tuple(_row(row, number) for number, row in enumerate(rows, start=1))
        if not isinstance(digests, list) or not all(isinstance(each, str) for each in digests):
            raise Wrong(f"the digests must be a list of texts, got {check.one_line(digests)}")
        if recordings is not None:
            names = [name for name in ("validation",) if isinstance(recordings, dict) and name in recordings]
            check_fields("recordings", recordings, ("training", *names, "test"))
        if not isinstance(given["config"], dict):
            raise Wrong(f"the configuration must be a mapping, got {check.one_line(given['config'])}")
        found = cls(given["config"], statistics, tuple(digests), recordings)
        try:
            found.settings()
        except (ValueError, TypeError) as problem:
            raise Wrong(f"its configuration is wrong: {check.printable(check.reason(problem))}") from None
        return found

    def json(self) -> dict[str, object]:
        """Return the record in the form for JSON."""
        statistics, recordings = list(map(astuple, self.rows)), self.recordings and dict(self.recordings)
        return {"config": self.config, "statistics": statistics, "digests": self.digests, "recordings": recordings}

    def settings(self) -> Config:
        """Return the configuration; raise ValueError or TypeError if it is invalid."""
        return load_config(self.config)


def _row(row: Any, epoch: int) -> EpochStats:
    """Return the statistics of an epoch; missing values are None, overflows are inf or nan."""
    sound = isinstance(row, list) and len(row) in (6, 8, 12) and type(row[0]) is int and row[0] == epoch
    if not sound or not all(
        type(x) is float or is_number(x) or (x is None and place not in (0, 1, 5)) for place, x in enumerate(row)
    ):
        raise Wrong(f"the statistics of epoch {epoch} must be 12 numbers, got {check.one_line(row)}")
    return EpochStats(*row)


@check.named
@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run, enough to resume it with identical results.

    Attributes:
        epoch: the number of completed epochs.
        network: the parameters by name.
        optimizer: the state of the optimizer by name.
        generator: the state of the random number generator.
        place: the place in the next epoch; None between epochs.
        record: the configuration and the statistics of the run; None outside runs.
    """

    epoch: int
    network: dict[str, backend.Array]
    optimizer: dict[str, backend.Array]
    generator: dict[str, Any]
    place: Place | None = None
    record: FileRecord | None = None

    @classmethod
    def of(
        cls,
        epoch: int,
        network: Sequential,
        optimizer: Optimizer,
        *,
        place: Place | None = None,
        record: FileRecord | None = None,
    ) -> Checkpoint:
        """Return a checkpoint of the current state."""
        return cls(epoch, network.state(), optimizer.state(), backend.generator_state(), place, record)

    @property
    def batches(self) -> int:
        """The number of training batches after the completed epochs."""
        return 0 if self.place is None else self.place.batches

    @check.operation
    def restore(self, network: Sequential, optimizer: Optimizer) -> None:
        """Load the state into network, optimizer, with its epoch, and random number generator.

        Raises:
            ValueError: the state does not fit the network, the optimizer or the generator. Nothing then changes.
        """
        _check_layout({"network": self.network, "optimizer": self.optimizer}, network, optimizer)
        _check_finite(self.network, self.optimizer)
        _check_generator(self.generator)
        before, memory = network.state(), optimizer.state()
        try:
            network.load_state(self.network)
            optimizer.load_state(self.optimizer)
        except BaseException:
            network.load_state(before)
            optimizer.load_state(memory)
            raise
        optimizer.epoch = self.epoch
        backend.load_generator_state(self.generator)

    @check.operation("Checkpoint")
    def save(self, path: str | Path) -> None:
        """Write the checkpoint as an npz file, atomically, and wait until it is on disk.

        Args:
            path: the file.

        Raises:
            ValueError: a number in it is not finite. No file is then written.
            NotWritten: the file cannot be written.
        """
        try:
            _check_finite(self.network, self.optimizer)
        except Wrong as problem:
            raise ValueError(f"{problem}, {path} is not written") from None
        about = {"format": _FORMAT, "epoch": self.epoch, "generator": self.generator}
        about["place"] = None if self.place is None else vars(self.place)
        about["run"] = None if self.record is None else self.record.json()
        arrays: dict[str, Any] = {f"network/{name}": a for name, a in self.network.items()}
        arrays |= {f"optimizer/{name}": a for name, a in self.optimizer.items()}
        write_archive(Path(path), about, arrays, durable=True)
        sync_folder(Path(path).parent)


@check.operation
def load_checkpoint(
    path: str | Path, network: Sequential | None = None, optimizer: Optimizer | None = None
) -> Checkpoint:
    """Read a checkpoint.

    It checks names, shapes and types of all arrays before it reads one.

    Args:
        path: the file.
        network: the network that the parameters must fit; None for any.
        optimizer: the optimizer that the state must fit; None for any.

    Raises:
        ValueError: the file is missing, damaged or of another format, a value in it is out of range, or its arrays do
            not fit the network or the optimizer.
    """
    with _opened(path) as archive:
        epoch, generator, place, record = _description(archive)
        layout = {part: dict[str, Any]() for part in _PARTS}
        for name, header in archive.headers.items():
            part, _, rest = name.partition("/")
            if part not in layout:
                raise Wrong(f"array {name} is unknown")
            layout[part][rest] = header
        _check_layout(layout, network, optimizer)
        if network is None or optimizer is None:
            archive.check_size()
        arrays = {part: {name: archive.read(f"{part}/{name}") for name in layout[part]} for part in _PARTS}
        _check_finite(**arrays)
    return Checkpoint(epoch, **arrays, generator=generator, place=place, record=record)


@check.operation("load_checkpoint")
def read_summary(path: str | Path) -> Checkpoint:
    """Read a checkpoint without its arrays. Errors: see `load_checkpoint`."""
    with _opened(path) as archive:
        epoch, generator, place, record = _description(archive)
        return Checkpoint(epoch, {}, {}, generator, place, record)


@contextmanager
def _opened(path: str | Path) -> Iterator[Archive]:
    """Open a checkpoint for the block; all errors in it name the file."""
    if not Path(path).is_file() and not Path(path).is_dir():
        raise ValueError(f"{path} is no file")
    try:
        with open_archive(path) as archive:
            yield archive
    except Refused as problem:
        raise ValueError(f"{path} {problem}") from None
    except Wrong as problem:
        raise ValueError(f"{path}: {problem}") from None
    except Exception as problem:  # the readers of zip, npy and JSON raise many types
        raise ValueError(f"{path} is damaged or no checkpoint ({type(problem).__name__})") from None


def _description(archive: Archive) -> tuple[int, dict[str, object], Place | None, FileRecord | None]:
    """Return the checked epoch, state of the generator, place and record of a checkpoint."""
    about = dict(archive.about())
    version = about["format"]
    if type(version) is not int or version not in _FIELDS:
        raise Refused(f"has format {check.one_line(version)}, this version reads 1 to {_FORMAT}")
    missing = sorted(_FIELDS[version] - about.keys())
    if missing:
        raise KeyError(missing[0])
    for name in sorted(about.keys() - _FIELDS[version]):
        raise Wrong(f"{check.one_line(name)} is unknown in format {version}")
    epoch = about["epoch"]
    if type(epoch) is not int or not 0 <= epoch < 2**31:
        raise Wrong(f"epoch must be an integer from 0 to {2**31 - 1}, got {check.one_line(epoch)}")
    _check_generator(about["generator"])
    place = None if about.get("place") is None else Place.of_json(about["place"])
    run = about.get("run")
    if version == 2 and run is not None:
        run = {**run, "digests": run["sha256"]["config.yaml"], "recordings": None}
        del run["sha256"]
    record = None if run is None else FileRecord.of_json(run, epoch)
    return epoch, about["generator"], place, record


def _check_generator(state: Any) -> None:
    """Raise ValueError unless a state belongs to the library's kind of generator."""
    kind = type(backend.generator().bit_generator)
    name = state.get("bit_generator") if isinstance(state, Mapping) else state
    if name != kind.__name__:
        raise Wrong(f"generator must be the state of {kind.__name__}, got {check.one_line(name)}")
    trial, own = kind(0), {key: value for key, value in state.items() if key != "device"}
    try:
        trial.state = own
        same = trial.state == own
    except Exception:  # NumPy raises many types
        same = False
    # A key and the number of the next draw, if a GPU has drawn numbers.
    of_device = state.get("device", [0, 0])
    known = isinstance(of_device, list) and [type(each) for each in of_device] == [int, int]
    if not same or not known or not all(0 <= each < 2**63 for each in of_device):
        raise Wrong(f"generator has a state that {kind.__name__} cannot have")


def _check_layout(
    layout: Mapping[str, Mapping[str, Any]], network: Sequential | None, optimizer: Optimizer | None
) -> None:
    """Raise Wrong unless names, shapes and types fit a network and an optimizer."""
    types: dict[str, Any] = {}
    try:
        if network is not None:
            network.check_state(layout["network"])
            types |= {f"parameter {name}": p.dtype for name, p in network.named_parameters().items()}
        if optimizer is not None:
            optimizer.check_state(layout["optimizer"])
            memory = enumerate(optimizer.memory)
            types |= {f"optimizer's {i}.{name}": a.dtype for i, arrays in memory for name, a in arrays.items()}
    except ValueError as problem:
        raise Wrong(str(problem).removeprefix("load_state: ")) from None
    for part, what in _PARTS.items():
        for name, x in layout[part].items():
            wanted = types.get(f"{what} {name}", x.dtype)
            if x.dtype != wanted:
                raise Wrong(f"{what} {name} has type {x.dtype}, the network's has {wanted}")
            if x.dtype.kind not in "fiu":
                raise Wrong(f"{part}'s {name} has type {x.dtype}, which is no number")


def _check_finite(network: Mapping[str, Array], optimizer: Mapping[str, Array]) -> None:
    for what, arrays in zip(_PARTS.values(), (network, optimizer), strict=True):
        for name, a in arrays.items():
            try:
                check_finite(f"{what} {name}", a)
            except ValueError as problem:
                raise Wrong(str(problem)) from None
