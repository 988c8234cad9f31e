"""The data of a run: batches of recordings, which must fit its network, and a digest that detects other data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.time_window import TimeWindow
from cuslayer._tape import no_grad
from cuslayer.backend import Array
from cuslayer.data import (
    NMNIST,
    Digits,
    EventFolder,
    Events,
    Loader,
    OtherPicture,
    Subset,
    load,
    open_folder,
    read_events,
    split,
)
from cuslayer.data.catalog import DRAWN
from cuslayer.data.datasets import Dataset
from cuslayer.data.formats.base import Missing
from cuslayer.data.time_series import READERS
from cuslayer.network.notation import Network
from cuslayer.network.walk import eval_mode
from cuslayer.training.config import Config

_PAIR = ("input.bs1", "output.bs1")
# The number of recordings whose first and last bytes are in a digest; reading all would take as long as an epoch.
_FILES, _ENDS = 1000, 4096
# The same for recordings that are not files, each of them read completely.
_RECORDINGS = 8


@dataclass(frozen=True)
class Data:
    """Batches of training, validation and test data, and a recording: title, spikes (T, ...), target of one sample."""

    train: Any
    test: Loader | None
    example: tuple[str, Array, Any]
    validation: Loader | None = None


def load_data(config: Config, net: Network, *, other: bool = False, train: bool = False) -> Data:
    """Return the data of a configuration, which must fit a network.

    With `train`, split off validation recordings, and warn of outputs without a class.
    """
    train_set: Dataset
    test_set: Dataset | None
    validation_set: Dataset | None = None
    if config.spike_times:
        return _load_spike_trains(config, net)
    if config.dataset is not None:
        if config.data is None and config.dataset not in DRAWN:
            where = "of its files" if config.dataset in READERS else "in which tonic keeps its data sets"
            raise ValueError(f"{config.dataset} needs --data ROOT, the folder {where}")
        of_run = partial(load, config.dataset, config.data, dt=config.neuron.dt, duration=config.duration)
        if config.dataset in READERS:
            train_set, test_set = _of_files_in_time(of_run, other, train)
        else:
            train_set, test_set = of_run("train"), of_run("test")
    elif config.sound is not None:
        if config.data is None:
            raise ValueError("the configuration reads audio, it needs --data FILE, an npz file of recordings")
        train_set, test_set = config.sound.sets(config.data, config.neuron.dt, config.duration, all_are_test=other)
    elif config.data is None:
        train_set, test_set = Digits("train"), Digits("test")
    else:
        lists = (_label_list(Path(config.data), name) for name in (config.train_list, config.test_list))
        train_set, test_set = open_folder(config.data, *lists, shape=net.input_shape)
    if net.input_shape != tuple(train_set.shape):
        raise ValueError(f"the network expects input {net.input_shape}, the recordings are {train_set.shape}")
    if (kind := getattr(train_set, "targets", "classes")) not in ("classes", "steps"):
        raise ValueError(f"the recordings must have classes, or labels at each step, got {kind}")
    classes = train_set.classes
    if train and config.validation is not None:
        train_set, validation_set = _split(config, train_set, net)
        classes = max(classes, validation_set.classes)
    outputs = _output_size(net)
    if outputs < classes:
        raise ValueError(f"the network has {outputs} outputs, the recordings have {classes} classes")
    if outputs > classes and train:
        check.warn(
            f"the network has {outputs} outputs, the recordings have {classes} classes: the last "
            f"{outputs - classes} have no class"
        )
    window = config.error.arguments.get("window")
    if window is not None and TimeWindow.of("window", window).steps(config.neuron.dt)[1] > config.steps:
        raise ValueError(f"the window of the loss reaches to {window[1]:g} ms, tSample is {config.duration:g} ms")

    def loader(of: Dataset, **more: Any) -> Loader:
        lengths = getattr(of, "lengths", None)
        padded = lengths is not None and bool(lengths.min() < config.steps)
        given: dict[str, Any] = {"batch": config.batch, "steps": config.steps, "dt": config.neuron.dt}
        return Loader(of, lengths=padded, seed=config.seed, **given, **more)

    changed = None if config.sound is None else config.sound.transform(config.neuron.dt, config.duration)
    if config.picture is not None:
        with check.about("training.picture"):
            changed = OtherPicture(*config.picture)
    train_loader = loader(train_set, shuffle=True, transform=changed)
    test_loader, validation_loader = (None if each is None else loader(each) for each in (test_set, validation_set))
    shown: Any = train_set if test_set is None else test_set
    spikes, label = events, target = shown[0]
    of_class = "" if isinstance(label, np.ndarray) else f", class {label}"
    try:
        if not isinstance(events, np.ndarray):
            spikes = events.to_spikes(net.input_shape, config.steps, config.neuron.dt)
    except ValueError as problem:
        reason = check.reason(problem)
        where = shown.where(0) if hasattr(shown, "where") else "recording 0"
        raise ValueError(f"the network expects input {net.input_shape}, {where} has another: {reason}") from None
    example = f"input{of_class}", spikes[: config.steps], np.stack([target], axis=-1)[: config.steps]
    return Data(train_loader, test_loader, example, validation_loader)


def _of_files_in_time(of_run: Callable[[str], Dataset], other: bool, train: bool) -> tuple[Dataset, Dataset | None]:
    """Return the training set and the test set, which only the maker of a task may have."""
    if other:
        found = of_run("test")
        return found, found
    train_set = of_run("train")
    try:
        return train_set, of_run("test")
    except Missing as problem:
        if not train:
            raise
        check.warn(f"the run ends without a test: {check.reason(problem)}")
        return train_set, None


def _split(config: Config, train_set: Dataset, net: Network) -> tuple[Dataset, Dataset]:
    """Return the remaining training recordings, and the validation recordings."""
    if not isinstance(config.validation, str):
        labels = getattr(train_set, "labels", None)
        by_class = labels is not None and labels.ndim == 1
        return split(train_set, cast(float, config.validation), seed=config.seed, by_class=by_class)
    if config.dataset is not None or config.sound is not None or config.data is None:
        raise ValueError(f"validation must be a share of recordings, a list is for a folder, got {config.validation}")
    lists = (_label_list(Path(config.data), name) for name in (config.train_list, config.validation))
    chosen: Any = open_folder(config.data, *lists, shape=net.input_shape)[1]
    files, given = {chosen.where(i) for i in range(len(chosen))}, cast(Any, train_set)
    left = [i for i in range(len(given)) if given.where(i) not in files]
    if not left:
        raise ValueError(f"a training recording must be left, {config.validation} has all of them")
    return (given if len(left) == len(given) else Subset(given, left)), chosen


def _label_list(folder: Path, name: str | None) -> Path | None:
    """Return the path of a label list: relative to the folder, or, as in SLAYER, to the working directory."""
    if name is None or (folder / name).is_file() or not Path(name).is_file():
        return None if name is None else Path(name)
    return Path(name).absolute()


def _load_spike_trains(config: Config, net: Network) -> Data:
    """Return the input spike train input.bs1 and the target spike train output.bs1 of a folder as one batch."""
    if config.data is None:
        raise ValueError("SpikeTime needs a folder with input.bs1 and output.bs1, and no data is named")
    trains = []
    for name, neurons in zip(_PAIR, (net.input_shape[0], _output_size(net)), strict=True):
        if len(net.input_shape) != 1:
            raise ValueError(f"SpikeTime expects a network of (N,) inputs, got {net.input_shape}")
        events = read_events(Path(config.data) / name)
        trains.append(events.to_spikes((neurons,), config.steps, config.neuron.dt, rounding="nearest")[:, None])
    return Data([tuple(trains)], None, ("input", trains[0][:, 0], trains[1]))


def _output_size(net: Network) -> int:
    with eval_mode(net), no_grad():
        shape = net(np.zeros((1, 1, *net.input_shape), bool)).shape[2:]
    if len(shape) != 1:
        raise ValueError(f"the network must end in a dense layer, its output is {shape}")
    return shape[0]


def described(batches: Iterable[object], config: Config) -> str:
    """Return the number of recordings of a run and a digest that distinguishes them from others.

    The digest covers the order of all recordings, their names within the data folder, sizes and classes, and the first
    and last bytes of up to a thousand, evenly spread. The folder may move, and its files may be copies.
    """
    found = hashlib.sha256()
    if not isinstance(batches, Loader):
        names = [] if batches is None or config.data is None else [str(Path(config.data, name)) for name in _PAIR]
        found.update(_of_files(names, config.data))
        return f"{len(names) // 2} pairs, digest {found.hexdigest()[:12]}"
    dataset: Any = batches.dataset
    found.update(_of_arrays(getattr(dataset, name, None) for name in ("labels", "indices")))
    if isinstance(getattr(dataset, "dataset", dataset), (EventFolder, NMNIST)):
        found.update(_of_files([dataset.where(i) for i in range(len(dataset))], config.data))
    elif config.sound is not None:
        found.update(_of_files([str(config.data)], os.path.dirname(str(config.data))))
    else:
        for i in _spread(len(dataset), _RECORDINGS):
            x, _ = dataset[i]
            found.update(_of_arrays((x.t, x.x, x.y, x.p) if isinstance(x, Events) else (x,)))
    return f"{len(dataset)} recordings, digest {found.hexdigest()[:12]}"


def read_some(data: Data) -> None:
    """Read the recordings whose content is in a digest; an error names the missing or damaged one."""
    for loader in (data.train, data.validation, data.test):
        if isinstance(loader, Loader):
            for i in _spread(len(loader.dataset), _FILES):
                loader.dataset[i]


def _spread(count: int, most: int) -> Sequence[int]:
    """Return up to `most` of the numbers below a count, evenly spread."""
    return range(count) if count <= most else [count * i // most for i in range(most)]


def _of_arrays(arrays: Iterable[Array | None]) -> bytes:
    found = hashlib.sha256()
    for each in (np.asarray(array) for array in arrays if array is not None):
        found.update(f"{each.dtype} {each.shape} ".encode())
        found.update(np.ascontiguousarray(each).tobytes())
    return found.digest()


def _of_files(paths: list[str], folder: str | None) -> bytes:
    """Return a digest of files by their names within a folder, their sizes, and the content of some."""
    found, read = hashlib.sha256(), set(_spread(len(paths), _FILES))
    before = str(Path(folder or "", "x"))[:-1]
    for i, path in enumerate(paths):
        name = path.removeprefix(before).replace(os.sep, "/")
        # Making the batch raises an error for an unreadable file.
        with suppress(OSError):
            size = os.stat(path).st_size
            found.update(os.fsencode(f"{name}\0{size}\0"))
            if i in read and os.path.isfile(path):
                with open(path, "rb") as file:
                    found.update(file.read(_ENDS))
                    file.seek(max(size - _ENDS, 0))
                    found.update(file.read(_ENDS))
    return found.digest()
